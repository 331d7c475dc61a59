//! Proxies: a small one that lives in this process, and [squid and tinyproxy](RealProxy) where they are installed.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use scm_testkit::proxy::{Proxy, Traffic};
//!
//! // Knows a name that nobody else does, as the proxy of a company knows its servers.
//! let proxy = Proxy::builder().host("gitlab.test", "127.0.0.1:4110".parse().unwrap()).start().await?;
//! println!("http_proxy={} leads to http://gitlab.test/", proxy.url());
//! assert_eq!(proxy.traffic(), Traffic::default());
//! proxy.shutdown().await;
//! # Ok(())
//! # }
//! ```

mod real;

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SERVER,
    TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use real::RealProxy;

/// Longest time to reach a server.
const CONNECT: Duration = Duration::from_secs(10);

/// What ends at each hop, besides what `Connection` names.
const HOP_BY_HOP: [HeaderName; 7] =
    [CONNECTION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];

type Answer = Response<UnsyncBoxBody<Bytes, hyper::Error>>;

/// A forward proxy on loopback: tunnels by `CONNECT`, and plain requests in absolute form. Nothing is kept but what is
/// on its way: it reads on one side as fast as the other side takes.
///
/// Its own answers look like tinyproxy's, so that a client tells them from the server's. Dropping it ends every
/// connection.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    door: Arc<Door>,
    task: JoinHandle<()>,
}

/// How a [`Proxy`] is to be.
#[derive(Default)]
pub struct ProxyBuilder {
    hosts: HashMap<String, SocketAddr>,
    authorization: Option<String>,
}

/// What has gone through a proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traffic {
    /// Tunnels that were opened.
    pub tunnels: usize,
    /// Plain requests that a server answered.
    pub requests: usize,
    /// What was refused, or came to nothing: no or a wrong password, a server that is not there, no proxy request.
    pub refused: usize,
}

impl ProxyBuilder {
    /// Leads `name`, at whatever port, to `address`.
    #[must_use]
    pub fn host(mut self, name: impl Into<String>, address: SocketAddr) -> Self {
        self.hosts.insert(name.into(), address);
        self
    }

    /// Lets nobody through but with this user name and password.
    #[must_use]
    pub fn basic_auth(mut self, user: &str, password: &str) -> Self {
        self.authorization = Some(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))));
        self
    }

    /// Listens on a port of its own.
    ///
    /// # Errors
    /// When no socket can be had.
    pub async fn start(self) -> io::Result<Proxy> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let door = Arc::new(Door {
            settings: self,
            counts: Counts::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&door)));
        Ok(Proxy { address, door, task })
    }
}

impl fmt::Debug for ProxyBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyBuilder").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

impl Proxy {
    /// One that lets everybody through.
    #[must_use]
    pub fn builder() -> ProxyBuilder {
        ProxyBuilder::default()
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://` and the address, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The same with a user name and password, percent-encoded already.
    #[must_use]
    pub fn url_with(&self, userinfo: &str) -> String {
        format!("http://{userinfo}@{}", self.address)
    }

    /// What has gone through so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        let Counts { tunnels, requests, refused } = &self.door.counts;
        let [tunnels, requests, refused] =
            [tunnels, requests, refused].map(|count| count.load(Ordering::Relaxed));
        Traffic { tunnels, requests, refused }
    }

    /// Ends every connection, and is done when all of them have ended and the port is free.
    pub async fn shutdown(mut self) {
        self.door.stop.cancel();
        // The accept loop ends by itself; a join error only says that the runtime is going down.
        let _ = (&mut self.task).await;
        self.door.tasks.close();
        self.door.tasks.wait().await;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.door.stop.cancel();
    }
}

/// What all connections share.
#[derive(Debug)]
struct Door {
    settings: ProxyBuilder,
    counts: Counts,
    stop: CancellationToken,
    tasks: TaskTracker,
}

#[derive(Debug, Default)]
struct Counts {
    tunnels: AtomicUsize,
    requests: AtomicUsize,
    refused: AtomicUsize,
}

