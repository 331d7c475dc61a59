use std::fmt::Debug;

use async_trait::async_trait;
use secrecy::SecretString;

use crate::error::Result;
use crate::macros::options;
use crate::model::TokenInfo;
use crate::time::Date;

/// Rotation of the token in use.
#[async_trait]
pub trait Tokens: Debug + Send + Sync + 'static {
    /// Makes a new secret for the token in use and gives it to `sink` before anything else can happen. Never repeated
    /// by itself: on GitLab a second rotation with the old secret revokes the new one too.
    ///
    /// GitLab: `POST /personal_access_tokens/self/rotate` (16.10), before that `POST /personal_access_tokens/:id/rotate`
    /// (scope `api` or `self_rotate`). Bitbucket: a new token, then the deletion of the old one.
    ///
    /// # Errors
    /// `PermissionDenied` when the token may not rotate itself; `InvalidInput` for an expiry past the server's limit.
    /// With delivery `Unknown` the old secret may be dead: treat the connection as lost and ask for a new token.
    async fn rotate_token(&self, opts: &RotateToken, sink: &dyn SecretSink) -> Result<TokenInfo>;
}

options! {
    /// How to rotate.
    pub struct RotateToken {
        /// Last day of the new secret. Default: 90 days from now; GitLab's own default is only one week.
        expires_at / with_expires_at: Date,
    }
}

/// Keeps a new secret.
#[async_trait]
pub trait SecretSink: Debug + Send + Sync {
    /// Stores the secret for good. Called once, before the old secret is forgotten.
    ///
    /// # Errors
    /// Whatever keeps it from storing; the secret is lost then, so try every way there is first.
    async fn store(&self, secret: &SecretString) -> Result<()>;
}
