use std::fmt;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::id::WebhookId;
use crate::macros::server_enum;
use crate::time::Timestamp;

server_enum! {
    /// What a webhook tells about.
    pub enum WebhookEvent {
        /// Commits or branches changed.
        Push = "push",
        /// Tags changed.
        Tag = "tag",
        /// A pull request changed.
        PullRequest = "pull_request",
        /// A comment was written.
        Comment = "comment",
        /// CI changed its state.
        Check = "check",
        /// The repository itself changed.
        Repository = "repository",
    }
}

/// A webhook. Its secret is never told by a server.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Webhook {
    /// The server's id.
    pub id: WebhookId,
    /// Where it is delivered. Its query may hold a secret of the receiver, so `Debug` shows the origin only.
    pub url: Url,
    /// Name for people.
    pub name: Option<String>,
    /// What it tells about.
    pub events: Vec<WebhookEvent>,
    /// Whether it is on.
    pub active: Option<bool>,
    /// Whether the server checks the receiver's certificate.
    pub verify_tls: Option<bool>,
    /// When it was made.
    pub created_at: Option<Timestamp>,
}

impl Webhook {
    /// A webhook.
    #[must_use]
    pub fn new(id: WebhookId, url: Url) -> Self {
        Self { id, url, name: None, events: Vec::new(), active: None, verify_tls: None, created_at: None }
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook")
            .field("id", &self.id)
            .field("origin", &self.url.origin().ascii_serialization())
            .field("events", &self.events)
            .finish_non_exhaustive()
    }
}

/// A webhook to make, or its whole new form.
#[derive(Clone)]
#[non_exhaustive]
pub struct NewWebhook {
    /// Where it is delivered.
    pub url: Url,
    /// Name for people.
    pub name: Option<String>,
    /// What it tells about.
    pub events: Vec<WebhookEvent>,
    /// The shared secret by which the receiver knows the sender.
    pub secret: Option<SecretString>,
    /// Whether it is on.
    pub active: bool,
    /// Whether the server checks the receiver's certificate.
    pub verify_tls: bool,
}

impl fmt::Debug for NewWebhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewWebhook")
            .field("origin", &self.url.origin().ascii_serialization())
            .field("events", &self.events)
            .finish_non_exhaustive()
    }
}

impl NewWebhook {
    /// An active webhook that checks certificates.
    #[must_use]
    pub fn new(url: Url, events: impl IntoIterator<Item = WebhookEvent>) -> Self {
        Self {
            url,
            name: None,
            events: events.into_iter().collect(),
            secret: None,
            active: true,
            verify_tls: true,
        }
    }

    /// Sets the name.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the shared secret.
    #[must_use]
    pub fn with_secret(mut self, secret: SecretString) -> Self {
        self.secret = Some(secret);
        self
    }

    /// Makes it inactive.
    #[must_use]
    pub fn inactive(mut self) -> Self {
        self.active = false;
        self
    }

    /// The server does not check the receiver's certificate. Dangerous: anyone on the way can read deliveries.
    #[must_use]
    pub fn danger_without_tls_verification(mut self) -> Self {
        self.verify_tls = false;
        self
    }
}

/// What came of a test delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WebhookDelivery {
    /// Whether the receiver took it.
    pub delivered: bool,
    /// The receiver's status; `None` where the server does not tell.
    pub status: Option<u16>,
}

impl WebhookDelivery {
    /// A delivery.
    #[must_use]
    pub fn new(delivered: bool, status: Option<u16>) -> Self {
        Self { delivered, status }
    }
}
