use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;

use crate::error::Result;
use crate::id::{JobId, RepoId};
use crate::macros::options;
use crate::model::ByteStream;

/// Logs of CI jobs. GitLab has them; Bitbucket Data Center does not (they are where the build ran).
#[doc(alias = "trace")]
#[async_trait]
pub trait CiLogs: Debug + Send + Sync + 'static {
    /// The log so far, as it is: UTF-8 text in most cases, with colour codes, carriage returns and section markers.
    /// A job without a log gives no bytes.
    ///
    /// GitLab: `GET /projects/:id/jobs/:job_id/trace` (one redirect to another https origin is followed without the
    /// credential). Idempotent.
    ///
    /// # Errors
    /// `NotFound` for the repository or job; `PermissionDenied` for a log that the token may not read.
    async fn job_log(&self, repo: &RepoId, job: &JobId, opts: &JobLog) -> Result<ByteStream>;

    /// The log from its start (or an offset) on, as it grows, until the job ends.
    ///
    /// # Errors
    /// Those of [`job_log`](Self::job_log), also in the middle of the stream.
    async fn follow_job_log(&self, repo: &RepoId, job: &JobId, opts: &FollowLog) -> Result<ByteStream>;
}

options! {
    /// Which part of a log.
    pub struct JobLog {
        /// Leave out so many bytes at the start.
        offset / with_offset: u64,
    }
}

options! {
    /// How to follow a log.
    pub struct FollowLog {
        /// Leave out so many bytes at the start.
        offset / with_offset: u64,
        /// Time between two looks. Default: three seconds.
        interval / with_interval: Duration,
    }
}
