//! The check ladder for GitLab: what stands above the network.

use std::time::Instant;

use futures_util::StreamExt as _;
use http::Method;
use scm_core::{
    CheckOptions, CheckReport, Code, Connection as _, Error, ErrorKind, Identity, ListRepositories, Outcome,
    Page, Purpose, RepoId, Repositories as _, RepositoriesExt as _, Repository, Result, Role, Route, Rung,
    RungReport, ServerInfo, TokenInfo, TokenKind, Version,
};
use url::Url;

use crate::client::{GitLab, PROVIDER, api};
use crate::wire::WireVersion;

/// The oldest supported version.
const OLDEST: Version = Version::new(16, 8, 0);
/// How many repositories are looked at for roles.
const SAMPLE: usize = 100;
/// How many names a report lists before it says "and more".
const SHOWN: usize = 5;

pub(crate) async fn climb(gitlab: &GitLab, opts: &CheckOptions) -> CheckReport {
    let base = gitlab.pipeline.base().clone();
    let route = gitlab.pipeline.transport().route();
    let mut report = CheckReport::new(PROVIDER, &base, route);
    report.push(RungReport::passed(Rung::Address, format!("server root {base}")));
    if route != Route::Agent {
        report.push(RungReport::skipped(Rung::Route, "no agent on this route"));
    }
    for rung in gitlab.pipeline.transport().probe(&base).await {
        report.push(rung);
    }
    let mut climber = Climber { gitlab, opts, report, blocked_by: None };
    climber.note_failures();
    climber.product().await;
    let token = climber.credential().await;
    climber.scopes(token.as_ref());
    let repositories = climber.role().await;
    climber.repositories(repositories.as_deref()).await;
    climber.report
}

struct Climber<'a> {
    gitlab: &'a GitLab,
    opts: &'a CheckOptions,
    report: CheckReport,
    /// The first rung that failed: nothing above it is climbed.
    blocked_by: Option<Rung>,
}

