//! The routes against real sockets on loopback.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod canary;
mod dialer;
mod duties;
mod environment;
mod faults;
mod h2;
mod hosts;
mod no_proxy;
mod plain;
mod probe;
mod proxy;
mod proxy_probe;
mod real_proxy;
mod resolver;
mod support;
mod tls;
