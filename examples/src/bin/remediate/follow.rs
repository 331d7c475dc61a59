//! Following CI until it ends, and reading what failed.

use std::time::Duration;

use scm_core::{
    CheckState, CheckSummary, CiLogsExt as _, PullRequestState, PullRequestStatus, RepoId, Result, Scm,
};
use scm_examples::connections::Connection;
use serde::Serialize;
use tokio::time::Instant;

use crate::apply::{Done, Ending};
use crate::progress::Progress;

/// How much of a failed job's log is shown.
const TAIL: usize = 2_000;
/// Lines of it.
const TAIL_LINES: usize = 12;
/// How often a pull request without any pipeline is looked at: it takes the server a moment to make one.
const PATIENCE: u32 = 5;

/// CI of one pull request.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Followed {
    /// The state that counts, or `none`.
    pub(crate) state: String,
    pub(crate) failed: Vec<FailedJob>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct FailedJob {
    pub(crate) name: String,
    pub(crate) url: Option<String>,
    /// The end of its log, where the server has logs.
    pub(crate) log: Option<String>,
    /// Why there is no log.
    pub(crate) no_log: Option<String>,
}

/// Follows every open pull request, all under one limit of time.
pub(crate) async fn all(
    connection: &Connection,
    mut done: Vec<Done>,
    wait: Duration,
    progress: &Progress,
) -> Vec<Done> {
    let open = |done: &Done| match &done.ending {
        Ending::Created(made) | Ending::Existing(made) => made.state == PullRequestState::Open,
        _ => false,
    };
    let bar = progress
        .bar(&format!("{}: CI", connection.name), Some(done.iter().filter(|done| open(done)).count()));
    let until = Instant::now() + wait;
    let follows = done.iter().map(|done| {
        let bar = &bar;
        async move {
            let pull_request = done.ending.pull_request().filter(|_| open(done))?;
            let status = follow(connection.scm.as_ref(), &done.repository, pull_request.id, until).await;
            bar.inc(1);
            Some(match status {
                Ok(status) => read(connection.scm.as_ref(), &done.repository, &status.checks).await,
                Err(error) => Followed { state: format!("unknown ({error})"), failed: Vec::new() },
            })
        }
    });
    let followed = futures_util::future::join_all(follows).await;
    bar.finish_and_clear();
    for (done, followed) in done.iter_mut().zip(followed) {
        done.checks = followed;
    }
    done
}

/// Looks at CI with growing pauses until it has ended, waits for a person, or time is up.
async fn follow(
    scm: &dyn Scm,
    repo: &RepoId,
    id: scm_core::PullRequestId,
    until: Instant,
) -> Result<PullRequestStatus> {
    let mut pause = Duration::from_millis(200);
    let mut looks = 0;
    loop {
        let status = scm.pull_requests().pull_request_status(repo, id).await?;
        looks += 1;
        let ended = match &status.checks.state {
            Some(CheckState::Manual | CheckState::Unknown(_)) => true,
            Some(state) => state.is_final(),
            None => looks >= PATIENCE,
        };
        if ended || Instant::now() + pause > until {
            return Ok(status);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(Duration::from_secs(15));
    }
}

/// The state and, of each failed job, the end of its log.
pub(crate) async fn read(scm: &dyn Scm, repo: &RepoId, checks: &CheckSummary) -> Followed {
    let mut failed = Vec::with_capacity(checks.failed.len());
    for check in &checks.failed {
        let log = match (scm.ci_logs(), &check.job) {
            (Ok(logs), Some(job)) => logs.job_log_tail(repo, job, TAIL).await,
            (Ok(_), None) => {
                Err(scm_core::Error::unsupported("job_log", "the check is no job of this server"))
            }
            (Err(error), _) => Err(error),
        };
        let (log, no_log) = match log {
            Ok(text) => (Some(plain(&text)), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let url = check.url.as_ref().map(ToString::to_string);
        failed.push(FailedJob { name: check.name.clone(), url, log, no_log });
    }
    let state = checks.state.as_ref().map_or("none", CheckState::as_str).to_owned();
    Followed { state, failed }
}

/// The last lines of a log, without colour codes, section markers and other control characters, which a terminal
/// would obey.
fn plain(log: &str) -> String {
    let mut out = Vec::new();
    for line in log.lines() {
        // A carriage return starts the line over.
        let line = line.trim_end_matches('\r').rsplit('\r').next().unwrap_or(line);
        let mut text = String::with_capacity(line.len());
        let mut rest = line.chars().peekable();
        while let Some(c) = rest.next() {
            if c == '\u{1b}' && rest.next_if_eq(&'[').is_some() {
                // Up to the letter that ends the sequence.
                for c in rest.by_ref() {
                    if c.is_ascii_alphabetic() {
                        break;
                    }
                }
            } else if !c.is_control() || c == '\t' {
                text.push(c);
            }
        }
        if !text.starts_with("section_") && !text.trim().is_empty() {
            out.push(text);
        }
    }
    let start = out.len().saturating_sub(TAIL_LINES);
    out[start..].join("\n")
}
