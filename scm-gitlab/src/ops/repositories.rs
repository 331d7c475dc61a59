use async_trait::async_trait;
use http::Method;
use scm_core::{
    ArchivedFilter, Cursor, ListNamespaces, ListRepositories, Namespace, Page, RepoId, Repositories,
    Repository, Result, Role, Timestamp,
};

use crate::client::{GitLab, api, not_built, page_size, project_api};
use crate::convert;
use crate::page::list_page;

#[async_trait]
impl Repositories for GitLab {
    async fn repository(&self, repo: &RepoId) -> Result<Repository> {
        let operation = self.operation("repository");
        operation.send(project_api(Method::GET, repo, &[])).await?.json().and_then(convert::repository)
    }

    async fn list_repositories_page(
        &self,
        opts: &ListRepositories,
        at: Option<&Cursor>,
    ) -> Result<Page<Repository>> {
        let operation = self.operation("list_repositories");
        let size = page_size(&operation, opts.page_size)?;
        let archived = match opts.archived.unwrap_or_default() {
            ArchivedFilter::Exclude => Some(false),
            ArchivedFilter::Only => Some(true),
            _ => None,
        };
        let request = match &opts.namespace {
            None => api(Method::GET, &["projects"])
                .query("membership", true)
                .query("pagination", "keyset")
                .query_some("min_access_level", opts.min_role.map(convert::access_level))
                .query_some("last_activity_after", opts.changed_since.map(just_before).transpose()?)
                .query_some("id_after", opts.id_after)
                .query_some("id_before", opts.id_before),
            // Shows public projects too, so that the role makes it a list of one's own.
            Some(namespace) => api(Method::GET, &["groups", namespace.as_str(), "projects"])
                .query("include_subgroups", true)
                .query("with_shared", false)
                .query("min_access_level", convert::access_level(opts.min_role.unwrap_or(Role::Guest))),
        };
        let request = request
            .query("order_by", "id")
            .query("sort", "asc")
            .query("per_page", size)
            .query_some("archived", archived)
            .query_some("search", opts.search.as_ref());
        let mut page = list_page(&operation, request, at, convert::repository).await?;
        if opts.namespace.is_some() {
            // What a group's list cannot be asked for.
            page.items.retain(|item| item.as_ref().map_or(true, |repository| within(repository, opts)));
        }
        Ok(page)
    }

    async fn list_namespaces_page(&self, _: &ListNamespaces, _: Option<&Cursor>) -> Result<Page<Namespace>> {
        Err(not_built("list_namespaces", "groups of GitLab"))
    }
}

/// GitLab's filter leaves out what changed at the very time that is given.
fn just_before(time: Timestamp) -> Result<Timestamp> {
    Timestamp::from_millis(time.as_millis() - 1)
}

/// Is it within the time and id range asked for?
fn within(repository: &Repository, opts: &ListRepositories) -> bool {
    let id = repository.id.as_str().parse::<u64>().ok();
    opts.changed_since.is_none_or(|since| repository.changed_at.is_some_and(|at| at >= since))
        && opts.id_after.is_none_or(|after| id.is_some_and(|id| id > after))
        && opts.id_before.is_none_or(|before| id.is_some_and(|id| id < before))
}
