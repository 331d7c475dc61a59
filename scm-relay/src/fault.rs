//! Errors on their way from agent to hub, and from hub to caller: a header, apart from everything a server can say.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use scm_core::{Body, Delivery, ErrorKind, TransportError};

/// What the agent says to the hub, in the head of an answer or after its body. Never taken from a server, never passed on.
pub(crate) const FAULT: HeaderName = HeaderName::from_static("scm-agent-fault");

/// Length of a body in the tunnel. HTTP/2 would cut one that ends early itself, without a word about the reason.
pub(crate) const LENGTH: HeaderName = HeaderName::from_static("scm-agent-length");

/// Headers of the hub and of the agent: what a server or a caller sends under these names is dropped.
const PREFIXES: [&str; 2] = ["scm-hub-", "scm-agent-"];

/// Longest value: a header block has its limits.
const LONGEST: usize = 8 * 1024;

/// An error on its way into a tunnel.
pub(crate) struct Fault<'a>(&'a TransportError);

impl<'a> Fault<'a> {
    pub(crate) fn of(error: &'a TransportError) -> Self {
        Self(error)
    }

    /// What the agent said, where it said something. A value that cannot be read is a fault as well.
    pub(crate) fn take(headers: &mut HeaderMap) -> Option<TransportError> {
        let value = headers.remove(&FAULT)?;
        Some(serde_json::from_slice(value.as_bytes()).unwrap_or_else(|_| {
            let message = "the agent reports a failure that this version cannot read";
            TransportError::new(ErrorKind::Relay, Delivery::Unknown, message)
        }))
    }

    /// The header's value.
    pub(crate) fn to_value(&self) -> HeaderValue {
        let mut value = serde_json::to_value(self.0).unwrap_or_default();
        let mut text = value.to_string();
        if text.len() > LONGEST {
            value.as_object_mut().map(|fields| fields.remove("details"));
            text = value.to_string();
        }
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("{}"))
    }

    /// The agent's answer where there is none of a server.
    pub(crate) fn into_answer(self) -> Response<Body> {
        let mut answer = Response::new(Body::empty());
        *answer.status_mut() = StatusCode::BAD_GATEWAY;
        answer.headers_mut().insert(FAULT, self.to_value());
        answer
    }
}

/// Takes out what only hub and agent may say.
pub(crate) fn strip(headers: &mut HeaderMap) {
    let ours: Vec<HeaderName> = headers
        .keys()
        .filter(|name| PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix)))
        .cloned()
        .collect();
    for name in ours {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use scm_core::Code;

    use super::*;

    #[test]
    fn a_fault_comes_out_as_it_went_in() {
        let error = TransportError::new(ErrorKind::Tls, Delivery::NotSent, "x509: unbekannt für \"git\"")
            .with_code(Code::TlsUnknownIssuer)
            .with_retryable(false)
            .with_detail("issuer", "CN=Prüf");
        let mut headers = HeaderMap::from_iter([(FAULT, Fault::of(&error).to_value())]);
        let back = Fault::take(&mut headers).unwrap();
        assert_eq!(
            (back.kind(), back.delivery(), back.code()),
            (error.kind(), error.delivery(), error.code())
        );
        assert_eq!((back.retryable(), back.details()), (error.retryable(), error.details()));
        assert_eq!(back.to_string(), error.to_string());
        assert!(headers.is_empty());
    }

    #[test]
    fn a_fault_that_cannot_be_read_says_nothing_about_delivery() {
        let mut headers = HeaderMap::from_iter([(FAULT, HeaderValue::from_static("{\"kind\":\"new\"}"))]);
        let error = Fault::take(&mut headers).unwrap();
        assert_eq!((error.kind(), error.delivery()), (ErrorKind::Relay, Delivery::Unknown));
    }

    #[test]
    fn a_fault_too_long_for_a_header_loses_its_details_only() {
        let mut error = TransportError::new(ErrorKind::Connect, Delivery::NotSent, "no way");
        for n in 0..40 {
            error = error.with_detail(format!("detail {n}"), "x".repeat(500));
        }
        let value = Fault::of(&error).to_value();
        assert!(value.len() < LONGEST);
        let back = Fault::take(&mut HeaderMap::from_iter([(FAULT, value)])).unwrap();
        assert_eq!((back.to_string().as_str(), back.details().len()), ("no way", 0));
    }

    #[test]
    fn what_only_hub_and_agent_may_say_is_taken_out() {
        let mut headers = HeaderMap::new();
        for name in ["scm-hub-error", "scm-hub-delivery", "scm-agent-fault", "scm-hubris", "server"] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static("x"));
        }
        strip(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["scm-hubris", "server"]);
    }
}
