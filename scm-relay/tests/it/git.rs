//! A real git through hub and agent.

use std::path::Path;
use std::process::{Command, Output};

use scm_testkit::sim::gitlab::{GitLabSim, ProjectSpec, Protection, Role, TokenKind, TokenSpec};

use crate::world::{SERVICE_KEY, World};

async fn git(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new("git");
    command.current_dir(dir).args(args).env("GIT_CONFIG_GLOBAL", "/dev/null");
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_TERMINAL_PROMPT", "0");
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_git_clones_and_pushes_through_the_hub_where_both_are_granted() {
    let sim = GitLabSim::builder().start().await.unwrap();
    let spec = ProjectSpec::new().file("a.txt", "1\n").protection(Protection::None);
    sim.create_project("group/repo", &spec).unwrap();
    let token = sim.issue_token(&TokenSpec::new(TokenKind::Group, "bot").role(Role::Maintainer)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let noise: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();

    let world = World::new().await;
    let mut agent = world.agent(&[&format!("{}=gitlab:clone,push", sim.url())]);
    let key = format!("http.extraHeader=Scm-Hub-Key: {SERVICE_KEY}");
    let url = world.place(&sim.url()).replace("http://", &format!("http://bot:{}@", token.token));
    let url = format!("{url}/group/repo.git");
    let cloned = git(dir.path(), &["-c", &key, "clone", "--quiet", &url, "work"]).await;
    assert!(cloned.status.success(), "{}", words(&cloned));
    let work = dir.path().join("work");
    assert_eq!(std::fs::read(work.join("a.txt")).unwrap(), b"1\n");

    std::fs::write(work.join("large.bin"), noise).unwrap();
    git(&work, &["add", "."]).await;
    git(&work, &["-c", "user.name=A", "-c", "user.email=a@b", "commit", "--quiet", "-m", "Large"]).await;
    let pushed = git(&work, &["-c", &key, "push", "--quiet", "origin", "HEAD:refs/heads/pushed"]).await;
    assert!(pushed.status.success(), "{}", words(&pushed));
    let head = git(&work, &["rev-parse", "HEAD"]).await;
    let head = String::from_utf8(head.stdout).unwrap();
    assert_eq!(sim.revision("group/repo", "pushed").unwrap().unwrap(), head.trim());

    // Without the key, and without the grant.
    let refused = git(dir.path(), &["clone", "--quiet", &url, "none"]).await;
    assert!(words(&refused).contains("Authentication failed"), "{}", words(&refused));
    agent.stop();
    world.tunnels(0).await;
    let _agent = world.agent(&[&format!("{}=gitlab:clone", sim.url())]);
    let refused = git(&work, &["-c", &key, "push", "--quiet", "origin", "HEAD:refs/heads/again"]).await;
    assert!(words(&refused).contains("403"), "{}", words(&refused));
    assert_eq!(sim.revision("group/repo", "again").unwrap(), None);
}
