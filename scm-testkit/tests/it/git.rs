//! The real git against the simulator.

use std::{path::Path, process::Output};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use scm_testkit::{
    fault::Fault,
    sim::gitlab::{GitLabSim, Role, TokenKind, TokenSpec},
};
use serde_json::json;

use crate::client::Client;

/// git with nothing of the user's and the token in a header that no command line shows.
pub(crate) async fn git(dir: &Path, token: Option<&str>, arguments: &[&str]) -> Output {
    let mut command = tokio::process::Command::new("git");
    command.args(arguments).current_dir(dir).env("HOME", dir).env("GIT_CONFIG_NOSYSTEM", "1");
    command.env("GIT_TERMINAL_PROMPT", "0").env("GIT_CONFIG_GLOBAL", "/dev/null").env("LC_ALL", "C");
    for role in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{role}_NAME"), "Ann").env(format!("GIT_{role}_EMAIL"), "ann@example.com");
    }
    if let Some(token) = token {
        let basic = STANDARD.encode(format!("anyone:{token}"));
        command
            .env("GIT_CONFIG_COUNT", "1")
            .env("GIT_CONFIG_KEY_0", "http.extraHeader")
            .env("GIT_CONFIG_VALUE_0", format!("Authorization: Basic {basic}"));
    }
    command.output().await.unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(crate) async fn ok(dir: &Path, token: &str, arguments: &[&str]) -> String {
    let output = git(dir, Some(token), arguments).await;
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn clone_change_push_and_see_it_in_the_api() {
    let sim = GitLabSim::builder().context_path("/gitlab").seed_demo().start().await.unwrap();
    let token = sim.tokens()[0].token.clone();
    let dir = tempfile::tempdir().unwrap();
    let url = format!("{}/demo/web.git", sim.url());
    sim.open_merge_request_ready("fix").await;
    ok(dir.path(), &token, &["clone", "--quiet", &url, "web"]).await;
    let work = dir.path().join("web");
    ok(&work, &token, &["checkout", "--quiet", "fix"]).await;
    std::fs::write(work.join("big.bin"), vec![7_u8; 3_000_000]).unwrap();
    ok(&work, &token, &["add", "."]).await;
    ok(&work, &token, &["commit", "--quiet", "-m", "Add a big file"]).await;
    ok(&work, &token, &["push", "--quiet", "origin", "fix"]).await;
    let head = ok(&work, &token, &["rev-parse", "HEAD"]).await;
    let client = Client::of(&sim);
    let mr = client.get("/projects/demo%2Fweb/merge_requests/1").await.json();
    assert_eq!(mr["sha"], head.trim());
    assert_eq!(mr["head_pipeline"]["sha"], head.trim(), "a push starts a pipeline");
    let refs = ok(&work, &token, &["ls-remote", "origin", "refs/merge-requests/1/head"]).await;
    assert!(refs.starts_with(head.trim()));
    ok(&work, &token, &["push", "--quiet", "origin", ":fix"]).await;
    assert_eq!(client.get("/projects/demo%2Fweb/repository/branches/fix").await.status, 404);
}

trait Ready {
    async fn open_merge_request_ready(&self, branch: &str);
}

impl Ready for GitLabSim {
    async fn open_merge_request_ready(&self, branch: &str) {
        self.push_commit("demo/web", branch, "Start", &[("start", Some(b"x"))]).unwrap();
        self.open_merge_request("demo/web", "ann", branch, "main", "Fix").unwrap();
    }
}

#[tokio::test]
async fn protected_branches_and_small_roles_are_refused() {
    let sim = GitLabSim::builder().seed_demo().start().await.unwrap();
    let token = |role| {
        let spec =
            TokenSpec::new(TokenKind::Personal, format!("{role:?}")).scopes(["write_repository"]).role(role);
        sim.issue_token(&spec).unwrap().token
    };
    let (developer, reporter) = (token(Role::Developer), token(Role::Reporter));
    let dir = tempfile::tempdir().unwrap();
    let url = format!("{}/demo/web", sim.url());
    ok(dir.path(), &developer, &["clone", "--quiet", &url, "web"]).await;
    let work = dir.path().join("web");
    ok(&work, &developer, &["commit", "--quiet", "--allow-empty", "-m", "empty"]).await;
    let refused = git(&work, Some(&developer), &["push", "origin", "HEAD:main"]).await;
    assert!(!refused.status.success());
    let text = stderr(&refused);
    assert!(
        text.contains(
            "remote: GitLab: You are not allowed to push code to protected branches on this project."
        ),
        "{text}"
    );
    assert!(text.contains("pre-receive hook declined"), "{text}");
    ok(&work, &developer, &["push", "--quiet", "origin", "HEAD:mine"]).await;
    let small = git(&work, Some(&reporter), &["push", "origin", "HEAD:other"]).await;
    assert!(stderr(&small).contains("403"), "{}", stderr(&small));
    let maintainer = token(Role::Maintainer);
    ok(&work, &maintainer, &["push", "--quiet", "origin", "HEAD:main"]).await;
    let forced = git(&work, Some(&maintainer), &["push", "--force", "origin", "HEAD~1:main"]).await;
    assert!(!forced.status.success(), "protected branches are not rewritten");
}

#[tokio::test]
async fn strangers_are_asked_for_credentials() {
    let sim = GitLabSim::builder().seed_demo().start().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let url = format!("{}/demo/web.git", sim.url());
    let anonymous = git(dir.path(), None, &["ls-remote", &url]).await;
    assert!(stderr(&anonymous).contains("could not read Username"), "{}", stderr(&anonymous));
    let spec = TokenSpec::new(TokenKind::Personal, "late").role(Role::Developer).expires_at("2020-01-01");
    let late = sim.issue_token(&spec).unwrap().token;
    assert!(!git(dir.path(), Some(&late), &["ls-remote", &url]).await.status.success());
    let spec = TokenSpec::new(TokenKind::Personal, "small").role(Role::Developer).scopes(["read_user"]);
    let small = sim.issue_token(&spec).unwrap().token;
    assert!(!git(dir.path(), Some(&small), &["ls-remote", &url]).await.status.success());
    sim.faults().add(Fault::on("GET", "/:project/info/refs").text(503, "down").times(1));
    let token = sim.tokens()[0].token.clone();
    let down = git(dir.path(), Some(&token), &["ls-remote", &url]).await;
    assert!(stderr(&down).contains("503"), "{}", stderr(&down));
    assert!(git(dir.path(), Some(&token), &["ls-remote", &url]).await.status.success());
}

#[tokio::test]
async fn partial_and_shallow_clones_and_single_objects_are_served() {
    let sim = GitLabSim::builder().seed_demo().start().await.unwrap();
    let token = sim.tokens()[0].token.clone();
    let dir = tempfile::tempdir().unwrap();
    let url = format!("{}/demo/web.git", sim.url());
    ok(dir.path(), &token, &["clone", "--quiet", "--bare", "--filter=tree:0", "--depth=1", &url, "bare"])
        .await;
    let bare = dir.path().join("bare");
    let missing = ok(&bare, &token, &["rev-list", "--objects", "--missing=print", "HEAD"]).await;
    assert!(missing.lines().any(|line| line.starts_with('?')), "trees were left out: {missing}");
    let client = Client::of(&sim);
    let file = client.get("/projects/demo%2Fweb/repository/files/README.md?ref=main").await.json();
    let blob = file["blob_id"].as_str().unwrap();
    // Git asks for the missing object by its id.
    assert!(ok(&bare, &token, &["cat-file", "-p", blob]).await.starts_with("# web"));
}

#[tokio::test]
async fn one_of_ten_thousand_is_real_when_it_is_touched() {
    let started = std::time::Instant::now();
    let sim = GitLabSim::builder().projects(10_000).start().await.unwrap();
    assert!(started.elapsed() < std::time::Duration::from_secs(10));
    assert_eq!(sim.repositories().len(), 10_000);
    let token = sim.tokens()[0].token.clone();
    let dir = tempfile::tempdir().unwrap();
    let name = "load/project-07421";
    let url = format!("{}/{name}.git", sim.url());
    ok(dir.path(), &token, &["clone", "--quiet", &url, "one"]).await;
    assert!(dir.path().join("one/README.md").exists());
    let client = Client::of(&sim);
    let body = json!({ "branch": "fix", "start_branch": "main", "commit_message": "Fix", "actions": [
        { "action": "update", "file_path": "README.md", "content": "# changed\n" },
    ] });
    let made = client.post("/projects/load%2Fproject-07421/repository/commits", &body).await;
    assert_eq!(made.status, 201, "{}", made.text());
    ok(&dir.path().join("one"), &token, &["fetch", "--quiet", "origin", "fix"]).await;
    let head = ok(&dir.path().join("one"), &token, &["rev-parse", "FETCH_HEAD"]).await;
    assert_eq!(made.json()["id"], head.trim());
    let other = client.get("/projects/load%2Fproject-07422/repository/branches").await.json();
    assert_eq!(other.as_array().unwrap().len(), 1, "neighbours share nothing that can be seen");
}

#[tokio::test]
async fn an_existing_repository_is_served_as_a_copy() {
    let dir = tempfile::tempdir().unwrap();
    ok(dir.path(), "", &["init", "--quiet", "-b", "trunk", "mine"]).await;
    let mine = dir.path().join("mine");
    std::fs::write(mine.join("a.txt"), "a\n").unwrap();
    ok(&mine, "", &["add", "."]).await;
    ok(&mine, "", &["commit", "--quiet", "-m", "First"]).await;
    let sim = GitLabSim::builder().repository("team/app", &mine).start().await.unwrap();
    let client = Client::of(&sim);
    let project = client.get("/projects/team%2Fapp").await.json();
    assert_eq!(project["default_branch"], "trunk");
    sim.push_commit("team/app", "trunk", "Second", &[("b.txt", Some(b"b"))]).unwrap();
    assert_eq!(
        ok(&mine, "", &["rev-list", "--count", "HEAD"]).await.trim(),
        "1",
        "the original is untouched"
    );
}
