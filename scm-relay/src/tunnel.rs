//! HTTP/2 with its roles reversed: the hub asks on the connection that the agent has dialled.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use h2::{Ping, PingPong, Reason, RecvStream, SendStream, client, server};
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response};
use scm_core::{Body, Delivery, ErrorKind, TransportError};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::body::{self, Ledger, Unsent};
use crate::fault::{self, Fault};
use crate::wire::MESSAGE;

/// No stalled reader may fill it: what is unread is counted apart.
const CONNECTION_WINDOW: u32 = 1 << 30;

/// Longest frame: with its head it is one message, and each is flushed.
const FRAME: u32 = MESSAGE as u32 - 9;

/// Cancelled requests that may wait for the agent to look at them.
const PENDING_RESETS: usize = 1000;

/// Bytes after which the ledger is looked at.
const SWEEP: u64 = 256 * 1024;

/// How long the agent stays for the hub to read its last word.
const FAREWELL: Duration = Duration::from_secs(60);

/// Largest header block: both ends refuse more.
pub(crate) const HEADERS: usize = 128 * 1024;

/// What both ends of a tunnel have to be told.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Bytes that one body may be ahead of its reader: at 50 ms round trip, 6 MiB allow 120 MB/s.
    pub(crate) stream_window: u32,
    /// Requests at the same time on one tunnel.
    pub(crate) streams: usize,
    /// How long a request waits for a place among them.
    pub(crate) queue: Duration,
    /// How often the other end has to show that it is there.
    pub(crate) ping_every: Duration,
    /// How long that may take.
    pub(crate) ping_limit: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            stream_window: 6 * 1024 * 1024,
            streams: 256,
            queue: Duration::from_secs(5),
            ping_every: Duration::from_secs(15),
            ping_limit: Duration::from_secs(10),
        }
    }
}

/// Why a tunnel is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// This end was told to.
    Stopped,
    /// The other end closed it.
    Closed,
    /// The other end did not answer a ping.
    Silent,
    /// It broke.
    Broken,
}

impl Over {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Closed => "closed",
            Self::Silent => "silent",
            Self::Broken => "broken",
        }
    }
}

/// The hub's end. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Tunnel {
    requests: client::SendRequest<Bytes>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    ledger: Arc<Ledger>,
    places: Arc<Semaphore>,
    queue: Duration,
    in_flight: AtomicUsize,
    draining: AtomicBool,
    retiring: AtomicBool,
    stop: CancellationToken,
}

