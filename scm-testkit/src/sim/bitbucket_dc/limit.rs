//! The rate limiter: a bucket of tokens for each user that fills again at a steady rate.

use std::collections::HashMap;

use super::{Inner, reply::Failure};

/// So many requests at once, and so many more with every second.
#[derive(Debug, Clone, Copy)]
pub struct RateLimit {
    pub(crate) capacity: u64,
    pub(crate) fill_rate: u64,
    headers: bool,
}

impl RateLimit {
    /// A bucket of `capacity` requests into which `fill_rate` come back each second.
    #[must_use]
    pub fn new(capacity: u64, fill_rate: u64) -> Self {
        Self { capacity: capacity.max(1), fill_rate: fill_rate.max(1), headers: true }
    }

    /// Refusals do not say how long to wait, nor any answer how many requests are left.
    #[must_use]
    pub fn without_headers(mut self) -> Self {
        self.headers = false;
        self
    }
}

#[derive(Debug)]
pub(crate) struct Limiter {
    pub(crate) limit: RateLimit,
    /// Requests left and the second they were counted at, by user.
    buckets: HashMap<String, (u64, i64)>,
}

impl Limiter {
    pub(crate) fn new(limit: RateLimit) -> Self {
        Self { limit, buckets: HashMap::new() }
    }
}

/// Headers for the answer, and the answer itself when the caller has to wait.
#[derive(Debug, Default)]
pub(crate) struct Limited {
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) refused: Option<Failure>,
}

impl Inner {
    /// Takes a request out of the bucket of `who`.
    pub(crate) fn limit(&self, who: &str) -> Limited {
        let now = self.clock.unix_seconds();
        let mut guard = self.limiter();
        let Some(limiter) = guard.as_mut() else { return Limited::default() };
        let limit = limiter.limit;
        let (left, at) = limiter.buckets.entry(who.to_owned()).or_insert((limit.capacity, now));
        let filled = u64::try_from(now - *at).unwrap_or(0).saturating_mul(limit.fill_rate);
        *left = left.saturating_add(filled).min(limit.capacity);
        *at = now;
        let refused = *left == 0;
        *left = left.saturating_sub(1);
        let left = *left;
        drop(guard);
        let mut headers = Vec::new();
        if limit.headers {
            for (name, value) in [
                ("X-RateLimit-Limit", limit.capacity),
                ("X-RateLimit-Remaining", left),
                ("X-RateLimit-FillRate", limit.fill_rate),
                ("X-RateLimit-Interval-Seconds", 1),
            ] {
                headers.push((name.to_owned(), value.to_string()));
            }
            if refused {
                headers.push(("Retry-After".to_owned(), "1".to_owned()));
            }
        }
        let refused = refused
            .then(|| Failure::plain(429, "You have made too many requests. Please try again in a moment."));
        Limited { headers, refused }
    }
}
