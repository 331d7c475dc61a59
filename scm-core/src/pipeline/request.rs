use std::fmt;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use url::Url;
use url::form_urlencoded;

use crate::error::{Error, ErrorKind, Result};
use crate::transport::Body;

/// What must be encoded inside one path segment; `/` too.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// May a call be sent again when nobody knows whether it was carried out?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Idempotency {
    /// Twice is the same as once.
    Idempotent,
    /// Twice makes two, or fails the second time.
    NotIdempotent,
    /// Twice does harm (token rotation): repeated only when the server provably never saw it.
    Never,
}

/// A request inside the pipeline: relative to the server's root, without credential.
pub struct ApiRequest {
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
    pub(super) idempotency: Idempotency,
    path: String,
    query: String,
}

impl ApiRequest {
    /// A request to `prefix` (such as `api/v4`, or empty) and the given path segments, each of which is
    /// percent-encoded, `/` included. GET, HEAD, PUT and DELETE count as idempotent, others do not.
    #[must_use]
    pub fn new(method: Method, prefix: &str, segments: &[&str]) -> Self {
        let mut path = prefix.to_owned();
        for segment in segments {
            if !path.is_empty() {
                path.push('/');
            }
            path.extend(utf8_percent_encode(segment, SEGMENT));
        }
        let idempotency = match method {
            Method::GET | Method::HEAD | Method::PUT | Method::DELETE => Idempotency::Idempotent,
            _ => Idempotency::NotIdempotent,
        };
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        Self { method, headers, body: Body::empty(), idempotency, path, query: String::new() }
    }

    /// A request to a path that is already encoded, for raw requests. It may carry a query.
    ///
    /// # Errors
    /// `InvalidInput` for a path that would leave the server's root: with an origin, `..`, a fragment or white space.
    pub fn to_path(method: Method, path: &str) -> Result<Self> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let path = path.strip_prefix('/').unwrap_or(path);
        let dot = |part: &str| {
            let part = part.to_ascii_lowercase().replace("%2e", ".");
            part == "." || part == ".."
        };
        let strange = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '#' | '\\');
        if path.contains("://")
            || path.starts_with('/')
            || path.split('/').any(dot)
            || path.contains(strange)
            || query.contains(strange)
        {
            return Err(Error::invalid(
                "a raw path is relative to the server's root, percent-encoded, without '..', '#' or an origin",
            ));
        }
        let mut request = Self::new(method, path, &[]);
        request.query = query.to_owned();
        Ok(request)
    }

    /// Adds a query parameter.
    #[must_use]
    pub fn query(mut self, name: &str, value: impl fmt::Display) -> Self {
        let mut pairs = form_urlencoded::Serializer::new(std::mem::take(&mut self.query));
        pairs.append_pair(name, &value.to_string());
        self.query = pairs.finish();
        self
    }

    /// Adds a query parameter where it has a value.
    #[must_use]
    pub fn query_some(self, name: &str, value: Option<impl fmt::Display>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    /// Replaces the whole query by one that is already encoded, such as that of a next link.
    #[must_use]
    pub fn raw_query(mut self, query: &str) -> Self {
        query.clone_into(&mut self.query);
        self
    }

    /// The query as it would be sent, without `?`.
    pub fn query_string(&self) -> &str {
        &self.query
    }

    /// The path as it would be sent, relative to the server's root.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Sets a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Sets a JSON body.
    ///
    /// # Errors
    /// `Internal` when the value cannot be written as JSON.
    pub fn json(mut self, value: &impl Serialize) -> Result<Self> {
        let bytes = serde_json::to_vec(value)
            .map_err(|_| Error::new(ErrorKind::Internal, "the request cannot be written as JSON"))?;
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.body = bytes.into();
        Ok(self)
    }

    /// Sets a body of another type.
    #[must_use]
    pub fn body(mut self, body: Body, content_type: HeaderValue) -> Self {
        self.headers.insert(CONTENT_TYPE, content_type);
        self.body = body;
        self
    }

    /// Overrules what the method says about repeating.
    #[must_use]
    pub fn idempotency(mut self, idempotency: Idempotency) -> Self {
        self.idempotency = idempotency;
        self
    }

    pub(crate) fn url(&self, base: &Url) -> Result<Url> {
        let mut text = format!("{base}{}", self.path);
        if !self.query.is_empty() {
            text.push('?');
            text.push_str(&self.query);
        }
        let url = Url::parse(&text).ok().filter(|url| {
            // Nothing in a path or query may lead out of the server's root.
            url.origin() == base.origin() && url.path().starts_with(base.path())
        });
        url.ok_or_else(|| Error::invalid("the call's path leads out of the server's root"))
    }
}

