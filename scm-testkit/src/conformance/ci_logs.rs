//! Cases for [`scm_core::CiLogs`].

use std::time::Duration;

use futures_util::StreamExt as _;
use scm_core::{CheckState, CiLogs, CiLogsExt as _, ErrorKind, FollowLog, JobId, JobLog, RepoId};

use super::case::{Ctx, Result};
use super::fixture::{JobSpec, Repo};
use super::support::{cases, ensure, ensure_eq, topic};

cases! {
    "ci_logs";
    a_log_comes_as_it_is [CiLogs::job_log] needs ci_log, else logs_are_refused;
    a_log_grows [CiLogs::job_log] needs ci_log, else logs_are_refused;
    a_job_without_a_log_gives_no_bytes [CiLogs::job_log, CiLogsExt::job_log_tail]
        needs ci_log, else logs_are_refused;
    a_missing_job_is_not_found [CiLogs::job_log] needs ci_log, else logs_are_refused;
    a_tail_is_the_end_of_it [CiLogsExt::job_log_tail] needs ci_log, else logs_are_refused;
    a_log_can_start_later [CiLogs::job_log] needs ci_log_offset, else an_offset_is_refused;
    a_log_is_followed_to_its_end [CiLogs::follow_job_log] needs ci_log_follow, else following_is_refused;
}

const LOG: &str = "\u{1b}[0KRunning with a runner\r\nsection_start:1700000000:step\r\u{1b}[0Kcargo test\n\
                   running 1 test\ntest a ... \u{1b}[31mFAILED\u{1b}[0m ä 🔒\n";

async fn with_job(ctx: &Ctx, state: CheckState, log: &[u8]) -> Result<(Repo, JobId)> {
    let repo = ctx.repository().await?;
    let (branch, sha) = topic(ctx, &repo, "topic").await?;
    let run =
        ctx.fixture.pipeline(&repo, &branch, &sha, &[JobSpec::new("test", state).with_log(log)]).await?;
    Ok((repo, run.job(0)?.clone()))
}

async fn read(ctx: &Ctx, repo: &Repo, job: &JobId) -> Result<bytes::Bytes> {
    Ok(ctx.scm.ci_logs()?.job_log(&repo.id, job, &JobLog::default()).await?.collect(16 << 20).await?)
}

/// Colour codes, carriage returns, section marks, also where it is large.
pub async fn a_log_comes_as_it_is(ctx: &Ctx) -> Result<()> {
    let (repo, job) = with_job(ctx, CheckState::Failed, LOG.as_bytes()).await?;
    ensure_eq!(read(ctx, &repo, &job).await?, LOG.as_bytes(), "the log");
    let large = LOG.repeat(20_000);
    let (repo, job) = with_job(ctx, CheckState::Success, large.as_bytes()).await?;
    ensure!(
        read(ctx, &repo, &job).await? == large.as_bytes(),
        "a log of {} bytes is another one",
        large.len()
    );
    Ok(())
}

/// What is added comes the next time.
pub async fn a_log_grows(ctx: &Ctx) -> Result<()> {
    let (repo, job) = with_job(ctx, CheckState::Running, b"first\n").await?;
    ensure_eq!(read(ctx, &repo, &job).await?, &b"first\n"[..], "at first");
    ctx.fixture.append_log(&repo, &job, b"second\n").await?;
    ensure_eq!(read(ctx, &repo, &job).await?, &b"first\nsecond\n"[..], "later");
    Ok(())
}

/// No bytes, and no error.
pub async fn a_job_without_a_log_gives_no_bytes(ctx: &Ctx) -> Result<()> {
    let (repo, job) = with_job(ctx, CheckState::Pending, b"").await?;
    ensure_eq!(read(ctx, &repo, &job).await?, &b""[..], "the log of a job that waits");
    ensure_eq!(ctx.scm.ci_logs()?.job_log_tail(&repo.id, &job, 100).await?, "", "its tail");
    Ok(())
}

