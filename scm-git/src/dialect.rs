//! What is particular to git over HTTP for the pipeline.

use http::StatusCode;
use http::header::HeaderName;
use scm_core::pipeline::{AuthForm, Dialect, ErrorAnswer};
use scm_core::{Error, ErrorKind};

/// How a server answers git, and takes a token from it.
#[derive(Debug)]
pub(crate) struct GitDialect {
    pub(crate) provider: &'static str,
    /// The user name that goes with a token.
    pub(crate) token_username: &'static str,
    pub(crate) request_id_header: HeaderName,
}

impl Dialect for GitDialect {
    fn provider(&self) -> &'static str {
        self.provider
    }

    fn auth(&self) -> AuthForm {
        AuthForm::TokenAsPassword(self.token_username)
    }

    fn error(&self, answer: &ErrorAnswer<'_>) -> Error {
        let kind = match answer.status {
            StatusCode::UNAUTHORIZED => ErrorKind::Unauthenticated,
            StatusCode::FORBIDDEN => ErrorKind::PermissionDenied,
            StatusCode::NOT_FOUND => ErrorKind::NotFound,
            StatusCode::TOO_MANY_REQUESTS => ErrorKind::RateLimited,
            status if status.is_server_error() => ErrorKind::Unavailable,
            status if status.is_redirection() => ErrorKind::NotFound,
            StatusCode::PAYLOAD_TOO_LARGE => {
                return Error::new(
                    ErrorKind::InvalidInput,
                    "the server, or a proxy before it, takes no push of this size",
                );
            }
            _ => ErrorKind::InvalidInput,
        };
        let text = String::from_utf8_lossy(answer.body);
        let is_page = text.trim_start().starts_with('<');
        let said = text.lines().map(str::trim).find(|line| !line.is_empty()).filter(|_| !is_page);
        Error::new(kind, said.unwrap_or("the server refuses git over HTTP"))
    }

    fn request_id_header(&self) -> HeaderName {
        self.request_id_header.clone()
    }
}
