//! One merge request: read, changed, deleted.

use serde_json::json;

use crate::sim::gitlab::{
    auth::Access,
    call::Call,
    ci, entities,
    reply::{Failure, Outcome, Reply},
    router::Route,
};

use super::{
    approvals, create, diffs, list, merge,
    model::{self, full_json, system_note},
    rebase,
};

const CREATE: &str = "title!:filled source_branch!:filled target_branch!:filled target_project_id:int assignee_id:int \
     assignee_ids:ints reviewer_ids:ints description labels:list add_labels:list remove_labels:list milestone_id:int \
     remove_source_branch:bool allow_collaboration:bool allow_maintainer_to_push:bool squash:bool merge_after:time \
     approvals_before_merge:int";
const UPDATE: &str = "title:filled target_branch:filled state_event:enum(close|reopen) discussion_locked:bool \
     assignee_id:int assignee_ids:ints reviewer_ids:ints description labels:list add_labels:list remove_labels:list \
     milestone_id:int remove_source_branch:bool allow_collaboration:bool allow_maintainer_to_push:bool squash:bool \
     merge_after:time approvals_before_merge:int";
const ONE: &str = "render_html:bool include_diverged_commits_count:bool include_rebase_in_progress:bool";

pub(crate) const ROUTES: &[Route] = &[
    ("GET", "/merge_requests", Access::Read, list::FILTERS, list::of_everyone),
    ("GET", "/projects/:id/merge_requests", Access::Open, list::FILTERS, list::of_project),
    ("POST", "/projects/:id/merge_requests", Access::Write, CREATE, create::create),
    ("GET", "/projects/:id/merge_requests/:merge_request_iid", Access::Open, ONE, show),
    ("PUT", "/projects/:id/merge_requests/:merge_request_iid", Access::Write, UPDATE, update),
    ("DELETE", "/projects/:id/merge_requests/:merge_request_iid", Access::Write, "", delete),
    (
        "PUT",
        "/projects/:id/merge_requests/:merge_request_iid/merge",
        Access::Write,
        merge::PARAMS,
        merge::merge,
    ),
    (
        "POST",
        "/projects/:id/merge_requests/:merge_request_iid/cancel_merge_when_pipeline_succeeds",
        Access::Write,
        "",
        merge::cancel,
    ),
    (
        "PUT",
        "/projects/:id/merge_requests/:merge_request_iid/rebase",
        Access::Write,
        "skip_ci:bool",
        rebase::rebase,
    ),
    ("GET", "/projects/:id/merge_requests/:merge_request_iid/commits", Access::Open, "&page", diffs::commits),
    (
        "GET",
        "/projects/:id/merge_requests/:merge_request_iid/diffs",
        Access::Open,
        "unidiff:bool &page",
        diffs::diffs,
    ),
    (
        "GET",
        "/projects/:id/merge_requests/:merge_request_iid/changes",
        Access::Open,
        "access_raw_diffs:bool unidiff:bool",
        diffs::changes,
    ),
    ("GET", "/projects/:id/merge_requests/:merge_request_iid/raw_diffs", Access::Open, "", diffs::raw),
    (
        "GET",
        "/projects/:id/merge_requests/:merge_request_iid/versions",
        Access::Open,
        "&page",
        diffs::versions,
    ),
    (
        "GET",
        "/projects/:id/merge_requests/:merge_request_iid/versions/:version_id",
        Access::Open,
        "unidiff:bool",
        diffs::version,
    ),
    (
        "GET",
        "/projects/:id/merge_requests/:merge_request_iid/pipelines",
        Access::Open,
        "&page",
        diffs::pipelines,
    ),
    (
        "POST",
        "/projects/:id/merge_requests/:merge_request_iid/pipelines",
        Access::Write,
        "async:bool",
        diffs::create_pipeline,
    ),
    (
        "GET",
        "/projects/:id/merge_requests/:merge_request_iid/participants",
        Access::Open,
        "",
        approvals::participants,
    ),
    (
        "GET",
        "/projects/:id/merge_requests/:merge_request_iid/reviewers",
        Access::Open,
        "",
        approvals::reviewers,
    ),
    ("GET", "/projects/:id/merge_requests/:merge_request_iid/approvals", Access::Open, "", approvals::show),
    (
        "POST",
        "/projects/:id/merge_requests/:merge_request_iid/approve",
        Access::Write,
        "sha approval_password",
        approvals::approve,
    ),
    (
        "POST",
        "/projects/:id/merge_requests/:merge_request_iid/unapprove",
        Access::Write,
        "",
        approvals::unapprove,
    ),
    (
        "GET",
        "/projects/:id/merge_requests/:merge_request_iid/approval_state",
        Access::Open,
        "",
        approvals::state,
    ),
];

