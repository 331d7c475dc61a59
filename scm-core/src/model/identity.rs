use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::id::UserName;
use crate::macros::server_enum;
use crate::model::Person;
use crate::time::Date;

/// Who the credential is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Identity {
    /// Login name.
    pub username: UserName,
    /// The server's id of the user, where there is one.
    pub id: Option<String>,
    /// Full name.
    pub name: Option<String>,
    /// Mail address, where the server shows it.
    pub email: Option<String>,
    /// A bot or service account rather than a person; `None` where the server does not tell.
    pub bot: Option<bool>,
    /// Whether the account is active rather than blocked; `None` where the server does not tell.
    pub active: Option<bool>,
}

impl Identity {
    /// A user of whom only the login name is known.
    #[must_use]
    pub fn new(username: UserName) -> Self {
        Self { username, id: None, name: None, email: None, bot: None, active: None }
    }

    /// The user as the committer of commits. A server may tell no address, as of bots: such a user gets one at the
    /// server's `host` that nobody reads.
    ///
    /// # Errors
    /// `InvalidInput` for a name or address that no commit can hold.
    pub fn committer(&self, host: &str) -> Result<Person> {
        let email = self.email.clone().unwrap_or_else(|| format!("{}@noreply.{host}", self.username));
        Person::new(self.name.clone().unwrap_or_else(|| self.username.to_string()), email)
    }
}

server_enum! {
    /// The server product.
    pub enum Product {
        /// GitLab, self-managed or gitlab.com.
        GitLab = "gitlab",
        /// Bitbucket Data Center (or Server).
        BitbucketDataCenter = "bitbucket-dc",
    }
}

/// Product, version and edition of the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ServerInfo {
    /// The product.
    pub product: Product,
    /// The version, as numbers.
    pub version: Version,
    /// The version as the server writes it, such as `17.11.2-ee`.
    pub version_text: String,
    /// The edition, such as `ee`, where it can be told.
    pub edition: Option<String>,
}

impl ServerInfo {
    /// Product and version.
    #[must_use]
    pub fn new(product: Product, version: Version, version_text: impl Into<String>) -> Self {
        Self { product, version, version_text: version_text.into(), edition: None }
    }
}

/// A server version: three numbers; what follows them (`-ee`, `-pre`) is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Version {
    /// First number.
    pub major: u32,
    /// Second number.
    pub minor: u32,
    /// Third number; 0 where it is missing.
    pub patch: u32,
}

impl Version {
    /// A version of three numbers.
    #[must_use]
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch }
    }
}

impl FromStr for Version {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let numbers = text.split(|c: char| !c.is_ascii_digit() && c != '.').next().unwrap_or_default();
        let mut parts = numbers.split('.').filter(|part| !part.is_empty()).map(str::parse);
        let mut next = || parts.next().and_then(Result::ok);
        match (next(), next()) {
            (Some(major), Some(minor)) => Ok(Self { major, minor, patch: next().unwrap_or(0) }),
            _ => Err(Error::invalid(format!("'{text}' is not a version such as 16.8.1"))),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

server_enum! {
    /// What the token belongs to.
    pub enum TokenKind {
        /// A person.
        Personal = "personal",
        /// A project or repository.
        Project = "project",
        /// A group, or a Bitbucket project.
        Group = "group",
        /// A service account.
        ServiceAccount = "service_account",
    }
}

/// What the server tells about the token in use. Never the token itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TokenInfo {
    /// The server's id of the token.
    pub id: Option<String>,
    /// The name it was given.
    pub name: Option<String>,
    /// What it belongs to; `None` where that cannot be told with certainty.
    pub kind: Option<TokenKind>,
    /// Scopes or permissions; `None` where the server does not tell.
    pub scopes: Option<Vec<String>>,
    /// Last day of validity; `None` for never, or where the server does not tell.
    pub expires_at: Option<Date>,
    /// Whether it can be used now.
    pub active: Option<bool>,
    /// Whether it was revoked.
    pub revoked: Option<bool>,
}

impl TokenInfo {
    /// A token of which nothing is known.
    #[must_use]
    pub fn new() -> Self {
        Self { id: None, name: None, kind: None, scopes: None, expires_at: None, active: None, revoked: None }
    }
}

impl Default for TokenInfo {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_parse_with_any_tail() {
        for (text, expected) in [
            ("16.8.1-ee", Version::new(16, 8, 1)),
            ("18.0.0-pre", Version::new(18, 0, 0)),
            ("17.5.0-rc42-ee", Version::new(17, 5, 0)),
            ("16.11-jh", Version::new(16, 11, 0)),
            ("9.4.1", Version::new(9, 4, 1)),
        ] {
            assert_eq!(text.parse::<Version>().unwrap(), expected, "{text}");
        }
        assert!("unknown".parse::<Version>().is_err());
        assert!("16".parse::<Version>().is_err());
        assert!(Version::new(16, 10, 0) > Version::new(16, 9, 9));
    }
}
