//! The embedded demonstration: simulated servers, a proxy before some of them, a hub and an agent before others.

use std::net::SocketAddr;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use scm_core::{Error, Result};
use scm_relay::{AgentSettings, Hub, HubSettings, Keys, NewKey, Policy};
use scm_testkit::proxy::Proxy;
use scm_testkit::sim::SimError;
use scm_testkit::sim::bitbucket_dc::{BitbucketDcSim, BitbucketDcSimBuilder};
use scm_testkit::sim::gitlab::{GitLabSim, GitLabSimBuilder};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdin, Command};
use tokio::task::JoinHandle;

use crate::output::complain;

/// A simulated GitLab and a simulated Bitbucket Data Center for each route, filled with small repositories. Those behind
/// the proxy go by names that nobody else knows; those behind the agent are reached by a process of its own.
#[derive(Debug)]
pub(crate) struct Demo {
    direct: Servers,
    behind: Servers,
    remote: Servers,
    proxy: Proxy,
    hub: Mounted,
    agent: Agent,
}

#[derive(Debug)]
struct Servers {
    gitlab: GitLabSim,
    bitbucket_dc: BitbucketDcSim,
}

const GITLAB: &str = "gitlab.company.test";
const BITBUCKET_DC: &str = "bitbucket.company.test";

impl Demo {
    pub(crate) async fn start() -> Result<Self> {
        let gitlab = || GitLabSim::builder().context_path("/gitlab").seed_demo();
        let bitbucket_dc = || BitbucketDcSim::builder().context_path("/bitbucket").seed_demo();
        let servers = async |gitlab: GitLabSimBuilder, bitbucket_dc: BitbucketDcSimBuilder| {
            let (gitlab, bitbucket_dc) = tokio::try_join!(gitlab.start(), bitbucket_dc.start())?;
            Ok::<_, SimError>(Servers { gitlab, bitbucket_dc })
        };
        let started = tokio::try_join!(
            servers(gitlab(), bitbucket_dc()),
            servers(
                gitlab().external_url(format!("http://{GITLAB}/gitlab")),
                bitbucket_dc().external_url(format!("http://{BITBUCKET_DC}/bitbucket")),
            ),
            servers(gitlab(), bitbucket_dc()),
        );
        let (direct, behind, remote) = started.map_err(|error| {
            Error::config(format!("the demonstration cannot start ({error}); it needs git in the PATH"))
        })?;
        let proxy = Proxy::builder()
            .host(GITLAB, behind.gitlab.address())
            .host(BITBUCKET_DC, behind.bitbucket_dc.address())
            .start()
            .await
            .map_err(|error| {
                Error::config(format!("the demonstration cannot start its proxy: {}", error.kind()))
            })?;
        let hub = Mounted::start().await?;
        let agent = Agent::start(&hub, &remote).await?;
        Ok(Self { direct, behind, remote, proxy, hub, agent })
    }

    pub(crate) fn config(&self) -> Result<String> {
        let mut config = String::new();
        let proxied = format!("route = \"proxy\"\nnetwork = {{ http_proxy = \"{}\" }}\n", self.proxy.url());
        let relayed = format!(
            "route = \"agent\"\nagent = {{ hub = \"http://{}\", name = \"{AGENT}\", key = \"{}\", danger_plain_http = true }}\n",
            self.hub.address,
            self.hub.service_key.expose_secret()
        );
        for (servers, suffix, route) in
            [(&self.direct, "", ""), (&self.behind, "-proxy", &proxied), (&self.remote, "-agent", &relayed)]
        {
            let Servers { gitlab, bitbucket_dc } = servers;
            let token = gitlab.tokens().into_iter().next().map(|issued| issued.token);
            let other = bitbucket_dc.tokens().into_iter().next().map(|issued| issued.token);
            for (provider, url, token) in [
                ("gitlab", gitlab.external_url(), token),
                ("bitbucket-dc", bitbucket_dc.external_url(), other),
            ] {
                let token = token.ok_or_else(|| Error::config("the demonstration has no token"))?;
                config.push_str(&format!(
                    "[[connection]]\nname = \"demo-{provider}{suffix}\"\nprovider = \"{provider}\"\nurl = \"{url}\"\n\
                     token = {{ value = \"{token}\" }}\n{route}"
                ));
            }
        }
        Ok(config)
    }

    pub(crate) async fn close(self) {
        self.agent.stop().await;
        self.hub.server.abort();
        self.proxy.shutdown().await;
        for Servers { gitlab, bitbucket_dc } in [self.direct, self.behind, self.remote] {
            gitlab.shutdown().await;
            bitbucket_dc.shutdown().await;
        }
    }
}

/// The agent's name.
const AGENT: &str = "demo";

