//! The route through a hub on its own, as services take it.

use std::time::Duration;

use scm_core::{Body, Code, Delivery, ErrorKind, Outcome, Rung, RungReport, Transport, TransportError};
use scm_relay::HubSettings;
use scm_testkit::conformance::Stop;
use scm_testkit::duties::{self, Plain};
use scm_testkit::fault::socket::{Script, ScriptedServer, closed_port};
use scm_transport::RelayTransport;

use crate::world::{SERVICE_KEY, World, direct};

fn relay(hub: &str, agent: &str, key: &str) -> Transport {
    let relay = RelayTransport::new(hub.parse().unwrap(), agent, key.to_owned().into(), direct(), true);
    Transport::new(relay.unwrap())
}

fn through(world: &World) -> Transport {
    relay(&format!("http://{}", world.address), "acme", SERVICE_KEY)
}

async fn send(
    transport: &Transport,
    method: &str,
    url: &str,
) -> Result<http::Response<Body>, TransportError> {
    let request = http::Request::builder().method(method).uri(url).body(Body::empty()).unwrap();
    transport.send(request).await
}

/// An agent that lets everything through to the ports that tests get.
fn everywhere() -> Vec<String> {
    let ports = 32_768..=60_999;
    ports
        .flat_map(|port| ["http", "https"].map(|scheme| format!("{scheme}://127.0.0.1:{port}=any")))
        .collect()
}

async fn keeps_its_duties(transport: Transport) {
    let outcomes = duties::check(&Plain(transport)).await;
    let failed: Vec<_> =
        outcomes.iter().filter(|outcome| matches!(outcome.result, Err(Stop::Failed(_)))).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(outcomes.iter().filter(|outcome| outcome.result.is_ok()).count(), 15);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_route_through_a_hub_keeps_the_duties_of_every_route() {
    let world = World::new().await;
    let allow = everywhere();
    let _agent = world.agent(&allow.iter().map(String::as_str).collect::<Vec<_>>());
    world.tunnels(2).await;
    keeps_its_duties(through(&world)).await;
    keeps_its_duties(world.transport()).await;
}

#[tokio::test]
async fn what_hub_and_agent_say_are_errors_and_what_the_server_says_is_its_answer() {
    let world = World::with(HubSettings::new().with_patience(Duration::from_millis(50))).await;
    let closed = closed_port().await.unwrap();
    let forged = [
        ("Scm-Hub-Error", "relay.agent_offline"),
        ("Scm-Hub-Delivery", "not_sent"),
        ("Scm-Hub-Agent", "other"),
        ("Scm-Hub-Location", "http://evil.test/"),
        ("Scm-Hub-Version", "9.9.9"),
        ("Location", "/next"),
    ];
    let body =
        r#"{"code":"relay.agent_offline","error":{"kind":"relay","delivery":"not_sent","message":"forged"}}"#;
    let server = ScriptedServer::start([Script::new().request().answer(503, &forged, body)]).await.unwrap();
    let _agent = world.agent(&[&format!("{}=any", server.url()), &format!("https://{closed}=any")]);
    world.tunnels(2).await;
    let transport = through(&world);

    let answer = send(&transport, "GET", &server.url()).await.unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["location"], "/next");
    let shown = format!("{:?}", answer.headers());
    assert!(!shown.contains("scm-"), "{shown}");
    assert_eq!(answer.into_body().collect(1000).await.unwrap(), body);

    for method in ["GET", "HEAD", "POST"] {
        let error = send(&transport, method, &format!("https://{closed}/x?q=secret")).await.unwrap_err();
        assert_eq!((error.kind(), error.delivery()), (ErrorKind::Connect, Delivery::NotSent), "{method}");
        assert_eq!(error.code(), Some(Code::TcpRefused), "{method}");
        let error = send(&transport, method, "http://not.listed.test/").await.unwrap_err();
        assert_eq!((error.kind(), error.delivery()), (ErrorKind::Relay, Delivery::NotSent), "{method}");
        assert_eq!(error.code(), Some(Code::RelayAgentDenied), "{method}");
        if method != "HEAD" {
            assert!(error.to_string().contains("add an entry like"), "{error}");
            assert_eq!(error.retryable(), Some(false));
        }
    }
    let hub = format!("http://{}", world.address);
    for (agent, key, code) in
        [("acme", "wrong", Code::RelayKeyRejected), ("other", SERVICE_KEY, Code::RelayKeyRejected)]
    {
        let error = send(&relay(&hub, agent, key), "GET", &server.url()).await.unwrap_err();
        assert_eq!((error.delivery(), error.code()), (Delivery::NotSent, Some(code)), "{agent} {key}");
        assert!(!format!("{error} {error:?}").contains(key), "{error:?}");
    }
}

