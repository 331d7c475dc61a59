//! The programs as people start them, against the embedded demonstration and against a simulator that goes on.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod conformance;
mod doctor;
mod onboard;
mod remediate;
mod route;

use std::path::{Path, PathBuf};
use std::process::Output;

use scm_testkit::sim::gitlab::GitLabSim;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

/// A folder with a configuration for one token.
struct Setup {
    dir: TempDir,
    config: PathBuf,
}

impl Setup {
    fn new(url: &str, token: &str) -> Self {
        Self::of("gitlab", url, token)
    }

    fn of(provider: &str, url: &str, token: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("token"), token).unwrap();
        let config = dir.path().join("connections.toml");
        let text = format!(
            "[[connection]]\nname = \"acme\"\nprovider = \"{provider}\"\nurl = \"{url}\"\ntoken = {{ file = \"token\" }}\n"
        );
        std::fs::write(&config, text).unwrap();
        Self { dir, config }
    }

    fn for_sim(sim: &GitLabSim) -> Self {
        Self::new(&sim.url(), &sim.tokens()[0].token)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

async fn run(program: &str, args: &[&str]) -> Output {
    Command::new(program).args(args).kill_on_drop(true).output().await.unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The one JSON document on standard output, with the exit code.
fn json(output: &Output) -> (Option<i32>, Value) {
    let out = String::from_utf8_lossy(&output.stdout);
    let value = serde_json::from_str(&out)
        .unwrap_or_else(|error| panic!("{error}: {out}\n{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), value)
}
