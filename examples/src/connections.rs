//! Connections for the programs: those of a configuration file, or the embedded demonstration.

use std::path::Path;
use std::sync::Arc;

use scm_client::{Config, connect};
use scm_core::{Error, Result, Scm};
use scm_testkit::sim::SimError;
use scm_testkit::sim::bitbucket_dc::BitbucketDcSim;
use scm_testkit::sim::gitlab::GitLabSim;

/// A connection and what reports say of it.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Its name in the configuration.
    pub name: String,
    /// Its provider.
    pub provider: String,
    /// Its route.
    pub route: String,
    /// The client.
    pub scm: Arc<dyn Scm>,
}

/// Open connections. The demonstration's simulators live as long as this.
#[derive(Debug)]
pub struct Connections {
    /// The connections, in the file's order.
    pub list: Vec<Connection>,
    demo: Option<Demo>,
}

/// A simulated GitLab and a simulated Bitbucket Data Center on loopback, filled with small repositories.
#[derive(Debug)]
struct Demo {
    gitlab: GitLabSim,
    bitbucket_dc: BitbucketDcSim,
}

impl Demo {
    async fn start() -> Result<Self> {
        let failed = |error: SimError| {
            Error::config(format!("the demonstration cannot start ({error}); it needs git in the PATH"))
        };
        let gitlab = GitLabSim::builder().context_path("/gitlab").seed_demo().start();
        let bitbucket_dc = BitbucketDcSim::builder().context_path("/bitbucket").seed_demo().start();
        Ok(Self { gitlab: gitlab.await.map_err(failed)?, bitbucket_dc: bitbucket_dc.await.map_err(failed)? })
    }

    fn config(&self) -> Result<String> {
        let gitlab = self.gitlab.tokens().into_iter().next().map(|issued| issued.token);
        let bitbucket_dc = self.bitbucket_dc.tokens().into_iter().next().map(|issued| issued.token);
        let entry = |name: &str, url: String, token: Option<String>| match token {
            Some(token) => Ok(format!(
                "[[connection]]\nname = \"demo-{name}\"\nprovider = \"{name}\"\nurl = \"{url}\"\n\
                 token = {{ value = \"{token}\" }}\n"
            )),
            None => Err(Error::config("the demonstration has no token")),
        };
        let mut config = entry("gitlab", self.gitlab.url(), gitlab)?;
        config.push_str(&entry("bitbucket-dc", self.bitbucket_dc.url(), bitbucket_dc)?);
        Ok(config)
    }
}

impl Connections {
    /// Reads a configuration, or starts the demonstration where there is none: a simulated server of each product.
    ///
    /// # Errors
    /// `Config` for what cannot be, naming it.
    pub async fn open(config: Option<&Path>) -> Result<Self> {
        let (config, demo) = match config {
            Some(path) => (Config::load(path)?, None),
            None => {
                let demo = Demo::start().await?;
                (Config::from_toml(&demo.config()?, "")?, Some(demo))
            }
        };
        let open = |connection: &scm_client::ConnectionConfig| {
            connect(connection, &variable).map(|scm| Connection {
                name: connection.name.clone(),
                provider: connection.provider.clone(),
                route: connection.route.to_string(),
                scm,
            })
        };
        let list = config.connections.iter().map(open).collect::<Result<_>>()?;
        Ok(Self { list, demo })
    }

    /// Is this the demonstration?
    pub fn is_demo(&self) -> bool {
        self.demo.is_some()
    }

    /// Ends the demonstration.
    pub async fn close(self) {
        if let Some(Demo { gitlab, bitbucket_dc }) = self.demo {
            gitlab.shutdown().await;
            bitbucket_dc.shutdown().await;
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
