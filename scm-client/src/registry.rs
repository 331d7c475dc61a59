//! From configuration to connection.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use scm_core::{
    Credential, CredentialProvider, Error, FileCredential, Result, Route, Scm, StaticCredential, Transport,
};

use crate::config::ConnectionConfig;
use crate::route::transport_of;
use crate::source::{Source, TokenSource, Variables};

/// Makes the client of one provider.
pub type Factory =
    dyn Fn(&ConnectionConfig, Transport, Arc<dyn CredentialProvider>) -> Result<Arc<dyn Scm>> + Send + Sync;

/// The providers that a configuration can name.
///
/// ```
/// use scm_client::Registry;
///
/// // With the provider of your own beside the built-in ones.
/// let mut registry = Registry::new();
/// registry.register("forge", |_config, _transport, _credentials| {
///     Err(scm_core::Error::config("not here yet"))
/// });
/// ```
pub struct Registry {
    factories: BTreeMap<String, Box<Factory>>,
}

impl Registry {
    /// The providers that are compiled in.
    #[must_use]
    pub fn new() -> Self {
        let registry = Self { factories: BTreeMap::new() };
        #[cfg(feature = "gitlab")]
        let registry = registry.with_gitlab();
        #[cfg(feature = "bitbucket-dc")]
        let registry = registry.with_bitbucket_dc();
        registry
    }

    #[cfg(feature = "gitlab")]
    fn with_gitlab(mut self) -> Self {
        self.register("gitlab", |config, transport, credentials| {
            if config.username.is_some() || config.project_key.is_some() {
                return Err(Error::config("username and project_key are for bitbucket-dc; take them out"));
            }
            let url = config.url.as_deref().unwrap_or(scm_gitlab::GITLAB_COM);
            let settings = scm_gitlab::GitLabConfig::new(url, credentials)?;
            Ok(Arc::new(scm_gitlab::GitLab::new(settings, transport)?))
        });
        self
    }

    #[cfg(feature = "bitbucket-dc")]
    fn with_bitbucket_dc(mut self) -> Self {
        self.register("bitbucket-dc", |config, transport, credentials| {
            let url = config.url.as_deref();
            let url = url.ok_or_else(|| {
                Error::config(
                    "the url is missing; give the server's root, such as https://bitbucket.company.com",
                )
            })?;
            let mut settings = scm_bitbucket_dc::BitbucketDcConfig::new(url, credentials)?;
            let named = |what: &str, error: Error| Error::config(format!("{what}: {}", error.message()));
            if let Some(username) = &config.username {
                let username = username.parse().map_err(|error| named("username", error))?;
                settings = settings.with_username(username);
            }
            if let Some(key) = &config.project_key {
                let key = key.parse().map_err(|error| named("project_key", error))?;
                settings = settings.with_project_key(key).map_err(|error| named("project_key", error))?;
            }
            Ok(Arc::new(scm_bitbucket_dc::BitbucketDc::new(settings, transport)?))
        });
        self
    }

    /// Adds a provider, or replaces one.
    pub fn register<F>(&mut self, name: impl Into<String>, factory: F)
    where
        F: Fn(&ConnectionConfig, Transport, Arc<dyn CredentialProvider>) -> Result<Arc<dyn Scm>>
            + Send
            + Sync
            + 'static,
    {
        self.factories.insert(name.into(), Box::new(factory));
    }

    /// Makes the client of a connection. Files are read and everything is checked; nothing is sent.
    ///
    /// # Errors
    /// `Config`, naming the connection, the setting and what to do.
    pub fn connect(&self, config: &ConnectionConfig, vars: Variables<'_>) -> Result<Arc<dyn Scm>> {
        self.make(config, vars).map_err(|error| {
            let named = Error::config(format!("connection '{}': {}", config.name, error.message()));
            match error.server_code() {
                Some(code) => named.with_server_code(code),
                None => named,
            }
        })
    }

    fn make(&self, config: &ConnectionConfig, vars: Variables<'_>) -> Result<Arc<dyn Scm>> {
        let Some(factory) = self.factories.get(&config.provider) else {
            let known: Vec<_> = self.factories.keys().map(String::as_str).collect();
            let hint = match config.provider.as_str() {
                name @ ("bitbucket-dc" | "gitlab") => {
                    format!("is not compiled in; turn on the feature '{name}' of scm-client")
                }
                _ => format!("is not known; known are: {}", known.join(", ")),
            };
            return Err(Error::config(format!("the provider '{}' {hint}", config.provider)));
        };
        let transport = transport_of(config, vars)?;
        let credentials = credentials(config, vars)?;
        factory(config, transport, credentials)
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.factories.keys()).finish()
    }
}

