//! Webhooks of projects. They are kept and shown; nothing is delivered but by [`test`].

use serde_json::{Map, Value, json};

use super::{
    auth::Access,
    call::Call,
    entities,
    reply::{Failure, Outcome, Reply},
    router::Route,
};

const EVENTS: &[(&str, bool)] = &[
    ("push_events", true),
    ("tag_push_events", false),
    ("merge_requests_events", false),
    ("repository_update_events", false),
    ("enable_ssl_verification", true),
    ("issues_events", false),
    ("confidential_issues_events", false),
    ("note_events", false),
    ("confidential_note_events", false),
    ("pipeline_events", false),
    ("wiki_page_events", false),
    ("deployment_events", false),
    ("feature_flag_events", false),
    ("job_events", false),
    ("releases_events", false),
    ("milestone_events", false),
    ("emoji_events", false),
    ("resource_access_token_events", false),
    ("vulnerability_events", false),
];

const CREATE: &str = "url!:filled name description push_events:bool issues_events:bool \
     confidential_issues_events:bool merge_requests_events:bool tag_push_events:bool note_events:bool \
     confidential_note_events:bool job_events:bool pipeline_events:bool wiki_page_events:bool deployment_events:bool \
     feature_flag_events:bool releases_events:bool milestone_events:bool emoji_events:bool \
     resource_access_token_events:bool enable_ssl_verification:bool token push_events_branch_filter \
     custom_webhook_template branch_filter_strategy:enum(wildcard|regex|all_branches) vulnerability_events:bool \
     url_variables:list custom_headers:list";

pub(crate) const ROUTES: &[Route] = &[
    ("GET", "/projects/:id/hooks", Access::Read, "&page", list),
    ("POST", "/projects/:id/hooks", Access::Write, CREATE, create),
    ("GET", "/projects/:id/hooks/:hook_id", Access::Read, "", show),
    ("PUT", "/projects/:id/hooks/:hook_id", Access::Write, CREATE, update),
    ("DELETE", "/projects/:id/hooks/:hook_id", Access::Write, "", delete),
    ("POST", "/projects/:id/hooks/:hook_id/test/:trigger", Access::Write, "", test),
];

fn list(call: &Call) -> Outcome {
    call.needs(40)?;
    let state = call.state();
    let hooks: Vec<Value> = call.project_in(&state)?.hooks.values().cloned().collect();
    call.paged(hooks, |hook| hook)
}

/// The parameters as members of the hook. The secret token is never shown, so it is not kept.
fn read(call: &Call, hook: &mut Map<String, Value>) -> Result<(), Failure> {
    let params = &call.params;
    let url = params.text("url").unwrap_or_default();
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err(Failure::message(
            422,
            json!({ "url": ["is blocked: Only allowed schemes are http, https"] }),
        ));
    }
    for name in [
        "url",
        "name",
        "description",
        "push_events_branch_filter",
        "custom_webhook_template",
        "branch_filter_strategy",
    ] {
        if let Some(text) = params.text(name) {
            hook.insert(name.to_owned(), Value::from(text));
        }
    }
    for (name, _) in EVENTS {
        if let Some(flag) = params.bool(name) {
            hook.insert((*name).to_owned(), Value::Bool(flag));
        }
    }
    if let Some(variables) = params.list("url_variables") {
        let keys = variables.iter().map(|variable| json!({ "key": variable["key"] })).collect();
        hook.insert("url_variables".to_owned(), keys);
    }
    if let Some(headers) = params.list("custom_headers") {
        let keys = headers.iter().map(|header| json!({ "key": header["key"] })).collect();
        hook.insert("custom_headers".to_owned(), keys);
    }
    Ok(())
}

fn create(call: &Call) -> Outcome {
    call.may_write(40)?;
    let mut hook = Map::new();
    for (name, default) in EVENTS {
        hook.insert((*name).to_owned(), Value::Bool(*default));
    }
    let mut value = json!({
        "name": null,
        "description": null,
        "created_at": entities::time(call.inner.clock.now()),
        "alert_status": "executable",
        "disabled_until": null,
        "url_variables": [],
        "push_events_branch_filter": null,
        "branch_filter_strategy": "wildcard",
        "custom_webhook_template": "",
        "custom_headers": [],
        "project_id": call.project_id(),
    });
    if let Value::Object(map) = &mut value {
        hook.append(map);
    }
    read(call, &mut hook)?;
    let mut state = call.state();
    let id = state.next_id("hook");
    hook.insert("id".to_owned(), Value::from(id));
    let value = Value::Object(hook);
    call.project_mut(&mut state)?.hooks.insert(id, value.clone());
    Ok(Reply::created(value))
}

fn find(call: &Call) -> Result<(u64, Value), Failure> {
    call.needs(40)?;
    let id = call.number("hook_id")?;
    let state = call.state();
    let hook = call.project_in(&state)?.hooks.get(&id).cloned();
    hook.map(|hook| (id, hook)).ok_or_else(Failure::no_record)
}

fn show(call: &Call) -> Outcome {
    Ok(Reply::ok(find(call)?.1))
}

fn update(call: &Call) -> Outcome {
    call.may_write(40)?;
    let (id, hook) = find(call)?;
    let mut map = match hook {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    read(call, &mut map)?;
    let value = Value::Object(map);
    call.project_mut(&mut call.state())?.hooks.insert(id, value.clone());
    Ok(Reply::ok(value))
}

fn delete(call: &Call) -> Outcome {
    call.may_write(40)?;
    let (id, _) = find(call)?;
    call.project_mut(&mut call.state())?.hooks.remove(&id);
    Ok(Reply::no_content())
}

/// Says that a test was sent; the simulator makes no requests of its own.
fn test(call: &Call) -> Outcome {
    call.may_write(40)?;
    find(call)?;
    let trigger = call.part("trigger");
    if !EVENTS.iter().any(|(name, _)| *name == trigger && name.ends_with("_events")) {
        return Err(Failure::error(400, "trigger does not have a valid value"));
    }
    Ok(Reply::created(json!({ "message": "201 Created" })))
}
