use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use scm_core::{
    BranchName, CheckState, JobId, NamespaceId, PipelineId, PullRequestId, RepoId, Role, Scm, Sha, TokenKind,
    UserName, Visibility,
};

use super::case::{Result, Stop};

/// Makes on the server what cases need, beside the provider under test.
///
/// Only [`repository`](Self::repository) and [`secrets`](Self::secrets) are required. Everything else may answer
/// [`Stop::Unavailable`], which skips the case with the reason; so do the defaults. Names are given by the caller and
/// differ from case to case, so everything may be called at the same time.
#[async_trait]
pub trait Fixture: Debug + Send + Sync + 'static {
    /// Every secret in use, to be looked for in errors and reports.
    fn secrets(&self) -> Vec<String>;

    /// A new repository where the token's user has the role that `spec` says.
    async fn repository(&self, spec: &RepoSpec) -> Result<Repo>;

    /// A new namespace, inside `parent` where that is given, of which the token's user is no member.
    async fn namespace(&self, name: &str, parent: Option<&NamespaceId>) -> Result<NamespaceId> {
        let _ = (name, parent);
        Err(Stop::unavailable("this fixture makes no namespaces"))
    }

    /// A fork of `repo` where the token's user may push.
    async fn fork(&self, repo: &Repo, name: &str) -> Result<Repo> {
        let _ = (repo, name);
        Err(Stop::unavailable("this fixture makes no forks"))
    }

    /// Someone else writes `files` in one commit on a branch, which is made from the default branch where it is
    /// missing. Its new tip.
    async fn push_as_other(&self, repo: &Repo, branch: &BranchName, files: &[(&str, &[u8])]) -> Result<Sha> {
        let _ = (repo, branch, files);
        Err(Stop::unavailable("this fixture has no second user who pushes"))
    }

    /// The provider with another token.
    async fn scm_as(&self, token: &TokenSpec) -> Result<Arc<dyn Scm>> {
        let _ = token;
        Err(Stop::unavailable("this fixture has one token only"))
    }

    /// Another user, with this role in `repo`.
    async fn member(&self, repo: &Repo, name: &str, role: Role) -> Result<UserName> {
        let _ = (repo, name, role);
        Err(Stop::unavailable("this fixture has no other users"))
    }

    /// Someone else comments on a pull request.
    async fn comment_as_other(&self, repo: &Repo, id: PullRequestId, body: &str) -> Result<()> {
        let _ = (repo, id, body);
        Err(Stop::unavailable("this fixture has no second user who comments"))
    }

    /// Someone else closes a pull request.
    async fn close_as_other(&self, repo: &Repo, id: PullRequestId) -> Result<()> {
        let _ = (repo, id);
        Err(Stop::unavailable("this fixture has no second user who closes pull requests"))
    }

    /// Someone else merges a pull request.
    async fn merge_as_other(&self, repo: &Repo, id: PullRequestId) -> Result<()> {
        let _ = (repo, id);
        Err(Stop::unavailable("this fixture has no second user who merges"))
    }

    /// A CI run on a commit, which is the tip of `branch`. It counts for pull requests with this head.
    async fn pipeline(
        &self,
        repo: &Repo,
        branch: &BranchName,
        sha: &Sha,
        jobs: &[JobSpec],
    ) -> Result<PipelineRun> {
        let _ = (repo, branch, sha, jobs);
        Err(Stop::unavailable("this fixture runs no CI"))
    }

    /// Moves a job to another state.
    async fn set_job(&self, repo: &Repo, job: &JobId, state: CheckState) -> Result<()> {
        let _ = (repo, job, state);
        Err(Stop::unavailable("this fixture runs no CI"))
    }

    /// Adds to the log of a job.
    async fn append_log(&self, repo: &Repo, job: &JobId, text: &[u8]) -> Result<()> {
        let _ = (repo, job, text);
        Err(Stop::unavailable("this fixture writes no CI logs"))
    }
}

