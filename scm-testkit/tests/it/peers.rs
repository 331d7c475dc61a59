//! A client library that others wrote must be able to work against the simulator.

use scm_testkit::sim::gitlab::GitLabSim;
use tokio::process::Command;

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a skip must not pass unseen in CI")]
async fn python_gitlab() {
    let there = Command::new("python3").args(["-c", "import gitlab"]).output().await;
    if !there.is_ok_and(|output| output.status.success()) {
        assert!(
            std::env::var("CI").is_err(),
            "python3 with python-gitlab is missing, and CI may not skip this"
        );
        println!("skipped: python3 cannot import gitlab (pip install python-gitlab)");
        return;
    }
    let sim = GitLabSim::builder().context_path("/gitlab").seed_demo().projects(250).start().await.unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peer/python_gitlab.py");
    let output = Command::new("python3")
        .args([script, &sim.url(), &sim.tokens()[0].token, "260"])
        .output()
        .await
        .unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
