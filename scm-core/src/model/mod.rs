//! What servers tell, in the same words for every product.
//!
//! Fields are `Option` unless every supported server version sends them. The structs can gain fields; tests and mocks
//! make them with `new` and set what they need.

mod check;
mod comment;
mod commit;
mod content;
mod git;
mod identity;
mod new_commit;
mod pull_request;
mod repository;
mod webhook;

pub use check::{
    Annotation, AnnotationLevel, Check, CheckState, CheckSummary, CodeReport, Job, NewStatus, Pipeline,
};
pub use comment::{Comment, CommentPosition, DiffSide, LineRange, Marker, NewComment, Resolution};
pub use commit::{Branch, BranchProtection, Commit, Comparison, FileAction, FileDiff, Person, Tag};
pub use content::{ByteStream, EntryKind, File, FileMode, LfsPointer, TreeEntry};
pub use git::GitRemote;
pub use identity::{Identity, Product, ServerInfo, TokenInfo, TokenKind, Version};
pub use new_commit::{CommitBase, CommitSigner, FileChange, NewCommit};
pub use pull_request::{
    Alignment, Approvals, MergeBlocker, MergeReason, Mergeability, NewPullRequest, PullRequest,
    PullRequestState, PullRequestStatus, Readiness,
};
pub use repository::{Namespace, NamespaceKind, Repository, Role, Visibility};
pub use webhook::{NewWebhook, Webhook, WebhookDelivery, WebhookEvent};

/// How an `ensure` or a repeatable `create` ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Change {
    /// It was not there and was made.
    Created,
    /// It was there, differed, and was changed.
    Updated,
    /// It was there already; nothing was changed.
    Unchanged,
}

/// Something that now exists, and how it came to be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ensured<T> {
    /// The thing itself.
    pub value: T,
    /// What had to be done.
    pub change: Change,
}

impl<T> Ensured<T> {
    /// It was made now.
    #[must_use]
    pub fn created(value: T) -> Self {
        Self { value, change: Change::Created }
    }

    /// It was there and was changed.
    #[must_use]
    pub fn updated(value: T) -> Self {
        Self { value, change: Change::Updated }
    }

    /// It was there already.
    #[must_use]
    pub fn unchanged(value: T) -> Self {
        Self { value, change: Change::Unchanged }
    }

    /// Was it made now?
    pub fn is_created(&self) -> bool {
        self.change == Change::Created
    }
}
