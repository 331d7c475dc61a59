use std::time::{Duration, SystemTime};

use http::StatusCode;
use http::header::{HeaderMap, RETRY_AFTER};

use crate::error::{Delivery, ErrorKind};
use crate::pipeline::Idempotency;
use crate::time::Timestamp;

/// How often, and after which waits, a failed call is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// All tries together, the first included.
    pub max_attempts: u32,
    /// Upper end of the first back-off; it doubles with each try.
    pub base: Duration,
    /// Upper end of every back-off.
    pub max_backoff: Duration,
    /// Longest wait a server can ask for; a longer one is told to the caller instead.
    pub max_retry_after: Duration,
}

impl Default for RetryPolicy {
    /// Five tries, back-off from half a second to 30 seconds, at most two minutes on the server's word.
    fn default() -> Self {
        Self {
            max_attempts: 5,
            base: Duration::from_millis(500),
            max_backoff: Duration::from_secs(30),
            max_retry_after: Duration::from_secs(120),
        }
    }
}

/// What is known about a failed try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Situation {
    /// What went wrong.
    pub kind: ErrorKind,
    /// Could the server have acted?
    pub delivery: Delivery,
    /// Status of the answer.
    pub status: Option<StatusCode>,
    /// Does the error itself pass?
    pub retryable: bool,
    /// May the call be carried out twice?
    pub idempotency: Idempotency,
    /// Can its body be sent again?
    pub replayable: bool,
}

/// What to do about a failed try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// Tell the caller.
    GiveUp,
    /// Try again after at least this, and at least a random part of `jitter`.
    RetryWithin {
        /// What the server asks for.
        at_least: Duration,
        /// Upper end of the back-off.
        jitter: Duration,
    },
}

impl RetryPolicy {
    /// No second try.
    #[must_use]
    pub fn never() -> Self {
        Self { max_attempts: 1, ..Self::default() }
    }

    /// Sets the number of tries, the first included.
    #[must_use]
    pub fn with_max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts.max(1);
        self
    }

    /// Sets the upper ends of the first and of every back-off.
    #[must_use]
    pub fn with_backoff(mut self, base: Duration, max: Duration) -> Self {
        self.base = base;
        self.max_backoff = max;
        self
    }

    /// Sets the longest wait a server can ask for.
    #[must_use]
    pub fn with_max_retry_after(mut self, wait: Duration) -> Self {
        self.max_retry_after = wait;
        self
    }

    pub(super) fn base_delay(&self) -> Duration {
        self.base
    }

    /// Decides after try number `attempt` (from 1).
    pub fn decide(&self, situation: &Situation, attempt: u32, retry_after: Option<Duration>) -> Decision {
        let wait = retry_after.unwrap_or_default();
        if attempt >= self.max_attempts || wait > self.max_retry_after || !may_repeat(situation) {
            return Decision::GiveUp;
        }
        let factor = 1_u32.checked_shl(attempt - 1).unwrap_or(u32::MAX);
        let jitter = self.base.saturating_mul(factor).min(self.max_backoff);
        Decision::RetryWithin { at_least: wait, jitter }
    }
}

/// Kind × delivery × idempotency.
fn may_repeat(situation: &Situation) -> bool {
    let Situation { kind, delivery, status, retryable, idempotency, replayable } = *situation;
    if !replayable || !retryable {
        return false;
    }
    match delivery {
        // Any call: the server has not seen it.
        Delivery::NotSent => true,
        Delivery::Unknown => idempotency == Idempotency::Idempotent,
        Delivery::Answered if idempotency == Idempotency::Never => false,
        // The server refused to act, so that any call may come again.
        Delivery::Answered if kind == ErrorKind::RateLimited => true,
        // A gateway's 5xx does not tell whether the server behind it acted; a 2xx was cut off.
        Delivery::Answered => match status {
            Some(status) if status.is_server_error() || status.is_success() => {
                idempotency == Idempotency::Idempotent
            }
            // A text that the provider knows as passing and as "nothing done".
            _ => true,
        },
    }
}

/// What a server asks for: `Retry-After` in seconds or as a date, else GitLab's `RateLimit-Reset` (an epoch).
pub(super) fn wait_from_headers(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    if let Some(value) = text(RETRY_AFTER.as_str()) {
        if let Ok(seconds) = value.parse::<u64>() {
            return Some(Duration::from_secs(seconds));
        }
        if let Ok(date) = httpdate::parse_http_date(value) {
            return Some(Timestamp::from(date).saturating_since(server_now(headers, now)));
        }
    }
    let reset = text("ratelimit-reset")?.parse::<u64>().ok()?;
    let reset = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(reset))?;
    Some(Timestamp::from(reset).saturating_since(server_now(headers, now)))
}

