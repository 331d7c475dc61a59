//! HTTP access tokens of users, projects and repositories.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{
    call::Call,
    entities,
    instance::no_user,
    page::cap,
    reply::{Failure, Outcome, Reply},
    router::{Route, Since::Always},
    state::{State, Token, TokenHolder},
    types::{IssuedToken, Permission},
};

const WRITE: &str = "name permissions:any expiryDays:int";

pub(crate) const ROUTES: &[Route] = &[
    ("GET", "/access-tokens/users/:userSlug", Always, "&page", list),
    ("PUT", "/access-tokens/users/:userSlug", Always, WRITE, create),
    ("GET", "/access-tokens/users/:userSlug/:tokenId", Always, "", show),
    ("POST", "/access-tokens/users/:userSlug/:tokenId", Always, WRITE, update),
    ("DELETE", "/access-tokens/users/:userSlug/:tokenId", Always, "", delete),
    ("GET", "/access-tokens/projects/:key", Always, "&page", list),
    ("PUT", "/access-tokens/projects/:key", Always, WRITE, create),
    ("GET", "/access-tokens/projects/:key/:tokenId", Always, "", show),
    ("POST", "/access-tokens/projects/:key/:tokenId", Always, WRITE, update),
    ("DELETE", "/access-tokens/projects/:key/:tokenId", Always, "", delete),
    ("GET", "/access-tokens/projects/:key/repos/:slug", Always, "&page", list),
    ("PUT", "/access-tokens/projects/:key/repos/:slug", Always, WRITE, create),
    ("GET", "/access-tokens/projects/:key/repos/:slug/:tokenId", Always, "", show),
    ("POST", "/access-tokens/projects/:key/repos/:slug/:tokenId", Always, WRITE, update),
    ("DELETE", "/access-tokens/projects/:key/repos/:slug/:tokenId", Always, "", delete),
];

/// Numbers of tokens have twelve digits.
const FIRST_ID: u64 = 252_973_515_069;

/// A number and a secret of the usual form: 33 bytes in Base64 that begin with the number and a colon.
pub(crate) fn new_secret(serial: u64) -> (u64, String) {
    let id = FIRST_ID + serial;
    loop {
        let mut bytes = format!("{id}:").into_bytes();
        bytes.extend((bytes.len()..33).map(|_| fastrand::u8(..)));
        let text = STANDARD.encode(bytes);
        if !text.contains('/') {
            return (id, format!("BBDC-{text}"));
        }
    }
}

pub(crate) fn announce(state: &State, id: u64) -> Option<IssuedToken> {
    let token = state.tokens.get(&id)?;
    let user = state.users.get(&token.user_id)?;
    Some(IssuedToken {
        token: token.secret.clone(),
        user: user.name.clone(),
        kind: match token.holder {
            TokenHolder::User(_) => "user",
            TokenHolder::Project(_) => "project",
            TokenHolder::Repository(_) => "repository",
        },
        scopes: token.permissions.iter().map(|permission| permission.name()).collect(),
        expires_at: token.expires_at.clone(),
        role: token.role.to_owned(),
        id,
    })
}

/// Only these three are told, whatever the token may do and however long.
fn json(call: &Call, token: &Token) -> Value {
    let mut value = json!({
        "id": token.id.to_string(),
        "name": token.name,
        "createdDate": call.date(token.created_at),
    });
    if let Some(at) = token.last_used_at {
        entities::extend(&mut value, json!({ "lastAuthenticated": call.date(at) }));
    }
    value
}

/// Whose tokens the path speaks of, if the caller may manage them.
fn holder(call: &Call) -> Result<TokenHolder, Failure> {
    let user = call.user()?;
    if call.repo != 0 {
        call.needs(3)?;
        return Ok(TokenHolder::Repository(call.repo));
    }
    if call.project != 0 {
        call.needs_project(3)?;
        return Ok(TokenHolder::Project(call.project));
    }
    let slug = call.part("userSlug");
    let state = call.state();
    let owner = state.user_by_slug(slug).ok_or_else(|| no_user(slug))?.id;
    let admin = state.users.get(&user).is_some_and(|user| user.admin);
    if owner == user || admin { Ok(TokenHolder::User(owner)) } else { Err(Failure::not_permitted()) }
}

