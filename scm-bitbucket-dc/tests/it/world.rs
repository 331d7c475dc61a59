//! What the tests share: a server with one repository, and a client as users have it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use scm_bitbucket_dc::{BitbucketDc, BitbucketDcConfig};
use scm_core::pipeline::{PipelineSettings, RetryPolicy};
use scm_core::{
    BranchName, CommitsExt as _, Error, ErrorKind, ListCommits, NewPullRequest, PullRequest, RepoId,
    Revision, Scm as _, Sha, StaticCredential, Transport,
};
use scm_testkit::fault::{Fault, FaultId};
use scm_testkit::sim::RequestRecord;
use scm_testkit::sim::bitbucket_dc::{
    BitbucketDcSim, BitbucketDcSimBuilder, RepositorySpec, Role, TokenKind, TokenSpec,
};
use scm_transport::{DirectTransport, Network};

pub(crate) const REPO: &str = "PROJ/repo";
pub(crate) const BOT: &str = "bot";

/// Routes of the simulator, where faults are planned and requests are counted.
pub(crate) mod route {
    pub(crate) const PULLS: &str = "/api/projects/:key/repos/:slug/pull-requests";
    pub(crate) const PULL: &str = "/api/projects/:key/repos/:slug/pull-requests/:id";
    pub(crate) const MERGE: &str = "/api/projects/:key/repos/:slug/pull-requests/:id/merge";
    pub(crate) const DECLINE: &str = "/api/projects/:key/repos/:slug/pull-requests/:id/decline";
    pub(crate) const REOPEN: &str = "/api/projects/:key/repos/:slug/pull-requests/:id/reopen";
    pub(crate) const APPROVE: &str = "/api/projects/:key/repos/:slug/pull-requests/:id/approve";
    pub(crate) const COMMENTS: &str = "/api/projects/:key/repos/:slug/pull-requests/:id/comments";
    pub(crate) const COMMENT: &str = "/api/projects/:key/repos/:slug/pull-requests/:id/comments/:commentId";
    pub(crate) const REBASE: &str = "/git/projects/:key/repos/:slug/pull-requests/:id/rebase";
    pub(crate) const BRANCHES: &str = "/api/projects/:key/repos/:slug/branches";
    pub(crate) const DELETE_BRANCH: &str = "/branch-utils/projects/:key/repos/:slug/branches";
    pub(crate) const TAGS: &str = "/git/projects/:key/repos/:slug/tags";
    pub(crate) const BUILDS: &str = "/api/projects/:key/repos/:slug/commits/:commitId/builds";
    pub(crate) const REVIEWERS: &str = "/default-reviewers/projects/:key/repos/:slug/reviewers";
    pub(crate) const PUSH: &str = "/scm/:key/:slug/git-receive-pack";
}

/// The usual tries, with hardly a wait between them.
pub(crate) fn retry() -> RetryPolicy {
    RetryPolicy::default().with_backoff(Duration::from_millis(5), Duration::from_millis(20))
}

pub(crate) fn direct() -> Transport {
    Transport::new(DirectTransport::new(&Network::new()).unwrap())
}

pub(crate) fn config(url: &str, token: &str) -> BitbucketDcConfig {
    let credential = Arc::new(StaticCredential::token(token.to_owned().into()));
    let settings = PipelineSettings::default().with_retry(retry());
    BitbucketDcConfig::new(url, credential).unwrap().with_pipeline(settings)
}

pub(crate) fn is(done: Result<impl std::fmt::Debug, Error>, kind: ErrorKind, words: &str) {
    let error = done.unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.message().contains(words), "{error} does not say {words:?}");
    assert!(error.operation().is_some() && error.provider() == Some("bitbucket-dc"), "{error:?}");
}