impl fmt::Debug for ApiRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiRequest")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("idempotency", &self.idempotency)
            .finish_non_exhaustive()
    }
}

/// A success, read whole.
pub struct ApiResponse {
    head: http::response::Parts,
    body: Bytes,
    provider: &'static str,
    operation: &'static str,
}

impl ApiResponse {
    pub(super) fn new(
        head: http::response::Parts,
        body: Bytes,
        provider: &'static str,
        operation: &'static str,
    ) -> Self {
        Self { head, body, provider, operation }
    }

    /// Status.
    pub fn status(&self) -> StatusCode {
        self.head.status
    }

    /// Headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// The body as it is.
    pub fn bytes(&self) -> &Bytes {
        &self.body
    }

    /// The body, taken out.
    pub fn into_bytes(self) -> Bytes {
        self.body
    }

    /// Reads the body as JSON.
    ///
    /// # Errors
    /// `Decode` with the JSON path, never with the body.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        self.expect_json()?;
        read(&self.body).or_else(|_| {
            let mut reader = serde_json::Deserializer::from_slice(&self.body);
            // Following the path takes an allocation for every key: only what failed is read again that way.
            serde_path_to_error::deserialize(&mut reader)
                .map_err(|error| self.decode_error(&error.path().to_string(), error.inner()))
        })
    }

    /// Reads the body as JSON and makes of it what the caller wants.
    ///
    /// # Errors
    /// `Decode` as from [`json`](Self::json), and what `convert` finds wrong with the answer, as
    /// [`own`](Self::own) error.
    pub fn read<W: DeserializeOwned, T>(&self, convert: impl FnOnce(W) -> Result<T>) -> Result<T> {
        self.json().and_then(convert).map_err(|error| self.own(error))
    }

    /// Names operation, provider and status in an error that was found in this answer.
    pub fn own(&self, error: Error) -> Error {
        error.with_status(self.head.status).with_provider(self.provider).with_operation(self.operation)
    }

    /// Reads the body as a JSON array; an element that is not as expected is an error of its own.
    ///
    /// # Errors
    /// `Decode` when the body is not a JSON array.
    pub fn json_items<T: DeserializeOwned>(&self) -> Result<Vec<Result<T>>> {
        self.expect_json()?;
        if let Ok(items) = read::<Vec<T>>(&self.body) {
            return Ok(items.into_iter().map(Ok).collect());
        }
        let items: Vec<&RawValue> =
            serde_json::from_slice(&self.body).map_err(|error| self.decode_error(".", &error))?;
        let read = |(index, item): (usize, &RawValue)| self.json_item(&format!("[{index}]"), item);
        Ok(items.into_iter().enumerate().map(read).collect())
    }

    /// Reads one item of the body, which stands at `place`.
    ///
    /// # Errors
    /// `Decode` with the JSON path.
    pub fn json_item<T: DeserializeOwned>(&self, place: &str, item: &RawValue) -> Result<T> {
        let mut reader = serde_json::Deserializer::from_str(item.get());
        serde_path_to_error::deserialize(&mut reader).map_err(|error| {
            let path = error.path().to_string();
            let gap = if path.starts_with('[') || path == "." { "" } else { "." };
            let path = if path == "." { "" } else { &path };
            self.decode_error(&format!("{place}{gap}{path}"), error.inner())
        })
    }

    fn expect_json(&self) -> Result<()> {
        if is_json(self.headers()) {
            return Ok(());
        }
        Err(self.error(match media_type(self.headers()).as_deref() {
            None => "expected JSON, got an answer without a type",
            Some("text/html") => "expected JSON, got text/html; a login page or a proxy seems to answer",
            Some("text/plain") => "expected JSON, got text/plain",
            Some("text/xml" | "application/xml") => "expected JSON, got XML",
            // Whatever the server wrote there.
            Some(_) => "expected JSON, got another type",
        }))
    }

    fn decode_error(&self, path: &str, error: &serde_json::Error) -> Error {
        // serde_json quotes the offending value in most of its texts; only these name nothing but our own fields.
        let text = error.to_string();
        let what = match error.classify() {
            serde_json::error::Category::Eof => "the JSON ends too early",
            serde_json::error::Category::Syntax => "the JSON is broken",
            _ if text.starts_with("missing field") => text.split(" at line").next().unwrap_or(&text),
            _ => "the value is not of the expected type",
        };
        self.error(&format!("{what} (at '{path}')"))
    }

    fn error(&self, message: &str) -> Error {
        self.own(Error::new(ErrorKind::Decode, message))
    }
}

