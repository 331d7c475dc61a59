//! What the tests of faults share.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use scm_core::pipeline::{PipelineSettings, RetryPolicy};
use scm_core::{
    BranchName, CommitsExt as _, ListCommits, RepoId, Revision, Scm as _, Sha, StaticCredential, Transport,
};
use scm_gitlab::{GitLab, GitLabConfig};
use scm_testkit::fault::{Fault, FaultId};
use scm_testkit::sim::gitlab::{GitLabSim, ProjectSpec, Protection, Role, TokenKind, TokenSpec};
use scm_transport::{DirectTransport, Network};

/// The usual tries, with hardly a wait between them.
pub(crate) fn retry() -> RetryPolicy {
    RetryPolicy::default().with_backoff(Duration::from_millis(5), Duration::from_millis(20))
}

pub(crate) fn direct() -> Transport {
    Transport::new(DirectTransport::new(&Network::new()).unwrap())
}

/// A server with one repository, and a client as users have it, but for shorter waits.
pub(crate) struct World {
    pub(crate) sim: GitLabSim,
    pub(crate) scm: GitLab,
    pub(crate) repo: RepoId,
    /// Of the default branch at the start.
    pub(crate) head: Sha,
    planned: Mutex<Vec<FaultId>>,
}

impl World {
    pub(crate) async fn new() -> Self {
        let sim = GitLabSim::builder().start().await.unwrap();
        let spec = ProjectSpec::new().file("a.txt", "1\n").protection(Protection::None);
        sim.create_project("group/repo", &spec).unwrap();
        let token = sim.issue_token(&TokenSpec::new(TokenKind::Group, "bot").role(Role::Maintainer)).unwrap();
        let credential = Arc::new(StaticCredential::token(token.token.into()));
        let config = GitLabConfig::new(&sim.url(), credential)
            .unwrap()
            .with_pipeline(PipelineSettings::default().with_retry(retry()));
        let scm = GitLab::new(config, direct()).unwrap();
        let head = sim.revision("group/repo", "main").unwrap().unwrap().parse().unwrap();
        Self { sim, scm, repo: "group/repo".parse().unwrap(), head, planned: Mutex::default() }
    }

    pub(crate) fn fault(&self, fault: Fault) -> FaultId {
        let id = self.sim.faults().add(fault);
        self.planned.lock().unwrap().push(id);
        id
    }

    pub(crate) fn push(&self, branch: &str) -> BranchName {
        self.sim.push_commit("group/repo", branch, "Change", &[("b.txt", Some(b"2\n"))]).unwrap();
        branch.parse().unwrap()
    }

    /// The log of a branch, newest first.
    pub(crate) async fn log(&self, branch: &str) -> Vec<Sha> {
        let opts = ListCommits::default().with_from(Revision::Branch(branch.parse().unwrap()));
        let commits: Vec<_> = self.scm.commits().list_commits(&self.repo, opts).try_collect().await.unwrap();
        commits.into_iter().map(|commit| commit.sha).collect()
    }
}

impl Drop for World {
    /// A fault on a route that does not exist would never strike, and its test never fail.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let planned = self.planned.lock().unwrap();
            assert!(planned.iter().all(|id| self.sim.faults().hits(*id) > 0), "a fault has never struck");
        }
    }
}
