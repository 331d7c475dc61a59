use std::fmt::Debug;

use async_trait::async_trait;

use crate::error::Result;
use crate::id::RepoId;
use crate::model::GitRemote;

/// What git itself needs to reach a repository.
#[async_trait]
pub trait GitAccess: Debug + Send + Sync + 'static {
    /// URL and credential source for git over HTTP. The URL stands under the configured origin, whatever external URL
    /// the server gives itself.
    ///
    /// GitLab: `http_url_to_repo` of `GET /projects/:id`. Bitbucket: `links.clone`. Idempotent.
    ///
    /// # Errors
    /// `NotFound` for the repository; `Unsupported` where git over HTTP is switched off.
    async fn git_remote(&self, repo: &RepoId) -> Result<GitRemote>;
}