impl Climber<'_> {
    fn note_failures(&mut self) {
        let failed = self.report.rungs.iter().find(|rung| rung.outcome == Outcome::Failed);
        self.blocked_by = self.blocked_by.or(failed.map(|rung| rung.rung));
    }

    fn push(&mut self, rung: RungReport, since: Instant) {
        self.report.push(rung.with_elapsed(since.elapsed()));
        self.note_failures();
    }

    /// Is the way to this rung open? Else it is reported as skipped.
    fn open(&mut self, rung: Rung) -> bool {
        match self.blocked_by {
            None => true,
            Some(below) => {
                self.report.push(RungReport::skipped(rung, format!("not tried: the rung '{below}' failed")));
                false
            }
        }
    }

    async fn product(&mut self) {
        if !self.open(Rung::Product) {
            return;
        }
        let since = Instant::now();
        let rung = match self.gitlab.server().await {
            Ok(server) => version_rung(&server),
            Err(error) => self.product_fault(&error).await,
        };
        self.push(rung, since);
    }

    /// What answers in place of GitLab's API?
    async fn product_fault(&self, error: &Error) -> RungReport {
        let seen = error.to_string();
        match error.kind() {
            // The API is there; it wants another credential, which the next rung looks at.
            ErrorKind::Unauthenticated | ErrorKind::PermissionDenied => RungReport::passed(
                Rung::Product,
                "GitLab's API answers; it tells its version to valid tokens only",
            ),
            ErrorKind::NotFound => match self.find_root().await {
                Some(root) => RungReport::passed(Rung::Product, &seen).with_failure(
                    Code::UrlNotRoot,
                    format!("no GitLab API at this address, but at {root}"),
                    format!("Set the server URL to {root}."),
                ),
                None => RungReport::failed(
                    Code::ProductNotFound,
                    seen,
                    "Nothing answers at /api/v4 under this URL. Give GitLab's root, with its context path (such as \
                     https://host/gitlab) where it has one, not the page of a project or group.",
                ),
            },
            ErrorKind::Decode => match self.looks_like_login().await {
                true => RungReport::failed(
                    Code::ProductLoginPage,
                    "a login page answers in place of the API",
                    "Something before GitLab (single sign-on, a VPN portal) asks for a login. Let /api/v4 pass without \
                     it, or give the address behind it.",
                ),
                false => RungReport::failed(
                    Code::ProductOther,
                    seen,
                    "Another service answers at this URL. Check host, port and context path.",
                ),
            },
            ErrorKind::Unavailable | ErrorKind::RateLimited | ErrorKind::Timeout => RungReport::failed(
                Code::ServerUnavailable,
                seen,
                "GitLab, or a gateway before it, is down, overloaded or being deployed. Try again in a few minutes; if it \
                 stays so, ask its administrator.",
            ),
            kind => self.transport_fault(kind, &seen, error),
        }
    }

    /// A fault of the network that came up only now.
    fn transport_fault(&self, kind: ErrorKind, seen: &str, error: &Error) -> RungReport {
        let known = Code::ALL.iter().find(|code| Some(code.as_str()) == error.server_code());
        let code = known.copied().unwrap_or(match kind {
            ErrorKind::Tls => Code::TlsHandshake,
            ErrorKind::Proxy => Code::ProxyBadGateway,
            ErrorKind::Relay => Code::RelayAgentOffline,
            ErrorKind::Connect => Code::TcpUnreachable,
            _ => Code::ProductOther,
        });
        RungReport::passed(Rung::Product, seen).with_failure(
            code,
            seen,
            "The connection failed in the middle of the check. Try again; if it stays so, look at what stands between.",
        )
    }

    /// The root under which the API does answer: one of the parents of the configured path.
    async fn find_root(&self) -> Option<Url> {
        let mut root = self.gitlab.pipeline.base().clone();
        while root.path() != "/" {
            root.path_segments_mut().ok()?.pop_if_empty().pop().push("");
            let found =
                self.gitlab.at(&root).ok()?.operation("check").send(api(Method::GET, &["version"])).await;
            let is_api = match found {
                Ok(answer) => answer.json::<WireVersion>().is_ok(),
                Err(error) => {
                    matches!(error.kind(), ErrorKind::Unauthenticated | ErrorKind::PermissionDenied)
                }
            };
            if is_api {
                return Some(root);
            }
        }
        None
    }

    async fn looks_like_login(&self) -> bool {
        let Ok(answer) = self.gitlab.operation("check").send(api(Method::GET, &["version"])).await else {
            return false;
        };
        let page = String::from_utf8_lossy(answer.bytes()).to_ascii_lowercase();
        ["type=\"password\"", "type='password'", "sign in", "sign_in", "log in", "login", "saml"]
            .iter()
            .any(|mark| page.contains(mark))
    }

    async fn credential(&mut self) -> Option<TokenInfo> {
        if !self.open(Rung::Credential) {
            return None;
        }
        let since = Instant::now();
        // An anonymous call fails here, while many others succeed on public projects.
        let (rung, token) = match self.gitlab.token().await {
            Ok(token) => (self.owner_rung(token.as_ref()).await, token),
            Err(error) => (credential_fault(&error), None),
        };
        self.push(rung, since);
        token
    }

    async fn owner_rung(&self, token: Option<&TokenInfo>) -> RungReport {
        let owner = match self.gitlab.identity().await {
            Ok(owner) => Some(owner),
            // Too small a scope to ask, yet a token that the server knows.
            Err(error) if error.kind() == ErrorKind::PermissionDenied && token.is_some() => None,
            Err(error) => return credential_fault(&error),
        };
        let mut rung = RungReport::passed(Rung::Credential, describe(token, owner.as_ref()));
        if owner.as_ref().is_some_and(|owner| owner.active == Some(false)) {
            return rung.with_failure(
                Code::AuthBlocked,
                "the token's user is blocked",
                "Ask an administrator to unblock the user, or use the token of another one.",
            );
        }
        let Some(token) = token else { return rung };
        if token.revoked == Some(true) {
            return rung.with_failure(Code::AuthRevoked, "the token was revoked", NEW_TOKEN);
        }
        let today = self.gitlab.pipeline.clock().now().date();
        if let Some(expires) = token.expires_at {
            let days = expires.days_since(today);
            if token.active == Some(false) || days < 0 {
                return rung.with_failure(
                    Code::AuthExpired,
                    format!("the token expired on {expires}"),
                    NEW_TOKEN,
                );
            }
            if days <= i32::from(self.opts.warn_days) {
                rung = rung.with_warning(
                    Code::AuthExpiresSoon,
                    format!("the token expires on {expires}, in {days} days"),
                    "Rotate the token before that day and give the new one here; its secret is shown only once.",
                );
            }
        }
        if token.kind == Some(TokenKind::Personal) {
            rung = rung.with_warning(
                Code::AuthPersonalToken,
                "the token belongs to a person",
                "It works, but stops when that person leaves or changes roles. Rather use a service account or a group \
                 access token.",
            );
        }
        rung
    }

    fn scopes(&mut self, token: Option<&TokenInfo>) {
        if !self.open(Rung::Scopes) {
            return;
        }
        let since = Instant::now();
        let rung = match token.and_then(|token| token.scopes.as_deref()) {
            None => RungReport::passed(Rung::Scopes, "the server does not tell the token's scopes")
                .with_warning(
                    Code::ScopeUnknown,
                    "the scopes of this kind of token cannot be read",
                    "Make sure that it has the scope api, which allows everything, git included.",
                ),
            Some(scopes) => scope_rung(scopes, self.opts.purpose),
        };
        self.push(rung, since);
    }

    fn needed_role(&self) -> Role {
        match self.opts.purpose {
            Purpose::Read => Role::Read,
            _ => Role::Write,
        }
    }

    /// Gives a sample of the token's repositories for the rung above.
    async fn role(&mut self) -> Option<Vec<Repository>> {
        if !self.open(Rung::Role) {
            return None;
        }
        let since = Instant::now();
        let opts = ListRepositories::default().with_page_size(SAMPLE as u16);
        let listed = self.gitlab.list_repositories_page(&opts, None).await.and_then(Page::into_items);
        let (rung, repositories) = match listed {
            Ok(repositories) if repositories.is_empty() => (
                RungReport::skipped(Rung::Role, "the token is a member of no repository"),
                Some(repositories),
            ),
            Ok(repositories) => {
                let needed = self.needed_role();
                let any = match repositories
                    .iter()
                    .any(|repository| repository.role.is_some_and(|role| role >= needed))
                {
                    true => Ok(true),
                    // The sample may miss the one that counts.
                    false => self.any_with(needed).await,
                };
                match any {
                    Ok(any) => (role_rung(&repositories, needed, any), Some(repositories)),
                    Err(error) => (unreadable(Rung::Role, Code::RoleInsufficient, &error), None),
                }
            }
            Err(error) => (unreadable(Rung::Role, Code::RoleInsufficient, &error), None),
        };
        self.push(rung, since);
        repositories
    }

    async fn any_with(&self, role: Role) -> Result<bool> {
        let opts = ListRepositories::default().with_min_role(role).with_page_size(1);
        let first = std::pin::pin!(self.gitlab.list_repositories(opts)).next().await;
        first.transpose().map(|first| first.is_some())
    }

    async fn repositories(&mut self, sample: Option<&[Repository]>) {
        if !self.open(Rung::Repositories) {
            return;
        }
        let since = Instant::now();
        let sample = sample.unwrap_or_default();
        let count =
            if sample.len() < SAMPLE { sample.len().to_string() } else { format!("at least {SAMPLE}") };
        let mut rung = RungReport::passed(Rung::Repositories, format!("{count} repositories"))
            .with_detail("count", &count);
        if sample.is_empty() {
            rung = rung.with_failure(
                Code::RepositoriesNone,
                "the token is a member of no repository",
                "Add the token's user to the projects or their group as Developer. A group access token must be made on \
                 the group: one made on a project sees only that project.",
            );
        }
        for name in &self.opts.repositories {
            rung = self.named(rung, name).await;
        }
        if let Some(repository) = sample.first() {
            rung = self.slash(rung, repository).await;
        }
        self.push(rung, since);
    }

    async fn named(&self, rung: RungReport, name: &RepoId) -> RungReport {
        let repository = match self.gitlab.repository(name).await {
            Ok(repository) => repository,
            Err(error) => {
                return rung.with_failure(
                    Code::RepositoryNotVisible,
                    format!("'{name}' cannot be seen ({})", error.message()),
                    format!(
                        "Check the path '{name}', and that the token's user is a member of that project or of its group; \
                         GitLab answers the same for both."
                    ),
                );
            }
        };
        if self.opts.purpose == Purpose::Read {
            return rung;
        }
        if repository.archived == Some(true) {
            return rung.with_failure(
                Code::RepositoryWriteDenied,
                format!("'{name}' is archived"),
                format!("Unarchive '{name}' in its settings, or leave it out: nobody can write to it."),
            );
        }
        match repository.role {
            Some(role) if role < Role::Write => rung.with_failure(
                Code::RepositoryWriteDenied,
                format!("the token's user may not write to '{name}'"),
                format!("Give the token's user at least the role Developer on '{name}' or on its group."),
            ),
            _ => rung,
        }
    }

    /// A reverse proxy that decodes `%2F` breaks every call with a path in it.
    async fn slash(&self, rung: RungReport, repository: &Repository) -> RungReport {
        match self.gitlab.repository(&repository.path).await {
            Err(error) if error.kind() == ErrorKind::NotFound => rung.with_warning(
                Code::ProductSlashDecoded,
                format!("'{}' is found by its number but not by its path", repository.path),
                "A reverse proxy before GitLab decodes %2F. On Apache set AllowEncodedSlashes NoDecode and ProxyPass … \
                 nocanon; on nginx pass the URI as it came.",
            ),
            _ => rung,
        }
    }
}

