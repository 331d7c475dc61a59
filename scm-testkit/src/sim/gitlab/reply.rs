//! Answers and refusals in the product's words.

use serde_json::{Value, json};

use crate::sim::repo::GitError;

pub(crate) use crate::sim::reply::{Content, Reply};

pub(crate) type Outcome = Result<Reply, Failure>;

/// A refusal. Boxed: it carries a whole answer.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) Box<Reply>);

impl Failure {
    pub(crate) fn message(status: u16, message: impl Into<Value>) -> Self {
        Self(Box::new(Reply::json(status, json!({ "message": message.into() }))))
    }

    /// A refusal by the framework below the application, which says `error`.
    pub(crate) fn error(status: u16, error: impl Into<String>) -> Self {
        Self(Box::new(Reply::json(status, json!({ "error": error.into() }))))
    }

    pub(crate) fn not_found(what: &str) -> Self {
        Self::message(404, format!("404 {what} Not Found"))
    }

    /// Something that is looked up by its number alone.
    pub(crate) fn no_record() -> Self {
        Self::message(404, "404 Not found")
    }

    pub(crate) fn nothing_here() -> Self {
        Self::message(404, "404 Not Found")
    }

    pub(crate) fn forbidden() -> Self {
        Self::message(403, "403 Forbidden")
    }

    pub(crate) fn forbidden_because(reason: &str) -> Self {
        Self::message(403, format!("403 Forbidden - {reason}"))
    }

    pub(crate) fn unauthorized() -> Self {
        Self::message(401, "401 Unauthorized")
    }

    pub(crate) fn bad_request(reason: &str) -> Self {
        Self::message(400, format!("400 Bad request - {reason}"))
    }

    pub(crate) fn plain(text: impl Into<String>) -> Self {
        Self::message(400, text.into())
    }

    pub(crate) fn not_allowed() -> Self {
        Self::message(405, "405 Method Not Allowed")
    }

    pub(crate) fn invalid_token(description: &str) -> Self {
        let body = json!({ "error": "invalid_token", "error_description": description });
        let challenge = format!(
            "Bearer realm=\"Protected by OAuth 2.0\", error=\"invalid_token\", error_description=\"{description}\""
        );
        Self(Box::new(Reply::json(401, body).header("WWW-Authenticate", challenge)))
    }

    pub(crate) fn insufficient_scope(enough: &[&str]) -> Self {
        let body = json!({
            "error": "insufficient_scope",
            "error_description": "The request requires higher privileges than provided by the access token.",
            "scope": enough.join(" "),
        });
        Self(Box::new(Reply::json(403, body)))
    }
}

impl From<GitError> for Failure {
    fn from(error: GitError) -> Self {
        tracing::error!(%error, "git failed");
        Self::message(500, "500 Internal Server Error")
    }
}
