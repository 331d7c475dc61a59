use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;

use crate::error::{ErrorKind, Result};
use crate::id::{BranchName, PullRequestId, RepoId, Sha, UserName};
use crate::macros::options;
use crate::model::{
    Alignment, Approvals, ByteStream, Ensured, FileDiff, Mergeability, NewPullRequest, PullRequest,
    PullRequestState, PullRequestStatus,
};
use crate::ops::{CheckTarget, Checks};
use crate::page::{Cursor, Page};
use crate::time::Timestamp;

/// Pull requests (GitLab: merge requests). `repo` is always the target repository.
#[doc(alias = "MergeRequests")]
#[async_trait]
pub trait PullRequests: Debug + Send + Sync + 'static {
    /// The checks of the same server, for [`pull_request_status`](Self::pull_request_status).
    fn pull_request_checks(&self) -> &dyn Checks;

    /// Opens a pull request. Where one is open for this source and target already, that one comes back as unchanged.
    ///
    /// GitLab: `POST /projects/:id/merge_requests` (Developer, scope `api`). Bitbucket: `POST …/pull-requests`
    /// (repository read).
    ///
    /// # Errors
    /// `NotFound` or `InvalidInput` for a branch that is not there, no difference, or an unknown user;
    /// `Unsupported` for an option that the server lacks.
    async fn create_pull_request(&self, repo: &RepoId, new: &NewPullRequest) -> Result<Ensured<PullRequest>>;

    /// One pull request.
    ///
    /// GitLab: `GET /projects/:id/merge_requests/:iid`. Bitbucket: `GET …/pull-requests/{id}`. Idempotent.
    ///
    /// # Errors
    /// `NotFound` for the repository or pull request.
    async fn pull_request(&self, repo: &RepoId, id: PullRequestId) -> Result<PullRequest>;

    /// One page of pull requests, newest first, resumable.
    ///
    /// GitLab: `GET /projects/:id/merge_requests`. Bitbucket: `GET …/pull-requests`. Idempotent.
    ///
    /// # Errors
    /// `NotFound` for the repository, `InvalidInput` for a foreign cursor.
    async fn list_pull_requests_page(
        &self,
        repo: &RepoId,
        opts: &ListPullRequests,
        at: Option<&Cursor>,
    ) -> Result<Page<PullRequest>>;

    /// The open pull request from `source` to `target`, if there is one. `source_repository` is the fork that holds
    /// the source branch; `None` for `repo` itself.
    ///
    /// GitLab: `GET /projects/:id/merge_requests?state=opened&source_branch=&target_branch=`. Bitbucket:
    /// `GET …/pull-requests?state=OPEN&direction=OUTGOING&at=`. Idempotent.
    ///
    /// # Errors
    /// `NotFound` for the repository.
    async fn find_pull_request(
        &self,
        repo: &RepoId,
        source: &BranchName,
        target: &BranchName,
        source_repository: Option<&RepoId>,
    ) -> Result<Option<PullRequest>>;

    /// Changes what the options name and leaves the rest. Idempotent.
    ///
    /// GitLab: `PUT /projects/:id/merge_requests/:iid`. Bitbucket: `PUT …/pull-requests/{id}` with the version read
    /// anew, and the reviewers kept.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` for nothing to change or an unknown user; `Unsupported` for an option that the
    /// server lacks.
    async fn update_pull_request(
        &self,
        repo: &RepoId,
        id: PullRequestId,
        changes: &UpdatePullRequest,
    ) -> Result<PullRequest>;

    /// Closes without a merge (Bitbucket: declines). Idempotent: a closed one comes back as it is.
    ///
    /// GitLab: `PUT …/merge_requests/:iid` with `state_event=close`. Bitbucket: `POST …/decline`.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` for a merged one.
    async fn close_pull_request(&self, repo: &RepoId, id: PullRequestId) -> Result<PullRequest>;

    /// Opens a closed one again. Idempotent: an open one comes back as it is.
    ///
    /// GitLab: `PUT …/merge_requests/:iid` with `state_event=reopen`. Bitbucket: `POST …/reopen`.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` for a merged one, or when another one is open for the same branches.
    async fn reopen_pull_request(&self, repo: &RepoId, id: PullRequestId) -> Result<PullRequest>;

    /// Merges, or asks the server to merge once the checks pass. Look at the state of what comes back: a merge that
    /// waits leaves it open.
    ///
    /// GitLab: `PUT …/merge_requests/:iid/merge` with `sha`. Bitbucket: `POST …/merge` with the version, after the
    /// head was compared.
    ///
    /// # Errors
    /// `PreconditionFailed` when the head is not the expected one; `Conflict` when it cannot be merged now (see
    /// [`mergeability`](Self::mergeability)); `PermissionDenied` when the token's user may not merge.
    async fn merge_pull_request(
        &self,
        repo: &RepoId,
        id: PullRequestId,
        opts: &MergePullRequest,
    ) -> Result<PullRequest>;

    /// Takes back the wish to merge once the checks pass.
    ///
    /// GitLab: `POST …/cancel_merge_when_pipeline_succeeds`. Bitbucket: `DELETE …/auto-merge`.
    ///
    /// # Errors
    /// `Conflict` when there is nothing to take back; `Unsupported` where the server has no such wish.
    async fn cancel_auto_merge(&self, repo: &RepoId, id: PullRequestId) -> Result<PullRequest>;

    /// Approves as the token's user. Idempotent.
    ///
    /// GitLab: `POST …/approve` with `sha`. Bitbucket: `POST …/approve`.
    ///
    /// # Errors
    /// `PermissionDenied` when the user may not approve; `PreconditionFailed` when the head is not the expected one.
    async fn approve_pull_request(&self, repo: &RepoId, id: PullRequestId, opts: &Approve) -> Result<()>;

    /// Takes the approval back. Idempotent.
    ///
    /// GitLab: `POST …/unapprove`. Bitbucket: `DELETE …/approve`.
    ///
    /// # Errors
    /// `NotFound`.
    async fn unapprove_pull_request(&self, repo: &RepoId, id: PullRequestId) -> Result<()>;

    /// Who has approved, and what is missing.
    ///
    /// GitLab: `GET …/approvals`. Bitbucket: the reviewers of the pull request. Idempotent.
    ///
    /// # Errors
    /// `NotFound`.
    async fn approvals(&self, repo: &RepoId, id: PullRequestId) -> Result<Approvals>;

    /// One page of the files it changes, with their diffs where the server gives them.
    ///
    /// GitLab: `GET …/merge_requests/:iid/diffs`. Bitbucket: `GET …/changes`. Idempotent.
    ///
    /// # Errors
    /// `NotFound`, `InvalidInput` for a foreign cursor.
    async fn list_pull_request_files_page(
        &self,
        repo: &RepoId,
        id: PullRequestId,
        at: Option<&Cursor>,
    ) -> Result<Page<FileDiff>>;

    /// The whole diff as text.
    ///
    /// GitLab: `GET …/raw_diffs` (17.x; put together from `diffs` before). Bitbucket: `GET …/pull-requests/{id}.diff`.
    /// Idempotent.
    ///
    /// # Errors
    /// `NotFound`.
    async fn pull_request_diff(&self, repo: &RepoId, id: PullRequestId) -> Result<ByteStream>;

    /// Can it be merged, and if not, why? `Checking` while the server works it out: ask again.
    ///
    /// GitLab: `detailed_merge_status`. Bitbucket: `GET …/merge`. Idempotent.
    ///
    /// # Errors
    /// `NotFound`.
    async fn mergeability(&self, repo: &RepoId, id: PullRequestId) -> Result<Mergeability>;

    /// Brings the source branch up to date with its target, and waits for the end of it.
    ///
    /// GitLab: `PUT …/rebase`, then polling. Bitbucket: `POST /rest/git/latest/…/rebase`.
    ///
    /// # Errors
    /// `Conflict` when both sides change the same lines (nothing is changed); `PermissionDenied` without push right
    /// on the source; `Unsupported` for a strategy that the server lacks; `Timeout` when it takes too long.
    async fn align_pull_request(&self, repo: &RepoId, id: PullRequestId, opts: &Align) -> Result<Alignment>;

    /// The open pull request for these branches: found and brought to the wanted title, description, draft state and
    /// labels where it differs, or opened. Labels are added, never taken away. Safe to repeat, also after a lost
    /// answer.
    ///
    /// # Errors
    /// Those of finding, creating and updating.
    async fn ensure_pull_request(&self, repo: &RepoId, new: &NewPullRequest) -> Result<Ensured<PullRequest>> {
        let source_repository = new.source_repository.as_ref();
        let find = || self.find_pull_request(repo, &new.source_branch, &new.target_branch, source_repository);
        let found = match find().await? {
            Some(found) => found,
            None => match self.create_pull_request(repo, new).await {
                Ok(made) if made.is_created() => return Ok(made),
                Ok(existing) => existing.value,
                // The answer may have been lost after the work was done.
                Err(error) if error.is_in_doubt() || error.kind() == ErrorKind::Conflict => {
                    find().await.ok().flatten().ok_or(error)?
                }
                Err(error) => return Err(error),
            },
        };
        match UpdatePullRequest::towards(new, &found) {
            None => Ok(Ensured::unchanged(found)),
            Some(changes) => self.update_pull_request(repo, found.id, &changes).await.map(Ensured::updated),
        }
    }

    /// Everything needed to track it: state, CI, and whether it can be merged. Idempotent.
    ///
    /// # Errors
    /// `NotFound`.
    async fn pull_request_status(&self, repo: &RepoId, id: PullRequestId) -> Result<PullRequestStatus> {
        let pull_request = self.pull_request(repo, id).await?;
        let checks = self.pull_request_checks().check_summary(repo, &CheckTarget::PullRequest(id)).await?;
        let mergeability = match pull_request.state {
            PullRequestState::Open => Some(self.mergeability(repo, id).await?),
            _ => None,
        };
        Ok(PullRequestStatus::new(pull_request, checks, mergeability))
    }
}

