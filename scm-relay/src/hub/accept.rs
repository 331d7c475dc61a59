//! Where agents come in.

use std::sync::{Arc, Weak};
use std::time::Duration;

use http::header::{self, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use scm_core::{Body, Code, Delivery, redact};
use semver::Version;
use tokio::time::{sleep, timeout};

use super::Inner;
use super::answer::{refusal, refused};
use super::metrics::{OfAgent, Reason};
use super::registry::{Joined, Registry};
use super::serve::AGENT;
use crate::agent::control;
use crate::keys::{AgentName, KeyHash};
use crate::tunnel::{Over, Tunnel};
use crate::wire::{self, End, WebSocketIo};

/// What an agent says of itself when it opens a tunnel.
const VERSION: HeaderName = HeaderName::from_static("scm-agent-version");

/// How often a tunnel that is to go is looked at.
const LOOK: Duration = Duration::from_millis(100);

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
        if self.is_draining() {
            let message = "this hub is stopping: another one, or this one in a while, takes the tunnel";
            return refuse(StatusCode::SERVICE_UNAVAILABLE, "draining", message);
        }
        let key =
            headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let Some((agent, hash)) = key.and_then(|key| self.keys().agent(key)) else {
            self.refuse("access_key");
            tracing::warn!("an agent was turned away: its access key is not one of this hub");
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
            self.registry.refuse(&agent, message);
            return refuse_as(StatusCode::BAD_REQUEST, Code::RelayVersion, message);
        }
        if let Some(minimum) = &self.settings.minimum_agent {
            let version =
                headers.get(VERSION).and_then(|version| version.to_str().ok()?.parse::<Version>().ok());
            if version.as_ref().is_none_or(|version| version < minimum) {
                self.refuse("version");
                let version =
                    version.map_or_else(|| "of an unknown version".to_owned(), |version| version.to_string());
                let message = format!(
                    "the agent {agent} is {version}, and this hub takes {minimum} and later: update the agent"
                );
                tracing::warn!(%agent, "{message}");
                self.registry.refuse(&agent, &message);
                return refuse_as(StatusCode::UPGRADE_REQUIRED, Code::RelayVersion, &message);
            }
        }
        let Some(nonce) = headers.get(header::SEC_WEBSOCKET_KEY) else {
            return refuse(StatusCode::BAD_REQUEST, "no_upgrade", "the WebSocket has no key");
        };
        let Ok(accept) = HeaderValue::try_from(wire::accept_key(nonce.as_bytes())) else {
            return refuse(StatusCode::BAD_REQUEST, "no_upgrade", "the WebSocket's key is none");
        };
        let name = HeaderValue::from_str(agent.as_str());
        tokio::spawn(welcome(Arc::downgrade(self), agent, hash, hyper::upgrade::on(request)));
        let mut answer = Response::new(Body::empty());
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = answer.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(wire::SUBPROTOCOL));
        if let Ok(name) = name {
            headers.insert(AGENT, name);
        }
        Ok(answer)
    }
}

/// Lives as long as the tunnel. It does not keep the hub alive.
async fn welcome(hub: Weak<Inner>, agent: AgentName, key: KeyHash, upgrade: hyper::upgrade::OnUpgrade) {
    let Ok(upgraded) = upgrade.await else { return };
    let io = WebSocketIo::new(TokioIo::new(upgraded), End::Hub).await;
    let (settings, age, ledger) = {
        let Some(hub) = hub.upgrade() else { return };
        (hub.settings.tunnel(), hub.settings.tunnel_age, hub.registry.share(&agent, &hub.settings).ledger)
    };
    let Ok((tunnel, work)) = Tunnel::open(io, &settings, ledger).await else { return };
    let stay = async {
        let entered = timeout(settings.ping_limit, enter(&hub, &agent, key, &tunnel)).await;
        let Some((joined, registry)) = entered.ok().flatten() else { return tunnel.stop() };
        // Not all of a hub's tunnels at once, even where all came at once.
        sleep(age.mul_f64(0.9 + 0.2 * fastrand::f64())).await;
        retire(&agent, joined.id, &tunnel, &registry).await;
        // For as long as the tunnel works.
        let _joined = joined;
        std::future::pending::<()>().await;
    };
    let over = tokio::select! {
        over = work => Some(over),
        () = stay => None,
    };
    let reason = over.map_or("not taken", Over::as_str);
    if let Some(hub) = hub.upgrade() {
        hub.metrics.over.get_or_create(&Reason { reason }).inc();
    }
    tracing::info!(%agent, reason, "a tunnel of an agent is over");
}

/// Greets the agent, and takes the tunnel in.
async fn enter(
    hub: &Weak<Inner>,
    agent: &AgentName,
    key: KeyHash,
    tunnel: &Tunnel,
) -> Option<(Joined, Arc<Registry>)> {
    let mut hello = Request::new(Body::from(env!("CARGO_PKG_VERSION").to_owned()));
    *hello.method_mut() = Method::POST;
    *hello.uri_mut() = control::uri(control::HELLO);
    let words = tunnel.send(hello).await.ok()?.into_body().collect(1024).await.ok()?;
    let words = String::from_utf8_lossy(&words).into_owned();
    // What follows the version says what the agent can do; this version asks for nothing that all of them cannot.
    let version = redact::line(words.split_whitespace().next().unwrap_or_default());
    let hub = hub.upgrade()?;
    // It may have been taken away meanwhile.
    let valid = hub.keys().holds(agent, key) && !hub.is_draining();
    let joined = valid.then(|| hub.registry.join(agent, key, version.clone(), tunnel.clone()))?;
    if !hub.keys().holds(agent, key) {
        return None;
    }
    hub.metrics.opened.get_or_create(&OfAgent { agent: agent.to_string() }).inc();
    tracing::info!(%agent, version, "an agent has opened a tunnel");
    Some((joined, Arc::clone(&hub.registry)))
}

/// Lets a younger tunnel take the place of this one.
async fn retire(agent: &AgentName, id: u64, tunnel: &Tunnel, registry: &Registry) {
    tunnel.retire();
    let asked = loop {
        let mut retire = Request::new(Body::empty());
        *retire.method_mut() = Method::POST;
        *retire.uri_mut() = control::uri(control::RETIRE);
        match tunnel.send(retire).await {
            // All places are taken: the agent does not know of it yet.
            Err(error) if error.delivery() == Delivery::NotSent && !tunnel.is_draining() => sleep(LOOK).await,
            asked => break asked,
        }
    };
    tracing::info!(%agent, "a tunnel is old: another one takes its place");
    if asked.is_ok_and(|answer| answer.status().is_success()) {
        // From then on the agent ends this one, once what is in flight is over.
        registry.successor(agent, id).await;
        tunnel.drain();
        return;
    }
    // An agent that knows no such thing opens another one when this one is gone.
    tunnel.drain();
    while tunnel.in_flight() > 0 {
        sleep(LOOK).await;
    }
    tunnel.stop();
}
