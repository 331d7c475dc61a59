use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use scm_core::{Clock, Timestamp};
use tokio::sync::{Notify, oneshot};

/// A clock that stands still until a test moves it, so that every wait ends when the test says so. Clones share it.
///
/// Its jitter is the whole of what it may be.
#[derive(Debug, Clone)]
pub struct StoppedClock {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    start: Instant,
    wall: Timestamp,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    passed: Duration,
    sleepers: Vec<(Duration, oneshot::Sender<()>)>,
}

impl StoppedClock {
    /// Stands at this time of day.
    #[must_use]
    pub fn at(wall: Timestamp) -> Self {
        let shared = Shared { start: Instant::now(), wall, state: Mutex::default(), changed: Notify::new() };
        Self { shared: Arc::new(shared) }
    }

    /// Lets time pass, and wakes who has waited for it.
    pub fn advance(&self, by: Duration) {
        let mut state = self.state();
        state.passed += by;
        let now = state.passed;
        let (due, later) =
            std::mem::take(&mut state.sleepers).into_iter().partition(|(until, _)| *until <= now);
        state.sleepers = later;
        drop(state);
        let due: Vec<(Duration, oneshot::Sender<()>)> = due;
        for (_, wake) in due {
            // Who gave up meanwhile needs no waking.
            let _ = wake.send(());
        }
    }

    /// Waits until at least `count` calls sleep for at most `longest` from now: those that back off or pause, without
    /// the deadlines, which are further away.
    pub async fn asleep(&self, count: usize, longest: Duration) {
        loop {
            let changed = self.shared.changed.notified();
            if self.sleepers(longest) >= count {
                return;
            }
            changed.await;
        }
    }

    /// How many calls sleep for at most `longest` from now.
    #[must_use]
    pub fn sleepers(&self, longest: Duration) -> usize {
        let state = self.state();
        let limit = state.passed + longest;
        state.sleepers.iter().filter(|(until, wake)| *until <= limit && !wake.is_closed()).count()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Clock for StoppedClock {
    fn now(&self) -> Timestamp {
        self.shared.wall.saturating_add(self.state().passed)
    }

    fn monotonic(&self) -> Instant {
        self.shared.start + self.state().passed
    }

    async fn sleep(&self, duration: Duration) {
        let woken = {
            let mut state = self.state();
            let until = state.passed.saturating_add(duration);
            if until <= state.passed {
                return;
            }
            let (wake, woken) = oneshot::channel();
            state.sleepers.push((until, wake));
            woken
        };
        self.shared.changed.notify_waiters();
        // The sender goes with the clock only, and then nobody waits any more.
        let _ = woken.await;
    }

    fn jitter(&self, limit: Duration) -> Duration {
        limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_wakes_before_the_time_has_passed() {
        let clock = StoppedClock::at("2026-11-21T10:00:00Z".parse().unwrap());
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep(Duration::from_secs(30)).await }
        });
        clock.asleep(1, Duration::from_secs(30)).await;
        assert_eq!(clock.sleepers(Duration::from_secs(29)), 0);
        clock.advance(Duration::from_secs(29));
        assert!(!sleeper.is_finished());
        clock.asleep(1, Duration::from_secs(1)).await;
        clock.advance(Duration::from_secs(1));
        sleeper.await.unwrap();
        assert_eq!(clock.now().to_string(), "2026-11-21T10:00:30Z");
    }
}
