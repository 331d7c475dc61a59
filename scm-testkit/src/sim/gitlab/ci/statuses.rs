//! Statuses that other systems report on commits.

use serde_json::{Value, json};

use crate::sim::gitlab::{
    call::Call,
    entities,
    reply::{Failure, Outcome, Reply},
    state::State,
};

use super::{NewPipeline, PipelineScript, Status, finished, settle, start_with};

pub(crate) const LIST: &str =
    "ref stage name pipeline_id:int all:bool order_by:enum(id|pipeline_id) sort:enum(asc|desc) &page";
pub(crate) const CREATE: &str = "state!:enum(pending|running|success|failed|canceled|skipped) ref target_url \
     description name context coverage:float pipeline_id:int";

fn status_json(call: &Call, state: &State, status: &Status) -> Value {
    json!({
        "id": status.id,
        "sha": status.sha,
        "ref": status.reference,
        "status": status.state,
        "name": status.name,
        "target_url": status.target_url,
        "description": status.description,
        "created_at": entities::time(status.created_at),
        "started_at": status.started_at.map(entities::time),
        "finished_at": status.finished_at.map(entities::time),
        "allow_failure": false,
        "coverage": status.coverage,
        "pipeline_id": status.pipeline_id,
        "author": entities::user_basic(&call.inner, state, status.user_id),
    })
}

pub(crate) fn list(call: &Call) -> Outcome {
    call.may_read_code()?;
    let sha = call.repo()?.commit_id(call.part("sha"))?.ok_or_else(|| Failure::not_found("Commit"))?;
    super::read_by_sha(&call.inner, call.project_id(), &sha);
    let params = &call.params;
    let state = call.state();
    let project = call.project_in(&state)?;
    let all = params.flag("all");
    let mut found: Vec<Value> = Vec::new();
    // Jobs count as statuses of their commit, beside those that were reported.
    for job in project.jobs.values().filter(|job| !job.retried || all) {
        let Some(pipeline) = project.pipelines.get(&job.pipeline_id).filter(|pipeline| pipeline.sha == sha)
        else {
            continue;
        };
        if params.filled("stage").is_some_and(|stage| stage != job.stage) {
            continue;
        }
        found.push(json!({
            "id": job.id, "sha": sha, "ref": pipeline.reference, "status": job.status, "name": job.name,
            "target_url": format!("{}/-/jobs/{}", entities::project_url(&call.inner, &state, project.id), job.id),
            "description": null,
            "created_at": entities::time(job.created_at),
            "started_at": job.started_at.map(entities::time),
            "finished_at": job.finished_at.map(entities::time),
            "allow_failure": job.allow_failure, "coverage": null, "pipeline_id": job.pipeline_id,
            "author": entities::user_basic(&call.inner, &state, job.user_id),
        }));
    }
    if params.filled("stage").is_none_or(|stage| stage == "external") {
        let reported = project.statuses.values().filter(|status| status.sha == sha);
        found.extend(reported.map(|status| status_json(call, &state, status)));
    }
    let text = |value: &Value, name: &str| value[name].as_str().map(str::to_owned);
    found.retain(|value| {
        params.filled("ref").is_none_or(|name| text(value, "ref").as_deref() == Some(name))
            && params.filled("name").is_none_or(|name| text(value, "name").as_deref() == Some(name))
            && params.id("pipeline_id").is_none_or(|id| value["pipeline_id"].as_u64() == Some(id))
    });
    if params.text("sort") == Some("desc") {
        found.reverse();
    }
    call.paged(found, |value| value)
}

pub(crate) fn create(call: &Call) -> Outcome {
    let user_id = call.may_write(30)?;
    let repo = call.repo()?;
    let sha = repo.commit_id(call.part("sha"))?.ok_or_else(|| Failure::not_found("Commit"))?;
    let params = &call.params;
    let name = params.filled("name").or(params.filled("context")).unwrap_or("default").to_owned();
    let reference = match params.filled("ref") {
        Some(name) => name.to_owned(),
        None => {
            let heads = repo.refs("refs/heads/")?;
            let head = heads
                .iter()
                .find(|(_, id)| *id == sha)
                .map(|(name, _)| name.trim_start_matches("refs/heads/"));
            head.map(str::to_owned).ok_or_else(|| Failure::not_found("References for commit"))?
        }
    };
    let now = call.inner.clock.now();
    let wanted = params.text("state").unwrap_or("pending").to_owned();
    let mut state = call.state();
    let known = call.project_in(&state)?.pipelines.values().rev().find(|pipeline| {
        pipeline.sha == sha
            && params.id("pipeline_id").is_none_or(|id| pipeline.id == id)
            && (params.has("pipeline_id") || pipeline.reference == reference)
    });
    let pipeline_id = match known.map(|pipeline| pipeline.id) {
        Some(id) => id,
        None if params.has("pipeline_id") => return Err(Failure::not_found("Pipeline")),
        None => {
            let new =
                NewPipeline { sha: &sha, before: None, reference: &reference, source: "external", user_id };
            start_with(&mut state, call.project_id(), &new, &PipelineScript::new([]).by_hand(), now)
        }
    };
    let existing = call
        .project_in(&state)?
        .statuses
        .values()
        .find(|status| status.pipeline_id == pipeline_id && status.name == name)
        .map(|status| (status.id, status.state.clone()));
    if let Some((_, old)) = existing.as_ref().filter(|(_, old)| *old == wanted && !finished(old)) {
        let event = if old == "pending" { ":enqueue" } else { ":run" };
        return Err(Failure::plain(format!("Cannot transition status via {event} from :{old}")));
    }
    let id = match existing {
        Some((id, old)) if !finished(&old) => id,
        _ => state.next_id("job"),
    };
    let project = call.project_mut(&mut state)?;
    let status = project.statuses.entry(id).or_insert_with(|| Status {
        id,
        sha: sha.clone(),
        reference,
        name,
        state: String::new(),
        target_url: None,
        description: None,
        coverage: None,
        pipeline_id,
        user_id,
        created_at: now,
        started_at: None,
        finished_at: None,
    });
    if wanted != "pending" {
        status.started_at.get_or_insert(now);
    }
    status.finished_at = finished(&wanted).then_some(now);
    status.state = wanted;
    if params.has("target_url") {
        status.target_url = params.filled("target_url").map(str::to_owned);
    }
    if params.has("description") {
        status.description = params.text("description").map(str::to_owned);
    }
    status.coverage = params.get("coverage").and_then(Value::as_f64).or(status.coverage);
    let (name, sha) = (status.name.clone(), status.sha.clone());
    // Only the newest report of a name counts.
    project.statuses.retain(|other, status| {
        *other == id || status.name != name || status.sha != sha || status.pipeline_id != pipeline_id
    });
    settle(&mut state, call.project_id(), pipeline_id, now);
    let value = {
        let project = call.project_in(&state)?;
        let status = project.statuses.get(&id).ok_or_else(super::not_found)?;
        status_json(call, &state, status)
    };
    drop(state);
    super::super::merge_requests::auto_merge(&call.inner, call.project_id());
    Ok(Reply::created(value))
}
