//! Tests of git over HTTP, against real git behind a simulated server: one binary, for link time.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod commits;
#[cfg(feature = "gateway")]
mod gateway;
mod large;
mod like_git;
mod world;
