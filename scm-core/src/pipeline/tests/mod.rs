//! The pipeline over a fake transport: a script of answers, and a record of what was asked.

mod canary;
mod fake;
mod fate;
mod storm;
mod turns;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::Method;
use http::header::HeaderValue;

use self::fake::*;
use super::*;
use crate::credential::{CallbackCredential, StaticCredential};
use crate::error::{Delivery, ErrorKind};
use crate::transport::{Body, TransportError};

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
        assert_eq!(fake.count(), tries, "{shown}");
        assert_eq!(answer.is_ok(), tries == 2, "{shown}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_hub_has_sent_twice_counts_twice() {
    let lost = |tries: &str| {
        let error = TransportError::new(ErrorKind::Relay, Delivery::Unknown, "the tunnel broke");
        Answer::Error(error.with_retryable(true).with_detail("hub_attempts", tries))
    };
    // Of five tries.
    for (by_hub, requests) in [("1", 5), ("2", 3), ("9", 1), ("4294967295", 1), ("x", 5)] {
        let (pipeline, fake) = pipeline((0..6).map(|_| lost(by_hub)).collect());
        assert_eq!(pipeline.operation("op").send(get()).await.unwrap_err().kind(), ErrorKind::Relay);
        assert_eq!(fake.count(), requests, "{by_hub}");
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
    assert_eq!(fake.count(), 1);
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
    assert_eq!(fake.count(), 1, "the same credential is not tried twice");
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
    assert_eq!(fake.count(), 1);
    // Another origin: not for a call, one hop and without credential for a stream.
    let away = &[("location", "https://storage.example/log?signature=1")];
    let (own, fake) = pipeline(vec![moved(away)]);
    assert!(own.operation("op").send(get()).await.is_err());
    assert_eq!(fake.count(), 1);
    let (own, fake) = pipeline(vec![moved(away), Answer::Status(200, &[], "log text")]);
    let log = own.operation("op").stream(get()).await.unwrap().collect(100).await.unwrap();
    assert_eq!(log, "log text");
    let tokens: Vec<_> = fake.seen.lock().unwrap().iter().map(|seen| seen.token.is_some()).collect();
    assert_eq!(tokens, [true, false]);
    for (second, tries) in [("https://scm.example/root/api/x", 2), ("https://other.example/x", 2)] {
        let back: &'static [(&str, &str)] = Box::leak(Box::new([("location", second)]));
        let (own, fake) = pipeline(vec![moved(away), moved(back)]);
        assert!(own.operation("op").stream(get()).await.is_err());
        assert_eq!(fake.count(), tries, "no second hop to {second}");
    }
    let (own, fake) = pipeline(vec![moved(&[("location", "http://storage.example/plain")])]);
    assert!(own.operation("op").stream(get()).await.is_err());
    assert_eq!(fake.count(), 1, "never without TLS");
}

#[test]
fn a_base_that_cannot_be_is_refused() {
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
