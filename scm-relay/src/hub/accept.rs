//! The hub's HTTP side: tunnels come in, requests of services go through.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{Stream as _, StreamExt as _};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyStream;
use hyper_util::rt::TokioIo;
use scm_core::{Body, Code, Delivery, ErrorKind, TransportError};
use tokio::time::timeout;
use tower_service::Service;

use super::route::Place;
use super::{Hub, Inner};
use crate::agent::control;
use crate::body::Ledger;
use crate::keys::{AgentName, KeyHash};
use crate::tunnel::Tunnel;
use crate::wire::{self, End, WebSocketIo};

/// The service's key.
const KEY: HeaderName = HeaderName::from_static("scm-hub-key");

/// On every answer of the hub's own: what went wrong, as a code.
const ERROR: HeaderName = HeaderName::from_static("scm-hub-error");

/// Beside it: could the server have acted?
const DELIVERY: HeaderName = HeaderName::from_static("scm-hub-delivery");

/// Where agents come in.
pub(crate) const TUNNEL: &str = "/v1/tunnel";

/// The body of an answer of the hub.
#[derive(Debug)]
pub struct HubBody(Body);

impl HttpBody for HubBody {
    type Data = Bytes;
    type Error = TransportError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, TransportError>>> {
        let chunk = ready!(Pin::new(&mut self.0).poll_next(cx));
        Poll::Ready(chunk.map(|chunk| chunk.map(Frame::data)))
    }

    fn size_hint(&self) -> SizeHint {
        self.0.length().map(SizeHint::with_exact).unwrap_or_default()
    }

    fn is_end_stream(&self) -> bool {
        self.0.length() == Some(0)
    }
}

impl<B> Service<Request<B>> for Hub
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
        Box::pin(async move { Ok(hub.answer(request).await.map(HubBody)) })
    }
}

impl Inner {
    async fn answer<B>(self: Arc<Self>, mut request: Request<B>) -> Response<Body>
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
    {
        match request.uri().path() {
            "/healthz" | "/health" | "/readyz" => {
                if matches!(*request.method(), Method::GET | Method::HEAD) {
                    Response::new(Body::from("ok\n".to_owned()))
                } else {
                    refusal(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "GET or HEAD")
                }
            }
            TUNNEL => self.tunnel(&mut request).unwrap_or_else(|refused| *refused),
            _ => {
                let head_only = request.method() == Method::HEAD;
                let mut answer = self.request(request).await.unwrap_or_else(|refused| *refused);
                if head_only {
                    *answer.body_mut() = Body::empty();
                }
                answer
            }
        }
    }

    async fn request<B>(&self, request: Request<B>) -> Result<Response<Body>, Box<Response<Body>>>
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
    {
        let (mut head, body) = request.into_parts();
        let place = Place::of(&head.uri).ok_or_else(|| {
            let form = "requests go to /v1/agents/{agent}/{http|https}/{host[:port]}/{path}";
            Box::new(refusal(StatusCode::NOT_FOUND, "no_such_path", form))
        })?;
        let keys = self.keys();
        let key = take_key(&mut head.headers);
        let service = key.as_deref().and_then(|key| keys.service(key)).ok_or_else(|| {
            let code = Code::RelayKeyRejected.as_str();
            let mut answer =
                refusal(StatusCode::UNAUTHORIZED, code, "the hub wants the key of a service in Scm-Hub-Key");
            let ask = HeaderValue::from_static("Basic realm=\"scm-hub\"");
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, ask);
            Box::new(answer)
        })?;
        if !service.may_use(&place.agent) {
            let message = format!("the service {} may not use the agent {}", service.name, place.agent);
            return Err(Box::new(refusal(StatusCode::FORBIDDEN, Code::RelayKeyRejected.as_str(), &message)));
        }
        head.uri = place.uri.clone();
        let request = Request::from_parts(head, incoming(body));
        let mut answer =
            self.carry(&place.agent, request).await.map_err(|error| Box::new(failure(&error)))?;
        place.keep_under_hub(answer.headers_mut());
        Ok(answer)
    }

    fn tunnel<B>(self: &Arc<Self>, request: &mut Request<B>) -> Result<Response<Body>, Box<Response<Body>>> {
        let refuse = |status, code, message| Err(Box::new(refusal(status, code, message)));
        let headers = request.headers();
        let is = |name: HeaderName, value: &str| {
            headers.get(name).is_some_and(|seen| seen.as_bytes().eq_ignore_ascii_case(value.as_bytes()))
        };
        let key =
            headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let Some((agent, hash)) = key.and_then(|key| self.keys().agent(key)) else {
            let message = "the access key is not one of this hub";
            return refuse(StatusCode::UNAUTHORIZED, Code::RelayKeyRejected.as_str(), message);
        };
        if request.method() != Method::GET
            || !is(header::UPGRADE, "websocket")
            || !is(header::SEC_WEBSOCKET_VERSION, "13")
        {
            return refuse(StatusCode::UPGRADE_REQUIRED, "no_upgrade", "agents come in by a WebSocket");
        }
        if !is(header::SEC_WEBSOCKET_PROTOCOL, wire::SUBPROTOCOL) {
            let message = "this hub speaks scm-relay.h2.v1: update the agent, or the hub";
            return refuse(StatusCode::BAD_REQUEST, Code::RelayVersion.as_str(), message);
        }
        let Some(nonce) = headers.get(header::SEC_WEBSOCKET_KEY) else {
            return refuse(StatusCode::BAD_REQUEST, "no_upgrade", "the WebSocket has no key");
        };
        let Ok(accept) = HeaderValue::try_from(wire::accept_key(nonce.as_bytes())) else {
            return refuse(StatusCode::BAD_REQUEST, "no_upgrade", "the WebSocket's key is none");
        };
        tokio::spawn(welcome(Arc::downgrade(self), agent, hash, hyper::upgrade::on(request)));
        let mut answer = Response::new(Body::empty());
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = answer.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(wire::SUBPROTOCOL));
        Ok(answer)
    }
}

