//! The agent of the agent route, as a program.

#![allow(rustdoc::bare_urls, reason = "comments are the help that people read on a terminal")]

#[path = "../both/log.rs"]
mod log;
mod report;
mod settings;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use scm_core::{Error, Result};
use scm_relay::{Agent, Health};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::Level;

use log::LogFormat;
use settings::{Credential, Leg, Proxy, Settings, Value};

/// What is logged.
const LOG: &str = "SCM_AGENT_LOG";

/// Configuration that cannot work.
const CONFIG: u8 = 3;

/// Lets a service reach servers inside this network, and nothing else: dials out to a hub, opens no port, and carries out what
/// its allow list permits.
#[derive(Parser, Debug)]
#[command(name = "scm-agent", version)]
#[command(after_help = "\
Exit codes: 0 stopped or all in order, 1 failed, 2 wrong usage, 3 a setting is missing or cannot work.

Settings can also be variables or stand in the file of --config. Flags win over variables, variables over the file. The variables:
SCM_AGENT_ and CONFIG, HUB, ACCESS_KEY, ALLOW, ALLOW_ADDRESSES (lists between blanks), HTTP_PROXY, HTTPS_PROXY, NO_PROXY,
PROXY_LOOPBACK, CUSTOM_CA_CERT, CLIENT_CERT, CLIENT_KEY, TUNNELS, IN_FLIGHT, GRACE, CONNECT_TIMEOUT, READ_TIMEOUT,
REQUEST_TIMEOUT, HEALTH_LISTEN, DANGER_PLAIN_HTTP and LOG. ACCESS_KEY, proxies, certificates and keys may end in _FILE, and those
from HTTP_PROXY to CLIENT_KEY may begin with TUNNEL_ or SERVERS_, for one of the two legs. --credential has none.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Keeps the tunnels to the hub open until SIGTERM. Prints one line of JSON when the first one is: the agent's name, and
    /// the hub. Logs go to standard error.
    Run {
        #[command(flatten)]
        flags: Box<Flags>,
        /// How the log is written.
        #[arg(long, value_enum, default_value_t, value_name = "FORM")]
        log_format: LogFormat,
    },
    /// Climbs the ladder from here: to the hub (name, proxy, TLS, access key), then to each server of the allow list. Says
    /// for each step what it saw and, where it failed, what to do.
    Check {
        #[command(flatten)]
        flags: Box<Flags>,
        /// One JSON document on standard output.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args, Debug)]
struct Flags {
    /// Settings (TOML).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The hub, such as https://hub.example.com.
    #[arg(long, value_name = "URL")]
    hub: Option<String>,
    /// File with the access key. It is read again for each tunnel, so that the key can be replaced.
    #[arg(long, value_name = "FILE")]
    access_key_file: Option<PathBuf>,
    /// A server that may be reached, and what for: https://gitlab.company.com=gitlab, with presets gitlab, bitbucket-dc and
    /// any; gitlab:read,clone grants less than all of read, write, clone and push. May be given several times.
    #[arg(long, value_name = "ORIGIN=PRESET", num_args = 1..)]
    allow: Vec<String>,
    /// An address that names of servers may lead to although it is loopback, link-local or of a cloud's metadata. May be
    /// given several times.
    #[arg(long, value_name = "ADDRESS")]
    allow_address: Vec<String>,
    /// A token that stays with the agent, which puts it on the requests to that server: https://gitlab.company.com=FILE. The
    /// file is read again for each request. May be given several times.
    #[arg(long, value_name = "ORIGIN=FILE")]
    credential: Vec<String>,
    /// The proxy, for hub and servers alike, such as http://proxy.company.com:3128. One with a password rather belongs into
    /// a file or variable.
    #[arg(long, value_name = "URL")]
    proxy: Option<String>,
    /// What goes past the proxy, between commas: gitlab.company.com,.company.com,10.0.0.0/8.
    #[arg(long, value_name = "LIST")]
    no_proxy: Option<String>,
    /// Send localhost and loopback addresses through the proxy too.
    #[arg(long)]
    proxy_loopback: bool,
    /// CA certificates to trust besides the machine's own: PEM, or base64 of PEM.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Tunnels that are kept open.
    #[arg(long, value_name = "N")]
    tunnels: Option<usize>,
    /// Seconds that requests in flight get when the agent is stopped.
    #[arg(long, value_name = "SECONDS")]
    grace: Option<u64>,
    /// Answers /healthz, /readyz and /metrics at this address, such as 127.0.0.1:8080.
    #[arg(long, value_name = "ADDR")]
    health_listen: Option<String>,
    /// Allow a hub whose URL is http://: whoever is on the way reads everything, the access key too.
    #[arg(long)]
    danger_plain_http: bool,
}

impl Flags {
    /// With what variables and file give besides.
    fn settings(self) -> Result<Settings> {
        #[expect(clippy::disallowed_methods, reason = "a program reads its environment")]
        let lookup = |name: &str| std::env::var(name).ok();
        let file = self.config.clone().or_else(|| lookup("SCM_AGENT_CONFIG").map(PathBuf::from));
        let file = file.map(|path| Settings::load(&path)).transpose()?.unwrap_or_default();
        let variables = Settings::from_vars(&lookup)?;
        Ok(self.own()?.over(variables).over(file))
    }

    fn own(self) -> Result<Settings> {
        let credentials = self.credential.iter().map(|entry| {
            let (origin, file) = entry.rsplit_once('=').ok_or_else(|| {
                Error::config(
                    "--credential is written like https://gitlab.company.com=/etc/scm-agent/gitlab.token",
                )
            })?;
            Ok(Credential { origin: origin.to_owned(), file: file.into(), username: None })
        });
        let credentials = credentials.collect::<Result<Vec<_>>>()?;
        let given = |list: Vec<String>| (!list.is_empty()).then_some(list);
        Ok(Settings {
            hub: self.hub,
            access_key: self.access_key_file.map(Value::File),
            allow: given(self.allow),
            allow_addresses: given(self.allow_address),
            credentials: (!credentials.is_empty()).then_some(credentials),
            proxy: Proxy {
                http_proxy: self.proxy.clone().map(Value::here),
                https_proxy: self.proxy.map(Value::here),
                no_proxy: self.no_proxy,
            },
            proxy_loopback: self.proxy_loopback.then_some(true),
            custom_ca_cert: self.ca_file.map(Value::File),
            tunnel: Leg::default(),
            servers: Leg::default(),
            tunnels: self.tunnels,
            grace: self.grace,
            health_listen: self.health_listen,
            danger_plain_http: self.danger_plain_http.then_some(true),
            ..Settings::default()
        })
    }
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("no runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(async {
        match command {
            Command::Run { flags, log_format } => {
                log::start(LOG, Level::INFO, log_format);
                run(*flags).await
            }
            Command::Check { flags, json } => {
                log::start(LOG, Level::WARN, LogFormat::Text);
                check(*flags, json).await
            }
        }
    });
    // A name that is still looked up holds nobody up.
    runtime.shutdown_background();
    match done {
        Ok(code) => code,
        Err(Fault::Config(error)) => {
            complain(error.message());
            ExitCode::from(CONFIG)
        }
        Err(Fault::Failed(message)) => {
            complain(&message);
            ExitCode::FAILURE
        }
    }
}

