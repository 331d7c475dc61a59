//! Proxies that do what a script says: what they are asked, and what becomes of their answers.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt as _;
use scm_core::{Code, Delivery, Error, ErrorKind, HttpTransport as _, Route, TransportError};
use scm_testkit::canary::Canary;
use scm_testkit::fault::socket::{Script, ScriptedServer};
use scm_transport::{DirectTransport, Network, Proxies, ProxyTransport};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::support::*;

/// Both schemes over one proxy, loopback too.
pub(crate) fn through(proxy: &str, network: Network) -> ProxyTransport {
    let proxies = Proxies::new().with_http_proxy(&proxy.into()).unwrap();
    let proxies = proxies.with_https_proxy(&proxy.into()).unwrap().with_proxied_loopback();
    ProxyTransport::new(&network.with_proxies(proxies)).unwrap()
}

async fn ask(
    transport: &ProxyTransport,
    url: &str,
) -> Result<http::Response<scm_core::Body>, TransportError> {
    tokio::time::timeout(PATIENCE, transport.send(get(url))).await.unwrap()
}

/// A proxy that opens every tunnel to `target`, with this answer in these pieces, and tells what it was asked.
pub(crate) async fn tunnels(
    target: SocketAddr,
    answer: &'static str,
    piece: usize,
) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let (seen, heads) = mpsc::unbounded_channel();
    let address = serve(move |mut stream| {
        let seen = seen.clone();
        async move {
            seen.send(head(&mut stream).await).unwrap();
            for piece in answer.as_bytes().chunks(piece) {
                stream.write_all(piece).await.unwrap();
                stream.flush().await.unwrap();
                tokio::task::yield_now().await;
            }
            let mut server = TcpStream::connect(target).await.unwrap();
            // How it ends is told by the two ends.
            let _ = copy_bidirectional(&mut stream, &mut server).await;
        }
    })
    .await;
    (address, heads)
}

#[tokio::test]
async fn a_plain_target_is_asked_for_in_absolute_form() {
    let proxy = ScriptedServer::start([Script::new().request().answer(200, &[], "hello")]).await.unwrap();
    let url = proxy.url().replace("http://", "http://svc:p%40ss@");
    let transport = through(&url, network());
    let response = ask(&transport, "http://git.test:7990/a%2Fb/c?x=%20y").await.unwrap();
    assert_eq!(text(response).await, "hello");
    let head = proxy.requests()[0].head.to_ascii_lowercase();
    assert!(head.starts_with("get http://git.test:7990/a%2fb/c?x=%20y http/1.1\r\n"), "{head}");
    for line in ["\r\nhost: git.test:7990\r\n", "\r\nproxy-authorization: basic c3zjonbac3m=\r\n"] {
        assert!(head.contains(line), "{line} in {head}");
    }
}

/// As tinyproxy does: its answer does not say that the connection ends with it, and whatever comes next is lost.
#[tokio::test]
async fn a_proxy_that_ends_connections_in_silence_loses_no_request() {
    let hello = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    let proxy = ScriptedServer::start([Script::new().request().write(hello).request()]).await.unwrap();
    let transport = through(&proxy.url(), network());
    for _ in 0..3 {
        let request = http::Request::post("http://git.test/").body("work".to_owned().into()).unwrap();
        let response = tokio::time::timeout(PATIENCE, transport.send(request)).await.unwrap();
        assert_eq!(text(response.unwrap()).await, "hello");
    }
    assert_eq!(proxy.connections(), 3);
}

#[tokio::test]
async fn a_tls_target_is_reached_through_a_tunnel() {
    let pki = Pki::new("CA");
    let server = hello_tls(pki.loopback().server()).await;
    for (answer, piece) in [
        ("HTTP/1.1 200 Connection established\r\n\r\n", 4096),
        ("HTTP/1.0 200 OK\r\nProxy-Agent: x\r\n\r\n", 4096),
        ("HTTP/1.0 200\r\n\r\n", 1),
    ] {
        let (proxy, mut heads) = tunnels(server, answer, piece).await;
        let url = format!("http://svc:hunter2@{proxy}");
        let transport = through(&url, network().with_roots_only(pki.roots()));
        for _ in 0..2 {
            let mut request = get(format!("https://localhost:{}/x", server.port()));
            request.headers_mut().insert("private-token", "t0ken".parse().unwrap());
            assert_eq!(text(transport.send(request).await.unwrap()).await, "hello");
        }
        let head = heads.recv().await.unwrap();
        assert!(head.starts_with(&format!("CONNECT localhost:{} HTTP/1.1\r\n", server.port())), "{head}");
        assert!(
            head.to_ascii_lowercase().contains("proxy-authorization: basic c3zjomh1bnrlcji=\r\n"),
            "{head}"
        );
        assert!(!head.contains("t0ken"), "{head}");
        assert!(heads.try_recv().is_err(), "the tunnel is used again");
    }
}

