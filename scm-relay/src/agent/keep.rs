//! Keeping tunnels open: one after the other, the next before the last one ends where that can be known.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use http::{Request, Response, StatusCode};
use scm_core::{Body, Code, TransportError};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::connect::{self, Opened, VERSION};
use super::health::{Health, Open};
use super::metrics::Label;
use super::upstream::Upstream;
use super::{Inner, advice, control};
use crate::body::Ledger;
use crate::tunnel::{self, Handler, Over};

/// One of an agent's tunnels, and its successors.
pub(super) struct Keeper {
    pub(super) agent: Arc<Inner>,
    pub(super) ledger: Arc<Ledger>,
    /// Takes nothing new from then on, and ends with what is in flight.
    pub(super) drain: CancellationToken,
    /// The first one looks for the hub; the others wait until it was found.
    pub(super) first: bool,
}

/// How a tunnel went.
struct Lived {
    over: Option<Over>,
    healthy: bool,
}

impl Keeper {
    /// Until the agent drains, and what is in flight is over.
    pub(super) async fn keep(self) {
        let mut pace = Pace::new(self.agent.settings.retry);
        let mut running = JoinSet::new();
        // Tunnels that go once there is a successor.
        let mut old: Vec<CancellationToken> = Vec::new();
        while !self.drain.is_cancelled() {
            let opened = tokio::select! {
                opened = self.open() => opened,
                () = self.drain.cancelled() => break,
            };
            let wait = match opened {
                Ok(opened) => {
                    let own = self.drain.child_token();
                    let lived = self.live(opened, &mut running, &own, &mut old).await;
                    if lived.healthy {
                        pace.reset();
                    }
                    match lived.over {
                        Some(over) => {
                            let wait = pace.next();
                            if !self.drain.is_cancelled() {
                                tracing::warn!(
                                    reason = over.as_str(),
                                    ?wait,
                                    "a tunnel to the hub is lost: the next one is opened"
                                );
                            }
                            wait
                        }
                        None => {
                            old.push(own);
                            // Not in circles with a hub that finds every tunnel old.
                            if lived.healthy { Duration::ZERO } else { pace.next() }
                        }
                    }
                }
                Err(error) => self.failed(&error, &mut pace),
            };
            tokio::select! {
                () = sleep(wait) => {}
                () = self.drain.cancelled() => break,
            }
            while running.try_join_next().is_some() {}
        }
        while running.join_next().await.is_some() {}
    }

    async fn open(&self) -> Result<Opened, TransportError> {
        if !self.first {
            self.agent.health.any().await;
        }
        connect::open(&self.agent.dialer, &self.agent.hub, &self.agent.key.now()).await
    }

    /// Until the tunnel is over, or is to be replaced.
    async fn live(
        &self,
        opened: Opened,
        running: &mut JoinSet<()>,
        drain: &CancellationToken,
        old: &mut Vec<CancellationToken>,
    ) -> Lived {
        let Opened { io, agent, hub } = opened;
        let (taken, mut is_taken) = oneshot::channel();
        let retire = CancellationToken::new();
        let line = Arc::new(Line {
            upstream: Arc::clone(&self.agent.upstream),
            health: self.agent.health.clone(),
            name: agent.clone(),
            retire: retire.clone(),
            taken: Mutex::new(Taken { tell: Some(taken), open: None }),
        });
        let (ended, mut end) = oneshot::channel();
        let (ledger, drain, settings) =
            (Arc::clone(&self.ledger), drain.clone(), self.agent.settings.tunnel());
        running.spawn(async move {
            let over =
                tunnel::serve(io, Arc::clone(&line) as Arc<dyn Handler>, &settings, ledger, drain).await;
            drop(line);
            // Whoever waits for a successor does not listen any more.
            let _ = ended.send(over);
        });
        let over = |over: Result<Over, _>| over.unwrap_or(Over::Broken);
        tokio::select! {
            biased;
            Ok(()) = &mut is_taken => {}
            ended = &mut end => return Lived { over: Some(over(ended)), healthy: false },
        }
        let start = Instant::now();
        tracing::info!(agent, hub, "a tunnel to the hub is open");
        // The successor is there.
        old.drain(..).for_each(|old| old.cancel());
        let over = tokio::select! {
            ended = &mut end => Some(over(ended)),
            () = retire.cancelled() => {
                tracing::info!("the hub asks for a younger tunnel");
                None
            }
        };
        Lived { over, healthy: start.elapsed() >= self.agent.settings.healthy }
    }

    /// Tells what is wrong, and for how long to wait.
    fn failed(&self, error: &TransportError, pace: &mut Pace) -> Duration {
        let code = error.code().map_or(error.kind().as_str(), Code::as_str);
        self.agent.health.counts().failures.get_or_create(&Label("code", code)).inc();
        let wait = match error.code() {
            // Trying again soon would not help; what is wrong may still be put right at the hub.
            Some(Code::RelayKeyRejected | Code::RelayVersion) => pace.slow(),
            _ => pace.next(),
        };
        let advice = advice::for_tunnel(error);
        tracing::error!(
            code,
            "no tunnel to the hub {}: {error}. {advice}. Next try in {wait:?}",
            self.agent.hub
        );
        wait
    }
}

/// The agent's side of one tunnel.
struct Line {
    upstream: Arc<Upstream>,
    health: Health,
    name: String,
    retire: CancellationToken,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    tell: Option<oneshot::Sender<()>>,
    open: Option<Open>,
}

#[async_trait]
impl Handler for Line {
    async fn handle(&self, request: Request<Body>) -> Response<Body> {
        if !control::is_control(request.uri()) {
            return self.upstream.handle(request, &self.name).await;
        }
        match request.uri().path() {
            // The first thing a hub asks of a tunnel that it takes in.
            control::HELLO => {
                let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(tell) = taken.tell.take() {
                    taken.open = Some(self.health.opened(&self.name));
                    let _ = tell.send(());
                }
                Response::new(Body::from(VERSION.to_owned()))
            }
            control::RETIRE => {
                self.retire.cancel();
                let mut answer = Response::new(Body::empty());
                *answer.status_mut() = StatusCode::NO_CONTENT;
                answer
            }
            _ => self.upstream.control(request).await,
        }
    }
}

/// How long to wait before the next try: full jitter, so that a thousand agents that lost their hub at once do not come
/// back at once.
struct Pace {
    shortest: Duration,
    longest: Duration,
    ceiling: Duration,
}

impl Pace {
    fn new((shortest, longest): (Duration, Duration)) -> Self {
        Self { shortest, longest, ceiling: shortest }
    }

    fn next(&mut self) -> Duration {
        let wait = whole_millis(self.ceiling.mul_f64(fastrand::f64()));
        self.ceiling = (self.ceiling * 2).min(self.longest);
        wait
    }

    fn slow(&mut self) -> Duration {
        whole_millis(self.longest.mul_f64(fastrand::f64().mul_add(0.5, 0.5)))
    }

    fn reset(&mut self) {
        self.ceiling = self.shortest;
    }
}

/// People read it.
fn whole_millis(wait: Duration) -> Duration {
    Duration::from_millis(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
