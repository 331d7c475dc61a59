//! Who calls, and whether the token is good enough.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderMap;

use super::{Inner, reply::Failure};

/// The owner of the token that came with a request.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) user_id: u64,
    pub(crate) token_id: u64,
    scopes: Vec<String>,
}

impl Caller {
    pub(crate) fn has_any(&self, scopes: &[&str]) -> bool {
        scopes.is_empty() || self.scopes.iter().any(|scope| scopes.contains(&scope.as_str()))
    }
}

/// Which scopes open an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Reading; anonymous callers see what is public.
    Open,
    /// Reading of code; anonymous callers see what is public.
    Code,
    /// Reading by someone who is signed in.
    Read,
    /// Facts about the instance.
    Instance,
    /// Facts about the caller.
    User,
    /// Facts about the caller's own token.
    OwnToken,
    /// Anything a token may do to itself, whatever its scopes.
    AnyToken,
    /// Rotation of the caller's own token.
    Rotate,
    Write,
}

impl Access {
    pub(crate) fn scopes(self) -> &'static [&'static str] {
        match self {
            Self::Open | Self::Read => &["api", "read_api"],
            Self::Code => &["api", "read_api", "read_repository"],
            Self::Instance => &["api", "read_api", "read_user", "ai_features"],
            Self::User => &["api", "read_api", "read_user"],
            Self::OwnToken => &["api", "read_api", "read_user", "self_rotate"],
            Self::AnyToken => &[],
            Self::Rotate => &["api", "self_rotate"],
            Self::Write => &["api"],
        }
    }

    pub(crate) fn anonymous(self) -> bool {
        matches!(self, Self::Open | Self::Code)
    }
}

/// Finds the caller by `PRIVATE-TOKEN`, `Authorization: Bearer` or the query's `private_token`.
pub(crate) fn caller(
    inner: &Inner,
    headers: &HeaderMap,
    query: &[(String, String)],
) -> Result<Option<Caller>, Failure> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = header("authorization").and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    let in_query = query.iter().find(|(name, _)| name == "private_token").map(|(_, value)| value.as_str());
    match (header("private-token").or(in_query), bearer) {
        (Some(secret), _) => by_secret(inner, secret)?.ok_or_else(Failure::unauthorized).map(Some),
        (None, Some(secret)) => {
            by_secret(inner, secret)?.ok_or_else(|| Failure::invalid_token("Bad Access Token.")).map(Some)
        }
        (None, None) => Ok(None),
    }
}

/// A rotation asked for with a token that was itself rotated away: someone has a copy, so its family is revoked.
pub(crate) fn detect_reuse(inner: &Inner, headers: &HeaderMap) {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let secret =
        header("private-token").or_else(|| header("authorization").and_then(|value| value.split(' ').nth(1)));
    let mut state = inner.state();
    if let Some(id) = secret.and_then(|secret| state.secrets.get(secret).copied()) {
        super::tokens::revoke_family(&mut state, id);
    }
}

/// Finds the caller of a git request by `Basic`: the password is the token, the user name is free.
pub(crate) fn git_caller(inner: &Inner, headers: &HeaderMap) -> Option<Result<Caller, Failure>> {
    let value = headers.get("authorization")?.to_str().ok()?;
    let (scheme, credential) = value.split_once(' ')?;
    let secret = if scheme.eq_ignore_ascii_case("basic") {
        let decoded = String::from_utf8(STANDARD.decode(credential.trim()).ok()?).ok()?;
        decoded.split_once(':').map(|(_, password)| password.to_owned())?
    } else {
        credential.trim().to_owned()
    };
    Some(by_secret(inner, &secret).and_then(|caller| caller.ok_or_else(Failure::unauthorized)))
}

fn by_secret(inner: &Inner, secret: &str) -> Result<Option<Caller>, Failure> {
    let today = inner.today();
    let now = inner.clock.now();
    let mut state = inner.state();
    let Some(id) = state.secrets.get(secret).copied() else { return Ok(None) };
    let Some(token) = state.tokens.get_mut(&id) else { return Ok(None) };
    if token.revoked {
        return Err(Failure::invalid_token("Token was revoked. You have to re-authorize from the user."));
    }
    if token.expired(&today) {
        return Err(Failure::invalid_token(
            "Token is expired. You can either do re-authorization or token refresh.",
        ));
    }
    token.last_used_at = Some(now);
    let caller = Caller { user_id: token.user_id, token_id: id, scopes: token.scopes.clone() };
    if state.users.get(&caller.user_id).is_some_and(|user| user.blocked) {
        return Err(Failure::forbidden_because("Your account has been blocked."));
    }
    Ok(Some(caller))
}