async fn accept(listener: TcpListener, door: Arc<Door>) {
    loop {
        let accepted = tokio::select! {
            () = door.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => door.spawn(client(stream, Arc::clone(&door))),
            // Out of descriptors and the like pass; spinning on them would not help.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn client(stream: TcpStream, door: Arc<Door>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let door = Arc::clone(&door);
        async move { Ok::<_, Infallible>(door.answer(request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .preserve_header_case(true)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    // How it ends is told by the two ends.
    let _ = connection.await;
}

impl Door {
    /// Runs `task` until it ends or the proxy does.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = task => {}
            }
        });
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        let answered = if !self.is_allowed(request.headers()) {
            Err(Refusal::AuthRequired)
        } else if request.method() == Method::CONNECT {
            self.tunnel(request).await
        } else {
            self.relay(request).await
        };
        answered.unwrap_or_else(|refusal| {
            self.counts.refused.fetch_add(1, Ordering::Relaxed);
            refusal.answer()
        })
    }

    fn is_allowed(&self, headers: &HeaderMap) -> bool {
        let expected = self.settings.authorization.as_deref().map(str::as_bytes);
        expected.is_none() || expected == headers.get(PROXY_AUTHORIZATION).map(HeaderValue::as_bytes)
    }

    async fn tunnel(&self, request: Request<Incoming>) -> Result<Answer, Refusal> {
        let authority = request.uri().authority().filter(|authority| authority.port().is_some());
        let mut server = self.reach(authority.ok_or(Refusal::NotForAProxy)?, 443).await?;
        self.counts.tunnels.fetch_add(1, Ordering::Relaxed);
        self.spawn(async move {
            // The client may be gone before it has heard the answer, and either side later: both are told by that.
            if let Ok(client) = hyper::upgrade::on(request).await {
                let _ = copy_bidirectional(&mut TokioIo::new(client), &mut server).await;
            }
        });
        Ok(said(""))
    }

    async fn relay(&self, mut request: Request<Incoming>) -> Result<Answer, Refusal> {
        let uri = request.uri().clone();
        let authority = uri.authority().filter(|_| uri.scheme() == Some(&Scheme::HTTP));
        let authority = authority.ok_or(Refusal::NotForAProxy)?;
        let server = self.reach(authority, 80).await?;
        let connection = hyper::client::conn::http1::Builder::new()
            .preserve_header_case(true)
            .handshake::<_, Incoming>(TokioIo::new(server));
        let (mut sender, connection) = connection.await.map_err(|_| Refusal::NoAnswer)?;
        self.spawn(async move {
            // The request or the answer's body says how it ended.
            let _ = connection.await;
        });
        let path = uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
        *request.uri_mut() = Uri::from(path);
        let host = authority.as_str().rsplit('@').next().unwrap_or_default();
        let host = HeaderValue::try_from(host).map_err(|_| Refusal::NotForAProxy)?;
        pass_on(request.headers_mut());
        request.headers_mut().insert(HOST, host);
        let mut response = sender.send_request(request).await.map_err(|_| Refusal::NoAnswer)?;
        self.counts.requests.fetch_add(1, Ordering::Relaxed);
        pass_on(response.headers_mut());
        Ok(response.map(BodyExt::boxed_unsync))
    }

    async fn reach(&self, authority: &Authority, default_port: u16) -> Result<TcpStream, Refusal> {
        let known = self.settings.hosts.get(authority.host());
        let port = authority.port_u16().unwrap_or(default_port);
        let stream = async {
            match known {
                Some(address) => TcpStream::connect(address).await,
                None => TcpStream::connect((authority.host().trim_matches(['[', ']']), port)).await,
            }
        };
        let stream = tokio::time::timeout(CONNECT, stream).await;
        let stream = stream.ok().and_then(Result::ok).ok_or(Refusal::Unreachable)?;
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }
}

/// Takes out what ends at this hop, and says that there is one.
fn pass_on(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
    for name in ["keep-alive", "proxy-connection"] {
        headers.remove(name);
    }
    headers.append(VIA, HeaderValue::from_static("1.1 scm-testkit"));
}

/// Why the proxy answers for itself.
#[derive(Clone, Copy, Debug)]
enum Refusal {
    AuthRequired,
    NotForAProxy,
    Unreachable,
    NoAnswer,
}

impl Refusal {
    fn answer(self) -> Answer {
        let (status, text) = match self {
            Self::AuthRequired => {
                (StatusCode::PROXY_AUTHENTICATION_REQUIRED, "user name and password, please")
            }
            Self::NotForAProxy => {
                (StatusCode::BAD_REQUEST, "this is a proxy: CONNECT host:port, or a whole http:// URL")
            }
            // Clients know these words of tinyproxy's: no server has seen the request.
            Self::Unreachable => (StatusCode::BAD_GATEWAY, "unable to connect to the remote web server"),
            Self::NoAnswer => (StatusCode::BAD_GATEWAY, "the server gave no answer"),
        };
        let mut response = said(text);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(SERVER, HeaderValue::from_static("tinyproxy-like/scm-testkit"));
        if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            headers.insert(PROXY_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"scm-testkit\""));
        }
        response
    }
}

