//! The wait between tunnels, and the one that comes before the last one ends.

use std::net::{Ipv4Addr, SocketAddr};

use http::Method;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use scm_core::HttpTransport as _;
use scm_testkit::fault::socket::{Script, ScriptedServer};
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::*;
use crate::{Agent, AgentName, AgentSettings, Hub, HubSettings, KeyHash, Keys, Policy};

#[test]
fn the_wait_grows_to_its_longest_and_starts_over() {
    let mut pace = Pace::new((Duration::from_millis(500), Duration::from_secs(60)));
    for ceiling in [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000] {
        assert_eq!(pace.ceiling, Duration::from_millis(ceiling));
        assert!(pace.next() <= Duration::from_millis(ceiling));
    }
    for _ in 0..100 {
        assert!((Duration::from_secs(30)..=Duration::from_secs(60)).contains(&pace.slow()));
    }
    pace.reset();
    assert_eq!(pace.ceiling, Duration::from_millis(500));
    let second = Duration::from_secs(1);
    let waits: Vec<_> = (0..100).map(|_| Pace::new((second, second)).next()).collect();
    let (low, high) = (Duration::from_millis(300), Duration::from_millis(700));
    assert!(waits.iter().any(|wait| *wait < low) && waits.iter().any(|wait| *wait > high));
}

async fn serve(hub: Hub) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = TowerToHyperService::new(hub.clone());
            tokio::spawn(
                http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades(),
            );
        }
    });
    address
}

#[tokio::test]
async fn a_tunnel_that_is_to_retire_has_a_successor_before_it_takes_nothing_more() {
    let gate = Arc::new(Semaphore::new(0));
    let slow = Script::new().request().gate(&gate).json(200, "\"slow\"");
    let server = ScriptedServer::start([slow, Script::new().request().json(200, "\"next\"")]).await.unwrap();
    let acme: AgentName = "acme".parse().unwrap();
    let keys = Keys::new().with_agent(acme.clone(), KeyHash::of("key")).unwrap();
    let hub = Hub::new(HubSettings::new(), keys);
    let url = format!("http://{}", serve(hub.clone()).await).parse().unwrap();
    let policy = Policy::new().with(format!("{}=any", server.url()).parse().unwrap());
    let settings = AgentSettings::new().with_tunnels(1).with_danger_plain_http();
    let agent = Agent::new(url, SecretString::from("key").into(), policy, settings).unwrap();
    let health = agent.health();
    let running = tokio::spawn(async move { agent.run(std::future::pending()).await });
    health.ready().await;

    let transport = hub.transport(acme.clone());
    let post = || http::Request::post(server.url()).body(Body::from("x".to_owned())).unwrap();
    let sent = tokio::spawn({
        let (transport, request) = (transport.clone(), post());
        async move { transport.send(request).await.unwrap().into_body().collect(100).await.unwrap() }
    });
    let moment = || sleep(Duration::from_millis(2));
    while server.requests().is_empty() {
        moment().await;
    }
    let old = hub.0.registry.pick(&acme, &[]).unwrap();
    let mut retire = Request::new(Body::empty());
    *retire.method_mut() = Method::POST;
    *retire.uri_mut() = control::uri(control::RETIRE);
    assert_eq!(old.tunnel.send(retire).await.unwrap().status(), 204);
    // The old one is still there, with its request.
    while health.tunnels() != 2 || hub.agents()[0].tunnels != 2 {
        moment().await;
    }
    old.tunnel.drain();
    let answer = transport.send(post()).await.unwrap().into_body().collect(100).await.unwrap();
    assert_eq!(answer, "\"next\"");
    gate.add_permits(1);
    assert_eq!(sent.await.unwrap(), "\"slow\"");
    while health.tunnels() != 1 || hub.agents()[0].tunnels != 1 {
        moment().await;
    }
    assert_ne!(hub.0.registry.pick(&acme, &[]).unwrap().id, old.id);
    running.abort();
}
