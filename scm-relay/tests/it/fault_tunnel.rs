//! What networks and proxies do to tunnels.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use scm_core::{Delivery, ErrorKind};
use scm_testkit::fault::socket::{self, Script, ScriptedServer};
use scm_testkit::fault::wire::{Line, Wire};
use scm_testkit::proxy::Proxy;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::fault_world::{HOURS, HubProcess, Process, request, soon, until};

async fn quick() -> ScriptedServer {
    ScriptedServer::start([Script::new().request().json(200, "\"quick\"")]).await.unwrap()
}

async fn passes(hub: &HubProcess, server: &ScriptedServer) {
    let transport = hub.transport();
    let sent = transport.send(request("POST", &server.url(), "x".to_owned()));
    let answer = soon("an answer", sent).await.unwrap();
    assert_eq!(answer.into_body().collect(100).await.unwrap(), "\"quick\"");
}

/// Neither end is told: the hub's ping finds it, and the agent's own.
#[tokio::test]
async fn a_half_open_tunnel_is_found_and_the_other_one_serves_on() {
    let gate = Arc::new(Semaphore::new(0));
    let late = Script::new().request().gate(&gate).json(200, "\"late\"");
    let scripts = [late.clone(), late, Script::new().request().json(200, "\"quick\"")];
    let server = ScriptedServer::start(scripts).await.unwrap();
    let hub = HubProcess::start("[limits]\nping_every_s = 0.5\nping_limit_s = 3").await;
    let wire = Wire::to(hub.address()).start().await.unwrap();
    let agent = hub.agent_at(wire.address(), &[&format!("{}=any", server.url())], &[]).await;
    hub.tunnels(2).await;
    // One on each.
    let mut sent = Vec::new();
    for _ in 0..2 {
        let (transport, request) = (hub.transport(), request("POST", &server.url(), "x".to_owned()));
        sent.push(tokio::spawn(async move { transport.send(request).await }));
        until("it is there", || server.requests().len() == sent.len()).await;
    }
    wire.turn(0..1, Line::Lost);
    hub.tunnels(1).await;
    for _ in 0..20 {
        passes(&hub, &server).await;
    }
    gate.add_permits(2);
    let mut lost = Vec::new();
    for sent in sent {
        match soon("an end", sent).await.unwrap() {
            Ok(answer) => assert_eq!(answer.into_body().collect(100).await.unwrap(), "\"late\""),
            Err(error) => lost.push((error.kind(), error.delivery())),
        }
    }
    assert_eq!(lost, [(ErrorKind::Relay, Delivery::Unknown)]);
    agent.says("reason=\"silent\"").await;
    hub.tunnels(2).await;
    assert_eq!((wire.connections(), server.requests().len()), (3, 22));
}

#[tokio::test]
async fn a_proxy_that_cuts_idle_connections_cuts_no_tunnel_that_is_pinged_often_enough() {
    const IDLE: Duration = Duration::from_secs(4);
    let server = quick().await;
    let hub = HubProcess::start("[limits]\nping_every_s = 0.5\nping_limit_s = 20").await;
    let wire = Wire::to(hub.address()).cut_idle(IDLE).start().await.unwrap();
    // The proxy as the agent sees it: all that goes to the hub goes over the wire.
    let proxy = Proxy::builder().host("hub.test", wire.address()).start().await.unwrap();
    let agent = agent_behind(&hub, &proxy.url(), &server).await;
    hub.tunnels(2).await;
    passes(&hub, &server).await;
    // So long that a silent connection would have been cut.
    sleep(IDLE * 2).await;
    passes(&hub, &server).await;
    assert!(!agent.log().contains("is lost"), "{}", agent.log());
    assert_eq!((wire.connections(), proxy.traffic().tunnels), (2, 2));
}

