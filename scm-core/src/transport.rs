//! The contract between providers and the network.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;
use serde::{Deserialize, Deserializer, Serialize};
use url::Url;

use crate::check::{Code, RungReport};
use crate::error::{Delivery, Error, ErrorKind};
use crate::redact;

/// One HTTP call over one route: direct, proxy or agent.
///
/// Duties, which `scm-testkit` checks for every implementation alike:
///
/// - any status is `Ok`; `Err` means that no complete head of an answer came;
/// - bodies stream both ways, and are never held whole;
/// - dropping the future, or the body of the answer, ends the request;
/// - it owns name resolution, TLS, pooling and the connect and read timeouts;
/// - it does **not** retry, follow redirects, add credentials, cache, decompress or read the environment;
/// - its errors say whether the request could have reached the server, and hold no URL query and no secret.
#[async_trait]
pub trait HttpTransport: fmt::Debug + Send + Sync + 'static {
    /// Sends `request`, whose URI is absolute.
    ///
    /// # Errors
    /// [`TransportError`] with its kind and delivery.
    async fn send(&self, request: http::Request<Body>) -> Result<http::Response<Body>, TransportError>;

    /// Climbs the network rungs towards `target` (name, connection, proxy, TLS) and says what each one saw, all within
    /// one time limit. Sends no credential to the server, and no HTTP request but one: a plain http target over a proxy
    /// is asked for its root by `HEAD`, for the proxy says nothing before.
    async fn probe(&self, target: &Url) -> Vec<RungReport>;

    /// The route this transport takes.
    fn route(&self) -> Route;
}

/// A shared transport. Cheap to clone.
#[derive(Clone)]
pub struct Transport(Arc<dyn HttpTransport>);

impl Transport {
    /// Shares `transport`.
    pub fn new(transport: impl HttpTransport) -> Self {
        Self(Arc::new(transport))
    }

    /// See [`HttpTransport::send`].
    ///
    /// # Errors
    /// Those of [`HttpTransport::send`].
    pub async fn send(&self, request: http::Request<Body>) -> Result<http::Response<Body>, TransportError> {
        self.0.send(request).await
    }

    /// See [`HttpTransport::probe`].
    pub async fn probe(&self, target: &Url) -> Vec<RungReport> {
        self.0.probe(target).await
    }

