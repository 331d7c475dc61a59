use std::fmt::Debug;

use async_trait::async_trait;

use crate::error::Result;
use crate::id::{RepoId, WebhookId};
use crate::model::{NewWebhook, Webhook, WebhookDelivery, WebhookEvent};
use crate::page::{Cursor, Page};

/// Webhooks of a repository. Parsing and verifying deliveries are free functions of the provider crates.
#[doc(alias = "Hooks")]
#[async_trait]
pub trait Webhooks: Debug + Send + Sync + 'static {
    /// A new webhook. Not idempotent.
    ///
    /// GitLab: `POST /projects/:id/hooks` (Maintainer). Bitbucket: `POST …/webhooks` (repository admin).
    ///
    /// # Errors
    /// `InvalidInput` for a URL or event that the server refuses; `PermissionDenied`.
    async fn create_webhook(&self, repo: &RepoId, new: &NewWebhook) -> Result<Webhook>;

    /// One page of webhooks, resumable.
    ///
    /// GitLab: `GET /projects/:id/hooks`. Bitbucket: `GET …/webhooks`. Idempotent.
    ///
    /// # Errors
    /// `PermissionDenied`, `InvalidInput` for a foreign cursor.
    async fn list_webhooks_page(&self, repo: &RepoId, at: Option<&Cursor>) -> Result<Page<Webhook>>;

    /// Replaces a webhook; without a secret the old one is kept where the server allows it. Idempotent.
    ///
    /// GitLab: `PUT /projects/:id/hooks/:hook_id`. Bitbucket: `PUT …/webhooks/{id}`.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`, `InvalidInput`.
    async fn update_webhook(&self, repo: &RepoId, webhook: &WebhookId, new: &NewWebhook) -> Result<Webhook>;

    /// Deletes a webhook. Safe to repeat, but for the `NotFound` of one that is gone.
    ///
    /// GitLab: `DELETE /projects/:id/hooks/:hook_id`. Bitbucket: `DELETE …/webhooks/{id}`.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`.
    async fn delete_webhook(&self, repo: &RepoId, webhook: &WebhookId) -> Result<()>;

    /// Has the server deliver a test event. Often rate limited on its own.
    ///
    /// GitLab: `POST /projects/:id/hooks/:hook_id/test/:trigger`. Bitbucket: `POST …/webhooks/test`.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`, `RateLimited`.
    async fn test_webhook(
        &self,
        repo: &RepoId,
        webhook: &WebhookId,
        event: &WebhookEvent,
    ) -> Result<WebhookDelivery>;
}
