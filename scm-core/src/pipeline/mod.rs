//! The pipeline that every provider shares.
//!
//! Fixed order: operation → deadline → concurrency limit → retry → credential (asked anew for each try) → trace →
//! transport. A provider says what is particular to it in a [`Dialect`]; everything else stands here.

mod auth;
mod limit;
mod request;
mod retry;
mod trace;

use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::{self, Either};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Uri};
use tracing::Instrument as _;
use url::Url;

pub use self::auth::AuthForm;
pub use self::limit::Limits;
pub use self::request::{ApiRequest, ApiResponse, Idempotency};
pub use self::retry::{Decision, RetryPolicy, Situation};
use crate::credential::{Credential, CredentialProvider};
use crate::error::{Delivery, Error, ErrorKind, Result};
use crate::model::ByteStream;
use crate::redact;
use crate::scm::CallOptions;
use crate::time::{Clock, SystemClock};
use crate::transport::{Body, Transport};

/// Most bytes of an error body that are read.
const MAX_ERROR_BODY: usize = 64 * 1024;
/// Most same-origin redirects that are followed.
const MAX_REDIRECTS: usize = 5;

/// What is particular to one product.
pub trait Dialect: fmt::Debug + Send + Sync + 'static {
    /// The provider's name, such as `gitlab`.
    fn provider(&self) -> &'static str;

    /// How credentials are written into headers.
    fn auth(&self) -> AuthForm;

    /// Turns an answer that is no success into an error: kind, message, server code, transient or not.
    fn error(&self, answer: &ErrorAnswer<'_>) -> Error;

    /// The header that holds the server's request id.
    fn request_id_header(&self) -> HeaderName;

    /// Where a redirect of the API leads under our own root, when the server names itself by another URL than the one
    /// it is reached by. `None`: the redirect is taken as it is.
    fn relocate(&self, base: &Url, location: &Url) -> Option<Url> {
        let _ = (base, location);
        None
    }
}

/// An answer that is no success.
#[derive(Debug)]
#[non_exhaustive]
pub struct ErrorAnswer<'a> {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: &'a HeaderMap,
    /// The start of the body.
    pub body: &'a [u8],
    /// The operation, as in [`Error::operation`].
    pub operation: &'static str,
}

impl ErrorAnswer<'_> {
    /// Does the server call the body JSON?
    pub fn is_json(&self) -> bool {
        request::is_json(self.headers)
    }
}

/// What a pipeline is made of.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PipelineConfig {
    /// The server's root, with its context path.
    pub base: Url,
    /// The route.
    pub transport: Transport,
    /// Where the credential comes from.
    pub credentials: Arc<dyn CredentialProvider>,
    /// How often and when a call is repeated.
    pub retry: RetryPolicy,
    /// How many requests run at the same time.
    pub limits: Limits,
    /// Longest time for one operation, where the call says nothing.
    pub deadline: Duration,
    /// Largest answer that is held in memory.
    pub max_body: usize,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

impl PipelineConfig {
    /// Usual settings: two minutes per operation, 64 MiB per answer.
    #[must_use]
    pub fn new(base: Url, transport: Transport, credentials: Arc<dyn CredentialProvider>) -> Self {
        Self {
            base,
            transport,
            credentials,
            retry: RetryPolicy::default(),
            limits: Limits::default(),
            deadline: Duration::from_secs(120),
            max_body: 64 * 1024 * 1024,
            clock: Arc::new(SystemClock),
        }
    }
}

/// The shared way of every request. Cheap to clone.
#[derive(Clone)]
pub struct Pipeline {
    shared: Arc<Shared>,
    options: CallOptions,
}

struct Shared {
    config: PipelineConfig,
    dialect: Arc<dyn Dialect>,
    gate: limit::Gate,
    /// The credential used last, and how often it has changed.
    last_credential: Mutex<(Option<Credential>, u64)>,
}

