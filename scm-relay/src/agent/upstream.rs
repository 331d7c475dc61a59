//! Carrying out what the hub asks for, as far as the policy goes.

use std::time::Instant;

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use http::{Request, Response, StatusCode};
use scm_core::{Body, Code, Delivery, ErrorKind, RungReport, Transport, TransportError};
use url::Url;

use super::control;
use super::policy::{self, Policy};
use crate::fault::{self, Fault};
use crate::tunnel::Handler;

/// Longest URL that is probed.
const URL: usize = 8 * 1024;

/// The agent's side of every request.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) policy: Policy,
    pub(crate) transport: Transport,
}

#[async_trait]
impl Handler for Upstream {
    async fn handle(&self, request: Request<Body>) -> Response<Body> {
        if control::is_control(request.uri()) {
            return self.control(request).await.unwrap_or_else(|error| Fault::of(&error).into_answer());
        }
        let mut audit = Audit::of(&request);
        match self.carry_out(request, &mut audit).await {
            Ok(answer) => {
                audit.status = answer.status().as_u16();
                let (head, body) = answer.into_parts();
                Response::from_parts(head, audit.follow(body))
            }
            Err(error) => {
                audit.failed = Some(error.kind().as_str());
                Fault::of(&error).into_answer()
            }
        }
    }
}

impl Upstream {
    async fn carry_out(
        &self,
        request: Request<Body>,
        audit: &mut Audit,
    ) -> Result<Response<Body>, TransportError> {
        let (mut head, body) = request.into_parts();
        let bare = body.length() == Some(0);
        audit.rule =
            self.policy.decide(&head.method, &head.uri, &head.headers, bare).map_err(|why| denied(&why))?;
        policy::keep_allowed_headers(&mut head.headers);
        let mut answer = self.transport.send(Request::from_parts(head, body)).await?;
        // A server must not speak for the hub.
        fault::strip(answer.headers_mut());
        Ok(answer)
    }

    async fn control(&self, request: Request<Body>) -> Result<Response<Body>, TransportError> {
        match request.uri().path() {
            control::HELLO => Ok(Response::new(Body::from(env!("CARGO_PKG_VERSION").to_owned()))),
            control::PROBE => {
                let url = request.into_body().collect(URL).await?;
                let url = std::str::from_utf8(&url).ok().and_then(|url| Url::parse(url).ok());
                let rungs = match url {
                    Some(url) => self.probe(&url).await?,
                    None => return Err(denied(&policy::Denied::NoOrigin)),
                };
                let report = serde_json::to_vec(&rungs).map_err(|_| {
                    TransportError::new(
                        ErrorKind::Internal,
                        Delivery::NotSent,
                        "the report cannot be written",
                    )
                })?;
                Ok(Response::new(report.into()))
            }
            // A newer hub may ask for more than this agent can do.
            _ => {
                let mut answer = Response::new(Body::empty());
                *answer.status_mut() = StatusCode::NOT_FOUND;
                Ok(answer)
            }
        }
    }

    async fn probe(&self, url: &Url) -> Result<Vec<RungReport>, TransportError> {
        self.policy.knows(url).map_err(|why| denied(&why))?;
        Ok(self.transport.probe(url).await)
    }
}

fn denied(why: &policy::Denied) -> TransportError {
    TransportError::new(ErrorKind::Relay, Delivery::NotSent, why.to_string())
        .with_code(Code::RelayAgentDenied)
        .with_retryable(false)
}

/// One line for each request, written when it is over, however that came about.
struct Audit {
    start: Instant,
    method: String,
    origin: String,
    path: String,
    request_id: String,
    rule: &'static str,
    status: u16,
    failed: Option<&'static str>,
    bytes: u64,
}

impl Audit {
    fn of(request: &Request<Body>) -> Self {
        let uri = request.uri();
        let id = request.headers().get("x-request-id").and_then(|id| id.to_str().ok());
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        // Nothing before an @ is a host.
        let host = authority.rsplit('@').next().unwrap_or_default();
        Self {
            start: Instant::now(),
            method: request.method().to_string(),
            origin: format!("{}://{host}", uri.scheme_str().unwrap_or_default()),
            path: uri.path().to_owned(),
            request_id: id.unwrap_or_default().to_owned(),
            rule: "denied",
            status: 0,
            failed: None,
            bytes: 0,
        }
    }

    /// `body`, counted.
    fn follow(self, body: Body) -> Body {
        let length = body.length();
        if length == Some(0) {
            return body;
        }
        let chunks = stream::unfold((body, self), |(mut body, mut audit)| async move {
            let chunk = body.next().await?;
            match &chunk {
                Ok(chunk) => audit.bytes += chunk.len() as u64,
                Err(error) => audit.failed = Some(error.kind().as_str()),
            }
            Some((chunk, (body, audit)))
        });
        Body::stream(chunks, length)
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        tracing::info!(
            target: "scm_relay::audit",
            method = self.method,
            origin = self.origin,
            path = self.path,
            rule = self.rule,
            status = self.status,
            failed = self.failed,
            bytes = self.bytes,
            millis = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX),
            request_id = self.request_id,
        );
    }
}
