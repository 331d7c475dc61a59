//! A rate limiter of the kind that counts requests per minute and caller.

use std::{collections::HashMap, time::Duration};

use http::HeaderMap;

use crate::sim::reply::http_date;

use super::{Inner, reply::Reply};

/// So many requests in a window for each caller; more are answered by 429.
#[derive(Debug, Clone, Copy)]
pub struct RateLimit {
    requests: u64,
    window: Duration,
}

impl RateLimit {
    /// `requests` in each `window`, which is a minute on real servers.
    #[must_use]
    pub fn new(requests: u64, window: Duration) -> Self {
        Self { requests, window: window.max(Duration::from_secs(1)) }
    }
}

#[derive(Debug)]
pub(crate) struct Limiter {
    limit: RateLimit,
    window_start: i64,
    seen: HashMap<String, u64>,
}

impl Limiter {
    pub(crate) fn new(limit: RateLimit) -> Self {
        Self { limit, window_start: 0, seen: HashMap::new() }
    }
}

/// Headers for the answer, and the answer itself when the caller has to wait.
#[derive(Debug, Default)]
pub(crate) struct Limited {
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) refused: Option<Reply>,
}

impl Inner {
    pub(crate) fn limit(&self, headers: &HeaderMap) -> Limited {
        let now = self.clock.unix_seconds();
        let mut guard = self.limiter();
        let Some(limiter) = guard.as_mut() else { return Limited::default() };
        let window = i64::try_from(limiter.limit.window.as_secs()).unwrap_or(60);
        let start = now - now.rem_euclid(window);
        if start != limiter.window_start {
            limiter.window_start = start;
            limiter.seen.clear();
        }
        let who = ["private-token", "authorization"]
            .iter()
            .find_map(|name| headers.get(*name))
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
            .unwrap_or_default();
        let name = if who.is_empty() { "throttle_unauthenticated_api" } else { "throttle_authenticated_api" };
        let observed = limiter.seen.entry(who).or_insert(0);
        *observed += 1;
        let (limit, observed, reset) = (limiter.limit.requests, *observed, start + window);
        drop(guard);
        let mut headers = vec![
            ("RateLimit-Name".to_owned(), name.to_owned()),
            (
                "RateLimit-Limit".to_owned(),
                limit.saturating_mul(60).div_ceil(window.unsigned_abs()).to_string(),
            ),
            ("RateLimit-Observed".to_owned(), observed.to_string()),
            ("RateLimit-Remaining".to_owned(), limit.saturating_sub(observed).to_string()),
            ("RateLimit-Reset".to_owned(), reset.to_string()),
        ];
        let mut refused = None;
        if observed > limit {
            headers.push(("RateLimit-ResetTime".to_owned(), http_date(reset)));
            headers.push(("Retry-After".to_owned(), (reset - now).max(1).to_string()));
            let mut reply = Reply::bytes("text/plain", b"Retry later\n".to_vec());
            reply.status = 429;
            refused = Some(reply);
        }
        Limited { headers, refused }
    }
}
