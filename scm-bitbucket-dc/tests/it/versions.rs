//! Somebody else is quicker: what is read again and sent once more, and what never is. Against scripted answers, so that
//! each race happens.

use std::sync::atomic::{AtomicUsize, Ordering};

use scm_core::{
    Align, Alignment, Annotation, AnnotationLevel, CodeReport, CommentId, CommentPosition, DiffSide,
    ErrorKind, LineRange, MergePullRequest, NewComment, NewPullRequest, NewStatus, NewTag, PullRequestId,
    PullRequestState, Resolution, Scm as _, UpdatePullRequest,
};
use serde_json::{Value, json};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use crate::wire::{AT, answer, bitbucket, ok, refused, repo, sha};
use crate::world::is;

const ID: PullRequestId = PullRequestId::new(7);
const PULL: &str = "/rest/api/latest/projects/PROJ/repos/repo/pull-requests/7";

pub(crate) fn pull(version: u64, state: &str) -> Value {
    let repository = json!({"id": 1, "slug": "repo", "project": {"key": "PROJ"}});
    json!({"id": 7, "version": version, "title": format!("Title {version}"), "state": state,
        "description": format!("Text {version}"),
        "fromRef": {"id": "refs/heads/fix", "latestCommit": "a".repeat(40), "repository": repository},
        "toRef": {"id": "refs/heads/main", "latestCommit": "b".repeat(40), "repository": repository},
        "reviewers": [{"user": {"name": format!("reviewer{version}")}, "status": "UNAPPROVED"}]})
}

/// Each look at the pull request shows the next of these, and then the last one again.
async fn looks(server: &MockServer, shown: Vec<Value>) {
    let next = AtomicUsize::new(0);
    let look = move |_: &Request| {
        let at = next.fetch_add(1, Ordering::Relaxed).min(shown.len() - 1);
        ok(shown[at].clone())
    };
    Mock::given(method("GET")).and(path(PULL)).respond_with(look).mount(server).await;
}

/// Answers so many times with a refusal, and then with this.
async fn then(server: &MockServer, verb: &str, at: &str, refusal: (u16, &str), times: u64, done: Value) {
    let (status, exception) = refusal;
    Mock::given(method(verb))
        .and(path(at))
        .respond_with(refused(status, exception, "refused"))
        .up_to_n_times(times)
        .mount(server)
        .await;
    answer(server, verb, at, ok(done)).await;
}

/// Query and body of each request of this kind.
async fn sent(server: &MockServer, verb: &str, at: &str) -> Vec<(String, Value)> {
    let requests = server.received_requests().await.unwrap();
    let these = requests.iter().filter(|request| request.method.as_str() == verb && request.url.path() == at);
    these
        .map(|request| {
            let body = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
            (request.url.query().unwrap_or_default().to_owned(), body)
        })
        .collect()
}

const STALE: (u16, &str) = (409, "com.atlassian.bitbucket.pull.PullRequestOutOfDateException");
const RACE: (u16, &str) = (409, "com.atlassian.bitbucket.scm.MergeException");

#[tokio::test]
async fn a_change_is_made_again_of_what_somebody_else_has_made() {
    let server = MockServer::start().await;
    looks(&server, vec![pull(1, "OPEN"), pull(2, "OPEN")]).await;
    then(&server, "PUT", PULL, STALE, 1, pull(3, "OPEN")).await;
    let changes = UpdatePullRequest::default().with_title("Mine".to_owned());
    let scm = bitbucket(&server, "");
    let made = scm.pull_requests().update_pull_request(&repo(), ID, &changes).await.unwrap();
    assert_eq!(made.title, "Title 3");
    let body = |version: u64| {
        json!({"version": version, "title": "Mine", "description": format!("Text {version}"),
            "reviewers": [{"user": {"name": format!("reviewer{version}")}}],
            "toRef": {"id": "refs/heads/main", "repository": {"slug": "repo", "project": {"key": "PROJ"}}}})
    };
    assert_eq!(sent(&server, "PUT", PULL).await, [(String::new(), body(1)), (String::new(), body(2))]);
}

