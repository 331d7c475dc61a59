//! Pipelines and jobs over REST.

use serde_json::{Value, json};

use crate::sim::gitlab::{
    auth::Access,
    call::Call,
    contents, entities,
    reply::{Failure, Outcome, Reply},
    router::Route,
    state::State,
};

use super::{
    Job, NewPipeline, Pipeline, basic_json, detail_json, finished, not_found, read_one, settle, start,
    statuses,
};

const LIST: &str = "scope:enum(running|pending|finished|branches|tags) \
     status:enum(created|waiting_for_resource|preparing|waiting_for_callback|pending|running|success|failed|canceling|\
     canceled|skipped|manual|scheduled) ref sha yaml_errors:bool username updated_before:time updated_after:time \
     created_before:time created_after:time order_by:enum(id|status|ref|updated_at|user_id) sort:enum(asc|desc) \
     source name &page";
const JOBS: &str = "scope:enums(created|waiting_for_resource|preparing|waiting_for_callback|pending|running|success|\
     failed|canceling|canceled|skipped|manual|scheduled) include_retried:bool pagination order_by:enum(id) \
     sort:enum(asc|desc) id_before:int id_after:int cursor &page";

pub(crate) const ROUTES: &[Route] = &[
    ("GET", "/projects/:id/pipelines", Access::Open, LIST, list),
    ("POST", "/projects/:id/pipeline", Access::Write, "ref!:filled variables:list inputs:hash", create),
    ("GET", "/projects/:id/pipelines/latest", Access::Open, "ref", latest),
    ("GET", "/projects/:id/pipelines/:pipeline_id", Access::Open, "", show),
    ("DELETE", "/projects/:id/pipelines/:pipeline_id", Access::Write, "", delete),
    ("GET", "/projects/:id/pipelines/:pipeline_id/jobs", Access::Open, JOBS, pipeline_jobs),
    ("POST", "/projects/:id/pipelines/:pipeline_id/retry", Access::Write, "", retry_pipeline),
    ("POST", "/projects/:id/pipelines/:pipeline_id/cancel", Access::Write, "", cancel_pipeline),
    ("GET", "/projects/:id/jobs", Access::Open, JOBS, jobs),
    ("GET", "/projects/:id/jobs/:job_id", Access::Open, "", job),
    ("GET", "/projects/:id/jobs/:job_id/trace", Access::Open, "", trace),
    ("POST", "/projects/:id/jobs/:job_id/retry", Access::Write, "", retry_job),
    ("POST", "/projects/:id/jobs/:job_id/cancel", Access::Write, "force:bool", cancel_job),
    ("POST", "/projects/:id/jobs/:job_id/play", Access::Write, "job_variables_attributes:list", play_job),
    ("GET", "/projects/:id/repository/commits/:sha/statuses", Access::Open, statuses::LIST, statuses::list),
    ("POST", "/projects/:id/statuses/:sha", Access::Write, statuses::CREATE, statuses::create),
];

/// CI is for those who may read code; on public projects, for everyone.
fn may_read(call: &Call) -> Result<(), Failure> {
    call.may_read_code()
}

fn list(call: &Call) -> Outcome {
    may_read(call)?;
    let unfinished: Vec<u64> = {
        let state = call.state();
        let all = call.project_in(&state)?.pipelines.values();
        all.filter(|pipeline| !finished(&pipeline.status)).map(|pipeline| pipeline.id).collect()
    };
    for id in unfinished {
        read_one(&call.inner, call.project_id(), id);
    }
    let params = &call.params;
    let time = |name| params.filled(name).and_then(crate::sim::params::timestamp);
    let (after, before) = (time("updated_after"), time("updated_before"));
    let state = call.state();
    let user = params.filled("username").map(|name| state.user_named(name).map_or(0, |user| user.id));
    let mut found: Vec<&Pipeline> = call
        .project_in(&state)?
        .pipelines
        .values()
        .filter(|p| params.text("status").is_none_or(|status| status == p.status))
        .filter(|p| params.filled("ref").is_none_or(|name| name == p.reference))
        .filter(|p| params.filled("sha").is_none_or(|sha| sha == p.sha))
        .filter(|p| params.filled("source").is_none_or(|source| source == p.source))
        .filter(|p| user.is_none_or(|user| user == p.user_id))
        .filter(|p| after.is_none_or(|at| p.updated_at > at) && before.is_none_or(|at| p.updated_at < at))
        .filter(|p| match params.text("scope") {
            Some("running") => p.status == "running",
            Some("pending") => p.status == "pending",
            Some("finished") => finished(&p.status),
            Some("tags") => p.tag,
            Some("branches") => !p.tag,
            _ => true,
        })
        .collect();
    match params.text("order_by") {
        Some("status") => found.sort_by(|a, b| (&a.status, a.id).cmp(&(&b.status, b.id))),
        Some("ref") => found.sort_by(|a, b| (&a.reference, a.id).cmp(&(&b.reference, b.id))),
        Some("updated_at") => found.sort_by_key(|pipeline| (pipeline.updated_at, pipeline.id)),
        _ => {}
    }
    if params.text("sort") != Some("asc") {
        found.reverse();
    }
    call.paged(found, |pipeline| basic_json(&call.inner, &state, call.project_id(), pipeline))
}

