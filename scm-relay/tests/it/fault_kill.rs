//! Programs that die and programs that go: what callers hear, and what runs twice.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, future};
use scm_core::{Body, Code, Delivery, ErrorKind, Transport, TransportError};
use scm_testkit::fault::socket::{self, Script, ScriptedServer};
use scm_testkit::fault::wire::{Line, Wire};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::fault_world::{HOURS, HubProcess, Mute, fed, request, soon, until};
use crate::world::SERVICE_KEY;

type Sent = JoinHandle<Result<http::Response<Body>, TransportError>>;

fn send(hub: &HubProcess, method: &str, url: &str, body: impl Into<Body>) -> Sent {
    send_over(&hub.transport(), method, url, body)
}

fn send_over(transport: &Transport, method: &str, url: &str, body: impl Into<Body>) -> Sent {
    let (transport, request) = (transport.clone(), request(method, url, body));
    tokio::spawn(async move { transport.send(request).await })
}

async fn failed(sent: Sent) -> (ErrorKind, Delivery) {
    let error = soon("an error", sent).await.unwrap().unwrap_err();
    (error.kind(), error.delivery())
}

#[tokio::test]
async fn a_killed_agent_is_an_error_at_once_and_what_may_not_run_twice_does_not() {
    let server = Mute::start().await;
    let hub = HubProcess::start(HOURS).await;
    let one_tunnel = ["--tunnels", "1"];
    let mut first = hub.agent_at(hub.address(), &[&server.allow()], &one_tunnel).await;
    hub.tunnels(1).await;
    let get = send(&hub, "GET", &format!("{}/read", server.url()), Body::empty());
    let post = send(&hub, "POST", &format!("{}/work", server.url()), "do it".to_owned());
    let (feed, body) = fed();
    let upload = send(&hub, "PUT", &format!("{}/upload", server.url()), body);
    feed.send(Ok(Bytes::from(vec![7; 100_000]))).await.unwrap();
    let all = ["GET /read", "POST /work", "PUT /upload"];
    until("three requests in flight", || server.asked() == all).await;
    let _second = hub.agent_at(hub.address(), &[&server.allow()], &one_tunnel).await;
    hub.tunnels(2).await;
    first.kill().await;
    let unknown = (ErrorKind::Relay, Delivery::Unknown);
    assert_eq!(failed(post).await, unknown);
    assert_eq!(failed(upload).await, unknown);
    // Reading again does no harm, and the other agent is there.
    let answer = soon("the other agent", get).await.unwrap().unwrap();
    assert_eq!(answer.headers()["scm-hub-attempts"], "2");
    assert_eq!(answer.into_body().collect(10).await.unwrap(), "again");
    assert_eq!(server.asked(), ["GET /read", "GET /read", "POST /work", "PUT /upload"]);
}

#[tokio::test]
async fn callers_of_a_killed_hub_hear_of_it_and_its_agents_come_to_the_next_one() {
    let server = Mute::start().await;
    let mut hub = HubProcess::start(HOURS).await;
    let agent = hub.agent(&[&server.allow()]).await;
    let (address, post) = (hub.address(), format!("{}/work", server.url()));
    let sent = send(&hub, "POST", &post, "do it".to_owned());
    until("a request in flight", || server.asked() == ["POST /work"]).await;
    hub.process.kill().await;
    assert_eq!(failed(sent).await, (ErrorKind::Unavailable, Delivery::Unknown));
    let error = hub.transport().send(request("GET", &post, Body::empty())).await.unwrap_err();
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Relay, Delivery::NotSent));
    assert_eq!(error.code(), Some(Code::RelayHubUnreachable));
    // It says what it sees, and tries on.
    agent.says("is lost: the next one is opened").await;
    agent.says("tcp.refused").await;
    let next = async {
        loop {
            // Another program may have the port for a moment.
            if let Some(hub) = HubProcess::at(address, HOURS).await {
                break hub;
            }
        }
    };
    let next = soon("a hub where the last one was", next).await;
    next.tunnels(2).await;
    let answer = next.transport().send(request("POST", &post, "do it".to_owned())).await.unwrap();
    assert_eq!(answer.into_body().collect(10).await.unwrap(), "again");
    // The request of the hub that died was let go, and not carried out once more.
    assert_eq!(server.asked(), ["POST /work", "POST /work"]);
}

