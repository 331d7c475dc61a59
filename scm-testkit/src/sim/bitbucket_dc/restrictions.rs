//! Branch permissions: what may not be done to which branches, and by whom it may all the same.

use serde_json::{Value, json};

use super::{
    call::Call,
    entities,
    page::cap,
    reply::{Failure, Outcome, Reply},
    router::{Route, Since::Always},
    state::{Repository, State, ant_match},
};

const WRITE: &str = "type matcher:any users:any userSlugs:any groups:any groupNames:any accessKeys:any accessKeyIds:any \
     id scope:any";

pub(crate) const ROUTES: &[Route] = &[
    (
        "GET",
        "/branch-permissions/projects/:key/repos/:slug/restrictions",
        Always,
        "matcherType matcherId type &page",
        list,
    ),
    ("POST", "/branch-permissions/projects/:key/repos/:slug/restrictions", Always, WRITE, create),
    ("GET", "/branch-permissions/projects/:key/repos/:slug/restrictions/:id", Always, "", show),
    ("DELETE", "/branch-permissions/projects/:key/repos/:slug/restrictions/:id", Always, "", delete),
    (
        "GET",
        "/branch-permissions/projects/:key/restrictions",
        Always,
        "matcherType matcherId type &page",
        list,
    ),
    ("POST", "/branch-permissions/projects/:key/restrictions", Always, WRITE, create),
    ("GET", "/branch-permissions/projects/:key/restrictions/:id", Always, "", show),
    ("DELETE", "/branch-permissions/projects/:key/restrictions/:id", Always, "", delete),
];

/// What a restriction forbids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RestrictionKind {
    /// Every change.
    ReadOnly,
    /// Deleting.
    NoDeletes,
    /// Rewriting history.
    FastForwardOnly,
    /// Every change but the merge of a pull request.
    PullRequestOnly,
    /// Creating.
    NoCreates,
}

impl RestrictionKind {
    const ALL: [Self; 5] =
        [Self::ReadOnly, Self::NoDeletes, Self::FastForwardOnly, Self::PullRequestOnly, Self::NoCreates];

    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadOnly => "read-only",
            Self::NoDeletes => "no-deletes",
            Self::FastForwardOnly => "fast-forward-only",
            Self::PullRequestOnly => "pull-request-only",
            Self::NoCreates => "no-creates",
        }
    }

    fn forbids(self, what: Move) -> bool {
        match self {
            Self::ReadOnly => true,
            Self::PullRequestOnly => what != Move::Merge,
            Self::NoDeletes => what == Move::Delete,
            Self::FastForwardOnly => what == Move::Rewrite,
            Self::NoCreates => what == Move::Create,
        }
    }
}

/// What is done to a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Move {
    Create,
    Update,
    Rewrite,
    Delete,
    Merge,
}

#[derive(Debug)]
pub(crate) struct Restriction {
    pub(crate) id: u64,
    pub(crate) kind: RestrictionKind,
    /// `BRANCH`, `PATTERN` or `ANY_REF`.
    pub(crate) matcher: String,
    pub(crate) pattern: String,
    /// Users it does not hold for.
    pub(crate) users: Vec<u64>,
}

impl Restriction {
    fn covers(&self, branch: &str) -> bool {
        let full = format!("refs/heads/{branch}");
        match self.matcher.as_str() {
            "BRANCH" => self.pattern == full || self.pattern == branch,
            "ANY_REF" => true,
            _ => ant_match(&self.pattern, branch) || ant_match(&self.pattern, &full),
        }
    }
}

/// Why something may not be done to a branch, in the words that git shows.
pub(crate) fn refusal(
    state: &State,
    repo: &Repository,
    branch: &str,
    what: Move,
    user_id: u64,
) -> Option<String> {
    let project = state.projects.get(&repo.project_id);
    let rules =
        repo.restrictions.values().chain(project.iter().flat_map(|project| project.restrictions.values()));
    let rule = rules
        .filter(|rule| rule.covers(branch) && rule.kind.forbids(what))
        .find(|rule| !rule.users.contains(&user_id))?;
    let reason = match rule.kind {
        RestrictionKind::PullRequestOnly => "can only be modified through pull requests",
        RestrictionKind::ReadOnly => "is read-only",
        RestrictionKind::NoDeletes => "cannot be deleted",
        RestrictionKind::FastForwardOnly => "can only be fast-forwarded",
        RestrictionKind::NoCreates => "cannot be created",
    };
    Some(format!(
        "Branch refs/heads/{branch} {reason}. Check your branch permissions configuration with the project administrator."
    ))
}

/// Refuses a change of a branch by REST.
pub(crate) fn check(call: &Call, branch: &str, what: Move) -> Result<(), Failure> {
    let user = call.user()?;
    let state = call.state();
    match refusal(&state, call.repo_in(&state)?, branch, what, user) {
        Some(reason) => Err(Failure::new(401, "AuthorisationException", reason)),
        None => Ok(()),
    }
}