#[tokio::test]
async fn a_proxy_with_tls_of_its_own_is_trusted_by_the_same_roots() {
    let pki = Pki::new("CA");
    let server = hello_tls(pki.loopback().server()).await;
    let proxy = serve_tls(pki.loopback().server(), move |mut stream| async move {
        let head = head(&mut stream).await;
        if !head.starts_with("CONNECT ") {
            return answer(&mut stream, "relayed").await;
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        let mut server = TcpStream::connect(server).await.unwrap();
        let _ = copy_bidirectional(&mut stream, &mut server).await;
    })
    .await;
    let url = format!("https://localhost:{}", proxy.port());
    let transport = through(&url, network().with_roots_only(pki.roots()));
    assert_eq!(text(ask(&transport, &format!("https://{server}/")).await.unwrap()).await, "hello");
    assert_eq!(text(ask(&transport, "http://git.test/").await.unwrap()).await, "relayed");

    let transport = through(&url, network().with_roots_only(Pki::new("Other").roots()));
    for target in ["https://git.test/", "http://git.test/"] {
        let error = ask(&transport, target).await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Proxy, Some(Code::ProxyUnreachable)), "{error}");
        assert!(error.to_string().contains("x509: certificate signed by unknown authority"), "{error}");
        assert_eq!(error.details()["proxy_fault"], "tls.unknown_issuer");
    }
}

#[tokio::test]
async fn the_way_is_chosen_for_each_request() {
    let server = ScriptedServer::start([Script::new().request().answer(200, &[], "server")]).await.unwrap();
    let proxy = ScriptedServer::start([Script::new().request().answer(200, &[], "proxy")]).await.unwrap();
    let host = server.address();
    let proxies = || Proxies::new().with_http_proxy(&proxy.url().as_str().into()).unwrap();
    for (proxies, expected, because) in [
        (proxies(), "server", "direct: loopback is always direct"),
        (proxies().with_proxied_loopback(), "proxy", "proxy: no entry matches"),
        (
            proxies().with_proxied_loopback().with_no_proxy("127.0.0.0/8"),
            "server",
            "direct: entry `127.0.0.0/8`",
        ),
        (proxies().with_proxied_loopback().with_no_proxy("127.0.0.1:1"), "proxy", "proxy: no entry matches"),
    ] {
        let transport = ProxyTransport::new(&network().with_proxies(proxies)).unwrap();
        assert_eq!(transport.route(), Route::Proxy);
        let url = format!("http://{host}/");
        assert_eq!(transport.decide(&url.parse().unwrap()).to_string(), because);
        assert_eq!(text(ask(&transport, &url).await.unwrap()).await, expected);
    }
}

#[tokio::test]
async fn settings_that_would_go_another_way_are_refused() {
    let proxies = Proxies::new().with_http_proxy(&"http://proxy.test".into()).unwrap();
    let error = DirectTransport::new(&network().with_proxies(proxies)).unwrap_err();
    assert!(error.message().contains("ProxyTransport"), "{error}");
    for network in [network(), network().with_proxies(Proxies::new().with_no_proxy("git.test"))] {
        let error = ProxyTransport::new(&network).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.message().contains("http_proxy"), "{error}");
    }
}

/// What a proxy says to CONNECT, and what is made of it.
const REFUSALS: &[(&str, Code, bool, &str)] = &[
    (
        "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\n",
        Code::ProxyAuthRequired,
        false,
        "wants a user name and password: 407 Proxy Authentication Required",
    ),
    (
        "HTTP/1.1 403 Forbidden\r\nX-Squid-Error: ERR_ACCESS_DENIED 0\r\n\r\n",
        Code::ProxyForbidden,
        false,
        "forbids git.test:443: 403 Forbidden (ERR_ACCESS_DENIED 0)",
    ),
    ("HTTP/1.1 502 Bad Gateway\r\n\r\n", Code::ProxyBadGateway, true, "Bad Gateway: the proxy"),
    (
        "HTTP/1.1 503 Service Unavailable\r\nX-Squid-Error: ERR_CONNECT_FAIL 111\r\n\r\n",
        Code::ProxyBadGateway,
        true,
        "cannot reach git.test:443: 503 Service Unavailable (ERR_CONNECT_FAIL 111)",
    ),
    (
        "HTTP/1.0 500 Unable to connect\r\nServer: tinyproxy/1.11.1\r\n\r\n",
        Code::ProxyBadGateway,
        true,
        "500 Unable to connect",
    ),
    ("HTTP/1.1 302 Found\r\nLocation: http://login.test/\r\n\r\n", Code::ProxyBadGateway, true, "302 Found"),
    ("SSH-2.0-OpenSSH_9.6\r\n", Code::ProxyUnreachable, true, "no HTTP proxy"),
    ("", Code::ProxyUnreachable, true, "closed the connection without an answer"),
];

