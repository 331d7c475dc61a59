//! Connections for the programs: those of a configuration file, or the embedded demonstration.

use std::path::Path;
use std::sync::Arc;

use scm_client::transport::NoProxy;
use scm_client::{Config, ConnectionConfig, connect};
use scm_core::{Error, Result, Scm};
use scm_testkit::proxy::Proxy;
use scm_testkit::sim::SimError;
use scm_testkit::sim::bitbucket_dc::{BitbucketDcSim, BitbucketDcSimBuilder};
use scm_testkit::sim::gitlab::{GitLabSim, GitLabSimBuilder};

use crate::output::warn;

/// A connection and what reports say of it.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Its name in the configuration.
    pub name: String,
    /// Its provider.
    pub provider: String,
    /// Its route.
    pub route: String,
    /// Entries of its `no_proxy` that cannot be read, and why.
    pub ignored: Vec<String>,
    /// The client.
    pub scm: Arc<dyn Scm>,
}

impl Connection {
    fn open(config: &ConnectionConfig) -> Result<Self> {
        let list = NoProxy::parse(config.network.no_proxy.as_deref().unwrap_or_default());
        let ignored: Vec<_> = list.malformed().iter().map(ToString::to_string).collect();
        for entry in &ignored {
            warn(&format!("connection '{}': no_proxy: an entry is ignored: {entry}", config.name));
        }
        Ok(Self {
            name: config.name.clone(),
            provider: config.provider.clone(),
            route: config.route.to_string(),
            ignored,
            scm: connect(config, &variable)?,
        })
    }
}

/// Open connections. The demonstration's servers live as long as this.
#[derive(Debug)]
pub struct Connections {
    /// The connections, in the file's order.
    pub list: Vec<Connection>,
    demo: Option<Demo>,
}

/// A simulated GitLab and a simulated Bitbucket Data Center for each route, filled with small repositories. Those behind
/// the proxy go by names that nobody else knows.
#[derive(Debug)]
struct Demo {
    direct: Servers,
    behind: Servers,
    proxy: Proxy,
}

#[derive(Debug)]
struct Servers {
    gitlab: GitLabSim,
    bitbucket_dc: BitbucketDcSim,
}

const GITLAB: &str = "gitlab.company.test";
const BITBUCKET_DC: &str = "bitbucket.company.test";

impl Demo {
    async fn start() -> Result<Self> {
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
        );
        let (direct, behind) = started.map_err(|error| {
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
        Ok(Self { direct, behind, proxy })
    }

    fn config(&self) -> Result<String> {
        let mut config = String::new();
        let proxied = format!("route = \"proxy\"\nnetwork = {{ http_proxy = \"{}\" }}\n", self.proxy.url());
        for (servers, suffix, route) in [(&self.direct, "", ""), (&self.behind, "-proxy", &proxied)] {
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

    async fn close(self) {
        self.proxy.shutdown().await;
        for Servers { gitlab, bitbucket_dc } in [self.direct, self.behind] {
            gitlab.shutdown().await;
            bitbucket_dc.shutdown().await;
        }
    }
}

impl Connections {
    /// Reads a configuration, or starts the demonstration where there is none: a simulated server of each
    /// product, directly and behind a proxy.
    ///
    /// # Errors
    /// `Config` for what cannot be, naming it.
    pub async fn open(config: Option<&Path>) -> Result<Self> {
        Self::open_chosen(config, None).await
    }

    /// The same, with one connection alone where it is `chosen` by its name. What is ignored of a configuration is told on
    /// standard error.
    ///
    /// # Errors
    /// Those of [`open`](Self::open), and for a name that no connection has.
    pub async fn open_chosen(config: Option<&Path>, chosen: Option<&str>) -> Result<Self> {
        let (config, demo) = match config {
            Some(path) => (Config::load(path)?, None),
            None => {
                let demo = Demo::start().await?;
                (Config::from_toml(&demo.config()?, "")?, Some(demo))
            }
        };
        let wanted = match chosen {
            Some(name) => std::slice::from_ref(config.connection(name)?),
            None => &config.connections,
        };
        let list = wanted.iter().map(Connection::open).collect::<Result<_>>()?;
        Ok(Self { list, demo })
    }

    /// Is this the demonstration?
    pub fn is_demo(&self) -> bool {
        self.demo.is_some()
    }

    /// Ends the demonstration.
    pub async fn close(self) {
        if let Some(demo) = self.demo {
            demo.close().await;
        }
    }
}

/// The one place of the programs that reads the environment.
#[expect(
    clippy::disallowed_methods,
    reason = "programs may read the environment; the libraries take a look-up"
)]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
