//! Rebasing in the background: asked for, polled, then seen to be done or failed.

use serde_json::json;

use crate::sim::{
    gitlab::{
        call::Call,
        events,
        reply::{Failure, Outcome, Reply},
    },
    repo::Identity,
};

use super::model::{self, Rebase};

pub(crate) fn rebase(call: &Call) -> Outcome {
    let user = call.user()?;
    let mut state = call.state();
    let mr = model::find(call, &state)?;
    let source = state.projects.get(&mr.source_project_id).ok_or_else(Failure::forbidden)?;
    let level = call.level_on(&state, source);
    if source.archived || level < 30 || level < state.push_level(source, &mr.source_branch) {
        return Err(Failure::forbidden_because("Cannot push to source branch"));
    }
    if mr.state != "opened" {
        return Err(Failure::not_allowed());
    }
    let reads = call.project_in(&state)?.settings.rebase_reads;
    let skip_ci = call.params.flag("skip_ci");
    let mr = model::find_mut(call, &mut state)?;
    if mr.rebase.is_some() {
        return Err(Failure::message(
            409,
            "Failed to enqueue the rebase operation, possibly due to a long-lived transaction. Try again later.",
        ));
    }
    mr.merge_error = None;
    mr.rebase = Some(Rebase { reads_left: reads, user_id: user, skip_ci });
    Ok(Reply::json(202, json!({ "rebase_in_progress": true })))
}

/// A read of the merge request: `true` while the rebase goes on, and its end when the time has come.
pub(crate) fn step(call: &Call) -> Result<bool, Failure> {
    let (rebase, source_project, source_branch, target_branch, iid) = {
        let mut state = call.state();
        let mr = model::find_mut(call, &mut state)?;
        let Some(rebase) = &mut mr.rebase else { return Ok(false) };
        if rebase.reads_left > 0 {
            rebase.reads_left -= 1;
            return Ok(true);
        }
        let rebase = rebase.clone();
        mr.rebase = None;
        (rebase, mr.source_project_id, mr.source_branch.clone(), mr.target_branch.clone(), mr.iid)
    };
    let target_repo = call.repo()?;
    let source_repo = call.inner.repo(source_project)?;
    let who = {
        let state = call.state();
        let user = state.users.get(&rebase.user_id).ok_or_else(Failure::unauthorized)?;
        let date = format!("{} +0000", call.inner.clock.unix_seconds());
        Identity { name: user.name.clone(), email: user.email.clone(), date }
    };
    let (Some(head), Some(onto)) =
        (source_repo.branch_id(&source_branch)?, target_repo.branch_id(&target_branch)?)
    else {
        return fail(call, "Rebase failed: a branch is gone");
    };
    if target_repo.is_ancestor(&onto, &head).unwrap_or(false) {
        // Nothing to do: the head stays.
        return Ok(false);
    }
    if source_project != call.project_id() {
        source_repo.fetch_from(&target_repo, &onto, &format!("refs/keep-around/rebase-{iid}"))?;
    }
    let Ok(top) = source_repo.rebase(&head, &onto, &who)? else {
        return fail(call, "Rebase failed. Rebase locally, resolve all conflicts, then push the branch.");
    };
    if !source_repo.update_ref(&format!("refs/heads/{source_branch}"), &top, &head)? {
        return fail(call, "Rebase failed: the source branch has moved");
    }
    tracing::debug!(iid, skip_ci = rebase.skip_ci, "rebased");
    events::branch_moved(
        &call.inner,
        source_project,
        &source_branch,
        Some(&head),
        Some(&top),
        rebase.user_id,
    )?;
    Ok(false)
}

fn fail(call: &Call, reason: &str) -> Result<bool, Failure> {
    model::find_mut(call, &mut call.state())?.merge_error = Some(reason.to_owned());
    Ok(false)
}
