//! A GitLab client against sockets that misbehave, over the direct route, with retry and limits on.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _, future};
use http::Method;
use scm_core::pipeline::{ApiRequest, Limits, PipelineSettings};
use scm_core::{
    Branch, CallOptions, Change, CiLogs as _, Delivery, Error, ErrorKind, FileChange, JobLog, NewCommit,
    Priority, RepoId, Result, Revision, Scm, StaticCredential, Transport,
};
use scm_gitlab::{GitLab, GitLabConfig};
use scm_testkit::fault::StoppedClock;
use scm_testkit::fault::socket::{Script, ScriptedServer, SeenRequest, closed_port};
use tokio::sync::Semaphore;

use crate::world::{direct, retry};

/// Longer than anything here takes, so that a defect fails the test in place of hanging it.
const PATIENCE: Duration = Duration::from_secs(120);
const PARENT: &str = "1111111111111111111111111111111111111111";
const MADE: &str = "2222222222222222222222222222222222222222";

fn client_over(
    transport: &Transport,
    url: &str,
    set: impl FnOnce(PipelineSettings) -> PipelineSettings,
) -> GitLab {
    let credential = Arc::new(StaticCredential::token("glpat-fire".into()));
    let settings = PipelineSettings::default().with_retry(retry()).with_max_body(4_096);
    let config = GitLabConfig::new(url, credential).unwrap().with_pipeline(set(settings));
    GitLab::new(config, transport.clone()).unwrap()
}

fn client(url: &str, set: impl FnOnce(PipelineSettings) -> PipelineSettings) -> GitLab {
    client_over(&direct(), url, set)
}

fn usual(settings: PipelineSettings) -> PipelineSettings {
    settings
}

/// A client whose deadlines come when the test says so.
fn stopped(url: &str) -> (GitLab, StoppedClock) {
    let clock = StoppedClock::at("2026-11-21T10:00:00Z".parse().unwrap());
    (client(url, |settings| settings.with_clock(Arc::new(clock.clone()))), clock)
}

/// Longer than a call may take by default.
const TOO_LONG: Duration = Duration::from_secs(121);

fn repo() -> RepoId {
    "group/repo".parse().unwrap()
}

async fn read(gitlab: &GitLab) -> Result<Branch> {
    let name = "main".parse().unwrap();
    tokio::time::timeout(PATIENCE, gitlab.branches().branch(&repo(), &name)).await.unwrap()
}

async fn create(gitlab: &GitLab) -> Result<Branch> {
    let (name, from) = ("new".parse().unwrap(), Revision::Branch("main".parse().unwrap()));
    tokio::time::timeout(PATIENCE, gitlab.branches().create_branch(&repo(), &name, &from)).await.unwrap()
}

