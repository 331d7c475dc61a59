//! Git over every route: the git program through a gateway, and commits without it.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use scm_client::core::{BranchName, FileChange, FilePath, NewCommit, RepoId, Revision, Scm, Transport};
use scm_git::Gateway;
use scm_testkit::sim::bitbucket_dc::BitbucketDcSim;
use scm_testkit::sim::gitlab::GitLabSim;

use crate::routes::{self, Hop, Via};

/// Runs the real git, which must not ask anybody anything, and gives what it prints.
fn git(dir: &Path, args: &[&str]) -> String {
    let mut command = Command::new("git");
    command.current_dir(dir).args(args).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    // Of the machine's own proxies it must not hear.
    for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(name);
    }
    let done = command.env("GIT_TERMINAL_PROMPT", "0").output().unwrap();
    assert!(done.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().trim_end().to_owned()
}

/// A clone, a push of more than git keeps in memory, and a commit of several files, with what the server then has.
async fn assert_works(scm: Arc<dyn Scm>, transport: Transport, repo: &str) {
    let repo = RepoId::new(repo).unwrap();
    let remote = scm.git().git_remote(&repo).await.unwrap();
    let gateway = Gateway::start(transport, &remote).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let through = gateway.instead_of();
    git(dir.path(), &["-c", &through, "clone", "--quiet", gateway.remote_url().as_str(), "work"]);
    let work = dir.path().join("work");
    let noise: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    std::fs::write(work.join("large.bin"), noise).unwrap();
    git(&work, &["add", "."]);
    git(&work, &["-c", "user.name=A", "-c", "user.email=a@b", "commit", "--quiet", "-m", "Large"]);
    git(&work, &["-c", &through, "push", "--quiet", "origin", "HEAD:refs/heads/pushed"]);
    let pushed = BranchName::new("pushed").unwrap();
    let branch = scm.branches().branch(&repo, &pushed).await.unwrap();
    assert_eq!(branch.head.as_str(), git(&work, &["rev-parse", "HEAD"]));

    let path = |text: &str| text.parse::<FilePath>().unwrap();
    let commit = NewCommit::on_branch(pushed.clone(), "Several")
        .with_expected_head(branch.head.clone())
        .with_change(FileChange::create(path("new/a.txt"), "a\n".to_owned()))
        .with_change(FileChange::create(path("new/b.txt"), "b\n".to_owned()))
        .with_change(FileChange::delete(path("large.bin")));
    let made = scm.commits().create_commit(&repo, &commit).await.unwrap().value;
    assert_eq!(made.parents, [branch.head]);
    let file = scm.contents().file(&repo, &Revision::Branch(pushed), &path("new/b.txt")).await.unwrap();
    assert_eq!(&file.content[..], b"b\n");
    git(&work, &["-c", &through, "fetch", "--quiet", "origin"]);
    assert_eq!(git(&work, &["rev-parse", "origin/pushed"]), made.sha.as_str());
    let changed = git(&work, &["diff", "--name-status", "--no-renames", "HEAD", "origin/pushed"]);
    assert_eq!(changed, "D\tlarge.bin\nA\tnew/a.txt\nA\tnew/b.txt");
}

async fn assert_works_via(via: Via) {
    let Some(hop) = Hop::start(via).await else { return };
    let transport = hop.transport();
    let sim = GitLabSim::builder().seed_demo().start().await.unwrap();
    let scm = routes::gitlab(&transport, &sim.url(), sim.tokens()[0].token.clone().into()).unwrap();
    assert_works(scm, transport.clone(), "demo/web").await;
    let sim = BitbucketDcSim::builder().seed_demo().start().await.unwrap();
    let scm = routes::bitbucket_dc(&transport, &sim.url(), sim.tokens()[0].token.clone().into()).unwrap();
    assert_works(scm, transport, "DEMO/web").await;
    let seen = sim.requests().len();
    assert!(hop.requests().is_none_or(|requests| requests > seen), "all of both products went through");
}

#[tokio::test(flavor = "multi_thread")]
async fn git_works_through_a_small_proxy() {
    assert_works_via(Via::SmallProxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn git_works_through_squid() {
    assert_works_via(Via::Squid).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn git_works_through_tinyproxy() {
    assert_works_via(Via::Tinyproxy).await;
}
