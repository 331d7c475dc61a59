//! The route through HTTP and HTTPS proxies.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use http::HeaderValue;
use http::header::CONNECTION;
use scm_core::{
    Body, Code, Delivery, Error, ErrorKind, HttpTransport, Result, Route, Rung, RungReport, TransportError,
};
use tokio::time::Instant;
use url::Url;

use crate::builder::Network;
use crate::classify::{self, Target};
use crate::client::{Client, Failure, destination, target};
use crate::connect::{self, Connector, Facts, Said};
use crate::dial::{self, Clock};
use crate::no_proxy::Decision;
use crate::probe::{self, Probe};
use crate::proxies::{Proxies, ProxyUrl};
use crate::tls::Tls;

/// Longest time to find out why a tunnel failed.
const SECOND_LOOK: Duration = Duration::from_secs(3);

/// Longest `no_proxy` that a remedy repeats.
const MAX_LINE: usize = 200;

/// Through the proxies of [`Network::proxies`], chosen for each request by scheme and exceptions; what matches an
/// exception goes straight to the server.
///
/// A target with `http://` is asked for in absolute form, one with `https://` through a tunnel. What the proxy itself
/// says is an error of kind `Proxy` with the code that tells it: `proxy.unreachable`, `proxy.auth_required`,
/// `proxy.forbidden` or `proxy.bad_gateway`, and the proxy's words in its details. A refused tunnel is asked for once
/// more to learn them, before anything was sent to the server. To a plain http target a 407 is always the proxy's, and
/// other statuses are where `X-Squid-Error`, `Server` and `Via` leave no doubt; else they are the server's answer.
pub struct ProxyTransport {
    direct: Client,
    proxied: Client,
    proxies: Proxies,
}

impl ProxyTransport {
    /// A transport with these settings. Entries of `no_proxy` that cannot be read are logged as warnings.
    ///
    /// # Errors
    /// `Config` when the settings name no proxy, and for the reasons of
    /// [`DirectTransport::new`](crate::DirectTransport::new).
    pub fn new(network: &Network) -> Result<Self> {
        let proxies = network.proxies.clone().filter(|proxies| !proxies.is_empty()).ok_or_else(|| {
            Error::config("no proxy is set: give http_proxy or https_proxy, or make a DirectTransport")
        })?;
        for malformed in proxies.no_proxy().malformed() {
            tracing::warn!("no_proxy: an entry is ignored: {malformed}");
        }
        let tls = Tls::new(network)?;
        let mut chosen = Vec::new();
        for (scheme, proxy) in [("http", &proxies.http), ("https", &proxies.https)] {
            if let Some(proxy) = proxy {
                chosen.push(proxy.to_reqwest(scheme)?);
            }
        }
        let direct = Client::new(network, &tls, [])?;
        // What is learnt from one route's handshakes stays with it.
        let proxied = Client::new(network, &tls.fresh(), chosen)?;
        Ok(Self { direct, proxied, proxies })
    }

    /// Which way requests to `url` take, and why.
    pub fn decide(&self, url: &Url) -> Decision<'_> {
        self.proxies.decide(url)
    }

    /// The proxies and exceptions, with the entries that cannot be read.
    pub fn proxies(&self) -> &Proxies {
        &self.proxies
    }

    /// Why reqwest got no head of an answer. The second look takes no more than what `since` has left of the time limit.
    async fn explain(
        &self,
        error: reqwest::Error,
        target: &Target,
        proxy: &ProxyUrl,
        since: Instant,
    ) -> TransportError {
        let Client { tls, connect_timeout, .. } = &self.proxied;
        let of_target = classify::find::<rustls::Error>(&error).is_some() && !proxy.target.tls;
        if !error.is_connect() || (target.tls && of_target) {
            return classify::request(error, target, tls, *connect_timeout);
        }
        if !target.tls {
            // The only connection was the one to the proxy.
            return connect::unreachable(
                proxy,
                classify::request(error, &proxy.target, tls, *connect_timeout),
            );
        }
        let limit = SECOND_LOOK.min(*connect_timeout);
        let left = self.proxied.request_timeout.map(|all| all.saturating_sub(since.elapsed()));
        let limit = left.map_or(limit, |left| left.min(limit));
        let fault = match self.second_look(target, proxy, limit).await {
            Err(fault) => fault,
            Ok(()) if error.is_timeout() => TransportError::new(
                ErrorKind::Proxy,
                Delivery::NotSent,
                format!(
                    "no tunnel to {target} through the proxy {} within {connect_timeout:?}",
                    proxy.target
                ),
            ),
            Ok(()) => TransportError::new(
                ErrorKind::Proxy,
                Delivery::NotSent,
                format!("the proxy {} opened no tunnel to {target}, and did a moment later", proxy.target),
            ),
        };
        fault.with_source(error.without_url())
    }

    async fn second_look(
        &self,
        target: &Target,
        proxy: &ProxyUrl,
        limit: Duration,
    ) -> Result<(), TransportError> {
        let (tls, clock) = (self.proxied.tls.fresh(), Clock::start(limit));
        let stream = Connector { proxy, tls: &tls, names: &self.proxied.names, clock }
            .tunnel(target, &mut Facts::default())
            .await?;
        dial::tls(target, stream, &tls, clock).await.map(drop)
    }

    /// Past the proxy, and which entry says so.
    async fn pass_by(&self, url: &Url, target: &Target) -> Vec<RungReport> {
        let decision = self.proxies.decide(url);
        let mut rungs = self.direct.probe().climb(url).await;
        if let Some(entry) = decision.entry() {
            for rung in &mut rungs {
                for finding in rung.findings.iter_mut().filter(|finding| finding.code.rung() < Rung::Proxy) {
                    finding.remedy = format!(
                        "The entry `{entry}` of `no_proxy` keeps requests to {} from the proxy: take it out if that host \
                         is outside. {}",
                        target.host, finding.remedy
                    );
                }
            }
        }
        let place = rungs.iter().position(|rung| rung.rung > Rung::Proxy).unwrap_or(rungs.len());
        rungs.insert(place, RungReport::skipped(Rung::Proxy, decision.to_string()));
        rungs
    }
}

