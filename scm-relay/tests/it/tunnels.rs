//! Tunnels that come and go.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use scm_core::{Body, Delivery, ErrorKind, TransportError};
use scm_relay::{Agent, AgentSettings, HubSettings, KeyHash, Keys, Policy};
use scm_testkit::fault::socket::{Script, ScriptedServer};
use tokio::sync::Semaphore;

use crate::world::{AGENT_KEY, World, acme, secret};

fn get(url: &str) -> http::Request<Body> {
    http::Request::get(format!("{url}/")).body(Body::empty()).unwrap()
}

fn post(url: &str) -> http::Request<Body> {
    http::Request::post(format!("{url}/")).body(Body::from("work".to_owned())).unwrap()
}

#[tokio::test]
async fn a_key_can_be_replaced_without_a_gap_and_taken_away_at_once() {
    let world = World::with(HubSettings::new().with_patience(Duration::from_millis(50))).await;
    let _old = world.agent(&["http://127.0.0.1:1=any"]);
    world.tunnels(2).await;
    let with = |keys: &[&str]| {
        keys.iter().fold(Keys::new(), |all, key| all.with_agent(acme(), KeyHash::of(key)).unwrap())
    };
    world.hub.set_keys(with(&[AGENT_KEY, "next"]));
    let _new = world.agent_with("next", &["http://127.0.0.1:1=any"]);
    world.tunnels(4).await;
    world.hub.set_keys(with(&["next"]));
    // The old agent keeps trying, in vain.
    world.tunnels(2).await;
    world.hub.set_keys(Keys::new());
    world.tunnels(0).await;
}

#[tokio::test]
async fn an_agent_with_a_wrong_key_never_gets_in_and_comes_in_once_it_is_right() {
    let world = World::new().await;
    let _agent = world.agent_with("wrong", &["http://127.0.0.1:1=any"]);
    assert!(world.hub.agents().is_empty());
    world.hub.set_keys(Keys::new().with_agent(acme(), KeyHash::of("wrong")).unwrap());
    world.tunnels(2).await;
}

#[tokio::test]
async fn a_killed_agent_fails_what_is_in_flight_and_a_post_is_not_repeated() {
    let server = ScriptedServer::start([Script::new().request().stall()]).await.unwrap();
    let world = World::new().await;
    let allow = format!("{}=any", server.url());
    let first = world.agent(&[&allow]);
    let transport = world.transport();
    let url = server.url().to_string();
    let sent = tokio::spawn({
        let (transport, url) = (transport.clone(), url.clone());
        async move { transport.send(post(&url)).await }
    });
    until(|| server.requests().len() == 1).await;
    let _second = world.agent(&[&allow]);
    world.tunnels(4).await;
    drop(first);
    let error: TransportError = sent.await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Relay, Delivery::Unknown));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn an_answer_whose_agent_dies_is_an_error_of_its_body_and_never_a_short_one() {
    // With a length, and without one: then only the tunnel can tell that it was not the end.
    for head in ["Content-Length: 100000000", "Connection: close"] {
        let script = Script::new().request().write(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\nabc")).stall();
        let server = ScriptedServer::start([script]).await.unwrap();
        let world = World::new().await;
        let agent = world.agent(&[&format!("{}=any", server.url())]);
        let answer = world.transport().send(get(&server.url().to_string())).await.unwrap();
        let mut body = answer.into_body();
        assert_eq!(body.next().await.unwrap().unwrap(), "abc");
        drop(agent);
        let error = body.next().await.unwrap().unwrap_err();
        assert_eq!((error.kind(), error.delivery()), (ErrorKind::Relay, Delivery::Unknown), "{head}");
        assert!(body.next().await.is_none());
        // The server is let go as well.
        server.ended(1).await;
    }
}

#[tokio::test]
async fn a_get_takes_a_second_tunnel_when_the_first_one_breaks() {
    let scripts = [Script::new().request().stall(), Script::new().request().json(200, "{}")];
    let server = ScriptedServer::start(scripts).await.unwrap();
    let world = World::new().await;
    let allow = format!("{}=any", server.url());
    let first = world.agent(&[&allow]);
    let transport = world.transport();
    let url = server.url().to_string();
    let sent = tokio::spawn(async move { transport.send(get(&url)).await });
    until(|| server.requests().len() == 1).await;
    drop(first);
    let _second = world.agent(&[&allow]);
    let answer = sent.await.unwrap().unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["scm-hub-attempts"].as_bytes()), (200, &b"2"[..]));
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_stopped_agent_finishes_what_is_in_flight() {
    let gate = Arc::new(Semaphore::new(0));
    let script = Script::new().request().gate(&gate).json(200, "\"late\"");
    let server = ScriptedServer::start([script]).await.unwrap();
    let world = World::new().await;
    let mut agent = world.agent(&[&format!("{}=any", server.url())]);
    let transport = world.transport();
    let url = server.url().to_string();
    let sent =
        tokio::spawn(async move { transport.send(post(&url)).await.unwrap().into_body().collect(100).await });
    until(|| server.requests().len() == 1).await;
    agent.stop();
    // The tunnel without work goes at once, the other one stays.
    world.tunnels(1).await;
    gate.add_permits(1);
    assert_eq!(sent.await.unwrap().unwrap(), "\"late\"");
    (&mut agent.task).await.unwrap();
    world.tunnels(0).await;
}

#[test]
fn an_agent_that_cannot_work_says_what_is_missing() {
    let agent = |hub: &str, policy: Policy, settings: AgentSettings| {
        let error = Agent::new(hub.parse().unwrap(), secret("key"), policy, settings);
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        error.to_string()
    };
    let some = || Policy::new().with("https://git.test=gitlab".parse().unwrap());
    assert!(agent("http://hub.test", some(), AgentSettings::new()).contains("use https://"));
    assert!(agent("ftp://hub.test", some(), AgentSettings::new()).contains("https://hub.example.com"));
    let plain = AgentSettings::new().with_danger_plain_http();
    assert!(
        agent("http://hub.test", Policy::new(), plain.clone()).contains("https://gitlab.company.com=gitlab")
    );
    assert!(agent("http://hub.test", some(), plain.with_tunnels(0)).contains("at least one tunnel"));
}

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