const NEW_TOKEN: &str = "Make a new token (group settings, Access tokens, or a service account's) with the scope api and at \
                         least the role Developer, and give it here; its secret is shown only once.";

fn version_rung(server: &ServerInfo) -> RungReport {
    let seen = format!("GitLab {}", server.version_text);
    let rung = RungReport::passed(Rung::Product, &seen).with_detail("version", &server.version_text);
    if server.version >= OLDEST {
        return rung;
    }
    rung.with_failure(
        Code::ServerTooOld,
        seen,
        format!("Version {OLDEST} or newer is needed. Upgrade the server."),
    )
}

fn credential_fault(error: &Error) -> RungReport {
    let text = error.message().to_ascii_lowercase();
    let (code, remedy) = if text.contains("expired") {
        (Code::AuthExpired, NEW_TOKEN)
    } else if text.contains("revoked") {
        (Code::AuthRevoked, NEW_TOKEN)
    } else if text.contains("blocked") || text.contains("deactivated") {
        (Code::AuthBlocked, "Ask an administrator to unblock the user, or use the token of another one.")
    } else if error.kind() == ErrorKind::Unauthenticated {
        (
            Code::AuthInvalid,
            "GitLab does not know this token. Check that it was copied whole and belongs to this server; else make a new \
             one with the scope api. Its secret is shown only once.",
        )
    } else {
        (
            Code::AuthInvalid,
            "GitLab refuses the token before it looks at its rights: an address restriction, terms of use that nobody \
             has accepted, or a ban after failed logins. Its answer says which.",
        )
    };
    RungReport::failed(code, error.to_string(), remedy)
}

