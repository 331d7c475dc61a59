//! Cases for [`scm_core::Checks`].

use std::sync::Arc;

use scm_core::{
    Annotation, AnnotationLevel, CheckState, CheckTarget, ChecksExt as _, CodeReport, ErrorKind, JobId,
    ListPipelines, NewPullRequest, NewStatus, PipelineId, PullRequestId, RepoId, Sha,
};

use super::case::{Ctx, Result};
use super::fixture::{JobSpec, PipelineRun, Repo};
use super::support::{
    cases, ensure, ensure_eq, every_page, everything, foreign_cursor, missing_sha, pages_hold, topic,
};

cases! {
    "checks";
    without_ci_there_is_no_state [Checks::check_summary, Checks::list_checks_page];
    the_summary_follows_the_states [Checks::check_summary];
    a_failure_that_is_allowed_does_not_count [Checks::check_summary] needs pipelines, else every_failure_counts;
    the_latest_run_counts [Checks::check_summary];
    what_is_missing_is_not_found [Checks::check_summary, Checks::list_checks_page];
    checks_of_a_commit_are_listed [Checks::list_checks_page, ChecksExt::list_checks];
    a_foreign_cursor_is_refused [Checks::list_checks_page];
    pipelines_are_listed [Checks::list_pipelines_page, ChecksExt::list_pipelines, Checks::pipeline]
        needs pipelines, else pipelines_are_refused;
    jobs_are_listed [Checks::list_jobs_page, ChecksExt::list_jobs, Checks::job]
        needs pipelines, else pipelines_are_refused;
    missing_pipelines_and_jobs_are_not_found [Checks::pipeline, Checks::job, Checks::list_jobs_page]
        needs pipelines, else pipelines_are_refused;
    pipelines_are_retried_and_cancelled [Checks::retry_pipeline, Checks::cancel_pipeline]
        needs pipeline_control, else control_is_refused;
    jobs_are_retried_cancelled_and_played [Checks::retry_job, Checks::cancel_job, Checks::play_job]
        needs pipeline_control, else control_is_refused;
    a_status_is_published_and_replaced [Checks::publish_status] needs check_publish, else a_status_is_refused;
    a_report_is_published [Checks::publish_report] needs check_report, else a_report_is_refused;
}

/// A repository with a topic branch on which CI has run.
async fn with_run(ctx: &Ctx, jobs: &[JobSpec]) -> Result<(Repo, Sha, PipelineRun)> {
    let repo = ctx.repository().await?;
    let (branch, sha) = topic(ctx, &repo, "topic").await?;
    let run = ctx.fixture.pipeline(&repo, &branch, &sha, jobs).await?;
    Ok((repo, sha, run))
}

fn job(name: &str, state: CheckState) -> JobSpec {
    JobSpec::new(name, state)
}

/// No state, nothing failed, no error.
pub async fn without_ci_there_is_no_state(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let (source, sha) = topic(ctx, &repo, "topic").await?;
    let new = NewPullRequest::new(source, repo.default_branch.clone(), "Without CI");
    let pull = ctx.scm.pull_requests().create_pull_request(&repo.id, &new).await?.value;
    for target in [CheckTarget::Commit(sha.clone()), CheckTarget::PullRequest(pull.id)] {
        let summary = ctx.scm.checks().check_summary(&repo.id, &target).await?;
        ensure_eq!((summary.state, summary.pipeline), (None, None), "{target:?}");
        ensure!(summary.failed.is_empty(), "{:?}", summary.failed);
    }
    let checks = everything(ctx.scm.checks().list_checks(&repo.id, &sha)).await?;
    ensure_eq!(checks, [], "checks");
    Ok(())
}