impl fmt::Debug for ApiResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiResponse")
            .field("status", &self.head.status)
            .field("length", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// Checking the encoding once is cheaper than for each string.
fn read<T: DeserializeOwned>(body: &[u8]) -> serde_json::Result<T> {
    match std::str::from_utf8(body) {
        Ok(text) => serde_json::from_str(text),
        Err(_) => serde_json::from_slice(body),
    }
}

/// `application/json`, or any type with the suffix `+json`, whatever parameters follow.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    media_type(headers).is_some_and(|kind| kind == "application/json" || kind.ends_with("+json"))
}

/// The type of a body in lower case, without parameters.
fn media_type(headers: &HeaderMap) -> Option<String> {
    let kind = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    Some(kind.split(';').next()?.trim().to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(kind: &'static str, body: &'static str) -> ApiResponse {
        let (head, ()) = http::Response::builder().header(CONTENT_TYPE, kind).body(()).unwrap().into_parts();
        ApiResponse::new(head, Bytes::from_static(body.as_bytes()), "test", "op")
    }

    #[derive(serde::Deserialize, Debug)]
    struct Item {
        #[serde(rename = "id")]
        _id: u32,
    }

    #[test]
    fn segments_are_encoded_and_stay_under_the_root() {
        let base = Url::parse("https://host/gitlab/").unwrap();
        let request =
            ApiRequest::new(Method::GET, "api/v4", &["projects", "a/b c", "ä?#%"]).query("x", "1+ 2");
        assert_eq!(
            request.url(&base).unwrap().as_str(),
            "https://host/gitlab/api/v4/projects/a%2Fb%20c/%C3%A4%3F%23%25?x=1%2B+2"
        );
        for path in ["../admin", "a/%2e%2e/b", "https://evil/x", "//evil/x", "a#b", "a b", "a\\b"] {
            let error =
                ApiRequest::to_path(Method::GET, path).and_then(|request| request.url(&base)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{path}");
        }
        let raw = ApiRequest::to_path(Method::GET, "/api/v4/x%2Fy?a=b").unwrap();
        assert_eq!(raw.url(&base).unwrap().as_str(), "https://host/gitlab/api/v4/x%2Fy?a=b");
    }

    #[test]
    fn a_decode_error_names_the_path_and_never_the_value() {
        let error = answer("application/json", r#"{"id":"s3cret"}"#).json::<Item>().unwrap_err();
        assert_eq!(error.to_string(), "op: decode (200): the value is not of the expected type (at 'id')");
        let error = answer("application/json", r#"{"id":1"#).json::<Item>().unwrap_err();
        assert!(error.to_string().contains("ends too early"), "{error}");
        let error = answer("application/json", "{}").json::<Item>().unwrap_err();
        assert!(error.to_string().contains("missing field `id`"), "{error}");
        let error = answer("text/html; charset=utf-8", "<html>").json::<Item>().unwrap_err();
        assert!(error.to_string().contains("login page"), "{error}");
    }

    #[test]
    fn one_bad_item_does_not_lose_the_page() {
        let page = answer("application/json;charset=UTF-8", r#"[{"id":1},{"id":"x"},{"id":3}]"#);
        let items = page.json_items::<Item>().unwrap();
        assert!(items[0].is_ok() && items[2].is_ok());
        assert!(items[1].as_ref().unwrap_err().to_string().contains("[1].id"));
        assert!(answer("application/json", "{}").json_items::<Item>().is_err());
    }
}
