//! Byte streams by the settings of a network.

use rcgen::date_time_ymd;
use scm_core::{Code, Delivery, Outcome, Rung, TransportError};
use scm_testkit::proxy::Proxy;
use scm_transport::{Connection, Dialer, Network, Proxies};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use url::Url;

use crate::support::*;

fn dialer(network: &Network) -> Dialer {
    Dialer::new(network).unwrap()
}

async fn dial(network: &Network, url: &str) -> Result<Connection, TransportError> {
    let url = Url::parse(url).unwrap();
    tokio::time::timeout(PATIENCE, dialer(network).dial(&url)).await.unwrap()
}

async fn hello(mut stream: Connection) -> String {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    stream.flush().await.unwrap();
    let mut answer = [0; 256];
    let mut seen = String::new();
    while !seen.ends_with("hello") {
        let length = stream.read(&mut answer).await.unwrap();
        assert_ne!(length, 0, "{seen}");
        seen.push_str(std::str::from_utf8(&answer[..length]).unwrap());
    }
    seen
}

fn by(proxy: &str) -> Network {
    let proxies = Proxies::new().with_http_proxy(&proxy.into()).unwrap();
    let proxies = proxies.with_https_proxy(&proxy.into()).unwrap();
    network().with_proxies(proxies.with_proxied_loopback())
}

#[tokio::test]
async fn a_stream_speaks_tls_where_the_url_says_so_and_offers_http1_alone() {
    let plain = serve(|mut stream| async move {
        head(&mut stream).await;
        answer(&mut stream, "hello").await;
    })
    .await;
    assert!(hello(dial(&network(), &format!("http://{plain}")).await.unwrap()).await.contains("200"));

    let pki = Pki::new("CA");
    let mut config = pki.loopback().server();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let server = hello_tls(config).await;
    let network = network().with_roots_only(pki.roots());
    let url = format!("https://localhost:{}", server.port());
    assert!(hello(dial(&network, &url).await.unwrap()).await.contains("200"));
    let rungs = dialer(&network).probe(&url.parse().unwrap()).await;
    assert_eq!(rungs[2].details["alpn"], "http/1.1");
}

#[tokio::test]
async fn a_proxy_is_asked_for_a_tunnel_whatever_the_scheme() {
    let plain = serve(|mut stream| async move {
        head(&mut stream).await;
        answer(&mut stream, "hello").await;
    })
    .await;
    let pki = Pki::new("CA");
    let tls = hello_tls(pki.loopback().server()).await;
    let proxy = Proxy::builder().host("hub.test", plain).host("localhost", tls).start().await.unwrap();
    let network = by(&proxy.url()).with_roots_only(pki.roots());
    for url in ["http://hub.test".to_owned(), format!("https://localhost:{}", tls.port())] {
        assert!(hello(dial(&network, &url).await.unwrap()).await.contains("200"), "{url}");
        let rungs = dialer(&network).probe(&url.parse().unwrap()).await;
        assert_eq!((rungs[2].rung, rungs[2].outcome), (Rung::Proxy, Outcome::Passed), "{rungs:?}");
        assert!(rungs[2].seen.contains("opened a tunnel to"), "{rungs:?}");
    }
    assert_eq!(proxy.traffic().tunnels, 4);
    // An exception goes straight to the server.
    let proxies = Proxies::new().with_http_proxy(&"http://127.0.0.1:9".into()).unwrap();
    let past = self::network().with_proxies(proxies.with_no_proxy("127.0.0.1"));
    assert!(hello(dial(&past, &format!("http://{plain}")).await.unwrap()).await.contains("200"));
}

#[tokio::test]
async fn each_hop_fails_with_its_code() {
    let pki = Pki::new("CA");
    let server = hello_tls(pki.loopback().server()).await;
    let url = format!("https://127.0.0.1:{}", server.port());
    let closed = closed_port().await;
    let locked = Proxy::builder().basic_auth("svc", "p").start().await.unwrap();
    let open = Proxy::builder().start().await.unwrap();
    for (network, url, code) in [
        (network(), "https://hub.invalid".to_owned(), Code::DnsNotFound),
        (network(), format!("https://{closed}"), Code::TcpRefused),
        (network(), url.clone(), Code::TlsUnknownIssuer),
        (by(&locked.url()), url.clone(), Code::ProxyAuthRequired),
        (by(&open.url()), format!("https://{closed}"), Code::ProxyBadGateway),
        (by(&format!("http://{closed}")), url.clone(), Code::ProxyUnreachable),
        (by(&open.url()), url.clone(), Code::TlsUnknownIssuer),
    ] {
        let error = dial(&network, &url).await.unwrap_err();
        assert_eq!((error.code(), error.delivery()), (Some(code), Delivery::NotSent), "{error}");
        let rungs = dialer(&network).probe(&url.parse().unwrap()).await;
        let seen = rungs.iter().flat_map(|rung| &rung.findings).map(|finding| finding.code);
        assert_eq!(seen.collect::<Vec<_>>(), [code], "{rungs:?}");
    }
    let error = dial(&network(), "ftp://hub.test").await.unwrap_err();
    assert_eq!(error.kind(), scm_core::ErrorKind::InvalidInput);
}

#[tokio::test]
async fn a_certificate_of_tomorrow_says_what_the_clock_of_this_machine_says() {
    let pki = Pki::new("CA");
    let mut params = loopback_params();
    params.not_before = date_time_ymd(2998, 1, 1);
    params.not_after = date_time_ymd(2999, 1, 1);
    let server = hello_tls(pki.issue(params).server()).await;
    let network = network().with_roots_only(pki.roots());
    let error = dial(&network, &format!("https://{server}")).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::TlsExpired));
    let clock = format!(
        "valid from 2998-01-01T00:00:00Z, and the clock of this machine says {}",
        error.details()["clock"]
    );
    assert!(error.to_string().contains(&clock), "{error}");
}