fn create(call: &Call) -> Outcome {
    let user_id = call.may_write(30)?;
    let repo = call.repo()?;
    let name = call.params.text("ref").unwrap_or_default();
    let refuse = |text: &str| Failure::message(400, json!({ "base": [text] }));
    let sha = repo.commit_id(name)?.ok_or_else(|| refuse("Reference not found"))?;
    let now = call.inner.clock.now();
    let mut state = call.state();
    let new = NewPipeline { sha: &sha, before: None, reference: name, source: "api", user_id };
    let id =
        start(&mut state, call.project_id(), &new, now).ok_or_else(|| refuse("Missing CI config file"))?;
    Ok(Reply::created(detail(call, &state, id)?))
}

fn detail(call: &Call, state: &State, id: u64) -> Result<Value, Failure> {
    let pipeline = call.project_in(state)?.pipelines.get(&id).ok_or_else(not_found)?;
    Ok(detail_json(&call.inner, state, call.project_id(), pipeline))
}

fn pipeline_id(call: &Call) -> Result<u64, Failure> {
    may_read(call)?;
    let id = call.number("pipeline_id")?;
    let state = call.state();
    if call.project_in(&state)?.pipelines.contains_key(&id) { Ok(id) } else { Err(not_found()) }
}

fn show(call: &Call) -> Outcome {
    let id = pipeline_id(call)?;
    read_one(&call.inner, call.project_id(), id);
    Ok(Reply::ok(detail(call, &call.state(), id)?))
}

fn latest(call: &Call) -> Outcome {
    may_read(call)?;
    let repo = call.repo()?;
    let missing = Failure::forbidden;
    let sha = contents::revision(call, &repo, call.params.text("ref"))?.ok_or_else(missing)?;
    let id = super::newest(&call.state(), call.project_id(), &sha).map(|pipeline| pipeline.id);
    let id = id.ok_or_else(missing)?;
    read_one(&call.inner, call.project_id(), id);
    Ok(Reply::ok(detail(call, &call.state(), id)?))
}

fn delete(call: &Call) -> Outcome {
    let id = pipeline_id(call)?;
    call.needs(50)?;
    let mut state = call.state();
    let project = call.project_mut(&mut state)?;
    project.pipelines.remove(&id);
    project.jobs.retain(|_, job| job.pipeline_id != id);
    Ok(Reply::no_content())
}

fn job_json(call: &Call, state: &State, job: &Job, commit: &Value) -> Result<Value, Failure> {
    let project = call.project_in(state)?;
    let pipeline = project.pipelines.get(&job.pipeline_id).ok_or_else(not_found)?;
    #[expect(clippy::cast_precision_loss, reason = "a few seconds")]
    let seconds = |from: jiff::Timestamp, to: jiff::Timestamp| {
        (to.as_millisecond() - from.as_millisecond()) as f64 / 1000.0
    };
    let now = call.inner.clock.now();
    let mut value = json!({
        "id": job.id,
        "status": job.status,
        "stage": job.stage,
        "name": job.name,
        "ref": pipeline.reference,
        "tag": pipeline.tag,
        "coverage": null,
        "allow_failure": job.allow_failure,
        "created_at": entities::time(job.created_at),
        "started_at": job.started_at.map(entities::time),
        "finished_at": job.finished_at.map(entities::time),
        "erased_at": null,
        "duration": job.started_at.map(|from| seconds(from, job.finished_at.unwrap_or(now))),
        "queued_duration": job.started_at.map(|at| seconds(job.created_at, at)),
        "user": entities::user_basic(&call.inner, state, job.user_id),
        "commit": commit,
        "pipeline": basic_json(&call.inner, state, project.id, pipeline),
        "web_url": format!("{}/-/jobs/{}", entities::project_url(&call.inner, state, project.id), job.id),
        "artifacts": [],
        "artifacts_file": null,
        "artifacts_expire_at": null,
        "runner": null,
        "runner_manager": null,
        "archived": false,
        "tag_list": [],
    });
    if job.status == "failed" {
        entities::extend(&mut value, json!({ "failure_reason": "script_failure" }));
    }
    Ok(value)
}

