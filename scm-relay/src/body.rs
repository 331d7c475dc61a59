//! Bodies in a tunnel: taken from it with what is unread counted and capped, and sent into it in frames of a sensible size.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::Fuse;
use futures_util::{Stream, StreamExt as _, stream};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderValue};
use scm_core::{Body, Delivery, ErrorKind, TransportError};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::fault::Fault;
use crate::tunnel::broken;

/// Chunks below this size wait for company.
const SMALL: usize = 1024;

/// How long they wait.
const COMPANY: Duration = Duration::from_millis(1);

/// What a collection of small chunks grows to.
const FULL: usize = 16 * 1024;

/// The bytes that have arrived for one agent and that nobody has read yet, over all its tunnels.
///
/// HTTP/2's windows alone do not bound them: a connection window that many stalled readers cannot fill has to be larger than
/// the memory anybody would give them.
#[derive(Debug)]
pub(crate) struct Ledger {
    limit: usize,
    patience: Duration,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    last: u64,
    open: HashMap<u64, Arc<Entry>>,
}

#[derive(Debug)]
struct Entry(Mutex<Slot>);

#[derive(Debug)]
struct Slot {
    /// Gone when the stream was given up.
    stream: Option<RecvStream>,
    given_up: Option<&'static str>,
    read_at: Instant,
    reader: Option<Waker>,
    exchange: CancellationToken,
}

impl Ledger {
    /// Holds `limit` bytes; those that nobody reads for as long as `patience` are given up.
    pub(crate) fn new(limit: usize, patience: Duration) -> Arc<Self> {
        Arc::new(Self { limit, patience, entries: Mutex::default() })
    }

    /// The body in `stream`. `exchange` is cancelled when its reader goes away or when it is given up.
    pub(crate) fn body(
        self: &Arc<Self>,
        length: Option<&HeaderValue>,
        stream: RecvStream,
        exchange: CancellationToken,
    ) -> Body {
        if stream.is_end_stream() {
            return Body::empty();
        }
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        let slot = Slot {
            stream: Some(stream),
            given_up: None,
            read_at: Instant::now(),
            reader: None,
            exchange: exchange.clone(),
        };
        let entry = Arc::new(Entry(Mutex::new(slot)));
        let mut entries = self.entries();
        entries.last += 1;
        let id = entries.last;
        entries.open.insert(id, Arc::clone(&entry));
        let inbound =
            Inbound { ledger: Arc::clone(self), id, entry, exchange, missing: length, ended: false };
        Body::stream(inbound, length)
    }

    /// Gives up streams that were not read for too long, and while there is too much, the one that was not read for
    /// longest.
    pub(crate) fn sweep(&self, now: Instant) {
        let mut unread: Vec<(Instant, usize, Arc<Entry>)> = Vec::new();
        for entry in self.entries().open.values() {
            let mut slot = entry.slot();
            let used = slot.stream.as_mut().map_or(0, |stream| stream.flow_control().used_capacity());
            if used > 0 {
                // It waited when there was nothing, and has been woken: its time begins now.
                if slot.reader.take().is_some() {
                    slot.read_at = now;
                }
                unread.push((slot.read_at, used, Arc::clone(entry)));
            }
        }
        unread.sort_by_key(|(read_at, ..)| *read_at);
        let mut sum: usize = unread.iter().map(|(_, used, _)| used).sum();
        for (read_at, used, entry) in unread {
            if now.saturating_duration_since(read_at) >= self.patience {
                entry.give_up("nobody read it for too long");
            } else if sum > self.limit {
                entry.give_up("too much of it was waiting to be read");
            } else {
                return;
            }
            sum -= used;
        }
    }

    /// How often to [`sweep`](Self::sweep) for those that nobody reads.
    pub(crate) fn pace(&self) -> Duration {
        self.patience / 4
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_up(&self, why: &'static str) {
        let mut slot = self.slot();
        if slot.stream.take().is_some() {
            slot.given_up = Some(why);
            slot.exchange.cancel();
            if let Some(reader) = slot.reader.take() {
                reader.wake();
            }
        }
    }
}

/// What arrives. Dropping it tells the other end to stop.
struct Inbound {
    ledger: Arc<Ledger>,
    id: u64,
    entry: Arc<Entry>,
    exchange: CancellationToken,
    /// What is still to come, where that is known.
    missing: Option<u64>,
    ended: bool,
}

impl Stream for Inbound {
    type Item = Result<Bytes, TransportError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        let mut slot = this.entry.slot();
        slot.read_at = Instant::now();
        slot.reader = None;
        let Slot { stream: Some(stream), .. } = &mut *slot else {
            this.ended = true;
            let why = slot.given_up.unwrap_or("it was given up");
            let error = TransportError::new(
                ErrorKind::Relay,
                Delivery::Unknown,
                format!("a body in the tunnel was given up: {why}"),
            );
            return Poll::Ready(Some(Err(error)));
        };
        loop {
            let polled = stream.poll_data(cx);
            if polled.is_pending() {
                slot.reader = Some(cx.waker().clone());
                return Poll::Pending;
            }
            let ended = match ready!(polled) {
                Some(Ok(chunk)) if chunk.is_empty() => continue,
                Some(Ok(chunk)) => {
                    // It fails for a stream that is over, which the next poll tells.
                    let _ = stream.flow_control().release_capacity(chunk.len());
                    this.missing = this.missing.map(|missing| missing.saturating_sub(chunk.len() as u64));
                    return Poll::Ready(Some(Ok(chunk)));
                }
                // An answer that was sent to its end before the request was: the rest of that is not wanted.
                Some(Err(error)) if error.reason() == Some(Reason::NO_ERROR) => end(this.missing, None),
                Some(Err(error)) => Poll::Ready(Some(Err(cut(&error)))),
                None => match stream.poll_trailers(cx) {
                    Poll::Pending => {
                        slot.reader = Some(cx.waker().clone());
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok(trailers)) => end(this.missing, trailers),
                    Poll::Ready(Err(error)) if error.reason() == Some(Reason::NO_ERROR) => {
                        end(this.missing, None)
                    }
                    Poll::Ready(Err(error)) => Poll::Ready(Some(Err(cut(&error)))),
                },
            };
            this.ended = true;
            return ended;
        }
    }
}

