use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

/// One REST request as the simulator saw it. Values of bodies are not kept, only their keys.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestRecord {
    /// HTTP method.
    pub method: String,
    /// Matched route, such as `/projects/:id/repository/commits`; `None` when no route matched.
    pub route: Option<String>,
    /// Path as it arrived, still percent-encoded, without the context path.
    pub path: String,
    /// Query pairs, decoded, in order.
    pub query: Vec<(String, String)>,
    /// Top-level keys of the body.
    pub body_keys: Vec<String>,
    /// Status of the answer that was made; `None` while it is being worked on and when it was never made.
    pub status: Option<u16>,
}

/// A parameter that the addressed endpoint does not know. The server ignores it; a client should not send it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnknownParameter {
    /// HTTP method.
    pub method: String,
    /// Matched route.
    pub route: String,
    /// Name of the parameter.
    pub name: String,
    /// Whether it came in the body; else in the query.
    pub in_body: bool,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Recorder {
    inner: Arc<Mutex<Log>>,
}

/// No more requests than these are kept, so that a simulator can run for days.
const KEPT: usize = 100_000;

#[derive(Debug, Default)]
struct Log {
    requests: VecDeque<RequestRecord>,
    /// How many were dropped from the front, or cleared.
    dropped: usize,
    unknown: Vec<UnknownParameter>,
}

impl Recorder {
    /// Opens the record of a request and returns its place, by which it is completed later.
    pub(crate) fn open(
        &self,
        method: &str,
        route: Option<&str>,
        path: &str,
        query: Vec<(String, String)>,
    ) -> usize {
        let mut log = self.log();
        log.requests.push_back(RequestRecord {
            method: method.to_owned(),
            route: route.map(str::to_owned),
            path: path.to_owned(),
            query,
            body_keys: Vec::new(),
            status: None,
        });
        if log.requests.len() > KEPT {
            log.requests.pop_front();
            log.dropped += 1;
        }
        log.dropped + log.requests.len() - 1
    }

    pub(crate) fn body_keys(&self, at: usize, keys: Vec<String>) {
        if let Some(record) = self.log().at(at) {
            record.body_keys = keys;
        }
    }

    pub(crate) fn close(&self, at: usize, status: u16) {
        if let Some(record) = self.log().at(at) {
            record.status = Some(status);
        }
    }

    pub(crate) fn unknown(&self, parameter: UnknownParameter) {
        let mut log = self.log();
        if log.unknown.len() < KEPT {
            log.unknown.push(parameter);
        }
    }

    pub(crate) fn requests(&self) -> Vec<RequestRecord> {
        self.log().requests.iter().cloned().collect()
    }

    pub(crate) fn unknown_parameters(&self) -> Vec<UnknownParameter> {
        self.log().unknown.clone()
    }

    pub(crate) fn clear(&self) {
        let mut log = self.log();
        let dropped = log.dropped + log.requests.len();
        *log = Log { dropped, ..Log::default() };
    }

    fn log(&self) -> std::sync::MutexGuard<'_, Log> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    fn at(&mut self, place: usize) -> Option<&mut RequestRecord> {
        place.checked_sub(self.dropped).and_then(|at| self.requests.get_mut(at))
    }
}