#[tokio::test]
async fn a_refused_tunnel_says_what_the_proxy_said() {
    for (answer, code, retryable, words) in REFUSALS {
        let proxy = ScriptedServer::start([Script::new().request().write(*answer)]).await.unwrap();
        let error = ask(&through(&proxy.url(), network()), "https://git.test/").await.unwrap_err();
        assert_eq!((error.kind(), error.delivery()), (ErrorKind::Proxy, Delivery::NotSent), "{answer}");
        assert_eq!(error.code(), Some(*code), "{answer}: {error}");
        assert!(error.to_string().contains(words), "{answer}: {error}");
        assert_eq!(error.details()["proxy"], proxy.address().to_string());
        assert_eq!(Error::from(error).is_retryable(), *retryable, "{answer}");
    }
}

#[tokio::test]
async fn what_a_proxy_said_is_in_the_details() {
    let page =
        "<html><title>ERROR</title><style>p { x: y }</style><p>Access to <b>git.test</b> is blocked.</p>";
    let headers = [
        ("Server", "squid/5.7"),
        ("Via", "1.1 proxy.test (squid/5.7)"),
        ("X-Squid-Error", "ERR_ACCESS_DENIED 0"),
        ("Proxy-Authenticate", "Negotiate"),
    ];
    let proxy = ScriptedServer::start([Script::new().request().answer(403, &headers, page)]).await.unwrap();
    // The page about a plain target may repeat its whole URL, with the query.
    let pages =
        [("https://git.test/", Some("ERROR Access to git.test is blocked.")), ("http://git.test/", None)];
    for (url, page) in pages {
        let error = ask(&through(&proxy.url(), network()), url).await.unwrap_err();
        assert_eq!(error.code(), Some(Code::ProxyForbidden), "{error}");
        assert_eq!(error.details().get("proxy_body").map(String::as_str), page);
        for (name, value) in [
            ("proxy_server", "squid/5.7"),
            ("proxy_via", "1.1 proxy.test (squid/5.7)"),
            ("proxy_squid_error", "ERR_ACCESS_DENIED 0"),
            ("proxy_authenticate", "Negotiate"),
        ] {
            assert_eq!(error.details()[name], value, "{url}");
        }
    }
}

#[tokio::test]
async fn an_unreachable_proxy_is_not_taken_for_an_unreachable_server() {
    let closed = closed_port().await;
    for target in ["https://git.test/", "http://git.test/"] {
        let error = ask(&through(&format!("http://{closed}"), network()), target).await.unwrap_err();
        assert_eq!((error.kind(), error.delivery()), (ErrorKind::Proxy, Delivery::NotSent));
        assert_eq!(error.code(), Some(Code::ProxyUnreachable));
        let expected = format!("the proxy {closed} cannot be reached: connection refused by {closed}");
        assert_eq!(error.to_string(), expected);
        assert_eq!(error.details()["proxy_fault"], "tcp.refused");

        let error =
            ask(&through("http://scm-no-such-proxy.invalid:3128", network()), target).await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Proxy, Some(Code::ProxyUnreachable)), "{error}");
        assert!(error.to_string().contains("scm-no-such-proxy.invalid"), "{error}");
        assert!(error.details()["proxy_fault"].starts_with("dns."), "{error:?}");
    }
}

#[tokio::test]
async fn a_proxy_that_never_answers_meets_the_connect_limit() {
    let proxy = ScriptedServer::start([Script::new().request().stall()]).await.unwrap();
    let network = network().with_connect_timeout(Duration::from_millis(300));
    let error = ask(&through(&proxy.url(), network), "https://git.test/").await.unwrap_err();
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Proxy, Delivery::NotSent));
    assert_eq!(error.code(), Some(Code::ProxyBadGateway));
    assert!(error.to_string().contains("said nothing within 300ms"), "{error}");
}

