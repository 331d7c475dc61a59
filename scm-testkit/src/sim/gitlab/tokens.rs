//! Access tokens: issuing, showing, rotating with reuse detection, revoking.

use jiff::ToSpan as _;
use serde_json::{Value, json};

use super::{
    auth::Access,
    call::Call,
    entities,
    reply::{Failure, Outcome, Reply},
    router::Route,
    state::{Source, State, Token, TokenHolder},
    types::IssuedToken,
};

pub(crate) const ROUTES: &[Route] = &[
    ("GET", "/personal_access_tokens/self", Access::OwnToken, "", show_self),
    ("DELETE", "/personal_access_tokens/self", Access::AnyToken, "", revoke_self),
    ("POST", "/personal_access_tokens/self/rotate", Access::Rotate, "expires_at:date", rotate_self),
    (
        "GET",
        "/personal_access_tokens/self/associations",
        Access::Read,
        "min_access_level:int &page",
        associations,
    ),
    (
        "GET",
        "/personal_access_tokens",
        Access::Read,
        "user_id:int revoked:bool state:enum(active|inactive) created_before:time created_after:time \
         last_used_before:time last_used_after:time expires_before:date expires_after:date search sort &page",
        list,
    ),
    ("GET", "/personal_access_tokens/:id", Access::Read, "", show),
    ("DELETE", "/personal_access_tokens/:id", Access::Write, "", revoke),
    ("POST", "/personal_access_tokens/:id/rotate", Access::Write, "expires_at:date", rotate),
];

/// The newest rotations may ask for no more than this.
const LONGEST_DAYS: i64 = 365;

/// A secret of the usual form.
pub(crate) fn new_secret() -> String {
    let letters = (0..20).map(|_| fastrand::alphanumeric());
    std::iter::once("glpat-".to_owned()).chain(letters.map(String::from)).collect()
}

pub(crate) fn announce(state: &State, id: u64) -> Option<IssuedToken> {
    let token = state.tokens.get(&id)?;
    let user = state.users.get(&token.user_id)?;
    let kind = match token.kind {
        TokenHolder::Person => "personal",
        TokenHolder::ServiceAccount => "service_account",
        TokenHolder::Group(_) => "group",
        TokenHolder::Project(_) => "project",
    };
    let role = match token.level {
        Some(10) => "guest",
        Some(20) => "reporter",
        Some(30) => "developer",
        Some(40) => "maintainer",
        Some(50) => "owner",
        _ => "none",
    };
    Some(IssuedToken {
        token: token.secret.clone(),
        user: user.username.clone(),
        kind,
        scopes: token.scopes.clone(),
        expires_at: token.expires_at.clone(),
        role: role.to_owned(),
        id,
    })
}

pub(crate) fn token_json(token: &Token, today: &str) -> Value {
    let mut value = json!({
        "id": token.id,
        "name": token.name,
        "revoked": token.revoked,
        "created_at": entities::time(token.created_at),
        "description": token.description,
        "scopes": token.scopes,
        "user_id": token.user_id,
        "last_used_at": token.last_used_at.map(entities::time),
        "active": token.active(today),
        "expires_at": token.expires_at,
    });
    let resource = match token.kind {
        TokenHolder::Project(id) => Some(("project", id)),
        TokenHolder::Group(id) => Some(("group", id)),
        TokenHolder::Person | TokenHolder::ServiceAccount => None,
    };
    if let (Some((kind, id)), Some(level)) = (resource, token.level) {
        entities::extend(
            &mut value,
            json!({ "access_level": level, "resource_type": kind, "resource_id": id }),
        );
    }
    value
}

fn own_token(call: &Call) -> Result<u64, Failure> {
    call.caller.as_ref().map(|caller| caller.token_id).ok_or_else(Failure::unauthorized)
}

fn show_self(call: &Call) -> Outcome {
    let id = own_token(call)?;
    let state = call.state();
    let token = state.tokens.get(&id).ok_or_else(Failure::unauthorized)?;
    Ok(Reply::ok(token_json(token, &call.inner.today())))
}

fn revoke_self(call: &Call) -> Outcome {
    let id = own_token(call)?;
    if let Some(token) = call.state().tokens.get_mut(&id) {
        token.revoked = true;
    }
    Ok(Reply::no_content())
}