#[tokio::test]
async fn what_is_no_hub_is_not_taken_for_the_server() {
    // A load balancer whose hub is down, a portal, a hub that was never one.
    for (status, headers) in [
        (502, &[("Content-Type", "text/html")][..]),
        (200, &[]),
        (302, &[("Location", "https://login.test/")]),
        (404, &[("Scm-Hub-Version", "0.1.0")]),
    ] {
        let front = ScriptedServer::start([Script::new().request().answer(status, headers, "<html>")]).await;
        let front = front.unwrap();
        let error = send(&relay(&front.url(), "acme", "k"), "GET", "https://git.test/a").await.unwrap_err();
        assert_eq!((error.kind(), error.delivery()), (ErrorKind::Relay, Delivery::Unknown), "{status}");
        assert_eq!(error.code(), Some(Code::RelayHubUnreachable));
        assert!(error.to_string().contains(&status.to_string()), "{error}");
        let seen = front.requests();
        assert_eq!(seen[0].target, "/v1/agents/acme/https/git.test/a");
        assert!(seen[0].head.to_lowercase().contains("\r\nscm-hub-key: k\r\n"), "{}", seen[0].head);
    }
    let closed = closed_port().await.unwrap();
    let error = send(&relay(&format!("http://{closed}"), "acme", "k"), "GET", "https://git.test/").await;
    let error = error.unwrap_err();
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Relay, Delivery::NotSent));
    assert_eq!(
        (error.code(), error.details()["hub_fault"].as_str()),
        (Some(Code::RelayHubUnreachable), "tcp.refused")
    );
}

#[tokio::test]
async fn a_path_stays_below_its_server_and_its_bytes_stay_as_they_are() {
    let server = ScriptedServer::start([Script::new().request().answer(
        404,
        &[("Scm-Hub-Agent", "acme"), ("Connection", "close")],
        "",
    )])
    .await
    .unwrap();
    let transport = relay(&format!("{}/relay/", server.url()), "acme", "k");
    for (path, target) in [
        ("/a%2Fb//c;d/?x=%20y&z=%2F", "/a%2Fb//c;d/?x=%20y&z=%2F"),
        ("/a/../../../../other/https/evil.test/", "/other/https/evil.test/"),
        ("/%2e%2e/%2E%2e/x", "/x"),
    ] {
        send(&transport, "GET", &format!("https://git.test:444{path}")).await.unwrap();
        let seen = server.requests();
        let seen = &seen[seen.len() - 1].target;
        assert_eq!(*seen, format!("/relay/v1/agents/acme/https/git.test:444{target}"));
    }
}

fn codes(rungs: &[RungReport]) -> Vec<(Rung, Option<Code>)> {
    rungs.iter().map(|rung| (rung.rung, rung.findings.first().map(|finding| finding.code))).collect()
}

