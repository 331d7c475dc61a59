use serde::{Deserialize, Serialize};
use url::Url;

use crate::id::{BranchName, PullRequestId, RepoId, Sha, UserName};
use crate::macros::server_enum;
use crate::model::CheckSummary;
use crate::time::Timestamp;

/// A pull request (GitLab: merge request).
#[doc(alias = "MergeRequest")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PullRequest {
    /// Number inside the target repository.
    pub id: PullRequestId,
    /// Title, without a draft prefix.
    pub title: String,
    /// Description; empty where there is none.
    pub description: String,
    /// Its state.
    pub state: PullRequestState,
    /// Whether it is a draft; `None` where the server has no drafts.
    pub draft: Option<bool>,
    /// Branch with the changes.
    pub source_branch: BranchName,
    /// Branch they shall go to.
    pub target_branch: BranchName,
    /// Repository of the source branch; `None` when it is gone.
    pub source_repository: Option<RepoId>,
    /// Tip of the source branch; `None` when the branch is gone.
    pub head: Option<Sha>,
    /// The commit that merged it.
    pub merge_commit: Option<Sha>,
    /// Who opened it.
    pub author: Option<UserName>,
    /// Labels; empty where the server has none.
    pub labels: Vec<String>,
    /// Assignees.
    pub assignees: Vec<UserName>,
    /// Reviewers.
    pub reviewers: Vec<UserName>,
    /// Whether it is merged by the server once its checks pass.
    pub auto_merge: Option<bool>,
    /// Page for people.
    pub web_url: Option<Url>,
    /// When it was opened.
    pub created_at: Option<Timestamp>,
    /// When it was changed last.
    pub updated_at: Option<Timestamp>,
    /// When it was merged.
    pub merged_at: Option<Timestamp>,
}

impl PullRequest {
    /// An open pull request between two branches.
    #[must_use]
    pub fn new(id: PullRequestId, title: impl Into<String>, source: BranchName, target: BranchName) -> Self {
        Self {
            id,
            title: title.into(),
            description: String::new(),
            state: PullRequestState::Open,
            draft: None,
            source_branch: source,
            target_branch: target,
            source_repository: None,
            head: None,
            merge_commit: None,
            author: None,
            labels: Vec::new(),
            assignees: Vec::new(),
            reviewers: Vec::new(),
            auto_merge: None,
            web_url: None,
            created_at: None,
            updated_at: None,
            merged_at: None,
        }
    }
}

server_enum! {
    /// State of a pull request.
    pub enum PullRequestState {
        /// Open.
        Open = "open",
        /// Merged.
        Merged = "merged",
        /// Closed without a merge (Bitbucket: declined).
        Closed = "closed",
        /// Being merged at this moment (GitLab: locked).
        Merging = "merging",
    }
}

/// A pull request to open.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewPullRequest {
    /// Branch with the changes.
    pub source_branch: BranchName,
    /// Branch they shall go to.
    pub target_branch: BranchName,
    /// Title, without a draft prefix; at most 255 characters on both products.
    pub title: String,
    /// Description in Markdown.
    pub description: String,
    /// Open as a draft.
    pub draft: bool,
    /// Labels (GitLab).
    pub labels: Vec<String>,
    /// Assignees (GitLab).
    pub assignees: Vec<UserName>,
    /// Reviewers.
    pub reviewers: Vec<UserName>,
    /// Add the reviewers that the server's rules name (Bitbucket; GitLab does it itself).
    pub default_reviewers: bool,
    /// Repository of the source branch, when it is a fork.
    pub source_repository: Option<RepoId>,
    /// Delete the source branch after the merge; `None` leaves it to the repository's setting.
    pub delete_source_branch: Option<bool>,
    /// Squash when merging; `None` leaves it to the repository's setting.
    pub squash: Option<bool>,
}

impl NewPullRequest {
    /// From `source` to `target`.
    #[must_use]
    pub fn new(source: BranchName, target: BranchName, title: impl Into<String>) -> Self {
        Self {
            source_branch: source,
            target_branch: target,
            title: title.into(),
            description: String::new(),
            draft: false,
            labels: Vec::new(),
            assignees: Vec::new(),
            reviewers: Vec::new(),
            default_reviewers: true,
            source_repository: None,
            delete_source_branch: None,
            squash: None,
        }
    }

    /// Sets the description.
    #[must_use]
    pub fn with_description(mut self, description: impl Into<String>) -> Self {
        self.description = description.into();
        self
    }

    /// Opens it as a draft.
    #[must_use]
    pub fn as_draft(mut self) -> Self {
        self.draft = true;
        self
    }