/// The server's clock where it tells it: ours may be wrong by a day.
fn server_now(headers: &HeaderMap, now: Timestamp) -> Timestamp {
    let date = headers.get(http::header::DATE).and_then(|date| date.to_str().ok());
    date.and_then(|date| httpdate::parse_http_date(date).ok()).map_or(now, Timestamp::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every cell of kind/status × delivery × idempotency, outcomes as literals: does it try again?
    #[test]
    fn retry_table() {
        use Delivery::{Answered, NotSent, Unknown};
        use ErrorKind::{Conflict, Connect, InvalidInput, Proxy, RateLimited, Timeout, Tls, Unavailable};
        use Idempotency::{Idempotent, Never, NotIdempotent};
        #[rustfmt::skip]
        let table = [
            // kind, status, retryable, delivery, [Idempotent, NotIdempotent, Never]
            (Connect,      None,      true,  NotSent,  [true,  true,  true ]),
            (Connect,      None,      true,  Unknown,  [true,  false, false]),
            (Timeout,      None,      true,  NotSent,  [true,  true,  true ]),
            (Timeout,      None,      true,  Unknown,  [true,  false, false]),
            (Unavailable,  None,      true,  NotSent,  [true,  true,  true ]),
            (Unavailable,  None,      true,  Unknown,  [true,  false, false]),
            (Unavailable,  Some(500), true,  Answered, [true,  false, false]),
            (Unavailable,  Some(502), true,  Answered, [true,  false, false]),
            (Unavailable,  Some(503), true,  Answered, [true,  false, false]),
            (Unavailable,  Some(504), true,  Answered, [true,  false, false]),
            (Unavailable,  Some(201), true,  Answered, [true,  false, false]),
            (RateLimited,  Some(429), true,  Answered, [true,  true,  false]),
            (Proxy,        None,      true,  NotSent,  [true,  true,  true ]),
            (Proxy,        None,      false, NotSent,  [false, false, false]),
            (Tls,          None,      false, NotSent,  [false, false, false]),
            (Conflict,     Some(409), false, Answered, [false, false, false]),
            (Conflict,     Some(409), true,  Answered, [true,  true,  false]),
            (InvalidInput, Some(400), false, Answered, [false, false, false]),
            (InvalidInput, Some(400), true,  Answered, [true,  true,  false]),
        ];
        let policy = RetryPolicy::default();
        for (kind, status, retryable, delivery, expected) in table {
            for (idempotency, expected) in [Idempotent, NotIdempotent, Never].into_iter().zip(expected) {
                let status = status.map(|status| StatusCode::from_u16(status).unwrap());
                let situation =
                    Situation { kind, delivery, status, retryable, idempotency, replayable: true };
                let again = policy.decide(&situation, 1, None) != Decision::GiveUp;
                assert_eq!(again, expected, "{situation:?}");
                let spent = Situation { replayable: false, ..situation };
                assert_eq!(policy.decide(&spent, 1, None), Decision::GiveUp, "{spent:?}");
                assert_eq!(policy.decide(&situation, 5, None), Decision::GiveUp, "the last try");
            }
        }
    }

    #[test]
    fn waits_grow_and_follow_the_server() {
        let policy = RetryPolicy::default();
        let situation = Situation {
            kind: ErrorKind::RateLimited,
            delivery: Delivery::Answered,
            status: Some(StatusCode::TOO_MANY_REQUESTS),
            retryable: true,
            idempotency: Idempotency::Idempotent,
            replayable: true,
        };
        let seconds = Duration::from_secs;
        let within = |at_least, jitter| Decision::RetryWithin { at_least, jitter };
        assert_eq!(policy.decide(&situation, 1, None), within(Duration::ZERO, Duration::from_millis(500)));
        assert_eq!(policy.decide(&situation, 4, None), within(Duration::ZERO, seconds(4)));
        assert_eq!(
            policy.decide(&situation, 1, Some(seconds(60))),
            within(seconds(60), Duration::from_millis(500))
        );
        assert_eq!(policy.decide(&situation, 1, Some(seconds(86_400))), Decision::GiveUp);
        let many = policy.with_max_attempts(100);
        assert_eq!(many.decide(&situation, 90, None), within(Duration::ZERO, seconds(30)));
    }

    #[test]
    fn waits_are_read_in_every_form() {
        let now: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
        let wait = |pairs: &[(&'static str, &'static str)]| {
            let headers = pairs.iter().map(|(name, value)| {
                (http::HeaderName::from_static(name), http::HeaderValue::from_static(value))
            });
            wait_from_headers(&headers.collect(), now).map(|wait| wait.as_secs())
        };
        assert_eq!(wait(&[]), None);
        assert_eq!(wait(&[("retry-after", "60")]), Some(60));
        assert_eq!(wait(&[("retry-after", "Sat, 21 Nov 2026 10:01:30 GMT")]), Some(90));
        assert_eq!(wait(&[("retry-after", "Sat, 21 Nov 2026 09:00:00 GMT")]), Some(0));
        assert_eq!(wait(&[("retry-after", "soon")]), None);
        assert_eq!(wait(&[("ratelimit-reset", "1795255205")]), Some(5));
        let skewed = [("ratelimit-reset", "1795255205"), ("date", "Sat, 21 Nov 2026 09:59:55 GMT")];
        assert_eq!(wait(&skewed), Some(10), "by the server's clock, not ours");
    }
}