fn show(call: &Call) -> Outcome {
    read(call)?;
    let rebasing = rebase::step(call)?;
    let params = &call.params;
    let diverged =
        if params.flag("include_diverged_commits_count") { Some(diffs::behind_count(call)?) } else { None };
    let mut state = call.state();
    let value = {
        let mr = model::find(call, &state)?;
        let mut value = full_json(&call.inner, &state, mr);
        if params.flag("include_rebase_in_progress") {
            entities::extend(&mut value, json!({ "rebase_in_progress": rebasing }));
        }
        if let Some(count) = diverged {
            entities::extend(&mut value, json!({ "diverged_commits_count": count }));
        }
        value
    };
    // This read is one step of the check that runs in the background.
    let mr = model::find_mut(call, &mut state)?;
    mr.checking = mr.checking.saturating_sub(1);
    Ok(Reply::ok(value))
}

/// Reading a merge request moves its pipeline on, which may merge it.
pub(crate) fn read(call: &Call) -> Result<(), Failure> {
    let (sha, source) = {
        let state = call.state();
        let mr = model::find(call, &state)?;
        (mr.sha.clone(), mr.source_project_id)
    };
    if let Some(sha) = sha {
        ci::read_by_sha(&call.inner, call.project_id(), &sha);
        if source != call.project_id() {
            ci::read_by_sha(&call.inner, source, &sha);
        }
    }
    Ok(())
}

fn update(call: &Call) -> Outcome {
    const CHANGEABLE: &[&str] = &[
        "assignee_id",
        "assignee_ids",
        "reviewer_ids",
        "description",
        "labels",
        "add_labels",
        "remove_labels",
        "milestone_id",
        "remove_source_branch",
        "allow_collaboration",
        "allow_maintainer_to_push",
        "squash",
        "target_branch",
        "title",
        "state_event",
        "discussion_locked",
        "merge_after",
        "approvals_before_merge",
    ];
    let user = call.user()?;
    let params = &call.params;
    let archived = call.project_in(&call.state())?.archived;
    let (author, assigned) = {
        let state = call.state();
        let mr = model::find(call, &state)?;
        (mr.author_id, mr.assignees.contains(&user))
    };
    if archived || (call.level() < 30 && author != user && !assigned) {
        return Err(Failure::forbidden());
    }
    if !CHANGEABLE.iter().any(|name| params.has(name)) {
        let names = CHANGEABLE.join(", ");
        return Err(Failure::error(
            400,
            format!("{names} are missing, at least one parameter must be provided"),
        ));
    }
    let target = params.text("target_branch").map(str::to_owned);
    if let Some(target) = &target
        && call.repo()?.branch_id(target)?.is_none()
    {
        return Err(Failure::message(400, json!([format!("Target branch \"{target}\" does not exist")])));
    }
    let now = call.inner.clock.now();
    let reopened = {
        let mut state = call.state();
        apply(call, &mut state, user, target.as_deref(), now)?
    };
    if target.is_some() || reopened {
        let (project, source) = {
            let state = call.state();
            let mr = model::find(call, &state)?;
            (mr.source_project_id, mr.source_branch.clone())
        };
        let head = call.inner.repo(project)?.branch_id(&source)?;
        let iid = call.number("merge_request_iid")?;
        if target.is_some() {
            model::find_mut(call, &mut call.state())?.versions.clear();
        }
        model::refresh(&call.inner, call.project_id(), iid, head.as_deref(), Some(user))?;
    }
    let state = call.state();
    Ok(Reply::ok(full_json(&call.inner, &state, model::find(call, &state)?)))
}