/// Makes the client of a connection, with the providers that are compiled in. `vars` looks up the variables that the
/// configuration names: programs pass `&|name| std::env::var(name).ok()`.
///
/// # Errors
/// Those of [`Registry::connect`].
pub fn connect(config: &ConnectionConfig, vars: Variables<'_>) -> Result<Arc<dyn Scm>> {
    Registry::new().connect(config, vars)
}

fn credentials(config: &ConnectionConfig, vars: Variables<'_>) -> Result<Arc<dyn CredentialProvider>> {
    match &config.token {
        // The agent puts it on each request.
        TokenSource::Agent if config.route == Route::Agent => {
            Ok(Arc::new(StaticCredential::new(Credential::HeldByAgent)))
        }
        TokenSource::Agent => {
            Err(Error::config("token = \"agent\" goes with the route 'agent'; give a token here"))
        }
        // Read anew for each try, so that a rotated token takes effect.
        TokenSource::Here(Source::File(path)) => Ok(Arc::new(
            FileCredential::new(config.dir.join(path))
                .map_err(|error| Error::config(format!("token: {}", error.message())))?,
        )),
        TokenSource::Here(source) => {
            let token = source.secret("token", &config.dir, vars)?;
            Ok(Arc::new(StaticCredential::new(Credential::Token(token))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    fn try_connect(body: &str) -> Result<Arc<dyn Scm>> {
        let text = format!("[[connection]]\nname = \"acme\"\n{body}");
        let config = Config::from_toml(&text, "/nonexistent")?;
        connect(&config.connections[0], &|name| (name == "GOOD").then(|| "glpat-s3cret".to_owned()))
    }

    #[test]
    fn a_good_configuration_connects_without_a_request() {
        let scm = try_connect("provider = \"gitlab\"\ntoken = { env = \"GOOD\" }").unwrap();
        assert_eq!(scm.provider(), "gitlab");
        assert!(format!("{scm:?}").contains("https://gitlab.com/"));
        assert!(!format!("{scm:?}").contains("s3cret"));
        let scm = try_connect(
            "provider = \"bitbucket-dc\"\nurl = \"https://git.company.com/bitbucket\"\nusername = \"svc-scm\"\n\
             project_key = \"PROJ\"\ntoken = { env = \"GOOD\" }",
        )
        .unwrap();
        assert_eq!(scm.provider(), "bitbucket-dc");
        assert!(!format!("{scm:?}").contains("s3cret"));
    }

    #[test]
    fn the_route_proxy_takes_its_settings() {
        let scm = try_connect(
            "provider = \"gitlab\"\ntoken = { env = \"GOOD\" }\nroute = \"proxy\"\nnetwork = { https_proxy = \
             \"http://svc:s3cret@p:3128\", no_proxy = \".svc\", proxy_loopback = true }",
        )
        .unwrap();
        assert!(!format!("{scm:?}").contains("s3cret"));
    }

    const AGENT: &str = "agent = { hub = \"https://hub.test\", name = \"acme\", key = { env = \"GOOD\" } }";

    #[test]
    fn the_route_agent_takes_its_settings() {
        for token in ["{ env = \"GOOD\" }", "\"agent\""] {
            let scm =
                try_connect(&format!("provider = \"gitlab\"\ntoken = {token}\nroute = \"agent\"\n{AGENT}"))
                    .unwrap();
            assert!(!format!("{scm:?}").contains("s3cret"));
        }
    }

    #[test]
    fn what_cannot_be_is_named_with_its_connection() {
        let token = "token = { value = \"glpat-s3cret\" }";
        for (body, words) in [
            ("provider = \"gitlab\"\ntoken = { file = \"gone.token\" }".to_owned(), "gone.token"),
            ("provider = \"gitlab\"\ntoken = { env = \"UNSET\" }".to_owned(), "variable UNSET is not set"),
            ("provider = \"gitlab\"\ntoken = { value = \" \" }".to_owned(), "empty"),
            ("provider = \"gitlab\"\ntoken = \"agent\"".to_owned(), "route 'agent'"),
            (format!("provider = \"gitea\"\n{token}"), "known are: bitbucket-dc, gitlab"),
            (format!("provider = \"bitbucket-dc\"\n{token}"), "the url is missing"),
            (
                format!("provider = \"bitbucket-dc\"\nurl = \"https://h/projects/X\"\n{token}"),
                "root, https://h",
            ),
            (
                format!("provider = \"bitbucket-dc\"\nurl = \"https://h\"\nproject_key = \"A/b\"\n{token}"),
                "project_key: ",
            ),
            (
                format!("provider = \"bitbucket-dc\"\nurl = \"https://h\"\nusername = \"a b\"\n{token}"),
                "username: ",
            ),
            (format!("provider = \"gitlab\"\nproject_key = \"A\"\n{token}"), "for bitbucket-dc"),
            (format!("provider = \"gitlab\"\nroute = \"agent\"\n{token}"), "needs the table agent"),
            (format!("provider = \"gitlab\"\n{AGENT}\n{token}"), "does nothing on the route 'direct'"),
            (
                format!(
                    "provider = \"gitlab\"\nroute = \"agent\"\n{}\n{token}",
                    AGENT.replace("https", "http")
                ),
                "agent: the hub's URL is http://",
            ),
            (
                format!(
                    "provider = \"gitlab\"\nroute = \"agent\"\n{}\n{token}",
                    AGENT.replace("GOOD", "UNSET")
                ),
                "agent.key: the variable UNSET is not set",
            ),
            (
                format!(
                    "provider = \"gitlab\"\nroute = \"agent\"\n{}\n{token}",
                    AGENT.replace("acme", "a/b")
                ),
                "the name of an agent has letters",
            ),
            (
                format!(
                    "provider = \"gitlab\"\nroute = \"agent\"\n{AGENT}\nnetwork = {{ http_proxy = \"http://p:3128\" }}\n{token}"
                ),
                "the route 'agent' needs network.https_proxy",
            ),
            (format!("provider = \"gitlab\"\nroute = \"proxy\"\n{token}"), "needs network.https_proxy"),
            (
                format!(
                    "provider = \"gitlab\"\nroute = \"proxy\"\nnetwork = {{ http_proxy = \"http://p:3128\" }}\n{token}"
                ),
                "needs network.https_proxy, the proxy for https:// servers",
            ),
            (
                format!(
                    "provider = \"gitlab\"\nurl = \"HTTP://git.test\"\nroute = \"proxy\"\nnetwork = {{ https_proxy = \
                     \"http://p:3128\" }}\n{token}"
                ),
                "needs network.http_proxy, the proxy for http:// servers",
            ),
            (
                format!(
                    "provider = \"gitlab\"\nroute = \"proxy\"\nnetwork = {{ proxy_from_env = true }}\n{token}"
                ),
                "neither https_proxy nor all_proxy is set",
            ),
            (
                format!(
                    "provider = \"gitlab\"\nroute = \"proxy\"\nnetwork = {{ proxy_from_env = true, no_proxy = \"x\" }}\n{token}"
                ),
                "give either it, or",
            ),
            (
                format!(
                    "provider = \"gitlab\"\nroute = \"proxy\"\nnetwork = {{ https_proxy = \"u:s3cret@p:3128\" }}\n{token}"
                ),
                "network.https_proxy: a proxy's URL begins with http://",
            ),
            (
                format!(
                    "provider = \"gitlab\"\nroute = \"proxy\"\nnetwork = {{ https_proxy = {{ env = \"UNSET\" }} }}\n{token}"
                ),
                "network.https_proxy: the variable UNSET is not set",
            ),
            (format!("provider = \"gitlab\"\nnetwork = {{ no_proxy = \"x\" }}\n{token}"), "proxy settings"),
            (
                format!("provider = \"gitlab\"\nnetwork = {{ ca = {{ file = \"gone.pem\" }} }}\n{token}"),
                "gone.pem",
            ),
            (
                format!("provider = \"gitlab\"\nnetwork = {{ ca = {{ value = \"junk\" }} }}\n{token}"),
                "network.ca",
            ),
            (format!("provider = \"gitlab\"\nnetwork = {{ ca_only = true }}\n{token}"), "needs network.ca"),
            (format!("provider = \"gitlab\"\nnetwork = {{ client_cert = \"x\" }}\n{token}"), "go together"),
            (
                format!("provider = \"gitlab\"\nnetwork = {{ read_timeout_s = 0 }}\n{token}"),
                "network.read_timeout_s is 0",
            ),
            (format!("provider = \"gitlab\"\nurl = \"https://gitlab.com/group/project\"\n{token}"), "root"),
            (format!("provider = \"gitlab\"\nurl = \"https://u:s3cret@host\"\n{token}"), "give a token"),
        ] {
            let error = try_connect(&body).unwrap_err();
            assert_eq!(error.kind(), scm_core::ErrorKind::Config, "{body}");
            let shown = format!("{error} {error:?} {}", error.report());
            assert!(shown.contains(words) && shown.contains("acme"), "{body}: {shown}");
            assert!(!shown.contains("s3cret"), "{shown}");
        }
    }
}
