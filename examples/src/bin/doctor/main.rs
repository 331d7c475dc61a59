//! Tests connections and says what is wrong and what to do.

mod route;

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use comfy_table::Color;
use scm_client::Config;
use scm_client::transport::NoProxy;
use scm_core::{CheckOptions, CheckReport, Error, Outcome, Purpose, RepoId, Result};
use scm_examples::connections::Connections;
use scm_examples::output::{complain, print, print_json};

/// Climbs the check ladder of each connection: address, route, name, connection, proxy, TLS, product, credential,
/// scopes, role, repositories. Nothing is changed on any server.
///
/// Exit codes: 0 every rung passed (perhaps with warnings), 1 a rung failed, 2 wrong usage or configuration.
#[derive(Parser, Debug)]
#[command(version, about, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Connections (TOML). Without it: the embedded demonstration.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Only the connection of this name.
    #[arg(long, value_name = "NAME")]
    connection: Option<String>,
    /// A repository that must be there and, unless --read-only, may be written. May be given several times.
    #[arg(long, value_name = "PATH")]
    repository: Vec<RepoId>,
    /// Look for what reading takes, not writing.
    #[arg(long)]
    read_only: bool,
    /// Warn of tokens and certificates that expire within so many days.
    #[arg(long, value_name = "DAYS", default_value_t = 14)]
    warn_days: u16,
    /// One JSON document on standard output.
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand, Debug)]
enum Command {
    Route(route::Route),
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        Some(Command::Route(route)) => route.run(),
        None => climb(&cli).await,
    };
    done.unwrap_or_else(|error| {
        complain("doctor", &error);
        ExitCode::from(2)
    })
}

/// A line beside the report.
fn warn(text: &str) {
    // Nothing is left to do where even this cannot be written.
    let _ = writeln!(std::io::stderr().lock(), "doctor: {text}");
}

/// Entries of exceptions that match nothing, since nobody can read them.
fn warn_of_malformed(config: &Config) {
    for connection in &config.connections {
        let list = NoProxy::parse(connection.network.no_proxy.as_deref().unwrap_or_default());
        for malformed in list.malformed() {
            warn(&format!("connection '{}': no_proxy: an entry is ignored: {malformed}", connection.name));
        }
    }
}

async fn climb(cli: &Cli) -> Result<ExitCode> {
    if let Some(config) = &cli.config {
        warn_of_malformed(&Config::load(config)?);
    }
    let connections = Connections::open(cli.config.as_deref()).await?;
    let chosen: Vec<_> = connections
        .list
        .iter()
        .filter(|connection| cli.connection.as_ref().is_none_or(|name| *name == connection.name))
        .collect();
    if chosen.is_empty() {
        let names: Vec<_> = connections.list.iter().map(|connection| connection.name.as_str()).collect();
        return Err(Error::config(format!("no such connection; there are: {}", names.join(", "))));
    }
    let opts = CheckOptions::default()
        .with_repositories(cli.repository.clone())
        .with_purpose(if cli.read_only { Purpose::Read } else { Purpose::Write })
        .with_warn_days(cli.warn_days);
    let mut reports = Vec::new();
    for connection in chosen {
        reports.push((connection.name.clone(), connection.scm.connection().check(&opts).await));
    }
    let all_ok = reports.iter().all(|(_, report)| report.is_ok());
    connections.close().await;
    if cli.json {
        print_json(&as_json(&reports, all_ok))?
    } else {
        print(&as_text(&reports))?
    }
    Ok(if all_ok { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn as_json(reports: &[(String, CheckReport)], ok: bool) -> serde_json::Value {
    let connections: Vec<_> = reports
        .iter()
        .map(|(name, report)| {
            let codes: Vec<_> = report.findings().map(|finding| finding.code.as_str()).collect();
            serde_json::json!({ "name": name, "ok": report.is_ok(), "codes": codes, "report": report })
        })
        .collect();
    serde_json::json!({ "ok": ok, "connections": connections })
}

/// A tree, coloured on a terminal.
fn as_text(reports: &[(String, CheckReport)]) -> String {
    let colour = std::io::stdout().is_terminal();
    let paint = |text: &str, with: Color| {
        let code = match with {
            Color::Green => "32",
            Color::Yellow => "33",
            Color::Red => "31",
            _ => "2",
        };
        if colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    };
    let mut out = String::new();
    for (name, report) in reports {
        out.push_str(&format!("{name}: {} at {}, route {}\n", report.provider, report.url, report.route));
        for (index, rung) in report.rungs.iter().enumerate() {
            let last = index + 1 == report.rungs.len();
            let (branch, below) = if last { ("└─", "  ") } else { ("├─", "│ ") };
            let (mark, with) = match rung.outcome {
                Outcome::Passed => ("ok  ", Color::Green),
                Outcome::Warning => ("warn", Color::Yellow),
                Outcome::Failed => ("FAIL", Color::Red),
                _ => ("skip", Color::Grey),
            };
            let (mark, word) = (paint(mark, with), rung.rung.as_str());
            out.push_str(&format!("{branch} {mark} {word:<12} {} ({} ms)\n", rung.seen, rung.elapsed_ms));
            for finding in &rung.findings {
                out.push_str(&format!(
                    "{below}      {}: {}\n",
                    paint(finding.code.as_str(), with),
                    finding.seen
                ));
                out.push_str(&format!("{below}      → {}\n", finding.remedy));
            }
        }
        out.push('\n');
    }
    out
}
