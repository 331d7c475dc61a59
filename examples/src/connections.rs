//! Connections for the programs: those of a configuration file, or the embedded demonstration.

use std::path::Path;
use std::sync::Arc;

use scm_client::transport::NoProxy;
use scm_client::{Config, ConnectionConfig, connect};
use scm_core::{Result, Scm};

use crate::demo::Demo;
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

impl Connections {
    /// Reads a configuration, or starts the demonstration where there is none: a simulated server of each
    /// product, directly, behind a proxy and behind an agent.
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