fn describe(token: Option<&TokenInfo>, owner: Option<&Identity>) -> String {
    let mut text = match owner {
        Some(owner) => format!("token of {}", owner.username),
        None => "a valid token".to_owned(),
    };
    match token.map(|token| token.expires_at) {
        Some(Some(expires)) => text.push_str(&format!(", valid until {expires}")),
        Some(None) => text.push_str(", without expiry"),
        None => {}
    }
    text
}

fn scope_rung(scopes: &[String], purpose: Purpose) -> RungReport {
    let seen =
        if scopes.is_empty() { "no scopes".to_owned() } else { format!("scopes {}", scopes.join(", ")) };
    let has = |scope: &str| scopes.iter().any(|given| given == scope);
    let rung = RungReport::passed(Rung::Scopes, &seen).with_detail("scopes", scopes.join(" "));
    // `api` allows everything, git included.
    if has("api") {
        return rung;
    }
    match purpose {
        Purpose::Read if has("read_api") => rung,
        Purpose::Read => rung.with_failure(
            Code::ScopeMissing,
            format!("{seen}: none of them allows listing repositories"),
            "Make a token with the scope read_api (and read_repository for git), or api.",
        ),
        _ => rung.with_failure(
            Code::ScopeMissing,
            format!("{seen}: none of them allows making branches, commits and merge requests"),
            "Make a token with the scope api; write_repository alone allows git, but no merge request.",
        ),
    }
}

fn role_rung(repositories: &[Repository], needed: Role, any: bool) -> RungReport {
    let word = if needed == Role::Write { "Developer" } else { "Reporter" };
    let too_small: Vec<_> =
        repositories.iter().filter(|repository| repository.role.is_some_and(|role| role < needed)).collect();
    let enough = repositories.len() - too_small.len();
    let rung = RungReport::passed(
        Rung::Role,
        format!("at least {word} on {enough} of {} repositories looked at", repositories.len()),
    );
    if !any {
        return rung.with_failure(
            Code::RoleInsufficient,
            format!("the token's user is {word} nowhere"),
            format!("Give the token's user at least the role {word} on the projects or on their group."),
        );
    }
    if too_small.is_empty() {
        return rung;
    }
    let mut names: Vec<_> =
        too_small.iter().take(SHOWN).map(|repository| repository.path.to_string()).collect();
    if too_small.len() > SHOWN {
        names.push(format!("and {} more", too_small.len() - SHOWN));
    }
    rung.with_warning(
        Code::RolePartial,
        format!("less than {word} on {}", names.join(", ")),
        format!("Give the role {word} there too, or leave these repositories out."),
    )
}

/// A rung whose question the server refused to answer.
fn unreadable(rung: Rung, code: Code, error: &Error) -> RungReport {
    let report = RungReport::passed(rung, error.to_string());
    report.with_failure(
        code,
        error.to_string(),
        "The repositories of the token cannot be listed; see the rungs before.",
    )
}
