//! `hub.toml`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use scm_core::{Error, Result};
use scm_relay::{AgentName, HubSettings, KeyHash, Keys};
use serde::Deserialize;

/// The file as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) tls: Option<TlsFiles>,
    #[serde(default)]
    pub(crate) danger_plain_http: bool,
    pub(crate) metrics_listen: Option<SocketAddr>,
    minimum_agent: Option<String>,
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    agent: Vec<AgentEntry>,
    #[serde(default)]
    service: Vec<ServiceEntry>,
}

/// Where certificates and key are; relative to the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TlsFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    /// Certificates of those who sign the certificates that agents and services must show.
    pub(crate) client_ca: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    patience_s: Option<f64>,
    in_flight_per_agent: Option<usize>,
    max_body_bytes: Option<u64>,
    header_timeout_s: Option<f64>,
    idle_timeout_s: Option<f64>,
    total_timeout_s: Option<f64>,
    tunnel_age_s: Option<f64>,
    ping_every_s: Option<f64>,
    ping_limit_s: Option<f64>,
    unread_bytes: Option<usize>,
    unread_for_s: Option<f64>,
    grace_s: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AgentEntry {
    name: AgentName,
    keys: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ServiceEntry {
    name: String,
    agents: Vec<AgentName>,
    keys: Vec<String>,
}

impl Config {
    /// What `text`, which is in the file at `path`, says.
    pub(crate) fn parse(text: &str, path: &Path) -> Result<Self> {
        let mut config: Self = toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| text[..span.start].matches('\n').count() + 1);
            let line = line.map(|line| format!(", line {line}")).unwrap_or_default();
            Error::config(format!("{}{line}: {}", path.display(), error.message()))
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        if let Some(tls) = &mut config.tls {
            for file in [Some(&mut tls.certificate), Some(&mut tls.key), tls.client_ca.as_mut()] {
                file.into_iter().for_each(|file| *file = folder.join(&*file));
            }
        }
        Ok(config)
    }

    /// Who may connect, and who may use whom.
    pub(crate) fn keys(&self) -> Result<Keys> {
        let mut keys = Keys::new();
        let mut owners: HashMap<String, String> = HashMap::new();
        let mut hash = |text: &str, owner: String| -> Result<KeyHash> {
            let hash: KeyHash = text.parse().map_err(|error| Error::config(format!("{owner}: {error}")))?;
            match owners.insert(hash.to_string(), owner.clone()) {
                Some(other) => Err(Error::config(format!("{other} and {owner} have the same key"))),
                None => Ok(hash),
            }
        };
        for entry in &self.agent {
            for key in &entry.keys {
                keys =
                    keys.with_agent(entry.name.clone(), hash(key, format!("the agent {}", entry.name))?)?;
            }
        }
        for entry in &self.service {
            for key in &entry.keys {
                let hash = hash(key, format!("the service {}", entry.name))?;
                keys = keys.with_service(&entry.name, hash, entry.agents.iter().cloned());
            }
            for agent in &entry.agents {
                if !self.agent.iter().any(|known| known.name == *agent) {
                    tracing::warn!(service = entry.name, %agent, "a service may use an agent that has no entry");
                }
            }
        }
        Ok(keys)
    }

    pub(crate) fn settings(&self) -> Result<HubSettings> {
        let limits = &self.limits;
        let mut settings = HubSettings::new();
        if let Some(version) = &self.minimum_agent {
            settings = settings.with_minimum_agent(version)?;
        }
        for (value, name, place) in [
            (limits.patience_s, "patience_s", &mut settings.patience),
            (limits.header_timeout_s, "header_timeout_s", &mut settings.header_timeout),
            (limits.idle_timeout_s, "idle_timeout_s", &mut settings.idle_timeout),
            (limits.tunnel_age_s, "tunnel_age_s", &mut settings.tunnel_age),
            (limits.ping_every_s, "ping_every_s", &mut settings.ping_every),
            (limits.ping_limit_s, "ping_limit_s", &mut settings.ping_limit),
            (limits.unread_for_s, "unread_for_s", &mut settings.unread_for),
        ] {
            if let Some(value) = value {
                *place = seconds(value, name)?;
            }
        }
        settings.total_timeout =
            limits.total_timeout_s.map(|value| seconds(value, "total_timeout_s")).transpose()?;
        settings.max_body = limits.max_body_bytes;
        settings.unread = limits.unread_bytes.unwrap_or(settings.unread);
        settings.in_flight = limits.in_flight_per_agent.unwrap_or(settings.in_flight);
        if settings.in_flight == 0 {
            return Err(Error::config("in_flight_per_agent is 0, so that nothing could ever pass"));
        }
        Ok(settings)
    }

    /// How long requests in flight may take when the hub stops.
    pub(crate) fn grace(&self) -> Result<Duration> {
        seconds(self.limits.grace_s.unwrap_or(30.0), "grace_s")
    }
}

fn seconds(value: f64, name: &str) -> Result<Duration> {
    Duration::try_from_secs_f64(value)
        .ok()
        .filter(|value| !value.is_zero())
        .ok_or_else(|| Error::config(format!("{name} is a number of seconds above 0")))
}
