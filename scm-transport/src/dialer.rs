//! Byte streams, for what is no request and answer: the tunnel of an agent.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use scm_core::{Delivery, ErrorKind, Result, RungReport, TransportError};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use url::Url;

use crate::builder::Network;
use crate::classify::Target;
use crate::client::{check_limits, shorter, target};
use crate::connect::{Connector, Facts};
use crate::dial::{self, Clock, Io};
use crate::no_proxy::Decision;
use crate::probe::{self, Probe};
use crate::proxies::Proxies;
use crate::proxy::{self, How};
use crate::resolve::Names;
use crate::tls::Tls;

/// Opens byte streams to where URLs point, by the settings of a [`Network`]: straight, or through a tunnel (`CONNECT`) of
/// the proxy that the URL's scheme and the exceptions choose, which is asked for `http://` targets too; with TLS for
/// `https://`, offering HTTP/1.1 alone.
///
/// A failure is told as the routes tell it: what the proxy said, which certificate was not trusted. It needs a Tokio
/// runtime with time and I/O.
#[derive(Clone)]
pub struct Dialer {
    tls: Tls,
    names: Names,
    limit: Duration,
    proxies: Proxies,
}

impl Dialer {
    /// A dialer with these settings.
    ///
    /// # Errors
    /// `Config` when the settings cannot work, for the reasons of [`DirectTransport::new`](crate::DirectTransport::new).
    pub fn new(network: &Network) -> Result<Self> {
        check_limits(network)?;
        let limit = network.connect_timeout;
        let names = Names::of(network, shorter(limit));
        let proxies = network.proxies.clone().unwrap_or_default();
        for malformed in proxies.no_proxy().malformed() {
            tracing::warn!("no_proxy: an entry is ignored: {malformed}");
        }
        Ok(Self { tls: Tls::new(network)?.http1(), names, limit, proxies })
    }

    /// Which way a stream to `url` takes, and why.
    pub fn decide(&self, url: &Url) -> Decision<'_> {
        self.proxies.decide(url)
    }

    /// A stream to host and port of `url`, within the connect timeout of the settings.
    ///
    /// # Errors
    /// Of kind `Connect`, `Proxy` or `Tls`, with its code and never sent; `InvalidInput` for a URL that is neither http nor
    /// https.
    pub async fn dial(&self, url: &Url) -> Result<Connection, TransportError> {
        let target = target(url).ok_or_else(|| {
            let message = "the URL is neither http nor https, or has no host";
            TransportError::new(ErrorKind::InvalidInput, Delivery::NotSent, message)
        })?;
        let clock = Clock::start(self.limit);
        // What a handshake learns is its own.
        let tls = self.tls.fresh();
        match self.proxies.choose(url) {
            Some(proxy) => {
                let connector = Connector { proxy, tls: &tls, names: &self.names, clock };
                let stream = connector.tunnel(&target, &mut Facts::default()).await?;
                secure(&target, stream, &tls, clock).await
            }
            None => {
                let addresses = dial::resolve(&target, &self.names, clock).await?;
                let stream = dial::tcp(&target, &addresses, clock).await?.stream;
                secure(&target, stream, &tls, clock).await
            }
        }
    }

    /// What each rung on the way to `url` sees: name and connection or the proxy, then TLS.
    pub async fn probe(&self, url: &Url) -> Vec<RungReport> {
        let Some(target) = target(url) else { return probe::unusable(url) };
        let probe = Probe::new(&self.tls, &self.names, self.limit);
        match self.proxies.choose(url) {
            Some(proxy) => proxy::climb(&probe, url, &target, (proxy, &self.proxies), How::Tunnel).await,
            None => probe.climb(url).await,
        }
    }
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer")
            .field("connect_timeout", &self.limit)
            .field("proxies", &self.proxies)
            .finish_non_exhaustive()
    }
}

/// `stream`, with TLS where the target has it.
async fn secure(
    target: &Target,
    stream: impl Io + 'static,
    tls: &Tls,
    clock: Clock,
) -> Result<Connection, TransportError> {
    Ok(Connection(match target.tls {
        true => Box::new(dial::tls(target, stream, tls, clock).await?),
        false => Box::new(stream),
    }))
}

/// A stream that a [`Dialer`] has opened: [`AsyncRead`] and [`AsyncWrite`].
pub struct Connection(Box<dyn Io>);

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_shutdown(cx)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}
