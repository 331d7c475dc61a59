//! Tests of the agent route from outside: one binary, for link time.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "a run of the suite shows what was skipped, and why")]

mod agent_check;
mod agent_program;
mod agent_reach;
mod agent_tunnel;
mod agent_world;
mod fault_input;
mod fault_kill;
mod fault_size;
mod fault_soak;
mod fault_tunnel;
mod fault_world;
mod git;
mod http;
mod hub_faults;
mod hub_limits;
mod hub_program;
mod hub_relay;
mod matrix;
mod tunnels;
mod world;
