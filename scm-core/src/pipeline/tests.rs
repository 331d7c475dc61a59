//! The pipeline over a fake transport: a script of answers, and a record of what was asked.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::{self, Either};
use http::Method;
use http::header::{self, HeaderValue};

use super::*;
use crate::check::RungReport;
use crate::credential::{CallbackCredential, StaticCredential};
use crate::error::{Delivery, ErrorKind};
use crate::scm::Priority;
use crate::transport::{Body, HttpTransport, Route, TransportError};

const TOKEN: &str = "canary-0123456789";

/// What the fake answers to one request.
enum Answer {
    Status(u16, &'static [(&'static str, &'static str)], &'static str),
    Fail(ErrorKind, Delivery),
    /// A head that says success, and a body that breaks off.
    CutOff(u16),
    /// Never answers; the slot counts how often such a request was dropped.
    Hang,
}

#[derive(Debug)]
struct Seen {
    method: Method,
    url: String,
    token: Option<String>,
    body: Bytes,
    at: Instant,
}

#[derive(Default)]
struct Fake {
    script: Mutex<VecDeque<Answer>>,
    seen: Mutex<Vec<Seen>>,
    running: AtomicUsize,
    most: AtomicUsize,
    dropped: Arc<AtomicUsize>,
}

impl fmt::Debug for Fake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fake")
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
        fake.most.fetch_max(running, Ordering::SeqCst);
        let answer = fake.script.lock().unwrap().pop_front();
        let (head, body) = request.into_parts();
        let body = match &answer {
            // A refused connection never asks for the body.
            Some(Answer::Fail(_, Delivery::NotSent)) => Bytes::new(),
            _ => body.collect(1 << 20).await?,
        };
        let token = head.headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
        let at = tokio::time::Instant::now().into_std();
        fake.seen.lock().unwrap().push(Seen {
            method: head.method,
            url: head.uri.to_string(),
            token,
            body,
            at,
        });
        let answer =
            match answer.unwrap_or(Answer::Status(200, &[("content-type", "application/json")], "{}")) {
                Answer::Hang => {
                    let _count = CountDrop(Arc::clone(&fake.dropped));
                    futures_util::future::pending::<()>().await;
                    unreachable!()
                }
                Answer::Fail(kind, delivery) => Err(TransportError::new(kind, delivery, "scripted")),
                Answer::CutOff(status) => {
                    let broken = TransportError::new(ErrorKind::Unavailable, Delivery::Unknown, "cut off");
                    let parts = vec![Ok(Bytes::from_static(b"{\"id\":")), Err(broken)];
                    let body = Body::stream(futures_util::stream::iter(parts), None);
                    Ok(http::Response::builder().status(status).body(body).unwrap())
                }
                Answer::Status(status, headers, text) => {
                    // Takes a moment, so that requests overlap.
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    let mut response = http::Response::builder().status(status);
                    for (name, value) in headers {
                        response = response.header(*name, *value);
                    }
                    Ok(response.body(Body::from(text.to_owned())).unwrap())
                }
            };
        fake.running.fetch_sub(1, Ordering::SeqCst);
        answer
    }

    async fn probe(&self, _: &Url) -> Vec<RungReport> {
        Vec::new()
    }

    fn route(&self) -> Route {
        Route::Direct
    }
}

#[derive(Debug)]
struct TestDialect;

impl Dialect for TestDialect {
    fn provider(&self) -> &'static str {
        "test"
    }

    fn auth(&self) -> AuthForm {
        AuthForm::Bearer
    }

    fn error(&self, answer: &ErrorAnswer<'_>) -> Error {
        let kind = match answer.status.as_u16() {
            401 => ErrorKind::Unauthenticated,
            429 => ErrorKind::RateLimited,
            500.. => ErrorKind::Unavailable,
            300..=399 => ErrorKind::NotFound,
            _ => ErrorKind::InvalidInput,
        };
        Error::new(kind, String::from_utf8_lossy(answer.body))
    }

    fn request_id_header(&self) -> HeaderName {
        HeaderName::from_static("x-request-id")
    }
}

