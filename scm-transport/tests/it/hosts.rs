//! Hosts as customers write them: addresses of both families, and names of other scripts.

use std::sync::Arc;

use scm_core::{HttpTransport as _, Outcome};
use scm_testkit::fault::socket::{Script, ScriptedServer};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use url::Url;

use crate::proxy::{through, tunnels};
use crate::support::*;

#[tokio::test]
async fn the_address_that_works_is_taken_and_shown() {
    let server = ScriptedServer::start([Script::new().request().answer(200, &[], "hello")]).await.unwrap();
    let port = server.address().port();
    let names = Names::knowing([("git.test", vec!["::1".parse().unwrap(), server.address().ip()])]);
    let network = network().with_resolver(names);
    let url = format!("http://git.test:{port}/");
    assert_eq!(text(send(&network, get(&url)).await.unwrap()).await, "hello");
    let rungs = transport(&network).probe(&url.parse().unwrap()).await;
    assert_eq!(rungs[0].seen, "git.test is ::1, 127.0.0.1");
    assert_eq!(rungs[1].outcome, Outcome::Passed);
    assert_eq!(rungs[1].seen, format!("127.0.0.1:{port} accepts connections"));
    assert_eq!(rungs[1].details["failed_addresses"], "::1: tcp.refused");
}

#[tokio::test]
async fn an_ipv6_address_is_reached_over_http_and_https() {
    let proxy = ScriptedServer::start([Script::new().request().answer(200, &[], "hello")]).await.unwrap();
    let answer = through(&proxy.url(), network()).send(get("http://[fd00::1]:7990/x")).await;
    assert_eq!(text(answer.unwrap()).await, "hello");
    assert_eq!(proxy.requests()[0].target, "http://[fd00::1]:7990/x");

    // No program to install can help a machine that has none.
    let Ok(listener) = TcpListener::bind("[::1]:0").await else {
        println!("skipped: this machine has no IPv6 loopback");
        return;
    };
    let pki = Pki::new("CA");
    let params = rcgen::CertificateParams::new(vec!["::1".to_owned()]).unwrap();
    let server = hello_tls(pki.issue(params).server()).await;
    let url = format!("https://{}/gitlab/", listener.local_addr().unwrap());
    let front = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut server = TcpStream::connect(server).await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut stream, &mut server).await });
        }
    });
    let network = network().with_roots_only(pki.roots());
    assert_eq!(text(send(&network, get(&url)).await.unwrap()).await, "hello");
    let rungs = transport(&network).probe(&url.parse().unwrap()).await;
    assert_eq!(rungs[0].seen, "::1 is an address");
    assert!(rungs.iter().all(|rung| rung.outcome == Outcome::Passed), "{rungs:?}");
    front.abort();
}

#[tokio::test]
async fn a_name_of_another_script_goes_out_as_its_ascii_form() {
    const ASCII: &str = "xn--bcher-kva.example";
    let url = |scheme: &str, port: u16| Url::parse(&format!("{scheme}://bücher.example:{port}/")).unwrap();
    let plain = ScriptedServer::start([Script::new().request().answer(200, &[], "hello")]).await.unwrap();
    let names = Names::knowing([(ASCII, vec![plain.address().ip()])]);
    let port = plain.address().port();
    let answer = send(&network().with_resolver(Arc::clone(&names)), get(url("http", port))).await.unwrap();
    assert_eq!(text(answer).await, "hello");
    let head = plain.requests()[0].head.to_lowercase();
    assert!(head.contains(&format!("\r\nhost: {ASCII}:{port}\r\n")), "{head}");

    // The certificate has the name, and so has the tunnel.
    let pki = Pki::new("CA");
    let params = rcgen::CertificateParams::new(vec![ASCII.to_owned()]).unwrap();
    let server = hello_tls(pki.issue(params).server()).await;
    let network = network().with_roots_only(pki.roots());
    let direct = network.clone().with_resolver(names);
    assert_eq!(text(send(&direct, get(url("https", server.port()))).await.unwrap()).await, "hello");
    let (proxy, mut heads) = tunnels(server, "HTTP/1.1 200 OK\r\n\r\n", 4096).await;
    let answer = through(&format!("http://{proxy}"), network).send(get(url("https", server.port()))).await;
    assert_eq!(text(answer.unwrap()).await, "hello");
    let asked = heads.recv().await.unwrap();
    assert!(asked.starts_with(&format!("CONNECT {ASCII}:{} HTTP/1.1\r\n", server.port())), "{asked}");
}
