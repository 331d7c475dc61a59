//! What goes over the wire for merge requests and their comments.

use std::time::Duration;

use futures_util::TryStreamExt as _;
use scm_core::{
    Align, AlignStrategy, Alignment, Approve, CommentPosition, CommentsExt as _, DiffSide, ErrorKind,
    FileAction, LineRange, ListComments, MergePullRequest, MergeWhen, NewComment, PullRequestId,
    PullRequestState, PullRequestsExt as _, Resolution, Scm, ThreadId,
};
use serde_json::{Value, json};
use wiremock::matchers::{body_partial_json, method, path, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::wire::{answer, gitlab, merge_request, ok, repo, sha};

const AT: &str = "/api/v4/projects/group%2Fsub%2Frepo/merge_requests/7";
const ID: PullRequestId = PullRequestId::new(7);

fn with(mut value: Value, more: Value) -> Value {
    for (name, more) in more.as_object().unwrap() {
        value[name] = more.clone();
    }
    value
}

fn refs() -> Value {
    json!({"base_sha": "1".repeat(40), "start_sha": "2".repeat(40), "head_sha": "3".repeat(40)})
}

/// A note as the server gives it back, with an id that needs 64 bits.
fn note(position: &Value) -> Value {
    json!({"id": 5_000_000_000_u64, "type": "DiffNote", "body": "text", "system": false, "resolvable": true,
        "resolved": false, "position": position, "author": {"id": 1, "username": "bot"}})
}

/// The bodies of the requests of this kind.
async fn sent(server: &MockServer, verb: &str, at: &str) -> Vec<Value> {
    let requests = server.received_requests().await.unwrap();
    let these = requests.iter().filter(|request| request.method.as_str() == verb && request.url.path() == at);
    these.map(|request| serde_json::from_slice(&request.body).unwrap_or(Value::Null)).collect()
}

fn lines(path: &str, side: DiffSide, start: u32, end: u32) -> NewComment {
    let lines = LineRange::lines(side, start, end).unwrap();
    NewComment::new("text").with_position(CommentPosition::Lines {
        path: path.parse().unwrap(),
        old_path: None,
        lines,
    })
}

#[tokio::test]
async fn a_comment_on_lines_names_them_as_gitlab_counts() {
    let server = MockServer::start().await;
    let hunks = "@@ -1,4 +1,4 @@\n one\n-two\n+zwei\n three\n-four\n+vier\n";
    let diffs = json!([
        {"old_path": "other.txt", "new_path": "other.txt", "diff": "@@ -1 +1 @@\n-a\n+b\n"},
        {"old_path": "old.txt", "new_path": "a.txt", "diff": hunks, "renamed_file": true},
    ]);
    answer(&server, "GET", &format!("{AT}/diffs"), ok(diffs)).await;
    answer(&server, "GET", AT, ok(with(merge_request("opened"), json!({"diff_refs": refs()})))).await;
    let made = json!({"id": "d".repeat(40), "individual_note": false, "notes": [note(&Value::Null)]});
    answer(&server, "POST", &format!("{AT}/discussions"), ResponseTemplate::new(201).set_body_json(made))
        .await;
    let place = |more| {
        let shared = json!({"position_type": "text", "old_path": "old.txt", "new_path": "a.txt"});
        json!({"body": "text", "position": with(with(refs(), shared), more)})
    };
    // SHA-1 of the new path.
    let code = |rest: &str| format!("cfc7b4885384957ae445bc14914d4588f607651c_{rest}");
    let range = json!({
        "start": {"line_code": code("3_2"), "type": "new", "new_line": 2},
        "end": {"line_code": code("3_3"), "type": "old", "old_line": 3, "new_line": 3},
    });
    let cases = [
        (lines("a.txt", DiffSide::New, 2, 2), place(json!({"new_line": 2}))),
        (lines("a.txt", DiffSide::New, 3, 3), place(json!({"old_line": 3, "new_line": 3}))),
        (lines("a.txt", DiffSide::Old, 4, 4), place(json!({"old_line": 4}))),
        // Outside of the hunks: the server is to judge it.
        (lines("a.txt", DiffSide::New, 9, 9), place(json!({"old_line": 9, "new_line": 9}))),
        (
            lines("a.txt", DiffSide::New, 2, 3),
            place(json!({"old_line": 3, "new_line": 3, "line_range": range})),
        ),
    ];
    let gitlab = gitlab(&server, "");
    for (new, _) in &cases {
        let made = gitlab.comments().create_comment(&repo(), ID, new).await.unwrap();
        assert_eq!(made.id.as_str(), "5000000000");
        assert_eq!(made.thread, Some(ThreadId::new("d".repeat(40)).unwrap()));
    }
    let bodies = sent(&server, "POST", &format!("{AT}/discussions")).await;
    assert_eq!(bodies, cases.map(|(_, body)| body));
}

#[tokio::test]
async fn a_comment_waits_until_the_diff_is_there() {
    let server = MockServer::start().await;
    answer(&server, "GET", &format!("{AT}/diffs"), ok(json!([]))).await;
    Mock::given(method("GET"))
        .and(path(AT))
        .respond_with(ok(with(merge_request("opened"), json!({"diff_refs": null}))))
        .up_to_n_times(1)
        .mount(&server)
        .await;
    answer(&server, "GET", AT, ok(with(merge_request("opened"), json!({"diff_refs": refs()})))).await;
    let refusal = "400 Bad request - Note {:line_code=>[\"can't be blank\", \"must be a valid line code\"]}";
    let refused = ResponseTemplate::new(400).set_body_json(json!({"message": refusal}));
    answer(&server, "POST", &format!("{AT}/discussions"), refused).await;
    let new = lines("not/in/it", DiffSide::New, 3, 3);
    let error = gitlab(&server, "").comments().create_comment(&repo(), ID, &new).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::InvalidInput, refusal));
    let bodies = sent(&server, "POST", &format!("{AT}/discussions")).await;
    assert_eq!(bodies[0]["position"]["new_line"], 3);
    assert_eq!(bodies[0]["position"]["old_path"], "not/in/it");
}