fn json(call: &Call, state: &State, rule: &Restriction) -> Value {
    let (resource, kind) = if call.repo == 0 { (call.project, "PROJECT") } else { (call.repo, "REPOSITORY") };
    let users: Vec<Value> =
        rule.users.iter().map(|id| entities::user_by_id(&call.inner, state, *id)).collect();
    let name = match rule.matcher.as_str() {
        "BRANCH" => "Branch",
        "ANY_REF" => "Any branch",
        _ => "Pattern",
    };
    json!({
        "id": rule.id,
        "scope": { "type": kind, "resourceId": resource },
        "type": rule.kind.name(),
        "matcher": {
            "id": rule.pattern,
            "displayId": entities::short(&rule.pattern),
            "type": { "id": rule.matcher, "name": name },
            "active": true,
        },
        "users": users,
        "groups": [],
        "accessKeys": [],
    })
}

/// Only administrators see or change them.
fn admin(call: &Call) -> Result<(), Failure> {
    call.user()?;
    if call.repo == 0 { call.needs_project(3) } else { call.needs(3) }
}

fn rules<'a>(
    call: &Call,
    state: &'a State,
) -> Result<&'a std::collections::BTreeMap<u64, Restriction>, Failure> {
    Ok(if call.repo == 0 {
        &call.project_in(state)?.restrictions
    } else {
        &call.repo_in(state)?.restrictions
    })
}

fn rules_mut<'a>(
    call: &Call,
    state: &'a mut State,
) -> Result<&'a mut std::collections::BTreeMap<u64, Restriction>, Failure> {
    Ok(if call.repo == 0 {
        &mut call.project_mut(state)?.restrictions
    } else {
        &mut call.repo_mut(state)?.restrictions
    })
}

fn list(call: &Call) -> Outcome {
    admin(call)?;
    let state = call.state();
    let fits = |name: &str, value: &str| call.params.filled(name).is_none_or(|wanted| wanted == value);
    let found: Vec<&Restriction> = rules(call, &state)?
        .values()
        .filter(|rule| {
            fits("type", rule.kind.name())
                && fits("matcherType", &rule.matcher)
                && fits("matcherId", &rule.pattern)
        })
        .collect();
    call.paged(found, cap::DEFAULT, |rule| json(call, &state, rule))
}

fn one<'a>(call: &Call, state: &'a State) -> Result<&'a Restriction, Failure> {
    let id = call.number("id")?;
    rules(call, state)?.get(&id).ok_or_else(|| Failure::no_such("Restriction"))
}

fn show(call: &Call) -> Outcome {
    admin(call)?;
    let state = call.state();
    Ok(Reply::ok(json(call, &state, one(call, &state)?)))
}

fn delete(call: &Call) -> Outcome {
    admin(call)?;
    let id = call.number("id")?;
    rules_mut(call, &mut call.state())?.remove(&id);
    Ok(Reply::no_content())
}

fn read(state: &State, value: &Value) -> Result<Restriction, Failure> {
    let kind = value["type"].as_str().unwrap_or_default();
    let kind = RestrictionKind::ALL.into_iter().find(|known| known.name() == kind);
    let kind = kind.ok_or_else(|| Failure::field("type", "The type of the restriction is not known."))?;
    let matcher = &value["matcher"];
    let (pattern, form) = (matcher["id"].as_str(), matcher["type"]["id"].as_str());
    let (Some(pattern), Some(form)) = (pattern, form) else {
        return Err(Failure::field("matcher", "A matcher with its id and type is required."));
    };
    let listed = |name: &str| value[name].as_array().cloned().unwrap_or_default();
    let named = listed("users")
        .into_iter()
        .map(|user| user.get("name").cloned().unwrap_or(user))
        .chain(listed("userSlugs"));
    let mut users = Vec::new();
    for name in named {
        let name = name.as_str().unwrap_or_default().to_owned();
        let user = state.user_named(&name).or_else(|| state.user_by_slug(&name));
        users.push(
            user.map(|user| user.id)
                .ok_or_else(|| Failure::field("users", format!("{name} is not a user.")))?,
        );
    }
    Ok(Restriction { id: 0, kind, matcher: form.to_owned(), pattern: pattern.to_owned(), users })
}

fn create(call: &Call) -> Outcome {
    admin(call)?;
    let mut state = call.state();
    let list = match &call.json {
        Value::Array(list) => list.clone(),
        one => vec![one.clone()],
    };
    let mut made = Vec::new();
    for value in &list {
        made.push(read(&state, value)?);
    }
    let mut ids = Vec::new();
    for mut rule in made {
        rule.id = state.next_id("restriction");
        ids.push(rule.id);
        rules_mut(call, &mut state)?.insert(rule.id, rule);
    }
    let known = rules(call, &state)?;
    let shown: Vec<Value> =
        ids.iter().filter_map(|id| known.get(id)).map(|rule| json(call, &state, rule)).collect();
    Ok(Reply::ok(match &call.json {
        Value::Array(_) => Value::Array(shown),
        _ => shown.into_iter().next().unwrap_or_default(),
    }))
}
