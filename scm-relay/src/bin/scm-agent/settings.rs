//! The agent's settings: flags win over variables, variables over the file, and each is named as in the Helm chart.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use scm_core::{Error, Result};
use scm_relay::{Agent, AgentSettings, HeldCredential, Policy, Secret};
use scm_transport::{CaCertificates, ClientIdentity, Network, Proxies};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use url::Url;

/// What one source gives: a flag's, a variable's or the file's.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Settings {
    pub(crate) hub: Option<String>,
    pub(crate) access_key: Option<Value>,
    pub(crate) allow: Option<Vec<String>>,
    pub(crate) allow_addresses: Option<Vec<String>>,
    #[serde(rename = "credential")]
    pub(crate) credentials: Option<Vec<Credential>>,
    pub(crate) proxy: Proxy,
    pub(crate) proxy_loopback: Option<bool>,
    pub(crate) custom_ca_cert: Option<Value>,
    pub(crate) client_cert: Option<Value>,
    pub(crate) client_key: Option<Value>,
    pub(crate) tunnel: Leg,
    pub(crate) servers: Leg,
    pub(crate) tunnels: Option<usize>,
    pub(crate) in_flight: Option<usize>,
    pub(crate) grace: Option<u64>,
    pub(crate) connect_timeout: Option<u64>,
    pub(crate) read_timeout: Option<u64>,
    pub(crate) request_timeout: Option<u64>,
    pub(crate) health_listen: Option<String>,
    pub(crate) danger_plain_http: Option<bool>,
}

/// What may differ between the way to the hub and the way to the servers.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Leg {
    pub(crate) proxy: Proxy,
    pub(crate) proxy_loopback: Option<bool>,
    pub(crate) custom_ca_cert: Option<Value>,
    pub(crate) client_cert: Option<Value>,
    pub(crate) client_key: Option<Value>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Proxy {
    pub(crate) http_proxy: Option<Value>,
    pub(crate) https_proxy: Option<Value>,
    pub(crate) no_proxy: Option<String>,
}

/// A credential that stays with the agent.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Credential {
    pub(crate) origin: String,
    pub(crate) file: PathBuf,
    pub(crate) username: Option<String>,
}

/// A value, or a file that has it.
#[derive(Clone)]
pub(crate) enum Value {
    Here(SecretString),
    File(PathBuf),
}

/// How every error about a value starts: it must hold nothing of what was there instead.
const EXPECTED: &str = "expected a text, or { file = \"...\" }";

impl Value {
    pub(crate) fn here(text: String) -> Self {
        Self::Here(text.into())
    }

    /// The whole text, trimmed; none where it is empty, by which a leg has no proxy where both have one.
    fn text(&self, name: &str) -> Result<Option<SecretString>> {
        let text = match self {
            Self::Here(text) => text.expose_secret().trim().to_owned(),
            Self::File(path) => std::fs::read_to_string(path)
                .map_err(|error| {
                    Error::config(format!(
                        "{name}: the file {} cannot be read: {}",
                        path.display(),
                        error.kind()
                    ))
                })?
                .trim()
                .to_owned(),
        };
        Ok((!text.is_empty()).then(|| text.into()))
    }

