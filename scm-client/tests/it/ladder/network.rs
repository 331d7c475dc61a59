//! The URL, the name and the connection.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use scm_client::core::{Code, Transport};
use scm_client::transport::{DirectTransport, Network, Resolver};
use scm_testkit::fault::socket::closed_port;
use scm_testkit::sim::bitbucket_dc::BitbucketDcSim;
use scm_testkit::sim::gitlab::GitLabSim;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::{BOTH, Connection, Section};

#[derive(Debug)]
pub(super) struct Silent;

#[async_trait]
impl Resolver for Silent {
    async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        std::future::pending().await
    }
}

#[derive(Debug)]
pub(super) struct KnowsNothing;

#[async_trait]
impl Resolver for KnowsNothing {
    async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

fn hasty() -> Network {
    Network::new().with_connect_timeout(Duration::from_millis(500))
}

/// A port whose backlog is full: nobody accepts; the kernel takes the first, and drops the rest.
pub(super) struct Full {
    pub(super) address: SocketAddr,
    _listener: TcpListener,
    _waiting: Vec<TcpStream>,
}

impl Full {
    pub(super) async fn start() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        while let Ok(Ok(stream)) =
            tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await
        {
            waiting.push(stream);
            assert!(waiting.len() < 100, "the backlog never gets full");
        }
        Self { address, _listener: listener, _waiting: waiting }
    }
}

fn route(network: &Network) -> Transport {
    Transport::new(DirectTransport::new(network).unwrap())
}

#[tokio::test]
async fn each_fault_has_its_code() {
    let mut section = Section::new("address, name, connection");
    let sims = (
        GitLabSim::builder().context_path("/gitlab").seed_demo().start().await.unwrap(),
        BitbucketDcSim::builder().context_path("/bitbucket").seed_demo().start().await.unwrap(),
    );
    section.stable(sims.0.url(), "http://git.company.com/gitlab");
    section.stable(sims.1.url(), "http://git.company.com/bitbucket");
    let roots = [
        (sims.0.url(), sims.0.tokens()[0].token.clone(), "https://gitlab.com/group/project"),
        (sims.1.url(), sims.1.tokens()[0].token.clone(), "https://git.company.com/projects/PROJ/repos/web"),
    ];
    let refused = closed_port().await.unwrap();
    section.stable(refused.port(), "7990");
    let full = Full::start().await;
    let address = full.address;
    section.stable(address.port(), "443");

    for (provider, (root, token, inside)) in BOTH.into_iter().zip(roots) {
        for (url, code, cause) in [
            ("ftp://git.company.com", Code::UrlInvalid, "another scheme than http or https"),
            ("https://git.company.com/?private=x", Code::UrlInvalid, "more than a root"),
            (inside, Code::UrlNotRoot, "the page of a project; said before anything is sent"),
        ] {
            let error = Connection::to(provider, url).open().unwrap_err();
            assert_eq!(error.server_code(), Some(code.as_str()), "{error}");
            section.row(code, cause, error.message(), "As it says; the configuration is not taken.");
        }
        let report = Connection::to(provider, format!("{root}/nested")).token(token).check().await;
        section.found(Code::UrlNotRoot, "a path that is too long", &report);

        let name = "https://git.company.invalid/";
        let unknown = route(&hasty().with_resolver(Arc::new(KnowsNothing)));
        let report = Connection::to(provider, name).over(unknown).check().await;
        section.found(Code::DnsNotFound, "a name that nobody knows", &report);
        let report = Connection::to(provider, name).check().await;
        assert!(report.has(Code::DnsNotFound) || report.has(Code::DnsFailed), "{report}");
        let silent = route(&hasty().with_resolver(Arc::new(Silent)));
        let report = Connection::to(provider, name).over(silent).check().await;
        section.found(Code::DnsFailed, "a DNS server that does not answer", &report);

        let report = Connection::to(provider, format!("http://{refused}/")).check().await;
        section.found(Code::TcpRefused, "the wrong port", &report);
        let report =
            Connection::to(provider, format!("https://{address}/")).over(route(&hasty())).check().await;
        section.found(Code::TcpTimeout, "a firewall that drops packets", &report);
        if cfg!(target_os = "linux") {
            let report = Connection::to(provider, "https://127.255.255.255/").check().await;
            section.found(Code::TcpUnreachable, "no way to that network", &report);
        }
    }
    if cfg!(target_os = "linux") {
        section.assert_on_page();
    }
}
