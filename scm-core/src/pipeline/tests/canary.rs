//! What a server or a transport echoes, and what comes of it.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use scm_testkit::canary::Canary;

use super::fake::*;
use crate::credential::{Credential, CredentialProvider, StaticCredential};
use crate::error::{Delivery, Error, ErrorKind};
use crate::pipeline::{ApiRequest, Pipeline};
use crate::scm::CallOptions;
use crate::transport::TransportError;

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let pairs = pairs
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()));
    pairs.collect()
}

fn request(canary: &Canary, method: http::Method) -> ApiRequest {
    let body = serde_json::json!({"content": canary.file, "body": canary.comment});
    ApiRequest::new(method, "api", &["x"]).json(&body).unwrap()
}

async fn assert_fails_in_silence(
    canary: &Canary,
    what: &str,
    pipeline: &Pipeline,
    method: http::Method,
) -> Error {
    canary.assert_debug_is_silent(what, pipeline);
    canary.assert_debug_is_silent(what, &request(canary, method.clone()));
    let hasty = pipeline.with_options(CallOptions::default().with_deadline(Duration::from_secs(5)));
    let operation = hasty.operation("op");
    canary.assert_debug_is_silent(what, &operation);
    let error = match operation.send(request(canary, method)).await {
        Ok(answer) => {
            canary.assert_debug_is_silent(what, &answer);
            answer.json::<u32>().unwrap_err()
        }
        Err(error) => error,
    };
    canary.assert_error_is_silent(what, &error);
    canary.assert_silent(what, &error.report());
    canary.assert_logs_are_silent(what);
    error
}

fn credentials(canary: &Canary) -> [Credential; 2] {
    let basic = Credential::Basic { username: "bot".into(), password: canary.token.into() };
    [Credential::Token(canary.token.into()), basic]
}

/// All the answers and failures, each with the secret wherever it could stand.
fn failures(canary: &Canary, echo: &str) -> Vec<(&'static str, Answer)> {
    let json = ("content-type", "application/json");
    let failed = |kind, delivery| {
        let cause = std::io::Error::other(format!("with the header {echo}"));
        TransportError::new(kind, delivery, format!("the proxy says: {echo}")).with_source(cause)
    };
    let far = "x".repeat(495);
    let mut all = Vec::new();
    for status in [302, 400, 401, 403, 404, 409, 429, 500, 503] {
        let told =
            headers(&[("x-request-id", echo), ("location", &format!("/elsewhere/{echo}?{echo}#{echo}"))]);
        all.push(("an echo", Answer::Text(status, told, format!("no such token: {echo}|{echo}"))));
    }
    all.extend([
        ("an echo at the cut", Answer::Text(400, headers(&[json]), format!("{far}{echo}|{far}{echo}"))),
        ("an escape", Answer::Text(400, headers(&[json]), format!("{{\"message\":\"{echo}\"}}"))),
        ("a value", Answer::Text(200, headers(&[json]), format!("[\"{echo}\"]"))),
        ("a text", Answer::Text(200, headers(&[json]), echo.to_owned())),
        ("a file", Answer::Text(200, headers(&[json]), format!("{{\"content\":\"{}\"}}", canary.file))),
        ("a type", Answer::Text(200, headers(&[("content-type", &format!("text/{echo}"))]), "x".to_owned())),
        ("a cut", Answer::CutOff(200)),
        ("a silence", Answer::Endless(200)),
        ("a stall", Answer::Hang),
    ]);
    for (kind, delivery) in [
        (ErrorKind::Connect, Delivery::NotSent),
        (ErrorKind::Tls, Delivery::NotSent),
        (ErrorKind::Proxy, Delivery::NotSent),
        (ErrorKind::Timeout, Delivery::Unknown),
        (ErrorKind::Unavailable, Delivery::Unknown),
        (ErrorKind::Decode, Delivery::Unknown),
    ] {
        all.push(("a transport", Answer::Error(failed(kind, delivery))));
    }
    all
}

#[tokio::test(start_paused = true)]
async fn no_failure_shows_a_secret_though_the_server_echoes_it() {
    let canary = Canary::new();
    for credential in credentials(&canary) {
        let pair = credential.basic_pair();
        let pair = pair.as_ref().map(secrecy::ExposeSecret::expose_secret);
        for echo in [Some(canary.token), pair].into_iter().flatten() {
            for number in 0..failures(&canary, echo).len() {
                for method in [http::Method::GET, http::Method::POST] {
                    // The same failure for every try.
                    let take = |_| failures(&canary, echo).swap_remove(number);
                    let (what, _) = take(());
                    let answers = (0..6).map(|_| take(()).1).collect();
                    let credentials: Arc<dyn CredentialProvider> =
                        Arc::new(StaticCredential::new(credential.clone()));
                    canary.assert_debug_is_silent(what, &credentials);
                    let (pipeline, _) = pipeline_with(answers, credentials, |_| {});
                    assert_fails_in_silence(&canary, what, &pipeline, method).await;
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_left_of_an_echo_still_tells_what_happened() {
    let canary = Canary::new();
    let echo = canary.token;
    let told = headers(&[("x-request-id", &format!("r-{echo}"))]);
    let answer = Answer::Text(400, told, format!("the token {echo} is bad|E{echo}"));
    let credentials = || Arc::new(StaticCredential::token(echo.into()));
    let (pipeline, _) = pipeline_with(vec![answer], credentials(), |_| {});
    let error = assert_fails_in_silence(&canary, "an echo", &pipeline, http::Method::GET).await;
    assert_eq!(error.to_string(), "op: invalid input (400): the token [redacted] is bad");
    assert_eq!((error.server_code(), error.request_id()), (Some("E[redacted]"), Some("r-[redacted]")));

    // A cause cannot be rewritten: it goes where it tells the secret, and stays where it does not.
    for (cause, stays) in [(format!("sent {echo}"), false), ("sent nothing".to_owned(), true)] {
        let failed = TransportError::new(ErrorKind::Connect, Delivery::NotSent, "no route")
            .with_retryable(false)
            .with_source(std::io::Error::other(cause));
        let (pipeline, _) = pipeline_with(vec![Answer::Error(failed)], credentials(), |_| {});
        let error = assert_fails_in_silence(&canary, "a cause", &pipeline, http::Method::GET).await;
        assert_eq!(error.source().is_some(), stays);
    }
}

#[tokio::test(start_paused = true)]
async fn a_redirect_cannot_bring_the_secret_into_the_logs() {
    let canary = Canary::new();
    let echo = canary.token;
    for location in [format!("/root/{echo}/y?{echo}"), format!("https://storage.example/{echo}?sig={echo}")] {
        let moved = Answer::Text(302, headers(&[("location", &location)]), String::new());
        let credentials = Arc::new(StaticCredential::token(echo.into()));
        let (pipeline, fake) = pipeline_with(vec![moved], credentials, |_| {});
        pipeline.operation("op").stream(get()).await.unwrap();
        assert_eq!(fake.count(), 2, "it is followed");
        canary.assert_logs_are_silent("a redirect");
    }
}
