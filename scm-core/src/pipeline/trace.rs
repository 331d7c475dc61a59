//! Spans with OpenTelemetry names. No query, no body, no secret.

use std::time::Duration;

use http::{Method, StatusCode};
use tracing::Span;
use tracing::field::Empty;
use url::Url;

use crate::error::Error;
use crate::scm::CallOptions;
use crate::transport::TransportError;

pub(super) fn operation_span(provider: &'static str, operation: &'static str, options: &CallOptions) -> Span {
    let span = tracing::info_span!(
        "scm.operation",
        scm.provider = provider,
        scm.operation = operation,
        scm.correlation_id = Empty
    );
    if let Some(id) = &options.correlation_id {
        span.record("scm.correlation_id", id.as_str());
    }
    span
}

pub(super) fn try_span(method: &Method, url: &Url, path: &str, attempt: u32) -> Span {
    tracing::debug_span!(
        "HTTP",
        otel.kind = "client",
        http.request.method = method.as_str(),
        http.request.resend_count = attempt - 1,
        server.address = url.host_str(),
        server.port = url.port_or_known_default(),
        url.scheme = url.scheme(),
        url.path = path,
        http.response.status_code = Empty,
        error.type = Empty,
    )
}

pub(super) fn answered(span: &Span, status: StatusCode) {
    span.record("http.response.status_code", status.as_u16());
}

pub(super) fn failed(span: &Span, error: &TransportError) {
    span.record("error.type", error.kind().as_str());
}

pub(super) fn retrying(attempt: u32, wait: Duration, error: &Error) {
    let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    tracing::debug!(attempt, wait_ms, kind = error.kind().as_str(), "trying again");
}
