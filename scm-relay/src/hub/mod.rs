//! The hub: takes the tunnels that agents dial, and sends the requests of services into them.

mod accept;
mod admin;
mod answer;
mod registry;
mod route;
mod serve;

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use async_trait::async_trait;
use http::{Method, Request, Response};
use scm_core::{Body, Code, Delivery, ErrorKind, HttpTransport, Route, Rung, RungReport, TransportError};
use url::Url;

pub use registry::AgentStatus;
pub use serve::HubBody;

use crate::agent::control;
use crate::keys::{AgentName, Keys};
use crate::tunnel::Settings;
use registry::Registry;

/// Where agents come in.
pub(crate) const TUNNEL: &str = "/v1/tunnel";

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
    /// How often a tunnel has to show that it lives. 15 seconds by default.
    pub ping_every: Duration,
    /// How long that may take. 10 seconds by default.
    pub ping_limit: Duration,
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
            ping_every: tunnel.ping_every,
            ping_limit: tunnel.ping_limit,
        }
    }

    /// Sets how long a request waits for an agent that is not here.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
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
/// It is a [`tower_service::Service`] to be mounted in an HTTP server that does upgrades, and serves:
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
pub struct Hub(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) settings: HubSettings,
    pub(crate) registry: Arc<Registry>,
    keys: RwLock<Arc<Keys>>,
}

impl Hub {
    /// A hub for whoever has one of these keys.
    #[must_use]
    pub fn new(settings: HubSettings, keys: Keys) -> Self {
        let registry = Arc::new(Registry::new());
        Self(Arc::new(Inner { settings, registry, keys: RwLock::new(Arc::new(keys)) }))
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

    /// The route over `agent`, from within this process.
    pub fn transport(&self, agent: AgentName) -> HubTransport {
        HubTransport { hub: self.clone(), agent }
    }
}

impl Inner {
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
        self.hub.0.carry(&self.agent, request).await
    }

    async fn probe(&self, target: &Url) -> Vec<RungReport> {
        match self.climb(target).await {
            Ok(rungs) => rungs,
            Err(error) => {
                let remedy = error.code().map_or("see the log of the agent", remedy);
                let rung = RungReport::from_transport_error(&error, remedy);
                let unnamed = || RungReport::failed(Code::RelayAgentOffline, error.to_string(), remedy);
                vec![rung.unwrap_or_else(unnamed)]
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
        let answer = self.hub.0.carry(&self.agent, request).await?;
        let report = answer.into_body().collect(REPORT).await?;
        let below: Vec<RungReport> = serde_json::from_slice(&report).map_err(broken)?;
        let seen = format!("the agent {} is connected", self.agent);
        let mut rungs = vec![RungReport::passed(Rung::Route, seen)];
        rungs.extend(below);
        Ok(rungs)
    }
}

/// What helps.
fn remedy(code: Code) -> &'static str {
    match code {
        Code::RelayAgentNeverSeen => {
            "install the agent in the network of the server, with gitproxy.enabled and the access key of this name"
        }
        Code::RelayAgentOffline => "look at the agent's log: it says why it does not reach the hub",
        Code::RelayAgentDenied => "add the server to the agent's allow list",
        Code::RelayVersion => "update the agent, or the hub",
        _ => "see the log of the agent",
    }
}
