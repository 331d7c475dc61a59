//! Who the token speaks for.

use http::Method;
use http::header::{HeaderMap, HeaderValue};
use percent_encoding::percent_decode_str;
use scm_core::pipeline::{ApiRequest, Operation};
use scm_core::{Error, ErrorKind, Identity, Result, UserName};

use crate::client::{BitbucketDc, api};
use crate::convert;
use crate::error::USER_NAME;
use crate::wire::{WirePage, WireUser};

/// The number of the user, beside its name.
const USER_ID: &str = "x-auserid";

/// The user that the server names in its answers.
pub(crate) struct Caller {
    pub(crate) name: UserName,
    id: Option<String>,
}

impl Caller {
    /// `None` where the server takes the caller for a stranger, or something on the way takes the name away.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let name = percent_decode_str(text(USER_NAME)?).decode_utf8().ok()?;
        Some(Self { name: UserName::new(name).ok()?, id: text(USER_ID).map(str::to_owned) })
    }
}

impl BitbucketDc {
    /// Asks by a call that strangers may not make: many others answer them as well.
    pub(crate) async fn caller(&self, operation: &Operation) -> Result<Caller> {
        let recent = api(Method::GET, &["profile", "recent", "repos"]).query("limit", 1);
        let answer = match operation.send(recent).await {
            Ok(answer) => answer,
            // A token without a user has seen nothing recently, but it has a name.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                operation.send(api(Method::GET, &["repos"]).query("limit", 1)).await?
            }
            Err(error) => return Err(error),
        };
        if let Some(caller) = Caller::of(answer.headers()) {
            return Ok(caller);
        }
        let request = ApiRequest::new(Method::GET, "plugins/servlet/applinks/whoami", &[])
            .header(http::header::ACCEPT, HeaderValue::from_static("text/plain"));
        let answer = operation.send(request).await?;
        let name = std::str::from_utf8(answer.bytes()).unwrap_or_default().trim();
        match UserName::new(name) {
            Ok(name) => Ok(Caller { name, id: None }),
            // Not even Bitbucket's own: it answers by a name, or by nothing.
            Err(_) if name.starts_with('<') => {
                Err(answer.own(Error::new(ErrorKind::Decode, "a web page answers in place of the API")))
            }
            Err(_) => {
                let stranger =
                    "the server takes the token for nobody's: it answers as to an anonymous visitor";
                Err(answer.own(Error::new(ErrorKind::Unauthenticated, stranger)))
            }
        }
    }

    /// What else is known of a user. The name in paths may differ from the name, so that users are searched.
    pub(crate) async fn identity_of(&self, operation: &Operation, caller: Caller) -> Result<Identity> {
        let request = api(Method::GET, &["users"]).query("filter", &caller.name).query("limit", 100);
        let found = match operation.send(request).await {
            Ok(answer) => answer.json::<WirePage<WireUser>>()?.values,
            // Tokens without a user may not look at users.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Vec::new(),
            Err(error) => return Err(error),
        };
        let mut identity = match found.into_iter().find(|user| user.name == caller.name.as_str()) {
            Some(user) => convert::identity(user)?,
            None => {
                // The token of a project or repository: its name is no user's.
                let mut identity = Identity::new(caller.name);
                identity.bot = Some(true);
                identity
            }
        };
        identity.id = identity.id.or(caller.id);
        Ok(identity)
    }
}
