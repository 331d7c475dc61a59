//! Tests of the GitLab provider from outside: one binary, for link time.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "a run of the suite shows what was skipped, and why")]

mod bad_input;
mod canary;
mod ci_and_lists;
mod conformance;
mod faults;
mod fire;
mod lost;
mod merge_requests;
mod readme;
mod wire;
mod world;
