//! Lists in pages, by `start` and `limit`, under the caps of the server.

use serde_json::{Value, json};

use super::{
    call::Call,
    reply::{Failure, Outcome, Reply},
};

/// Where the first row of a list with hidden rows is seen.
const FIRST_SEEN: usize = 1_000;

/// The most items a page may have, by what it lists.
pub(crate) mod cap {
    pub(crate) const DEFAULT: usize = 1_000;
    pub(crate) const COMMITS: usize = 100;
    pub(crate) const PULL_REQUESTS: usize = 100;
    pub(crate) const ACTIVITIES: usize = 500;
    pub(crate) const FILES: usize = 100_000;
    pub(crate) const LINES: usize = 5_000;
    pub(crate) const BUILDS: usize = 100;
}

/// The page that was asked for, as a stretch of the rows the caller may see.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    start: usize,
    pub(crate) limit: usize,
    /// Rows before the page that the caller may see.
    pub(crate) skip: usize,
    /// Rows on the page; none on a page whose rows are all hidden.
    pub(crate) take: usize,
    next: usize,
}

impl Call {
    /// Reads `start` and `limit`. Where rows are hidden, the first page is empty and the numbers of the others jump.
    pub(crate) fn window(&self, cap: usize) -> Window {
        let number =
            |name, default| self.params.int(name).map_or(default, |n| usize::try_from(n).unwrap_or(0));
        let cap = self.inner.page_cap.map_or(cap, |lower| lower.min(cap));
        let limit = match number("limit", 25) {
            0 => 25.min(cap),
            more => more.min(cap),
        };
        let start = number("start", 0);
        if !self.inner.hidden_rows {
            return Window { start, limit, skip: start, take: limit, next: start.saturating_add(limit) };
        }
        if start == 0 {
            return Window { start, limit, skip: 0, take: 0, next: FIRST_SEEN };
        }
        // Every other row is one that the caller may not see.
        let row = start.max(FIRST_SEEN) - FIRST_SEEN;
        let next = FIRST_SEEN.saturating_add(row).saturating_add(limit.saturating_mul(2));
        Window { start, limit, skip: row.div_ceil(2), take: limit, next }
    }

    /// A page of things that are all at hand, each made into JSON only if it is on the page.
    pub(crate) fn paged<T>(&self, items: Vec<T>, cap: usize, make: impl FnMut(T) -> Value) -> Outcome {
        let window = self.window(cap);
        let more = window.skip.saturating_add(window.take) < items.len();
        let page = items.into_iter().skip(window.skip).take(window.take).map(make).collect();
        Ok(Reply::ok(envelope(window, page, more)))
    }

    /// A page of a list that is read piece by piece: `fetch` is given how many rows to skip and to take.
    pub(crate) fn paged_by<T>(
        &self,
        cap: usize,
        fetch: impl FnOnce(usize, usize) -> Result<Vec<T>, Failure>,
        make: impl FnMut(T) -> Value,
    ) -> Outcome {
        let window = self.window(cap);
        let mut items = fetch(window.skip, window.take + 1)?;
        let more = items.len() > window.take;
        items.truncate(window.take);
        Ok(Reply::ok(envelope(window, items.into_iter().map(make).collect(), more)))
    }
}

/// A page with what is known about it.
pub(crate) fn envelope(window: Window, values: Vec<Value>, more: bool) -> Value {
    json!({
        "size": values.len(),
        "limit": window.limit,
        "isLastPage": !more,
        "values": values,
        "start": window.start,
        "nextPageStart": more.then_some(window.next),
    })
}
