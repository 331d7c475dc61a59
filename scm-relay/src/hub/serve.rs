//! The hub's HTTP side: requests of services go through.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{Stream as _, StreamExt as _};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyStream;
use scm_core::{Body, Code, Delivery, ErrorKind, TransportError};
use tower_service::Service as TowerService;

use super::admin::{self, AGENTS};
use super::answer::{self, failure, refusal, refused};
use super::route::Place;
use super::{Hub, Inner, TUNNEL};
use crate::keys::{AgentName, Service};

/// The service's key.
const KEY: HeaderName = HeaderName::from_static("scm-hub-key");

/// On a server's answer: the agent it came through. On the one that opens a tunnel: the agent whose it is.
pub(super) const AGENT: HeaderName = HeaderName::from_static("scm-hub-agent");

/// The body of an answer of the hub.
#[derive(Debug)]
pub struct HubBody {
    body: Body,
    failed: Option<TransportError>,
}

impl HubBody {
    fn new(body: Body) -> Self {
        Self { body, failed: None }
    }
}

impl From<String> for HubBody {
    fn from(text: String) -> Self {
        Self::new(text.into())
    }
}

impl HttpBody for HubBody {
    type Data = Bytes;
    type Error = TransportError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, TransportError>>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Some(Err(error)));
        }
        match ready!(Pin::new(&mut self.body).poll_next(cx)) {
            // The server gives the connection up at once: what it has not written by now, the head included, would be lost.
            Some(Err(error)) => {
                self.failed = Some(error);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            chunk => Poll::Ready(chunk.map(|chunk| chunk.map(Frame::data))),
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.body.length().map(SizeHint::with_exact).unwrap_or_default()
    }

    fn is_end_stream(&self) -> bool {
        self.body.length() == Some(0)
    }
}

impl<B> TowerService<Request<B>> for Hub
where
    B: HttpBody<Data = Bytes> + Send + 'static,
{
    type Response = Response<HubBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let hub = Arc::clone(&self.0);
        Box::pin(async move { Ok(hub.answer(request).await.map(HubBody::new)) })
    }
}

impl Inner {
    async fn answer<B>(self: Arc<Self>, mut request: Request<B>) -> Response<Body>
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
    {
        let head_only = request.method() == Method::HEAD;
        let mut answer = match request.uri().path() {
            "/healthz" | "/health" => health(request.method(), true),
            "/readyz" => health(request.method(), !self.is_draining()),
            TUNNEL => self.tunnel(&mut request).unwrap_or_else(|refused| *refused),
            _ => self.request(request).await.unwrap_or_else(|refused| *refused),
        };
        answer::sign(&mut answer);
        if head_only {
            *answer.body_mut() = Body::empty();
        }
        answer
    }

    async fn request<B>(self: &Arc<Self>, request: Request<B>) -> Result<Response<Body>, Box<Response<Body>>>
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
    {
        let (mut head, body) = request.into_parts();
        let service = self.service(&mut head.headers)?;
        if head.uri.path().trim_end_matches('/') == AGENTS {
            return Ok(self.list(&service, &head.method));
        }
        if let Some(agent) = admin::probed(head.uri.path()) {
            may_use(&service, &agent)?;
            return self.probe(agent, Request::from_parts(head, incoming(body))).await;
        }
        let place = Place::of(&head.uri).ok_or_else(|| {
            let form = "requests go to /v1/agents/{agent}/{http|https}/{host[:port]}/{path}";
            Box::new(refusal(StatusCode::NOT_FOUND, "no_such_path", form))
        })?;
        may_use(&service, &place.agent)?;
        head.uri = place.uri.clone();
        let request = Request::from_parts(head, incoming(body));
        let mut answer = self
            .carry(&service.name, &place.agent, request)
            .await
            .map_err(|error| Box::new(failure(&error)))?;
        let headers = answer.headers_mut();
        place.keep_under_hub(headers);
        if let Ok(agent) = HeaderValue::from_str(place.agent.as_str()) {
            headers.insert(AGENT, agent);
        }
        Ok(answer)
    }

    /// Who asks, by the key, which is taken out.
    fn service(&self, headers: &mut HeaderMap) -> Result<Arc<Service>, Box<Response<Body>>> {
        let key = take_key(headers);
        key.and_then(|key| self.keys().service(&key)).ok_or_else(|| {
            self.refuse("service_key");
            tracing::warn!("a service was turned away: its key is not one of this hub");
            let message = "the hub wants the key of a service in Scm-Hub-Key";
            let mut answer = refused(StatusCode::UNAUTHORIZED, Code::RelayKeyRejected, message);
            let ask = HeaderValue::from_static("Basic realm=\"scm-hub\"");
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, ask);
            Box::new(answer)
        })
    }
}

fn health(method: &Method, well: bool) -> Response<Body> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return refusal(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "GET or HEAD");
    }
    let mut answer = Response::new(Body::from(if well { "ok\n" } else { "draining\n" }.to_owned()));
    if !well {
        *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    answer
}

fn may_use(service: &Service, agent: &AgentName) -> Result<(), Box<Response<Body>>> {
    if service.may_use(agent) {
        return Ok(());
    }
    let message = format!("the service {} may not use the agent {agent}", service.name);
    Err(Box::new(refused(StatusCode::FORBIDDEN, Code::RelayKeyRejected, &message)))
}

/// The service's key: in its own header, or as the password of a plain git, which has one place for a credential.
fn take_key(headers: &mut HeaderMap) -> Option<String> {
    if let Some(key) = headers.remove(KEY) {
        return key.to_str().ok().map(str::to_owned);
    }
    let basic = headers.remove(header::AUTHORIZATION)?;
    let basic = STANDARD.decode(basic.to_str().ok()?.strip_prefix("Basic ")?).ok()?;
    let basic = String::from_utf8(basic).ok()?;
    basic.split_once(':').map(|(_, password)| password.to_owned())
}

fn incoming<B>(body: B) -> Body
where
    B: HttpBody<Data = Bytes> + Send + 'static,
{
    if body.is_end_stream() {
        return Body::empty();
    }
    let length = body.size_hint().exact();
    let chunks = BodyStream::new(Box::pin(body)).map(|frame| match frame {
        Ok(frame) => frame.into_data().ok().map(Ok),
        Err(_) => {
            let message = "the caller broke off its upload";
            Some(Err(TransportError::new(ErrorKind::Cancelled, Delivery::Unknown, message)))
        }
    });
    Body::stream(chunks.filter_map(std::future::ready), length)
}
