//! The network rungs over a proxy, one fault after the other.

use scm_core::{Code, HttpTransport as _, Outcome, Rung, RungReport};
use scm_testkit::fault::socket::{Script, ScriptedServer};
use scm_transport::{Proxies, ProxyTransport};
use url::Url;

use crate::proxy::{through, tunnels};
use crate::support::*;

async fn climb(transport: &ProxyTransport, url: &str) -> Vec<RungReport> {
    let url = Url::parse(url).unwrap();
    let rungs = tokio::time::timeout(PATIENCE, transport.probe(&url)).await.unwrap();
    assert!(rungs.is_sorted_by_key(|rung| rung.rung), "{rungs:?}");
    rungs
}

fn outcomes(rungs: &[RungReport]) -> Vec<(Rung, Outcome)> {
    rungs.iter().map(|rung| (rung.rung, rung.outcome)).collect()
}

/// The proxy's rung failed, and no other was climbed.
fn assert_fails(rungs: &[RungReport], code: Code) -> (&RungReport, &str) {
    let expected = [
        (Rung::Name, Outcome::Skipped),
        (Rung::Connection, Outcome::Skipped),
        (Rung::Proxy, Outcome::Failed),
        (Rung::Tls, Outcome::Skipped),
    ];
    assert_eq!(outcomes(rungs), expected, "{rungs:?}");
    let [finding] = rungs[2].findings.as_slice() else { panic!("{rungs:?}") };
    assert_eq!(finding.code, code);
    (&rungs[2], &finding.remedy)
}

#[tokio::test]
async fn a_tunnel_and_the_server_behind_it_pass() {
    let pki = Pki::new("CA");
    let server = hello_tls(pki.loopback().server()).await;
    let (proxy, _heads) = tunnels(server, "HTTP/1.1 200 OK\r\n\r\n", 4096).await;
    let transport = through(&format!("http://{proxy}"), network().with_roots_only(pki.roots()));
    let rungs = climb(&transport, &format!("https://localhost:{}/gitlab", server.port())).await;
    let expected = [
        (Rung::Name, Outcome::Skipped),
        (Rung::Connection, Outcome::Skipped),
        (Rung::Proxy, Outcome::Passed),
        (Rung::Tls, Outcome::Passed),
    ];
    assert_eq!(outcomes(&rungs), expected);
    let details = &rungs[2].details;
    assert_eq!(details["proxy_address"], proxy.to_string());
    assert_eq!(details["proxy_status"], "200 OK");
    for timing in ["proxy_name_ms", "proxy_connect_ms", "proxy_answer_ms"] {
        assert!(details[timing].parse::<u64>().is_ok(), "{details:?}");
    }
    assert_eq!(rungs[2].seen, format!("the proxy {proxy} opened a tunnel to localhost:{}", server.port()));
    assert_eq!(rungs[3].details["certificate_issuer"], "CN=CA");
}

#[tokio::test]
async fn an_exception_is_probed_directly() {
    let address = serve(|mut stream| async move { drain(&mut stream).await }).await;
    let proxies = Proxies::new().with_http_proxy(&"http://scm-no-such-proxy.invalid".into()).unwrap();
    let transport = ProxyTransport::new(&network().with_proxies(proxies)).unwrap();
    let rungs = climb(&transport, &format!("http://{address}/")).await;
    let expected = [
        (Rung::Name, Outcome::Passed),
        (Rung::Connection, Outcome::Passed),
        (Rung::Proxy, Outcome::Skipped),
        (Rung::Tls, Outcome::Skipped),
    ];
    assert_eq!(outcomes(&rungs), expected);
    assert_eq!(rungs[2].seen, "direct: loopback is always direct");
    assert_eq!(climb(&transport, "ftp://git.test/").await[0].findings[0].code, Code::UrlInvalid);
}

#[tokio::test]
async fn an_unreachable_proxy_is_the_proxys_rung() {
    let closed = closed_port().await;
    for url in ["https://git.test/", "http://git.test/"] {
        let rungs = climb(&through(&format!("http://{closed}"), network()), url).await;
        let (rung, remedy) = assert_fails(&rungs, Code::ProxyUnreachable);
        assert!(rung.seen.contains("connection refused"), "{rung:?}");
        assert_eq!(
            remedy,
            if url.starts_with("https") {
                format!(
                    "Check scheme, host and port of the proxy in `https_proxy` ({closed}), and that this machine may \
                     connect to it. If git.test is an internal server that needs no proxy, add it to noProxy, `no_proxy = \
                     \"git.test\"`."
                )
            } else {
                format!(
                    "Check scheme, host and port of the proxy in `http_proxy` ({closed}), and that this machine may \
                     connect to it. If git.test is an internal server that needs no proxy, add it to noProxy, `no_proxy = \
                     \"git.test\"`."
                )
            }
        );
    }
    let rungs = climb(&through("http://scm-no-such-proxy.invalid", network()), "https://git.test/").await;
    assert_fails(&rungs, Code::ProxyUnreachable);
}

