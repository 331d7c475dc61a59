#![doc = include_str!("../README.md")]

#[cfg(feature = "direct")]
mod body;
mod builder;
#[cfg(feature = "direct")]
mod certificate;
#[cfg(feature = "direct")]
mod classify;
#[cfg(feature = "direct")]
mod client;
#[cfg(feature = "proxy")]
mod connect;
#[cfg(feature = "direct")]
mod dial;
#[cfg(feature = "proxy")]
mod dialer;
#[cfg(feature = "direct")]
mod direct;
#[cfg(feature = "proxy")]
mod no_proxy;
mod pem;
#[cfg(feature = "direct")]
mod probe;
#[cfg(feature = "proxy")]
mod proxies;
#[cfg(feature = "proxy")]
mod proxy;
#[cfg(feature = "relay")]
mod relay;
#[cfg(feature = "direct")]
mod resolve;
#[cfg(feature = "direct")]
mod tls;

pub use builder::{Crypto, Network};
#[cfg(feature = "proxy")]
pub use dialer::{Connection, Dialer};
#[cfg(feature = "direct")]
pub use direct::DirectTransport;
#[cfg(feature = "proxy")]
pub use no_proxy::{Decision, Malformed, NoProxy, Reason};
pub use pem::{CaCertificates, ClientIdentity};
#[cfg(feature = "proxy")]
pub use proxies::Proxies;
#[cfg(feature = "proxy")]
pub use proxy::ProxyTransport;
#[cfg(feature = "relay")]
pub use relay::RelayTransport;
#[cfg(feature = "direct")]
pub use resolve::Resolver;
