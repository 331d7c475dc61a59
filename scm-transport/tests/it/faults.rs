//! What goes wrong on the way, and what is said about it.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use scm_core::{Body, Code, Delivery, Error, ErrorKind, TransportError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::*;

fn retryable(error: TransportError) -> bool {
    Error::from(error).is_retryable()
}

#[tokio::test]
async fn a_refused_port_is_named() {
    let address = closed_port().await;
    let error = send(&network(), get(format!("http://{address}/"))).await.unwrap_err();
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Connect, Delivery::NotSent));
    assert_eq!(error.code(), Some(Code::TcpRefused));
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    assert!(retryable(error));
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_named() {
    let error = send(&network(), get("https://scm-no-such-host.invalid/")).await.unwrap_err();
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Connect, Delivery::NotSent));
    // A machine without any resolver cannot know that the name does not exist.
    assert!(matches!(error.code(), Some(Code::DnsNotFound | Code::DnsFailed)), "{error}");
    assert!(error.to_string().contains("scm-no-such-host.invalid"), "{error}");
}

/// A listener whose queue is full drops what comes after.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_port_that_does_not_answer_is_a_connect_timeout() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    while let Ok(stream) = tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await
    {
        queued.push(stream.unwrap());
    }
    let network = network().with_connect_timeout(Duration::from_millis(300));
    for url in [format!("http://{address}/"), format!("https://{address}/")] {
        let error = send(&network, get(url)).await.unwrap_err();
        assert_eq!((error.kind(), error.delivery()), (ErrorKind::Connect, Delivery::NotSent));
        assert_eq!(error.code(), Some(Code::TcpTimeout));
        assert!(retryable(error));
    }
}

#[tokio::test]
async fn a_connection_lost_before_the_head_leaves_the_outcome_unknown() {
    let closing = serve(|mut stream| async move {
        head(&mut stream).await;
    })
    .await;
    let resetting = serve(|mut stream| async move {
        head(&mut stream).await;
        reset(stream);
    })
    .await;
    let half = serve(|mut stream| async move {
        head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-").await.unwrap();
    })
    .await;
    for address in [closing, resetting, half] {
        let error = send(&network(), get(format!("http://{address}/"))).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.delivery()),
            (ErrorKind::Unavailable, Delivery::Unknown),
            "{error:?}"
        );
        assert_eq!(error.code(), None);
        assert!(retryable(error));
    }
}

#[tokio::test]
async fn an_answer_cut_off_is_an_error_of_its_body() {
    let short = serve(|mut stream| async move {
        head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc").await.unwrap();
    })
    .await;
    let chunked = serve(|mut stream| async move {
        head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").await.unwrap();
    })
    .await;
    let broken = serve(|mut stream| async move {
        head(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nQQQ\r\n")
            .await
            .unwrap();
        drain(&mut stream).await;
    })
    .await;
    for address in [short, chunked, broken] {
        let mut body = send(&network(), get(format!("http://{address}/"))).await.unwrap().into_body();
        assert_eq!(body.next().await.unwrap().unwrap(), "abc");
        let error = body.next().await.unwrap().unwrap_err();
        assert_eq!((error.kind(), error.delivery()), (ErrorKind::Unavailable, Delivery::Unknown));
        assert!(body.next().await.is_none(), "an error ends the body");
    }
}

#[tokio::test]
async fn a_reset_within_the_answer_is_an_error_of_its_body() {
    let (go, gate) = tokio::sync::watch::channel(false);
    let address = serve(move |mut stream| {
        let mut gate = gate.clone();
        async move {
            head(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc").await.unwrap();
            gate.wait_for(|go| *go).await.unwrap();
            reset(stream);
        }
    })
    .await;
    let mut body = send(&network(), get(format!("http://{address}/"))).await.unwrap().into_body();
    assert_eq!(body.next().await.unwrap().unwrap(), "abc");
    go.send(true).unwrap();
    let error = body.next().await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Unavailable, Delivery::Unknown));
}

