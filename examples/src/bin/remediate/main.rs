//! Finds vulnerable dependencies in every repository of the configured servers and turns them into pull requests.

mod apply;
mod follow;
mod plan;
mod progress;
mod report;
mod scan;
mod status;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use scm_core::{CheckOptions, Error, Result};
use scm_examples::analysis::{AdvisoryDb, NewestVersions};
use scm_examples::connections::{Connection, Connections};
use scm_examples::demo::agent_if_asked;
use scm_examples::output::complain;

use crate::plan::Plan;
use crate::progress::Progress;
use crate::report::Report;
use crate::scan::Scan;

/// Finds vulnerable dependencies in every repository that the configured tokens can reach and opens a pull request for
/// each repository that needs one: branch, commit, pull request, comment, and then CI is followed.
///
/// Without --config it starts simulated servers of GitLab and Bitbucket Data Center on loopback, one pair that it reaches
/// directly, one behind a proxy and one behind an agent, fills them with small repositories and does the job there.
/// A second run changes nothing that is already there. A fix changes version texts and nothing else.
///
/// Exit codes: 0 done (also with failing CI), 1 something could not be done, 2 wrong usage or configuration.
#[derive(Parser, Debug)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    common: Common,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Scan, approve every fix of a vulnerability, and apply (the default).
    Run,
    /// Scan and write a plan for review; nothing is changed on any server.
    Plan {
        /// Where the plan is written. Set `"approved": true` on the entries to apply.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Do the approved entries of a plan; refuse those whose files have changed since.
    Apply {
        /// A plan that `remediate plan` wrote.
        plan: PathBuf,
    },
    /// Show every pull request that this program made: state, CI with failed jobs, whether it can be merged.
    Status,
}

#[derive(Args, Debug)]
struct Common {
    /// Connections (TOML). Without it: the embedded demonstration.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Advisories: OSV records, one, an array, or JSON lines. Default: a few well-known ones.
    #[arg(long, value_name = "FILE", global = true)]
    advisories: Option<PathBuf>,
    /// Newest versions (JSON): lists outdated packages, and gives the hashes that lock files need.
    #[arg(long, value_name = "FILE", global = true)]
    versions: Option<PathBuf>,
    /// Show what would be done and change nothing.
    #[arg(long, global = true)]
    dry_run: bool,
    /// One JSON document on standard output in place of tables.
    #[arg(long, global = true)]
    json: bool,
    /// Make at most so many new pull requests.
    #[arg(long, value_name = "N", global = true)]
    max: Option<usize>,
    /// Follow CI for at most so many seconds; 0 does not wait for it.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, global = true)]
    wait: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    if let Some(code) = agent_if_asked().await {
        return code;
    }
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let cli = Cli::parse();
    match run(&cli).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            complain("remediate", &error);
            ExitCode::from(2)
        }
    }
}

/// Runs one command; `false` when something could not be done.
async fn run(cli: &Cli) -> Result<bool> {
    let common = &cli.common;
    let plan = match &cli.command {
        // Read before anything is connected: a bad file is told at once.
        Some(Command::Apply { plan }) => Some(Plan::load(plan)?),
        _ => None,
    };
    let inputs = Inputs::load(common)?;
    let connections = Connections::open(common.config.as_deref()).await?;
    let done = match (&cli.command, plan) {
        (Some(Command::Status), _) => {
            let tracked = status::collect(&connections.list, &Progress::new(common.json)).await;
            report::status(&tracked, common.json)?;
            tracked.iter().all(|connection| connection.error.is_none())
        }
        (Some(Command::Apply { .. }), Some(plan)) => {
            let mut report = Report::new(&connections.list, common.dry_run);
            apply_plan(&connections.list, &plan, common, &mut report).await?;
            report.print(common.json)?;
            report.is_success()
        }
        (Some(Command::Plan { out }), _) => {
            let (plan, report) = scan_all(&connections.list, &inputs, common).await;
            plan.save(out)?;
            report.print_plan(&plan, out, common.json)?;
            report.is_success()
        }
        _ => {
            let (mut plan, mut report) = scan_all(&connections.list, &inputs, common).await;
            plan.approve_vulnerable();
            apply_plan(&connections.list, &plan, common, &mut report).await?;
            report.print(common.json)?;
            report.is_success()
        }
    };
    connections.close().await;
    Ok(done)
}

/// What the scan measures against.
struct Inputs {
    advisories: AdvisoryDb,
    versions: Option<NewestVersions>,
}

impl Inputs {
    fn load(common: &Common) -> Result<Self> {
        let advisories = match &common.advisories {
            None => AdvisoryDb::embedded(),
            Some(path) => AdvisoryDb::from_json(&read(path)?)
                .map_err(|error| Error::config(format!("{}: {error}", path.display())))?,
        };
        let versions = match &common.versions {
            None => None,
            Some(path) => Some(
                NewestVersions::from_json(&read(path)?)
                    .map_err(|error| Error::config(format!("{}: {error}", path.display())))?,
            ),
        };
        Ok(Self { advisories, versions })
    }
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path)
        .map_err(|error| Error::config(format!("{} cannot be read: {}", path.display(), error.kind())))
}

async fn scan_all(connections: &[Connection], inputs: &Inputs, common: &Common) -> (Plan, Report) {
    let progress = Progress::new(common.json);
    let mut plan = Plan::default();
    let mut report = Report::new(connections, common.dry_run);
    for connection in connections {
        // A connection that does not work names its fault; the others go on.
        let checked = connection.scm.connection().check(&CheckOptions::default()).await.into_result();
        let scanned = match checked {
            Ok(_) => Scan { connection, inputs, progress: &progress }.run().await,
            Err(error) => Err(error),
        };
        match scanned {
            Ok(found) => {
                report.scanned(&connection.name, &found);
                plan.add(&connection.name, found);
            }
            Err(error) => report.connection_failed(&connection.name, &error),
        }
    }
    (plan, report)
}

async fn apply_plan(
    connections: &[Connection],
    plan: &Plan,
    common: &Common,
    report: &mut Report,
) -> Result<()> {
    plan.check_connections(connections)?;
    let progress = Progress::new(common.json);
    let mut left = common.max.unwrap_or(usize::MAX);
    for connection in connections {
        let work = plan.approved_for(&connection.name);
        let done = apply::all(connection, work, common.dry_run, &mut left, &progress).await;
        let wait = Duration::from_secs(common.wait);
        let done = follow::all(connection, done, wait, &progress).await;
        report.applied(&connection.name, done);
    }
    Ok(())
}
