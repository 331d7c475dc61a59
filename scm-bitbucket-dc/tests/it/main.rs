//! Integration tests: one binary, for link time.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "a run of the suite shows what was skipped, and why")]

mod check;
mod conformance;
