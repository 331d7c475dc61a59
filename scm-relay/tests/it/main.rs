//! Tests of the agent route from outside: one binary, for link time.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod gitlab;
mod http;
mod hub_program;
mod hub_relay;
mod tunnels;
mod world;
