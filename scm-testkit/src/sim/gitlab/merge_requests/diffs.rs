//! What a merge request changes: commits, diffs, versions, pipelines.

use serde_json::{Value, json};

use crate::sim::{
    gitlab::{
        call::Call,
        ci::{self, NewPipeline},
        contents, entities,
        reply::{Failure, Outcome, Reply},
    },
    repo::LogQuery,
};

use super::model::{self, Version, full_json};

/// The newest version of the diff; `None` before there is one.
fn newest(call: &Call) -> Result<Option<Version>, Failure> {
    call.may_read_code()?;
    let state = call.state();
    Ok(model::find(call, &state)?.versions.last().cloned())
}

pub(crate) fn commits(call: &Call) -> Outcome {
    let found = match newest(call)? {
        Some(version) => {
            let revisions = vec![version.head, format!("^{}", version.base)];
            call.repo()?.log(&LogQuery { revisions, ..LogQuery::default() })?
        }
        None => Vec::new(),
    };
    let url = contents::project_url(call);
    call.paged(found, |commit| entities::commit_json(&url, &commit))
}

fn files(call: &Call) -> Result<Vec<crate::sim::repo::FileDiff>, Failure> {
    Ok(match newest(call)? {
        Some(version) => call.repo()?.diff(&version.base, &version.head)?,
        None => Vec::new(),
    })
}

pub(crate) fn diffs(call: &Call) -> Outcome {
    let unified = call.params.flag("unidiff");
    call.paged(files(call)?, |file| entities::diff_json(&file, unified))
}

pub(crate) fn changes(call: &Call) -> Outcome {
    super::api::read(call)?;
    let unified = call.params.flag("unidiff");
    let changes: Vec<Value> = files(call)?.iter().map(|file| entities::diff_json(file, unified)).collect();
    let state = call.state();
    let mut value = full_json(&call.inner, &state, model::find(call, &state)?);
    entities::extend(&mut value, json!({ "changes": changes, "overflow": false }));
    Ok(Reply::ok(value))
}

pub(crate) fn raw(call: &Call) -> Outcome {
    let patch = match newest(call)? {
        Some(version) => call.repo()?.patch(&version.base, &version.head)?,
        None => Vec::new(),
    };
    Ok(Reply::bytes("text/plain", patch))
}

fn version_json(mr_id: u64, version: &Version) -> Value {
    json!({
        "id": version.id,
        "head_commit_sha": version.head,
        "base_commit_sha": version.base,
        "start_commit_sha": version.start,
        "created_at": entities::time(version.created_at),
        "merge_request_id": mr_id,
        "state": if version.files == 0 { "empty" } else { "collected" },
        "real_size": version.files.to_string(),
        "patch_id_sha": null,
    })
}

pub(crate) fn versions(call: &Call) -> Outcome {
    call.may_read_code()?;
    let state = call.state();
    let mr = model::find(call, &state)?;
    let found: Vec<&Version> = mr.versions.iter().rev().collect();
    call.paged(found, |version| version_json(mr.id, version))
}

pub(crate) fn version(call: &Call) -> Outcome {
    call.may_read_code()?;
    let id = call.number("version_id")?;
    let (mr_id, version) = {
        let state = call.state();
        let mr = model::find(call, &state)?;
        let version = mr.versions.iter().find(|version| version.id == id).cloned();
        (mr.id, version.ok_or_else(Failure::no_record)?)
    };
    let repo = call.repo()?;
    let unified = call.params.flag("unidiff");
    let url = contents::project_url(call);
    let revisions = vec![version.head.clone(), format!("^{}", version.base)];
    let commits = repo.log(&LogQuery { revisions, ..LogQuery::default() })?;
    let files = repo.diff(&version.base, &version.head)?;
    let mut value = version_json(mr_id, &version);
    entities::extend(
        &mut value,
        json!({
            "commits": commits.iter().map(|commit| entities::commit_json(&url, commit)).collect::<Vec<_>>(),
            "diffs": files.iter().map(|file| entities::diff_json(file, unified)).collect::<Vec<_>>(),
        }),
    );
    Ok(Reply::ok(value))
}

pub(crate) fn pipelines(call: &Call) -> Outcome {
    super::api::read(call)?;
    let state = call.state();
    let mr = model::find(call, &state)?;
    let shas: Vec<&str> = mr.versions.iter().map(|version| version.head.as_str()).collect();
    let mut found: Vec<(u64, &ci::Pipeline)> = [mr.project_id, mr.source_project_id]
        .iter()
        .filter_map(|id| state.projects.get(id))
        .flat_map(|project| project.pipelines.values().map(|pipeline| (project.id, pipeline)))
        .filter(|(_, pipeline)| shas.contains(&pipeline.sha.as_str()))
        .collect();
    found.sort_by_key(|(_, pipeline)| std::cmp::Reverse(pipeline.id));
    found.dedup_by_key(|(_, pipeline)| pipeline.id);
    call.paged(found, |(project, pipeline)| ci::basic_json(&call.inner, &state, project, pipeline))
}

pub(crate) fn create_pipeline(call: &Call) -> Outcome {
    let user_id = call.may_write(30)?;
    let iid = call.number("merge_request_iid")?;
    let now = call.inner.clock.now();
    let mut state = call.state();
    let sha = model::find(call, &state)?.sha.clone().ok_or_else(|| Failure::plain("No commits"))?;
    let reference = format!("refs/merge-requests/{iid}/head");
    let new = NewPipeline {
        sha: &sha,
        before: None,
        reference: &reference,
        source: "merge_request_event",
        user_id,
    };
    let id = ci::start(&mut state, call.project_id(), &new, now).ok_or_else(|| {
        Failure::message(400, json!({ "base": ["Pipeline will not run for the selected trigger. The rules configuration prevented any jobs from being added to the pipeline."] }))
    })?;
    let project = call.project_in(&state)?;
    let pipeline = project.pipelines.get(&id).ok_or_else(ci::not_found)?;
    Ok(Reply::created(ci::detail_json(&call.inner, &state, project.id, pipeline)))
}

/// Commits on the target that the source lacks.
pub(crate) fn behind_count(call: &Call) -> Result<u64, Failure> {
    let (head, target) = {
        let state = call.state();
        let mr = model::find(call, &state)?;
        (mr.sha.clone(), mr.target_branch.clone())
    };
    let repo = call.repo()?;
    match (head, repo.branch_id(&target)?) {
        (Some(head), Some(target)) => Ok(repo.count(&[target, format!("^{head}")])?),
        _ => Ok(0),
    }
}
