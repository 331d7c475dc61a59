use std::num::NonZeroUsize;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use http::Method;
use scm_core::pipeline::ApiRequest;
use scm_core::{
    ArchivedFilter, Cursor, Error, ListNamespaces, ListRepositories, Namespace, Page, RepoId, Repositories,
    Repository, Result, Role, Timestamp,
};

use crate::client::{GitLab, api, page_size, project_api};
use crate::convert;
use crate::page::list_page;
use crate::wire::WireId;

#[async_trait]
impl Repositories for GitLab {
    async fn repository(&self, repo: &RepoId) -> Result<Repository> {
        let operation = self.operation("repository");
        operation.send(project_api(Method::GET, repo, &[])).await?.read(convert::repository)
    }

    async fn list_repositories_page(
        &self,
        opts: &ListRepositories,
        at: Option<&Cursor>,
    ) -> Result<Page<Repository>> {
        let operation = self.operation("list_repositories");
        let mut request = list_request(opts)?.query("per_page", page_size(&operation, opts.page_size)?);
        if opts.namespace.is_none() {
            request = request.query("pagination", "keyset");
        }
        let request = request.query("order_by", "id").query("sort", "asc");
        let mut page = list_page(&operation, request, at, convert::repository).await?;
        if opts.namespace.is_some() {
            // What a group's list cannot be asked for.
            page.items.retain(|item| item.as_ref().map_or(true, |repository| within(repository, opts)));
        }
        Ok(page)
    }

    async fn list_namespaces_page(
        &self,
        opts: &ListNamespaces,
        at: Option<&Cursor>,
    ) -> Result<Page<Namespace>> {
        let operation = self.operation("list_namespaces");
        let request = match &opts.parent {
            None => api(Method::GET, &["groups"]),
            Some(parent) => api(Method::GET, &["groups", parent.as_str(), "descendant_groups"]),
        };
        let request = request
            .query("order_by", "id")
            .query("sort", "asc")
            .query("per_page", page_size(&operation, opts.page_size)?)
            .query_some("search", opts.search.as_ref())
            .query_some("min_access_level", opts.min_role.map(convert::access_level));
        list_page(&operation, request, at, convert::namespace).await
    }

    /// Where the server counts the list, by the ids at equal distances in it; else by equal ranges of ids.
    async fn partition_repositories(
        &self,
        opts: &ListRepositories,
        parts: NonZeroUsize,
    ) -> Result<Vec<ListRepositories>> {
        let whole = || vec![opts.clone()];
        if parts.get() == 1 || opts.namespace.is_some() {
            return Ok(whole());
        }
        let operation = &self.operation("partition_repositories");
        let sample = |sort: &'static str, page: u64| async move {
            let request = list_request(opts)?
                .query("simple", true)
                .query("order_by", "id")
                .query("sort", sort)
                .query("per_page", 1)
                .query("page", page);
            let answer = operation.send(request).await?;
            let id = answer.json::<Vec<WireId>>()?.first().map(|project| project.id);
            let total = answer.headers().get("x-total").and_then(|total| total.to_str().ok()?.parse().ok());
            Ok::<_, Error>((id, total))
        };
        let (Some(first), total) = sample("asc", 1).await? else { return Ok(whole()) };
        let parts = parts.get() as u64;
        let cuts: Vec<u64> = match total {
            Some(total) => {
                let parts = parts.min(total).max(1);
                let samples = (1..parts).map(|part| sample("asc", total * part / parts + 1));
                let ids = try_join_all(samples).await?;
                ids.into_iter().filter_map(|(id, _): (_, Option<u64>)| id).collect()
            }
            None => {
                let Some(last) = sample("desc", 1).await?.0 else { return Ok(whole()) };
                let width = last.saturating_sub(first) / parts + 1;
                (1..parts).map(|part| first + width * part).take_while(|cut| *cut <= last).collect()
            }
        };
        Ok(ranges(opts, first, cuts))
    }
}

/// The list without order and paging.
fn list_request(opts: &ListRepositories) -> Result<ApiRequest> {
    let archived = match opts.archived.unwrap_or_default() {
        ArchivedFilter::Exclude => Some(false),
        ArchivedFilter::Only => Some(true),
        _ => None,
    };
    let request = match &opts.namespace {
        None => api(Method::GET, &["projects"])
            .query("membership", true)
            .query_some("min_access_level", opts.min_role.map(convert::access_level))
            .query_some("last_activity_after", opts.changed_since.map(just_before).transpose()?)
            .query_some("id_after", opts.id_after)
            .query_some("id_before", opts.id_before),
        // Shows public projects too, so that the role makes it a list of one's own.
        Some(namespace) => api(Method::GET, &["groups", namespace.as_str(), "projects"])
            .query("include_subgroups", true)
            .query("with_shared", opts.shared.unwrap_or(false))
            .query("min_access_level", convert::access_level(opts.min_role.unwrap_or(Role::Guest))),
    };
    Ok(request.query_some("archived", archived).query_some("search", opts.search.as_ref()))
}

/// The listing cut before each of these ids. The first range is open below and the last above, as the listing is.
fn ranges(opts: &ListRepositories, first: u64, mut cuts: Vec<u64>) -> Vec<ListRepositories> {
    cuts.sort_unstable();
    cuts.dedup();
    let mut out = Vec::with_capacity(cuts.len() + 1);
    let mut rest = opts.clone();
    for cut in cuts.into_iter().filter(|cut| *cut > first) {
        out.push(rest.clone().with_id_before(cut));
        rest = rest.with_id_after(cut - 1);
    }
    out.push(rest);
    out
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_leave_nothing_out_and_nothing_twice() {
        let opts = ListRepositories::default().with_id_after(5).with_id_before(90);
        let cut = |cuts: &[u64]| -> Vec<(Option<u64>, Option<u64>)> {
            ranges(&opts, 10, cuts.to_vec()).iter().map(|part| (part.id_after, part.id_before)).collect()
        };
        assert_eq!(cut(&[]), [(Some(5), Some(90))]);
        assert_eq!(cut(&[40, 20, 40]), [(Some(5), Some(20)), (Some(19), Some(40)), (Some(39), Some(90))]);
        assert_eq!(cut(&[10, 9]), [(Some(5), Some(90))], "a cut before the first leaves an empty part");
    }
}
