//! Members of groups and projects, direct and inherited.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    auth::Access,
    call::Call,
    entities,
    reply::{Failure, Outcome, Reply},
    router::Route,
    state::{Member, Source, State},
};

const LIST: &str = "query user_ids:ints skip_users:ints show_seat_info:bool with_saml_identity:bool &page";
const ALL: &str = "query user_ids:ints show_seat_info:bool state:enum(awaiting|active) &page";
const ADD: &str = "access_level!:int user_id:int username expires_at:date invite_source member_role_id:int";
const CHANGE: &str = "access_level!:int expires_at:date member_role_id:int";
const REMOVE: &str = "skip_subresources:bool unassign_issuables:bool";

pub(crate) const ROUTES: &[Route] = &[
    ("GET", "/projects/:id/members", Access::Open, LIST, list),
    ("POST", "/projects/:id/members", Access::Write, ADD, add),
    ("GET", "/projects/:id/members/all", Access::Open, ALL, list_all),
    ("GET", "/projects/:id/members/all/:user_id", Access::Open, "", show_any),
    ("GET", "/projects/:id/members/:user_id", Access::Open, "", show),
    ("PUT", "/projects/:id/members/:user_id", Access::Write, CHANGE, change),
    ("DELETE", "/projects/:id/members/:user_id", Access::Write, REMOVE, remove),
    ("GET", "/groups/:id/members", Access::Open, LIST, list),
    ("POST", "/groups/:id/members", Access::Write, ADD, add),
    ("GET", "/groups/:id/members/all", Access::Open, ALL, list_all),
    ("GET", "/groups/:id/members/all/:user_id", Access::Open, "", show_any),
    ("GET", "/groups/:id/members/:user_id", Access::Open, "", show),
    ("PUT", "/groups/:id/members/:user_id", Access::Write, CHANGE, change),
    ("DELETE", "/groups/:id/members/:user_id", Access::Write, REMOVE, remove),
];

fn source(call: &Call) -> Source {
    call.group.map_or_else(|| Source::Project(call.project_id()), Source::Group)
}

fn member_json(call: &Call, state: &State, user_id: u64, member: &Member) -> Value {
    let mut value = entities::user_basic(&call.inner, state, user_id);
    entities::extend(
        &mut value,
        json!({
            "access_level": member.level,
            "created_at": entities::time(member.created_at),
            "expires_at": member.expires_at,
            "membership_state": "active",
        }),
    );
    value
}

/// Members by user, the highest level of each.
fn effective<'a>(call: &Call, state: &'a State) -> BTreeMap<u64, &'a Member> {
    let namespace = match call.group {
        Some(group) => Some(group),
        None => state.projects.get(&call.project_id()).map(|project| project.namespace_id),
    };
    let above = namespace.map_or_else(Vec::new, |id| state.ancestry(id));
    let mut found: BTreeMap<u64, &Member> = BTreeMap::new();
    for source in std::iter::once(source(call)).chain(above.iter().map(|space| Source::Group(space.id))) {
        for (user, member) in state.members.get(&source).into_iter().flatten() {
            let better = found.get(user).is_none_or(|other| other.level < member.level);
            if better {
                found.insert(*user, member);
            }
        }
    }
    found
}

fn matching<'a>(
    call: &Call,
    state: &State,
    members: impl Iterator<Item = (u64, &'a Member)>,
) -> Vec<(u64, &'a Member)> {
    let wanted = call.params.ids("user_ids");
    let query = call.params.filled("query");
    members
        .filter(|(user, _)| wanted.as_ref().is_none_or(|ids| ids.contains(user)))
        .filter(|(user, _)| {
            query.is_none_or(|text| {
                state
                    .users
                    .get(user)
                    .is_some_and(|user| user.name.contains(text) || user.username.contains(text))
            })
        })
        .collect()
}

