//! The route through a hub in another process, and an agent inside the server's network.

use std::fmt;

use async_trait::async_trait;
use http::{HeaderName, HeaderValue, Method, Request, Response, Uri, header};
use scm_core::{
    Body, Code, Delivery, Error, ErrorKind, HttpTransport, Outcome, Result, Route, RungReport, Transport,
    TransportError,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use url::{Position, Url};

use crate::client::{destination, target};
use crate::probe;

/// The key by which the hub knows who asks.
const KEY: HeaderName = HeaderName::from_static("scm-hub-key");

/// On what the hub says itself: a code.
const ERROR: HeaderName = HeaderName::from_static("scm-hub-error");

/// Beside it: could the server have acted?
const DELIVERY: HeaderName = HeaderName::from_static("scm-hub-delivery");

/// On a server's answer: the agent it came through.
const AGENT: HeaderName = HeaderName::from_static("scm-hub-agent");

/// On a server's answer whose `Location` the hub has changed: what the server said.
const LOCATION: HeaderName = HeaderName::from_static("scm-hub-location");

/// On every answer of a hub.
const VERSION: HeaderName = HeaderName::from_static("scm-hub-version");

/// Longest error of the hub, in bytes.
const MAX_ERROR: usize = 64 * 1024;

/// Longest report of a probe, in bytes.
const MAX_REPORT: usize = 256 * 1024;

/// Through a hub that runs on its own, and the agent of a name inside the server's network.
///
/// The hub is reached by another transport, direct or through a proxy. What hub and agent say is an error of kind `Relay`, or of
/// the kind that the agent met on its way to the server (`Tls`, `Connect` ...), with code, delivery and details as they saw it;
/// what the server says is its answer, whatever its status. An answer that no hub has marked as one of these two, such as that of a
/// load balancer in front of it, is `relay.hub_unreachable`.
pub struct RelayTransport {
    hub: Url,
    agent: String,
    key: HeaderValue,
    inner: Transport,
}

/// An error as the hub writes it.
#[derive(Deserialize)]
struct Told {
    error: TransportError,
}

impl RelayTransport {
    /// Through the hub at `hub`, which `inner` reaches, and the agent of this name. `key` is that of the service.
    ///
    /// # Errors
    /// `Config` for a hub's URL that cannot be used, plain http without the switch included, for a name that no agent has, and for
    /// a key that cannot be one.
    pub fn new(
        mut hub: Url,
        agent: &str,
        key: SecretString,
        inner: Transport,
        danger_plain_http: bool,
    ) -> Result<Self> {
        let wrong = |what: &str| {
            Err(Error::config(format!("the hub's URL {what}: write it like https://hub.company.com")))
        };
        match hub.scheme() {
            "https" => {}
            "http" if danger_plain_http => {
                tracing::warn!("the way to the hub is not encrypted: keys and tokens can be read on it");
            }
            "http" => {
                return wrong(
                    "is http://, so that everybody on the way could read the service's key and the server's token",
                );
            }
            _ => return wrong("is neither http nor https"),
        }
        if !hub.username().is_empty() || hub.password().is_some() {
            return wrong("has a user name or password");
        }
        if hub.query().is_some() || hub.fragment().is_some() {
            return wrong("has a query or a fragment");
        }
        let path = hub.path().trim_end_matches('/').to_owned();
        hub.set_path(&path);
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if agent.is_empty() || agent.starts_with('.') || !agent.chars().all(fits) {
            return Err(Error::config(
                "the name of an agent has letters, digits, '-', '_' and '.', such as acme",
            ));
        }
        let mut key = HeaderValue::try_from(key.expose_secret())
            .map_err(|_| Error::config("the key for the hub has characters that no key has"))?;
        if key.is_empty() {
            return Err(Error::config("the key for the hub is empty: scm-hub keygen --service makes one"));
        }
        key.set_sensitive(true);
        Ok(Self { hub, agent: agent.to_owned(), key, inner })
    }

    /// Where the hub has the agent, with `rest` below it.
    fn place(&self, rest: &str) -> std::result::Result<Uri, TransportError> {
        let hub = self.hub.as_str().trim_end_matches('/');
        format!("{hub}/v1/agents/{}/{rest}", self.agent).parse().map_err(|_| {
            TransportError::new(
                ErrorKind::InvalidInput,
                Delivery::NotSent,
                "the request's URL is too long for the hub",
            )
        })
    }

    async fn ask(&self, mut request: Request<Body>) -> std::result::Result<Response<Body>, TransportError> {
        request.headers_mut().insert(KEY, self.key.clone());
        let answer = self.inner.send(request).await.map_err(|error| self.no_way(error))?;
        match answer.headers().contains_key(ERROR) {
            true => Err(told(answer).await),
            false => Ok(answer),
        }
    }

    /// What failed on the way to the hub: its codes would read as if the way to the server was meant.
    fn no_way(&self, error: TransportError) -> TransportError {
        let Some(code) = error.code() else { return error };
        let message = format!("no way to the hub: {error}");
        let mut out = TransportError::new(ErrorKind::Relay, error.delivery(), message)
            .with_code(Code::RelayHubUnreachable)
            .with_detail("hub_fault", code.as_str());
        if let Some(retryable) = error.retryable() {
            out = out.with_retryable(retryable);
        }
        out = error.details().iter().fold(out, |out, (name, value)| out.with_detail(name, value));
        out.with_source(error)
    }

    /// An answer that does not come from a hub.
    fn no_hub(&self, answer: &Response<Body>) -> TransportError {
        let (host, status) = (self.hub.host_str().unwrap_or_default(), answer.status());
        let message =
            format!("what answers at {host} is no hub, or stands in front of one: the status is {status}");
        TransportError::new(ErrorKind::Relay, Delivery::Unknown, message).with_code(Code::RelayHubUnreachable)
    }

    async fn climb(&self, url: &Url) -> std::result::Result<Vec<RungReport>, TransportError> {
        let mut request = Request::new(Body::from(url.to_string()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.place("probe")?;
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        let answer = self.ask(request).await?;
        if !answer.headers().contains_key(VERSION) || !answer.status().is_success() {
            return Err(self.no_hub(&answer));
        }
        let report = answer.into_body().collect(MAX_REPORT).await?;
        serde_json::from_slice(&report).map_err(|_| {
            TransportError::new(ErrorKind::Relay, Delivery::Answered, "the hub's report cannot be read")
                .with_code(Code::RelayVersion)
        })
    }

    /// Why the hub could not say what it and the agent see.
    async fn explain(&self, error: &TransportError) -> RungReport {
        let code = error.code().unwrap_or(Code::RelayHubUnreachable);
        let rung = match code {
            Code::RelayHubUnreachable => self.way_to_hub(error).await,
            Code::RelayKeyRejected => RungReport::failed(
                code,
                error.to_string(),
                format!(
                    "Give the key of a service that the hub knows and that may use the agent {0}: `scm-hub keygen --service NAME \
                     --agents {0}` makes one, and its hash goes into hub.toml.",
                    self.agent
                ),
            ),
            _ => RungReport::failed(code, error.to_string(), "Update the hub, or this service."),
        };
        error.details().iter().fold(rung, |rung, (name, value)| rung.with_detail(name, value))
    }

    /// What the way to the hub looks like, climbed once more.
    async fn way_to_hub(&self, error: &TransportError) -> RungReport {
        let code = Code::RelayHubUnreachable;
        let below = self.inner.probe(&self.hub).await;
        let broken = below.iter().find(|rung| rung.outcome == Outcome::Failed);
        let Some((rung, finding)) = broken.and_then(|rung| Some((rung, rung.findings.first()?))) else {
            let remedy = "Check that this is the hub's URL, that the hub runs, and that what stands in front of it passes requests and \
                          their headers on.";
            return RungReport::failed(code, error.to_string(), remedy);
        };
        let seen = format!("no way to the hub {}: {}: {}", self.hub, finding.code, finding.seen);
        let report = RungReport::failed(code, seen, finding.remedy.clone());
        let report = report.with_detail("hub_fault", finding.code.as_str());
        rung.details.iter().fold(report, |report, (name, value)| report.with_detail(name, value))
    }
}

#[async_trait]
impl HttpTransport for RelayTransport {
    async fn send(&self, mut request: Request<Body>) -> std::result::Result<Response<Body>, TransportError> {
        // What other routes tidy up must not climb out of the server's place at the hub.
        let (url, _) = destination(request.uri())?;
        let authority = &url[Position::BeforeHost..Position::AfterPort];
        let path = &url[Position::BeforePath..Position::AfterQuery];
        *request.uri_mut() = self.place(&format!("{}/{authority}{path}", url.scheme()))?;
        let mut answer = self.ask(request).await?;
        if answer.headers_mut().remove(AGENT).is_none() {
            return Err(self.no_hub(&answer));
        }
        let headers = answer.headers_mut();
        headers.remove(VERSION);
        if let Some(location) = headers.remove(LOCATION) {
            headers.insert(header::LOCATION, location);
        }
        Ok(answer)
    }

    async fn probe(&self, url: &Url) -> Vec<RungReport> {
        if target(url).is_none() {
            return probe::unusable(url);
        }
        match self.climb(url).await {
            Ok(rungs) => rungs,
            Err(error) => vec![self.explain(&error).await],
        }
    }

    fn route(&self) -> Route {
        Route::Agent
    }
}

impl fmt::Debug for RelayTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelayTransport")
            .field("hub", &self.hub.as_str())
            .field("agent", &self.agent)
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

/// What the hub says: its body has everything, its headers what answers to `HEAD` have.
async fn told(answer: Response<Body>) -> TransportError {
    let (head, body) = answer.into_parts();
    if let Ok(body) = body.collect(MAX_ERROR).await
        && let Ok(told) = serde_json::from_slice::<Told>(&body)
    {
        return told.error;
    }
    let text = |name| head.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let delivery = match text(DELIVERY) {
        Some("not_sent") => Delivery::NotSent,
        Some("answered") => Delivery::Answered,
        _ => Delivery::Unknown,
    };
    let said = text(ERROR).unwrap_or_default();
    let message = format!("the hub says {said} ({})", head.status);
    let code = Code::ALL.iter().find(|code| code.as_str() == said);
    let kind = serde_json::from_value(said.into()).unwrap_or(ErrorKind::Relay);
    let kind = code.map_or(kind, |code| code.error_kind());
    let error = TransportError::new(kind, delivery, message);
    match code {
        Some(code) => error.with_code(*code),
        None => error,
    }
}
