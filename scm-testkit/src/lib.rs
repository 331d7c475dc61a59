#![doc = include_str!("../README.md")]
// Answers of the servers are written as single large `json!` values.
#![recursion_limit = "256"]

pub mod canary;
pub mod conformance;
pub mod duties;
pub mod fault;
pub mod proxy;
pub mod seed;
pub mod sim;
