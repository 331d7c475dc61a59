//! squid and tinyproxy as they are installed: what they really say.

use scm_core::{Code, Delivery, ErrorKind, HttpTransport as _, Outcome, Rung};
use scm_testkit::proxy::RealProxy;
use scm_transport::{Proxies, ProxyTransport};

use crate::proxy::through;
use crate::support::*;

/// The same fault by a request and by the probe.
async fn assert_fault(transport: &ProxyTransport, url: &str, code: Code, delivery: Delivery, words: &str) {
    let error = tokio::time::timeout(PATIENCE, transport.send(get(url))).await.unwrap().unwrap_err();
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Proxy, Some(code)),
        "{url}: {error} {:?}",
        error.details()
    );
    assert_eq!(error.delivery(), delivery, "{url}: {error}");
    assert!(error.to_string().contains(words), "{words} in {error}");
    let rungs = tokio::time::timeout(PATIENCE, transport.probe(&url.parse().unwrap())).await.unwrap();
    let rung = rungs.iter().find(|rung| rung.rung == Rung::Proxy).unwrap();
    assert_eq!((rung.outcome, rung.findings.len()), (Outcome::Failed, 1), "{rung:?}");
    assert_eq!(rung.findings[0].code, code, "{rung:?}");
}

async fn assert_passes(transport: &ProxyTransport, url: &str) {
    let response = tokio::time::timeout(PATIENCE, transport.send(get(url))).await.unwrap().unwrap();
    assert_eq!(text(response).await, "hello");
    for rung in transport.probe(&url.parse().unwrap()).await {
        assert!(matches!(rung.outcome, Outcome::Passed | Outcome::Skipped), "{rung:?}");
    }
}

/// A plain server and one with TLS, both saying hello.
async fn servers(pki: &Pki) -> [String; 2] {
    let plain = serve(|mut stream| async move {
        while !head(&mut stream).await.is_empty() {
            answer(&mut stream, "hello").await;
        }
    });
    let tls = hello_tls(pki.loopback().server());
    [format!("http://{}/", plain.await), format!("https://{}/", tls.await)]
}

#[tokio::test]
async fn squid_says_what_is_wrong() {
    let rules = "acl bad dstdomain bad.test\nhttp_access deny bad\nhttp_access allow all\n";
    let Some(squid) = RealProxy::squid(rules).await.unwrap() else { return };
    let pki = Pki::new("CA");
    let transport = through(&squid.url(), network().with_roots_only(pki.roots()));
    for url in servers(&pki).await {
        assert_passes(&transport, &url).await;
    }
    let closed = closed_port().await;
    let (gateway, refused) = (Code::ProxyBadGateway, "503 Service Unavailable (ERR_CONNECT_FAIL 111)");
    assert_fault(&transport, &format!("https://{closed}/"), gateway, Delivery::NotSent, refused).await;
    assert_fault(&transport, &format!("http://{closed}/"), gateway, Delivery::NotSent, refused).await;
    let (forbidden, denied) = (Code::ProxyForbidden, "403 Forbidden (ERR_ACCESS_DENIED 0)");
    assert_fault(&transport, "https://bad.test/", forbidden, Delivery::NotSent, denied).await;
    // It might also be the answer that may not pass.
    assert_fault(&transport, "http://bad.test/", forbidden, Delivery::Unknown, denied).await;
}

#[tokio::test]
async fn squid_wants_a_password() {
    let rules = "acl known proxy_auth REQUIRED\nhttp_access allow known\nhttp_access deny all\n";
    let Some(squid) = RealProxy::squid(rules).await.unwrap() else { return };
    assert_wants_a_password(&squid, "p%40ss").await;
}

#[tokio::test]
async fn tinyproxy_says_what_is_wrong() {
    let Some(tinyproxy) = RealProxy::tinyproxy("Filter \"DIR/filter\"\n").await.unwrap() else { return };
    let pki = Pki::new("CA");
    let transport = through(&tinyproxy.url(), network().with_roots_only(pki.roots()));
    for url in servers(&pki).await {
        assert_passes(&transport, &url).await;
    }
    let closed = closed_port().await;
    let (gateway, refused) = (Code::ProxyBadGateway, "Bad Gateway: the proxy ");
    assert_fault(&transport, &format!("https://{closed}/"), gateway, Delivery::NotSent, refused).await;
    assert_fault(&transport, &format!("http://{closed}/"), gateway, Delivery::NotSent, refused).await;
    let (forbidden, denied) = (Code::ProxyForbidden, " forbids bad.test:");
    assert_fault(&transport, "https://bad.test/", forbidden, Delivery::NotSent, denied).await;
    assert_fault(&transport, "http://bad.test/", forbidden, Delivery::Unknown, denied).await;
}

#[tokio::test]
async fn tinyproxy_wants_a_password() {
    let Some(tinyproxy) = RealProxy::tinyproxy("BasicAuth svc pass\n").await.unwrap() else { return };
    assert_wants_a_password(&tinyproxy, "p%61ss").await;
}

async fn assert_wants_a_password(proxy: &RealProxy, password: &str) {
    let pki = Pki::new("CA");
    let network = network().with_roots_only(pki.roots());
    for url in servers(&pki).await {
        for (at, words) in [
            (proxy.url(), "wants a user name and password: 40"),
            (proxy.url_with("svc:wrong"), "does not accept the user name and password: 40"),
        ] {
            let transport = through(&at, network.clone());
            assert_fault(&transport, &url, Code::ProxyAuthRequired, Delivery::NotSent, words).await;
        }
        assert_passes(&through(&proxy.url_with(&format!("svc:{password}")), network.clone()), &url).await;
        // Past the proxy nobody asks.
        let proxies = Proxies::new().with_http_proxy(&proxy.url().as_str().into()).unwrap();
        let proxies = proxies.with_proxied_loopback().with_no_proxy("127.0.0.1");
        assert_passes(&ProxyTransport::new(&network.clone().with_proxies(proxies)).unwrap(), &url).await;
    }
}
