//! How an agent is, for those who watch it.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep};

use super::metrics::Metrics;

/// Connections at once: probes are few.
const CONNECTIONS: usize = 32;

/// How long a probe may take to ask.
const ASKING: Duration = Duration::from_secs(5);

/// How long an agent may be without a tunnel before it is better started anew.
const WITHOUT: Duration = Duration::from_secs(600);

/// How an agent is. Cheap to clone.
#[derive(Clone)]
pub struct Health(Arc<State>);

struct State {
    metrics: Metrics,
    seen: watch::Sender<Seen>,
}

#[derive(Clone, Debug)]
struct Seen {
    tunnels: usize,
    /// When there was last one, or the start.
    last: Instant,
    name: String,
    stopping: bool,
}

impl Health {
    pub(crate) fn new() -> Self {
        let seen = Seen { tunnels: 0, last: Instant::now(), name: String::new(), stopping: false };
        Self(Arc::new(State { metrics: Metrics::new(), seen: watch::Sender::new(seen) }))
    }

    /// Tunnels that the hub has taken in.
    pub fn tunnels(&self) -> usize {
        self.0.seen.borrow().tunnels
    }

    /// Can it do work? It has a tunnel, and is not about to stop.
    pub fn is_ready(&self) -> bool {
        let seen = self.0.seen.borrow();
        seen.tunnels > 0 && !seen.stopping
    }

    /// Is there no reason to start it anew? It has a tunnel, or had one within ten minutes.
    pub fn is_alive(&self) -> bool {
        let seen = self.0.seen.borrow();
        seen.tunnels > 0 || seen.stopping || seen.last.elapsed() < WITHOUT
    }

    /// Waits for the first tunnel. The name is the agent's, by which the hub knows its access key.
    pub async fn ready(&self) -> String {
        self.any().await;
        self.0.seen.borrow().name.clone()
    }

    /// The metrics, in the text form of OpenMetrics, which Prometheus reads.
    pub fn metrics(&self) -> String {
        self.0.metrics.text()
    }

    /// Answers `GET` and `HEAD` of `/healthz`, `/readyz` and `/metrics`. It never ends, and goes when it is dropped.
    pub async fn serve(self, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let place = Arc::clone(&places).acquire_owned().await;
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                // No descriptor is left, perhaps: a moment later there may be one.
                Err(_) => {
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let this = self.clone();
            tokio::spawn(async move {
                let _place = place;
                let service = service_fn(|request| {
                    let answer = this.answer(&request);
                    async { Ok::<_, Infallible>(answer) }
                });
                let served = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(ASKING)
                    .serve_connection(TokioIo::new(stream), service);
                // Whoever asks may go away.
                let _ = served.await;
            });
        }
    }

    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let word = |yes: bool, yes_text: &str, no_text: &str| match yes {
            true => (StatusCode::OK, yes_text.to_owned()),
            false => (StatusCode::SERVICE_UNAVAILABLE, no_text.to_owned()),
        };
        let (status, text) = match request.uri().path() {
            _ if !matches!(*request.method(), Method::GET | Method::HEAD) => {
                (StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD\n".to_owned())
            }
            "/healthz" | "/health" => word(self.is_alive(), "ok\n", "no tunnel for ten minutes\n"),
            "/readyz" => word(self.is_ready(), "ok\n", "no tunnel to the hub\n"),
            "/metrics" => (StatusCode::OK, self.metrics()),
            _ => (StatusCode::NOT_FOUND, "/healthz, /readyz or /metrics\n".to_owned()),
        };
        let kind = match request.uri().path() {
            "/metrics" => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            _ => "text/plain; charset=utf-8",
        };
        let mut answer = Response::new(Full::from(text));
        *answer.status_mut() = status;
        answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        answer
    }

    pub(crate) fn counts(&self) -> &Metrics {
        &self.0.metrics
    }

    /// Waits until there is a tunnel.
    pub(crate) async fn any(&self) {
        let mut seen = self.0.seen.subscribe();
        if seen.wait_for(|seen| seen.tunnels > 0).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    pub(crate) fn stopping(&self) {
        self.0.seen.send_modify(|seen| seen.stopping = true);
    }

    /// One more tunnel, for as long as what comes back is held.
    pub(crate) fn opened(&self, name: &str) -> Open {
        self.0.metrics.opened.inc();
        self.0.metrics.tunnels.inc();
        self.0.seen.send_modify(|seen| {
            seen.tunnels += 1;
            seen.name = name.to_owned();
        });
        Open(self.clone())
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").field("seen", &*self.0.seen.borrow()).finish_non_exhaustive()
    }
}

/// Counts one open tunnel.
pub(crate) struct Open(Health);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.0.metrics.tunnels.dec();
        self.0.0.seen.send_modify(|seen| {
            seen.tunnels -= 1;
            seen.last = Instant::now();
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(health: &Health, line: &str) -> (u16, String) {
        let (method, path) = line.split_once(' ').unwrap();
        let request = Request::builder().method(method).uri(path).body(()).unwrap();
        let answer = health.answer(&request);
        let mut body = answer.into_parts();
        let text = futures_util::FutureExt::now_or_never(http_body_util::BodyExt::collect(&mut body.1));
        let text = text.unwrap().unwrap().to_bytes();
        (body.0.status.as_u16(), String::from_utf8(text.to_vec()).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_ready_with_a_tunnel_and_not_alive_after_ten_minutes_without() {
        let health = Health::new();
        assert_eq!(ask(&health, "GET /readyz").0, 503);
        assert_eq!(ask(&health, "HEAD /healthz").0, 200);
        tokio::time::advance(Duration::from_secs(599)).await;
        assert!(health.is_alive());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(ask(&health, "GET /healthz"), (503, "no tunnel for ten minutes\n".to_owned()));

        let open = health.opened("acme");
        assert_eq!(health.ready().await, "acme");
        assert_eq!((ask(&health, "GET /readyz").0, ask(&health, "GET /healthz").0), (200, 200));
        drop(open);
        tokio::time::advance(Duration::from_secs(599)).await;
        assert!(health.is_alive() && !health.is_ready());

        let _open = health.opened("acme");
        health.stopping();
        assert_eq!((ask(&health, "GET /readyz").0, ask(&health, "GET /healthz").0), (503, 200));
        assert_eq!((ask(&health, "POST /healthz").0, ask(&health, "GET /").0), (405, 404));
    }
}
