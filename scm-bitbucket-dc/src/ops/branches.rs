use async_trait::async_trait;
use futures_util::{StreamExt as _, TryStreamExt as _, future};
use http::{Method, StatusCode};
use scm_core::pipeline::Operation;
use scm_core::{
    Branch, BranchName, BranchProtection, Branches, Cursor, DeleteBranch, Delivery, Error, ErrorKind,
    ListBranches, ListTags, NewTag, Page, Pages, RepoId, Result, Revision, Sha, Tag, TagName,
};

use serde::de::DeserializeOwned;

use crate::client::{BitbucketDc, page_size, reference};
use crate::convert;
use crate::page::list_page;
use crate::wire::{
    WireBranch, WireCreateBranch, WireCreateTag, WireDeleteBranch, WireMatcher, WireRestriction, WireTag,
};

#[async_trait]
impl Branches for BitbucketDc {
    async fn branch(&self, repo: &RepoId, name: &BranchName) -> Result<Branch> {
        let full = convert::full(name);
        self.exact("branch", repo, "branches", name.as_str(), move |wire: &WireBranch| wire.id == full)
            .await
            .and_then(convert::branch)
    }

    async fn list_branches_page(
        &self,
        repo: &RepoId,
        opts: &ListBranches,
        at: Option<&Cursor>,
    ) -> Result<Page<Branch>> {
        let operation = self.operation("list_branches");
        let request = self
            .repo_api(Method::GET, repo, &["branches"])?
            .query_some("filterText", opts.search.as_ref())
            .query("limit", page_size(&operation, opts.page_size)?);
        list_page(&operation, request, at, convert::branch).await
    }

    async fn create_branch(&self, repo: &RepoId, name: &BranchName, from: &Revision) -> Result<Branch> {
        let operation = self.operation("create_branch");
        let from = self.starting_point(&operation, repo, from).await?;
        let body = WireCreateBranch { name: name.as_str(), start_point: &from };
        let request = self.repo_api(Method::POST, repo, &["branches"])?.json(&body)?;
        match operation.send(request).await {
            Ok(answer) => answer.read(convert::branch),
            Err(error) if error.kind() == ErrorKind::InvalidInput => {
                // "There already", "no such start" and "no name" are all 400, in words that depend on the version.
                if self.branch(repo, name).await.is_ok() {
                    return Err(operation.own(with_kind(ErrorKind::Conflict, &error)));
                }
                Err(self.start_error(&operation, repo, &from, error).await)
            }
            Err(error) => Err(error),
        }
    }

    async fn delete_branch(&self, repo: &RepoId, name: &BranchName, opts: &DeleteBranch) -> Result<()> {
        let operation = self.operation("delete_branch");
        // The server is content with a branch that is not there.
        let found = self.branch(repo, name).await.map_err(|error| operation.own(error))?;
        let moved = |head: &Sha, expected: &Sha| {
            let message = format!("the branch '{name}' is at {head}, not at {expected}");
            operation
                .own(Error::new(ErrorKind::PreconditionFailed, message).with_delivery(Delivery::Answered))
        };
        let expected = opts.expected_head.as_ref();
        if let Some(expected) = expected.filter(|expected| **expected != found.head) {
            return Err(moved(&found.head, expected));
        }
        let body = WireDeleteBranch {
            name: &convert::full(name),
            dry_run: false,
            end_point: expected.map(Sha::as_str),
        };
        let request = self.module_api(Method::DELETE, "branch-utils", repo, &["branches"])?.json(&body)?;
        let Err(error) = operation.send(request).await else { return Ok(()) };
        if error.kind() != ErrorKind::InvalidInput {
            return Err(error);
        }
        match (self.branch(repo, name).await, expected) {
            (Ok(now), Some(expected)) if now.head != *expected => Err(moved(&now.head, expected)),
            (Ok(now), _) if now.default == Some(true) => {
                Err(operation.own(with_kind(ErrorKind::PermissionDenied, &error)))
            }
            _ => Err(error),
        }
    }