    /// See [`HttpTransport::route`].
    pub fn route(&self) -> Route {
        self.0.route()
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The way a request takes to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Route {
    /// Straight to the server.
    Direct,
    /// Through an HTTP proxy, with exceptions.
    Proxy,
    /// Through a hub and an agent inside the server's network.
    Agent,
}

impl Route {
    /// The word used in configuration and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Proxy => "proxy",
            Self::Agent => "agent",
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A stream of chunks. The mutex is never locked: it makes a body shareable by reference, as requests are.
struct BoxStream(Mutex<Pin<Box<Chunks>>>);

type Chunks = dyn Stream<Item = Result<Bytes, TransportError>> + Send;

impl BoxStream {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, TransportError>>> {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner).as_mut().poll_next(cx)
    }
}

/// A body of a request or an answer: empty, bytes, or a stream. It says whether it can be sent again.
///
/// As a [`Stream`] it yields its chunks.
pub struct Body {
    kind: BodyKind,
    length: Option<u64>,
}

enum BodyKind {
    Bytes(Option<Bytes>),
    Stream(BoxStream),
    /// A stream that can be sent once, and is still whole until its first poll.
    Once(OnceHandle),
}

/// Shared between a request and its possible repetition: whoever polls first takes the stream.
#[derive(Clone)]
struct OnceSlot(Arc<Mutex<Option<BoxStream>>>);

struct OnceHandle {
    slot: OnceSlot,
    taken: Option<BoxStream>,
}

impl Body {
    /// No bytes.
    pub fn empty() -> Self {
        Self::from(Bytes::new())
    }

    /// A stream of chunks, which cannot be sent again once its first chunk was asked for. `length` is the whole size
    /// in bytes, where it is known.
    pub fn stream(
        stream: impl Stream<Item = Result<Bytes, TransportError>> + Send + 'static,
        length: Option<u64>,
    ) -> Self {
        Self { kind: BodyKind::Stream(BoxStream(Mutex::new(Box::pin(stream)))), length }
    }

    /// Size in bytes, where it is known.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// The whole body where it is already in memory.
    pub fn as_bytes(&self) -> Option<&Bytes> {
        match &self.kind {
            BodyKind::Bytes(bytes) => bytes.as_ref(),
            _ => None,
        }
    }

    /// A copy for one try, while `self` stays as the original for the next. `None` when bytes were already taken
    /// from it, so that it cannot be sent again. Bytes are shared, never copied.
    pub fn try_clone(&mut self) -> Option<Self> {
        if let BodyKind::Stream(_) = self.kind {
            let BodyKind::Stream(stream) = std::mem::replace(&mut self.kind, BodyKind::Bytes(None)) else {
                return None;
            };
            let slot = OnceSlot(Arc::new(Mutex::new(Some(stream))));
            self.kind = BodyKind::Once(OnceHandle { slot, taken: None });
        }
        match &self.kind {
            BodyKind::Bytes(bytes) => {
                bytes.clone().map(|bytes| Self { kind: BodyKind::Bytes(Some(bytes)), length: self.length })
            }
            BodyKind::Once(handle) if handle.taken.is_none() && handle.slot.is_whole() => Some(Self {
                kind: BodyKind::Once(OnceHandle { slot: handle.slot.clone(), taken: None }),
                length: self.length,
            }),
            _ => None,
        }
    }

    /// Could it be sent (again) now?
    pub fn is_replayable(&self) -> bool {
        match &self.kind {
            BodyKind::Bytes(bytes) => bytes.is_some(),
            BodyKind::Stream(_) => true,
            BodyKind::Once(handle) => handle.taken.is_none() && handle.slot.is_whole(),
        }
    }

    /// Reads everything, up to `limit` bytes.
    ///
    /// # Errors
    /// What the transport reports, or kind `Decode` when there are more than `limit` bytes.
    pub async fn collect(self, limit: usize) -> Result<Bytes, TransportError> {
        use futures_util::StreamExt as _;
        let mut body = self;
        if body.length.is_some_and(|length| length > limit as u64) {
            return Err(TransportError::too_large(limit));
        }
        let Some(first) = body.next().await.transpose()? else { return Ok(Bytes::new()) };
        let Some(second) = body.next().await.transpose()? else {
            // The common case, one chunk, costs no copy.
            return if first.len() > limit { Err(TransportError::too_large(limit)) } else { Ok(first) };
        };
        let expected = body.length.map_or(first.len() + second.len(), |length| length as usize);
        let mut all = Vec::with_capacity(expected.min(limit));
        all.extend_from_slice(&first);
        all.extend_from_slice(&second);
        while all.len() <= limit {
            match body.next().await.transpose()? {
                Some(chunk) => all.extend_from_slice(&chunk),
                None => return Ok(all.into()),
            }
        }
        Err(TransportError::too_large(limit))
    }
}

impl OnceSlot {
    fn take(&self) -> Option<BoxStream> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn is_whole(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

impl Stream for Body {
    type Item = Result<Bytes, TransportError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match &mut self.kind {
            BodyKind::Bytes(bytes) => Poll::Ready(bytes.take().filter(|bytes| !bytes.is_empty()).map(Ok)),
            BodyKind::Stream(stream) => stream.poll(cx),
            BodyKind::Once(handle) => {
                if handle.taken.is_none() {
                    handle.taken = handle.slot.take();
                }
                match &mut handle.taken {
                    Some(stream) => stream.poll(cx),
                    None => Poll::Ready(Some(Err(TransportError::new(
                        ErrorKind::Internal,
                        Delivery::Unknown,
                        "a body that can be sent once was sent twice",
                    )))),
                }
            }
        }
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self { length: Some(bytes.len() as u64), kind: BodyKind::Bytes(Some(bytes)) }
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("length", &self.length).finish_non_exhaustive()
    }
}

/// Why no answer came. Becomes an [`Error`] in the pipeline.
///
/// As JSON it goes from machine to machine on the agent route: all of it but its source. What is read is cut to bounded lines
/// again, and a code that this version does not know is left out.
#[derive(Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct TransportError {
    kind: ErrorKind,
    delivery: Delivery,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "known_code")]
    code: Option<Code>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retryable: Option<bool>,
    #[serde(deserialize_with = "line")]
    message: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "lines")]
    details: BTreeMap<String, String>,
    #[serde(skip)]
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl TransportError {
    /// An error with its kind and whether the request could have reached the server.
    #[must_use]
    pub fn new(kind: ErrorKind, delivery: Delivery, message: impl AsRef<str>) -> Self {
        Self {
            kind,
            delivery,
            code: None,
            retryable: None,
            details: BTreeMap::new(),
            message: redact::line(message.as_ref()),
            source: None,
        }
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        Self::new(
            ErrorKind::Decode,
            Delivery::Answered,
            format!("the answer is larger than the limit of {limit} bytes"),
        )
    }

    /// Sets the code that the check ladder uses for this fault.
    #[must_use]
    pub fn with_code(mut self, code: Code) -> Self {
        self.code = Some(code);
        self
    }

    /// Overrules whether the same request would have a chance a little later.
    #[must_use]
    pub fn with_retryable(mut self, retryable: bool) -> Self {
        self.retryable = Some(retryable);
        self
    }

    /// Adds a fact for the report, such as the issuer of a certificate.
    #[must_use]
    pub fn with_detail(mut self, name: impl Into<String>, value: impl AsRef<str>) -> Self {
        self.details.insert(name.into(), redact::line(value.as_ref()));
        self
    }

    /// Sets the cause; it must not hold a URL or a secret.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Could the server have acted?
    pub fn delivery(&self) -> Delivery {
        self.delivery
    }

    /// Whether the same request would have a chance a little later, where that is not left to the kind.
    pub fn retryable(&self) -> Option<bool> {
        self.retryable
    }

    /// The check ladder's code for this fault, where it is known.
    pub fn code(&self) -> Option<Code> {
        self.code
    }

    /// Facts for the report.
    pub fn details(&self) -> &BTreeMap<String, String> {
        &self.details
    }
}

