use async_trait::async_trait;
use http::Method;
use http::header::{ACCEPT, HeaderValue};
use scm_core::{ByteStream, CiLogs, FollowLog, JobId, JobLog, RepoId, Result};

use crate::client::{GitLab, not_built, project_api};

#[async_trait]
impl CiLogs for GitLab {
    async fn job_log(&self, repo: &RepoId, job: &JobId, opts: &JobLog) -> Result<ByteStream> {
        if opts.offset.is_some_and(|offset| offset > 0) {
            return Err(not_built("job_log", "logs of GitLab from an offset"));
        }
        let request = project_api(Method::GET, repo, &["jobs", job.as_str(), "trace"])
            .header(ACCEPT, HeaderValue::from_static("*/*"));
        self.operation("job_log").stream(request).await
    }

    async fn follow_job_log(&self, _: &RepoId, _: &JobId, _: &FollowLog) -> Result<ByteStream> {
        Err(not_built("follow_job_log", "following logs of GitLab"))
    }
}
