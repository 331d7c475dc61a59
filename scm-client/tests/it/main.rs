//! Tests of the facade from outside: one binary, for link time.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod canary;
mod ladder;
mod proxy;
