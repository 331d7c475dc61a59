//! Cases for [`scm_core::Tokens`].

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use scm_core::{Error, ErrorKind, Role, RotateToken, SecretSink};
use secrecy::{ExposeSecret as _, SecretString};

use super::case::{Ctx, Result};
use super::fixture::{Access, TokenSpec};
use super::support::{cases, ensure, ensure_eq};

cases! {
    "tokens";
    a_new_secret_takes_the_place_of_the_old [Tokens::rotate_token] needs token_rotate, else rotation_is_refused;
    who_may_not_is_denied [Tokens::rotate_token] needs token_rotate, else rotation_is_refused;
}

/// Remembers what it was given; its `Debug` does not show it.
#[derive(Default)]
struct Sink(Mutex<Vec<String>>);

impl Sink {
    fn stored(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl std::fmt::Debug for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sink").finish_non_exhaustive()
    }
}

#[async_trait]
impl SecretSink for Sink {
    async fn store(&self, secret: &SecretString) -> scm_core::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(secret.expose_secret().to_owned());
        Ok(())
    }
}

/// Given to the sink once; the old one is dead afterwards.
pub async fn a_new_secret_takes_the_place_of_the_old(ctx: &Ctx) -> Result<()> {
    let repo = ctx.repository().await?;
    let scm = ctx.scm_as(TokenSpec::new().granting(&repo, Role::Write)).await?;
    let sink = Sink::default();
    let expires = "2199-12-31".parse()?;
    ctx.refused(
        scm.tokens()?.rotate_token(&RotateToken::default().with_expires_at(expires), &sink).await,
        &[ErrorKind::InvalidInput],
    )?;
    ensure!(sink.stored().is_empty(), "a refused rotation stored a secret");
    let info = scm.tokens()?.rotate_token(&RotateToken::default(), &sink).await?;
    let stored = sink.stored();
    ensure_eq!(stored.len(), 1, "secrets that were stored");
    ensure!(!ctx.fixture.secrets().contains(&stored[0]), "the new secret is the old one");
    ensure!(!format!("{info:?} {scm:?}").contains(&stored[0]), "Debug shows the new secret");
    ensure!(info.active != Some(false) && info.revoked != Some(true), "{info:?}");
    ctx.refused(scm.connection().identity().await, &[ErrorKind::Unauthenticated])?;
    Ok(())
}

/// `PermissionDenied`, and the old one lives on.
pub async fn who_may_not_is_denied(ctx: &Ctx) -> Result<()> {
    let scm = ctx.scm_as(TokenSpec::new().with_access(Access::Read)).await?;
    let sink = Sink::default();
    let rotated = scm.tokens()?.rotate_token(&RotateToken::default(), &sink).await;
    ctx.refused(rotated, &[ErrorKind::PermissionDenied])?;
    ensure!(sink.stored().is_empty(), "a refused rotation stored a secret");
    scm.connection().identity().await?;
    Ok(())
}

/// Keeps nothing, and must not be asked to.
#[derive(Debug)]
struct Untouched;

#[async_trait]
impl SecretSink for Untouched {
    async fn store(&self, _: &SecretString) -> scm_core::Result<()> {
        Err(Error::new(ErrorKind::Internal, "a rotation that is not there has stored a secret"))
    }
}

/// The other half of the cases about rotation: the group itself says why it is missing, or the call does.
pub async fn rotation_is_refused(ctx: &Ctx) -> Result<()> {
    match ctx.scm.tokens() {
        Err(error) => ctx.unsupported::<()>(Err(error))?,
        Ok(tokens) => ctx.unsupported(tokens.rotate_token(&RotateToken::default(), &Untouched).await)?,
    }
    // The token in use is alive.
    ctx.scm.connection().identity().await?;
    Ok(())
}