impl Pipeline {
    /// A pipeline for one server.
    ///
    /// # Errors
    /// `Config` when the base URL has credentials, a query or a fragment, or is not http(s).
    pub fn new(mut config: PipelineConfig, dialect: Arc<dyn Dialect>) -> Result<Self> {
        let base = &mut config.base;
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
            return Err(Error::config("the server URL must start with https:// or http:// and name a host"));
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err(Error::config("the server URL must not hold a user name or password; give a token"));
        }
        if base.query().is_some() || base.fragment().is_some() {
            return Err(Error::config("the server URL must be the server's root, without '?' or '#'"));
        }
        if !base.path().ends_with('/') {
            let path = format!("{}/", base.path());
            base.set_path(&path);
        }
        let gate = limit::Gate::new(config.limits, Arc::clone(&config.clock));
        Ok(Self {
            shared: Arc::new(Shared { config, dialect, gate, last_credential: Mutex::default() }),
            options: CallOptions::default(),
        })
    }

    /// The same pipeline, with the same limits, for other call options.
    #[must_use]
    pub fn with_options(&self, options: CallOptions) -> Self {
        Self { shared: Arc::clone(&self.shared), options }
    }

    /// A pipeline of its own with the same settings for another root of the same origin.
    ///
    /// # Errors
    /// `Config` for another origin: the credential goes to the configured one only.
    pub fn at(&self, root: Url) -> Result<Self> {
        if root.origin() != self.base().origin() {
            return Err(Error::config("another origin than the configured one"));
        }
        let config = PipelineConfig { base: root, ..self.shared.config.clone() };
        Ok(Self::new(config, Arc::clone(&self.shared.dialect))?.with_options(self.options.clone()))
    }

    /// The server's root, ending in `/`.
    pub fn base(&self) -> &Url {
        &self.shared.config.base
    }

    /// The route.
    pub fn transport(&self) -> &Transport {
        &self.shared.config.transport
    }

    /// Where the credential comes from.
    pub fn credentials(&self) -> &Arc<dyn CredentialProvider> {
        &self.shared.config.credentials
    }

    /// Time.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.shared.config.clock
    }

    /// How often the credential has changed so far: what was learnt with an older one may no longer hold.
    pub fn credential_changes(&self) -> u64 {
        self.shared.last_credential.lock().unwrap_or_else(PoisonError::into_inner).1
    }

    fn note_credential(&self, credential: &Credential) {
        let mut last = self.shared.last_credential.lock().unwrap_or_else(PoisonError::into_inner);
        match &last.0 {
            Some(known) if known.same_as(credential) => return,
            Some(_) => last.1 += 1,
            None => {}
        }
        last.0 = Some(credential.clone());
    }

    /// Starts an operation: its deadline runs from now over every request it makes.
    pub fn operation(&self, name: &'static str) -> Operation {
        let deadline = self.options.deadline.unwrap_or(self.shared.config.deadline);
        Operation {
            pipeline: self.clone(),
            name,
            deadline: self.clock().monotonic().checked_add(deadline),
            in_doubt: AtomicBool::new(false),
            lost_answer: AtomicBool::new(false),
            span: trace::operation_span(self.shared.dialect.provider(), name, &self.options),
        }
    }
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline")
            .field("provider", &self.shared.dialect.provider())
            .field("base", &self.base().as_str())
            .finish_non_exhaustive()
    }
}

/// One operation of a provider, of one request or several, under one deadline and one trace span.
#[derive(Debug)]
pub struct Operation {
    pipeline: Pipeline,
    name: &'static str,
    deadline: Option<Instant>,
    /// A request left, and no answer has told yet what came of it.
    in_doubt: AtomicBool,
    /// An earlier try of this operation ended without telling what came of it.
    lost_answer: AtomicBool,
    span: tracing::Span,
}

