//! Everything at once for a while, with agents that are killed and stopped at random. `SOAK_SECONDS` says for how long.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{Request, Response, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use scm_core::{Body, Delivery, Transport, TransportError};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::fault_world::{HubProcess, Process, request, soon, until, variable};

/// Who asks at the same time.
const CALLERS: usize = 16;

/// A request that is not over by then is lost.
const LOST: Duration = Duration::from_secs(60);

/// What the largest memory may grow by from the second quarter of the time to the last one, in KiB.
const GROWTH: u64 = 24 * 1024;

/// What bodies are made of.
static PIECE: [u8; 16 * 1024] = [7; 16 * 1024];

/// A request, which its number tells all about.
#[derive(Clone, Copy)]
struct Errand {
    number: u64,
    what: &'static str,
    method: &'static str,
    bytes: u64,
}

impl Errand {
    fn of(number: u64) -> Self {
        let (kind, turn) = (number % 10, usize::try_from(number / 10).unwrap());
        let (what, methods, bytes): (_, &[&str], _) = match kind {
            0..4 => ("read", &["GET", "HEAD", "OPTIONS"], 0),
            4..7 => ("work", &["POST", "DELETE", "PATCH"], 100),
            7 => ("download", &["GET"], 40_000 * (number % 97)),
            8 => ("upload", &["PUT", "POST"], 40_000 * (number % 97)),
            // Its caller does not wait for the end.
            _ => ("given up", &["GET", "POST"], 100),
        };
        Self { number, what, method: methods[turn % methods.len()], bytes }
    }

    fn may_run_twice(self) -> bool {
        ["GET", "HEAD", "OPTIONS"].contains(&self.method)
    }

    /// Sends it, and holds the answer to what it has to be.
    async fn run(self, transport: &Transport, server: SocketAddr) -> Result<u8, TransportError> {
        let url = format!("http://{server}/{}/{}/{}", self.what.replace(' ', "-"), self.number, self.bytes);
        let body = match self.what {
            "upload" => Body::stream(pieces(self.bytes).map(Ok), None),
            "work" | "given up" => Body::from("x".repeat(usize::try_from(self.bytes).unwrap())),
            _ => Body::empty(),
        };
        let mut asked = request(self.method, &url, body);
        asked.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain"));
        let answer = transport.send(asked).await?;
        assert_eq!(answer.status(), 200);
        let attempts = answer.headers().get("scm-hub-attempts").map_or(1, |_| 2);
        let mut body = answer.into_body();
        let (mut read, mut text) = (0, Vec::new());
        while let Some(piece) = body.next().await {
            let piece = piece?;
            read += piece.len() as u64;
            if self.what != "download" {
                text.extend_from_slice(&piece);
            }
        }
        match (self.what, self.method) {
            ("download", _) => assert_eq!(read, self.bytes),
            (_, "HEAD") => assert_eq!(read, 0),
            _ => assert_eq!(String::from_utf8(text).unwrap(), format!("{} {}", self.number, self.bytes)),
        }
        Ok(attempts)
    }
}

fn pieces(bytes: u64) -> impl futures_util::Stream<Item = Bytes> + Send {
    stream::unfold(bytes, |left| async move {
        let now = left.min(PIECE.len() as u64);
        (now > 0).then(|| (Bytes::from_static(&PIECE[..usize::try_from(now).unwrap()]), left - now))
    })
}

/// A server that counts by number how often it was asked.
struct Counting {
    address: SocketAddr,
    runs: Runs,
    task: JoinHandle<()>,
}

type Runs = Arc<Mutex<BTreeMap<u64, u32>>>;

impl Counting {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let runs = Runs::default();
        let counts = Arc::clone(&runs);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let counts = Arc::clone(&counts);
                let service = service_fn(move |request| answer(request, Arc::clone(&counts)));
                let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                // Agents that are killed break it.
                connections.spawn(async move { connection.await.is_ok() });
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, runs, task }
    }
}

