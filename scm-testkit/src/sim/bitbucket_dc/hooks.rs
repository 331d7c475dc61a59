//! Webhooks of projects and repositories. They are kept and shown; nothing is delivered.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{
    call::Call,
    entities,
    page::cap,
    reply::{Failure, Outcome, Reply},
    router::{
        Route,
        Since::{Always, V},
    },
    state::State,
};

const WRITE: &str = "name url events:any active:bool configuration:any sslVerificationRequired:bool credentials:any id \
     createdDate updatedDate scopeType statistics:any";
const TEST: &str = "webhookId:int sslVerificationRequired:bool url username password";

pub(crate) const ROUTES: &[Route] = &[
    ("GET", "/api/projects/:key/repos/:slug/webhooks", Always, "event statistics:bool &page", list),
    ("POST", "/api/projects/:key/repos/:slug/webhooks", Always, WRITE, create),
    (
        "GET",
        "/api/projects/:key/repos/:slug/webhooks/search",
        V(8, 8),
        "scopeType event statistics:bool &page",
        search,
    ),
    ("POST", "/api/projects/:key/repos/:slug/webhooks/test", Always, TEST, test),
    ("GET", "/api/projects/:key/repos/:slug/webhooks/:webhookId", Always, "statistics:bool", show),
    ("PUT", "/api/projects/:key/repos/:slug/webhooks/:webhookId", Always, WRITE, update),
    ("DELETE", "/api/projects/:key/repos/:slug/webhooks/:webhookId", Always, "", delete),
    ("GET", "/api/projects/:key/repos/:slug/webhooks/:webhookId/latest", Always, "event outcome", latest),
    ("GET", "/api/projects/:key/repos/:slug/webhooks/:webhookId/statistics", Always, "event", statistics),
    ("GET", "/api/projects/:key/repos/:slug/webhooks/:webhookId/statistics/summary", Always, "", statistics),
    ("GET", "/api/projects/:key/webhooks", V(8, 8), "event statistics:bool &page", list),
    ("POST", "/api/projects/:key/webhooks", V(8, 8), WRITE, create),
    ("POST", "/api/projects/:key/webhooks/test", V(8, 8), TEST, test),
    ("GET", "/api/projects/:key/webhooks/:webhookId", V(8, 8), "statistics:bool", show),
    ("PUT", "/api/projects/:key/webhooks/:webhookId", V(8, 8), WRITE, update),
    ("DELETE", "/api/projects/:key/webhooks/:webhookId", V(8, 8), "", delete),
];

const EVENTS: &[&str] = &[
    "repo:refs_changed",
    "repo:modified",
    "repo:forked",
    "repo:comment:added",
    "repo:comment:edited",
    "repo:comment:deleted",
    "repo:secret_detected",
    "pr:opened",
    "pr:modified",
    "pr:from_ref_updated",
    "pr:reviewer:updated",
    "pr:reviewer:approved",
    "pr:reviewer:unapproved",
    "pr:reviewer:needs_work",
    "pr:reviewer:changes_requested",
    "pr:merged",
    "pr:declined",
    "pr:deleted",
    "pr:comment:added",
    "pr:comment:edited",
    "pr:comment:deleted",
    "mirror:repo_synchronized",
    "project:modified",
];

fn admin(call: &Call) -> Result<(), Failure> {
    call.user()?;
    if call.repo == 0 { call.needs_project(3) } else { call.needs(3) }
}

fn hooks<'a>(call: &Call, state: &'a State) -> Result<&'a BTreeMap<u64, Value>, Failure> {
    Ok(if call.repo == 0 { &call.project_in(state)?.hooks } else { &call.repo_in(state)?.hooks })
}

fn hooks_mut<'a>(call: &Call, state: &'a mut State) -> Result<&'a mut BTreeMap<u64, Value>, Failure> {
    Ok(if call.repo == 0 { &mut call.project_mut(state)?.hooks } else { &mut call.repo_mut(state)?.hooks })
}

fn listed(call: &Call, found: Vec<Value>) -> Outcome {
    let event = call.params.filled("event");
    let found: Vec<Value> = found
        .into_iter()
        .filter(|hook| {
            event.is_none_or(|event| hook["events"].as_array().is_some_and(|all| all.contains(&json!(event))))
        })
        .collect();
    call.paged(found, cap::DEFAULT, |hook| hook)
}

