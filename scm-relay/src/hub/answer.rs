//! What the hub says itself, apart from everything that a server can say.

use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use scm_core::{Body, Code, Delivery, ErrorKind, TransportError};
use serde::Serialize;

/// What went wrong, as a code.
const ERROR: HeaderName = HeaderName::from_static("scm-hub-error");

/// Beside it: could the server have acted?
const DELIVERY: HeaderName = HeaderName::from_static("scm-hub-delivery");

/// The version of this hub.
const VERSION: HeaderName = HeaderName::from_static("scm-hub-version");

/// The detail of an error about a body that is larger than the hub takes.
pub(crate) const MAX_BODY: &str = "max_body_bytes";

/// The detail of an error about a request whose head is larger than tunnels take.
pub(crate) const MAX_HEAD: &str = "max_head_bytes";

/// When a request that found no place may come back.
const LATER: HeaderValue = HeaderValue::from_static("5");

/// To a request that was not passed on, for a reason that only a caller can mend.
pub(crate) fn refusal(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    own(status, code, &not_passed_on(message))
}

/// The same with a code of the check ladder.
pub(crate) fn refused(status: StatusCode, code: Code, message: &str) -> Response<Body> {
    own(status, code.as_str(), &not_passed_on(message).with_code(code))
}

fn not_passed_on(message: &str) -> TransportError {
    TransportError::new(ErrorKind::Relay, Delivery::NotSent, message).with_retryable(false)
}

/// To a request that failed on its way.
pub(crate) fn failure(error: &TransportError) -> Response<Body> {
    let status = match (error.code(), error.kind()) {
        (None, ErrorKind::InvalidInput) if error.details().contains_key(MAX_BODY) => {
            StatusCode::PAYLOAD_TOO_LARGE
        }
        (None, ErrorKind::InvalidInput) if error.details().contains_key(MAX_HEAD) => {
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
        }
        // No tunnel took it.
        (None, ErrorKind::Relay) if error.delivery() == Delivery::NotSent => StatusCode::SERVICE_UNAVAILABLE,
        (Some(Code::RelayAgentDenied), _) => StatusCode::FORBIDDEN,
        (Some(Code::RelayAgentOffline | Code::RelayAgentNeverSeen), _) => StatusCode::SERVICE_UNAVAILABLE,
        (_, ErrorKind::InvalidInput) => StatusCode::BAD_REQUEST,
        (_, ErrorKind::Timeout) => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::BAD_GATEWAY,
    };
    let mut answer = own(status, &code(error), error);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        answer.headers_mut().insert(header::RETRY_AFTER, LATER);
    }
    answer
}

/// The code of an error, or else its kind.
pub(crate) fn code(error: &TransportError) -> String {
    error.code().map_or_else(|| error.kind().as_str().replace(' ', "_"), |code| code.as_str().to_owned())
}

/// Something that was asked of the hub itself.
pub(crate) fn json(value: &impl Serialize) -> Response<Body> {
    let mut text = serde_json::to_vec(value).unwrap_or_default();
    text.push(b'\n');
    let mut answer = Response::new(Body::from(text));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// Every answer says which hub it comes from.
pub(crate) fn sign(answer: &mut Response<Body>) {
    answer.headers_mut().insert(VERSION, HeaderValue::from_static(env!("CARGO_PKG_VERSION")));
}

fn own(status: StatusCode, code: &str, error: &TransportError) -> Response<Body> {
    let mut answer = json(&serde_json::json!({ "code": code, "error": error }));
    *answer.status_mut() = status;
    let delivery = match error.delivery() {
        Delivery::NotSent => "not_sent",
        Delivery::Answered => "answered",
        _ => "unknown",
    };
    let headers = answer.headers_mut();
    headers.insert(DELIVERY, HeaderValue::from_static(delivery));
    headers.insert(ERROR, HeaderValue::try_from(code).unwrap_or(HeaderValue::from_static("relay")));
    answer
}
