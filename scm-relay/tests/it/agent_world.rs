//! A hub behind TLS, and agents that are programs.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use scm_core::Transport;
use scm_relay::{Hub, HubSettings};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tower_service::Service as _;

use crate::world::{AGENT_KEY, acme, keys};

/// Longer than anything here should take.
const PATIENCE: Duration = Duration::from_secs(60);

/// An authority, and a directory for what programs read.
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

    /// TLS for these names, with what `alter` changes.
    pub(crate) fn server(&self, names: &[&str], alter: impl FnOnce(&mut CertificateParams)) -> TlsAcceptor {
        self.acceptor(names, alter, None)
    }

    /// The same for those alone who have a certificate of `clients`.
    pub(crate) fn server_for(&self, names: &[&str], clients: &Self) -> TlsAcceptor {
        let mut store = RootCertStore::empty();
        store.add(CertificateDer::from_pem_slice(clients.ca.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider).build().unwrap();
        self.acceptor(names, |_| {}, Some(verifier))
    }

    fn acceptor(
        &self,
        names: &[&str],
        alter: impl FnOnce(&mut CertificateParams),
        clients: Option<Arc<dyn ClientCertVerifier>>,
    ) -> TlsAcceptor {
        let (certificate, key) = self.issue(names, alter);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = match clients {
            Some(clients) => config.with_client_cert_verifier(clients),
            None => config.with_no_client_auth(),
        };
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        TlsAcceptor::from(Arc::new(config.with_single_cert(vec![certificate.der().clone()], key).unwrap()))
    }

    /// A certificate for these names, and its key.
    pub(crate) fn issue(
        &self,
        names: &[&str],
        alter: impl FnOnce(&mut CertificateParams),
    ) -> (Certificate, KeyPair) {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        alter(&mut params);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }
}

/// A hub behind TLS, for `hub.test` and 127.0.0.1.
pub(crate) struct TlsHub {
    pub(crate) hub: Hub,
    pub(crate) address: SocketAddr,
    pub(crate) pki: Pki,
    server: JoinHandle<()>,
}

impl TlsHub {
    pub(crate) async fn start() -> Self {
        Self::altered(|_| {}).await
    }

    pub(crate) async fn altered(alter: impl FnOnce(&mut CertificateParams)) -> Self {
        let pki = Pki::new("Hub CA");
        let acceptor = pki.server(&["hub.test", "127.0.0.1"], alter);
        Self::behind(pki, acceptor).await
    }

    pub(crate) async fn behind(pki: Pki, acceptor: TlsAcceptor) -> Self {
        let hub = Hub::new(HubSettings::new().with_patience(Duration::from_secs(20)), keys());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener, acceptor, hub.clone()));
        Self { hub, address, pki, server }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    pub(crate) fn transport(&self) -> Transport {
        Transport::new(self.hub.transport(acme()))
    }

    /// Until the hub knows of so many tunnels.
    pub(crate) async fn tunnels(&self, wanted: usize) {
        while self.hub.agents().iter().map(|agent| agent.tunnels).sum::<usize>() != wanted {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

impl Drop for TlsHub {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, hub: Hub) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (acceptor, hub) = (acceptor.clone(), hub.clone());
        tokio::spawn(async move {
            // Who does not trust the certificate is told so by its own side.
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = service_fn(move |request: http::Request<Incoming>| {
                let mut hub = hub.clone();
                async move { Ok::<_, Infallible>(hub.call(request).await.unwrap()) }
            });
            let _ =
                http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
        });
    }
}

/// The program, with files to read. It goes with this.
pub(crate) struct Program {
    child: Child,
    out: BufReader<ChildStdout>,
    log: Arc<Mutex<String>>,
    logging: JoinHandle<()>,
}

/// A directory with the access key in it.
pub(crate) struct Files(TempDir);

impl Files {
    pub(crate) fn new() -> Self {
        let this = Self(tempfile::tempdir().unwrap());
        this.write("accessKey", AGENT_KEY);
        this
    }

    /// Its path, as an argument.
    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn key(&self) -> String {
        self.path("accessKey").to_str().unwrap().to_owned()
    }
}

impl Program {
    /// Starts it with these arguments and variables, and no others.
    pub(crate) fn start(args: &[&str], vars: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_scm-agent"))
            .args(args)
            .env_clear()
            .envs(vars.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let mut errors = BufReader::new(child.stderr.take().unwrap());
        let log = Arc::new(Mutex::new(String::new()));
        let into = Arc::clone(&log);
        let logging = tokio::spawn(async move {
            let mut line = String::new();
            while errors.read_line(&mut line).await.unwrap() > 0 {
                into.lock().unwrap().push_str(&line);
                line.clear();
            }
        });
        Self { child, out, log, logging }
    }

    /// Runs it against this hub, with what else is given.
    pub(crate) fn run(hub: &TlsHub, files: &Files, more: &[&str]) -> Self {
        let (url, key, ca) = (hub.url(), files.key(), files.write("ca.pem", &hub.pki.ca));
        let mut args = vec!["run", "--hub", &url, "--access-key-file", &key, "--ca-file", &ca];
        args.extend(more);
        Self::start(&args, &[])
    }

    /// The line that says that it is ready.
    pub(crate) async fn ready(&mut self) -> serde_json::Value {
        let mut line = String::new();
        let read = tokio::time::timeout(PATIENCE, self.out.read_line(&mut line)).await;
        read.unwrap_or_else(|_| panic!("not ready: {}", self.log())).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}: {}", self.log()))
    }

    /// What it has said so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Until its log has these words.
    pub(crate) async fn says(&self, words: &str) -> String {
        let said = async {
            while !self.log().contains(words) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, said).await.unwrap_or_else(|_| panic!("no {words} in {}", self.log()));
        self.log()
    }

    /// As `kill -TERM` does.
    pub(crate) async fn terminate(&self) {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
    }

    /// Its end: status, output, log.
    pub(crate) async fn end(mut self) -> (ExitStatus, String, String) {
        let mut out = String::new();
        let ended = async {
            self.out.read_to_string(&mut out).await.unwrap();
            self.child.wait().await.unwrap()
        };
        let ended = tokio::time::timeout(PATIENCE, ended).await;
        let status = ended.unwrap_or_else(|_| panic!("it does not end: {}", self.log.lock().unwrap()));
        self.logging.await.unwrap();
        let log = self.log.lock().unwrap().clone();
        (status, out, log)
    }
}

/// One request over a connection of its own: status and text.
pub(crate) async fn ask(address: SocketAddr, line: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("{line} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
}

/// A TLS server that lets everybody in and says nothing.
pub(crate) async fn hello_tls(acceptor: TlsAcceptor) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let _ = stream.read(&mut [0; 1024]).await;
                }
            });
        }
    });
    address
}
