//! Runs the conformance suite and says how each case ended.

mod judge;
mod live;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use http::Uri;
use indicatif::{ProgressBar, ProgressDrawTarget};
use scm_client::bitbucket_dc::{BitbucketDc, BitbucketDcConfig};
use scm_client::gitlab::{GitLab, GitLabConfig};
use scm_client::transport::{DirectTransport, Network};
use scm_core::{Error, Result, Scm, StaticCredential, Transport};
use scm_examples::connections::variable;
use scm_examples::output::complain;
use scm_testkit::conformance::{self, BitbucketDcFixture, Fixture, GitLabFixture, RunOptions, Stop, run};
use scm_testkit::sim::bitbucket_dc::BitbucketDcSim;
use scm_testkit::sim::gitlab::GitLabSim;
use scm_testkit::sim::{SimError, UnknownParameter};
use secrecy::SecretString;

use crate::judge::{Exception, Judge};
use crate::live::{Live, Settings};
use crate::report::Ending;

/// Runs the conformance suite, which says case by case what every provider must do, with one of the providers against a
/// simulated server that it starts. The same cases run against a provider of your own: see `scm_testkit::conformance`.
///
/// Exit codes: 0 every case ended as it should, 1 one did not, or the judge complained, 2 wrong usage.
#[derive(Parser, Debug)]
#[command(version, about, after_long_help = EXAMPLES)]
struct Cli {
    /// The provider that is tested.
    #[arg(long, value_enum, default_value_t = Provider::Gitlab)]
    provider: Provider,
    /// List the cases with the operations they exercise, and run nothing.
    #[arg(long)]
    list: bool,
    /// Only the cases whose name holds this text, such as `branches.` or `.create_`.
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Leave out the cases whose name holds this text; may be given several times.
    #[arg(long, value_name = "TEXT")]
    without: Vec<String>,
    /// Address that the simulator listens on; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: String,
    /// Path below which the simulator lives, such as /gitlab.
    #[arg(long, value_name = "PATH", default_value = "")]
    context_path: String,
    /// Send every request of the provider to this URL: a proxy in front of the simulator, which has a fixed --listen then.
    /// Answers of `application/problem+json` are complaints of the proxy and fail the run.
    #[arg(long, value_name = "URL", requires = "listen")]
    via: Option<Uri>,
    /// Complaints of the proxy that are expected (TOML). One that no longer comes fails the run too.
    #[arg(long, value_name = "FILE", requires = "via")]
    exceptions: Option<PathBuf>,
    /// Against the GitLab that SCM_CONFORMANCE_* variables name, in place of a simulator; what it makes goes afterwards.
    #[arg(long, conflicts_with_all = ["listen", "context_path", "via"])]
    live: bool,
    /// So many cases at the same time.
    #[arg(long, value_name = "N", default_value_t = 8)]
    concurrent: usize,
    /// So many seconds for each case.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    timeout: u64,
    /// One JSON document on standard output in place of tables.
    #[arg(long)]
    json: bool,
}

/// The providers of this workspace.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Provider {
    Gitlab,
    BitbucketDc,
}

const EXAMPLES: &str = "\
Examples:
  conformance
      Everything, on a simulator at its root.
  conformance --provider bitbucket-dc --context-path /bitbucket
      The other product, behind a path.
  conformance --list --filter merging.
      What the suite asks of merging.
  conformance --listen 127.0.0.1:4110 --via http://127.0.0.1:4112 --exceptions known.toml
      The same traffic through a validating proxy, started before with http://127.0.0.1:4110 as its upstream.

With --live:
  SCM_CONFORMANCE_URL          root of the server, context path included
  SCM_CONFORMANCE_TOKEN        token to test with: scope api, of a user who is no member of the group
  SCM_CONFORMANCE_OWNER_TOKEN  token of an owner of the group: scope api; it makes what the cases need, and is \"someone else\"
  SCM_CONFORMANCE_GROUP        full path of the group; a subgroup in it holds all that is made
  SCM_CONFORMANCE_CA           CA certificates to trust besides the machine's own (PEM file); optional
Cases are skipped, with the reason, where that does not reach: CI needs runners, other people's tokens an administrator.

A file of exceptions has one table for each, `*` standing for one segment of the path:
  [[exception]]
  request = \"GET /api/v4/projects/*/merge_requests/*/approvals\"
  complaint = \"response.body.approved_by\"
  reason = \"the server answers an array\"";

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match options(&cli) {
        Ok(opts) if cli.list => report::list(&opts, cli.json).map(|()| true),
        Ok(opts) if cli.live => live(&cli, &opts).await,
        Ok(opts) => simulated(&cli, &opts).await,
        Err(error) => Err(error),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            complain("conformance", &error);
            ExitCode::from(2)
        }
    }
}

/// The cases that the command line chooses.
fn options(cli: &Cli) -> Result<RunOptions> {
    let opts =
        RunOptions::new().with_concurrent(cli.concurrent).with_timeout(Duration::from_secs(cli.timeout));
    let opts = cli.filter.iter().fold(opts, RunOptions::only);
    let opts = cli.without.iter().fold(opts, RunOptions::without);
    match conformance::all().any(|case| opts.takes(case.name)) {
        true => Ok(opts),
        false => Err(Error::config("no case has such a name; --list shows them")),
    }
}