    fn beside(&mut self, dir: &Path) {
        if let Self::File(path) = self {
            *path = dir.join(&path);
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Either;

        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            file: PathBuf,
        }

        impl<'de> Visitor<'de> for Either {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }

            fn visit_str<E>(self, text: &str) -> std::result::Result<Value, E> {
                Ok(Value::here(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> std::result::Result<Value, A::Error> {
                // Whatever stood there may be a secret.
                File::deserialize(MapAccessDeserializer::new(map))
                    .map(|File { file }| Value::File(file))
                    .map_err(|_| serde::de::Error::custom(EXPECTED))
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl Settings {
    /// Reads a file; relative paths in it are looked for beside it.
    pub(crate) fn load(path: &Path) -> Result<Self> {
        let shown = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| {
            Error::config(format!("the configuration {shown} cannot be read: {}", error.kind()))
        })?;
        let mut this: Self = toml::from_str(&text).map_err(|error| {
            let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            let line = line.map_or(String::new(), |line| format!(", line {line}"));
            // Of the parser's own texts only those that name keys, not values.
            let names_keys = ["unknown field", "missing field", "duplicate", EXPECTED];
            let known = names_keys.iter().any(|start| error.message().starts_with(start));
            let what = if known { error.message() } else { "not valid TOML, or a value of the wrong type" };
            Error::config(format!("{shown}{line}: {what}"))
        })?;
        let dir = path.parent().unwrap_or(Path::new(""));
        for value in this.values() {
            value.beside(dir);
        }
        for credential in this.credentials.iter_mut().flatten() {
            credential.file = dir.join(&credential.file);
        }
        Ok(this)
    }

    /// Those of the variables; `lookup` gives one's value.
    pub(crate) fn from_vars(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let text = |name: &str| lookup(&format!("SCM_AGENT_{name}")).filter(|text| !text.trim().is_empty());
        let value = |name: &str| {
            let file = text(&format!("{name}_FILE")).map(|path| Value::File(path.into()));
            file.or_else(|| lookup(&format!("SCM_AGENT_{name}")).map(Value::here))
        };
        let list = |name: &str| {
            text(name).map(|list| list.split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>())
        };
        let flag = |name: &str| match text(name).as_deref() {
            None => Ok(None),
            Some("true" | "1") => Ok(Some(true)),
            Some("false" | "0") => Ok(Some(false)),
            Some(_) => Err(Error::config(format!("SCM_AGENT_{name} is true or false"))),
        };
        let number = |name: &str| {
            let wrong = || Error::config(format!("SCM_AGENT_{name} is a whole number, such as 30"));
            text(name).map(|text| text.trim().parse::<u64>().map_err(|_| wrong())).transpose()
        };
        let size = |name: &str| -> Result<_> {
            let number = number(name)?;
            Ok(number.map(|number| usize::try_from(number).unwrap_or(usize::MAX)))
        };
        let leg = |prefix: &str| -> Result<Leg> {
            let name = |name: &str| format!("{prefix}{name}");
            Ok(Leg {
                proxy: Proxy {
                    http_proxy: value(&name("HTTP_PROXY")),
                    https_proxy: value(&name("HTTPS_PROXY")),
                    no_proxy: lookup(&format!("SCM_AGENT_{}", name("NO_PROXY"))),
                },
                proxy_loopback: flag(&name("PROXY_LOOPBACK"))?,
                custom_ca_cert: value(&name("CUSTOM_CA_CERT")),
                client_cert: value(&name("CLIENT_CERT")),
                client_key: value(&name("CLIENT_KEY")),
            })
        };
        let Leg { proxy, proxy_loopback, custom_ca_cert, client_cert, client_key } = leg("")?;
        Ok(Self {
            hub: text("HUB"),
            access_key: value("ACCESS_KEY"),
            allow: list("ALLOW"),
            allow_addresses: list("ALLOW_ADDRESSES"),
            credentials: None,
            proxy,
            proxy_loopback,
            custom_ca_cert,
            client_cert,
            client_key,
            tunnel: leg("TUNNEL_")?,
            servers: leg("SERVERS_")?,
            tunnels: size("TUNNELS")?,
            in_flight: size("IN_FLIGHT")?,
            grace: number("GRACE")?,
            connect_timeout: number("CONNECT_TIMEOUT")?,
            read_timeout: number("READ_TIMEOUT")?,
            request_timeout: number("REQUEST_TIMEOUT")?,
            health_listen: text("HEALTH_LISTEN"),
            danger_plain_http: flag("DANGER_PLAIN_HTTP")?,
        })
    }

    /// These, and from `below` what they lack.
    pub(crate) fn over(self, below: Self) -> Self {
        Self {
            hub: self.hub.or(below.hub),
            access_key: self.access_key.or(below.access_key),
            allow: self.allow.or(below.allow),
            allow_addresses: self.allow_addresses.or(below.allow_addresses),
            credentials: self.credentials.or(below.credentials),
            proxy: self.proxy.over(below.proxy),
            proxy_loopback: self.proxy_loopback.or(below.proxy_loopback),
            custom_ca_cert: self.custom_ca_cert.or(below.custom_ca_cert),
            client_cert: self.client_cert.or(below.client_cert),
            client_key: self.client_key.or(below.client_key),
            tunnel: self.tunnel.over(below.tunnel),
            servers: self.servers.over(below.servers),
            tunnels: self.tunnels.or(below.tunnels),
            in_flight: self.in_flight.or(below.in_flight),
            grace: self.grace.or(below.grace),
            connect_timeout: self.connect_timeout.or(below.connect_timeout),
            read_timeout: self.read_timeout.or(below.read_timeout),
            request_timeout: self.request_timeout.or(below.request_timeout),
            health_listen: self.health_listen.or(below.health_listen),
            danger_plain_http: self.danger_plain_http.or(below.danger_plain_http),
        }
    }

    /// Where health is to be told.
    pub(crate) fn health_listen(&self) -> Result<Option<SocketAddr>> {
        let parse = |text: &String| {
            text.parse().map_err(|_| {
                Error::config(
                    "healthListen is an address and a port, for example 127.0.0.1:8080 or 0.0.0.0:8080",
                )
            })
        };
        self.health_listen.as_ref().map(parse).transpose()
    }

    /// The agent.
    pub(crate) fn agent(&self) -> Result<Agent> {
        let hub = self.hub()?;
        let key = self.key()?;
        let policy = self.policy()?;
        let common = Leg {
            proxy: self.proxy.clone(),
            proxy_loopback: self.proxy_loopback,
            custom_ca_cert: self.custom_ca_cert.clone(),
            client_cert: self.client_cert.clone(),
            client_key: self.client_key.clone(),
        };
        let network =
            |leg: &Leg, name| leg.clone().over(common.clone()).network(name).map(|net| self.limit(net));
        let mut settings = AgentSettings::new()
            .with_network(network(&self.servers, "servers")?)
            .with_tunnel_network(network(&self.tunnel, "tunnel")?);
        for credential in self.credentials.iter().flatten() {
            let fault = |error: Error| Error::config(format!("credential: {}", error.message()));
            let secret = Secret::file(&credential.file).map_err(fault)?;
            let held = HeldCredential::new(&credential.origin, secret).map_err(fault)?;
            settings = settings.with_credential(match &credential.username {
                Some(name) => held.with_username(name),
                None => held,
            });
        }
        if let Some(tunnels) = self.tunnels {
            settings = settings.with_tunnels(tunnels);
        }
        if let Some(in_flight) = self.in_flight {
            settings = settings.with_in_flight(in_flight);
        }
        if let Some(grace) = self.grace {
            settings = settings.with_grace(Duration::from_secs(grace));
        }
        if self.danger_plain_http == Some(true) {
            settings = settings.with_danger_plain_http();
        }
        Agent::new(hub, key, policy, settings)
    }

    fn hub(&self) -> Result<Url> {
        let text = self.hub.as_deref().ok_or_else(|| {
            missing(
                "hub",
                "the URL of the hub, as its operator gave it",
                "--hub https://hub.example.com",
                "hub = \"https://hub.example.com\"",
            )
        })?;
        let hub = Url::parse(text.trim())
            .map_err(|_| Error::config("hub is no URL; it is written like https://hub.example.com"))?;
        if hub.scheme() == "http" && self.danger_plain_http != Some(true) {
            return Err(Error::config(
                "hub is http://, so that everybody on the way could read the access key: use https://, or for a test on a \
                 network of your own --danger-plain-http (in the file: dangerPlainHttp = true)",
            ));
        }
        Ok(hub)
    }

    fn key(&self) -> Result<Secret> {
        match &self.access_key {
            Some(Value::File(path)) => Secret::file(path).map_err(|error| {
                Error::config(format!(
                    "accessKey: {}; it is the key that `scm-hub keygen --agent NAME` printed, on one line, for example \
                     --access-key-file /etc/scm-agent/accessKey",
                    error.message()
                ))
            }),
            Some(Value::Here(key)) if !key.expose_secret().trim().is_empty() => {
                Ok(SecretString::from(key.expose_secret().trim()).into())
            }
            _ => Err(missing(
                "accessKey",
                "the key by which the hub knows this agent, as `scm-hub keygen --agent NAME` printed it",
                "--access-key-file /etc/scm-agent/accessKey",
                "accessKey = { file = \"/etc/scm-agent/accessKey\" }",
            )),
        }
    }

    fn policy(&self) -> Result<Policy> {
        let allow = self.allow.as_deref().unwrap_or_default();
        if allow.is_empty() {
            return Err(missing(
                "allow",
                "the agent lets nothing through that is not listed",
                "--allow https://gitlab.company.com=gitlab",
                "allow = [\"https://gitlab.company.com=gitlab\"]",
            ));
        }
        let mut policy = Policy::new();
        for entry in allow {
            policy = policy.with(
                entry.parse().map_err(|error: Error| Error::config(format!("allow: {}", error.message())))?,
            );
        }
        for address in self.allow_addresses.iter().flatten() {
            let address: IpAddr = address.trim().parse().map_err(|_| {
                Error::config(
                    "allowAddresses has an entry that is no IP address; it is written like 127.0.0.1",
                )
            })?;
            policy = policy.with_address(address);
        }
        Ok(policy)
    }

    fn limit(&self, mut network: Network) -> Network {
        let seconds = Duration::from_secs;
        if let Some(limit) = self.connect_timeout {
            network = network.with_connect_timeout(seconds(limit));
        }
        if let Some(limit) = self.read_timeout {
            network = network.with_read_timeout(seconds(limit));
        }
        if let Some(limit) = self.request_timeout {
            network = network.with_request_timeout(seconds(limit));
        }
        network
    }

    fn values(&mut self) -> impl Iterator<Item = &mut Value> {
        let own =
            [&mut self.access_key, &mut self.custom_ca_cert, &mut self.client_cert, &mut self.client_key];
        let proxy = [&mut self.proxy.http_proxy, &mut self.proxy.https_proxy];
        let legs = [&mut self.tunnel, &mut self.servers].into_iter().flat_map(|leg| {
            let Leg { proxy, custom_ca_cert, client_cert, client_key, .. } = leg;
            [&mut proxy.http_proxy, &mut proxy.https_proxy, custom_ca_cert, client_cert, client_key]
        });
        own.into_iter().chain(proxy).chain(legs).flatten()
    }
}

impl Leg {
    fn over(self, below: Self) -> Self {
        Self {
            proxy: self.proxy.over(below.proxy),
            proxy_loopback: self.proxy_loopback.or(below.proxy_loopback),
            custom_ca_cert: self.custom_ca_cert.or(below.custom_ca_cert),
            client_cert: self.client_cert.or(below.client_cert),
            client_key: self.client_key.or(below.client_key),
        }
    }

    /// What it means, for the leg of this `name`.
    fn network(self, name: &str) -> Result<Network> {
        let text = |value: &Option<Value>, name: &str| match value {
            Some(value) => value.text(name),
            None => Ok(None),
        };
        // Longer than a hub waits: its limits are the ones that callers know.
        let mut network = Network::new()
            .with_user_agent(concat!("scm-agent/", env!("CARGO_PKG_VERSION")))
            .with_read_timeout(Duration::from_secs(180));
        if let Some(ca) = text(&self.custom_ca_cert, "customCaCert")? {
            let roots = CaCertificates::parse(ca.expose_secret())
                .map_err(|error| Error::config(format!("customCaCert: {}", error.message())))?;
            network = network.with_extra_roots(roots);
        }
        match (text(&self.client_cert, "clientCert")?, text(&self.client_key, "clientKey")?) {
            (None, None) => {}
            (Some(certificate), Some(key)) => {
                let identity = ClientIdentity::parse(certificate.expose_secret(), &key)
                    .map_err(|error| Error::config(format!("{name}: {}", error.message())))?;
                network = network.with_client_identity(identity);
            }
            _ => return Err(Error::config(format!("{name}: clientCert and clientKey belong together"))),
        }
        let mut proxies = Proxies::new().with_no_proxy(self.proxy.no_proxy.as_deref().unwrap_or_default());
        let named = |error: Error| {
            let message = error.message().replacen("http_proxy", "proxy.httpProxy", 1);
            Error::config(message.replacen("https_proxy", "proxy.httpsProxy", 1))
        };
        if let Some(url) = text(&self.proxy.http_proxy, "proxy.httpProxy")? {
            proxies = proxies.with_http_proxy(&url).map_err(named)?;
        }
        if let Some(url) = text(&self.proxy.https_proxy, "proxy.httpsProxy")? {
            proxies = proxies.with_https_proxy(&url).map_err(named)?;
        }
        if self.proxy_loopback == Some(true) {
            proxies = proxies.with_proxied_loopback();
        }
        Ok(if proxies.is_empty() { network } else { network.with_proxies(proxies) })
    }
}

impl Proxy {
    fn over(self, below: Self) -> Self {
        Self {
            http_proxy: self.http_proxy.or(below.http_proxy),
            https_proxy: self.https_proxy.or(below.https_proxy),
            no_proxy: self.no_proxy.or(below.no_proxy),
        }
    }
}

/// What is missing, with a line for each place where it can be given.
fn missing(name: &str, what: &str, flag: &str, line: &str) -> Error {
    Error::config(format!("{name} is missing: {what}. For example {flag}, or in the file: {line}"))
}
