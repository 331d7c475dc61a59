use std::fmt::Debug;

use async_trait::async_trait;

use crate::check::{CheckOptions, CheckReport};
use crate::error::Result;
use crate::model::{Identity, ServerInfo, TokenInfo};

/// The connection itself: who, what, and what is wrong.
#[async_trait]
pub trait Connection: Debug + Send + Sync + 'static {
    /// Climbs the check ladder and never stops at "failed": each rung has an outcome, a stable code, what was seen and
    /// what to do. Changes nothing on the server. A fault is part of the report, not an error.
    async fn check(&self, opts: &CheckOptions) -> CheckReport;

    /// Who the credential is.
    ///
    /// GitLab: `GET /user` (scope `read_user`, `read_api` or `api`). Bitbucket: the header `X-AUSERNAME` of an
    /// authenticated call, then `GET /users/{slug}`. Idempotent.
    ///
    /// # Errors
    /// `Unauthenticated` when the server does not accept the credential, or takes it for nobody.
    async fn identity(&self) -> Result<Identity>;

    /// Product, version and edition.
    ///
    /// GitLab: `GET /metadata`, else `GET /version`. Bitbucket: `GET /application-properties`. Idempotent.
    ///
    /// # Errors
    /// `NotFound` or `Decode` when something else answers at this address.
    async fn server(&self) -> Result<ServerInfo>;

    /// Kind, scopes and expiry of the token; `None` where the server tells nothing.
    ///
    /// GitLab: `GET /personal_access_tokens/self` (any scope). Bitbucket: `GET /rest/access-tokens/latest/users/…`
    /// with the id that the token's text holds, and `None` where that is refused. Idempotent.
    ///
    /// # Errors
    /// `Unauthenticated` when the server does not accept the credential.
    async fn token(&self) -> Result<Option<TokenInfo>>;
}
