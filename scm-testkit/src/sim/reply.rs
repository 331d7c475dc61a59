//! What an endpoint answers, and how that becomes an HTTP response.

use axum::body::Body;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use serde_json::Value;

use crate::{
    fault::{FaultAnswer, FaultKind},
    sim::http::{Answer, slow, truncated},
};

/// The largest body that is read.
pub(crate) const BODY_LIMIT: usize = 512 * 1024 * 1024;

/// What an endpoint answers.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Content,
}

#[derive(Debug)]
pub(crate) enum Content {
    Empty,
    Json(Value),
    Bytes {
        content_type: String,
        bytes: Vec<u8>,
    },
    /// The output of a program, handed on while it runs.
    Program {
        content_type: String,
        command: Box<std::process::Command>,
    },
}

impl Reply {
    pub(crate) fn ok(value: Value) -> Self {
        Self::json(200, value)
    }

    pub(crate) fn created(value: Value) -> Self {
        Self::json(201, value)
    }

    pub(crate) fn json(status: u16, value: Value) -> Self {
        Self { status, headers: Vec::new(), body: Content::Json(value) }
    }

    pub(crate) fn no_content() -> Self {
        Self { status: 204, headers: Vec::new(), body: Content::Empty }
    }

    pub(crate) fn bytes(content_type: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        let body = Content::Bytes { content_type: content_type.into(), bytes: bytes.into() };
        Self { status: 200, headers: Vec::new(), body }
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

/// The answer as it goes over the wire.
pub(crate) fn respond(reply: Reply) -> Response<Body> {
    let Reply { status, headers, body } = reply;
    let mut response = match body {
        Content::Empty => Response::new(Body::empty()),
        Content::Json(value) => typed("application/json", Body::from(value.to_string())),
        Content::Bytes { content_type, bytes } => typed(&content_type, Body::from(bytes)),
        Content::Program { content_type, command } => match program(*command) {
            Ok(body) => typed(&content_type, body),
            Err(error) => {
                tracing::error!(%error, "cannot run git");
                return with_status(500, Response::new(Body::empty()));
            }
        },
    };
    put_headers(&mut response, headers);
    with_status(status, response)
}

/// The answer that a fault makes up.
pub(crate) fn made_up(answer: &FaultAnswer) -> Response<Body> {
    let mut response = Response::new(Body::from(answer.body.clone()));
    put_headers(&mut response, answer.headers.clone());
    with_status(answer.status, response)
}

/// What a fault leaves of an answer whose work was done.
pub(crate) async fn after(fault: Option<&FaultKind>, response: Response<Body>) -> Answer {
    let Some(fault) = fault else { return Answer::Response(response) };
    if matches!(fault, FaultKind::ResetAfter) {
        return Answer::Reset;
    }
    if !matches!(fault, FaultKind::Truncate | FaultKind::Garbage | FaultKind::Slow { .. }) {
        return Answer::Response(response);
    }
    let (mut parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, BODY_LIMIT).await.unwrap_or_default();
    let length = HeaderValue::from(bytes.len());
    let body = match fault {
        FaultKind::Garbage => {
            parts.headers.remove("content-length");
            Body::from(bytes.slice(..bytes.len() / 2))
        }
        FaultKind::Slow { chunk, pause } => {
            parts.headers.insert("content-length", length);
            slow(bytes, *chunk, *pause)
        }
        _ => {
            parts.headers.insert("content-length", length);
            truncated(bytes)
        }
    };
    Answer::Response(Response::from_parts(parts, body))
}

/// The output of a program as a body; the program ends when its pipe is closed.
fn program(command: std::process::Command) -> std::io::Result<Body> {
    let mut command = tokio::process::Command::from(command);
    command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let stdout = child.stdout.take().ok_or_else(|| std::io::Error::other("no output pipe"))?;
    tokio::spawn(async move { child.wait().await });
    Ok(Body::from_stream(tokio_util::io::ReaderStream::new(stdout)))
}

pub(crate) fn put_headers(
    response: &mut Response<Body>,
    headers: impl IntoIterator<Item = (String, String)>,
) {
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(&value)) {
            response.headers_mut().insert(name, value);
        }
    }
}

pub(crate) fn typed(content_type: &str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    if let Ok(value) = HeaderValue::from_str(content_type) {
        response.headers_mut().insert("content-type", value);
    }
    response
}

pub(crate) fn html(status: u16, text: &str) -> Response<Body> {
    with_status(status, typed("text/html; charset=utf-8", Body::from(text.to_owned())))
}

fn with_status(status: u16, mut response: Response<Body>) -> Response<Body> {
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

/// A point in time as HTTP writes it.
pub(crate) fn http_date(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .map(|at| at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())
        .unwrap_or_default()
}
