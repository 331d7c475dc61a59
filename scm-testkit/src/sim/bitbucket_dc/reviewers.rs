//! Default reviewers. The web interface adds them to new pull requests; the API only tells them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    call::Call,
    entities,
    reply::{Failure, Outcome, Reply},
    router::{Route, Since::Always},
    state::{State, ant_match},
};

const WRITE: &str = "requiredApprovals:int reviewers:any sourceMatcher:any targetMatcher:any id scope:any";

pub(crate) const ROUTES: &[Route] = &[
    (
        "GET",
        "/default-reviewers/projects/:key/repos/:slug/reviewers",
        Always,
        "targetRepoId:int sourceRepoId:int sourceRefId targetRefId",
        reviewers,
    ),
    ("GET", "/default-reviewers/projects/:key/repos/:slug/conditions", Always, "", list),
    ("POST", "/default-reviewers/projects/:key/repos/:slug/condition", Always, WRITE, create),
    ("PUT", "/default-reviewers/projects/:key/repos/:slug/condition/:id", Always, WRITE, update),
    ("DELETE", "/default-reviewers/projects/:key/repos/:slug/condition/:id", Always, "", delete),
    ("GET", "/default-reviewers/projects/:key/conditions", Always, "", list),
    ("POST", "/default-reviewers/projects/:key/condition", Always, WRITE, create),
    ("PUT", "/default-reviewers/projects/:key/condition/:id", Always, WRITE, update),
    ("DELETE", "/default-reviewers/projects/:key/condition/:id", Always, "", delete),
];

/// Who reviews pull requests between which branches.
#[derive(Debug)]
pub(crate) struct Condition {
    pub(crate) source: Matcher,
    pub(crate) target: Matcher,
    pub(crate) reviewers: Vec<u64>,
    pub(crate) required_approvals: i64,
}

#[derive(Debug, Clone)]
pub(crate) struct Matcher {
    /// `ANY_REF`, `BRANCH` or `PATTERN`.
    kind: String,
    id: String,
}

impl Matcher {
    pub(crate) fn any() -> Self {
        Self { kind: "ANY_REF".to_owned(), id: "ANY_REF_MATCHER_ID".to_owned() }
    }

    pub(crate) fn branch(name: &str) -> Self {
        Self { kind: "BRANCH".to_owned(), id: format!("refs/heads/{}", entities::short(name)) }
    }

    fn read(value: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Some(Self { kind: text(&value["type"]["id"])?, id: text(&value["id"])? })
    }

    fn covers(&self, full_ref: &str) -> bool {
        match self.kind.as_str() {
            "ANY_REF" => true,
            "BRANCH" => entities::short(&self.id) == entities::short(full_ref),
            _ => ant_match(&self.id, entities::short(full_ref)) || ant_match(&self.id, full_ref),
        }
    }

    fn json(&self) -> Value {
        json!({
            "id": self.id,
            "displayId": entities::short(&self.id),
            "type": { "id": self.kind, "name": self.kind },
            "active": true,
        })
    }
}

fn reviewers(call: &Call) -> Outcome {
    let params = &call.params;
    let needed = ["sourceRepoId", "targetRepoId", "sourceRefId", "targetRefId"];
    let missing = needed.iter().filter(|name| params.get(name).is_none());
    let missing: Vec<_> =
        missing.map(|name| ((*name).to_owned(), format!("The {name} is required."))).collect();
    if !missing.is_empty() {
        return Err(Failure::fields(missing));
    }
    let (source, target) =
        (params.text("sourceRefId").unwrap_or_default(), params.text("targetRefId").unwrap_or_default());
    let state = call.state();
    let own = call.repo_in(&state)?.conditions.values();
    let mut found: Vec<u64> = own
        .chain(call.project_in(&state)?.conditions.values())
        .filter(|condition| condition.source.covers(source) && condition.target.covers(target))
        .flat_map(|condition| condition.reviewers.iter().copied())
        .collect();
    found.sort_unstable();
    found.dedup();
    Ok(Reply::ok(found.iter().map(|id| entities::user_by_id(&call.inner, &state, *id)).collect()))
}

