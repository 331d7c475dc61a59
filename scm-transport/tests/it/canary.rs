//! Secrets that go in must not come out in any error, report or debug text.

use std::time::Duration;

use bytes::Bytes;
use rcgen::date_time_ymd;
use rustls::version::TLS13;
use scm_core::{Body, Delivery, Error, ErrorKind, HttpTransport as _, TransportError};
use scm_transport::Network;
use tokio::io::AsyncWriteExt as _;

use crate::support::*;

/// Has no shape that redaction knows: it must not get in at all.
const CANARY: &str = "canary7f3a91c2";

fn request(url: &str, body: Body) -> http::Request<Body> {
    http::Request::post(format!("{url}p/{CANARY}?q={CANARY}"))
        .header("private-token", CANARY)
        .header("authorization", format!("Basic {CANARY}"))
        .body(body)
        .unwrap()
}

fn assert_silent(what: &str, shown: &str) {
    assert!(!shown.contains(CANARY), "{what}: {shown}");
}

fn assert_error_is_silent(what: &str, error: TransportError) {
    assert_silent(what, &format!("{error} {error:?} {:?} {:#?}", error.details(), error));
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        assert_silent(what, &format!("{error} {error:?}"));
        cause = error.source();
    }
    let error = Error::from(error);
    assert_silent(what, &format!("{error} {error:?} {}", error.report()));
}

/// Sends and expects a failure, of the head or of the body.
async fn assert_fails_in_silence(what: &str, network: &Network, url: &str, body: Body) {
    let transport = transport(network);
    assert_silent(what, &format!("{transport:?} {network:?}"));
    let error = match transport.send(request(url, body)).await {
        Ok(response) => {
            assert_silent(what, &format!("{:?}", response.body()));
            response.into_body().collect(1 << 20).await.unwrap_err()
        }
        Err(error) => error,
    };
    assert_error_is_silent(what, error);
    let target = format!("{url}{CANARY}?q={CANARY}").parse().unwrap();
    for rung in transport.probe(&target).await {
        assert_silent(what, &format!("{rung:?}"));
    }
}

#[tokio::test]
async fn no_failure_shows_a_secret() {
    let secret = || Body::from(CANARY.to_owned());
    let fast = network().with_read_timeout(Duration::from_millis(300));

    let closed = closed_port().await;
    assert_fails_in_silence("refused", &fast, &format!("http://{closed}/"), secret()).await;
    assert_fails_in_silence("name", &fast, "https://scm-no-such-host.invalid/", secret()).await;

    for (what, bytes) in [
        ("silence", String::new()),
        ("reset", "RESET".to_owned()),
        ("malformed", format!("HTTP/1.1 {CANARY} {CANARY}\r\n{CANARY}\r\n\r\n")),
        ("cut off", format!("HTTP/1.1 500 X\r\nContent-Length: 999\r\nx: {CANARY}\r\n\r\n{CANARY}")),
        ("bad chunk", format!("HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n{CANARY}\r\n")),
    ] {
        let address = serve(move |mut stream| {
            let bytes = bytes.clone();
            async move {
                head(&mut stream).await;
                if bytes == "RESET" {
                    return reset(stream);
                }
                let _ = stream.write_all(bytes.as_bytes()).await;
                drain(&mut stream).await;
            }
        })
        .await;
        assert_fails_in_silence(what, &fast, &format!("http://{address}/"), secret()).await;
    }

    let sink = serve(|mut stream| async move { drain(&mut stream).await }).await;
    let fault = TransportError::new(ErrorKind::Internal, Delivery::Unknown, "the source broke");
    let chunks = futures_util::stream::iter([Ok(Bytes::from(CANARY)), Err(fault)]);
    let body = Body::stream(chunks, None);
    assert_fails_in_silence("upload", &fast, &format!("http://{sink}/"), body).await;

    let error = transport(&fast).send(get(format!("http://u:{CANARY}@{sink}/"))).await.unwrap_err();
    assert_error_is_silent("user information", error);
}

#[tokio::test]
async fn no_failure_of_tls_shows_a_secret() {
    let secret = || Body::from(CANARY.to_owned());
    let (pki, clients) = (Pki::new("CA"), Pki::new("Clients"));
    let trusting = network().with_roots_only(pki.roots());
    let mut old = loopback_params();
    old.not_after = date_time_ymd(2021, 2, 3);
    let plain = serve(|mut stream| async move {
        stream.write_all(b"HTTP/1.1 400 X\r\n\r\n").await.unwrap();
        drain(&mut stream).await;
    })
    .await;
    for (what, network, address) in [
        ("issuer", network(), hello_tls(pki.loopback().server()).await),
        ("expired", trusting.clone(), hello_tls(pki.issue(old).server()).await),
        ("client", trusting, hello_tls(pki.loopback().server_with(Some(&clients), &[&TLS13])).await),
        ("not TLS", network(), plain),
    ] {
        assert_fails_in_silence(what, &network, &format!("https://{address}/"), secret()).await;
    }
}
