//! Pipelines and jobs: what a push starts, and how it comes to an end.

mod api;
mod statuses;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::sim::gitlab::{Inner, entities, reply::Failure, state::State};

pub(crate) use api::ROUTES;

/// How a job ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum JobOutcome {
    /// It passes.
    Success,
    /// It fails, and with it the pipeline.
    Failed,
    /// It is left out.
    Skipped,
    /// It waits for someone to start it.
    Manual,
}

/// One job of a [`PipelineScript`].
#[derive(Debug, Clone)]
pub struct JobScript {
    name: String,
    stage: String,
    outcome: JobOutcome,
    log: String,
    allow_failure: bool,
}

impl JobScript {
    /// A job of the stage `test` that passes.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            stage: "test".to_owned(),
            outcome: JobOutcome::Success,
            log: String::new(),
            allow_failure: false,
        }
    }

    /// Stage.
    #[must_use]
    pub fn stage(mut self, stage: impl Into<String>) -> Self {
        self.stage = stage.into();
        self
    }

    /// How it ends.
    #[must_use]
    pub fn outcome(mut self, outcome: JobOutcome) -> Self {
        self.outcome = outcome;
        self
    }

    /// The whole log; it appears line by line as the job goes on.
    #[must_use]
    pub fn log(mut self, log: impl Into<String>) -> Self {
        self.log = log.into();
        self
    }

    /// A failure of this job does not fail the pipeline.
    #[must_use]
    pub fn allow_failure(mut self) -> Self {
        self.allow_failure = true;
        self
    }
}

/// What pipelines new pushes get.
#[derive(Debug, Clone)]
pub struct PipelineScript {
    jobs: Vec<JobScript>,
    reads: Option<u32>,
    for_merge_requests: bool,
}

impl PipelineScript {
    /// These jobs, finished by the second read of the pipeline.
    #[must_use]
    pub fn new(jobs: impl IntoIterator<Item = JobScript>) -> Self {
        Self { jobs: jobs.into_iter().collect(), reads: Some(2), for_merge_requests: false }
    }

    /// Finished when the pipeline, its jobs or its merge request were read `n` times; 0 is at once.
    #[must_use]
    pub fn finish_after_reads(mut self, n: u32) -> Self {
        self.reads = Some(n);
        self
    }

    /// Stays pending until it is moved by [`set_pipeline_status`](super::GitLabSim::set_pipeline_status).
    #[must_use]
    pub fn by_hand(mut self) -> Self {
        self.reads = None;
        self
    }

    /// New and changed merge requests get a pipeline of their own as well, as `merge_request_event`.
    #[must_use]
    pub fn for_merge_requests(mut self) -> Self {
        self.for_merge_requests = true;
        self
    }

    /// The jobs by name with the way they end.
    pub(crate) fn outcomes(&self) -> impl Iterator<Item = (&str, JobOutcome)> {
        self.jobs.iter().map(|job| (job.name.as_str(), job.outcome))
    }

    pub(crate) fn runs_for_merge_requests(&self) -> bool {
        self.for_merge_requests
    }
}

#[derive(Debug)]
pub(crate) struct Pipeline {
    pub(crate) id: u64,
    pub(crate) iid: u64,
    pub(crate) sha: String,
    pub(crate) before_sha: String,
    pub(crate) reference: String,
    pub(crate) tag: bool,
    pub(crate) status: String,
    pub(crate) source: String,
    pub(crate) user_id: u64,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) finished_at: Option<Timestamp>,
    /// Reads so far, and reads until it is finished; `None` for pipelines moved by hand.
    reads: u32,
    reads_needed: Option<u32>,
}

#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) id: u64,
    pub(crate) pipeline_id: u64,
    pub(crate) name: String,
    pub(crate) stage: String,
    pub(crate) status: String,
    pub(crate) outcome: JobOutcome,
    pub(crate) allow_failure: bool,
    pub(crate) log: String,
    /// How much of the log is out, in bytes.
    pub(crate) shown: usize,
    pub(crate) retried: bool,
    pub(crate) created_at: Timestamp,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) finished_at: Option<Timestamp>,
    pub(crate) user_id: u64,
}

/// A status that some other system reported.
#[derive(Debug)]
pub(crate) struct Status {
    pub(crate) id: u64,
    pub(crate) sha: String,
    pub(crate) reference: String,
    pub(crate) name: String,
    pub(crate) state: String,
    pub(crate) target_url: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) coverage: Option<f64>,
    pub(crate) pipeline_id: u64,
    pub(crate) user_id: u64,
    pub(crate) created_at: Timestamp,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) finished_at: Option<Timestamp>,
}

pub(crate) fn finished(status: &str) -> bool {
    matches!(status, "success" | "failed" | "canceled" | "skipped")
}

/// What a pipeline is to be made for.
#[derive(Debug)]
pub(crate) struct NewPipeline<'a> {
    pub(crate) sha: &'a str,
    pub(crate) before: Option<&'a str>,
    pub(crate) reference: &'a str,
    pub(crate) source: &'a str,
    pub(crate) user_id: u64,
}

