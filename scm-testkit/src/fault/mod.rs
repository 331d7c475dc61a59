//! Faults on purpose: what servers, proxies and networks do to requests, told per route.
//!
//! ```
//! use scm_testkit::fault::Fault;
//!
//! // The second and third commit that is asked for is done, and its answer lost.
//! let fault = Fault::on("POST", "/projects/:id/repository/commits").reset_after().after(1).times(2);
//! ```

mod clock;
pub mod program;
pub mod socket;
pub mod wire;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

pub use clock::StoppedClock;
use serde_json::Value;

/// One planned misbehaviour: where, when, and what.
#[derive(Debug, Clone)]
pub struct Fault {
    method: Option<String>,
    route: Option<String>,
    skip: u64,
    times: Option<u64>,
    kind: FaultKind,
}

/// What goes wrong.
#[derive(Debug, Clone)]
pub(crate) enum FaultKind {
    /// This answer in place of the work.
    Answer(FaultAnswer),
    /// A pause, then the request goes on.
    Delay(Duration),
    /// The connection is reset and nothing was done.
    ResetBefore,
    /// The work is done, then the connection is reset.
    ResetAfter,
    /// The work is done; half of the announced body arrives.
    Truncate,
    /// The work is done; the body is cut inside its JSON, with a length that fits.
    Garbage,
    /// The work is done; the body trickles.
    Slow { chunk: usize, pause: Duration },
}

#[derive(Debug, Clone)]
pub(crate) struct FaultAnswer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    /// Adds `RateLimit-Reset` and `RateLimit-ResetTime` by the clock, this many seconds ahead.
    pub(crate) reset_in: Option<u64>,
}

/// The page a proxy or an expired single sign-on session shows in place of JSON.
pub(crate) const LOGIN_PAGE: &str = "<!DOCTYPE html>\n<html class=\"devise-layout-html\" lang=\"en\">\n<head>\n\
    <meta charset=\"utf-8\">\n<title>Sign in</title>\n</head>\n<body class=\"login-page\">\n\
    <form class=\"new_user\" action=\"/users/sign_in\" method=\"post\">\n<label for=\"user_login\">Username or email</label>\n\
    <input id=\"user_login\" name=\"user[login]\">\n<input type=\"password\" name=\"user[password]\">\n\
    <button type=\"submit\">Sign in</button>\n</form>\n</body>\n</html>\n";

impl Fault {
    /// On one method and one route, named by its template, such as `/projects/:id/merge_requests`. The git side has
    /// the routes `/:project/info/refs`, `/:project/git-upload-pack` and `/:project/git-receive-pack`. Until a kind is
    /// chosen it is a 500.
    #[must_use]
    pub fn on(method: impl Into<String>, route: impl Into<String>) -> Self {
        Self {
            method: Some(method.into().to_ascii_uppercase()),
            route: Some(route.into()),
            ..Self::anywhere()
        }
    }

    /// On every request.
    #[must_use]
    pub fn anywhere() -> Self {
        let kind = FaultKind::Answer(FaultAnswer::json(
            500,
            "{\"message\":\"500 Internal Server Error\"}".to_owned(),
        ));
        Self { method: None, route: None, skip: 0, times: None, kind }
    }

    /// Only the next `n` matching requests; without it, always.
    #[must_use]
    pub fn times(mut self, n: u64) -> Self {
        self.times = Some(n);
        self
    }

    /// Every matching request, which is the default.
    #[must_use]
    pub fn always(mut self) -> Self {
        self.times = None;
        self
    }

    /// Lets `k` matching requests pass first.
    #[must_use]
    pub fn after(mut self, k: u64) -> Self {
        self.skip = k;
        self
    }

    /// This status with a JSON body, nothing done.
    #[must_use]
    pub fn json(self, status: u16, body: &Value) -> Self {
        self.kind(FaultKind::Answer(FaultAnswer::json(status, body.to_string())))
    }

    /// This status with an HTML body, nothing done: a gateway's error page.
    #[must_use]
    pub fn html(self, status: u16, body: impl Into<String>) -> Self {
        self.kind(FaultKind::Answer(FaultAnswer::new(status, "text/html; charset=utf-8", body.into())))
    }

    /// This status with a plain text body, nothing done.
    #[must_use]
    pub fn text(self, status: u16, body: impl Into<String>) -> Self {
        self.kind(FaultKind::Answer(FaultAnswer::new(status, "text/plain; charset=utf-8", body.into())))
    }