options! {
    /// Which pull requests to list.
    pub struct ListPullRequests {
        /// Only in this state. Default: any.
        state / with_state: PullRequestState,
        /// Only from this branch.
        source_branch / with_source_branch: BranchName,
        /// Only to this branch.
        target_branch / with_target_branch: BranchName,
        /// Only by this author.
        author / with_author: UserName,
        /// Only with this label (GitLab).
        label / with_label: String,
        /// Only changed at or after this time.
        updated_since / with_updated_since: Timestamp,
        /// Items per page; the server may give fewer. Default and most: 100.
        page_size / with_page_size: u16,
    }
}

options! {
    /// What to change in a pull request.
    pub struct UpdatePullRequest {
        /// New title, without a draft prefix.
        title / with_title: String,
        /// New description.
        description / with_description: String,
        /// New target branch.
        target_branch / with_target_branch: BranchName,
        /// Make it a draft, or ready.
        draft / with_draft: bool,
        /// Labels to add (GitLab).
        add_labels / with_add_labels: Vec<String>,
        /// Labels to take away (GitLab).
        remove_labels / with_remove_labels: Vec<String>,
        /// New assignees, in place of the old ones (GitLab).
        assignees / with_assignees: Vec<UserName>,
        /// New reviewers, in place of the old ones.
        reviewers / with_reviewers: Vec<UserName>,
    }
}

