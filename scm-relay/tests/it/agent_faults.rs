//! What happens to an agent and to its tunnels, made to happen.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use scm_core::{Body, Delivery, ErrorKind};
use scm_relay::{AgentSettings, HubSettings};
use scm_testkit::fault::socket::{self, Script, ScriptedServer};
use tokio::io::{AsyncWriteExt as _, copy_bidirectional};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::agent_world::{Files, Program, TlsHub};
use crate::world::{AGENT_KEY, World, policy, run_agent_by};

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn to(url: &str, method: &str, body: Body) -> http::Request<Body> {
    http::Request::builder().method(method).uri(url).body(body).unwrap()
}

#[tokio::test]
async fn a_killed_program_fails_what_is_in_flight_at_once_and_only_a_get_is_asked_again() {
    let stalls = (0..3).map(|_| Script::new().request().stall());
    let upload = ScriptedServer::start([Script::new().touch().stall()]).await.unwrap();
    let server = ScriptedServer::start(stalls).await.unwrap();
    let (hub, files) = (TlsHub::start().await, Files::new());
    let (allow, uploads) = (format!("{}=any", server.url()), format!("{}=any", upload.url()));
    let mut agent = Program::run(&hub, &files, &["--allow", &allow, &uploads]);
    agent.ready().await;
    let send = |request| {
        let transport = hub.transport();
        tokio::spawn(async move { transport.send(request).await })
    };
    let endless = stream::repeat_with(|| Ok(Bytes::from_static(&[7; 8192])));
    let post = send(to(&server.url(), "POST", Body::from("work".to_owned())));
    until(|| server.requests().len() == 1).await;
    let get = send(to(&server.url(), "GET", Body::empty()));
    until(|| server.requests().len() == 2).await;
    let upload_sent = send(to(&upload.url(), "PUT", Body::stream(endless, None)));
    until(|| upload.connections() == 1).await;

    agent.kill();
    for sent in [post, upload_sent] {
        let error = sent.await.unwrap().unwrap_err();
        assert_eq!((error.kind(), error.delivery()), (ErrorKind::Relay, Delivery::Unknown), "{error}");
    }
    // The second agent asks for the GET alone.
    let mut second = Program::run(&hub, &files, &["--allow", &allow]);
    second.ready().await;
    until(|| server.requests().len() == 3).await;
    assert!(server.requests()[2].head.starts_with("GET "), "{}", server.requests()[2].head);
    get.abort();
    assert_eq!((server.requests().len(), upload.connections()), (3, 1));
}

/// Leads to `target`, and can stop to pass anything on, without a word to either side.
struct Freezer {
    address: SocketAddr,
    frozen: Arc<Mutex<CancellationToken>>,
}

impl Freezer {
    async fn before(target: SocketAddr) -> Self {
        let frozen = Arc::new(Mutex::new(CancellationToken::new()));
        let current = Arc::clone(&frozen);
        let address = socket::serve(move |mut stream| {
            let freeze = current.lock().unwrap().clone();
            async move {
                let mut server = TcpStream::connect(target).await.unwrap();
                tokio::select! {
                    _ = copy_bidirectional(&mut stream, &mut server) => {}
                    () = freeze.cancelled() => std::future::pending().await,
                }
            }
        });
        Self { address: address.await.unwrap(), frozen }
    }

    /// What is open now hangs; what comes later does not.
    fn freeze(&self) {
        std::mem::take(&mut *self.frozen.lock().unwrap()).cancel();
    }
}

#[tokio::test]
async fn a_tunnel_that_hangs_without_a_word_is_found_by_both_ends_and_replaced() {
    let (every, limit) = (Duration::from_millis(50), Duration::from_millis(500));
    let mut settings = HubSettings::new().with_patience(Duration::from_secs(20));
    (settings.ping_every, settings.ping_limit) = (every, limit);
    let world = World::with(settings).await;
    let freezer = Freezer::before(world.address).await;
    let server = ScriptedServer::start([Script::new().request().json(200, "\"here\"")]).await.unwrap();
    let settings = AgentSettings::new().with_ping(every, limit).with_tunnels(1);
    let hub = format!("http://{}", freezer.address);
    let agent = run_agent_by(&hub, AGENT_KEY, policy(&[&format!("{}=any", server.url())]), settings);
    world.tunnels(1).await;
    freezer.freeze();
    until(|| agent.health.metrics().contains("scm_agent_tunnels_opened_total 2\n")).await;
    world.tunnels(1).await;
    let answer = world.transport().send(to(&server.url(), "POST", Body::empty())).await.unwrap();
    assert_eq!(answer.into_body().collect(100).await.unwrap(), "\"here\"");
}

#[tokio::test]
async fn a_proxy_with_an_odd_way_to_say_yes_is_taken_at_its_word() {
    for (answer, piece) in [
        ("HTTP/1.0 200 OK\r\nProxy-Agent: old\r\n\r\n", 4096),
        ("HTTP/1.1 200 Connection established\r\n\r\n", 1),
        ("HTTP/1.1 204 No Content\r\n\r\n", 7),
    ] {
        let (hub, files) = (TlsHub::start().await, Files::new());
        let target = hub.address;
        let proxy = socket::serve(move |mut stream| async move {
            socket::head(&mut stream).await;
            for piece in answer.as_bytes().chunks(piece) {
                stream.write_all(piece).await.unwrap();
                stream.flush().await.unwrap();
                tokio::task::yield_now().await;
            }
            let mut server = TcpStream::connect(target).await.unwrap();
            // How it ends is told by the two ends.
            let _ = copy_bidirectional(&mut stream, &mut server).await;
        });
        let url = format!("http://{}", proxy.await.unwrap());
        let more = ["--allow", "https://git.test=gitlab", "--proxy", &url, "--proxy-loopback"];
        let mut agent = Program::run(&hub, &files, &more);
        agent.ready().await;
        hub.tunnels(2).await;
    }
}
