use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::scm::Priority;
use crate::time::Clock;

/// How many requests to one server run at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// All together.
    pub concurrent: usize,
    /// Of these, how many bulk work leaves free for interactive calls.
    pub reserved: usize,
}

impl Default for Limits {
    /// 16 at the same time, 4 of them kept free of bulk work.
    fn default() -> Self {
        Self { concurrent: 16, reserved: 4 }
    }
}

impl Limits {
    /// Sets how many run at the same time; a quarter is kept free of bulk work. At least one runs.
    #[must_use]
    pub fn with_concurrent(mut self, concurrent: usize) -> Self {
        self.concurrent = concurrent.max(1);
        self.reserved = self.concurrent / 4;
        self
    }
}

/// Where requests wait: for their turn, and while the server wants a pause.
pub(super) struct Gate {
    all: Semaphore,
    bulk: Semaphore,
    paused_until: Mutex<Option<Instant>>,
    clock: Arc<dyn Clock>,
}

/// The right to send one request. `None` stands for a semaphore that was never closed and so cannot refuse.
pub(super) struct Permit<'a> {
    _all: Option<SemaphorePermit<'a>>,
    _bulk: Option<SemaphorePermit<'a>>,
}

impl Gate {
    pub(super) fn new(limits: Limits, clock: Arc<dyn Clock>) -> Self {
        let all = limits.concurrent.max(1);
        let bulk = all.saturating_sub(limits.reserved).max(1);
        Self { all: Semaphore::new(all), bulk: Semaphore::new(bulk), paused_until: Mutex::new(None), clock }
    }

    pub(super) async fn enter(&self, priority: Priority) -> Permit<'_> {
        let bulk = match priority {
            Priority::Bulk => self.bulk.acquire().await.ok(),
            Priority::Interactive => None,
        };
        let all = self.all.acquire().await.ok();
        // After the turn has come: a pause may have begun while waiting for it.
        while let Some(wait) = self.pause_left() {
            self.clock.sleep(wait).await;
        }
        Permit { _all: all, _bulk: bulk }
    }

    /// Nobody sends before `wait` is over. A longer pause that is already set stays.
    pub(super) fn pause(&self, wait: Duration) {
        let until = self.clock.monotonic().checked_add(wait);
        let mut paused = self.paused_until.lock().unwrap_or_else(PoisonError::into_inner);
        *paused = (*paused).max(until);
    }

    fn pause_left(&self) -> Option<Duration> {
        let until = (*self.paused_until.lock().unwrap_or_else(PoisonError::into_inner))?;
        let left = until.saturating_duration_since(self.clock.monotonic());
        (!left.is_zero()).then_some(left)
    }
}
