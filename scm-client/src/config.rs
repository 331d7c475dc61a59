//! The configuration file: serde types, read with errors that name the place and never show a value.

use std::fmt;
use std::path::{Path, PathBuf};

use scm_core::{Error, Result, Route};
use scm_transport::NoProxy;
use serde::Deserialize;
use url::Url;

use crate::source::{Source, TokenSource};

/// Connections as a file gives them.
///
/// ```
/// use scm_client::Config;
///
/// let config = Config::from_toml(
///     r#"
///     [[connection]]
///     name = "acme-gitlab"
///     provider = "gitlab"
///     url = "https://gitlab.company.com"
///     token = { file = "gitlab.token" }
///     "#,
///     "/etc/scm",
/// )?;
/// assert_eq!(config.connections[0].name, "acme-gitlab");
/// # Ok::<(), scm_core::Error>(())
/// ```
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// The connections, in the file's order; names are unique.
    #[serde(rename = "connection")]
    pub connections: Vec<ConnectionConfig>,
}

/// One connection.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ConnectionConfig {
    /// Name for people and reports.
    pub name: String,
    /// The product: `gitlab`, or what a [`Registry`](crate::Registry) knows besides.
    pub provider: String,
    /// The server's root, with its context path. GitLab's default is gitlab.com.
    pub url: Option<String>,
    /// The access token.
    pub token: TokenSource,
    /// User name that the token belongs to (Bitbucket).
    pub username: Option<String>,
    /// Key of the project to work in (Bitbucket).
    pub project_key: Option<String>,
    /// The way to the server. Default: direct.
    #[serde(default = "direct")]
    pub route: Route,
    /// What stands between.
    #[serde(default)]
    pub network: NetworkConfig,
    /// The agent, for that route.
    pub agent: Option<AgentConfig>,
    /// Where relative files are looked for.
    #[serde(skip)]
    pub(crate) dir: PathBuf,
}

fn direct() -> Route {
    Route::Direct
}

/// Proxy, certificates and the like.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct NetworkConfig {
    /// Proxy for `http://` servers. It may hold a password, so that it is a source like a token.
    pub http_proxy: Option<Source>,
    /// Proxy for `https://` servers.
    pub https_proxy: Option<Source>,
    /// What goes straight to the server all the same.
    pub no_proxy: Option<String>,
    /// Take proxies and exceptions from the usual variables (`http_proxy`, `https_proxy`, `all_proxy`, `no_proxy`, in lower or
    /// upper case) in place of the three settings before.
    #[serde(default)]
    pub proxy_from_env: bool,
    /// Send `localhost` and loopback addresses through the proxy too.
    #[serde(default)]
    pub proxy_loopback: bool,
    /// CA certificates to trust besides the machine's own: PEM, or base64 of PEM.
    pub ca: Option<Source>,
    /// Trust those of `ca` alone, not the machine's own.
    #[serde(default)]
    pub ca_only: bool,
    /// Client certificate, as PEM.
    pub client_cert: Option<Source>,
    /// Its private key, as PEM.
    pub client_key: Option<Source>,
    /// Longest time for a connection (name, TCP, TLS), in seconds; 10 where nothing is said.
    pub connect_timeout_s: Option<u64>,
    /// Longest silence of the server, in seconds; 60 where nothing is said.
    pub read_timeout_s: Option<u64>,
    /// Longest time for one request, to the last byte of its answer, in seconds; no limit where nothing is said.
    pub request_timeout_s: Option<u64>,
}

/// The agent route.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct AgentConfig {
    /// URL of the hub.
    pub hub: String,
    /// Name of the agent.
    pub name: String,
    /// The service's key for the hub.
    pub key: Source,
    /// Speak to the hub without TLS. Dangerous: the key can be read on the way.
    #[serde(default)]
    pub danger_plain_http: bool,
}

impl fmt::Debug for ConnectionConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionConfig")
            .field("name", &self.name)
            .field("provider", &self.provider)
            .field("url", &self.url.as_deref().map(origin))
            .field("token", &self.token)
            .field("username", &self.username)
            .field("project_key", &self.project_key)
            .field("route", &self.route)
            .field("network", &self.network)
            .field("agent", &self.agent)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for NetworkConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NetworkConfig")
            .field("http_proxy", &self.http_proxy)
            .field("https_proxy", &self.https_proxy)
            // People paste URLs of proxies into it.
            .field("no_proxy", &self.no_proxy.as_deref().map(NoProxy::parse))
            .field("proxy_from_env", &self.proxy_from_env)
            .field("proxy_loopback", &self.proxy_loopback)
            .field("ca", &self.ca)
            .field("ca_only", &self.ca_only)
            .field("client_cert", &self.client_cert)
            .field("client_key", &self.client_key)
            .field("connect_timeout_s", &self.connect_timeout_s)
            .field("read_timeout_s", &self.read_timeout_s)
            .field("request_timeout_s", &self.request_timeout_s)
            .finish()
    }
}

impl fmt::Debug for AgentConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentConfig")
            .field("hub", &origin(&self.hub))
            .field("name", &self.name)
            .field("key", &self.key)
            .field("danger_plain_http", &self.danger_plain_http)
            .finish()
    }
}

/// What of a URL can be shown before anybody has checked it: people paste passwords and tokens into them.
fn origin(url: &str) -> String {
    Url::parse(url).map_or_else(|_| "[no URL]".to_owned(), |url| url.origin().ascii_serialization())
}

