//! Servers that are busy, down, signed out of, or hidden behind a page for people.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future;
use scm_bitbucket_dc::BitbucketDc;
use scm_core::pipeline::PipelineSettings;
use scm_core::{
    Branch, BranchesExt as _, Delivery, ErrorKind, ListBranches, MergePullRequest, Result, Revision, Scm as _,
};
use scm_testkit::fault::socket::{Script, ScriptedServer};
use scm_testkit::fault::{Fault, StoppedClock};
use scm_testkit::sim::bitbucket_dc::{BitbucketDcSim, Permission, Role, TokenKind, TokenSpec};
use serde_json::json;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::wire::{AT, answer, bitbucket, error_body, refused, repo, sha};
use crate::world::{BOT, REPO, World, config, direct, is, main, retry, route};

const BUSY: &str =
    r#"{"errors":[{"context":null,"message":"You have made too many requests.","exceptionName":null}]}"#;

fn branches() -> String {
    let branch = json!({"id": "refs/heads/main", "latestCommit": "a".repeat(40)});
    json!({"values": [branch], "start": 0, "isLastPage": true}).to_string()
}

async fn read(scm: &BitbucketDc) -> Result<Branch> {
    scm.branches().branch(&repo(), &main()).await
}

async fn create(scm: &BitbucketDc) -> Result<Branch> {
    scm.branches().create_branch(&repo(), &"fix".parse()?, &Revision::from(sha('a'))).await
}

