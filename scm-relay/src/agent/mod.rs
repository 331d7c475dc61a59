//! The agent: dials the hub, and carries out what its policy allows.

mod connect;
pub(crate) mod control;
mod policy;
mod presets;
mod upstream;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use scm_core::{Code, Error, Result, Transport};
use secrecy::SecretString;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use url::Url;

pub use policy::{Allow, Policy};

use crate::body::Ledger;
use crate::tunnel::{self, Handler, Settings};
use upstream::Upstream;

/// How long the hub may take to accept a tunnel.
const OPENING: Duration = Duration::from_secs(20);

/// What an agent can be told.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AgentSettings {
    /// Tunnels that are kept open. 2 by default.
    pub tunnels: usize,
    /// Shortest and longest wait before a lost tunnel is opened again. 0.5 and 60 seconds by default.
    pub retry: (Duration, Duration),
    /// A tunnel that has lived for so long is a healthy one: after it, the wait is the shortest. 60 seconds by default.
    pub healthy: Duration,
    /// How long requests in flight may take when the agent is stopped. 30 seconds by default.
    pub grace: Duration,
    /// Bytes of uploads that the hub may be ahead of the servers that read them. 64 MiB by default.
    pub unread: usize,
    /// How long an upload may go unread. 60 seconds by default.
    pub unread_for: Duration,
    /// Allows a hub whose URL is http://. Access key and everything else are then readable on the way.
    pub danger_plain_http: bool,
}

impl AgentSettings {
    /// The usual ones.
    #[must_use]
    pub fn new() -> Self {
        Self {
            tunnels: 2,
            retry: (Duration::from_millis(500), Duration::from_secs(60)),
            healthy: Duration::from_secs(60),
            grace: Duration::from_secs(30),
            unread: 64 * 1024 * 1024,
            unread_for: Duration::from_secs(60),
            danger_plain_http: false,
        }
    }

    /// Sets how many tunnels are kept open.
    #[must_use]
    pub fn with_tunnels(mut self, tunnels: usize) -> Self {
        self.tunnels = tunnels;
        self
    }

    /// Sets the shortest and the longest wait before a lost tunnel is opened again.
    #[must_use]
    pub fn with_retry(mut self, shortest: Duration, longest: Duration) -> Self {
        self.retry = (shortest, longest);
        self
    }

    /// Sets how long requests in flight may take when the agent is stopped.
    #[must_use]
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Allows a hub whose URL is http://. Access key and everything else are then readable on the way.
    #[must_use]
    pub fn with_danger_plain_http(mut self) -> Self {
        self.danger_plain_http = true;
        self
    }
}

impl Default for AgentSettings {
    fn default() -> Self {
        Self::new()
    }
}

/// An agent. It opens no port: it dials the hub, and sends requests to the servers its policy allows.
pub struct Agent {
    hub: Url,
    key: SecretString,
    settings: AgentSettings,
    upstream: Arc<Upstream>,
    open: AtomicUsize,
}

impl Agent {
    /// An agent of the hub at `hub`, which reaches servers by `transport`.
    ///
    /// # Errors
    /// `Config` for a hub that cannot be used, and when nothing is allowed.
    pub fn new(
        hub: Url,
        key: SecretString,
        policy: Policy,
        transport: Transport,
        settings: AgentSettings,
    ) -> Result<Self> {
        match hub.scheme() {
            "http" if settings.danger_plain_http => tracing::warn!("the tunnel to the hub is not encrypted"),
            "http" => {
                return Err(Error::config(
                    "the hub's URL is http://, so that everybody on the way could read the access key: use https://",
                ));
            }
            "https" => return Err(Error::config("TLS to the hub is not in this version yet")),
            _ => return Err(Error::config("the hub's URL is written like https://hub.example.com")),
        }
        if policy.allowed().is_empty() {
            return Err(Error::config(
                "nothing is allowed: add an allow entry, such as https://gitlab.company.com=gitlab",
            ));
        }
        if settings.tunnels == 0 {
            return Err(Error::config("an agent needs at least one tunnel"));
        }
        let upstream = Arc::new(Upstream { policy, transport });
        Ok(Self { hub, key, settings, upstream, open: AtomicUsize::new(0) })
    }

    /// Tunnels that are open now: the agent is ready where there is one.
    pub fn tunnels(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Keeps the tunnels open until `stop` ends; then takes nothing new, and waits for what is in flight as long as the
    /// settings say.
    pub async fn run(&self, stop: impl Future<Output = ()>) {
        let drain = CancellationToken::new();
        let ledger = Ledger::new(self.settings.unread, self.settings.unread_for);
        let mut work = futures_util::future::join_all(
            (0..self.settings.tunnels).map(|_| self.keep_open(&ledger, &drain)),
        );
        tokio::select! {
            _ = &mut work => return,
            () = stop => {}
        }
        drain.cancel();
        if timeout(self.settings.grace, work).await.is_err() {
            tracing::warn!(grace = ?self.settings.grace, "requests were still in flight at the end of the grace period");
        }
    }

    /// One tunnel after the other, until `drain`.
    async fn keep_open(&self, ledger: &Arc<Ledger>, drain: &CancellationToken) {
        let (shortest, longest) = self.settings.retry;
        let mut ceiling = shortest;
        while !drain.is_cancelled() {
            let start = Instant::now();
            let wait = match self.tunnel(ledger, drain).await {
                Ok(()) => jitter(ceiling),
                // Trying again soon would not help; a key may still be put right at the hub.
                Err(Some(Code::RelayKeyRejected | Code::RelayVersion)) => longest,
                Err(_) => jitter(ceiling),
            };
            ceiling = match start.elapsed() >= self.settings.healthy {
                true => shortest,
                false => (ceiling * 2).min(longest),
            };
            tokio::select! {
                () = sleep(wait) => {}
                () = drain.cancelled() => return,
            }
        }
    }

    /// One tunnel, from its opening to its end.
    async fn tunnel(
        &self,
        ledger: &Arc<Ledger>,
        drain: &CancellationToken,
    ) -> std::result::Result<(), Option<Code>> {
        let dialled = tokio::select! {
            dialled = connect::dial(&self.hub, &self.key, OPENING) => dialled,
            () = drain.cancelled() => return Ok(()),
        };
        let io = dialled.map_err(|error| {
            let code = error.code().map(Code::as_str);
            tracing::error!(code, "no tunnel to the hub: {error}");
            error.code()
        })?;
        tracing::info!("a tunnel to the hub is open");
        let _open = Open::new(&self.open);
        let handler = Arc::clone(&self.upstream) as Arc<dyn Handler>;
        let over = tunnel::serve(io, handler, &Settings::default(), Arc::clone(ledger), drain.clone()).await;
        tracing::info!(?over, "a tunnel to the hub is over");
        Ok(())
    }
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent")
            .field("hub", &self.hub.as_str())
            .field("policy", &self.upstream.policy)
            .finish_non_exhaustive()
    }
}

/// Counts one open tunnel.
struct Open<'a>(&'a AtomicUsize);

impl<'a> Open<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Full jitter: a thousand agents that lost their hub at once do not come back at once.
fn jitter(ceiling: Duration) -> Duration {
    ceiling.mul_f64(fastrand::f64())
}