/// A repository to make.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RepoSpec {
    /// Last part of its path; unique on the server.
    pub name: String,
    /// Where it is made. Default: anywhere.
    pub namespace: Option<NamespaceId>,
    /// Files of its first commit.
    pub files: Vec<(String, Vec<u8>)>,
    /// No commit at all.
    pub empty: bool,
    /// Archived after it was made.
    pub archived: bool,
    /// What the token's user may do in it; `Role::None`: is no member.
    pub role: Role,
    /// Who may see it.
    pub visibility: Visibility,
    /// Name of the default branch. Default: `main`.
    pub default_branch: Option<BranchName>,
    /// Only maintainers may push to the default branch. Default: everyone who may push.
    pub protected: bool,
}

impl RepoSpec {
    /// A private repository with a README, to which the token's user may push.
    #[must_use]
    pub fn new() -> Self {
        Self {
            name: String::new(),
            namespace: None,
            files: vec![("README.md".to_owned(), b"# Read me\n".to_vec())],
            empty: false,
            archived: false,
            role: Role::Write,
            visibility: Visibility::Private,
            default_branch: None,
            protected: false,
        }
    }

    /// Sets the name.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    pub(super) fn named_unless_named(mut self, name: impl FnOnce() -> String) -> Self {
        if self.name.is_empty() {
            self.name = name();
        }
        self
    }

    /// Sets where it is made.
    #[must_use]
    pub fn in_namespace(mut self, namespace: NamespaceId) -> Self {
        self.namespace = Some(namespace);
        self
    }

    /// Adds a file.
    #[must_use]
    pub fn with_file(mut self, path: impl Into<String>, content: impl Into<Vec<u8>>) -> Self {
        self.files.push((path.into(), content.into()));
        self
    }

    /// Makes it without a commit.
    #[must_use]
    pub fn empty(mut self) -> Self {
        self.empty = true;
        self.files.clear();
        self
    }

    /// Archives it.
    #[must_use]
    pub fn archived(mut self) -> Self {
        self.archived = true;
        self
    }

    /// Sets what the token's user may do.
    #[must_use]
    pub fn with_role(mut self, role: Role) -> Self {
        self.role = role;
        self
    }

    /// Sets who may see it.
    #[must_use]
    pub fn with_visibility(mut self, visibility: Visibility) -> Self {
        self.visibility = visibility;
        self
    }

    /// Sets the name of the default branch.
    #[must_use]
    pub fn with_default_branch(mut self, name: BranchName) -> Self {
        self.default_branch = Some(name);
        self
    }

    /// Protects the default branch.
    #[must_use]
    pub fn protected(mut self) -> Self {
        self.protected = true;
        self
    }
}

impl Default for RepoSpec {
    fn default() -> Self {
        Self::new()
    }
}

/// A repository that was made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Repo {
    /// The id to use in calls.
    pub id: RepoId,
    /// Full path.
    pub path: RepoId,
    /// Default branch, also where the repository is empty.
    pub default_branch: BranchName,
    /// Tip of the default branch; `None` for an empty one.
    pub head: Option<Sha>,
}

impl Repo {
    /// A repository with its names.
    #[must_use]
    pub fn new(id: RepoId, path: RepoId, default_branch: BranchName, head: Option<Sha>) -> Self {
        Self { id, path, default_branch, head }
    }

    /// The tip of the default branch when it was made.
    pub fn head(&self) -> Result<Sha> {
        self.head
            .clone()
            .ok_or_else(|| Stop::failed("the fixture told no head of a repository that has commits"))
    }
}

/// A token to make.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TokenSpec {
    /// Part of its user's name; unique on the server.
    pub name: String,
    /// Whose it is.
    pub kind: TokenKind,
    /// What it may do where its user may.
    pub access: Access,
    /// Whether the server takes it.
    pub validity: Validity,
    /// The repositories its user is a member of.
    pub grants: Vec<(RepoId, Role)>,
}