#[tokio::test]
async fn a_state_is_changed_again_of_what_somebody_else_has_made() {
    for (action, before, after) in [("decline", "OPEN", "DECLINED"), ("reopen", "DECLINED", "OPEN")] {
        let at = format!("{PULL}/{action}");
        let call = async |server: &MockServer| {
            let scm = bitbucket(server, "");
            match action {
                "decline" => scm.pull_requests().close_pull_request(&repo(), ID).await,
                _ => scm.pull_requests().reopen_pull_request(&repo(), ID).await,
            }
        };
        let server = MockServer::start().await;
        looks(&server, vec![pull(1, before), pull(2, before)]).await;
        then(&server, "POST", &at, STALE, 1, pull(3, after)).await;
        let done = call(&server).await.unwrap();
        assert_eq!(done.state == PullRequestState::Open, after == "OPEN");
        let one = |version| (format!("version={version}"), Value::Null);
        assert_eq!(sent(&server, "POST", &at).await, [one(1), one(2)], "{action}");
        // Who was quicker wanted the same.
        let server = MockServer::start().await;
        looks(&server, vec![pull(1, before), pull(2, after)]).await;
        answer(&server, "POST", &at, refused(STALE.0, STALE.1, "stale")).await;
        assert_eq!(call(&server).await.unwrap().title, "Title 2", "{action}");
        assert_eq!(sent(&server, "POST", &at).await, [one(1)], "{action}");
    }
}

#[tokio::test]
async fn who_is_overtaken_twice_is_told() {
    let server = MockServer::start().await;
    looks(&server, vec![pull(1, "OPEN"), pull(2, "OPEN"), pull(3, "OPEN")]).await;
    answer(&server, "PUT", PULL, refused(STALE.0, STALE.1, "out-of-date information")).await;
    let changes = UpdatePullRequest::default().with_title("Mine".to_owned());
    let scm = bitbucket(&server, "");
    let done = scm.pull_requests().update_pull_request(&repo(), ID, &changes).await;
    is(done, ErrorKind::Conflict, "out-of-date information");
    assert_eq!(sent(&server, "PUT", PULL).await.len(), 2);
    let decline = format!("{PULL}/decline");
    answer(&server, "POST", &decline, refused(STALE.0, STALE.1, "out-of-date information")).await;
    is(scm.pull_requests().close_pull_request(&repo(), ID).await, ErrorKind::Conflict, "out-of-date");
    assert_eq!(sent(&server, "POST", &decline).await.len(), 2);
}

/// The branch of the source, which is asked for where the pull request may be late.
async fn branch_at(server: &MockServer, tip: char) {
    let branch = json!({"id": "refs/heads/fix", "latestCommit": tip.to_string().repeat(40)});
    let page = json!({"values": [branch], "isLastPage": true, "start": 0});
    answer(server, "GET", &format!("{AT}/branches"), ok(page)).await;
}

