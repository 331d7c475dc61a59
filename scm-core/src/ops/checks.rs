use std::fmt::Debug;

use async_trait::async_trait;

use crate::error::Result;
use crate::id::{BranchName, JobId, PipelineId, PullRequestId, RepoId, Sha};
use crate::macros::options;
use crate::model::{Check, CheckSummary, CodeReport, Job, NewStatus, Pipeline};
use crate::page::{Cursor, Page};

/// CI of commits and pull requests.
#[doc(alias = "Pipelines")]
#[doc(alias = "BuildStatus")]
#[async_trait]
pub trait Checks: Debug + Send + Sync + 'static {
    /// CI at a glance: the state that counts for merging, and what failed.
    ///
    /// GitLab: the head pipeline of the merge request, or the latest pipeline of the commit, with its failed jobs.
    /// Bitbucket: the builds of the commit. Idempotent.
    ///
    /// # Errors
    /// `NotFound` for the repository, commit or pull request.
    async fn check_summary(&self, repo: &RepoId, target: &CheckTarget) -> Result<CheckSummary>;

    /// One page of the checks on a commit, resumable.
    ///
    /// GitLab: `GET /projects/:id/repository/commits/:sha/statuses`. Bitbucket:
    /// `GET /rest/build-status/latest/commits/{sha}`. Idempotent.
    ///
    /// # Errors
    /// `NotFound` for the repository or commit, `InvalidInput` for a foreign cursor.
    async fn list_checks_page(&self, repo: &RepoId, sha: &Sha, at: Option<&Cursor>) -> Result<Page<Check>>;

    /// Publishes the state of a check; the same key again replaces it. Idempotent.
    ///
    /// GitLab: `POST /projects/:id/statuses/:sha`. Bitbucket: `POST …/commits/{sha}/builds`.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` for a state that cannot be published, or no URL where one is required.
    async fn publish_status(&self, repo: &RepoId, sha: &Sha, status: &NewStatus) -> Result<Check>;

    /// One page of pipelines, newest first, resumable.
    ///
    /// GitLab: `GET /projects/:id/pipelines`, or `GET …/merge_requests/:iid/pipelines`. Bitbucket has none. Idempotent.
    ///
    /// # Errors
    /// `Unsupported` where the server has no pipelines, `InvalidInput` for a foreign cursor.
    async fn list_pipelines_page(
        &self,
        repo: &RepoId,
        opts: &ListPipelines,
        at: Option<&Cursor>,
    ) -> Result<Page<Pipeline>>;

    /// One pipeline.
    ///
    /// GitLab: `GET /projects/:id/pipelines/:pipeline_id`. Idempotent.
    ///
    /// # Errors
    /// `NotFound`; `Unsupported` where the server has no pipelines.
    async fn pipeline(&self, repo: &RepoId, pipeline: &PipelineId) -> Result<Pipeline>;

    /// One page of a pipeline's jobs, resumable; without those that were retried.
    ///
    /// GitLab: `GET /projects/:id/pipelines/:pipeline_id/jobs`. Idempotent.
    ///
    /// # Errors
    /// `NotFound`; `Unsupported` where the server has no pipelines.
    async fn list_jobs_page(
        &self,
        repo: &RepoId,
        pipeline: &PipelineId,
        at: Option<&Cursor>,
    ) -> Result<Page<Job>>;

    /// One job.
    ///
    /// GitLab: `GET /projects/:id/jobs/:job_id`. Idempotent.
    ///
    /// # Errors
    /// `NotFound`; `Unsupported` where the server has no jobs.
    async fn job(&self, repo: &RepoId, job: &JobId) -> Result<Job>;

    /// Runs the failed and cancelled jobs of a pipeline again.
    ///
    /// GitLab: `POST /projects/:id/pipelines/:pipeline_id/retry`.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`; `Unsupported` where the server has no pipelines.
    async fn retry_pipeline(&self, repo: &RepoId, pipeline: &PipelineId) -> Result<Pipeline>;

    /// Stops a pipeline. Idempotent.
    ///
    /// GitLab: `POST /projects/:id/pipelines/:pipeline_id/cancel`.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`; `Unsupported` where the server has no pipelines.
    async fn cancel_pipeline(&self, repo: &RepoId, pipeline: &PipelineId) -> Result<Pipeline>;

    /// Runs a job again; the new job comes back.
    ///
    /// GitLab: `POST /projects/:id/jobs/:job_id/retry`.
    ///
    /// # Errors
    /// `NotFound`; `PermissionDenied`, also for a job that cannot run again; `Unsupported` where the server has no jobs.
    async fn retry_job(&self, repo: &RepoId, job: &JobId) -> Result<Job>;

    /// Stops a job. Idempotent.
    ///
    /// GitLab: `POST /projects/:id/jobs/:job_id/cancel`.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`; `Unsupported` where the server has no jobs.
    async fn cancel_job(&self, repo: &RepoId, job: &JobId) -> Result<Job>;

    /// Starts a job that waits for a person.
    ///
    /// GitLab: `POST /projects/:id/jobs/:job_id/play`.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` for a job that does not wait; `Unsupported` where the server has no jobs.
    async fn play_job(&self, repo: &RepoId, job: &JobId) -> Result<Job>;

    /// Publishes a report with notes on lines; the same key again replaces it. Idempotent.
    ///
    /// Bitbucket: `PUT /rest/insights/latest/…/commits/{sha}/reports/{key}` and its annotations.
    ///
    /// # Errors
    /// `InvalidInput` for more than 1,000 notes; `Unsupported` where the server has no reports.
    async fn publish_report(&self, repo: &RepoId, sha: &Sha, report: &CodeReport) -> Result<()>;
}

/// What CI is asked about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CheckTarget {
    /// A commit.
    Commit(Sha),
    /// A pull request, by the pipeline that counts for it.
    PullRequest(PullRequestId),
}

options! {
    /// Which pipelines to list.
    pub struct ListPipelines {
        /// Only those of this commit.
        sha / with_sha: Sha,
        /// Only those of this branch.
        branch / with_branch: BranchName,
        /// Only those of this pull request; not together with the others.
        pull_request / with_pull_request: PullRequestId,
        /// Items per page; the server may give fewer. Default and most: 100.
        page_size / with_page_size: u16,
    }
}
