//! Cases for [`scm_core::Connection`].

use scm_core::{
    CheckOptions, CheckReport, Code, ErrorKind, Outcome, Purpose, RepoId, Role, Rung, Scm, TokenKind,
    Visibility,
};

use super::case::{Ctx, Result, Stop};
use super::fixture::{Access, RepoSpec, TokenSpec, Validity};
use super::support::{cases, ensure, ensure_eq, snapshot};

cases! {
    "connection";
    a_good_token_passes_every_rung [Connection::check];
    a_check_changes_nothing [Connection::check];
    an_unknown_token_is_named [Connection::check, Connection::identity, Connection::token];
    an_expired_token_is_named [Connection::check, Connection::identity] needs token_faults, else an_expired_token_is_invalid;
    a_revoked_token_is_named [Connection::check, Connection::identity] needs token_faults, else a_revoked_token_is_invalid;
    the_token_of_a_blocked_user_is_named [Connection::check]
        needs token_faults, else the_token_of_a_blocked_user_is_invalid;
    a_token_that_expires_soon_is_warned_of [Connection::check]
        needs token_info, else an_expiry_that_nobody_tells_is_not_warned_of;
    the_token_of_a_person_is_warned_of [Connection::check, Connection::token];
    a_missing_scope_is_named [Connection::check] needs token_info, else an_unknown_scope_is_warned_of;
    a_role_that_is_too_small_is_named [Connection::check];
    a_role_that_is_too_small_on_some_is_warned_of [Connection::check];
    a_member_of_nothing_is_named [Connection::check];
    a_repository_that_cannot_be_seen_is_named [Connection::check];
    a_repository_that_may_not_be_written_is_named [Connection::check];
    identity_names_the_user [Connection::identity];
    server_tells_product_and_version [Connection::server];
    token_tells_kind_scopes_and_expiry [Connection::token] needs token_info, else token_tells_neither_scopes_nor_expiry;
}

/// The report, after what holds for every report was looked at.
async fn report(ctx: &Ctx, scm: &dyn Scm, opts: &CheckOptions) -> Result<CheckReport> {
    let report = scm.connection().check(opts).await;
    ensure_eq!(report.provider, scm.provider(), "the provider of the report");
    let mut last = None;
    for rung in &report.rungs {
        ensure!(last < Some(rung.rung), "{}: rungs must come once, in climbing order", rung.rung);
        last = Some(rung.rung);
        let worst = rung.findings.iter().map(|finding| finding.outcome).max();
        match worst {
            Some(worst) => {
                ensure_eq!(rung.outcome, worst, "{}: outcome against the worst finding", rung.rung)
            }
            None => ensure!(
                matches!(rung.outcome, Outcome::Passed | Outcome::Skipped),
                "{}: {:?} without a finding",
                rung.rung,
                rung.outcome
            ),
        }
        ensure!(!rung.seen.is_empty(), "{}: it does not say what was seen", rung.rung);
        for finding in &rung.findings {
            let code = finding.code;
            ensure_eq!(code.rung(), rung.rung, "{code}: the rung of the code");
            ensure!(!finding.seen.is_empty() && !finding.remedy.is_empty(), "{code}: no words to act on");
        }
    }
    let json = serde_json::to_string(&report)?;
    ensure_eq!(serde_json::from_str::<CheckReport>(&json)?, report, "read back from JSON");
    ctx.no_secret("a check report", &format!("{json} {report} {report:?}"))?;
    Ok(report)
}

fn finds(report: &CheckReport, code: Code, outcome: Outcome) -> Result<()> {
    ensure!(
        report.findings().any(|finding| finding.code == code && finding.outcome == outcome),
        "expected {outcome:?} {code} in\n{report}"
    );
    ensure_eq!(report.is_ok(), outcome != Outcome::Failed, "is_ok of\n{report}");
    Ok(())
}

fn reading() -> CheckOptions {
    CheckOptions::default().with_purpose(Purpose::Read)
}

