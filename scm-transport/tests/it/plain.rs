//! Plain HTTP: what goes out, what comes back, and what a transport leaves alone.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::StatusCode;
use scm_core::{Body, HttpTransport as _, Route};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;

use crate::support::*;

#[tokio::test]
async fn an_answer_comes_with_head_length_and_body() {
    let address = serve(|mut stream| async move {
        let head = head(&mut stream).await;
        answer(&mut stream, &head).await;
    })
    .await;
    let mut request = get(format!("http://{address}/a%2Fb/c?x=%20y"));
    request.headers_mut().insert("private-token", "t".parse().unwrap());
    let response = send(&network(), request).await.unwrap();
    assert_eq!((response.status(), response.version()), (StatusCode::OK, http::Version::HTTP_11));
    assert!(response.body().length().is_some());
    let seen = text(response).await;
    let lower = seen.to_ascii_lowercase();
    assert!(seen.starts_with("GET /a%2Fb/c?x=%20y HTTP/1.1\r\n"), "{seen}");
    for expected in ["private-token: t", "user-agent: scm/", &format!("host: {address}"), "accept: */*"] {
        assert!(lower.contains(expected), "{expected} in {seen}");
    }
    for unexpected in
        ["accept-encoding", "referer", "cookie", "content-length", "transfer-encoding", "authorization"]
    {
        assert!(!lower.contains(unexpected), "{unexpected} in {seen}");
    }
}

#[tokio::test]
async fn any_status_is_an_answer_and_no_redirect_is_followed() {
    for status in [204, 302, 307, 401, 404, 429, 500, 503] {
        let address = serve(move |mut stream| async move {
            head(&mut stream).await;
            let answer = format!("HTTP/1.1 {status} X\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
            // A second request on this connection would find nobody.
        })
        .await;
        let response = send(&network(), get(format!("http://{address}/"))).await.unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()["location"], "/other");
        assert_eq!(text(response).await, "");
    }
}

#[tokio::test]
async fn bytes_go_out_with_their_length_and_streams_in_chunks() {
    let address = serve(|mut stream| async move {
        let head = head(&mut stream).await.to_ascii_lowercase();
        answer(&mut stream, &head).await;
        drain(&mut stream).await;
    })
    .await;
    let url = format!("http://{address}/");
    let chunks = || futures_util::stream::iter(["ab", "cd"].map(|chunk| Ok(Bytes::from(chunk))));
    for (body, framing) in [
        (Body::from("hello".to_owned()), "content-length: 5\r\n"),
        (Body::empty(), "content-length: 0\r\n"),
        (Body::from(vec![b'x'; 300_000]), "content-length: 300000\r\n"),
        (Body::stream(chunks(), Some(4)), "content-length: 4\r\n"),
        (Body::stream(chunks(), None), "transfer-encoding: chunked\r\n"),
        (Body::stream(futures_util::stream::empty(), Some(0)), "content-length: 0\r\n"),
    ] {
        // Framing that contradicts the body does not get out.
        let request =
            http::Request::post(&url).header("content-length", "3").header("transfer-encoding", "gzip");
        let seen = text(send(&network(), request.body(body).unwrap()).await.unwrap()).await;
        assert!(seen.contains(framing), "{framing} in {seen}");
        assert_eq!(
            seen.matches("content-length").count() + seen.matches("transfer-encoding").count(),
            1,
            "{seen}"
        );
    }
}

#[tokio::test]
async fn big_bytes_arrive_whole() {
    let sent: Vec<u8> = (0..1_000_003_u32).map(|n| n as u8).collect();
    let (seen, mut bodies) = mpsc::channel(1);
    let address = serve(move |mut stream| {
        let seen = seen.clone();
        async move {
            head(&mut stream).await;
            let mut body = vec![0; 1_000_003];
            stream.read_exact(&mut body).await.unwrap();
            answer(&mut stream, "thanks").await;
            seen.send(body).await.unwrap();
        }
    })
    .await;
    let request = http::Request::put(format!("http://{address}/")).body(Body::from(sent.clone())).unwrap();
    assert_eq!(text(send(&network(), request).await.unwrap()).await, "thanks");
    assert!(bodies.recv().await.unwrap() == sent);
}