/// Lives as long as the tunnel. It does not keep the hub alive.
async fn welcome(hub: Weak<Inner>, agent: AgentName, key: KeyHash, upgrade: hyper::upgrade::OnUpgrade) {
    let Ok(upgraded) = upgrade.await else { return };
    let io = WebSocketIo::new(TokioIo::new(upgraded), End::Hub).await;
    let (settings, ledger) = {
        let Some(hub) = hub.upgrade() else { return };
        let make = || Ledger::new(hub.settings.unread, hub.settings.unread_for);
        (hub.settings.tunnel(), hub.registry.ledger(&agent, make))
    };
    let Ok((tunnel, work)) = Tunnel::open(io, &settings, ledger).await else { return };
    let enter = async {
        let mut hello = Request::new(Body::empty());
        *hello.uri_mut() = control::uri(control::HELLO);
        let version = tunnel.send(hello).await.ok()?.into_body().collect(1024).await.ok()?;
        let version = String::from_utf8_lossy(&version).into_owned();
        let hub = hub.upgrade()?;
        // It may have been taken away meanwhile.
        let valid = hub.keys().holds(&agent, key);
        let joined = valid.then(|| hub.registry.join(&agent, key, version, tunnel.clone()))?;
        if !hub.keys().holds(&agent, key) {
            return None;
        }
        tracing::info!(%agent, "an agent has opened a tunnel");
        Some(joined)
    };
    let stay = async {
        match timeout(settings.ping_limit, enter).await.ok().flatten() {
            // For as long as the tunnel works.
            Some(joined) => {
                let _joined = joined;
                std::future::pending::<()>().await;
            }
            None => tunnel.stop(),
        }
    };
    let over = tokio::select! {
        over = work => Some(over),
        () = stay => None,
    };
    tracing::info!(%agent, ?over, "a tunnel of an agent is over");
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

/// An answer of the hub's own, to a request that it did not pass on.
fn refusal(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    own(status, code, &TransportError::new(ErrorKind::Relay, Delivery::NotSent, message))
}

/// An answer of the hub's own, to a request that failed on its way.
fn failure(error: &TransportError) -> Response<Body> {
    let status = match (error.code(), error.kind()) {
        // No tunnel took it.
        (None, ErrorKind::Relay) if error.delivery() == Delivery::NotSent => StatusCode::SERVICE_UNAVAILABLE,
        (Some(Code::RelayAgentDenied), _) => StatusCode::FORBIDDEN,
        (Some(Code::RelayAgentOffline | Code::RelayAgentNeverSeen), _) => StatusCode::SERVICE_UNAVAILABLE,
        (_, ErrorKind::InvalidInput) => StatusCode::BAD_REQUEST,
        (_, ErrorKind::Timeout) => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::BAD_GATEWAY,
    };
    let code =
        error.code().map_or_else(|| error.kind().as_str().replace(' ', "_"), |code| code.as_str().to_owned());
    let mut answer = own(status, &code, error);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    }
    answer
}

fn own(status: StatusCode, code: &str, error: &TransportError) -> Response<Body> {
    let body = serde_json::json!({ "code": code, "error": error });
    let mut answer = Response::new(Body::from(format!("{body}\n")));
    *answer.status_mut() = status;
    let delivery = match error.delivery() {
        Delivery::NotSent => "not_sent",
        Delivery::Answered => "answered",
        _ => "unknown",
    };
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(DELIVERY, HeaderValue::from_static(delivery));
    headers.insert(ERROR, HeaderValue::try_from(code).unwrap_or(HeaderValue::from_static("relay")));
    answer
}
