//! The real git against the simulator.

use std::path::Path;

use scm_testkit::sim::GitFilters;
use scm_testkit::sim::bitbucket_dc::{
    BitbucketDcSim, Permission, RepositorySpec, RestrictionKind, Role, TokenKind, TokenSpec,
};
use serde_json::json;

use super::{REPO, client, fill, member, started};
use crate::git::{git, ok, stderr};

async fn cloned(sim: &BitbucketDcSim, dir: &Path, token: &str) -> std::path::PathBuf {
    let url = format!("{}/scm/demo/web.git", sim.url());
    ok(dir, token, &["clone", "--quiet", &url, "web"]).await;
    dir.join("web")
}

#[tokio::test]
async fn clone_change_push_and_see_it_in_the_api() {
    let sim = BitbucketDcSim::builder().context_path("/bitbucket").start().await.unwrap();
    fill(&sim);
    sim.push_commit("DEMO/web", "fix", "Start", &[("start", Some(b"x"))]).unwrap();
    sim.open_pull_request("DEMO/web", "ann", "fix", "main", "Fix").unwrap();
    let token = sim.tokens()[0].token.clone();
    let dir = tempfile::tempdir().unwrap();
    let work = cloned(&sim, dir.path(), &token).await;
    ok(&work, &token, &["checkout", "--quiet", "fix"]).await;
    std::fs::write(work.join("big.bin"), vec![7_u8; 3_000_000]).unwrap();
    ok(&work, &token, &["add", "."]).await;
    ok(&work, &token, &["commit", "--quiet", "-m", "Add a big file"]).await;
    ok(&work, &token, &["push", "--quiet", "origin", "fix"]).await;
    let head = ok(&work, &token, &["rev-parse", "HEAD"]).await;
    let client = client(&sim);
    let pull = client.get(&format!("{REPO}/pull-requests/1")).await.json();
    assert_eq!((&pull["fromRef"]["latestCommit"], &pull["version"]), (&json!(head.trim()), &json!(0)));
    let refs = ok(&work, &token, &["ls-remote", "origin"]).await;
    assert!(refs.contains(&format!("{}\trefs/pull-requests/1/from", head.trim())), "{refs}");
    assert!(!refs.contains("refs/internal"), "{refs}");
    let hidden = git(&work, Some(&token), &["push", "origin", "HEAD:refs/pull-requests/7/from"]).await;
    assert!(!hidden.status.success());
    ok(&work, &token, &["push", "--quiet", "origin", ":fix"]).await;
    assert_eq!(client.get(&format!("{REPO}/branches?filterText=fix")).await.json()["size"], 0);
}

#[tokio::test]
async fn first_pushes_make_the_default_branch() {
    let sim = started().await;
    sim.create_repository("~ann.lee/empty", &RepositorySpec::new().empty()).unwrap();
    let token = sim.issue_token(&TokenSpec::new(TokenKind::User, "ann.lee")).unwrap().token;
    let dir = tempfile::tempdir().unwrap();
    ok(dir.path(), &token, &["init", "--quiet", "-b", "trunk", "new"]).await;
    let work = dir.path().join("new");
    ok(&work, &token, &["commit", "--quiet", "--allow-empty", "-m", "First"]).await;
    let url = format!("{}/scm/~ann.lee/empty.git", sim.url());
    ok(&work, &token, &["push", "--quiet", &url, "trunk"]).await;
    let client = super::bearer(&sim, &token);
    let branch = client.get("/api/1.0/projects/~ann.lee/repos/empty/default-branch").await.json();
    assert_eq!(branch["displayId"], "trunk");
}

#[tokio::test]
async fn credentials_of_all_forms_open_git_and_others_do_not() {
    let sim = started().await;
    let dir = tempfile::tempdir().unwrap();
    let url = format!("{}/scm/DEMO/web.git", sim.url());
    let token = sim.tokens()[0].token.clone();
    let with = |header: String, url: String| {
        let dir = dir.path().to_owned();
        async move {
            let header = format!("http.extraHeader=Authorization: {header}");
            git(&dir, None, &["-c", &header, "ls-remote", &url]).await.status.success()
        }
    };
    let basic = |user: &str, password: &str| {
        use base64::Engine as _;
        let text = format!("{user}:{password}");
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(text))
    };
    assert!(with(format!("Bearer {token}"), url.clone()).await);
    assert!(with(basic("x-token-auth", &token), url.clone()).await);
    assert!(with(basic("whoever", &token), url.clone()).await);
    assert!(with(basic("scm", "scm"), url.clone()).await);
    let spec = TokenSpec::new(TokenKind::Repository, "ci").on("DEMO/web").permissions([Permission::RepoRead]);
    let repository = sim.issue_token(&spec).unwrap().token;
    assert!(with(basic("x-token-auth", &repository), url.clone()).await);
    assert!(!with(basic("scm", "wrong"), url.clone()).await);
    assert!(!with("Bearer nonsense".to_owned(), url.clone()).await);
    let anonymous = git(dir.path(), None, &["ls-remote", &url]).await;
    assert!(stderr(&anonymous).contains("could not read Username"), "{}", stderr(&anonymous));
    let missing = git(dir.path(), Some(&token), &["ls-remote", &url.replace("web", "nope")]).await;
    assert!(stderr(&missing).contains("not found"), "{}", stderr(&missing));
    sim.set_public("DEMO/web", true).unwrap();
    assert!(git(dir.path(), None, &["ls-remote", &url]).await.status.success());
}

