//! A judge between client and server: a validating proxy that answers in the server's place when a request or an answer
//! breaks the published description of the API. It does so in `application/problem+json` (RFC 9457), which the servers
//! themselves never send.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use http::header::CONTENT_TYPE;
use http::{Method, Request, Response, StatusCode, Uri};
use scm_client::transport::DirectTransport;
use scm_core::{Body, Error, HttpTransport, Route, RungReport, TransportError};
use serde::{Deserialize, Serialize};
use url::Url;

const GIT: [&str; 3] = [".git/info/refs", ".git/git-upload-pack", ".git/git-receive-pack"];
const PROBLEM: &str = "application/problem+json";
/// The largest word of a judge that is read, in bytes.
const WORD_LIMIT: usize = 4 << 20;

/// Where the description is wrong or silent and the server is right: one complaint that is expected, and why.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Exception {
    /// Method and path; `*` stands for one segment.
    request: String,
    /// What the complaint holds.
    complaint: String,
    reason: String,
    /// A write that the server may be sent twice: it is asked again past the judge, who has swallowed its answer.
    #[serde(default)]
    repeatable: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exceptions {
    #[serde(rename = "exception", default)]
    list: Vec<Exception>,
}

impl Exception {
    pub(crate) fn load(path: &Path) -> scm_core::Result<Vec<Self>> {
        let refused = |why: String| Error::config(format!("{}: {why}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| refused(error.kind().to_string()))?;
        let read: Exceptions = toml::from_str(&text).map_err(|error| refused(error.to_string()))?;
        match read.list.iter().find(|exception| exception.reason.trim().is_empty()) {
            Some(bare) => Err(refused(format!("'{}' needs a reason", bare.request))),
            None => Ok(read.list),
        }
    }

    fn covers(&self, request: &str, complaint: &str) -> bool {
        let (mut wanted, mut seen) = (self.request.split('/'), request.split('/'));
        let same = loop {
            match (wanted.next(), seen.next()) {
                (None, None) => break true,
                (Some(wanted), Some(seen)) if wanted == "*" || wanted == seen => {}
                _ => break false,
            }
        };
        same && complaint.contains(&self.complaint)
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.request, self.complaint, self.reason)
    }
}

/// One answer of the judge.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Finding {
    /// Method and path.
    pub(crate) request: String,
    pub(crate) status: u16,
    /// What is wrong, each with its place.
    pub(crate) complaints: Vec<String>,
    /// Whether each of them is an exception.
    pub(crate) excepted: bool,
}

#[derive(Debug, Default)]
struct Log {
    requests: usize,
    findings: Vec<Finding>,
    used: BTreeSet<usize>,
}

/// The way through the judge, which keeps what it says.
#[derive(Clone, Debug)]
pub(crate) struct Judge {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    transport: DirectTransport,
    /// The server behind the judge.
    server: Uri,
    exceptions: Vec<Exception>,
    log: Mutex<Log>,
}

impl Judge {
    pub(crate) fn new(transport: DirectTransport, server: Uri, exceptions: Vec<Exception>) -> Self {
        Self { shared: Arc::new(Shared { transport, server, exceptions, log: Mutex::default() }) }
    }

    pub(crate) fn requests(&self) -> usize {
        self.log().requests
    }

    pub(crate) fn findings(&self) -> Vec<Finding> {
        self.log().findings.clone()
    }

    /// Exceptions that no complaint needed.
    pub(crate) fn stale(&self) -> Vec<Exception> {
        let used = &self.log().used;
        let unused = self.shared.exceptions.iter().enumerate().filter(|(index, _)| !used.contains(index));
        unused.map(|(_, exception)| exception.clone()).collect()
    }

