#![doc = include_str!("../README.md")]

#[cfg(feature = "direct")]
mod body;
mod builder;
#[cfg(feature = "direct")]
mod certificate;
#[cfg(feature = "direct")]
mod classify;
#[cfg(feature = "direct")]
mod direct;
#[cfg(feature = "proxy")]
mod no_proxy;
mod pem;
#[cfg(feature = "direct")]
mod probe;
#[cfg(feature = "direct")]
mod resolve;
#[cfg(feature = "direct")]
mod tls;

pub use builder::{Crypto, Network};
#[cfg(feature = "direct")]
pub use direct::DirectTransport;
#[cfg(feature = "proxy")]
pub use no_proxy::{Decision, Malformed, NoProxy, Reason};
pub use pem::{CaCertificates, ClientIdentity};
