use serde::{Deserialize, Serialize};
use url::Url;

use crate::id::{BranchName, NamespaceId, RepoId};
use crate::macros::server_enum;
use crate::time::Timestamp;

/// A repository (GitLab: project).
#[doc(alias = "Project")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Repository {
    /// The id to use in calls, which survives a rename where the server has such an id (GitLab: the number).
    pub id: RepoId,
    /// Full path, such as `group/sub/repo` or `PROJ/slug`.
    pub path: RepoId,
    /// Name for people.
    pub name: String,
    /// Description.
    pub description: Option<String>,
    /// The namespace it is in.
    pub namespace: Option<NamespaceId>,
    /// Default branch; `None` for an empty repository, or where the list does not tell.
    pub default_branch: Option<BranchName>,
    /// Whether it has no commit; `None` where the server does not tell.
    pub empty: Option<bool>,
    /// Whether it is read-only for good; `None` where the server does not tell.
    pub archived: Option<bool>,
    /// Who may see it.
    pub visibility: Option<Visibility>,
    /// Role of the token's user here; `None` where the server does not tell.
    pub role: Option<Role>,
    /// Page for people.
    pub web_url: Option<Url>,
    /// URL for git over HTTP, as the server gives it.
    pub clone_url: Option<Url>,
    /// Last change that the server counts as activity.
    pub changed_at: Option<Timestamp>,
    /// The repository it was forked from.
    pub forked_from: Option<RepoId>,
}

impl Repository {
    /// A repository with its id, path and name.
    #[must_use]
    pub fn new(id: RepoId, path: RepoId, name: impl Into<String>) -> Self {
        Self {
            id,
            path,
            name: name.into(),
            description: None,
            namespace: None,
            default_branch: None,
            empty: None,
            archived: None,
            visibility: None,
            role: None,
            web_url: None,
            clone_url: None,
            changed_at: None,
            forked_from: None,
        }
    }
}

server_enum! {
    /// Who may see a repository.
    pub enum Visibility {
        /// Members only.
        Private = "private",
        /// Everyone who is signed in.
        Internal = "internal",
        /// Everyone.
        Public = "public",
    }
}

/// What a user may do in a repository, from least to most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Role {
    /// Nothing, or only the fact that it exists (GitLab: none, minimal access).
    None,
    /// Issues and the like, no code (GitLab: guest, planner).
    Guest,
    /// Reads code (GitLab: reporter; Bitbucket: repository read).
    #[doc(alias = "Reporter")]
    Read,
    /// Pushes branches and opens pull requests (GitLab: developer; Bitbucket: repository write).
    #[doc(alias = "Developer")]
    Write,
    /// Changes settings (GitLab: maintainer; Bitbucket: repository admin).
    #[doc(alias = "Admin")]
    Maintain,
    /// Owns it (GitLab: owner; Bitbucket: project admin).
    Own,
}

/// A namespace (GitLab: group or user; Bitbucket: project).
#[doc(alias = "Group")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Namespace {
    /// The id to use in calls.
    pub id: NamespaceId,
    /// Full path or project key.
    pub path: NamespaceId,
    /// Name for people.
    pub name: String,
    /// What it is.
    pub kind: NamespaceKind,
    /// The namespace around it.
    pub parent: Option<NamespaceId>,
    /// Page for people.
    pub web_url: Option<Url>,
}

impl Namespace {
    /// A namespace with its id, path, name and kind.
    #[must_use]
    pub fn new(id: NamespaceId, path: NamespaceId, name: impl Into<String>, kind: NamespaceKind) -> Self {
        Self { id, path, name: name.into(), kind, parent: None, web_url: None }
    }
}

server_enum! {
    /// What a namespace is.
    pub enum NamespaceKind {
        /// Of many people: GitLab group, Bitbucket project.
        Group = "group",
        /// Of one person.
        User = "user",
    }
}
