use std::fmt;
use std::sync::Arc;

use url::Url;

use crate::credential::CredentialProvider;

/// What git needs to reach a repository: the URL, and who gives the credential. Holds no secret itself.
#[derive(Clone)]
#[non_exhaustive]
pub struct GitRemote {
    /// URL for git over HTTP, under the configured origin.
    pub url: Url,
    /// User name that goes with a token as the password of Basic authentication.
    pub token_username: &'static str,
    /// Where the credential comes from.
    pub credentials: Arc<dyn CredentialProvider>,
}

impl GitRemote {
    /// A remote.
    #[must_use]
    pub fn new(url: Url, token_username: &'static str, credentials: Arc<dyn CredentialProvider>) -> Self {
        Self { url, token_username, credentials }
    }
}

impl fmt::Debug for GitRemote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GitRemote").field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}
