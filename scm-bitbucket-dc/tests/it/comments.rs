//! Comments, tasks, builds and reports: where they go, in which versions, and what the server gives back.

use futures_util::TryStreamExt as _;
use scm_core::pipeline::ApiRequest;
use scm_core::{
    Annotation, AnnotationLevel, CheckState, CheckTarget, CodeReport, Comment, CommentPosition,
    CommentsExt as _, DiffSide, ErrorKind, FilePath, LineRange, ListComments, NewComment, NewPullRequest,
    NewStatus, PullRequestId, Resolution, Scm as _, UpdatePullRequest,
};
use scm_testkit::sim::bitbucket_dc::BitbucketDcSim;
use serde_json::{Value, json};
use wiremock::matchers::{method, path, query_param, query_param_is_missing};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::wire::{AT, answer, bitbucket, ok, repo};
use crate::world::{REPO, World, is, main};

fn lines(path: &str, old_path: Option<&str>, side: DiffSide, start: u32, end: u32) -> CommentPosition {
    CommentPosition::Lines {
        path: path.parse().unwrap(),
        old_path: old_path.map(|path| path.parse().unwrap()),
        lines: LineRange::lines(side, start, end).unwrap(),
    }
}

fn file(path: &str) -> CommentPosition {
    CommentPosition::File { path: path.parse().unwrap() }
}

/// Lines 1 and 3 stay, 2 is another; the file may have moved.
fn diff() -> Value {
    let line =
        |source: u32, destination: u32| json!({"source": source, "destination": destination, "line": "x"});
    json!({"diffs": [{"source": {"toString": "old.txt"}, "destination": {"toString": "a b.txt"}, "hunks": [{
        "sourceLine": 1, "sourceSpan": 3, "destinationLine": 1, "destinationSpan": 3, "segments": [
            {"type": "CONTEXT", "lines": [line(1, 1)]},
            {"type": "REMOVED", "lines": [line(2, 2)]},
            {"type": "ADDED", "lines": [line(3, 2)]},
            {"type": "CONTEXT", "lines": [line(3, 3)]}]}]}]})
}

