//! Tokens of groups and projects, each with a bot user of its own.

use serde_json::json;

use super::{
    TokenKind, TokenSpec,
    auth::Access,
    call::Call,
    entities,
    reply::{Failure, Outcome, Reply},
    router::Route,
    state::{Source, Token, TokenHolder},
    tokens,
};

const CREATE: &str = "name!:filled scopes!:list expires_at:date access_level:int description";
const SCOPES: &[&str] = &[
    "api",
    "read_api",
    "create_runner",
    "manage_runner",
    "k8s_proxy",
    "self_rotate",
    "read_repository",
    "write_repository",
    "read_registry",
    "write_registry",
    "read_observability",
    "write_observability",
    "ai_features",
];

pub(crate) const ROUTES: &[Route] = &[
    ("GET", "/projects/:id/access_tokens", Access::Read, "state:enum(active|inactive) &page", list),
    ("POST", "/projects/:id/access_tokens", Access::Write, CREATE, create),
    ("GET", "/projects/:id/access_tokens/:token_id", Access::Read, "", show),
    ("DELETE", "/projects/:id/access_tokens/:token_id", Access::Write, "", revoke),
    ("POST", "/projects/:id/access_tokens/:token_id/rotate", Access::Write, "expires_at:date", rotate),
    ("POST", "/projects/:id/access_tokens/self/rotate", Access::Rotate, "expires_at:date", rotate_self),
    ("GET", "/groups/:id/access_tokens", Access::Read, "state:enum(active|inactive) &page", list),
    ("POST", "/groups/:id/access_tokens", Access::Write, CREATE, create),
    ("GET", "/groups/:id/access_tokens/:token_id", Access::Read, "", show),
    ("DELETE", "/groups/:id/access_tokens/:token_id", Access::Write, "", revoke),
    ("POST", "/groups/:id/access_tokens/:token_id/rotate", Access::Write, "expires_at:date", rotate),
    ("POST", "/groups/:id/access_tokens/self/rotate", Access::Rotate, "expires_at:date", rotate_self),
];

fn holder(call: &Call) -> TokenHolder {
    call.group.map_or_else(|| TokenHolder::Project(call.project_id()), TokenHolder::Group)
}

/// Maintainers manage a project's tokens, owners a group's.
fn may_manage(call: &Call) -> Result<(), Failure> {
    let user = call.user()?;
    let state = call.state();
    let enough = match call.group {
        Some(group) => state.namespace_level(group, user, &call.inner.today()) >= 50,
        None => call.level_on(&state, call.project_in(&state)?) >= 40,
    };
    if enough || state.is_admin(user) { Ok(()) } else { Err(Failure::unauthorized()) }
}

fn list(call: &Call) -> Outcome {
    may_manage(call)?;
    let today = call.inner.today();
    let kind = holder(call);
    let state = call.state();
    let found: Vec<&Token> = state
        .tokens
        .values()
        .filter(|token| token.kind == kind)
        .filter(|token| {
            call.params.text("state").is_none_or(|text| (text == "active") == token.active(&today))
        })
        .collect();
    call.paged(found, |token| tokens::token_json(token, &today))
}

fn create(call: &Call) -> Outcome {
    may_manage(call)?;
    let scopes = call.params.texts("scopes").unwrap_or_default();
    if scopes.is_empty() || scopes.iter().any(|scope| !SCOPES.contains(&scope.as_str())) {
        return Err(Failure::error(400, "scopes does not have a valid value"));
    }
    let level = call.params.int("access_level").unwrap_or(40);
    let role = [
        super::Role::Guest,
        super::Role::Reporter,
        super::Role::Developer,
        super::Role::Maintainer,
        super::Role::Owner,
    ]
    .into_iter()
    .find(|role| i64::from(role.level()) == level)
    .ok_or_else(|| Failure::error(400, "access_level does not have a valid value"))?;
    let place = {
        let state = call.state();
        match call.group {
            Some(group) => state.namespaces.get(&group).map(|space| space.full_path.clone()),
            None => state.projects.get(&call.project_id()).map(|project| state.full_path(project)),
        }
        .unwrap_or_default()
    };
    let kind = if call.group.is_some() { TokenKind::Group } else { TokenKind::Project };
    let name = call.params.text("name").unwrap_or_default().to_owned();
    let mut spec = TokenSpec::new(kind, &name).scopes(scopes).role(role).on(place);
    let latest = call.inner.clock.date_in_days(365);
    spec = spec.expires_at(call.params.filled("expires_at").unwrap_or(&latest));
    let issued = call.inner.issue_quietly(&spec).map_err(|error| Failure::bad_request(&error.to_string()))?;
    let mut state = call.state();
    let description = call.params.text("description").map(str::to_owned);
    let Some(token) = state.tokens.get_mut(&issued) else { return Err(Failure::nothing_here()) };
    token.description = description;
    let mut value = tokens::token_json(token, &call.inner.today());
    entities::extend(&mut value, json!({ "token": token.secret }));
    Ok(Reply::created(value))
}

fn find(call: &Call) -> Result<u64, Failure> {
    may_manage(call)?;
    let id = call.number("token_id")?;
    let kind = holder(call);
    let state = call.state();
    let there = state.tokens.get(&id).is_some_and(|token| token.kind == kind);
    if there { Ok(id) } else { Err(Failure::not_found("Could not find access token with token_id")) }
}

fn show(call: &Call) -> Outcome {
    let id = find(call)?;
    let state = call.state();
    let token = state.tokens.get(&id).ok_or_else(Failure::nothing_here)?;
    Ok(Reply::ok(tokens::token_json(token, &call.inner.today())))
}

fn revoke(call: &Call) -> Outcome {
    let id = find(call)?;
    if let Some(token) = call.state().tokens.get_mut(&id) {
        token.revoked = true;
    }
    Ok(Reply::no_content())
}

fn rotate(call: &Call) -> Outcome {
    let id = find(call)?;
    tokens::rotate_token(call, id)
}

fn rotate_self(call: &Call) -> Outcome {
    let id = call.caller.as_ref().map(|caller| caller.token_id).ok_or_else(Failure::unauthorized)?;
    let kind = holder(call);
    if call.state().tokens.get(&id).is_none_or(|token| token.kind != kind) {
        return Err(Failure::not_allowed());
    }
    tokens::rotate_token(call, id)
}

/// Where a token's bot is a member.
pub(crate) fn source(kind: TokenHolder) -> Option<Source> {
    match kind {
        TokenHolder::Group(id) => Some(Source::Group(id)),
        TokenHolder::Project(id) => Some(Source::Project(id)),
        TokenHolder::Person | TokenHolder::ServiceAccount => None,
    }
}