fn json(call: &Call, state: &State, id: u64, condition: &Condition) -> Value {
    let (resource, kind) = if call.repo == 0 { (call.project, "PROJECT") } else { (call.repo, "REPOSITORY") };
    let users: Vec<Value> =
        condition.reviewers.iter().map(|id| entities::user_by_id(&call.inner, state, *id)).collect();
    json!({
        "id": id,
        "scope": { "type": kind, "resourceId": resource },
        "sourceRefMatcher": condition.source.json(),
        "targetRefMatcher": condition.target.json(),
        "reviewers": users,
        "requiredApprovals": condition.required_approvals,
    })
}

fn admin(call: &Call) -> Result<(), Failure> {
    call.user()?;
    if call.repo == 0 { call.needs_project(3) } else { call.needs(3) }
}

fn conditions<'a>(call: &Call, state: &'a State) -> Result<&'a BTreeMap<u64, Condition>, Failure> {
    Ok(if call.repo == 0 { &call.project_in(state)?.conditions } else { &call.repo_in(state)?.conditions })
}

fn conditions_mut<'a>(
    call: &Call,
    state: &'a mut State,
) -> Result<&'a mut BTreeMap<u64, Condition>, Failure> {
    Ok(if call.repo == 0 {
        &mut call.project_mut(state)?.conditions
    } else {
        &mut call.repo_mut(state)?.conditions
    })
}

fn list(call: &Call) -> Outcome {
    call.user()?;
    let state = call.state();
    let found = conditions(call, &state)?;
    Ok(Reply::ok(found.iter().map(|(id, condition)| json(call, &state, *id, condition)).collect()))
}

fn read(call: &Call, state: &State) -> Result<Condition, Failure> {
    let value = &call.json;
    let matcher = |name: &str| {
        Matcher::read(&value[name])
            .ok_or_else(|| Failure::field(name, "A matcher with its id and type is required."))
    };
    let listed = value["reviewers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let reviewer = |user: &Value| {
        let known = match user["id"].as_u64() {
            Some(id) => state.users.get(&id),
            None => state.user_named(user["name"].as_str().unwrap_or_default()),
        };
        known.map(|user| user.id).ok_or_else(|| Failure::field("reviewers", "A reviewer is not a user."))
    };
    Ok(Condition {
        source: matcher("sourceMatcher")?,
        target: matcher("targetMatcher")?,
        reviewers: listed.iter().map(reviewer).collect::<Result<_, _>>()?,
        required_approvals: call.params.int("requiredApprovals").unwrap_or(0),
    })
}

fn write(call: &Call, id: Option<u64>) -> Outcome {
    let mut state = call.state();
    let condition = read(call, &state)?;
    let id = id.unwrap_or_else(|| state.next_id("condition"));
    conditions_mut(call, &mut state)?.insert(id, condition);
    let made = conditions(call, &state)?.get(&id).ok_or_else(|| Failure::no_such("Condition"))?;
    Ok(Reply::ok(json(call, &state, id, made)))
}

fn create(call: &Call) -> Outcome {
    admin(call)?;
    write(call, None)
}

fn known(call: &Call) -> Result<u64, Failure> {
    admin(call)?;
    let id = call.number("id")?;
    let there = conditions(call, &call.state())?.contains_key(&id);
    there.then_some(id).ok_or_else(|| Failure::no_such("Condition"))
}

fn update(call: &Call) -> Outcome {
    let id = known(call)?;
    write(call, Some(id))
}

fn delete(call: &Call) -> Outcome {
    let id = known(call)?;
    conditions_mut(call, &mut call.state())?.remove(&id);
    Ok(Reply::no_content())
}
