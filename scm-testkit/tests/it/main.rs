//! The simulator, asked by raw HTTP and by git itself.

#![expect(clippy::unwrap_used, reason = "helpers outside of test functions may fail a test as well")]

mod auth;
mod binary;
mod bitbucket;
mod ci;
mod client;
mod commits;
mod faults;
mod git;
mod merge_requests;
mod paging;
mod peers;
mod strict;