#[tokio::test]
async fn a_merge_comes_again_only_for_the_head_that_the_caller_has_seen() {
    let at = format!("{PULL}/merge");
    let seen = MergePullRequest::default().with_expected_head(sha('a'));
    let moved = |version| {
        let mut moved = pull(version, "OPEN");
        moved["fromRef"]["latestCommit"] = json!("c".repeat(40));
        moved
    };
    for refusal in [STALE, RACE] {
        // The head is as it was: once more, with what is there now.
        let server = MockServer::start().await;
        looks(&server, vec![pull(1, "OPEN"), pull(2, "OPEN")]).await;
        then(&server, "POST", &at, refusal, 1, pull(3, "MERGED")).await;
        let scm = bitbucket(&server, "");
        let merged = scm.pull_requests().merge_pull_request(&repo(), ID, &seen).await.unwrap();
        assert_eq!(merged.state, PullRequestState::Merged);
        let queries = sent(&server, "POST", &at).await.into_iter().map(|(query, _)| query);
        assert_eq!(queries.collect::<Vec<_>>(), ["version=1", "version=2"]);
        // Twice overtaken.
        let server = MockServer::start().await;
        looks(&server, vec![pull(1, "OPEN")]).await;
        answer(&server, "POST", &at, refused(refusal.0, refusal.1, "overtaken")).await;
        let scm = bitbucket(&server, "");
        let done = scm.pull_requests().merge_pull_request(&repo(), ID, &seen).await;
        is(done, ErrorKind::Conflict, "overtaken");
        assert_eq!(sent(&server, "POST", &at).await.len(), 2, "{refusal:?}");
        // The caller has seen nothing: what would be merged now may be another thing.
        let server = MockServer::start().await;
        looks(&server, vec![pull(1, "OPEN"), pull(2, "OPEN")]).await;
        then(&server, "POST", &at, refusal, 1, pull(3, "MERGED")).await;
        let scm = bitbucket(&server, "");
        let done = scm.pull_requests().merge_pull_request(&repo(), ID, &MergePullRequest::default()).await;
        is(done, ErrorKind::Conflict, "refused");
        assert_eq!(sent(&server, "POST", &at).await.len(), 1, "{refusal:?}");
        // The head has moved.
        let server = MockServer::start().await;
        looks(&server, vec![pull(1, "OPEN"), moved(2)]).await;
        branch_at(&server, 'c').await;
        answer(&server, "POST", &at, refused(refusal.0, refusal.1, "overtaken")).await;
        let scm = bitbucket(&server, "");
        let done = scm.pull_requests().merge_pull_request(&repo(), ID, &seen).await;
        is(done, ErrorKind::PreconditionFailed, "the source branch is at cccccccc");
        assert_eq!(sent(&server, "POST", &at).await.len(), 1, "{refusal:?}");
    }
    // Other refusals are final.
    let server = MockServer::start().await;
    looks(&server, vec![pull(1, "OPEN")]).await;
    answer(&server, "POST", &at, refused(409, "x.PullRequestMergeVetoedException", "vetoed")).await;
    let scm = bitbucket(&server, "");
    let done = scm.pull_requests().merge_pull_request(&repo(), ID, &seen).await;
    is(done, ErrorKind::Conflict, "vetoed");
    assert_eq!(sent(&server, "POST", &at).await.len(), 1);
}

#[tokio::test]
async fn a_push_that_the_pull_request_has_not_seen_yet_is_waited_for() {
    let server = MockServer::start().await;
    let mut late = pull(1, "OPEN");
    late["fromRef"]["latestCommit"] = json!("9".repeat(40));
    looks(&server, vec![late.clone(), late, pull(1, "OPEN")]).await;
    branch_at(&server, 'a').await;
    answer(&server, "POST", &format!("{PULL}/merge"), ok(pull(2, "MERGED"))).await;
    let seen = MergePullRequest::default().with_expected_head(sha('a'));
    let scm = bitbucket(&server, "");
    let merged = scm.pull_requests().merge_pull_request(&repo(), ID, &seen).await.unwrap();
    assert_eq!(merged.state, PullRequestState::Merged);
    assert_eq!(sent(&server, "GET", PULL).await.len(), 3);
}

