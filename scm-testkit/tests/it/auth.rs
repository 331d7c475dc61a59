//! Tokens, scopes, roles, and callers without any.

use std::time::Duration;

use scm_testkit::sim::gitlab::{GitLabSim, ProjectSpec, Role, TokenKind, TokenSpec, Visibility};
use serde_json::json;

use crate::client::Client;

async fn demo() -> GitLabSim {
    GitLabSim::builder().seed_demo().start().await.unwrap()
}

fn token(sim: &GitLabSim, spec: &TokenSpec) -> Client {
    Client::anonymous(sim).with_token(&sim.issue_token(spec).unwrap().token)
}

#[tokio::test]
async fn anonymous_callers_see_public_projects_only() {
    let sim = demo().await;
    sim.set_visibility("demo/clean", Visibility::Public).unwrap();
    let client = Client::anonymous(&sim);
    assert_eq!(client.get("/projects/demo%2Fclean").await.status, 200);
    assert!(client.get("/projects/demo%2Fclean").await.json().get("permissions").is_none());
    assert_eq!(client.get("/projects/demo%2Fclean/repository/files/README.md/raw").await.status, 200);
    assert_eq!(client.get("/projects/demo%2Fweb").await.refusal(), (404, json!("404 Project Not Found")));
    assert_eq!(client.get("/projects").await.json().as_array().unwrap().len(), 1);
    for path in ["/user", "/version", "/personal_access_tokens/self"] {
        assert_eq!(client.get(path).await.json(), json!({ "message": "401 Unauthorized" }), "{path}");
    }
    let body = json!({ "branch": "x", "ref": "main" });
    assert_eq!(client.post("/projects/demo%2Fclean/repository/branches", &body).await.status, 401);
}

#[tokio::test]
async fn bad_expired_and_revoked_tokens_are_told_apart() {
    let sim = demo().await;
    let client = Client::anonymous(&sim);
    let unknown = client.clone().with_token("glpat-nobody").get("/user").await;
    assert_eq!((unknown.status, unknown.json()), (401, json!({ "message": "401 Unauthorized" })));
    let bearer = client.with_header("Authorization", "Bearer glpat-nobody").get("/user").await;
    assert_eq!(bearer.json()["error_description"], "Bad Access Token.");

    let spec = TokenSpec::new(TokenKind::Personal, "ann").expires_at(sim.clock().date_in_days(2));
    let issued = sim.issue_token(&spec).unwrap();
    let ann = Client::anonymous(&sim).with_token(&issued.token);
    assert_eq!(ann.get("/personal_access_tokens/self").await.json()["active"], true);
    sim.clock().advance(Duration::from_secs(2 * 86_400));
    let expired = ann.get("/user").await;
    assert_eq!(expired.status, 401);
    assert_eq!(
        expired.json(),
        json!({
            "error": "invalid_token",
            "error_description": "Token is expired. You can either do re-authorization or token refresh.",
        })
    );

    let gone = token(&sim, &TokenSpec::new(TokenKind::Personal, "ann").revoked()).get("/user").await;
    assert_eq!(
        gone.json()["error_description"],
        "Token was revoked. You have to re-authorize from the user."
    );
    let bob = token(&sim, &TokenSpec::new(TokenKind::Personal, "bob"));
    sim.block_user("bob").unwrap();
    assert_eq!(bob.get("/user").await.status, 403);
}

#[tokio::test]
async fn bearer_and_private_token_open_the_same_doors() {
    let sim = demo().await;
    let secret = sim.tokens()[0].token.clone();
    let client = Client::anonymous(&sim).with_header("Authorization", &format!("Bearer {secret}"));
    assert_eq!(client.get("/user").await.json()["bot"], true);
}

#[tokio::test]
async fn scopes_limit_what_a_role_allows() {
    let sim = demo().await;
    let maintainer = |scope: &str| {
        token(&sim, &TokenSpec::new(TokenKind::Personal, "ann").scopes([scope]).role(Role::Maintainer))
    };
    let reader = maintainer("read_api");
    assert_eq!(reader.get("/projects/demo%2Fweb").await.status, 200);
    let body = json!({ "branch": "x", "ref": "main" });
    let refused = reader.post("/projects/demo%2Fweb/repository/branches", &body).await;
    assert_eq!((refused.status, &refused.json()["error"]), (403, &json!("insufficient_scope")));
    assert_eq!(refused.json()["scope"], "api");
    let code = maintainer("read_repository");
    assert_eq!(code.get("/projects/demo%2Fweb/repository/tree").await.status, 200);
    assert_eq!(code.get("/projects/demo%2Fweb").await.status, 403);
    let user = maintainer("read_user");
    assert_eq!(user.get("/user").await.status, 200);
    assert_eq!(user.get("/personal_access_tokens/self").await.json()["scopes"], json!(["read_user"]));
    assert_eq!(user.get("/projects").await.status, 403);
}