#[async_trait]
impl HttpTransport for ProxyTransport {
    async fn send(&self, mut request: http::Request<Body>) -> Result<http::Response<Body>, TransportError> {
        let (url, target) = destination(request.uri())?;
        let Some(proxy) = self.proxies.choose(&url) else {
            return self.direct.send_direct(request, url, &target).await;
        };
        if is_closed(&target) {
            return Err(closed(&target));
        }
        if !target.tls {
            // tinyproxy ends every connection after one answer and does not say so: the next request would be lost on it.
            request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let since = Instant::now();
        let answer = match self.proxied.send(request, url).await {
            Ok(answer) => answer,
            Err(Failure::Told(error)) => return Err(error),
            Err(Failure::Http(error)) => return Err(self.explain(error, &target, proxy, since).await),
        };
        // Within a tunnel nobody but the server speaks.
        match Said::of(&answer).filter(|_| !target.tls) {
            Some(said) => {
                let said = said.with_body(answer.into_body()).await;
                Err(said.refusal(proxy, &target, said.delivery()))
            }
            None => Ok(answer),
        }
    }

    async fn probe(&self, url: &Url) -> Vec<RungReport> {
        let Some(target) = target(url) else { return probe::unusable(url) };
        match self.proxies.choose(url) {
            Some(proxy) => {
                let how = match (target.tls, is_closed(&target)) {
                    (true, true) => How::Closed,
                    (true, false) => How::Tunnel,
                    (false, _) => How::Relay,
                };
                climb(&self.proxied.probe(), url, &target, (proxy, &self.proxies), how).await
            }
            None => self.pass_by(url, &target).await,
        }
    }

    fn route(&self) -> Route {
        Route::Proxy
    }
}

impl fmt::Debug for ProxyTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyTransport")
            .field("client", &self.proxied)
            .field("proxies", &self.proxies)
            .finish()
    }
}

/// reqwest takes the brackets of the URL into the name that the certificate is checked for.
fn is_closed(target: &Target) -> bool {
    target.tls && target.host.contains(':')
}

fn closed(target: &Target) -> TransportError {
    let message = format!(
        "https to an IPv6 address ({target}) cannot go through a proxy yet: use a name in the URL, or add the address to \
         no_proxy"
    );
    TransportError::new(ErrorKind::Unsupported, Delivery::NotSent, message)
}

/// What a proxy is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    Tunnel,
    Relay,
    /// Nothing: the way is closed to the transport.
    Closed,
}

/// The network rungs where a proxy stands between.
pub(crate) async fn climb(
    probe: &Probe<'_>,
    url: &Url,
    target: &Target,
    (proxy, proxies): (&ProxyUrl, &Proxies),
    how: How,
) -> Vec<RungReport> {
    let by_proxy = format!("the proxy {} does that", proxy.target);
    let mut rungs =
        vec![RungReport::skipped(Rung::Name, &by_proxy), RungReport::skipped(Rung::Connection, &by_proxy)];
    let connector = Connector { proxy, tls: probe.tls, names: probe.names, clock: probe.clock };
    let (start, mut facts) = (Instant::now(), Facts::default());
    let outcome = match how {
        How::Tunnel => connector.tunnel(target, &mut facts).await.map(Some),
        How::Relay => connector.relay(target, &mut facts).await.map(|_| None),
        How::Closed => Err(closed(target)),
    };
    let (rung, stream) = match outcome {
        Ok(stream) => {
            let done = if how == How::Tunnel { "opened a tunnel to" } else { "relays to" };
            let seen = format!("the proxy {} {done} {target}", proxy.target);
            (RungReport::passed(Rung::Proxy, seen), stream)
        }
        Err(error) => {
            let code = error.code().unwrap_or(Code::ProxyBadGateway);
            let remedy = remedy(code, &error, url, target, proxy, proxies, probe.tls.has_identity());
            let mut rung = RungReport::failed(code, error.to_string(), remedy);
            rung.details.clone_from(error.details());
            (rung, None)
        }
    };
    let failed = !rung.findings.is_empty();
    let rung = facts.0.into_iter().fold(rung, |rung, (name, value)| rung.with_detail(name, value));
    rungs.push(rung.with_elapsed(start.elapsed()));
    rungs.push(match stream {
        Some(stream) if target.tls => probe.tls(target, stream).await,
        None if failed => RungReport::skipped(Rung::Tls, "the proxy gives no way to the server"),
        _ => RungReport::skipped(Rung::Tls, "the URL is plain http"),
    });
    rungs
}

