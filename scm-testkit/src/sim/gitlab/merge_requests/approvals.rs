//! People around a merge request: participants, reviewers, approvals.

use serde_json::{Value, json};

use crate::sim::gitlab::{
    call::Call,
    entities,
    reply::{Failure, Outcome, Reply},
    state::State,
};

use super::model;

fn approvals_json(call: &Call, state: &State) -> Result<Value, Failure> {
    let mr = model::find(call, state)?;
    let required = call.project_in(state)?.settings.approvals_required;
    let given = u32::try_from(mr.approvals.len()).unwrap_or(u32::MAX);
    let me = call.user_id();
    let approved = me.is_some_and(|me| mr.approvals.iter().any(|(user, _)| *user == me));
    let level = call.level_on(state, call.project_in(state)?);
    Ok(json!({
        "id": mr.id,
        "iid": mr.iid,
        "project_id": mr.project_id,
        "title": mr.title,
        "description": mr.description,
        "state": mr.state,
        "created_at": entities::time(mr.created_at),
        "updated_at": entities::time(mr.updated_at),
        "merge_status": "can_be_merged",
        "approved": given >= required && (given > 0 || required == 0),
        "approvals_required": required,
        "approvals_left": required.saturating_sub(given),
        "approved_by": mr.approvals.iter().map(|(user, at)| json!({
            "user": entities::user_basic(&call.inner, state, *user), "approved_at": entities::time(*at),
        })).collect::<Vec<_>>(),
        "user_has_approved": approved,
        "user_can_approve": !approved && level >= 30 && me != Some(mr.author_id),
    }))
}

pub(crate) fn show(call: &Call) -> Outcome {
    let state = call.state();
    Ok(Reply::ok(approvals_json(call, &state)?))
}

pub(crate) fn approve(call: &Call) -> Outcome {
    let user = call.user()?;
    let level = call.level();
    let now = call.inner.clock.now();
    let mut state = call.state();
    let archived = call.project_in(&state)?.archived;
    let mr = model::find_mut(call, &mut state)?;
    if archived || level < 30 || mr.author_id == user || mr.approvals.iter().any(|(other, _)| *other == user)
    {
        return Err(Failure::unauthorized());
    }
    if let (Some(expected), Some(head)) = (call.params.filled("sha"), &mr.sha)
        && expected != head
    {
        return Err(Failure::message(409, format!("SHA does not match HEAD of source branch: {head}")));
    }
    mr.approvals.push((user, now));
    mr.updated_at = now;
    let iid = mr.iid;
    model::system_note(&mut state, call.project_id(), iid, user, "approved this merge request", now);
    Ok(Reply::created(approvals_json(call, &state)?))
}

pub(crate) fn unapprove(call: &Call) -> Outcome {
    let user = call.user()?;
    let now = call.inner.clock.now();
    let mut state = call.state();
    let mr = model::find_mut(call, &mut state)?;
    let before = mr.approvals.len();
    mr.approvals.retain(|(other, _)| *other != user);
    if mr.approvals.len() == before {
        return Err(Failure::no_record());
    }
    let iid = mr.iid;
    model::system_note(&mut state, call.project_id(), iid, user, "unapproved this merge request", now);
    Ok(Reply::created(approvals_json(call, &state)?))
}

pub(crate) fn state(call: &Call) -> Outcome {
    let state = call.state();
    let mr = model::find(call, &state)?;
    let required = call.project_in(&state)?.settings.approvals_required;
    let by: Vec<Value> =
        mr.approvals.iter().map(|(user, _)| entities::user_basic(&call.inner, &state, *user)).collect();
    let approved = u32::try_from(by.len()).unwrap_or(u32::MAX) >= required;
    Ok(Reply::ok(json!({
        "approval_rules_overwritten": false,
        "rules": [{
            "id": mr.id, "name": "All Members", "rule_type": "any_approver", "eligible_approvers": [],
            "approvals_required": required, "users": [], "groups": [], "contains_hidden_groups": false,
            "overridden": false, "code_owner": false, "approved_by": by, "approved": approved,
        }],
    })))
}

pub(crate) fn participants(call: &Call) -> Outcome {
    let state = call.state();
    let mr = model::find(call, &state)?;
    let mut ids = vec![mr.author_id];
    ids.extend(mr.assignees.iter().chain(&mr.reviewers));
    ids.extend(mr.notes().filter(|note| !note.system).map(|note| note.author_id));
    let mut seen = std::collections::HashSet::new();
    ids.retain(|id| seen.insert(*id));
    Ok(Reply::ok(ids.iter().map(|id| entities::user_basic(&call.inner, &state, *id)).collect()))
}

pub(crate) fn reviewers(call: &Call) -> Outcome {
    let state = call.state();
    let mr = model::find(call, &state)?;
    let all = mr.reviewers.iter().map(|id| {
        let approved = mr.approvals.iter().any(|(user, _)| user == id);
        json!({
            "user": entities::user_basic(&call.inner, &state, *id),
            "state": if approved { "approved" } else { "unreviewed" },
            "created_at": entities::time(mr.created_at),
        })
    });
    Ok(Reply::ok(all.collect()))
}