#[tokio::test]
async fn what_a_rebase_answers_is_told_apart() {
    let at = "/rest/git/latest/projects/PROJ/repos/repo/pull-requests/7/rebase";
    let to = |c: char| json!({"refChange": {"fromHash": "a".repeat(40), "toHash": c.to_string().repeat(40)}});
    let align = async |answers: Vec<ResponseTemplate>| {
        let server = MockServer::start().await;
        looks(&server, vec![pull(1, "OPEN"), pull(2, "OPEN")]).await;
        for (n, one) in answers.into_iter().enumerate() {
            let mock = Mock::given(method("POST")).and(path(at)).respond_with(one);
            mock.with_priority(u8::try_from(n).unwrap() + 1).up_to_n_times(1).mount(&server).await;
        }
        let scm = bitbucket(&server, "");
        let done = scm.pull_requests().align_pull_request(&repo(), ID, &Align::default()).await;
        let versions: Vec<_> = sent(&server, "POST", at).await.into_iter().map(|(_, body)| body).collect();
        (done, versions)
    };
    let one = json!({"version": 1});
    let (done, sent) = align(vec![ok(to('c'))]).await;
    assert_eq!((done.unwrap(), sent), (Alignment::Aligned { head: sha('c') }, vec![one.clone()]));
    let (done, sent) = align(vec![ok(to('a'))]).await;
    assert_eq!((done.unwrap(), sent), (Alignment::UpToDate, vec![one.clone()]));
    let (done, sent) = align(vec![ResponseTemplate::new(204)]).await;
    assert_eq!((done.unwrap(), sent), (Alignment::UpToDate, vec![one.clone()]));
    let (done, sent) = align(vec![refused(STALE.0, STALE.1, "stale"), ok(to('c'))]).await;
    assert_eq!(
        (done.unwrap(), sent),
        (Alignment::Aligned { head: sha('c') }, vec![one, json!({"version": 2})])
    );
    let conflict = refused(409, "x.PullRequestRebaseConflictException", "has conflicts");
    is(align(vec![conflict]).await.0, ErrorKind::Conflict, "has conflicts");
    let unknown =
        ResponseTemplate::new(404).set_body_json(json!({"message": "null for uri", "status-code": 404}));
    is(align(vec![unknown]).await.0, ErrorKind::Unsupported, "no call for a rebase");
    let gone = refused(404, "x.NoSuchPullRequestException", "No pull request");
    is(align(vec![gone]).await.0, ErrorKind::NotFound, "No pull request");
}

fn comment(version: u64, more: Value) -> Value {
    let mut comment = json!({"id": 5, "version": version, "text": "text", "author": {"name": "bot"}});
    for (name, more) in more.as_object().unwrap() {
        comment[name] = more.clone();
    }
    comment
}

#[tokio::test]
async fn a_comment_is_changed_again_of_what_somebody_else_has_made() {
    let at = format!("{PULL}/comments/5");
    let stale = (409, "com.atlassian.bitbucket.comment.CommentOutOfDateException");
    let id: CommentId = "5".parse().unwrap();
    for verb in ["PUT", "DELETE", "resolve"] {
        let server = MockServer::start().await;
        let next = AtomicUsize::new(1);
        let look = move |_: &Request| ok(comment(next.fetch_add(1, Ordering::Relaxed) as u64, json!({})));
        Mock::given(method("GET")).and(path(at.as_str())).respond_with(look).mount(&server).await;
        let method = if verb == "DELETE" { "DELETE" } else { "PUT" };
        then(&server, method, &at, stale, 1, comment(3, json!({}))).await;
        let scm = bitbucket(&server, "");
        let comments = scm.comments();
        match verb {
            "PUT" => comments.edit_comment(&repo(), ID, &id, "new").await.map(drop),
            "DELETE" => comments.delete_comment(&repo(), ID, &id).await,
            _ => comments.resolve_thread(&repo(), ID, &"5".parse().unwrap(), Resolution::Resolved).await,
        }
        .unwrap();
        let expected = match verb {
            "PUT" => [1, 2].map(|n| (String::new(), json!({"version": n, "text": "new"}))),
            "DELETE" => [1, 2].map(|n| (format!("version={n}"), Value::Null)),
            _ => [1, 2].map(|n| (String::new(), json!({"version": n, "threadResolved": true}))),
        };
        assert_eq!(sent(&server, method, &at).await, expected, "{verb}");
        // And not for ever.
        server.reset().await;
        answer(&server, "GET", &at, ok(comment(1, json!({})))).await;
        answer(&server, method, &at, refused(stale.0, stale.1, "stale")).await;
        let error = match verb {
            "PUT" => comments.edit_comment(&repo(), ID, &id, "new").await.map(drop),
            "DELETE" => comments.delete_comment(&repo(), ID, &id).await,
            _ => comments.resolve_thread(&repo(), ID, &"5".parse().unwrap(), Resolution::Open).await,
        };
        is(error, ErrorKind::Conflict, "stale");
        assert_eq!(sent(&server, method, &at).await.len(), 2, "{verb}");
    }
}

