//! Clients that others wrote must be able to do their work against the simulator. `.ci/peers` installs them.

use std::path::{Path, PathBuf};

use scm_testkit::sim::{bitbucket_dc::BitbucketDcSim, gitlab::GitLabSim};
use tokio::process::Command;

/// Projects beside those of the demonstration: more than two of the largest pages.
const MORE: u64 = 250;
const ALL: &str = "260";

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers")
}

fn cache() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../.ci/cache")
}

/// Whether `there` says that the client is.
#[expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a skip shows, and in CI it fails")]
async fn installed(name: &str, mut there: Command) -> bool {
    if !there.output().await.is_ok_and(|output| output.status.success()) {
        assert!(std::env::var("CI").is_err(), "{name} is missing, and CI may not skip this: run .ci/peers");
        println!("skipped: {name} is not installed; .ci/peers does it");
        return false;
    }
    true
}

/// Runs `work` with a simulator's URL, a token and the number of projects, where `there` says that the client is.
async fn works(name: &str, there: Command, work: Command) {
    if !installed(name, there).await {
        return;
    }
    let sim = GitLabSim::builder().context_path("/gitlab").seed_demo().projects(MORE).start().await.unwrap();
    succeeds(work, &sim.url(), &sim.tokens()[0].token).await;
}

async fn succeeds(mut work: Command, url: &str, token: &str) {
    let work = work.args([url, token, ALL]).kill_on_drop(true);
    let output = work.output().await.unwrap();
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success() && said[0] == "ok\n", "{}{}", said[0], said[1]);
}

fn python() -> Command {
    let own = cache().join("venv/bin/python3");
    Command::new(if own.exists() { own.as_path() } else { Path::new("python3") })
}

#[tokio::test]
async fn python_gitlab() {
    let (mut there, mut work) = (python(), python());
    there.args(["-c", "import gitlab"]);
    work.arg(scripts().join("python_gitlab.py"));
    works("python-gitlab", there, work).await;
}

#[tokio::test]
async fn gitbeaker() {
    let node = || {
        let mut node = Command::new("node");
        node.env("NODE_PATH", cache().join("peers/node_modules"));
        node
    };
    let (mut there, mut work) = (node(), node());
    there.args(["-e", "require.resolve('@gitbeaker/rest')"]);
    work.arg(scripts().join("gitbeaker.cjs"));
    works("@gitbeaker/rest", there, work).await;
}

#[tokio::test]
async fn client_go() {
    let go = || {
        let mut go = Command::new("go");
        // A test fetches nothing.
        go.current_dir(scripts().join("client-go")).env("GOPROXY", "off").env("GOTOOLCHAIN", "local");
        go
    };
    let (mut there, mut work) = (go(), go());
    there.args(["list", "-deps", "."]);
    work.args(["run", "."]);
    works("GitLab's client for Go", there, work).await;
}

#[tokio::test]
async fn atlassian_python_api_and_stashy() {
    let (mut there, mut work) = (python(), python());
    there.args(["-c", "import atlassian, stashy"]);
    work.arg(scripts().join("bitbucket.py"));
    if !installed("atlassian-python-api or stashy", there).await {
        return;
    }
    let sim = BitbucketDcSim::builder()
        .context_path("/bitbucket")
        .seed_demo()
        .projects(MORE)
        .start()
        .await
        .unwrap();
    succeeds(work, &sim.url(), &sim.tokens()[0].token).await;
}