/// The commits of jobs, read once for all of them and without a lock.
fn commits_of(call: &Call, shas: &[String]) -> Result<std::collections::HashMap<String, Value>, Failure> {
    let mut wanted = shas.to_vec();
    wanted.sort();
    wanted.dedup();
    let repo = call.repo()?;
    let known: Vec<String> = repo.resolve_all(&wanted)?.into_iter().flatten().collect();
    let url = contents::project_url(call);
    let commits = repo.commits(&known)?;
    Ok(commits.iter().map(|commit| (commit.id.clone(), entities::commit_json(&url, commit))).collect())
}

fn page_of_jobs(call: &Call, wanted: impl Fn(&Job) -> bool, newest_first: bool) -> Outcome {
    let scopes = call.params.texts("scope");
    let mut ids: Vec<(u64, String)> = {
        let state = call.state();
        let project = call.project_in(&state)?;
        let retried = call.params.flag("include_retried");
        let sha =
            |job: &Job| project.pipelines.get(&job.pipeline_id).map(|p| p.sha.clone()).unwrap_or_default();
        project
            .jobs
            .values()
            .filter(|job| wanted(job) && (retried || !job.retried))
            .filter(|job| {
                scopes.as_ref().is_none_or(|scopes| scopes.is_empty() || scopes.contains(&job.status))
            })
            .map(|job| (job.id, sha(job)))
            .collect()
    };
    if newest_first {
        ids.reverse();
    }
    let keyset = call.params.text("pagination") == Some("keyset");
    if keyset && let Some(before) = call.params.id("id_before") {
        ids.retain(|(id, _)| *id < before);
    }
    let asked = call.asked();
    let skip = if keyset { 0 } else { asked.skip() };
    let page: Vec<(u64, String)> = ids.iter().skip(skip).take(asked.per_page).cloned().collect();
    let shas: Vec<String> = page.iter().map(|(_, sha)| sha.clone()).collect();
    let commits = commits_of(call, &shas)?;
    let state = call.state();
    let project = call.project_in(&state)?;
    let made = page
        .iter()
        .filter_map(|(id, sha)| project.jobs.get(id).map(|job| (job, sha)))
        .map(|(job, sha)| job_json(call, &state, job, commits.get(sha).unwrap_or(&Value::Null)));
    let values = made.collect::<Result<Vec<Value>, Failure>>()?;
    if keyset {
        let last = page.last().filter(|_| ids.len() > page.len()).map(|(id, _)| id.to_string());
        return match last {
            Some(last) => call.keyset(values, Some(&[("id_before", last)])),
            None => call.keyset(values, None),
        };
    }
    let mut values = values.into_iter();
    call.paged(ids, |_| values.next().unwrap_or(Value::Null))
}

fn pipeline_jobs(call: &Call) -> Outcome {
    let id = pipeline_id(call)?;
    read_one(&call.inner, call.project_id(), id);
    page_of_jobs(call, |job| job.pipeline_id == id, true)
}

fn jobs(call: &Call) -> Outcome {
    may_read(call)?;
    page_of_jobs(call, |_| true, true)
}

fn job_id(call: &Call) -> Result<(u64, u64), Failure> {
    may_read(call)?;
    let id = call.number("job_id")?;
    let state = call.state();
    let job = call.project_in(&state)?.jobs.get(&id).ok_or_else(not_found)?;
    Ok((id, job.pipeline_id))
}

fn one(call: &Call, id: u64) -> Result<Value, Failure> {
    let sha = {
        let state = call.state();
        let project = call.project_in(&state)?;
        let job = project.jobs.get(&id).ok_or_else(not_found)?;
        project.pipelines.get(&job.pipeline_id).map(|pipeline| pipeline.sha.clone()).unwrap_or_default()
    };
    let commits = commits_of(call, std::slice::from_ref(&sha))?;
    let state = call.state();
    let job = call.project_in(&state)?.jobs.get(&id).ok_or_else(not_found)?;
    job_json(call, &state, job, commits.get(&sha).unwrap_or(&Value::Null))
}

fn job(call: &Call) -> Outcome {
    let (id, pipeline) = job_id(call)?;
    read_one(&call.inner, call.project_id(), pipeline);
    Ok(Reply::ok(one(call, id)?))
}