impl Tunnel {
    /// Speaks HTTP/2 on `io`. The future that comes with it does the work, and ends with the tunnel.
    pub(crate) async fn open<S>(
        io: S,
        settings: &Settings,
        ledger: Arc<Ledger>,
    ) -> Result<(Self, impl Future<Output = Over> + Send + use<S>), TransportError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (io, received) = Metered::new(io);
        let (requests, mut connection) = client::Builder::new()
            .enable_push(false)
            .initial_window_size(settings.stream_window)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(FRAME)
            .initial_max_send_streams(settings.streams)
            .max_concurrent_reset_streams(PENDING_RESETS)
            .max_header_list_size(HEADERS as u32)
            .handshake(io)
            .await
            .map_err(|error| broken(&error))?;
        let shared = Arc::new(Shared {
            ledger: Arc::clone(&ledger),
            places: Arc::new(Semaphore::new(settings.streams)),
            queue: settings.queue,
            in_flight: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
            retiring: AtomicBool::new(false),
            stop: CancellationToken::new(),
        });
        let this = Self { requests, shared: Arc::clone(&shared) };
        let ping = connection.ping_pong();
        let (every, limit) = (settings.ping_every, settings.ping_limit);
        let drive = async move {
            let mut due = SWEEP;
            let work = poll_fn(|cx| {
                let polled = connection.poll_unpin(cx);
                sweep_if_due(&ledger, &received, &mut due);
                polled
            });
            tokio::select! {
                ended = work => match ended {
                    Ok(()) => Over::Closed,
                    Err(error) => over(&error),
                },
                () = shared.stop.cancelled() => Over::Stopped,
                () = heartbeat(ping, every, limit) => Over::Silent,
                () = sweeper(&ledger) => Over::Broken,
            }
        };
        Ok((this, drive))
    }

    /// Sends `request`, whose URI is absolute, and waits for the head of the answer. A place is waited for first.
    /// A tunnel that takes nothing more is draining from then on.
    pub(crate) async fn send(&self, request: Request<Body>) -> Result<Response<Body>, TransportError> {
        let mut counted = Counted::new(&self.shared);
        let place = timeout(self.shared.queue, Arc::clone(&self.shared.places).acquire_owned()).await;
        let place = place.map_err(|_| not_sent("the agent has as many requests in flight as it takes"))?;
        counted.place = place.ok();
        let (mut head, body) = request.into_parts();
        head.headers.remove(header::CONTENT_LENGTH);
        frame(&mut head.headers, body.length().filter(|length| *length > 0));
        let bare = body.length() == Some(0);
        let head_only = head.method == Method::HEAD;

        let closed = |_| {
            self.drain();
            not_sent("the tunnel to the agent is closed, or closing")
        };
        let mut requests = self.requests.clone().ready().await.map_err(closed)?;
        let (answer, stream) = requests.send_request(Request::from_parts(head, ()), bare).map_err(closed)?;
        let exchange = CancellationToken::new();
        // A request that nobody waits for any more is cancelled, upload and all.
        let guard = exchange.clone().drop_guard();
        let (failed, failure) = oneshot::channel();
        if !bare {
            tokio::spawn(upload(stream, body, exchange.clone(), failed));
        }
        let response = tokio::select! {
            biased;
            Ok(error) = failure => return Err(error),
            response = answer => response.map_err(|error| {
                if error.is_go_away() {
                    self.drain();
                }
                broken(&error)
            })?,
        };
        let (mut head, stream) = response.into_parts();
        if let Some(fault) = Fault::take(&mut head.headers) {
            return Err(fault);
        }
        guard.disarm();
        let length = head.headers.remove(&fault::LENGTH);
        if let Some(length) = &length {
            head.headers.insert(header::CONTENT_LENGTH, length.clone());
        }
        let body = if head_only {
            Body::empty()
        } else {
            hold(self.shared.ledger.body(length.as_ref(), stream, exchange), counted)
        };
        Ok(Response::from_parts(head, body))
    }

    /// Requests whose answers are not over.
    pub(crate) fn in_flight(&self) -> usize {
        self.shared.in_flight.load(Ordering::Relaxed)
    }

    /// Says that no new work should come here.
    pub(crate) fn drain(&self) {
        self.shared.draining.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.shared.draining.load(Ordering::Relaxed)
    }

    /// Says that the agent will take nothing more here as soon as there is another one: better to go there.
    pub(crate) fn retire(&self) {
        self.shared.retiring.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_retiring(&self) -> bool {
        self.shared.retiring.load(Ordering::Relaxed)
    }

    /// Ends it now, and all requests in it.
    pub(crate) fn stop(&self) {
        self.shared.stop.cancel();
    }
}

/// Counts one request for as long as it lives, its wait for a place included.
struct Counted {
    shared: Arc<Shared>,
    place: Option<OwnedSemaphorePermit>,
}

impl Counted {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.in_flight.fetch_add(1, Ordering::Relaxed);
        Self { shared: Arc::clone(shared), place: None }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.shared.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// `body`, which keeps `held` until it is over.
fn hold(body: Body, held: Counted) -> Body {
    if body.length() == Some(0) {
        return body;
    }
    let length = body.length();
    let chunks =
        stream::unfold(
            (body, held),
            |(mut body, held)| async move { Some((body.next().await?, (body, held))) },
        );
    Body::stream(chunks, length)
}

async fn upload(
    mut stream: SendStream<Bytes>,
    body: Body,
    exchange: CancellationToken,
    failed: oneshot::Sender<TransportError>,
) {
    let outcome = tokio::select! {
        outcome = body::send(&mut stream, body) => outcome,
        () = exchange.cancelled() => Err(Unsent::Refused),
    };
    match outcome {
        Ok(()) => {}
        Err(Unsent::Refused) => stream.send_reset(Reason::CANCEL),
        Err(Unsent::Source(error)) => {
            // The cause goes first: the reset ends the wait for an answer.
            let _ = failed.send(of_caller(error));
            stream.send_reset(Reason::CANCEL);
        }
    }
}

/// Who carries requests out: the agent.
#[async_trait]
pub(crate) trait Handler: Send + Sync + 'static {
    /// Answers `request`. It is dropped when the hub wants no answer any more.
    async fn handle(&self, request: Request<Body>) -> Response<Body>;
}

