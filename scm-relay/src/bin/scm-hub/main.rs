//! The hub of the agent route as a program.

mod agents;
mod config;
mod keygen;
#[path = "../both/log.rs"]
mod log;
mod serve;
mod tls;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgGroup, Args, Parser, Subcommand};
use scm_core::{Error, ErrorKind, Result};
use scm_relay::AgentName;
use tracing::Level;
use url::Url;

use log::LogFormat;

/// What is logged.
const LOG: &str = "SCM_HUB_LOG";

/// The hub: agents dial in, services reach the servers in the agents' networks through it.
///
/// Logs go to standard error (SCM_HUB_LOG=debug for more). Exit codes: 0 done, 1 failed while running, 2 wrong usage, 3 wrong
/// configuration.
#[derive(Debug, Parser)]
#[command(name = "scm-hub", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the hub until SIGTERM. Prints one line of JSON with its URL when it is ready.
    ///
    /// Keys and certificates are read again when their files change, and on SIGHUP; everything else needs a restart.
    ///
    /// Examples:
    ///
    ///   scm-hub serve --listen 0.0.0.0:8443 --config hub.toml
    ///
    ///   scm-hub serve --listen 127.0.0.1:0 --config hub.toml --danger-plain-http
    #[command(verbatim_doc_comment)]
    Serve(Serve),
    /// Makes a key, shows it this once, and the entry for hub.toml with its hash.
    ///
    /// Examples:
    ///
    ///   scm-hub keygen --agent acme
    ///
    ///   scm-hub keygen --service repairs --agents acme,globex
    #[command(verbatim_doc_comment)]
    Keygen(Keygen),
    /// Shows which agents are connected, since when, in which version, and with how many requests in flight.
    Agents(Agents),
}

#[derive(Debug, Args)]
struct Serve {
    /// Address to listen on, in place of the configuration's; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", env = "SCM_HUB_LISTEN")]
    listen: Option<SocketAddr>,
    /// The configuration, hub.toml.
    #[arg(long, value_name = "FILE", env = "SCM_HUB_CONFIG")]
    config: PathBuf,
    /// Serves without TLS: keys and tokens can be read on the way. For a proxy in front that does TLS, and for trying out.
    #[arg(long)]
    danger_plain_http: bool,
    /// How the log is written.
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    log_format: LogFormat,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("whose").required(true).args(["agent", "service"]))]
struct Keygen {
    /// For the agent of this name.
    #[arg(long, value_name = "NAME")]
    agent: Option<AgentName>,
    /// For the service of this name.
    #[arg(long, value_name = "NAME", requires = "agents")]
    service: Option<String>,
    /// The agents that the service may use.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', conflicts_with = "agent")]
    agents: Vec<AgentName>,
}

#[derive(Debug, Args)]
struct Agents {
    /// The hub.
    #[arg(long, value_name = "URL", env = "SCM_HUB_URL")]
    hub: Url,
    /// File with the key of a service: its agents are shown.
    #[arg(long, value_name = "FILE", env = "SCM_HUB_KEY_FILE")]
    key_file: PathBuf,
    /// Certificates (PEM, or base64 of PEM) to trust beside those of this machine.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Allows a hub whose URL is http://.
    #[arg(long)]
    danger_plain_http: bool,
    /// JSON in place of a table.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to do where even this cannot be written.
            let _ = writeln!(std::io::stderr().lock(), "scm-hub: {}", error.report());
            ExitCode::from(if error.kind() == ErrorKind::Config { 3 } else { 1 })
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Keygen(options) => keygen::run(options),
        Command::Serve(options) => {
            log::start(LOG, Level::INFO, options.log_format);
            runtime()?.block_on(serve::run(options))
        }
        Command::Agents(options) => {
            log::start(LOG, Level::WARN, LogFormat::Text);
            runtime()?.block_on(agents::run(options))
        }
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| failed("the program cannot start").with_source(error))
}

/// Something that goes wrong while the program runs.
fn failed(message: impl AsRef<str>) -> Error {
    Error::new(ErrorKind::Unavailable, message)
}

/// Writes to standard output; a reader that has gone away (`| head`) is no fault.
fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(failed("standard output cannot be written").with_source(error))
        }
        _ => Ok(()),
    }
}