    /// Has it nothing to say but what is expected, and all of that?
    pub(crate) fn is_content(&self) -> bool {
        self.requests() > 0
            && self.stale().is_empty()
            && self.findings().iter().all(|finding| finding.excepted)
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.shared.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down an answer of the judge; is it an exception, and may the request be sent again?
    fn note(&self, request: String, status: u16, complaints: Vec<String>) -> (bool, bool) {
        let mut log = self.log();
        let (mut excepted, mut repeatable) = (true, true);
        for complaint in &complaints {
            let exceptions = self.shared.exceptions.iter();
            match exceptions.enumerate().find(|(_, exception)| exception.covers(&request, complaint)) {
                Some((index, exception)) => {
                    log.used.insert(index);
                    repeatable &= exception.repeatable;
                }
                None => excepted = false,
            }
        }
        log.findings.push(Finding { request, status, complaints, excepted });
        (excepted, repeatable)
    }

    /// A copy of `request` that goes to the server itself.
    fn past(&self, request: &mut Request<Body>) -> Request<Body> {
        let mut uri = request.uri().clone().into_parts();
        let server = self.shared.server.clone().into_parts();
        (uri.scheme, uri.authority) = (server.scheme, server.authority);
        // A body that cannot be sent twice is a stream, and no call of the API sends one.
        let mut copy = Request::new(request.body_mut().try_clone().unwrap_or_default());
        *copy.method_mut() = request.method().clone();
        *copy.headers_mut() = request.headers().clone();
        *copy.uri_mut() = Uri::from_parts(uri).unwrap_or_else(|_| request.uri().clone());
        copy
    }
}

#[async_trait]
impl HttpTransport for Judge {
    async fn send(&self, mut request: Request<Body>) -> Result<Response<Body>, TransportError> {
        let transport = &self.shared.transport;
        let past = self.past(&mut request);
        // git's own protocol has no description.
        if GIT.iter().any(|ending| request.uri().path().ends_with(ending)) {
            return transport.send(past).await;
        }
        self.log().requests += 1;
        let name = format!("{} {}", request.method(), request.uri().path());
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        let response = transport.send(request).await?;
        let kind = response.headers().get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes()).to_vec();
        if !kind.starts_with(PROBLEM.as_bytes()) {
            // A judge of JSON passes every other body on as text, which breaks bytes that are none.
            let json = kind.is_empty() || kind.starts_with(b"application/json");
            return if reads && !json { transport.send(past).await } else { Ok(response) };
        }
        let (head, body) = response.into_parts();
        let word = body.collect(WORD_LIMIT).await?;
        let (excepted, repeatable) = self.note(name, head.status.as_u16(), complaints(head.status, &word));
        // Only where the answer is refused has the server done its work, which as a rule must not be done twice.
        if excepted && (reads || repeatable || head.status != StatusCode::INTERNAL_SERVER_ERROR) {
            return transport.send(past).await;
        }
        Ok(Response::from_parts(head, Body::from(word)))
    }

    async fn probe(&self, target: &Url) -> Vec<RungReport> {
        self.shared.transport.probe(target).await
    }

    fn route(&self) -> Route {
        self.shared.transport.route()
    }
}

/// What the judge complains of: the title, then place and text of each fault, where it names them.
fn complaints(status: StatusCode, word: &[u8]) -> Vec<String> {
    #[derive(Deserialize)]
    struct Problem {
        title: String,
        #[serde(default)]
        validation: Vec<Fault>,
    }
    #[derive(Deserialize)]
    struct Fault {
        #[serde(default)]
        location: Vec<serde_json::Value>,
        message: String,
    }
    match serde_json::from_slice::<Problem>(word) {
        Ok(problem) if problem.validation.is_empty() => vec![problem.title],
        Ok(problem) => problem
            .validation
            .iter()
            .map(|fault| {
                let place: Vec<_> = fault
                    .location
                    .iter()
                    .map(|part| part.as_str().map_or_else(|| part.to_string(), str::to_owned))
                    .collect();
                format!("{}: {}", place.join("."), fault.message)
            })
            .collect(),
        // As the answer to HEAD has none.
        Err(_) => vec![format!("{status} without a word")],
    }
}
