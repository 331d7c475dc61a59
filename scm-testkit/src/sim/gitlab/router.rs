//! From a connection to an endpoint and back: faults, limits, credentials, parameters, records.

use std::{sync::Arc, time::Instant};

use axum::{
    body::Body,
    extract::{RawPathParams, Request},
    routing::{MethodFilter, on},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use serde_json::Value;
use tower_service::Service as _;

use crate::{
    fault::{FaultAnswer, FaultKind, LOGIN_PAGE},
    sim::{
        http::Answer,
        multipart,
        params::{Params, Spec, declare, pairs},
        record::UnknownParameter,
        reply::{BODY_LIMIT, after, html, http_date, made_up, put_headers, respond},
    },
};

use super::{
    Inner,
    auth::{self, Access},
    call::Call,
    git_http,
    reply::{Failure, Outcome, Reply},
};

pub(crate) type Handler = fn(&Call) -> Outcome;

/// One endpoint: method, path template, who may call it, the published parameters, and what it does.
pub(crate) type Route = (&'static str, &'static str, Access, &'static str, Handler);

/// Parameters every endpoint takes.
const GLOBAL: &[&str] = &["private_token", "access_token", "sudo", "id"];

#[derive(Debug)]
struct Endpoint {
    route: &'static str,
    access: Access,
    specs: Vec<Spec>,
    handler: Handler,
}

/// Marks an answer that must not be sent.
#[derive(Debug, Clone, Copy)]
struct ResetConnection;

pub(crate) fn router(inner: &Arc<Inner>, tables: &[&'static [Route]]) -> axum::Router {
    let mut router = axum::Router::new();
    for &(method, route, access, params, handler) in tables.iter().copied().flatten() {
        let filter = match method {
            "GET" => MethodFilter::GET,
            "HEAD" => MethodFilter::HEAD,
            "PUT" => MethodFilter::PUT,
            "PATCH" => MethodFilter::PATCH,
            "DELETE" => MethodFilter::DELETE,
            _ => MethodFilter::POST,
        };
        let endpoint = Arc::new(Endpoint { route, access, specs: declare(params), handler });
        let inner = Arc::clone(inner);
        let service = move |path: RawPathParams, request: Request| {
            let path = path.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            serve(Arc::clone(&inner), Arc::clone(&endpoint), path, request)
        };
        router = router.route(&template(route), on(filter, service));
    }
    let (missing, refused) = (Arc::clone(inner), Arc::clone(inner));
    router
        .fallback(move |request: Request| no_route(Arc::clone(&missing), request, 404, "404 Not Found"))
        .method_not_allowed_fallback(move |request: Request| {
            no_route(Arc::clone(&refused), request, 405, "405 Not Allowed")
        })
}

/// `/projects/:id/x` in the form the router wants, with the API's prefix.
fn template(route: &str) -> String {
    let parts: Vec<String> = route
        .split('/')
        .map(|part| part.strip_prefix(':').map_or_else(|| part.to_owned(), |name| format!("{{{name}}}")))
        .collect();
    format!("/api/v4{}", parts.join("/"))
}

/// Takes a request off a connection: API, git, or a page of the web interface.
pub(crate) async fn handle(inner: Arc<Inner>, router: axum::Router, request: Request) -> Answer {
    let path = request.uri().path();
    let Some(rest) = path
        .strip_prefix(inner.context_path.as_str())
        .filter(|rest| rest.is_empty() || rest.starts_with('/'))
    else {
        return Answer::Response(html(404, "<html><body><h1>404 Not Found</h1></body></html>\n"));
    };
    let rest = rest.to_owned();
    if rest == "/api" || rest.starts_with("/api/") {
        let mut request = request;
        let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
        // The path is what arrived minus a prefix, so it parses.
        if let Ok(uri) = format!("{rest}{query}").parse() {
            *request.uri_mut() = uri;
        }
        let mut router = router;
        let response = match router.call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        return if response.extensions().get::<ResetConnection>().is_some() {
            Answer::Reset
        } else {
            Answer::Response(response)
        };
    }
    if let Some((project, service)) = git_http::split(&rest) {
        let (project, service) = (project.to_owned(), service.to_owned());
        return git(inner, project, service, request).await;
    }
    Answer::Response(web(&inner, &rest))
}

/// The web interface is not simulated: signed-out visitors see the sign-in page, as on a real instance.
fn web(inner: &Inner, path: &str) -> Response<Body> {
    if path == "/users/sign_in" {
        return html(200, LOGIN_PAGE);
    }
    let mut response = html(302, "<html><body>You are being redirected.</body></html>\n");
    if let Ok(target) = HeaderValue::from_str(&format!("{}/users/sign_in", inner.external_url())) {
        response.headers_mut().insert("Location", target);
    }
    response
}

async fn git(inner: Arc<Inner>, project: String, service: String, request: Request) -> Answer {
    let route = format!("/:project/{service}");
    let query = pairs(request.uri().query().unwrap_or_default());
    let place = inner.recorder.open(request.method().as_str(), Some(&route), request.uri().path(), query);
    let fault = inner.faults.strike(request.method().as_str(), &route);
    match &fault {
        Some(FaultKind::Answer(answer)) => return Answer::Response(faulty(&inner, answer)),
        Some(FaultKind::ResetBefore) => return Answer::Reset,
        Some(FaultKind::Delay(pause)) => tokio::time::sleep(*pause).await,
        _ => {}
    }
    let response = git_http::serve(&inner, &project, &service, request).await;
    inner.recorder.close(place, response.status().as_u16());
    after(fault.as_ref(), response).await
}

async fn no_route(inner: Arc<Inner>, request: Request, status: u16, text: &'static str) -> Response<Body> {
    let query = pairs(request.uri().query().unwrap_or_default());
    let place = inner.recorder.open(request.method().as_str(), None, request.uri().path(), query);
    inner.recorder.close(place, status);
    finish(&inner, *Failure::error(status, text).0, Instant::now())
}

async fn serve(
    inner: Arc<Inner>,
    endpoint: Arc<Endpoint>,
    path: Vec<(String, String)>,
    request: Request,
) -> Response<Body> {
    let started = Instant::now();
    let (parts, body) = request.into_parts();
    let method = parts.method.as_str().to_owned();
    let query = pairs(parts.uri.query().unwrap_or_default());
    let place = inner.recorder.open(&method, Some(endpoint.route), parts.uri.path(), query.clone());
    let fault = inner.faults.strike(&method, endpoint.route);
    match &fault {
        Some(FaultKind::Answer(answer)) => {
            // The body is read all the same, so that the connection stays usable.
            let _ = axum::body::to_bytes(body, BODY_LIMIT).await;
            inner.recorder.close(place, answer.status);
            return faulty(&inner, answer);
        }
        Some(FaultKind::ResetBefore) => return reset(),
        Some(FaultKind::Delay(pause)) => tokio::time::sleep(*pause).await,
        _ => {}
    }
    let Ok(body) = axum::body::to_bytes(body, BODY_LIMIT).await else { return reset() };
    let job = Job {
        inner: Arc::clone(&inner),
        endpoint,
        path,
        query,
        place,
        raw_path: parts.uri.path().to_owned(),
    };
    let limited = inner.limit(&parts.headers);
    let outcome = match limited.refused {
        Some(refusal) => Err(Failure(Box::new(refusal))),
        None => {
            let worked = tokio::task::spawn_blocking(move || job.run(&method, &parts.headers, &body)).await;
            worked.unwrap_or_else(|_| Err(Failure::message(500, "500 Internal Server Error")))
        }
    };
    let mut reply = match outcome {
        Ok(reply) => reply,
        Err(Failure(reply)) => *reply,
    };
    reply.headers.extend(limited.headers);
    inner.recorder.close(place, reply.status);
    let response = finish(&inner, reply, started);
    match after(fault.as_ref(), response).await {
        Answer::Response(response) => response,
        Answer::Reset => reset(),
    }
}

/// What is handed to a blocking thread.
struct Job {
    inner: Arc<Inner>,
    endpoint: Arc<Endpoint>,
    path: Vec<(String, String)>,
    query: Vec<(String, String)>,
    place: usize,
    raw_path: String,
}

impl Job {
    fn run(self, method: &str, headers: &HeaderMap, body: &Bytes) -> Outcome {
        let Self { inner, endpoint, path, query, place, raw_path } = self;
        let mut params = Params::default();
        params.add_pairs(&query);
        let read = read_body(headers, body, &mut params);
        let body_keys = read.as_ref().map(Vec::clone).unwrap_or_default();
        inner.recorder.body_keys(place, body_keys.clone());
        note_unknown(&inner, method, &endpoint, &query, &body_keys);
        let caller = auth::caller(&inner, headers, &query).inspect_err(|_| {
            if endpoint.route.ends_with("/rotate") {
                auth::detect_reuse(&inner, headers);
            }
        })?;
        match &caller {
            None if !endpoint.access.anonymous() => return Err(Failure::unauthorized()),
            Some(caller) if !caller.has_any(endpoint.access.scopes()) => {
                return Err(Failure::insufficient_scope(endpoint.access.scopes()));
            }
            _ => {}
        }
        read?;
        let get = matches!(method, "GET" | "HEAD");
        let mut call = Call { inner, caller, params, path, raw_path, query, get, project: None, group: None };
        for kind in ["projects", "groups"] {
            if endpoint.route.starts_with(&format!("/{kind}/:id")) {
                call.locate(kind)?;
            }
        }
        let complaints = call.params.check(&endpoint.specs);
        if !complaints.is_empty() {
            return Err(Failure::error(400, complaints.join(", ")));
        }
        (endpoint.handler)(&call)
    }
}

/// Adds the body to the parameters and returns its top-level keys.
fn read_body(headers: &HeaderMap, body: &Bytes, params: &mut Params) -> Result<Vec<String>, Failure> {
    if body.is_empty() {
        return Ok(Vec::new());
    }
    let content_type = headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let base = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match base.as_str() {
        "application/json" => match serde_json::from_slice::<Value>(body) {
            Ok(Value::Object(map)) => {
                let keys = map.keys().cloned().collect();
                params.add_json(map);
                Ok(keys)
            }
            Ok(_) => Ok(Vec::new()),
            Err(_) => Err(Failure::error(400, "message body does not match declared format")),
        },
        "application/x-www-form-urlencoded" => Ok(add_form(params, &pairs(&String::from_utf8_lossy(body)))),
        "multipart/form-data" => match multipart::fields(content_type, body) {
            Some(form) => Ok(add_form(params, &form)),
            None => Err(Failure::error(400, "message body does not match declared format")),
        },
        other => Err(Failure::error(415, format!("The provided content-type '{other}' is not supported."))),
    }
}

/// Adds the fields of a form and returns their keys.
fn add_form(params: &mut Params, form: &[(String, String)]) -> Vec<String> {
    params.add_pairs(form);
    let mut keys: Vec<String> = form.iter().map(|(name, _)| base_name(name).to_owned()).collect();
    keys.dedup();
    keys
}

fn base_name(name: &str) -> &str {
    name.split('[').next().unwrap_or(name)
}

fn note_unknown(
    inner: &Inner,
    method: &str,
    endpoint: &Endpoint,
    query: &[(String, String)],
    body: &[String],
) {
    let known = |name: &str| GLOBAL.contains(&name) || endpoint.specs.iter().any(|spec| spec.name == name);
    let names = query
        .iter()
        .map(|(name, _)| (base_name(name), false))
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

fn reset() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(ResetConnection);
    response
}

fn faulty(inner: &Inner, answer: &FaultAnswer) -> Response<Body> {
    let mut response = made_up(answer);
    let mut headers = vec![("X-Request-Id".to_owned(), request_id())];
    if let Some(ahead) = answer.reset_in {
        let at = inner.clock.unix_seconds() + i64::try_from(ahead).unwrap_or(0);
        headers.push(("RateLimit-Reset".to_owned(), at.to_string()));
        headers.push(("RateLimit-ResetTime".to_owned(), http_date(at)));
    }
    put_headers(&mut response, headers);
    response
}

/// The answer with the headers that every answer of the application has.
fn finish(inner: &Inner, reply: Reply, started: Instant) -> Response<Body> {
    let mut response = respond(reply);
    put_headers(
        &mut response,
        [
            ("Cache-Control".to_owned(), "max-age=0, private, must-revalidate".to_owned()),
            ("Vary".to_owned(), "Origin".to_owned()),
            ("X-Content-Type-Options".to_owned(), "nosniff".to_owned()),
            ("X-Frame-Options".to_owned(), "SAMEORIGIN".to_owned()),
            ("X-Gitlab-Meta".to_owned(), format!("{{\"version\":\"1\",\"host\":\"{}\"}}", inner.host())),
            ("X-Request-Id".to_owned(), request_id()),
            ("X-Runtime".to_owned(), format!("{:.6}", started.elapsed().as_secs_f64())),
        ],
    );
    response
}

/// Twenty-six characters, as the product makes them.
fn request_id() -> String {
    const LETTERS: &[u8] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let letters = (0..23).map(|_| char::from(LETTERS[fastrand::usize(..LETTERS.len())]));
    std::iter::once("01J".to_owned()).chain(letters.map(String::from)).collect()
}