    async fn default_branch(&self, repo: &RepoId) -> Result<Option<Branch>> {
        match self.default_branch_name("default_branch", repo).await? {
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
        let default = self.default_branch_name("branch_protection", repo).await?;
        let pages = Pages::new(None, None, |at| async move {
            let operation = self.operation("branch_protection");
            let request = self
                .module_api(Method::GET, "branch-permissions", repo, &["restrictions"])?
                .query("limit", page_size(&operation, None)?);
            list_page(&operation, request, at.as_ref(), Ok::<WireRestriction, _>).await
        });
        let is_default = default.as_ref() == Some(name);
        let rules = pages.items(None);
        let rules = rules.try_filter(|rule| future::ready(covers(&rule.matcher, name, is_default)));
        let rules: Vec<_> = rules.try_collect().await?;
        Ok(convert::branch_protection(&rules))
    }

    async fn tag(&self, repo: &RepoId, name: &TagName) -> Result<Tag> {
        let full = format!("refs/tags/{name}");
        self.exact("tag", repo, "tags", name.as_str(), move |wire: &WireTag| wire.id == full)
            .await
            .and_then(convert::tag)
    }

    async fn list_tags_page(&self, repo: &RepoId, opts: &ListTags, at: Option<&Cursor>) -> Result<Page<Tag>> {
        let operation = self.operation("list_tags");
        let request = self
            .repo_api(Method::GET, repo, &["tags"])?
            .query_some("filterText", opts.search.as_ref())
            .query("limit", page_size(&operation, opts.page_size)?);
        list_page(&operation, request, at, convert::tag).await
    }

    async fn create_tag(&self, repo: &RepoId, tag: &NewTag) -> Result<Tag> {
        let operation = self.operation("create_tag");
        let from = self.starting_point(&operation, repo, &tag.target).await?;
        let body = WireCreateTag {
            name: tag.name.as_str(),
            start_point: &from,
            kind: if tag.message.is_some() { "ANNOTATED" } else { "LIGHTWEIGHT" },
            message: tag.message.as_deref(),
        };
        let request = self.module_api(Method::POST, "git", repo, &["tags"])?.json(&body)?;
        match operation.send(request).await {
            Ok(answer) => {
                let mut made = answer.read(convert::tag)?;
                made.message.clone_from(&tag.message);
                Ok(made)
            }
            Err(error) if error.kind() == ErrorKind::InvalidInput => {
                if self.tag(repo, &tag.name).await.is_ok() {
                    return Err(operation.own(with_kind(ErrorKind::Conflict, &error)));
                }
                Err(self.start_error(&operation, repo, &from, error).await)
            }
            Err(error) => Err(error),
        }
    }
}

impl BitbucketDc {
    /// The one of a list that is meant. There is no call for one branch, that for one tag takes no name with a slash, and
    /// the filter is a text that names hold.
    async fn exact<W: DeserializeOwned + Send + Unpin + 'static>(
        &self,
        operation: &'static str,
        repo: &RepoId,
        list: &'static str,
        name: &str,
        is_it: impl Fn(&W) -> bool + Send + Sync,
    ) -> Result<W> {
        let pages = Pages::new(None, None, |at| async move {
            let operation = self.operation(operation);
            let request = self
                .repo_api(Method::GET, repo, &[list])?
                .query("filterText", name)
                // Lists of tags know no such wish.
                .query_some("boostMatches", (list == "branches").then_some(true))
                .query("limit", page_size(&operation, None)?);
            list_page(&operation, request, at.as_ref(), Ok::<W, _>).await
        });
        let mut found = pages.items(None).try_filter(|wire| future::ready(is_it(wire))).boxed();
        found.try_next().await?.ok_or_else(|| {
            let error = Error::new(ErrorKind::NotFound, format!("there is no {operation} '{name}'"));
            self.operation(operation).own(error.with_delivery(Delivery::Answered))
        })
    }

