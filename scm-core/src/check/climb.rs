//! The climb: what is the same on the ladder of every product.

mod product;

use std::time::Instant;

use super::code::{Code, Outcome, Rung};
use super::ladder::{Ladder, RoleWords, Words, first};
use super::report::{CheckOptions, CheckReport, Purpose, RungReport};
use crate::error::{Error, ErrorKind};
use crate::id::{NamespaceId, RepoId};
use crate::model::{Identity, Repository, Role, TokenInfo, TokenKind};
use crate::ops::ListRepositories;
use crate::pipeline::PAGE;
use crate::time::Timestamp;
use crate::transport::Route;

/// How many repositories are looked at for roles: one page.
const SAMPLE: u16 = 100;
/// How many names a report lists before it says "and more".
const SHOWN: usize = 5;

const BLOCKED: &str = "Ask an administrator to unblock the user, or use the token of another one.";

/// Climbs the ladder. For providers; users call `Connection::check`.
pub async fn climb(ladder: &dyn Ladder, opts: &CheckOptions) -> CheckReport {
    let base = ladder.pipeline().base();
    let transport = ladder.pipeline().transport();
    let mut report = CheckReport::new(ladder.scm().provider(), base, transport.route());
    report.push(RungReport::passed(Rung::Address, format!("server root {base}")));
    if transport.route() != Route::Agent {
        report.push(RungReport::skipped(Rung::Route, "no agent on this route"));
    }
    let mut climber = Climber { ladder, words: ladder.words(), opts, relayed: false };
    for rung in transport.probe(base).await {
        climber.relayed |=
            rung.rung == Rung::Proxy && rung.outcome == Outcome::Passed && base.scheme() == "http";
        report.push(climber.certificate(rung));
    }
    rung(&mut report, Rung::Product, climber.product()).await;
    let token = rung(&mut report, Rung::Credential, climber.credential()).await.flatten();
    rung(&mut report, Rung::Scopes, climber.scopes(token.as_ref())).await;
    let sample = rung(&mut report, Rung::Role, climber.role()).await.unwrap_or(Sample::Unread);
    rung(&mut report, Rung::Repositories, climber.repositories(sample)).await;
    report
}

/// Climbs one rung, unless one below it failed.
async fn rung<T>(
    report: &mut CheckReport,
    rung: Rung,
    work: impl Future<Output = (RungReport, T)> + Send,
) -> Option<T> {
    let failed = report.rungs.iter().find(|rung| rung.outcome == Outcome::Failed);
    if let Some(below) = failed.map(|rung| rung.rung) {
        report.push(RungReport::skipped(rung, format!("not tried: the rung '{below}' failed")));
        return None;
    }
    let since = Instant::now();
    let (climbed, found) = work.await;
    report.push(climbed.with_elapsed(since.elapsed()));
    Some(found)
}

/// What the listing gave to look at.
enum Sample {
    Repositories(Vec<Repository>),
    /// There is no such namespace, or it cannot be seen.
    NoNamespace(NamespaceId, Error),
    /// There was no listing, as the rungs below say.
    Unread,
}

#[derive(Clone, Copy)]
struct Climber<'a> {
    ladder: &'a dyn Ladder,
    words: &'static Words,
    opts: &'a CheckOptions,
    /// A proxy relays requests and answers, so that an answer may be its own.
    relayed: bool,
}

