use async_trait::async_trait;
use http::Method;
use scm_core::pipeline::{Idempotency, Operation};
use scm_core::{
    BranchName, Check, CheckState, CheckSummary, CheckTarget, Checks, CodeReport, Commits as _, Cursor,
    ErrorKind, Job, JobId, ListPipelines, NewStatus, Page, Pages, Pipeline, PipelineId, RepoId, Result,
    Revision, Sha,
};
use url::Url;

use crate::client::{GitLab, page_size, project_api, unsupported};
use crate::convert;
use crate::page::list_page;
use crate::wire::{WireMergeRequest, WireNewStatus, WirePipeline, WireStatus};

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
            other => return Err(unsupported("check_summary", format!("no checks of {other:?}"))),
        };
        self.summary_of(repo, pipeline, sha).await
    }

    async fn list_checks_page(&self, repo: &RepoId, sha: &Sha, at: Option<&Cursor>) -> Result<Page<Check>> {
        let operation = self.operation("list_checks");
        let request = project_api(Method::GET, repo, &["repository", "commits", sha.as_str(), "statuses"])
            .query("per_page", page_size(&operation, None)?);
        list_page(&operation, request, at, convert::status_check).await
    }

    async fn publish_status(&self, repo: &RepoId, sha: &Sha, status: &NewStatus) -> Result<Check> {
        let operation = self.operation("publish_status");
        let Some(state) = convert::publishable(&status.state) else {
            return Err(operation.invalid(format!("GitLab takes no status '{}'", status.state)));
        };
        if status.key.trim().is_empty() {
            return Err(operation.invalid("a status needs a key"));
        }
        let branch = status.branch.as_ref();
        let body = WireNewStatus {
            state,
            name: &status.key,
            reference: branch.map(BranchName::as_str),
            target_url: status.url.as_ref().map(Url::as_str),
            description: status.description.as_deref(),
            pipeline_id: self.pipeline_of(&operation, repo, sha, branch).await?,
        };
        let request = project_api(Method::POST, repo, &["statuses", sha.as_str()])
            .json(&body)?
            // The same state again changes nothing, or is refused as such.
            .idempotency(Idempotency::Idempotent);
        match operation.send(request).await {
            Ok(answer) => answer.read(convert::status_check),
            Err(error) if error.message().contains("Cannot transition status") => {
                let known = self.status_of(&operation, repo, sha, status).await?;
                known.filter(|known| known.state == status.state).ok_or(error)
            }
            Err(error) => Err(error),
        }
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
        self.operation("pipeline").send(request).await?.read(convert::pipeline)
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
        self.operation("job").send(request).await?.read(convert::job)
    }

    async fn retry_pipeline(&self, repo: &RepoId, pipeline: &PipelineId) -> Result<Pipeline> {
        let request = project_api(Method::POST, repo, &["pipelines", pipeline.as_str(), "retry"]);
        self.operation("retry_pipeline").send(request).await?.read(convert::pipeline)
    }

    async fn cancel_pipeline(&self, repo: &RepoId, pipeline: &PipelineId) -> Result<Pipeline> {
        let request = project_api(Method::POST, repo, &["pipelines", pipeline.as_str(), "cancel"])
            .idempotency(Idempotency::Idempotent);
        let answer = self.operation("cancel_pipeline").send(request).await;
        let done = answer.and_then(|answer| answer.read(convert::pipeline));
        unless_ended(done, || self.pipeline(repo, pipeline), |pipeline| &pipeline.state).await
    }

    async fn retry_job(&self, repo: &RepoId, job: &JobId) -> Result<Job> {
        let request = project_api(Method::POST, repo, &["jobs", job.as_str(), "retry"]);
        self.operation("retry_job").send(request).await?.read(convert::job)
    }

    async fn cancel_job(&self, repo: &RepoId, job: &JobId) -> Result<Job> {
        let request = project_api(Method::POST, repo, &["jobs", job.as_str(), "cancel"])
            .idempotency(Idempotency::Idempotent);
        let answer = self.operation("cancel_job").send(request).await;
        let done = answer.and_then(|answer| answer.read(convert::job));
        unless_ended(done, || self.job(repo, job), |job| &job.state).await
    }

    async fn play_job(&self, repo: &RepoId, job: &JobId) -> Result<Job> {
        let request = project_api(Method::POST, repo, &["jobs", job.as_str(), "play"]);
        self.operation("play_job").send(request).await?.read(convert::job)
    }

    async fn publish_report(&self, _: &RepoId, _: &Sha, _: &CodeReport) -> Result<()> {
        Err(unsupported("publish_report", "GitLab takes code reports as artifacts of CI jobs only"))
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

    /// The newest pipeline of a commit: a status goes there, or GitLab would open another one beside it.
    async fn pipeline_of(
        &self,
        operation: &Operation,
        repo: &RepoId,
        sha: &Sha,
        branch: Option<&BranchName>,
    ) -> Result<Option<u64>> {
        let request = project_api(Method::GET, repo, &["pipelines"])
            .query("sha", sha)
            .query_some("ref", branch)
            .query("order_by", "id")
            .query("sort", "desc")
            .query("per_page", 1);
        let newest = operation.send(request).await?.json::<Vec<WirePipeline>>()?;
        Ok(newest.first().map(|pipeline| pipeline.id))
    }

    /// The status of this key as it is now.
    async fn status_of(
        &self,
        operation: &Operation,
        repo: &RepoId,
        sha: &Sha,
        status: &NewStatus,
    ) -> Result<Option<Check>> {
        let request = project_api(Method::GET, repo, &["repository", "commits", sha.as_str(), "statuses"])
            .query("name", &status.key)
            .query_some("ref", status.branch.as_ref());
        let found = operation.send(request).await?.json_items::<WireStatus>()?;
        let newest = found.into_iter().filter_map(Result::ok).max_by_key(|status| status.id);
        newest.map(convert::status_check).transpose()
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

/// What has ended already needs no cancelling: GitLab refuses it, or not, by version.
async fn unless_ended<T, F: Future<Output = Result<T>>>(
    done: Result<T>,
    now: impl FnOnce() -> F,
    state: impl Fn(&T) -> &CheckState,
) -> Result<T> {
    match done {
        Err(error) if error.kind() != ErrorKind::NotFound && error.status().is_some() => {
            now().await.ok().filter(|now| state(now).is_final()).ok_or(error)
        }
        done => done,
    }
}
