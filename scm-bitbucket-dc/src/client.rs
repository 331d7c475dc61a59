//! The client itself and what all operations share.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use http::Method;
use http::header::{HeaderName, HeaderValue};
use scm_core::pipeline::{ApiRequest, ApiResponse, Operation, Pipeline, PipelineConfig};
use scm_core::{
    Branches, CallOptions, Capabilities, Checks, CiLogs, Comments, CommitGuard, Commits, Connection,
    Contents, Error, FilePath, GitAccess, Identity, NamespaceId, PullRequestId, PullRequests, RepoId,
    Repositories, Result, Revision, Scm, ServerInfo, Tokens, Transport, UserName, Version, Webhooks,
};
use scm_git::GitServer;

use crate::config::BitbucketDcConfig;
use crate::error::BitbucketDialect;
use crate::exact::git_server;

/// Name of this provider.
pub(crate) const PROVIDER: &str = "bitbucket-dc";

/// Most items a page can have.
pub(crate) const MAX_PAGE: u16 = 100;

/// The version that brought what not every supported one has.
pub(crate) mod since {
    use scm_core::Version;

    pub(crate) const CANCELLED_BUILDS: Version = Version::new(8, 9, 0);
    pub(crate) const AUTO_MERGE: Version = Version::new(8, 15, 0);
    pub(crate) const DRAFTS: Version = Version::new(8, 17, 0);
    pub(crate) const MULTILINE_COMMENTS: Version = Version::new(9, 4, 0);
}

/// A Bitbucket Data Center. Cheap to clone; making one does no I/O.
#[derive(Clone, Debug)]
pub struct BitbucketDc {
    pub(crate) pipeline: Pipeline,
    pub(crate) git: GitServer,
    pub(crate) username: Option<UserName>,
    pub(crate) project_key: Option<NamespaceId>,
    known: Arc<Mutex<Known>>,
}

/// What the server said about itself and the token's user, and how often the credential had changed by then.
#[derive(Clone, Debug, Default)]
struct Known {
    credential_changes: u64,
    server: Option<ServerInfo>,
    identity: Option<Identity>,
}

impl BitbucketDc {
    /// A client over `transport`.
    ///
    /// # Errors
    /// `Config` for settings that cannot work.
    pub fn new(config: BitbucketDcConfig, transport: Transport) -> Result<Self> {
        let pipeline = PipelineConfig::new(config.url().clone(), transport, config.credentials);
        Ok(Self {
            pipeline: Pipeline::new(pipeline.with_settings(config.pipeline), Arc::new(BitbucketDialect))?,
            git: git_server(),
            username: config.username,
            project_key: config.project_key,
            known: Arc::default(),
        })
    }

    /// A request of the caller's own through the whole pipeline: credential, retry, limits, errors. Paths are relative
    /// to the server's root, such as `rest/api/latest/projects/PROJ/repos/web/forks`.
    ///
    /// ```no_run
    /// # async fn example(bitbucket: scm_bitbucket_dc::BitbucketDc) -> scm_core::Result<()> {
    /// use scm_core::pipeline::ApiRequest;
    ///
    /// let request = ApiRequest::to_path(http::Method::GET, "rest/api/latest/projects/PROJ/repos/web/forks")?;
    /// let answer = bitbucket.request(request).await?;
    /// println!("{} bytes", answer.bytes().len());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of the pipeline, and of Bitbucket's answer.
    pub async fn request(&self, request: ApiRequest) -> Result<ApiResponse> {
        self.operation("request").send(request).await
    }

    pub(crate) fn operation(&self, name: &'static str) -> Operation {
        self.pipeline.operation(name)
    }

    /// What the server says about itself, asked once per credential.
    pub(crate) async fn known_server(&self) -> Result<ServerInfo> {
        if let Some(server) = self.known().server {
            return Ok(server);
        }
        let server = self.server().await?;
        self.learn(|known| known.server = Some(server.clone()));
        Ok(server)
    }

    /// The token's user, asked once per credential.
    pub(crate) async fn known_identity(&self) -> Result<Identity> {
        if let Some(identity) = self.known().identity {
            return Ok(identity);
        }
        let identity = self.identity().await?;
        self.learn(|known| known.identity = Some(identity.clone()));
        Ok(identity)
    }

    /// What is known of this credential.
    fn known(&self) -> Known {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if known.credential_changes == self.pipeline.credential_changes() { known } else { Known::default() }
    }

    fn learn(&self, learn: impl FnOnce(&mut Known)) {
        let mut fresh = self.known();
        fresh.credential_changes = self.pipeline.credential_changes();
        learn(&mut fresh);
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
    }

    /// Refuses what this server is too old for.
    pub(crate) async fn needs(
        &self,
        operation: &'static str,
        since: Version,
        what: impl AsRef<str>,
    ) -> Result<()> {
        let server = self.known_server().await?;
        if server.version >= since {
            return Ok(());
        }
        let what = what.as_ref();
        let reason = format!("{what}: Bitbucket {since} or newer is needed, this is {}", server.version_text);
        Err(unsupported(operation, reason))
    }

    /// Project key and slug of a repository. A slug alone is of the configured project.
    pub(crate) fn place<'a>(&'a self, repo: &'a RepoId) -> Result<Place<'a>> {
        let text = repo.as_str();
        match (text.split_once('/'), &self.project_key) {
            (Some((key, slug)), _) if !slug.contains('/') => Ok(Place { key, slug }),
            (None, Some(key)) => Ok(Place { key: key.as_str(), slug: text }),
            _ => Err(Error::invalid(format!(
                "'{text}' is no repository of Bitbucket: give project key and slug, such as PROJ/web"
            ))
            .with_provider(PROVIDER)),
        }
    }

