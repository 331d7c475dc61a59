//! Whom we trust, and what is said when we do not.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::version::{TLS12, TLS13};
use scm_core::{Code, Delivery, Error, ErrorKind, HttpTransport as _, TransportError};
use scm_transport::{CaCertificates, Crypto, DirectTransport, Network};
use tokio::io::AsyncWriteExt as _;

use crate::support::*;

fn assert_tls_fault(error: TransportError, code: Code, words: &str) {
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Tls, Delivery::NotSent), "{error:?}");
    assert_eq!(error.code(), Some(code), "{error}");
    assert!(error.to_string().contains(words), "{words} in {error}");
    assert!(!Error::from(error).is_retryable());
}

async fn fault(network: &Network, address: impl std::fmt::Display) -> TransportError {
    send(network, get(format!("https://{address}/"))).await.unwrap_err()
}

#[tokio::test]
async fn an_unknown_issuer_is_named() {
    let pki = Pki::new("Acme Internal CA");
    let address = hello_tls(pki.loopback().server()).await;
    for network in [network(), network().with_roots_only(Pki::new("Somebody else").roots())] {
        let error = fault(&network, address).await;
        assert_eq!(error.details()["certificate_issuer"], "CN=Acme Internal CA");
        assert_tls_fault(
            error,
            Code::TlsUnknownIssuer,
            "x509: certificate signed by unknown authority (issuer: CN=Acme Internal CA, subject: CN=rcgen self signed cert)",
        );
    }
}

#[tokio::test]
async fn a_given_root_is_trusted_in_each_form_and_by_each_crypto() {
    use base64::Engine as _;

    let pki = Pki::new("Acme Internal CA");
    let address = hello_tls(pki.loopback().server()).await;
    let encoded = base64::engine::general_purpose::STANDARD.encode(&pki.ca);
    let mut networks = vec![
        network().with_extra_roots(pki.roots()),
        network().with_roots_only(pki.roots()),
        network().with_extra_roots(CaCertificates::parse(encoded).unwrap()),
        network().with_roots_only(pki.roots()).with_crypto(Crypto::AwsLcRs),
    ];
    if cfg!(feature = "ring") {
        networks.push(network().with_roots_only(pki.roots()).with_crypto(Crypto::Ring));
    }
    for network in networks {
        let response = send(&network, get(format!("https://{address}/"))).await.unwrap();
        assert_eq!(response.version(), http::Version::HTTP_11);
        assert_eq!(text(response).await, "hello");
    }
}

#[tokio::test]
async fn who_intercepts_is_named() {
    let pki = Pki::new("Zscaler Intermediate Root CA (zscloud.net)");
    let error = fault(&network(), hello_tls(pki.loopback().server()).await).await;
    assert_eq!(
        error.details()["certificate_interceptor"],
        "CN=Zscaler Intermediate Root CA (zscloud.net)",
        "{error:?}"
    );
    let error = fault(&network(), hello_tls(Pki::new("Acme Internal CA").loopback().server()).await).await;
    assert!(!error.details().contains_key("certificate_interceptor"), "{error:?}");
}

#[tokio::test]
async fn a_bundle_of_many_is_trusted_as_a_whole() {
    use base64::Engine as _;

    let pkis = [Pki::new("One"), Pki::new("Two")];
    let bundle = format!("{}{}", pkis[0].ca, pkis[1].ca);
    let one_line = base64::engine::general_purpose::STANDARD.encode(&bundle);
    for pki in &pkis {
        let address = hello_tls(pki.loopback().server()).await;
        for text in [&bundle, &one_line] {
            let network = network().with_extra_roots(CaCertificates::parse(text).unwrap());
            let response = send(&network, get(format!("https://{address}/"))).await.unwrap();
            assert_eq!(crate::support::text(response).await, "hello");
        }
    }
}

#[tokio::test]
async fn both_versions_of_tls_work() {
    let pki = Pki::new("CA");
    for version in [&TLS12, &TLS13] {
        let address = hello_tls(pki.loopback().server_with(None, &[version])).await;
        let response =
            send(&network().with_roots_only(pki.roots()), get(format!("https://{address}/"))).await;
        assert_eq!(text(response.unwrap()).await, "hello");
    }
}

#[tokio::test]
async fn an_expired_certificate_says_when() {
    let pki = Pki::new("CA");
    let network = network().with_extra_roots(pki.roots());
    let mut params = loopback_params();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2021, 2, 3);
    let address = hello_tls(pki.issue(params).server()).await;
    let words = "x509: certificate has expired or is not yet valid: valid until 2021-02-03";
    assert_tls_fault(fault(&network, address).await, Code::TlsExpired, words);

    let mut params = loopback_params();
    params.not_before = date_time_ymd(2999, 1, 1);
    params.not_after = date_time_ymd(3000, 1, 1);
    let address = hello_tls(pki.issue(params).server()).await;
    assert_tls_fault(fault(&network, address).await, Code::TlsExpired, "valid from 2999-01-01");
}

