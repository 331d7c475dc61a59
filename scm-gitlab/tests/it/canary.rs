//! Secrets that are sent to a GitLab that fails, and echoes what it can, must not come out anywhere.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _, future, stream};
use http::Method;
use scm_core::pipeline::{ApiRequest, PipelineSettings};
use scm_core::{
    CheckOptions, CiLogs as _, Comments as _, Commits as _, Connection as _, Contents as _, FileChange,
    JobLog, Marker, NewComment, NewCommit, NewPullRequest, PullRequests as _, RepoId, Result, Revision,
    StaticCredential, Transport,
};
use scm_gitlab::{GitLab, GitLabConfig};
use scm_testkit::canary::Canary;
use scm_testkit::fault::socket::{Script, ScriptedServer, closed_port};

use crate::world::{direct, retry};

/// Longer than anything here takes, so that a defect fails the test in place of hanging it.
const PATIENCE: Duration = Duration::from_secs(120);
const PARENT: &str = "1111111111111111111111111111111111111111";

fn repo() -> RepoId {
    "group/repo".parse().unwrap()
}

fn client(canary: &Canary, transport: &Transport, url: &str) -> GitLab {
    let credential = Arc::new(StaticCredential::token(canary.token.into()));
    canary.assert_debug_is_silent("credential", &credential);
    let settings = PipelineSettings::default()
        .with_retry(retry())
        .with_max_body(4_096)
        .with_deadline(Duration::from_millis(800));
    let config = GitLabConfig::new(url, credential).unwrap().with_pipeline(settings);
    canary.assert_debug_is_silent("configuration", &config);
    let gitlab = GitLab::new(config, transport.clone()).unwrap();
    canary.assert_debug_is_silent("client", &gitlab);
    gitlab
}

/// Calls that carry what nobody else is to see.
fn calls<'a>(canary: &'a Canary, gitlab: &'a GitLab) -> [(&'static str, BoxFuture<'a, Result<()>>); 7] {
    let commit = NewCommit::on_new_branch("fix".parse().unwrap(), PARENT.parse().unwrap(), "Fix it")
        .with_change(FileChange::create("a.txt".parse().unwrap(), canary.file))
        .with_change(FileChange::update("b.bin".parse().unwrap(), format!("\0{}", canary.file)));
    let comment = NewComment::new(canary.comment);
    let pull = NewPullRequest::new("fix".parse().unwrap(), "main".parse().unwrap(), "Fix it")
        .with_description(canary.comment);
    canary.assert_debug_is_silent("commit", &commit);
    let (repo, id, main) = (repo(), "1".parse().unwrap(), Revision::Branch("main".parse().unwrap()));
    let owned = (repo.clone(), repo.clone(), repo.clone(), repo.clone());
    [
        ("create_commit", async move { gitlab.create_commit(&repo, &commit).await.map(drop) }.boxed()),
        (
            "create_comment",
            async move { gitlab.create_comment(&owned.0, id, &comment).await.map(drop) }.boxed(),
        ),
        (
            "ensure_comment",
            async move {
                let marker = Marker::new("guidance")?;
                gitlab.ensure_comment(&owned.1, id, &marker, canary.comment).await.map(drop)
            }
            .boxed(),
        ),
        ("create_pull_request", {
            async move { gitlab.create_pull_request(&owned.2, &pull).await.map(drop) }.boxed()
        }),
        (
            "file",
            async move {
                let file = gitlab.file(&owned.3, &main, &"a.txt".parse()?).await?;
                canary.assert_debug_is_silent("file", &file);
                Ok(())
            }
            .boxed(),
        ),
        (
            "job_log",
            async move {
                let mut log = gitlab.job_log(&self::repo(), &"1".parse()?, &JobLog::default()).await?;
                canary.assert_debug_is_silent("job_log", &log);
                while let Some(chunk) = log.next().await {
                    chunk?;
                }
                Ok(())
            }
            .boxed(),
        ),
        (
            "request",
            async move {
                let request = ApiRequest::new(Method::POST, "api/v4", &["markdown"])
                    .query("text", canary.comment)
                    .json(&serde_json::json!({"text": canary.comment}))?;
                canary.assert_debug_is_silent("request", &request);
                let answer = gitlab.request(request).await?;
                canary.assert_debug_is_silent("request", &answer);
                answer.json::<u32>().map(drop)
            }
            .boxed(),
        ),
    ]
}

fn failures(canary: &Canary, echo: &str) -> Vec<(&'static str, Script)> {
    let seen = Script::new().request();
    let (json, html, text) =
        (("Content-Type", "application/json"), ("Content-Type", "text/html"), ("Content-Type", "text/plain"));
    let id = ("X-Request-Id", echo);
    let away = format!("/elsewhere/{echo}?private_token={echo}");
    let body = format!(
        r#"{{"message":"401 Unauthorized: {echo}","error":"{echo}","error_description":"no {echo}"}}"#
    );
    let nested = format!(r#"{{"message":{{"base":["{echo}"],"{echo}":["is {echo}"]}}}}"#);
    let page = format!(
        "<html><head><title>Debug: {echo}</title></head><body>{} {}</body></html>",
        canary.file, canary.comment
    );
    let stored = format!(
        r#"{{"id":"{echo}","content":"{}","encoding":"{}","body":"{}"}}"#,
        canary.file, canary.file, canary.comment
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
        ("a list of another shape", seen.clone().json(200, &format!("[{stored},\"{echo}\"]"))),
        ("broken JSON", seen.clone().json(201, &format!("{{\"id\":\"{echo}"))),
        ("another type", seen.clone().answer(200, &[("Content-Type", &format!("text/{echo}"))], echo)),
        ("a page", seen.clone().answer(200, &[html], &page)),
        ("moved", seen.clone().answer(302, &[("Location", &away), id], &page)),
        ("a storm", seen.clone().answer(429, &[text, id, ("Retry-After", "31536000")], echo)),
        ("a storm of the application", seen.clone().answer(429, &[json, id, ("Retry-After", echo)], &nested)),
    ];
    for status in [400, 401, 403, 404, 409, 412, 422, 500, 503] {
        all.push(("a refusal", seen.clone().answer(status, &[json, id], &body)));
        all.push(("a refusal in depth", seen.clone().answer(status, &[json, id], &nested)));
    }
    all.push((
        "a gateway",
        seen.clone().answer(502, &[html, id], &page.replace("<title>", &format!("<title>{echo} "))),
    ));
    all.push(("a gateway's text", seen.answer(502, &[text, id], &format!("{}{echo}", "x".repeat(495)))));
    all
}

async fn assert_fails_in_silence(canary: &Canary, what: &str, transport: &Transport, url: &str) {
    let gitlab = client(canary, transport, url);
    let calls = calls(canary, &gitlab).into_iter().map(|(name, call)| async move {
        let what = format!("{name}: {what}");
        match call.await {
            Err(error) => canary.assert_error_is_silent(&what, &error),
            // A log may be any text.
            Ok(()) => assert_eq!(name, "job_log", "{what}: no failure"),
        }
    });
    let check = async {
        let report = gitlab.check(&CheckOptions::default()).await;
        canary.assert_debug_is_silent(what, &report);
        canary.assert_silent(what, &format!("{report} {}", serde_json::to_string(&report).unwrap()));
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
