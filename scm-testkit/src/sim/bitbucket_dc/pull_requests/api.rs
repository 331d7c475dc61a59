//! Changing, declining, reopening and deleting a pull request.

use serde_json::{Value, json};

use crate::sim::bitbucket_dc::{
    call::Call,
    reply::{Failure, Outcome, Reply},
    router::{Route, Since::Always},
    state::State,
};

use super::{
    create::{duplicate, resolve_reviewers, reviewer_names},
    model::{
        self, Action, Participant, Side, find, find_mut, measure, must_be_current, must_be_open, record,
        touched,
    },
};

pub(crate) const ROUTES: &[Route] = &[
    (
        "PUT",
        "/api/projects/:key/repos/:slug/pull-requests/:id",
        Always,
        "version:int title description reviewers:any toRef:any draft:bool id state open:bool closed:bool fromRef:any \
         locked:bool author:any participants:any links:any createdDate updatedDate closedDate properties:any",
        update,
    ),
    ("DELETE", "/api/projects/:key/repos/:slug/pull-requests/:id", Always, "version:int", delete),
    (
        "POST",
        "/api/projects/:key/repos/:slug/pull-requests/:id/decline",
        Always,
        "version:int comment",
        decline,
    ),
    ("POST", "/api/projects/:key/repos/:slug/pull-requests/:id/reopen", Always, "version:int", reopen),
    ("POST", "/api/projects/:key/repos/:slug/pull-requests/:id/watch", Always, "", watch),
    ("DELETE", "/api/projects/:key/repos/:slug/pull-requests/:id/watch", Always, "", watch),
];

/// The pull request of the path as an answer.
pub(crate) fn shown(call: &Call) -> Outcome {
    let state = call.state();
    let pull = find(call, &state)?;
    Ok(Reply::ok(model::json(&call.inner, &state, call.repo_in(&state)?, pull)))
}

fn may_edit(call: &Call, state: &State) -> Result<u64, Failure> {
    let user = call.user()?;
    let repo = call.repo_in(state)?;
    let pull = find(call, state)?;
    if pull.author_id != user && call.level_on(state, repo) < 2 {
        return Err(Failure::not_permitted());
    }
    if repo.archived { Err(Failure::archived(&repo.slug)) } else { Ok(user) }
}

/// The names of people in a list of participants.
fn names(value: &Value) -> Vec<&str> {
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut names: Vec<&str> = list.iter().filter_map(|one| one["user"]["name"].as_str()).collect();
    names.sort_unstable();
    names
}

fn update(call: &Call) -> Outcome {
    let params = &call.params;
    let (user, old_to, from) = {
        let state = call.state();
        let user = may_edit(call, &state)?;
        if params.int("version").is_none() {
            return Err(Failure::bad_argument("The pull request's version must be supplied."));
        }
        let pull = find(call, &state)?;
        let current = model::json(&call.inner, &state, call.repo_in(&state)?, pull);
        let author = params.get("author").is_some_and(|author| {
            author["user"]["name"].as_str().is_some_and(|name| current["author"]["user"]["name"] != name)
        });
        let participants =
            params.get("participants").is_some_and(|list| names(list) != names(&current["participants"]));
        if author || participants {
            return Err(Failure::bad_argument("The author and the participants cannot be changed."));
        }
        must_be_current(call, &state)?;
        must_be_open(pull)?;
        (user, pull.to.clone(), pull.from.clone())
    };
    let to = match params.get("toRef") {
        None => old_to.clone(),
        Some(side) => {
            let id = side["id"].as_str().unwrap_or_default();
            if id.is_empty() {
                return Err(Failure::field("toRef.id", "The target branch is missing."));
            }
            let id = if id.starts_with("refs/") { id.to_owned() } else { format!("refs/heads/{id}") };
            let commit = model::tip(&*call.git()?, &id)?.ok_or_else(|| Failure::no_branch(&id))?;
            Side { id, commit, ..old_to.clone() }
        }
    };
    let measured = if to.id == old_to.id {
        None
    } else {
        duplicate(&call.inner, &from, &to, call.number("id").ok())?;
        Some(measure(&call.inner, &from, &to)?)
    };
    let names = reviewer_names(params.get("reviewers"))?;
    let now = call.inner.clock.now();
    let mut state = call.state();
    let author = find(call, &state)?.author_id;
    let reviewers = resolve_reviewers(&state, call.repo_in(&state)?, author, &names)?;
    let activity = state.next_id("activity");
    let drafts = call.inner.release >= (8, 17);
    let pull = find_mut(call, &mut state)?;
    if let Some(title) = params.text("title") {
        if title.trim().is_empty() {
            return Err(Failure::field("title", "The title is required."));
        }
        title.trim().clone_into(&mut pull.title);
    }
    // What is left out is taken away.
    pull.description = params.filled("description").map(str::to_owned);
    let known = std::mem::take(&mut pull.reviewers);
    pull.reviewers = reviewers
        .into_iter()
        .map(|id| {
            let kept = known.iter().find(|one| one.user_id == id).cloned();
            kept.unwrap_or_else(|| Participant::new(id))
        })
        .collect();
    pull.draft = params.bool("draft").filter(|_| drafts).unwrap_or(pull.draft);
    if let Some(measured) = measured {
        (pull.base, pull.conflicted) = (measured.base, measured.conflicted);
        pull.to = to;
    }
    touched(pull, now);
    record(pull, activity, user, Action::Plain("UPDATED", json!({})), now);
    drop(state);
    super::auto_merge::process(&call.inner, call.repo);
    shown(call)
}

