//! Shortcuts: streams over lists, and calls that need no options.
//!
//! Every `list_*` stream is lazy, asks for a page when its first item is wanted, goes on over a bad item and ends after a
//! failed page. To stop and go on later, use the `list_*_page` methods and keep the cursor, or [`Pages`].

use std::future::Future;
use std::num::NonZeroUsize;

use futures_core::Stream;
use futures_util::{FutureExt as _, StreamExt as _, future, stream};

use crate::error::{ErrorKind, Result};
use crate::id::{BranchName, FilePath, JobId, PipelineId, PullRequestId, RepoId, Revision, Sha};
use crate::model::{
    Branch, ByteStream, Check, Comment, Commit, FileDiff, Job, Namespace, Pipeline, PullRequest, Repository,
    Tag, TreeEntry, Webhook,
};
use crate::ops::{
    Branches, Checks, CiLogs, Comments, Commits, Contents, JobLog, ListBranches, ListComments, ListCommits,
    ListNamespaces, ListPipelines, ListPullRequests, ListRepositories, ListTags, ListTree, PullRequests,
    Repositories, Webhooks,
};
use crate::page::Pages;

/// The stream of one list: `owned` copies live as long as the stream; each page borrows them for its call.
macro_rules! stream {
    ($this:ident . $method:ident ( $($arg:ident),* )) => {{
        $(let $arg = $arg.clone();)*
        Pages::new(None, None, move |at| {
            $(let $arg = $arg.clone();)*
            async move { $this.$method($(&$arg,)* at.as_ref()).await }
        })
        .items(None)
    }};
}

/// Shortcuts for [`Repositories`].
pub trait RepositoriesExt: Repositories {
    /// All repositories that the options name.
    fn list_repositories(
        &self,
        opts: ListRepositories,
    ) -> impl Stream<Item = Result<Repository>> + Send + use<'_, Self> {
        stream!(self.list_repositories_page(opts))
    }

    /// All repositories that the options name, read in up to `parts` listings at the same time: faster, in no order.
    /// An error of a listing ends that listing only; the others go on. Those that nobody polls hold their turns at the
    /// server meanwhile, so that whoever works on each item by calls to it takes the items in a task of their own.
    fn list_repositories_in_parts(
        &self,
        opts: ListRepositories,
        parts: NonZeroUsize,
    ) -> impl Stream<Item = Result<Repository>> + Send + use<'_, Self> {
        let cut = async move {
            match self.partition_repositories(&opts, parts).await {
                Ok(parts) => {
                    let lists = parts.into_iter().map(|part| self.list_repositories(part).boxed());
                    stream::select_all(lists).left_stream()
                }
                Err(error) => stream::once(future::ready(Err(error))).right_stream(),
            }
        };
        cut.flatten_stream()
    }

    /// All namespaces that the options name.
    fn list_namespaces(
        &self,
        opts: ListNamespaces,
    ) -> impl Stream<Item = Result<Namespace>> + Send + use<'_, Self> {
        stream!(self.list_namespaces_page(opts))
    }
}

impl<T: Repositories + ?Sized> RepositoriesExt for T {}

/// Shortcuts for [`Contents`].
pub trait ContentsExt: Contents {
    /// The whole tree that the options name.
    fn list_tree(
        &self,
        repo: &RepoId,
        at: &Revision,
        opts: ListTree,
    ) -> impl Stream<Item = Result<TreeEntry>> + Send + use<'_, Self> {
        let (repo, revision) = (repo.clone(), at.clone());
        stream!(self.list_tree_page(repo, revision, opts))
    }

    /// The text of a file.
    fn text(
        &self,
        repo: &RepoId,
        at: &Revision,
        path: &FilePath,
    ) -> impl Future<Output = Result<String>> + Send {
        async move { self.file(repo, at, path).await?.text().map(str::to_owned) }
    }
}

impl<T: Contents + ?Sized> ContentsExt for T {}

/// Shortcuts for [`Branches`].
pub trait BranchesExt: Branches {
    /// All branches that the options name.
    fn list_branches(
        &self,
        repo: &RepoId,
        opts: ListBranches,
    ) -> impl Stream<Item = Result<Branch>> + Send + use<'_, Self> {
        let repo = repo.clone();
        stream!(self.list_branches_page(repo, opts))
    }

    /// All tags that the options name.
    fn list_tags(
        &self,
        repo: &RepoId,
        opts: ListTags,
    ) -> impl Stream<Item = Result<Tag>> + Send + use<'_, Self> {
        let repo = repo.clone();
        stream!(self.list_tags_page(repo, opts))
    }

    /// Is there a branch of this name?
    fn branch_exists(&self, repo: &RepoId, name: &BranchName) -> impl Future<Output = Result<bool>> + Send {
        async move {
            match self.branch(repo, name).await {
                Ok(_) => Ok(true),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
                Err(error) => Err(error),
            }
        }
    }
}

impl<T: Branches + ?Sized> BranchesExt for T {}

/// Shortcuts for [`Commits`].
pub trait CommitsExt: Commits {
    /// The log that the options name, newest first.
    fn list_commits(
        &self,
        repo: &RepoId,
        opts: ListCommits,
    ) -> impl Stream<Item = Result<Commit>> + Send + use<'_, Self> {
        let repo = repo.clone();
        stream!(self.list_commits_page(repo, opts))
    }

    /// All files that a commit changed.
    fn list_commit_files(
        &self,
        repo: &RepoId,
        at: &Revision,
    ) -> impl Stream<Item = Result<FileDiff>> + Send + use<'_, Self> {
        let (repo, revision) = (repo.clone(), at.clone());
        stream!(self.list_commit_files_page(repo, revision))
    }
}