/// The end of a body, if it is one.
fn end(missing: Option<u64>, trailers: Option<HeaderMap>) -> Poll<Option<Result<Bytes, TransportError>>> {
    if let Some(fault) = trailers.and_then(|mut trailers| Fault::take(&mut trailers)) {
        return Poll::Ready(Some(Err(fault)));
    }
    if missing.is_some_and(|missing| missing > 0) {
        let message = "the body was cut off: it is shorter than it said";
        return Poll::Ready(Some(Err(TransportError::new(
            ErrorKind::Unavailable,
            Delivery::Unknown,
            message,
        ))));
    }
    Poll::Ready(None)
}

impl Drop for Inbound {
    fn drop(&mut self) {
        self.ledger.entries().open.remove(&self.id);
        if !self.ended {
            self.exchange.cancel();
        }
    }
}

/// Why a body ended before its end.
fn cut(error: &h2::Error) -> TransportError {
    if error.is_reset() {
        let message = "the body was cut off: the other end of the tunnel gave it up";
        return TransportError::new(ErrorKind::Unavailable, Delivery::Unknown, message);
    }
    broken(error)
}

/// Why a body was not sent to its end.
#[derive(Debug)]
pub(crate) enum Unsent {
    /// Its source failed.
    Source(TransportError),
    /// The other end wants no more of it, or is gone.
    Refused,
}

/// `body` with its first piece there, if it is a small one and does not take long: it then shares a message with its head.
pub(crate) async fn begun(mut body: Body) -> Body {
    let length = body.length();
    if body.as_bytes().is_some() || length.is_some_and(|length| length > FULL as u64) {
        return body;
    }
    match timeout(COMPANY, body.next()).await {
        Ok(Some(first)) => Body::stream(stream::iter([first]).chain(body), length),
        Ok(None) => Body::stream(stream::empty(), length),
        Err(_) => body,
    }
}

/// Sends `body` to its end. Whoever drops the future early has to reset the stream.
pub(crate) async fn send(stream: &mut SendStream<Bytes>, body: Body) -> Result<(), Unsent> {
    let whole = body.length();
    let mut body = body.fuse();
    let mut sent = 0;
    while let Some(chunk) = next(stream, &mut body, whole.map(|whole| whole.saturating_sub(sent))).await? {
        sent += chunk.len() as u64;
        // Where the length is known, the last piece says so itself.
        write(stream, chunk, whole == Some(sent)).await?;
        if whole == Some(sent) {
            return Ok(());
        }
    }
    if whole.is_some_and(|whole| whole > sent) {
        let message = "the body is shorter than it said";
        return Err(Unsent::Source(TransportError::new(ErrorKind::Internal, Delivery::Unknown, message)));
    }
    stream.send_data(Bytes::new(), true).map_err(|_| Unsent::Refused)
}

/// The next piece that is worth a frame. `left` is what is still to come, where that is known: nothing joins the last piece.
async fn next(
    stream: &mut SendStream<Bytes>,
    body: &mut Fuse<Body>,
    left: Option<u64>,
) -> Result<Option<Bytes>, Unsent> {
    let mut poll = async || {
        poll_fn(|cx| {
            if stream.poll_reset(cx).is_ready() {
                return Poll::Ready(Some(Err(Unsent::Refused)));
            }
            body.poll_next_unpin(cx).map_err(Unsent::Source)
        })
        .await
    };
    let first = loop {
        match poll().await.transpose()? {
            None => return Ok(None),
            // h2 counts frames without content over the whole life of a connection, and ends it.
            Some(chunk) if chunk.is_empty() => {}
            Some(chunk) => break chunk,
        }
    };
    let enough = usize::try_from(left.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
    if first.len() >= enough.min(SMALL) {
        return Ok(Some(first));
    }
    let mut all = BytesMut::from(first);
    let end = Instant::now() + COMPANY;
    while all.len() < enough.min(FULL) {
        match timeout_at(end, poll()).await {
            Ok(Some(Ok(chunk))) => all.extend_from_slice(&chunk),
            Ok(Some(Err(error))) => return Err(error),
            Ok(None) | Err(_) => break,
        }
    }
    Ok(Some(all.freeze()))
}

async fn write(stream: &mut SendStream<Bytes>, mut chunk: Bytes, last: bool) -> Result<(), Unsent> {
    while !chunk.is_empty() {
        stream.reserve_capacity(chunk.len());
        while stream.capacity() == 0 {
            match poll_fn(|cx| stream.poll_capacity(cx)).await {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(Unsent::Refused),
            }
        }
        let piece = chunk.split_to(stream.capacity().min(chunk.len()));
        stream.send_data(piece, last && chunk.is_empty()).map_err(|_| Unsent::Refused)?;
    }
    Ok(())
}
