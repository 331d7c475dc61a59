//! Secrets and where they come from.

use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};

use crate::error::{Error, Result};
use crate::redact;

/// What proves who the caller is. Never printed, never serialised.
#[derive(Clone)]
#[non_exhaustive]
pub enum Credential {
    /// An access token: personal, project, group, service account, OAuth, or a Bitbucket HTTP access token.
    Token(SecretString),
    /// A user name with a password or a token in its place.
    Basic {
        /// Login name.
        username: String,
        /// Password or token.
        password: SecretString,
    },
    /// The agent holds the secret and puts it on the request; nothing secret is sent from here.
    HeldByAgent,
    /// No credential: what anyone may see.
    Anonymous,
}

impl Credential {
    /// The secret text that must never be shown, if there is one. For redaction and header building only.
    pub(crate) fn secret(&self) -> Option<&str> {
        match self {
            Self::Token(secret) | Self::Basic { password: secret, .. } => Some(secret.expose_secret()),
            Self::HeldByAgent | Self::Anonymous => None,
        }
    }

    /// `text` without the secret, in every form in which it is sent.
    pub(crate) fn redact(&self, text: &str) -> String {
        let Some(secret) = self.secret() else { return text.to_owned() };
        let text = redact::without(text, secret);
        match self.basic_pair() {
            Some(pair) => redact::without(&text, pair.expose_secret()),
            None => text,
        }
    }

    /// What follows `Basic ` in a header.
    pub(crate) fn basic_pair(&self) -> Option<SecretString> {
        let Self::Basic { username, password } = self else { return None };
        let pair = SecretString::from(format!("{username}:{}", password.expose_secret()));
        Some(STANDARD.encode(pair.expose_secret()).into())
    }

    pub(crate) fn same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Basic { username: a, .. }, Self::Basic { username: b, .. }) if a != b => false,
            _ => self.secret() == other.secret(),
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(_) => f.write_str("Token([redacted])"),
            Self::Basic { username, .. } => {
                write!(f, "Basic {{ username: {username:?}, password: [redacted] }}")
            }
            Self::HeldByAgent => f.write_str("HeldByAgent"),
            Self::Anonymous => f.write_str("Anonymous"),
        }
    }
}

/// Gives the credential for each try, so that a rotated token takes effect without a restart.
#[async_trait]
pub trait CredentialProvider: fmt::Debug + Send + Sync + 'static {
    /// The credential to use now. Called for every try: answer from memory where that is possible.
    ///
    /// # Errors
    /// Where it cannot be had: `Config` for a file that cannot be read, or the caller's own kind.
    async fn credential(&self) -> Result<Credential>;

    /// Asked once when the server rejected `rejected`: a fresh credential, or `None` when there is nothing newer.
    ///
    /// # Errors
    /// As [`credential`](Self::credential).
    async fn refresh(&self, rejected: &Credential) -> Result<Option<Credential>> {
        let current = self.credential().await?;
        Ok((!current.same_as(rejected)).then_some(current))
    }
}

/// One credential for good.
#[derive(Clone, Debug)]
pub struct StaticCredential(Credential);

impl StaticCredential {
    /// Always gives `credential`.
    pub fn new(credential: Credential) -> Self {
        Self(credential)
    }

    /// Always gives this access token.
    pub fn token(token: SecretString) -> Self {
        Self(Credential::Token(token))
    }
}

#[async_trait]
impl CredentialProvider for StaticCredential {
    async fn credential(&self) -> Result<Credential> {
        Ok(self.0.clone())
    }
}

/// A token in a file that is read again for every try, such as a mounted secret. White space around it is dropped.
#[derive(Clone, Debug)]
pub struct FileCredential {
    path: PathBuf,
    username: Option<String>,
}

impl FileCredential {
    /// Reads the token from `path`.
    ///
    /// # Errors
    /// `Config` when the file is missing, unreadable, empty or holds more than one line: found at start, not at the
    /// first call.
    pub fn new(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        read_secret(&path)?;
        Ok(Self { path, username: None })
    }

    /// Uses the file's text as the password of `username` (Basic) instead of as a token.
    #[must_use]
    pub fn with_username(mut self, username: impl Into<String>) -> Self {
        self.username = Some(username.into());
        self
    }
}

#[async_trait]
impl CredentialProvider for FileCredential {
    async fn credential(&self) -> Result<Credential> {
        // A few bytes of a local file: cheaper than handing it to another thread.
        let secret = read_secret(&self.path)?;
        Ok(match &self.username {
            Some(username) => Credential::Basic { username: username.clone(), password: secret },
            None => Credential::Token(secret),
        })
    }
}

/// Reads a secret of one line from a file.
///
/// # Errors
/// `Config`, naming the file and never its content.
pub fn read_secret(path: &Path) -> Result<SecretString> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| {
        Error::config(format!(
            "the secret file {shown} cannot be read ({}); check path and permissions",
            error.kind()
        ))
    })?;
    let text = SecretString::from(text.trim().to_owned());
    if text.expose_secret().is_empty() {
        return Err(Error::config(format!("the secret file {shown} is empty")));
    }
    if text.expose_secret().chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(Error::config(format!(
            "the secret file {shown} must hold the secret alone, on one line"
        )));
    }
    Ok(text)
}

type Callback = dyn Fn() -> Pin<Box<dyn Future<Output = Result<Credential>> + Send>> + Send + Sync;

/// A credential from the caller's own function, such as a vault client.
#[derive(Clone)]
pub struct CallbackCredential(Arc<Callback>);

impl CallbackCredential {
    /// Calls `callback` for every try; it should answer from memory while its secret is valid.
    pub fn new<F, Fut>(callback: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Credential>> + Send + 'static,
    {
        Self(Arc::new(move || Box::pin(callback())))
    }
}

#[async_trait]
impl CredentialProvider for CallbackCredential {
    async fn credential(&self) -> Result<Credential> {
        (self.0)().await
    }
}

impl fmt::Debug for CallbackCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallbackCredential").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_rotated_file_takes_effect_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "first-secret\n").unwrap();
        let provider = FileCredential::new(&path).unwrap();
        let first = provider.credential().await.unwrap();
        assert_eq!(first.secret(), Some("first-secret"));
        assert!(provider.refresh(&first).await.unwrap().is_none());
        std::fs::write(&path, "second-secret").unwrap();
        assert_eq!(provider.refresh(&first).await.unwrap().unwrap().secret(), Some("second-secret"));
        assert!(!format!("{first:?} {provider:?}").contains("first-secret"));
    }

    #[test]
    fn a_file_that_cannot_be_is_named_at_start() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [("empty", Some(" \n")), ("two", Some("a\nb")), ("missing", None)] {
            let path = dir.path().join(name);
            if let Some(text) = text {
                std::fs::write(&path, text).unwrap();
            }
            let error = FileCredential::new(&path).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Config);
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}
