//! The direct route.

use std::fmt;

use async_trait::async_trait;
use scm_core::{Body, HttpTransport, Result, Route, RungReport, TransportError};
use url::Url;

use crate::builder::Network;
use crate::client::{Client, destination};
use crate::tls::Tls;

/// Straight to the server, over HTTP/1.1 or, where TLS offers it, HTTP/2, with pooled connections.
///
/// It needs a Tokio runtime with time and I/O to send, not to be made. Making one opens no connection; it reads the
/// platform's trust store. Share one by wrapping it in [`scm_core::Transport`].
pub struct DirectTransport {
    client: Client,
}

impl DirectTransport {
    /// A transport with these settings.
    ///
    /// # Errors
    /// `Config` when the settings cannot work: contradicting roots, a client key of another certificate, a user agent
    /// that is no header value, a time limit of zero, or a crypto provider that is not built in; also when they name a
    /// proxy, which this route would not take.
    pub fn new(network: &Network) -> Result<Self> {
        #[cfg(feature = "proxy")]
        if network.proxies.is_some() {
            return Err(scm_core::Error::config(
                "proxies are set, which the direct route does not take: make a ProxyTransport, or take them out",
            ));
        }
        Ok(Self { client: Client::new(network, &Tls::new(network)?, [])? })
    }
}

#[async_trait]
impl HttpTransport for DirectTransport {
    async fn send(&self, request: http::Request<Body>) -> Result<http::Response<Body>, TransportError> {
        let (url, target) = destination(request.uri())?;
        self.client.send_direct(request, url, &target).await
    }

    async fn probe(&self, target: &Url) -> Vec<RungReport> {
        self.client.probe().climb(target).await
    }

    fn route(&self) -> Route {
        Route::Direct
    }
}

impl fmt::Debug for DirectTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirectTransport").field("client", &self.client).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use scm_core::ErrorKind;

    use super::*;

    #[test]
    fn settings_that_cannot_work_are_config_errors() {
        for network in [
            Network::new().with_connect_timeout(Duration::ZERO),
            Network::new().with_read_timeout(Duration::ZERO),
            Network::new().with_request_timeout(Duration::ZERO),
            Network::new().with_user_agent("two\nlines"),
        ] {
            assert_eq!(DirectTransport::new(&network).unwrap_err().kind(), ErrorKind::Config);
        }
        DirectTransport::new(&Network::new().with_read_timeout(Duration::MAX)).unwrap();
    }
}