#[tokio::test]
async fn a_429_is_waited_out_for_as_long_as_it_says() {
    let refused = Script::new().request().answer(
        429,
        &[("Content-Type", "application/json"), ("Retry-After", "60")],
        BUSY,
    );
    let fine = Script::new().request().json(200, &branches());
    let server = ScriptedServer::start([refused, fine]).await.unwrap();
    let clock = StoppedClock::at("2026-11-21T10:00:00Z".parse().unwrap());
    let settings = PipelineSettings::default().with_retry(retry()).with_clock(Arc::new(clock.clone()));
    let scm = BitbucketDc::new(config(&server.url(), "t").with_pipeline(settings), direct()).unwrap();
    let pause = Duration::from_secs(60);
    let script = async {
        clock.asleep(1, pause).await;
        assert_eq!(server.requests().len(), 1);
        clock.advance(pause);
    };
    let (done, ()) = future::join(read(&scm), script).await;
    assert_eq!(done.unwrap().head, sha('a'));
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_429_without_a_wait_that_can_be_kept_backs_off_or_is_told() {
    for (headers, told) in [(&[][..], None), (&[("Retry-After", "31536000")], Some(31_536_000))] {
        // As JSON, and as the text of something in front of the server.
        for (kind, body, words) in [
            ("application/json;charset=UTF-8", BUSY, "You have made too many requests."),
            ("text/plain", "Rate limit exceeded", "Rate limit exceeded"),
        ] {
            let headers = [&[("Content-Type", kind)], headers].concat();
            let server =
                ScriptedServer::start([Script::new().request().answer(429, &headers, body)]).await.unwrap();
            let scm = BitbucketDc::new(config(&server.url(), "t"), direct()).unwrap();
            let error = create(&scm).await.unwrap_err();
            assert_eq!((error.kind(), error.delivery()), (ErrorKind::RateLimited, Delivery::Answered));
            assert_eq!(error.retry_after().map(|wait| wait.as_secs()), told);
            assert_eq!(error.to_string(), format!("create_branch: rate limited (429): {words}"));
            // Refused is refused, so that a creating call comes again, too: five times, or not at all.
            assert_eq!(server.requests().len(), if told.is_some() { 1 } else { 5 });
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_starting_is_waited_for_by_who_reads() {
    let world = World::new().await;
    let page = "<html><head><title>Bitbucket is starting up</title></head></html>";
    let starting = |method: &str| Fault::on(method, route::BRANCHES).html(503, page);
    world.fault(starting("GET").times(2));
    assert_eq!(world.scm.branches().branch(&world.repo, &main()).await.unwrap().head, world.head);
    world.fault(starting("POST"));
    let (new, start) = ("new".parse().unwrap(), Revision::from(world.head.clone()));
    let made = world.scm.branches().create_branch(&world.repo, &new, &start).await;
    is(made, ErrorKind::Unavailable, "Bitbucket is starting up");
    assert_eq!(world.sent("POST", route::BRANCHES).len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_401_is_told_apart_by_the_user_it_names() {
    let sim = BitbucketDcSim::builder();
    for anonymous in [false, true] {
        let world =
            World::of(if anonymous { sim.clone().bad_tokens_are_anonymous() } else { sim.clone() }).await;
        let new = "new".parse().unwrap();
        let start = Revision::from(world.head.clone());
        // Known, and not allowed to: by its role, or by the permissions of its token.
        let reader = TokenSpec::new(TokenKind::User, "ann").on(REPO).role(Role::Read);
        let weak = TokenSpec::new(TokenKind::User, BOT).permissions([Permission::RepoRead]);
        for spec in [reader, weak] {
            let made = world.with_token(&spec).branches().create_branch(&world.repo, &new, &start).await;
            is(made, ErrorKind::PermissionDenied, "You are not permitted to access this resource");
        }
        let pull = world.open("topic").await;
        let weak =
            world.with_token(&TokenSpec::new(TokenKind::User, BOT).permissions([Permission::RepoRead]));
        let merge = MergePullRequest::default();
        let merged = weak.pull_requests().merge_pull_request(&world.repo, pull.id, &merge).await;
        is(merged, ErrorKind::PermissionDenied, "not permitted");
        // Not known: revoked, or never issued.
        let revoked = world.with_token(&TokenSpec::new(TokenKind::User, BOT).revoked());
        let never = BitbucketDc::new(config(&world.sim.url(), "BBDC-never"), direct()).unwrap();
        for stranger in [revoked, never] {
            let seen = stranger.branches().branch(&world.repo, &main()).await;
            let words = if anonymous { "not permitted" } else { "Authentication failed" };
            is(seen, ErrorKind::Unauthenticated, words);
        }
    }
}

#[tokio::test]
async fn an_account_that_is_locked_is_no_matter_of_permissions() {
    let locked = "com.atlassian.bitbucket.auth.CaptchaRequiredAuthenticationException";
    let words = "CAPTCHA required. You must log in via the web interface.";
    let page = "<html><title>Sign in</title></html>";
    for refusal in [
        ResponseTemplate::new(403)
            .set_body_json(error_body(locked, words))
            .insert_header("x-authentication-denied-reason", "CAPTCHA_CHALLENGE; login-url=http://h/login"),
        refused(401, locked, words),
        ResponseTemplate::new(403)
            .set_body_string(page)
            .insert_header("content-type", "text/html")
            .insert_header("x-authentication-denied-reason", "CAPTCHA_CHALLENGE; login-url=http://h/login"),
    ] {
        let server = MockServer::start().await;
        answer(&server, "GET", &format!("{AT}/branches"), refusal).await;
        let error = read(&bitbucket(&server, "")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
        assert!(error.message().contains("CAPTCHA") || error.message().contains("Sign in"), "{error}");
    }
    let server = MockServer::start().await;
    answer(&server, "GET", &format!("{AT}/branches"), ResponseTemplate::new(403)).await;
    assert_eq!(read(&bitbucket(&server, "")).await.unwrap_err().kind(), ErrorKind::PermissionDenied);
}

/// Where a session has ended, something in front of the server may lead to a page for people, with a status of success.
#[tokio::test]
async fn a_login_page_in_place_of_an_answer_is_told_as_such() {
    let world = World::new().await;
    world.fault(Fault::on("GET", route::BRANCHES).login_page());
    let page = world.scm.branches().list_branches_page(&world.repo, &ListBranches::default(), None).await;
    let error = page.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Decode);
    assert!(error.to_string().contains("login page"), "{error}");

    let server = MockServer::start().await;
    let to_login = || ResponseTemplate::new(302).insert_header("location", "/login?next=/rest/api");
    let login = ResponseTemplate::new(200)
        .set_body_raw("<html><title>Sign in</title></html>", "text/html;charset=UTF-8");
    answer(&server, "GET", "/login", login).await;
    for at in ["branches", "raw/a.txt", "raw/page.html"] {
        answer(&server, "GET", &format!("{AT}/{at}"), to_login()).await;
    }
    let scm = bitbucket(&server, "");
    let error = read(&scm).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Decode, "{error}");
    assert_eq!(scm.branches().branch_exists(&repo(), &main()).await.unwrap_err().kind(), ErrorKind::Decode);
    // The same on another host, which is not followed: what was asked for stands in its query.
    let server = MockServer::start().await;
    let sso = ResponseTemplate::new(302).insert_header("location", "https://sso.example/?to=/rest/api");
    answer(&server, "GET", &format!("{AT}/branches"), sso).await;
    let away = bitbucket(&server, "");
    assert_eq!(away.branches().branch_exists(&repo(), &main()).await.unwrap_err().kind(), ErrorKind::Decode);
    // As the content of a file it might be written back.
    for name in ["a.txt", "page.html"] {
        let file = scm.contents().file(&repo(), &Revision::Head, &name.parse().unwrap()).await;
        is(file, ErrorKind::Decode, "login page");
    }
    // A page of the repository itself comes with the name of who asked.
    let server = MockServer::start().await;
    let own = ResponseTemplate::new(200)
        .set_body_raw("<html>", "text/html;charset=UTF-8")
        .insert_header("x-ausername", "bot");
    answer(&server, "GET", &format!("{AT}/raw/page.html"), own).await;
    let path = "page.html".parse().unwrap();
    let file = bitbucket(&server, "").contents().file(&repo(), &Revision::Head, &path).await.unwrap();
    assert_eq!(file.content, "<html>");
}

/// Of a page elsewhere it is not followed, and tells nothing about what is there: least of all that it is missing.
#[tokio::test]
async fn a_way_to_a_login_page_elsewhere_is_no_missing_branch() {
    let server = MockServer::start().await;
    let away =
        ResponseTemplate::new(302).insert_header("location", "https://sso.example/login?next=%2Frest%2Fapi");
    Mock::given(wiremock::matchers::any()).respond_with(away).mount(&server).await;
    let (scm, repo) = (bitbucket(&server, ""), repo());
    let words = "the server leads elsewhere; a login page or a proxy seems to answer";
    is(scm.branches().branch_exists(&repo, &main()).await, ErrorKind::Decode, words);
    let path = "a.txt".parse().unwrap();
    is(scm.contents().file_exists(&repo, &Revision::Head, &path).await, ErrorKind::Decode, words);
    is(scm.contents().file(&repo, &Revision::Head, &path).await, ErrorKind::Decode, words);
    is(scm.branches().ensure_branch(&repo, &main(), &Revision::Head).await, ErrorKind::Decode, words);
    is(create(&scm).await, ErrorKind::Decode, words);
}
