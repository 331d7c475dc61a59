//! Secrets that are sent to a Bitbucket that fails, and echoes what it can, must not come out anywhere.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _, future, stream};
use http::Method;
use scm_bitbucket_dc::{BitbucketDc, BitbucketDcConfig};
use scm_core::pipeline::{ApiRequest, PipelineSettings};
use scm_core::{
    Branches as _, CheckOptions, Comments as _, Commits as _, Connection as _, Contents as _, FileChange,
    Marker, NewComment, NewCommit, NewPullRequest, PullRequests as _, RepoId, Result, Revision,
    StaticCredential, Transport,
};
use scm_testkit::canary::Canary;
use scm_testkit::fault::Fault;
use scm_testkit::fault::socket::{Script, ScriptedServer, closed_port};
use scm_testkit::sim::bitbucket_dc::{BitbucketDcSim, RepositorySpec, Role, TokenKind, TokenSpec};

use crate::world::{BOT, REPO, direct, main, retry, route};

/// Longer than anything here takes, so that a defect fails the test in place of hanging it.
const PATIENCE: Duration = Duration::from_secs(120);

fn repo() -> RepoId {
    REPO.parse().unwrap()
}

fn client(canary: &Canary, transport: &Transport, url: &str, deadline: Duration) -> BitbucketDc {
    let credential = Arc::new(StaticCredential::token(canary.token.into()));
    canary.assert_debug_is_silent("credential", &credential);
    let settings =
        PipelineSettings::default().with_retry(retry()).with_max_body(4_096).with_deadline(deadline);
    let config = BitbucketDcConfig::new(url, credential).unwrap().with_pipeline(settings);
    canary.assert_debug_is_silent("configuration", &config);
    let scm = BitbucketDc::new(config, transport.clone()).unwrap();
    canary.assert_debug_is_silent("client", &scm);
    scm
}

fn commit(canary: &Canary) -> NewCommit {
    let commit = NewCommit::on_branch(main(), "Fix it")
        .with_change(FileChange::create("new.txt".parse().unwrap(), canary.file))
        .with_change(FileChange::update("a.txt".parse().unwrap(), format!("\0{}", canary.file)));
    canary.assert_debug_is_silent("commit", &commit);
    commit
}

/// Calls that carry what nobody else is to see.
fn calls<'a>(canary: &'a Canary, scm: &'a BitbucketDc) -> [(&'static str, BoxFuture<'a, Result<()>>); 8] {
    let at = Revision::Branch(main());
    let id = "1".parse().unwrap();
    [
        ("create_commit", async move { scm.create_commit(&repo(), &commit(canary)).await.map(drop) }.boxed()),
        (
            "create_comment",
            async move { scm.create_comment(&repo(), id, &NewComment::new(canary.comment)).await.map(drop) }
                .boxed(),
        ),
        (
            "ensure_comment",
            async move {
                let marker = Marker::new("guidance")?;
                scm.ensure_comment(&repo(), id, &marker, canary.comment).await.map(drop)
            }
            .boxed(),
        ),
        (
            "create_pull_request",
            async move {
                let new =
                    NewPullRequest::new("fix".parse()?, main(), "Fix it").with_description(canary.comment);
                scm.create_pull_request(&repo(), &new).await.map(drop)
            }
            .boxed(),
        ),
        (
            "delete_branch",
            async move { scm.delete_branch(&repo(), &"fix".parse()?, &Default::default()).await }.boxed(),
        ),
        ("file", {
            let at = at.clone();
            async move {
                let file = scm.file(&repo(), &at, &"a.txt".parse()?).await?;
                canary.assert_debug_is_silent("file", &file);
                Ok(())
            }
            .boxed()
        }),
        (
            "raw_file",
            async move {
                let mut file = scm.raw_file(&repo(), &at, &"a.txt".parse()?).await?;
                canary.assert_debug_is_silent("raw_file", &file);
                while let Some(chunk) = file.next().await {
                    chunk?;
                }
                Ok(())
            }
            .boxed(),
        ),
        (
            "request",
            async move {
                let request = ApiRequest::new(Method::POST, "rest/api/latest", &["markup", "preview"])
                    .query("text", canary.comment)
                    .json(&serde_json::json!({"text": canary.comment}))?;
                canary.assert_debug_is_silent("request", &request);
                let answer = scm.request(request).await?;
                canary.assert_debug_is_silent("request", &answer);
                answer.json::<u32>().map(drop)
            }
            .boxed(),
        ),
    ]
}