/// Job and repository.
pub async fn a_missing_job_is_not_found(ctx: &Ctx) -> Result<()> {
    let (repo, job) = with_job(ctx, CheckState::Success, b"log").await?;
    let gone = RepoId::new(format!("{}-is-not-there", repo.path))?;
    for (repo, job) in [(&repo.id, &JobId::new("987654321")?), (&gone, &job)] {
        let log = ctx.scm.ci_logs()?.job_log(repo, job, &JobLog::default()).await;
        ctx.refused(log, &[ErrorKind::NotFound])?;
    }
    Ok(())
}

/// Never more than was asked for, never half a character.
pub async fn a_tail_is_the_end_of_it(ctx: &Ctx) -> Result<()> {
    let (repo, job) = with_job(ctx, CheckState::Failed, "first line\nzweite: ä\n".as_bytes()).await?;
    for (bytes, wanted) in [(1_000, "first line\nzweite: ä\n"), (5, ": ä\n"), (3, "ä\n"), (2, "\n"), (0, "")]
    {
        let seen = ctx.scm.ci_logs()?.job_log_tail(&repo.id, &job, bytes).await?;
        ensure_eq!(seen, wanted, "the last {bytes} bytes");
    }
    Ok(())
}

/// The other half of the cases about logs: the group itself says why it is missing.
pub async fn logs_are_refused(ctx: &Ctx) -> Result<()> {
    ctx.unsupported(ctx.scm.ci_logs())
}

/// From every place, also past its end.
pub async fn a_log_can_start_later(ctx: &Ctx) -> Result<()> {
    let (repo, job) = with_job(ctx, CheckState::Success, b"0123456789").await?;
    for (offset, wanted) in [(0, "0123456789"), (4, "456789"), (10, ""), (99, "")] {
        let opts = JobLog::default().with_offset(offset);
        let log = ctx.scm.ci_logs()?.job_log(&repo.id, &job, &opts).await?;
        ensure_eq!(log.collect(100).await?, wanted.as_bytes(), "from {offset}");
    }
    Ok(())
}

/// The other half of the case about offsets: never the whole log instead.
pub async fn an_offset_is_refused(ctx: &Ctx) -> Result<()> {
    let Some(logs) = logs_or_refused(ctx)? else { return Ok(()) };
    let (repo, job) = with_job(ctx, CheckState::Success, b"0123456789").await?;
    ctx.unsupported(logs.job_log(&repo.id, &job, &JobLog::default().with_offset(4)).await)
}

/// The group, or nothing where it is missing as declared.
fn logs_or_refused(ctx: &Ctx) -> Result<Option<&dyn CiLogs>> {
    if ctx.capabilities.ci_log {
        return Ok(Some(ctx.scm.ci_logs()?));
    }
    ctx.unsupported(ctx.scm.ci_logs()).map(|()| None)
}

/// Each byte once, while the job runs, until it ends.
pub async fn a_log_is_followed_to_its_end(ctx: &Ctx) -> Result<()> {
    let (repo, job) = with_job(ctx, CheckState::Running, b"skipped first\n").await?;
    let opts = FollowLog::default().with_interval(Duration::from_millis(20)).with_offset(8);
    let mut log = ctx.scm.ci_logs()?.follow_job_log(&repo.id, &job, &opts).await?;
    let mut seen = Vec::new();
    let mut parts = [&b"second\n"[..], b"third\n"].into_iter();
    while let Some(chunk) = log.next().await.transpose()? {
        seen.extend_from_slice(&chunk);
        // Each part is written once the one before has come.
        match parts.next() {
            Some(part) => ctx.fixture.append_log(&repo, &job, part).await?,
            None => ctx.fixture.set_job(&repo, &job, CheckState::Success).await?,
        }
    }
    ensure_eq!(String::from_utf8_lossy(&seen), "first\nsecond\nthird\n", "all that came");
    Ok(())
}

/// The other half of the case about following.
pub async fn following_is_refused(ctx: &Ctx) -> Result<()> {
    let Some(logs) = logs_or_refused(ctx)? else { return Ok(()) };
    let (repo, job) = with_job(ctx, CheckState::Success, b"log").await?;
    ctx.unsupported(logs.follow_job_log(&repo.id, &job, &FollowLog::default()).await)
}