#[tokio::test]
async fn a_fault_behind_the_tunnel_is_the_servers() {
    let pki = Pki::new("Acme Internal CA");
    let server = hello_tls(pki.loopback().server()).await;
    let (proxy, _heads) = tunnels(server, "HTTP/1.1 200 OK\r\n\r\n", 4096).await;
    let transport = through(&format!("http://{proxy}"), network().with_roots_only(Pki::new("Other").roots()));
    let error = ask(&transport, &format!("https://{server}/")).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Tls, Some(Code::TlsUnknownIssuer)), "{error}");

    let silent = serve(|stream| async move { reset(stream) }).await;
    let (proxy, _heads) = tunnels(silent, "HTTP/1.1 200 OK\r\n\r\n", 4096).await;
    let error = ask(&through(&format!("http://{proxy}"), network()), "https://git.test/").await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Tls, Some(Code::TlsHandshake)), "{error}");
    assert_eq!(error.delivery(), Delivery::NotSent);
}

/// A tunnel that fails once may have been a matter of the moment.
#[tokio::test]
async fn a_tunnel_that_opens_at_the_second_look_may_be_tried_again() {
    let pki = Pki::new("CA");
    let server = hello_tls(pki.loopback().server()).await;
    let first = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let proxy = serve(move |mut stream| {
        let first = first.swap(false, std::sync::atomic::Ordering::SeqCst);
        async move {
            head(&mut stream).await;
            if first {
                return stream.write_all(b"HTTP/1.1 503 Busy\r\n\r\n").await.unwrap();
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            let mut server = TcpStream::connect(server).await.unwrap();
            let _ = copy_bidirectional(&mut stream, &mut server).await;
        }
    })
    .await;
    let transport = through(&format!("http://{proxy}"), network().with_roots_only(pki.roots()));
    let error = ask(&transport, &format!("https://{server}/")).await.unwrap_err();
    assert_eq!((error.kind(), error.delivery(), error.code()), (ErrorKind::Proxy, Delivery::NotSent, None));
    assert!(error.to_string().contains("and did a moment later"), "{error}");
    assert!(Error::from(error).is_retryable());
    assert_eq!(text(ask(&transport, &format!("https://{server}/")).await.unwrap()).await, "hello");
}

/// To a plain target both the proxy and the server answer with statuses.
#[tokio::test]
async fn an_answer_of_the_proxy_is_told_from_one_of_the_server() {
    let unable = "<p>Tinyproxy was unable to connect to the remote web server.</p>";
    for (status, headers, body, code, delivery) in [
        (407, &[][..], "", Code::ProxyAuthRequired, Delivery::NotSent),
        (403, &[("X-Squid-Error", "ERR_ACCESS_DENIED 0")], "", Code::ProxyForbidden, Delivery::Unknown),
        (503, &[("X-Squid-Error", "ERR_CONNECT_FAIL 111")], "", Code::ProxyBadGateway, Delivery::NotSent),
        (502, &[("X-Squid-Error", "ERR_ZERO_SIZE_OBJECT 0")], "", Code::ProxyBadGateway, Delivery::Unknown),
        (500, &[("Server", "tinyproxy/1.11.1")], unable, Code::ProxyBadGateway, Delivery::NotSent),
        (500, &[("Server", "tinyproxy/1.11.1")], "", Code::ProxyBadGateway, Delivery::Unknown),
    ] {
        let proxy =
            ScriptedServer::start([Script::new().request().answer(status, headers, body)]).await.unwrap();
        let error = ask(&through(&proxy.url(), network()), "http://git.test/").await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Proxy, Some(code)), "{status} {headers:?}");
        assert_eq!(error.delivery(), delivery, "{status} {headers:?}");
    }
    let relayed = "1.1 reverse (squid/6), 1.1 proxy.test (squid/5.7)";
    for (status, headers) in [
        (503, &[("X-Squid-Error", "ERR_CONNECT_FAIL 111"), ("Via", relayed)][..]),
        (502, &[("Via", "1.1 proxy.test (squid/5.7)"), ("Server", "nginx")]),
        (403, &[("Server", "nginx")]),
    ] {
        let proxy =
            ScriptedServer::start([Script::new().request().answer(status, headers, "page")]).await.unwrap();
        let response = ask(&through(&proxy.url(), network()), "http://git.test/").await.unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(text(response).await, "page");
    }
}