#[tokio::test]
async fn a_certificate_for_another_name_says_which() {
    let pki = Pki::new("CA");
    let network = network().with_extra_roots(pki.roots());
    let other = CertificateParams::new(vec!["git.other.test".to_owned()]).unwrap();
    let address = hello_tls(pki.issue(other).server()).await;
    let words = "is valid for git.other.test, not for 127.0.0.1";
    assert_tls_fault(fault(&network, address).await, Code::TlsNameMismatch, words);

    let mut nameless = CertificateParams::new(Vec::new()).unwrap();
    nameless.distinguished_name.push(DnType::CommonName, "127.0.0.1");
    let address = hello_tls(pki.issue(nameless).server()).await;
    assert_tls_fault(fault(&network, address).await, Code::TlsNameMismatch, "no subject alternative name");
}

/// What `openssl req -x509` makes for a single server.
fn self_signed(mut params: CertificateParams) -> Issued {
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    Issued { certificate: certificate.pem(), der: certificate.der().clone(), key }
}

#[tokio::test]
async fn a_self_signed_certificate_is_trusted_once_given() {
    let own = self_signed(loopback_params());
    let roots = CaCertificates::parse(&own.certificate).unwrap();
    for versions in [&[&TLS12], &[&TLS13]] {
        let address = hello_tls(own.server_with(None, versions)).await;
        for network in [network().with_extra_roots(roots.clone()), network().with_roots_only(roots.clone())] {
            let response = send(&network, get(format!("https://{address}/"))).await.unwrap();
            assert_eq!(text(response).await, "hello");
        }
        let other = CaCertificates::parse(self_signed(loopback_params()).certificate).unwrap();
        let error = fault(&network().with_roots_only(other), address).await;
        let words = "x509: certificate signed by unknown authority (self-signed: ";
        assert_tls_fault(error, Code::TlsUnknownIssuer, words);
    }
}

#[tokio::test]
async fn a_certificate_that_can_be_nobodys_own_is_no_matter_of_firewalls() {
    let pki = Pki::new("CA");
    let mut params = loopback_params();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let address = hello_tls(pki.issue(params).server()).await;
    let transport = DirectTransport::new(&network().with_extra_roots(pki.roots())).unwrap();
    let rungs = transport.probe(&format!("https://{address}").parse().unwrap()).await;
    let finding = &rungs.last().unwrap().findings[0];
    assert_eq!(finding.code, Code::TlsHandshake);
    assert!(
        finding.seen.contains("the server's certificate is not accepted: CaUsedAsEndEntity"),
        "{finding:?}"
    );
    assert!(finding.remedy.contains("issued"), "{finding:?}");
}

#[tokio::test]
async fn a_given_self_signed_certificate_still_has_its_names_and_dates() {
    let mut old = loopback_params();
    old.not_after = date_time_ymd(2021, 2, 3);
    let other = CertificateParams::new(vec!["git.other.test".to_owned()]).unwrap();
    for (params, code) in [(old, Code::TlsExpired), (other, Code::TlsNameMismatch)] {
        let own = self_signed(params);
        let network = network().with_extra_roots(CaCertificates::parse(&own.certificate).unwrap());
        let address = hello_tls(own.server()).await;
        assert_tls_fault(fault(&network, address).await, code, "x509: certificate");
    }
}

#[tokio::test]
async fn plain_http_on_the_port_is_not_tls() {
    let address = serve(|mut stream| async move {
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        drain(&mut stream).await;
    })
    .await;
    let words = "first record does not look like a TLS handshake";
    assert_tls_fault(fault(&network(), address).await, Code::TlsNotTls, words);
}

#[tokio::test]
async fn a_handshake_cut_off_may_be_tried_again() {
    let closing = serve(|mut stream| async move {
        use tokio::io::AsyncReadExt as _;
        stream.read_u8().await.unwrap();
    })
    .await;
    let resetting = serve(|stream| async move { reset(stream) }).await;
    for address in [closing, resetting] {
        let error = fault(&network(), address).await;
        assert_eq!((error.kind(), error.delivery()), (ErrorKind::Tls, Delivery::NotSent), "{error:?}");
        assert_eq!(error.code(), Some(Code::TlsHandshake));
        assert!(Error::from(error).is_retryable());
    }
}

#[tokio::test]
async fn a_required_client_certificate_is_said_to_be_missing() {
    let (pki, clients) = (Pki::new("CA"), Pki::new("Clients"));
    for version in [&TLS12, &TLS13] {
        let address = hello_tls(pki.loopback().server_with(Some(&clients), &[version])).await;
        let network = network().with_roots_only(pki.roots());
        assert_tls_fault(fault(&network, address).await, Code::TlsClientCertRequired, "client certificate");

        let stranger = Pki::new("Strangers").loopback().identity();
        let error = fault(&network.clone().with_client_identity(stranger), address).await;
        assert_tls_fault(error, Code::TlsClientCertRequired, "does not accept the client certificate");

        let network = network.with_client_identity(clients.loopback().identity());
        let response = send(&network, get(format!("https://{address}/"))).await.unwrap();
        assert_eq!(text(response).await, "hello");
    }
}
