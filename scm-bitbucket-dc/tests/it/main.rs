//! Tests of the Bitbucket provider from outside: one binary, for link time.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "a run of the suite shows what was skipped, and why")]

mod bad_input;
mod canary;
mod check;
mod comments;
mod conformance;
mod faults;
mod lost;
mod pull_requests;
mod readme;
mod versions;
mod wire;
mod world;
