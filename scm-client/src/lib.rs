#![doc = include_str!("../README.md")]

mod config;
mod registry;
mod source;

pub use config::{AgentConfig, Config, ConnectionConfig, NetworkConfig};
pub use registry::{Factory, Registry, connect};
pub use scm_core as core;
#[cfg(feature = "gitlab")]
pub use scm_gitlab as gitlab;
pub use scm_transport as transport;
pub use source::{Source, TokenSource, Variables};