/// Why the program ends before its time.
enum Fault {
    Config(Error),
    Failed(String),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Config(error)
    }
}

async fn run(flags: Flags) -> std::result::Result<ExitCode, Fault> {
    let failed = |what: &str, error: std::io::Error| Fault::Failed(format!("{what}: {error}"));
    let settings = flags.settings()?;
    let health_listen = settings.health_listen()?;
    let agent = settings.agent()?;
    let mut signals = Signals::new().map_err(|error| failed("signals cannot be received", error))?;
    let health = agent.health();
    if let Some(address) = health_listen {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|error| failed(&format!("healthListen {address} cannot be used"), error))?;
        tokio::spawn(health.clone().serve(listener));
    }
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "{}", describe(&agent));
    let hub = agent.hub().as_str().trim_end_matches('/').to_owned();
    tokio::spawn(tell_ready(health, hub));
    let stop = CancellationToken::new();
    let work = agent.run(stop.cancelled());
    tokio::pin!(work);
    loop {
        tokio::select! {
            () = &mut work => break,
            () = signals.next() => {
                // Who asks twice does not want to wait.
                if stop.is_cancelled() {
                    tracing::warn!("stopped at once");
                    return Ok(ExitCode::FAILURE);
                }
                tracing::info!("stopping: nothing new is taken, and what is in flight is finished");
                stop.cancel();
            }
        }
    }
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

async fn check(flags: Flags, json: bool) -> std::result::Result<ExitCode, Fault> {
    let settings = flags.settings()?;
    settings.health_listen()?;
    let reports = settings.agent()?.check().await;
    report::print(&reports, json)
        .map_err(|error| Fault::Failed(format!("standard output cannot be written: {error}")))?;
    let ok = reports.iter().all(scm_core::CheckReport::is_ok);
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn describe(agent: &Agent) -> String {
    let allowed: Vec<_> = agent.policy().allowed().iter().map(ToString::to_string).collect();
    format!("dialling {}; allowed: {}", agent.hub(), allowed.join(" "))
}

/// The line that scripts wait for.
async fn tell_ready(health: Health, hub: String) {
    let agent = health.ready().await;
    let line = format!("{}\n", serde_json::json!({ "agent": agent, "hub": hub }));
    let mut out = std::io::stdout().lock();
    // Who started the agent may not care.
    let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// The last line, which says what was wrong.
fn complain(message: &str) {
    // Nothing is left to do where even this cannot be written.
    let _ = writeln!(std::io::stderr().lock(), "scm-agent: {message}");
}