fn pipeline_with(
    answers: Vec<Answer>,
    credentials: Arc<dyn CredentialProvider>,
    set: impl FnOnce(&mut PipelineConfig),
) -> (Pipeline, Arc<Fake>) {
    let fake = Arc::new(Fake { script: Mutex::new(answers.into()), ..Fake::default() });
    let base = Url::parse("https://scm.example/root").unwrap();
    let mut config = PipelineConfig::new(base, Transport::new(FakeTransport(Arc::clone(&fake))), credentials);
    set(&mut config);
    (Pipeline::new(config, Arc::new(TestDialect)).unwrap(), fake)
}

fn pipeline(answers: Vec<Answer>) -> (Pipeline, Arc<Fake>) {
    pipeline_with(answers, Arc::new(StaticCredential::token(TOKEN.into())), |_| {})
}

fn get() -> ApiRequest {
    ApiRequest::new(Method::GET, "api", &["x"])
}

fn post() -> ApiRequest {
    ApiRequest::new(Method::POST, "api", &["x"]).json(&serde_json::json!({"a": 1})).unwrap()
}

fn count(fake: &Fake) -> usize {
    fake.seen.lock().unwrap().len()
}

#[tokio::test(start_paused = true)]
async fn what_may_be_repeated_is_and_what_may_not_is_not() {
    use Delivery::{NotSent, Unknown};
    use ErrorKind::{Connect, Unavailable};
    for (answer, request, tries) in [
        (Answer::Fail(Connect, NotSent), post(), 2),
        (Answer::Fail(Unavailable, Unknown), get(), 2),
        (Answer::Fail(Unavailable, Unknown), post(), 1),
        (Answer::Status(503, &[], "busy"), get(), 2),
        (Answer::Status(503, &[], "busy"), post(), 1),
        (Answer::Status(429, &[("retry-after", "1")], "slow"), post(), 2),
        (Answer::Status(429, &[], "slow"), post().idempotency(Idempotency::Never), 1),
        (Answer::CutOff(200), get(), 2),
        (Answer::CutOff(201), post(), 1),
        (Answer::Status(400, &[], "bad"), get(), 1),
    ] {
        let shown = format!("{request:?}");
        let (pipeline, fake) = pipeline(vec![answer]);
        let operation = pipeline.operation("op");
        let answer = operation.send(request).await;
        assert_eq!(count(&fake), tries, "{shown}");
        assert_eq!(answer.is_ok(), tries == 2, "{shown}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_post_sent_again_carries_the_same_body() {
    let (pipeline, fake) = pipeline(vec![Answer::Status(429, &[], "")]);
    pipeline.operation("op").send(post()).await.unwrap();
    let seen = fake.seen.lock().unwrap();
    assert_eq!((seen.len(), &seen[0].body), (2, &seen[1].body));
    assert_eq!(seen[1].body, r#"{"a":1}"#);
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_sent_again_only_while_no_byte_was_taken() {
    let upload = || {
        let chunks = futures_util::stream::iter(vec![Ok(Bytes::from_static(b"data"))]);
        ApiRequest::new(Method::PUT, "api", &["x"])
            .body(Body::stream(chunks, None), HeaderValue::from_static("application/octet-stream"))
    };
    let (first, fake) = pipeline(vec![Answer::Fail(ErrorKind::Connect, Delivery::NotSent)]);
    first.operation("op").send(upload()).await.unwrap();
    assert_eq!(fake.seen.lock().unwrap()[1].body, "data");
    let (second, fake) = pipeline(vec![Answer::Status(503, &[], "busy")]);
    assert_eq!(second.operation("op").send(upload()).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(count(&fake), 1);
}

#[tokio::test(start_paused = true)]
async fn a_rejected_credential_is_asked_anew_once() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let rotating = CallbackCredential::new(move || {
        let n = counter.fetch_add(1, Ordering::SeqCst);
        async move { Ok(Credential::Token(if n == 0 { "old-secret" } else { "new-secret" }.into())) }
    });
    let rejected = || Answer::Status(401, &[], "who?");
    let (pipeline, fake) = pipeline_with(vec![rejected()], Arc::new(rotating), |_| {});
    pipeline.operation("op").send(post()).await.unwrap();
    let tokens: Vec<_> = fake.seen.lock().unwrap().iter().map(|seen| seen.token.clone().unwrap()).collect();
    assert_eq!(tokens, ["Bearer old-secret", "Bearer new-secret"]);
    assert_eq!(pipeline.credential_changes(), 1);

    let (same, fake) = self::pipeline(vec![rejected(), rejected()]);
    assert_eq!(same.operation("op").send(get()).await.unwrap_err().kind(), ErrorKind::Unauthenticated);
    assert_eq!(count(&fake), 1, "the same credential is not tried twice");
}

#[tokio::test(start_paused = true)]
async fn one_429_pauses_everybody() {
    let (pipeline, fake) = pipeline(vec![Answer::Status(429, &[("retry-after", "30")], "slow down")]);
    let started = tokio::time::Instant::now().into_std();
    let first = pipeline.operation("op");
    let second = pipeline.operation("op");
    let late = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        second.send(get()).await
    };
    let (a, b) = future::join(first.send(get()), late).await;
    assert!(a.is_ok() && b.is_ok());
    let seen = fake.seen.lock().unwrap();
    assert_eq!(seen.len(), 3);
    for later in &seen[1..] {
        assert!(later.at - started >= Duration::from_secs(30), "{later:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_absurd_wait_is_told_and_locks_nobody_out_for_good() {
    let (pipeline, fake) = pipeline(vec![Answer::Status(429, &[("retry-after", "999999")], "blocked")]);
    let error = pipeline.operation("op").send(get()).await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(999_999)));
    let patient = pipeline.with_options(CallOptions::default().with_deadline(Duration::from_secs(600)));
    patient.operation("op").send(get()).await.unwrap();
    assert_eq!(count(&fake), 2);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_says_whether_the_request_had_left() {
    let (pipeline, fake) = pipeline(vec![Answer::Hang]);
    let hasty = pipeline.with_options(CallOptions::default().with_deadline(Duration::from_secs(5)));
    let error = hasty.operation("op").send(post()).await.unwrap_err();
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Timeout, Delivery::Unknown));
    assert_eq!(error.operation(), Some("op"));
    assert_eq!(fake.dropped.load(Ordering::SeqCst), 1, "the request is ended, not left running");

    let one = |config: &mut PipelineConfig| config.limits = Limits::default().with_concurrent(1);
    let (narrow, _) = pipeline_with(vec![Answer::Hang], Arc::new(StaticCredential::token(TOKEN.into())), one);
    let hasty = narrow.with_options(CallOptions::default().with_deadline(Duration::from_secs(5)));
    let (first, second) = (narrow.operation("op"), hasty.operation("op"));
    let Either::Right((answer, _)) =
        future::select(pin!(first.send(post())), pin!(second.send(post()))).await
    else {
        panic!("the request that hangs has ended");
    };
    let error = answer.unwrap_err();
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Timeout, Delivery::NotSent));
}

