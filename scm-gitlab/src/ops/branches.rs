use async_trait::async_trait;
use futures_util::{TryStreamExt as _, future};
use http::Method;
use scm_core::pipeline::Operation;
use scm_core::{
    Branch, BranchName, BranchProtection, Branches, Cursor, DeleteBranch, Error, ErrorKind, ListBranches,
    ListTags, NewTag, Page, Pages, RepoId, Repositories as _, Result, Revision, Tag, TagName,
};

use crate::client::{GitLab, page_size, project_api, reference};
use crate::convert;
use crate::page::list_page;
use crate::wire::{WireCreateBranch, WireCreateTag, WireProtectedBranch};

#[async_trait]
impl Branches for GitLab {
    async fn branch(&self, repo: &RepoId, name: &BranchName) -> Result<Branch> {
        let request = project_api(Method::GET, repo, &["repository", "branches", name.as_str()]);
        self.operation("branch").send(request).await?.read(convert::branch)
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
        let from = self.starting_point(&operation, repo, from).await?;
        let body = WireCreateBranch { branch: name.as_str(), reference: &from };
        let request = project_api(Method::POST, repo, &["repository", "branches"]).json(&body)?;
        operation.send(request).await?.read(convert::branch)
    }

    async fn delete_branch(&self, repo: &RepoId, name: &BranchName, opts: &DeleteBranch) -> Result<()> {
        if let Some(expected) = &opts.expected_head {
            return self.delete_by_git(repo, name, expected).await;
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

    async fn branch_protection(&self, repo: &RepoId, name: &BranchName) -> Result<BranchProtection> {
        let pages = Pages::new(None, None, |at| async move {
            let operation = self.operation("branch_protection");
            let request = project_api(Method::GET, repo, &["protected_branches"])
                .query("per_page", page_size(&operation, None)?);
            list_page(&operation, request, at.as_ref(), Ok::<WireProtectedBranch, _>).await
        });
        let rules = pages.items(None).try_filter(|rule| future::ready(covers(&rule.name, name.as_str())));
        rules.try_collect().await.map(convert::branch_protection)
    }

    async fn tag(&self, repo: &RepoId, name: &TagName) -> Result<Tag> {
        let request = project_api(Method::GET, repo, &["repository", "tags", name.as_str()]);
        self.operation("tag").send(request).await?.read(convert::tag)
    }

    async fn list_tags_page(&self, repo: &RepoId, opts: &ListTags, at: Option<&Cursor>) -> Result<Page<Tag>> {
        let operation = self.operation("list_tags");
        let search = opts.search.as_deref().map(|text| plain_search(&operation, text)).transpose()?;
        let request = project_api(Method::GET, repo, &["repository", "tags"])
            .query_some("search", search)
            .query("per_page", page_size(&operation, opts.page_size)?);
        list_page(&operation, request, at, convert::tag).await
    }

    async fn create_tag(&self, repo: &RepoId, tag: &NewTag) -> Result<Tag> {
        let operation = self.operation("create_tag");
        let from = self.starting_point(&operation, repo, &tag.target).await?;
        let body =
            WireCreateTag { tag_name: tag.name.as_str(), reference: &from, message: tag.message.as_deref() };
        let request = project_api(Method::POST, repo, &["repository", "tags"]).json(&body)?;
        operation.send(request).await?.read(convert::tag)
    }
}

impl GitLab {
    /// Where a new branch or tag starts. The parameter takes no `HEAD`.
    async fn starting_point(&self, operation: &Operation, repo: &RepoId, from: &Revision) -> Result<String> {
        if *from != Revision::Head {
            return reference(operation, from).map(str::to_owned);
        }
        match self.repository(repo).await?.default_branch {
            Some(name) => Ok(name.into()),
            None => {
                let empty = "the repository is empty: it has no default branch yet";
                Err(operation.own(Error::new(ErrorKind::NotFound, empty)))
            }
        }
    }
}

/// GitLab reads `^` at the start and `$` at the end of a search as anchors; no name can hold `^`.
fn plain_search<'a>(operation: &Operation, text: &'a str) -> Result<&'a str> {
    if text.starts_with('^') || text.ends_with('$') {
        return Err(operation.invalid(format!("'{text}': a search is plain text, without '^' and '$'")));
    }
    Ok(text)
}

/// Does a rule of this name, in which `*` stands for any text, cover the branch?
fn covers(rule: &str, branch: &str) -> bool {
    let mut parts = rule.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = branch.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (rule, branch, expected) in [
            ("main", "main", true),
            ("main", "main2", false),
            ("*", "any/thing", true),
            ("release/*", "release/1.0", true),
            ("release/*", "release", false),
            ("*-stable", "15-2-stable", true),
            ("*-stable", "15-2-stable-ee", false),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "acb", false),
            ("ab*ba", "aba", false),
            ("a*bb*b", "abb", false),
        ] {
            assert_eq!(covers(rule, branch), expected, "{rule} {branch}");
        }
    }
}
