//! Who calls, how far a credential goes, and how the server says no.

use std::time::Duration;

use scm_testkit::sim::bitbucket_dc::{
    BitbucketDcSim, Permission, RateLimit, RepositorySpec, Role, TokenKind, TokenSpec,
};
use serde_json::json;

use super::{REPO, anonymous, basic, bearer, client, column, member, refusal, started};

#[tokio::test]
async fn every_answer_names_the_request_and_the_caller() {
    let sim = started().await;
    let spec = TokenSpec::new(TokenKind::User, "ann smith@home").on("DEMO").role(Role::Read);
    let ann = bearer(&sim, &sim.issue_token(&spec).unwrap().token);
    for path in ["/api/1.0/projects", "/api/1.0/projects/NOPE", "/api/1.0/nowhere"] {
        let answer = ann.get(path).await;
        assert!(answer.header("x-arequestid").unwrap().starts_with('@'), "{path}");
        assert!(answer.header("x-asessionid").is_some(), "{path}");
    }
    let answer = ann.get("/api/1.0/projects").await;
    assert_eq!(answer.header("x-ausername"), Some("ann%20smith%40home"));
    assert!(answer.header("x-auserid").unwrap().parse::<u64>().is_ok());
    assert_eq!(answer.header("content-type"), Some("application/json;charset=UTF-8"));
    let stranger = anonymous(&sim).get("/api/1.0/projects").await;
    assert_eq!(stranger.status, 200);
    assert!(stranger.header("x-ausername").is_none() && stranger.header("x-auserid").is_none());
    let users = ann.get("/api/1.0/users/ann_smith_home").await.json();
    assert_eq!((&users["name"], &users["slug"]), (&json!("ann smith@home"), &json!("ann_smith_home")));
}

#[tokio::test]
async fn tokens_expire_are_revoked_and_are_not_guessed() {
    let sim = started().await;
    let issue = |spec: TokenSpec| sim.issue_token(&spec.on("DEMO").role(Role::Write)).unwrap().token;
    let soon = issue(TokenSpec::new(TokenKind::User, "soon").expires_at(sim.clock().date_in_days(2)));
    let revoked = issue(TokenSpec::new(TokenKind::User, "gone"));
    assert_eq!(bearer(&sim, &soon).get(REPO).await.status, 200);
    assert_eq!(bearer(&sim, &revoked).get(REPO).await.status, 200);
    sim.clock().advance(Duration::from_secs(3 * 86_400));
    sim.revoke_token(&revoked).unwrap();
    for secret in [soon.as_str(), revoked.as_str(), "BBDC-nonsense"] {
        let answer = bearer(&sim, secret).get(REPO).await;
        assert_eq!(answer.status, 401, "{}", answer.text());
        assert!(answer.header("x-ausername").is_none());
    }
    assert!(soon.starts_with("BBDC-") && soon.len() == 49);
}

#[tokio::test]
async fn a_bad_token_may_quietly_become_nobody() {
    let sim = BitbucketDcSim::builder().bad_tokens_are_anonymous().start().await.unwrap();
    sim.create_repository("OPEN/one", &RepositorySpec::new().public()).unwrap();
    let answer = bearer(&sim, "BBDC-nonsense").get("/api/1.0/projects/OPEN/repos/one").await;
    assert_eq!(answer.status, 200);
    assert!(answer.header("x-ausername").is_none());
}

#[tokio::test]
async fn passwords_and_tokens_of_users_are_basic_and_tokens_without_user_are_not() {
    let sim = started().await;
    let token = sim.tokens()[0].token.clone();
    sim.set_password("scm", "correct horse").unwrap();
    assert_eq!(basic(&sim, "scm", "correct horse").get(REPO).await.status, 200);
    assert_eq!(basic(&sim, "scm", "battery").get(REPO).await.status, 401);
    assert_eq!(basic(&sim, "scm", &token).get(REPO).await.status, 200);
    assert_eq!(basic(&sim, "someone", &token).get(REPO).await.status, 401, "another's token");
    let spec = TokenSpec::new(TokenKind::Project, "ci").on("DEMO").permissions([Permission::RepoWrite]);
    let project = sim.issue_token(&spec).unwrap();
    assert_eq!((project.kind, project.scopes.as_slice()), ("project", &["REPO_WRITE"][..]));
    assert_eq!(bearer(&sim, &project.token).get(REPO).await.status, 200);
    assert_eq!(basic(&sim, "scm", &project.token).get(REPO).await.status, 401);
}

