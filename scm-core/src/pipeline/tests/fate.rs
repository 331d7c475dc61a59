//! What is said about a request that was lost, late or given up: could the server have acted?

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::{self, Either};
use futures_util::{FutureExt as _, StreamExt as _};
use http::Method;

use super::fake::*;
use crate::credential::{CallbackCredential, Credential};
use crate::error::{Delivery, Error, ErrorKind};
use crate::pipeline::{ApiRequest, Limits, Pipeline, PipelineConfig};
use crate::scm::CallOptions;
use crate::transport::TransportError;

const REFUSED: (ErrorKind, Delivery) = (ErrorKind::Connect, Delivery::NotSent);
const LOST: (ErrorKind, Delivery) = (ErrorKind::Unavailable, Delivery::Unknown);

fn fail((kind, delivery): (ErrorKind, Delivery)) -> Answer {
    Answer::Fail(kind, delivery)
}

fn hasty(pipeline: &Pipeline) -> Pipeline {
    pipeline.with_options(CallOptions::default().with_deadline(Duration::from_secs(5)))
}

fn one_at_a_time(config: &mut PipelineConfig) {
    config.limits = Limits::default().with_concurrent(1);
}

fn told(error: &Error) -> (ErrorKind, Delivery) {
    (error.kind(), error.delivery())
}