/// A bot's token that may do everything climbs the whole ladder without a finding, but for the scopes where the server
/// does not tell them.
pub async fn a_good_token_passes_every_rung(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let scm = ctx.scm_as(TokenSpec::new().of_kind(TokenKind::Project).granting(&repo, Role::Write)).await?;
    let expected: &[Code] = if ctx.capabilities.token_info { &[] } else { &[Code::ScopeUnknown] };
    for named in [repo.id.clone(), repo.path.clone()] {
        let report = report(ctx, scm.as_ref(), &CheckOptions::default().with_repositories([named])).await?;
        let found: Vec<_> = report.findings().map(|finding| finding.code).collect();
        ensure!(report.is_ok() && found == expected, "findings for a good token:\n{report}");
        for wanted in [Rung::Address, Rung::Product, Rung::Credential, Rung::Role, Rung::Repositories] {
            let passed =
                report.rungs.iter().any(|rung| rung.rung == wanted && rung.outcome == Outcome::Passed);
            ensure!(passed, "the rung {wanted} is missing or has not passed:\n{report}");
        }
    }
    Ok(())
}

/// A check only looks.
pub async fn a_check_changes_nothing(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let before = snapshot(ctx.scm.as_ref(), &repo).await?;
    report(ctx, ctx.scm.as_ref(), &CheckOptions::default().with_repositories([repo.id.clone()])).await?;
    ensure_eq!(snapshot(ctx.scm.as_ref(), &repo).await?, before, "the repository after a check");
    Ok(())
}

/// A secret that was never issued: `auth.invalid`, and `Unauthenticated` from every other call.
pub async fn an_unknown_token_is_named(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository_with(RepoSpec::new().with_visibility(Visibility::Public)).await?;
    let scm = ctx.scm_as(TokenSpec::new().with_validity(Validity::Unknown)).await?;
    finds(&report(ctx, scm.as_ref(), &reading()).await?, Code::AuthInvalid, Outcome::Failed)?;
    ctx.refused(scm.connection().identity().await, &[ErrorKind::Unauthenticated])?;
    ctx.refused(scm.connection().token().await, &[ErrorKind::Unauthenticated])?;
    // A bad token must not quietly fall back to what anyone may see.
    ctx.refused(scm.repositories().repository(&repo.id).await, &[ErrorKind::Unauthenticated])?;
    Ok(())
}

/// `auth.expired`.
pub async fn an_expired_token_is_named(ctx: &Ctx) -> Result<()> {
    dead_token(ctx, Validity::Expired, Code::AuthExpired).await
}

/// `auth.revoked`.
pub async fn a_revoked_token_is_named(ctx: &Ctx) -> Result<()> {
    dead_token(ctx, Validity::Revoked, Code::AuthRevoked).await
}

/// Where the server does not say why: `auth.invalid`.
pub async fn an_expired_token_is_invalid(ctx: &Ctx) -> Result<()> {
    dead_token(ctx, Validity::Expired, Code::AuthInvalid).await
}

/// Where the server does not say why: `auth.invalid`.
pub async fn a_revoked_token_is_invalid(ctx: &Ctx) -> Result<()> {
    dead_token(ctx, Validity::Revoked, Code::AuthInvalid).await
}

async fn dead_token(ctx: &Ctx, validity: Validity, code: Code) -> Result<()> {
    let repo = ctx.repository().await?;
    let scm = ctx.scm_as(TokenSpec::new().granting(&repo, Role::Write).with_validity(validity)).await?;
    let report = report(ctx, scm.as_ref(), &reading()).await?;
    finds(&report, code, Outcome::Failed)?;
    let later = report.rungs.iter().filter(|rung| rung.rung > Rung::Credential);
    for rung in later {
        ensure_eq!(rung.outcome, Outcome::Skipped, "the rung {} after a dead token", rung.rung);
    }
    ctx.refused(scm.connection().identity().await, &[ErrorKind::Unauthenticated])?;
    Ok(())
}

/// `auth.blocked`.
pub async fn the_token_of_a_blocked_user_is_named(ctx: &Ctx) -> Result<()> {
    let scm = ctx.scm_as(TokenSpec::new().with_validity(Validity::Blocked)).await?;
    finds(&report(ctx, scm.as_ref(), &reading()).await?, Code::AuthBlocked, Outcome::Failed)
}

/// Where the server does not say why: `auth.invalid`.
pub async fn the_token_of_a_blocked_user_is_invalid(ctx: &Ctx) -> Result<()> {
    dead_token(ctx, Validity::Blocked, Code::AuthInvalid).await
}

/// `auth.expires_soon`, when the days of warning reach that far.
pub async fn a_token_that_expires_soon_is_warned_of(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let token = TokenSpec::new().granting(&repo, Role::Write).with_validity(Validity::Days(10));
    let scm = ctx.scm_as(token).await?;
    let warned = report(ctx, scm.as_ref(), &CheckOptions::default().with_warn_days(14)).await?;
    finds(&warned, Code::AuthExpiresSoon, Outcome::Warning)?;
    let quiet = report(ctx, scm.as_ref(), &CheckOptions::default().with_warn_days(5)).await?;
    ensure!(!quiet.has(Code::AuthExpiresSoon), "warned of ten days where five were asked for:\n{quiet}");
    Ok(())
}