    /// A request to `module` about a repository.
    pub(crate) fn module_api(
        &self,
        method: Method,
        module: &str,
        repo: &RepoId,
        rest: &[&str],
    ) -> Result<ApiRequest> {
        let Place { key, slug } = self.place(repo)?;
        let mut segments = vec!["projects", key, "repos", slug];
        segments.extend_from_slice(rest);
        Ok(rest_api(method, module, &segments))
    }

    /// A request under `/rest/api/latest/projects/{key}/repos/{slug}`.
    pub(crate) fn repo_api(&self, method: Method, repo: &RepoId, rest: &[&str]) -> Result<ApiRequest> {
        self.module_api(method, "api", repo, rest)
    }

    /// A request to what `name` finds at a path: the segments of the path stay segments.
    pub(crate) fn path_api(
        &self,
        method: Method,
        repo: &RepoId,
        name: &[&str],
        path: Option<&FilePath>,
    ) -> Result<ApiRequest> {
        let mut rest = name.to_vec();
        rest.extend(path.into_iter().flat_map(|path| path.as_str().split('/')));
        self.repo_api(method, repo, &rest)
    }

    /// A request under `…/pull-requests/{id}`.
    pub(crate) fn pull_request_api(
        &self,
        method: Method,
        repo: &RepoId,
        id: PullRequestId,
        rest: &[&str],
    ) -> Result<ApiRequest> {
        let id = id.to_string();
        self.repo_api(method, repo, &[&["pull-requests", &id], rest].concat())
    }
}

/// Where a repository is.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) key: &'a str,
    pub(crate) slug: &'a str,
}

#[async_trait]
impl Scm for BitbucketDc {
    fn provider(&self) -> &'static str {
        PROVIDER
    }

    async fn capabilities(&self) -> Result<Capabilities> {
        let version = self.known_server().await?.version;
        let mut can = Capabilities::default();
        can.commit_guard = CommitGuard::Exact;
        can.commit_with_signature = true;
        can.branch_delete_with_expected_head = true;
        can.branch_protection = true;
        can.tags = true;
        can.namespaces = true;
        can.archive = true;
        can.commit_compare = true;
        can.pull_request_draft = version >= since::DRAFTS;
        can.pull_request_reviewers = true;
        can.pull_request_from_fork = true;
        can.pull_request_auto_merge = version >= since::AUTO_MERGE;
        can.pull_request_approvals = true;
        can.pull_request_diff = true;
        can.pull_request_align_rebase = true;
        can.comment_threads = true;
        can.comment_on_file = true;
        can.comment_on_line = true;
        can.comment_on_lines = version >= since::MULTILINE_COMMENTS;
        can.comment_tasks = true;
        can.check_publish = true;
        can.check_report = true;
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
        Err(unsupported(
            "ci_logs",
            "Bitbucket Data Center runs no CI and keeps no logs; each check carries the URL of the build server's page",
        ))
    }

    fn webhooks(&self) -> Result<&dyn Webhooks> {
        Err(not_built("webhooks", "webhooks of Bitbucket Data Center"))
    }

    fn tokens(&self) -> Result<&dyn Tokens> {
        Err(not_built("tokens", "token rotation on Bitbucket Data Center"))
    }

    fn git(&self) -> &dyn GitAccess {
        self
    }
}

/// What Bitbucket cannot do, and why.
pub(crate) fn unsupported(operation: &'static str, reason: impl AsRef<str>) -> Error {
    Error::unsupported(operation, reason).with_provider(PROVIDER)
}

/// What this version of the crate does not offer yet.
fn not_built(operation: &'static str, what: &str) -> Error {
    unsupported(
        operation,
        format!("{what}: not offered by this version of scm-bitbucket-dc; use BitbucketDc::request"),
    )
}

/// A request under `/rest/{module}/latest`. Writing needs the header that tells the server that no browser was tricked
/// into it.
pub(crate) fn rest_api(method: Method, module: &str, segments: &[&str]) -> ApiRequest {
    let reads = method.is_safe();
    let request = ApiRequest::new(method, &format!("rest/{module}/latest"), segments);
    if reads {
        return request;
    }
    request.header(HeaderName::from_static("x-atlassian-token"), HeaderValue::from_static("no-check"))
}

/// A request under `/rest/api/latest`.
pub(crate) fn api(method: Method, segments: &[&str]) -> ApiRequest {
    rest_api(method, "api", segments)
}

/// The page size to ask for.
///
/// # Errors
/// `InvalidInput` for 0 or more than every list of the server gives.
pub(crate) fn page_size(operation: &Operation, wanted: Option<u16>) -> Result<u16> {
    match wanted.unwrap_or(MAX_PAGE) {
        size @ 1..=MAX_PAGE => Ok(size),
        size => Err(operation.invalid(format!("a page size of {size}: Bitbucket takes 1 to {MAX_PAGE}"))),
    }
}

/// How Bitbucket reads a revision: by the full name, since a short one may be a tag's too. `None` is the default branch.
pub(crate) fn reference(operation: &Operation, revision: &Revision) -> Result<Option<String>> {
    match revision {
        Revision::Head => Ok(None),
        Revision::Branch(_) | Revision::Tag(_) | Revision::Commit(_) => Ok(Some(revision.to_string())),
        other => Err(operation.invalid(format!("Bitbucket knows no revision such as '{other}'"))),
    }
}
