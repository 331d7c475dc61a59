//! The agent: dials the hub, and carries out what its policy allows.

mod advice;
mod check;
mod connect;
pub(crate) mod control;
mod credential;
mod guard;
mod health;
mod keep;
mod metrics;
mod policy;
mod presets;
mod secret;
mod upstream;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use scm_core::{Error, Result, Transport};
use scm_transport::{Dialer, DirectTransport, Network, ProxyTransport};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use url::Url;

pub use credential::HeldCredential;
pub use health::Health;
pub use policy::{Allow, Policy};
pub use secret::Secret;

use crate::body::Ledger;
use crate::tunnel::Settings;
use guard::Guard;
use keep::Keeper;
use upstream::Upstream;

/// What an agent can be told.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AgentSettings {
    /// How the agent reaches the servers.
    pub network: Network,
    /// How it reaches the hub, where that differs.
    pub tunnel_network: Option<Network>,
    /// Credentials that it holds.
    pub credentials: Vec<HeldCredential>,
    /// Tunnels that are kept open. 2 by default.
    pub tunnels: usize,
    /// Requests in flight over all of them; more wait a little, and are then refused. 512 by default.
    pub in_flight: usize,
    /// Shortest and longest wait before a lost tunnel is opened again. 0.5 and 60 seconds by default.
    pub retry: (Duration, Duration),
    /// A tunnel that has lived for so long is a healthy one: after it, the wait is the shortest. 60 seconds by default.
    pub healthy: Duration,
    /// How often a tunnel has to show that it lives. 15 seconds by default.
    pub ping_every: Duration,
    /// How long that may take. 10 seconds by default.
    pub ping_limit: Duration,
    /// How long requests in flight may take when the agent is stopped. 30 seconds by default.
    pub grace: Duration,
    /// Bytes of uploads that the hub may be ahead of the servers that read them. 64 MiB by default.
    pub unread: usize,
    /// How long an upload may go unread. 60 seconds by default.
    pub unread_for: Duration,
    /// Allows a hub whose URL is http://. Access key and everything else are then readable on the way.
    pub danger_plain_http: bool,
}

impl AgentSettings {
    /// The usual ones.
    #[must_use]
    pub fn new() -> Self {
        let tunnel = Settings::default();
        Self {
            network: Network::new(),
            tunnel_network: None,
            credentials: Vec::new(),
            tunnels: 2,
            in_flight: 512,
            retry: (Duration::from_millis(500), Duration::from_secs(60)),
            healthy: Duration::from_secs(60),
            ping_every: tunnel.ping_every,
            ping_limit: tunnel.ping_limit,
            grace: Duration::from_secs(30),
            unread: 64 * 1024 * 1024,
            unread_for: Duration::from_secs(60),
            danger_plain_http: false,
        }
    }

    /// Sets how the agent reaches servers and hub: proxies, exceptions, certificates.
    #[must_use]
    pub fn with_network(mut self, network: Network) -> Self {
        self.network = network;
        self
    }

    /// Sets how the agent reaches the hub, where that differs from its way to the servers.
    #[must_use]
    pub fn with_tunnel_network(mut self, network: Network) -> Self {
        self.tunnel_network = Some(network);
        self
    }

    /// Puts this credential on the requests to its server.
    #[must_use]
    pub fn with_credential(mut self, credential: HeldCredential) -> Self {
        self.credentials.push(credential);
        self
    }

    /// Sets how many tunnels are kept open.
    #[must_use]
    pub fn with_tunnels(mut self, tunnels: usize) -> Self {
        self.tunnels = tunnels;
        self
    }

    /// Sets how many requests may be in flight.
    #[must_use]
    pub fn with_in_flight(mut self, in_flight: usize) -> Self {
        self.in_flight = in_flight;
        self
    }

    /// Sets the shortest and the longest wait before a lost tunnel is opened again.
    #[must_use]
    pub fn with_retry(mut self, shortest: Duration, longest: Duration) -> Self {
        self.retry = (shortest, longest);
        self
    }

    /// Sets how often a tunnel has to show that it lives, and how long that may take.
    #[must_use]
    pub fn with_ping(mut self, every: Duration, limit: Duration) -> Self {
        (self.ping_every, self.ping_limit) = (every, limit);
        self
    }

    /// Sets how long requests in flight may take when the agent is stopped.
    #[must_use]
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Allows a hub whose URL is http://. Access key and everything else are then readable on the way.
    #[must_use]
    pub fn with_danger_plain_http(mut self) -> Self {
        self.danger_plain_http = true;
        self
    }

    fn tunnel(&self) -> Settings {
        Settings { ping_every: self.ping_every, ping_limit: self.ping_limit, ..Settings::default() }
    }
}

