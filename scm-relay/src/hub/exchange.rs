//! One request on its way through: its deadlines, what it moved, and the line that is written when it is over.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use http::{Response, request};
use scm_core::{Body, Delivery, ErrorKind, TransportError, redact};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use super::answer::{self, MAX_BODY};
use super::metrics::{Ended, Moved, OfAgent};
use super::{HubSettings, Inner};
use crate::keys::AgentName;

/// As good as for ever.
const AGES: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// What is known of a request while it lives.
pub(crate) struct Exchange {
    hub: Arc<Inner>,
    agent: AgentName,
    service: String,
    method: String,
    origin: String,
    path: String,
    request_id: String,
    status: u16,
    failed: Option<String>,
    pub(crate) attempts: u8,
    pub(crate) place: Option<OwnedSemaphorePermit>,
    progress: Arc<Progress>,
    received: u64,
}

/// What became of the upload.
struct Progress {
    start: Instant,
    sent: AtomicU64,
    /// When the last piece of it was taken, or it began, in milliseconds since the start.
    at: AtomicU64,
}

impl Progress {
    fn goes_on(&self) {
        self.at.store(millis(self.start.elapsed()), Ordering::Relaxed);
    }
}

impl Exchange {
    pub(crate) fn new(hub: &Arc<Inner>, service: &str, agent: &AgentName, head: &request::Parts) -> Self {
        hub.flying.send_modify(|count| *count += 1);
        let id = head.headers.get("x-request-id").and_then(|id| id.to_str().ok());
        let authority = head.uri.authority().map_or("", |authority| authority.as_str());
        Self {
            hub: Arc::clone(hub),
            agent: agent.clone(),
            service: service.to_owned(),
            method: head.method.to_string(),
            origin: redact::line(&format!("{}://{authority}", head.uri.scheme_str().unwrap_or_default())),
            path: redact::line(head.uri.path()),
            request_id: redact::line(id.unwrap_or_default()),
            status: 0,
            failed: None,
            attempts: 0,
            place: None,
            progress: Arc::new(Progress {
                start: Instant::now(),
                sent: AtomicU64::new(0),
                at: AtomicU64::new(0),
            }),
            received: 0,
        }
    }

    /// The request's `body`, followed, and cut where it is larger than what the hub takes.
    pub(crate) fn upload(&self, body: Body) -> Result<Body, TransportError> {
        let length = body.length();
        if length == Some(0) {
            return Ok(body);
        }
        let limit = self.hub.settings.max_body.unwrap_or(u64::MAX);
        if length.is_some_and(|length| length > limit) {
            return Err(too_large(ErrorKind::InvalidInput, Delivery::NotSent, limit));
        }
        // What is in memory can be sent again, and stays as it is.
        if let Some(bytes) = body.as_bytes() {
            self.progress.sent.store(bytes.len() as u64, Ordering::Relaxed);
            return Ok(body);
        }
        let progress = Arc::clone(&self.progress);
        let chunks = body.map(move |chunk| {
            let chunk = chunk?;
            let sent = progress.sent.fetch_add(chunk.len() as u64, Ordering::Relaxed) + chunk.len() as u64;
            progress.goes_on();
            if sent > limit {
                return Err(too_large(ErrorKind::InvalidInput, Delivery::Unknown, limit));
            }
            Ok(chunk)
        });
        Ok(Body::stream(chunks, length))
    }

    /// Waits for the head of the answer, as long as the deadlines allow. An upload that goes on puts the one for it off.
    pub(crate) async fn head<T>(
        &self,
        work: impl Future<Output = Result<T, TransportError>>,
    ) -> Result<T, TransportError> {
        self.progress.goes_on();
        let mut work = pin!(work);
        loop {
            if let Ok(done) = timeout_at(self.due(), work.as_mut()).await {
                return done;
            }
            if self.due() <= Instant::now() {
                let limit = self.hub.settings.header_timeout;
                return Err(self.late(&format!("no answer began within {limit:?}")));
            }
        }
    }

    fn due(&self) -> Instant {
        let progress = Duration::from_millis(self.progress.at.load(Ordering::Relaxed));
        let head = later(later(self.progress.start, progress), self.hub.settings.header_timeout);
        head.min(self.end())
    }

    fn end(&self) -> Instant {
        later(self.progress.start, self.hub.settings.total_timeout.unwrap_or(AGES))
    }