fn list(call: &Call) -> Outcome {
    let holder = holder(call)?;
    let state = call.state();
    let found: Vec<&Token> = state.tokens.values().filter(|token| token.holder == holder).collect();
    call.paged(found, cap::DEFAULT, |token| json(call, token))
}

fn one(call: &Call) -> Result<u64, Failure> {
    let holder = holder(call)?;
    let id = call.number("tokenId")?;
    let known = call.state().tokens.get(&id).is_some_and(|token| token.holder == holder);
    known.then_some(id).ok_or_else(|| Failure::no_such("Access token"))
}

fn shown(call: &Call, id: u64) -> Outcome {
    let state = call.state();
    let token = state.tokens.get(&id).ok_or_else(|| Failure::no_such("Access token"))?;
    Ok(Reply::ok(json(call, token)))
}

fn show(call: &Call) -> Outcome {
    let id = one(call)?;
    shown(call, id)
}

fn permissions(value: &[Value]) -> Result<Vec<Permission>, Failure> {
    let known = |value: &Value| {
        let name = value.as_str().unwrap_or_default();
        Permission::from_name(name)
            .ok_or_else(|| Failure::field("permissions", format!("The permission {value} is not known.")))
    };
    value.iter().map(known).collect()
}

fn create(call: &Call) -> Outcome {
    let holder = holder(call)?;
    if !call.caller()?.has_password() && !call.inner.tokens_make_tokens {
        return Err(Failure::not_permitted());
    }
    let name = call.params.filled("name").unwrap_or_default().to_owned();
    let asked = call.params.list("permissions").unwrap_or_default();
    let mut problems = Vec::new();
    if name.trim().is_empty() {
        problems.push(("name".to_owned(), "A token needs a name.".to_owned()));
    }
    if asked.is_empty() {
        problems.push(("permissions".to_owned(), "A token needs permissions.".to_owned()));
    }
    if !problems.is_empty() {
        return Err(Failure::fields(problems));
    }
    let permissions = permissions(&asked)?;
    let expires_at = call
        .params
        .int("expiryDays")
        .filter(|days| *days > 0)
        .map(|days| call.inner.clock.date_in_days(days));
    let id = call.inner.add_token(holder, &name, permissions, expires_at, None, "none");
    let state = call.state();
    let token = state.tokens.get(&id).ok_or_else(|| Failure::no_such("Access token"))?;
    let mut value = json(call, token);
    entities::extend(&mut value, json!({ "token": token.secret }));
    Ok(Reply::ok(value))
}

fn update(call: &Call) -> Outcome {
    let id = one(call)?;
    let asked = call.params.list("permissions").map(|list| permissions(&list)).transpose()?;
    if let Some(token) = call.state().tokens.get_mut(&id) {
        if let Some(name) = call.params.filled("name") {
            name.clone_into(&mut token.name);
        }
        token.permissions = asked.unwrap_or_else(|| token.permissions.clone());
    }
    shown(call, id)
}

fn delete(call: &Call) -> Outcome {
    let id = one(call)?;
    let mut state = call.state();
    if let Some(token) = state.tokens.remove(&id) {
        state.secrets.remove(&token.secret);
    }
    Ok(Reply::no_content())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_tells_its_number() {
        for serial in 1..50 {
            let (id, secret) = new_secret(serial);
            let text = secret.strip_prefix("BBDC-").unwrap();
            assert_eq!(text.len(), 44);
            assert!(text.chars().all(|c| c.is_ascii_alphanumeric() || c == '+'), "{text}");
            let decoded = STANDARD.decode(text).unwrap();
            assert!(decoded.starts_with(format!("{id}:").as_bytes()));
        }
    }
}
