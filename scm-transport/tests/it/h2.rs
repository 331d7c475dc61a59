//! HTTP/2 where TLS offers it.

use std::convert::Infallible;

use bytes::Bytes;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use scm_core::{Body, Delivery, ErrorKind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::support::*;

pub(crate) fn offering_h2(pki: &Pki) -> ServerConfig {
    let mut config = pki.loopback().server();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

#[tokio::test]
async fn it_is_taken_where_it_is_offered_and_streams_both_ways() {
    let pki = Pki::new("CA");
    let address = serve_tls(offering_h2(&pki), |stream| async move {
        let echo = service_fn(|request: http::Request<hyper::body::Incoming>| async move {
            let version = format!("{:?}", request.version());
            Ok::<_, Infallible>(
                http::Response::builder().header("seen", version).body(request.into_body()).unwrap(),
            )
        });
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = server.serve_connection(TokioIo::new(stream), echo).await;
    })
    .await;
    let network = network().with_roots_only(pki.roots());
    let (feed, body) = fed(None);
    let request = http::Request::post(format!("https://{address}/x")).body(body).unwrap();
    let response = send(&network, request).await.unwrap();
    assert_eq!(response.version(), http::Version::HTTP_2);
    assert_eq!(response.headers()["seen"], "HTTP/2.0");
    let feeding = tokio::spawn(async move {
        for chunk in ["one ", "two ", "three"] {
            feed.send(Ok(Bytes::from(chunk))).await.unwrap();
        }
    });
    assert_eq!(text(response).await, "one two three");
    feeding.await.unwrap();

    let big = vec![7; 500_000];
    let request = http::Request::post(format!("https://{address}/x")).body(Body::from(big.clone())).unwrap();
    let response = send(&network, request).await.unwrap();
    assert!(response.into_body().collect(1 << 20).await.unwrap() == big);
}

/// Reads frames up to the first HEADERS, and answers the settings.
pub(crate) async fn until_headers(stream: &mut TlsStream<TcpStream>) {
    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    const SETTINGS_ACK: &[u8] = &[0, 0, 0, 4, 1, 0, 0, 0, 0];
    stream.write_all(SETTINGS).await.unwrap();
    stream.write_all(SETTINGS_ACK).await.unwrap();
    stream.flush().await.unwrap();
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await.unwrap();
    loop {
        let mut frame = [0; 9];
        stream.read_exact(&mut frame).await.unwrap();
        let length = u32::from_be_bytes([0, frame[0], frame[1], frame[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await.unwrap();
        if frame[3] == 1 {
            return;
        }
    }
}

#[tokio::test]
async fn what_the_server_never_took_was_not_sent() {
    const REFUSED: &[u8] = &[0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 7];
    const INTERNAL: &[u8] = &[0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 2];
    // GOAWAY with the last stream 0, and so before stream 1; then one with stream 1 followed by its end.
    const GOAWAY_BEFORE: &[u8] = &[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    const GOAWAY_AFTER: &[u8] = &[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];

    let pki = Pki::new("CA");
    for (frame, delivery) in [
        (REFUSED, Delivery::NotSent),
        (INTERNAL, Delivery::Unknown),
        (GOAWAY_BEFORE, Delivery::NotSent),
        (GOAWAY_AFTER, Delivery::Unknown),
    ] {
        let address = serve_tls(offering_h2(&pki), move |mut stream| async move {
            until_headers(&mut stream).await;
            stream.write_all(frame).await.unwrap();
            stream.shutdown().await.unwrap();
            drain(&mut stream).await;
        })
        .await;
        let error = send(&network().with_roots_only(pki.roots()), get(format!("https://{address}/"))).await;
        let error = error.unwrap_err();
        assert_eq!(
            (error.kind(), error.delivery()),
            (ErrorKind::Unavailable, delivery),
            "{frame:?}: {error:?}"
        );
        assert!(scm_core::Error::from(error).is_retryable());
    }
}