/// Paths are `/what/number/bytes`.
async fn answer(
    request: Request<Incoming>,
    runs: Runs,
) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
    let path = request.uri().path().to_owned();
    let parts: Vec<_> = path.split('/').collect();
    let (number, bytes): (u64, u64) = (parts[2].parse().unwrap(), parts[3].parse().unwrap());
    *runs.lock().unwrap().entry(number).or_default() += 1;
    if parts[1] == "given-up" {
        std::future::pending::<()>().await;
    }
    let (length, body) = if parts[1] == "download" {
        (bytes, BoxBody::new(StreamBody::new(pieces(bytes).map(|piece| Ok(Frame::data(piece))))))
    } else {
        let (mut body, mut read) = (request.into_body(), 0);
        while let Some(Ok(frame)) = body.frame().await {
            read += frame.data_ref().map_or(0, Bytes::len);
        }
        let text = format!("{number} {read}");
        (text.len() as u64, http_body_util::Full::from(text).boxed())
    };
    Ok(Response::builder().header(header::CONTENT_LENGTH, length).body(body).unwrap())
}

/// What became of the requests.
#[derive(Default)]
struct Tally {
    sent: AtomicU64,
    /// By what was asked for and how it ended.
    ends: Mutex<BTreeMap<(&'static str, String), u64>>,
    /// Those of which it was said that no server saw them.
    not_sent: Mutex<Vec<u64>>,
    /// Those that were answered.
    answered: Mutex<Vec<u64>>,
    lost: Mutex<Vec<u64>>,
    /// How long small requests took, in microseconds.
    small: Mutex<Vec<u64>>,
}

impl Tally {
    fn end(&self, errand: Errand, how: String) {
        *self.ends.lock().unwrap().entry((errand.what, how)).or_default() += 1;
    }

    async fn call(&self, hub: &Transport, server: SocketAddr) {
        let errand = Errand::of(self.sent.fetch_add(1, Ordering::Relaxed));
        let start = Instant::now();
        if errand.what == "given up" {
            let patience = Duration::from_millis(fastrand::u64(0..30));
            let Ok(ended) = timeout(patience, errand.run(hub, server)).await else {
                return self.end(errand, "given up by its caller".to_owned());
            };
            return self.ended(errand, ended);
        }
        match timeout(LOST, errand.run(hub, server)).await {
            Ok(ended) => {
                if ended.is_ok() && ["read", "work"].contains(&errand.what) {
                    self.small.lock().unwrap().push(u64::try_from(start.elapsed().as_micros()).unwrap());
                }
                self.ended(errand, ended);
            }
            Err(_) => self.lost.lock().unwrap().push(errand.number),
        }
    }

    fn ended(&self, errand: Errand, ended: Result<u8, TransportError>) {
        match ended {
            Ok(attempts) => {
                self.answered.lock().unwrap().push(errand.number);
                self.end(errand, format!("answered, attempts: {attempts}"));
            }
            Err(error) => {
                if error.delivery() == Delivery::NotSent {
                    self.not_sent.lock().unwrap().push(errand.number);
                }
                let attempts = error.details().get("hub_attempts").map_or("1", String::as_str);
                let code = error.code().map_or("", scm_core::Code::as_str);
                self.end(
                    errand,
                    format!("{:?} {code} {:?}, attempts: {attempts}", error.kind(), error.delivery()),
                );
            }
        }
    }

