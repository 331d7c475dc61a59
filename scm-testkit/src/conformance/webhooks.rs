//! Cases for [`scm_core::Webhooks`].

use scm_core::{ErrorKind, NewWebhook, Role, WebhookEvent, WebhookId, WebhooksExt as _};
use url::Url;

use super::case::{Ctx, Result};
use super::fixture::{Repo, RepoSpec};
use super::support::{cases, ensure, ensure_eq, everything, foreign_cursor};

cases! {
    "webhooks";
    create_makes_one [Webhooks::create_webhook, Webhooks::list_webhooks_page, WebhooksExt::list_webhooks]
        needs webhooks, else webhooks_are_refused;
    update_replaces_it [Webhooks::update_webhook] needs webhooks, else webhooks_are_refused;
    delete_takes_it_away [Webhooks::delete_webhook] needs webhooks, else webhooks_are_refused;
    a_test_is_delivered [Webhooks::test_webhook] needs webhooks, else webhooks_are_refused;
    who_may_not_is_denied [Webhooks::create_webhook, Webhooks::list_webhooks_page]
        needs webhooks, else webhooks_are_refused;
    what_is_missing_is_not_found [Webhooks::update_webhook, Webhooks::delete_webhook, Webhooks::test_webhook]
        needs webhooks, else webhooks_are_refused;
    the_secret_is_never_shown [Webhooks::create_webhook, Webhooks::list_webhooks_page]
        needs webhooks, else webhooks_are_refused;
}

fn url(path: &str) -> Result<Url> {
    Ok(Url::parse("https://hooks.example.com/")?.join(path)?)
}

async fn maintained(ctx: &Ctx) -> Result<Repo> {
    ctx.repository_with(RepoSpec::new().with_role(Role::Maintain)).await
}

/// With the events that were asked for and no others.
pub async fn create_makes_one(ctx: &Ctx) -> Result<()> {
    let (repo, hooks) = (maintained(ctx).await?, ctx.scm.webhooks()?);
    ensure_eq!(everything(hooks.list_webhooks(&repo.id)).await?, [], "webhooks before any");
    let wanted = [WebhookEvent::PullRequest, WebhookEvent::Comment];
    let new = NewWebhook::new(url("one?a=1&b=2")?, wanted.clone());
    let made = hooks.create_webhook(&repo.id, &new).await?;
    let listed = everything(hooks.list_webhooks(&repo.id)).await?;
    ensure_eq!(listed.len(), 1, "webhooks");
    for hook in [&made, &listed[0]] {
        ensure_eq!((&hook.id, &hook.url), (&made.id, &new.url), "id and URL");
        let mut events: Vec<_> = hook.events.iter().map(WebhookEvent::as_str).collect();
        events.sort_unstable();
        ensure_eq!(events, ["comment", "pull_request"], "events");
        ensure!(hook.verify_tls != Some(false), "certificates are not checked");
    }
    ctx.refused(
        hooks.list_webhooks_page(&repo.id, Some(&foreign_cursor())).await,
        &[ErrorKind::InvalidInput],
    )?;
    Ok(())
}

/// The whole new form, in place.
pub async fn update_replaces_it(ctx: &Ctx) -> Result<()> {
    let (repo, hooks) = (maintained(ctx).await?, ctx.scm.webhooks()?);
    let made = hooks.create_webhook(&repo.id, &NewWebhook::new(url("one")?, [WebhookEvent::Push])).await?;
    let new = NewWebhook::new(url("two")?, [WebhookEvent::Tag, WebhookEvent::Check]);
    for round in ["first", "second"] {
        let seen = hooks.update_webhook(&repo.id, &made.id, &new).await?;
        ensure_eq!((&seen.id, &seen.url), (&made.id, &new.url), "the {round} time");
    }
    let listed = everything(hooks.list_webhooks(&repo.id)).await?;
    ensure_eq!(listed.len(), 1, "webhooks");
    ensure!(!listed[0].events.contains(&WebhookEvent::Push), "an event that is gone: {:?}", listed[0].events);
    Ok(())
}