#[tokio::test]
async fn a_comment_names_its_place_as_bitbucket_does() {
    let server = MockServer::start().await;
    let pull = format!("{AT}/pull-requests/7");
    answer(&server, "GET", "/rest/api/latest/application-properties", ok(json!({"version": "9.4.1"}))).await;
    let at = format!("{pull}/diff/dir/a%20b.txt");
    let by_source = Mock::given(method("GET")).and(path(at.as_str()));
    by_source.and(query_param("srcPath", "old.txt")).respond_with(ok(diff())).mount(&server).await;
    let plain = Mock::given(method("GET")).and(path(at.as_str()));
    plain.and(query_param_is_missing("srcPath")).respond_with(ok(diff())).mount(&server).await;
    let made = json!({"id": 5, "version": 0, "text": "text", "anchor": {"path": "dir/a b.txt"}});
    let made = ResponseTemplate::new(201).set_body_json(made);
    answer(&server, "POST", &format!("{pull}/comments"), made).await;
    let on = |old, side, start, end| {
        NewComment::new("text").with_position(lines("dir/a b.txt", old, side, start, end))
    };
    let anchor = |more: Value| {
        let mut anchor = json!({"path": "dir/a b.txt", "diffType": "EFFECTIVE"});
        for (name, more) in more.as_object().unwrap() {
            anchor[name] = more.clone();
        }
        json!({"text": "text", "anchor": anchor})
    };
    use DiffSide::{New, Old};
    let cases = [
        (NewComment::new("text"), json!({"text": "text"})),
        (NewComment::new("text").as_task(), json!({"text": "text", "severity": "BLOCKER"})),
        // On a whole file, neither a line nor a type of one.
        (NewComment::new("text").with_position(file("dir/a b.txt")), anchor(json!({}))),
        (on(None, New, 2, 2), anchor(json!({"line": 2, "lineType": "ADDED", "fileType": "TO"}))),
        (on(None, New, 3, 3), anchor(json!({"line": 3, "lineType": "CONTEXT", "fileType": "TO"}))),
        (on(None, New, 40, 40), anchor(json!({"line": 40, "lineType": "CONTEXT", "fileType": "TO"}))),
        (on(None, Old, 2, 2), anchor(json!({"line": 2, "lineType": "REMOVED", "fileType": "FROM"}))),
        (on(None, Old, 3, 3), anchor(json!({"line": 3, "lineType": "CONTEXT", "fileType": "FROM"}))),
        (
            on(Some("old.txt"), Old, 2, 2),
            anchor(json!({"srcPath": "old.txt", "line": 2, "lineType": "REMOVED", "fileType": "FROM"})),
        ),
        (
            on(None, New, 2, 3),
            anchor(json!({"line": 3, "lineType": "CONTEXT", "fileType": "TO",
                "multilineMarker": {"startLine": 2, "startLineType": "ADDED"},
                "multilineSpan": {"dstSpanStart": 2, "dstSpanEnd": 3}})),
        ),
    ];
    let scm = bitbucket(&server, "");
    for (new, _) in &cases {
        let made = scm.comments().create_comment(&repo(), PullRequestId::new(7), new).await.unwrap();
        assert_eq!((made.id.as_str(), made.thread.unwrap().as_str()), ("5", "5"));
        assert_eq!(made.position, file("dir/a b.txt"));
    }
    let sent = server.received_requests().await.unwrap();
    let bodies = sent.iter().filter(|request| request.method.as_str() == "POST");
    let bodies: Vec<Value> = bodies.map(|request| serde_json::from_slice(&request.body).unwrap()).collect();
    assert_eq!(bodies, cases.map(|(_, body)| body));
    let moved =
        sent.iter().filter(|request| request.url.query().is_some_and(|query| query.contains("srcPath")));
    assert_eq!(moved.count(), 1, "the lines of a file that moved are those of both names");
}

