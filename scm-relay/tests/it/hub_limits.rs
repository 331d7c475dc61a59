//! What the hub holds requests to: places, times and sizes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, future, stream};
use http::{Request, Response};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use scm_core::{Body, Delivery, ErrorKind, TransportError};
use scm_relay::HubSettings;
use scm_testkit::fault::socket::{Script, ScriptedServer, serve};
use tokio::sync::Semaphore;

use crate::world::{SERVICE_KEY, World, direct};

fn request(method: &str, url: &str, body: impl Into<Body>) -> Request<Body> {
    Request::builder().method(method).uri(format!("{url}/")).body(body.into()).unwrap()
}

/// The same as any HTTP client sends it.
async fn over_http(world: &World, method: &str, url: &str, body: Body) -> Response<Body> {
    let mut request = request(method, &world.place(url), body);
    request.headers_mut().insert("scm-hub-key", http::HeaderValue::from_static(SERVICE_KEY));
    direct().send(request).await.unwrap()
}

fn settings() -> HubSettings {
    HubSettings::new().with_patience(Duration::from_secs(20))
}

fn seen(error: &TransportError) -> (ErrorKind, Delivery) {
    (error.kind(), error.delivery())
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_requests_wait_their_turn() {
    const AT_ONCE: usize = 32;
    let now = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let counted = (Arc::clone(&now), Arc::clone(&most));
    let server = serve(move |stream| {
        let (now, most) = counted.clone();
        async move {
            let service = service_fn(move |_| {
                let (now, most) = (Arc::clone(&now), Arc::clone(&most));
                async move {
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    now.fetch_sub(1, Ordering::SeqCst);
                    Ok::<_, TransportError>(Response::new("done".to_owned()))
                }
            });
            // The agent ends it.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        }
    });
    let url = format!("http://{}", server.await.unwrap());
    let mut settings = HubSettings::new().with_patience(Duration::from_secs(300));
    settings.in_flight = AT_ONCE;
    settings.header_timeout = Duration::from_secs(300);
    let world = World::with(settings).await;
    let _agent = world.agent(&[&format!("{url}=any")]);
    world.tunnels(2).await;
    let transport = world.transport();
    let all = (0..10_000).map(|_| {
        let (transport, request) = (transport.clone(), request("GET", &url, Body::empty()));
        tokio::spawn(async move { transport.send(request).await?.into_body().collect(100).await })
    });
    for answer in future::join_all(all).await {
        assert_eq!(answer.unwrap().unwrap(), "done");
    }
    assert!((1..=AT_ONCE).contains(&most.load(Ordering::SeqCst)), "{most:?} at once");
    assert_eq!(world.hub.agents()[0].in_flight, 0);
}

#[tokio::test]
async fn a_request_without_a_place_is_refused_after_a_while_and_was_not_sent() {
    let server = ScriptedServer::start([Script::new().request().stall()]).await.unwrap();
    let url = server.url();
    let mut settings = HubSettings::new().with_patience(Duration::from_millis(500));
    settings.in_flight = 2;
    let world = World::with(settings).await;
    let _agent = world.agent(&[&format!("{url}=any")]);
    world.tunnels(2).await;
    let transport = world.transport();
    let held: Vec<_> = (0..2)
        .map(|_| {
            let (transport, request) = (transport.clone(), request("GET", &url, Body::empty()));
            tokio::spawn(async move { transport.send(request).await })
        })
        .collect();
    until(|| server.requests().len() == 2).await;
    let error = transport.send(request("POST", &url, "work".to_owned())).await.unwrap_err();
    assert_eq!(seen(&error), (ErrorKind::Relay, Delivery::NotSent));
    assert!(error.to_string().contains("2 requests in flight"), "{error}");
    let answer = over_http(&world, "POST", &url, "work".to_owned().into()).await;
    assert_eq!((answer.status().as_u16(), answer.headers()["retry-after"].as_bytes()), (503, &b"5"[..]));
    assert_eq!(answer.headers()["scm-hub-delivery"], "not_sent");
    held.iter().for_each(tokio::task::JoinHandle::abort);
    // Their places are free again.
    until(|| world.hub.agents()[0].in_flight == 0).await;
    let sent = tokio::spawn(async move { transport.send(request("GET", &url, Body::empty())).await });
    until(|| server.requests().len() == 3).await;
    sent.abort();
}

#[tokio::test]
async fn a_server_that_does_not_begin_or_does_not_go_on_is_given_up() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc";
    let scripts = [Script::new().request().stall(), Script::new().request().write(head).stall()];
    let server = ScriptedServer::start(scripts).await.unwrap();
    let mut settings = settings();
    settings.header_timeout = Duration::from_millis(200);
    settings.idle_timeout = Duration::from_millis(200);
    let world = World::with(settings).await;
    let _agent = world.agent(&[&format!("{}=any", server.url())]);
    let answer = over_http(&world, "POST", &server.url(), "work".to_owned().into()).await;
    assert_eq!(
        (answer.status().as_u16(), answer.headers()["scm-hub-error"].as_bytes()),
        (504, &b"timeout"[..])
    );
    assert_eq!(answer.headers()["scm-hub-delivery"], "unknown");
    server.ended(1).await;
    let answer = world.transport().send(request("GET", &server.url(), Body::empty())).await.unwrap();
    let mut body = answer.into_body();
    assert_eq!(body.next().await.unwrap().unwrap(), "abc");
    let error = body.next().await.unwrap().unwrap_err();
    assert_eq!(seen(&error), (ErrorKind::Timeout, Delivery::Unknown));
    assert!(error.to_string().contains("nothing more of the answer came for 200ms"), "{error}");
    assert!(body.next().await.is_none());
    server.ended(2).await;
}

#[tokio::test]
async fn a_request_is_over_in_its_whole_time_or_not_at_all() {
    let drip = Script::new()
        .request()
        .write("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        .drip(vec![b'x'; 100_000], Duration::from_millis(10));
    let server = ScriptedServer::start([drip]).await.unwrap();
    let mut settings = settings();
    settings.total_timeout = Some(Duration::from_millis(500));
    let world = World::with(settings).await;
    let _agent = world.agent(&[&format!("{}=any", server.url())]);
    world.tunnels(2).await;
    let answer = world.transport().send(request("GET", &server.url(), Body::empty())).await.unwrap();
    let error = answer.into_body().collect(1 << 20).await.unwrap_err();
    assert_eq!(seen(&error), (ErrorKind::Timeout, Delivery::Unknown));
    assert!(error.to_string().contains("was not over within 500ms"), "{error}");
}

#[tokio::test]
async fn an_upload_that_goes_on_may_take_longer_than_an_answer_may() {
    let server = ScriptedServer::start([Script::new().request().json(200, "{}")]).await.unwrap();
    let mut settings = settings();
    settings.header_timeout = Duration::from_secs(2);
    let world = World::with(settings).await;
    let _agent = world.agent(&[&format!("{}=any", server.url())]);
    let pieces = stream::iter(0..6).then(|_| async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        Ok(Bytes::from_static(b"piece"))
    });
    let answer = world.transport().send(request("POST", &server.url(), Body::stream(pieces, None))).await;
    assert_eq!(answer.unwrap().status(), 200);
    assert_eq!(server.requests()[0].body, b"piece".repeat(6));
}

#[tokio::test]
async fn bodies_that_are_too_large_are_cut_both_ways() {
    let whole = Script::new().request().answer(200, &[], &"x".repeat(101));
    let chunked = Script::new().request().write(format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n65\r\n{}\r\n0\r\n\r\n",
        "x".repeat(101)
    ));
    let fits = Script::new().request().answer(200, &[], &"x".repeat(100));
    let server = ScriptedServer::start([whole, chunked, fits]).await.unwrap();
    let mut settings = settings();
    settings.max_body = Some(100);
    let world = World::with(settings).await;
    let _agent = world.agent(&[&format!("{}=any", server.url())]);
    let url = server.url();
    let answer = over_http(&world, "POST", &url, "x".repeat(101).into()).await;
    assert_eq!(
        (answer.status().as_u16(), answer.headers()["scm-hub-delivery"].as_bytes()),
        (413, &b"not_sent"[..])
    );
    assert_eq!(server.connections(), 0);

    let send = async |request| world.transport().send(request).await;
    let error = send(request("GET", &url, Body::empty())).await.unwrap_err();
    assert_eq!(seen(&error), (ErrorKind::Decode, Delivery::Answered));
    let answer = send(request("GET", &url, Body::empty())).await.unwrap();
    let error = answer.into_body().collect(1000).await.unwrap_err();
    assert_eq!(seen(&error), (ErrorKind::Decode, Delivery::Answered));
    assert!(error.to_string().contains("larger than the 100 bytes"), "{error}");
    let answer = send(request("POST", &url, "x".repeat(100))).await.unwrap();
    assert_eq!(answer.into_body().collect(1000).await.unwrap().len(), 100);

    let pieces = stream::iter((0..11).map(|_| Ok(Bytes::from_static(b"0123456789"))));
    let answer = over_http(&world, "POST", &url, Body::stream(pieces, None)).await;
    assert_eq!(
        (answer.status().as_u16(), answer.headers()["scm-hub-delivery"].as_bytes()),
        (413, &b"unknown"[..])
    );
}

