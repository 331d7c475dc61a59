//! Servers that do what a script says, and certificates for them.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{Stream, stream};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use scm_core::{Body, HttpTransport as _, TransportError};
use scm_testkit::fault::socket;
pub(crate) use scm_testkit::fault::socket::{drain, head};
use scm_transport::{CaCertificates, ClientIdentity, DirectTransport, Network, Resolver};
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Longer than anything here should take, so that a defect fails the test in place of hanging it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn network() -> Network {
    Network::new().with_connect_timeout(Duration::from_secs(5)).with_read_timeout(Duration::from_secs(10))
}

pub(crate) fn transport(network: &Network) -> DirectTransport {
    DirectTransport::new(network).unwrap()
}

pub(crate) fn get(url: impl fmt::Display) -> http::Request<Body> {
    http::Request::get(url.to_string()).body(Body::empty()).unwrap()
}

pub(crate) async fn send(
    network: &Network,
    request: http::Request<Body>,
) -> Result<http::Response<Body>, TransportError> {
    tokio::time::timeout(PATIENCE, transport(network).send(request)).await.unwrap()
}

pub(crate) async fn text(response: http::Response<Body>) -> String {
    let bytes = tokio::time::timeout(PATIENCE, response.into_body().collect(1 << 20)).await.unwrap().unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A server on loopback that runs `script` for every connection.
pub(crate) async fn serve<F, Fut>(script: F) -> SocketAddr
where
    F: Fn(TcpStream) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    socket::serve(script).await.unwrap()
}

/// A port that nothing listens on.
pub(crate) async fn closed_port() -> SocketAddr {
    socket::closed_port().await.unwrap()
}

/// Who is gone already is told so by its own side.
pub(crate) async fn answer(stream: &mut (impl AsyncWrite + Unpin), body: &str) {
    let _ = socket::answer(stream, body).await;
}

/// Closes with a reset.
pub(crate) fn reset(stream: TcpStream) {
    socket::reset(stream).unwrap();
}

/// A resolver that knows these names.
#[derive(Debug)]
pub(crate) struct Names(HashMap<&'static str, Vec<IpAddr>>);

impl Names {
    pub(crate) fn knowing<const N: usize>(names: [(&'static str, Vec<IpAddr>); N]) -> Arc<dyn Resolver> {
        Arc::new(Self(names.into()))
    }
}

#[async_trait]
impl Resolver for Names {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        self.0.get(host).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// A body whose chunks are sent by hand.
pub(crate) fn fed(length: Option<u64>) -> (mpsc::Sender<Result<Bytes, TransportError>>, Body) {
    let (sender, receiver) = mpsc::channel(1);
    (sender, Body::stream(received(receiver), length))
}

fn received<T: Send>(receiver: mpsc::Receiver<T>) -> impl Stream<Item = T> + Send {
    stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) })
}

/// An authority with a certificate for a server.
pub(crate) struct Pki {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) ca: String,
}

impl Pki {
    pub(crate) fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let ca = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), ca }
    }

    pub(crate) fn roots(&self) -> CaCertificates {
        CaCertificates::parse(&self.ca).unwrap()
    }

    pub(crate) fn issue(&self, params: CertificateParams) -> Issued {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Issued { certificate: certificate.pem(), der: certificate.der().clone(), key }
    }

    /// A certificate for loopback.
    pub(crate) fn loopback(&self) -> Issued {
        self.issue(loopback_params())
    }
}

pub(crate) fn loopback_params() -> CertificateParams {
    CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap()
}

pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) der: rustls::pki_types::CertificateDer<'static>,
    pub(crate) key: KeyPair,
}

impl Issued {
    pub(crate) fn identity(&self) -> ClientIdentity {
        ClientIdentity::parse(&self.certificate, &self.key.serialize_pem().into()).unwrap()
    }

    pub(crate) fn server(&self) -> ServerConfig {
        self.server_with(None, rustls::ALL_VERSIONS)
    }

    /// With `clients`, a certificate issued by it is required.
    pub(crate) fn server_with(
        &self,
        clients: Option<&Pki>,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> ServerConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let mut store = RootCertStore::empty();
                store.add(clients.issuer_der()).unwrap();
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider).build().unwrap();
                builder.with_client_cert_verifier(verifier)
            }
        };
        let key = PrivateKeyDer::try_from(self.key.serialize_der()).unwrap();
        builder.with_single_cert(vec![self.der.clone()], key).unwrap()
    }
}

impl Pki {
    fn issuer_der(&self) -> rustls::pki_types::CertificateDer<'static> {
        use rustls::pki_types::pem::PemObject as _;
        rustls::pki_types::CertificateDer::from_pem_slice(self.ca.as_bytes()).unwrap()
    }
}

/// A TLS server on loopback that runs `script` for every connection whose handshake succeeds.
pub(crate) async fn serve_tls<F, Fut>(config: ServerConfig, script: F) -> SocketAddr
where
    F: Fn(TlsStream<TcpStream>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let script = Arc::new(script);
    serve(move |stream| {
        let (acceptor, script) = (acceptor.clone(), Arc::clone(&script));
        async move {
            match acceptor.accept(stream).into_fallible().await {
                Ok(stream) => script(stream).await,
                Err((_, mut stream)) => drain(&mut stream).await,
            }
        }
    })
    .await
}

/// A TLS server that answers every request with `hello`.
pub(crate) async fn hello_tls(config: ServerConfig) -> SocketAddr {
    serve_tls(config, |mut stream| async move {
        while !head(&mut stream).await.is_empty() {
            answer(&mut stream, "hello").await;
        }
    })
    .await
}