impl Climber<'_> {
    /// Is there enough left of the certificate that a network rung has seen?
    fn certificate(self, rung: RungReport) -> RungReport {
        let ends = rung.details.get("certificate_not_after").and_then(|at| at.parse::<Timestamp>().ok());
        let Some(ends) = ends.filter(|_| rung.outcome != Outcome::Failed).map(Timestamp::date) else {
            return rung;
        };
        let days = ends.days_since(self.ladder.pipeline().clock().now().date());
        if days > i32::from(self.opts.warn_days) {
            return rung;
        }
        rung.with_warning(
            Code::TlsExpiresSoon,
            format!("the server's certificate expires on {ends}, in {days} days"),
            "Renew the server's certificate before that day: from then on every connection fails.",
        )
    }

    async fn credential(self) -> (RungReport, Option<TokenInfo>) {
        // An anonymous call fails here, while many others succeed on what is public.
        match self.ladder.scm().connection().token().await {
            Ok(token) => (self.owner(token.as_ref()).await, token),
            Err(error) => (self.refused(&error), None),
        }
    }

    /// The server has looked at the token, or nobody has.
    fn refused(self, error: &Error) -> RungReport {
        let (code, remedy) = match error.kind() {
            // A product's own refusal is no web page.
            ErrorKind::PermissionDenied if error.message().starts_with(PAGE) => self.between(error),
            ErrorKind::Unauthenticated | ErrorKind::PermissionDenied => self.ladder.refusal(error),
            _ => self.between(error),
        };
        let seen = error.to_string();
        RungReport::passed(Rung::Credential, &seen).with_failure(code, seen, remedy)
    }

    async fn owner(self, token: Option<&TokenInfo>) -> RungReport {
        let owner = match self.ladder.scm().connection().identity().await {
            Ok(owner) => Some(owner),
            // Too small a scope to ask, yet a token that the server knows.
            Err(error) if error.kind() == ErrorKind::PermissionDenied && token.is_some() => None,
            Err(error) => return self.refused(&error),
        };
        let mut rung = RungReport::passed(Rung::Credential, describe(token, owner.as_ref()));
        if let Some(owner) = &owner {
            if owner.active == Some(false) {
                return rung.with_failure(Code::AuthBlocked, "the token's user is blocked", BLOCKED);
            }
            rung = self.ladder.owner(rung, owner, token);
        }
        match token {
            Some(token) => self.life(rung, token),
            None => rung,
        }
    }

    /// How long the token lives, and whose it is.
    fn life(self, mut rung: RungReport, token: &TokenInfo) -> RungReport {
        let Words { new_token, personal, rather, .. } = *self.words;
        if token.revoked == Some(true) {
            return rung.with_failure(Code::AuthRevoked, "the token was revoked", new_token);
        }
        if let Some(expires) = token.expires_at {
            let days = expires.days_since(self.ladder.pipeline().clock().now().date());
            if token.active == Some(false) || days < 0 {
                let seen = format!("the token expired on {expires}");
                return rung.with_failure(Code::AuthExpired, seen, new_token);
            }
            if days <= i32::from(self.opts.warn_days) {
                rung = rung.with_warning(
                    Code::AuthExpiresSoon,
                    format!("the token expires on {expires}, in {days} days"),
                    "Rotate the token before that day and put the new one into `token`; its secret is shown only once.",
                );
            }
        }
        if token.kind == Some(TokenKind::Personal) {
            rung = rung.with_warning(Code::AuthPersonalToken, personal, rather);
        }
        rung
    }

    async fn scopes(self, token: Option<&TokenInfo>) -> (RungReport, ()) {
        let Some(scopes) = token.and_then(|token| token.scopes.as_deref()) else {
            let rung = RungReport::passed(Rung::Scopes, "the server does not tell the token's scopes")
                .with_warning(
                    Code::ScopeUnknown,
                    "the scopes of this kind of token cannot be read",
                    self.words.unknown_scope,
                );
            return (rung, ());
        };
        let seen = match scopes {
            [] => "no scopes".to_owned(),
            scopes => format!("scopes {}", scopes.join(", ")),
        };
        let rung = RungReport::passed(Rung::Scopes, &seen).with_detail("scopes", scopes.join(" "));
        let rung = match self.ladder.missing_scope(scopes, self.opts.purpose) {
            None => rung,
            Some((missing, remedy)) => rung.with_failure(
                Code::ScopeMissing,
                format!("{seen}: none of them allows {missing}"),
                remedy,
            ),
        };
        (rung, ())
    }

    fn needed(self) -> (Role, RoleWords) {
        match self.opts.purpose {
            Purpose::Read => (Role::Read, self.words.reading),
            Purpose::Write => (Role::Write, self.words.writing),
        }
    }

    /// Gives a sample of the token's repositories for the rung above.
    async fn role(self) -> (RungReport, Sample) {
        let (needed, words) = self.needed();
        let repositories = match self.ladder.sample(needed, SAMPLE).await {
            Ok(repositories) => repositories,
            Err(error) => {
                return match self.ladder.namespace() {
                    Some(namespace)
                        if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) =>
                    {
                        let why = format!("'{namespace}' cannot be seen");
                        let sample = Sample::NoNamespace(namespace.clone(), error);
                        (RungReport::skipped(Rung::Role, why), sample)
                    }
                    _ => (self.unread(&error), Sample::Unread),
                };
            }
        };
        if repositories.is_empty() {
            let rung = RungReport::skipped(Rung::Role, "the token is a member of no repository");
            return (rung, Sample::Repositories(repositories));
        }
        let enough = |repository: &Repository| repository.role.is_some_and(|role| role >= needed);
        let any = match repositories.iter().any(enough) {
            true => Ok(true),
            // The sample may miss the one that counts.
            false => first(self.ladder.scm(), ListRepositories::default().with_min_role(needed), 1)
                .await
                .map(|found| !found.is_empty()),
        };
        match any {
            Ok(any) => (role_rung(&repositories, needed, words, any), Sample::Repositories(repositories)),
            Err(error) => (self.unread(&error), Sample::Unread),
        }
    }

    /// The repositories cannot be listed.
    fn unread(self, error: &Error) -> RungReport {
        let (code, remedy) = match error.kind() {
            ErrorKind::Unauthenticated | ErrorKind::PermissionDenied | ErrorKind::NotFound => (
                Code::RoleInsufficient,
                "The repositories of the token cannot be listed; see the rungs before.".to_owned(),
            ),
            _ => self.between(error),
        };
        RungReport::passed(Rung::Role, error.to_string()).with_failure(code, error.to_string(), remedy)
    }

    async fn repositories(self, sample: Sample) -> (RungReport, ()) {
        let Words { no_repository, no_namespace, .. } = *self.words;
        let repositories = match &sample {
            Sample::Repositories(repositories) => repositories.as_slice(),
            Sample::NoNamespace(..) | Sample::Unread => &[],
        };
        let (count, size) = (repositories.len(), usize::from(SAMPLE));
        let count = if count < size { count.to_string() } else { format!("at least {size}") };
        let mut rung = RungReport::passed(Rung::Repositories, format!("{count} repositories"))
            .with_detail("count", &count);
        match &sample {
            Sample::NoNamespace(namespace, error) => {
                let seen = format!("'{namespace}' cannot be seen ({})", error.message());
                rung = rung.with_failure(Code::NamespaceNotFound, seen, no_namespace);
            }
            _ if repositories.is_empty() => {
                let seen = match self.ladder.namespace() {
                    Some(namespace) => format!("the token is a member of no repository in '{namespace}'"),
                    None => "the token is a member of no repository".to_owned(),
                };
                rung = rung.with_failure(Code::RepositoriesNone, seen, no_repository);
            }
            _ => {}
        }
        for name in &self.opts.repositories {
            rung = self.named(rung, name).await;
        }
        if let Some(first) = repositories.first() {
            rung = self.ladder.repositories(rung, first).await;
        }
        (rung, ())
    }

    async fn named(self, rung: RungReport, name: &RepoId) -> RungReport {
        let found = self.ladder.scm().repositories().repository(name).await;
        let path = found.as_ref().map_or(name, |repository| &repository.path);
        if let Some(namespace) = self.ladder.namespace().filter(|namespace| is_outside(path, namespace)) {
            return rung.with_failure(
                Code::RepositoryOutsideNamespace,
                format!("'{path}' is not in '{namespace}', to which the connection is limited"),
                format!("Leave '{path}' out, or make a connection of its own for where it is."),
            );
        }
        let repository = match found {
            Ok(repository) => repository,
            Err(error) => {
                let (code, remedy) = match error.kind() {
                    ErrorKind::NotFound | ErrorKind::PermissionDenied | ErrorKind::InvalidInput => (
                        Code::RepositoryNotVisible,
                        format!("Check the path '{name}', {}", self.words.not_visible),
                    ),
                    _ => self.between(&error),
                };
                let seen = format!("'{name}' cannot be seen ({})", error.message());
                return rung.with_failure(code, seen, remedy);
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
        let seen = match self.ladder.role_in(&repository).await {
            Ok(Some(role)) if role < Role::Write => format!("the token's user may not write to '{name}'"),
            Ok(_) => return rung,
            Err(error) => {
                let seen = format!("it cannot be told who may write to '{name}' ({})", error.message());
                match error.kind() {
                    ErrorKind::Unauthenticated | ErrorKind::PermissionDenied | ErrorKind::NotFound => seen,
                    // Says nothing about rights.
                    _ => {
                        let (code, remedy) = self.between(&error);
                        return rung.with_failure(code, seen, remedy);
                    }
                }
            }
        };
        let Words { writing, role_place, .. } = self.words;
        let remedy = format!("Give the token's user at least {} on '{name}' {role_place}.", writing.term);
        rung.with_failure(Code::RepositoryWriteDenied, seen, remedy)
    }
}

fn describe(token: Option<&TokenInfo>, owner: Option<&Identity>) -> String {
    let mut text = match owner {
        Some(owner) => format!("token of {}", owner.username),
        None => "a valid token".to_owned(),
    };
    match token {
        Some(TokenInfo { expires_at: Some(expires), .. }) => {
            text.push_str(&format!(", valid until {expires}"));
        }
        // Where the server tells scopes, it tells the expiry too.
        Some(TokenInfo { scopes: Some(_), .. }) => text.push_str(", without expiry"),
        _ => {}
    }
    text
}

fn role_rung(repositories: &[Repository], needed: Role, words: RoleWords, any: bool) -> RungReport {
    let RoleWords { name, term, holds, grant } = words;
    let too_small: Vec<_> =
        repositories.iter().filter(|repository| repository.role.is_some_and(|role| role < needed)).collect();
    let enough = repositories.len() - too_small.len();
    let rung = RungReport::passed(
        Rung::Role,
        format!("at least {name} on {enough} of {} repositories looked at", repositories.len()),
    );
    if !any {
        let seen = format!("the token's user {holds} nowhere");
        return rung.with_failure(Code::RoleInsufficient, seen, grant);
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
        format!("less than {name} on {}", names.join(", ")),
        format!("Give {term} there too, or leave these repositories out."),
    )
}

/// Does the path lead elsewhere than below the namespace? A name without a slash does not say.
fn is_outside(path: &RepoId, namespace: &NamespaceId) -> bool {
    let (path, namespace) = (path.as_str().to_lowercase(), namespace.as_str().to_lowercase());
    path.contains('/') && !path.strip_prefix(&namespace).is_some_and(|rest| rest.starts_with('/'))
}
