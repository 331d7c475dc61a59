//! One HTTP client of reqwest's, set up as every route needs it.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, header};
use scm_core::{Body, Delivery, Error, ErrorKind, Result, TransportError};
use tokio::time::Instant;
use url::{Host, Url};

use crate::body::{self, Elapsed, Limits, Progress};
use crate::builder::Network;
use crate::classify::{self, Target};
use crate::probe::Probe;
use crate::resolve::Names;
use crate::tls::Tls;

/// Idle connections are dropped after this time: sooner than Tomcat, which is in Bitbucket, drops them (20 seconds),
/// so that a request rarely meets a connection that is being closed.
const POOL_IDLE: Duration = Duration::from_secs(15);

/// What one HTTP/2 body may be ahead of its reader: at 50 ms round trip, 4 MiB allow 80 MB/s.
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;

/// The same for all bodies of a connection: no number of readers that stall may hold the others up.
const CONNECTION_WINDOW: u32 = 1 << 30;

/// Sends requests over one route, with pooled connections.
pub(crate) struct Client {
    http: reqwest::Client,
    pub(crate) tls: Tls,
    pub(crate) names: Names,
    pub(crate) connect_timeout: Duration,
    read_timeout: Duration,
    pub(crate) request_timeout: Option<Duration>,
}

/// Why no head of an answer came.
pub(crate) enum Failure {
    /// It is said already.
    Told(TransportError),
    /// The route has to say what it means.
    Http(reqwest::Error),
}

impl Client {
    /// `proxies` are taken where they fit, else the way is direct.
    pub(crate) fn new(
        network: &Network,
        tls: &Tls,
        proxies: impl IntoIterator<Item = reqwest::Proxy>,
    ) -> Result<Self> {
        check_limits(network)?;
        let user_agent = HeaderValue::from_str(&network.user_agent)
            .map_err(|_| Error::config("the user agent has characters that a header cannot carry"))?;
        // The limits end one inside the other, so that the innermost one names the fault.
        let connect_timeout = network.connect_timeout.min(shorter(network.read_timeout));
        let names = Names::of(network, shorter(connect_timeout));
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(rustls::ClientConfig::clone(tls.config()))
            .dns_resolver(Arc::new(names.clone()))
            .connect_timeout(connect_timeout)
            .user_agent(user_agent)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .pool_idle_timeout(POOL_IDLE)
            .http2_initial_stream_window_size(STREAM_WINDOW)
            .http2_initial_connection_window_size(CONNECTION_WINDOW)
            .tcp_nodelay(true)
            .tcp_keepalive(Duration::from_secs(15));
        for proxy in proxies {
            builder = builder.proxy(proxy);
        }
        let http = builder.build().map_err(|error| {
            Error::config("the HTTP client cannot be set up").with_source(error.without_url())
        })?;
        Ok(Self {
            http,
            tls: tls.clone(),
            names,
            connect_timeout,
            read_timeout: network.read_timeout,
            request_timeout: network.request_timeout,
        })
    }