    /// The name of the default branch; `None` where the repository has none yet.
    pub(crate) async fn default_branch_name(
        &self,
        operation: &'static str,
        repo: &RepoId,
    ) -> Result<Option<BranchName>> {
        let operation = self.operation(operation);
        match operation.send(self.repo_api(Method::GET, repo, &["default-branch"])?).await {
            Ok(answer) if answer.status() == StatusCode::NO_CONTENT => Ok(None),
            Ok(answer) => answer
                .read(|wire: WireBranch| scm_core::pipeline::told("id", convert::short(&wire.id)).map(Some)),
            // Of an empty repository, in other versions; else the repository itself is not there.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                match operation.send(self.repo_api(Method::GET, repo, &[])?).await {
                    Ok(_) => Ok(None),
                    Err(_) => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Is there no branch?
    pub(crate) async fn is_empty(&self, repo: &RepoId) -> bool {
        let opts = ListBranches::default().with_page_size(1);
        let branches = self.list_branches_page(repo, &opts, None).await;
        branches.is_ok_and(|page| page.items.is_empty() && page.next.is_none())
    }

    /// Where a new branch or tag starts: the server asks for a name.
    async fn starting_point(&self, operation: &Operation, repo: &RepoId, from: &Revision) -> Result<String> {
        if let Some(name) = reference(operation, from)? {
            return Ok(name);
        }
        match self.default_branch_name("create_branch", repo).await? {
            Some(name) => Ok(convert::full(&name)),
            None => {
                let empty = "the repository is empty: it has no default branch yet";
                Err(operation.own(Error::new(ErrorKind::NotFound, empty)))
            }
        }
    }

    /// A start that is not there is `NotFound`, whatever the server calls it.
    async fn start_error(&self, operation: &Operation, repo: &RepoId, from: &str, error: Error) -> Error {
        let Ok(from) = from.parse() else { return error };
        match scm_core::Commits::commit(self, repo, &from).await {
            Err(missing) if missing.kind() == ErrorKind::NotFound => {
                operation.own(with_kind(ErrorKind::NotFound, &error))
            }
            _ => error,
        }
    }
}

/// The same refusal, in the kind that tells the caller more.
pub(crate) fn with_kind(kind: ErrorKind, error: &Error) -> Error {
    let mut out = Error::new(kind, error.message()).with_delivery(error.delivery());
    if let Some(status) = error.status() {
        out = out.with_status(status);
    }
    if let Some(code) = error.server_code() {
        out = out.with_server_code(code);
    }
    match error.request_id() {
        Some(id) => out.with_request_id(id),
        None => out,
    }
}

/// Does a rule cover a branch? Those for a category of the branching model are not told: the prefix that makes a branch
/// one of it is in a setting of its own.
fn covers(matcher: &WireMatcher, branch: &BranchName, is_default: bool) -> bool {
    match matcher.kind.id.as_str() {
        "ANY_REF" => true,
        "BRANCH" => matcher.id == convert::full(branch) || matcher.id == branch.as_str(),
        "PATTERN" => fits(&matcher.id, &convert::full(branch)),
        // `development` is the default branch where nobody has set another.
        "MODEL_BRANCH" => is_default && matcher.id == "development",
        _ => false,
    }
}

/// Does a pattern fit a whole ref? It may begin at any part of it, and means all below where it ends in a slash.
fn fits(pattern: &str, reference: &str) -> bool {
    let all_below = if pattern.ends_with('/') { "**" } else { "" };
    glob(format!("**/{pattern}{all_below}").as_bytes(), reference.as_bytes())
}

/// `?` is one character, `*` any text without a slash, `**` any text, `**/` any parts. Takes one step for each pair of
/// characters, whatever the pattern: who writes it may not be who is kept waiting.
fn glob(mut pattern: &[u8], name: &[u8]) -> bool {
    // Which beginnings of the name the pattern so far fits, by their length.
    let mut fits: Vec<bool> = (0..=name.len()).map(|length| length == 0).collect();
    loop {
        let step;
        (step, pattern) = match pattern {
            [] => return fits.last() == Some(&true),
            [b'*', b'*', b'/', rest @ ..] => (Step::Parts, rest),
            [b'*', b'*', rest @ ..] => (Step::All, rest),
            [b'*', rest @ ..] => (Step::Text, rest),
            [byte, rest @ ..] => (Step::One(*byte), rest),
        };
        let (mut shorter, mut run) = (false, false);
        let last = std::iter::once(None).chain(name.iter().map(Some));
        let next = fits.iter().zip(last).map(|(&here, last)| {
            let shorter = std::mem::replace(&mut shorter, here);
            run = here || run && (step != Step::Text || last != Some(&b'/'));
            match step {
                Step::Parts => here || run && last == Some(&b'/'),
                Step::All | Step::Text => run,
                Step::One(b'?') => shorter && last.is_some_and(|byte| *byte != b'/'),
                Step::One(byte) => shorter && last == Some(&byte),
            }
        });
        fits = next.collect();
    }
}

/// A piece of a pattern.
#[derive(Clone, Copy, PartialEq)]
enum Step {
    Parts,
    All,
    Text,
    One(u8),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_pattern_takes_long() {
        let (stars, name) = ("*a".repeat(40), "a".repeat(200));
        assert!(fits(&stars, &name));
        for pattern in
            [format!("{stars}b"), format!("{}b", "**/*a".repeat(40)), format!("{}b", "**".repeat(40))]
        {
            assert!(!fits(&pattern, &name), "{pattern}");
        }
    }

    #[test]
    fn patterns_are_those_of_the_product() {
        for (pattern, name, expected) in [
            ("main", "main", true),
            ("main", "main2", false),
            ("main", "xmain", false),
            ("main", "old/main", true),
            ("*", "any/thing", true),
            ("release/*", "release/1.0", true),
            ("release/*", "release/1/0", false),
            ("release/**", "release/1/0", true),
            ("release/", "release/1/0", true),
            ("PROJECT-*", "stable/PROJECT-new", true),
            ("?.?", "1.1", true),
            ("?.?", "1.10", false),
            ("heads/**/main", "a/b/main", true),
            ("heads/**/main", "main", true),
        ] {
            assert_eq!(fits(pattern, &format!("refs/heads/{name}")), expected, "{pattern} {name}");
        }
    }
}