/// What to do, as a support engineer would write it.
fn remedy(
    code: Code,
    error: &TransportError,
    url: &Url,
    target: &Target,
    proxy: &ProxyUrl,
    proxies: &Proxies,
    has_identity: bool,
) -> String {
    let (at, setting) = (&proxy.target, &proxy.setting);
    let line = line_to_add(url, target, proxies);
    let to_proxy = error.details().get("proxy_fault").map_or("", String::as_str);
    let to_proxy = Code::ALL.iter().copied().find(|code| code.as_str() == to_proxy);
    match code {
        _ if error.kind() == ErrorKind::Unsupported => {
            format!(
                "Use a name in the URL in place of the address; or, if no proxy is needed on the way, {line}."
            )
        }
        Code::ProxyUnreachable if to_proxy.is_some_and(|code| code.rung() == Rung::Tls) => format!(
            "This is about TLS with the proxy in `{setting}` ({at}). {}",
            probe::remedy(to_proxy.unwrap_or(Code::TlsHandshake), at, has_identity)
        ),
        Code::ProxyUnreachable => format!(
            "Check scheme, host and port of the proxy in `{setting}` ({at}), and that this machine may connect to it. If \
             {} is an internal server that needs no proxy, {line}.",
            target.host
        ),
        Code::ProxyAuthRequired => {
            let offered = error.details().get("proxy_authenticate").map_or("", String::as_str);
            let basic = offered.is_empty() || offered.to_ascii_lowercase().contains("basic");
            match (&proxy.credential, basic) {
                (_, false) => format!(
                    "The proxy {at} offers only sign-in that this service cannot do ({offered}). Ask whoever runs it for \
                     Basic sign-in, or for an exception for {target}."
                ),
                (None, true) => format!(
                    "Put user name and password into `{setting}`, as {}://USER:PASSWORD@{at}; special characters are \
                     percent-encoded (`@` is `%40`).",
                    if at.tls { "https" } else { "http" }
                ),
                (Some(_), true) => format!(
                    "The proxy {at} does not accept the user name and password in `{setting}`: correct them. Special \
                     characters are percent-encoded (`@` is `%40`)."
                ),
            }
        }
        Code::ProxyForbidden => format!(
            "Ask whoever runs the proxy {at} to allow {target}. If {} is an internal server, requests to it should not \
             go through the proxy: {line}.",
            target.host
        ),
        _ => format!(
            "Bad Gateway means that the proxy {at} cannot reach {}. If that is an internal server, requests to it must \
             not go through the proxy: {line}. Otherwise ask whoever runs the proxy.",
            target.host
        ),
    }
}

/// What to write into `no_proxy`: whole, so that it can be copied, or what to append to a long list.
fn line_to_add(url: &Url, target: &Target, proxies: &Proxies) -> String {
    let host = &target.host;
    let list = proxies.no_proxy().entries().collect::<Vec<_>>().join(",");
    let line = match list.len() {
        0 => format!("`no_proxy = \"{host}\"`"),
        1..=MAX_LINE => format!("`no_proxy = \"{list},{host}\"`"),
        _ => format!("that is, append `,{host}` to `no_proxy`"),
    };
    let domain = url.domain().and_then(|name| name.split_once('.')).map(|(_, domain)| domain);
    let domain = match domain.filter(|domain| is_of_one_owner(domain)) {
        Some(domain) => format!(", or its domain `.{domain}`,"),
        None => String::new(),
    };
    format!("add it{domain} to noProxy, {line}")
}

/// Not a domain under which anybody can register, such as `co.uk`, as far as its form tells.
fn is_of_one_owner(domain: &str) -> bool {
    match domain.split('.').collect::<Vec<_>>()[..] {
        [] | [_] => false,
        [second, top] => top.len() > 2 || second.len() > 3,
        _ => true,
    }
}
