//! Carrying out what the hub asks for, as far as the policy goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use http::{Request, Response, StatusCode};
use scm_core::{Body, Delivery, ErrorKind, RungReport, Transport, TransportError, redact};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use url::Url;

use super::credential::HeldCredential;
use super::guard::denied;
use super::health::Health;
use super::metrics::{Label, Pair};
use super::policy::{self, Policy};
use super::{advice, control};
use crate::fault::{self, Fault};

/// Longest URL that is probed.
const URL: usize = 8 * 1024;

/// How long a request waits for a place among those in flight.
const QUEUE: Duration = Duration::from_secs(5);

/// The agent's side of every request.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) policy: Arc<Policy>,
    pub(crate) transport: Transport,
    pub(crate) credentials: Vec<HeldCredential>,
    pub(crate) health: Health,
    places: Arc<Semaphore>,
}

impl Upstream {
    pub(crate) fn new(
        policy: Arc<Policy>,
        transport: Transport,
        credentials: Vec<HeldCredential>,
        health: Health,
        in_flight: usize,
    ) -> Self {
        Self {
            policy,
            transport,
            credentials,
            health,
            places: Arc::new(Semaphore::new(in_flight.min(Semaphore::MAX_PERMITS))),
        }
    }

    /// Carries out what a service asks for.
    pub(crate) async fn handle(&self, request: Request<Body>, agent: &str) -> Response<Body> {
        let mut audit = Audit::of(&request, agent, &self.health);
        match self.carry_out(request, &mut audit).await {
            Ok(answer) => {
                audit.status = answer.status().as_u16();
                let (head, body) = answer.into_parts();
                Response::from_parts(head, audit.follow(body))
            }
            Err(error) => {
                audit.failed = Some(error.code().map_or(error.kind().as_str(), scm_core::Code::as_str));
                Fault::of(&error).into_answer()
            }
        }
    }

    async fn carry_out(
        &self,
        request: Request<Body>,
        audit: &mut Audit,
    ) -> Result<Response<Body>, TransportError> {
        let (mut head, body) = request.into_parts();
        let bare = body.length() == Some(0);
        let allowed =
            self.policy.decide(&head.method, &head.uri, &head.headers, bare).map_err(|why| denied(&why))?;
        audit.rule = allowed.rule;
        audit.server = allowed.entry.url();
        let place = timeout(QUEUE, Arc::clone(&self.places).acquire_owned()).await;
        audit.place = place.map_err(|_| full())?.ok();
        policy::keep_allowed_headers(&mut head.headers);
        let held = self.credentials.iter().find(|held| held.is_for(&allowed));
        if let Some(held) = held {
            held.put(&allowed, &head.method, &head.uri, &mut head.headers)?;
        }
        let body = audit.count(body);
        let mut answer = self.transport.send(Request::from_parts(head, body)).await?;
        // A server must not speak for the hub.
        fault::strip(answer.headers_mut());
        if held.is_some() {
            HeldCredential::keep_session(answer.headers_mut());
        }
        Ok(answer)
    }

    /// What the hub asks for itself.
    pub(crate) async fn control(&self, request: Request<Body>) -> Response<Body> {
        match request.uri().path() {
            control::PROBE => {
                let report = self.report(request).await;
                report.unwrap_or_else(|error| Fault::of(&error).into_answer())
            }
            // A newer hub may ask for more than this agent can do.
            _ => {
                let mut answer = Response::new(Body::empty());
                *answer.status_mut() = StatusCode::NOT_FOUND;
                answer
            }
        }
    }

    async fn report(&self, request: Request<Body>) -> Result<Response<Body>, TransportError> {
        let url = request.into_body().collect(URL).await?;
        let url = std::str::from_utf8(&url).ok().and_then(|url| Url::parse(url).ok());
        let url = url.ok_or_else(|| denied(&policy::Denied::NoOrigin))?;
        let rungs = self.probe(&url).await?;
        tracing::info!(target: "scm_relay::audit", origin = url.origin().ascii_serialization(), "the way there was tested");
        let report = serde_json::to_vec(&rungs).map_err(|_| {
            TransportError::new(ErrorKind::Internal, Delivery::NotSent, "the report cannot be written")
        })?;
        Ok(Response::new(report.into()))
    }

