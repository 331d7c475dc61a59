//! Commits, which Bitbucket has no call for: they go by git.

use http::header::HeaderName;
use scm_core::pipeline::Operation;
use scm_core::{
    Commit, CommitBase, Commits as _, Delivery, Ensured, Error, ErrorKind, FileChange, ListCommits,
    NewCommit, Person, RepoId, Result, Revision,
};
use scm_git::GitServer;

use crate::client::{BitbucketDc, PROVIDER};

/// The git of a Bitbucket server.
pub(crate) fn git_server() -> GitServer {
    GitServer::new(PROVIDER, HeaderName::from_static("x-arequestid"))
}

impl BitbucketDc {
    /// Makes a commit by git. Guards of single files are compared at the parent first: what holds there holds at the
    /// push, which takes no other parent.
    pub(crate) async fn commit_by_git(
        &self,
        operation: &Operation,
        repo: &RepoId,
        commit: &NewCommit,
    ) -> Result<Ensured<Commit>> {
        let remote = self.remote(repo).map_err(|error| operation.own(error))?;
        let mut commit = commit.clone();
        self.hold_guards(operation, repo, &mut commit).await?;
        let committer = self.committer().await.map_err(|error| operation.own(error))?;
        match self.git.repository(&self.pipeline, &remote)?.create_commit(&commit, &committer).await {
            Ok(made) => Ok(Ensured::created(made)),
            // Perhaps moved there by an earlier call with the same id.
            Err(error) if error.kind() == ErrorKind::Conflict && commit.operation_id.is_some() => {
                self.written(repo, &commit).await?.map(Ensured::unchanged).ok_or(error)
            }
            Err(error) => Err(error),
        }
    }

    /// Compares the last commits of guarded files, and takes the guards out. They hold at one commit, so that this
    /// becomes the expected head.
    async fn hold_guards(&self, operation: &Operation, repo: &RepoId, commit: &mut NewCommit) -> Result<()> {
        let guards: Vec<_> = commit.changes.iter_mut().filter_map(FileChange::take_last_commit).collect();
        if guards.is_empty() {
            return Ok(());
        }
        let head = match &commit.base {
            CommitBase::Existing { expected_head: Some(head) } | CommitBase::NewBranch { start: head } => {
                head.clone()
            }
            _ => {
                let tip = Revision::Branch(commit.branch.clone());
                let head = self.commit(repo, &tip).await.map_err(|error| operation.own(error))?.sha;
                commit.base = CommitBase::Existing { expected_head: Some(head.clone()) };
                head
            }
        };
        for (path, guard) in guards {
            let opts = ListCommits::default()
                .with_from(Revision::Commit(head.clone()))
                .with_path(path.clone())
                .with_page_size(1);
            let last =
                self.list_commits_page(repo, &opts, None).await.map_err(|error| operation.own(error))?;
            if last.into_items()?.first().map(|seen| &seen.sha) != Some(&guard) {
                let error =
                    Error::new(ErrorKind::PreconditionFailed, format!("'{path}' has changed since {guard}"));
                return Err(operation.own(error.with_delivery(Delivery::Answered)));
            }
        }
        Ok(())
    }

    /// Looks for the commit on its branch by its operation id.
    pub(crate) async fn written(&self, repo: &RepoId, commit: &NewCommit) -> Result<Option<Commit>> {
        let opts =
            ListCommits::default().with_from(Revision::Branch(commit.branch.clone())).with_page_size(20);
        match self.list_commits_page(repo, &opts, None).await {
            Ok(page) => Ok(page.into_items()?.into_iter().find(|found| commit.is_operation_of(found))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The token's user.
    async fn committer(&self) -> Result<Person> {
        self.known_identity().await?.committer(self.pipeline.base().host_str().unwrap_or("localhost"))
    }
}
