//! The instance, the caller, other users, namespaces.

use serde_json::{Value, json};

use super::{
    auth::Access,
    call::Call,
    entities,
    reply::{Failure, Outcome, Reply},
    router::Route,
    state::User,
};

pub(crate) const ROUTES: &[Route] = &[
    ("GET", "/version", Access::Instance, "", version),
    ("GET", "/metadata", Access::Instance, "", version),
    ("GET", "/user", Access::User, "", current_user),
    ("GET", "/users", Access::User, "username search active:bool blocked:bool &page", users),
    ("GET", "/users/:id", Access::User, "with_custom_attributes:bool", user),
    (
        "GET",
        "/namespaces",
        Access::Read,
        "search owned_only:bool top_level_only:bool full_path_search:bool requested_hosted_plan &page",
        namespaces,
    ),
    ("GET", "/namespaces/:id", Access::Read, "", namespace),
];

fn version(call: &Call) -> Outcome {
    let inner = &call.inner;
    Ok(Reply::ok(json!({
        "version": inner.version,
        "revision": "6ed13a4c2f5",
        "kas": {
            "enabled": false,
            "externalUrl": null,
            "externalK8sProxyUrl": null,
            "version": null,
        },
        "enterprise": inner.version.contains("-ee"),
    })))
}

fn profile(call: &Call, user: &User) -> Value {
    let mut value = entities::user_json(&call.inner, user);
    entities::extend(
        &mut value,
        json!({
            "created_at": entities::time(user.created_at),
            "bio": "", "location": "", "linkedin": "", "twitter": "", "discord": "", "website_url": "",
            "github": "", "job_title": "", "pronouns": null, "organization": "",
            "bot": user.bot,
            "work_information": null,
            "followers": 0,
            "following": 0,
            "is_followed": false,
            "local_time": null,
        }),
    );
    value
}

fn current_user(call: &Call) -> Outcome {
    let id = call.user()?;
    let state = call.state();
    let user = state.users.get(&id).ok_or_else(Failure::unauthorized)?;
    let mut value = profile(call, user);
    entities::extend(
        &mut value,
        json!({
            "last_sign_in_at": null,
            "confirmed_at": entities::time(user.created_at),
            "last_activity_on": call.inner.today(),
            "email": user.email,
            "theme_id": 1,
            "color_scheme_id": 1,
            "projects_limit": if user.bot { 0 } else { 100_000 },
            "current_sign_in_at": null,
            "identities": [],
            "can_create_group": !user.bot,
            "can_create_project": !user.bot,
            "two_factor_enabled": false,
            "external": user.bot,
            "private_profile": false,
            "commit_email": user.email,
            "namespace_id": user.namespace_id,
            "created_by": null,
        }),
    );
    if user.admin {
        entities::extend(&mut value, json!({ "is_admin": true, "note": null }));
    }
    Ok(Reply::ok(value))
}

fn users(call: &Call) -> Outcome {
    let state = call.state();
    let found: Vec<&User> = match (call.params.filled("username"), call.params.filled("search")) {
        (Some(name), _) => state.user_named(name).into_iter().collect(),
        (None, search) => state
            .users
            .values()
            .rev()
            .filter(|user| {
                search.is_none_or(|text| {
                    user.username.contains(text) || user.name.contains(text) || user.email == text
                })
            })
            .collect(),
    };
    call.paged(found, |user| entities::user_json(&call.inner, user))
}

fn user(call: &Call) -> Outcome {
    let id = call.number("id")?;
    let state = call.state();
    let user = state.users.get(&id).ok_or_else(|| Failure::not_found("User"))?;
    Ok(Reply::ok(profile(call, user)))
}

fn namespace_entity(call: &Call, space: &super::state::Namespace) -> Value {
    let mut value = entities::namespace_json(&call.inner, space);
    entities::extend(&mut value, json!({ "plan": "ultimate", "trial": false, "trial_ends_on": null }));
    value
}

fn namespaces(call: &Call) -> Outcome {
    let user = call.user()?;
    let today = call.inner.today();
    let state = call.state();
    let search = call.params.filled("search").map(str::to_lowercase);
    let top = call.params.flag("top_level_only");
    let owned = call.params.flag("owned_only");
    let found: Vec<_> = state
        .namespaces
        .values()
        .filter(|space| space.user_id.is_none_or(|owner| owner == user))
        .filter(|space| {
            let level = state.namespace_level(space.id, user, &today);
            if owned { level >= 50 } else { level > 0 || state.can_see_group(space, Some(user), &today) }
        })
        .filter(|space| !top || space.parent_id.is_none())
        .filter(|space| search.as_deref().is_none_or(|text| space.full_path.to_lowercase().contains(text)))
        .collect();
    call.paged(found, |space| namespace_entity(call, space))
}

fn namespace(call: &Call) -> Outcome {
    let user = call.user()?;
    let today = call.inner.today();
    let state = call.state();
    let wanted = call.part("id");
    let space = match wanted.parse::<u64>() {
        Ok(id) => state.namespaces.get(&id),
        Err(_) => state.namespace_at(wanted),
    };
    let space = space
        .filter(|space| match space.user_id {
            Some(owner) => owner == user,
            None => state.can_see_group(space, Some(user), &today),
        })
        .ok_or_else(|| Failure::not_found("Namespace"))?;
    Ok(Reply::ok(namespace_entity(call, space)))
}
