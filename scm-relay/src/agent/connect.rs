//! Dialling the hub, and dialling it again.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Request, StatusCode};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use scm_core::{Code, Delivery, ErrorKind, TransportError};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::Url;

use crate::hub::TUNNEL;
use crate::wire::{self, End, WebSocketIo};

/// A connection to the hub, and the opening of the WebSocket on it.
pub(crate) async fn dial(
    hub: &Url,
    key: &SecretString,
    limit: Duration,
) -> Result<WebSocketIo<TokioIo<Upgraded>>, TransportError> {
    timeout(limit, open(hub, key)).await.unwrap_or_else(|_| {
        let message = format!("the hub did not take the tunnel within {limit:?}");
        Err(unreachable_hub(message))
    })
}

async fn open(hub: &Url, key: &SecretString) -> Result<WebSocketIo<TokioIo<Upgraded>>, TransportError> {
    let host = hub.host_str().unwrap_or_default();
    let port = hub.port_or_known_default().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((bare, port)).await.map_err(|error| {
        unreachable_hub(format!("no connection to the hub {host}:{port}: {}", error.kind()))
            .with_source(error)
    })?;
    // Heartbeats and small answers must not wait for more to come.
    let _ = stream.set_nodelay(true);

    let broken = |error: hyper::Error| {
        unreachable_hub("the hub ended the connection while the tunnel was opened").with_source(error)
    };
    let (mut requests, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    tokio::spawn(connection.with_upgrades());
    let nonce = nonce()?;
    let path = format!("{}{TUNNEL}", hub.path().trim_end_matches('/'));
    let authority = &hub[url::Position::BeforeHost..url::Position::AfterPort];
    let request = Request::get(path)
        .header(header::HOST, authority)
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_KEY, &nonce)
        .header(header::SEC_WEBSOCKET_PROTOCOL, wire::SUBPROTOCOL)
        .header(header::USER_AGENT, concat!("scm-agent/", env!("CARGO_PKG_VERSION")))
        .header(header::AUTHORIZATION, bearer(key)?)
        .body(Empty::<Bytes>::new())
        .map_err(|_| config("the hub's URL cannot be used"))?;
    let answer = requests.send_request(request).await.map_err(broken)?;
    match answer.status() {
        StatusCode::SWITCHING_PROTOCOLS => {}
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            let message = "the hub does not accept the access key";
            return Err(TransportError::new(ErrorKind::Relay, Delivery::NotSent, message)
                .with_code(Code::RelayKeyRejected)
                .with_retryable(false));
        }
        StatusCode::BAD_REQUEST
            if answer.headers().get("scm-hub-error").is_some_and(|code| code == "relay.version") =>
        {
            let message = "the hub speaks another version: update the agent, or the hub";
            return Err(TransportError::new(ErrorKind::Relay, Delivery::NotSent, message)
                .with_code(Code::RelayVersion)
                .with_retryable(false));
        }
        status => {
            let message = format!("no hub opens a tunnel there: the answer is {status}");
            return Err(unreachable_hub(message));
        }
    }
    let accept = answer.headers().get(header::SEC_WEBSOCKET_ACCEPT);
    if accept.is_none_or(|accept| accept.as_bytes() != wire::accept_key(nonce.as_bytes()).as_bytes()) {
        return Err(unreachable_hub("what answers there took the WebSocket without reading it"));
    }
    let upgraded = hyper::upgrade::on(answer).await.map_err(broken)?;
    Ok(WebSocketIo::new(TokioIo::new(upgraded), End::Agent).await)
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

fn unreachable_hub(message: impl AsRef<str>) -> TransportError {
    TransportError::new(ErrorKind::Relay, Delivery::NotSent, message).with_code(Code::RelayHubUnreachable)
}

fn config(message: &str) -> TransportError {
    TransportError::new(ErrorKind::Config, Delivery::NotSent, message)
}
