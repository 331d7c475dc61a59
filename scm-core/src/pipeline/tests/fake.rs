//! A transport that answers by a script and remembers what it was asked, and what a test says to it in short.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;
use http::header::{AUTHORIZATION, HeaderName};
use http::{HeaderMap, Method};
use tokio::sync::Semaphore;
use url::Url;

use crate::check::RungReport;
use crate::credential::{CredentialProvider, StaticCredential};
use crate::error::{Delivery, Error, ErrorKind};
use crate::pipeline::{ApiRequest, AuthForm, Dialect, ErrorAnswer, Limits, Pipeline, PipelineConfig, Result};
use crate::transport::{Body, HttpTransport, Route, Transport, TransportError};

pub(super) const TOKEN: &str = "canary-0123456789";

/// What the fake answers to one request.
pub(super) enum Answer {
    Status(u16, &'static [(&'static str, &'static str)], &'static str),
    /// The same, made up by the test.
    Text(u16, HeaderMap, String),
    Fail(ErrorKind, Delivery),
    /// A transport's error as it is.
    Error(TransportError),
    /// A head, and a body that breaks off.
    CutOff(u16),
    /// A head, and a body that never ends; dropping it is counted.
    Endless(u16),
    /// Never answers; dropping it is counted.
    Hang,
}

#[derive(Debug)]
pub(super) struct Seen {
    pub(super) method: Method,
    pub(super) url: String,
    pub(super) token: Option<String>,
    pub(super) body: Bytes,
    pub(super) at: Instant,
}

#[derive(Default)]
pub(super) struct Fake {
    pub(super) script: Mutex<VecDeque<Answer>>,
    pub(super) seen: Mutex<Vec<Seen>>,
    running: AtomicUsize,
    /// The most requests that ever ran at the same time.
    pub(super) most: AtomicUsize,
    /// How many requests and bodies were dropped that would have gone on.
    pub(super) dropped: Arc<AtomicUsize>,
    /// Each request waits here for its permit, where there is a gate.
    pub(super) gate: Option<Semaphore>,
}

impl Fake {
    pub(super) fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// The last path segment of each request, in the order they came.
    pub(super) fn order(&self) -> Vec<String> {
        let last = |seen: &Seen| seen.url.rsplit('/').next().unwrap().to_owned();
        self.seen.lock().unwrap().iter().map(last).collect()
    }

    /// Lets so many of the waiting requests end, and waits until all has come to rest: with paused time that is when
    /// a sleep ends.
    pub(super) async fn release(&self, requests: usize) {
        self.gate.as_ref().unwrap().add_permits(requests);
        settle().await;
    }
}

/// Everything that can run has run.
pub(super) async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

impl fmt::Debug for Fake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fake")
    }
}

struct Running<'a>(&'a AtomicUsize);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

struct CountDrop(Arc<AtomicUsize>);

impl Drop for CountDrop {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[derive(Clone, Debug)]
struct FakeTransport(Arc<Fake>);

#[async_trait]
impl HttpTransport for FakeTransport {
    async fn send(&self, request: http::Request<Body>) -> Result<http::Response<Body>, TransportError> {
        let fake = &self.0;
        let running = fake.running.fetch_add(1, Ordering::SeqCst) + 1;
        let _running = Running(&fake.running);
        fake.most.fetch_max(running, Ordering::SeqCst);
        let answer = fake.script.lock().unwrap().pop_front();
        let (head, body) = request.into_parts();
        let body = match &answer {
            // A refused connection never asks for the body.
            Some(Answer::Fail(_, Delivery::NotSent)) => Bytes::new(),
            _ => body.collect(1 << 20).await?,
        };
        let token = head.headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
        let at = tokio::time::Instant::now().into_std();
        let seen = Seen { method: head.method, url: head.uri.to_string(), token, body, at };
        fake.seen.lock().unwrap().push(seen);
        if let Some(gate) = &fake.gate {
            gate.acquire().await.unwrap().forget();
        }
        let whole = |status, headers, text: String| {
            let mut response = http::Response::new(Body::from(text));
            *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
            *response.headers_mut() = headers;
            response
        };
        let broken = |status, body| http::Response::builder().status(status).body(body).unwrap();
        match answer.unwrap_or(Answer::Status(200, &[("content-type", "application/json")], "{}")) {
            Answer::Hang => {
                let _count = CountDrop(Arc::clone(&fake.dropped));
                futures_util::future::pending::<()>().await;
                unreachable!()
            }
            Answer::Fail(kind, delivery) => Err(TransportError::new(kind, delivery, "scripted")),
            Answer::Error(error) => Err(error),
            Answer::CutOff(status) => {
                let end = TransportError::new(ErrorKind::Unavailable, Delivery::Unknown, "cut off");
                let parts = [Ok(Bytes::from_static(b"{\"id\":")), Err(end)];
                Ok(broken(status, Body::stream(stream::iter(parts), None)))
            }
            Answer::Endless(status) => {
                let count = CountDrop(Arc::clone(&fake.dropped));
                let start = stream::iter([Ok(Bytes::from_static(b"{\"id\":"))]);
                let rest = stream::poll_fn(move |_| {
                    let _held = &count;
                    Poll::Pending
                });
                Ok(broken(status, Body::stream(start.chain(rest), None)))
            }
            Answer::Status(status, headers, text) => {
                if fake.gate.is_none() {
                    // Takes a moment, so that requests overlap.
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                let pairs = headers.iter().map(|(name, value)| {
                    (HeaderName::from_static(name), http::HeaderValue::from_static(value))
                });
                Ok(whole(status, pairs.collect(), text.to_owned()))
            }
            Answer::Text(status, headers, text) => Ok(whole(status, headers, text)),
        }
    }

    async fn probe(&self, _: &Url) -> Vec<RungReport> {
        Vec::new()
    }

    fn route(&self) -> Route {
        Route::Direct
    }
}

#[derive(Debug)]
pub(super) struct TestDialect;

impl Dialect for TestDialect {
    fn provider(&self) -> &'static str {
        "test"
    }

