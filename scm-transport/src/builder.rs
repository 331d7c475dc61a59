//! The settings that every route shares.

#[cfg(feature = "direct")]
use std::sync::Arc;
use std::time::Duration;

use crate::pem::{CaCertificates, ClientIdentity};
#[cfg(feature = "proxy")]
use crate::proxies::Proxies;
#[cfg(feature = "direct")]
use crate::resolve::Resolver;

/// How this machine talks to the network: trust, identity, time limits.
///
/// ```
/// use std::time::Duration;
///
/// use scm_transport::Network;
///
/// let network = Network::new().with_connect_timeout(Duration::from_secs(5)).with_user_agent("acme-bot/2.1");
/// # assert_eq!(network.connect_timeout, Duration::from_secs(5));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Network {
    /// Roots that are trusted beside those of the platform.
    pub extra_roots: Option<CaCertificates>,
    /// The only roots that are trusted; those of the platform are not. Not together with `extra_roots`.
    pub roots_only: Option<CaCertificates>,
    /// What this machine shows to a server that asks for a client certificate.
    pub client_identity: Option<ClientIdentity>,
    /// Longest time for a connection: name, TCP and TLS together. 10 seconds by default.
    pub connect_timeout: Duration,
    /// Longest silence of a server that is to act: before its answer begins, and between the pieces of it. It counts
    /// from the start of a request, so that no connection is waited for longer either. 60 seconds by default.
    pub read_timeout: Duration,
    /// Longest time for one request, to the last byte of its answer. None by default: the pipeline has a deadline.
    pub request_timeout: Option<Duration>,
    /// The `User-Agent` of requests that bring none. `scm/` and the version by default.
    pub user_agent: String,
    /// Who turns names into addresses, in place of the system.
    #[cfg(feature = "direct")]
    pub resolver: Option<Arc<dyn Resolver>>,
    /// The proxies, for the route that takes them.
    #[cfg(feature = "proxy")]
    pub proxies: Option<Proxies>,
    /// Who does the cryptography. By default aws-lc-rs where that feature is on, else ring.
    pub crypto: Option<Crypto>,
}

impl Network {
    /// The platform's roots, no client certificate, and the usual time limits.
    #[must_use]
    pub fn new() -> Self {
        Self {
            extra_roots: None,
            roots_only: None,
            client_identity: None,
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(60),
            request_timeout: None,
            user_agent: concat!("scm/", env!("CARGO_PKG_VERSION")).to_owned(),
            #[cfg(feature = "direct")]
            resolver: None,
            #[cfg(feature = "proxy")]
            proxies: None,
            crypto: None,
        }
    }

    /// Trusts these roots beside those of the platform.
    #[must_use]
    pub fn with_extra_roots(mut self, roots: CaCertificates) -> Self {
        self.extra_roots = Some(roots);
        self
    }

    /// Trusts these roots and no others.
    #[must_use]
    pub fn with_roots_only(mut self, roots: CaCertificates) -> Self {
        self.roots_only = Some(roots);
        self
    }

    /// Shows this certificate to servers that ask for one.
    #[must_use]
    pub fn with_client_identity(mut self, identity: ClientIdentity) -> Self {
        self.client_identity = Some(identity);
        self
    }

    /// Sets the longest time for a connection: name, TCP and TLS together.
    #[must_use]
    pub fn with_connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// Sets the longest silence of a server that is to act.
    #[must_use]
    pub fn with_read_timeout(mut self, limit: Duration) -> Self {
        self.read_timeout = limit;
        self
    }

    /// Sets the longest time for one request, to the last byte of its answer.
    #[must_use]
    pub fn with_request_timeout(mut self, limit: Duration) -> Self {
        self.request_timeout = Some(limit);
        self
    }

    /// Sets the `User-Agent` of requests that bring none.
    #[must_use]
    pub fn with_user_agent(mut self, user_agent: impl Into<String>) -> Self {
        self.user_agent = user_agent.into();
        self
    }

    /// Sets who turns names into addresses, those of proxies too.
    #[cfg(feature = "direct")]
    #[must_use]
    pub fn with_resolver(mut self, resolver: Arc<dyn Resolver>) -> Self {
        self.resolver = Some(resolver);
        self
    }

    /// Sets the proxies, which a `ProxyTransport` takes.
    #[cfg(feature = "proxy")]
    #[must_use]
    pub fn with_proxies(mut self, proxies: Proxies) -> Self {
        self.proxies = Some(proxies);
        self
    }

    /// Chooses who does the cryptography.
    #[must_use]
    pub fn with_crypto(mut self, crypto: Crypto) -> Self {
        self.crypto = Some(crypto);
        self
    }
}

impl Default for Network {
    fn default() -> Self {
        Self::new()
    }
}

/// Who does the cryptography of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Crypto {
    /// aws-lc-rs; needs the feature `aws-lc-rs`.
    AwsLcRs,
    /// ring; needs the feature `ring`.
    Ring,
}
