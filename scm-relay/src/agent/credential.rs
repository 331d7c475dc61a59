//! Credentials that stay with the agent: the service that asks never sees them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Uri};
use scm_core::{Delivery, Error, ErrorKind, Result, TransportError};
use secrecy::ExposeSecret as _;

use super::policy::{Allowed, Grant, Place, Preset};
use super::secret::Secret;

/// What a caller may send in its place.
const OF_CALLERS: [HeaderName; 3] =
    [header::AUTHORIZATION, header::COOKIE, HeaderName::from_static("private-token")];

/// A token for one server, which the agent puts on every request to it in place of whatever the service sent.
///
/// REST gets it as a bearer, which both products take for every kind of access token; git's protocol as the password of
/// Basic, beside a user name.
#[derive(Clone, Debug)]
pub struct HeldCredential {
    place: Place,
    secret: Secret,
    username: Option<String>,
}

impl HeldCredential {
    /// For the server at `origin`, such as `https://gitlab.company.com`; it may have the path of the server.
    ///
    /// # Errors
    /// `Config` for anything else.
    pub fn new(origin: &str, secret: Secret) -> Result<Self> {
        let place = Place::parse(origin).map_err(|what| {
            Error::config(format!(
                "the origin {origin:?} of a credential {what}; it is written like https://gitlab.company.com"
            ))
        })?;
        Ok(Self { place, secret, username: None })
    }

    /// Sets the user name that git's Basic has beside the token, where the server wants a certain one. Else it is `oauth2` at
    /// GitLab, and `x-token-auth` at Bitbucket Data Center.
    #[must_use]
    pub fn with_username(mut self, username: impl Into<String>) -> Self {
        self.username = Some(username.into());
        self
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// Is it that of the server that the request goes to?
    pub(crate) fn is_for(&self, allowed: &Allowed<'_>) -> bool {
        allowed.entry.is_within(&self.place)
    }

    /// Takes what the caller sent, and puts this in.
    pub(crate) fn put(
        &self,
        allowed: &Allowed<'_>,
        method: &Method,
        uri: &Uri,
        headers: &mut HeaderMap,
    ) -> Result<(), TransportError> {
        for name in &OF_CALLERS {
            headers.remove(name);
        }
        let secret = self.secret.now();
        let secret = secret.expose_secret();
        let value = if is_git(allowed, method, uri) {
            let name = self.username.as_deref().unwrap_or(match allowed.entry.preset() {
                Preset::BitbucketDc => "x-token-auth",
                _ => "oauth2",
            });
            format!("Basic {}", STANDARD.encode(format!("{name}:{secret}")))
        } else {
            format!("Bearer {secret}")
        };
        let mut value = HeaderValue::try_from(value).map_err(|_| {
            let message =
                format!("the agent's credential for {} has characters that no token has", self.place);
            TransportError::new(ErrorKind::Config, Delivery::NotSent, message)
        })?;
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
        Ok(())
    }

    /// A session that the server opens for the agent is not the caller's.
    pub(crate) fn keep_session(headers: &mut HeaderMap) {
        headers.remove(header::SET_COOKIE);
    }
}

/// Is it git's protocol, and not REST?
fn is_git(allowed: &Allowed<'_>, method: &Method, uri: &Uri) -> bool {
    match allowed.grant {
        Grant::Clone | Grant::Push => true,
        Grant::Read | Grant::Write => false,
        Grant::Any => {
            let services = ["git-upload-pack", "git-receive-pack"];
            let last = uri.path().rsplit('/').next().unwrap_or_default();
            match *method {
                Method::POST => services.contains(&last),
                _ => {
                    let query = uri.query().unwrap_or_default();
                    uri.path().ends_with("/info/refs")
                        && services.iter().any(|service| query == format!("service={service}"))
                }
            }
        }
    }
}
