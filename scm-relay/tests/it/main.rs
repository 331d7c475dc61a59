//! Tests of the agent route from outside: one binary, for link time.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod agent_check;
mod agent_faults;
mod agent_program;
mod agent_reach;
mod agent_tunnel;
mod agent_world;
mod gitlab;
mod http;
mod hub_faults;
mod hub_limits;
mod hub_program;
mod hub_relay;
mod tunnels;
mod world;
