//! Facts about the server, its users and the caller.

use serde_json::{Value, json};

use super::{
    call::Call,
    entities,
    page::cap,
    pull_requests,
    reply::{Failure, Outcome, Reply},
    router::{Route, Since::Always},
    types::Permission,
};

pub(crate) const ROUTES: &[Route] = &[
    ("GET", "/capabilities", Always, "", capabilities),
    ("GET", "/plugins/servlet/applinks/whoami", Always, "", who_am_i),
    ("GET", "/api/application-properties", Always, "", properties),
    ("GET", "/api/build/capabilities", Always, "", build_capabilities),
    ("GET", "/api/admin/rate-limit/settings", Always, "", rate_limit),
    ("GET", "/api/users", Always, "filter permission permission.N group &page", users),
    ("GET", "/api/users/:userSlug", Always, "", user),
    ("GET", "/api/profile/recent/repos", Always, "permission &page", recent),
    (
        "GET",
        "/api/dashboard/pull-requests",
        Always,
        "closedSince role participantStatus state user order &page",
        dashboard,
    ),
    ("GET", "/api/inbox/pull-requests", Always, "role &page", inbox),
    ("GET", "/api/inbox/pull-requests/count", Always, "", inbox_count),
];

fn capabilities(call: &Call) -> Outcome {
    let base = call.inner.external_url();
    Ok(Reply::ok(json!({
        "links": { "self": format!("{base}/rest/capabilities") },
        "application": "stash",
        "capabilities": {
            "build-status": format!("{base}/rest/build-status/latest"),
            "navigation": format!("{base}/rest/capabilities/navigation"),
            "webhooks": format!("{base}/rest/capabilities/webhooks"),
        },
    })))
}

fn who_am_i(call: &Call) -> Outcome {
    let name = call.caller.as_ref().map_or("", |caller| caller.name.as_str());
    Ok(Reply::bytes("text/plain;charset=UTF-8", name.as_bytes()))
}

fn properties(call: &Call) -> Outcome {
    let (major, minor) = call.inner.release;
    let patch = call.inner.version.split(['.', '-']).nth(2).and_then(|text| text.parse::<u32>().ok());
    let build = format!("{major}{minor:03}{:03}", patch.unwrap_or(0));
    Ok(Reply::ok(json!({
        "version": call.inner.version,
        "buildNumber": build,
        "buildDate": "1462767710190",
        "displayName": "Bitbucket",
    })))
}

fn build_capabilities(_: &Call) -> Outcome {
    Ok(Reply::ok(json!({ "buildStatus": ["richBuildStatus"] })))
}

fn rate_limit(call: &Call) -> Outcome {
    call.user()?;
    let limit = call.inner.limiter().as_ref().map(|limiter| limiter.limit);
    Ok(Reply::ok(json!({
        "enabled": limit.is_some(),
        "defaultSettings": {
            "capacity": limit.map_or(60, |limit| limit.capacity),
            "fillRate": limit.map_or(5, |limit| limit.fill_rate),
        },
    })))
}

fn users(call: &Call) -> Outcome {
    call.user()?;
    let wanted = call.params.filled("filter").unwrap_or_default().to_lowercase();
    let state = call.state();
    let found: Vec<_> = state
        .users
        .values()
        .filter(|user| !user.service && user.active)
        .filter(|user| {
            [Some(&user.name), Some(&user.display_name), user.email.as_ref()]
                .into_iter()
                .flatten()
                .any(|text| text.to_lowercase().contains(&wanted))
        })
        .collect();
    call.paged(found, cap::DEFAULT, |user| entities::user(&call.inner, user))
}

fn user(call: &Call) -> Outcome {
    call.user()?;
    let state = call.state();
    let found = state.user_by_slug(call.part("userSlug"));
    let found = found.ok_or_else(|| no_user(call.part("userSlug")))?;
    Ok(Reply::ok(entities::user(&call.inner, found)))
}

pub(crate) fn no_user(name: &str) -> Failure {
    Failure::new(404, "user.NoSuchUserException", format!("User '{name}' does not exist."))
}

fn recent(call: &Call) -> Outcome {
    let user = call.user()?;
    let least = match call.params.filled("permission").map(Permission::from_name) {
        None => 1,
        Some(Some(permission)) if !permission.of_project() => permission.level(),
        Some(_) => return Err(Failure::bad_argument("The permission is not one of repositories")),
    };
    let state = call.state();
    let seen = state.users.get(&user).map(|user| user.recent.clone()).unwrap_or_default();
    let found: Vec<_> = seen
        .iter()
        .filter_map(|id| state.repos.get(id))
        .filter(|repo| call.level_on(&state, repo) >= least)
        .collect();
    call.paged(found, cap::DEFAULT, |repo| entities::repository(&call.inner, &state, repo))
}

fn dashboard(call: &Call) -> Outcome {
    let user = match call.params.filled("user") {
        None => call.user()?,
        Some(name) => {
            call.user()?;
            call.state().user_named(name).map(|user| user.id).ok_or_else(|| no_user(name))?
        }
    };
    let (role, wanted) = (call.params.filled("role"), call.params.filled("state"));
    let oldest_first = call.params.filled("order") == Some("OLDEST");
    involved(call, user, role, wanted, oldest_first)
}

fn inbox(call: &Call) -> Outcome {
    let user = call.user()?;
    let role = call.params.filled("role").unwrap_or("REVIEWER").to_uppercase();
    involved(call, user, Some(&role), Some("OPEN"), false)
}

fn inbox_count(call: &Call) -> Outcome {
    let user = call.user()?;
    let state = call.state();
    let waiting = |pull: &&pull_requests::PullRequest| {
        pull.state == "OPEN"
            && pull.reviewers.iter().any(|reviewer| reviewer.user_id == user && reviewer.status != "APPROVED")
    };
    let count = state.repos.values().flat_map(|repo| repo.pull_requests.values()).filter(waiting).count();
    Ok(Reply::ok(json!({ "count": count })))
}

fn involved(call: &Call, user: u64, role: Option<&str>, wanted: Option<&str>, oldest_first: bool) -> Outcome {
    let state = call.state();
    let mut found: Vec<_> = state
        .repos
        .values()
        .filter(|repo| call.level_on(&state, repo) > 0)
        .flat_map(|repo| repo.pull_requests.values().map(move |pull| (repo, pull)))
        .filter(|(_, pull)| wanted.is_none_or(|state| pull.state == state))
        .filter(|(_, pull)| match role {
            Some("AUTHOR") => pull.author_id == user,
            Some("REVIEWER") => pull.reviewers.iter().any(|one| one.user_id == user),
            Some("PARTICIPANT") => pull.participants.iter().any(|one| one.user_id == user),
            _ => {
                let listed = pull.reviewers.iter().chain(&pull.participants);
                pull.author_id == user || listed.into_iter().any(|one| one.user_id == user)
            }
        })
        .collect();
    found.sort_by_key(|(_, pull)| pull.created_at);
    if !oldest_first {
        found.reverse();
    }
    let values: Vec<Value> =
        found.into_iter().map(|(repo, pull)| pull_requests::json(&call.inner, &state, repo, pull)).collect();
    call.paged(values, cap::PULL_REQUESTS, |value| value)
}
