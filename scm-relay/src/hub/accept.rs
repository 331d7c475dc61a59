//! Where agents come in.

use std::sync::{Arc, Weak};

use http::header::{self, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use scm_core::{Body, Code};
use tokio::time::timeout;

use super::Inner;
use super::answer::{refusal, refused};
use crate::agent::control;
use crate::body::Ledger;
use crate::keys::{AgentName, KeyHash};
use crate::tunnel::Tunnel;
use crate::wire::{self, End, WebSocketIo};

impl Inner {
    pub(super) fn tunnel<B>(
        self: &Arc<Self>,
        request: &mut Request<B>,
    ) -> Result<Response<Body>, Box<Response<Body>>> {
        let refuse = |status, code, message| Err(Box::new(refusal(status, code, message)));
        let refuse_as = |status, code, message: &str| Err(Box::new(refused(status, code, message)));
        let headers = request.headers();
        let is = |name: HeaderName, value: &str| {
            headers.get(name).is_some_and(|seen| seen.as_bytes().eq_ignore_ascii_case(value.as_bytes()))
        };
        let key =
            headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let Some((agent, hash)) = key.and_then(|key| self.keys().agent(key)) else {
            let message = "the access key is not one of this hub";
            return refuse_as(StatusCode::UNAUTHORIZED, Code::RelayKeyRejected, message);
        };
        if request.method() != Method::GET
            || !is(header::UPGRADE, "websocket")
            || !is(header::SEC_WEBSOCKET_VERSION, "13")
        {
            return refuse(StatusCode::UPGRADE_REQUIRED, "no_upgrade", "agents come in by a WebSocket");
        }
        if !is(header::SEC_WEBSOCKET_PROTOCOL, wire::SUBPROTOCOL) {
            let message = "this hub speaks scm-relay.h2.v1: update the agent, or the hub";
            return refuse_as(StatusCode::BAD_REQUEST, Code::RelayVersion, message);
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
