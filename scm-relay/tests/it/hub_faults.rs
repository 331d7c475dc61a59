//! What happens to the hub, and what it makes of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, future, stream};
use http::Request;
use scm_core::{Body, Delivery, ErrorKind, TransportError};
use scm_relay::HubSettings;
use scm_testkit::fault::socket::{Script, ScriptedServer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};

use crate::world::{AGENT_KEY, SERVICE_KEY, World};

fn get(url: &str) -> Request<Body> {
    Request::get(format!("{url}/")).body(Body::empty()).unwrap()
}

fn post(url: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(format!("{url}/")).body(body.into()).unwrap()
}

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn counted(world: &World, line: &str) -> u64 {
    let text = world.hub.metrics();
    let found = text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
    found.map_or(0, |count| count.parse().unwrap())
}

async fn raw(world: &World, request: &str) -> String {
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_post_whose_server_resets_runs_once_however_many_tunnels_there_are() {
    let server = ScriptedServer::start([Script::new().request().reset()]).await.unwrap();
    let world = World::new().await;
    let allow = format!("{}=any", server.url());
    let _agents = [world.agent(&[&allow]), world.agent(&[&allow])];
    world.tunnels(4).await;
    let error = world.transport().send(post(&server.url(), "work".to_owned())).await.unwrap_err();
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Unavailable, Delivery::Unknown));
    assert_eq!(server.requests().len(), 1);
    assert_eq!(counted(&world, "scm_hub_requests_total{agent=\"acme\",outcome=\"unavailable\"}"), 1);
}

#[tokio::test]
async fn a_thousand_callers_that_go_away_leave_nothing_behind() {
    let server = ScriptedServer::start([Script::new().request().stall()]).await.unwrap();
    let world = World::new().await;
    let _agent = world.agent(&[&format!("{}=any", server.url())]);
    world.tunnels(2).await;
    let transport = world.transport();
    let all: Vec<_> = (0..1000)
        .map(|_| {
            let (transport, request) = (transport.clone(), get(&server.url()));
            tokio::spawn(async move { transport.send(request).await })
        })
        .collect();
    until(|| server.requests().len() >= 100).await;
    all.iter().for_each(tokio::task::JoinHandle::abort);
    future::join_all(all).await;
    until(|| world.hub.agents()[0].in_flight == 0).await;
    server.ended(server.connections()).await;
    assert_eq!(world.hub.agents()[0].tunnels, 2);
    let ended = "scm_hub_requests_total{agent=\"acme\",outcome=\"cancelled\"}";
    assert_eq!(counted(&world, ended), 1000);
    assert_eq!(counted(&world, "scm_hub_tunnels_opened_total{agent=\"acme\"}"), 2);
}

#[tokio::test]
async fn readers_that_stall_hold_nobody_up() {
    let endless = format!("HTTP/1.1 200 OK\r\nContent-Length: 8000000\r\n\r\n{}", "x".repeat(8_000_000));
    let mut scripts = vec![Script::new().request().write(endless); 64];
    scripts.push(Script::new().request().json(200, "\"quick\""));
    let server = ScriptedServer::start(scripts).await.unwrap();
    let world = World::new().await;
    let _agent = world.agent(&[&format!("{}=any", server.url())]);
    let transport = world.transport();
    let mut stalled = Vec::new();
    for _ in 0..64 {
        stalled.push(transport.send(get(&server.url())).await.unwrap().into_body());
    }
    for _ in 0..10 {
        let answer = transport.send(get(&server.url())).await.unwrap();
        assert_eq!(answer.into_body().collect(100).await.unwrap(), "\"quick\"");
    }
    // Those that were not given up for want of room can go on.
    let mut last = stalled.pop().unwrap();
    let mut read = 0;
    while let Some(Ok(chunk)) = last.next().await {
        read += chunk.len();
    }
    assert_eq!(read, 8_000_000);
}

