use std::fmt::Debug;
use std::num::NonZeroUsize;

use async_trait::async_trait;

use crate::error::Result;
use crate::id::{NamespaceId, RepoId};
use crate::macros::options;
use crate::model::{Namespace, Repository, Role};
use crate::page::{Cursor, Page};
use crate::time::Timestamp;

/// Finding repositories.
#[doc(alias = "Projects")]
#[async_trait]
pub trait Repositories: Debug + Send + Sync + 'static {
    /// One repository by id or full path.
    ///
    /// GitLab: `GET /projects/:id`; a moved project is followed. Bitbucket: `GET /projects/{key}/repos/{slug}`.
    /// Idempotent.
    ///
    /// # Errors
    /// `NotFound` when it does not exist or the token may not see it.
    async fn repository(&self, repo: &RepoId) -> Result<Repository>;

    /// One page of the repositories that the token is a member of, in ascending order of id, resumable.
    ///
    /// GitLab: `GET /projects?membership=true` by keyset, or `GET /groups/:id/projects` with a namespace. Bitbucket:
    /// `GET /repos?permission=…`, or `GET /projects/{key}/repos` with a namespace. Idempotent.
    ///
    /// # Errors
    /// `NotFound` for a namespace that cannot be seen, `InvalidInput` for a foreign cursor.
    async fn list_repositories_page(
        &self,
        opts: &ListRepositories,
        at: Option<&Cursor>,
    ) -> Result<Page<Repository>>;

    /// One page of the namespaces that the token can see (GitLab groups and subgroups; Bitbucket projects).
    ///
    /// GitLab: `GET /groups`, or `GET /groups/:id/descendant_groups`. Bitbucket: `GET /projects`. Idempotent.
    ///
    /// # Errors
    /// `NotFound` for a parent that cannot be seen, `InvalidInput` for a foreign cursor.
    async fn list_namespaces_page(
        &self,
        opts: &ListNamespaces,
        at: Option<&Cursor>,
    ) -> Result<Page<Namespace>>;

    /// Cuts one listing into up to `parts` that can be read at the same time and together give every repository
    /// exactly once. The default is the listing itself, as one part.
    ///
    /// GitLab: ranges of ids; the listing of one namespace stays whole. Idempotent.
    ///
    /// # Errors
    /// Those of finding out the range of ids.
    async fn partition_repositories(
        &self,
        opts: &ListRepositories,
        parts: NonZeroUsize,
    ) -> Result<Vec<ListRepositories>> {
        let _ = parts;
        Ok(vec![opts.clone()])
    }
}

options! {
    /// Which repositories to list.
    pub struct ListRepositories {
        /// Only those where the token's user has at least this role. Default: any.
        min_role / with_min_role: Role,
        /// Archived ones. Default: without them.
        archived / with_archived: ArchivedFilter,
        /// Only those of this namespace and the namespaces below it.
        namespace / with_namespace: NamespaceId,
        /// With a namespace: those that are shared into it from elsewhere too (GitLab). Default: no.
        shared / with_shared: bool,
        /// Only those changed at or after this time.
        changed_since / with_changed_since: Timestamp,
        /// Only those whose name or path holds this text.
        search / with_search: String,
        /// Only ids above this one; for cutting a listing into ranges (GitLab).
        id_after / with_id_after: u64,
        /// Only ids below this one; for cutting a listing into ranges (GitLab).
        id_before / with_id_before: u64,
        /// Items per page; the server may give fewer. Default and most: 100.
        page_size / with_page_size: u16,
    }
}

options! {
    /// Which namespaces to list.
    pub struct ListNamespaces {
        /// Only those below this one (GitLab).
        parent / with_parent: NamespaceId,
        /// Only those whose name or path holds this text.
        search / with_search: String,
        /// Only those where the token's user has at least this role.
        min_role / with_min_role: Role,
        /// Items per page; the server may give fewer. Default and most: 100.
        page_size / with_page_size: u16,
    }
}

/// What to do with archived repositories.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ArchivedFilter {
    /// Leave them out.
    #[default]
    Exclude,
    /// Only them.
    Only,
    /// All, archived or not.
    Include,
}
