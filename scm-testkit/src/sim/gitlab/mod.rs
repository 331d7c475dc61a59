//! A GitLab that is not there: REST, git and state, on real repositories.
//!
//! [`GitLabSim::builder`] starts one; the methods of [`GitLabSim`] arrange its state behind the API's back, as other
//! people on a real server would.

mod access_tokens;
mod admin;
mod auth;
mod branches;
mod builder;
mod call;
mod ci;
mod commit_create;
mod commits;
mod contents;
mod entities;
mod events;
mod git_http;
mod groups;
mod hooks;
mod instance;
mod limit;
mod members;
mod merge_requests;
mod notes;
mod page;
mod projects;
mod protected;
mod reply;
mod router;
mod state;
mod tags;
mod tokens;
mod types;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

pub use admin::MergeRules;
pub use builder::GitLabSimBuilder;
pub use ci::{JobOutcome, JobScript, PipelineScript};
pub use limit::RateLimit;
pub use types::{IssuedToken, ProjectSpec, Protection, Role, TokenKind, TokenSpec, Visibility};

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
use state::State;

/// A running simulator. Dropping it stops the server and removes its repositories.
#[derive(Debug)]
pub struct GitLabSim {
    pub(crate) inner: Arc<Inner>,
    server: Server,
    // Last, so that the files go after the server.
    _files: tempfile::TempDir,
}

impl GitLabSim {
    /// Options, then [`start`](GitLabSimBuilder::start).
    #[must_use]
    pub fn builder() -> GitLabSimBuilder {
        GitLabSimBuilder::default()
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

    /// What the server believes to be its address: it stands in `Link` headers, `web_url` and clone URLs.
    #[must_use]
    pub fn external_url(&self) -> String {
        self.inner.external_url().to_owned()
    }

    /// Tokens in the order they were issued.
    #[must_use]
    pub fn tokens(&self) -> Vec<IssuedToken> {
        let state = self.inner.state();
        state.issued.iter().filter_map(|id| tokens::announce(&state, *id)).collect()
    }

    /// Full paths of all projects, in the order they were made; those of [`GitLabSimBuilder::projects`] included.
    #[must_use]
    pub fn repositories(&self) -> Vec<String> {
        let state = self.inner.state();
        state.projects.values().map(|project| state.full_path(project)).collect()
    }

    /// Every REST request so far, of a very large number the newest.
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

    /// Planned misbehaviour.
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

    /// Sets which filters git takes from those who read.
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
    git_filters: Mutex<GitFilters>,
    pub(crate) context_path: String,
    external_url: OnceLock<String>,
    pub(crate) version: String,
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

    /// Host of the external URL, with its port if it has one.
    pub(crate) fn host(&self) -> &str {
        let url = self.external_url();
        url.split("://").nth(1).unwrap_or(url).split('/').next().unwrap_or_default()
    }

    pub(crate) fn today(&self) -> String {
        self.clock.today().to_string()
    }

    /// The repository of a project, made at the first touch.
    pub(crate) fn repo(&self, project_id: u64) -> Result<Arc<Repo>, Failure> {
        let mut repos = self.repos.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(repo) = repos.get(&project_id) {
            return Ok(Arc::clone(repo));
        }
        let template = self.template.as_ref().ok_or_else(|| Failure::not_found("Repository"))?;
        let repo = Arc::new(Repo::create_like(&self.git, &self.repo_path(project_id), "main", template)?);
        repos.insert(project_id, Arc::clone(&repo));
        Ok(repo)
    }

    pub(crate) fn keep_repo(&self, project_id: u64, repo: Repo) -> Arc<Repo> {
        let repo = Arc::new(repo);
        let mut repos = self.repos.lock().unwrap_or_else(PoisonError::into_inner);
        repos.insert(project_id, Arc::clone(&repo));
        repo
    }

    pub(crate) fn repo_path(&self, project_id: u64) -> PathBuf {
        self.repo_dir.join(format!("{project_id}.git"))
    }
}