/// Makes a pipeline by the project's script; `None` when the project has no CI.
pub(crate) fn start(
    state: &mut State,
    project_id: u64,
    new: &NewPipeline<'_>,
    now: Timestamp,
) -> Option<u64> {
    let script = state.projects.get(&project_id)?.script.clone()?;
    Some(start_with(state, project_id, new, &script, now))
}

/// Makes a pipeline by a script.
pub(crate) fn start_with(
    state: &mut State,
    project_id: u64,
    new: &NewPipeline<'_>,
    script: &PipelineScript,
    now: Timestamp,
) -> u64 {
    let id = state.next_id("pipeline");
    let job_ids: Vec<u64> = script.jobs.iter().map(|_| state.next_id("job")).collect();
    let Some(project) = state.projects.get_mut(&project_id) else { return id };
    project.last_pipeline_iid += 1;
    let pipeline = Pipeline {
        id,
        iid: project.last_pipeline_iid,
        sha: new.sha.to_owned(),
        before_sha: new.before.unwrap_or(crate::sim::repo::ZERO).to_owned(),
        reference: new.reference.to_owned(),
        tag: false,
        status: "pending".to_owned(),
        source: new.source.to_owned(),
        user_id: new.user_id,
        created_at: now,
        updated_at: now,
        started_at: None,
        finished_at: None,
        reads: 0,
        reads_needed: script.reads,
    };
    for (job, id_of_job) in script.jobs.iter().zip(job_ids) {
        let status = if job.outcome == JobOutcome::Manual { "manual" } else { "pending" };
        let made = Job {
            id: id_of_job,
            pipeline_id: id,
            name: job.name.clone(),
            stage: job.stage.clone(),
            status: status.to_owned(),
            outcome: job.outcome,
            allow_failure: job.allow_failure || job.outcome == JobOutcome::Manual,
            log: job.log.clone(),
            shown: 0,
            retried: false,
            created_at: now,
            started_at: None,
            finished_at: None,
            user_id: new.user_id,
        };
        project.jobs.insert(id_of_job, made);
    }
    project.pipelines.insert(id, pipeline);
    if script.reads == Some(0) {
        advance(state, project_id, id, now);
    }
    id
}

/// A read of a pipeline: its script goes one step on.
pub(crate) fn advance(state: &mut State, project_id: u64, pipeline_id: u64, now: Timestamp) {
    let Some(project) = state.projects.get_mut(&project_id) else { return };
    let Some(pipeline) = project.pipelines.get_mut(&pipeline_id) else { return };
    let Some(needed) = pipeline.reads_needed else { return };
    if finished(&pipeline.status) {
        return;
    }
    pipeline.reads += 1;
    let reads = pipeline.reads;
    for job in project.jobs.values_mut().filter(|job| job.pipeline_id == pipeline_id && !job.retried) {
        if reads >= needed {
            job.finish(now);
        } else {
            job.show(reads, needed, now);
        }
    }
    settle(state, project_id, pipeline_id, now);
}

impl Job {
    fn finish(&mut self, now: Timestamp) {
        if finished(&self.status) || self.status == "manual" {
            return;
        }
        let status = match self.outcome {
            JobOutcome::Failed => "failed",
            JobOutcome::Skipped => "skipped",
            JobOutcome::Success | JobOutcome::Manual => "success",
        };
        self.set_status(status, now);
    }

    /// The part of the log that is out after so many reads, by whole lines.
    fn show(&mut self, reads: u32, needed: u32, now: Timestamp) {
        if matches!(self.status.as_str(), "manual") || finished(&self.status) {
            return;
        }
        self.set_status("running", now);
        let lines = self.log.split_inclusive('\n').count();
        let out = lines * usize::try_from(reads).unwrap_or(1) / usize::try_from(needed.max(1)).unwrap_or(1);
        let shown = self.log.split_inclusive('\n').take(out).map(str::len).sum();
        self.shown = self.shown.max(shown);
    }

    pub(crate) fn set_status(&mut self, status: &str, now: Timestamp) {
        self.status = status.to_owned();
        if status == "running" || (finished(status) && status != "skipped") {
            self.started_at.get_or_insert(now);
        }
        if finished(status) {
            self.finished_at = Some(now);
            if status != "skipped" && status != "canceled" {
                self.shown = self.log.len();
            }
        } else {
            self.finished_at = None;
        }
    }
}

/// Draws the pipeline's status from its jobs and reported statuses.
pub(crate) fn settle(state: &mut State, project_id: u64, pipeline_id: u64, now: Timestamp) {
    let Some(project) = state.projects.get_mut(&project_id) else { return };
    let jobs = project.jobs.values().filter(|job| job.pipeline_id == pipeline_id && !job.retried);
    let mut parts: Vec<&str> = jobs
        .map(|job| match job.status.as_str() {
            "failed" | "manual" if job.allow_failure => "success",
            status => status,
        })
        .collect();
    parts.extend(
        project
            .statuses
            .values()
            .filter(|status| status.pipeline_id == pipeline_id)
            .map(|status| status.state.as_str()),
    );
    let any = |wanted: &str| parts.contains(&wanted);
    let status = if parts.is_empty() || parts.iter().all(|part| *part == "skipped") {
        "skipped"
    } else if any("running") || (any("pending") && parts.iter().any(|part| finished(part))) {
        "running"
    } else if any("pending") {
        "pending"
    } else if any("manual") {
        "manual"
    } else if any("failed") {
        "failed"
    } else if any("canceled") {
        "canceled"
    } else {
        "success"
    };
    set_status(state, project_id, pipeline_id, status, now);
}