fn branch_json(name: &str) -> String {
    format!(r#"{{"name":"{name}","commit":{}}}"#, commit_json(PARENT, "", "Start"))
}

fn commit_json(sha: &str, parent: &str, message: &str) -> String {
    let parents = if parent.is_empty() { String::new() } else { format!("\"{parent}\"") };
    format!(
        r#"{{"id":"{sha}","short_id":"{}","title":"{message}","message":"{message}","parent_ids":[{parents}],"author_name":"Bot","author_email":"bot@example.com","authored_date":"2026-01-02T03:04:05.000Z","committed_date":"2026-01-02T03:04:05.000Z","created_at":"2026-01-02T03:04:05.000Z"}}"#,
        &sha[..8]
    )
}

type Told = (ErrorKind, Delivery, Option<u16>);

fn told(error: &Error) -> Told {
    (error.kind(), error.delivery(), error.status().map(|status| status.as_u16()))
}

/// What happens; error and status; how often a reading and a creating call reach the server.
struct Case(&'static str, Script, Told, [usize; 2]);

#[tokio::test]
async fn what_breaks_is_told_and_only_reading_is_repeated() {
    use Delivery::{Answered, Unknown};
    use ErrorKind::{Decode, Unavailable};

    let answered = |status: &str, rest: &str| {
        Script::new()
            .request()
            .write(format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{rest}"))
    };
    let flood: String = (0..200).map(|n| format!("x-{n}: {}\r\n", "y".repeat(50))).collect();
    let long = format!("Content-Length: 5000\r\n\r\n{}", "x".repeat(5000));
    let chunks =
        format!("Transfer-Encoding: chunked\r\n\r\n{}", format!("800\r\n{}\r\n", "x".repeat(2048)).repeat(4));
    #[rustfmt::skip]
    let cases = [
        Case("closed before the head was read", Script::new().touch().half_close(), (Unavailable, Unknown, None), [5, 1]),
        Case("reset before the head was read", Script::new().touch().reset(), (Unavailable, Unknown, None), [5, 1]),
        Case("closed before any answer", Script::new().request(), (Unavailable, Unknown, None), [5, 1]),
        Case("reset before any answer", Script::new().request().reset(), (Unavailable, Unknown, None), [5, 1]),
        Case("closed within the head", answered("200 OK", "Content-Le"), (Unavailable, Unknown, None), [5, 1]),
        Case("reset within the head", answered("200 OK", "Content-Le").reset(), (Unavailable, Unknown, None), [5, 1]),
        Case("body shorter than said", answered("200 OK", "Content-Length: 100\r\n\r\n{\"name\":"), (Unavailable, Unknown, Some(200)), [5, 1]),
        Case("created, and then cut", answered("201 Created", "Content-Length: 100\r\n\r\n{\"name\":"), (Unavailable, Unknown, Some(201)), [5, 1]),
        Case("chunks without an end", answered("200 OK", "Transfer-Encoding: chunked\r\n\r\n4\r\n{\"na\r\n"), (Unavailable, Unknown, Some(200)), [5, 1]),
        Case("a chunk of no size", answered("200 OK", "Transfer-Encoding: chunked\r\n\r\nQQ\r\n{}\r\n").stall(), (Unavailable, Unknown, Some(200)), [5, 1]),
        Case("a body over the limit", answered("200 OK", &long).stall(), (Decode, Answered, Some(200)), [1, 1]),
        Case("chunks over the limit", answered("201 Created", &chunks).stall(), (Decode, Answered, Some(201)), [1, 1]),
        Case("a status that is none", answered("abc", "\r\n").stall(), (Decode, Unknown, None), [1, 1]),
        Case("another protocol", Script::new().request().write("SSH-2.0-OpenSSH_9.6\r\n\r\n").stall(), (Decode, Unknown, None), [1, 1]),
        Case("two lengths", answered("200 OK", "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}").stall(), (Decode, Unknown, None), [1, 1]),
        Case("a flood of headers", answered("200 OK", &format!("{flood}\r\n{{}}")).stall(), (Decode, Unknown, None), [1, 1]),
        Case("broken JSON", Script::new().request().json(201, "{\"name\":"), (Decode, Answered, Some(201)), [1, 1]),
        Case("a login page", Script::new().request().answer(200, &[("Content-Type", "text/html")], "<html>"), (Decode, Answered, Some(200)), [1, 1]),
        Case("a gateway's 502", Script::new().request().answer(502, &[("Content-Type", "text/html")], "<html>"), (Unavailable, Answered, Some(502)), [5, 1]),
    ];
    // All at the same time, over one transport: making one takes longer than the calls do.
    let transport = direct();
    let mut calls = Vec::new();
    for Case(what, script, expected, times) in cases {
        for (creates, times) in [false, true].into_iter().zip(times) {
            let server = ScriptedServer::start([script.clone()]).await.unwrap();
            let gitlab = client_over(&transport, &server.url(), usual);
            calls.push(async move {
                let done = if creates { create(&gitlab).await } else { read(&gitlab).await };
                let seen = (told(&done.unwrap_err()), server.connections());
                assert_eq!(
                    seen,
                    (expected, times),
                    "{what}, {}",
                    if creates { "creating" } else { "reading" }
                );
            });
        }
    }
    future::join_all(calls).await;
}

#[tokio::test]
async fn slow_bytes_and_silence_meet_the_deadline() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n";
    let pause = Duration::from_millis(20);
    for (what, script) in [
        ("silence", Script::new().request().stall()),
        ("a head drop by drop", Script::new().request().drip(head, pause).stall()),
        ("a body drop by drop", Script::new().request().write(head).drip(" ".repeat(900), pause)),
    ] {
        for creates in [false, true] {
            let server = ScriptedServer::start([script.clone()]).await.unwrap();
            let (gitlab, clock) = stopped(&server.url());
            let call = async { if creates { create(&gitlab).await } else { read(&gitlab).await } };
            let late = async {
                until(|| server.requests().len() == 1).await;
                clock.advance(TOO_LONG);
            };
            let (done, ()) = future::join(call, late).await;
            let expected = (ErrorKind::Timeout, Delivery::Unknown, None);
            assert_eq!((told(&done.unwrap_err()), server.connections()), (expected, 1), "{what}");
            // The server sees it too.
            tokio::time::timeout(PATIENCE, server.ended(1)).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_was_sent_nothing() {
    let gitlab = client(&format!("http://{}", closed_port().await.unwrap()), usual);
    for error in [read(&gitlab).await.unwrap_err(), create(&gitlab).await.unwrap_err()] {
        assert_eq!(told(&error), (ErrorKind::Connect, Delivery::NotSent, None));
    }
    // The system takes the connection, and nobody ever looks at it.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (gitlab, clock) = stopped(&format!("http://{}", listener.local_addr().unwrap()));
    for creates in [false, true] {
        let call = async { if creates { create(&gitlab).await } else { read(&gitlab).await } };
        let (done, ()) = future::join(call, async { clock.advance(TOO_LONG) }).await;
        assert_eq!(told(&done.unwrap_err()), (ErrorKind::Timeout, Delivery::Unknown, None));
    }
}

#[tokio::test]
async fn reading_goes_on_after_a_failure_that_passes() {
    let json = Script::new().request().json(200, &branch_json("main"));
    for (what, broken) in [
        ("reset", Script::new().request().reset()),
        ("cut", Script::new().request().write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"name\":")),
        ("502", Script::new().request().answer(502, &[], "")),
    ] {
        let server = ScriptedServer::start([broken.clone(), broken, json.clone()]).await.unwrap();
        let branch = read(&client(&server.url(), usual)).await.unwrap();
        assert_eq!((branch.name.as_str(), branch.head.as_str()), ("main", PARENT), "{what}");
        assert_eq!(server.requests().len(), 3, "{what}");
    }
}

fn methods(server: &ScriptedServer) -> Vec<String> {
    server.requests().into_iter().map(|seen| seen.method).collect()
}

#[tokio::test]
async fn a_commit_cut_off_after_its_201_is_looked_for_and_not_made_twice() {
    let commit = NewCommit::on_new_branch("fix".parse().unwrap(), PARENT.parse().unwrap(), "Fix it")
        .with_change(FileChange::create("a.txt".parse().unwrap(), "1\n"));
    let repo = repo();
    let made = commit_json(MADE, PARENT, "Fix it");
    let other = commit_json(PARENT, "", "Start");
    let cut = Script::new()
        .request()
        .write(format!("HTTP/1.1 201 Created\r\nContent-Length: 900\r\n\r\n{}", &made[..60]));
    let late = Script::new().request().stall();
    let found = Script::new().request().json(200, &format!("[{made},{other}]"));
    for (what, broken) in [("cut", &cut), ("late", &late)] {
        let server = ScriptedServer::start([broken.clone(), found.clone()]).await.unwrap();
        let (gitlab, clock) = stopped(&server.url());
        let commits = gitlab.commits();
        let call = commits.create_commit(&repo, &commit);
        let deadline = async {
            until(|| server.requests().len() == 1).await;
            if what == "late" {
                clock.advance(TOO_LONG);
            }
        };
        let (ensured, ()) = future::join(call, deadline).await;
        let ensured = ensured.unwrap();
        assert_eq!((ensured.change, ensured.value.sha.as_str()), (Change::Created, MADE), "{what}");
        assert_eq!(methods(&server), ["POST", "GET"], "{what}");
    }
    // Where nobody can look, the caller is told.
    let down = Script::new().request().answer(503, &[], "");
    let server = ScriptedServer::start([cut, down]).await.unwrap();
    let error = client(&server.url(), usual).commits().create_commit(&repo, &commit).await.unwrap_err();
    assert_eq!((error.delivery(), error.operation()), (Delivery::Unknown, Some("create_commit")));
    assert_eq!(methods(&server), ["POST", "GET", "GET", "GET", "GET", "GET"]);
}

#[tokio::test]
async fn a_commit_on_a_branch_that_exists_is_never_sent_twice() {
    let commit = NewCommit::on_branch("main".parse().unwrap(), "Fix it")
        .with_operation_id("job-1".parse().unwrap())
        .with_change(FileChange::create("a.txt".parse().unwrap(), "1\n"));
    // The server may still be at it when it is looked for: a second commit would come beside the first.
    let none = Script::new().request().json(200, &format!("[{}]", commit_json(PARENT, "", "Start")));
    let server = ScriptedServer::start([none.clone(), Script::new().request().stall(), none]).await.unwrap();
    let (gitlab, clock) = stopped(&server.url());
    let repo = repo();
    let deadline = async {
        until(|| server.requests().len() == 2).await;
        clock.advance(TOO_LONG);
    };
    let (made, ()) = future::join(gitlab.commits().create_commit(&repo, &commit), deadline).await;
    let error = made.unwrap_err();
    assert_eq!(told(&error), (ErrorKind::Timeout, Delivery::Unknown, None));
    assert_eq!(methods(&server), ["GET", "POST", "GET"]);
}

/// Both forms in which GitLab says 429, and what its headers ask for.
#[tokio::test]
async fn one_429_pauses_all_callers_for_as_long_as_it_says() {
    let application =
        r#"{"message":{"error":"This endpoint has been requested too many times. Try again later."}}"#;
    let (json, text) = (("Content-Type", "application/json"), ("Content-Type", "text/plain"));
    for (headers, body, pause) in [
        (&[json, ("Retry-After", "60")][..], application, 60),
        (&[text, ("Retry-After", "17"), ("RateLimit-Reset", "1795255299")], "Retry later\n", 17),
        (&[text, ("Retry-After", "Sat, 21 Nov 2026 10:01:30 GMT")], "Retry later\n", 90),
        (&[text, ("RateLimit-Reset", "1795255245")], "Retry later\n", 45),
    ] {
        let refused = Script::new().request().answer(429, headers, body);
        let fine = Script::new().request().json(200, &branch_json("main"));
        let server = ScriptedServer::start([refused, fine]).await.unwrap();
        let clock = StoppedClock::at("2026-11-21T10:00:00Z".parse().unwrap());
        let gitlab = client(&server.url(), |settings| settings.with_clock(Arc::new(clock.clone())));
        let pause = Duration::from_secs(pause);

        let (repo, name) = (repo(), "main".parse().unwrap());
        let bulk = gitlab.with_options(CallOptions::default().with_priority(Priority::Bulk));
        let first = gitlab.branches().branch(&repo, &name).boxed();
        let others = (0..7).map(|n| {
            let (gitlab, bulk): (&dyn Scm, _) = (&gitlab, &*bulk);
            let scm = if n % 2 == 0 { gitlab } else { bulk };
            let (repo, name, clock) = (&repo, &name, &clock);
            async move {
                // Once the first one has been refused.
                clock.asleep(1, pause).await;
                scm.branches().branch(repo, name).await
            }
            .boxed()
        });
        let calls = future::join_all([first].into_iter().chain(others));
        let script = async {
            clock.asleep(8, pause).await;
            assert_eq!(server.requests().len(), 1, "{headers:?}");
            clock.advance(pause - Duration::from_secs(1));
            assert_eq!(clock.sleepers(Duration::from_secs(1)), 8, "{headers:?}");
            assert_eq!(server.requests().len(), 1, "{headers:?}: nothing leaves in the pause");
            clock.advance(Duration::from_secs(1));
        };
        let (done, ()) = tokio::time::timeout(PATIENCE, future::join(calls, script)).await.unwrap();
        assert!(done.iter().all(Result::is_ok), "{done:?}");
        assert_eq!(server.requests().len(), 9, "{headers:?}");
    }
}

#[tokio::test]
async fn a_429_without_a_wait_that_can_be_kept_backs_off_or_is_told() {
    for (headers, told) in [
        (&[][..], None),
        (&[("Retry-After", "-1")], None),
        (&[("Retry-After", "later")], None),
        (&[("Retry-After", "31536000")], Some(31_536_000)),
    ] {
        let refused = Script::new().request().answer(429, headers, "Retry later\n");
        let server = ScriptedServer::start([refused]).await.unwrap();
        let error = create(&client(&server.url(), usual)).await.unwrap_err();
        assert_eq!((error.kind(), error.delivery()), (ErrorKind::RateLimited, Delivery::Answered));
        assert_eq!(error.retry_after().map(|wait| wait.as_secs()), told, "{headers:?}");
        assert_eq!(error.to_string(), "create_branch: rate limited (429): Retry later");
        // Refused is refused, so that a creating call comes again, too: five times, or not at all.
        assert_eq!(server.requests().len(), if told.is_some() { 1 } else { 5 }, "{headers:?}");
    }
}

#[tokio::test]
async fn a_scan_leaves_room_for_a_call_over_real_connections() {
    let gate = Arc::new(Semaphore::new(0));
    let script = Script::new().request().gate(&gate).json(200, &branch_json("main"));
    let server = ScriptedServer::start([script]).await.unwrap();
    let gitlab = client(&server.url(), |settings| settings.with_limits(Limits::default().with_concurrent(4)));
    let bulk = gitlab.with_options(CallOptions::default().with_priority(Priority::Bulk));
    let (repo, name) = (repo(), "main".parse().unwrap());
    let scan: Vec<_> = (0..200).map(|_| bulk.branches().branch(&repo, &name)).collect();
    let scan = future::join_all(scan);
    let call = async {
        // Three of the scan are at the server; the fourth place is kept.
        until(|| server.requests().len() == 3).await;
        let call = gitlab.request(ApiRequest::new(Method::GET, "api/v4", &["version"]));
        let watch = async {
            until(|| server.requests().len() == 4).await;
            assert_eq!(server.requests()[3].target, "/api/v4/version");
            gate.add_permits(201);
        };
        future::join(call, watch).await.0.unwrap();
    };
    let (scanned, ()) = tokio::time::timeout(PATIENCE, future::join(scan, call)).await.unwrap();
    assert!(scanned.iter().all(Result::is_ok));
    assert_eq!(server.requests().len(), 201);
}

/// Waits for something another task does.
async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn who_gives_up_ends_the_request_and_frees_its_turn() {
    let one = |settings: PipelineSettings| settings.with_limits(Limits::default().with_concurrent(1));
    let stall = Script::new().request().stall();
    let endless = Script::new()
        .request()
        .write("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\nfirst line\n")
        .stall();
    let fine = Script::new().request().json(200, &branch_json("main"));
    let server = ScriptedServer::start([stall, endless.clone(), endless, fine]).await.unwrap();
    let gitlab = client(&server.url(), one);
    let (repo, job) = (repo(), "1".parse().unwrap());

    // Before the head, and within a body that is read whole.
    for ended in 1..=2 {
        let call = read(&gitlab);
        tokio::select! {
            _ = call => panic!("the server has not answered"),
            () = until(|| server.requests().len() == ended) => {}
        }
        tokio::time::timeout(PATIENCE, server.ended(ended)).await.unwrap();
    }
    // A stream takes nobody's turn, and ends when it is dropped.
    let mut log = gitlab.job_log(&repo, &job, &JobLog::default()).await.unwrap();
    assert_eq!(log.next().await.unwrap().unwrap(), "first line\n");
    read(&gitlab).await.unwrap();
    assert_eq!(server.connections(), 4);
    drop(log);
    tokio::time::timeout(PATIENCE, server.ended(4)).await.unwrap();
    let targets: Vec<_> = server.requests().iter().map(SeenRequest::clone).map(|seen| seen.target).collect();
    assert_eq!(targets[2], "/api/v4/projects/group%2Frepo/jobs/1/trace");
}
