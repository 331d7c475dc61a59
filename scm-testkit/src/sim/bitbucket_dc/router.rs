//! From a connection to an endpoint and back: faults, limits, credentials, parameters, records.

use std::sync::Arc;

use axum::{body::Body, extract::Request};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::{Value, json};

use crate::{
    fault::{FaultKind, LOGIN_PAGE},
    sim::{
        http::Answer,
        params::{Params, Spec, declare, pairs},
        record::UnknownParameter,
        reply::{BODY_LIMIT, Content, Reply, after, html, made_up, put_headers, respond},
    },
};

use super::{
    Inner,
    auth::{self, Caller},
    call::Call,
    git_http,
    reply::{Failure, Outcome, use_old_packages},
};

pub(crate) type Handler = fn(&Call) -> Outcome;

/// One endpoint: method, module and path template, in which versions it is there, the published parameters, and what
/// it does. `*name` at the end takes several segments.
pub(crate) type Route = (&'static str, &'static str, Since, &'static str, Handler);

/// Major and minor number of a version.
pub(crate) type Release = (u32, u32);

/// In which versions an endpoint is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Since {
    Always,
    /// This version is the first.
    V(u32, u32),
    /// This version is the last.
    Until(u32, u32),
}

impl Since {
    fn covers(self, release: Release) -> bool {
        match self {
            Self::Always => true,
            Self::V(major, minor) => release >= (major, minor),
            Self::Until(major, minor) => release <= (major, minor),
        }
    }
}

/// Every endpoint of the server's version.
#[derive(Debug)]
pub(crate) struct Router(Vec<Endpoint>);

#[derive(Debug)]
struct Endpoint {
    method: &'static str,
    route: &'static str,
    specs: Vec<Spec>,
    handler: Handler,
}

