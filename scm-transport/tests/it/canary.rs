//! Secrets that go in must not come out in any error, report, debug text or log, of whatever crate below.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use http::header::AUTHORIZATION;
use rcgen::date_time_ymd;
use rustls::version::TLS13;
use scm_core::{Body, Delivery, Error, ErrorKind, HttpTransport as _, TransportError};
use scm_testkit::canary::Canary;
use scm_transport::Network;
use tokio::io::AsyncWriteExt as _;

use crate::h2::{offering_h2, until_headers};
use crate::support::*;

/// As the pipeline sends it: the token in a header that says so, the rest in the body. The query is nobody's but the
/// caller's either.
fn request(canary: &Canary, url: &str, body: Body) -> http::Request<Body> {
    let mut token = HeaderValue::from_str(&format!("Bearer {}", canary.token)).unwrap();
    token.set_sensitive(true);
    http::Request::post(format!("{url}p?q={}", canary.file)).header(AUTHORIZATION, token).body(body).unwrap()
}

fn secret(canary: &Canary) -> Body {
    Body::from(format!("{} {}", canary.file, canary.comment))
}

fn assert_error_is_silent(canary: &Canary, what: &str, error: TransportError) {
    canary.assert_error_is_silent(what, &error);
    canary.assert_debug_is_silent(what, error.details());
    canary.assert_error_is_silent(what, &Error::from(error));
}

/// Sends and expects a failure, of the head or of the body.
async fn assert_fails_in_silence(canary: &Canary, what: &str, network: &Network, url: &str, body: Body) {
    let transport = transport(network);
    canary.assert_debug_is_silent(what, &(&transport, network));
    let error = match transport.send(request(canary, url, body)).await {
        Ok(response) => {
            canary.assert_debug_is_silent(what, response.body());
            response.into_body().collect(1 << 20).await.unwrap_err()
        }
        Err(error) => error,
    };
    assert_error_is_silent(canary, what, error);
    let target = format!("{url}{}?q={}", canary.file, canary.file).parse().unwrap();
    canary.assert_debug_is_silent(what, &transport.probe(&target).await);
    canary.assert_logs_are_silent(what);
}

#[tokio::test]
async fn no_failure_shows_a_secret() {
    let canary = Canary::new();
    let fast = network().with_read_timeout(Duration::from_millis(300));
    let echo = format!("{} {} {}", canary.token, canary.file, canary.comment);

    let closed = closed_port().await;
    let body = secret(&canary);
    assert_fails_in_silence(&canary, "refused", &fast, &format!("http://{closed}/"), body).await;
    let body = secret(&canary);
    assert_fails_in_silence(&canary, "name", &fast, "https://scm-no-such-host.invalid/", body).await;

    for (what, bytes) in [
        ("silence", String::new()),
        ("reset", "RESET".to_owned()),
        ("malformed", format!("HTTP/1.1 {echo}\r\n{echo}\r\n\r\n")),
        ("a bad header", format!("HTTP/1.1 200 X\r\n{echo}\r\n\r\n")),
        ("cut off", format!("HTTP/1.1 500 X\r\nContent-Length: 999\r\nx: {echo}\r\n\r\n{echo}")),
        ("bad chunk", format!("HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n{echo}\r\n")),
        ("two lengths", format!("HTTP/1.1 200 X\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{echo}")),
        ("moved", format!("HTTP/1.1 302 X\r\nLocation: /{echo}\r\nContent-Length: 999\r\n\r\n{echo}")),
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
        let body = secret(&canary);
        assert_fails_in_silence(&canary, what, &fast, &format!("http://{address}/"), body).await;
    }

    let sink = serve(|mut stream| async move { drain(&mut stream).await }).await;
    let fault = TransportError::new(ErrorKind::Internal, Delivery::Unknown, "the source broke");
    let chunks = futures_util::stream::iter([Ok(Bytes::from(canary.file)), Err(fault)]);
    let body = Body::stream(chunks, None);
    assert_fails_in_silence(&canary, "upload", &fast, &format!("http://{sink}/"), body).await;
}

#[tokio::test]
async fn a_url_that_carries_a_password_is_refused_in_silence() {
    let canary = Canary::new();
    // A proxy's URL given for a server's.
    let url = format!("http://{}@proxy.example:3128/", canary.proxy_userinfo);
    let error = transport(&network()).send(get(url)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    canary.assert_error_is_silent("user information", &error);
    canary.assert_error_is_silent("user information", &Error::from(error));
}

#[tokio::test]
async fn no_failure_of_tls_shows_a_secret() {
    let canary = Canary::new();
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
        let body = secret(&canary);
        assert_fails_in_silence(&canary, what, &network, &format!("https://{address}/"), body).await;
    }
}

#[tokio::test]
async fn no_failure_of_http2_shows_a_secret() {
    const REFUSED: &[u8] = &[0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 7];
    const INTERNAL: &[u8] = &[0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 2];

    let canary = Canary::new();
    let pki = Pki::new("CA");
    let trusting = network().with_roots_only(pki.roots());
    for (what, frame) in [("refused", REFUSED), ("internal", INTERNAL), ("garbage", &[0xff; 40])] {
        let address = serve_tls(offering_h2(&pki), move |mut stream| async move {
            until_headers(&mut stream).await;
            stream.write_all(frame).await.unwrap();
            stream.shutdown().await.unwrap();
            drain(&mut stream).await;
        })
        .await;
        let body = secret(&canary);
        assert_fails_in_silence(&canary, what, &trusting, &format!("https://{address}/"), body).await;
    }
}