impl Operation {
    /// The operation's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Sends a request and reads the whole answer. A status outside 2xx is an error.
    ///
    /// # Errors
    /// What the [`Dialect`] makes of the answer, or what the transport reports.
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
        if self.deadline.is_some_and(|deadline| clock.monotonic() + wait > deadline) {
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

    async fn within_deadline<T>(&self, run: impl Future<Output = Result<T>>) -> Result<T> {
        let clock = self.pipeline.clock();
        let run = run.instrument(self.span.clone());
        let Some(deadline) = self.deadline else { return run.await.map_err(|error| self.own(error)) };
        let left = deadline.saturating_duration_since(clock.monotonic());
        // `select` polls `run` first: an answer that came in time counts, also at the last moment.
        match future::select(pin!(run), pin!(clock.sleep(left))).await {
            Either::Left((done, _)) => done.map_err(|error| self.own(error)),
            Either::Right(_) => {
                let in_doubt = self.in_doubt.load(Ordering::Relaxed);
                Err(self.timeout(if in_doubt { Delivery::Unknown } else { Delivery::NotSent }))
            }
        }
    }

    /// The retry loop around single tries.
    async fn run(&self, mut request: ApiRequest, shape: Shape) -> Result<(http::response::Parts, Body)> {
        let shared = &self.pipeline.shared;
        let policy = &shared.config.retry;
        let mut attempt: u32 = 1;
        let mut refreshed: Option<Credential> = None;
        let mut asked_for_fresh = false;
        loop {
            let Some(body) = request.body.try_clone() else {
                return Err(Error::new(ErrorKind::Internal, "the body of the request was already used"));
            };
            let credential = match refreshed.take() {
                Some(fresh) => fresh,
                None => shared.config.credentials.credential().await?,
            };
            self.pipeline.note_credential(&credential);
            let error = match self.one_try(&request, body, &credential, shape, attempt).await {
                Ok(done) => return Ok(done),
                Err(error) => without_secret(error, &credential),
            };
            let in_doubt = match error.delivery() {
                Delivery::NotSent => false,
                Delivery::Unknown => true,
                Delivery::Answered => error.status().is_none_or(|status| status.is_server_error()),
            };
            if in_doubt {
                self.lost_answer.store(true, Ordering::Relaxed);
            }
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
            let now = shared.config.clock.monotonic();
            if self.deadline.is_some_and(|deadline| now + wait >= deadline) {
                // Waiting would only turn a telling error into a timeout.
                return Err(error);
            }
            trace::retrying(attempt, wait, &error);
            shared.config.clock.sleep(wait).await;
            attempt += 1;
        }
    }

    /// One try, with the redirects it may follow.
    async fn one_try(
        &self,
        request: &ApiRequest,
        body: Body,
        credential: &Credential,
        shape: Shape,
        attempt: u32,
    ) -> Result<(http::response::Parts, Body)> {
        let shared = &self.pipeline.shared;
        let permit = shared.gate.enter(self.pipeline.options.priority.unwrap_or_default()).await;
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
            let span = trace::try_span(&request.method, &url, attempt);
            self.in_doubt.store(true, Ordering::Relaxed);
            let sent = shared.config.transport.send(out).instrument(span.clone()).await;
            let (parts, answer) = match sent {
                Ok(response) => response.into_parts(),
                Err(error) => {
                    trace::failed(&span, &error);
                    if error.delivery() == Delivery::NotSent {
                        self.in_doubt.store(false, Ordering::Relaxed);
                    }
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
                drop(permit);
                return Ok((parts, body));
            }
            if let Some(next) = self.redirect(&request.method, &url, &parts, shape, anonymous) {
                anonymous |= next.origin() != shared.config.base.origin();
                url = next;
                continue;
            }
            self.in_doubt.store(parts.status.is_server_error(), Ordering::Relaxed);
            let start = read_start(answer).await;
            return Err(self.answer_to_error(&parts, &start));
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
            Err(error) => Err(Error::from(error)),
        }
    }

    fn answer_to_error(&self, parts: &http::response::Parts, body: &[u8]) -> Error {
        let shared = &self.pipeline.shared;
        let answer =
            ErrorAnswer { status: parts.status, headers: &parts.headers, body, operation: self.name };
        let mut error = shared.dialect.error(&answer).with_status(parts.status);
        if let Some(id) =
            parts.headers.get(shared.dialect.request_id_header()).and_then(|id| id.to_str().ok())
        {
            error = error.with_request_id(id);
        }
        if matches!(error.kind(), ErrorKind::RateLimited | ErrorKind::Unavailable)
            && let Some(wait) = retry::wait_from_headers(&parts.headers, shared.config.clock.now())
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

/// The server may echo the credential; nothing of it is shown.
fn without_secret(error: Error, credential: &Credential) -> Error {
    match credential.secret() {
        Some(secret) => error.map_message(|message| redact::without(message, secret)),
        None => error,
    }
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

#[cfg(test)]
mod tests;