#[tokio::test]
async fn a_locked_user_gets_a_captcha_until_unlocked() {
    let sim = BitbucketDcSim::builder().captcha_after(2).start().await.unwrap();
    sim.create_user("ann");
    let (wrong, right) = (basic(&sim, "ann", "wrong"), basic(&sim, "ann", "ann"));
    assert_eq!(right.get("/api/1.0/profile/recent/repos").await.status, 200);
    assert_eq!(wrong.get("/api/1.0/profile/recent/repos").await.status, 401);
    assert_eq!(wrong.get("/api/1.0/profile/recent/repos").await.status, 401);
    let locked = right.get("/api/1.0/profile/recent/repos").await;
    assert_eq!(locked.status, 403);
    assert!(locked.header("x-authentication-denied-reason").unwrap().starts_with("CAPTCHA_CHALLENGE"));
    let token = sim.issue_token(&TokenSpec::new(TokenKind::User, "ann")).unwrap().token;
    assert_eq!(bearer(&sim, &token).get("/api/1.0/profile/recent/repos").await.status, 200);
    sim.set_locked("ann", false).unwrap();
    assert_eq!(right.get("/api/1.0/profile/recent/repos").await.status, 200);
}

#[tokio::test]
async fn what_may_not_be_done_is_401_and_what_may_not_be_seen_is_404() {
    let sim = started().await;
    let reader = member(&sim, "ann", "DEMO/web", Role::Read);
    let body = json!({ "name": "x", "startPoint": "main" });
    let answer = reader.post(&format!("{REPO}/branches"), &body).await;
    assert_eq!(refusal(&answer), (401, "AuthorisationException".to_owned()));
    assert_eq!(answer.json()["errors"][0]["message"], "You are not permitted to access this resource");
    assert_eq!(answer.header("x-ausername"), Some("ann"), "it is not the credential");
    sim.create_repository("DEMO/hidden", &RepositorySpec::new()).unwrap();
    let hidden = reader.get("/api/1.0/projects/DEMO/repos/hidden").await;
    assert_eq!(refusal(&hidden), (404, "NoSuchRepositoryException".to_owned()));
    let nowhere = reader.get("/api/1.0/projects/NOPE/repos/web").await;
    assert_eq!(refusal(&nowhere), (404, "NoSuchProjectException".to_owned()));
    let stranger = anonymous(&sim).get(REPO).await;
    assert_eq!(refusal(&stranger), (401, "AuthorisationException".to_owned()));
}

#[tokio::test]
async fn a_token_never_exceeds_its_permissions_nor_its_user() {
    let sim = started().await;
    let small = TokenSpec::new(TokenKind::User, "scm").permissions([Permission::RepoRead]);
    let small = bearer(&sim, &sim.issue_token(&small).unwrap().token);
    let branch = json!({ "name": "x", "startPoint": "main" });
    assert_eq!(small.get(REPO).await.status, 200);
    assert_eq!(small.post(&format!("{REPO}/branches"), &branch).await.status, 401);
    let big = member(&sim, "ann", "DEMO/web", Role::Read);
    assert_eq!(big.post(&format!("{REPO}/branches"), &branch).await.status, 401);
    sim.create_repository("DEMO/other", &RepositorySpec::new()).unwrap();
    let one =
        TokenSpec::new(TokenKind::Repository, "one").on("DEMO/web").permissions([Permission::RepoWrite]);
    let one = bearer(&sim, &sim.issue_token(&one).unwrap().token);
    assert_eq!(one.post(&format!("{REPO}/branches"), &branch).await.status, 200);
    assert_eq!(one.get("/api/1.0/projects/DEMO/repos/other").await.status, 404);
    assert_eq!(column(&one.get("/api/1.0/repos?permission=REPO_WRITE").await.json(), "/slug"), ["web"]);
}