/// Everything that writes says that no browser was tricked into it, and nothing that reads does.
#[tokio::test]
async fn writing_carries_the_header_against_forgery_and_reading_does_not() {
    let server = MockServer::start().await;
    let mut all = pull(1, "OPEN");
    let more = json!({"version": 1, "text": "x", "displayId": "x", "latestCommit": "a".repeat(40), "values": [all.clone()],
        "isLastPage": true, "diffs": [], "refChange": {"toHash": "a".repeat(40)}, "slug": "repo",
        "project": {"key": "PROJ"}});
    for (name, more) in more.as_object().unwrap() {
        all[name] = more.clone();
    }
    Mock::given(wiremock::matchers::any()).respond_with(ok(all)).mount(&server).await;
    let (scm, repo) = (bitbucket(&server, ""), repo());
    let (pulls, comments, branches) = (scm.pull_requests(), scm.comments(), scm.branches());
    let new = NewPullRequest::new("fix".parse().unwrap(), "main".parse().unwrap(), "Fix")
        .without_default_reviewers();
    let line = CommentPosition::Lines {
        path: "a.txt".parse().unwrap(),
        old_path: None,
        lines: LineRange::line(DiffSide::New, 1).unwrap(),
    };
    let status = NewStatus::new("ci", scm_core::CheckState::Success)
        .with_url("https://ci.example.com/1".parse().unwrap());
    let main = "main".parse().unwrap();
    let id: CommentId = "5".parse().unwrap();
    let thread = "5".parse().unwrap();
    // What is made of the answers does not matter.
    let _ = pulls.create_pull_request(&repo, &new).await;
    let _ = pulls.update_pull_request(&repo, ID, &UpdatePullRequest::default().with_title("x".into())).await;
    let _ = pulls.close_pull_request(&repo, ID).await;
    let _ = pulls.merge_pull_request(&repo, ID, &MergePullRequest::default()).await;
    let _ = pulls.approve_pull_request(&repo, ID, &Default::default()).await;
    let _ = pulls.unapprove_pull_request(&repo, ID).await;
    let _ = pulls.align_pull_request(&repo, ID, &Align::default()).await;
    let _ = comments.create_comment(&repo, ID, &NewComment::new("x").with_position(line)).await;
    let _ = comments.reply(&repo, ID, &thread, "x").await;
    let _ = comments.edit_comment(&repo, ID, &id, "x").await;
    let _ = comments.delete_comment(&repo, ID, &id).await;
    let _ = comments.resolve_thread(&repo, ID, &thread, Resolution::Resolved).await;
    let _ = branches.create_branch(&repo, &"new".parse().unwrap(), &sha('a').into()).await;
    let _ = branches.delete_branch(&repo, &main, &Default::default()).await;
    let _ = scm.checks().publish_status(&repo, &sha('a'), &status).await;
    let tag = NewTag::new("v1".parse().unwrap(), sha('a').into());
    let _ = branches.create_tag(&repo, &tag).await;
    let report = CodeReport::new("lint", "Lint").with_annotation(Annotation::new(AnnotationLevel::Low, "x"));
    let _ = scm.checks().publish_report(&repo, &sha('a'), &report).await;
    let (mut reads, mut writes) = (0, 0);
    for request in server.received_requests().await.unwrap() {
        let header = request.headers.get("x-atlassian-token").map(|value| value.to_str().unwrap());
        let reading = request.method.as_str() == "GET";
        *(if reading { &mut reads } else { &mut writes }) += 1;
        assert_eq!(header, (!reading).then_some("no-check"), "{} {}", request.method, request.url.path());
    }
    assert!(reads >= 8 && writes >= 18, "{reads} reads, {writes} writes");
}
