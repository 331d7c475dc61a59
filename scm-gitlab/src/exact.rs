//! What GitLab's API does less exactly than asked, and git does not: commits on an expected head, signed commits, and
//! deleting a branch where it was seen.

use http::header::HeaderName;
use scm_core::pipeline::Operation;
use scm_core::{
    BranchName, Commit, CommitBase, Connection as _, Contents as _, Delivery, Ensured, Error, ErrorKind,
    GitAccess as _, NewCommit, Person, RepoId, Result, Revision, Sha,
};
use scm_git::{GitRepository, GitServer};

use crate::client::{GitLab, PROVIDER};

/// The git of a GitLab server.
pub(crate) fn git_server() -> GitServer {
    GitServer::new(PROVIDER, HeaderName::from_static("x-request-id"))
}

/// Must this commit go by git?
pub(crate) fn needs_git(commit: &NewCommit) -> bool {
    commit.signer.is_some() || matches!(commit.base, CommitBase::Existing { expected_head: Some(_) })
}

impl GitLab {
    /// Makes a commit by git. Guards of single files are compared at the parent first: what holds there holds at the
    /// push, which takes no other parent.
    pub(crate) async fn commit_by_git(
        &self,
        operation: &Operation,
        repo: &RepoId,
        commit: &NewCommit,
    ) -> Result<Ensured<Commit>> {
        let mut commit = commit.clone();
        let at = match &commit.base {
            CommitBase::Existing { expected_head: Some(head) } | CommitBase::NewBranch { start: head } => {
                Revision::Commit(head.clone())
            }
            _ => Revision::Branch(commit.branch.clone()),
        };
        for change in &mut commit.changes {
            if let Some((path, guard)) = change.take_last_commit() {
                let seen =
                    self.file(repo, &at, &path).await.map_err(|error| operation.own(error))?.last_commit;
                if seen.as_ref() != Some(&guard) {
                    let message = format!("'{path}' has changed since {guard}");
                    let error = Error::new(ErrorKind::PreconditionFailed, message);
                    return Err(operation.own(error.with_delivery(Delivery::Answered)));
                }
            }
        }
        let committer = self.committer().await.map_err(|error| operation.own(error))?;
        match self.git_repository(repo).await?.create_commit(&commit, &committer).await {
            Ok(made) => Ok(Ensured::created(made)),
            // Perhaps moved there by an earlier call with the same id.
            Err(error) if error.kind() == ErrorKind::Conflict && commit.operation_id.is_some() => {
                self.written(repo, &commit).await?.map(Ensured::unchanged).ok_or(error)
            }
            Err(error) => Err(error),
        }
    }

    /// Deletes a branch by git, only while it points to `expected`.
    pub(crate) async fn delete_by_git(&self, repo: &RepoId, name: &BranchName, expected: &Sha) -> Result<()> {
        self.git_repository(repo).await?.delete_branch(name, expected).await
    }

    async fn git_repository(&self, repo: &RepoId) -> Result<GitRepository> {
        self.git.repository(&self.pipeline, &self.git_remote(repo).await?)
    }

    /// The token's user.
    async fn committer(&self) -> Result<Person> {
        self.identity().await?.committer(self.pipeline.base().host_str().unwrap_or("localhost"))
    }
}
