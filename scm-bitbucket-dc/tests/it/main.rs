//! Integration tests: one binary, for link time.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod check;
mod conformance;