/// With a length and without one, to a caller that knows of hubs and to one that does not.
#[tokio::test]
async fn an_answer_whose_tunnel_is_cut_is_never_a_short_one() {
    const WHOLE: usize = 100_000_000;
    for length in [Some(WHOLE), None] {
        let server = socket::serve(move |mut stream| async move {
            socket::head(&mut stream).await;
            let length =
                length.map_or("Connection: close".to_owned(), |length| format!("Content-Length: {length}"));
            let head = format!("HTTP/1.1 200 OK\r\n{length}\r\n\r\n");
            // The agent goes when its tunnel is cut.
            let _ = stream.write_all(head.as_bytes()).await;
            let _ = tokio::io::copy(&mut tokio::io::repeat(1).take(WHOLE as u64), &mut stream).await;
        });
        let server = server.await.unwrap();
        let hub = HubProcess::start(HOURS).await;
        let wire = Wire::to(hub.address()).start().await.unwrap();
        let _agent = hub.agent_at(wire.address(), &[&format!("http://{server}=any")], &[]).await;
        let url = format!("http://{server}/");
        let answer = hub.transport().send(request("GET", &url, Body::empty())).await.unwrap();
        assert_eq!(answer.status(), 200);
        let mut body = answer.into_body();
        let mut read = 0;
        let error = loop {
            match soon("a piece or an error", body.next()).await {
                Some(Ok(piece)) => read += piece.len(),
                Some(Err(error)) => break error,
                None => panic!("{read} bytes as if they were all"),
            }
            if read >= WHOLE / 4 {
                wire.turn(.., Line::Cut);
            }
        };
        assert!((WHOLE / 4..WHOLE).contains(&read), "{read}");
        assert_eq!((error.kind(), error.delivery()), (ErrorKind::Unavailable, Delivery::Unknown), "{error}");

        wire.turn(.., Line::Open);
        hub.tunnels(2).await;
        let cut = wire.connections();
        let mut stream = TcpStream::connect(hub.address()).await.unwrap();
        let head = format!(
            "GET /v1/agents/acme/http/{server}/ HTTP/1.1\r\nHost: h\r\nScm-Hub-Key: {}\r\nConnection: close\r\n\r\n",
            SERVICE_KEY
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut seen = Vec::new();
        while seen.len() < WHOLE / 4 {
            assert_ne!(soon("a piece", stream.read_buf(&mut seen)).await.unwrap(), 0);
        }
        wire.turn(..cut, Line::Cut);
        // However the connection ends, it ends before the answer does.
        let _ = soon("an end", stream.read_to_end(&mut seen)).await;
        assert!(seen.len() < WHOLE, "{}", seen.len());
        assert!(!seen.ends_with(b"\r\n0\r\n\r\n"), "the last chunk of {} bytes", seen.len());
    }
}

#[tokio::test]
async fn an_agent_that_is_stopped_loses_nothing_and_the_other_one_takes_what_is_new() {
    let gate = Arc::new(Semaphore::new(0));
    let late = Script::new().request().gate(&gate).json(200, "\"late\"");
    let mut scripts = vec![late; 8];
    scripts.push(Script::new().request().json(200, "\"quick\""));
    let server = ScriptedServer::start(scripts).await.unwrap();
    let hub = HubProcess::start(HOURS).await;
    let allow = format!("{}=any", server.url());
    let first = hub.agent(&[&allow]).await;
    hub.tunnels(2).await;
    let kinds = ["GET", "POST", "PUT", "DELETE"];
    let late: Vec<_> = (0..8).map(|n| send(&hub, kinds[n % 4], &server.url(), "x".to_owned())).collect();
    until("eight requests in flight", || server.requests().len() == 8).await;
    let second = hub.agent(&[&allow]).await;
    hub.tunnels(4).await;
    first.terminate().await;
    // From the signal on, not only from when the agent has said that it goes.
    let transport = hub.transport();
    let quick = (0..40).map(|_| send_over(&transport, "POST", &server.url(), "x".to_owned()));
    for sent in future::join_all(quick).await {
        assert_eq!(sent.unwrap().unwrap().into_body().collect(100).await.unwrap(), "\"quick\"");
    }
    gate.add_permits(8);
    for sent in late {
        let answer = soon("a late answer", sent).await.unwrap().unwrap();
        assert_eq!(answer.into_body().collect(100).await.unwrap(), "\"late\"");
    }
    let (code, log) = first.end().await;
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("stopping") && !log.contains("still in flight"), "{log}");
    hub.tunnels(2).await;
    let answer = hub.transport().send(request("POST", &server.url(), "x".to_owned())).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(server.requests().len(), 49);
    assert!(second.log().contains("scm_relay::audit"), "{}", second.log());
}