    /// Adds a header to an answer made up by [`json`](Self::json), [`html`](Self::html) or [`text`](Self::text).
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        if let FaultKind::Answer(answer) = &mut self.kind {
            answer.headers.push((name.into(), value.into()));
        }
        self
    }

    /// A pause before the work; the answer is the real one.
    #[must_use]
    pub fn delay(self, pause: Duration) -> Self {
        self.kind(FaultKind::Delay(pause))
    }

    /// Connection reset before anything was done.
    #[must_use]
    pub fn reset_before(self) -> Self {
        self.kind(FaultKind::ResetBefore)
    }

    /// Connection reset after everything was done: a lost answer.
    #[must_use]
    pub fn reset_after(self) -> Self {
        self.kind(FaultKind::ResetAfter)
    }

    /// The work is done and the answer cut short: `Content-Length` promises more than arrives.
    #[must_use]
    pub fn truncate(self) -> Self {
        self.kind(FaultKind::Truncate)
    }

    /// The work is done and the answer is broken JSON of the right length.
    #[must_use]
    pub fn garbage(self) -> Self {
        self.kind(FaultKind::Garbage)
    }

    /// The work is done and the answer arrives `chunk` bytes at a time.
    #[must_use]
    pub fn slow(self, chunk: usize, pause: Duration) -> Self {
        self.kind(FaultKind::Slow { chunk, pause })
    }

    /// A login page with status 200 in place of JSON.
    #[must_use]
    pub fn login_page(self) -> Self {
        self.html(200, LOGIN_PAGE)
    }

    /// 429 with `Retry-After` and the `RateLimit-*` headers.
    #[must_use]
    pub fn throttled(self, retry_after: u64) -> Self {
        let mut answer = FaultAnswer::new(429, "text/plain", "Retry later\n".to_owned());
        for (name, value) in [
            ("Retry-After", retry_after.to_string()),
            ("RateLimit-Name", "throttle_authenticated_api".to_owned()),
            ("RateLimit-Limit", "60".to_owned()),
            ("RateLimit-Observed", "61".to_owned()),
            ("RateLimit-Remaining", "0".to_owned()),
        ] {
            answer.headers.push((name.to_owned(), value));
        }
        answer.reset_in = Some(retry_after);
        self.kind(FaultKind::Answer(answer))
    }

    /// 429 without any header that says how long, as plain text.
    #[must_use]
    pub fn throttled_without_headers(self) -> Self {
        self.kind(FaultKind::Answer(FaultAnswer::new(429, "text/plain", "Retry later\n".to_owned())))
    }

    /// 429 of the limiter inside the application, whose `message` is an object.
    #[must_use]
    pub fn throttled_by_application(self) -> Self {
        let body =
            "{\"message\":{\"error\":\"This endpoint has been requested too many times. Try again later.\"}}";
        let mut answer = FaultAnswer::json(429, body.to_owned());
        answer.headers.push(("Retry-After".to_owned(), "60".to_owned()));
        self.kind(FaultKind::Answer(answer))
    }

    fn kind(mut self, kind: FaultKind) -> Self {
        self.kind = kind;
        self
    }

    fn matches(&self, method: &str, route: &str) -> bool {
        self.method.as_deref().is_none_or(|wanted| wanted == method)
            && self.route.as_deref().is_none_or(|wanted| wanted == route)
    }
}

impl FaultAnswer {
    fn new(status: u16, content_type: &str, body: String) -> Self {
        let headers = vec![("Content-Type".to_owned(), content_type.to_owned())];
        Self { status, headers, body, reset_in: None }
    }

    fn json(status: u16, body: String) -> Self {
        Self::new(status, "application/json", body)
    }
}

/// The faults of one simulator. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    planned: Arc<Mutex<Vec<Planned>>>,
}

#[derive(Debug)]
struct Planned {
    fault: Fault,
    seen: u64,
    hits: u64,
}

/// Names a planned fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultId(usize);

impl Faults {
    /// Plans a fault. Of several that match a request the one added first is used, until its times are up.
    pub fn add(&self, fault: Fault) -> FaultId {
        let mut planned = self.planned();
        planned.push(Planned { fault, seen: 0, hits: 0 });
        FaultId(planned.len() - 1)
    }

    /// How often a fault has struck.
    #[must_use]
    pub fn hits(&self, id: FaultId) -> u64 {
        self.planned().get(id.0).map_or(0, |planned| planned.hits)
    }

    /// Ends all of them. Ids stay valid.
    pub fn clear(&self) {
        for planned in self.planned().iter_mut() {
            planned.fault.times = Some(planned.hits);
        }
    }

    pub(crate) fn strike(&self, method: &str, route: &str) -> Option<FaultKind> {
        let mut all = self.planned();
        for planned in all.iter_mut().filter(|planned| planned.fault.matches(method, route)) {
            if planned.fault.times.is_some_and(|times| planned.hits >= times) {
                continue;
            }
            planned.seen += 1;
            if planned.seen > planned.fault.skip {
                planned.hits += 1;
                return Some(planned.fault.kind.clone());
            }
        }
        None
    }

    fn planned(&self) -> std::sync::MutexGuard<'_, Vec<Planned>> {
        self.planned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_waits_strikes_and_is_used_up() {
        let faults = Faults::default();
        let id = faults.add(Fault::on("get", "/user").after(1).times(2).reset_before());
        let struck: Vec<bool> = (0..5).map(|_| faults.strike("GET", "/user").is_some()).collect();
        assert_eq!(struck, [false, true, true, false, false]);
        assert!(faults.strike("POST", "/user").is_none());
        assert_eq!(faults.hits(id), 2);
        let always = faults.add(Fault::anywhere());
        assert!(faults.strike("PUT", "/x").is_some());
        faults.clear();
        assert!(faults.strike("PUT", "/x").is_none());
        assert_eq!(faults.hits(always), 1);
    }
}
