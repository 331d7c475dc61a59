//! A hub on loopback, and agents that dial it.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use scm_core::Transport;
use scm_relay::{Agent, AgentName, AgentSettings, Hub, HubSettings, KeyHash, Keys, Policy, Secret};
use scm_transport::{DirectTransport, Network};
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) const AGENT_KEY: &str = "scmhub-agent-key";
pub(crate) const SERVICE_KEY: &str = "scmhub-service-key";

pub(crate) fn secret(text: &str) -> Secret {
    SecretString::from(text).into()
}

pub(crate) fn acme() -> AgentName {
    "acme".parse().unwrap()
}

/// One agent, and one service that may use it.
pub(crate) fn keys() -> Keys {
    Keys::new().with_agent(acme(), KeyHash::of(AGENT_KEY)).unwrap().with_service(
        "fixer",
        KeyHash::of(SERVICE_KEY),
        [acme()],
    )
}

pub(crate) struct World {
    pub(crate) hub: Hub,
    pub(crate) address: SocketAddr,
    server: JoinHandle<()>,
}

/// An agent that runs until it is stopped or killed.
pub(crate) struct Running {
    stop: Option<oneshot::Sender<()>>,
    pub(crate) task: JoinHandle<()>,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(HubSettings::new().with_patience(Duration::from_secs(20))).await
    }

    pub(crate) async fn with(settings: HubSettings) -> Self {
        let hub = Hub::new(settings, keys());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener, hub.clone()));
        Self { hub, address, server }
    }

    /// Where services reach the server at `url` by way of the agent.
    pub(crate) fn place(&self, url: &str) -> String {
        let (scheme, rest) = url.split_once("://").unwrap();
        format!("http://{}/v1/agents/acme/{scheme}/{rest}", self.address)
    }

    pub(crate) fn transport(&self) -> Transport {
        Transport::new(self.hub.transport(acme()))
    }

    /// An agent that allows these entries.
    pub(crate) fn agent(&self, allow: &[&str]) -> Running {
        self.agent_with(AGENT_KEY, allow)
    }

    pub(crate) fn agent_with(&self, key: &str, allow: &[&str]) -> Running {
        run_agent(&format!("http://{}", self.address), key, allow)
    }

    pub(crate) fn agent_by(&self, policy: Policy, settings: AgentSettings) -> Running {
        run_agent_by(&format!("http://{}", self.address), AGENT_KEY, policy, settings)
    }

    /// Until the hub knows of so many tunnels.
    pub(crate) async fn tunnels(&self, wanted: usize) {
        while self.hub.agents().iter().map(|agent| agent.tunnels).sum::<usize>() != wanted {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Running {
    /// As by SIGTERM.
    pub(crate) fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An agent of the hub at `hub`, which may be in another process.
pub(crate) fn run_agent(hub: &str, key: &str, allow: &[&str]) -> Running {
    run_agent_by(hub, key, policy(allow), AgentSettings::new())
}

pub(crate) fn run_agent_by(hub: &str, key: &str, policy: Policy, settings: AgentSettings) -> Running {
    let settings =
        settings.with_retry(Duration::from_millis(5), Duration::from_millis(50)).with_danger_plain_http();
    let agent = Agent::new(hub.parse().unwrap(), secret(key), policy, settings).unwrap();
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(async move {
        agent
            .run(async {
                if stopped.await.is_err() {
                    std::future::pending::<()>().await;
                }
            })
            .await;
    });
    Running { stop: Some(stop), task }
}

/// One that allows these entries.
pub(crate) fn policy(allow: &[&str]) -> Policy {
    allow.iter().fold(Policy::new(), |policy, entry| policy.with(entry.parse().unwrap()))
}

pub(crate) fn direct() -> Transport {
    Transport::new(DirectTransport::new(&Network::new()).unwrap())
}

async fn serve(listener: TcpListener, hub: Hub) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        // As a server should in which a hub is mounted: heartbeats and small answers must not wait for more to come.
        stream.set_nodelay(true).unwrap();
        let service = TowerToHyperService::new(hub.clone());
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades());
    }
}
