use std::fmt::Debug;

use async_trait::async_trait;

use crate::error::Result;
use crate::id::{CommentId, PullRequestId, RepoId, ThreadId};
use crate::macros::options;
use crate::model::{Comment, Ensured, Marker, NewComment, Resolution};
use crate::page::{Cursor, Page, Pages};

/// Comments on pull requests (GitLab: notes and discussions).
#[doc(alias = "Notes")]
#[doc(alias = "Discussions")]
#[async_trait]
pub trait Comments: Debug + Send + Sync + 'static {
    /// One page of comments, oldest thread first and each thread in order, resumable.
    ///
    /// GitLab: `GET …/merge_requests/:iid/discussions`. Bitbucket: `GET …/pull-requests/{id}/activities`. Idempotent.
    ///
    /// # Errors
    /// `NotFound`, `InvalidInput` for a foreign cursor.
    async fn list_comments_page(
        &self,
        repo: &RepoId,
        id: PullRequestId,
        opts: &ListComments,
        at: Option<&Cursor>,
    ) -> Result<Page<Comment>>;

    /// A new comment: general, on a file, or on lines of it. Not idempotent: see
    /// [`ensure_comment`](Self::ensure_comment).
    ///
    /// GitLab: `POST …/notes` (general) or `POST …/discussions` (with position). Bitbucket: `POST …/comments`.
    ///
    /// # Errors
    /// `InvalidInput` for an empty text or a line that is not in the diff; `Unsupported` for a task where the server
    /// has none.
    async fn create_comment(&self, repo: &RepoId, id: PullRequestId, new: &NewComment) -> Result<Comment>;

    /// A reply in a thread. Not idempotent.
    ///
    /// GitLab: `POST …/discussions/:id/notes`. Bitbucket: `POST …/comments` with `parent`.
    ///
    /// # Errors
    /// `NotFound` for the thread.
    async fn reply(&self, repo: &RepoId, id: PullRequestId, thread: &ThreadId, body: &str)
    -> Result<Comment>;

    /// Replaces the text. Idempotent.
    ///
    /// GitLab: `PUT …/notes/:id`. Bitbucket: `PUT …/comments/{id}` with the version read anew.
    ///
    /// # Errors
    /// `NotFound`; `PermissionDenied` for the comment of another user.
    async fn edit_comment(
        &self,
        repo: &RepoId,
        id: PullRequestId,
        comment: &CommentId,
        body: &str,
    ) -> Result<Comment>;

    /// Deletes a comment. Safe to repeat, but for the `NotFound` of one that is gone.
    ///
    /// GitLab: `DELETE …/notes/:id`. Bitbucket: `DELETE …/comments/{id}`.
    ///
    /// # Errors
    /// `NotFound`; `PermissionDenied` for the comment of another user; `Conflict` for one with replies (Bitbucket).
    async fn delete_comment(&self, repo: &RepoId, id: PullRequestId, comment: &CommentId) -> Result<()>;

    /// Resolves a thread or task, or opens it again. Idempotent.
    ///
    /// GitLab: `PUT …/discussions/:id?resolved=`. Bitbucket: `PUT …/comments/{id}` with `threadResolved` or `state`.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` for a comment that cannot be resolved.
    async fn resolve_thread(
        &self,
        repo: &RepoId,
        id: PullRequestId,
        thread: &ThreadId,
        to: Resolution,
    ) -> Result<()>;

    /// The general comment that carries `marker`: found and brought to `body` where it differs, or written. Safe to
    /// repeat, also after a lost answer.
    ///
    /// # Errors
    /// Those of listing, creating and editing.
    async fn ensure_comment(
        &self,
        repo: &RepoId,
        id: PullRequestId,
        marker: &Marker,
        body: &str,
    ) -> Result<Ensured<Comment>> {
        let wanted = marker.mark(body);
        match find_marked(self, repo, id, marker).await? {
            Some(found) if found.body.trim_end() == wanted => Ok(Ensured::unchanged(found)),
            Some(found) => self.edit_comment(repo, id, &found.id, &wanted).await.map(Ensured::updated),
            None => match self.create_comment(repo, id, &NewComment::new(wanted)).await {
                Ok(made) => Ok(Ensured::created(made)),
                // The answer may have been lost after the work was done.
                Err(error) if error.is_in_doubt() => {
                    let found = find_marked(self, repo, id, marker).await.ok().flatten();
                    found.map(Ensured::created).ok_or(error)
                }
                Err(error) => Err(error),
            },
        }
    }
}

/// The first comment that carries the marker.
async fn find_marked<C: Comments + ?Sized>(
    comments: &C,
    repo: &RepoId,
    id: PullRequestId,
    marker: &Marker,
) -> Result<Option<Comment>> {
    use futures_util::StreamExt as _;
    let opts = &ListComments::default();
    let pages =
        Pages::new(
            None,
            None,
            |at| async move { comments.list_comments_page(repo, id, opts, at.as_ref()).await },
        );
    let mut items = pages.items(None);
    while let Some(comment) = items.next().await {
        let comment = comment?;
        if marker.is_in(&comment.body) {
            return Ok(Some(comment));
        }
    }
    Ok(None)
}

options! {
    /// Which comments to list.
    pub struct ListComments {
        /// Include what the server wrote itself. Default: no.
        system / with_system: bool,
        /// Threads per page; the server may give fewer. Default and most: 100.
        page_size / with_page_size: u16,
    }
}
