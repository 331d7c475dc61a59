//! Who calls, and how far the credential goes.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderMap;

use super::{
    Inner,
    reply::Failure,
    state::{Repository, State, Token, TokenHolder, User},
};

/// Someone who is signed in.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) user_id: u64,
    pub(crate) name: String,
    /// The token that was used; `None` for a password.
    pub(crate) token: Option<u64>,
    /// Where the token ends, if it has no user behind it.
    pub(crate) only: Option<TokenHolder>,
    /// What the credential allows on projects and on repositories.
    project_cap: u8,
    repo_cap: u8,
}

impl Caller {
    fn by_password(user: &User) -> Self {
        Self {
            user_id: user.id,
            name: user.name.clone(),
            token: None,
            only: None,
            project_cap: 3,
            repo_cap: 3,
        }
    }

    fn by_token(token: &Token, user: &User) -> Self {
        let most = |of_project: bool| {
            let matching = token.permissions.iter().filter(|known| known.of_project() == of_project);
            matching.map(|known| known.level()).max().unwrap_or(0)
        };
        let project = most(true);
        Self {
            user_id: user.id,
            name: user.name.clone(),
            token: Some(token.id),
            only: (!matches!(token.holder, TokenHolder::User(_))).then_some(token.holder),
            project_cap: project,
            repo_cap: most(false).max(project),
        }
    }

    /// What the caller may do in a repository: 0 nothing, 1 read, 2 write, 3 everything.
    pub(crate) fn level_on(&self, state: &State, repo: &Repository) -> u8 {
        self.granted_on(state, repo).max(u8::from(state.is_public(repo)))
    }

    /// The same without what everyone may do.
    pub(crate) fn granted_on(&self, state: &State, repo: &Repository) -> u8 {
        match self.only {
            None => state.repo_level(repo, self.user_id).min(self.repo_cap),
            Some(TokenHolder::Project(id)) if id == repo.project_id => self.repo_cap,
            Some(TokenHolder::Repository(id)) if id == repo.id => self.repo_cap,
            Some(_) => 0,
        }
    }

    /// What the caller may do in a project. Whoever sees one of its repositories sees the project.
    pub(crate) fn level_on_project(&self, state: &State, project_id: u64) -> u8 {
        let seen = u8::from(state.repos_of(project_id).any(|repo| self.level_on(state, repo) > 0))
            .max(u8::from(state.projects.get(&project_id).is_some_and(|project| project.public)));
        let granted = match self.only {
            None => state.project_level(project_id, self.user_id).min(self.project_cap),
            Some(TokenHolder::Project(id)) if id == project_id => self.project_cap,
            Some(_) => 0,
        };
        granted.max(seen)
    }

    /// Whether the credential is a person's own password, with which tokens can be made.
    pub(crate) fn has_password(&self) -> bool {
        self.token.is_none()
    }

    pub(crate) fn has_user(&self) -> bool {
        self.only.is_none()
    }
}

/// Name and password of a `Basic` header, or the token of a `Bearer` one.
enum Credential {
    Basic(String, String),
    Bearer(String),
}

fn credential(headers: &HeaderMap) -> Option<Credential> {
    let value = headers.get("authorization")?.to_str().ok()?;
    let (scheme, rest) = value.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(Credential::Bearer(rest.trim().to_owned()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = STANDARD.decode(rest.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let (name, password) = decoded
        .as_deref()
        .and_then(|text| text.split_once(':'))
        .map(|(name, password)| (name.to_owned(), password.to_owned()))
        .unwrap_or_default();
    Some(Credential::Basic(name, password))
}

/// Finds the caller of a REST request; `None` is the anonymous visitor.
pub(crate) fn caller(inner: &Inner, headers: &HeaderMap) -> Result<Option<Caller>, Failure> {
    match credential(headers) {
        None => Ok(None),
        Some(Credential::Bearer(secret)) => match by_secret(inner, &secret) {
            Some((caller, _)) => Ok(Some(caller)),
            None if inner.bad_tokens_are_anonymous => Ok(None),
            None => Err(Failure::bad_credentials("auth.AuthenticationException")),
        },
        Some(Credential::Basic(name, password)) => {
            let of_user = |state: &State, user: u64| {
                state.users.get(&user).is_some_and(|user| user.name.eq_ignore_ascii_case(&name))
            };
            // Only tokens of users can stand in for their password.
            let by_token = by_secret(inner, &password).filter(|(caller, holder)| {
                matches!(holder, TokenHolder::User(_)) && of_user(&inner.state(), caller.user_id)
            });
            by_password(inner, &name, &password, by_token.map(|(caller, _)| caller)).map(Some)
        }
    }
}

/// Finds the caller of a git request. A token is good with any user name.
pub(crate) fn git_caller(inner: &Inner, headers: &HeaderMap) -> Result<Option<Caller>, Failure> {
    match credential(headers) {
        Some(Credential::Basic(name, password)) => {
            let token = by_secret(inner, &password).map(|(caller, _)| caller);
            by_password(inner, &name, &password, token).map(Some)
        }
        _ => caller(inner, headers),
    }
}

fn by_secret(inner: &Inner, secret: &str) -> Option<(Caller, TokenHolder)> {
    let (today, now) = (inner.today(), inner.clock.now());
    let mut state = inner.state();
    let id = state.secrets.get(secret).copied()?;
    let token = state.tokens.get_mut(&id).filter(|token| token.active(&today))?;
    token.last_used_at = Some(now);
    let token = state.tokens.get(&id)?;
    let user = state.users.get(&token.user_id).filter(|user| user.active)?;
    Some((Caller::by_token(token, user), token.holder))
}

/// Signs in by name and password, or by the token that was found in place of the password.
fn by_password(
    inner: &Inner,
    name: &str,
    password: &str,
    by_token: Option<Caller>,
) -> Result<Caller, Failure> {
    let mut state = inner.state();
    let id = state.user_named(name).map(|user| user.id);
    let Some(user) = id.and_then(|id| state.users.get_mut(&id)) else {
        return by_token
            .ok_or_else(|| Failure::bad_credentials("auth.IncorrectPasswordAuthenticationException"));
    };
    if user.locked {
        return Err(captcha(inner));
    }
    if let Some(caller) = by_token {
        return Ok(caller);
    }
    if user.active && user.password.as_deref() == Some(password) {
        user.failures = 0;
        return Ok(Caller::by_password(user));
    }
    user.failures += 1;
    user.locked = inner.captcha_after.is_some_and(|most| user.failures >= most);
    Err(Failure::bad_credentials("auth.IncorrectPasswordAuthenticationException"))
}

/// Too many wrong passwords: only the web interface lets the user in again.
fn captcha(inner: &Inner) -> Failure {
    let login = format!("{}/login", inner.external_url());
    Failure::new(
        403,
        "auth.CaptchaRequiredAuthenticationException",
        format!(
            "CAPTCHA required. Your Bitbucket account has been marked as requiring a CAPTCHA. You must log in to \
             Bitbucket via the web interface at {login} to clear it."
        ),
    )
    .with_header("X-Authentication-Denied-Reason", format!("CAPTCHA_CHALLENGE; login-url={login}"))
}