impl fmt::Debug for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransportError")
            .field("kind", &self.kind)
            .field("delivery", &self.delivery)
            .field("code", &self.code)
            .field("message", &self.message)
            .finish_non_exhaustive()
    }
}

impl From<TransportError> for Error {
    fn from(error: TransportError) -> Self {
        let mut out = Self::new(error.kind, &error.message).with_delivery(error.delivery);
        if let Some(code) = error.code {
            out = out.with_server_code(code.as_str());
        }
        if let Some(retryable) = error.retryable {
            out = out.with_retryable(retryable);
        }
        if let Some(source) = error.source {
            out = out.with_source(source);
        }
        out
    }
}

fn line<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    String::deserialize(from).map(|text| redact::line(&text))
}

fn lines<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, String>, D::Error> {
    let read = BTreeMap::<String, String>::deserialize(from)?;
    Ok(read.into_iter().map(|(name, value)| (redact::line(&name), redact::line(&value))).collect())
}

fn known_code<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Code>, D::Error> {
    let text = Option::<String>::deserialize(from)?;
    Ok(text.and_then(|text| Code::ALL.iter().find(|code| code.as_str() == text).copied()))
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt as _, stream};

    use super::*;

    fn chunks(parts: &'static [&'static str]) -> Body {
        Body::stream(stream::iter(parts.iter().map(|part| Ok(Bytes::from_static(part.as_bytes())))), None)
    }

    #[tokio::test]
    async fn bytes_can_be_sent_again_without_a_copy() {
        let bytes = Bytes::from_static(b"hello");
        let mut body = Body::from(bytes.clone());
        for _ in 0..3 {
            let copy = body.try_clone().unwrap().collect(10).await.unwrap();
            assert_eq!(copy.as_ptr(), bytes.as_ptr());
        }
    }

    #[tokio::test]
    async fn a_stream_can_be_sent_again_only_while_untouched() {
        let mut body = chunks(&["a", "b"]);
        drop(body.try_clone().unwrap());
        let mut second = body.try_clone().unwrap();
        assert!(body.is_replayable());
        assert_eq!(second.next().await.unwrap().unwrap(), "a");
        assert!(!body.is_replayable());
        assert!(body.try_clone().is_none());
    }

    #[tokio::test]
    async fn collect_stops_at_the_limit() {
        assert_eq!(chunks(&["ab", "cd", "ef"]).collect(6).await.unwrap(), "abcdef");
        for parts in [&["abcdefg"][..], &["abc", "def", "g"]] {
            assert_eq!(chunks(parts).collect(6).await.unwrap_err().kind(), ErrorKind::Decode);
        }
        assert!(chunks(&[]).collect(0).await.unwrap().is_empty());
    }
    #[test]
    fn an_error_comes_out_of_json_as_it_went_in_but_for_its_source() {
        let error = TransportError::new(ErrorKind::Tls, Delivery::NotSent, "x509: unbekannt für \"git\"")
            .with_code(Code::TlsUnknownIssuer)
            .with_retryable(false)
            .with_detail("issuer", "CN=Prüf")
            .with_source("private");
        let json = serde_json::to_string(&error).unwrap();
        assert_eq!(
            json,
            r#"{"kind":"tls","delivery":"not_sent","code":"tls.unknown_issuer","retryable":false,"message":"x509: unbekannt für \"git\"","details":{"issuer":"CN=Prüf"}}"#
        );
        let back: TransportError = serde_json::from_str(&json).unwrap();
        assert_eq!(
            (back.kind(), back.delivery(), back.code()),
            (error.kind(), error.delivery(), error.code())
        );
        assert_eq!((back.retryable(), back.details()), (error.retryable(), error.details()));
        assert_eq!(back.to_string(), error.to_string());
    }

    #[test]
    fn an_error_from_elsewhere_is_read_with_care() {
        let json = r#"{"kind":"relay","delivery":"unknown","code":"relay.newer","message":"a\nb glpat-abc","more":1}"#;
        let error: TransportError = serde_json::from_str(json).unwrap();
        assert_eq!((error.code(), error.to_string().as_str()), (None, "a b [redacted]"));
        for json in ["{}", r#"{"kind":"newer","delivery":"unknown","message":""}"#] {
            assert!(serde_json::from_str::<TransportError>(json).is_err(), "{json}");
        }
    }
}