fn delete(call: &Call) -> Outcome {
    let user = call.user()?;
    let mut state = call.state();
    let repo = call.repo_in(&state)?;
    if repo.archived {
        return Err(Failure::archived(&repo.slug));
    }
    let pull = find(call, &state)?;
    if pull.author_id != user && call.level_on(&state, repo) < 3 {
        return Err(Failure::not_permitted());
    }
    if pull.state == "MERGED" {
        must_be_open(pull)?;
    }
    must_be_current(call, &state)?;
    let id = pull.id;
    call.repo_mut(&mut state)?.pull_requests.remove(&id);
    Ok(Reply::no_content())
}

fn decline(call: &Call) -> Outcome {
    let user = call.user()?;
    let (id, repo) = {
        let state = call.state();
        let pull = find(call, &state)?;
        must_be_open(pull)?;
        must_be_current(call, &state)?;
        (pull.id, call.repo)
    };
    if let Some(text) = call.params.filled("comment") {
        crate::sim::bitbucket_dc::comments::add_plain(&call.inner, repo, id, user, text);
    }
    model::close(&call.inner, repo, id, user, "DECLINED", None);
    shown(call)
}

fn reopen(call: &Call) -> Outcome {
    let user = call.user()?;
    let (from, to, id) = {
        let state = call.state();
        let repo = call.repo_in(&state)?;
        if repo.archived {
            return Err(Failure::archived(&repo.slug));
        }
        let pull = find(call, &state)?;
        if pull.state != "DECLINED" {
            return Err(Failure::new(
                409,
                "pull.IllegalPullRequestStateException",
                format!("This pull request is {} and cannot be reopened.", pull.state.to_lowercase()),
            ));
        }
        must_be_current(call, &state)?;
        (pull.from.clone(), pull.to.clone(), pull.id)
    };
    duplicate(&call.inner, &from, &to, Some(id))?;
    let at = |side: &Side| -> Result<Side, Failure> {
        let commit = model::tip(&*call.inner.repo(side.repo_id)?, &side.id)?;
        Ok(Side { commit: commit.ok_or_else(|| Failure::no_branch(&side.id))?, ..side.clone() })
    };
    let (from, to) = (at(&from)?, at(&to)?);
    let measured = measure(&call.inner, &from, &to)?;
    let now = call.inner.clock.now();
    {
        let mut state = call.state();
        let activity = state.next_id("activity");
        let pull = find_mut(call, &mut state)?;
        (pull.base, pull.conflicted) = (measured.base, measured.conflicted);
        (pull.from, pull.to) = (from, to);
        pull.state = "OPEN";
        pull.closed_at = None;
        touched(pull, now);
        record(pull, activity, user, Action::Plain("REOPENED", json!({})), now);
    }
    shown(call)
}

fn watch(call: &Call) -> Outcome {
    call.user()?;
    find(call, &call.state())?;
    Ok(Reply::no_content())
}