#[tokio::test]
async fn new_work_goes_to_the_agent_that_does_not_drain() {
    let gate = Arc::new(Semaphore::new(0));
    let late = Script::new().request().gate(&gate).json(200, "\"late\"");
    let server = ScriptedServer::start([late, Script::new().request().json(200, "\"quick\"")]).await.unwrap();
    let world = World::new().await;
    let allow = format!("{}=any", server.url());
    let mut first = world.agent(&[&allow]);
    world.tunnels(2).await;
    let transport = world.transport();
    let sent = {
        let (transport, request) = (transport.clone(), post(&server.url(), "x".to_owned()));
        tokio::spawn(async move { transport.send(request).await.unwrap().into_body().collect(100).await })
    };
    until(|| server.requests().len() == 1).await;
    let _second = world.agent(&[&allow]);
    world.tunnels(4).await;
    first.stop();
    // POSTs, which are repeated only where they were not sent.
    for _ in 0..50 {
        let answer = transport.send(post(&server.url(), "x".to_owned())).await.unwrap();
        assert_eq!(answer.into_body().collect(100).await.unwrap(), "\"quick\"");
    }
    gate.add_permits(1);
    assert_eq!(sent.await.unwrap().unwrap(), "\"late\"");
    world.tunnels(2).await;
    assert_eq!(server.requests().len(), 51);
}

#[tokio::test]
async fn an_upload_goes_on_while_its_agent_takes_nothing_new() {
    let server = ScriptedServer::start([Script::new().request().json(201, "{}")]).await.unwrap();
    let world = World::new().await;
    let mut agent = world.agent(&[&format!("{}=any", server.url())]);
    world.tunnels(2).await;
    let (feed, pieces) = mpsc::channel::<Result<Bytes, TransportError>>(1);
    let pieces = stream::unfold(pieces, |mut pieces| async { Some((pieces.recv().await?, pieces)) });
    let transport = world.transport();
    let request = post(&server.url(), Body::stream(pieces, None));
    let sent = tokio::spawn(async move { transport.send(request).await });
    let piece = Bytes::from(vec![7; 100_000]);
    for _ in 0..5 {
        feed.send(Ok(piece.clone())).await.unwrap();
    }
    agent.stop();
    // GOAWAY is here once the other tunnel is gone.
    world.tunnels(1).await;
    for _ in 0..5 {
        feed.send(Ok(piece.clone())).await.unwrap();
    }
    drop(feed);
    assert_eq!(sent.await.unwrap().unwrap().status(), 201);
    assert_eq!(server.requests()[0].body.len(), 1_000_000);
}

#[tokio::test]
async fn tunnels_age_and_no_request_is_lost_by_it() {
    let gate = Arc::new(Semaphore::new(0));
    let late = Script::new().request().gate(&gate).json(200, "\"late\"");
    let server = ScriptedServer::start([late, Script::new().request().json(200, "\"quick\"")]).await.unwrap();
    let mut settings = HubSettings::new().with_patience(Duration::from_secs(20));
    settings.tunnel_age = Duration::from_millis(100);
    let world = World::with(settings).await;
    let _agent = world.agent(&[&format!("{}=any", server.url())]);
    world.tunnels(2).await;
    let transport = world.transport();
    let sent = {
        let (transport, request) = (transport.clone(), post(&server.url(), "x".to_owned()));
        tokio::spawn(async move { transport.send(request).await.unwrap().into_body().collect(100).await })
    };
    until(|| server.requests().len() == 1).await;
    let opened = || counted(&world, "scm_hub_tunnels_opened_total{agent=\"acme\"}");
    let mut requests = 1;
    while opened() < 10 {
        let answer = transport.send(post(&server.url(), "x".to_owned())).await.unwrap();
        assert_eq!(answer.into_body().collect(100).await.unwrap(), "\"quick\"");
        requests += 1;
    }
    gate.add_permits(1);
    assert_eq!(sent.await.unwrap().unwrap(), "\"late\"");
    assert_eq!(server.requests().len(), requests);
}

fn opening(headers: &str) -> String {
    format!(
        "GET /v1/tunnel HTTP/1.1\r\nHost: hub.test\r\nAuthorization: Bearer {AGENT_KEY}\r\nConnection: upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: scm-relay.h2.v1\r\n{headers}\r\n"
    )
}