/// From waiting to its end, of the commit and of the pull request.
pub async fn the_summary_follows_the_states(ctx: &Ctx) -> Result<()> {
    use CheckState::{Failed, Pending, Running, Success};
    let repo = ctx.repository().await?;
    let (source, sha) = topic(ctx, &repo, "topic").await?;
    let jobs = [job("build", Pending), job("test", Pending)];
    let run = ctx.fixture.pipeline(&repo, &source, &sha, &jobs).await?;
    let new = NewPullRequest::new(source, repo.default_branch.clone(), "With CI");
    let pull = ctx.scm.pull_requests().create_pull_request(&repo.id, &new).await?.value;
    for (moved, state, wanted) in [
        (None, Pending, Pending),
        (Some(0), Running, Running),
        (Some(0), Success, Running),
        (Some(1), Running, Running),
        (Some(1), Failed, Failed),
    ] {
        if let Some(index) = moved {
            ctx.fixture.set_job(&repo, run.job(index)?, state).await?;
        }
        for target in [CheckTarget::Commit(sha.clone()), CheckTarget::PullRequest(pull.id)] {
            let summary = ctx.scm.checks().check_summary(&repo.id, &target).await?;
            // Between two jobs a server may say pending or running.
            let close = match summary.state {
                Some(Pending) => wanted == Running && moved == Some(0),
                // And some know no pending.
                Some(Running) => wanted == Pending,
                _ => false,
            };
            ensure!(
                close || summary.state.as_ref() == Some(&wanted),
                "{target:?}: {:?}, not {wanted}",
                summary.state
            );
            ensure!(
                summary.sha.as_ref().is_none_or(|seen| *seen == sha),
                "about {:?}, not {sha}",
                summary.sha
            );
            let failed: Vec<_> =
                summary.failed.iter().map(|check| (check.name.as_str(), &check.state)).collect();
            let expected = if wanted == Failed { vec![("test", &Failed)] } else { vec![] };
            ensure_eq!(failed, expected, "what failed");
            if let (Some(pipeline), Some(wanted)) = (&summary.pipeline, &run.pipeline) {
                ensure_eq!(pipeline.id, *wanted, "the pipeline that counts");
            }
            if ctx.capabilities.ci_log {
                let logs = summary.failed.iter().all(|check| check.job.is_some());
                ensure!(logs, "a failed check does not name its job, so its log cannot be read");
            }
        }
    }
    Ok(())
}

/// Success, and it is not among what failed.
pub async fn a_failure_that_is_allowed_does_not_count(ctx: &Ctx) -> Result<()> {
    use CheckState::{Failed, Success};
    let jobs = [job("test", Success), job("lint", Failed).allowed_to_fail()];
    let (repo, sha, _) = with_run(ctx, &jobs).await?;
    let summary = ctx.scm.checks().check_summary(&repo.id, &CheckTarget::Commit(sha)).await?;
    ensure_eq!(summary.state, Some(Success), "state");
    ensure!(summary.failed.is_empty(), "an allowed failure counts: {:?}", summary.failed);
    Ok(())
}

/// The other half of the case about failures: nobody allows one.
pub async fn every_failure_counts(ctx: &Ctx) -> Result<()> {
    use CheckState::{Failed, Success};
    let (repo, sha, _) = with_run(ctx, &[job("test", Success), job("lint", Failed)]).await?;
    let summary = ctx.scm.checks().check_summary(&repo.id, &CheckTarget::Commit(sha)).await?;
    ensure_eq!(summary.state, Some(Failed), "state");
    let failed: Vec<_> = summary.failed.iter().map(|check| check.name.as_str()).collect();
    ensure_eq!(failed, ["lint"], "what failed");
    Ok(())
}

/// A second run takes the place of the first.
pub async fn the_latest_run_counts(ctx: &Ctx) -> Result<()> {
    use CheckState::{Failed, Success};
    let repo = ctx.repository().await?;
    let (branch, sha) = topic(ctx, &repo, "topic").await?;
    ctx.fixture.pipeline(&repo, &branch, &sha, &[job("test", Failed)]).await?;
    ctx.fixture.pipeline(&repo, &branch, &sha, &[job("test", Success)]).await?;
    let summary = ctx.scm.checks().check_summary(&repo.id, &CheckTarget::Commit(sha)).await?;
    ensure_eq!(summary.state, Some(Success), "state");
    ensure!(summary.failed.is_empty(), "the old failure counts: {:?}", summary.failed);
    Ok(())
}