#[tokio::test]
async fn anonymous_callers_list_what_is_public_and_nothing_by_permission() {
    let sim = started().await;
    sim.create_repository("OPEN/one", &RepositorySpec::new().public()).unwrap();
    let stranger = anonymous(&sim);
    assert_eq!(column(&stranger.get("/api/1.0/repos").await.json(), "/slug"), ["one"]);
    assert_eq!(column(&stranger.get("/api/1.0/repos?permission=REPO_READ").await.json(), "/slug"), [""; 0]);
    for path in ["/api/1.0/profile/recent/repos?limit=1", "/api/1.0/dashboard/pull-requests"] {
        assert_eq!(stranger.get(path).await.status, 401, "{path}");
        assert_eq!(client(&sim).get(path).await.status, 200, "{path}");
    }
    assert_eq!(stranger.get("/api/1.0/admin/rate-limit/settings").await.status, 401);
    assert_eq!(stranger.get("/api/1.0/application-properties").await.json()["version"], "9.4.1");
    assert_eq!(stranger.get("/capabilities").await.json()["application"], "stash");
}

#[tokio::test]
async fn requests_are_limited_by_a_bucket_that_fills_again() {
    let sim = BitbucketDcSim::builder().rate_limit(RateLimit::new(2, 1)).start().await.unwrap();
    let (ann, bob) = (basic(&sim, "admin", "admin"), anonymous(&sim));
    for status in [200, 200, 429] {
        assert_eq!(ann.get("/api/1.0/projects").await.status, status);
    }
    let full = ann.get("/api/1.0/projects").await;
    assert_eq!((full.status, full.header("retry-after")), (429, Some("1")));
    assert_eq!(bob.get("/api/1.0/projects").await.status, 200, "each has a bucket");
    sim.clock().advance(Duration::from_secs(5));
    assert_eq!(ann.get("/api/1.0/projects").await.status, 200);
    sim.set_rate_limit(Some(RateLimit::new(1, 1).without_headers()));
    assert_eq!(ann.get("/api/1.0/projects").await.header("retry-after"), None);
    let bare = ann.get("/api/1.0/projects").await;
    assert_eq!((bare.status, bare.header("retry-after")), (429, None));
    assert!(bare.headers.iter().all(|(name, _)| !name.to_lowercase().contains("ratelimit")));
}

#[tokio::test]
async fn tokens_are_made_with_a_password_shown_once_and_deleted() {
    let sim = started().await;
    let (password, token) = (basic(&sim, "scm", "scm"), client(&sim));
    let body = json!({ "name": "ci", "permissions": ["REPO_READ"], "expiryDays": 30 });
    let path = "/access-tokens/latest/users/scm";
    assert_eq!(token.put(path, &body).await.status, 401, "a token makes no tokens");
    let made = password.put(path, &body).await.json();
    let secret = made["token"].as_str().unwrap();
    assert_eq!(bearer(&sim, secret).get(REPO).await.status, 200);
    let one = format!("{path}/{}", made["id"].as_str().unwrap());
    let shown = password.get(&one).await.json();
    assert_eq!((&shown["name"], shown.get("token")), (&json!("ci"), None));
    assert_eq!(column(&password.get(path).await.json(), "/name"), ["scm", "ci"]);
    for wrong in [json!({ "permissions": ["REPO_READ"] }), json!({ "name": "x", "permissions": [] })] {
        assert_eq!(password.put(path, &wrong).await.status, 400, "{wrong}");
    }
    assert_eq!(password.post(&one, &json!({ "name": "cd" })).await.json()["name"], "cd");
    assert_eq!(password.delete(&one).await.status, 204);
    assert_eq!(bearer(&sim, secret).get(REPO).await.status, 401);
    let other = basic(&sim, "admin", "admin");
    assert_eq!(other.put(path, &body).await.status, 200, "administrators may");
    sim.create_user("ann");
    assert_eq!(basic(&sim, "ann", "ann").get(path).await.status, 401);
}