    fn late(&self, why: &str) -> TransportError {
        let why = match self.hub.settings.total_timeout {
            Some(limit) if self.end() <= Instant::now() => {
                format!("the request was not over within {limit:?}")
            }
            _ => why.to_owned(),
        };
        TransportError::new(
            ErrorKind::Timeout,
            Delivery::Unknown,
            format!("the hub gave the request up: {why}"),
        )
    }

    /// What the caller gets in the end.
    pub(crate) fn finish(
        mut self,
        outcome: Result<Response<Body>, TransportError>,
    ) -> Result<Response<Body>, TransportError> {
        let answer = match outcome {
            Ok(answer) => answer,
            Err(error) => {
                self.failed = Some(answer::code(&error));
                return Err(error);
            }
        };
        let (head, body) = answer.into_parts();
        self.status = head.status.as_u16();
        let limit = self.hub.settings.max_body.unwrap_or(u64::MAX);
        if body.length().is_some_and(|length| length > limit) {
            let error = too_large(ErrorKind::Decode, Delivery::Answered, limit);
            self.failed = Some(answer::code(&error));
            return Err(error);
        }
        Ok(Response::from_parts(head, self.follow(body)))
    }

    fn follow(self, body: Body) -> Body {
        let length = body.length();
        if length == Some(0) {
            return body;
        }
        let chunks = stream::unfold(Some((body, self)), |state| async {
            let (mut body, mut this) = state?;
            match this.next(&mut body).await? {
                Ok(chunk) => Some((Ok(chunk), Some((body, this)))),
                Err(error) => {
                    this.failed = Some(answer::code(&error));
                    Some((Err(error), None))
                }
            }
        });
        Body::stream(chunks, length)
    }

    async fn next(&mut self, body: &mut Body) -> Option<Result<bytes::Bytes, TransportError>> {
        let HubSettings { idle_timeout, max_body, .. } = self.hub.settings;
        let due = later(Instant::now(), idle_timeout).min(self.end());
        let Ok(chunk) = timeout_at(due, body.next()).await else {
            return Some(Err(self.late(&format!("nothing more of the answer came for {idle_timeout:?}"))));
        };
        let chunk = chunk?;
        if let Ok(chunk) = &chunk {
            self.received += chunk.len() as u64;
            let limit = max_body.unwrap_or(u64::MAX);
            if self.received > limit {
                return Some(Err(too_large(ErrorKind::Decode, Delivery::Answered, limit)));
            }
        }
        Some(chunk)
    }

    fn outcome(&self) -> String {
        match (&self.failed, self.status) {
            (Some(code), _) => code.clone(),
            // Nobody waited for an answer any more.
            (None, 0) => "cancelled".to_owned(),
            (None, status) => format!("{}xx", status / 100),
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.hub.flying.send_modify(|count| *count -= 1);
        let (elapsed, sent) = (self.progress.start.elapsed(), self.progress.sent.load(Ordering::Relaxed));
        let (metrics, agent) = (&self.hub.metrics, self.agent.to_string());
        metrics.seconds.observe(elapsed.as_secs_f64());
        for (direction, bytes) in [("to_server", sent), ("from_server", self.received)] {
            metrics.bytes.get_or_create(&Moved { agent: agent.clone(), direction }).inc_by(bytes);
        }
        if self.attempts > 1 {
            metrics.repeated.get_or_create(&OfAgent { agent: agent.clone() }).inc();
        }
        metrics.requests.get_or_create(&Ended { agent, outcome: self.outcome() }).inc();
        tracing::info!(
            target: "scm_relay::audit",
            service = self.service,
            agent = %self.agent,
            method = self.method,
            origin = self.origin,
            path = self.path,
            status = self.status,
            failed = self.failed,
            attempts = self.attempts,
            sent,
            received = self.received,
            millis = millis(elapsed),
            request_id = self.request_id,
        );
    }
}

fn too_large(kind: ErrorKind, delivery: Delivery, limit: u64) -> TransportError {
    let message = format!("the body is larger than the {limit} bytes that the hub lets through");
    TransportError::new(kind, delivery, message)
        .with_retryable(false)
        .with_detail(MAX_BODY, limit.to_string())
}

pub(super) fn later(from: Instant, wait: Duration) -> Instant {
    from.checked_add(wait).or_else(|| from.checked_add(AGES)).unwrap_or(from)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
