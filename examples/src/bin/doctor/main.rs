//! Tests connections and says what is wrong and what to do.

mod route;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use comfy_table::Color;
use scm_core::{CheckOptions, CheckReport, Outcome, Purpose, RepoId, Result};
use scm_examples::connections::{Connection, Connections};
use scm_examples::demo::agent_if_asked;
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
    if let Some(code) = agent_if_asked().await {
        return code;
    }
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

async fn climb(cli: &Cli) -> Result<ExitCode> {
    let connections = Connections::open_chosen(cli.config.as_deref(), cli.connection.as_deref()).await?;
    let opts = CheckOptions::default()
        .with_repositories(cli.repository.clone())
        .with_purpose(if cli.read_only { Purpose::Read } else { Purpose::Write })
        .with_warn_days(cli.warn_days);
    let mut reports = Vec::new();
    for connection in &connections.list {
        reports.push((connection.clone(), connection.scm.connection().check(&opts).await));
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

fn as_json(reports: &[(Connection, CheckReport)], ok: bool) -> serde_json::Value {
    let connections: Vec<_> = reports
        .iter()
        .map(|(Connection { name, ignored, .. }, report)| {
            let codes: Vec<_> = report.findings().map(|finding| finding.code.as_str()).collect();
            serde_json::json!({
                "name": name, "ok": report.is_ok(), "codes": codes, "ignored_no_proxy": ignored, "report": report
            })
        })
        .collect();
    serde_json::json!({ "ok": ok, "connections": connections })
}

/// A tree, coloured on a terminal.
fn as_text(reports: &[(Connection, CheckReport)]) -> String {
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
    for (Connection { name, .. }, report) in reports {
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
            out.push_str(&format!("{branch} {mark} {word:<12} {}", rung.seen));
            if rung.outcome != Outcome::Skipped {
                out.push_str(&format!(" ({} ms)", rung.elapsed_ms));
            }
            out.push('\n');
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