    fn auth(&self) -> AuthForm {
        AuthForm::Bearer
    }

    /// The text of the server, up to a `|`, after which its code stands.
    fn error(&self, answer: &ErrorAnswer<'_>) -> Error {
        let kind = match answer.status.as_u16() {
            401 => ErrorKind::Unauthenticated,
            429 => ErrorKind::RateLimited,
            500.. => ErrorKind::Unavailable,
            300..=399 => ErrorKind::NotFound,
            _ => ErrorKind::InvalidInput,
        };
        let text = String::from_utf8_lossy(answer.body);
        match text.split_once('|') {
            Some((text, code)) => Error::new(kind, text).with_server_code(code),
            None => Error::new(kind, text),
        }
    }

    fn request_id_header(&self) -> HeaderName {
        HeaderName::from_static("x-request-id")
    }
}

pub(super) fn transport() -> Transport {
    Transport::new(FakeTransport(Arc::default()))
}

pub(super) fn pipeline_over(
    fake: Fake,
    credentials: Arc<dyn CredentialProvider>,
    set: impl FnOnce(&mut PipelineConfig),
) -> (Pipeline, Arc<Fake>) {
    let fake = Arc::new(fake);
    let base = Url::parse("https://scm.example/root").unwrap();
    let mut config = PipelineConfig::new(base, Transport::new(FakeTransport(Arc::clone(&fake))), credentials);
    set(&mut config);
    (Pipeline::new(config, Arc::new(TestDialect)).unwrap(), fake)
}

pub(super) fn pipeline_with(
    answers: Vec<Answer>,
    credentials: Arc<dyn CredentialProvider>,
    set: impl FnOnce(&mut PipelineConfig),
) -> (Pipeline, Arc<Fake>) {
    let fake = Fake { script: Mutex::new(answers.into()), ..Fake::default() };
    pipeline_over(fake, credentials, set)
}

pub(super) fn pipeline(answers: Vec<Answer>) -> (Pipeline, Arc<Fake>) {
    pipeline_with(answers, static_token(), |_| {})
}

/// So many requests at the same time, each of which waits at the gate.
pub(super) fn gated(answers: Vec<Answer>, concurrent: usize) -> (Pipeline, Arc<Fake>) {
    let gate = Some(Semaphore::new(0));
    let fake = Fake { script: Mutex::new(answers.into()), gate, ..Fake::default() };
    pipeline_over(fake, static_token(), |config| {
        config.limits = Limits::default().with_concurrent(concurrent);
    })
}

pub(super) fn static_token() -> Arc<dyn CredentialProvider> {
    Arc::new(StaticCredential::token(TOKEN.into()))
}

pub(super) fn get() -> ApiRequest {
    ApiRequest::new(Method::GET, "api", &["x"])
}

pub(super) fn post() -> ApiRequest {
    ApiRequest::new(Method::POST, "api", &["x"]).json(&serde_json::json!({"a": 1})).unwrap()
}

pub(super) fn put() -> ApiRequest {
    ApiRequest::new(Method::PUT, "api", &["x"]).json(&serde_json::json!({"a": 1})).unwrap()
}