/// Where the server does not tell when a token expires, nothing is said of it.
pub async fn an_expiry_that_nobody_tells_is_not_warned_of(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let token = TokenSpec::new().granting(&repo, Role::Write).with_validity(Validity::Days(10));
    let report = report(ctx, ctx.scm_as(token).await?.as_ref(), &CheckOptions::default()).await?;
    ensure!(report.is_ok() && !report.has(Code::AuthExpiresSoon), "nobody knows when it expires:\n{report}");
    Ok(())
}

/// `auth.personal_token`, where the server tells a person from a bot.
pub async fn the_token_of_a_person_is_warned_of(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let scm = ctx.scm_as(TokenSpec::new().of_kind(TokenKind::Personal).granting(&repo, Role::Write)).await?;
    let kind = scm.connection().token().await?.and_then(|token| token.kind);
    let report = report(ctx, scm.as_ref(), &CheckOptions::default()).await?;
    match kind {
        Some(TokenKind::Personal) => finds(&report, Code::AuthPersonalToken, Outcome::Warning),
        None => {
            ensure!(report.is_ok(), "{report}");
            Ok(())
        }
        Some(other) => Err(Stop::failed(format!("a person's token is taken for {other}"))),
    }
}

/// `scope.missing` for writing with a token that may only read; reading passes.
pub async fn a_missing_scope_is_named(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let scm = ctx.scm_as(TokenSpec::new().with_access(Access::Read).granting(&repo, Role::Write)).await?;
    let writing = report(ctx, scm.as_ref(), &CheckOptions::default()).await?;
    finds(&writing, Code::ScopeMissing, Outcome::Failed)?;
    let reading = report(ctx, scm.as_ref(), &reading()).await?;
    ensure!(
        reading.is_ok() && !reading.has(Code::ScopeMissing),
        "reading needs no more than this:\n{reading}"
    );
    ctx.refused(
        scm.branches().create_branch(&repo.id, &"no".parse()?, &repo.default_branch.clone().into()).await,
        &[ErrorKind::PermissionDenied],
    )?;
    Ok(())
}

/// `scope.unknown`, where the server does not tell.
pub async fn an_unknown_scope_is_warned_of(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let scm = ctx.scm_as(TokenSpec::new().granting(&repo, Role::Write)).await?;
    finds(&report(ctx, scm.as_ref(), &CheckOptions::default()).await?, Code::ScopeUnknown, Outcome::Warning)
}

/// `role.insufficient` where the user may write nowhere; for reading that is enough.
pub async fn a_role_that_is_too_small_is_named(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let scm = ctx.scm_as(TokenSpec::new().granting(&repo, Role::Read)).await?;
    let writing = report(ctx, scm.as_ref(), &CheckOptions::default()).await?;
    finds(&writing, Code::RoleInsufficient, Outcome::Failed)?;
    let reading = report(ctx, scm.as_ref(), &reading()).await?;
    ensure!(reading.is_ok(), "reading needs no more than this:\n{reading}");
    Ok(())
}

/// `role.partial` where the user may write one repository and only read another.
pub async fn a_role_that_is_too_small_on_some_is_warned_of(ctx: &Ctx) -> Result<()> {
    let (writable, readable) = (ctx.repository().await?, ctx.repository().await?);
    let token = TokenSpec::new().granting(&writable, Role::Write).granting(&readable, Role::Read);
    let report = report(ctx, ctx.scm_as(token).await?.as_ref(), &CheckOptions::default()).await?;
    finds(&report, Code::RolePartial, Outcome::Warning)?;
    let text = report.to_string();
    ensure!(text.contains(readable.path.as_str()), "it must say which repository has less:\n{text}");
    Ok(())
}

/// `repositories.none` for a user who is a member of nothing.
pub async fn a_member_of_nothing_is_named(ctx: &Ctx) -> Result<()> {
    // Seen by everyone, and still no membership.
    ctx.repository_with(RepoSpec::new().with_visibility(Visibility::Public)).await?;
    let scm = ctx.scm_as(TokenSpec::new()).await?;
    finds(&report(ctx, scm.as_ref(), &reading()).await?, Code::RepositoriesNone, Outcome::Failed)
}