async fn simulated(cli: &Cli, opts: &RunOptions) -> Result<bool> {
    let failed = |error: SimError| {
        Error::config(format!("the simulator cannot start ({error}); it needs git in the PATH"))
    };
    match cli.provider {
        Provider::Gitlab => {
            let builder = GitLabSim::builder().listen(&cli.listen).context_path(&cli.context_path);
            let sim = Arc::new(builder.start().await.map_err(failed)?);
            let way = Way::to(cli, &sim.url(), gitlab)?;
            let judge = way.judge.clone();
            let connect = move |url: &str, token| way.connect(url, token);
            let fixture = GitLabFixture::new(Arc::clone(&sim), connect).map_err(no_beginning)?;
            judged(cli, opts, fixture.scm(), fixture, judge, || sim.unknown_parameters()).await
        }
        Provider::BitbucketDc => {
            let builder = BitbucketDcSim::builder().listen(&cli.listen).context_path(&cli.context_path);
            let sim = Arc::new(builder.start().await.map_err(failed)?);
            let way = Way::to(cli, &sim.url(), bitbucket_dc)?;
            let judge = way.judge.clone();
            let connect = move |url: &str, token| way.connect(url, token);
            let fixture = BitbucketDcFixture::new(Arc::clone(&sim), connect).map_err(no_beginning)?;
            judged(cli, opts, fixture.scm(), fixture, judge, || sim.unknown_parameters()).await
        }
    }
}

/// Makes a provider for a URL and a token over a transport.
type Connect = fn(&str, SecretString, &Transport) -> Result<Arc<dyn Scm>>;

/// The way to the simulator: directly, or through a judge.
#[derive(Clone)]
struct Way {
    connect: Connect,
    via: Option<String>,
    transport: Transport,
    judge: Option<Judge>,
}

impl Way {
    fn to(cli: &Cli, url: &str, connect: Connect) -> Result<Self> {
        let exceptions = cli.exceptions.as_deref().map(Exception::load).transpose()?.unwrap_or_default();
        let server = url.parse().map_err(|error| Error::config(format!("{url}: {error}")))?;
        let direct = DirectTransport::new(&Network::new())?;
        let via = cli.via.as_ref().map(ToString::to_string);
        Ok(if via.is_none() {
            Self { connect, via, transport: Transport::new(direct), judge: None }
        } else {
            let judge = Judge::new(direct, server, exceptions);
            Self { connect, via, transport: Transport::new(judge.clone()), judge: Some(judge) }
        })
    }

    fn connect(&self, url: &str, token: SecretString) -> Result<Arc<dyn Scm>> {
        (self.connect)(self.via.as_deref().unwrap_or(url), token, &self.transport)
    }
}

async fn judged(
    cli: &Cli,
    opts: &RunOptions,
    scm: Arc<dyn Scm>,
    fixture: impl Fixture,
    judge: Option<Judge>,
    unknown: impl Fn() -> Vec<UnknownParameter>,
) -> Result<bool> {
    let report = watched(cli, run(scm, Arc::new(fixture), opts)).await;
    let ending = Ending { report, judge, unknown: unknown() };
    ending.print(cli.json)?;
    Ok(ending.is_ok())
}

/// The suite on a server that others use too: whatever happens, what was made is removed.
async fn live(cli: &Cli, opts: &RunOptions) -> Result<bool> {
    if !matches!(cli.provider, Provider::Gitlab) {
        return Err(Error::config("--live knows how to arrange a GitLab only; leave out --provider"));
    }
    let settings = Settings::read(variable)?;
    let transport = settings.transport.clone();
    let name = format!("scm-conformance-{}", jiff::Timestamp::now().as_second());
    let begun = Live::begin(settings, &name, move |url, token| gitlab(url, token, &transport)).await;
    let fixture = Arc::new(begun.map_err(no_beginning)?);
    let opts = opts.clone().allowing_skip("", "not every server and owner has everything");
    let suite = watched(cli, run(fixture.scm(), Arc::clone(&fixture) as _, &opts));
    let report = tokio::select! {
        report = suite => Some(report),
        _ = tokio::signal::ctrl_c() => None,
    };
    let ended = fixture.end().await;
    let Some(report) = report else { return Err(Error::config("stopped before the end")) };
    let ending = Ending { report, judge: None, unknown: Vec::new() };
    ending.print(cli.json)?;
    match ended {
        Ok(()) => Ok(ending.is_ok()),
        Err(stop) => Err(Error::config(format!("the group {name} is left behind: {stop}"))),
    }
}

fn gitlab(url: &str, token: SecretString, transport: &Transport) -> Result<Arc<dyn Scm>> {
    let config = GitLabConfig::new(url, Arc::new(StaticCredential::token(token)))?;
    Ok(Arc::new(GitLab::new(config, transport.clone())?))
}

fn bitbucket_dc(url: &str, token: SecretString, transport: &Transport) -> Result<Arc<dyn Scm>> {
    let config = BitbucketDcConfig::new(url, Arc::new(StaticCredential::token(token)))?;
    Ok(Arc::new(BitbucketDc::new(config, transport.clone())?))
}

fn no_beginning(stop: Stop) -> Error {
    Error::config(format!("the suite cannot begin: {stop}"))
}

/// With a sign of life on a terminal.
async fn watched<T>(cli: &Cli, suite: impl Future<Output = T>) -> T {
    let spinner = ProgressBar::new_spinner().with_message("the suite runs");
    if cli.json {
        spinner.set_draw_target(ProgressDrawTarget::hidden());
    }
    spinner.enable_steady_tick(Duration::from_millis(120));
    let done = suite.await;
    spinner.finish_and_clear();
    done
}