    /// Sends `request` to `url`, which is its URI.
    pub(crate) async fn send(
        &self,
        request: http::Request<Body>,
        url: Url,
    ) -> Result<http::Response<Body>, Failure> {
        let (mut head, body) = request.into_parts();
        // The framing follows the body alone: a second opinion in a header could smuggle a request.
        head.headers.remove(header::CONTENT_LENGTH);
        head.headers.remove(header::TRANSFER_ENCODING);
        if body.length() == Some(0) && matches!(head.method, Method::POST | Method::PUT | Method::PATCH) {
            // hyper says nothing about a body that is not there; some servers then answer 411.
            head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        let progress = Progress::start();
        let mut request = reqwest::Request::new(head.method, url);
        *request.headers_mut() = head.headers;
        *request.body_mut() = Some(body::upload(body, &progress));

        let end = self.request_timeout.map(|limit| (body::later(Instant::now(), limit), limit));
        let limits = Limits { silence: self.read_timeout, end };
        let mut exchange = pin!(self.http.execute(request));
        let answer = loop {
            match body::within(progress.silent_at(limits.silence), limits, exchange.as_mut()).await {
                Ok(answer) => break answer,
                Err(Elapsed::End(limit)) => return Err(Failure::Told(classify::out_of_time(limit))),
                Err(Elapsed::Silence) if progress.silent_at(limits.silence) > Instant::now() => {}
                Err(Elapsed::Silence) => return Err(Failure::Told(classify::silent(limits.silence))),
            }
        };
        let mut answer =
            answer.map_err(|error| progress.take_failure().map_or(Failure::Http(error), Failure::Told))?;

        let mut out = http::Response::new(Body::empty());
        *out.status_mut() = answer.status();
        *out.version_mut() = answer.version();
        *out.headers_mut() = std::mem::take(answer.headers_mut());
        *out.body_mut() = body::download(answer, progress, limits);
        Ok(out)
    }

    /// The same, where nothing stands between this machine and the server.
    pub(crate) async fn send_direct(
        &self,
        request: http::Request<Body>,
        url: Url,
        target: &Target,
    ) -> Result<http::Response<Body>, TransportError> {
        self.send(request, url).await.map_err(|failure| match failure {
            Failure::Told(error) => error,
            Failure::Http(error) => classify::request(error, target, &self.tls, self.connect_timeout),
        })
    }
}

impl Client {
    /// A climb on this route.
    pub(crate) fn probe(&self) -> Probe<'_> {
        Probe::new(&self.tls, &self.names, self.connect_timeout)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("connect_timeout", &self.connect_timeout)
            .field("read_timeout", &self.read_timeout)
            .field("request_timeout", &self.request_timeout)
            .finish_non_exhaustive()
    }
}

/// No time limit may be zero.
pub(crate) fn check_limits(network: &Network) -> Result<()> {
    for (name, limit) in [
        ("connect timeout", Some(network.connect_timeout)),
        ("read timeout", Some(network.read_timeout)),
        ("request timeout", network.request_timeout),
    ] {
        if limit == Some(Duration::ZERO) {
            return Err(Error::config(format!("the {name} is zero, so that nothing could ever succeed")));
        }
    }
    Ok(())
}

/// A little less than `limit`.
pub(crate) fn shorter(limit: Duration) -> Duration {
    limit - limit / 10
}

/// Where a request goes.
pub(crate) fn destination(uri: &http::Uri) -> Result<(Url, Target), TransportError> {
    let unusable = |message: &str| TransportError::new(ErrorKind::InvalidInput, Delivery::NotSent, message);
    let url =
        Url::parse(&uri.to_string()).map_err(|_| unusable("the request's URI is not an absolute URL"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(unusable(
            "the request's URL carries a user name or password; credentials go into a header",
        ));
    }
    let target = target(&url).ok_or_else(|| unusable("the request's URL is neither http nor https"))?;
    Ok((url, target))
}

/// Host and port of an http or https URL.
pub(crate) fn target(url: &Url) -> Option<Target> {
    let tls = match url.scheme() {
        "https" => true,
        "http" => false,
        _ => return None,
    };
    let host = match url.host()? {
        Host::Domain(name) => name.to_owned(),
        Host::Ipv4(ip) => ip.to_string(),
        Host::Ipv6(ip) => ip.to_string(),
    };
    Some(Target { host, port: url.port_or_known_default()?, tls })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_checked_before_anything_is_sent() {
        for (uri, expected) in [
            ("https://git.test/x?y=z", Some("git.test:443")),
            ("http://[::1]:81/", Some("[::1]:81")),
            ("http://127.0.0.1/", Some("127.0.0.1:80")),
            ("/relative", None),
            ("ftp://git.test/", None),
            ("https://user:hunter2@git.test/", None),
        ] {
            match destination(&uri.parse().unwrap()) {
                Ok((_, target)) => assert_eq!(Some(target.to_string().as_str()), expected),
                Err(error) => {
                    assert_eq!(expected, None, "{uri}: {error}");
                    assert_eq!(
                        (error.kind(), error.delivery()),
                        (ErrorKind::InvalidInput, Delivery::NotSent)
                    );
                    assert!(!error.to_string().contains("hunter2"));
                }
            }
        }
    }
}
