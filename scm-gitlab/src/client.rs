//! The client itself and what all operations share.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use http::Method;
use scm_core::pipeline::{ApiRequest, ApiResponse, Operation, Pipeline, PipelineConfig};
use scm_core::{
    Branches, CallOptions, Capabilities, Checks, CiLogs, Comments, CommitGuard, Commits, Connection,
    Contents, Error, GitAccess, PullRequestId, PullRequests, RepoId, Repositories, Result, Revision, Scm,
    ServerInfo, Tokens, Transport, Webhooks,
};
use scm_git::GitServer;

use crate::config::GitLabConfig;
use crate::error::GitLabDialect;
use crate::exact::git_server;

/// Name of this provider.
pub(crate) const PROVIDER: &str = "gitlab";

/// Most items a page can have.
const MAX_PAGE: u16 = 100;

/// A GitLab server, self-managed or gitlab.com. Cheap to clone; making one does no I/O.
#[derive(Clone, Debug)]
pub struct GitLab {
    pub(crate) pipeline: Pipeline,
    pub(crate) git: GitServer,
    known: Arc<Mutex<Option<Known>>>,
}

/// What the server said about itself, and how often the credential had changed by then.
#[derive(Debug, Clone)]
struct Known {
    credential_changes: u64,
    server: ServerInfo,
}

impl GitLab {
    /// A client over `transport`.
    ///
    /// # Errors
    /// `Config` for settings that cannot work.
    pub fn new(config: GitLabConfig, transport: Transport) -> Result<Self> {
        let pipeline = PipelineConfig::new(config.url().clone(), transport, config.credentials);
        Ok(Self {
            pipeline: Pipeline::new(pipeline.with_settings(config.pipeline), Arc::new(GitLabDialect))?,
            git: git_server(),
            known: Arc::default(),
        })
    }

    /// A request of the caller's own through the whole pipeline: credential, retry, limits, errors. Paths are relative
    /// to the server's root, such as `api/v4/projects/42/languages`.
    ///
    /// ```no_run
    /// # async fn example(gitlab: scm_gitlab::GitLab) -> scm_core::Result<()> {
    /// use scm_core::pipeline::ApiRequest;
    ///
    /// let request = ApiRequest::to_path(http::Method::GET, "api/v4/projects/42/languages")?;
    /// let languages: std::collections::BTreeMap<String, f64> = gitlab.request(request).await?.json()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of the pipeline, and of GitLab's answer.
    pub async fn request(&self, request: ApiRequest) -> Result<ApiResponse> {
        self.operation("request").send(request).await
    }

    pub(crate) fn operation(&self, name: &'static str) -> Operation {
        self.pipeline.operation(name)
    }

    /// What the server says about itself, asked once per credential.
    pub(crate) async fn known_server(&self) -> Result<ServerInfo> {
        let credential_changes = self.pipeline.credential_changes();
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = known.filter(|known| known.credential_changes == credential_changes) {
            return Ok(known.server);
        }
        let server = self.server().await?;
        let credential_changes = self.pipeline.credential_changes();
        let known = Known { credential_changes, server: server.clone() };
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
        Ok(server)
    }
}

