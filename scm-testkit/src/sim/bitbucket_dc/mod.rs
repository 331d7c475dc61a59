//! A Bitbucket Data Center that is not there: REST, git and state, on real repositories.
//!
//! [`BitbucketDcSim::builder`] starts one; the methods of [`BitbucketDcSim`] arrange its state behind the API's back,
//! as other people on a real server would. Repositories are named `KEY/slug`.

mod access_tokens;
mod admin;
mod auth;
mod branches;
mod browse;
mod builder;
mod builds;
mod call;
mod comments;
mod commits;
mod contents;
mod diffs;
mod entities;
mod events;
mod git_http;
mod hooks;
mod insights;
mod instance;
mod limit;
mod page;
mod permissions;
mod projects;
mod pull_requests;
mod reply;
mod repositories;
mod restrictions;
mod reviewers;
mod router;
mod settings;
mod state;
mod tags;
mod types;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

pub use admin::MergeChecks;
pub use builder::BitbucketDcSimBuilder;
pub use limit::RateLimit;
pub use restrictions::RestrictionKind;
pub use types::{
    BuildScript, EmptyDefaultBranch, IssuedToken, Permission, RepositorySpec, Role, TokenKind, TokenSpec,
};

use crate::{
    fault::Faults,
    sim::{
        Clock, GitFilters, RequestRecord, UnknownParameter,
        http::Server,
        record::Recorder,
        repo::{Git, Repo},
    },
};

use limit::Limiter;
use reply::Failure;
use router::Release;
use state::State;

/// A running simulator. Dropping it stops the server and removes its repositories.
#[derive(Debug)]
pub struct BitbucketDcSim {
    pub(crate) inner: Arc<Inner>,
    server: Server,
    // Last, so that the files go after the server.
    _files: tempfile::TempDir,
}

impl BitbucketDcSim {
    /// Options, then [`start`](BitbucketDcSimBuilder::start).
    #[must_use]
    pub fn builder() -> BitbucketDcSimBuilder {
        BitbucketDcSimBuilder::default()
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> std::net::SocketAddr {
        self.server.address()
    }

    /// Address of the server with its context path, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}{}", self.server.address(), self.inner.context_path)
    }

    /// What the server believes to be its address: it stands in `links` and clone URLs.
    #[must_use]
    pub fn external_url(&self) -> String {
        self.inner.external_url().to_owned()
    }

    /// Tokens in the order they were issued.
    #[must_use]
    pub fn tokens(&self) -> Vec<IssuedToken> {
        let state = self.inner.state();
        state.issued.iter().filter_map(|id| access_tokens::announce(&state, *id)).collect()
    }

    /// All repositories as `KEY/slug`, in the order they were made; those of
    /// [`BitbucketDcSimBuilder::projects`] included.
    #[must_use]
    pub fn repositories(&self) -> Vec<String> {
        let state = self.inner.state();
        state.repos.values().map(|repo| state.full_name(repo)).collect()
    }

    /// Every request of REST and git so far, of a very large number the newest.
    #[must_use]
    pub fn requests(&self) -> Vec<RequestRecord> {
        self.inner.recorder.requests()
    }

    /// Parameters that the addressed endpoints do not know.
    #[must_use]
    pub fn unknown_parameters(&self) -> Vec<UnknownParameter> {
        self.inner.recorder.unknown_parameters()
    }

    /// Forgets the requests and unknown parameters so far.
    pub fn clear_requests(&self) {
        self.inner.recorder.clear();
    }

    /// Planned misbehaviour. Routes are named by module and template, without the version of the API, such as
    /// `/api/projects/:key/repos/:slug/pull-requests` or `/branch-utils/projects/:key/repos/:slug/branches`; the git
    /// side has `/scm/:key/:slug/info/refs`, `/scm/:key/:slug/git-upload-pack` and `/scm/:key/:slug/git-receive-pack`.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.inner.faults.clone()
    }

    /// The clock by which tokens expire.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.inner.clock.clone()
    }

    /// Sets the rate limit, or lifts it.
    pub fn set_rate_limit(&self, limit: Option<RateLimit>) {
        *self.inner.limiter() = limit.map(Limiter::new);
    }

    /// Sets what git clients may leave out of a fetch from now on.
    pub fn set_git_filters(&self, filters: GitFilters) {
        *self.inner.git_filters() = filters;
    }

    /// Stops the server and removes its files.
    pub async fn shutdown(mut self) {
        self.server.stop().await;
    }
}

/// What the server's tasks share.
#[derive(Debug)]
pub(crate) struct Inner {
    state: Mutex<State>,
    repos: Mutex<HashMap<u64, Arc<Repo>>>,
    pub(crate) git: Git,
    repo_dir: PathBuf,
    /// What lazily made repositories look like at first.
    template: Option<Repo>,
    pub(crate) clock: Clock,
    pub(crate) faults: Faults,
    pub(crate) recorder: Recorder,
    limiter: Mutex<Option<Limiter>>,
    pub(crate) context_path: String,
    external_url: OnceLock<String>,
    pub(crate) version: String,
    pub(crate) release: Release,
    page_cap: Option<usize>,
    hidden_rows: bool,
    max_diff_lines: usize,
    iso_dates: bool,
    old_packages: bool,
    bad_tokens_are_anonymous: bool,
    public_counts_as_read: bool,
    files_need_no_check: bool,
    tokens_make_tokens: bool,
    captcha_after: Option<u32>,
    empty_default_branch: EmptyDefaultBranch,
    git_filters: Mutex<GitFilters>,
}

impl Inner {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn limiter(&self) -> MutexGuard<'_, Option<Limiter>> {
        self.limiter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn git_filters(&self) -> MutexGuard<'_, GitFilters> {
        self.git_filters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn external_url(&self) -> &str {
        self.external_url.get().map_or("", String::as_str)
    }

    pub(crate) fn today(&self) -> String {
        self.clock.today().to_string()
    }

    /// The git repository of a repository, made at the first touch.
    pub(crate) fn repo(&self, repo_id: u64) -> Result<Arc<Repo>, Failure> {
        let mut repos = self.repos.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(repo) = repos.get(&repo_id) {
            return Ok(Arc::clone(repo));
        }
        let template = self.template.as_ref().ok_or_else(|| Failure::no_such("Repository"))?;
        let repo = Arc::new(Repo::create_like(&self.git, &self.repo_path(repo_id), "main", template)?);
        repos.insert(repo_id, Arc::clone(&repo));
        Ok(repo)
    }

    pub(crate) fn keep_repo(&self, repo_id: u64, repo: Repo) {
        let mut repos = self.repos.lock().unwrap_or_else(PoisonError::into_inner);
        repos.insert(repo_id, Arc::new(repo));
    }

    pub(crate) fn repo_path(&self, repo_id: u64) -> PathBuf {
        self.repo_dir.join(format!("{repo_id}.git"))
    }
}