    /// A line for each way in which requests ended, and how long small ones took.
    fn table(&self) -> String {
        let ends = self.ends.lock().unwrap();
        let mut lines: Vec<_> =
            ends.iter().map(|((what, how), count)| format!("{count:>9} {what:<9} {how}")).collect();
        let mut small = self.small.lock().unwrap().clone();
        small.sort_unstable();
        let at = |part: usize| small.get(small.len() * part / 100).copied().unwrap_or_default();
        lines.push(format!("small requests: p50 {} µs, p99 {} µs", at(50), at(99)));
        lines.join("\n")
    }
}

/// Two agents that are killed or stopped, and started again; the third is only watched.
async fn unrest(
    hub: &HubProcess,
    allow: &str,
    agents: &mut [Process; 2],
    over: &CancellationToken,
) -> [u32; 2] {
    let mut ends = [0; 2];
    while !over.is_cancelled() {
        let agent = &mut agents[fastrand::usize(0..2)];
        let killed = fastrand::u8(0..3) > 0;
        if killed {
            agent.kill().await;
            ends[0] += 1;
        } else {
            agent.terminate().await;
            ends[1] += 1;
        }
        sleep(Duration::from_millis(fastrand::u64(0..500))).await;
        // The one that was stopped may still be at its work, beside its successor.
        let next = hub.agent_at(hub.address(), &[allow], &["--grace", "60"]).await;
        let old = std::mem::replace(agent, next);
        let (code, log) = old.end().await;
        assert_eq!(code, (!killed).then_some(0), "{log}");
        sleep(Duration::from_millis(fastrand::u64(0..1500))).await;
    }
    ends
}

/// The largest memory of each quarter of the time, in KiB.
async fn watch(process: &Process, length: Duration) -> [u64; 4] {
    let start = Instant::now();
    let mut largest = [0; 4];
    while start.elapsed() < length {
        let quarter = (start.elapsed().as_micros() * 4 / length.as_micros()) as usize;
        let seen = &mut largest[quarter.min(3)];
        *seen = process.memory().now.max(*seen);
        sleep(Duration::from_millis(50)).await;
    }
    largest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_runs_twice_or_grows() {
    let length = Duration::from_secs(variable("SOAK_SECONDS").unwrap_or(20));
    let server = Counting::start().await;
    let hub = HubProcess::quiet("").await;
    let allow = format!("http://{}=any", server.address);
    let veteran = hub.agent(&[&allow]).await;
    let mut agents = [hub.agent(&[&allow]).await, hub.agent(&[&allow]).await];
    hub.tunnels(6).await;
    let files = (hub.process.descriptors(), veteran.descriptors());

    let (tally, over) = (Arc::new(Tally::default()), CancellationToken::new());
    let transport = hub.transport();
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (tally, over, transport, address) =
                (Arc::clone(&tally), over.clone(), transport.clone(), server.address);
            tokio::spawn(async move {
                while !over.is_cancelled() {
                    tally.call(&transport, address).await;
                }
            })
        })
        .collect();
    let clock = async {
        sleep(length).await;
        over.cancel();
    };
    let (ends, memory, of_agent, ()) = tokio::join!(
        unrest(&hub, &allow, &mut agents, &over),
        watch(&hub.process, length),
        watch(&veteran, length),
        clock
    );
    for caller in callers {
        soon("a caller ends", caller).await.unwrap();
    }

    // All of it goes: requests, connections of callers, and those to the server.
    drop(transport);
    server.task.abort();
    hub.tunnels(6).await;
    until("the hub's descriptors", || hub.process.descriptors() <= files.0).await;
    until("the agent's descriptors", || veteran.descriptors() <= files.1).await;
    assert_eq!(hub.status().await.in_flight, 0);

    let runs = server.runs.lock().unwrap();
    let twice: Vec<_> =
        runs.iter().filter(|(_, count)| **count > 1).map(|(number, _)| Errand::of(*number)).collect();
    println!(
        "{} requests in {length:?}; agents killed: {}, stopped: {}; reads that ran twice: {}",
        tally.sent.load(Ordering::Relaxed),
        ends[0],
        ends[1],
        twice.len()
    );
    println!("{}", tally.table());
    println!(
        "hub: largest memory of each quarter {memory:?} KiB, peak {} KiB, descriptors {}",
        hub.process.memory().peak,
        files.0
    );
    println!(
        "agent: largest memory of each quarter {of_agent:?} KiB, peak {} KiB, descriptors {}",
        veteran.memory().peak,
        files.1
    );

    assert_eq!(*tally.lost.lock().unwrap(), [0; 0], "neither an answer nor an error");
    for errand in twice {
        assert!(errand.may_run_twice(), "{} {} ran twice", errand.method, errand.number);
        assert_eq!(runs[&errand.number], 2);
    }
    for number in tally.not_sent.lock().unwrap().iter() {
        assert_eq!(runs.get(number), None, "{} was said not to be sent", Errand::of(*number).method);
    }
    for number in tally.answered.lock().unwrap().iter() {
        assert!(runs.contains_key(number), "{number} was answered by nobody");
    }
    for [_, early, _, late] in [memory, of_agent] {
        assert!(late <= early + GROWTH, "from {early} to {late} KiB");
    }
    assert!(ends[0] > 0 && tally.answered.lock().unwrap().len() > 100);
}