#[tokio::test]
async fn readers_and_restrictions_are_refused_in_words() {
    let sim = started().await;
    let dir = tempfile::tempdir().unwrap();
    let issue = |name: &str, role| {
        let spec = TokenSpec::new(TokenKind::User, name).on("DEMO/web").role(role);
        sim.issue_token(&spec).unwrap().token
    };
    let (writer, reader) = (issue("ann", Role::Write), issue("bob", Role::Read));
    let work = cloned(&sim, dir.path(), &writer).await;
    ok(&work, &writer, &["commit", "--quiet", "--allow-empty", "-m", "empty"]).await;
    let refused = git(&work, Some(&reader), &["push", "origin", "HEAD:other"]).await;
    assert!(stderr(&refused).contains("403"), "{}", stderr(&refused));
    sim.restrict_branch("DEMO/web", "main", RestrictionKind::PullRequestOnly, &[]).unwrap();
    let before = sim.revision("DEMO/web", "main").unwrap();
    let refused = git(&work, Some(&writer), &["push", "origin", "HEAD:main", "HEAD:mine"]).await;
    let text = stderr(&refused);
    assert!(
        text.contains("remote: Branch refs/heads/main can only be modified through pull requests."),
        "{text}"
    );
    assert!(
        text.contains("[remote rejected] HEAD -> mine (pre-receive hook declined)"),
        "the whole push: {text}"
    );
    assert_eq!(sim.revision("DEMO/web", "main").unwrap(), before);
    ok(&work, &writer, &["push", "--quiet", "origin", "HEAD:mine"]).await;
    sim.restrict_branch("DEMO/web", "mi*", RestrictionKind::FastForwardOnly, &[]).unwrap();
    let forced = git(&work, Some(&writer), &["push", "--force", "origin", "HEAD~1:mine"]).await;
    assert!(!forced.status.success(), "{}", stderr(&forced));
    sim.restrict_branch("DEMO/web", "mine", RestrictionKind::NoDeletes, &["ann"]).unwrap();
    ok(&work, &writer, &["push", "--quiet", "origin", ":mine"]).await;
    sim.set_archived("DEMO/web", true).unwrap();
    assert!(!git(&work, Some(&writer), &["push", "origin", "HEAD:late"]).await.status.success());
}

#[tokio::test]
async fn filters_are_offered_refused_by_kind_or_not_there() {
    for (filters, blobs, trees) in
        [(GitFilters::All, true, true), (GitFilters::NoTrees, true, false), (GitFilters::Off, false, false)]
    {
        let sim = BitbucketDcSim::builder().git_filters(filters).start().await.unwrap();
        fill(&sim);
        let token = sim.tokens()[0].token.clone();
        let dir = tempfile::tempdir().unwrap();
        let url = format!("{}/scm/demo/web.git", sim.url());
        let partial = |filter: &'static str, name: &'static str| {
            let (dir, url, token) = (dir.path().to_owned(), url.clone(), token.clone());
            async move {
                let filter = format!("--filter={filter}");
                let arguments = ["clone", "--quiet", "--bare", "--depth=1", &filter, &url, name];
                let output = git(&dir, Some(&token), &arguments).await;
                let bare = dir.join(name);
                let missing = output.status.success()
                    && ok(&bare, &token, &["rev-list", "--objects", "--missing=print", "HEAD"])
                        .await
                        .contains('?');
                (missing, stderr(&output))
            }
        };
        assert_eq!(partial("blob:none", "blobs").await.0, blobs, "{filters:?}");
        let (missing, text) = partial("tree:0", "trees").await;
        assert_eq!(missing, trees, "{filters:?}: {text}");
        assert_eq!(text.contains("filter 'tree' not supported"), filters == GitFilters::NoTrees, "{text}");
    }
}

#[tokio::test]
async fn single_objects_are_fetched_by_id() {
    let sim = started().await;
    let token = sim.tokens()[0].token.clone();
    let dir = tempfile::tempdir().unwrap();
    let url = format!("{}/scm/demo/web.git", sim.url());
    ok(dir.path(), &token, &["clone", "--quiet", "--bare", "--filter=tree:0", "--depth=1", &url, "bare"])
        .await;
    let bare = dir.path().join("bare");
    let directory = client(&sim).get(&format!("{REPO}/browse")).await.json();
    let children = directory["children"]["values"].as_array().unwrap();
    let tree = children[0]["node"].as_str().unwrap();
    let listed = ok(&bare, &token, &["ls-tree", "--name-only", tree]).await;
    assert_eq!(listed.lines().collect::<Vec<_>>(), ["a.txt", "deep"]);
}

#[tokio::test]
async fn an_existing_repository_is_served_as_a_copy() {
    let dir = tempfile::tempdir().unwrap();
    ok(dir.path(), "", &["init", "--quiet", "-b", "trunk", "mine"]).await;
    let mine = dir.path().join("mine");
    std::fs::write(mine.join("a.txt"), "a\n").unwrap();
    ok(&mine, "", &["add", "."]).await;
    ok(&mine, "", &["commit", "--quiet", "-m", "First"]).await;
    let sim = BitbucketDcSim::builder()
        .repository("TEAM/app", &mine)
        .repository("solo", &mine)
        .start()
        .await
        .unwrap();
    assert_eq!(sim.repositories(), ["TEAM/app", "LOCAL/solo"]);
    let branch = client(&sim).get("/api/1.0/projects/TEAM/repos/app/default-branch").await.json();
    assert_eq!(branch["displayId"], "trunk");
    sim.push_commit("TEAM/app", "trunk", "Second", &[("b.txt", Some(b"b"))]).unwrap();
    assert_eq!(
        ok(&mine, "", &["rev-list", "--count", "HEAD"]).await.trim(),
        "1",
        "the original is untouched"
    );
    let reader = member(&sim, "ann", "TEAM/app", Role::Read);
    assert_eq!(reader.get("/api/1.0/projects/TEAM/repos/app/raw/b.txt").await.text(), "b");
}