/// Returns whether it was reopened.
fn apply(
    call: &Call,
    state: &mut crate::sim::gitlab::state::State,
    user: u64,
    target: Option<&str>,
    now: jiff::Timestamp,
) -> Result<bool, Failure> {
    let params = &call.params;
    let iid = call.number("merge_request_iid")?;
    let event = params.text("state_event");
    let duplicate = {
        let mr = model::find(call, state)?;
        let same = |other: &&model::MergeRequest| {
            other.iid != iid
                && other.state == "opened"
                && other.source_branch == mr.source_branch
                && other.source_project_id == mr.source_project_id
                && other.target_branch == target.unwrap_or(&mr.target_branch)
        };
        let opens = event == Some("reopen") || (target.is_some() && mr.state == "opened");
        call.project_in(state)?.merge_requests.values().find(same).filter(|_| opens).map(|other| other.iid)
    };
    if let Some(other) = duplicate {
        let text = format!("Another open merge request already exists for this source branch: !{other}");
        return Err(Failure::message(409, json!([text])));
    }
    let known: Vec<u64> = state.users.keys().copied().collect();
    let people = |ids: Vec<u64>| ids.into_iter().filter(|id| known.contains(id)).collect::<Vec<u64>>();
    let mr = model::find_mut(call, state)?;
    mr.updated_at = now;
    if let Some(title) = params.text("title") {
        title.clone_into(&mut mr.title);
    }
    if params.has("description") {
        mr.description = params.text("description").map(str::to_owned);
    }
    if let Some(target) = target {
        target.clone_into(&mut mr.target_branch);
    }
    if let Some(ids) = params
        .ids("assignee_ids")
        .or_else(|| params.has("assignee_id").then(|| params.id("assignee_id").into_iter().collect()))
    {
        mr.assignees = people(ids);
    }
    if let Some(ids) = params.ids("reviewer_ids") {
        mr.reviewers = people(ids);
    }
    if let Some(labels) = params.texts("labels") {
        mr.labels = labels;
    }
    for label in params.texts("add_labels").unwrap_or_default() {
        if !mr.labels.contains(&label) {
            mr.labels.push(label);
        }
    }
    let gone = params.texts("remove_labels").unwrap_or_default();
    mr.labels.retain(|label| !gone.contains(label));
    for (name, slot) in [
        ("squash", &mut mr.squash),
        ("remove_source_branch", &mut mr.remove_source_branch),
        ("allow_collaboration", &mut mr.allow_collaboration),
    ] {
        if let Some(flag) = params.bool(name) {
            *slot = flag;
        }
    }
    if let Some(flag) = params.bool("discussion_locked") {
        mr.discussion_locked = Some(flag);
    }
    match event {
        Some("close") => {
            model::close_as(state, call.project_id(), iid, user, now);
        }
        Some("reopen") if mr.state == "closed" => {
            mr.state = "opened";
            mr.closed = None;
            system_note(state, call.project_id(), iid, user, "reopened", now);
            return Ok(true);
        }
        _ => {}
    }
    state.touch(call.project_id(), now);
    Ok(false)
}

fn delete(call: &Call) -> Outcome {
    let iid = call.number("merge_request_iid")?;
    let level = call.level();
    let mut state = call.state();
    model::find(call, &state)?;
    if level < 50 {
        return Err(Failure::forbidden());
    }
    call.project_mut(&mut state)?.merge_requests.remove(&iid);
    Ok(Reply::no_content())
}