#[tokio::test]
async fn within_a_tunnel_every_status_is_the_servers() {
    let pki = Pki::new("CA");
    let server = serve_tls(pki.loopback().server(), |mut stream| async move {
        head(&mut stream).await;
        let said = "HTTP/1.1 407 X\r\nX-Squid-Error: ERR_CONNECT_FAIL 111\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(said.as_bytes()).await.unwrap();
    })
    .await;
    let (proxy, _heads) = tunnels(server, "HTTP/1.1 200 OK\r\n\r\n", 4096).await;
    let transport = through(&format!("http://{proxy}"), network().with_roots_only(pki.roots()));
    assert_eq!(ask(&transport, &format!("https://{server}/")).await.unwrap().status(), 407);
}

#[tokio::test]
async fn an_ipv6_address_takes_the_proxy_where_it_can() {
    let proxy = ScriptedServer::start([Script::new().request().answer(200, &[], "hello")]).await.unwrap();
    let transport = through(&proxy.url(), network());
    assert_eq!(text(ask(&transport, "http://[fd00::1]:8080/x").await.unwrap()).await, "hello");
    assert_eq!(proxy.requests()[0].target, "http://[fd00::1]:8080/x");
    let error = ask(&transport, "https://[fd00::1]/").await.unwrap_err();
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Unsupported, Delivery::NotSent));
    assert!(error.to_string().contains("add the address to no_proxy"), "{error}");
}

#[tokio::test]
async fn dropping_the_future_ends_the_wait_for_a_tunnel() {
    let (asked, mut requests) = mpsc::channel(1);
    let (closed, mut ends) = mpsc::channel(1);
    let proxy = serve(move |mut stream| {
        let (asked, closed) = (asked.clone(), closed.clone());
        async move {
            head(&mut stream).await;
            asked.send(()).await.unwrap();
            drain(&mut stream).await;
            closed.send(()).await.unwrap();
        }
    })
    .await;
    let transport = through(&format!("http://{proxy}"), network());
    let mut pending = Box::pin(transport.send(get("https://git.test/")));
    tokio::select! {
        _ = &mut pending => panic!("no answer was sent"),
        _ = requests.recv() => {}
    }
    drop(pending);
    // The connector of the pool goes on by itself, to its limit at most: with the transport it ends too.
    drop(transport);
    tokio::time::timeout(PATIENCE, ends.recv()).await.unwrap().unwrap();
}

#[tokio::test]
async fn no_failure_of_a_proxy_shows_its_password() {
    let canary = Canary::new();
    for (what, status) in [("407", 407), ("403", 403), ("502", 502), ("malformed", 0), ("closed", 1)] {
        let userinfo = canary.proxy_userinfo;
        let proxy = serve(move |mut stream| async move {
            // A proxy that repeats what it was sent.
            let seen = head(&mut stream).await.replace("\r\n", " ");
            let echo = format!("{userinfo} {seen}");
            let said = match status {
                0 => format!("{echo}\r\n\r\n"),
                1 => return,
                _ => format!(
                    "HTTP/1.1 {status} {echo}\r\nX-Squid-Error: {echo}\r\nServer: {userinfo}\r\nProxy-Authenticate: Basic \
                     {userinfo}\r\n\r\n<p>{echo}</p>"
                ),
            };
            let _ = stream.write_all(said.as_bytes()).await;
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        })
        .await;
        let transport = through(&format!("http://{userinfo}@{proxy}"), network());
        canary.assert_debug_is_silent(what, &transport);
        for scheme in ["https", "http"] {
            let url = format!("{scheme}://git.test/p?q={}", canary.file);
            let error = ask(&transport, &url).await.unwrap_err();
            canary.assert_error_is_silent(what, &error);
            canary.assert_debug_is_silent(what, error.details());
            canary.assert_error_is_silent(what, &Error::from(error));
            canary.assert_debug_is_silent(what, &transport.probe(&url.parse().unwrap()).await);
        }
        canary.assert_logs_are_silent(what);
    }
}

#[tokio::test]
async fn an_answer_streams_through_the_proxy() {
    let (go, gate) = tokio::sync::watch::channel(false);
    let proxy = serve(move |mut stream| {
        let mut gate = gate.clone();
        async move {
            head(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc").await.unwrap();
            gate.wait_for(|go| *go).await.unwrap();
            stream.write_all(b"def").await.unwrap();
        }
    })
    .await;
    let mut body =
        ask(&through(&format!("http://{proxy}"), network()), "http://git.test/").await.unwrap().into_body();
    assert_eq!(body.next().await.unwrap().unwrap(), "abc");
    go.send(true).unwrap();
    assert_eq!(body.next().await.unwrap().unwrap(), "def");
}