#[tokio::test]
async fn a_bad_gateway_prints_the_line_to_add() {
    let headers = [("X-Squid-Error", "ERR_CONNECT_FAIL 111")];
    let proxy = ScriptedServer::start([Script::new().request().answer(503, &headers, "")]).await.unwrap();
    for (list, url, line) in [
        (
            "",
            "https://gitlab.company.com/",
            "add it, or its domain `.company.com`, to noProxy, `no_proxy = \"gitlab.company.com\"`",
        ),
        (
            ".svc, 10.0.0.0/8 http://oops",
            "http://git.eu.corp.test:8080/",
            "add it, or its domain `.eu.corp.test`, to noProxy, `no_proxy = \".svc,10.0.0.0/8,git.eu.corp.test\"`",
        ),
        ("", "https://git.test/", "add it to noProxy, `no_proxy = \"git.test\"`"),
        ("", "https://192.168.7.9:8443/", "add it to noProxy, `no_proxy = \"192.168.7.9\"`"),
        ("", "http://[fd00::1]/", "add it to noProxy, `no_proxy = \"fd00::1\"`"),
    ] {
        let url_of_proxy = proxy.url().as_str().into();
        let proxies = Proxies::new().with_http_proxy(&url_of_proxy).unwrap();
        let proxies = proxies.with_https_proxy(&url_of_proxy).unwrap().with_no_proxy(list);
        let transport = ProxyTransport::new(&network().with_proxies(proxies)).unwrap();
        let rungs = climb(&transport, url).await;
        let (rung, remedy) = assert_fails(&rungs, Code::ProxyBadGateway);
        assert!(
            rung.seen.starts_with("Bad Gateway: the proxy ") && rung.seen.contains("ERR_CONNECT_FAIL"),
            "{rung:?}"
        );
        assert!(remedy.starts_with("Bad Gateway means that the proxy ") && remedy.contains(line), "{remedy}");
    }
}

#[tokio::test]
async fn a_long_list_is_appended_to() {
    let headers = [("X-Squid-Error", "ERR_CONNECT_FAIL 111")];
    let proxy = ScriptedServer::start([Script::new().request().answer(503, &headers, "")]).await.unwrap();
    let list: Vec<_> = (0..40).map(|n| format!("server-{n}.test")).collect();
    let proxies = Proxies::new().with_https_proxy(&proxy.url().as_str().into()).unwrap();
    let proxies = proxies.with_no_proxy(&list.join(","));
    let transport = ProxyTransport::new(&network().with_proxies(proxies)).unwrap();
    // Nobody owns the domain `co.uk`.
    let rungs = climb(&transport, "https://company.co.uk/").await;
    let (_, remedy) = assert_fails(&rungs, Code::ProxyBadGateway);
    assert!(
        remedy.contains("add it to noProxy, that is, append `,company.co.uk` to `no_proxy`."),
        "{remedy}"
    );
}

#[tokio::test]
async fn an_entry_that_is_too_wide_is_named() {
    let closed = closed_port().await;
    let names = Names::knowing([("git.outside.test", vec![closed.ip()])]);
    let proxies =
        Proxies::new().with_http_proxy(&"http://proxy.test".into()).unwrap().with_no_proxy("a.test,test");
    let transport = ProxyTransport::new(&network().with_resolver(names).with_proxies(proxies)).unwrap();
    let refused = format!("http://git.outside.test:{}/", closed.port());
    for (url, code) in [(refused.as_str(), Code::TcpRefused), ("http://unknown.test/", Code::DnsNotFound)] {
        let rungs = climb(&transport, url).await;
        let findings: Vec<_> = rungs.iter().flat_map(|rung| &rung.findings).collect();
        assert_eq!(findings.len(), 1, "{rungs:?}");
        assert_eq!(findings[0].code, code);
        let words = "The entry `test` of `no_proxy` keeps requests to ";
        assert!(findings[0].remedy.starts_with(words), "{rungs:?}");
        let proxy = rungs.iter().find(|rung| rung.rung == Rung::Proxy).unwrap();
        assert_eq!((proxy.outcome, proxy.seen.as_str()), (Outcome::Skipped, "direct: entry `test`"));
    }
}