fn list(call: &Call) -> Outcome {
    let state = call.state();
    let direct = state.members.get(&source(call)).into_iter().flatten().map(|(user, member)| (*user, member));
    let found = matching(call, &state, direct);
    call.paged(found, |(user, member)| member_json(call, &state, user, member))
}

fn list_all(call: &Call) -> Outcome {
    let state = call.state();
    let found = matching(call, &state, effective(call, &state).into_iter());
    call.paged(found, |(user, member)| member_json(call, &state, user, member))
}

fn show(call: &Call) -> Outcome {
    let user = call.number("user_id")?;
    let state = call.state();
    let member = state.members.get(&source(call)).and_then(|members| members.get(&user));
    let member = member.ok_or_else(Failure::no_record)?;
    Ok(Reply::ok(member_json(call, &state, user, member)))
}

fn show_any(call: &Call) -> Outcome {
    let user = call.number("user_id")?;
    let state = call.state();
    let member = effective(call, &state).remove(&user).ok_or_else(Failure::nothing_here)?;
    Ok(Reply::ok(member_json(call, &state, user, member)))
}

/// Maintainers of a project and owners of a group change members, none above their own level.
fn may_change(call: &Call, level: u32) -> Result<(), Failure> {
    let user = call.user()?;
    let state = call.state();
    if state.is_admin(user) {
        return Ok(());
    }
    let (own, needed) = match call.group {
        Some(group) => (state.namespace_level(group, user, &call.inner.today()), 50),
        None => (call.level_on(&state, call.project_in(&state)?), 40),
    };
    if own < needed || own < level { Err(Failure::forbidden()) } else { Ok(()) }
}

fn asked_level(call: &Call) -> Result<u32, Failure> {
    call.params
        .int("access_level")
        .and_then(|level| u32::try_from(level).ok())
        .filter(|level| [5, 10, 15, 20, 30, 40, 50].contains(level))
        .ok_or_else(|| Failure::error(400, "access_level does not have a valid value"))
}

fn add(call: &Call) -> Outcome {
    let level = asked_level(call)?;
    may_change(call, level)?;
    let now = call.inner.clock.now();
    let mut state = call.state();
    let user = match (call.params.id("user_id"), call.params.filled("username")) {
        (Some(id), _) => state.users.get(&id),
        (None, Some(name)) => state.user_named(name),
        (None, None) => {
            let text = "user_id, username are missing, exactly one parameter must be provided";
            return Err(Failure::error(400, text));
        }
    };
    let user = user.map(|user| user.id).ok_or_else(|| Failure::not_found("User"))?;
    let place = source(call);
    if state.members.get(&place).is_some_and(|members| members.contains_key(&user)) {
        return Err(Failure::message(409, "Member already exists"));
    }
    let expires_at = call.params.filled("expires_at").map(str::to_owned);
    let member = Member { level, created_at: now, expires_at };
    let value = member_json(call, &state, user, &member);
    state.members.entry(place).or_default().insert(user, member);
    Ok(Reply::created(value))
}

fn change(call: &Call) -> Outcome {
    let level = asked_level(call)?;
    may_change(call, level)?;
    let user = call.number("user_id")?;
    let mut state = call.state();
    let member = state.members.get_mut(&source(call)).and_then(|members| members.get_mut(&user));
    let member = member.ok_or_else(|| Failure::not_found("Member"))?;
    member.level = level;
    if call.params.has("expires_at") {
        member.expires_at = call.params.filled("expires_at").map(str::to_owned);
    }
    drop(state);
    let state = call.state();
    let member = state.members.get(&source(call)).and_then(|members| members.get(&user));
    let member = member.ok_or_else(|| Failure::not_found("Member"))?;
    Ok(Reply::ok(member_json(call, &state, user, member)))
}

fn remove(call: &Call) -> Outcome {
    may_change(call, 0)?;
    let user = call.number("user_id")?;
    let mut state = call.state();
    let removed = state.members.get_mut(&source(call)).and_then(|members| members.remove(&user));
    removed.map(|_| Reply::no_content()).ok_or_else(|| Failure::not_found("Member"))
}