#[tokio::test]
async fn heads_of_64_kib_pass_both_ways_and_larger_ones_are_refused_in_words() {
    let large = "x".repeat(64 * 1024);
    let server =
        ScriptedServer::start([Script::new().request().answer(200, &[("X-Large", &large)], "")]).await;
    let server = server.unwrap();
    let world = World::new().await;
    let _agent = world.agent(&[&format!("{}=any", server.url())]);
    let send = async |length: usize| {
        let mut request = request("GET", &world.place(&server.url()), Body::empty());
        let headers = request.headers_mut();
        headers.insert("scm-hub-key", http::HeaderValue::from_static(SERVICE_KEY));
        headers.insert("accept", "a".repeat(length).parse().unwrap());
        direct().send(request).await.unwrap()
    };
    let answer = send(64 * 1024).await;
    assert_eq!((answer.status().as_u16(), answer.headers()["x-large"].len()), (200, 64 * 1024));
    assert!(server.requests()[0].head.contains(&"a".repeat(64 * 1024)));
    let answer = send(130 * 1024).await;
    assert_eq!(
        (answer.status().as_u16(), answer.headers()["scm-hub-delivery"].as_bytes()),
        (431, &b"not_sent"[..])
    );
    let said = answer.into_body().collect(10_000).await.unwrap();
    assert!(String::from_utf8_lossy(&said).contains("131072 may pass"), "{said:?}");
    // The tunnels are none the worse for it.
    assert_eq!(send(1).await.status(), 200);
}

