//! What participants think: approvals, work that is needed, and who is asked.

use serde_json::Value;

use crate::sim::bitbucket_dc::{
    call::Call,
    instance::no_user,
    page::cap,
    reply::{Failure, Outcome, Reply},
    router::{Route, Since::Always},
};

use super::{
    auto_merge,
    create::resolve_reviewers,
    model::{
        Action, Participant, PullRequest, find, find_mut, must_be_open, participant_json, record, touched,
    },
};

pub(crate) const ROUTES: &[Route] = &[
    ("GET", "/api/projects/:key/repos/:slug/pull-requests/:id/participants", Always, "&page", participants),
    (
        "POST",
        "/api/projects/:key/repos/:slug/pull-requests/:id/participants",
        Always,
        "user:any role approved status",
        assign,
    ),
    (
        "PUT",
        "/api/projects/:key/repos/:slug/pull-requests/:id/participants/:userSlug",
        Always,
        "version:int user:any approved:bool status lastReviewedCommit",
        set,
    ),
    (
        "DELETE",
        "/api/projects/:key/repos/:slug/pull-requests/:id/participants/:userSlug",
        Always,
        "",
        unassign,
    ),
    ("POST", "/api/projects/:key/repos/:slug/pull-requests/:id/approve", Always, "", approve),
    ("DELETE", "/api/projects/:key/repos/:slug/pull-requests/:id/approve", Always, "", unapprove),
];

/// Everyone with a part in a pull request, and the part.
fn roles(pull: &PullRequest) -> Vec<(&'static str, Participant)> {
    let author = [("AUTHOR", Participant::new(pull.author_id))];
    let reviewers = pull.reviewers.iter().map(|one| ("REVIEWER", one.clone()));
    let others = pull.participants.iter().map(|one| ("PARTICIPANT", one.clone()));
    author.into_iter().chain(reviewers).chain(others).collect()
}

fn participants(call: &Call) -> Outcome {
    let state = call.state();
    let found = roles(find(call, &state)?);
    call.paged(found, cap::DEFAULT, |(role, one)| participant_json(&call.inner, &state, role, &one))
}

fn shown(call: &Call, user: u64) -> Outcome {
    let state = call.state();
    let found = roles(find(call, &state)?).into_iter().find(|(_, one)| one.user_id == user);
    let (role, one) = found.ok_or_else(|| Failure::no_such("Participant"))?;
    Ok(Reply::ok(participant_json(&call.inner, &state, role, &one)))
}

/// Sets what a user thinks; who had no part gets one. `false` when nothing changed.
pub(crate) fn set_status(pull: &mut PullRequest, user: u64, status: &'static str) -> bool {
    let head = pull.from.commit.clone();
    let known = pull.reviewers.iter().chain(&pull.participants).any(|one| one.user_id == user);
    if !known {
        // Giving an opinion makes a reviewer.
        pull.reviewers.push(Participant::new(user));
    }
    let one = pull.reviewers.iter_mut().chain(&mut pull.participants).find(|one| one.user_id == user);
    let Some(one) = one else { return false };
    let changed = one.status != status;
    one.status = status;
    if status != "UNAPPROVED" {
        one.last_reviewed = Some(head);
    }
    changed
}

fn change(call: &Call, status: &'static str, own: u16) -> Outcome {
    let user = call.user()?;
    let now = call.inner.clock.now();
    {
        let mut state = call.state();
        let repo = call.repo_in(&state)?;
        if repo.archived {
            return Err(Failure::archived(&repo.slug));
        }
        let activity = state.next_id("activity");
        let pull = find_mut(call, &mut state)?;
        must_be_open(pull)?;
        if pull.author_id == user {
            return Err(Failure::new(
                own,
                "pull.IllegalPullRequestApprovalException",
                "Authors may not review their own pull requests.",
            ));
        }
        if set_status(pull, user, status) {
            let action = match status {
                "APPROVED" => "APPROVED",
                "NEEDS_WORK" => "REVIEWED",
                _ => "UNAPPROVED",
            };
            record(pull, activity, user, Action::Plain(action, serde_json::json!({})), now);
        }
    }
    auto_merge::process(&call.inner, call.repo);
    shown(call, user)
}

fn approve(call: &Call) -> Outcome {
    change(call, "APPROVED", 409)
}

fn unapprove(call: &Call) -> Outcome {
    let user = call.user()?;
    {
        let state = call.state();
        let part = roles(find(call, &state)?).into_iter().any(|(_, one)| one.user_id == user);
        if !part {
            return Err(Failure::no_such("Participant"));
        }
    }
    change(call, "UNAPPROVED", 409)
}

fn set(call: &Call) -> Outcome {
    let caller = call.user()?;
    let slug = call.part("userSlug").to_owned();
    let user = {
        let state = call.state();
        state.user_by_slug(&slug).map(|user| user.id).ok_or_else(|| no_user(&slug))?
    };
    if user != caller {
        return Err(Failure::bad_argument("Only one's own status can be changed."));
    }
    let status = match (call.params.filled("status"), call.params.bool("approved")) {
        (Some("APPROVED"), _) | (None, Some(true)) => "APPROVED",
        (Some("NEEDS_WORK"), _) => "NEEDS_WORK",
        (Some("UNAPPROVED"), _) | (None, Some(false)) => "UNAPPROVED",
        (Some(_), _) | (None, None) => return Err(Failure::field("status", "The status is not known.")),
    };
    if let Some(seen) = call.params.filled("lastReviewedCommit")
        && find(call, &call.state())?.from.commit != seen
    {
        return Err(Failure::new(
            409,
            "pull.PullRequestOutOfDateException",
            "The pull request has been updated since the last reviewed commit.",
        ));
    }
    change(call, status, 400)
}

fn assign(call: &Call) -> Outcome {
    call.may_change(2)?;
    let name = call.params.get("user").and_then(|user| user.get("name")).and_then(Value::as_str);
    let (Some(name), Some("REVIEWER")) = (name, call.params.filled("role")) else {
        return Err(Failure::bad_argument("A user name and the role REVIEWER are needed."));
    };
    let name = name.to_owned();
    let user = {
        let mut state = call.state();
        let author = find(call, &state)?.author_id;
        let found = resolve_reviewers(&state, call.repo_in(&state)?, author, std::slice::from_ref(&name))?;
        let user = found.first().copied().ok_or_else(|| no_user(&name))?;
        let now = call.inner.clock.now();
        let pull = find_mut(call, &mut state)?;
        let kept = pull.participants.iter().position(|one| one.user_id == user);
        let one = kept.map_or_else(|| Participant::new(user), |at| pull.participants.remove(at));
        if !pull.reviewers.iter().any(|one| one.user_id == user) {
            pull.reviewers.push(one);
            touched(pull, now);
        }
        user
    };
    shown(call, user)
}

fn unassign(call: &Call) -> Outcome {
    call.may_change(2)?;
    let slug = call.part("userSlug").to_owned();
    let mut state = call.state();
    let user = state.user_by_slug(&slug).map(|user| user.id).ok_or_else(|| no_user(&slug))?;
    let now = call.inner.clock.now();
    let pull = find_mut(call, &mut state)?;
    if let Some(at) = pull.reviewers.iter().position(|one| one.user_id == user) {
        let one = pull.reviewers.remove(at);
        pull.participants.push(one);
        touched(pull, now);
    }
    Ok(Reply::no_content())
}
