//! The testkit's list of duties, over every route, with and without TLS; squid and tinyproxy where they are installed.

use std::net::SocketAddr;

use async_trait::async_trait;
use scm_core::Transport;
use scm_testkit::conformance::Stop;
use scm_testkit::duties::{self, Lab, Plain};
use scm_testkit::proxy::{Proxy, RealProxy};
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;

use crate::proxy::through;
use crate::support::*;

/// Puts TLS in front of the servers.
struct Tls {
    transport: Transport,
    pki: Pki,
}

#[async_trait]
impl Lab for Tls {
    fn transport(&self) -> &Transport {
        &self.transport
    }

    async fn url(&self, address: SocketAddr) -> String {
        let front = serve_tls(self.pki.loopback().server(), move |mut stream| async move {
            // A port that is closed, or how it ends otherwise, is told by the two ends.
            let Ok(mut server) = TcpStream::connect(address).await else { return };
            let _ = copy_bidirectional(&mut stream, &mut server).await;
        });
        format!("https://{}", front.await)
    }
}

/// A proxy that does not do everything with plain requests.
struct Tinyproxy(Transport);

impl Lab for Tinyproxy {
    fn transport(&self) -> &Transport {
        &self.0
    }

    fn excuse(&self, duty: &str) -> Option<&'static str> {
        match duty {
            "both_bodies_stream_at_the_same_time" => {
                Some("it takes the whole request before it reads an answer")
            }
            "dropping_the_future_ends_the_request" => Some("it looks at nobody while it waits for an answer"),
            _ => None,
        }
    }
}

/// Every duty is kept, but for so many that are excused.
async fn assert_kept(lab: &dyn Lab, excused: usize) {
    let outcomes = duties::check(lab).await;
    let kept = outcomes.iter().filter(|outcome| outcome.result.is_ok()).count();
    let failed: Vec<_> =
        outcomes.iter().filter(|outcome| matches!(outcome.result, Err(Stop::Failed(_)))).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(kept + excused, 15);
}

#[tokio::test]
async fn the_direct_route_keeps_its_duties() {
    assert_kept(&Plain(Transport::new(transport(&network()))), 0).await;
    let pki = Pki::new("CA");
    let transport = Transport::new(transport(&network().with_roots_only(pki.roots())));
    assert_kept(&Tls { transport, pki }, 0).await;
}

fn both_ways(proxy: &str) -> (Transport, Tls) {
    let pki = Pki::new("CA");
    let transport = Transport::new(through(proxy, network().with_roots_only(pki.roots())));
    (transport.clone(), Tls { transport, pki })
}

/// The testkit's own proxy, too: what it does by itself must not be taken for the transport's doing.
#[tokio::test]
async fn the_route_through_a_small_proxy_keeps_its_duties() {
    let proxy = Proxy::builder().basic_auth("svc", "p@ss").start().await.unwrap();
    let (plain, tls) = both_ways(&proxy.url_with("svc:p%40ss"));
    assert_kept(&Plain(plain), 0).await;
    let plain = proxy.traffic();
    assert!(plain.requests > 15 && plain.tunnels == 0, "{plain:?}");
    assert_kept(&tls, 0).await;
    assert!(proxy.traffic().tunnels > 15, "{:?}", proxy.traffic());
    proxy.shutdown().await;
}

#[tokio::test]
async fn the_route_through_squid_keeps_its_duties() {
    let Some(squid) = RealProxy::squid("http_access allow all\n").await.unwrap() else { return };
    let (plain, tls) = both_ways(&squid.url());
    assert_kept(&Plain(plain), 0).await;
    let relayed = squid.requests().unwrap();
    assert_kept(&tls, 0).await;
    assert!(relayed > 10 && squid.requests().unwrap() > relayed + 10, "{relayed}, {:?}", squid.requests());
}

#[tokio::test]
async fn the_route_through_tinyproxy_keeps_its_duties() {
    let Some(tinyproxy) = RealProxy::tinyproxy("").await.unwrap() else { return };
    let (plain, tls) = both_ways(&tinyproxy.url());
    assert_kept(&Tinyproxy(plain), 2).await;
    let relayed = tinyproxy.requests().unwrap();
    assert_kept(&tls, 0).await;
    assert!(
        relayed > 10 && tinyproxy.requests().unwrap() > relayed + 10,
        "{relayed}, {:?}",
        tinyproxy.requests()
    );
}