/// What a path leads to.
enum Found {
    Endpoint(usize, Vec<(&'static str, String)>),
    OtherMethod,
    Nothing,
}

impl Router {
    pub(crate) fn new(release: Release, tables: &[&'static [Route]]) -> Self {
        let there = tables.iter().copied().flatten().filter(|(_, _, since, ..)| since.covers(release));
        let endpoint = |&(method, route, _, params, handler): &Route| {
            let params = params.replace("&page", "start:int limit:int");
            Endpoint { method, route, specs: declare(&params), handler }
        };
        Self(there.map(endpoint).collect())
    }

    /// Of several templates that fit, the one with most literal text is meant.
    fn find(&self, method: &str, path: &[String]) -> Found {
        let method = if method == "HEAD" { "GET" } else { method };
        let fitting: Vec<(usize, Fit)> = self
            .0
            .iter()
            .enumerate()
            .filter_map(|(at, endpoint)| Some((at, fit(endpoint.route, path)?)))
            .collect();
        let known = !fitting.is_empty();
        let of_method = fitting
            .into_iter()
            .filter(|(at, _)| self.0.get(*at).is_some_and(|endpoint| endpoint.method == method));
        match of_method.max_by_key(|(_, fit)| fit.literal) {
            Some((at, fit)) => Found::Endpoint(at, fit.parts),
            None if known => Found::OtherMethod,
            None => Found::Nothing,
        }
    }
}

/// How a path fits a template.
struct Fit {
    /// How much of the template is literal text.
    literal: usize,
    /// What its names stand for.
    parts: Vec<(&'static str, String)>,
}

fn fit(route: &'static str, path: &[String]) -> Option<Fit> {
    let mut fit = Fit { literal: 0, parts: Vec::new() };
    let mut rest = path.iter();
    for wanted in route.split('/').skip(1) {
        if let Some(name) = wanted.strip_prefix('*') {
            let tail: Vec<&str> = rest.map(String::as_str).collect();
            return (!tail.is_empty()).then(|| {
                fit.parts.push((name, tail.join("/")));
                fit
            });
        }
        let segment = rest.next()?;
        match wanted.strip_prefix(':') {
            None if wanted == segment => fit.literal += wanted.len(),
            None => return None,
            Some(name) => match name.split_once('.') {
                None => fit.parts.push((name, segment.clone())),
                Some((name, ending)) => {
                    let stem = segment.strip_suffix(ending)?.strip_suffix('.')?;
                    fit.literal += ending.len();
                    fit.parts.push((name, stem.to_owned()));
                }
            },
        }
    }
    rest.next().is_none().then_some(fit)
}

/// Takes a request off a connection: API, git, or a page of the web interface.
pub(crate) async fn handle(inner: Arc<Inner>, router: Arc<Router>, request: Request) -> Answer {
    let path = request.uri().path();
    let Some(rest) = path
        .strip_prefix(inner.context_path.as_str())
        .filter(|rest| rest.is_empty() || rest.starts_with('/'))
    else {
        return Answer::Response(html(
            404,
            "<html><body><h1>HTTP Status 404 - Not Found</h1></body></html>\n",
        ));
    };
    let rest = rest.to_owned();
    if rest.to_ascii_lowercase().contains("%2f") {
        // The servlet container below refuses it before the application sees it.
        return Answer::Response(html(
            400,
            "<html><body><h1>HTTP Status 400 - Bad Request</h1></body></html>\n",
        ));
    }
    if rest.starts_with("/rest/") || rest.starts_with("/plugins/servlet/applinks/") {
        return serve(inner, router, rest, request).await;
    }
    if let Some((key, slug, service)) = git_http::split(&rest) {
        return git(inner, key, slug, service, request).await;
    }
    Answer::Response(web(&inner, &rest))
}

/// The web interface is not simulated: signed-out visitors see the sign-in page, as on a real server.
fn web(inner: &Inner, path: &str) -> Response<Body> {
    if path == "/login" {
        return html(200, LOGIN_PAGE);
    }
    let mut response = html(302, "");
    put_headers(&mut response, [("Location".to_owned(), format!("{}/login", inner.external_url()))]);
    response
}

async fn git(
    inner: Arc<Inner>,
    key: String,
    slug: String,
    service: &'static str,
    request: Request,
) -> Answer {
    let route = format!("/scm/:key/:slug/{service}");
    let query = pairs(request.uri().query().unwrap_or_default());
    let place = inner.recorder.open(request.method().as_str(), Some(&route), request.uri().path(), query);
    let fault = inner.faults.strike(request.method().as_str(), &route);
    match &fault {
        Some(FaultKind::Answer(answer)) => return Answer::Response(made_up(answer)),
        Some(FaultKind::ResetBefore) => return Answer::Reset,
        Some(FaultKind::Delay(pause)) => tokio::time::sleep(*pause).await,
        _ => {}
    }
    let response = git_http::serve(&inner, &key, &slug, service, request).await;
    inner.recorder.close(place, response.status().as_u16());
    after(fault.as_ref(), response).await
}

/// The segments by which endpoints are found: `/rest/api/1.0/projects` is `api`, `projects`. `None` for a version that
/// a module does not have.
fn segments(path: &str) -> Option<Vec<String>> {
    let decode = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
    let mut parts: Vec<String> = path.trim_end_matches('/').split('/').skip(1).map(decode).collect();
    if parts.first().is_some_and(|first| first == "rest") {
        parts.remove(0);
        if parts.len() > 1 {
            let version = parts.remove(1);
            let known = matches!(version.as_str(), "1.0" | "latest")
                || (version == "2.0" && parts.first().is_some_and(|module| module == "branch-permissions"));
            return known.then_some(parts);
        }
    }
    Some(parts)
}

async fn serve(inner: Arc<Inner>, router: Arc<Router>, path: String, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    let method = parts.method.as_str().to_owned();
    let query = pairs(parts.uri.query().unwrap_or_default());
    let found = segments(&path).map_or(Found::Nothing, |segments| router.find(&method, &segments));
    let (at, names) = match found {
        Found::Endpoint(at, names) => (at, names),
        other => {
            let (status, message) = match other {
                Found::OtherMethod => (405, "HTTP 405 Method Not Allowed".to_owned()),
                _ => (404, format!("null for uri: {}{path}", inner.external_url())),
            };
            let place = inner.recorder.open(&method, None, &path, query);
            inner.recorder.close(place, status);
            let body = json!({ "message": message, "status-code": status });
            return Answer::Response(finish(&inner, Reply::json(status, body), None));
        }
    };
    let route = router.0.get(at).map_or("", |endpoint| endpoint.route);
    let place = inner.recorder.open(&method, Some(route), &path, query.clone());
    let fault = inner.faults.strike(&method, route);
    match &fault {
        Some(FaultKind::Answer(answer)) => {
            // The body is read all the same, so that the connection stays usable.
            let _ = axum::body::to_bytes(body, BODY_LIMIT).await;
            inner.recorder.close(place, answer.status);
            let mut response = made_up(answer);
            put_headers(&mut response, [("X-AREQUESTID".to_owned(), request_id())]);
            return Answer::Response(response);
        }
        Some(FaultKind::ResetBefore) => return Answer::Reset,
        Some(FaultKind::Delay(pause)) => tokio::time::sleep(*pause).await,
        _ => {}
    }
    let Ok(body) = axum::body::to_bytes(body, BODY_LIMIT).await else { return Answer::Reset };
    let who = parts.headers.get("authorization").map(|value| String::from_utf8_lossy(value.as_bytes()));
    let limited = inner.limit(who.as_deref().unwrap_or("anonymous"));
    let (caller, outcome) = match limited.refused {
        Some(refusal) => (None, Err(refusal)),
        None => {
            let job = Job { inner: Arc::clone(&inner), router, at, names, query, place };
            let worked = tokio::task::spawn_blocking(move || job.run(&method, &parts.headers, body)).await;
            worked.unwrap_or_else(|_| (None, Err(Failure::plain(500, "An internal error occurred."))))
        }
    };
    let mut reply = match outcome {
        Ok(reply) => reply,
        Err(Failure(reply)) => *reply,
    };
    reply.headers.extend(limited.headers);
    inner.recorder.close(place, reply.status);
    after(fault.as_ref(), finish(&inner, reply, caller.as_ref())).await
}

/// What is handed to a blocking thread.
struct Job {
    inner: Arc<Inner>,
    router: Arc<Router>,
    at: usize,
    names: Vec<(&'static str, String)>,
    query: Vec<(String, String)>,
    place: usize,
}

impl Job {
    fn run(self, method: &str, headers: &HeaderMap, body: Bytes) -> (Option<Caller>, Outcome) {
        let caller = match auth::caller(&self.inner, headers) {
            Ok(caller) => caller,
            Err(refusal) => return (None, Err(refusal)),
        };
        (caller.clone(), self.work(method, headers, body, caller))
    }

    fn work(self, method: &str, headers: &HeaderMap, body: Bytes, caller: Option<Caller>) -> Outcome {
        let Self { inner, router, at, names, query, place } = self;
        let Some(endpoint) = router.0.get(at) else { return Err(Failure::no_such("Resource")) };
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let content_type = header("content-type").to_owned();
        let mut params = Params::default();
        params.add_pairs(&query);
        let read = read_body(&inner, endpoint, method, headers, &body);
        let json = read.as_ref().map_or(Value::Null, Value::clone);
        let body_keys: Vec<String> =
            json.as_object().map(|map| map.keys().cloned().collect()).unwrap_or_default();
        inner.recorder.body_keys(place, body_keys.clone());
        note_unknown(&inner, method, endpoint, &query, &body_keys);
        read?;
        if let Value::Object(map) = &json {
            params.add_json(map.clone());
        }
        let wants_text = header("accept").starts_with("text/plain");
        let (project, repo) = (0, 0);
        let mut call = Call {
            inner,
            caller,
            params,
            path: names,
            query,
            json,
            body,
            content_type,
            wants_text,
            project,
            repo,
        };
        let template = endpoint.route.split_once("/projects/:key").map(|(_, rest)| rest);
        if let Some(rest) = template {
            call.locate(rest.starts_with("/repos/:slug"))?;
        }
        let complaints = call.params.check(&endpoint.specs);
        if !complaints.is_empty() {
            return Err(Failure::fields(complaints.into_iter().map(|text| {
                let name = text.split(' ').next().unwrap_or_default().to_owned();
                (name, text)
            })));
        }
        (endpoint.handler)(&call)
    }
}

/// Multipart is for this one endpoint; everything else is JSON.
const MULTIPART: &str = "/api/projects/:key/repos/:slug/browse/*path";

/// Checks the content type and reads JSON.
fn read_body(
    inner: &Inner,
    endpoint: &Endpoint,
    method: &str,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Value, Failure> {
    if matches!(method, "GET" | "HEAD") {
        return Ok(Value::Null);
    }
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let base = header("content-type").split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let unchecked = matches!(header("x-atlassian-token"), "no-check" | "nocheck");
    let from_a_form = matches!(
        base.as_str(),
        "" | "application/x-www-form-urlencoded" | "multipart/form-data" | "text/plain"
    );
    if endpoint.route == MULTIPART {
        return match base.as_str() {
            "multipart/form-data" if unchecked || !inner.files_need_no_check => Ok(Value::Null),
            "multipart/form-data" => Err(forged()),
            _ => Err(unsupported()),
        };
    }
    match base.as_str() {
        "application/json" | "application/vnd.atl.bitbucket.bulk+json" if body.is_empty() => Ok(Value::Null),
        "application/json" | "application/vnd.atl.bitbucket.bulk+json" => serde_json::from_slice(body)
            .map_err(|error| Failure::plain(400, format!("The request body is not JSON: {error}"))),
        // A browser could be made to send such a request from a page of someone else.
        _ if from_a_form && method == "POST" && !unchecked => Err(forged()),
        _ if body.is_empty() => Ok(Value::Null),
        _ => Err(unsupported()),
    }
}

fn forged() -> Failure {
    let mut reply = Reply::bytes("text/plain", b"XSRF check failed".to_vec());
    reply.status = 403;
    Failure(Box::new(reply))
}

fn unsupported() -> Failure {
    Failure::plain(415, "HTTP 415 Unsupported Media Type")
}

fn note_unknown(
    inner: &Inner,
    method: &str,
    endpoint: &Endpoint,
    query: &[(String, String)],
    body: &[String],
) {
    // Numbered parameters are declared with an `N`.
    let plain = |name: &str| match name.rsplit_once('.') {
        Some((stem, number)) if number.parse::<u32>().is_ok() => format!("{stem}.N"),
        _ => name.to_owned(),
    };
    let known = |name: &str| endpoint.specs.iter().any(|spec| spec.name == plain(name));
    let names = query
        .iter()
        .map(|(name, _)| (name.as_str(), false))
        .chain(body.iter().map(|key| (key.as_str(), true)));
    for (name, in_body) in names.filter(|(name, _)| !known(name)) {
        inner.recorder.unknown(UnknownParameter {
            method: method.to_owned(),
            route: endpoint.route.to_owned(),
            name: name.to_owned(),
            in_body,
        });
    }
}

/// The answer with the headers that every answer of the application has.
fn finish(inner: &Inner, mut reply: Reply, caller: Option<&Caller>) -> Response<Body> {
    let is_json = match &mut reply.body {
        Content::Json(body) => {
            if inner.old_packages {
                use_old_packages(body);
            }
            true
        }
        _ => false,
    };
    let mut response = respond(reply);
    if is_json {
        let value = HeaderValue::from_static("application/json;charset=UTF-8");
        response.headers_mut().insert("content-type", value);
    }
    let mut headers = vec![
        ("X-AREQUESTID".to_owned(), request_id()),
        ("X-ASESSIONID".to_owned(), session_id()),
        ("Cache-Control".to_owned(), "private, no-cache, no-store, no-transform".to_owned()),
        ("Vary".to_owned(), "accept-encoding,x-auserid,cookie,x-ausername".to_owned()),
        ("X-Content-Type-Options".to_owned(), "nosniff".to_owned()),
    ];
    if let Some(caller) = caller {
        headers.push(("X-AUSERID".to_owned(), caller.user_id.to_string()));
        let name = utf8_percent_encode(&caller.name, NAME).to_string();
        headers.push(("X-AUSERNAME".to_owned(), name));
    }
    put_headers(&mut response, headers);
    response
}

const NAME: &percent_encoding::AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// As the product makes them: a number for the request behind the minute of the day.
fn request_id() -> String {
    format!("@{}x{}x{}x0", session_id().to_uppercase(), fastrand::u32(..1_440), fastrand::u32(..100_000))
}

fn session_id() -> String {
    (0..6).map(|_| fastrand::alphanumeric().to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Vec<String> {
        segments(text).unwrap()
    }

    #[test]
    fn templates_take_names_endings_and_tails() {
        let names = |route, text| fit(route, &path(text)).map(|fit| fit.parts);
        assert_eq!(
            names("/api/p/:key/raw/*path", "/rest/api/1.0/p/A/raw/a/b%20c"),
            Some(vec![("key", "A".to_owned()), ("path", "a/b c".to_owned())])
        );
        assert_eq!(names("/api/p/:id.diff", "/rest/api/latest/p/7.diff"), Some(vec![("id", "7".to_owned())]));
        assert_eq!(names("/api/p/:id.diff", "/rest/api/latest/p/7"), None);
        assert_eq!(names("/api/p/:id", "/rest/api/latest/p/7/x"), None);
        assert_eq!(names("/api/raw/*path", "/rest/api/latest/raw"), None);
        assert!(segments("/rest/api/3.0/projects").is_none());
        assert!(segments("/rest/branch-permissions/2.0/projects").is_some());
    }

    #[test]
    fn versions_cover_what_they_say() {
        assert!(Since::V(8, 15).covers((9, 0)) && !Since::V(8, 15).covers((8, 14)));
        assert!(Since::Until(8, 19).covers((8, 19)) && !Since::Until(8, 19).covers((9, 0)));
    }
}
