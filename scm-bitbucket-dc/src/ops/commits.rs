use async_trait::async_trait;
use http::Method;
use scm_core::pipeline::{ApiRequest, Operation};
use scm_core::{
    Commit, Commits, Compare, Comparison, Cursor, Delivery, Ensured, Error, ErrorKind, FileDiff, ListCommits,
    NewCommit, Page, Pages, RepoId, Result, Revision,
};

use crate::client::{BitbucketDc, page_size, reference, unsupported};
use crate::page::list_page;
use crate::wire::WireDiff;
use crate::{convert, diff};

/// Most pages of commits and of files that one comparison reads.
const COMPARED_PAGES: usize = 10;

#[async_trait]
impl Commits for BitbucketDc {
    async fn commit(&self, repo: &RepoId, at: &Revision) -> Result<Commit> {
        let operation = self.operation("commit");
        if let Revision::Commit(sha) = at {
            let request = self.repo_api(Method::GET, repo, &["commits", sha.as_str()])?;
            return operation.send(request).await?.read(convert::commit);
        }
        // One commit is asked for by its id alone; a name, by the list that begins there.
        let request = self
            .repo_api(Method::GET, repo, &["commits"])?
            .query_some("until", reference(&operation, at)?)
            .query("limit", 1);
        let page = list_page(&operation, request, None, convert::commit).await?;
        page.into_items()?.into_iter().next().ok_or_else(|| {
            let error = Error::new(ErrorKind::NotFound, format!("there is no commit at {at}"));
            operation.own(error.with_delivery(Delivery::Answered))
        })
    }

    async fn list_commits_page(
        &self,
        repo: &RepoId,
        opts: &ListCommits,
        at: Option<&Cursor>,
    ) -> Result<Page<Commit>> {
        let operation = self.operation("list_commits");
        if opts.since.is_some() || opts.until.is_some() || opts.author.is_some() {
            return Err(unsupported(
                "list_commits",
                "Bitbucket lists commits by range and path, not by time or author",
            ));
        }
        let from = opts.from.clone().unwrap_or(Revision::Head);
        let excluding = match &opts.excluding {
            Some(Revision::Head) => {
                self.default_branch_name("list_commits", repo).await?.map(|name| convert::full(&name))
            }
            Some(excluding) => reference(&operation, excluding)?,
            None => None,
        };
        let request = self
            .repo_api(Method::GET, repo, &["commits"])?
            .query_some("until", reference(&operation, &from)?)
            .query_some("since", excluding)
            .query_some("path", opts.path.as_ref())
            .query("limit", page_size(&operation, opts.page_size)?);
        match list_page(&operation, request, at, convert::commit).await {
            Err(error) => self.empty_page_for(repo, &from, error).await,
            page => page,
        }
    }

    async fn compare(
        &self,
        repo: &RepoId,
        from: &Revision,
        to: &Revision,
        opts: &Compare,
    ) -> Result<Comparison> {
        let operation = self.operation("compare");
        // Bitbucket's `from` has the new commits and its `to` is what they are compared with; where the two are in
        // different repositories, the one with the new commits is named.
        let base = opts.from_repository.as_ref().unwrap_or(repo);
        let new = self.revision_name(&operation, repo, to).await?;
        let old = self.revision_name(&operation, base, from).await?;
        let new_in = opts.from_repository.as_ref().map(|_| self.place(repo)).transpose()?;
        let new_in = new_in.map(|place| format!("{}/{}", place.key, place.slug));
        let between = |request: ApiRequest| {
            request.query("from", &new).query("to", &old).query_some("fromRepo", new_in.as_ref())
        };
        let commits = Pages::new(None, Some(COMPARED_PAGES), |at| {
            let request = self.repo_api(Method::GET, base, &["compare", "commits"]).map(between);
            let operation = &operation;
            async move {
                let request = request?.query("limit", page_size(operation, None)?);
                list_page(operation, request, at.as_ref(), convert::commit).await
            }
        });
        let mut out = Comparison::default();
        (out.commits, out.truncated) = bounded(commits).await?;
        if opts.direct == Some(true) {
            if new_in.is_some() {
                return Err(unsupported(
                    "compare",
                    "Bitbucket compares trees of two repositories with their merge base only",
                ));
            }
            let changes = Pages::new(None, Some(COMPARED_PAGES), |at| {
                let request = self.repo_api(Method::GET, repo, &["changes"]);
                let (operation, old, new) = (&operation, &old, &new);
                async move {
                    let request = request?.query("since", old).query("until", new);
                    let request = request.query("limit", page_size(operation, None)?);
                    list_page(operation, request, at.as_ref(), diff::change).await
                }
            });
            let (files, more) = bounded(changes).await?;
            (out.files, out.truncated) = (files, out.truncated || more);
            return Ok(out);
        }
        let request = between(self.repo_api(Method::GET, base, &["compare", "diff"])?);
        let wire: WireDiff = operation.send(request).await?.json()?;
        out.truncated |= wire.truncated == Some(true);
        out.files = wire.diffs.into_iter().map(diff::file).collect::<Result<_>>()?;
        Ok(out)
    }

    async fn list_commit_files_page(
        &self,
        repo: &RepoId,
        at: &Revision,
        cursor: Option<&Cursor>,
    ) -> Result<Page<FileDiff>> {
        let operation = self.operation("list_commit_files");
        let sha = match at {
            Revision::Commit(sha) => sha.clone(),
            at => self.commit(repo, at).await.map_err(|error| operation.own(error))?.sha,
        };
        let request = self
            .repo_api(Method::GET, repo, &["commits", sha.as_str(), "changes"])?
            .query("limit", page_size(&operation, None)?);
        list_page(&operation, request, cursor, diff::change).await
    }

    async fn create_commit(&self, repo: &RepoId, commit: &NewCommit) -> Result<Ensured<Commit>> {
        let operation = self.operation("create_commit");
        commit.validate().map_err(|error| operation.own(error))?;
        if commit.operation_id.is_some()
            && let Some(made) = self.written(repo, commit).await.map_err(|error| operation.own(error))?
        {
            return Ok(Ensured::unchanged(made));
        }
        self.commit_by_git(&operation, repo, commit).await
    }
}

impl BitbucketDc {
    /// The name of a revision where one must be given.
    async fn revision_name(&self, operation: &Operation, repo: &RepoId, at: &Revision) -> Result<String> {
        if let Some(name) = reference(operation, at)? {
            return Ok(name);
        }
        match self.default_branch_name(operation.name(), repo).await? {
            Some(name) => Ok(convert::full(&name)),
            None => {
                let empty = "the repository is empty: it has no default branch yet";
                Err(operation.own(Error::new(ErrorKind::NotFound, empty)))
            }
        }
    }
}

/// All items of up to so many pages, and whether there are more.
async fn bounded<T: Send + 'static>(pages: Pages<'_, T>) -> Result<(Vec<T>, bool)> {
    use futures_util::TryStreamExt as _;
    let (mut all, mut more) = (Vec::new(), false);
    let mut pages = std::pin::pin!(pages);
    while let Some(page) = pages.try_next().await? {
        more = page.next.is_some();
        all.extend(page.into_items()?);
    }
    Ok((all, more))
}