/// What a program is started with to be the demonstration's agent.
const AS_AGENT: &str = "agent-of-the-demonstration";

/// Longest time until the agent is there.
const PATIENCE: Duration = Duration::from_secs(20);

/// A hub that is mounted in a server of this process.
#[derive(Debug)]
struct Mounted {
    hub: Hub,
    address: SocketAddr,
    agent_key: SecretString,
    service_key: SecretString,
    server: JoinHandle<()>,
}

impl Mounted {
    async fn start() -> Result<Self> {
        let (agent, service) = (NewKey::generate()?, NewKey::generate()?);
        let name: scm_relay::AgentName = AGENT.parse()?;
        let keys =
            Keys::new().with_agent(name.clone(), agent.hash)?.with_service("remediate", service.hash, [name]);
        let hub = Hub::new(HubSettings::new(), keys);
        let cannot = |error: std::io::Error| {
            Error::config(format!("the demonstration cannot start its hub: {}", error.kind()))
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        let router = axum::Router::new().fallback_service(hub.clone());
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the demonstration's hub has ended");
            }
        });
        Ok(Self { hub, address, agent_key: agent.secret, service_key: service.secret, server })
    }
}

/// What the agent is told, on its standard input, which stays open for as long as it is wanted.
#[derive(Serialize, Deserialize)]
struct Order {
    hub: String,
    key: String,
    allow: Vec<String>,
}

/// This program once more, as the agent.
#[derive(Debug)]
struct Agent {
    child: Child,
    /// Held apart: whoever waits for a child closes what it has.
    stdin: ChildStdin,
}

impl Agent {
    async fn start(mounted: &Mounted, servers: &Servers) -> Result<Self> {
        let cannot = |error: std::io::Error| {
            Error::config(format!("the demonstration cannot start its agent: {}", error.kind()))
        };
        let order = Order {
            hub: format!("http://{}", mounted.address),
            key: mounted.agent_key.expose_secret().to_owned(),
            allow: vec![
                format!("{}=gitlab", servers.gitlab.url()),
                format!("{}=bitbucket-dc", servers.bitbucket_dc.url()),
            ],
        };
        let mut order = serde_json::to_vec(&order)
            .map_err(|error| Error::config(format!("the demonstration cannot start its agent: {error}")))?;
        order.push(b'\n');
        let program = std::env::current_exe().map_err(cannot)?;
        let mut child = Command::new(program)
            .arg(AS_AGENT)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(cannot)?;
        let mut stdin = child
            .stdin
            .take()
            .ok_or_else(|| Error::config("the demonstration's agent has no standard input"))?;
        stdin.write_all(&order).await.map_err(cannot)?;
        stdin.flush().await.map_err(cannot)?;
        let connected = async {
            while mounted.hub.agents().iter().all(|agent| agent.tunnels == 0) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            () = connected => Ok(Self { child, stdin }),
            _ = child.wait() => Err(Error::config("the demonstration's agent has ended at once")),
            () = tokio::time::sleep(PATIENCE) => {
                Err(Error::config(format!("the demonstration's agent did not connect within {PATIENCE:?}")))
            }
        }
    }

    /// It ends with its standard input.
    async fn stop(mut self) {
        drop(self.stdin);
        // One that stays is killed when it is dropped.
        let _ = tokio::time::timeout(PATIENCE, self.child.wait()).await;
    }
}

/// Is this program started to be the demonstration's agent? Then it is that until its standard input ends. The programs ask this
/// before anything else.
pub async fn agent_if_asked() -> Option<ExitCode> {
    if std::env::args_os().nth(1).is_none_or(|arg| arg != AS_AGENT) {
        return None;
    }
    Some(match be_agent().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(AS_AGENT, &error);
            ExitCode::from(2)
        }
    })
}

async fn be_agent() -> Result<()> {
    let mut stdin = BufReader::new(tokio::io::stdin());
    let mut line = String::new();
    let unusable = || Error::config("the demonstration did not say what its agent should do");
    stdin.read_line(&mut line).await.map_err(|_| unusable())?;
    let Order { hub, key, allow } = serde_json::from_str(&line).map_err(|_| unusable())?;
    let policy =
        allow.iter().try_fold(Policy::new(), |policy, entry| Ok::<_, Error>(policy.with(entry.parse()?)))?;
    let hub = hub.parse().map_err(|_| unusable())?;
    let settings = AgentSettings::new().with_danger_plain_http();
    let agent = scm_relay::Agent::new(hub, SecretString::from(key).into(), policy, settings)?;
    let wanted = async {
        // Nothing more is said; that it ends is what counts.
        let _ = stdin.read_to_end(&mut Vec::new()).await;
    };
    agent.run(wanted).await;
    Ok(())
}
