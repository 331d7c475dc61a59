//! What any HTTP client sees of the hub.

use scm_core::{Body, Code, Delivery, ErrorKind, HttpTransport as _};
use scm_relay::HubSettings;
use scm_testkit::fault::socket::{Script, ScriptedServer};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::world::{SERVICE_KEY, World, acme, direct};

/// Sends a request as it is, with the service's key: libraries tidy paths up.
async fn raw(world: &World, line: &str, headers: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let head = format!(
        "{line} HTTP/1.1\r\nHost: hub.test\r\nScm-Hub-Key: {SERVICE_KEY}\r\nConnection: close\r\n{headers}\r\n{body}"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap()
}

#[tokio::test]
async fn a_request_goes_through_with_its_own_credential_and_without_the_hubs() {
    let server = ScriptedServer::start([Script::new().request().answer(201, &[("X-Seen", "1")], "made")])
        .await
        .unwrap();
    let world = World::new().await;
    let _agent = world.agent(&[&format!("{}=any", server.url())]);
    let place = format!("/v1/agents/acme/http/{}/a%2Fb/c?x=%20y", server.address());
    let headers = "Authorization: Bearer of-the-server\r\nCookie: a=b\r\nX-Forwarded-For: 1.2.3.4\r\nScm-Hub-Error: x\r\n\
                   Content-Length: 4\r\nContent-Type: text/plain\r\n";
    let answer = raw(&world, &format!("PUT {place}"), headers, "body").await;
    assert!(answer.starts_with("HTTP/1.1 201 Created\r\n"), "{answer}");
    assert!(answer.to_lowercase().contains("\r\nx-seen: 1\r\n") && answer.ends_with("made"), "{answer}");
    let seen = server.requests();
    assert_eq!((seen[0].method.as_str(), seen[0].target.as_str()), ("PUT", "/a%2Fb/c?x=%20y"));
    assert_eq!(seen[0].body, b"body");
    let head = seen[0].head.to_lowercase();
    assert!(head.contains("\r\nauthorization: bearer of-the-server\r\n"), "{head}");
    for gone in ["scm-hub", "cookie", "x-forwarded-for", SERVICE_KEY] {
        assert!(!head.contains(gone), "{gone} in {head}");
    }
}

#[tokio::test]
async fn tricks_are_refused_before_the_server_sees_anything() {
    let server = ScriptedServer::start([Script::new().request().json(200, "{}")]).await.unwrap();
    let world = World::new().await;
    let _agent = world.agent(&[&format!("{}=gitlab", server.url())]);
    let base = format!("/v1/agents/acme/http/{}", server.address());
    for (path, headers) in [
        ("/api/v4/projects/../../admin", ""),
        ("/api/v4/projects/%2e%2e/admin", ""),
        ("//api/v4/version", ""),
        ("/api/v4/version?private_token=x", ""),
        ("/api/v4/version", "Sudo: root\r\n"),
        ("/api/v4/version", "X-HTTP-Method-Override: DELETE\r\n"),
        ("/admin", ""),
    ] {
        let answer = raw(&world, &format!("GET {base}{path}"), headers, "").await;
        assert_eq!(status(&answer), "403", "{path} {headers}: {answer}");
        assert!(answer.contains("scm-hub-error: relay.agent_denied\r\n"), "{answer}");
        assert!(answer.contains("scm-hub-delivery: not_sent\r\n"), "{answer}");
    }
    // An origin that is not on the list, those of the cloud's secrets included.
    for host in ["169.254.169.254", "localhost:1", "git.test"] {
        let answer = raw(&world, &format!("GET /v1/agents/acme/http/{host}/api/v4/version"), "", "").await;
        assert_eq!(status(&answer), "403", "{host}: {answer}");
        assert!(answer.contains("add an entry like"), "{answer}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn nobody_gets_through_without_a_key_or_with_that_of_somebody_else() {
    let world = World::new().await;
    let _agent = world.agent(&["http://127.0.0.1:1=any"]);
    world.tunnels(2).await;
    for (agent, key, expected) in [
        ("acme", "", "401"),
        ("acme", "Scm-Hub-Key: wrong\r\n", "401"),
        // That of the agent opens tunnels and nothing else.
        ("acme", "Scm-Hub-Key: scmhub-agent-key\r\n", "401"),
        ("acme", "Authorization: Basic eDp3cm9uZw==\r\n", "401"),
        ("other", "Scm-Hub-Key: scmhub-service-key\r\n", "403"),
        // x:scmhub-service-key
        ("acme", "Authorization: Basic eDpzY21odWItc2VydmljZS1rZXk=\r\n", "502"),
    ] {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        let head = format!(
            "GET /v1/agents/{agent}/http/127.0.0.1:1/ HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{key}\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(status(&answer), expected, "{agent} {key}: {answer}");
    }
    for path in ["/healthz", "/health", "/readyz"] {
        assert_eq!(status(&raw(&world, &format!("HEAD {path}"), "", "").await), "200");
    }
    assert_eq!(status(&raw(&world, "GET /v1/agents/acme", "", "").await), "404");
}

#[tokio::test]
async fn a_server_cannot_speak_for_the_hub_and_redirects_stay_with_the_caller() {
    let forged = [
        ("Scm-Hub-Error", "relay.agent_offline"),
        ("Scm-Hub-Delivery", "not_sent"),
        ("Scm-Agent-Fault", "{\"kind\":\"relay\",\"delivery\":\"not_sent\",\"message\":\"forged\"}"),
        ("Location", "http://elsewhere.test/x"),
    ];
    let server = ScriptedServer::start([Script::new().request().answer(302, &forged, "")]).await.unwrap();
    let world = World::new().await;
    let _agent = world.agent(&[&format!("{}=any", server.url())]);
    let answer = raw(&world, &format!("GET /v1/agents/acme/http/{}/", server.address()), "", "").await;
    assert_eq!(status(&answer), "302", "{answer}");
    for gone in ["scm-hub-error", "scm-hub-delivery", "scm-agent", "forged"] {
        assert!(!answer.contains(gone), "{answer}");
    }
    assert!(answer.contains("http://elsewhere.test/x"), "{answer}");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn an_agent_that_never_came_and_one_that_is_gone_are_told_apart() {
    let world = World::with(HubSettings::new().with_patience(Duration::from_millis(50))).await;
    let ask = || http::Request::get("http://127.0.0.1:1/").body(Body::empty()).unwrap();
    let transport = world.hub.transport(acme());
    let error = transport.send(ask()).await.unwrap_err();
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Relay, Delivery::NotSent));
    assert_eq!(error.code(), Some(Code::RelayAgentNeverSeen));
    let answer = raw(&world, "GET /v1/agents/acme/http/127.0.0.1:1/", "", "").await;
    assert!(status(&answer) == "503" && answer.contains("retry-after: 5\r\n"), "{answer}");

    let mut agent = world.agent(&["http://127.0.0.1:1=any"]);
    world.tunnels(2).await;
    agent.stop();
    world.tunnels(0).await;
    let error = transport.send(ask()).await.unwrap_err();
    assert_eq!((error.delivery(), error.code()), (Delivery::NotSent, Some(Code::RelayAgentOffline)));
    let rungs = transport.probe(&"http://127.0.0.1:1/".parse().unwrap()).await;
    assert_eq!(rungs[0].findings[0].code, Code::RelayAgentOffline);
}

#[tokio::test]
async fn the_agents_rungs_follow_that_of_the_route() {
    let world = World::new().await;
    let closed = scm_testkit::fault::socket::closed_port().await.unwrap();
    let _agent = world.agent(&[&format!("http://{closed}=gitlab")]);
    let url = format!("http://{closed}/").parse().unwrap();
    let rungs = world.hub.transport(acme()).probe(&url).await;
    let own = direct().probe(&url).await;
    let codes = |rungs: &[scm_core::RungReport]| -> Vec<_> {
        rungs.iter().map(|rung| (rung.rung, rung.findings.first().map(|finding| finding.code))).collect()
    };
    assert_eq!(codes(&rungs)[0], (scm_core::Rung::Route, None));
    assert_eq!(codes(&rungs)[1..], codes(&own));
    assert!(codes(&own).iter().any(|(_, code)| *code == Some(Code::TcpRefused)));

    let rungs = world.hub.transport(acme()).probe(&"http://git.test/".parse().unwrap()).await;
    assert_eq!(codes(&rungs), [(scm_core::Rung::Route, Some(Code::RelayAgentDenied))]);
}
