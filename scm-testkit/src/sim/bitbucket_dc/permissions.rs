//! Who may do what in projects and repositories.

use std::collections::BTreeMap;

use serde_json::json;

use super::{
    call::Call,
    entities,
    instance::no_user,
    page::cap,
    reply::{Failure, Outcome, Reply},
    router::{Route, Since::Always},
    state::State,
    types::Permission,
};

pub(crate) const ROUTES: &[Route] = &[
    ("GET", "/api/projects/:key/permissions/users", Always, "filter &page", list),
    ("PUT", "/api/projects/:key/permissions/users", Always, "name permission", grant),
    ("DELETE", "/api/projects/:key/permissions/users", Always, "name", revoke),
    ("GET", "/api/projects/:key/permissions/groups", Always, "filter &page", groups),
    ("GET", "/api/projects/:key/permissions/:permission/all", Always, "", default),
    ("POST", "/api/projects/:key/permissions/:permission/all", Always, "allow:bool", set_default),
    ("GET", "/api/projects/:key/repos/:slug/permissions/users", Always, "filter &page", list),
    ("PUT", "/api/projects/:key/repos/:slug/permissions/users", Always, "name permission", grant),
    ("DELETE", "/api/projects/:key/repos/:slug/permissions/users", Always, "name", revoke),
    ("GET", "/api/projects/:key/repos/:slug/permissions/groups", Always, "filter &page", groups),
];

fn admin(call: &Call) -> Result<(), Failure> {
    call.user()?;
    if call.repo == 0 { call.needs_project(3) } else { call.needs(3) }
}

fn members<'a>(call: &Call, state: &'a mut State) -> Result<&'a mut BTreeMap<u64, u8>, Failure> {
    Ok(if call.repo == 0 {
        &mut call.project_mut(state)?.members
    } else {
        &mut call.repo_mut(state)?.members
    })
}

fn list(call: &Call) -> Outcome {
    admin(call)?;
    let wanted = call.params.filled("filter").unwrap_or_default().to_lowercase();
    let mut state = call.state();
    let members = members(call, &mut state)?.clone();
    let found: Vec<_> = members
        .iter()
        .filter_map(|(id, level)| Some((state.users.get(id)?, Permission::at(*level, call.repo == 0)?)))
        .filter(|(user, _)| user.name.to_lowercase().contains(&wanted))
        .collect();
    call.paged(found, cap::DEFAULT, |(user, permission)| {
        json!({ "user": entities::user(&call.inner, user), "permission": permission.name() })
    })
}

fn permission(call: &Call, name: &str) -> Result<Permission, Failure> {
    Permission::from_name(name)
        .filter(|permission| permission.of_project() == (call.repo == 0))
        .ok_or_else(|| Failure::bad_argument(format!("The permission {name} is not known here.")))
}

fn named(call: &Call, state: &State) -> Result<u64, Failure> {
    let name = call.params.filled("name");
    let name = name.ok_or_else(|| Failure::field("name", "A user name is required."))?;
    state.user_named(name).map(|user| user.id).ok_or_else(|| no_user(name))
}

fn grant(call: &Call) -> Outcome {
    admin(call)?;
    let level = permission(call, call.params.filled("permission").unwrap_or_default())?.level();
    let mut state = call.state();
    let user = named(call, &state)?;
    members(call, &mut state)?.insert(user, level);
    Ok(Reply::no_content())
}

fn revoke(call: &Call) -> Outcome {
    admin(call)?;
    let mut state = call.state();
    let user = named(call, &state)?;
    members(call, &mut state)?.remove(&user);
    Ok(Reply::no_content())
}

/// There are no groups.
fn groups(call: &Call) -> Outcome {
    admin(call)?;
    call.paged(Vec::new(), cap::DEFAULT, |value| value)
}

fn default(call: &Call) -> Outcome {
    admin(call)?;
    let level = permission(call, call.part("permission"))?.level();
    let state = call.state();
    Ok(Reply::ok(json!({ "permitted": call.project_in(&state)?.default_level >= level })))
}

fn set_default(call: &Call) -> Outcome {
    admin(call)?;
    let level = permission(call, call.part("permission"))?.level();
    let allow = call.params.flag("allow");
    let mut state = call.state();
    let project = call.project_mut(&mut state)?;
    project.default_level = if allow { level } else { project.default_level.min(level - 1) };
    Ok(Reply::no_content())
}
