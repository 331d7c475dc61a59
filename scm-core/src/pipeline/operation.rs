use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::{self, Either};
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, StatusCode, Uri};
use tracing::Instrument as _;
use url::Url;

use super::{ApiRequest, ApiResponse, Decision, ErrorAnswer, Pipeline, Situation, retry, trace};
use crate::credential::Credential;
use crate::error::{Delivery, Error, ErrorKind, Result};
use crate::model::ByteStream;
use crate::transport::Body;

/// Most bytes of an error body that are read.
const MAX_ERROR_BODY: usize = 64 * 1024;
/// Most same-origin redirects that are followed.
const MAX_REDIRECTS: usize = 5;

/// One operation of a provider, of one request or several, under one deadline and one trace span.
#[derive(Debug)]
pub struct Operation {
    pipeline: Pipeline,
    name: &'static str,
    deadline: Option<Instant>,
    fate: Mutex<Fate>,
    /// A try of this operation ended without telling what came of it.
    lost_answer: AtomicBool,
    span: tracing::Span,
}

/// Could the server have acted on what this operation has sent so far?
#[derive(Clone, Copy, Debug)]
struct Fate {
    /// The try that runs, or the last one.
    now: Delivery,
    /// An earlier try or request may have had an effect that no error of a later one tells of.
    acted: bool,
}

impl Fate {
    fn delivery(self) -> Delivery {
        if self.acted { Delivery::Unknown } else { self.now }
    }
}

impl Operation {
    pub(super) fn new(pipeline: Pipeline, name: &'static str) -> Self {
        let shared = &pipeline.shared;
        let deadline = pipeline.options.deadline.unwrap_or(shared.config.deadline);
        Self {
            name,
            deadline: shared.config.clock.monotonic().checked_add(deadline),
            fate: Mutex::new(Fate { now: Delivery::NotSent, acted: false }),
            lost_answer: AtomicBool::new(false),
            span: trace::operation_span(shared.dialect.provider(), name, &pipeline.options),
            pipeline,
        }
    }

    /// The operation's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Sends a request and reads the whole answer. A status outside 2xx is an error.
    ///
    /// # Errors
    /// What the [`Dialect`](super::Dialect) makes of the answer, or what the transport reports.
    pub async fn send(&self, request: ApiRequest) -> Result<ApiResponse> {
        let run = self.run(request, Shape::Whole);
        let (head, body) = self.within_deadline(run).await?;
        let provider = self.pipeline.shared.dialect.provider();
        let body = body.as_bytes().cloned().unwrap_or_default();
        Ok(ApiResponse::new(head, body, provider, self.name))
    }