/// Repository, commit, pull request.
pub async fn what_is_missing_is_not_found(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let gone = RepoId::new(format!("{}-is-not-there", repo.path))?;
    let missing = [ErrorKind::NotFound];
    for (repo, target) in [
        (&repo.id, CheckTarget::Commit(missing_sha()?)),
        (&repo.id, CheckTarget::PullRequest(PullRequestId::new(987_654))),
        (&gone, CheckTarget::Commit(repo.head()?)),
    ] {
        ctx.refused(ctx.scm.checks().check_summary(repo, &target).await, &missing)?;
        if let CheckTarget::Commit(sha) = &target {
            ctx.refused(ctx.scm.checks().list_checks_page(repo, sha, None).await, &missing)?;
        }
    }
    Ok(())
}

/// Each with its state, and the job whose log can be read.
pub async fn checks_of_a_commit_are_listed(ctx: &Ctx) -> Result<()> {
    use CheckState::{Cancelled, Failed, Manual, Pending, Running, Skipped, Success};
    // A server without pipelines knows what others tell it.
    let states: &[CheckState] = match ctx.capabilities.pipelines {
        true => &[Pending, Running, Success, Failed, Cancelled, Skipped, Manual],
        false => &[Running, Success, Failed, Cancelled],
    };
    let jobs: Vec<_> = states.iter().map(|state| job(&format!("job {state}"), state.clone())).collect();
    let (repo, sha, run) = with_run(ctx, &jobs).await?;
    let checks = everything(ctx.scm.checks().list_checks(&repo.id, &sha)).await?;
    let mut seen: Vec<_> = checks.iter().map(|check| (check.name.clone(), check.state.to_string())).collect();
    seen.sort();
    let mut wanted: Vec<_> = jobs.iter().map(|job| (job.name.clone(), job.state.to_string())).collect();
    wanted.sort();
    ensure_eq!(seen, wanted, "checks");
    for check in &checks {
        let index = jobs.iter().position(|job| job.name == check.name).unwrap_or_default();
        if let (Some(told), Ok(made)) = (&check.job, run.job(index)) {
            ensure_eq!(told, made, "the job of {}", check.name);
        }
    }
    Ok(())
}

/// A cursor of another provider.
pub async fn a_foreign_cursor_is_refused(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let (cursor, refused) = (foreign_cursor(), [ErrorKind::InvalidInput]);
    ctx.refused(ctx.scm.checks().list_checks_page(&repo.id, &repo.head()?, Some(&cursor)).await, &refused)?;
    if ctx.capabilities.pipelines {
        let opts = ListPipelines::default();
        ctx.refused(ctx.scm.checks().list_pipelines_page(&repo.id, &opts, Some(&cursor)).await, &refused)?;
    }
    Ok(())
}