fn list(call: &Call) -> Outcome {
    admin(call)?;
    let found = hooks(call, &call.state())?.values().cloned().collect();
    listed(call, found)
}

fn search(call: &Call) -> Outcome {
    admin(call)?;
    let scope = call.params.filled("scopeType").map(str::to_lowercase);
    let found = {
        let state = call.state();
        let own = call.repo_in(&state)?.hooks.values();
        let all = own.chain(call.project_in(&state)?.hooks.values());
        all.filter(|hook| scope.as_deref().is_none_or(|scope| hook["scopeType"] == scope)).cloned().collect()
    };
    listed(call, found)
}

/// The parameters as members of the hook. The secret is kept out of sight.
fn read(call: &Call) -> Result<Map<String, Value>, Failure> {
    let params = &call.params;
    let mut problems = Vec::new();
    let mut complain = |name: &str, problem: String| problems.push((name.to_owned(), problem));
    if params.filled("name").is_none() {
        complain("name", "A name is required.".to_owned());
    }
    let url = params.filled("url").unwrap_or_default();
    if !url.starts_with("http://") && !url.starts_with("https://") {
        complain("url", "The url must be a valid address.".to_owned());
    }
    let events = params.list("events").unwrap_or_default();
    if events.is_empty() {
        complain("events", "At least one event is required.".to_owned());
    }
    for event in &events {
        if !event.as_str().is_some_and(|event| EVENTS.contains(&event)) {
            complain("events", format!("The event {event} is not known."));
        }
    }
    if !problems.is_empty() {
        return Err(Failure::fields(problems));
    }
    let mut configuration = params.get("configuration").cloned().unwrap_or_else(|| json!({}));
    if let Some(map) = configuration.as_object_mut() {
        map.remove("secret");
    }
    let value = json!({
        "name": params.filled("name"),
        "url": url,
        "events": events,
        "active": params.bool("active").unwrap_or(true),
        "configuration": configuration,
        "sslVerificationRequired": params.bool("sslVerificationRequired").unwrap_or(true),
        "scopeType": if call.repo == 0 { "project" } else { "repository" },
    });
    Ok(value.as_object().cloned().unwrap_or_default())
}

fn create(call: &Call) -> Outcome {
    admin(call)?;
    let hook = read(call)?;
    let now = call.date(call.inner.clock.now());
    let mut state = call.state();
    let id = state.next_id("webhook");
    let mut value = Value::Object(hook);
    entities::extend(&mut value, json!({ "id": id, "createdDate": now, "updatedDate": now }));
    hooks_mut(call, &mut state)?.insert(id, value.clone());
    Ok(Reply::created(value))
}

fn one(call: &Call) -> Result<(u64, Value), Failure> {
    admin(call)?;
    let id = call.number("webhookId")?;
    let found = hooks(call, &call.state())?.get(&id).cloned();
    found.map(|hook| (id, hook)).ok_or_else(|| Failure::no_such("Webhook"))
}

fn show(call: &Call) -> Outcome {
    one(call).map(|(_, hook)| Reply::ok(hook))
}

fn update(call: &Call) -> Outcome {
    let (id, mut hook) = one(call)?;
    entities::extend(&mut hook, Value::Object(read(call)?));
    entities::extend(&mut hook, json!({ "updatedDate": call.date(call.inner.clock.now()) }));
    hooks_mut(call, &mut call.state())?.insert(id, hook.clone());
    Ok(Reply::ok(hook))
}

fn delete(call: &Call) -> Outcome {
    admin(call)?;
    let id = call.number("webhookId")?;
    hooks_mut(call, &mut call.state())?.remove(&id);
    Ok(Reply::no_content())
}

/// Nothing was ever delivered.
fn latest(call: &Call) -> Outcome {
    one(call)?;
    Ok(Reply::no_content())
}

fn statistics(call: &Call) -> Outcome {
    one(call)?;
    Ok(Reply::ok(json!({})))
}

fn test(call: &Call) -> Outcome {
    admin(call)?;
    let url = call.params.filled("url").ok_or_else(|| Failure::field("url", "The url is required."))?;
    Ok(Reply::ok(json!({
        "request": {
            "method": "POST",
            "url": url,
            "headers": [{ "name": "X-Event-Key", "value": "diagnostics:ping" }],
            "body": "{\"test\": true}",
        },
        "response": { "statusCode": 200, "headers": [], "body": "" },
    })))
}
