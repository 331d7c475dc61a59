//! The routes of the `scm` crate family: how a request gets to a self-hosted server.
//!
//! This crate implements [`scm_core::HttpTransport`] and is the only one of the family that opens sockets for
//! requests. So far there is one route, the direct one.
//!
//! ```no_run
//! use scm_core::Transport;
//! use scm_transport::{CaCertificates, DirectTransport, Network};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let ca = CaCertificates::parse(std::fs::read("company-ca.pem")?)?;
//! let network = Network::new().with_extra_roots(ca);
//! let transport = Transport::new(DirectTransport::new(&network)?);
//! # let _ = transport;
//! # Ok(())
//! # }
//! ```
//!
//! # What it does, and what it leaves alone
//!
//! A transport sends one request and hands back the head of the answer with a body that streams. It does not retry,
//! follow redirects, add credentials, keep cookies, decompress, or use a proxy from the environment: the pipeline of
//! [`scm_core`] decides about those. It adds `Host`, `User-Agent` and `Accept: */*` where the request has none, and
//! writes the framing headers from the body, whatever the request says. A request is written a second time in one case only: it was given to a pooled connection that
//! turned out to be closed before the first byte was written.
//!
//! # Time limits
//!
//! [`Network`] has a limit for making a connection, one for silence of the server, and, off by default, one for the
//! whole request. Silence is measured while the server is the one to act: neither a caller who reads an answer slowly
//! nor one who produces a request body slowly runs into it.
//!
//! # TLS
//!
//! TLS 1.2 and 1.3 by rustls. By default the roots of the platform count; [`Network::with_extra_roots`] adds the
//! company's own, [`Network::with_roots_only`] puts them in the place of the platform's. Both work on a machine without
//! any trust store. A certificate that is given as a root and is also the server's own (self-signed) is trusted for
//! the names it carries and while it is valid. Where the platform's roots come from files, the platform's usual
//! variables `SSL_CERT_FILE` and `SSL_CERT_DIR` say which. The process-wide crypto provider is neither read nor set.
//!
//! # Errors
//!
//! Building reports [`ErrorKind::Config`](scm_core::ErrorKind::Config). Sending reports a
//! [`TransportError`](scm_core::TransportError) with the code of the check ladder where the network is at fault:
//!
//! | fault | kind | code | delivery |
//! |---|---|---|---|
//! | name | `Connect` | `dns.not_found`, `dns.failed` | not sent |
//! | connection | `Connect` | `tcp.refused`, `tcp.timeout`, `tcp.unreachable` | not sent |
//! | certificate, handshake | `Tls` | `tls.*` | not sent |
//! | silence | `Timeout` | | unknown |
//! | connection lost before or within the answer | `Unavailable` | | unknown |
//! | HTTP/2 stream refused, or never taken before `GOAWAY` | `Unavailable` | | not sent |
//! | answer that is not HTTP | `Decode` | | unknown |
//! | body given by the caller failed | that error's kind | | unknown |
//!
//! # Features
//!
//! | feature | default | gives |
//! |---|---|---|
//! | `direct` | yes | `DirectTransport` |
//! | `aws-lc-rs` | yes | [`Crypto::AwsLcRs`] |
//! | `ring` | no | [`Crypto::Ring`] |
//!
//! Both crypto features may be on together: [`Network::with_crypto`] chooses, and without a choice aws-lc-rs is taken.
//! With neither of them, building a transport is a `Config` error that names the features.

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