#[tokio::test]
async fn an_answer_whose_head_is_too_large_ends_alone() {
    let gate = Arc::new(Semaphore::new(0));
    let late = Script::new().request().gate(&gate).json(200, "\"late\"");
    let large = Script::new().request().answer(200, &[("X-Large", &"x".repeat(300 * 1024))], "");
    let server = ScriptedServer::start([late, large]).await.unwrap();
    let world = World::new().await;
    let _agent = world.agent(&[&format!("{}=any", server.url())]);
    let (transport, first) = (world.transport(), request("POST", &server.url(), Body::empty()));
    let sent =
        tokio::spawn(async move { transport.send(first).await.unwrap().into_body().collect(100).await });
    until(|| server.requests().len() == 1).await;
    for _ in 0..4 {
        let error = world.transport().send(request("GET", &server.url(), Body::empty())).await.unwrap_err();
        assert_eq!(seen(&error), (ErrorKind::Decode, Delivery::Answered));
        assert!(error.to_string().contains("131072 may pass"), "{error}");
    }
    gate.add_permits(1);
    assert_eq!(sent.await.unwrap().unwrap(), "\"late\"");
}

#[tokio::test]
async fn an_agent_that_is_not_here_is_waited_for_beyond_the_time_for_an_answer() {
    let mut settings = HubSettings::new().with_patience(Duration::from_millis(400));
    settings.header_timeout = Duration::from_millis(50);
    let world = World::with(settings).await;
    let error = world.transport().send(request("GET", "http://git.test", Body::empty())).await.unwrap_err();
    assert_eq!(seen(&error), (ErrorKind::Relay, Delivery::NotSent));
}

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
