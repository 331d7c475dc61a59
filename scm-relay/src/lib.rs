#![doc = include_str!("../README.md")]

pub mod agent;
mod body;
mod fault;
pub mod hub;
mod keys;
mod tunnel;
mod wire;

pub use agent::{Agent, AgentSettings, Allow, Health, HeldCredential, Policy, Secret};
pub use hub::{AgentStatus, Hub, HubSettings, HubTransport};
pub use keys::{AgentName, KeyHash, Keys, NewKey};