#[tokio::test(start_paused = true)]
async fn a_deadline_says_whether_the_request_had_left() {
    let (pipeline, fake) = pipeline(vec![Answer::Hang]);
    let error = hasty(&pipeline).operation("op").send(post()).await.unwrap_err();
    assert_eq!(told(&error), (ErrorKind::Timeout, Delivery::Unknown));
    assert_eq!(error.operation(), Some("op"));
    assert_eq!(fake.dropped.load(Ordering::SeqCst), 1, "the request is ended, not left running");

    let (narrow, _) = pipeline_with(vec![Answer::Hang], static_token(), one_at_a_time);
    let (first, second) = (narrow.operation("op"), hasty(&narrow).operation("op"));
    let Either::Right((answer, _)) =
        future::select(pin!(first.send(post())), pin!(second.send(post()))).await
    else {
        panic!("the request that hangs has ended");
    };
    assert_eq!(told(&answer.unwrap_err()), (ErrorKind::Timeout, Delivery::NotSent));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_within_the_answer_says_what_its_head_said() {
    for (status, delivery) in [
        (201, Delivery::Unknown),
        (302, Delivery::Answered),
        (400, Delivery::Answered),
        (429, Delivery::Answered),
        (500, Delivery::Unknown),
        (503, Delivery::Unknown),
    ] {
        let (pipeline, fake) = pipeline(vec![Answer::Endless(status)]);
        let error = hasty(&pipeline).operation("op").send(post()).await.unwrap_err();
        assert_eq!(told(&error), (ErrorKind::Timeout, delivery), "{status}");
        assert_eq!((fake.count(), fake.dropped.load(Ordering::SeqCst)), (1, 1), "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_operation_whose_time_is_over_sends_nothing_more() {
    let (pipeline, fake) = pipeline(vec![Answer::Hang]);
    let pipeline = hasty(&pipeline);
    let operation = pipeline.operation("op");
    operation.send(get()).await.unwrap_err();
    let error = operation.send(post()).await.unwrap_err();
    assert_eq!((error.kind(), fake.count()), (ErrorKind::Timeout, 1));
    let late = pipeline.operation("late");
    tokio::time::sleep(Duration::from_secs(5)).await;
    let error = late.send(post()).await.unwrap_err();
    assert_eq!((told(&error), fake.count()), ((ErrorKind::Timeout, Delivery::NotSent), 1));
}

#[tokio::test(start_paused = true)]
async fn a_lost_try_is_not_forgotten_when_the_next_one_is_refused() {
    for (first, told_in_the_end) in [
        (fail(LOST), Delivery::Unknown),
        (Answer::Status(503, &[], "busy"), Delivery::Unknown),
        (Answer::CutOff(200), Delivery::Unknown),
        (Answer::Status(429, &[], "slow down"), Delivery::NotSent),
        (fail(REFUSED), Delivery::NotSent),
    ] {
        let rest = (0..4).map(|_| fail(REFUSED));
        let (pipeline, fake) = pipeline([first].into_iter().chain(rest).collect());
        let error = pipeline.operation("op").send(put()).await.unwrap_err();
        assert_eq!((told(&error), fake.count()), ((ErrorKind::Connect, told_in_the_end), 5));
    }
    // Nor when the deadline comes while the next one waits for its turn.
    let (narrow, fake) = pipeline_with(vec![fail(LOST), Answer::Hang], static_token(), one_at_a_time);
    let (first, second) = (hasty(&narrow).operation("op"), narrow.operation("op"));
    let second = async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        second.send(get()).await
    };
    let Either::Left((answer, _)) = future::select(pin!(first.send(put())), pin!(second)).await else {
        panic!("the request that hangs has ended");
    };
    assert_eq!(told(&answer.unwrap_err()), (ErrorKind::Timeout, Delivery::Unknown));
    assert_eq!(fake.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_one_request_of_an_operation_did_counts_for_the_next() {
    let done = || Answer::Status(200, &[("content-type", "application/json")], "{}");
    for (first, delivery) in [(get(), Delivery::NotSent), (post(), Delivery::Unknown)] {
        let refused = (0..5).map(|_| fail(REFUSED));
        let (pipeline, _) = pipeline([done()].into_iter().chain(refused).collect());
        let operation = pipeline.operation("op");
        operation.send(first).await.unwrap();
        let error = operation.send(post()).await.unwrap_err();
        assert_eq!(told(&error), (ErrorKind::Connect, delivery));
    }
}

#[tokio::test(start_paused = true)]
async fn a_success_without_its_body_tells_its_status_and_is_in_doubt() {
    let too_large = |config: &mut PipelineConfig| config.max_body = 10;
    let large = || Answer::Status(201, &[("content-type", "application/json")], "{\"id\":12345678}");
    for (answer, kind, delivery) in [
        (Answer::CutOff(201), ErrorKind::Unavailable, Delivery::Unknown),
        (large(), ErrorKind::Decode, Delivery::Answered),
    ] {
        let (pipeline, fake) = pipeline_with(vec![answer], static_token(), too_large);
        let operation = pipeline.operation("op");
        let error = operation.send(post()).await.unwrap_err();
        assert_eq!((told(&error), fake.count()), ((kind, delivery), 1));
        assert_eq!(error.status().map(|status| status.as_u16()), Some(201));
        assert!(operation.lost_an_answer());
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_never_outlasts_the_deadline() {
    let (pipeline, _) = pipeline(vec![Answer::Status(503, &[("retry-after", "60")], "deploying")]);
    let started = tokio::time::Instant::now();
    let error = hasty(&pipeline).operation("op").send(get()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "the telling error, not a timeout");
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_wait_without_end_is_no_panic() {
    let patient =
        |config: &mut PipelineConfig| config.retry = config.retry.with_max_retry_after(Duration::MAX);
    let wait = &[("retry-after", "18446744073709551615")];
    let (pipeline, _) = pipeline_with(vec![Answer::Status(503, wait, "gone")], static_token(), patient);
    let operation = pipeline.operation("op");
    let error = operation.send(get()).await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(u64::MAX)));
    assert_eq!(operation.pause(Duration::MAX).await.unwrap_err().kind(), ErrorKind::Timeout);
}

#[tokio::test(start_paused = true)]
async fn dropping_a_call_or_the_body_of_its_answer_ends_the_request() {
    let answers = vec![Answer::Hang, Answer::Endless(200), Answer::Endless(200)];
    let (pipeline, fake) = pipeline_with(answers, static_token(), one_at_a_time);
    let operation = pipeline.operation("op");
    let dropped = || fake.dropped.load(Ordering::SeqCst);
    for ended in 1..=2 {
        // Before the head, and within the body.
        let mut call = Box::pin(operation.send(get()));
        assert!((&mut call).now_or_never().is_none());
        assert_eq!(dropped(), ended - 1);
        drop(call);
        assert_eq!(dropped(), ended);
    }
    let mut stream = operation.stream(get()).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap(), "{\"id\":");
    // A stream may stay open for long: it takes nobody's turn.
    operation.send(get()).await.unwrap();
    assert_eq!(dropped(), 2);
    drop(stream);
    assert_eq!(dropped(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_remembered_by_the_operation() {
    let (pipeline, _) = pipeline(vec![fail(LOST)]);
    let operation = pipeline.operation("op");
    operation.send(ApiRequest::new(Method::DELETE, "api", &["x"])).await.unwrap();
    assert!(operation.lost_an_answer());
    let (pipeline, _) = self::pipeline(vec![fail(REFUSED)]);
    let operation = pipeline.operation("op");
    operation.send(get()).await.unwrap();
    assert!(!operation.lost_an_answer());
}

#[tokio::test(start_paused = true)]
async fn the_credential_is_that_of_the_moment_it_is_sent() {
    let version = Arc::new(AtomicUsize::new(1));
    let current = Arc::clone(&version);
    let rotating = CallbackCredential::new(move || {
        let version = current.load(Ordering::SeqCst);
        async move { Ok(Credential::Token(format!("secret-{version}").into())) }
    });
    let (pipeline, fake) = pipeline_with(vec![Answer::Hang], Arc::new(rotating), one_at_a_time);
    let operation = pipeline.operation("op");
    let mut running = Box::pin(operation.send(get()));
    assert!((&mut running).now_or_never().is_none());
    let mut waiting = Box::pin(operation.send(get()));
    assert!((&mut waiting).now_or_never().is_none());
    version.store(2, Ordering::SeqCst);
    drop(running);
    waiting.await.unwrap();
    let seen = fake.seen.lock().unwrap();
    let tokens: Vec<_> = seen.iter().map(|seen| seen.token.as_deref().unwrap()).collect();
    assert_eq!(tokens, ["Bearer secret-1", "Bearer secret-2"]);
}

#[tokio::test(start_paused = true)]
async fn a_transport_error_keeps_its_words() {
    let error = TransportError::new(ErrorKind::Tls, Delivery::NotSent, "no trust").with_retryable(false);
    let (pipeline, fake) = pipeline(vec![Answer::Error(error)]);
    let error = pipeline.operation("op").send(get()).await.unwrap_err();
    assert_eq!((error.to_string(), fake.count()), ("op: tls: no trust".to_owned(), 1));
}
