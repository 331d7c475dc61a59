//! Names that are looked up by the caller's own resolver.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use scm_core::{Code, Delivery, Error, ErrorKind, HttpTransport as _, TransportError};
use scm_transport::{Network, Proxies, ProxyTransport, Resolver};

use crate::support::*;

#[derive(Debug)]
enum Own {
    Knows(IpAddr),
    Fails(io::ErrorKind),
    IsSilent,
    IsEmpty,
    Forbids,
}

#[async_trait]
impl Resolver for Own {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        assert_eq!(host, "gitlab.company.test");
        match self {
            Self::Knows(ip) => Ok(vec![*ip]),
            Self::Fails(kind) => Err((*kind).into()),
            Self::IsSilent => std::future::pending().await,
            Self::IsEmpty => Ok(Vec::new()),
            Self::Forbids => {
                let error = TransportError::new(ErrorKind::Relay, Delivery::NotSent, "not to this machine");
                Err(io::Error::other(error.with_code(Code::RelayAgentDenied).with_retryable(false)))
            }
        }
    }
}

fn by(own: Own) -> Network {
    let limit = std::time::Duration::from_millis(400);
    Network::new().with_connect_timeout(limit).with_resolver(Arc::new(own))
}

#[tokio::test]
async fn a_name_that_only_it_knows_is_reached() {
    let address = serve(|mut stream| async move {
        while !head(&mut stream).await.is_empty() {
            answer(&mut stream, "hello").await;
        }
    })
    .await;
    let network = network().with_resolver(Arc::new(Own::Knows(address.ip())));
    let url = format!("http://gitlab.company.test:{}/", address.port());
    assert_eq!(text(send(&network, get(&url)).await.unwrap()).await, "hello");
    let rungs = transport(&network).probe(&url.parse().unwrap()).await;
    assert_eq!(rungs[0].seen, "gitlab.company.test is 127.0.0.1");
}

#[tokio::test]
async fn each_way_to_fail_has_its_code() {
    for (own, code, words) in [
        (Own::Fails(io::ErrorKind::NotFound), Code::DnsNotFound, "no such host"),
        (Own::IsEmpty, Code::DnsNotFound, "no such host"),
        (Own::Fails(io::ErrorKind::ConnectionRefused), Code::DnsFailed, "connection refused"),
        (Own::IsSilent, Code::DnsFailed, "no answer from the resolver within"),
        (Own::Forbids, Code::RelayAgentDenied, "not to this machine"),
    ] {
        let network = by(own);
        let error = send(&network, get("https://gitlab.company.test/")).await.unwrap_err();
        assert_eq!((error.code(), error.delivery()), (Some(code), Delivery::NotSent), "{error}");
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(Error::from(error).is_retryable(), code == Code::DnsFailed);
        let url = "https://gitlab.company.test/".parse().unwrap();
        let rungs = transport(&network).probe(&url).await;
        assert_eq!(rungs[0].findings[0].code, code, "{rungs:?}");
    }
}

#[tokio::test]
async fn it_looks_up_proxies_too() {
    let proxies = Proxies::new().with_https_proxy(&"http://gitlab.company.test:3128".into()).unwrap();
    let network = by(Own::Fails(io::ErrorKind::NotFound)).with_proxies(proxies);
    let transport = ProxyTransport::new(&network).unwrap();
    let error = transport.send(get("https://git.test/")).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::ProxyUnreachable));
    let rungs = transport.probe(&"https://git.test/".parse().unwrap()).await;
    assert!(rungs[2].seen.contains("no such host: the name gitlab.company.test"), "{rungs:?}");
}