/// Newest first; by commit, branch and pull request; page by page.
pub async fn pipelines_are_listed(ctx: &Ctx) -> Result<()> {
    use CheckState::{Failed, Success};
    let repo = ctx.repository().await?;
    let none = everything(ctx.scm.checks().list_pipelines(&repo.id, ListPipelines::default())).await?;
    ensure_eq!(none, [], "pipelines before any");
    let (one, first) = topic(ctx, &repo, "feature/x#1+2").await?;
    let (two, second) = topic(ctx, &repo, "two").await?;
    let mut ids = Vec::new();
    for (branch, sha, state) in [(&one, &first, Failed), (&two, &second, Success), (&one, &first, Success)] {
        let run = ctx.fixture.pipeline(&repo, branch, sha, &[job("test", state)]).await?;
        ids.push(run.pipeline()?.clone());
    }
    let new = NewPullRequest::new(one.clone(), repo.default_branch.clone(), "With CI");
    let pull = ctx.scm.pull_requests().create_pull_request(&repo.id, &new).await?.value;
    let all = ListPipelines::default();
    for (opts, wanted) in [
        (all.clone(), vec![&ids[2], &ids[1], &ids[0]]),
        (all.clone().with_sha(first.clone()), vec![&ids[2], &ids[0]]),
        (all.clone().with_branch(two), vec![&ids[1]]),
        (all.clone().with_pull_request(pull.id), vec![&ids[2], &ids[0]]),
    ] {
        let shown = format!("{opts:?}");
        let seen = everything(ctx.scm.checks().list_pipelines(&repo.id, opts)).await?;
        ensure_eq!(seen.iter().map(|pipeline| &pipeline.id).collect::<Vec<_>>(), wanted, "{shown}");
    }
    let pages = every_page(|at| {
        let (scm, repo, opts) = (Arc::clone(&ctx.scm), &repo.id, all.clone().with_page_size(2));
        async move { scm.checks().list_pipelines_page(repo, &opts, at.as_ref()).await }
    })
    .await?;
    let pages =
        pages.into_iter().map(|page| page.into_iter().map(|pipeline| pipeline.id).collect()).collect();
    pages_hold(pages, 2, &ids)?;
    let seen = ctx.scm.checks().pipeline(&repo.id, &ids[0]).await?;
    ensure_eq!((seen.id, seen.state, seen.sha), (ids[0].clone(), Failed, Some(first)), "one pipeline");
    Ok(())
}

/// With stage, state and whether they count.
pub async fn jobs_are_listed(ctx: &Ctx) -> Result<()> {
    use CheckState::{Failed, Running, Success};
    let jobs = [
        job("compile", Success).in_stage("build"),
        job("unit: ä & b", Failed).allowed_to_fail(),
        job("slow", Running),
    ];
    let (repo, _, run) = with_run(ctx, &jobs).await?;
    let listed = everything(ctx.scm.checks().list_jobs(&repo.id, run.pipeline()?)).await?;
    ensure_eq!(listed.len(), jobs.len(), "jobs: {listed:?}");
    for (index, wanted) in jobs.iter().enumerate() {
        let id = run.job(index)?;
        let one = ctx.scm.checks().job(&repo.id, id).await?;
        let Some(listed) = listed.iter().find(|job| job.id == *id) else {
            return Err(super::Stop::failed(format!("{} is not listed", wanted.name)));
        };
        for seen in [listed, &one] {
            ensure_eq!((&seen.name, &seen.state), (&wanted.name, &wanted.state), "name and state");
            ensure_eq!(seen.allow_failure, wanted.allow_failure, "allow_failure of {}", wanted.name);
            ensure!(seen.stage.as_ref().is_none_or(|stage| *stage == wanted.stage), "{:?}", seen.stage);
        }
    }
    let page = ctx.scm.checks().list_jobs_page(&repo.id, run.pipeline()?, Some(&foreign_cursor())).await;
    ctx.refused(page, &[ErrorKind::InvalidInput])?;
    Ok(())
}

/// By numbers that nothing has.
pub async fn missing_pipelines_and_jobs_are_not_found(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let (checks, missing) = (ctx.scm.checks(), [ErrorKind::NotFound]);
    let (pipeline, job) = (PipelineId::new("987654321")?, JobId::new("987654321")?);
    ctx.refused(checks.pipeline(&repo.id, &pipeline).await, &missing)?;
    ctx.refused(checks.list_jobs_page(&repo.id, &pipeline, None).await, &missing)?;
    ctx.refused(checks.job(&repo.id, &job).await, &missing)?;
    let gone = RepoId::new(format!("{}-is-not-there", repo.path))?;
    ctx.refused(checks.list_pipelines_page(&gone, &ListPipelines::default(), None).await, &missing)?;
    Ok(())
}

/// The other half of the cases about pipelines.
pub async fn pipelines_are_refused(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let (checks, pipeline) = (ctx.scm.checks(), PipelineId::new("1")?);
    ctx.unsupported(checks.list_pipelines_page(&repo.id, &ListPipelines::default(), None).await)?;
    ctx.unsupported(checks.pipeline(&repo.id, &pipeline).await)?;
    ctx.unsupported(checks.list_jobs_page(&repo.id, &pipeline, None).await)?;
    ctx.unsupported(checks.job(&repo.id, &JobId::new("1")?).await)
}

