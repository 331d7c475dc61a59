#![doc = include_str!("../README.md")]

mod dialect;
mod fetch;
mod objects;
mod pack;
mod pkt;
mod push;
mod refs;
mod repository;
mod tree;

pub use repository::{GitRepository, GitServer};
