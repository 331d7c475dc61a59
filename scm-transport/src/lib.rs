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
pub use pem::{CaCertificates, ClientIdentity};
