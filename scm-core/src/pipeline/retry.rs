use std::num::IntErrorKind;
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
        // A text that the provider knows as passing and as "nothing done".
        Delivery::Answered if status.is_some_and(|status| status.is_client_error()) => true,
        // A gateway's 5xx does not tell whether the server behind it acted; a 2xx was cut off.
        Delivery::Answered => idempotency == Idempotency::Idempotent,
    }
}

/// What a server asks for: `Retry-After` in seconds or as a date, else, when the rate is the reason, GitLab's
/// `RateLimit-Reset` (an epoch), which stands in other answers too.
pub(super) fn wait_from_headers(kind: ErrorKind, headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    if let Some(value) = text(RETRY_AFTER.as_str()) {
        match value.parse::<u64>() {
            Ok(seconds) => return Some(Duration::from_secs(seconds)),
            Err(error) if *error.kind() == IntErrorKind::PosOverflow => return Some(Duration::MAX),
            Err(_) => {}
        }
        if let Ok(date) = httpdate::parse_http_date(value) {
            return Some(Timestamp::from(date).saturating_since(server_now(headers, now)));
        }
    }
    if kind != ErrorKind::RateLimited {
        return None;
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
    use std::collections::BTreeSet;

    use super::*;
    use crate::error::Error;

    /// Is it tried again? `y` or `-` for an idempotent call, one that is not, and one that never may come twice. The
    /// body is whole, or bytes were taken from it. Columns: not sent, unknown, then answered without a status and with
    /// one of 2xx, 3xx, 4xx, 5xx. A kind passes or stays by itself, unless the error says otherwise.
    const TABLE: &str = "
        not_found                 | whole | --- --- --- --- --- --- ---
        not_found                 | spent | --- --- --- --- --- --- ---
        unauthenticated           | whole | --- --- --- --- --- --- ---
        unauthenticated           | spent | --- --- --- --- --- --- ---
        permission_denied         | whole | --- --- --- --- --- --- ---
        permission_denied         | spent | --- --- --- --- --- --- ---
        conflict                  | whole | --- --- --- --- --- --- ---
        conflict                  | spent | --- --- --- --- --- --- ---
        precondition_failed       | whole | --- --- --- --- --- --- ---
        precondition_failed       | spent | --- --- --- --- --- --- ---
        invalid_input             | whole | --- --- --- --- --- --- ---
        invalid_input             | spent | --- --- --- --- --- --- ---
        rate_limited              | whole | yyy y-- yy- yy- yy- yy- yy-
        rate_limited              | spent | --- --- --- --- --- --- ---
        unsupported               | whole | --- --- --- --- --- --- ---
        unsupported               | spent | --- --- --- --- --- --- ---
        unavailable               | whole | yyy y-- y-- y-- y-- yy- y--
        unavailable               | spent | --- --- --- --- --- --- ---
        timeout                   | whole | yyy y-- y-- y-- y-- yy- y--
        timeout                   | spent | --- --- --- --- --- --- ---
        connect                   | whole | yyy y-- y-- y-- y-- yy- y--
        connect                   | spent | --- --- --- --- --- --- ---
        tls                       | whole | --- --- --- --- --- --- ---
        tls                       | spent | --- --- --- --- --- --- ---
        proxy                     | whole | yyy y-- y-- y-- y-- yy- y--
        proxy                     | spent | --- --- --- --- --- --- ---
        relay                     | whole | yyy y-- y-- y-- y-- yy- y--
        relay                     | spent | --- --- --- --- --- --- ---
        decode                    | whole | --- --- --- --- --- --- ---
        decode                    | spent | --- --- --- --- --- --- ---
        cancelled                 | whole | --- --- --- --- --- --- ---
        cancelled                 | spent | --- --- --- --- --- --- ---
        config                    | whole | --- --- --- --- --- --- ---
        config                    | spent | --- --- --- --- --- --- ---
        internal                  | whole | --- --- --- --- --- --- ---
        internal                  | spent | --- --- --- --- --- --- ---
        conflict that passes      | whole | yyy y-- y-- y-- y-- yy- y--
        conflict that passes      | spent | --- --- --- --- --- --- ---
        invalid_input that passes | whole | yyy y-- y-- y-- y-- yy- y--
        invalid_input that passes | spent | --- --- --- --- --- --- ---
        proxy that stays          | whole | --- --- --- --- --- --- ---
        proxy that stays          | spent | --- --- --- --- --- --- ---
        connect that stays        | whole | --- --- --- --- --- --- ---
        connect that stays        | spent | --- --- --- --- --- --- ---
        rate_limited that stays   | whole | --- --- --- --- --- --- ---
        rate_limited that stays   | spent | --- --- --- --- --- --- ---
    ";

    #[test]
    fn retry_table() {
        use Idempotency::{Idempotent, Never, NotIdempotent};
        let ways = [
            (Delivery::NotSent, None),
            (Delivery::Unknown, None),
            (Delivery::Answered, None),
            (Delivery::Answered, Some(StatusCode::CREATED)),
            (Delivery::Answered, Some(StatusCode::FOUND)),
            (Delivery::Answered, Some(StatusCode::CONFLICT)),
            (Delivery::Answered, Some(StatusCode::SERVICE_UNAVAILABLE)),
        ];
        let policy = RetryPolicy::default();
        let mut kinds = BTreeSet::new();
        for row in TABLE.lines().map(str::trim).filter(|row| !row.is_empty()) {
            let [name, body, cells] = row.splitn(3, '|').map(str::trim).collect::<Vec<_>>()[..] else {
                panic!("{row}");
            };
            let (name, passes) = match name.split_once(" that ") {
                Some((name, "passes")) => (name, Some(true)),
                Some((name, "stays")) => (name, Some(false)),
                _ => (name, None),
            };
            kinds.insert(name.to_owned());
            let kind: ErrorKind = serde_json::from_value(name.into()).unwrap();
            let cells: Vec<_> = cells.split(' ').collect();
            assert_eq!(cells.len(), ways.len(), "{row}");
            for ((delivery, status), cell) in ways.into_iter().zip(cells) {
                let mut error = Error::new(kind, "");
                if let Some(passes) = passes {
                    error = error.with_retryable(passes);
                }
                let told = [Idempotent, NotIdempotent, Never].map(|idempotency| {
                    let situation = Situation {
                        kind,
                        delivery,
                        status,
                        retryable: error.is_retryable(),
                        idempotency,
                        replayable: body == "whole",
                    };
                    assert_eq!(policy.decide(&situation, 5, None), Decision::GiveUp, "the last try");
                    if policy.decide(&situation, 1, None) == Decision::GiveUp { '-' } else { 'y' }
                });
                assert_eq!(told.iter().collect::<String>(), cell, "{row}: {delivery:?} {status:?}");
            }
        }
        // serde knows every kind there is.
        let all = serde_json::from_str::<ErrorKind>("\"?\"").unwrap_err().to_string();
        let all = all.split('`').skip(1).step_by(2).filter(|name| *name != "?");
        assert_eq!(kinds, all.map(str::to_owned).collect());
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
        let wait_for = |kind, pairs: &[(&'static str, &'static str)]| {
            let headers = pairs.iter().map(|(name, value)| {
                (http::HeaderName::from_static(name), http::HeaderValue::from_static(value))
            });
            wait_from_headers(kind, &headers.collect(), now).map(|wait| wait.as_secs())
        };
        let wait = |pairs: &[_]| wait_for(ErrorKind::RateLimited, pairs);
        for (value, seconds) in [
            ("60", Some(60)),
            (" 60 ", Some(60)),
            ("0", Some(0)),
            ("31536000", Some(31_536_000)),
            ("99999999999999999999999999", Some(u64::MAX)),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
            ("Sat, 21 Nov 2026 10:01:30 GMT", Some(90)),
            ("Sat, 21 Nov 2026 09:00:00 GMT", Some(0)),
            ("Sun, 21 Nov 2027 10:00:00 GMT", Some(31_536_000)),
            ("Sat, 31 Feb 2026 10:00:00 GMT", None),
        ] {
            assert_eq!(wait(&[("retry-after", value)]), seconds, "{value}");
        }
        assert_eq!(wait(&[]), None);
        assert_eq!(wait(&[("ratelimit-reset", "1795255205")]), Some(5));
        assert_eq!(wait(&[("ratelimit-reset", "1795255195")]), Some(0), "over already");
        assert_eq!(wait(&[("ratelimit-reset", "-5")]), None);
        assert_eq!(wait(&[("ratelimit-reset", "1795255205"), ("retry-after", "soon")]), Some(5));
        let skewed = [("ratelimit-reset", "1795255205"), ("date", "Sat, 21 Nov 2026 09:59:55 GMT")];
        assert_eq!(wait(&skewed), Some(10), "by the server's clock, not ours");
        // GitLab tells its rate in every answer; a server that is down asks for no pause by that.
        assert_eq!(wait_for(ErrorKind::Unavailable, &[("ratelimit-reset", "1795255205")]), None);
        assert_eq!(wait_for(ErrorKind::Unavailable, &[("retry-after", "60")]), Some(60));
    }
}
