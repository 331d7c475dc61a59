//! The network rungs, one fault after the other.

use std::net::SocketAddr;
use std::time::Duration;

use rcgen::{CertificateParams, date_time_ymd};
use rustls::version::{TLS12, TLS13};
use scm_core::{Code, HttpTransport as _, Outcome, Rung, RungReport};
use scm_transport::Network;
use tokio::io::AsyncWriteExt as _;
use url::Url;

use crate::support::*;

async fn climb(network: &Network, url: &str) -> Vec<RungReport> {
    let url = Url::parse(url).unwrap();
    let rungs = tokio::time::timeout(PATIENCE, transport(network).probe(&url)).await.unwrap();
    assert!(rungs.is_sorted_by_key(|rung| rung.rung), "{rungs:?}");
    rungs
}

fn outcomes(rungs: &[RungReport]) -> Vec<(Rung, Outcome)> {
    rungs.iter().map(|rung| (rung.rung, rung.outcome)).collect()
}

/// The last climbed rung failed with `code`, those before passed, those after were skipped.
fn assert_fails(rungs: &[RungReport], code: Code, remedy: &str) {
    for rung in rungs {
        let expected = match rung.rung.cmp(&code.rung()) {
            std::cmp::Ordering::Less => Outcome::Passed,
            std::cmp::Ordering::Equal => Outcome::Failed,
            std::cmp::Ordering::Greater => Outcome::Skipped,
        };
        assert_eq!(rung.outcome, expected, "{rung:?}");
    }
    let findings: Vec<_> = rungs.iter().flat_map(|rung| &rung.findings).collect();
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].code, code);
    assert!(findings[0].remedy.contains(remedy), "{remedy} in {}", findings[0].remedy);
}

async fn tls_fault(network: &Network, address: SocketAddr, code: Code, remedy: &str) -> RungReport {
    let mut rungs = climb(network, &format!("https://{address}/")).await;
    assert_fails(&rungs, code, remedy);
    rungs.remove(2)
}

#[tokio::test]
async fn a_plain_server_passes() {
    let address = serve(|mut stream| async move { drain(&mut stream).await }).await;
    let rungs = climb(&network(), &format!("http://localhost:{}/gitlab?secret", address.port())).await;
    let expected =
        [(Rung::Name, Outcome::Passed), (Rung::Connection, Outcome::Passed), (Rung::Tls, Outcome::Skipped)];
    assert_eq!(outcomes(&rungs), expected);
    assert!(rungs[0].details["addresses"].contains("127.0.0.1"), "{rungs:?}");
    assert_eq!(rungs[1].details["address"], address.to_string());
    assert!(!format!("{rungs:?}").contains("secret"));
}

#[tokio::test]
async fn a_tls_server_shows_its_certificate() {
    let pki = Pki::new("Acme Internal CA");
    let mut params = loopback_params();
    params.not_after = date_time_ymd(2050, 2, 3);
    let mut config = pki.issue(params).server();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let address = serve_tls(config, |mut stream| async move { drain(&mut stream).await }).await;
    let network = network().with_extra_roots(pki.roots());
    let rungs = climb(&network, &format!("https://localhost:{}/", address.port())).await;
    assert!(rungs.iter().all(|rung| rung.outcome == Outcome::Passed), "{rungs:?}");
    let details = &rungs[2].details;
    assert_eq!((details["protocol"].as_str(), details["alpn"].as_str()), ("TLS 1.3", "h2"));
    assert_eq!(details["certificate_issuer"], "CN=Acme Internal CA");
    assert_eq!(details["certificate_names"], "localhost, 127.0.0.1");
    assert!(details["certificate_not_after"].starts_with("2050-02-03T"), "{details:?}");
    assert_eq!(details["client_certificate"], "not asked for");
}

#[tokio::test]
async fn a_url_that_cannot_be_used_is_said_first() {
    for url in ["ftp://git.test/", "mailto:somebody@git.test"] {
        let rungs = climb(&network(), url).await;
        assert_fails(&rungs, Code::UrlInvalid, "https");
    }
}

#[tokio::test]
async fn a_name_that_does_not_resolve_ends_the_climb() {
    let rungs = climb(&network(), "https://scm-no-such-host.invalid/").await;
    // A machine without any resolver cannot know that the name does not exist.
    assert_fails(&rungs, rungs[0].findings[0].code, "scm-no-such-host.invalid");
    assert_eq!(rungs[0].findings[0].code.rung(), Rung::Name);
}

