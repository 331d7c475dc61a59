//! The hub: takes the tunnels that agents dial, and sends the requests of services into them.

mod accept;
mod admin;
mod answer;
mod exchange;
mod metrics;
mod registry;
mod route;
mod serve;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use async_trait::async_trait;
use http::{Method, Request, Response};
use scm_core::{
    Body, Code, Delivery, Error, ErrorKind, HttpTransport, Result, Route, Rung, RungReport, TransportError,
};
use semver::Version;
use tokio::sync::watch;
use url::Url;

pub use registry::AgentStatus;
pub use serve::HubBody;

use crate::agent::control;
use crate::keys::{AgentName, Keys};
use crate::tunnel::Settings;
use metrics::{Metrics, Reason};
use registry::Registry;

/// Where agents come in.
pub(crate) const TUNNEL: &str = "/v1/tunnel";

/// The service in whose process the hub is, in lines about requests.
const EMBEDDED: &str = "(embedded)";

/// Largest report of an agent, in bytes.
const REPORT: usize = 256 * 1024;

/// What a hub can be told.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HubSettings {
    /// How long a request waits for an agent that is not here. 5 seconds by default.
    pub patience: Duration,
    /// Bytes of answers that one agent may be ahead of those who read them, over all its tunnels. 64 MiB by default.
    pub unread: usize,
    /// How long an answer may go unread. 60 seconds by default.
    pub unread_for: Duration,
    /// Requests of one agent at the same time, over all its tunnels; more wait for `patience`. 512 by default.
    pub in_flight: usize,
    /// Largest body, in bytes, of a request and of an answer. None by default.
    pub max_body: Option<u64>,
    /// How long a server may take to begin its answer; an upload that goes on does not count. 120 seconds by default.
    pub header_timeout: Duration,
    /// How long nothing of an answer may come. 120 seconds by default.
    pub idle_timeout: Duration,
    /// How long a request may take, to the last byte of its answer. None by default: a clone may take hours.
    pub total_timeout: Option<Duration>,
    /// When a tunnel is replaced by a younger one, give or take a tenth. 30 minutes by default.
    pub tunnel_age: Duration,
    /// How often a tunnel has to show that it lives. 15 seconds by default.
    pub ping_every: Duration,
    /// How long that may take. 10 seconds by default.
    pub ping_limit: Duration,
    minimum_agent: Option<Version>,
}

impl HubSettings {
    /// The usual ones.
    #[must_use]
    pub fn new() -> Self {
        let tunnel = Settings::default();
        Self {
            patience: Duration::from_secs(5),
            unread: 64 * 1024 * 1024,
            unread_for: Duration::from_secs(60),
            in_flight: 512,
            max_body: None,
            header_timeout: Duration::from_secs(120),
            idle_timeout: Duration::from_secs(120),
            total_timeout: None,
            tunnel_age: Duration::from_secs(30 * 60),
            ping_every: tunnel.ping_every,
            ping_limit: tunnel.ping_limit,
            minimum_agent: None,
        }
    }

    /// Sets how long a request waits for an agent that is not here.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Takes no tunnel of an agent that is older than this version.
    ///
    /// # Errors
    /// `Config` for what is no version, such as `1.2.0`.
    pub fn with_minimum_agent(mut self, version: &str) -> Result<Self> {
        let version = version.parse().map_err(|_| {
            Error::config(format!("the oldest version of agents is {version:?}; it is written like 1.2.0"))
        })?;
        self.minimum_agent = Some(version);
        Ok(self)
    }

    fn tunnel(&self) -> Settings {
        Settings { ping_every: self.ping_every, ping_limit: self.ping_limit, ..Settings::default() }
    }
}

impl Default for HubSettings {
    fn default() -> Self {
        Self::new()
    }
}

/// A hub. Cheap to clone; it goes with its last clone, and with it every tunnel.
///
/// It is a [`tower_service::Service`] to be mounted in an HTTP server that does upgrades (and sets `TCP_NODELAY`: heartbeats and
/// small answers must not wait for more to come), and serves:
///
/// - `GET /v1/tunnel`: where agents come in;
/// - `/v1/agents/{agent}/{http|https}/{host[:port]}/{path}`: any HTTP request to a server by way of an agent, with the
///   service's key in `Scm-Hub-Key`;
/// - `GET /v1/agents`: the agents that the key may use, as JSON;
/// - `POST /v1/agents/{agent}/probe`: the rungs of hub and agent towards the URL in the body, as JSON;
/// - `GET /healthz`, `/health` and `/readyz`, without a key.
///
/// [`Hub::transport`] gives the same way to code in the same process, without a key and without another hop.
#[derive(Clone)]
pub struct Hub(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) settings: HubSettings,
    pub(crate) registry: Arc<Registry>,
    pub(crate) metrics: Metrics,
    /// Requests that are not over.
    pub(crate) flying: watch::Sender<usize>,
    draining: AtomicBool,
    keys: RwLock<Arc<Keys>>,
}