/// The agent's end: answers on `io` until the tunnel is over. After `drain` it takes nothing new and ends with what is in
/// flight.
pub(crate) async fn serve<S>(
    io: S,
    handler: Arc<dyn Handler>,
    settings: &Settings,
    ledger: Arc<Ledger>,
    drain: CancellationToken,
) -> Over
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut io, received) = Metered::new(io);
    let handshake = server::Builder::new()
        .initial_window_size(settings.stream_window)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .max_concurrent_streams(u32::try_from(settings.streams).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_concurrent_reset_streams(PENDING_RESETS)
        .max_header_list_size(HEADERS as u32)
        .handshake::<_, Bytes>(&mut io);
    let mut connection = match timeout(settings.ping_limit, handshake).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(_)) => return Over::Broken,
        Err(_) => return Over::Silent,
    };
    let heartbeat = heartbeat(connection.ping_pong(), settings.ping_every, settings.ping_limit);
    let sweeper = sweeper(&ledger);
    tokio::pin!(heartbeat, sweeper);
    let mut due = SWEEP;
    let mut draining = false;
    // Dropped with the tunnel, and with it every request in it.
    let mut exchanges = JoinSet::new();
    loop {
        let accept = poll_fn(|cx| {
            let polled = connection.poll_accept(cx);
            sweep_if_due(&ledger, &received, &mut due);
            polled
        });
        tokio::select! {
            accepted = accept => match accepted {
                Some(Ok((request, respond))) => {
                    exchanges.spawn(exchange(Arc::clone(&handler), Arc::clone(&ledger), request, respond));
                }
                Some(Err(error)) => return over(&error),
                None => break,
            },
            () = drain.cancelled(), if !draining => {
                draining = true;
                connection.graceful_shutdown();
            }
            Some(_) = exchanges.join_next() => {}
            () = &mut heartbeat => return Over::Silent,
            () = &mut sweeper => return Over::Broken,
        }
    }
    drop(connection);
    // All is with the operating system, which takes back what is under way when a socket is closed and something more comes.
    let _ = timeout(FAREWELL, tokio::io::copy(&mut io, &mut tokio::io::sink())).await;
    Over::Closed
}

async fn exchange(
    handler: Arc<dyn Handler>,
    ledger: Arc<Ledger>,
    request: Request<RecvStream>,
    mut respond: server::SendResponse<Bytes>,
) {
    let (mut head, stream) = request.into_parts();
    let head_only = head.method == Method::HEAD;
    let length = head.headers.remove(&fault::LENGTH);
    let body = ledger.body(length.as_ref(), stream, CancellationToken::new());
    let answer = tokio::select! {
        answer = handler.handle(Request::from_parts(head, body)) => answer,
        _ = poll_fn(|cx| respond.poll_reset(cx)) => return,
    };
    let (mut head, body) = answer.into_parts();
    let size = size(&head.headers);
    if size > HEADERS {
        let message = format!("the head of the server's answer has {size} bytes, and {HEADERS} may pass");
        let error = TransportError::new(ErrorKind::Decode, Delivery::Answered, message).with_retryable(false);
        // It fails where nobody waits for the answer any more.
        let _ = respond.send_response(Fault::of(&error).into_answer().map(drop), true);
        return;
    }
    let bare = head_only || body.length() == Some(0);
    // The answer to HEAD has the length of what it does not have.
    let said = head.headers.remove(header::CONTENT_LENGTH);
    let said = said.and_then(|said| said.to_str().ok()?.parse().ok());
    frame(&mut head.headers, said.or(body.length()));
    let body = if bare { body } else { body::begun(body).await };
    // What fails from here on fails because nobody waits for the answer any more.
    let Ok(mut stream) = respond.send_response(Response::from_parts(head, ()), bare) else { return };
    if bare {
        return;
    }
    match body::send(&mut stream, body).await {
        Ok(()) => {}
        Err(Unsent::Refused) => stream.send_reset(Reason::CANCEL),
        Err(Unsent::Source(error)) => {
            // A reset would overtake what is still to be sent, the head included.
            let trailers = HeaderMap::from_iter([(fault::FAULT, Fault::of(&error).to_value())]);
            let _ = stream.send_trailers(trailers);
        }
    }
}

