use async_trait::async_trait;
use futures_util::TryStreamExt as _;
use http::Method;
use scm_core::pipeline::Idempotency;
use scm_core::{
    AnnotationLevel, Check, CheckState, CheckSummary, CheckTarget, Checks, CodeReport, Commits as _, Cursor,
    Error, FilePath, Job, JobId, ListPipelines, NewStatus, Page, Pages, Pipeline, PipelineId, RepoId, Result,
    Revision, Sha,
};
use url::Url;

use crate::client::{BitbucketDc, page_size, rest_api, since, unsupported};
use crate::convert;
use crate::page::list_page;
use crate::wire::{WireAnnotation, WireAnnotations, WireBuild, WireNewBuild, WireReport};

/// Most notes that a report takes.
const MAX_ANNOTATIONS: usize = 1000;

#[async_trait]
impl Checks for BitbucketDc {
    async fn check_summary(&self, repo: &RepoId, target: &CheckTarget) -> Result<CheckSummary> {
        let sha = match target {
            CheckTarget::Commit(sha) => Some(sha.clone()),
            CheckTarget::PullRequest(id) => {
                let operation = self.operation("check_summary");
                convert::pull_request(self.look(&operation, repo, *id).await?)?.head
            }
            other => return Err(unsupported("check_summary", format!("no checks of {other:?}"))),
        };
        let mut out = CheckSummary::default();
        let Some(sha) = sha else { return Ok(out) };
        let pages = Pages::new(None, None, |at| {
            let sha = sha.clone();
            async move { self.list_checks_page(repo, &sha, at.as_ref()).await }
        });
        let checks: Vec<Check> = pages.items(None).try_collect().await?;
        out.state = CheckState::worst(checks.iter().map(|check| &check.state));
        let failed = |check: &Check| matches!(check.state, CheckState::Failed | CheckState::Cancelled);
        out.failed = checks.into_iter().filter(failed).collect();
        out.sha = Some(sha);
        Ok(out)
    }

    async fn list_checks_page(&self, repo: &RepoId, sha: &Sha, at: Option<&Cursor>) -> Result<Page<Check>> {
        let operation = self.operation("list_checks");
        // Deprecated since 7.14 and still the only list; it knows commits, and no repositories.
        let request = rest_api(Method::GET, "build-status", &["commits", sha.as_str()])
            .query("limit", page_size(&operation, None)?);
        let page = list_page(&operation, request, at, |wire: WireBuild| convert::check(sha, wire)).await?;
        if at.is_none() {
            // Of a commit that is not there the list is empty, and of one elsewhere it is not for this token.
            self.commit(repo, &Revision::Commit(sha.clone())).await.map_err(|error| operation.own(error))?;
        }
        Ok(page)
    }

    async fn publish_status(&self, repo: &RepoId, sha: &Sha, status: &NewStatus) -> Result<Check> {
        let operation = self.operation("publish_status");
        let Some(state) = convert::publishable(&status.state) else {
            return Err(
                operation.invalid(format!("Bitbucket takes no build of the state '{}'", status.state))
            );
        };
        if status.key.trim().is_empty() {
            return Err(operation.invalid("a build needs a key"));
        }
        let Some(url) = &status.url else {
            return Err(operation.invalid("a build of Bitbucket needs the URL of its page"));
        };
        if status.state == CheckState::Cancelled {
            self.needs("publish_status", since::CANCELLED_BUILDS, "cancelled builds").await?;
        }
        let body = WireNewBuild {
            key: &status.key,
            state,
            url: url.as_str(),
            name: status.name.as_deref(),
            description: status.description.as_deref(),
            reference: status.branch.as_ref().map(convert::full),
        };
        let request = self
            .repo_api(Method::POST, repo, &["commits", sha.as_str(), "builds"])?
            .json(&body)?
            // The same key again replaces it.
            .idempotency(Idempotency::Idempotent);
        operation.send(request).await?;
        let wire = WireBuild {
            key: status.key.clone(),
            state: state.to_owned(),
            name: status.name.clone(),
            url: Some(url.to_string()),
            description: status.description.clone(),
        };
        convert::check(sha, wire)
    }

    async fn list_pipelines_page(
        &self,
        _: &RepoId,
        _: &ListPipelines,
        _: Option<&Cursor>,
    ) -> Result<Page<Pipeline>> {
        Err(no_ci("list_pipelines"))
    }

    async fn pipeline(&self, _: &RepoId, _: &PipelineId) -> Result<Pipeline> {
        Err(no_ci("pipeline"))
    }

    async fn list_jobs_page(&self, _: &RepoId, _: &PipelineId, _: Option<&Cursor>) -> Result<Page<Job>> {
        Err(no_ci("list_jobs"))
    }

    async fn job(&self, _: &RepoId, _: &JobId) -> Result<Job> {
        Err(no_ci("job"))
    }

    async fn retry_pipeline(&self, _: &RepoId, _: &PipelineId) -> Result<Pipeline> {
        Err(no_ci("retry_pipeline"))
    }

    async fn cancel_pipeline(&self, _: &RepoId, _: &PipelineId) -> Result<Pipeline> {
        Err(no_ci("cancel_pipeline"))
    }

    async fn retry_job(&self, _: &RepoId, _: &JobId) -> Result<Job> {
        Err(no_ci("retry_job"))
    }

    async fn cancel_job(&self, _: &RepoId, _: &JobId) -> Result<Job> {
        Err(no_ci("cancel_job"))
    }

    async fn play_job(&self, _: &RepoId, _: &JobId) -> Result<Job> {
        Err(no_ci("play_job"))
    }

    async fn publish_report(&self, repo: &RepoId, sha: &Sha, report: &CodeReport) -> Result<()> {
        let operation = self.operation("publish_report");
        if report.key.trim().is_empty() || report.title.trim().is_empty() {
            return Err(operation.invalid("a report needs a key and a title"));
        }
        if report.annotations.len() > MAX_ANNOTATIONS {
            let count = report.annotations.len();
            return Err(operation.invalid(format!("{count} notes: a report takes up to {MAX_ANNOTATIONS}")));
        }
        let api = |method: Method, rest: &[&str]| {
            let place = [&["commits", sha.as_str(), "reports", report.key.as_str()], rest].concat();
            self.module_api(method, "insights", repo, &place)
        };
        let body = WireReport {
            title: &report.title,
            details: report.details.as_deref(),
            result: report.passed.map(|passed| if passed { "PASS" } else { "FAIL" }),
            link: report.url.as_ref().map(Url::as_str),
            data: [],
        };
        operation.send(api(Method::PUT, &[])?.json(&body)?).await?;
        operation.send(api(Method::DELETE, &["annotations"])?).await?;
        if report.annotations.is_empty() {
            return Ok(());
        }
        let annotations = report.annotations.iter().map(|note| WireAnnotation {
            message: &note.message,
            severity: match note.level {
                AnnotationLevel::Low => "LOW",
                AnnotationLevel::High => "HIGH",
                _ => "MEDIUM",
            },
            path: note.path.as_ref().map(FilePath::as_str),
            line: note.line,
            link: note.url.as_ref().map(Url::as_str),
        });
        let body = WireAnnotations { annotations: annotations.collect() };
        operation.send(api(Method::POST, &["annotations"])?.json(&body)?).await.map(drop)
    }
}

fn no_ci(operation: &'static str) -> Error {
    unsupported(
        operation,
        "Bitbucket Data Center runs no CI: a check carries the URL of the build server's page",
    )
}