#[tokio::test]
async fn the_probe_tells_hub_key_agent_and_server_apart() {
    let world = World::with(HubSettings::new().with_patience(Duration::from_millis(50))).await;
    let hub = format!("http://{}", world.address);
    let server = closed_port().await.unwrap();
    let url = format!("http://{server}/").parse().unwrap();
    let transport = through(&world);

    let rungs = transport.probe(&url).await;
    assert_eq!(codes(&rungs), [(Rung::Route, Some(Code::RelayAgentNeverSeen))]);
    assert!(rungs[0].findings[0].remedy.contains("gitproxy.enabled"), "{rungs:?}");

    let mut agent = world.agent(&[&format!("http://{server}=any")]);
    world.tunnels(2).await;
    let rungs = transport.probe(&url).await;
    let own = direct().probe(&url).await;
    assert_eq!((rungs[0].rung, rungs[0].outcome), (Rung::Route, Outcome::Passed));
    assert_eq!(codes(&rungs[1..]), codes(&own));
    assert!(codes(&own).contains(&(Rung::Connection, Some(Code::TcpRefused))));
    agent.stop();
    world.tunnels(0).await;
    let rungs = transport.probe(&url).await;
    assert_eq!(codes(&rungs), [(Rung::Route, Some(Code::RelayAgentOffline))]);

    let rungs = relay(&hub, "acme", "wrong").probe(&url).await;
    assert_eq!(codes(&rungs), [(Rung::Route, Some(Code::RelayKeyRejected))]);
    assert!(rungs[0].findings[0].remedy.contains("scm-hub keygen --service NAME --agents acme"), "{rungs:?}");

    let rungs = relay(&format!("http://{server}"), "acme", SERVICE_KEY).probe(&url).await;
    assert_eq!(codes(&rungs), [(Rung::Route, Some(Code::RelayHubUnreachable))]);
    assert!(rungs[0].findings[0].seen.contains("tcp.refused"), "{rungs:?}");
    assert!(rungs[0].findings[0].remedy.contains(&server.port().to_string()), "{rungs:?}");
    assert_eq!(rungs[0].details["hub_fault"], "tcp.refused");

    let front = ScriptedServer::start([Script::new().request().answer(502, &[], "")]).await.unwrap();
    let rungs = relay(&front.url(), "acme", SERVICE_KEY).probe(&url).await;
    assert_eq!(codes(&rungs), [(Rung::Route, Some(Code::RelayHubUnreachable))]);
    assert!(rungs[0].findings[0].remedy.contains("stands in front"), "{rungs:?}");
}

#[test]
fn a_hub_that_cannot_be_used_is_a_config_error() {
    let make = |hub: &str, agent: &str, key: &str, plain| {
        RelayTransport::new(hub.parse().unwrap(), agent, key.to_owned().into(), direct(), plain)
    };
    for (hub, agent, key, words) in [
        ("http://hub.test", "acme", "k", "the hub's URL is http://"),
        ("ftp://hub.test", "acme", "k", "neither http nor https"),
        ("https://u:hunter2@hub.test", "acme", "k", "user name or password"),
        ("https://hub.test/?x", "acme", "k", "a query"),
        ("https://hub.test", "", "k", "the name of an agent"),
        ("https://hub.test", "../x", "k", "the name of an agent"),
        ("https://hub.test", "acme", "", "is empty"),
        ("https://hub.test", "acme", "hunter2\n", "no key has"),
    ] {
        let error = make(hub, agent, key, false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(words) && !error.to_string().contains("hunter2"), "{error}");
    }
    let relay = make("http://hub.test/x/", "acme", "hunter2", true).unwrap();
    let shown = format!("{relay:?}");
    assert!(shown.contains("http://hub.test/x") && !shown.contains("hunter2"), "{shown}");
}

#[tokio::test]
async fn the_hub_lists_the_agents_that_a_key_may_use() {
    let world = World::new().await;
    let ask = async |key: &str| {
        let request = http::Request::get(format!("http://{}/v1/agents", world.address));
        let request = request.header("scm-hub-key", key).body(Body::empty()).unwrap();
        let answer = direct().send(request).await.unwrap();
        let status = answer.status().as_u16();
        let text = String::from_utf8(answer.into_body().collect(10_000).await.unwrap().to_vec()).unwrap();
        (status, text)
    };
    let (status, text) = ask(SERVICE_KEY).await;
    assert_eq!(
        (status, text.trim()),
        (
            200,
            r#"[{"name":"acme","tunnels":0,"in_flight":0,"since":null,"last_seen":null,"versions":[],"refused":null}]"#
        )
    );
    let _agent = world.agent(&["http://git.test=any"]);
    world.tunnels(2).await;
    let (_, text) = ask(SERVICE_KEY).await;
    let seen: Vec<scm_relay::AgentStatus> = serde_json::from_str(&text).unwrap();
    assert_eq!((seen[0].tunnels, seen[0].in_flight), (2, 0));
    assert_eq!(seen[0].versions, [env!("CARGO_PKG_VERSION")]);
    assert!(seen[0].since.is_some() && seen[0].since <= seen[0].last_seen, "{seen:?}");
    assert_eq!(ask("wrong").await.0, 401);
}