/// Gone, and `NotFound` when it is asked again.
pub async fn delete_takes_it_away(ctx: &Ctx) -> Result<()> {
    let (repo, hooks) = (maintained(ctx).await?, ctx.scm.webhooks()?);
    let made = hooks.create_webhook(&repo.id, &NewWebhook::new(url("one")?, [WebhookEvent::Push])).await?;
    hooks.delete_webhook(&repo.id, &made.id).await?;
    ensure_eq!(everything(hooks.list_webhooks(&repo.id)).await?, [], "webhooks");
    ctx.refused(hooks.delete_webhook(&repo.id, &made.id).await, &[ErrorKind::NotFound])?;
    Ok(())
}

/// Whatever comes of it is told, not an error of ours.
pub async fn a_test_is_delivered(ctx: &Ctx) -> Result<()> {
    let (repo, hooks) = (maintained(ctx).await?, ctx.scm.webhooks()?);
    let made = hooks.create_webhook(&repo.id, &NewWebhook::new(url("one")?, [WebhookEvent::Push])).await?;
    let delivery = hooks.test_webhook(&repo.id, &made.id, &WebhookEvent::Push).await?;
    ensure!(delivery.delivered || delivery.status.is_none_or(|status| status >= 300), "{delivery:?}");
    Ok(())
}

/// `PermissionDenied` for who may push and no more.
pub async fn who_may_not_is_denied(ctx: &Ctx) -> Result<()> {
    let (repo, hooks) = (ctx.repository().await?, ctx.scm.webhooks()?);
    let new = NewWebhook::new(url("one")?, [WebhookEvent::Push]);
    ctx.refused(hooks.create_webhook(&repo.id, &new).await, &[ErrorKind::PermissionDenied])?;
    ctx.refused(hooks.list_webhooks_page(&repo.id, None).await, &[ErrorKind::PermissionDenied])?;
    Ok(())
}

/// By a number that nothing has.
pub async fn what_is_missing_is_not_found(ctx: &Ctx) -> Result<()> {
    let (repo, hooks) = (maintained(ctx).await?, ctx.scm.webhooks()?);
    let (gone, missing) = (WebhookId::new("987654321")?, [ErrorKind::NotFound]);
    let new = NewWebhook::new(url("one")?, [WebhookEvent::Push]);
    ctx.refused(hooks.update_webhook(&repo.id, &gone, &new).await, &missing)?;
    ctx.refused(hooks.delete_webhook(&repo.id, &gone).await, &missing)?;
    ctx.refused(hooks.test_webhook(&repo.id, &gone, &WebhookEvent::Push).await, &missing)?;
    Ok(())
}

/// Neither ours nor that of the receiver's URL.
pub async fn the_secret_is_never_shown(ctx: &Ctx) -> Result<()> {
    let (repo, hooks) = (maintained(ctx).await?, ctx.scm.webhooks()?);
    let secret = "canary-webhook-secret";
    let address = url("one?key=canary-webhook-key")?;
    let new = NewWebhook::new(address, [WebhookEvent::Push]).with_secret(secret.to_owned().into());
    let made = hooks.create_webhook(&repo.id, &new).await?;
    let listed = everything(hooks.list_webhooks(&repo.id)).await?;
    let shown = format!("{new:?} {made:?} {listed:?}");
    ensure!(!shown.contains("canary-webhook"), "Debug shows a secret");
    let json = serde_json::to_string(&listed)?;
    ensure!(!json.contains(secret), "the list tells the secret");
    Ok(())
}

/// The other half of the cases about webhooks: the group itself says why it is missing.
pub async fn webhooks_are_refused(ctx: &Ctx) -> Result<()> {
    ctx.unsupported(ctx.scm.webhooks())
}