#[tokio::test]
async fn lines_of_a_diff_that_is_not_shown_are_refused_before_anything_is_sent() {
    let server = MockServer::start().await;
    for (diff, why) in [
        (
            json!({"old_path": "a", "new_path": "a", "diff": "", "too_large": true}),
            "shows no diff of this size",
        ),
        (json!({"old_path": "b", "new_path": "a", "diff": "", "renamed_file": true}), "none of its lines"),
    ] {
        server.reset().await;
        answer(&server, "GET", &format!("{AT}/diffs"), ok(json!([diff]))).await;
        let new = lines("a", DiffSide::New, 1, 1);
        let error = gitlab(&server, "").comments().create_comment(&repo(), ID, &new).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.message().contains(why), "{error}");
        assert!(sent(&server, "POST", &format!("{AT}/discussions")).await.is_empty());
    }
}

#[tokio::test]
async fn threads_are_listed_with_their_replies_and_without_the_servers_own_words() {
    let server = MockServer::start().await;
    let plain = |id: u64, body: &str, system: bool| json!({"id": id, "body": body, "system": system});
    let threads = json!([
        {"id": "a".repeat(40), "individual_note": true, "notes": [plain(1, "first", false)]},
        {"id": "b".repeat(40), "individual_note": true, "notes": [plain(2, "assigned", true)]},
        {"id": "c".repeat(40), "notes": [plain(3, "question", false), plain(5, "answer", false)]},
        {"id": 7, "notes": []},
        {"id": "d".repeat(40), "notes": [plain(4, "last", false)]},
    ]);
    answer(&server, "GET", &format!("{AT}/discussions"), ok(threads)).await;
    let gitlab = gitlab(&server, "");
    let page =
        gitlab.comments().list_comments_page(&repo(), ID, &ListComments::default(), None).await.unwrap();
    let seen: Vec<_> = page
        .items
        .iter()
        .map(|item| item.as_ref().map_or("broken", |comment| comment.body.as_str()))
        .collect();
    assert_eq!(seen, ["first", "question", "answer", "broken", "last"]);
    let all: Result<Vec<_>, _> =
        gitlab.comments().list_comments(&repo(), ID, ListComments::default()).try_collect().await;
    assert_eq!(all.unwrap_err().kind(), ErrorKind::Decode);
}