async fn all(world: &World, id: PullRequestId) -> Vec<Comment> {
    world.scm.comments().list_comments(&world.repo, id, ListComments::default()).try_collect().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn comments_stand_where_they_were_put() {
    let world = World::new().await;
    let pull = world.open("topic").await;
    let comments = world.scm.comments();
    let places = [
        CommentPosition::General,
        file("a.txt"),
        lines("a.txt", None, DiffSide::New, 3, 3),
        lines("a.txt", None, DiffSide::New, 1, 1),
        lines("a.txt", None, DiffSide::Old, 3, 3),
        lines("a.txt", None, DiffSide::Old, 2, 2),
        lines("a.txt", None, DiffSide::New, 2, 3),
    ];
    for position in &places {
        let new = NewComment::new("text").with_position(position.clone());
        let made = comments.create_comment(&world.repo, pull.id, &new).await.unwrap();
        assert_eq!(&made.position, position);
    }
    let listed = all(&world, pull.id).await;
    assert_eq!(listed.iter().map(|comment| comment.position.clone()).collect::<Vec<_>>(), places);
    let thread = listed[2].thread.clone().unwrap();
    let reply = comments.reply(&world.repo, pull.id, &thread, "answer").await.unwrap();
    let listed = all(&world, pull.id).await;
    assert_eq!((listed[3].id.clone(), listed[3].thread.clone()), (reply.id, Some(thread)));
    assert_eq!(listed[3].position, places[2], "a reply stands where its thread does");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_threads_and_replies_are_resolved_changed_and_deleted() {
    let world = World::new().await;
    let pull = world.open("topic").await;
    let (comments, repo) = (world.scm.comments(), &world.repo);
    let task = comments.create_comment(repo, pull.id, &NewComment::new("do").as_task()).await.unwrap();
    assert_eq!((task.task, task.resolved), (true, Some(false)));
    let plain = comments.create_comment(repo, pull.id, &NewComment::new("say")).await.unwrap();
    for comment in [&task, &plain] {
        let thread = comment.thread.as_ref().unwrap();
        for to in [Resolution::Resolved, Resolution::Resolved, Resolution::Open] {
            comments.resolve_thread(repo, pull.id, thread, to).await.unwrap();
            let now = all(&world, pull.id).await;
            let now = now.iter().find(|now| now.id == comment.id).unwrap();
            assert_eq!((now.resolved, now.task), (Some(to == Resolution::Resolved), comment.task));
        }
    }
    let edited = comments.edit_comment(repo, pull.id, &plain.id, "said").await.unwrap();
    assert_eq!(
        (edited.id.clone(), edited.body.as_str(), edited.thread.clone()),
        (plain.id.clone(), "said", plain.thread.clone())
    );
    let reply = comments.reply(repo, pull.id, plain.thread.as_ref().unwrap(), "answer").await.unwrap();
    let kept = comments.delete_comment(repo, pull.id, &plain.id).await;
    is(kept, ErrorKind::Conflict, "has replies");
    comments.delete_comment(repo, pull.id, &reply.id).await.unwrap();
    comments.delete_comment(repo, pull.id, &plain.id).await.unwrap();
    is(comments.delete_comment(repo, pull.id, &plain.id).await, ErrorKind::NotFound, "does not exist");
    // Others' text is theirs.
    let number = world.sim.add_comment(REPO, pull.id.get(), "ann", "hers").unwrap();
    let hers = number.to_string().parse().unwrap();
    is(
        comments.edit_comment(repo, pull.id, &hers, "mine").await,
        ErrorKind::PermissionDenied,
        "not permitted",
    );
    let bodies: Vec<_> = all(&world, pull.id).await.into_iter().map(|comment| comment.body).collect();
    assert_eq!(bodies, ["do", "hers"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threads_come_oldest_first_whatever_the_pages_of_the_server() {
    for builder in [
        BitbucketDcSim::builder(),
        BitbucketDcSim::builder().page_cap(2),
        BitbucketDcSim::builder().hidden_rows(),
    ] {
        let world = World::of(builder).await;
        let pull = world.open("topic").await;
        for n in 0..5 {
            world.sim.add_comment(REPO, pull.id.get(), "ann", &n.to_string()).unwrap();
        }
        let bodies =
            |all: &[Comment]| all.iter().map(|comment| comment.body.clone()).collect::<Vec<_>>().concat();
        assert_eq!(bodies(&all(&world, pull.id).await), "01234");
        let opts = ListComments::default().with_page_size(2);
        let mut at = None;
        let mut pages = Vec::new();
        loop {
            let comments = world.scm.comments();
            let page = comments.list_comments_page(&world.repo, pull.id, &opts, at.as_ref()).await.unwrap();
            at = page.next.clone().or(at);
            let more = page.next.is_some();
            pages.push(bodies(&page.into_items().unwrap()));
            if !more {
                break;
            }
        }
        assert_eq!(pages, ["01", "23", "4"]);
        let other = world.open("other").await;
        let foreign =
            world.scm.comments().list_comments_page(&world.repo, other.id, &opts, at.as_ref()).await;
        is(foreign, ErrorKind::InvalidInput, "belongs to another list");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_version_lacks_is_refused_with_the_version_that_has_it() {
    let below = [("8.8.1", "8.9"), ("8.14.0", "8.15"), ("8.16.4", "8.17"), ("9.3.2", "9.4")];
    for (version, needed) in below.into_iter().flat_map(|(old, new)| [(old, new), (new, new)]) {
        let world = World::of(BitbucketDcSim::builder().version(version)).await;
        let (scm, repo) = (&world.scm, &world.repo);
        let can = scm.capabilities().await.unwrap();
        let has = version == needed;
        let pull = world.open("topic").await;
        let done = match needed {
            "8.9" => {
                let status = NewStatus::new("ci", CheckState::Cancelled)
                    .with_url("https://ci.example.com/1".parse().unwrap());
                scm.checks().publish_status(repo, &world.head, &status).await.map(drop)
            }
            "8.15" => {
                assert_eq!(can.pull_request_auto_merge, has);
                scm.pull_requests().cancel_auto_merge(repo, pull.id).await.map(drop)
            }
            "8.17" => {
                assert_eq!(can.pull_request_draft, has);
                assert_eq!(pull.draft, has.then_some(false));
                // To be ready is what all of them are.
                let ready = UpdatePullRequest::default().with_draft(false);
                scm.pull_requests().update_pull_request(repo, pull.id, &ready).await.unwrap();
                let new = NewPullRequest::new(world.push("draft"), main(), "Draft").as_draft();
                let made = scm.pull_requests().create_pull_request(repo, &new).await;
                assert_eq!(made.as_ref().ok().and_then(|made| made.value.draft), has.then_some(true));
                let draft = UpdatePullRequest::default().with_draft(true);
                let again = scm.pull_requests().update_pull_request(repo, pull.id, &draft).await;
                assert_eq!(again.is_ok(), has);
                made.map(drop)
            }
            _ => {
                assert_eq!(can.comment_on_lines, has);
                let several =
                    NewComment::new("text").with_position(lines("a.txt", None, DiffSide::New, 2, 3));
                scm.comments().create_comment(repo, pull.id, &several).await.map(drop)
            }
        };
        match done {
            Err(error) if !has => {
                let words = format!("Bitbucket {needed}.0 or newer is needed, this is {version}");
                assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
                assert!(error.message().ends_with(&words), "{error} does not say {words:?}");
            }
            Err(error) if needed == "8.15" => is(Err::<(), _>(error), ErrorKind::Conflict, "does not wait"),
            done => assert!(has && done.is_ok(), "{version}: {done:?}"),
        }
        let unknown = world.sim.unknown_parameters();
        assert!(unknown.is_empty(), "{version}: {unknown:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_is_replaced_and_tells_of_its_commit() {
    let world = World::new().await;
    let pull = world.open("topic").await;
    let (checks, repo, head) = (world.scm.checks(), &world.repo, pull.head.clone().unwrap());
    let publish = async |key: &str, state| {
        let status = NewStatus::new(key, state)
            .with_url("https://ci.example.com/1".parse().unwrap())
            .with_name("Unit tests")
            .with_description("All of them")
            .with_branch("topic".parse().unwrap());
        checks.publish_status(repo, &head, &status).await.unwrap()
    };
    for state in [CheckState::Running, CheckState::Failed, CheckState::Cancelled, CheckState::Success] {
        let made = publish("ci", state.clone()).await;
        assert_eq!(
            (made.state.clone(), made.name.as_str(), made.sha.as_ref()),
            (state.clone(), "Unit tests", Some(&head))
        );
        let listed = checks.list_checks_page(repo, &head, None).await.unwrap().into_items().unwrap();
        assert_eq!(listed, [made]);
        let summary = checks.check_summary(repo, &CheckTarget::PullRequest(pull.id)).await.unwrap();
        let bad = matches!(state, CheckState::Failed | CheckState::Cancelled);
        assert_eq!(
            (summary.state, summary.failed.len(), summary.sha.as_ref()),
            (Some(state), usize::from(bad), Some(&head))
        );
    }
    publish("other", CheckState::Running).await;
    let summary = checks.check_summary(repo, &CheckTarget::Commit(head.clone())).await.unwrap();
    assert_eq!(summary.state, Some(CheckState::Running));
    let odd = NewStatus::new("ci", CheckState::Unknown("PAUSED".to_owned()))
        .with_url("https://ci.example.com/1".parse().unwrap());
    is(
        checks.publish_status(repo, &head, &odd).await,
        ErrorKind::InvalidInput,
        "no build of the state 'PAUSED'",
    );
    is(
        checks.list_checks_page(repo, &"e".repeat(40).parse().unwrap(), None).await,
        ErrorKind::NotFound,
        "eeeeeeee",
    );
    is(world.scm.ci_logs(), ErrorKind::Unsupported, "runs no CI and keeps no logs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_is_replaced_with_all_its_notes() {
    let world = World::new().await;
    let (checks, repo, head) = (world.scm.checks(), &world.repo, world.head.clone());
    let at = format!("rest/insights/latest/projects/PROJ/repos/repo/commits/{head}/reports/lint");
    let get = async |rest: &str| {
        let request = ApiRequest::to_path(http::Method::GET, &format!("{at}{rest}")).unwrap();
        world.scm.request(request).await.unwrap().json::<Value>().unwrap()
    };
    let note = |text: &str, level| Annotation::new(level, text);
    let path: FilePath = "a.txt".parse().unwrap();
    let first = CodeReport::new("lint", "Lint")
        .with_passed(false)
        .with_annotation(note("one", AnnotationLevel::High).at(path, 2))
        .with_annotation(note("two", AnnotationLevel::Low));
    checks.publish_report(repo, &head, &first).await.unwrap();
    let report = get("").await;
    assert_eq!((&report["title"], &report["result"]), (&json!("Lint"), &json!("FAIL")));
    assert_eq!(get("/annotations").await["annotations"].as_array().unwrap().len(), 2);
    let second = CodeReport::new("lint", "Lint again")
        .with_passed(true)
        .with_annotation(note("three", AnnotationLevel::Medium));
    for _ in 0..2 {
        checks.publish_report(repo, &head, &second).await.unwrap();
        let report = get("").await;
        assert_eq!((&report["title"], &report["result"]), (&json!("Lint again"), &json!("PASS")));
        let notes = get("/annotations").await["annotations"].as_array().unwrap().clone();
        assert_eq!(notes.len(), 1);
        assert_eq!((&notes[0]["message"], &notes[0]["severity"]), (&json!("three"), &json!("MEDIUM")));
    }
    let more = |report: CodeReport, _| report.with_annotation(note("x", AnnotationLevel::Low));
    let many = (0..1001).fold(CodeReport::new("lint", "Lint"), more);
    is(
        checks.publish_report(repo, &head, &many).await,
        ErrorKind::InvalidInput,
        "1001 notes: a report takes up to 1000",
    );
    is(
        checks.publish_report(repo, &head, &CodeReport::new(" ", "x")).await,
        ErrorKind::InvalidInput,
        "needs a key",
    );
}

/// Servers differ in what they leave out, how they name things, and how they write dates.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_of_a_server_is_understood() {
    let sim = BitbucketDcSim::builder;
    for builder in [
        sim().iso_dates(),
        sim().old_exception_names(),
        sim().page_cap(1),
        sim().hidden_rows(),
        sim().version("8.0.0"),
    ] {
        let shown = format!("{builder:?}");
        let world = World::of(builder).await;
        let pull = world.open("topic").await;
        let again = NewPullRequest::new("topic".parse().unwrap(), main(), "Change");
        let again = world.scm.pull_requests().create_pull_request(&world.repo, &again).await.unwrap();
        assert_eq!((again.is_created(), again.value.id), (false, pull.id), "{shown}");
        assert!(pull.created_at.is_some() && pull.updated_at.is_some(), "{shown}");
        let made = world
            .scm
            .comments()
            .create_comment(&world.repo, pull.id, &NewComment::new("text"))
            .await
            .unwrap();
        assert!(made.created_at.is_some(), "{shown}");
        for name in ["topic-a", "a-topic", "a/topic", "TOPIC"] {
            world.push(name);
        }
        let found = world.scm.branches().branch(&world.repo, &"topic".parse().unwrap()).await.unwrap();
        assert_eq!(Some(found.head), pull.head, "{shown}");
        let gone =
            world.scm.pull_requests().pull_request(&world.repo, PullRequestId::new(99)).await.unwrap_err();
        let told = (gone.kind(), gone.server_code(), gone.request_id().is_some());
        assert_eq!(told, (ErrorKind::NotFound, Some("NoSuchPullRequestException"), true), "{shown}");
    }
}