/// The server answers a piece of the upload before the next one is made.
#[tokio::test]
async fn both_bodies_stream_at_the_same_time() {
    let address = serve(|mut stream| async move {
        head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
        loop {
            // One chunk: size line, data, line break.
            let mut size = String::new();
            while !size.ends_with("\r\n") {
                size.push(stream.read_u8().await.unwrap().into());
            }
            let length = usize::from_str_radix(size.trim(), 16).unwrap();
            let mut chunk = vec![0; length + 2];
            stream.read_exact(&mut chunk).await.unwrap();
            stream.write_all(size.as_bytes()).await.unwrap();
            stream.write_all(&chunk).await.unwrap();
            if length == 0 {
                return;
            }
        }
    })
    .await;
    let (feed, body) = fed(None);
    let request = http::Request::post(format!("http://{address}/")).body(body).unwrap();
    let response = send(&network(), request).await.unwrap();
    assert_eq!(response.body().length(), None);
    let mut echo = response.into_body();
    for chunk in ["one", "two", "three"] {
        feed.send(Ok(chunk.into())).await.unwrap();
        let back = tokio::time::timeout(PATIENCE, echo.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(back, chunk);
    }
    drop(feed);
    assert!(echo.next().await.is_none());
}

#[tokio::test]
async fn connections_are_used_again() {
    let (opened, mut connections) = mpsc::unbounded_channel();
    let address = serve(move |mut stream| {
        opened.send(()).unwrap();
        async move {
            while !head(&mut stream).await.is_empty() {
                answer(&mut stream, "hello").await;
            }
        }
    })
    .await;
    let transport = transport(&network());
    for _ in 0..3 {
        let response = transport.send(get(format!("http://{address}/"))).await.unwrap();
        assert_eq!(text(response).await, "hello");
    }
    connections.recv().await.unwrap();
    assert!(connections.try_recv().is_err());
}

#[tokio::test]
async fn dropping_the_future_or_the_body_ends_the_request() {
    let (closed, mut ends) = mpsc::channel(1);
    let (asked, mut requests) = mpsc::channel(1);
    let address = serve(move |mut stream| {
        let (closed, asked) = (closed.clone(), asked.clone());
        async move {
            let head = head(&mut stream).await;
            if head.starts_with("GET /body") {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc").await.unwrap();
            }
            asked.send(()).await.unwrap();
            drain(&mut stream).await;
            closed.send(()).await.unwrap();
        }
    })
    .await;
    let transport = transport(&network());

    let mut pending = Box::pin(transport.send(get(format!("http://{address}/head"))));
    tokio::select! {
        _ = &mut pending => panic!("no answer was sent"),
        _ = requests.recv() => {}
    }
    drop(pending);
    tokio::time::timeout(PATIENCE, ends.recv()).await.unwrap().unwrap();

    let response = transport.send(get(format!("http://{address}/body"))).await.unwrap();
    requests.recv().await.unwrap();
    drop(response);
    tokio::time::timeout(PATIENCE, ends.recv()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_head_answer_has_no_body_to_wait_for() {
    let address = serve(|mut stream| async move {
        head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n").await.unwrap();
        drain(&mut stream).await;
    })
    .await;
    let request = http::Request::head(format!("http://{address}/")).body(Body::empty()).unwrap();
    let response = send(&network(), request).await.unwrap();
    assert_eq!(response.headers()["content-length"], "500");
    assert_eq!(text(response).await, "");
}

#[tokio::test]
async fn a_compressed_answer_stays_as_it_is() {
    let address = serve(|mut stream| async move {
        head(&mut stream).await;
        let answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nzzzz";
        stream.write_all(answer).await.unwrap();
    })
    .await;
    let response = send(&network(), get(format!("http://{address}/"))).await.unwrap();
    assert_eq!(response.headers()["content-encoding"], "gzip");
    assert_eq!(text(response).await, "zzzz");
}

#[tokio::test]
async fn a_slow_caller_is_not_taken_for_a_silent_server() {
    let limit = Duration::from_millis(300);
    let address = serve(|mut stream| async move {
        head(&mut stream).await;
        let mut body = [0; 4];
        stream.read_exact(&mut body).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc").await.unwrap();
        stream.write_all(b"def").await.unwrap();
        drain(&mut stream).await;
    })
    .await;
    let (feed, body) = fed(Some(4));
    let request = http::Request::post(format!("http://{address}/")).body(body).unwrap();
    let caller = tokio::spawn(async move {
        for chunk in ["ab", "cd"] {
            tokio::time::sleep(limit * 2).await;
            feed.send(Ok(chunk.into())).await.unwrap();
        }
    });
    let response = send(&network().with_read_timeout(limit), request).await.unwrap();
    caller.await.unwrap();
    // Reading slowly is no silence either.
    tokio::time::sleep(limit * 2).await;
    assert_eq!(text(response).await, "abcdef");
}

#[tokio::test]
async fn the_route_is_direct_and_debug_is_short() {
    let transport = transport(&network());
    assert_eq!(transport.route(), Route::Direct);
    assert!(format!("{transport:?}").starts_with("DirectTransport {"));
}