fn failures(canary: &Canary, echo: &str) -> Vec<(&'static str, Script)> {
    let seen = Script::new().request();
    let (json, html, text) = (
        ("Content-Type", "application/json;charset=UTF-8"),
        ("Content-Type", "text/html"),
        ("Content-Type", "text/plain"),
    );
    let (id, name) = (("X-AREQUESTID", echo), ("X-AUSERNAME", echo));
    let away = format!("/elsewhere/{echo}?token={echo}");
    let body = format!(
        r#"{{"errors":[{{"context":"{echo}","message":"not with {echo}","exceptionName":"com.atlassian.{echo}"}}]}}"#
    );
    let nested = format!(
        r#"{{"errors":[{{"message":"{echo}","exceptionName":"x.PullRequestMergeVetoedException","vetoes":[{{"summaryMessage":"{echo}","detailedMessage":"{echo}"}}],"reviewerErrors":[{{"context":"{echo}","message":"{echo}"}}]}}],"message":"{echo}"}}"#
    );
    let page = format!(
        "<html><head><title>Debug: {echo}</title></head><body>{} {}</body></html>",
        canary.file, canary.comment
    );
    let stored = format!(
        r#"{{"id":"{echo}","version":"{}","text":"{}","values":[{{"id":"{echo}"}}]}}"#,
        canary.file, canary.comment
    );
    let mut all = vec![
        ("closed", seen.clone()),
        ("reset", seen.clone().reset()),
        ("unread", Script::new().touch().reset()),
        ("silence", seen.clone().stall()),
        ("garbage", seen.clone().write(format!("HTTP/1.1 {echo}\r\n\r\n")).stall()),
        ("a drip", seen.clone().drip(format!("HTTP/1.1 200 OK\r\nx: {echo}\r\n"), Duration::from_millis(30))),
        ("cut", seen.clone().write(format!("HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n{stored}"))),
        ("a bad chunk", seen.clone().write(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{echo}\r\n")).stall()),
        ("too much", seen.clone().json(200, &format!("\"{}\"", canary.file.repeat(300)))),
        ("another shape", seen.clone().json(200, &stored)),
        ("broken JSON", seen.clone().json(201, &format!("{{\"id\":\"{echo}"))),
        ("another type", seen.clone().answer(200, &[("Content-Type", &format!("text/{echo}"))], echo)),
        ("a page", seen.clone().answer(200, &[html], &page)),
        ("moved", seen.clone().answer(302, &[("Location", &away), id], &page)),
        ("a storm", seen.clone().answer(429, &[text, id, ("Retry-After", "31536000")], echo)),
        ("a captcha", seen.clone().answer(403, &[json, id, ("X-Authentication-Denied-Reason", echo)], &body)),
    ];
    for status in [400, 401, 403, 404, 409, 415, 500, 503] {
        all.push(("a refusal", seen.clone().answer(status, &[json, id], &body)));
        all.push(("a refusal in depth", seen.clone().answer(status, &[json, id, name], &nested)));
    }
    all.push((
        "a gateway",
        seen.clone().answer(502, &[html, id], &page.replace("<title>", &format!("<title>{echo} "))),
    ));
    all.push(("a gateway's text", seen.answer(502, &[text, id], &format!("{}{echo}", "x".repeat(495)))));
    all
}

async fn assert_fails_in_silence(canary: &Canary, what: &str, transport: &Transport, url: &str) {
    let scm = client(canary, transport, url, Duration::from_millis(800));
    let calls = calls(canary, &scm).into_iter().map(|(name, call)| async move {
        let what = format!("{name}: {what}");
        match call.await {
            Err(error) => canary.assert_error_is_silent(&what, &error),
            // A file may be any text.
            Ok(()) => assert!(matches!(name, "file" | "raw_file"), "{what}: no failure"),
        }
    });
    let check = async {
        let report = scm.check(&CheckOptions::default()).await;
        canary.assert_debug_is_silent(what, &report);
        canary.assert_silent(what, &format!("{report} {}", serde_json::to_string(&report).unwrap()));
        for error in [scm.identity().await.err(), scm.token().await.err()].into_iter().flatten() {
            canary.assert_error_is_silent(what, &error);
        }
    };
    tokio::time::timeout(PATIENCE, future::join(future::join_all(calls), check)).await.unwrap();
}

#[tokio::test]
async fn no_failure_shows_what_was_sent() {
    let canary = Canary::new();
    let transport = direct();
    let closed = format!("http://{}", closed_port().await.unwrap());
    assert_fails_in_silence(&canary, "refused", &transport, &closed).await;
    let plain = Script::new().touch().write(format!("HTTP/1.1 400 {}\r\n\r\n", canary.token)).stall();
    let plain = ScriptedServer::start([plain]).await.unwrap();
    let https = plain.url().replace("http:", "https:");
    assert_fails_in_silence(&canary, "not TLS", &transport, &https).await;
    let all = failures(&canary, canary.token).into_iter().map(|(what, script)| {
        let (canary, transport) = (&canary, &transport);
        async move {
            let server = ScriptedServer::start([script]).await.unwrap();
            assert_fails_in_silence(canary, what, transport, &server.url()).await;
        }
    });
    stream::iter(all).buffer_unordered(8).collect::<Vec<()>>().await;
    canary.assert_logs_are_silent("all failures");
}

/// A server in order, to which the token is one of its own: what works is as silent, and so is git when it fails.
#[tokio::test]
async fn neither_success_nor_git_shows_what_was_sent() {
    let canary = Canary::new();
    let sim = BitbucketDcSim::builder().start().await.unwrap();
    sim.create_repository(REPO, &RepositorySpec::new().file("a.txt", canary.file)).unwrap();
    let spec = TokenSpec::new(TokenKind::User, BOT).on(REPO).role(Role::Write).secret(canary.token);
    sim.issue_token(&spec).unwrap();
    let transport = direct();
    let scm = client(&canary, &transport, &sim.url(), Duration::from_secs(60));
    let refs = "/scm/:key/:slug/info/refs";
    let fetch = "/scm/:key/:slug/git-upload-pack";
    let echo = format!("fatal: {} in {}", canary.token, canary.token);
    for (method, at) in [("GET", refs), ("POST", fetch), ("POST", route::PUSH)] {
        for fault in [
            Fault::on(method, at).text(401, &echo),
            Fault::on(method, at).text(403, &echo),
            Fault::on(method, at).text(404, &echo),
            Fault::on(method, at).text(500, &echo),
            Fault::on(method, at).text(200, &echo),
            Fault::on(method, at).html(200, format!("<title>{echo}</title>")),
            Fault::on(method, at).reset_before(),
            Fault::on(method, at).garbage(),
        ] {
            let what = format!("{method} {at}: {fault:?}");
            let known = sim.faults().add(fault);
            // What an earlier one has learnt would be used again.
            let fresh = client(&canary, &transport, &sim.url(), Duration::from_secs(60));
            match fresh.create_commit(&repo(), &commit(&canary)).await {
                Err(error) => canary.assert_error_is_silent(&what, &error),
                // Done, and found out in spite of the answer.
                Ok(_) => {
                    assert_eq!((at, what.contains("Garbage")), (route::PUSH, true), "{what}");
                    sim.push_commit(
                        REPO,
                        "main",
                        "Back",
                        &[("a.txt", Some(canary.file.as_bytes())), ("new.txt", None)],
                    )
                    .unwrap();
                }
            }
            assert!(sim.faults().hits(known) > 0, "{what}");
            sim.faults().clear();
        }
    }
    sim.push_commit(REPO, "fix", "Fix", &[("b.txt", Some(b"1"))]).unwrap();
    let number = sim.open_pull_request(REPO, "ann", "fix", "main", "First").unwrap();
    assert_eq!(number, 1);
    for (name, call) in calls(&canary, &scm) {
        match (name, call.await) {
            // One is open already and comes back; the markup is text.
            ("request", Err(error)) => canary.assert_error_is_silent(name, &error),
            (_, done) => done.unwrap_or_else(|error| panic!("{name}: {}", error.report())),
        }
    }
    let remote = scm_core::GitAccess::git_remote(&scm, &repo()).await.unwrap();
    canary.assert_debug_is_silent("git_remote", &remote);
    canary.assert_logs_are_silent("success and git");
}