impl Default for AgentSettings {
    fn default() -> Self {
        Self::new()
    }
}

/// An agent. It opens no port: it dials the hub, and sends requests to the servers its policy allows.
///
/// Names of servers are resolved once, and only addresses that the policy does not refuse are dialled; where a proxy stands
/// between, it resolves them, and the list of origins is the guard. Redirects go back to the caller.
pub struct Agent(Arc<Inner>);

pub(crate) struct Inner {
    hub: Url,
    key: Secret,
    settings: AgentSettings,
    dialer: Dialer,
    upstream: Arc<Upstream>,
    health: Health,
}

impl Agent {
    /// An agent of the hub at `hub`, to which it proves itself by `key`.
    ///
    /// # Errors
    /// `Config` for a hub that cannot be used, when nothing is allowed, for a credential of a server that is not, and for
    /// settings of a network that cannot work.
    pub fn new(hub: Url, key: Secret, policy: Policy, settings: AgentSettings) -> Result<Self> {
        match hub.scheme() {
            "https" => {}
            "http" if settings.danger_plain_http => tracing::warn!("the tunnel to the hub is not encrypted"),
            "http" => {
                return Err(Error::config(
                    "the hub's URL is http://, so that everybody on the way could read the access key: use https://",
                ));
            }
            _ => return Err(Error::config("the hub's URL is written like https://hub.example.com")),
        }
        let more = hub.query().is_some() || hub.fragment().is_some();
        if more || !hub.username().is_empty() || hub.password().is_some() {
            return Err(Error::config("the hub's URL has more than scheme, host, port and path"));
        }
        if policy.allowed().is_empty() {
            return Err(Error::config(
                "nothing is allowed: add an allow entry, such as https://gitlab.company.com=gitlab",
            ));
        }
        for held in &settings.credentials {
            if !policy.allowed().iter().any(|entry| entry.is_within(held.place())) {
                return Err(Error::config(format!(
                    "there is a credential for {0}, which is not on the allow list: add an entry such as {0}=gitlab",
                    held.place()
                )));
            }
            if held.place().is_plain() {
                tracing::warn!("the credential for {} goes there without encryption", held.place());
            }
        }
        if settings.tunnels == 0 || settings.in_flight == 0 {
            return Err(Error::config("an agent needs at least one tunnel, and one request in flight"));
        }
        let dialer = Dialer::new(settings.tunnel_network.as_ref().unwrap_or(&settings.network))?;
        let policy = Arc::new(policy);
        let transport = route(&Guard::over(settings.network.clone(), &policy))?;
        let health = Health::new();
        let credentials = settings.credentials.clone();
        let upstream = Upstream::new(policy, transport, credentials, health.clone(), settings.in_flight);
        Ok(Self(Arc::new(Inner { hub, key, settings, dialer, upstream: Arc::new(upstream), health })))
    }

    /// Where it dials.
    pub fn hub(&self) -> &Url {
        &self.0.hub
    }

    /// What it lets through.
    pub fn policy(&self) -> &Policy {
        &self.0.upstream.policy
    }

    /// How it is, now and later.
    pub fn health(&self) -> Health {
        self.0.health.clone()
    }

    /// Keeps the tunnels open until `stop` ends; then takes nothing new, and waits for what is in flight as long as the
    /// settings say.
    pub async fn run(&self, stop: impl Future<Output = ()>) {
        let settings = &self.0.settings;
        let drain = CancellationToken::new();
        let ledger = Ledger::new(settings.unread, settings.unread_for);
        let keepers = (0..settings.tunnels).map(|index| Keeper {
            agent: Arc::clone(&self.0),
            ledger: Arc::clone(&ledger),
            drain: drain.clone(),
            first: index == 0,
        });
        let mut work = futures_util::future::join_all(keepers.map(Keeper::keep));
        tokio::select! {
            _ = &mut work => return,
            () = stop => {}
        }
        self.0.health.stopping();
        drain.cancel();
        if timeout(settings.grace, work).await.is_err() {
            let in_flight = self.0.health.counts().in_flight.get();
            tracing::warn!(
                in_flight,
                "requests were still in flight at the end of the grace of {:?}",
                settings.grace
            );
        }
    }
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent")
            .field("hub", &self.0.hub.as_str())
            .field("policy", &self.0.upstream.policy)
            .field("health", &self.0.health)
            .finish_non_exhaustive()
    }
}

fn route(network: &Network) -> Result<Transport> {
    Ok(match &network.proxies {
        Some(proxies) if !proxies.is_empty() => Transport::new(ProxyTransport::new(network)?),
        _ => {
            let mut network = network.clone();
            network.proxies = None;
            Transport::new(DirectTransport::new(&network)?)
        }
    })
}
