//! What it takes to reach a GitLab.

use std::fmt;
use std::sync::Arc;

use scm_core::pipeline::{self, PipelineSettings};
use scm_core::{CredentialProvider, Result};
use url::Url;

/// Where GitLab's own service lives.
pub const GITLAB_COM: &str = "https://gitlab.com";

/// Settings of one GitLab connection.
///
/// ```
/// use std::sync::Arc;
/// use scm_core::StaticCredential;
/// use scm_gitlab::GitLabConfig;
///
/// let token = Arc::new(StaticCredential::token("glpat-example".into()));
/// let config = GitLabConfig::new("https://gitlab.company.com/gitlab", token)?;
/// assert_eq!(config.url().as_str(), "https://gitlab.company.com/gitlab/");
/// # Ok::<(), scm_core::Error>(())
/// ```
#[derive(Clone)]
pub struct GitLabConfig {
    url: Url,
    pub(crate) credentials: Arc<dyn CredentialProvider>,
    pub(crate) pipeline: PipelineSettings,
}

impl GitLabConfig {
    /// A connection to the server at `url`: its root, with a context path such as `/gitlab` where it has one.
    ///
    /// # Errors
    /// `Config` for a URL that cannot be a server's root: not http(s), with credentials, query or fragment, or the
    /// page of a project or group.
    pub fn new(url: &str, credentials: Arc<dyn CredentialProvider>) -> Result<Self> {
        Ok(Self { url: server_root(url)?, credentials, pipeline: PipelineSettings::default() })
    }

    /// The server's root, ending in `/`.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Sets how calls are made: retry, limits, deadline and the like.
    #[must_use]
    pub fn with_pipeline(mut self, settings: PipelineSettings) -> Self {
        self.pipeline = settings;
        self
    }
}

impl fmt::Debug for GitLabConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GitLabConfig").field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}

fn server_root(text: &str) -> Result<Url> {
    pipeline::server_root(text, "https://gitlab.company.com", root_of_page)
}

/// The root of a URL that cannot itself be one: a page of GitLab's, an API address, a clone URL.
fn root_of_page(url: &Url) -> Option<String> {
    let mut path = url.path().trim_end_matches('/');
    let origin = url.origin().ascii_serialization();
    if url.host_str() == Some("gitlab.com") && !path.is_empty() {
        return Some(origin);
    }
    let mut is_page = false;
    for mark in ["/-/", "/api/v4", "/api/v3", "/users/sign_in", "/groups/", "/dashboard", "/explore"] {
        if let Some(at) = format!("{path}/").find(&format!("{}/", mark.trim_end_matches('/'))) {
            path = &path[..at];
            is_page = true;
            if mark == "/-/" {
                // What stands before `/-/` is a project or group, as a rule without a context path.
                path = "";
            }
        }
    }
    if path.ends_with(".git") {
        (path, is_page) = ("", true);
    }
    is_page.then(|| format!("{origin}{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_are_taken_with_and_without_context_path() {
        for (text, root) in [
            ("https://gitlab.company.com", "https://gitlab.company.com/"),
            (" https://gitlab.company.com:8443/gitlab/ ", "https://gitlab.company.com:8443/gitlab/"),
            ("http://127.0.0.1:80", "http://127.0.0.1/"),
            ("https://[::1]:7990/a/b", "https://[::1]:7990/a/b/"),
            (GITLAB_COM, "https://gitlab.com/"),
        ] {
            assert_eq!(server_root(text).unwrap().as_str(), root);
        }
    }

    #[test]
    fn what_cannot_be_a_root_is_refused_with_the_root_named() {
        for (text, words) in [
            ("gitlab.company.com", "cannot be read"),
            ("ftp://gitlab.company.com", "https://"),
            ("https://me:s3cret@gitlab.company.com", "give a token"),
            ("https://gitlab.company.com?private_token=s3cret", "'?'"),
            ("https://gitlab.com/group/project", "https://gitlab.com"),
            ("https://gitlab.company.com/group/project/-/merge_requests", "root, https://gitlab.company.com"),
            ("https://gitlab.company.com/gitlab/api/v4", "root, https://gitlab.company.com/gitlab"),
            ("https://gitlab.company.com/group/project.git", "root, https://gitlab.company.com"),
        ] {
            let error = server_root(text).unwrap_err();
            assert_eq!(error.kind(), scm_core::ErrorKind::Config, "{text}");
            assert!(error.to_string().contains(words), "{text}: {error}");
            assert!(!format!("{error:?} {}", error.report()).contains("s3cret"), "{error}");
        }
    }
}
