#![doc = include_str!("../README.md")]

mod config;
mod registry;
mod route;
mod source;

pub use config::{AgentConfig, Config, ConnectionConfig, NetworkConfig};
pub use registry::{Factory, Registry, connect};
pub use route::transport_of;
#[cfg(feature = "bitbucket-dc")]
pub use scm_bitbucket_dc as bitbucket_dc;
pub use scm_core as core;
#[cfg(feature = "gateway")]
pub use scm_git as git;
#[cfg(feature = "gitlab")]
pub use scm_gitlab as gitlab;
pub use scm_transport as transport;
pub use source::{Source, TokenSource, Variables};