/// What failed runs again; what runs is stopped, twice.
pub async fn pipelines_are_retried_and_cancelled(ctx: &Ctx) -> Result<()> {
    use CheckState::{Cancelled, Failed, Success};
    let (repo, _, run) = with_run(ctx, &[job("build", Success), job("test", Failed)]).await?;
    let (checks, id) = (ctx.scm.checks(), run.pipeline()?);
    let again = checks.retry_pipeline(&repo.id, id).await?;
    ensure!(!again.state.is_final(), "a pipeline that was retried is {}", again.state);
    let jobs = everything(checks.list_jobs(&repo.id, id)).await?;
    let test: Vec<_> = jobs.iter().filter(|job| job.name == "test").collect();
    ensure!(test.len() == 1 && !test[0].state.is_final(), "the failed job after the retry: {test:?}");
    for round in ["first", "second"] {
        checks.cancel_pipeline(&repo.id, id).await?;
        let ask = || checks.pipeline(&repo.id, id);
        super::support::until(&format!("cancelled the {round} time"), ask, |seen| seen.state == Cancelled)
            .await?;
    }
    let gone = PipelineId::new("987654321")?;
    ctx.refused(checks.retry_pipeline(&repo.id, &gone).await, &[ErrorKind::NotFound])?;
    ctx.refused(checks.cancel_pipeline(&repo.id, &gone).await, &[ErrorKind::NotFound])?;
    Ok(())
}

/// A new job for one that failed; a stop, twice; a start for one that waits for a person.
pub async fn jobs_are_retried_cancelled_and_played(ctx: &Ctx) -> Result<()> {
    use CheckState::{Cancelled, Failed, Manual, Running};
    let (repo, _, run) =
        with_run(ctx, &[job("test", Failed), job("slow", Running), job("deploy", Manual)]).await?;
    let checks = ctx.scm.checks();
    let again = checks.retry_job(&repo.id, run.job(0)?).await?;
    ensure!(again.id != *run.job(0)? && again.name == "test", "the new job: {again:?}");
    for round in ["first", "second"] {
        checks.cancel_job(&repo.id, run.job(1)?).await?;
        let ask = || checks.job(&repo.id, run.jobs.get(1).unwrap_or(&again.id));
        super::support::until(&format!("cancelled the {round} time"), ask, |seen| seen.state == Cancelled)
            .await?;
    }
    let played = checks.play_job(&repo.id, run.job(2)?).await?;
    ensure!(played.state != Manual, "a job that was started still waits: {played:?}");
    ctx.refused(checks.play_job(&repo.id, run.job(0)?).await, &[ErrorKind::InvalidInput])?;
    let gone = JobId::new("987654321")?;
    ctx.refused(checks.retry_job(&repo.id, &gone).await, &[ErrorKind::NotFound])?;
    ctx.refused(checks.cancel_job(&repo.id, &gone).await, &[ErrorKind::NotFound])?;
    ctx.refused(checks.play_job(&repo.id, &gone).await, &[ErrorKind::NotFound])?;
    Ok(())
}

/// The other half of the cases about control: the jobs go on as they were.
pub async fn control_is_refused(ctx: &Ctx) -> Result<()> {
    use CheckState::{Failed, Manual, Running};
    let jobs = [job("test", Failed), job("slow", Running), job("deploy", Manual)];
    let checks = ctx.scm.checks();
    let (repo, pipeline, ids) = if ctx.capabilities.pipelines {
        let (repo, _, run) = with_run(ctx, &jobs).await?;
        (repo, run.pipeline()?.clone(), run.jobs)
    } else {
        let id = JobId::new("1")?;
        (ctx.repository().await?, PipelineId::new("1")?, vec![id.clone(), id.clone(), id])
    };
    ctx.unsupported(checks.retry_pipeline(&repo.id, &pipeline).await)?;
    ctx.unsupported(checks.cancel_pipeline(&repo.id, &pipeline).await)?;
    ctx.unsupported(checks.retry_job(&repo.id, &ids[0]).await)?;
    ctx.unsupported(checks.cancel_job(&repo.id, &ids[1]).await)?;
    ctx.unsupported(checks.play_job(&repo.id, &ids[2]).await)?;
    if ctx.capabilities.pipelines {
        let listed = everything(checks.list_jobs(&repo.id, &pipeline)).await?;
        for (id, wanted) in ids.iter().zip(&jobs) {
            let state = listed.iter().find(|job| job.id == *id).map(|job| &job.state);
            ensure_eq!(state, Some(&wanted.state), "{} after the refused calls", wanted.name);
        }
    }
    Ok(())
}