    /// Sends a request and gives the body as it arrives. The deadline ends with the answer's head.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn stream(&self, request: ApiRequest) -> Result<ByteStream> {
        let (_, body) = self.within_deadline(self.run(request, Shape::Stream)).await?;
        Ok(ByteStream::new(body))
    }

    /// Did a try of this operation end without telling what came of it? Then "not found" after a delete may be its own
    /// work.
    pub fn lost_an_answer(&self) -> bool {
        self.lost_answer.load(Ordering::Relaxed)
    }

    /// Waits, as part of the operation.
    ///
    /// # Errors
    /// `Timeout` when the deadline comes first.
    pub async fn pause(&self, wait: Duration) -> Result<()> {
        let clock = self.pipeline.clock();
        if self.outlasts_deadline(wait) {
            return Err(self.timeout(Delivery::Answered));
        }
        clock.sleep(wait).await;
        Ok(())
    }

    /// An error of this operation before anything was sent: the caller's input cannot be.
    pub fn invalid(&self, message: impl AsRef<str>) -> Error {
        self.own(Error::invalid(message))
    }

    /// Names this operation and its provider in an error that arose outside of [`send`](Self::send).
    pub fn own(&self, error: Error) -> Error {
        error.with_provider(self.pipeline.shared.dialect.provider()).with_operation(self.name)
    }

    fn timeout(&self, delivery: Delivery) -> Error {
        self.own(
            Error::new(ErrorKind::Timeout, "the deadline of the call has passed").with_delivery(delivery),
        )
    }

    /// Would the deadline come before the end of this wait?
    fn outlasts_deadline(&self, wait: Duration) -> bool {
        let end = self.pipeline.clock().monotonic().checked_add(wait);
        self.deadline.is_some_and(|deadline| end.is_none_or(|end| end >= deadline))
    }

    fn fate(&self) -> MutexGuard<'_, Fate> {
        self.fate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn within_deadline<T>(&self, run: impl Future<Output = Result<T>>) -> Result<T> {
        let clock = self.pipeline.clock();
        let run = run.instrument(self.span.clone());
        let done = match self.deadline {
            None => run.await,
            Some(deadline) => {
                let left = deadline.saturating_duration_since(clock.monotonic());
                if left.is_zero() {
                    // Not even a first poll: it could send.
                    return Err(self.timeout(self.fate().delivery()));
                }
                // `select` polls `run` first: an answer that came in time counts, also at the last moment.
                match future::select(pin!(run), pin!(clock.sleep(left))).await {
                    Either::Left((done, _)) => done,
                    Either::Right(_) => return Err(self.timeout(self.fate().delivery())),
                }
            }
        };
        done.map_err(|error| {
            let error = match error.delivery() {
                Delivery::NotSent if self.fate().acted => error.with_delivery(Delivery::Unknown),
                _ => error,
            };
            self.own(error)
        })
    }

    /// The retry loop around single tries.
    async fn run(&self, mut request: ApiRequest, shape: Shape) -> Result<(http::response::Parts, Body)> {
        let shared = &self.pipeline.shared;
        let policy = &shared.config.retry;
        let priority = self.pipeline.options.priority.unwrap_or_default();
        let before = *self.fate();
        let mut attempt: u32 = 1;
        let mut refreshed: Option<Credential> = None;
        let mut asked_for_fresh = false;
        loop {
            let Some(body) = request.body.try_clone() else {
                return Err(Error::new(ErrorKind::Internal, "the body of the request was already used"));
            };
            let permit = shared.gate.enter(priority, self.deadline).await.map_err(pause_is_too_long)?;
            // Asked after the wait for a turn, in which it may have been rotated.
            let credential = match refreshed.take() {
                Some(fresh) => fresh,
                None => shared.config.credentials.credential().await?,
            };
            let credential = shared.dialect.auth().shape(credential);
            self.pipeline.note_credential(&credential);
            let tried = self.one_try(&request, body, &credential, shape, &mut attempt).await;
            drop(permit);
            let error = match tried {
                Ok(done) => {
                    *self.fate() = match request.method.is_safe() {
                        true => before,
                        false => Fate { now: Delivery::Answered, acted: true },
                    };
                    return Ok(done);
                }
                Err(error) => error.without_secret_of(&credential),
            };
            if error.is_in_doubt() {
                self.lost_answer.store(true, Ordering::Relaxed);
            }
            let acted = self.fate().acted || error.is_in_doubt();
            *self.fate() = Fate { now: error.delivery(), acted };
            if error.kind() == ErrorKind::Unauthenticated && !asked_for_fresh && request.body.is_replayable()
            {
                asked_for_fresh = true;
                if let Some(fresh) = shared.config.credentials.refresh(&credential).await? {
                    refreshed = Some(fresh);
                    continue;
                }
            }
            if error.kind() == ErrorKind::RateLimited {
                let wait = error.retry_after().unwrap_or(policy.base_delay());
                // An absurd wait must not lock everybody out for good.
                shared.gate.pause(wait.min(policy.max_retry_after));
            }
            let situation = Situation {
                kind: error.kind(),
                delivery: error.delivery(),
                status: error.status(),
                retryable: error.is_retryable(),
                idempotency: request.idempotency,
                replayable: request.body.is_replayable(),
            };
            let wait = match policy.decide(&situation, attempt, error.retry_after()) {
                Decision::GiveUp => return Err(error),
                Decision::RetryWithin { at_least, jitter } => {
                    at_least.max(shared.config.clock.jitter(jitter))
                }
            };
            if self.outlasts_deadline(wait) {
                // Waiting would only turn a telling error into a timeout.
                return Err(error);
            }
            trace::retrying(attempt, wait, &error);
            shared.config.clock.sleep(wait).await;
            attempt += 1;
        }
    }

    /// One try, with the redirects it may follow. A hub on the way that has tried twice is counted in `attempt`.
    async fn one_try(
        &self,
        request: &ApiRequest,
        body: Body,
        credential: &Credential,
        shape: Shape,
        attempt: &mut u32,
    ) -> Result<(http::response::Parts, Body)> {
        let shared = &self.pipeline.shared;
        let mut url = request.url(&shared.config.base)?;
        let mut body = Some(body);
        let mut anonymous = false;
        for _ in 0..=MAX_REDIRECTS {
            let mut out = http::Request::new(body.take().unwrap_or_default());
            *out.method_mut() = request.method.clone();
            *out.uri_mut() = to_uri(&url)?;
            *out.headers_mut() = request.headers.clone();
            if !anonymous {
                shared.dialect.auth().apply(credential, out.headers_mut())?;
            }
            if let Some(id) = &self.pipeline.options.correlation_id
                && let Ok(value) = HeaderValue::from_str(id.as_str())
            {
                out.headers_mut().insert(HeaderName::from_static("x-correlation-id"), value);
            }
            // A server that leads to a path with the secret in it must not bring it into the log.
            let span = trace::try_span(&request.method, &url, &credential.redact(url.path()), *attempt);
            self.fate().now = Delivery::Unknown;
            let sent = shared.config.transport.send(out).instrument(span.clone()).await;
            let (parts, answer) = match sent {
                Ok(response) => response.into_parts(),
                Err(error) => {
                    trace::failed(&span, &error);
                    let by_hub =
                        error.details().get("hub_attempts").and_then(|tries| tries.parse::<u32>().ok());
                    *attempt = attempt.saturating_add(by_hub.unwrap_or(1).saturating_sub(1));
                    return Err(error.into());
                }
            };
            trace::answered(&span, parts.status);
            if parts.status.is_success() {
                // A whole answer counts against the limit until it is read; a stream may stay open for long.
                let body = match shape {
                    Shape::Stream => answer,
                    Shape::Whole => self.read_whole(&parts, answer, request).await?,
                };
                return Ok((parts, body));
            }
            if let Some(next) = self.redirect(&request.method, &url, &parts, shape, anonymous) {
                anonymous |= next.origin() != shared.config.base.origin();
                url = next;
                continue;
            }
            if !parts.status.is_server_error() {
                // Refused: also when the deadline comes before the rest of the reason.
                self.fate().now = Delivery::Answered;
            }
            let start = read_start(answer).await;
            // Before it is read and cut to a line, which could leave a part of the secret.
            let start = credential.redact(&String::from_utf8_lossy(&start));
            return Err(self.answer_to_error(&parts, start.as_bytes()));
        }
        Err(Error::new(ErrorKind::Decode, "the server redirects in a circle")
            .with_delivery(Delivery::Answered))
    }

    /// Where a redirect may lead: GET and HEAD to the same origin, and a byte stream one hop to another https origin,
    /// without the credential.
    fn redirect(
        &self,
        method: &Method,
        from: &Url,
        parts: &http::response::Parts,
        shape: Shape,
        was_anonymous: bool,
    ) -> Option<Url> {
        if !parts.status.is_redirection() || !matches!(*method, Method::GET | Method::HEAD) || was_anonymous {
            return None;
        }
        let shared = &self.pipeline.shared;
        let base = &shared.config.base;
        let to = from.join(parts.headers.get(header::LOCATION)?.to_str().ok()?).ok()?;
        let to = shared.dialect.relocate(base, &to).unwrap_or(to);
        (to.origin() == base.origin() || (shape == Shape::Stream && to.scheme() == "https")).then_some(to)
    }

    async fn read_whole(
        &self,
        parts: &http::response::Parts,
        answer: Body,
        request: &ApiRequest,
    ) -> Result<Body> {
        if request.method == Method::HEAD || parts.status == StatusCode::NO_CONTENT {
            return Ok(Body::empty());
        }
        match answer.collect(self.pipeline.shared.config.max_body).await {
            Ok(bytes) => Ok(bytes.into()),
            // The head said success, yet the answer is lost: what the server did is not known.
            Err(error) => {
                let delivery = error.delivery();
                Err(Error::from(error).with_status(parts.status).with_delivery(delivery))
            }
        }
    }

    fn answer_to_error(&self, parts: &http::response::Parts, body: &[u8]) -> Error {
        let shared = &self.pipeline.shared;
        let answer = ErrorAnswer::new(parts.status, &parts.headers, body, self.name);
        let mut error = shared.dialect.error(&answer).with_status(parts.status);
        if let Some(id) =
            parts.headers.get(shared.dialect.request_id_header()).and_then(|id| id.to_str().ok())
        {
            error = error.with_request_id(id);
        }
        if matches!(error.kind(), ErrorKind::RateLimited | ErrorKind::Unavailable)
            && let Some(wait) =
                retry::wait_from_headers(error.kind(), &parts.headers, shared.config.clock.now())
        {
            error = error.with_retry_after(wait);
        }
        error
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Shape {
    Whole,
    Stream,
}

/// The server wants silence for longer than the caller can wait.
fn pause_is_too_long(left: Duration) -> Error {
    Error::new(ErrorKind::RateLimited, "the server asked for a pause that outlasts the deadline of the call")
        .with_delivery(Delivery::NotSent)
        .with_retry_after(left)
}

/// Reads the start of an error body; a body that breaks off or is endless still tells something.
async fn read_start(mut answer: Body) -> Vec<u8> {
    use futures_util::StreamExt as _;
    let mut start = Vec::new();
    while start.len() < MAX_ERROR_BODY {
        match answer.next().await {
            Some(Ok(chunk)) => start.extend_from_slice(&chunk),
            _ => break,
        }
    }
    start.truncate(MAX_ERROR_BODY);
    start
}

fn to_uri(url: &Url) -> Result<Uri> {
    Uri::try_from(url.as_str()).map_err(|_| Error::invalid("the call's path cannot be written as a URI"))
}