#[tokio::test]
async fn silence_is_a_timeout_before_and_within_the_answer() {
    let address = serve(|mut stream| async move {
        if head(&mut stream).await.starts_with("GET /body") {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc").await.unwrap();
        }
        drain(&mut stream).await;
    })
    .await;
    let network = network().with_read_timeout(Duration::from_millis(200));
    let error = send(&network, get(format!("http://{address}/"))).await.unwrap_err();
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Timeout, Delivery::Unknown));
    assert!(error.to_string().contains("200ms"), "{error}");

    let mut body = send(&network, get(format!("http://{address}/body"))).await.unwrap().into_body();
    assert_eq!(body.next().await.unwrap().unwrap(), "abc");
    let error = body.next().await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Timeout, Delivery::Unknown));
}

#[tokio::test]
async fn a_server_that_takes_no_more_of_the_upload_is_silent() {
    let address = serve(|mut stream| async move {
        head(&mut stream).await;
        std::future::pending::<()>().await;
    })
    .await;
    let body = Body::from(vec![0; 64 << 20]);
    let request = http::Request::post(format!("http://{address}/")).body(body).unwrap();
    let error = send(&network().with_read_timeout(Duration::from_millis(300)), request).await.unwrap_err();
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Timeout, Delivery::Unknown));
}

#[tokio::test]
async fn slow_bytes_meet_the_limit_of_the_whole_request() {
    let address = serve(|mut stream| async move {
        head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        while stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let network = network().with_request_timeout(Duration::from_millis(400));
    let body = send(&network, get(format!("http://{address}/"))).await.unwrap().into_body();
    let error = body.collect(1 << 20).await.unwrap_err();
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Timeout, Delivery::Unknown));
    assert!(error.to_string().contains("400ms"), "{error}");
}

#[tokio::test]
async fn what_is_not_http_is_a_decode_error() {
    for bytes in
        ["SSH-2.0-OpenSSH_9.6\r\n\r\n", "HTTP/1.1 abc\r\n\r\n", "HTTP/1.1 200 OK\r\nbad header\r\n\r\n"]
    {
        let address = serve(move |mut stream| async move {
            head(&mut stream).await;
            stream.write_all(bytes.as_bytes()).await.unwrap();
            drain(&mut stream).await;
        })
        .await;
        let error = send(&network(), get(format!("http://{address}/"))).await.unwrap_err();
        assert_eq!((error.kind(), error.delivery()), (ErrorKind::Decode, Delivery::Unknown), "{error:?}");
        assert!(!retryable(error));
    }
}

#[tokio::test]
async fn a_failure_of_the_callers_body_keeps_its_kind() {
    let address = serve(|mut stream| async move { drain(&mut stream).await }).await;
    let fault = TransportError::new(ErrorKind::Cancelled, Delivery::NotSent, "the pack could not be made");
    let chunks = futures_util::stream::iter([Ok(Bytes::from("abc")), Err(fault)]);
    let request = http::Request::post(format!("http://{address}/")).body(Body::stream(chunks, None)).unwrap();
    let error = send(&network(), request).await.unwrap_err();
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Cancelled, Delivery::Unknown));
    assert!(error.to_string().contains("the pack could not be made"), "{error}");
}

#[tokio::test]
async fn a_body_of_another_length_than_said_is_the_callers_fault() {
    let address = serve(|mut stream| async move { drain(&mut stream).await }).await;
    for length in [2, 5] {
        let chunks = futures_util::stream::iter([Ok(Bytes::from("abc"))]);
        let body = Body::stream(chunks, Some(length));
        let request = http::Request::post(format!("http://{address}/")).body(body).unwrap();
        let error = send(&network(), request).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.delivery()),
            (ErrorKind::InvalidInput, Delivery::Unknown),
            "{error:?}"
        );
    }
}

/// A server may answer before it has read everything, for example with 413.
#[tokio::test]
async fn an_early_answer_is_not_lost() {
    let address = serve(|mut stream| async move {
        head(&mut stream).await;
        stream.read_u8().await.unwrap();
        stream.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig").await.unwrap();
        drain(&mut stream).await;
    })
    .await;
    let (feed, body) = fed(None);
    feed.send(Ok("start".into())).await.unwrap();
    let request = http::Request::post(format!("http://{address}/")).body(body).unwrap();
    let response = send(&network(), request).await.unwrap();
    assert_eq!(response.status(), 413);
    assert_eq!(text(response).await, "big");
    drop(feed);
}
