use std::sync::Arc;

use async_trait::async_trait;
use scm_core::{Error, ErrorKind, GitAccess, GitRemote, RepoId, Repositories as _, Result};

use crate::client::GitLab;

#[async_trait]
impl GitAccess for GitLab {
    async fn git_remote(&self, repo: &RepoId) -> Result<GitRemote> {
        let repository = self.repository(repo).await?;
        // The server writes its external URL into `http_url_to_repo`; the route leads to the configured one.
        let mut url = self.pipeline.base().clone();
        url.path_segments_mut()
            .map_err(|()| Error::new(ErrorKind::Internal, "the server URL cannot hold a path"))?
            .pop_if_empty()
            .extend(format!("{}.git", repository.path).split('/'));
        // Any user name goes with an access token; this one goes with OAuth tokens too.
        Ok(GitRemote::new(url, "oauth2", Arc::clone(self.pipeline.credentials())))
    }
}
