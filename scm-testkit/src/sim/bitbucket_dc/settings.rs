//! Settings of a repository that decide whether and how pull requests can be merged.

use serde_json::{Value, json};

use super::{
    call::Call,
    reply::{Failure, Outcome, Reply},
    router::{
        Route,
        Since::{Always, V},
    },
};

const HOOK: &str = "com.atlassian.bitbucket.server.bundled-hooks";

pub(crate) const ROUTES: &[Route] = &[
    ("GET", "/api/projects/:key/repos/:slug/settings/pull-requests", Always, "", show),
    (
        "POST",
        "/api/projects/:key/repos/:slug/settings/pull-requests",
        Always,
        "mergeConfig:any requiredAllApprovers:bool requiredAllTasksComplete:bool requiredApprovers:any \
         requiredSuccessfulBuilds:any needsWork:bool",
        update,
    ),
    ("GET", "/api/projects/:key/repos/:slug/settings/auto-merge", V(8, 15), "", auto_merge),
    ("PUT", "/api/projects/:key/repos/:slug/settings/auto-merge", V(8, 15), "enabled:bool", set_auto_merge),
];

/// All strategies of the product, with what they are called.
pub(crate) const STRATEGIES: &[(&str, &str)] = &[
    ("no-ff", "Merge commit"),
    ("ff", "Fast-forward"),
    ("ff-only", "Fast-forward only"),
    ("rebase-no-ff", "Rebase and merge"),
    ("rebase-ff-only", "Rebase and fast-forward"),
    ("squash", "Squash"),
    ("squash-ff-only", "Squash, fast-forward only"),
];

#[derive(Debug, Clone)]
pub(crate) struct PullRequestSettings {
    pub(crate) strategies: Vec<String>,
    pub(crate) default_strategy: String,
    pub(crate) required_approvers: u64,
    pub(crate) all_approvers: bool,
    pub(crate) all_tasks: bool,
    pub(crate) no_needs_work: bool,
    pub(crate) required_builds: u64,
    /// Vetoes of checks that others wrote: summary and details.
    pub(crate) vetoes: Vec<(String, String)>,
    pub(crate) auto_merge: bool,
}

impl Default for PullRequestSettings {
    fn default() -> Self {
        Self {
            strategies: ["no-ff", "squash", "rebase-no-ff"].map(str::to_owned).to_vec(),
            default_strategy: "no-ff".to_owned(),
            required_approvers: 0,
            all_approvers: false,
            all_tasks: false,
            no_needs_work: false,
            required_builds: 0,
            vetoes: Vec::new(),
            auto_merge: false,
        }
    }
}

fn strategy_json(settings: &PullRequestSettings, id: &str, name: &str) -> Value {
    json!({
        "id": id, "name": name, "description": name, "flag": format!("--{id}"),
        "enabled": settings.strategies.iter().any(|known| known == id),
    })
}

fn show(call: &Call) -> Outcome {
    let state = call.state();
    let settings = &call.repo_in(&state)?.settings;
    let default = STRATEGIES.iter().find(|(id, _)| *id == settings.default_strategy);
    let count = |n: u64| json!({ "enabled": n > 0, "count": n.to_string() });
    Ok(Reply::ok(json!({
        "mergeConfig": {
            "defaultStrategy": default.map(|(id, name)| strategy_json(settings, id, name)),
            "strategies": STRATEGIES
                .iter()
                .map(|(id, name)| strategy_json(settings, id, name))
                .collect::<Vec<_>>(),
            "type": "REPOSITORY",
            "commitSummaries": 20,
        },
        "requiredAllApprovers": settings.all_approvers,
        "requiredAllTasksComplete": settings.all_tasks,
        "requiredApprovers": count(settings.required_approvers),
        "requiredSuccessfulBuilds": count(settings.required_builds),
        format!("{HOOK}.needsWorkMergeCheck"): settings.no_needs_work,
    })))
}

/// A count in one of the forms servers took over the years.
fn count(value: &Value) -> Option<u64> {
    let number = |value: &Value| value.as_u64().or_else(|| value.as_str().and_then(|text| text.parse().ok()));
    match value {
        Value::Object(map) if map.get("enabled") == Some(&Value::Bool(false)) => Some(0),
        Value::Object(map) => map.get("count").and_then(number),
        other => number(other),
    }
}

fn update(call: &Call) -> Outcome {
    call.may_change(3)?;
    let params = &call.params;
    let known = |id: &str| STRATEGIES.iter().any(|(known, _)| *known == id);
    {
        let mut state = call.state();
        let settings = &mut call.repo_mut(&mut state)?.settings;
        if let Some(config) = params.get("mergeConfig") {
            if let Some(list) = config["strategies"].as_array() {
                let ids: Vec<String> =
                    list.iter().filter_map(|one| one["id"].as_str()).map(str::to_owned).collect();
                if ids.is_empty() || !ids.iter().all(|id| known(id)) {
                    return Err(Failure::field("mergeConfig", "A merge strategy is not known."));
                }
                settings.strategies = ids;
            }
            if let Some(id) = config["defaultStrategy"]["id"].as_str() {
                id.clone_into(&mut settings.default_strategy);
            }
        }
        settings.all_approvers = params.bool("requiredAllApprovers").unwrap_or(settings.all_approvers);
        settings.all_tasks = params.bool("requiredAllTasksComplete").unwrap_or(settings.all_tasks);
        if let Some(n) = params.get("requiredApprovers").and_then(count) {
            settings.required_approvers = n;
        }
        if let Some(n) = params.get("requiredSuccessfulBuilds").and_then(count) {
            settings.required_builds = n;
        }
    }
    show(call)
}

fn auto_merge(call: &Call) -> Outcome {
    let state = call.state();
    Ok(Reply::ok(json!({ "enabled": call.repo_in(&state)?.settings.auto_merge })))
}

fn set_auto_merge(call: &Call) -> Outcome {
    call.may_change(3)?;
    let enabled = call.params.bool("enabled");
    let enabled = enabled.ok_or_else(|| Failure::field("enabled", "The setting is missing."))?;
    call.repo_mut(&mut call.state())?.settings.auto_merge = enabled;
    auto_merge(call)
}
