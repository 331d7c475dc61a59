//! The one error type of the crate family.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::credential::Credential;
use crate::redact;

/// Result of every fallible call in the crate family.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in a form a caller can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The thing does not exist, **or the token may not see it**: servers do not tell the two apart.
    /// Check the name, then the token's membership.
    NotFound,
    /// The server does not accept the credential. Replace the token, then run the check ladder.
    Unauthenticated,
    /// The credential is valid but may not do this: scope, role, protected branch. Raise the role or scope.
    PermissionDenied,
    /// The state of the server contradicts the call: a duplicate, a moved branch. Re-read, then decide.
    Conflict,
    /// A guard the caller set (expected head, version) did not hold; nothing was changed. Re-read and try again.
    PreconditionFailed,
    /// The call itself is wrong: a bad name, two changes on one path, an option out of range. Change the input.
    InvalidInput,
    /// Too many requests. Wait for [`Error::retry_after`], then repeat.
    RateLimited,
    /// This server, version or token kind cannot do it; the message has the reason. Use another way.
    Unsupported,
    /// The server, or a gateway before it, failed or is down (5xx, a broken answer). Repeat later.
    Unavailable,
    /// No answer within the deadline. Look at [`Error::delivery`] before repeating a change.
    Timeout,
    /// No connection: name, route, port or firewall. Run the check ladder from the same machine.
    Connect,
    /// No trust: certificate or TLS handshake. Give the CA, or mend the certificate.
    Tls,
    /// A proxy refused or failed. Mend the proxy settings, often noProxy.
    Proxy,
    /// The hub or the agent refused or failed. See the route rung of the check ladder.
    Relay,
    /// The answer was not what the API promises, for example a login page in place of JSON.
    Decode,
    /// The caller or a shutdown ended the call.
    Cancelled,
    /// The configuration cannot work. Nothing was sent.
    Config,
    /// A defect of this library. Please report it.
    Internal,
}

impl ErrorKind {
    /// The kind as a stable lower-case word, the same as in its JSON form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not found",
            Self::Unauthenticated => "unauthenticated",
            Self::PermissionDenied => "permission denied",
            Self::Conflict => "conflict",
            Self::PreconditionFailed => "precondition failed",
            Self::InvalidInput => "invalid input",
            Self::RateLimited => "rate limited",
            Self::Unsupported => "unsupported",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Proxy => "proxy",
            Self::Relay => "relay",
            Self::Decode => "decode",
            Self::Cancelled => "cancelled",
            Self::Config => "config",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Could the server have acted on the request?
///
/// This decides whether a call that creates something may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Delivery {
    /// The request never reached the server.
    NotSent,
    /// The request may have reached the server; no complete answer came back.
    Unknown,
    /// The server answered.
    Answered,
}

