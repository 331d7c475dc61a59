//! Rewriting the source branch on top of the target.

use serde_json::json;

use crate::sim::bitbucket_dc::{
    call::Call,
    entities::{minimal_ref, short},
    events,
    reply::{Failure, Outcome, Reply},
    restrictions::{self, Move},
    router::{Route, Since::Always},
    state::State,
};

use super::model::{find, must_be_current, must_be_open};

pub(crate) const ROUTES: &[Route] = &[
    ("GET", "/git/projects/:key/repos/:slug/pull-requests/:id/rebase", Always, "", rebaseable),
    ("POST", "/git/projects/:key/repos/:slug/pull-requests/:id/rebase", Always, "version:int", rebase),
];

/// What stands against a rebase by the caller.
fn vetoes(call: &Call, state: &State) -> Result<Vec<(&'static str, String)>, Failure> {
    let pull = find(call, state)?;
    let mut found = Vec::new();
    let mut veto = |summary, details: &str| found.push((summary, details.to_owned()));
    if pull.state != "OPEN" {
        veto("Not open", "Only open pull requests can be rebased.");
    }
    if !pull.from.id.starts_with("refs/heads/") {
        veto("Not a branch", "Only branches can be rebased.");
    }
    let email = call
        .caller
        .as_ref()
        .filter(|caller| caller.has_user())
        .and_then(|caller| state.users.get(&caller.user_id))
        .and_then(|user| user.email.as_ref());
    if email.is_none() {
        veto("No e-mail address", "An e-mail address is needed to be the committer of rebased commits.");
    }
    let source = state.repos.get(&pull.from.repo_id);
    if source.is_none_or(|source| call.level_on(state, source) < 2 || source.archived) {
        veto("Insufficient permissions", "Write access to the source branch's repository is needed.");
    }
    let user = call.caller.as_ref().map_or(0, |caller| caller.user_id);
    let branch = short(&pull.from.id);
    if source
        .is_some_and(|source| restrictions::refusal(state, source, branch, Move::Rewrite, user).is_some())
    {
        veto("Insufficient branch permissions", "The source branch may not be rewritten.");
    }
    Ok(found)
}

fn vetoes_json(found: &[(&str, String)]) -> serde_json::Value {
    found
        .iter()
        .map(|(summary, details)| json!({ "summaryMessage": summary, "detailedMessage": details }))
        .collect()
}

fn rebaseable(call: &Call) -> Outcome {
    let state = call.state();
    let found = vetoes(call, &state)?;
    Ok(Reply::ok(json!({ "canRebase": found.is_empty(), "vetoes": vetoes_json(&found) })))
}

fn rebase(call: &Call) -> Outcome {
    let user = call.user()?;
    let (from, to, number) = {
        let state = call.state();
        let pull = find(call, &state)?;
        let source = state.repos.get(&pull.from.repo_id);
        if source.is_none_or(|source| call.level_on(&state, source) < 2) {
            return Err(Failure::not_permitted());
        }
        must_be_open(pull)?;
        must_be_current(call, &state)?;
        let found = vetoes(call, &state)?;
        if !found.is_empty() {
            return Err(Failure::new(
                409,
                "pull.PullRequestRebaseVetoedException",
                "The pull request cannot be rebased.",
            )
            .with(json!({ "vetoes": vetoes_json(&found) })));
        }
        (pull.from.clone(), pull.to.clone(), pull.id)
    };
    let git = call.inner.repo(from.repo_id)?;
    if from.repo_id != to.repo_id {
        git.fetch_from(&*call.git()?, &to.commit, &format!("refs/internal/{}", to.commit))?;
    }
    if git.is_ancestor(&to.commit, &from.commit)? {
        return Ok(Reply::no_content());
    }
    let who = call.inner.identity(user);
    let top = git.rebase(&from.commit, &to.commit, &who)?.map_err(|_| {
        Failure::new(
            409,
            "pull.PullRequestRebaseConflictException",
            "The pull request has conflicts and cannot be rebased.",
        )
        .with(json!({ "conflicted": true }))
    })?;
    if git.tree_of(&top)? == git.tree_of(&to.commit)? {
        return Err(Failure::new(
            409,
            "pull.EmptyPullRequestException",
            "The rebase would discard all commits and leave the pull request empty.",
        ));
    }
    if !git.update_ref(&from.id, &top, &from.commit)? {
        return Err(Failure::new(409, "scm.MergeException", "The source branch has moved meanwhile."));
    }
    tracing::debug!(number, "rebased");
    events::branch_moved(&call.inner, from.repo_id, &from.id, Some(&from.commit), Some(&top), user)?;
    Ok(Reply::ok(json!({ "refChange": {
        "ref": minimal_ref(&from.id),
        "refId": from.id,
        "fromHash": from.commit,
        "toHash": top,
        "type": "UPDATE",
    } })))
}
