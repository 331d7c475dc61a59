//! Merging as soon as nothing stands against it any more.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::sim::bitbucket_dc::{
    Inner,
    call::Call,
    reply::{Failure, Outcome, Reply},
    router::{Route, Since::V},
    state::State,
};

use super::{
    merge::{Ask, merge_as, vetoes},
    model::{self, Action, find, find_mut, must_be_open, record},
};

pub(crate) const ROUTES: &[Route] = &[
    ("GET", "/api/projects/:key/repos/:slug/pull-requests/:id/auto-merge", V(8, 15), "", show),
    ("POST", "/api/projects/:key/repos/:slug/pull-requests/:id/auto-merge", V(8, 15), "", try_now),
    ("DELETE", "/api/projects/:key/repos/:slug/pull-requests/:id/auto-merge", V(8, 15), "", cancel),
];

/// A merge that waits.
#[derive(Debug, Clone)]
pub(crate) struct AutoMerge {
    ask: Ask,
    created_at: Timestamp,
    /// What the source was at when it was asked for.
    from: String,
}

pub(crate) fn disabled() -> Failure {
    Failure::plain(403, "Auto-merge is not enabled for this repository.")
}

fn waiting_json(call: &Call, pull: &model::PullRequest, waiting: &AutoMerge) -> Value {
    json!({
        "autoSubject": waiting.ask.subject,
        "createdDate": call.date(waiting.created_at),
        "fromHash": waiting.from,
        "message": waiting.ask.message,
        "strategyId": waiting.ask.strategy,
        "toRefId": pull.to.id,
    })
}

/// Keeps a merge for later.
pub(crate) fn request(call: &Call, state: &mut State, ask: &Ask) -> Result<(), Failure> {
    let now = call.inner.clock.now();
    let activity = state.next_id("activity");
    let pull = find_mut(call, state)?;
    let from = pull.from.commit.clone();
    pull.auto_merge = Some(AutoMerge { ask: ask.clone(), created_at: now, from });
    record(pull, activity, ask.user_id, Action::Plain("AUTO_MERGE_REQUESTED", json!({})), now);
    Ok(())
}

fn not_requested() -> Failure {
    Failure::no_such("An auto-merge request for this pull request")
}

fn show(call: &Call) -> Outcome {
    let state = call.state();
    let pull = find(call, &state)?;
    let waiting = pull.auto_merge.as_ref().ok_or_else(not_requested)?;
    Ok(Reply::ok(waiting_json(call, pull, waiting)))
}

fn try_now(call: &Call) -> Outcome {
    call.may_change(2)?;
    {
        let state = call.state();
        if !call.repo_in(&state)?.settings.auto_merge {
            return Err(disabled());
        }
        if find(call, &state)?.auto_merge.is_none() {
            return Err(Failure::bad_argument("No auto-merge request was submitted for this pull request."));
        }
    }
    process(&call.inner, call.repo);
    let state = call.state();
    let pull = find(call, &state)?;
    let status = if pull.state == "MERGED" { "MERGED" } else { "VETOED" };
    Ok(Reply::ok(json!({
        "autoMergeProcessingStatus": status,
        "pullRequest": model::json(&call.inner, &state, call.repo_in(&state)?, pull),
    })))
}

fn cancel(call: &Call) -> Outcome {
    let user = call.may_change(2)?;
    let now = call.inner.clock.now();
    let mut state = call.state();
    let activity = state.next_id("activity");
    let pull = find_mut(call, &mut state)?;
    must_be_open(pull)?;
    if pull.auto_merge.take().is_some() {
        record(pull, activity, user, Action::Plain("AUTO_MERGE_CANCELLED", json!({})), now);
    }
    Ok(Reply::no_content())
}

/// Merges those of a repository that waited and that nothing stands against now.
pub(crate) fn process(inner: &Inner, repo_id: u64) {
    let ready: Vec<(u64, Ask)> = {
        let state = inner.state();
        let Some(repo) = state.repos.get(&repo_id) else { return };
        repo.pull_requests
            .values()
            .filter(|pull| pull.state == "OPEN" && !pull.conflicted)
            .filter_map(|pull| Some((pull, pull.auto_merge.as_ref()?)))
            .filter(|(pull, waiting)| vetoes(&state, repo, pull, waiting.ask.user_id).is_empty())
            .map(|(pull, waiting)| (pull.id, waiting.ask.clone()))
            .collect()
    };
    for (number, ask) in ready {
        if let Err(error) = merge_as(inner, repo_id, number, &ask) {
            tracing::debug!(?error, number, "auto-merge refused");
        }
    }
}
