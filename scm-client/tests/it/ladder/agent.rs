//! The route through a hub and an agent in this process: what the two say.

use std::net::SocketAddr;
use std::time::Duration;

use scm_client::core::{Code, Outcome, Rung};
use scm_client::transport::Network;
use scm_relay::{Agent, AgentSettings, Hub, HubSettings, KeyHash, Keys, Policy};
use scm_testkit::fault::program::Program;
use scm_testkit::fault::socket::closed_port;
use scm_testkit::sim::gitlab::GitLabSim;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{Connection, Section, needed};

const AGENT_KEY: &str = "agent-key-of-the-test";
const SERVICE_KEY: &str = "service-key-of-the-test";

/// A hub that is mounted in a server of this process.
pub(super) struct Mounted {
    pub(super) hub: Hub,
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl Mounted {
    pub(super) async fn start(settings: HubSettings) -> Self {
        let name = "acme".parse().unwrap();
        let keys = Keys::new().with_agent(name, KeyHash::of(AGENT_KEY)).unwrap();
        let keys = keys.with_service("repairs", KeyHash::of(SERVICE_KEY), ["acme".parse().unwrap()]);
        let hub = Hub::new(settings.with_patience(Duration::from_millis(50)), keys);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = axum::Router::new().fallback_service(hub.clone());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { hub, address, server }
    }

    /// An agent of this hub, once it is connected.
    pub(super) async fn agent(&self, policy: Policy, network: Network) -> Running {
        let running = self.dial(policy, network);
        while self.hub.agents().iter().all(|agent| agent.tunnels == 0) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        running
    }

    fn dial(&self, policy: Policy, network: Network) -> Running {
        let settings = AgentSettings::new()
            .with_network(network)
            .with_tunnel_network(Network::new())
            .with_retry(Duration::from_millis(5), Duration::from_millis(50))
            .with_danger_plain_http();
        let hub = format!("http://{}", self.address).parse().unwrap();
        let agent = Agent::new(hub, SecretString::from(AGENT_KEY).into(), policy, settings).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move { agent.run(async { drop(stopped.await) }).await });
        Running { stop: Some(stop), task }
    }

    /// A connection over the agent.
    pub(super) fn through(&self, connection: Connection) -> Connection {
        through(connection, self.address, SERVICE_KEY)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        self.server.abort();
    }
}

pub(super) struct Running {
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Running {
    pub(super) async fn stop(mut self, hub: &Hub) {
        drop(self.stop.take());
        (&mut self.task).await.unwrap();
        while hub.agents().iter().any(|agent| agent.tunnels > 0) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn through(connection: Connection, hub: impl std::fmt::Display, key: &str) -> Connection {
    connection.with(format!(
        "route = \"agent\"\nagent = {{ hub = \"http://{hub}\", name = \"acme\", key = \"{key}\", danger_plain_http = true }}"
    ))
}

pub(super) fn allowing<'a>(entries: impl IntoIterator<Item = &'a str>) -> Policy {
    entries.into_iter().fold(Policy::new(), |policy, entry| policy.with(entry.parse().unwrap()))
}

#[tokio::test]
async fn each_fault_of_hub_and_agent_has_its_code() {
    let mut section = Section::new("route");
    let gitlab = GitLabSim::builder().seed_demo().start().await.unwrap();
    let to = || Connection::to("gitlab", gitlab.url()).token(&gitlab.tokens()[0].token);
    section.stable(gitlab.url(), "https://gitlab.company.com");

    let closed = closed_port().await.unwrap();
    section.stable(closed, "hub.example.com:443");
    section.stable(closed.port(), "443");
    let report = through(to(), closed, SERVICE_KEY).check().await;
    section.found(Code::RelayHubUnreachable, "nothing listens where the hub should be", &report);
    let page = "server { listen 127.0.0.1:PORT0; return 200 hello; }\n";
    let Some(nginx) = needed("nginx", Program::nginx(1, page, &[]).await) else { return };
    let report = through(to(), nginx.address(), SERVICE_KEY).check().await;
    section.found(Code::RelayHubUnreachable, "another service answers in place of the hub", &report);

    let mounted = Mounted::start(HubSettings::new()).await;
    section.stable(mounted.address, "hub.example.com");
    let report = through(to(), mounted.address, "another-key").check().await;
    section.found(Code::RelayKeyRejected, "the hub does not know the service's key", &report);
    let report = mounted.through(to()).check().await;
    section.found(Code::RelayAgentNeverSeen, "no agent has ever connected", &report);

    let agent = mounted.agent(allowing(["https://git.company.com=bitbucket-dc"]), Network::new()).await;
    let report = mounted.through(to()).check().await;
    section.found(Code::RelayAgentDenied, "the server is not on the agent's list", &report);
    agent.stop(&mounted.hub).await;
    let reads = format!("{}=gitlab:clone", gitlab.url());
    let agent = mounted.agent(allowing([reads.as_str()]), Network::new()).await;
    let report = mounted.through(to()).check().await;
    section.found(Code::RelayAgentDenied, "the entry allows less than is asked for", &report);
    agent.stop(&mounted.hub).await;
    let report = mounted.through(to()).check().await;
    for later in 1..60 {
        section.stable(format!("last {later} seconds ago"), "last 0 seconds ago");
    }
    section.found(Code::RelayAgentOffline, "the agent was here, and is gone", &report);

    let entry = format!("{}=gitlab", gitlab.url());
    let agent = mounted.agent(allowing([entry.as_str()]), Network::new()).await;
    let report = mounted.through(to()).check().await;
    assert!(report.is_ok(), "{report}");
    let route = report.rungs.iter().find(|rung| rung.rung == Rung::Route).unwrap();
    assert_eq!(route.outcome, Outcome::Passed);
    drop(agent);

    let newer = Mounted::start(HubSettings::new().with_minimum_agent("99.0.0").unwrap()).await;
    let _agent = newer.dial(allowing([entry.as_str()]), Network::new());
    while newer.hub.agents().is_empty() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let report = newer.through(to()).check().await;
    section.stable(env!("CARGO_PKG_VERSION"), "1.2.0");
    section.stable("99.0.0", "2.0.0");
    section.found(Code::RelayVersion, "the agent is older than the hub takes", &report);
    section.assert_on_page();
}
