use std::sync::Arc;

use async_trait::async_trait;
use scm_core::{Error, ErrorKind, GitAccess, GitRemote, RepoId, Repositories as _, Result};

use crate::client::{BitbucketDc, Place};

#[async_trait]
impl GitAccess for BitbucketDc {
    async fn git_remote(&self, repo: &RepoId) -> Result<GitRemote> {
        self.repository(repo).await?;
        self.remote(repo)
    }
}

impl BitbucketDc {
    /// Where git finds a repository. The server writes its external URL into the links; the route leads to the
    /// configured one.
    pub(crate) fn remote(&self, repo: &RepoId) -> Result<GitRemote> {
        let Place { key, slug } = self.place(repo)?;
        let mut url = self.pipeline.base().clone();
        url.path_segments_mut()
            .map_err(|()| Error::new(ErrorKind::Internal, "the server URL cannot hold a path"))?
            .pop_if_empty()
            .extend(["scm", &key.to_lowercase(), &format!("{slug}.git")]);
        // Tokens of users, projects and repositories alike are taken with this name.
        Ok(GitRemote::new(url, "x-token-auth", Arc::clone(self.pipeline.credentials())))
    }
}