#[async_trait]
impl Scm for GitLab {
    fn provider(&self) -> &'static str {
        PROVIDER
    }

    async fn capabilities(&self) -> Result<Capabilities> {
        // Nothing offered so far depends on the version; the call proves that a GitLab answers.
        self.known_server().await?;
        let mut can = Capabilities::default();
        can.commit_guard = CommitGuard::Exact;
        can.commit_with_signature = true;
        can.branch_delete_with_expected_head = true;
        can.commit_with_start_repository = true;
        can.branch_protection = true;
        can.tags = true;
        can.namespaces = true;
        can.namespace_with_parent = true;
        can.repository_list_with_changed_since = true;
        can.repository_list_with_partitions = true;
        can.archive = true;
        can.commit_compare = true;
        can.pull_request_draft = true;
        can.pull_request_labels = true;
        can.pull_request_assignees = true;
        can.pull_request_reviewers = true;
        can.pull_request_from_fork = true;
        can.pull_request_with_merge_options = true;
        can.pull_request_auto_merge = true;
        can.pull_request_approvals = true;
        can.pull_request_diff = true;
        can.pull_request_align_rebase = true;
        can.comment_threads = true;
        can.comment_on_file = true;
        can.comment_on_line = true;
        can.comment_on_lines = true;
        can.pipelines = true;
        can.pipeline_control = true;
        can.check_publish = true;
        can.ci_log = true;
        can.ci_log_offset = true;
        can.ci_log_follow = true;
        can.token_info = true;
        can.token_faults = true;
        can.page_size_max = Some(u32::from(MAX_PAGE));
        Ok(can)
    }

    fn with_options(&self, opts: CallOptions) -> Arc<dyn Scm> {
        Arc::new(Self { pipeline: self.pipeline.with_options(opts), ..self.clone() })
    }

    fn connection(&self) -> &dyn Connection {
        self
    }

    fn repositories(&self) -> &dyn Repositories {
        self
    }

    fn contents(&self) -> &dyn Contents {
        self
    }

    fn branches(&self) -> &dyn Branches {
        self
    }

    fn commits(&self) -> &dyn Commits {
        self
    }

    fn pull_requests(&self) -> &dyn PullRequests {
        self
    }

    fn comments(&self) -> &dyn Comments {
        self
    }

    fn checks(&self) -> &dyn Checks {
        self
    }

    fn ci_logs(&self) -> Result<&dyn CiLogs> {
        Ok(self)
    }

    fn webhooks(&self) -> Result<&dyn Webhooks> {
        Err(not_built("webhooks", "webhooks of GitLab"))
    }

    fn tokens(&self) -> Result<&dyn Tokens> {
        Err(not_built("tokens", "token rotation on GitLab"))
    }

    fn git(&self) -> &dyn GitAccess {
        self
    }
}

/// What GitLab cannot do, and why.
pub(crate) fn unsupported(operation: &'static str, reason: impl AsRef<str>) -> Error {
    Error::unsupported(operation, reason).with_provider(PROVIDER)
}

/// What this version of the crate does not offer yet.
fn not_built(operation: &'static str, what: &str) -> Error {
    unsupported(operation, format!("{what}: not offered by this version of scm-gitlab; use GitLab::request"))
}

/// A request under `/api/v4`.
pub(crate) fn api(method: Method, segments: &[&str]) -> ApiRequest {
    ApiRequest::new(method, "api/v4", segments)
}

/// A request under `/api/v4/projects/:id`.
pub(crate) fn project_api(method: Method, repo: &RepoId, rest: &[&str]) -> ApiRequest {
    let mut segments = vec!["projects", repo.as_str()];
    segments.extend_from_slice(rest);
    api(method, &segments)
}

/// A request under `/api/v4/projects/:id/merge_requests/:iid`.
pub(crate) fn merge_request_api(
    method: Method,
    repo: &RepoId,
    id: PullRequestId,
    rest: &[&str],
) -> ApiRequest {
    let id = id.to_string();
    project_api(method, repo, &[&["merge_requests", &id], rest].concat())
}

/// The page size to ask for.
///
/// # Errors
/// `InvalidInput` for 0 or more than the server gives.
pub(crate) fn page_size(operation: &Operation, wanted: Option<u16>) -> Result<u16> {
    match wanted.unwrap_or(MAX_PAGE) {
        size @ 1..=MAX_PAGE => Ok(size),
        size => Err(operation.invalid(format!("a page size of {size}: GitLab takes 1 to {MAX_PAGE}"))),
    }
}

/// How GitLab reads a revision: by short name. A tag wins over a branch of the same name, as in git.
pub(crate) fn reference<'a>(operation: &Operation, revision: &'a Revision) -> Result<&'a str> {
    match revision {
        Revision::Head => Ok("HEAD"),
        Revision::Branch(name) => Ok(name.as_str()),
        Revision::Tag(name) => Ok(name.as_str()),
        Revision::Commit(sha) => Ok(sha.as_str()),
        other => Err(operation.invalid(format!("GitLab knows no revision such as '{other}'"))),
    }
}