impl<T: Commits + ?Sized> CommitsExt for T {}

/// Shortcuts for [`PullRequests`].
pub trait PullRequestsExt: PullRequests {
    /// All pull requests that the options name, newest first.
    fn list_pull_requests(
        &self,
        repo: &RepoId,
        opts: ListPullRequests,
    ) -> impl Stream<Item = Result<PullRequest>> + Send + use<'_, Self> {
        let repo = repo.clone();
        stream!(self.list_pull_requests_page(repo, opts))
    }

    /// All files that a pull request changes.
    fn list_pull_request_files(
        &self,
        repo: &RepoId,
        id: PullRequestId,
    ) -> impl Stream<Item = Result<FileDiff>> + Send + use<'_, Self> {
        let repo = repo.clone();
        Pages::new(None, None, move |at| {
            let repo = repo.clone();
            async move { self.list_pull_request_files_page(&repo, id, at.as_ref()).await }
        })
        .items(None)
    }
}

impl<T: PullRequests + ?Sized> PullRequestsExt for T {}

/// Shortcuts for [`Comments`].
pub trait CommentsExt: Comments {
    /// All comments that the options name, oldest first.
    fn list_comments(
        &self,
        repo: &RepoId,
        id: PullRequestId,
        opts: ListComments,
    ) -> impl Stream<Item = Result<Comment>> + Send + use<'_, Self> {
        let repo = repo.clone();
        Pages::new(None, None, move |at| {
            let (repo, opts) = (repo.clone(), opts.clone());
            async move { self.list_comments_page(&repo, id, &opts, at.as_ref()).await }
        })
        .items(None)
    }
}

impl<T: Comments + ?Sized> CommentsExt for T {}

/// Shortcuts for [`Checks`].
pub trait ChecksExt: Checks {
    /// All checks on a commit.
    fn list_checks(
        &self,
        repo: &RepoId,
        sha: &Sha,
    ) -> impl Stream<Item = Result<Check>> + Send + use<'_, Self> {
        let (repo, sha) = (repo.clone(), sha.clone());
        stream!(self.list_checks_page(repo, sha))
    }

    /// All pipelines that the options name, newest first.
    fn list_pipelines(
        &self,
        repo: &RepoId,
        opts: ListPipelines,
    ) -> impl Stream<Item = Result<Pipeline>> + Send + use<'_, Self> {
        let repo = repo.clone();
        stream!(self.list_pipelines_page(repo, opts))
    }

    /// All jobs of a pipeline.
    fn list_jobs(
        &self,
        repo: &RepoId,
        pipeline: &PipelineId,
    ) -> impl Stream<Item = Result<Job>> + Send + use<'_, Self> {
        let (repo, pipeline) = (repo.clone(), pipeline.clone());
        stream!(self.list_jobs_page(repo, pipeline))
    }
}

impl<T: Checks + ?Sized> ChecksExt for T {}

/// Shortcuts for [`CiLogs`].
pub trait CiLogsExt: CiLogs {
    /// The last `bytes` of a log, read as text; a character cut in two is dropped. Holds no more than that in memory.
    fn job_log_tail(
        &self,
        repo: &RepoId,
        job: &JobId,
        bytes: usize,
    ) -> impl Future<Output = Result<String>> + Send {
        async move {
            let log = self.job_log(repo, job, &JobLog::default()).await?;
            tail(log, bytes).await
        }
    }
}

impl<T: CiLogs + ?Sized> CiLogsExt for T {}

async fn tail(mut log: ByteStream, bytes: usize) -> Result<String> {
    let mut end = std::collections::VecDeque::<u8>::new();
    while let Some(chunk) = log.next().await.transpose()? {
        let chunk = &chunk[chunk.len().saturating_sub(bytes)..];
        let excess = (end.len() + chunk.len()).saturating_sub(bytes);
        end.drain(..excess);
        end.extend(chunk);
    }
    let end = Vec::from(end);
    // Continuation bytes at the start belong to a character that was cut.
    let start = end.iter().take(4).take_while(|byte| (**byte & 0xc0) == 0x80).count();
    Ok(String::from_utf8_lossy(&end[start..]).into_owned())
}

/// Shortcuts for [`Webhooks`].
pub trait WebhooksExt: Webhooks {
    /// All webhooks of a repository.
    fn list_webhooks(&self, repo: &RepoId) -> impl Stream<Item = Result<Webhook>> + Send + use<'_, Self> {
        let repo = repo.clone();
        stream!(self.list_webhooks_page(repo))
    }
}

impl<T: Webhooks + ?Sized> WebhooksExt for T {}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::transport::Body;

    #[tokio::test]
    async fn a_tail_holds_the_end_and_no_broken_character() {
        let parts = ["first line\n", "zweite Zeile: ä", "ö\n"];
        let stream = futures_util::stream::iter(parts.map(|part| Ok(Bytes::from_static(part.as_bytes()))));
        let log = ByteStream::new(Body::stream(stream, None));
        assert_eq!(tail(log, 4).await.unwrap(), "ö\n");
        let whole = ByteStream::new(Body::from(Bytes::from_static(b"short")));
        assert_eq!(tail(whole, 100).await.unwrap(), "short");
    }
}