pub(crate) fn set_status(state: &mut State, project_id: u64, pipeline_id: u64, status: &str, now: Timestamp) {
    let project = state.projects.get_mut(&project_id);
    let Some(pipeline) = project.and_then(|project| project.pipelines.get_mut(&pipeline_id)) else { return };
    if pipeline.status != status {
        pipeline.status = status.to_owned();
        pipeline.updated_at = now;
    }
    if !matches!(status, "pending" | "created" | "skipped") {
        pipeline.started_at.get_or_insert(now);
    }
    pipeline.finished_at = if finished(status) { pipeline.finished_at.or(Some(now)) } else { None };
}

/// From now on a pipeline moves by hand only.
pub(crate) fn hold(project: &mut super::state::Project, pipeline_id: u64) {
    if let Some(pipeline) = project.pipelines.get_mut(&pipeline_id) {
        pipeline.reads_needed = None;
    }
}

/// One read of every unfinished pipeline that a merge request or commit shows, and what follows from its end.
pub(crate) fn read_by_sha(inner: &Inner, project_id: u64, sha: &str) {
    let now = inner.clock.now();
    let mut state = inner.state();
    let ids: Vec<u64> = state.projects.get(&project_id).map_or_else(Vec::new, |project| {
        project
            .pipelines
            .values()
            .filter(|pipeline| pipeline.sha == sha)
            .map(|pipeline| pipeline.id)
            .collect()
    });
    for id in ids {
        advance(&mut state, project_id, id, now);
    }
    drop(state);
    super::merge_requests::auto_merge(inner, project_id);
}

pub(crate) fn read_one(inner: &Inner, project_id: u64, pipeline_id: u64) {
    advance(&mut inner.state(), project_id, pipeline_id, inner.clock.now());
    super::merge_requests::auto_merge(inner, project_id);
}

/// The newest pipeline of a commit, its merge request's own ones included.
pub(crate) fn newest<'a>(state: &'a State, project_id: u64, sha: &str) -> Option<&'a Pipeline> {
    let project = state.projects.get(&project_id)?;
    project.pipelines.values().rev().find(|pipeline| pipeline.sha == sha)
}

pub(crate) fn basic_json(inner: &Inner, state: &State, project_id: u64, pipeline: &Pipeline) -> Value {
    json!({
        "id": pipeline.id,
        "iid": pipeline.iid,
        "project_id": project_id,
        "sha": pipeline.sha,
        "ref": pipeline.reference,
        "status": pipeline.status,
        "source": pipeline.source,
        "created_at": entities::time(pipeline.created_at),
        "updated_at": entities::time(pipeline.updated_at),
        "web_url": format!("{}/-/pipelines/{}", entities::project_url(inner, state, project_id), pipeline.id),
    })
}

pub(crate) fn detail_json(inner: &Inner, state: &State, project_id: u64, pipeline: &Pipeline) -> Value {
    let mut value = basic_json(inner, state, project_id, pipeline);
    let seconds = |from: Timestamp, to: Timestamp| (to.as_millisecond() - from.as_millisecond()) / 1000;
    let duration = pipeline.started_at.zip(pipeline.finished_at).map(|(from, to)| seconds(from, to));
    // Whole seconds, and none at all below one; only jobs have fractions.
    let queued =
        pipeline.started_at.map(|started| seconds(pipeline.created_at, started)).filter(|wait| *wait > 0);
    let label = if pipeline.status == "success" { "passed" } else { pipeline.status.as_str() };
    entities::extend(
        &mut value,
        json!({
            "before_sha": pipeline.before_sha,
            "tag": pipeline.tag,
            "yaml_errors": null,
            "user": entities::user_basic(inner, state, pipeline.user_id),
            "started_at": pipeline.started_at.map(entities::time),
            "finished_at": pipeline.finished_at.map(entities::time),
            "committed_at": null,
            "duration": duration,
            "queued_duration": queued,
            "coverage": null,
            "detailed_status": {
                "icon": format!("status_{}", pipeline.status),
                "text": capitalised(label),
                "label": label,
                "group": pipeline.status,
                "tooltip": label,
                "has_details": true,
                "details_path": format!("/{}/-/pipelines/{}", entities::path_of(state, project_id), pipeline.id),
                "favicon": format!("/assets/ci_favicons/favicon_status_{}.png", pipeline.status),
            },
        }),
    );
    value
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

pub(crate) fn not_found() -> Failure {
    Failure::nothing_here()
}