fn said(text: &'static str) -> Answer {
    Response::new(Full::from(text).map_err(|never: Infallible| match never {}).boxed_unsync())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::fault::socket::{Script, ScriptedServer, closed_port, drain, head, serve};

    async fn connect(proxy: &Proxy, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    /// Says this, and gives everything that comes back.
    async fn talk(proxy: &Proxy, text: &str) -> String {
        let mut answer = String::new();
        connect(proxy, text).await.read_to_string(&mut answer).await.unwrap();
        answer
    }

    fn traffic(tunnels: usize, requests: usize, refused: usize) -> Traffic {
        Traffic { tunnels, requests, refused }
    }

    #[tokio::test]
    async fn a_plain_request_goes_on_as_the_server_wants_it() {
        let answer = [("X-Own", "1"), ("Keep-Alive", "timeout=5")];
        let server =
            ScriptedServer::start([Script::new().request().answer(207, &answer, "hello")]).await.unwrap();
        let proxy = Proxy::builder().host("git.test", server.address()).start().await.unwrap();
        let text = "POST http://git.test:81/a%2Fb?x=%20y HTTP/1.1\r\nHost: other.test\r\nConnection: close, X-Hop\r\n\
                    X-Hop: 1\r\nProxy-Authorization: Basic eDp5\r\nPRIVATE-TOKEN: t\r\nContent-Length: 3\r\n\r\nabc";
        let said = talk(&proxy, text).await;
        assert!(said.starts_with("HTTP/1.1 207 ") && said.ends_with("\r\n\r\nhello"), "{said}");
        assert!(said.contains("X-Own: 1\r\n") && said.contains("via: 1.1 scm-testkit\r\n"), "{said}");
        assert!(!said.to_lowercase().contains("keep-alive"), "{said}");
        let seen = &server.requests()[0];
        assert_eq!((seen.method.as_str(), seen.target.as_str()), ("POST", "/a%2Fb?x=%20y"));
        assert_eq!(seen.body, b"abc");
        assert!(seen.head.contains("PRIVATE-TOKEN: t\r\n"), "{}", seen.head);
        let head = seen.head.to_lowercase();
        assert!(
            head.contains("host: git.test:81\r\n") && head.contains("via: 1.1 scm-testkit\r\n"),
            "{head}"
        );
        for gone in ["x-hop", "proxy-authorization", "connection", "other.test"] {
            assert!(!head.contains(gone), "{gone} in {head}");
        }
        assert_eq!(proxy.traffic(), traffic(0, 1, 0));
    }

    #[tokio::test]
    async fn a_tunnel_carries_bytes_both_ways_and_ends_with_the_proxy() {
        let server = serve(|mut stream| async move {
            let asked = head(&mut stream).await;
            stream.write_all(asked.to_uppercase().as_bytes()).await.unwrap();
            drain(&mut stream).await;
        });
        let server = server.await.unwrap();
        let proxy = Proxy::builder().start().await.unwrap();
        let mut tunnel =
            connect(&proxy, &format!("CONNECT {server} HTTP/1.1\r\nHost: {server}\r\n\r\n")).await;
        assert!(head(&mut tunnel).await.starts_with("HTTP/1.1 200 "));
        tunnel.write_all(b"no http\r\n\r\n").await.unwrap();
        assert_eq!(head(&mut tunnel).await, "NO HTTP\r\n\r\n");
        assert_eq!(proxy.traffic(), traffic(1, 0, 0));

        let address = proxy.address();
        proxy.shutdown().await;
        assert!(!matches!(tunnel.read(&mut [0]).await, Ok(1..)));
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn what_it_cannot_do_it_says() {
        let closed = closed_port().await.unwrap();
        let mute = ScriptedServer::start([Script::new().request()]).await.unwrap();
        let proxy = Proxy::builder().start().await.unwrap();
        for (line, status, words) in [
            (format!("CONNECT {closed}"), 502, "unable to connect to the remote"),
            (format!("GET http://{closed}/"), 502, "unable to connect to the remote"),
            (format!("GET {}/", mute.url()), 502, "the server gave no answer"),
            ("GET /".to_owned(), 400, "this is a proxy"),
            ("GET https://git.test/".to_owned(), 400, "this is a proxy"),
            ("CONNECT git.test".to_owned(), 400, "this is a proxy"),
        ] {
            let said =
                talk(&proxy, &format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await;
            assert!(
                said.starts_with(&format!("HTTP/1.1 {status} ")) && said.contains(words),
                "{line}: {said}"
            );
            assert!(said.contains("server: tinyproxy-like/scm-testkit\r\n"), "{said}");
        }
        assert_eq!(proxy.traffic(), traffic(0, 0, 6));
    }

    #[tokio::test]
    async fn a_password_is_asked_for() {
        let server =
            ScriptedServer::start([Script::new().request().answer(200, &[], "hello")]).await.unwrap();
        let proxy = Proxy::builder().basic_auth("svc", "p@ss").start().await.unwrap();
        let ask = |authorization: &str| {
            let url = server.url();
            format!("GET {url}/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{authorization}\r\n")
        };
        for wrong in ["", "Proxy-Authorization: Basic c3ZjOnBhc3M=\r\n"] {
            let said = talk(&proxy, &ask(wrong)).await;
            assert!(said.starts_with("HTTP/1.1 407 "), "{said}");
            assert!(said.contains("proxy-authenticate: Basic realm=\"scm-testkit\"\r\n"), "{said}");
        }
        assert_eq!(server.connections(), 0);
        let said = talk(&proxy, &ask("Proxy-Authorization: Basic c3ZjOnBAc3M=\r\n")).await;
        assert!(said.ends_with("hello"), "{said}");
        assert_eq!(proxy.traffic(), traffic(0, 1, 2));
        assert!(!format!("{proxy:?}").contains("c3ZjOnBAc3M="));
    }

    /// A server that takes nothing stops a client that would send without end, plain and through a tunnel.
    #[tokio::test]
    async fn it_keeps_no_more_than_the_windows_hold() {
        let server = serve(|mut stream| async move {
            head(&mut stream).await;
            std::future::pending().await
        });
        let server = server.await.unwrap();
        let proxy = Proxy::builder().start().await.unwrap();
        let request = "POST http://HOST/ HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000000\r\n\r\n";
        let tunnel = "CONNECT HOST HTTP/1.1\r\nHost: x\r\n\r\n";
        for text in [request, tunnel] {
            let mut client = connect(&proxy, &text.replace("HOST", &server.to_string())).await;
            if text == tunnel {
                head(&mut client).await;
                client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
            }
            let (piece, mut sent) = (vec![0; 1 << 20], 0);
            // Nobody takes a piece for that long: the windows are full.
            while let Ok(wrote) = tokio::time::timeout(Duration::from_secs(1), client.write(&piece)).await {
                sent += wrote.unwrap();
                assert!(sent < 100 << 20, "{sent} bytes are somewhere");
            }
        }
    }
}