#[tokio::test]
async fn a_refused_port_ends_the_climb() {
    let port = closed_port().await.port();
    for host in ["127.0.0.1", "localhost"] {
        let rungs = climb(&network(), &format!("https://{host}:{port}/")).await;
        assert_fails(&rungs, Code::TcpRefused, &port.to_string());
        assert!(rungs[1].details["failed_addresses"].contains("127.0.0.1: tcp.refused"), "{rungs:?}");
    }
}

#[tokio::test]
async fn each_fault_of_a_certificate_has_its_code() {
    let pki = Pki::new("Acme Internal CA");
    let trusting = network().with_extra_roots(pki.roots());

    let address = hello_tls(pki.loopback().server()).await;
    let rung = tls_fault(&network(), address, Code::TlsUnknownIssuer, "`ca`").await;
    assert_eq!(rung.details["certificate_issuer"], "CN=Acme Internal CA");
    assert!(rung.seen.contains("x509: certificate signed by unknown authority"), "{rung:?}");

    let mut params = loopback_params();
    params.not_after = date_time_ymd(2021, 2, 3);
    let address = hello_tls(pki.issue(params).server()).await;
    tls_fault(&trusting, address, Code::TlsExpired, "Renew").await;

    let other = CertificateParams::new(vec!["git.other.test".to_owned()]).unwrap();
    let address = hello_tls(pki.issue(other).server()).await;
    tls_fault(&trusting, address, Code::TlsNameMismatch, "subject alternative names contain 127.0.0.1").await;
}

#[tokio::test]
async fn a_chain_of_an_interceptor_is_warned_of_whether_trusted_or_not() {
    let pki = Pki::new("FortiGate SSL Inspection");
    let address = hello_tls(pki.loopback().server()).await;
    let url = format!("https://{address}/");
    let rungs = climb(&network().with_extra_roots(pki.roots()), &url).await;
    assert_eq!(rungs[2].outcome, Outcome::Warning, "{rungs:?}");
    let stranger = climb(&network(), &url).await;
    assert_eq!(stranger[2].outcome, Outcome::Failed, "{stranger:?}");
    assert_eq!(stranger[2].findings[0].code, Code::TlsUnknownIssuer);
    for finding in [&rungs[2].findings[0], &stranger[2].findings[1]] {
        assert_eq!((finding.code, finding.outcome), (Code::TlsIntercepted, Outcome::Warning));
        assert!(finding.seen.ends_with(": CN=FortiGate SSL Inspection"), "{finding:?}");
        assert!(finding.remedy.contains("leave 127.0.0.1 out"), "{finding:?}");
    }
}

#[tokio::test]
async fn each_fault_of_a_handshake_has_its_code() {
    let address = serve(|mut stream| async move {
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        drain(&mut stream).await;
    })
    .await;
    tls_fault(&network(), address, Code::TlsNotTls, "http://").await;

    let address = serve(|stream| async move { reset(stream) }).await;
    tls_fault(&network(), address, Code::TlsHandshake, "firewall").await;

    let address = serve(|mut stream| async move { drain(&mut stream).await }).await;
    let impatient = network().with_connect_timeout(Duration::from_millis(300));
    let rung = tls_fault(&impatient, address, Code::TlsHandshake, "firewall").await;
    assert!(rung.seen.contains("300ms"), "{rung:?}");
}

#[tokio::test]
async fn a_required_client_certificate_is_found_though_the_handshake_succeeds() {
    let (pki, clients) = (Pki::new("CA"), Pki::new("Clients"));
    let trusting = network().with_roots_only(pki.roots());
    for version in [&TLS12, &TLS13] {
        let address = hello_tls(pki.loopback().server_with(Some(&clients), &[version])).await;
        tls_fault(&trusting, address, Code::TlsClientCertRequired, "`client_key`").await;

        let stranger = trusting.clone().with_client_identity(Pki::new("Strangers").loopback().identity());
        tls_fault(&stranger, address, Code::TlsClientCertRequired, "whole chain").await;

        let known = trusting.clone().with_client_identity(clients.loopback().identity());
        let rungs = climb(&known, &format!("https://{address}/")).await;
        assert_eq!(rungs[2].outcome, Outcome::Passed, "{rungs:?}");
        assert_eq!(rungs[2].details["client_certificate"], "sent");
    }
}