#[tokio::test]
async fn roles_decide_about_branches_and_code() {
    let sim = demo().await;
    let with = |role| token(&sim, &TokenSpec::new(TokenKind::Personal, format!("{role:?}")).role(role));
    let body = json!({ "branch": "x", "ref": "main" });
    let path = "/projects/demo%2Fweb/repository/branches";
    assert_eq!(with(Role::Reporter).post(path, &body).await.refusal(), (403, json!("403 Forbidden")));
    assert_eq!(with(Role::Developer).post(path, &body).await.status, 201);
    assert_eq!(with(Role::Guest).get("/projects/demo%2Fweb").await.status, 200);
    assert_eq!(with(Role::Guest).get("/projects/demo%2Fweb/repository/tree").await.status, 403);
    let commit = json!({
        "branch": "main", "commit_message": "m",
        "actions": [{ "action": "create", "file_path": "n", "content": "" }],
    });
    let path = "/projects/demo%2Fweb/repository/commits";
    assert_eq!(with(Role::Developer).post(path, &commit).await.status, 403, "main is protected");
    assert_eq!(with(Role::Maintainer).post(path, &commit).await.status, 201);
    let read_only = "/projects/demo%2Freadonly";
    let access =
        Client::of(&sim).get(read_only).await.json()["permissions"]["project_access"]["access_level"].clone();
    assert_eq!(access, 20);
    let archived = Client::of(&sim).post("/projects/demo%2Flegacy/repository/branches", &body).await;
    assert_eq!(archived.status, 403);
}

#[tokio::test]
async fn permissions_tell_direct_from_inherited() {
    let sim = demo().await;
    let ann = token(&sim, &TokenSpec::new(TokenKind::Personal, "ann"));
    assert_eq!(ann.get("/projects/demo%2Fweb").await.status, 404, "a member of nothing sees nothing");
    assert_eq!(ann.get("/projects?membership=true").await.json(), json!([]));
    sim.add_member("demo", "ann", Role::Developer).unwrap();
    sim.add_member("demo/web", "ann", Role::Maintainer).unwrap();
    let permissions = |path: &'static str| {
        let ann = ann.clone();
        async move { ann.get(path).await.json()["permissions"].clone() }
    };
    let web = permissions("/projects/demo%2Fweb").await;
    assert_eq!(
        (&web["project_access"]["access_level"], &web["group_access"]["access_level"]),
        (&json!(40), &json!(30))
    );
    let cli = permissions("/projects/demo%2Fplatform%2Fcli").await;
    assert_eq!((&cli["project_access"], &cli["group_access"]["access_level"]), (&json!(null), &json!(30)));
    let listed = ann.get("/projects?membership=true&min_access_level=40").await.json();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    let id = ann.get("/user").await.json()["id"].clone();
    let member = ann.get(&format!("/projects/demo%2Fapi/members/all/{id}")).await.json();
    assert_eq!(member["access_level"], 30);
    assert_eq!(ann.get(&format!("/projects/demo%2Fapi/members/{id}")).await.status, 404);
}

#[tokio::test]
async fn group_tokens_belong_to_bots_that_are_members() {
    let sim = demo().await;
    sim.create_project("other/one", &ProjectSpec::new()).unwrap();
    let spec = TokenSpec::new(TokenKind::Group, "renew").on("demo").role(Role::Developer);
    let bot = token(&sim, &spec);
    let user = bot.get("/user").await.json();
    assert!(user["username"].as_str().unwrap().starts_with("group_"));
    assert_eq!(user["name"], "renew");
    let all = bot.get("/projects?membership=true&per_page=100").await.json();
    assert_eq!(all.as_array().unwrap().len(), 10);
    assert_eq!(bot.get("/projects/other%2Fone").await.status, 404);
}

#[tokio::test]
async fn rotation_replaces_the_secret_and_reuse_revokes_the_family() {
    let sim = demo().await;
    let first = Client::of(&sim);
    let date = sim.clock().date_in_days(30);
    let answer = first.post("/personal_access_tokens/self/rotate", &json!({ "expires_at": date })).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["expires_at"], date);
    let second = Client::anonymous(&sim).with_token(answer.json()["token"].as_str().unwrap());
    assert_eq!(first.get("/user").await.status, 401);
    assert_eq!(second.get("/user").await.status, 200);
    let id = second.get("/personal_access_tokens/self").await.json()["id"].clone();
    let third = second.post(&format!("/personal_access_tokens/{id}/rotate"), &json!({})).await;
    assert_eq!(third.json()["expires_at"], sim.clock().date_in_days(7), "one week unless asked otherwise");
    let third = Client::anonymous(&sim).with_token(third.json()["token"].as_str().unwrap());
    assert_eq!(third.get("/user").await.status, 200);
    assert_eq!(first.post("/personal_access_tokens/self/rotate", &json!({})).await.status, 401);
    assert_eq!(
        third.get("/user").await.status,
        401,
        "a rotation with a rotated token revokes its descendants"
    );
}