#[tokio::test]
async fn a_comment_that_stands_alone_cannot_be_resolved() {
    let server = MockServer::start().await;
    let thread = ThreadId::new("a".repeat(40)).unwrap();
    let at = format!("{AT}/discussions/{thread}");
    let forbidden = ResponseTemplate::new(403).set_body_json(json!({"message": "403 Forbidden"}));
    answer(&server, "PUT", &at, forbidden).await;
    let alone = json!({"id": thread.as_str(), "individual_note": true,
        "notes": [{"id": 1, "body": "alone", "resolvable": false}]});
    answer(&server, "GET", &at, ok(alone)).await;
    let comments = gitlab(&server, "");
    let resolve =
        async || comments.comments().resolve_thread(&repo(), ID, &thread, Resolution::Resolved).await;
    assert_eq!(resolve().await.unwrap_err().kind(), ErrorKind::InvalidInput);
    // A thread that others may resolve: the refusal is what it says.
    server.reset().await;
    answer(&server, "PUT", &at, ResponseTemplate::new(403)).await;
    let open = json!({"id": thread.as_str(), "notes": [note(&Value::Null)]});
    answer(&server, "GET", &at, ok(open)).await;
    assert_eq!(resolve().await.unwrap_err().kind(), ErrorKind::PermissionDenied);
}

#[tokio::test]
async fn a_merge_that_waits_is_asked_for_by_both_names() {
    let server = MockServer::start().await;
    let waiting = with(merge_request("opened"), json!({"merge_when_pipeline_succeeds": true}));
    answer(&server, "PUT", &format!("{AT}/merge"), ok(waiting)).await;
    let opts = MergePullRequest::default().with_expected_head(sha('a')).with_when(MergeWhen::ChecksPass);
    let merged = gitlab(&server, "").pull_requests().merge_pull_request(&repo(), ID, &opts).await.unwrap();
    assert_eq!((merged.state, merged.auto_merge), (PullRequestState::Open, Some(true)));
    let bodies = sent(&server, "PUT", &format!("{AT}/merge")).await;
    assert_eq!(
        bodies,
        [json!({"sha": "a".repeat(40), "auto_merge": true, "merge_when_pipeline_succeeds": true})]
    );
}

#[tokio::test]
async fn a_merge_is_asked_again_only_while_the_server_is_checking() {
    let refused = || ResponseTemplate::new(405).set_body_json(json!({"message": "405 Method Not Allowed"}));
    let status = |status: &str| ok(with(merge_request("opened"), json!({"detailed_merge_status": status})));
    let merge = async |server: &MockServer| {
        let opts = MergePullRequest::default().with_expected_head(sha('a'));
        gitlab(server, "").pull_requests().merge_pull_request(&repo(), ID, &opts).await
    };
    let server = MockServer::start().await;
    let first = Mock::given(method("PUT")).and(path(format!("{AT}/merge"))).respond_with(refused());
    first.up_to_n_times(1).mount(&server).await;
    answer(&server, "PUT", &format!("{AT}/merge"), ok(merge_request("merged"))).await;
    answer(&server, "GET", AT, status("checking")).await;
    assert_eq!(merge(&server).await.unwrap().state, PullRequestState::Merged);

    server.reset().await;
    answer(&server, "PUT", &format!("{AT}/merge"), refused()).await;
    answer(&server, "GET", AT, status("not_approved")).await;
    let error = merge(&server).await.unwrap_err();
    assert_eq!(error.to_string(), "merge_pull_request: conflict (405): 405 Method Not Allowed");
    assert_eq!(error.server_code(), Some("not_approved"));
    assert_eq!(sent(&server, "PUT", &format!("{AT}/merge")).await.len(), 1);
}

