//! Tests of the facade from outside: one binary, for link time.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "a run of the suite shows what was skipped, and why")]

mod canary;
mod git;
mod ladder;
mod matrix;
mod proxy;
mod routes;