fn trace(call: &Call) -> Outcome {
    let (id, pipeline) = job_id(call)?;
    read_one(&call.inner, call.project_id(), pipeline);
    let state = call.state();
    let job = call.project_in(&state)?.jobs.get(&id).ok_or_else(not_found)?;
    Ok(Reply::bytes("text/plain", &job.log.as_bytes()[..job.shown.min(job.log.len())]))
}

fn settle_and_show(call: &Call, job: u64, pipeline: u64) -> Outcome {
    settle(&mut call.state(), call.project_id(), pipeline, call.inner.clock.now());
    Ok(Reply::created(one(call, job)?))
}

fn retry_job(call: &Call) -> Outcome {
    let user = call.may_write(30)?;
    let (id, pipeline) = job_id(call)?;
    let now = call.inner.clock.now();
    let new = {
        let mut state = call.state();
        if !finished(&call.project_in(&state)?.jobs.get(&id).ok_or_else(not_found)?.status) {
            return Err(Failure::forbidden_because("Job is not retryable"));
        }
        again(&mut state, call.project_id(), id, user, now).ok_or_else(not_found)?
    };
    settle_and_show(call, new, pipeline)
}

/// A new attempt of a job; the old one stays as retried, and the pipeline starts to count reads anew.
fn again(state: &mut State, project_id: u64, id: u64, user: u64, now: jiff::Timestamp) -> Option<u64> {
    let new_id = state.next_id("job");
    let project = state.projects.get_mut(&project_id)?;
    let old = project.jobs.get_mut(&id)?;
    old.retried = true;
    let job = Job {
        id: new_id,
        pipeline_id: old.pipeline_id,
        name: old.name.clone(),
        stage: old.stage.clone(),
        status: "pending".to_owned(),
        outcome: old.outcome,
        allow_failure: old.allow_failure,
        log: old.log.clone(),
        shown: 0,
        retried: false,
        created_at: now,
        started_at: None,
        finished_at: None,
        user_id: user,
    };
    if let Some(pipeline) = project.pipelines.get_mut(&job.pipeline_id) {
        pipeline.reads = 0;
        pipeline.finished_at = None;
    }
    project.jobs.insert(new_id, job);
    Some(new_id)
}

fn cancel_job(call: &Call) -> Outcome {
    call.may_write(30)?;
    let (id, pipeline) = job_id(call)?;
    let now = call.inner.clock.now();
    if let Some(job) = call.project_mut(&mut call.state())?.jobs.get_mut(&id)
        && !finished(&job.status)
    {
        job.set_status("canceled", now);
    }
    settle_and_show(call, id, pipeline)
}

fn play_job(call: &Call) -> Outcome {
    call.may_write(30)?;
    let (id, pipeline) = job_id(call)?;
    let now = call.inner.clock.now();
    {
        let mut state = call.state();
        let job = call.project_mut(&mut state)?.jobs.get_mut(&id).ok_or_else(not_found)?;
        if job.status != "manual" {
            return Err(Failure::plain("Unplayable Job"));
        }
        job.allow_failure = false;
        job.set_status("pending", now);
        if let Some(pipeline) = call.project_mut(&mut state)?.pipelines.get_mut(&pipeline) {
            pipeline.reads = 0;
        }
    }
    settle_and_show(call, id, pipeline)
}

fn retry_pipeline(call: &Call) -> Outcome {
    let user = call.may_write(30)?;
    let id = pipeline_id(call)?;
    let now = call.inner.clock.now();
    let mut state = call.state();
    let failed: Vec<u64> = {
        let jobs = call.project_in(&state)?.jobs.values();
        jobs.filter(|job| job.pipeline_id == id && !job.retried)
            .filter(|job| matches!(job.status.as_str(), "failed" | "canceled"))
            .map(|job| job.id)
            .collect()
    };
    for job in failed {
        again(&mut state, call.project_id(), job, user, now);
    }
    settle(&mut state, call.project_id(), id, now);
    Ok(Reply::created(detail(call, &state, id)?))
}

fn cancel_pipeline(call: &Call) -> Outcome {
    call.may_write(30)?;
    let id = pipeline_id(call)?;
    let now = call.inner.clock.now();
    let mut state = call.state();
    let project = call.project_mut(&mut state)?;
    for job in project.jobs.values_mut().filter(|job| job.pipeline_id == id && !finished(&job.status)) {
        job.set_status("canceled", now);
    }
    settle(&mut state, call.project_id(), id, now);
    Ok(Reply::created(detail(call, &state, id)?))
}