#[tokio::test(start_paused = true)]
async fn waiting_never_outlasts_the_deadline() {
    let (pipeline, _) = pipeline(vec![Answer::Status(503, &[("retry-after", "60")], "deploying")]);
    let hasty = pipeline.with_options(CallOptions::default().with_deadline(Duration::from_secs(5)));
    let started = tokio::time::Instant::now();
    let error = hasty.operation("op").send(get()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "the telling error, not a timeout");
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn dropping_a_call_ends_its_request() {
    let (pipeline, fake) = pipeline(vec![Answer::Hang]);
    let operation = pipeline.operation("op");
    let call = operation.send(get());
    assert!(tokio::time::timeout(Duration::from_secs(1), call).await.is_err());
    assert_eq!(fake.dropped.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn redirects_stay_at_home_and_so_does_the_credential() {
    let moved = |to: &'static [(&'static str, &'static str)]| Answer::Status(302, to, "moved");
    // Same origin: followed, for GET only.
    let (own, fake) = pipeline(vec![moved(&[("location", "/root/api/y")])]);
    own.operation("op").send(get()).await.unwrap();
    assert_eq!(fake.seen.lock().unwrap()[1].url, "https://scm.example/root/api/y");
    let (own, fake) = pipeline(vec![moved(&[("location", "/root/api/y")])]);
    assert!(own.operation("op").send(post()).await.is_err());
    assert_eq!(count(&fake), 1);
    // Another origin: not for a call, one hop and without credential for a stream.
    let away = &[("location", "https://storage.example/log?signature=1")];
    let (own, fake) = pipeline(vec![moved(away)]);
    assert!(own.operation("op").send(get()).await.is_err());
    assert_eq!(count(&fake), 1);
    let (own, fake) = pipeline(vec![moved(away), Answer::Status(200, &[], "log text")]);
    let log = own.operation("op").stream(get()).await.unwrap().collect(100).await.unwrap();
    assert_eq!(log, "log text");
    let tokens: Vec<_> = fake.seen.lock().unwrap().iter().map(|seen| seen.token.is_some()).collect();
    assert_eq!(tokens, [true, false]);
    for (second, tries) in [("https://scm.example/root/api/x", 2), ("https://other.example/x", 2)] {
        let back: &'static [(&str, &str)] = Box::leak(Box::new([("location", second)]));
        let (own, fake) = pipeline(vec![moved(away), moved(back)]);
        assert!(own.operation("op").stream(get()).await.is_err());
        assert_eq!(count(&fake), tries, "no second hop to {second}");
    }
    let (own, fake) = pipeline(vec![moved(&[("location", "http://storage.example/plain")])]);
    assert!(own.operation("op").stream(get()).await.is_err());
    assert_eq!(count(&fake), 1, "never without TLS");
}

#[tokio::test(start_paused = true)]
async fn an_echoed_secret_is_never_shown() {
    let echo = format!("bad token {TOKEN} and Bearer {TOKEN}");
    let echo: &'static str = Box::leak(echo.into_boxed_str());
    let (pipeline, _) = pipeline(vec![Answer::Status(401, &[("x-request-id", "r-1")], echo)]);
    let error = pipeline.operation("op").send(get()).await.unwrap_err();
    let shown = format!("{error} {error:?} {} {pipeline:?}", error.report());
    assert!(!shown.contains(TOKEN), "{shown}");
    assert_eq!(error.request_id(), Some("r-1"));
}

#[tokio::test(start_paused = true)]
async fn no_more_requests_run_than_allowed_and_bulk_leaves_room() {
    let four = |config: &mut PipelineConfig| config.limits = Limits::default().with_concurrent(4);
    let credentials = || Arc::new(StaticCredential::token(TOKEN.into()));
    for (priority, most) in [(Priority::Interactive, 4), (Priority::Bulk, 3)] {
        let (pipeline, fake) = pipeline_with(Vec::new(), credentials(), four);
        let pipeline = pipeline.with_options(CallOptions::default().with_priority(priority));
        let operations: Vec<_> = (0..12).map(|_| pipeline.operation("op")).collect();
        let calls = operations.iter().map(|operation| operation.send(get()));
        let done: Vec<_> = futures_util::stream::iter(calls).buffer_unordered(12).collect().await;
        assert!(done.iter().all(Result::is_ok));
        assert_eq!(fake.most.load(Ordering::SeqCst), most, "{priority:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_remembered_by_the_operation() {
    let (pipeline, _) = pipeline(vec![Answer::Fail(ErrorKind::Unavailable, Delivery::Unknown)]);
    let operation = pipeline.operation("op");
    operation.send(ApiRequest::new(Method::DELETE, "api", &["x"])).await.unwrap();
    assert!(operation.lost_an_answer());
    let (pipeline, _) = self::pipeline(vec![Answer::Fail(ErrorKind::Connect, Delivery::NotSent)]);
    let operation = pipeline.operation("op");
    operation.send(get()).await.unwrap();
    assert!(!operation.lost_an_answer());
}

#[test]
fn a_base_that_cannot_be_is_refused() {
    let transport = || Transport::new(FakeTransport(Arc::default()));
    for base in ["ftp://h/", "https://u@h/", "https://u:p@h/", "https://h/?q", "https://h/#f", "data:x"] {
        let credentials = Arc::new(StaticCredential::token(TOKEN.into()));
        let config = PipelineConfig::new(Url::parse(base).unwrap(), transport(), credentials);
        let error = Pipeline::new(config, Arc::new(TestDialect)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{base}");
    }
}

#[tokio::test(start_paused = true)]
async fn method_and_path_are_sent_as_built() {
    let (pipeline, fake) = pipeline(Vec::new());
    pipeline.operation("op").send(get().query("a", "1 2")).await.unwrap();
    let seen = fake.seen.lock().unwrap();
    assert_eq!(
        (&seen[0].method, seen[0].url.as_str()),
        (&Method::GET, "https://scm.example/root/api/x?a=1+2")
    );
}
