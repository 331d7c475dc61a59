#![doc = include_str!("../README.md")]

mod dialect;
mod fetch;
#[cfg(feature = "gateway")]
mod gateway;
mod objects;
mod pack;
mod pkt;
mod push;
mod refs;
mod repository;
mod tree;

#[cfg(feature = "gateway")]
pub use gateway::Gateway;
pub use repository::{GitRepository, GitServer};