/// An error of the crate family: opaque, one pointer wide, free of secrets.
///
/// `Display` is one bounded line, `operation: kind (status): message`. The chain of causes is in
/// [`source`](StdError::source) and [`report`](Error::report).
///
/// ```
/// use scm_core::{Delivery, Error, ErrorKind};
///
/// let error = Error::new(ErrorKind::NotFound, "404 Branch Not Found")
///     .with_operation("branch")
///     .with_status(http::StatusCode::NOT_FOUND);
/// assert_eq!(error.to_string(), "branch: not found (404): 404 Branch Not Found");
/// assert_eq!(error.delivery(), Delivery::Answered);
/// assert!(!error.is_retryable());
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    delivery: Delivery,
    status: Option<StatusCode>,
    provider: Option<&'static str>,
    operation: Option<&'static str>,
    server_code: Option<String>,
    request_id: Option<String>,
    retry_after: Option<Duration>,
    retryable: Option<bool>,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind`; the message is cut to one bounded line without control characters.
    ///
    /// Without a status the delivery is [`Delivery::NotSent`] for kinds that arise before anything is sent
    /// (`Config`, `InvalidInput`, `Unsupported`) and [`Delivery::Unknown`] otherwise.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl AsRef<str>) -> Self {
        let delivery = match kind {
            ErrorKind::Config | ErrorKind::InvalidInput | ErrorKind::Unsupported => Delivery::NotSent,
            _ => Delivery::Unknown,
        };
        Self(Box::new(Inner {
            kind,
            delivery,
            status: None,
            provider: None,
            operation: None,
            server_code: None,
            request_id: None,
            retry_after: None,
            retryable: None,
            message: redact::line(message.as_ref()),
            source: None,
        }))
    }

    /// The operation is not available here; `reason` says why and what to do instead.
    #[must_use]
    pub fn unsupported(operation: &'static str, reason: impl AsRef<str>) -> Self {
        Self::new(ErrorKind::Unsupported, reason).with_operation(operation)
    }

    /// The caller's input cannot be; nothing was sent.
    #[must_use]
    pub fn invalid(message: impl AsRef<str>) -> Self {
        Self::new(ErrorKind::InvalidInput, message)
    }

    /// The configuration cannot work; nothing was sent.
    #[must_use]
    pub fn config(message: impl AsRef<str>) -> Self {
        Self::new(ErrorKind::Config, message)
    }

    /// Sets whether the server could have acted.
    #[must_use]
    pub fn with_delivery(mut self, delivery: Delivery) -> Self {
        self.0.delivery = delivery;
        self
    }

    /// Sets the HTTP status, and with it [`Delivery::Answered`].
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.0.status = Some(status);
        self.0.delivery = Delivery::Answered;
        self
    }

    /// Sets the name of the provider, such as `gitlab`.
    #[must_use]
    pub fn with_provider(mut self, provider: &'static str) -> Self {
        self.0.provider = Some(provider);
        self
    }

    /// Sets the operation that failed; an operation already set is kept, since it is the more exact one.
    #[must_use]
    pub fn with_operation(mut self, operation: &'static str) -> Self {
        self.0.operation.get_or_insert(operation);
        self
    }

    /// Sets the server's own error code, such as Bitbucket's exception name.
    #[must_use]
    pub fn with_server_code(mut self, code: impl AsRef<str>) -> Self {
        self.0.server_code = Some(redact::line(code.as_ref()));
        self
    }

    /// Sets the server's request id, for its operators' logs.
    #[must_use]
    pub fn with_request_id(mut self, id: impl AsRef<str>) -> Self {
        self.0.request_id = Some(redact::line(id.as_ref()));
        self
    }

    /// Sets how long the server asks to wait.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// Overrules what the kind says about repeating: `true` for a known transient text, `false` for a lasting
    /// fault such as a proxy that wants a password.
    #[must_use]
    pub fn with_retryable(mut self, retryable: bool) -> Self {
        self.0.retryable = Some(retryable);
        self
    }

    /// Sets the cause. Its text is shown by [`Error::report`] only, after redaction.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Takes out a secret that a server echoed, in whatever it was echoed. A cause cannot be rewritten: it goes.
    #[must_use]
    pub(crate) fn without_secret_of(mut self, credential: &Credential) -> Self {
        let inner = &mut *self.0;
        inner.message = credential.redact(&inner.message);
        for text in [&mut inner.server_code, &mut inner.request_id].into_iter().flatten() {
            *text = credential.redact(text);
        }
        let told = self.causes().map(|cause| format!("{cause} {cause:?}")).collect::<String>();
        if credential.redact(&told) != told {
            self.0.source = None;
        }
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Could the server have acted on the request?
    pub fn delivery(&self) -> Delivery {
        self.0.delivery
    }

    /// The HTTP status of the answer, if there was one.
    pub fn status(&self) -> Option<StatusCode> {
        self.0.status
    }

    /// The provider that reports it, such as `gitlab`.
    pub fn provider(&self) -> Option<&'static str> {
        self.0.provider
    }

    /// The operation that failed, such as `create_commit`.
    pub fn operation(&self) -> Option<&'static str> {
        self.0.operation
    }

    /// The server's own error code, if it sends any.
    pub fn server_code(&self) -> Option<&str> {
        self.0.server_code.as_deref()
    }

    /// The server's id of the request, for its operators.
    pub fn request_id(&self) -> Option<&str> {
        self.0.request_id.as_deref()
    }

    /// How long the server asks to wait before the next try.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// What the server said, or what this library has to say, without operation and kind.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Would the same call have a chance a little later?
    ///
    /// Says nothing about safety: before repeating a change look at [`Error::delivery`].
    pub fn is_retryable(&self) -> bool {
        self.0.retryable.unwrap_or(matches!(
            self.0.kind,
            ErrorKind::RateLimited
                | ErrorKind::Unavailable
                | ErrorKind::Timeout
                | ErrorKind::Connect
                | ErrorKind::Proxy
                | ErrorKind::Relay
        ))
    }

    /// May the server have done what it was asked, although no usable answer tells of it? Then look before asking again.
    ///
    /// So after a lost answer, after a 5xx (a gateway does not know what the server behind it did), and after a success
    /// that was cut off or cannot be read.
    pub fn is_in_doubt(&self) -> bool {
        match self.0.delivery {
            Delivery::NotSent => false,
            Delivery::Unknown => true,
            Delivery::Answered => {
                self.0.status.is_none_or(|status| status.is_success() || status.is_server_error())
            }
        }
    }

    /// Several lines for a person: the error, its codes, and the chain of causes.
    pub fn report(&self) -> String {
        let mut out = self.to_string();
        for (name, value) in [
            ("provider", self.provider()),
            ("server code", self.server_code()),
            ("request id", self.request_id()),
        ] {
            if let Some(value) = value {
                out.push_str(&format!("\n  {name}: {value}"));
            }
        }
        if let Some(wait) = self.retry_after() {
            out.push_str(&format!("\n  retry after: {} s", wait.as_secs_f64()));
        }
        for cause in self.causes() {
            out.push_str(&format!("\n  caused by: {}", redact::line(&cause.to_string())));
        }
        out
    }

    fn causes(&self) -> impl Iterator<Item = &(dyn StdError + 'static)> {
        std::iter::successors(self.source(), |&cause| cause.source())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(operation) = self.0.operation {
            write!(f, "{operation}: ")?;
        }
        f.write_str(self.0.kind.as_str())?;
        if let Some(status) = self.0.status {
            write!(f, " ({})", status.as_u16())?;
        }
        if !self.0.message.is_empty() {
            write!(f, ": {}", self.0.message)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("delivery", &self.0.delivery)
            .field("status", &self.0.status)
            .field("provider", &self.0.provider)
            .field("operation", &self.0.operation)
            .field("server_code", &self.0.server_code)
            .field("request_id", &self.0.request_id)
            .field("retry_after", &self.0.retry_after)
            .field("message", &self.0.message)
            .finish_non_exhaustive()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_is_one_pointer_wide_and_shareable() {
        fn shareable<T: Send + Sync + 'static>() {}
        shareable::<Error>();
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }

    #[test]
    fn display_is_one_bounded_line() {
        let error = Error::new(ErrorKind::Internal, format!("first\nsecond\u{7}{}", "x".repeat(10_000)));
        let text = error.to_string();
        assert!(!text.contains(['\n', '\u{7}']), "{text}");
        assert!(text.len() < 700, "{}", text.len());
    }

    #[test]
    fn report_shows_the_chain() {
        let cause = std::io::Error::other("connection reset");
        let error = Error::new(ErrorKind::Connect, "no connection").with_request_id("r-1").with_source(cause);
        assert_eq!(
            error.report(),
            "connect: no connection\n  request id: r-1\n  caused by: connection reset"
        );
        assert!(!error.to_string().contains("reset"));
    }
}
