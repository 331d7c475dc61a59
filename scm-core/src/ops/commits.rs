use std::fmt::Debug;

use async_trait::async_trait;

use crate::error::Result;
use crate::id::{FilePath, RepoId, Revision};
use crate::macros::options;
use crate::model::{Commit, Comparison, Ensured, FileDiff, NewCommit};
use crate::page::{Cursor, Page};
use crate::time::Timestamp;

/// Commits: reading, comparing, and making them.
#[async_trait]
pub trait Commits: Debug + Send + Sync + 'static {
    /// One commit.
    ///
    /// GitLab: `GET /projects/:id/repository/commits/:sha`. Bitbucket: `GET …/commits/{id}`. Idempotent.
    ///
    /// # Errors
    /// `NotFound` for the repository or revision.
    async fn commit(&self, repo: &RepoId, at: &Revision) -> Result<Commit>;

    /// One page of the log, newest first, resumable. An empty repository has an empty log.
    ///
    /// GitLab: `GET /projects/:id/repository/commits`. Bitbucket: `GET …/commits`. Idempotent.
    ///
    /// # Errors
    /// `NotFound` for the repository or revision, `InvalidInput` for a foreign cursor.
    async fn list_commits_page(
        &self,
        repo: &RepoId,
        opts: &ListCommits,
        at: Option<&Cursor>,
    ) -> Result<Page<Commit>>;

    /// What `to` has that `from` lacks: commits and changed files.
    ///
    /// GitLab: `GET /projects/:id/repository/compare`. Bitbucket: `GET …/compare/commits`, `GET …/compare/diff`.
    /// Idempotent.
    ///
    /// # Errors
    /// `NotFound` for the repository or a revision.
    async fn compare(
        &self,
        repo: &RepoId,
        from: &Revision,
        to: &Revision,
        opts: &Compare,
    ) -> Result<Comparison>;

    /// One page of the files that a commit changed against its first parent.
    ///
    /// GitLab: `GET /projects/:id/repository/commits/:sha/diff`. Bitbucket: `GET …/commits/{id}/changes`. Idempotent.
    ///
    /// # Errors
    /// `NotFound` for the repository or revision.
    async fn list_commit_files_page(
        &self,
        repo: &RepoId,
        at: &Revision,
        cursor: Option<&Cursor>,
    ) -> Result<Page<FileDiff>>;

    /// One atomic commit of any number of files, or nothing. A commit whose answer was lost is looked for on the
    /// branch, by operation id or by parent and message, before it is sent again. `Created` means that this call made it,
    /// `Unchanged` that an earlier call with the same operation id had.
    ///
    /// GitLab: `POST /projects/:id/repository/commits` (Developer, scope `api`), exact on a new branch; an expected
    /// head on an existing one goes by git (`write_repository` or `api`). Bitbucket: by git (repository write).
    ///
    /// # Errors
    /// `InvalidInput` for a change that cannot be (an update of a missing file, a create of a present one);
    /// `Conflict` when the branch exists, is missing or has moved; `PreconditionFailed` when a file's last commit is
    /// another one; `PermissionDenied` for a protected branch; `Unsupported` for a guard or signature that cannot be
    /// held exactly. In each case nothing is written.
    async fn create_commit(&self, repo: &RepoId, commit: &NewCommit) -> Result<Ensured<Commit>>;
}

options! {
    /// Which commits to list.
    pub struct ListCommits {
        /// From this revision back. Default: the default branch.
        from / with_from: Revision,
        /// Without this revision and everything before it.
        excluding / with_excluding: Revision,
        /// Only those that touch this file or directory.
        path / with_path: FilePath,
        /// Only those committed at or after this time (GitLab).
        since / with_since: Timestamp,
        /// Only those committed at or before this time (GitLab).
        until / with_until: Timestamp,
        /// Only those by this author, by name or address (GitLab).
        author / with_author: String,
        /// Items per page; the server may give fewer. Default and most: 100.
        page_size / with_page_size: u16,
    }
}

options! {
    /// How to compare.
    pub struct Compare {
        /// Compare the two trees themselves instead of `to` with the merge base (`a..b` instead of `a...b`). Default: no.
        direct / with_direct: bool,
        /// Where `from` is, when it is in another repository.
        from_repository / with_from_repository: RepoId,
    }
}