impl TokenSpec {
    /// A valid token of a group's bot with full access, whose user is a member of nothing.
    #[must_use]
    pub fn new() -> Self {
        Self {
            name: String::new(),
            kind: TokenKind::Group,
            access: Access::Full,
            validity: Validity::Valid,
            grants: Vec::new(),
        }
    }

    pub(super) fn named(mut self, name: String) -> Self {
        self.name = name;
        self
    }

    /// Sets whose it is.
    #[must_use]
    pub fn of_kind(mut self, kind: TokenKind) -> Self {
        self.kind = kind;
        self
    }

    /// Sets what it may do.
    #[must_use]
    pub fn with_access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// Sets whether the server takes it.
    #[must_use]
    pub fn with_validity(mut self, validity: Validity) -> Self {
        self.validity = validity;
        self
    }

    /// Makes its user a member of a repository.
    #[must_use]
    pub fn granting(mut self, repo: &Repo, role: Role) -> Self {
        self.grants.push((repo.id.clone(), role));
        self
    }
}

impl Default for TokenSpec {
    fn default() -> Self {
        Self::new()
    }
}

/// What a token may do where its user may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Access {
    /// Everything (GitLab: scope `api`; Bitbucket: repository write or admin).
    Full,
    /// Reading through the API (GitLab: scope `read_api`; Bitbucket: repository read).
    Read,
}

/// Whether the server takes a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Validity {
    /// It does, for a long time.
    Valid,
    /// It does, for so many days.
    Days(u16),
    /// Expired.
    Expired,
    /// Revoked.
    Revoked,
    /// Never issued.
    Unknown,
    /// The user is blocked.
    Blocked,
}

/// A job of a CI run to make.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct JobSpec {
    /// Its name.
    pub name: String,
    /// Its stage.
    pub stage: String,
    /// Its state.
    pub state: CheckState,
    /// Whether its failure counts.
    pub allow_failure: bool,
    /// Its log so far.
    pub log: Vec<u8>,
}

impl JobSpec {
    /// A job of the stage `test`.
    #[must_use]
    pub fn new(name: impl Into<String>, state: CheckState) -> Self {
        Self { name: name.into(), stage: "test".to_owned(), state, allow_failure: false, log: Vec::new() }
    }

    /// Sets the stage.
    #[must_use]
    pub fn in_stage(mut self, stage: impl Into<String>) -> Self {
        self.stage = stage.into();
        self
    }

    /// Its failure does not count.
    #[must_use]
    pub fn allowed_to_fail(mut self) -> Self {
        self.allow_failure = true;
        self
    }

    /// Sets the log so far.
    #[must_use]
    pub fn with_log(mut self, log: impl Into<Vec<u8>>) -> Self {
        self.log = log.into();
        self
    }
}

/// A CI run that was made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PipelineRun {
    /// The run; `None` where the server has no pipelines.
    pub pipeline: Option<PipelineId>,
    /// Its jobs, in the order they were asked for; empty where the server has none.
    pub jobs: Vec<JobId>,
}

impl PipelineRun {
    /// A run with pipeline and jobs.
    #[must_use]
    pub fn new(pipeline: PipelineId, jobs: Vec<JobId>) -> Self {
        Self { pipeline: Some(pipeline), jobs }
    }

    /// A run on a server that knows the states of builds only.
    #[must_use]
    pub fn without_pipeline() -> Self {
        Self { pipeline: None, jobs: Vec::new() }
    }

    /// The pipeline.
    pub fn pipeline(&self) -> Result<&PipelineId> {
        self.pipeline.as_ref().ok_or_else(|| Stop::unavailable("this fixture's CI has no pipelines"))
    }

    /// The job that was asked for at `index`.
    pub fn job(&self, index: usize) -> Result<&JobId> {
        self.jobs.get(index).ok_or_else(|| Stop::unavailable("this fixture's CI has no jobs"))
    }
}