pub(crate) struct World {
    pub(crate) sim: BitbucketDcSim,
    pub(crate) scm: BitbucketDc,
    pub(crate) repo: RepoId,
    /// Of the default branch at the start.
    pub(crate) head: Sha,
    planned: Mutex<Vec<FaultId>>,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::of(BitbucketDcSim::builder()).await
    }

    pub(crate) async fn of(builder: BitbucketDcSimBuilder) -> Self {
        let sim = builder.start().await.unwrap();
        let spec = RepositorySpec::new().file("a.txt", "1\n2\n3\n").file("dir/b.txt", "b\n");
        sim.create_repository(REPO, &spec).unwrap();
        let token =
            sim.issue_token(&TokenSpec::new(TokenKind::User, BOT).on(REPO).role(Role::Write)).unwrap();
        let scm = BitbucketDc::new(config(&sim.url(), &token.token), direct()).unwrap();
        let head = sim.revision(REPO, "main").unwrap().unwrap().parse().unwrap();
        Self { sim, scm, repo: REPO.parse().unwrap(), head, planned: Mutex::default() }
    }

    /// A client with a token of another kind or of somebody else.
    pub(crate) fn with_token(&self, spec: &TokenSpec) -> BitbucketDc {
        let token = self.sim.issue_token(spec).unwrap();
        BitbucketDc::new(config(&self.sim.url(), &token.token), direct()).unwrap()
    }

    /// Plans a fault, which has to strike before the test ends.
    pub(crate) fn fault(&self, fault: Fault) -> FaultId {
        let id = self.sim.faults().add(fault);
        self.planned.lock().unwrap().push(id);
        id
    }

    /// Somebody changes the last line of a file on a branch, which begins at the default one.
    pub(crate) fn push(&self, branch: &str) -> BranchName {
        self.write(branch, "a.txt", "1\n2\nthree\n");
        branch.parse().unwrap()
    }

    pub(crate) fn write(&self, branch: &str, path: &str, content: &str) -> Sha {
        let made = self.sim.push_commit(REPO, branch, "Change", &[(path, Some(content.as_bytes()))]);
        made.unwrap().parse().unwrap()
    }

    pub(crate) fn tip(&self, branch: &str) -> Option<String> {
        self.sim.revision(REPO, branch).unwrap()
    }

    /// A pull request of the bot's from a branch that changes something.
    pub(crate) async fn open(&self, branch: &str) -> PullRequest {
        let new = NewPullRequest::new(self.push(branch), main(), "Change");
        self.scm.pull_requests().create_pull_request(&self.repo, &new).await.unwrap().value
    }

    pub(crate) async fn look(&self, pull: &PullRequest) -> PullRequest {
        self.scm.pull_requests().pull_request(&self.repo, pull.id).await.unwrap()
    }

    /// The log of a branch, newest first.
    pub(crate) async fn log(&self, branch: &str) -> Vec<Sha> {
        let opts = ListCommits::default().with_from(Revision::Branch(branch.parse().unwrap()));
        let commits: Vec<_> = self.scm.commits().list_commits(&self.repo, opts).try_collect().await.unwrap();
        commits.into_iter().map(|commit| commit.sha).collect()
    }

    /// The requests to a route so far.
    pub(crate) fn sent(&self, method: &str, route: &str) -> Vec<RequestRecord> {
        let mut all = self.sim.requests();
        all.retain(|seen| seen.method == method && seen.route.as_deref() == Some(route));
        all
    }

    /// What was asked since the last call, as `METHOD last-parts-of-the-route`.
    pub(crate) fn asked(&self) -> Vec<String> {
        let shown = |seen: RequestRecord| {
            let route = seen.route.unwrap_or_else(|| seen.path.clone());
            let route = route.replace("/projects/:key/repos/:slug", "");
            format!("{} {}", seen.method, route.trim_start_matches("/api"))
        };
        let all = self.sim.requests().into_iter().map(shown).collect();
        self.sim.clear_requests();
        all
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

pub(crate) fn main() -> BranchName {
    "main".parse().unwrap()
}
