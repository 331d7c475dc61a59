//! A real git through the gateway.

use std::path::Path;
use std::process::{Command, Output};

use scm_testkit::sim::gitlab::{ProjectSpec, Protection, Role};

use crate::world::{PROJECT, World, git};

/// Runs the real git, which must not ask anybody anything, and gives what came of it.
fn run(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new("git");
    command.current_dir(dir).args(args).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    command.env("GIT_TERMINAL_PROMPT", "0").output().unwrap()
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_a_fetch_and_a_push_go_through_and_leave_no_credential() {
    let world = World::new(ProjectSpec::new().file("a.txt", "1\n")).await;
    let gateway = world.gateway().await;
    let dir = tempfile::tempdir().unwrap();
    let through = gateway.instead_of();
    git(dir.path(), &["-c", &through, "clone", "--quiet", gateway.remote_url().as_str(), "work"], b"");
    let work = dir.path().join("work");
    assert_eq!(std::fs::read(work.join("a.txt")).unwrap(), b"1\n");
    let config = std::fs::read_to_string(work.join(".git/config")).unwrap();
    assert!(config.contains(&format!("url = {}", gateway.remote_url())), "{config}");
    assert!(!config.contains(world.token()) && !config.contains("127.0.0.1:0"), "{config}");

    // More than git keeps in memory before it sends in chunks.
    let noise: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    std::fs::write(work.join("large.bin"), noise).unwrap();
    git(&work, &["add", "."], b"");
    git(&work, &["-c", "user.name=A", "-c", "user.email=a@b", "commit", "--quiet", "-m", "Large"], b"");
    git(&work, &["-c", &through, "push", "--quiet", "origin", "HEAD:refs/heads/pushed"], b"");
    let head = git(&work, &["rev-parse", "HEAD"], b"");
    assert_eq!(world.tip("pushed").unwrap().as_str(), head);

    world.sim.push_commit(PROJECT, "main", "More", &[("b.txt", Some(b"2\n"))]).unwrap();
    git(&work, &["-c", &through, "fetch", "--quiet", "origin"], b"");
    let fetched = git(&work, &["rev-parse", "origin/main"], b"");
    assert_eq!(world.tip("main").unwrap().as_str(), fetched);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_is_for_one_repository_and_for_as_long_as_it_is_held() {
    let world = World::new(ProjectSpec::new().file("a.txt", "1\n")).await;
    let gateway = world.gateway().await;
    let dir = tempfile::tempdir().unwrap();
    let url = gateway.url().to_string();
    assert!(!format!("{gateway:?}").contains(gateway.url().path().split('/').nth(1).unwrap()));
    assert!(run(dir.path(), &["ls-remote", &url]).status.success());
    let guessed = url.replace(gateway.url().path(), "/0123456789abcdef0123456789abcdef/repository.git");
    for other in
        [guessed, url.replace("repository.git", "other.git"), url.replace("repository.git", "../x.git")]
    {
        assert!(!run(dir.path(), &["ls-remote", &other]).status.success(), "{other}");
    }
    drop(gateway);
    assert!(!run(dir.path(), &["ls-remote", &url]).status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_refuses_is_shown_and_git_asks_for_no_password() {
    let spec = ProjectSpec::new().file("a.txt", "1\n");
    let world = World::with(spec, Protection::Full, Role::Developer).await;
    let gateway = world.gateway().await;
    let dir = tempfile::tempdir().unwrap();
    git(dir.path(), &["clone", "--quiet", gateway.url().as_str(), "work"], b"");
    let work = dir.path().join("work");
    git(
        &work,
        &["-c", "user.name=A", "-c", "user.email=a@b", "commit", "--quiet", "--allow-empty", "-m", "Change"],
        b"",
    );
    let pushed = run(&work, &["push", "origin", "HEAD:refs/heads/main"]);
    assert!(!pushed.status.success());
    assert!(words(&pushed).contains("pre-receive hook declined"), "{}", words(&pushed));

    world.sim.revoke_token(world.token()).unwrap();
    let fetched = run(&work, &["fetch", "origin"]);
    assert!(!fetched.status.success());
    assert!(!words(&fetched).contains("could not read Username"), "{}", words(&fetched));
    assert!(words(&fetched).contains("403"), "{}", words(&fetched));
}