    /// The network rungs to a server that is allowed.
    pub(crate) async fn probe(&self, url: &Url) -> Result<Vec<RungReport>, TransportError> {
        self.policy.knows(url).map_err(|why| denied(&why))?;
        Ok(self.transport.probe(url).await.into_iter().map(advice::own_rung).collect())
    }
}

fn full() -> TransportError {
    let message = "the agent has as many requests in flight as it takes";
    TransportError::new(ErrorKind::Relay, Delivery::NotSent, message)
}

/// One line for each request, written when it is over, however that came about.
struct Audit {
    start: Instant,
    agent: String,
    method: String,
    origin: String,
    path: String,
    request_id: String,
    rule: &'static str,
    /// The server by its allow entry: there are only so many of them.
    server: String,
    status: u16,
    failed: Option<&'static str>,
    /// To the caller, and from it.
    bytes: u64,
    uploaded: Arc<AtomicU64>,
    health: Health,
    place: Option<OwnedSemaphorePermit>,
}

impl Audit {
    fn of(request: &Request<Body>, agent: &str, health: &Health) -> Self {
        health.counts().in_flight.inc();
        let uri = request.uri();
        let id = request.headers().get("x-request-id").and_then(|id| id.to_str().ok());
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        // Nothing before an @ is a host.
        let host = authority.rsplit('@').next().unwrap_or_default();
        Self {
            start: Instant::now(),
            agent: agent.to_owned(),
            method: request.method().to_string(),
            origin: redact::line(&format!("{}://{host}", uri.scheme_str().unwrap_or_default())),
            path: redact::line(uri.path()),
            request_id: redact::line(id.unwrap_or_default()),
            rule: "denied",
            server: String::new(),
            status: 0,
            failed: None,
            bytes: 0,
            uploaded: Arc::default(),
            health: health.clone(),
            place: None,
        }
    }

    /// The request's `body`, counted.
    fn count(&self, body: Body) -> Body {
        let length = body.length();
        if length == Some(0) {
            return body;
        }
        let uploaded = Arc::clone(&self.uploaded);
        let chunks = body.inspect(move |chunk| {
            if let Ok(chunk) = chunk {
                uploaded.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            }
        });
        Body::stream(chunks, length)
    }

    /// The answer's `body`, counted.
    fn follow(self, body: Body) -> Body {
        let length = body.length();
        if length == Some(0) {
            return body;
        }
        let chunks = stream::unfold((body, self), |(mut body, mut audit)| async move {
            let chunk = body.next().await?;
            match &chunk {
                Ok(chunk) => audit.bytes += chunk.len() as u64,
                Err(error) => audit.failed = Some(error.kind().as_str()),
            }
            Some((chunk, (body, audit)))
        });
        Body::stream(chunks, length)
    }

    fn outcome(&self) -> &'static str {
        match (self.rule, self.failed, self.status / 100) {
            ("denied", ..) => "denied",
            (_, Some(_), _) => "failed",
            // Nobody waited for an answer any more.
            (.., 0) => "cancelled",
            (.., 1 | 2) => "2xx",
            (.., 3) => "3xx",
            (.., 4) => "4xx",
            _ => "5xx",
        }
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        let (elapsed, uploaded) = (self.start.elapsed(), self.uploaded.load(Ordering::Relaxed));
        let counts = self.health.counts();
        counts.in_flight.dec();
        counts.seconds.observe(elapsed.as_secs_f64());
        counts.bytes.get_or_create(&Label("direction", "from_server")).inc_by(self.bytes);
        counts.bytes.get_or_create(&Label("direction", "to_server")).inc_by(uploaded);
        let pair = Pair { origin: std::mem::take(&mut self.server), outcome: self.outcome() };
        counts.requests.get_or_create(&pair).inc();
        tracing::info!(
            target: "scm_relay::audit",
            agent = self.agent,
            method = self.method,
            origin = self.origin,
            path = self.path,
            rule = self.rule,
            status = self.status,
            failed = self.failed,
            bytes = self.bytes,
            uploaded,
            millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            request_id = self.request_id,
        );
    }
}