impl Hub {
    /// A hub for whoever has one of these keys.
    #[must_use]
    pub fn new(settings: HubSettings, keys: Keys) -> Self {
        let registry = Arc::new(Registry::new());
        Self(Arc::new(Inner {
            settings,
            registry,
            metrics: Metrics::new(),
            flying: watch::Sender::new(0),
            draining: AtomicBool::new(false),
            keys: RwLock::new(Arc::new(keys)),
        }))
    }

    /// Replaces the keys. Tunnels of keys that are gone are closed.
    pub fn set_keys(&self, keys: Keys) {
        let keys = Arc::new(keys);
        *self.0.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&keys);
        self.0.registry.revoke(&keys);
    }

    /// Who is here, and who was.
    pub fn agents(&self) -> Vec<AgentStatus> {
        self.0.registry.status()
    }

    /// What the hub has counted, in the text form of OpenMetrics, for Prometheus.
    pub fn metrics(&self) -> String {
        self.0.metrics.text(&self.agents())
    }

    /// Takes no tunnel any more and says so at `/readyz`, waits until no request is in flight, for however long that takes, and
    /// then ends all tunnels.
    pub async fn drain(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
        let mut flying = self.0.flying.subscribe();
        // The sender lives as long as this hub.
        let _ = flying.wait_for(|count| *count == 0).await;
        self.0.registry.stop();
    }

    /// The route over `agent`, from within this process.
    pub fn transport(&self, agent: AgentName) -> HubTransport {
        HubTransport { hub: self.clone(), agent }
    }
}

impl Inner {
    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Counts somebody who was not let in.
    fn refuse(&self, reason: &'static str) {
        self.metrics.refused.get_or_create(&Reason { reason }).inc();
    }

    fn keys(&self) -> Arc<Keys> {
        let keys: RwLockReadGuard<'_, Arc<Keys>> = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&keys)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.registry.stop();
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}

/// The route over an agent of a hub in the same process.
#[derive(Clone, Debug)]
pub struct HubTransport {
    hub: Hub,
    agent: AgentName,
}

#[async_trait]
impl HttpTransport for HubTransport {
    async fn send(&self, request: Request<Body>) -> Result<Response<Body>, TransportError> {
        let unusable =
            |message: &str| TransportError::new(ErrorKind::InvalidInput, Delivery::NotSent, message);
        let uri = request.uri();
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.authority().is_none() {
            return Err(unusable("the request's URI is no absolute http or https URL"));
        }
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(unusable(
                "the request's URL carries a user name or password; credentials go into a header",
            ));
        }
        self.hub.0.carry(EMBEDDED, &self.agent, request).await
    }

    async fn probe(&self, target: &Url) -> Vec<RungReport> {
        match self.climb(target).await {
            Ok(rungs) => rungs,
            Err(error) => {
                let code = error.code().unwrap_or(Code::RelayAgentOffline);
                let rung = RungReport::failed(code, error.to_string(), remedy(code, &self.agent, target));
                vec![error.details().iter().fold(rung, |rung, (name, value)| rung.with_detail(name, value))]
            }
        }
    }

    fn route(&self) -> Route {
        Route::Agent
    }
}

impl HubTransport {
    /// The rung of the route, and those that the agent climbed.
    async fn climb(&self, target: &Url) -> Result<Vec<RungReport>, TransportError> {
        let broken = |_| {
            TransportError::new(ErrorKind::Relay, Delivery::Unknown, "the agent's report cannot be read")
                .with_code(Code::RelayVersion)
        };
        let mut request = Request::new(Body::from(target.to_string()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = control::uri(control::PROBE);
        let answer = self.hub.0.carry(EMBEDDED, &self.agent, request).await?;
        let report = answer.into_body().collect(REPORT).await?;
        let below: Vec<RungReport> = serde_json::from_slice(&report).map_err(broken)?;
        let seen = format!("the agent {} is connected", self.agent);
        let mut rungs = vec![RungReport::passed(Rung::Route, seen)];
        rungs.extend(below);
        Ok(rungs)
    }
}

/// What helps, in the words of the agent's chart.
fn remedy(code: Code, agent: &AgentName, target: &Url) -> String {
    match code {
        Code::RelayAgentNeverSeen => format!(
            "Install the agent in the network of the server, with `gitproxy.enabled: true` and the access key of {agent} in \
             `accessKey`. Where it is installed, its log says why it does not reach the hub: most often outbound 443 is closed, \
             or `proxy.httpsProxy` is missing."
        ),
        Code::RelayAgentOffline => format!(
            "The agent {agent} has stopped, or its way out is closed. Check that its pod `gitproxy` runs; its log says why it \
             does not reach the hub."
        ),
        Code::RelayAgentDenied => format!(
            "Add the server to the agent's allow list, `allow: [\"{}=PRESET\"]`, with the preset gitlab or bitbucket-dc.",
            target.origin().ascii_serialization()
        ),
        Code::RelayVersion => {
            format!("Upgrade the agent {agent}, with the chart's new version; else upgrade the hub.")
        }
        _ => format!("See the log of the agent {agent}: it names each request and what became of it."),
    }
}
