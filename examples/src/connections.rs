//! Connections for the programs: those of a configuration file, or the embedded demonstration.

use std::path::Path;
use std::sync::Arc;

use scm_client::{Config, connect};
use scm_core::{Error, Result, Scm};
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

/// Open connections. The demonstration's simulator lives as long as this.
#[derive(Debug)]
pub struct Connections {
    /// The connections, in the file's order.
    pub list: Vec<Connection>,
    demo: Option<GitLabSim>,
}

impl Connections {
    /// Reads a configuration, or starts the demonstration where there is none: a simulated GitLab on loopback, filled
    /// with small repositories.
    ///
    /// # Errors
    /// `Config` for what cannot be, naming it.
    pub async fn open(config: Option<&Path>) -> Result<Self> {
        let (config, demo) = match config {
            Some(path) => (Config::load(path)?, None),
            None => {
                let sim = GitLabSim::builder().context_path("/gitlab").seed_demo().start().await.map_err(
                    |error| {
                        Error::config(format!(
                            "the demonstration cannot start ({error}); it needs git in the PATH"
                        ))
                    },
                )?;
                (Config::from_toml(&demo_config(&sim)?, "")?, Some(sim))
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
        if let Some(sim) = self.demo {
            sim.shutdown().await;
        }
    }
}

fn demo_config(sim: &GitLabSim) -> Result<String> {
    let token =
        sim.tokens().into_iter().next().ok_or_else(|| Error::config("the demonstration has no token"))?;
    Ok(format!(
        "[[connection]]\nname = \"demo-gitlab\"\nprovider = \"gitlab\"\nurl = \"{}\"\ntoken = {{ value = \"{}\" }}\n",
        sim.url(),
        token.token
    ))
}

/// The one place of the programs that reads the environment.
#[expect(
    clippy::disallowed_methods,
    reason = "programs may read the environment; the libraries take a look-up"
)]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