impl UpdatePullRequest {
    /// What must change in `found` to be as `wanted`; `None` for nothing.
    fn towards(wanted: &NewPullRequest, found: &PullRequest) -> Option<Self> {
        let missing: Vec<_> =
            wanted.labels.iter().filter(|label| !found.labels.contains(label)).cloned().collect();
        // Servers trim what people write.
        let differs = |a: &str, b: &str| a.trim() != b.trim();
        let changes = Self {
            title: differs(&wanted.title, &found.title).then(|| wanted.title.clone()),
            description: differs(&wanted.description, &found.description).then(|| wanted.description.clone()),
            draft: found.draft.filter(|draft| *draft != wanted.draft).map(|_| wanted.draft),
            add_labels: (!missing.is_empty()).then_some(missing),
            ..Self::default()
        };
        (!changes.is_empty()).then_some(changes)
    }

    /// Does it change nothing?
    pub fn is_empty(&self) -> bool {
        let Self {
            title,
            description,
            target_branch,
            draft,
            add_labels,
            remove_labels,
            assignees,
            reviewers,
        } = self;
        title.is_none()
            && description.is_none()
            && target_branch.is_none()
            && draft.is_none()
            && add_labels.is_none()
            && remove_labels.is_none()
            && assignees.is_none()
            && reviewers.is_none()
    }
}

options! {
    /// How to merge.
    pub struct MergePullRequest {
        /// Merge only while this is the tip of the source branch. Strongly recommended.
        expected_head / with_expected_head: Sha,
        /// How the commits are put together. Default: the repository's setting.
        strategy / with_strategy: MergeStrategy,
        /// Message of the merge (or squash) commit.
        message / with_message: String,
        /// Delete the source branch afterwards. Default: the repository's setting.
        delete_source_branch / with_delete_source_branch: bool,
        /// Now, or once the checks pass. Default: now.
        when / with_when: MergeWhen,
    }
}

/// How the commits of a pull request are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MergeStrategy {
    /// As the repository is set, without a squash.
    Merge,
    /// One commit.
    Squash,
}

/// When to merge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MergeWhen {
    /// Now, or not at all.
    #[default]
    Now,
    /// As soon as the checks pass.
    ChecksPass,
}

options! {
    /// How to approve.
    pub struct Approve {
        /// Approve only while this is the tip of the source branch.
        expected_head / with_expected_head: Sha,
    }
}

options! {
    /// How to bring a source branch up to date.
    pub struct Align {
        /// The way. Default: rebase.
        strategy / with_strategy: AlignStrategy,
        /// Start no CI for the new tip (GitLab). Default: start it.
        skip_ci / with_skip_ci: bool,
        /// Longest wait for the server to finish. Default: two minutes.
        wait / with_wait: Duration,
    }
}

/// How a source branch is brought up to date with its target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AlignStrategy {
    /// Writes the commits anew on top of the target: rewrites the source branch.
    #[default]
    Rebase,
    /// Merges the target into the source branch.
    Merge,
}
