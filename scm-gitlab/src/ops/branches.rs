use async_trait::async_trait;
use http::Method;
use scm_core::pipeline::Operation;
use scm_core::{
    Branch, BranchName, BranchProtection, Branches, Cursor, DeleteBranch, Error, ErrorKind, ListBranches,
    ListTags, NewTag, Page, RepoId, Repositories as _, Result, Revision, Tag, TagName,
};

use crate::client::{GitLab, not_built, page_size, project_api, reference};
use crate::convert;
use crate::page::list_page;
use crate::wire::WireCreateBranch;

#[async_trait]
impl Branches for GitLab {
    async fn branch(&self, repo: &RepoId, name: &BranchName) -> Result<Branch> {
        let request = project_api(Method::GET, repo, &["repository", "branches", name.as_str()]);
        self.operation("branch").send(request).await?.json().and_then(convert::branch)
    }

    async fn list_branches_page(
        &self,
        repo: &RepoId,
        opts: &ListBranches,
        at: Option<&Cursor>,
    ) -> Result<Page<Branch>> {
        let operation = self.operation("list_branches");
        let search = opts.search.as_deref().map(|text| plain_search(&operation, text)).transpose()?;
        let request = project_api(Method::GET, repo, &["repository", "branches"])
            .query_some("search", search)
            .query("per_page", page_size(&operation, opts.page_size)?);
        list_page(&operation, request, at, convert::branch).await
    }

    async fn create_branch(&self, repo: &RepoId, name: &BranchName, from: &Revision) -> Result<Branch> {
        let operation = self.operation("create_branch");
        let from = match from {
            // The parameter takes no `HEAD`.
            Revision::Head => self.default_branch_name(&operation, repo).await?,
            from => reference(&operation, from)?.to_owned(),
        };
        let body = WireCreateBranch { branch: name.as_str(), reference: &from };
        let request = project_api(Method::POST, repo, &["repository", "branches"]).json(&body)?;
        operation.send(request).await?.json().and_then(convert::branch)
    }

    async fn delete_branch(&self, repo: &RepoId, name: &BranchName, opts: &DeleteBranch) -> Result<()> {
        if opts.expected_head.is_some() {
            return Err(Error::unsupported(
                "delete_branch",
                "GitLab's API deletes a branch wherever it points to; an expected head cannot be held",
            ));
        }
        let operation = self.operation("delete_branch");
        let request = project_api(Method::DELETE, repo, &["repository", "branches", name.as_str()]);
        match operation.send(request).await {
            Ok(_) => Ok(()),
            // Gone by an earlier try of ours whose answer was lost.
            Err(error) if error.kind() == ErrorKind::NotFound && operation.lost_an_answer() => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn default_branch(&self, repo: &RepoId) -> Result<Option<Branch>> {
        match self.repository(repo).await?.default_branch {
            None => Ok(None),
            Some(name) => match self.branch(repo, &name).await {
                Ok(branch) => Ok(Some(branch)),
                // The name is set, but nothing has been pushed yet.
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            },
        }
    }

    async fn branch_protection(&self, _: &RepoId, _: &BranchName) -> Result<BranchProtection> {
        Err(not_built("branch_protection", "branch protection of GitLab"))
    }

    async fn tag(&self, _: &RepoId, _: &TagName) -> Result<Tag> {
        Err(not_built("tag", "tags of GitLab"))
    }

    async fn list_tags_page(&self, _: &RepoId, _: &ListTags, _: Option<&Cursor>) -> Result<Page<Tag>> {
        Err(not_built("list_tags", "tags of GitLab"))
    }

    async fn create_tag(&self, _: &RepoId, _: &NewTag) -> Result<Tag> {
        Err(not_built("create_tag", "tags of GitLab"))
    }
}

impl GitLab {
    async fn default_branch_name(&self, operation: &Operation, repo: &RepoId) -> Result<String> {
        match self.repository(repo).await?.default_branch {
            Some(name) => Ok(name.into()),
            None => {
                let empty = "the repository is empty: it has no default branch yet";
                Err(operation.own(Error::new(ErrorKind::NotFound, empty)))
            }
        }
    }
}

/// GitLab reads `^` at the start and `$` at the end of a search as anchors; no branch name can hold `^`.
fn plain_search<'a>(operation: &Operation, text: &'a str) -> Result<&'a str> {
    if text.starts_with('^') || text.ends_with('$') {
        return Err(
            operation.invalid(format!("'{text}': a branch search is plain text, without '^' and '$'"))
        );
    }
    Ok(text)
}
