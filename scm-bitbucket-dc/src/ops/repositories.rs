use async_trait::async_trait;
use futures_util::future;
use http::Method;
use scm_core::{
    ArchivedFilter, Cursor, ListNamespaces, ListRepositories, Namespace, NamespaceId, Page, RepoId,
    Repositories, Repository, Result, Role,
};

use crate::client::{BitbucketDc, api, page_size, unsupported};
use crate::convert;
use crate::page::list_page;

#[async_trait]
impl Repositories for BitbucketDc {
    async fn repository(&self, repo: &RepoId) -> Result<Repository> {
        let operation = self.operation("repository");
        let request = self.repo_api(Method::GET, repo, &[])?;
        let shown = async { operation.send(request).await?.read(convert::repository) };
        let (mut shown, default) =
            future::try_join(shown, self.default_branch_name("repository", repo)).await?;
        shown.default_branch = default;
        Ok(shown)
    }

    async fn list_repositories_page(
        &self,
        opts: &ListRepositories,
        at: Option<&Cursor>,
    ) -> Result<Page<Repository>> {
        let operation = self.operation("list_repositories");
        if opts.changed_since.is_some() {
            return Err(unsupported(
                "list_repositories",
                "Bitbucket does not tell when a repository changed; list the commits of its default branch",
            ));
        }
        if opts.id_after.is_some() || opts.id_before.is_some() {
            return Err(unsupported("list_repositories", "Bitbucket lists by name, not in ranges of ids"));
        }
        let size = page_size(&operation, opts.page_size)?;
        let Some(permission) = convert::repository_permission(opts.min_role.unwrap_or(Role::Read)) else {
            // Owners are of projects.
            return Ok(Page::new(Vec::new(), None));
        };
        let namespace = opts.namespace.as_ref().or(self.project_key.as_ref());
        let archived = match opts.archived.unwrap_or_default() {
            ArchivedFilter::Exclude => "ACTIVE",
            ArchivedFilter::Only => "ARCHIVED",
            _ => "ALL",
        };
        let request = api(Method::GET, &["repos"])
            .query("permission", permission)
            .query("archived", archived)
            .query_some("projectkey", namespace)
            .query("limit", size);
        let mut page = list_page(&operation, request, at, convert::repository).await?;
        if let Some(key) = namespace
            && page.items.is_empty()
            && at.is_none()
        {
            // Nothing there, or no such project: the list is empty for both.
            operation.send(api(Method::GET, &["projects", key.as_str()])).await?;
        }
        // The filter by name wants the whole name; servers may not know the others.
        page.items
            .retain(|item| item.as_ref().map_or(true, |repository| is_wanted(repository, namespace, opts)));
        Ok(page)
    }

    async fn list_namespaces_page(
        &self,
        opts: &ListNamespaces,
        at: Option<&Cursor>,
    ) -> Result<Page<Namespace>> {
        let operation = self.operation("list_namespaces");
        if opts.parent.is_some() {
            return Err(unsupported("list_namespaces", "projects of Bitbucket do not nest"));
        }
        let request = api(Method::GET, &["projects"])
            .query_some("permission", opts.min_role.map(convert::project_permission))
            .query("limit", page_size(&operation, opts.page_size)?);
        let mut page = list_page(&operation, request, at, convert::namespace).await?;
        if let Some(text) = opts.search.as_deref().map(str::to_lowercase) {
            let holds = |namespace: &Namespace| {
                [&namespace.name, namespace.id.as_str()]
                    .iter()
                    .any(|name| name.to_lowercase().contains(&text))
            };
            page.items.retain(|item| item.as_ref().map_or(true, holds));
        }
        Ok(page)
    }
}

fn is_wanted(repository: &Repository, namespace: Option<&NamespaceId>, opts: &ListRepositories) -> bool {
    let is_there = |key: &NamespaceId| {
        repository.namespace.as_ref().is_some_and(|own| own.as_str().eq_ignore_ascii_case(key.as_str()))
    };
    let holds = |text: &String| {
        let text = text.to_lowercase();
        [&repository.name, repository.path.as_str()].iter().any(|name| name.to_lowercase().contains(&text))
    };
    namespace.is_none_or(is_there) && opts.search.as_ref().is_none_or(holds)
}