/// What headers are counted as, with something left for the first line. The other end gives a tunnel up where they are larger.
pub(crate) fn size(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum::<usize>() + 256
}

/// Hop by hop headers go, and the length is one that HTTP/2 does not look at.
fn frame(headers: &mut HeaderMap, length: Option<u64>) {
    for name in [header::TRANSFER_ENCODING, header::CONNECTION, header::TE, header::TRAILER, header::UPGRADE]
    {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
    headers.remove(&fault::LENGTH);
    if let Some(length) = length {
        headers.insert(fault::LENGTH, HeaderValue::from(length));
    }
}

/// Ends when the other end did not answer a ping in time.
async fn heartbeat(ping: Option<PingPong>, every: Duration, limit: Duration) {
    let Some(mut ping) = ping else { return std::future::pending().await };
    loop {
        sleep(every).await;
        match timeout(limit, ping.ping(Ping::opaque())).await {
            Ok(Ok(_)) => {}
            // The connection tells better why it is over.
            Ok(Err(_)) => std::future::pending().await,
            Err(_) => return,
        }
    }
}

fn over(error: &h2::Error) -> Over {
    let closed = error.get_io().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe);
    if closed || error.is_go_away() { Over::Closed } else { Over::Broken }
}

/// Never ends.
async fn sweeper(ledger: &Ledger) {
    loop {
        sleep(ledger.pace()).await;
        ledger.sweep(Instant::now());
    }
}

fn sweep_if_due(ledger: &Ledger, received: &AtomicU64, due: &mut u64) {
    let received = received.load(Ordering::Relaxed);
    if received >= *due {
        *due = received + SWEEP;
        ledger.sweep(Instant::now());
    }
}

/// An exchange that failed.
pub(crate) fn broken(error: &h2::Error) -> TransportError {
    let refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
    // It answers streams up to a number it names; those above, such as this one, it never took.
    let never_taken = error.is_go_away() && error.reason() == Some(Reason::NO_ERROR);
    if error.is_remote() && (refused || never_taken) {
        return not_sent("the agent took no further request on this tunnel");
    }
    let message = if error.is_reset() {
        "the agent gave the request up before an answer came"
    } else {
        "the tunnel to the agent broke before the answer was there"
    };
    TransportError::new(ErrorKind::Relay, Delivery::Unknown, message)
}

fn not_sent(message: &str) -> TransportError {
    TransportError::new(ErrorKind::Relay, Delivery::NotSent, message)
}

/// The failure of the caller's body: part of the request may have arrived, whatever the body's own source says.
fn of_caller(failure: TransportError) -> TransportError {
    let mut error = TransportError::new(failure.kind(), Delivery::Unknown, failure.to_string());
    if let Some(code) = failure.code() {
        error = error.with_code(code);
    }
    if let Some(retryable) = failure.retryable() {
        error = error.with_retryable(retryable);
    }
    error = failure.details().iter().fold(error, |error, (name, value)| error.with_detail(name, value));
    error.with_source(failure)
}

/// Counts what arrives.
#[derive(Debug)]
struct Metered<S> {
    io: S,
    received: Arc<AtomicU64>,
}

impl<S> Metered<S> {
    fn new(io: S) -> (Self, Arc<AtomicU64>) {
        let received = Arc::new(AtomicU64::new(0));
        (Self { io, received: Arc::clone(&received) }, received)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        self.received.fetch_add((buf.filled().len() - before) as u64, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