#[tokio::test]
async fn nothing_is_taken_back_where_nothing_waits() {
    let server = MockServer::start().await;
    answer(&server, "GET", AT, ok(merge_request("opened"))).await;
    let error = gitlab(&server, "").pull_requests().cancel_auto_merge(&repo(), ID).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    // The server says 201 and yet that it did nothing.
    server.reset().await;
    let waiting = with(merge_request("opened"), json!({"merge_when_pipeline_succeeds": true}));
    answer(&server, "GET", AT, ok(waiting)).await;
    let at = format!("{AT}/cancel_merge_when_pipeline_succeeds");
    let cannot =
        json!({"message": "Can't cancel the automatic merge", "status": "error", "http_status": 406});
    answer(&server, "POST", &at, ResponseTemplate::new(201).set_body_json(cannot)).await;
    let error = gitlab(&server, "").pull_requests().cancel_auto_merge(&repo(), ID).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn approving_twice_is_no_error_and_a_missing_right_is_one() {
    for (mine, expected) in [(true, None), (false, Some(ErrorKind::PermissionDenied))] {
        let server = MockServer::start().await;
        let refused = ResponseTemplate::new(401).set_body_json(json!({"message": "401 Unauthorized"}));
        answer(&server, "POST", &format!("{AT}/approve"), refused).await;
        let approvals = json!({"approved": true, "approved_by": [], "user_has_approved": mine});
        answer(&server, "GET", &format!("{AT}/approvals"), ok(approvals)).await;
        let opts = Approve::default().with_expected_head(sha('a'));
        let done = gitlab(&server, "").pull_requests().approve_pull_request(&repo(), ID, &opts).await;
        assert_eq!(done.err().map(|error| error.kind()), expected);
        assert_eq!(sent(&server, "POST", &format!("{AT}/approve")).await, [json!({"sha": "a".repeat(40)})]);
    }
}

#[tokio::test]
async fn approvals_tell_who_did_and_who_wants_changes() {
    let server = MockServer::start().await;
    let approvals = json!({"approved": false, "approvals_required": 2, "approvals_left": 1,
        "approved_by": [{"user": {"id": 1, "username": "ann"}}], "user_has_approved": false});
    answer(&server, "GET", &format!("{AT}/approvals"), ok(approvals)).await;
    let reviewers = json!([
        {"user": {"id": 1, "username": "ann"}, "state": "approved"},
        {"user": {"id": 2, "username": "bob"}, "state": "requested_changes"},
        {"user": {"id": 3, "username": "eve"}, "state": "brand_new"},
    ]);
    answer(&server, "GET", &format!("{AT}/reviewers"), ok(reviewers)).await;
    let seen = gitlab(&server, "").pull_requests().approvals(&repo(), ID).await.unwrap();
    assert_eq!((seen.approved, seen.required, seen.missing), (Some(false), Some(2), Some(1)));
    let names = |users: &[scm_core::UserName]| users.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(names(&seen.approved_by), ["ann"]);
    assert_eq!(names(&seen.changes_requested_by), ["bob"]);
}

#[tokio::test]
async fn a_diff_is_put_together_where_the_server_knows_no_raw_one() {
    let server = MockServer::start().await;
    let missing = ResponseTemplate::new(404).set_body_json(json!({"error": "404 Not Found"}));
    answer(&server, "GET", &format!("{AT}/raw_diffs"), missing).await;
    answer(&server, "GET", AT, ok(merge_request("opened"))).await;
    let file = |name: &str| json!([{"old_path": name, "new_path": name, "a_mode": "100644", "b_mode": "100644", "diff": "@@ -1 +1 @@\n-1\n+2\n"}]);
    Mock::given(path(format!("{AT}/diffs")))
        .and(query_param("page", "2"))
        .respond_with(ok(file("two")))
        .mount(&server)
        .await;
    let first = ok(file("one")).insert_header("x-next-page", "2");
    answer(&server, "GET", &format!("{AT}/diffs"), first).await;
    let gitlab = gitlab(&server, "");
    let diff =
        gitlab.pull_requests().pull_request_diff(&repo(), ID).await.unwrap().collect(1_000).await.unwrap();
    let one = |name: &str| {
        format!("diff --git a/{name} b/{name}\n--- a/{name}\n+++ b/{name}\n@@ -1 +1 @@\n-1\n+2\n")
    };
    assert_eq!(diff, format!("{}{}", one("one"), one("two")));
    let files: Vec<_> =
        gitlab.pull_requests().list_pull_request_files(&repo(), ID).try_collect().await.unwrap();
    let files: Vec<_> = files.iter().map(|file| (file.path.as_str(), file.action)).collect();
    assert_eq!(files, [("one", FileAction::Modified), ("two", FileAction::Modified)]);
}

/// A merge request whose rebase is looked at twice, then has ended so.
async fn rebasing(server: &MockServer, end: Value) {
    let behind = |more| with(merge_request("opened"), with(json!({"diverged_commits_count": 2}), more));
    let look = |body, times| {
        let look =
            Mock::given(method("GET")).and(path(AT)).and(query_param("include_rebase_in_progress", "true"));
        look.respond_with(ok(body)).up_to_n_times(times)
    };
    look(behind(json!({"rebase_in_progress": false, "merge_error": "of an earlier one"})), 1)
        .mount(server)
        .await;
    look(behind(json!({"rebase_in_progress": true})), 1).mount(server).await;
    look(behind(with(json!({"rebase_in_progress": false}), end)), 1).mount(server).await;
    let accepted = ResponseTemplate::new(202).set_body_json(json!({"rebase_in_progress": true}));
    answer(server, "PUT", &format!("{AT}/rebase"), accepted).await;
    let tip = json!({"name": "fix", "commit": {"id": "f".repeat(40)}});
    answer(server, "GET", "/api/v4/projects/1/repository/branches/fix", ok(tip)).await;
}

#[tokio::test]
async fn a_rebase_is_polled_to_its_end() {
    let server = MockServer::start().await;
    let pulls = gitlab(&server, "");
    let align = async |opts: Align| pulls.pull_requests().align_pull_request(&repo(), ID, &opts).await;
    rebasing(&server, json!({"merge_error": null})).await;
    let done = align(Align::default().with_skip_ci(true)).await.unwrap();
    assert_eq!(done, Alignment::Aligned { head: sha('f') }, "as the branch tells, not yet the merge request");
    assert_eq!(sent(&server, "PUT", &format!("{AT}/rebase")).await, [json!({"skip_ci": true})]);

    server.reset().await;
    let words = "Rebase failed: Rebase locally, resolve all conflicts, then push the branch.";
    rebasing(&server, json!({"merge_error": words})).await;
    let error = align(Align::default()).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Conflict, words));

    server.reset().await;
    rebasing(&server, json!({})).await;
    let error = align(Align::default().with_wait(Duration::from_millis(1))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn a_rebase_that_has_nothing_to_do_is_not_asked_for() {
    let server = MockServer::start().await;
    let pulls = gitlab(&server, "");
    let align = async |opts: Align| pulls.pull_requests().align_pull_request(&repo(), ID, &opts).await;
    let even = with(merge_request("opened"), json!({"diverged_commits_count": 0}));
    answer(&server, "GET", AT, ok(even)).await;
    assert_eq!(align(Align::default()).await.unwrap(), Alignment::UpToDate);
    server.reset().await;
    answer(&server, "GET", AT, ok(merge_request("merged"))).await;
    assert_eq!(align(Align::default()).await.unwrap_err().kind(), ErrorKind::Conflict);
    let error = align(Align::default().with_strategy(AlignStrategy::Merge)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(sent(&server, "PUT", &format!("{AT}/rebase")).await.is_empty());
}

#[tokio::test]
async fn a_merge_for_which_the_sha_is_wrong_says_so_in_the_servers_words() {
    let server = MockServer::start().await;
    let words = format!("SHA does not match HEAD of source branch: {}", "b".repeat(40));
    let refused = ResponseTemplate::new(409).set_body_json(json!({"message": words}));
    Mock::given(path(format!("{AT}/merge")))
        .and(body_partial_json(json!({"sha": "a".repeat(40)})))
        .respond_with(refused)
        .expect(1)
        .mount(&server)
        .await;
    let opts = MergePullRequest::default().with_expected_head(sha('a'));
    let error = gitlab(&server, "").pull_requests().merge_pull_request(&repo(), ID, &opts).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::PreconditionFailed, words.as_str()));
}
