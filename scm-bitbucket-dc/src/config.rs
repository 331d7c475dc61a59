//! What it takes to reach a Bitbucket Data Center.

use std::fmt;
use std::sync::Arc;

use scm_core::pipeline::{self, PipelineSettings};
use scm_core::{CredentialProvider, Error, NamespaceId, Result, UserName};
use url::Url;

/// Settings of one Bitbucket Data Center connection.
///
/// ```
/// use std::sync::Arc;
/// use scm_bitbucket_dc::BitbucketDcConfig;
/// use scm_core::StaticCredential;
///
/// let token = Arc::new(StaticCredential::token("BBDC-example".into()));
/// let config = BitbucketDcConfig::new("https://git.company.com/bitbucket", token)?
///     .with_username("svc-scm".parse()?)
///     .with_project_key("PROJ".parse()?)?;
/// assert_eq!(config.url().as_str(), "https://git.company.com/bitbucket/");
/// # Ok::<(), scm_core::Error>(())
/// ```
#[derive(Clone)]
pub struct BitbucketDcConfig {
    url: Url,
    pub(crate) credentials: Arc<dyn CredentialProvider>,
    pub(crate) username: Option<UserName>,
    pub(crate) project_key: Option<NamespaceId>,
    pub(crate) pipeline: PipelineSettings,
}

impl BitbucketDcConfig {
    /// A connection to the server at `url`: its root, with a context path such as `/bitbucket` where it has one.
    ///
    /// # Errors
    /// `Config` for a URL that cannot be a server's root: not http(s), with credentials, query or fragment, or the
    /// page of a project or repository.
    pub fn new(url: &str, credentials: Arc<dyn CredentialProvider>) -> Result<Self> {
        Ok(Self {
            url: server_root(url)?,
            credentials,
            username: None,
            project_key: None,
            pipeline: PipelineSettings::default(),
        })
    }

    /// The server's root, ending in `/`.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Sets the name of the user that the token is expected to belong to; a check of the connection compares it.
    #[must_use]
    pub fn with_username(mut self, username: UserName) -> Self {
        self.username = Some(username);
        self
    }

    /// Sets the project to work in: lists of repositories are of this one where the call names no other.
    ///
    /// # Errors
    /// `Config` for text that cannot be the key of a project.
    pub fn with_project_key(mut self, key: NamespaceId) -> Result<Self> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let name = key.as_str().strip_prefix('~').unwrap_or(key.as_str());
        if name.is_empty() || !name.chars().all(fits) {
            return Err(Error::config(format!(
                "'{key}' cannot be the key of a project: give what stands behind /projects/ in its address, such as \
                 PROJ, or ~user for a personal one"
            )));
        }
        self.project_key = Some(key);
        Ok(self)
    }

    /// Sets how calls are made: retry, limits, deadline and the like.
    #[must_use]
    pub fn with_pipeline(mut self, settings: PipelineSettings) -> Self {
        self.pipeline = settings;
        self
    }
}

impl fmt::Debug for BitbucketDcConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BitbucketDcConfig")
            .field("url", &self.url.as_str())
            .field("username", &self.username)
            .field("project_key", &self.project_key)
            .finish_non_exhaustive()
    }
}

fn server_root(text: &str) -> Result<Url> {
    pipeline::server_root(text, "https://bitbucket.company.com", root_of_page)
}

/// The root of a URL that cannot itself be one: a page of Bitbucket's, an API address, a clone URL.
fn root_of_page(url: &Url) -> Option<String> {
    const PAGES: [&str; 10] = [
        "/projects/",
        "/users/",
        "/scm/",
        "/rest/",
        "/dashboard/",
        "/login/",
        "/plugins/",
        "/repos/",
        "/profile/",
        "/admin/",
    ];
    let path = format!("{}/", url.path().trim_end_matches('/'));
    let root = &path[..PAGES.iter().filter_map(|page| path.find(page)).min()?];
    Some(format!("{}{root}", url.origin().ascii_serialization()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_are_taken_with_and_without_context_path() {
        for (text, root) in [
            ("https://bitbucket.company.com", "https://bitbucket.company.com/"),
            (" https://git.company.com:8443/bitbucket/ ", "https://git.company.com:8443/bitbucket/"),
            ("http://10.0.0.1:7990", "http://10.0.0.1:7990/"),
            ("https://[::1]:7990/a/b", "https://[::1]:7990/a/b/"),
        ] {
            assert_eq!(server_root(text).unwrap().as_str(), root);
        }
    }

    #[test]
    fn what_cannot_be_a_root_is_refused_with_the_root_named() {
        for (text, words) in [
            ("bitbucket.company.com", "cannot be read"),
            ("ssh://git@bitbucket.company.com:7999/proj/repo.git", "https://"),
            ("https://me:s3cret@bitbucket.company.com", "give a token"),
            ("https://h/projects/PROJ/repos/web/browse", "give the server's root, https://h"),
            ("https://h/bitbucket/users/jsmith/repos/x", "root, https://h/bitbucket"),
            ("https://h/bitbucket/scm/proj/web.git", "root, https://h/bitbucket"),
            ("https://h/rest/api/1.0", "root, https://h"),
            ("https://h/dashboard", "root, https://h"),
            ("https://h/?token=s3cret", "'?'"),
        ] {
            let error = server_root(text).unwrap_err();
            assert!(error.to_string().contains(words), "{text}: {error}");
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn keys_of_projects_are_checked() {
        let config = |key: &str| {
            let token = Arc::new(scm_core::StaticCredential::token("t".into()));
            BitbucketDcConfig::new("https://h", token).unwrap().with_project_key(key.parse().unwrap())
        };
        for key in ["PROJ", "~j.smith", "A_1-B"] {
            assert!(config(key).is_ok(), "{key}");
        }
        for key in ["PROJ/web", "~", "PRÖJ"] {
            assert!(config(key).unwrap_err().to_string().contains("/projects/"), "{key}");
        }
    }
}