fn associations(call: &Call) -> Outcome {
    let user = call.user()?;
    let today = call.inner.today();
    let least = u32::try_from(call.params.int("min_access_level").unwrap_or(1)).unwrap_or(1);
    let state = call.state();
    let asked = call.asked();
    let groups: Vec<Value> = state
        .namespaces
        .values()
        .filter(|space| space.user_id.is_none())
        .filter_map(|space| {
            let level = state.namespace_level(space.id, user, &today);
            let parent = space.parent_id;
            (level >= least.max(1)).then(|| {
                json!({
                    "id": space.id, "name": space.name, "parent_id": parent, "access_levels": level,
                    "web_url": format!("{}/groups/{}", call.inner.external_url(), space.full_path),
                    "visibility": space.visibility.name(), "organization_id": 1,
                })
            })
        })
        .skip(asked.skip())
        .take(asked.per_page)
        .collect();
    let projects: Vec<Value> = state
        .projects
        .values()
        .filter_map(|project| {
            let level = state.project_level(project, user, &today);
            (level >= least.max(1)).then(|| {
                let mut value = entities::project_simple(&call.inner, &state, project);
                entities::extend(
                    &mut value,
                    json!({ "access_levels": {
                        "project_access_level": state.direct_level(Source::Project(project.id), user, &today),
                        "group_access_level": Some(state.namespace_level(project.namespace_id, user, &today))
                            .filter(|level| *level > 0),
                    } }),
                );
                value
            })
        })
        .skip(asked.skip())
        .take(asked.per_page)
        .collect();
    Ok(Reply::ok(json!({ "groups": groups, "projects": projects })))
}

fn list(call: &Call) -> Outcome {
    let user = call.user()?;
    let today = call.inner.today();
    let state = call.state();
    let wanted = call.params.id("user_id").unwrap_or(user);
    if wanted != user && !state.is_admin(user) {
        return Err(Failure::unauthorized());
    }
    let found: Vec<&Token> = state
        .tokens
        .values()
        .filter(|token| token.user_id == wanted || (state.is_admin(user) && !call.params.has("user_id")))
        .filter(|token| call.params.bool("revoked").is_none_or(|revoked| revoked == token.revoked))
        .filter(|token| {
            call.params.text("state").is_none_or(|text| (text == "active") == token.active(&today))
        })
        .filter(|token| call.params.filled("search").is_none_or(|text| token.name.contains(text)))
        .collect();
    call.paged(found, |token| token_json(token, &today))
}

/// A token of the caller's by its number. Others' are not even admitted to exist.
fn mine(call: &Call) -> Result<u64, Failure> {
    let id = call.number("id")?;
    let user = call.user()?;
    let state = call.state();
    let token = state.tokens.get(&id);
    if token.is_some_and(|token| token.user_id == user || state.is_admin(user)) {
        Ok(id)
    } else {
        Err(Failure::unauthorized())
    }
}

fn show(call: &Call) -> Outcome {
    let id = mine(call)?;
    let state = call.state();
    let token = state.tokens.get(&id).ok_or_else(Failure::unauthorized)?;
    Ok(Reply::ok(token_json(token, &call.inner.today())))
}

fn revoke(call: &Call) -> Outcome {
    let id = mine(call)?;
    if let Some(token) = call.state().tokens.get_mut(&id) {
        token.revoked = true;
    }
    Ok(Reply::no_content())
}

fn rotate_self(call: &Call) -> Outcome {
    let id = own_token(call)?;
    rotate_token(call, id)
}

fn rotate(call: &Call) -> Outcome {
    let id = mine(call)?;
    rotate_token(call, id)
}

/// Replaces a token. One that was replaced before gives away that it was copied: then its whole family is revoked.
pub(crate) fn rotate_token(call: &Call, id: u64) -> Outcome {
    let today = call.inner.today();
    let now = call.inner.clock.now();
    let expires_at = match call.params.filled("expires_at") {
        Some(date) => {
            let latest = call.inner.clock.date_in_days(LONGEST_DAYS);
            if date <= today.as_str() || date > latest.as_str() {
                return Err(Failure::bad_request(&format!(
                    "Expires at must be between tomorrow and {latest}"
                )));
            }
            date.to_owned()
        }
        None => call.inner.clock.today().checked_add(7.days()).map_or(today.clone(), |date| date.to_string()),
    };
    let mut state = call.state();
    let Some(old) = state.tokens.get_mut(&id) else { return Err(Failure::unauthorized()) };
    if old.rotated || !old.active(&today) {
        revoke_family(&mut state, id);
        return Err(Failure::bad_request("token already revoked"));
    }
    old.revoked = true;
    old.rotated = true;
    let (name, user_id, kind, scopes) = (old.name.clone(), old.user_id, old.kind, old.scopes.clone());
    let (level, family, description) = (old.level, old.family, old.description.clone());
    let new_id = state.next_id("token");
    let secret = new_secret();
    let token = Token {
        id: new_id,
        secret: secret.clone(),
        name,
        user_id,
        kind,
        scopes,
        created_at: now,
        last_used_at: None,
        expires_at: Some(expires_at),
        revoked: false,
        level,
        family,
        rotated: false,
        description,
    };
    let mut value = token_json(&token, &today);
    entities::extend(&mut value, json!({ "token": secret }));
    state.secrets.insert(secret, new_id);
    state.tokens.insert(new_id, token);
    Ok(Reply::ok(value))
}

/// Someone used a token that was rotated away: everything that came from it is revoked.
pub(crate) fn revoke_family(state: &mut State, id: u64) {
    let Some((family, rotated)) = state.tokens.get(&id).map(|token| (token.family, token.rotated)) else {
        return;
    };
    if rotated {
        for token in state.tokens.values_mut().filter(|token| token.family == family) {
            token.revoked = true;
        }
    }
}
