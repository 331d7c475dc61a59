//! `bench-caller direct URL [CERTIFICATES]`, `bench-caller hub URL HUB [CERTIFICATES]` or `bench-caller in-process URL
//! [CERTIFICATES]`: calls the origin at `URL`, straight, through the agent of the hub at `HUB`, or through that of a hub in
//! this process, whose URL it prints. Answers each line:
//!
//! - `ready`: `ok` once the origin answers;
//! - `get CALLERS MILLISECONDS`: requests in a second, and the median and the 99th percentile in microseconds;
//! - `down BYTES` and `up BYTES`: milliseconds.
//!
//! What fails is answered with `failed` and the reason. Stops when standard input ends.

use std::error::Error;
use std::io::{Write as _, stdin, stdout};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use benches::{AGENT, AUTHORITY, SERVICE, serve};
use bytes::Bytes;
use futures_util::{StreamExt as _, future, stream};
use http::{Request, header};
use hyper_util::service::TowerToHyperService;
use scm_core::{Body, Transport};
use scm_relay::{Hub, HubSettings, KeyHash, Keys};
use scm_transport::{CaCertificates, DirectTransport, Network, RelayTransport};
use tokio::sync::Barrier;
use tokio::time::{sleep, timeout};

type Failure = Box<dyn Error + Send + Sync>;

/// What uploads are made of.
static CHUNK: [u8; 64 * 1024] = [b'x'; 64 * 1024];

/// Requests of each caller before the time begins: connections are open then.
const WARM_UP: usize = 20;

/// Longest transfer, and longest wait for a rival.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (url, transport) = match args[..] {
        ["direct", url, ref rest @ ..] => (url, Transport::new(direct(rest.first())?)),
        ["hub", url, hub, ref rest @ ..] => {
            let inner = Transport::new(direct(rest.first())?);
            let relay = RelayTransport::new(hub.parse()?, AGENT.0, SERVICE.to_owned().into(), inner, true)?;
            (url, Transport::new(relay))
        }
        ["in-process", url, ref rest @ ..] => {
            let certificates = rest.first().map(PathBuf::from);
            let keys = Keys::new().with_agent(AGENT.0.parse()?, KeyHash::of(AGENT.1))?;
            let hub = Hub::new(HubSettings::new(), keys);
            let address = serve(TowerToHyperService::new(hub.clone()), certificates.as_deref()).await?;
            let scheme = if certificates.is_some() { "https" } else { "http" };
            writeln!(stdout(), "{scheme}://{address}")?;
            (url, Transport::new(hub.transport(AGENT.0.parse()?)))
        }
        _ => return Err("usage: bench-caller direct|hub|in-process URL [HUB] [CERTIFICATES]".into()),
    };
    let caller = Arc::new(Caller { url: url.to_owned(), transport });
    let (lines, mut asked) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || stdin().lines().map_while(Result::ok).try_for_each(|line| lines.send(line)));
    while let Some(line) = asked.recv().await {
        match caller.answer(&line).await {
            Ok(answer) => writeln!(stdout(), "{answer}")?,
            Err(error) => writeln!(stdout(), "failed {}", error.to_string().replace('\n', " "))?,
        }
    }
    Ok(())
}

fn direct(certificates: Option<&&str>) -> Result<DirectTransport, Failure> {
    let mut network = Network::new();
    if let Some(folder) = certificates {
        let roots = CaCertificates::parse(std::fs::read(Path::new(folder).join(AUTHORITY))?)?;
        network = network.with_roots_only(roots);
    }
    Ok(DirectTransport::new(&network)?)
}

struct Caller {
    url: String,
    transport: Transport,
}

impl Caller {
    async fn answer(self: &Arc<Self>, line: &str) -> Result<String, Failure> {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["ready"] => {
                let start = Instant::now();
                loop {
                    match timeout(PATIENCE, self.get("small")).await? {
                        Ok(_) => return Ok("ok".to_owned()),
                        Err(error) if start.elapsed() > PATIENCE => return Err(error),
                        Err(_) => sleep(Duration::from_millis(20)).await,
                    }
                }
            }
            ["get", callers, milliseconds] => {
                self.many(callers.parse()?, Duration::from_millis(milliseconds.parse()?)).await
            }
            ["down", bytes] => {
                let start = Instant::now();
                let read = timeout(PATIENCE, self.get(&format!("large/{bytes}"))).await??;
                took(read, bytes.parse()?, start)
            }
            ["up", bytes] => {
                let length = bytes.parse()?;
                let start = Instant::now();
                let read = timeout(PATIENCE, self.put(length)).await??;
                took(read, length, start)
            }
            _ => Err(format!("no such command: {line}").into()),
        }
    }

    /// As many requests as so many callers get answered in that time, each one after the other.
    async fn many(self: &Arc<Self>, callers: usize, time: Duration) -> Result<String, Failure> {
        let begin = Arc::new(Barrier::new(callers));
        let work = (0..callers).map(|_| {
            let (this, begin) = (Arc::clone(self), Arc::clone(&begin));
            let task = tokio::spawn(async move {
                for _ in 0..WARM_UP {
                    this.get("small").await?;
                }
                begin.wait().await;
                let start = Instant::now();
                let mut took = Vec::new();
                while start.elapsed() < time {
                    let asked = Instant::now();
                    this.get("small").await?;
                    took.push(asked.elapsed());
                }
                Ok::<_, Failure>((took, start.elapsed()))
            });
            async { task.await? }
        });
        let (mut took, mut longest) = (Vec::new(), Duration::ZERO);
        for (own, elapsed) in timeout(PATIENCE, future::try_join_all(work)).await?? {
            took.extend(own);
            longest = longest.max(elapsed);
        }
        took.sort_unstable();
        let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
        Ok(format!("{:.1} {:.1} {:.1}", took.len() as f64 / longest.as_secs_f64(), at(0.5), at(0.99)))
    }

    /// Reads an answer to its end: how many bytes it has.
    async fn get(&self, path: &str) -> Result<usize, Failure> {
        let request = Request::get(format!("{}/{path}", self.url)).body(Body::empty())?;
        let mut body = self.send(request).await?;
        let mut read = 0;
        while let Some(chunk) = body.next().await {
            read += chunk?.len();
        }
        Ok(read)
    }

    /// Sends so many bytes: how many of them the origin says it has read.
    async fn put(&self, length: usize) -> Result<usize, Failure> {
        let chunks = stream::iter((0..length).step_by(CHUNK.len()).map(move |at| {
            let size = CHUNK.len().min(length - at);
            Ok(Bytes::from_static(&CHUNK[..size]))
        }));
        let request = Request::put(format!("{}/large", self.url))
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .body(Body::stream(chunks, Some(length as u64)))?;
        let said = self.send(request).await?.collect(1000).await?;
        Ok(std::str::from_utf8(&said)?.parse()?)
    }

    async fn send(&self, request: Request<Body>) -> Result<Body, Failure> {
        let answer = self.transport.send(request).await?;
        if !answer.status().is_success() {
            return Err(format!("the answer is {}", answer.status()).into());
        }
        Ok(answer.into_body())
    }
}

fn took(read: usize, length: usize, start: Instant) -> Result<String, Failure> {
    if read != length {
        return Err(format!("{read} of {length} bytes arrived").into());
    }
    Ok(format!("{:.2}", start.elapsed().as_secs_f64() * 1e3))
}
