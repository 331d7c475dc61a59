//! Opening a tunnel to the hub.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use scm_core::{Code, Delivery, ErrorKind, TransportError};
use scm_transport::Dialer;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::timeout;
use url::Url;

use crate::hub::TUNNEL;
use crate::wire::{self, End, WebSocketIo};

/// How long the hub may take to accept a tunnel, once there is a connection.
const OPENING: Duration = Duration::from_secs(20);

/// What is read of a refusal.
const REFUSAL: usize = 16 * 1024;

/// This agent's version, which every request for a tunnel tells.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A tunnel whose WebSocket is open, and what the hub said of it.
pub(crate) struct Opened {
    pub(crate) io: WebSocketIo<TokioIo<Upgraded>>,
    /// The agent's name, as the access key tells the hub.
    pub(crate) agent: String,
    /// The hub's version.
    pub(crate) hub: String,
}

/// A connection to the hub, and the opening of the WebSocket on it. The way there fails as the dialer says.
pub(crate) async fn open(dialer: &Dialer, hub: &Url, key: &SecretString) -> Result<Opened, TransportError> {
    let stream = dialer.dial(hub).await?;
    let opening = async {
        let (mut requests, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        tokio::spawn(connection.with_upgrades());
        let nonce = nonce()?;
        let answer = requests.send_request(request(hub, key, &nonce)?).await.map_err(broken)?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(refused(answer).await);
        }
        let accept = answer.headers().get(header::SEC_WEBSOCKET_ACCEPT);
        if accept.is_none_or(|accept| accept.as_bytes() != wire::accept_key(nonce.as_bytes()).as_bytes()) {
            return Err(no_hub("what answers at the hub's URL took the WebSocket without reading it"));
        }
        let agent = text(answer.headers(), "scm-hub-agent");
        let hub = text(answer.headers(), "scm-hub-version");
        let upgraded = hyper::upgrade::on(answer).await.map_err(broken)?;
        Ok(Opened { io: WebSocketIo::new(TokioIo::new(upgraded), End::Agent).await, agent, hub })
    };
    timeout(OPENING, opening)
        .await
        .unwrap_or_else(|_| Err(no_hub(format!("the hub did not take the tunnel within {OPENING:?}"))))
}

fn request(hub: &Url, key: &SecretString, nonce: &str) -> Result<Request<Empty<Bytes>>, TransportError> {
    let path = format!("{}{TUNNEL}", hub.path().trim_end_matches('/'));
    let authority = &hub[url::Position::BeforeHost..url::Position::AfterPort];
    Request::get(path)
        .header(header::HOST, authority)
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_KEY, nonce)
        .header(header::SEC_WEBSOCKET_PROTOCOL, wire::SUBPROTOCOL)
        .header(header::USER_AGENT, format!("scm-agent/{VERSION}"))
        .header("scm-agent-version", VERSION)
        .header(header::AUTHORIZATION, bearer(key)?)
        .body(Empty::new())
        .map_err(|_| config("the hub's URL cannot be used"))
}

/// What an answer without a tunnel means. Only the hub itself says so of keys and versions: anything on the way has statuses.
async fn refused(answer: Response<Incoming>) -> TransportError {
    let status = answer.status();
    let server = text(answer.headers(), header::SERVER.as_str());
    let code = text(answer.headers(), "scm-hub-error");
    let body = Limited::new(answer.into_body(), REFUSAL).collect().await.map(|body| body.to_bytes());
    let said = body.ok().and_then(|body| serde_json::from_slice::<serde_json::Value>(&body).ok());
    let said = said.as_ref().and_then(|said| said["error"]["message"].as_str()).unwrap_or_default();
    let of_hub = |code, message: &str| {
        let said = if said.is_empty() { String::new() } else { format!(": {said}") };
        TransportError::new(ErrorKind::Relay, Delivery::NotSent, format!("{message}{said}"))
            .with_code(code)
            .with_retryable(false)
    };
    if code == Code::RelayKeyRejected.as_str() {
        return of_hub(Code::RelayKeyRejected, "the hub does not accept the access key");
    }
    if code == Code::RelayVersion.as_str() {
        return of_hub(Code::RelayVersion, &format!("the hub does not take an agent of version {VERSION}"));
    }
    if !code.is_empty() {
        return no_hub(format!("the hub opens no tunnel: {status}, {code}: {said}"))
            .with_detail("hub_code", code);
    }
    let by = if server.is_empty() { server } else { format!(" by {server}") };
    no_hub(format!("no hub answers at the hub's URL: the answer is {status}{by}"))
}

/// A header's text, or none.
fn text(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

fn bearer(key: &SecretString) -> Result<HeaderValue, TransportError> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", key.expose_secret()))
        .map_err(|_| config("the access key has characters that no key has"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn nonce() -> Result<String, TransportError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| {
        TransportError::new(ErrorKind::Internal, Delivery::NotSent, "the system gives no random bytes")
    })?;
    Ok(STANDARD.encode(bytes))
}

fn broken(error: hyper::Error) -> TransportError {
    no_hub("the hub ended the connection while the tunnel was opened").with_source(error)
}

fn no_hub(message: impl AsRef<str>) -> TransportError {
    TransportError::new(ErrorKind::Relay, Delivery::NotSent, message).with_code(Code::RelayHubUnreachable)
}

fn config(message: &str) -> TransportError {
    TransportError::new(ErrorKind::Config, Delivery::NotSent, message)
}
