use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::Method;
use http::header::{ACCEPT, HeaderValue};
use scm_core::{
    Body, ByteStream, Checks as _, CiLogs, ErrorKind, FollowLog, Job, JobId, JobLog, RepoId, Result,
};

use crate::client::{GitLab, project_api};

const FOLLOW_INTERVAL: Duration = Duration::from_secs(3);

#[async_trait]
impl CiLogs for GitLab {
    async fn job_log(&self, repo: &RepoId, job: &JobId, opts: &JobLog) -> Result<ByteStream> {
        let log = self.trace("job_log", repo, job).await?;
        match opts.offset.unwrap_or(0) {
            0 => Ok(log),
            offset => Ok(ByteStream::from_parts(skip(log, offset))),
        }
    }

    async fn follow_job_log(&self, repo: &RepoId, job: &JobId, opts: &FollowLog) -> Result<ByteStream> {
        // A job that is not there is told now, not in the middle of the stream.
        let now = self.job(repo, job).await?;
        let follow = Follow {
            gitlab: self.clone(),
            repo: repo.clone(),
            job: job.clone(),
            interval: opts.interval.unwrap_or(FOLLOW_INTERVAL),
            offset: opts.offset.unwrap_or(0),
            look: Some(now),
            log: None,
        };
        Ok(ByteStream::from_parts(stream::try_unfold(follow, Follow::next)))
    }
}

impl GitLab {
    async fn trace(&self, operation: &'static str, repo: &RepoId, job: &JobId) -> Result<ByteStream> {
        let request = project_api(Method::GET, repo, &["jobs", job.as_str(), "trace"])
            .header(ACCEPT, HeaderValue::from_static("*/*"));
        match self.operation(operation).stream(request).await {
            // Some versions say so of a job that has no log yet.
            Err(error) if error.kind() == ErrorKind::NotFound && self.job(repo, job).await.is_ok() => {
                Ok(ByteStream::new(Body::empty()))
            }
            log => log,
        }
    }
}

/// A log that is looked at again and again. GitLab gives whole logs only, so that the looks become rarer as it grows:
/// the bytes read stay in proportion to the time and not to its square.
struct Follow {
    gitlab: GitLab,
    repo: RepoId,
    job: JobId,
    interval: Duration,
    /// Bytes that were handed on, or shall not be.
    offset: u64,
    /// The job as seen before the next look at its log.
    look: Option<Job>,
    /// The log being read, where it is now, and whether the job had ended before.
    log: Option<(ByteStream, u64, bool)>,
}

impl Follow {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>> {
        loop {
            let Some((log, at, ended)) = &mut self.log else {
                let job = match self.look.take() {
                    Some(job) => job,
                    None => self.gitlab.job(&self.repo, &self.job).await?,
                };
                let log = self.gitlab.trace("follow_job_log", &self.repo, &self.job).await?;
                self.log = Some((log, 0, job.state.is_final()));
                continue;
            };
            match log.next().await.transpose()? {
                Some(mut chunk) => {
                    let start = *at;
                    *at += chunk.len() as u64;
                    let known = self.offset.saturating_sub(start);
                    if known < chunk.len() as u64 {
                        // In range: less than the length of the chunk.
                        let fresh = chunk.split_off(known as usize);
                        self.offset = *at;
                        return Ok(Some((fresh, self)));
                    }
                }
                None if *ended => return Ok(None),
                None => {
                    let mebibytes = u32::try_from(*at >> 20).unwrap_or(u32::MAX);
                    self.log = None;
                    let wait = self.interval.saturating_mul(mebibytes.saturating_add(1));
                    self.gitlab.pipeline.clock().sleep(wait).await;
                }
            }
        }
    }
}

/// GitLab promises nothing about ranges, so that what comes before is read and dropped.
fn skip(log: ByteStream, offset: u64) -> impl futures_util::Stream<Item = Result<Bytes>> + Send {
    log.scan(offset, |left, chunk| {
        let chunk = chunk.map(|mut chunk| {
            let cut = usize::try_from(*left).unwrap_or(usize::MAX).min(chunk.len());
            *left -= cut as u64;
            chunk.split_off(cut)
        });
        std::future::ready(Some(chunk))
    })
    .filter(|chunk| std::future::ready(chunk.as_ref().map_or(true, |chunk| !chunk.is_empty())))
}