#[tokio::test]
async fn an_agent_below_the_oldest_version_is_told_so() {
    let settings = HubSettings::new().with_minimum_agent("1.2.0").unwrap();
    let world = World::with(settings).await;
    for version in ["", "Scm-Agent-Version: 1.1.9\r\n", "Scm-Agent-Version: new\r\n"] {
        let answer = raw(&world, &opening(&format!("{version}Connection: close\r\n"))).await;
        assert!(answer.starts_with("HTTP/1.1 426 "), "{answer}");
        assert!(answer.contains("scm-hub-error: relay.version\r\n"), "{answer}");
        assert!(answer.contains("this hub takes 1.2.0 and later"), "{answer}");
    }
    for version in ["1.2.0", "1.10.0", "2.0.0"] {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        let opening = opening(&format!("Scm-Agent-Version: {version}\r\n"));
        stream.write_all(opening.as_bytes()).await.unwrap();
        let answer = scm_testkit::fault::socket::head(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        assert!(answer.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{answer}");
        assert!(answer.contains("scm-hub-agent: acme\r\n"), "{answer}");
        assert!(answer.contains(concat!("scm-hub-version: ", env!("CARGO_PKG_VERSION"), "\r\n")), "{answer}");
    }
    let error = HubSettings::new().with_minimum_agent("1.2").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
}

#[tokio::test]
async fn a_hub_that_drains_says_so_takes_no_tunnel_and_ends_with_its_work() {
    let gate = Arc::new(Semaphore::new(0));
    let late = Script::new().request().gate(&gate).json(200, "\"late\"");
    let server = ScriptedServer::start([late]).await.unwrap();
    let world = World::new().await;
    let _agent = world.agent(&[&format!("{}=any", server.url())]);
    let transport = world.transport();
    let request = get(&server.url());
    let sent =
        tokio::spawn(async move { transport.send(request).await.unwrap().into_body().collect(100).await });
    until(|| server.requests().len() == 1).await;
    let probe = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    assert!(raw(&world, &probe("/readyz")).await.starts_with("HTTP/1.1 200 "));
    let hub = world.hub.clone();
    let drained = tokio::spawn(async move { hub.drain().await });
    while !raw(&world, &probe("/readyz")).await.starts_with("HTTP/1.1 503 ") {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(raw(&world, &probe("/healthz")).await.starts_with("HTTP/1.1 200 "));
    let refused = raw(&world, &opening("Connection: close\r\n")).await;
    assert!(
        refused.starts_with("HTTP/1.1 503 ") && refused.contains("scm-hub-error: draining\r\n"),
        "{refused}"
    );
    assert!(!drained.is_finished());
    gate.add_permits(1);
    assert_eq!(sent.await.unwrap().unwrap(), "\"late\"");
    drained.await.unwrap();
    world.tunnels(0).await;
}

#[tokio::test]
async fn paths_that_try_to_leave_their_agent_lead_nowhere() {
    let server = ScriptedServer::start([Script::new().request().json(200, "{}")]).await.unwrap();
    let world = World::new().await;
    let _agent = world.agent(&[&format!("{}=gitlab", server.url())]);
    world.tunnels(2).await;
    let at = server.address();
    for (path, status, code) in [
        (format!("/v1/agents/acme/../other/http/{at}/"), "404", "no_such_path"),
        (format!("/v1/agents/acme/%2e%2e/http/{at}/"), "404", "no_such_path"),
        (format!("/v1/agents//acme/http/{at}/"), "404", "no_such_path"),
        (format!("/v1/agents/acme/http//{at}/api/v4/version"), "404", "no_such_path"),
        (format!("/v1/agents/acme/http/x@{at}/api/v4/version"), "404", "no_such_path"),
        (format!("//v1/agents/acme/http/{at}/api/v4/version"), "404", "no_such_path"),
        (format!("/v1/agents/other/http/{at}/api/v4/version"), "403", "relay.key_rejected"),
        ("/v1/agents/acme/http/hello/".to_owned(), "403", "relay.agent_denied"),
        ("/v1/agents/acme/http/control/probe".to_owned(), "403", "relay.agent_denied"),
        (format!("/v1/agents/acme/http/{at}/api/v4/../../../other"), "403", "relay.agent_denied"),
        (format!("/v1/agents/acme/http/{at}/api/v4/%2e%2e/x"), "403", "relay.agent_denied"),
        (format!("/v1/agents/acme/http/{at}/api/v4//version"), "403", "relay.agent_denied"),
    ] {
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: h\r\nScm-Hub-Key: {SERVICE_KEY}\r\nConnection: close\r\n\r\n"
        );
        let answer = raw(&world, &head).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
        assert!(answer.contains(&format!("scm-hub-error: {code}\r\n")), "{path}: {answer}");
    }
    assert_eq!(server.connections(), 0);
}