/// `repository.not_visible` for a named repository that is not there, or that the token may not see.
pub async fn a_repository_that_cannot_be_seen_is_named(ctx: &Ctx) -> Result<()> {
    let mine = ctx.repository().await?;
    let foreign = ctx.repository_with(RepoSpec::new().with_role(Role::None)).await?;
    let scm = ctx.scm_as(TokenSpec::new().granting(&mine, Role::Write)).await?;
    let missing = RepoId::new(format!("{}-is-not-there", mine.path))?;
    for named in [foreign.path, missing] {
        let opts = CheckOptions::default().with_repositories([mine.id.clone(), named.clone()]);
        let report = report(ctx, scm.as_ref(), &opts).await?;
        finds(&report, Code::RepositoryNotVisible, Outcome::Failed)?;
        let text = report.to_string();
        ensure!(text.contains(named.as_str()), "it must say which repository:\n{text}");
    }
    Ok(())
}

/// `repository.write_denied` for a named repository that may only be read.
pub async fn a_repository_that_may_not_be_written_is_named(ctx: &Ctx) -> Result<()> {
    let (writable, readable) = (ctx.repository().await?, ctx.repository().await?);
    let token = TokenSpec::new().granting(&writable, Role::Write).granting(&readable, Role::Read);
    let scm = ctx.scm_as(token).await?;
    let named = [writable.id.clone(), readable.id.clone()];
    let opts = CheckOptions::default().with_repositories(named.clone());
    finds(&report(ctx, scm.as_ref(), &opts).await?, Code::RepositoryWriteDenied, Outcome::Failed)?;
    let reading = report(ctx, scm.as_ref(), &reading().with_repositories(named)).await?;
    ensure!(!reading.has(Code::RepositoryWriteDenied), "nobody wants to write:\n{reading}");
    Ok(())
}

/// The same user each time, and another one for another token.
pub async fn identity_names_the_user(ctx: &Ctx) -> Result<()> {
    let me = ctx.scm.connection().identity().await?;
    ensure_eq!(ctx.scm.connection().identity().await?, me, "the identity asked again");
    ensure!(me.active != Some(false), "the token's user is not active: {me:?}");
    let other = ctx.scm_as(TokenSpec::new()).await?.connection().identity().await?;
    ensure!(other.username != me.username, "two tokens of two users give one identity, {}", me.username);
    Ok(())
}

/// Product, and a version that reads back from its text.
pub async fn server_tells_product_and_version(ctx: &Ctx) -> Result<()> {
    let server = ctx.scm.connection().server().await?;
    ensure_eq!(server.product.as_str(), ctx.scm.provider(), "the product against the provider's name");
    ensure_eq!(
        server.version_text.parse::<scm_core::Version>()?,
        server.version,
        "the version from its text"
    );
    Ok(())
}

/// Kind, scopes and expiry as the token was made.
pub async fn token_tells_kind_scopes_and_expiry(ctx: &Ctx) -> Result<()> {
    let token = |access| TokenSpec::new().with_access(access).with_validity(Validity::Days(30));
    let full = ctx.scm_as(token(Access::Full)).await?.connection().token().await?;
    let read = ctx.scm_as(token(Access::Read)).await?.connection().token().await?;
    let (Some(full), Some(read)) = (full, read) else {
        return Err(Stop::failed("token_info is on, and nothing is told of a token"));
    };
    for token in [&full, &read] {
        ensure!(token.active != Some(false) && token.revoked != Some(true), "a good token: {token:?}");
        ensure!(matches!(token.kind, None | Some(TokenKind::Group)), "a group's token: {token:?}");
        ensure!(token.expires_at.is_some(), "it expires in 30 days: {token:?}");
        ctx.no_secret("token information", &format!("{token:?}"))?;
    }
    ensure!(full.scopes.as_ref().is_some_and(|scopes| !scopes.is_empty()), "no scopes are told: {full:?}");
    ensure!(full.scopes != read.scopes, "tokens of different scopes look the same: {:?}", full.scopes);
    Ok(())
}

/// Where the server tells neither scopes nor expiry, neither is claimed, and there is no error.
pub async fn token_tells_neither_scopes_nor_expiry(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let token = TokenSpec::new().granting(&repo, Role::Write).with_validity(Validity::Days(30));
    let told = ctx.scm_as(token).await?.connection().token().await?;
    let told = told.map(|token| (token.scopes, token.expires_at));
    ensure!(matches!(told, None | Some((None, None))), "token_info is off, and yet: {told:?}");
    Ok(())
}