    /// Sets the labels.
    #[must_use]
    pub fn with_labels(mut self, labels: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.labels = labels.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the assignees.
    #[must_use]
    pub fn with_assignees(mut self, users: impl IntoIterator<Item = UserName>) -> Self {
        self.assignees = users.into_iter().collect();
        self
    }

    /// Sets the reviewers.
    #[must_use]
    pub fn with_reviewers(mut self, users: impl IntoIterator<Item = UserName>) -> Self {
        self.reviewers = users.into_iter().collect();
        self
    }

    /// Leaves out the reviewers that the server's rules name.
    #[must_use]
    pub fn without_default_reviewers(mut self) -> Self {
        self.default_reviewers = false;
        self
    }

    /// Sets the repository of the source branch, a fork.
    #[must_use]
    pub fn with_source_repository(mut self, repository: RepoId) -> Self {
        self.source_repository = Some(repository);
        self
    }

    /// Deletes the source branch after the merge.
    #[must_use]
    pub fn deleting_source_branch(mut self) -> Self {
        self.delete_source_branch = Some(true);
        self
    }

    /// Squashes when merging.
    #[must_use]
    pub fn squashed(mut self) -> Self {
        self.squash = Some(true);
        self
    }
}

/// Can it be merged, and if not, why?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Mergeability {
    /// The answer in short.
    pub readiness: Readiness,
    /// Every reason the server gives.
    pub blockers: Vec<MergeBlocker>,
}

impl Mergeability {
    /// An answer without reasons.
    #[must_use]
    pub fn new(readiness: Readiness) -> Self {
        Self { readiness, blockers: Vec::new() }
    }

    /// Blocked for one reason.
    #[must_use]
    pub fn blocked(blocker: MergeBlocker) -> Self {
        Self { readiness: Readiness::Blocked, blockers: vec![blocker] }
    }
}

/// Whether a merge would be taken now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Readiness {
    /// It can be merged now.
    Ready,
    /// The server is still working it out; ask again.
    Checking,
    /// It cannot be merged now.
    Blocked,
}

/// One reason against merging.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MergeBlocker {
    /// The reason in the common words.
    pub reason: MergeReason,
    /// The server's own words or code.
    pub message: String,
}

impl MergeBlocker {
    /// A reason with the server's words.
    #[must_use]
    pub fn new(reason: MergeReason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

server_enum! {
    /// Why a pull request cannot be merged.
    pub enum MergeReason {
        /// Source and target change the same lines.
        Conflict = "conflict",
        /// The source must be brought up to date first.
        NeedsRebase = "needs_rebase",
        /// A check failed or is missing.
        ChecksFailed = "checks_failed",
        /// Checks are still running.
        ChecksRunning = "checks_running",
        /// Approvals are missing.
        NotApproved = "not_approved",
        /// A reviewer asked for changes.
        ChangesRequested = "changes_requested",
        /// Threads or tasks are open.
        UnresolvedThreads = "unresolved_threads",
        /// It is a draft.
        Draft = "draft",
        /// It is not open.
        NotOpen = "not_open",
        /// Another pull request must go first.
        BlockedByOther = "blocked_by_other",
        /// A policy of the server forbids it.
        Policy = "policy",
        /// The token's user may not merge.
        NotPermitted = "not_permitted",
    }
}

/// Who has approved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Approvals {
    /// Whether every rule is satisfied; `None` where the server does not tell.
    pub approved: Option<bool>,
    /// How many approvals the rules want; `None` where the server does not tell.
    pub required: Option<u32>,
    /// How many are missing; `None` where the server does not tell.
    pub missing: Option<u32>,
    /// Who has approved.
    pub approved_by: Vec<UserName>,
    /// Who asked for changes.
    pub changes_requested_by: Vec<UserName>,
}

/// How an align ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Alignment {
    /// The source was up to date already.
    UpToDate,
    /// The source branch has a new tip.
    Aligned {
        /// The new tip.
        head: Sha,
    },
}

/// Everything needed to track a pull request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PullRequestStatus {
    /// The pull request.
    pub pull_request: PullRequest,
    /// Its CI.
    pub checks: CheckSummary,
    /// Whether it can be merged; `None` once it is not open.
    pub mergeability: Option<Mergeability>,
}

impl PullRequestStatus {
    /// Puts the parts together.
    #[must_use]
    pub fn new(pull_request: PullRequest, checks: CheckSummary, mergeability: Option<Mergeability>) -> Self {
        Self { pull_request, checks, mergeability }
    }
}
