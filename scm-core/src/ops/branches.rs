use std::fmt::Debug;

use async_trait::async_trait;

use crate::error::{Error, ErrorKind, Result};
use crate::id::{BranchName, RepoId, Revision, Sha, TagName};
use crate::macros::options;
use crate::model::{Branch, BranchProtection, Ensured, Tag};
use crate::page::{Cursor, Page};

/// Branches and tags.
#[async_trait]
pub trait Branches: Debug + Send + Sync + 'static {
    /// One branch.
    ///
    /// GitLab: `GET /projects/:id/repository/branches/:branch`. Bitbucket: `GET …/branches?filterText=` and an exact
    /// match. Idempotent.
    ///
    /// # Errors
    /// `NotFound` for the repository or branch.
    async fn branch(&self, repo: &RepoId, name: &BranchName) -> Result<Branch>;

    /// One page of branches, resumable.
    ///
    /// GitLab: `GET /projects/:id/repository/branches`. Bitbucket: `GET …/branches`. Idempotent.
    ///
    /// # Errors
    /// `NotFound` for the repository, `InvalidInput` for a foreign cursor.
    async fn list_branches_page(
        &self,
        repo: &RepoId,
        opts: &ListBranches,
        at: Option<&Cursor>,
    ) -> Result<Page<Branch>>;

    /// A new branch at `from`. Not idempotent: see [`ensure_branch`](Self::ensure_branch).
    ///
    /// GitLab: `POST /projects/:id/repository/branches` (Developer, scope `api`). Bitbucket: `POST …/branches`
    /// (repository write).
    ///
    /// # Errors
    /// `Conflict` when it exists already, `NotFound` or `InvalidInput` when `from` is not there.
    async fn create_branch(&self, repo: &RepoId, name: &BranchName, from: &Revision) -> Result<Branch>;

    /// The branch of this name, made at `from` where it is missing. An existing branch is left where it is, wherever
    /// that is. Safe to repeat, also after a lost answer.
    ///
    /// # Errors
    /// Those of [`create_branch`](Self::create_branch), without `Conflict`.
    async fn ensure_branch(
        &self,
        repo: &RepoId,
        name: &BranchName,
        from: &Revision,
    ) -> Result<Ensured<Branch>> {
        match self.branch(repo, name).await {
            Ok(branch) => return Ok(Ensured::unchanged(branch)),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        match self.create_branch(repo, name, from).await {
            Ok(branch) => Ok(Ensured::created(branch)),
            // Someone else was quicker, or our own answer was lost.
            Err(error) if error.kind() == ErrorKind::Conflict || error.is_in_doubt() => {
                self.branch(repo, name).await.map(Ensured::unchanged).map_err(|_| error)
            }
            Err(error) => Err(error),
        }
    }

    /// Deletes a branch. Safe to repeat, but for the `NotFound` of a branch that is gone.
    ///
    /// GitLab: `DELETE /projects/:id/repository/branches/:branch`; with an expected head by git. Bitbucket: `DELETE /rest/branch-utils/latest/…/branches` with `endPoint`.
    ///
    /// # Errors
    /// `NotFound`; `PermissionDenied` for a protected or the default branch; `PreconditionFailed` when the branch has
    /// moved from the expected head; `Unsupported` where an expected head cannot be held exactly.
    async fn delete_branch(&self, repo: &RepoId, name: &BranchName, opts: &DeleteBranch) -> Result<()>;

    /// The default branch; `None` for an empty repository.
    ///
    /// GitLab: `GET /projects/:id`, then the branch. Bitbucket: `GET …/default-branch`. Idempotent.
    ///
    /// # Errors
    /// `NotFound` for the repository.
    async fn default_branch(&self, repo: &RepoId) -> Result<Option<Branch>>;

    /// The rules on a branch, as far as the token may see them.
    ///
    /// GitLab: `GET /projects/:id/protected_branches`. Bitbucket:
    /// `GET /rest/branch-permissions/latest/…/restrictions` (repository admin). Idempotent.
    ///
    /// # Errors
    /// `PermissionDenied` when the token may not see the rules.
    async fn branch_protection(&self, repo: &RepoId, name: &BranchName) -> Result<BranchProtection>;

    /// One tag.
    ///
    /// GitLab: `GET /projects/:id/repository/tags/:name`. Bitbucket: `GET …/tags/{name}`. Idempotent.
    ///
    /// # Errors
    /// `NotFound` for the repository or tag.
    async fn tag(&self, repo: &RepoId, name: &TagName) -> Result<Tag>;

    /// One page of tags, resumable.
    ///
    /// GitLab: `GET /projects/:id/repository/tags`. Bitbucket: `GET …/tags`. Idempotent.
    ///
    /// # Errors
    /// `NotFound` for the repository, `InvalidInput` for a foreign cursor.
    async fn list_tags_page(&self, repo: &RepoId, opts: &ListTags, at: Option<&Cursor>) -> Result<Page<Tag>>;

    /// A new tag, annotated where it has a message. Not idempotent.
    ///
    /// GitLab: `POST /projects/:id/repository/tags`. Bitbucket: `POST /rest/git/latest/…/tags`.
    ///
    /// # Errors
    /// `Conflict` when it exists already.
    async fn create_tag(&self, repo: &RepoId, tag: &NewTag) -> Result<Tag>;
}

options! {
    /// Which branches to list.
    pub struct ListBranches {
        /// Only those whose name holds this text.
        search / with_search: String,
        /// Items per page; the server may give fewer. Default and most: 100.
        page_size / with_page_size: u16,
    }
}

options! {
    /// Which tags to list.
    pub struct ListTags {
        /// Only those whose name holds this text.
        search / with_search: String,
        /// Items per page; the server may give fewer. Default and most: 100.
        page_size / with_page_size: u16,
    }
}

options! {
    /// How to delete a branch.
    pub struct DeleteBranch {
        /// Delete only while the branch points here.
        expected_head / with_expected_head: Sha,
    }
}

/// A tag to make.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewTag {
    /// Short name.
    pub name: TagName,
    /// Where it goes.
    pub target: Revision,
    /// Message of an annotated tag; a lightweight tag has none.
    pub message: Option<String>,
}

impl NewTag {
    /// A lightweight tag.
    #[must_use]
    pub fn new(name: TagName, target: Revision) -> Self {
        Self { name, target, message: None }
    }

    /// Makes it an annotated tag.
    ///
    /// # Errors
    /// `InvalidInput` for an empty message.
    pub fn with_message(mut self, message: impl Into<String>) -> Result<Self> {
        let message = message.into();
        if message.trim().is_empty() {
            return Err(Error::invalid("an annotated tag needs a message"));
        }
        self.message = Some(message);
        Ok(self)
    }
}