#[tokio::test]
async fn tunnels_that_a_proxy_cuts_come_back_and_only_what_was_in_them_is_lost() {
    let server = quick().await;
    let hub = HubProcess::start(HOURS).await;
    let wire = Wire::to(hub.address()).cut_idle(Duration::from_secs(1)).start().await.unwrap();
    let proxy = Proxy::builder().host("hub.test", wire.address()).start().await.unwrap();
    let agent = agent_behind(&hub, &proxy.url(), &server).await;
    // The hub never pings, and the agent not so soon.
    agent.says("is lost: the next one is opened").await;
    until("new tunnels", || wire.connections() >= 4).await;
    // One that is cut just then is told so.
    let transport = hub.transport();
    let mut sent = 0;
    let answer = loop {
        sent += 1;
        match soon("an end", transport.send(request("POST", &server.url(), "x".to_owned()))).await {
            Ok(answer) => break answer,
            Err(error) => assert_eq!((error.kind(), error.delivery()), (ErrorKind::Relay, Delivery::Unknown)),
        }
    };
    assert_eq!(answer.status(), 200);
    assert!((1..=sent).contains(&server.requests().len()));
}

async fn agent_behind(hub: &HubProcess, proxy: &str, server: &ScriptedServer) -> Process {
    let servers = server.address().to_string();
    hub.agent_named(
        "http://hub.test",
        &[&format!("{}=any", server.url())],
        &["--proxy", proxy, "--proxy-loopback", "--no-proxy", &servers],
    )
    .await
}

/// A proxy that answers `CONNECT` in these words, byte by byte, and then opens a tunnel to where it was asked for.
async fn wordy(words: &'static str) -> SocketAddr {
    let proxy = socket::serve(move |mut stream| async move {
        let head = socket::head(&mut stream).await;
        let target = head.split(' ').nth(1).unwrap();
        let mut target = TcpStream::connect(target).await.unwrap();
        for byte in words.bytes() {
            stream.write_all(&[byte]).await.unwrap();
            // So that each byte is read for itself.
            tokio::task::yield_now().await;
        }
        // Either side may go first.
        let _ = tokio::io::copy_bidirectional(&mut stream, &mut target).await;
    });
    proxy.await.unwrap()
}

#[tokio::test]
async fn odd_answers_of_a_proxy_open_a_tunnel_all_the_same() {
    for words in [
        "HTTP/1.0 200 OK\r\n\r\n",
        "HTTP/1.0 200 Connection established\r\nProxy-agent: Apache/2.2\r\nVia: 1.0 proxy\r\n\r\n",
        "HTTP/1.1 204 Fine\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        let server = quick().await;
        let hub = HubProcess::start(HOURS).await;
        let proxy = format!("http://{}", wordy(words).await);
        let no_proxy = server.address().to_string();
        let more = ["--proxy", &proxy, "--proxy-loopback", "--no-proxy", &no_proxy];
        let report = hub.check_from(&more).await;
        assert_eq!(
            (&report["ok"], &report["codes"]),
            (&true.into(), &serde_json::json!([])),
            "{words}: {report}"
        );
        let _agent = hub.agent_at(hub.address(), &[&format!("{}=any", server.url())], &more).await;
        hub.tunnels(2).await;
        passes(&hub, &server).await;
    }
}

#[tokio::test]
async fn a_proxy_that_refuses_is_named_with_its_status_and_what_helps() {
    let hub = HubProcess::start(HOURS).await;
    for (words, code, remedy) in [
        (
            "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"corp\"\r\nContent-Length: 0\r\n\r\n",
            "proxy.auth_required",
            "`proxy.httpProxy`",
        ),
        (
            "HTTP/1.1 502 Bad Gateway\r\nServer: squid\r\nContent-Length: 0\r\n\r\n",
            "proxy.bad_gateway",
            "`proxy.noProxy",
        ),
        ("HTTP/1.0 403 Forbidden\r\n\r\n", "proxy.forbidden", "allow"),
    ] {
        for slow in [false, true] {
            let pause = Duration::from_millis(1);
            let script = Script::new().request();
            let script = if slow { script.drip(words, pause) } else { script.write(words) };
            let proxy = ScriptedServer::start([script]).await.unwrap();
            let report = hub.check_from(&["--proxy", &proxy.url(), "--proxy-loopback"]).await;
            assert_eq!(report["codes"], serde_json::json!([code]), "{report}");
            let rungs = report["report"]["rungs"].as_array().unwrap();
            let failed = rungs.iter().find(|rung| rung["outcome"] == "failed").unwrap();
            let status = words.split(' ').nth(1).unwrap();
            assert!(failed["seen"].as_str().unwrap().contains(status), "{failed}");
            assert!(failed["findings"][0]["remedy"].as_str().unwrap().contains(remedy), "{failed}");
        }
    }
}
