//! Hub and agents as they run in the field: each a process of its own, with files to read and a log.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{Stream, stream};
use http::Request;
use scm_core::{Body, Transport, TransportError};
use scm_relay::{AgentStatus, KeyHash};
use scm_testkit::fault::socket;
use scm_transport::RelayTransport;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::world::{AGENT_KEY, SERVICE_KEY, direct};

/// Limits of the hub that nothing here waits for: what ends, ends for another reason.
pub(crate) const HOURS: &str = "[limits]\npatience_s = 3600\nheader_timeout_s = 3600\nidle_timeout_s = 3600\n\
                                ping_every_s = 3600\nping_limit_s = 3600";

/// Longer than anything here should take.
const PATIENCE: Duration = Duration::from_secs(120);

/// What does not end is a failure of the test, and not of the whole run.
pub(crate) async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    timeout(PATIENCE, work).await.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"))
}

pub(crate) async fn until(what: &str, condition: impl Fn() -> bool + Send + Sync) {
    let met = async {
        while !condition() {
            sleep(Duration::from_millis(2)).await;
        }
    };
    soon(what, met).await;
}

/// A program that runs, and ends with this.
pub(crate) struct Process {
    child: Child,
    /// The line that it printed when it was ready.
    pub(crate) ready: serde_json::Value,
    log: PathBuf,
}

impl Process {
    /// Starts it with its log in `log`, and waits until it is ready; without a line, it has ended.
    async fn start(mut command: Command, log: PathBuf, level: &str) -> Option<Self> {
        let mut child = command
            .env_clear()
            .env("SCM_HUB_LOG", level)
            .env("SCM_AGENT_LOG", level)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        soon(&format!("{command:?} gets ready"), out.read_line(&mut line)).await.unwrap();
        let ready = serde_json::from_str(&line).ok()?;
        Some(Self { child, ready, log })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// What it has said so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Until its log has these words.
    pub(crate) async fn says(&self, words: &str) {
        let said = async {
            while !self.log().contains(words) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, said).await.unwrap_or_else(|_| panic!("no {words} in {}", self.log()));
    }

    /// As `kill -KILL` does: it cannot say a word.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// As operators stop it.
    pub(crate) async fn terminate(&self) {
        let id = self.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
    }

    /// What it exits with, and all that it said.
    pub(crate) async fn end(mut self) -> (Option<i32>, String) {
        let status = soon("the program ends", self.child.wait()).await.unwrap();
        (status.code(), self.log())
    }

    pub(crate) fn memory(&self) -> Memory {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let of = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_ascii_whitespace().next().unwrap().parse().unwrap()
        };
        Memory { now: of("VmRSS:"), peak: of("VmHWM:") }
    }

    /// How long it has worked.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap();
        let fields = stat.rsplit(')').next().unwrap().split_ascii_whitespace();
        // In hundredths of a second, for itself and for the system.
        let ticks = fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap());
        Duration::from_millis(10 * ticks.sum::<u64>())
    }

    /// How many files and sockets it has open.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.id())).unwrap().count()
    }
}

/// What a process has in memory, in KiB.
pub(crate) struct Memory {
    pub(crate) now: u64,
    pub(crate) peak: u64,
}

/// A hub for the agent acme and the service that may use it.
pub(crate) struct HubProcess {
    pub(crate) process: Process,
    folder: TempDir,
    /// What it and its agents say at least.
    level: &'static str,
}

