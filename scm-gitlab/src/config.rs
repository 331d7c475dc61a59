//! What it takes to reach a GitLab.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use scm_core::pipeline::{Limits, RetryPolicy};
use scm_core::{Clock, CredentialProvider, Error, Result};
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
    pub(crate) retry: Option<RetryPolicy>,
    pub(crate) limits: Option<Limits>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) max_body: Option<usize>,
    pub(crate) clock: Option<Arc<dyn Clock>>,
}

impl GitLabConfig {
    /// A connection to the server at `url`: its root, with a context path such as `/gitlab` where it has one.
    ///
    /// # Errors
    /// `Config` for a URL that cannot be a server's root: not http(s), with credentials, query or fragment, or the
    /// page of a project or group.
    pub fn new(url: &str, credentials: Arc<dyn CredentialProvider>) -> Result<Self> {
        Ok(Self {
            url: server_root(url)?,
            credentials,
            retry: None,
            limits: None,
            deadline: None,
            max_body: None,
            clock: None,
        })
    }

    /// The server's root, ending in `/`.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Sets how often and when a call is repeated.
    #[must_use]
    pub fn with_retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = Some(retry);
        self
    }

    /// Sets how many requests run at the same time.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// Sets the longest time for one operation, where the call says nothing.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Sets the largest answer that is held in memory, in bytes. Byte streams are not bound by it.
    #[must_use]
    pub fn with_max_body(mut self, bytes: usize) -> Self {
        self.max_body = Some(bytes);
        self
    }

    /// Replaces the clock, for tests.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }
}

impl fmt::Debug for GitLabConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GitLabConfig").field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}

/// Checks what can be told without asking the server. Nothing of a refused URL is shown but its host: the rest may be
/// a secret.
fn server_root(text: &str) -> Result<Url> {
    let mut url = Url::parse(text.trim()).map_err(|error| {
        Error::config(format!(
            "the server URL cannot be read ({error}); give it as https://gitlab.company.com"
        ))
    })?;
    let Some(host) = url.host_str().filter(|_| matches!(url.scheme(), "http" | "https")).map(str::to_owned)
    else {
        return Err(Error::config("the server URL must start with https:// or http:// and name a host"));
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::config(format!(
            "the server URL for {host} holds a user name or password; leave them out and give a token"
        )));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(Error::config(format!(
            "the server URL for {host} has a '?' or '#' part; give the server's root alone"
        )));
    }
    if let Some(root) = root_of_page(&url) {
        return Err(Error::config(format!(
            "the server URL names a page inside GitLab; give the server's root, {root}"
        ))
        .with_server_code("url.not_root"));
    }
    let path = format!("{}/", url.path().trim_end_matches('/'));
    url.set_path(&path);
    Ok(url)
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