#[tokio::test]
async fn an_ipv6_address_behind_a_proxy_is_refused_by_its_rung() {
    let (proxy, heads) = tunnels("127.0.0.1:9".parse().unwrap(), "HTTP/1.1 200 OK\r\n\r\n", 4096).await;
    let rungs = climb(&through(&format!("http://{proxy}"), network()), "https://[fd00::1]/").await;
    let (rung, remedy) = assert_fails(&rungs, Code::ProxyBadGateway);
    assert!(rung.seen.contains("https to an IPv6 address ([fd00::1]:443)"), "{rung:?}");
    assert!(
        remedy.starts_with("Use a name in the URL") && remedy.contains("`no_proxy = \"fd00::1\"`"),
        "{remedy}"
    );
    assert!(heads.is_empty());
}

#[tokio::test]
async fn tls_with_the_proxy_itself_has_the_remedies_of_tls() {
    let pki = Pki::new("Company Proxy CA");
    let proxy = hello_tls(pki.loopback().server()).await;
    let rungs =
        climb(&through(&format!("https://localhost:{}", proxy.port()), network()), "https://git.test/").await;
    let (rung, remedy) = assert_fails(&rungs, Code::ProxyUnreachable);
    assert!(rung.seen.contains("Company Proxy CA"), "{rung:?}");
    assert!(
        remedy.contains("TLS with the proxy in `https_proxy`") && remedy.contains("the setting `ca`"),
        "{remedy}"
    );
}

#[tokio::test]
async fn a_refusal_for_want_of_a_password_says_where_it_goes() {
    let rungs_with = async |userinfo: &str, offered: &'static str| {
        let headers = [("Proxy-Authenticate", offered)];
        let proxy = ScriptedServer::start([Script::new().request().answer(407, &headers, "")]).await.unwrap();
        let transport = through(&proxy.url().replace("://", &format!("://{userinfo}")), network());
        (climb(&transport, "https://git.test/").await, climb(&transport, "http://git.test/").await)
    };
    for (userinfo, offered, words) in [
        ("", "Basic realm=\"x\"", "Put user name and password into `http"),
        ("svc:hunter2@", "Basic realm=\"x\"", "does not accept the user name and password in `http"),
        ("svc:hunter2@", "Negotiate", "(Negotiate). Ask whoever runs it for Basic sign-in"),
    ] {
        let (https, http) = rungs_with(userinfo, offered).await;
        for rungs in [https, http] {
            let (_, remedy) = assert_fails(&rungs, Code::ProxyAuthRequired);
            assert!(remedy.contains(words), "{remedy}");
            assert!(!format!("{rungs:?}").contains("hunter2"));
        }
    }
}

#[tokio::test]
async fn a_forbidden_target_is_the_proxys_rung() {
    let headers = [("X-Squid-Error", "ERR_ACCESS_DENIED 0")];
    let proxy = ScriptedServer::start([Script::new().request().answer(403, &headers, "")]).await.unwrap();
    for url in ["https://git.test/", "http://git.test:7990/"] {
        let rungs = climb(&through(&proxy.url(), network()), url).await;
        let (_, remedy) = assert_fails(&rungs, Code::ProxyForbidden);
        assert!(
            remedy.starts_with("Ask whoever runs the proxy ") && remedy.contains("to allow git.test:"),
            "{remedy}"
        );
    }
}

#[tokio::test]
async fn a_plain_target_is_asked_for_once_without_a_credential() {
    let script = Script::new().request().answer(502, &[("Server", "nginx"), ("Via", "1.1 p")], "");
    let proxy = ScriptedServer::start([script]).await.unwrap();
    let rungs = climb(&through(&proxy.url(), network()), "http://git.test:7990/bitbucket?secret").await;
    let expected = [
        (Rung::Name, Outcome::Skipped),
        (Rung::Connection, Outcome::Skipped),
        (Rung::Proxy, Outcome::Passed),
        (Rung::Tls, Outcome::Skipped),
    ];
    assert_eq!(outcomes(&rungs), expected, "the server's own answer is for a later rung");
    let requests = proxy.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(
        requests[0].head,
        "HEAD http://git.test:7990/ HTTP/1.1\r\nHost: git.test:7990\r\nConnection: close\r\n\r\n"
    );
}