impl HubProcess {
    /// `settings` stand before the entries of the keys.
    pub(crate) async fn start(settings: &str) -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), settings).await.unwrap()
    }

    /// One whose log, and those of its agents, have no line for each request.
    pub(crate) async fn quiet(settings: &str) -> Self {
        Self::with("127.0.0.1:0".parse().unwrap(), settings, "warn").await.unwrap()
    }

    /// None where it cannot listen there.
    pub(crate) async fn at(address: SocketAddr, settings: &str) -> Option<Self> {
        Self::with(address, settings, "info").await
    }

    async fn with(address: SocketAddr, settings: &str, level: &'static str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("hub.toml");
        let entries = format!(
            "{settings}\n[[agent]]\nname = \"acme\"\nkeys = [\"{}\"]\n[[service]]\nname = \"fixer\"\nagents = [\"acme\"]\n\
             keys = [\"{}\"]\n",
            KeyHash::of(AGENT_KEY),
            KeyHash::of(SERVICE_KEY)
        );
        std::fs::write(&config, entries).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_scm-hub"));
        command
            .args(["serve", "--danger-plain-http", "--listen", &address.to_string(), "--config"])
            .arg(&config);
        let process = Process::start(command, folder.path().join("hub.log"), level).await?;
        Some(Self { process, folder, level })
    }

    pub(crate) fn url(&self) -> &str {
        self.process.ready["url"].as_str().unwrap()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.url().split_once("://").unwrap().1.parse().unwrap()
    }

    /// An agent that allows these entries.
    pub(crate) async fn agent(&self, allow: &[&str]) -> Process {
        self.agent_at(self.address(), allow, &[]).await
    }

    /// An agent that finds this hub at another address, with what else its command line has.
    pub(crate) async fn agent_at(&self, hub: SocketAddr, allow: &[&str], more: &[&str]) -> Process {
        self.agent_named(&format!("http://{hub}"), allow, more).await
    }

    /// The same, where the hub has another URL.
    pub(crate) async fn agent_named(&self, hub: &str, allow: &[&str], more: &[&str]) -> Process {
        let (args, log) = self.agent_args("run", hub, allow, more);
        let mut command = Command::new(env!("CARGO_BIN_EXE_scm-agent"));
        command.args(args);
        let shown = log.clone();
        let agent = Process::start(command, log, self.level).await;
        agent.unwrap_or_else(|| panic!("{}", std::fs::read_to_string(shown).unwrap()))
    }

    /// What `scm-agent check --json` reports of the way to this hub.
    pub(crate) async fn check_from(&self, more: &[&str]) -> serde_json::Value {
        let (mut args, _) = self.agent_args("check", self.url(), &["http://127.0.0.1:1=any"], more);
        args.push("--json".to_owned());
        let mut command = Command::new(env!("CARGO_BIN_EXE_scm-agent"));
        let output = soon("the check ends", command.args(args).env_clear().output()).await.unwrap();
        let report: serde_json::Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        report["checks"][0].clone()
    }

    /// A command line of an agent with a log of its own.
    fn agent_args(&self, verb: &str, hub: &str, allow: &[&str], more: &[&str]) -> (Vec<String>, PathBuf) {
        let key = self.folder.path().join("accessKey");
        std::fs::write(&key, AGENT_KEY).unwrap();
        let key = key.to_str().unwrap().to_owned();
        let mut args = vec![verb, "--hub", hub, "--access-key-file", &key, "--danger-plain-http"];
        args.extend(allow.iter().flat_map(|entry| ["--allow", *entry]));
        args.extend(more);
        let log = tempfile::Builder::new().prefix("agent-").suffix(".log").tempfile_in(self.folder.path());
        (args.into_iter().map(str::to_owned).collect(), log.unwrap().keep().unwrap().1)
    }

    pub(crate) fn transport(&self) -> Transport {
        let (url, key) = (self.url().parse().unwrap(), SERVICE_KEY.to_owned().into());
        Transport::new(RelayTransport::new(url, "acme", key, direct(), true).unwrap())
    }

    /// Sends the request as it is, with the service's key: libraries tidy paths up.
    pub(crate) async fn raw(&self, line: &str, headers: &str) -> String {
        let mut stream = TcpStream::connect(self.address()).await.unwrap();
        let head = format!(
            "{line} HTTP/1.1\r\nHost: hub.test\r\nScm-Hub-Key: {SERVICE_KEY}\r\nConnection: close\r\n{headers}\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        soon(line, stream.read_to_string(&mut answer)).await.unwrap();
        answer
    }

    pub(crate) async fn status(&self) -> AgentStatus {
        let request = Request::get(format!("{}/v1/agents", self.url())).header("scm-hub-key", SERVICE_KEY);
        let answer = direct().send(request.body(Body::empty()).unwrap()).await.unwrap();
        let text = answer.into_body().collect(10_000).await.unwrap();
        serde_json::from_slice::<Vec<AgentStatus>>(&text).unwrap().remove(0)
    }

    /// Until the hub knows of so many tunnels.
    pub(crate) async fn tunnels(&self, wanted: usize) {
        let there = async {
            while self.status().await.tunnels != wanted {
                sleep(Duration::from_millis(5)).await;
            }
        };
        soon(&format!("{wanted} tunnels"), there).await;
    }
}

/// A server that says how often it was asked for what. The first time it reads and never answers; from the second time on it
/// answers at once.
pub(crate) struct Mute {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Mute {
    pub(crate) async fn start() -> Self {
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = Arc::clone(&asked);
        let address = socket::serve(move |mut stream| {
            let log = Arc::clone(&log);
            async move {
                let head = socket::head(&mut stream).await;
                let line = head.split(" HTTP/").next().unwrap().to_owned();
                let first = {
                    let mut log = log.lock().unwrap();
                    log.push(line.clone());
                    log.iter().filter(|seen| **seen == line).count() == 1
                };
                if !first {
                    // Who asked may be gone.
                    let again = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nagain";
                    let _ = stream.write_all(again.as_bytes()).await;
                }
                socket::drain(&mut stream).await;
            }
        });
        Self { address: address.await.unwrap(), asked }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn allow(&self) -> String {
        format!("http://{}=any", self.address)
    }

    /// The request lines that came, without the version, in order of the alphabet.
    pub(crate) fn asked(&self) -> Vec<String> {
        let mut asked = self.asked.lock().unwrap().clone();
        asked.sort_unstable();
        asked
    }
}

/// A number that the environment sets.
pub(crate) fn variable(name: &str) -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "how long and how large a run is")]
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// A body that is fed by hand.
pub(crate) fn fed() -> (mpsc::Sender<Result<bytes::Bytes, TransportError>>, Body) {
    let (feed, pieces) = mpsc::channel(1);
    (feed, Body::stream(received(pieces), None))
}

fn received<T: Send + 'static>(pieces: mpsc::Receiver<T>) -> impl Stream<Item = T> + Send {
    stream::unfold(pieces, |mut pieces| async { Some((pieces.recv().await?, pieces)) })
}

pub(crate) fn request(method: &str, url: &str, body: impl Into<Body>) -> Request<Body> {
    Request::builder().method(method).uri(url).body(body.into()).unwrap()
}
