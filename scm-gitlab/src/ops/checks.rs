use async_trait::async_trait;
use http::Method;
use scm_core::{
    Check, CheckState, CheckSummary, CheckTarget, Checks, CodeReport, Commits as _, Cursor, Error, Job,
    JobId, ListPipelines, NewStatus, Page, Pages, Pipeline, PipelineId, RepoId, Result, Revision, Sha,
};

use crate::client::{GitLab, not_built, page_size, project_api};
use crate::convert;
use crate::page::list_page;
use crate::wire::WireMergeRequest;

#[async_trait]
impl Checks for GitLab {
    async fn check_summary(&self, repo: &RepoId, target: &CheckTarget) -> Result<CheckSummary> {
        let (pipeline, sha) = match target {
            CheckTarget::PullRequest(id) => {
                let iid = id.to_string();
                let request = project_api(Method::GET, repo, &["merge_requests", &iid]);
                let wire: WireMergeRequest = self.operation("check_summary").send(request).await?.json()?;
                let sha = wire.sha.as_deref().and_then(|sha| Sha::new(sha).ok());
                (wire.head_pipeline.map(convert::pipeline).transpose()?, sha)
            }
            CheckTarget::Commit(sha) => {
                let opts = ListPipelines::default().with_sha(sha.clone()).with_page_size(1);
                let newest = self.list_pipelines_page(repo, &opts, None).await?.items.into_iter().next();
                if newest.is_none() {
                    // No pipeline, or no such commit: the list is empty for both.
                    self.commit(repo, &Revision::Commit(sha.clone())).await?;
                }
                (newest.transpose()?, Some(sha.clone()))
            }
            other => return Err(Error::unsupported("check_summary", format!("no checks of {other:?}"))),
        };
        self.summary_of(repo, pipeline, sha).await
    }

    async fn list_checks_page(&self, repo: &RepoId, sha: &Sha, at: Option<&Cursor>) -> Result<Page<Check>> {
        let operation = self.operation("list_checks");
        let request = project_api(Method::GET, repo, &["repository", "commits", sha.as_str(), "statuses"])
            .query("per_page", page_size(&operation, None)?);
        list_page(&operation, request, at, convert::status_check).await
    }

    async fn publish_status(&self, _: &RepoId, _: &Sha, _: &NewStatus) -> Result<Check> {
        Err(not_built("publish_status", "commit statuses of GitLab"))
    }

    async fn list_pipelines_page(
        &self,
        repo: &RepoId,
        opts: &ListPipelines,
        at: Option<&Cursor>,
    ) -> Result<Page<Pipeline>> {
        let operation = self.operation("list_pipelines");
        let size = page_size(&operation, opts.page_size)?;
        let request = match opts.pull_request {
            Some(_) if opts.sha.is_some() || opts.branch.is_some() => {
                return Err(
                    operation.invalid("pipelines of a pull request cannot be narrowed by commit or branch")
                );
            }
            Some(id) => project_api(Method::GET, repo, &["merge_requests", &id.to_string(), "pipelines"]),
            None => project_api(Method::GET, repo, &["pipelines"])
                .query("order_by", "id")
                .query("sort", "desc")
                .query_some("sha", opts.sha.as_ref())
                .query_some("ref", opts.branch.as_ref()),
        };
        let request = request.query("per_page", size);
        list_page(&operation, request, at, convert::pipeline).await
    }

    async fn pipeline(&self, repo: &RepoId, pipeline: &PipelineId) -> Result<Pipeline> {
        let request = project_api(Method::GET, repo, &["pipelines", pipeline.as_str()]);
        self.operation("pipeline").send(request).await?.json().and_then(convert::pipeline)
    }

    async fn list_jobs_page(
        &self,
        repo: &RepoId,
        pipeline: &PipelineId,
        at: Option<&Cursor>,
    ) -> Result<Page<Job>> {
        self.jobs_page(repo, pipeline, None, at).await
    }

    async fn job(&self, repo: &RepoId, job: &JobId) -> Result<Job> {
        let request = project_api(Method::GET, repo, &["jobs", job.as_str()]);
        self.operation("job").send(request).await?.json().and_then(convert::job)
    }

    async fn retry_pipeline(&self, _: &RepoId, _: &PipelineId) -> Result<Pipeline> {
        Err(not_built("retry_pipeline", "control of GitLab's pipelines"))
    }

    async fn cancel_pipeline(&self, _: &RepoId, _: &PipelineId) -> Result<Pipeline> {
        Err(not_built("cancel_pipeline", "control of GitLab's pipelines"))
    }

    async fn retry_job(&self, _: &RepoId, _: &JobId) -> Result<Job> {
        Err(not_built("retry_job", "control of GitLab's jobs"))
    }

    async fn cancel_job(&self, _: &RepoId, _: &JobId) -> Result<Job> {
        Err(not_built("cancel_job", "control of GitLab's jobs"))
    }

    async fn play_job(&self, _: &RepoId, _: &JobId) -> Result<Job> {
        Err(not_built("play_job", "control of GitLab's jobs"))
    }

    async fn publish_report(&self, _: &RepoId, _: &Sha, _: &CodeReport) -> Result<()> {
        Err(Error::unsupported("publish_report", "GitLab takes code reports as artifacts of CI jobs only"))
    }
}

impl GitLab {
    /// Summary of a pipeline, with the failed jobs that count.
    pub(crate) async fn summary_of(
        &self,
        repo: &RepoId,
        pipeline: Option<Pipeline>,
        sha: Option<Sha>,
    ) -> Result<CheckSummary> {
        let mut summary = CheckSummary::default();
        summary.state = pipeline.as_ref().map(|pipeline| pipeline.state.clone());
        summary.sha = pipeline.as_ref().and_then(|pipeline| pipeline.sha.clone()).or(sha);
        if let Some(Pipeline { id, state: CheckState::Failed | CheckState::Running, .. }) = &pipeline {
            let pages = Pages::new(None, None, |at| async move {
                self.jobs_page(repo, id, Some("failed"), at.as_ref()).await
            });
            let jobs: Vec<_> = futures_util::StreamExt::collect(pages.items(None)).await;
            for job in jobs {
                let job = job?;
                if !job.allow_failure {
                    summary.failed.push(convert::job_check(job, summary.sha.clone())?);
                }
            }
        }
        summary.pipeline = pipeline;
        Ok(summary)
    }

    async fn jobs_page(
        &self,
        repo: &RepoId,
        pipeline: &PipelineId,
        scope: Option<&str>,
        at: Option<&Cursor>,
    ) -> Result<Page<Job>> {
        let operation = self.operation("list_jobs");
        let request = project_api(Method::GET, repo, &["pipelines", pipeline.as_str(), "jobs"])
            .query_some("scope[]", scope)
            .query("per_page", page_size(&operation, None)?);
        list_page(&operation, request, at, convert::job).await
    }
}
