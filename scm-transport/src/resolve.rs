//! Names to addresses, with a time limit and errors that tell two cases apart.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use scm_core::{Code, Delivery, ErrorKind, TransportError};
use tokio::time::timeout;

use crate::builder::Network;

/// What resolvers say when there is no such name, by glibc, musl, the BSDs with macOS, and Windows.
const NOT_FOUND: &[&str] = &[
    "not known",
    "no address associated",
    "does not resolve",
    "no such host",
    "no data record",
    "hostname not found",
];

/// Who turns names into addresses. Without one of your own ([`Network::with_resolver`](crate::Network::with_resolver))
/// the system does.
#[async_trait]
pub trait Resolver: fmt::Debug + Send + Sync + 'static {
    /// The addresses of `host`. It is dropped where it takes longer than a connection may.
    ///
    /// # Errors
    /// Of kind `NotFound` where there is no such name; any other says that it could not be looked up. No address at all
    /// counts as `NotFound`. One that wraps a [`TransportError`] is passed on as that: so a resolver says that nobody
    /// may connect there.
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// Names to addresses, with a time limit.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    /// The system where there is none.
    pub(crate) resolver: Option<Arc<dyn Resolver>>,
    pub(crate) limit: Duration,
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let this = self.clone();
        Box::pin(async move {
            // Port 0 stands for that of the URL.
            let addresses = this.lookup(name.as_str(), 0).await?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

impl Names {
    pub(crate) fn of(network: &Network, limit: Duration) -> Self {
        Self { resolver: network.resolver.clone(), limit }
    }

    /// The addresses of `host`; at least one.
    pub(crate) async fn lookup(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, ResolveError> {
        let found = async {
            Ok(match &self.resolver {
                Some(own) => {
                    own.resolve(host).await?.into_iter().map(|ip| SocketAddr::new(ip, port)).collect()
                }
                None => tokio::net::lookup_host((host, port)).await?.collect::<Vec<_>>(),
            })
        };
        match timeout(self.limit, found).await {
            Ok(Ok(addresses)) if addresses.is_empty() => Err(ResolveError::NotFound(host.to_owned())),
            Ok(Ok(addresses)) => Ok(addresses),
            Ok(Err(cause)) if is_not_found(&cause) => Err(ResolveError::NotFound(host.to_owned())),
            Ok(Err(cause)) => Err(ResolveError::Failed(host.to_owned(), cause)),
            Err(_) => Err(ResolveError::TimedOut(host.to_owned(), self.limit)),
        }
    }
}

fn is_not_found(error: &io::Error) -> bool {
    let text = error.to_string().to_ascii_lowercase();
    error.kind() == io::ErrorKind::NotFound || NOT_FOUND.iter().any(|known| text.contains(known))
}

/// Why a name has no address.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResolveError {
    #[error("no such host: the name {0} does not resolve")]
    NotFound(String),
    #[error("the name {0} could not be looked up: {1}")]
    Failed(String, io::Error),
    #[error("the name {0} could not be looked up: no answer from the resolver within {1:?}")]
    TimedOut(String, Duration),
}

impl ResolveError {
    pub(crate) fn to_transport(&self) -> TransportError {
        if let Self::Failed(_, cause) = self
            && let Some(refused) = cause.get_ref().and_then(|inner| inner.downcast_ref::<TransportError>())
        {
            return said_by_resolver(refused);
        }
        let error = TransportError::new(ErrorKind::Connect, Delivery::NotSent, self.to_string());
        match self {
            Self::NotFound(_) => error.with_code(Code::DnsNotFound).with_retryable(false),
            Self::Failed(..) | Self::TimedOut(..) => error.with_code(Code::DnsFailed),
        }
    }
}

fn said_by_resolver(refused: &TransportError) -> TransportError {
    let mut error = TransportError::new(refused.kind(), Delivery::NotSent, refused.to_string());
    if let Some(code) = refused.code() {
        error = error.with_code(code);
    }
    if let Some(retryable) = refused.retryable() {
        error = error.with_retryable(retryable);
    }
    refused.details().iter().fold(error, |error, (name, value)| error.with_detail(name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_not_there_differs_from_a_resolver_that_does_not_answer() {
        for (text, not_found) in [
            ("failed to lookup address information: Name or service not known", true),
            ("failed to lookup address information: nodename nor servname provided, or not known", true),
            ("failed to lookup address information: Name does not resolve", true),
            ("failed to lookup address information: No address associated with hostname", true),
            ("No such host is known. (os error 11001)", true),
            ("failed to lookup address information: Temporary failure in name resolution", false),
            ("failed to lookup address information: Non-recoverable failure in name resolution", false),
            ("failed to lookup address information: Try again", false),
        ] {
            assert_eq!(is_not_found(&io::Error::other(text)), not_found, "{text}");
        }
    }
}
