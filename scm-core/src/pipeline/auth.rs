use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};

use crate::credential::Credential;
use crate::error::{Error, Result};

/// How a product wants its token in a header.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum AuthForm {
    /// `Authorization: Bearer <token>`.
    Bearer,
    /// A header of its own that holds nothing but the token.
    Header(HeaderName),
    /// `Authorization: Basic`, with the token as the password of this user name: the form that git takes.
    TokenAsPassword(&'static str),
}

impl AuthForm {
    /// The credential in the form in which it is sent, so that it is also recognised where a server echoes it.
    pub(super) fn shape(&self, credential: Credential) -> Credential {
        match (credential, self) {
            (Credential::Token(password), Self::TokenAsPassword(username)) => {
                Credential::Basic { username: (*username).to_owned(), password }
            }
            (credential, _) => credential,
        }
    }

    /// Writes the credential, and takes out whatever credential was there.
    pub(super) fn apply(&self, credential: &Credential, headers: &mut HeaderMap) -> Result<()> {
        headers.remove(AUTHORIZATION);
        let credential = &self.shape(credential.clone());
        let (name, prefix, secret) = match (credential, self) {
            (Credential::Token(token), Self::Bearer) => (AUTHORIZATION, "Bearer ", token.clone()),
            (Credential::Token(token), Self::Header(name)) => (name.clone(), "", token.clone()),
            (Credential::Basic { username, .. }, _) if username.contains(':') => {
                return Err(Error::config("a user name for Basic authentication cannot hold ':'"));
            }
            (credential, _) => match credential.basic_pair() {
                Some(pair) => (AUTHORIZATION, "Basic ", pair),
                None => return Ok(()),
            },
        };
        headers.insert(name, header_value(prefix, &secret)?);
        Ok(())
    }
}

/// The one place that writes a secret into a header.
fn header_value(prefix: &str, secret: &SecretString) -> Result<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("{prefix}{}", secret.expose_secret()))
        .map_err(|_| Error::config("the token holds a character that no header can carry; paste it anew"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_written_as_sensitive_headers() {
        let cases = [
            (AuthForm::Bearer, Credential::Token("t0ken-x".into()), "authorization", "Bearer t0ken-x"),
            (
                AuthForm::Header(HeaderName::from_static("private-token")),
                Credential::Token("t0ken-x".into()),
                "private-token",
                "t0ken-x",
            ),
            (
                AuthForm::Bearer,
                Credential::Basic { username: "user".into(), password: "pass".into() },
                "authorization",
                "Basic dXNlcjpwYXNz",
            ),
            (
                AuthForm::TokenAsPassword("oauth2"),
                Credential::Token("t0ken".into()),
                "authorization",
                "Basic b2F1dGgyOnQwa2Vu",
            ),
        ];
        for (form, credential, name, value) in cases {
            let mut headers = HeaderMap::new();
            form.apply(&credential, &mut headers).unwrap();
            assert_eq!(headers[name], value);
            assert!(headers[name].is_sensitive() && !format!("{headers:?}").contains(value));
        }
        let mut headers = HeaderMap::new();
        AuthForm::Bearer.apply(&Credential::Anonymous, &mut headers).unwrap();
        assert!(headers.is_empty());
        let broken = Credential::Token("two\nlines".into());
        let error = AuthForm::Bearer.apply(&broken, &mut headers).unwrap_err();
        assert!(!format!("{error:?}{error}").contains("lines"));
    }
}