#[tokio::test]
async fn an_upload_survives_that_its_agent_is_stopped_and_a_reset_after_it_is_told_once() {
    let scripts = [Script::new().request().json(201, "{}"), Script::new().request().reset()];
    let server = ScriptedServer::start(scripts).await.unwrap();
    let hub = HubProcess::start(HOURS).await;
    let allow = format!("{}=any", server.url());
    let first = hub.agent(&[&allow]).await;
    hub.tunnels(2).await;
    let (feed, body) = fed();
    let sent = send(&hub, "PUT", &format!("{}/large", server.url()), body);
    let piece = Bytes::from(vec![7; 1_000_000]);
    feed.send(Ok(piece.clone())).await.unwrap();
    until("the upload has begun", || server.connections() == 1).await;
    let _second = hub.agent(&[&allow]).await;
    hub.tunnels(4).await;
    first.terminate().await;
    // One tunnel of the first is idle and goes; the other has heard of the end, and carries the upload.
    hub.tunnels(3).await;
    for _ in 0..9 {
        feed.send(Ok(piece.clone())).await.unwrap();
    }
    drop(feed);
    assert_eq!(soon("an answer", sent).await.unwrap().unwrap().status(), 201);
    assert_eq!(first.end().await.0, Some(0));
    hub.tunnels(2).await;
    let work = format!("{}/work", server.url());
    assert_eq!(
        failed(send(&hub, "POST", &work, "x".to_owned())).await,
        (ErrorKind::Unavailable, Delivery::Unknown)
    );
    let seen: Vec<_> = server.requests().iter().map(|seen| (seen.target.clone(), seen.body.len())).collect();
    assert_eq!(seen, [("/large".to_owned(), 10_000_000), ("/work".to_owned(), 1)]);
}

#[tokio::test]
async fn a_thousand_callers_that_go_away_end_what_was_done_for_them() {
    let server = ScriptedServer::start([Script::new().request().stall()]).await.unwrap();
    let hub = HubProcess::start(HOURS).await;
    let agent = hub.agent(&[&format!("{}=any", server.url())]).await;
    hub.tunnels(2).await;
    let transport = hub.transport();
    for round in 1..=5 {
        let sent: Vec<_> = (0..200)
            .map(|n| {
                send_over(&transport, ["GET", "POST"][n % 2], &server.url(), ["", "x"][n % 2].to_owned())
            })
            .collect();
        until("200 requests in flight", || server.requests().len() == round * 200).await;
        sent.iter().for_each(JoinHandle::abort);
        soon("the server is let go", server.ended(round * 200)).await;
    }
    assert_eq!(server.requests().len(), 1000);
    let idle = async {
        while hub.status().await.in_flight != 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("nothing in flight", idle).await;
    // The tunnels are those of the start.
    assert_eq!(hub.status().await.tunnels, 2);
    assert!(!agent.log().contains("is lost"), "{}", agent.log());
}