impl Config {
    /// Reads a file; relative paths in it are looked for beside it.
    ///
    /// # Errors
    /// `Config`, naming the file, the line and what to do.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let shown = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| {
            Error::config(format!("the configuration {shown} cannot be read: {}", error.kind()))
        })?;
        let dir = path.parent().unwrap_or(Path::new(""));
        Self::from_toml(&text, dir).map_err(|error| Error::config(format!("{shown}: {}", error.message())))
    }

    /// Reads TOML; relative paths in it are looked for in `dir`.
    ///
    /// # Errors
    /// `Config`, naming the line and what to do. A value is never shown: it may be a secret.
    pub fn from_toml(text: &str, dir: impl Into<PathBuf>) -> Result<Self> {
        let mut config: Self = toml::from_str(text).map_err(|error| read_error(text, &error))?;
        let dir = dir.into();
        let mut names = std::collections::BTreeSet::new();
        for connection in &mut config.connections {
            if connection.name.trim().is_empty() {
                return Err(Error::config("a connection needs a name"));
            }
            if !names.insert(connection.name.clone()) {
                return Err(Error::config(format!(
                    "two connections are named '{}'; rename one",
                    connection.name
                )));
            }
            connection.dir.clone_from(&dir);
        }
        if names.is_empty() {
            return Err(Error::config("there is no connection; add a [[connection]] table"));
        }
        Ok(config)
    }

    /// The connection of this name.
    ///
    /// # Errors
    /// `Config`, naming those that there are.
    pub fn connection(&self, name: &str) -> Result<&ConnectionConfig> {
        self.connections.iter().find(|connection| connection.name == name).ok_or_else(|| {
            let names: Vec<_> = self.connections.iter().map(|connection| connection.name.as_str()).collect();
            Error::config(format!("there is no connection '{name}'; there are: {}", names.join(", ")))
        })
    }
}

/// What is wrong, and where. Of the parser's own texts only those are passed on that name keys, not values.
fn read_error(text: &str, error: &toml::de::Error) -> Error {
    let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    let place = line.map_or(String::new(), |line| format!("line {line}: "));
    let said = error.message();
    let names_keys_only =
        ["unknown field", "missing field", "unknown variant", "duplicate", crate::source::EXPECTED]
            .iter()
            .any(|start| said.starts_with(start));
    let what = if names_keys_only { said } else { "not valid TOML, or a value of the wrong type" };
    Error::config(format!("{place}{what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config> {
        Config::from_toml(text, "")
    }

    const HEAD: &str = "[[connection]]\nname = \"a\"\nprovider = \"gitlab\"\n";

    #[test]
    fn every_key_of_the_file_is_read() {
        let config = read(
            r#"
            [[connection]]
            name = "acme"
            provider = "bitbucket-dc"
            url = "https://bitbucket.company.com/bitbucket"
            token = "agent"
            username = "svc-scm"
            project_key = "PROJ"
            route = "agent"
            network = { http_proxy = { value = "http://p:3128" }, https_proxy = { value = "http://p:3128" }, no_proxy = ".company.com", ca = { file = "ca.pem" }, ca_only = true, client_cert = { file = "c.pem" }, client_key = { file = "k.pem" }, proxy_loopback = true }
            agent = { hub = "https://hub.example.com", name = "acme", key = { file = "hub.key" }, danger_plain_http = true }
            "#,
        )
        .unwrap();
        let connection = &config.connections[0];
        assert_eq!(connection.route, Route::Agent);
        assert!(connection.network.proxy_loopback && matches!(connection.token, TokenSource::Agent));
        let plain = read("[[connection]]\nname = \"a\"\nprovider = \"gitlab\"\ntoken = { env = \"T\" }\nnetwork = { http_proxy = \"http://p:3128\" }").unwrap();
        assert_eq!(plain.connections[0].route, Route::Direct);
    }

    #[test]
    fn mistakes_name_the_line_and_never_the_value() {
        for (text, words) in [
            (format!("{HEAD}tokem = {{ value = \"s3cret\" }}"), "line 4: unknown field `tokem`"),
            (format!("{HEAD}token = \"s3cret\""), "expected"),
            (format!("{HEAD}token = {{ value = \"s3cret\", file = \"x\" }}"), "expected"),
            (format!("{HEAD}token = {{ secret = \"s3cret\" }}"), "expected"),
            (format!("{HEAD}token = {{ value = 5, x = \"s3cret\" }}"), "expected"),
            (format!("{HEAD}token = [\"s3cret\"]"), "line 4"),
            (
                format!("{HEAD}route = \"pigeon\"\ntoken = {{ value = \"s3cret\" }}"),
                "unknown variant `pigeon`",
            ),
            (HEAD.to_owned(), "missing field `token`"),
            (format!("{HEAD}token = {{ value = \"s3cret\" "), "line 4"),
            (
                format!("{HEAD}token = {{ value = \"s3cret\" }}\n{HEAD}token = {{ value = \"s3cret\" }}"),
                "two connections",
            ),
            ("connection = []".to_owned(), "no connection"),
        ] {
            let error = read(&text).unwrap_err();
            let shown = format!("{error} {error:?} {}", error.report());
            assert_eq!(error.kind(), scm_core::ErrorKind::Config);
            assert!(shown.contains(words), "{text}: {shown}");
            assert!(!shown.contains("s3cret"), "{shown}");
        }
    }
}