fn status(state: CheckState) -> Result<NewStatus> {
    let url = "https://ci.example.com/runs/1?a=1&b=2".parse()?;
    Ok(NewStatus::new("scm/security", state)
        .with_name("Security")
        .with_url(url)
        .with_description("Scan of ä"))
}

/// One check per key, whose state follows; the same state twice is no error.
pub async fn a_status_is_published_and_replaced(ctx: &Ctx) -> Result<()> {
    use CheckState::{Failed, Pending, Running, Success};
    let repo = ctx.repository().await?;
    let (branch, sha) = topic(ctx, &repo, "topic").await?;
    for state in [Pending, Running, Running, Success, Success, Failed] {
        let new = status(state.clone())?.with_branch(branch.clone());
        let made = ctx.scm.checks().publish_status(&repo.id, &sha, &new).await?;
        ensure!(
            made.state == state || (state == Pending && made.state == Running),
            "{:?}, not {state}",
            made.state
        );
        let checks = everything(ctx.scm.checks().list_checks(&repo.id, &sha)).await?;
        ensure_eq!(checks.len(), 1, "checks after {state}: {checks:?}");
    }
    let summary = ctx.scm.checks().check_summary(&repo.id, &CheckTarget::Commit(sha)).await?;
    ensure_eq!(summary.state, Some(Failed), "the summary");
    let gone = ctx.scm.checks().publish_status(&repo.id, &missing_sha()?, &status(Success)?).await;
    ctx.refused(gone, &[ErrorKind::NotFound])?;
    let odd = status(CheckState::Unknown("odd".to_owned()))?;
    ctx.refused(
        ctx.scm.checks().publish_status(&repo.id, &repo.head()?, &odd).await,
        &[ErrorKind::InvalidInput],
    )?;
    Ok(())
}

/// The other half of the case about publishing.
pub async fn a_status_is_refused(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let new = status(CheckState::Success)?;
    ctx.unsupported(ctx.scm.checks().publish_status(&repo.id, &repo.head()?, &new).await)?;
    ensure_eq!(everything(ctx.scm.checks().list_checks(&repo.id, &repo.head()?)).await?, [], "checks");
    Ok(())
}

fn report(notes: usize) -> Result<CodeReport> {
    let path: scm_core::FilePath = "README.md".parse()?;
    let note = |n| Annotation::new(AnnotationLevel::High, format!("note {n}")).at(path.clone(), 1);
    let report = CodeReport::new("scm-security", "Security").with_details("One finding").with_passed(false);
    Ok((0..notes).fold(report, |report, n| report.with_annotation(note(n))))
}

/// Again with the same key; too many notes are refused.
pub async fn a_report_is_published(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    for notes in [1, 2, 1_000] {
        ctx.scm.checks().publish_report(&repo.id, &repo.head()?, &report(notes)?).await?;
    }
    let many = ctx.scm.checks().publish_report(&repo.id, &repo.head()?, &report(1_001)?).await;
    ctx.refused(many, &[ErrorKind::InvalidInput])?;
    Ok(())
}

/// The other half of the case about reports.
pub async fn a_report_is_refused(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    ctx.unsupported(ctx.scm.checks().publish_report(&repo.id, &repo.head()?, &report(1)?).await)
}
