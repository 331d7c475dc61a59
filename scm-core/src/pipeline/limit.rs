use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex as AsyncMutex, Semaphore, SemaphorePermit};

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
    /// Of the bulk work only one stands in line for `all`: who comes with an interactive call never queues behind a
    /// crowd, and the bulk work still gets its share of a line that never ends.
    line: AsyncMutex<()>,
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
        Self {
            all: Semaphore::new(all),
            bulk: Semaphore::new(bulk),
            line: AsyncMutex::new(()),
            paused_until: Mutex::new(None),
            clock,
        }
    }

    /// Waits for a turn, and for the end of a pause.
    ///
    /// # Errors
    /// What is left of a pause that outlasts the deadline: there is nothing to wait for.
    pub(super) async fn enter(
        &self,
        priority: Priority,
        deadline: Option<Instant>,
    ) -> Result<Permit<'_>, Duration> {
        self.pause_within(deadline)?;
        let permit = match priority {
            Priority::Interactive => Permit { _bulk: None, _all: self.all.acquire().await.ok() },
            Priority::Bulk => {
                let bulk = self.bulk.acquire().await.ok();
                let _first_in_line = self.line.lock().await;
                Permit { _bulk: bulk, _all: self.all.acquire().await.ok() }
            }
        };
        // After the turn has come: a pause may have begun while waiting for it. The turn is kept meanwhile, since nobody
        // else may send either.
        while let Some(wait) = self.pause_within(deadline)? {
            self.clock.sleep(wait).await;
        }
        Ok(permit)
    }

    /// Nobody sends before `wait` is over. A longer pause that is already set stays.
    pub(super) fn pause(&self, wait: Duration) {
        let until = self.clock.monotonic().checked_add(wait);
        let mut paused = self.paused_until.lock().unwrap_or_else(PoisonError::into_inner);
        *paused = (*paused).max(until);
    }

    /// What is left of the pause; as an error where it outlasts the deadline.
    fn pause_within(&self, deadline: Option<Instant>) -> Result<Option<Duration>, Duration> {
        let until = *self.paused_until.lock().unwrap_or_else(PoisonError::into_inner);
        let left = until.map(|until| until.saturating_duration_since(self.clock.monotonic()));
        match left.filter(|left| !left.is_zero()) {
            Some(left) if deadline.is_some() && until >= deadline => Err(left),
            left => Ok(left),
        }
    }
}
