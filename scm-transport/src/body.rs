//! Bodies on their way out and in, and the clock that tells silence of the server from a slow caller.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http_body::{Frame, SizeHint};
use scm_core::{Body, Delivery, ErrorKind, TransportError};
use tokio::time::{Instant, timeout_at};

use crate::classify;

/// Bytes in memory go out in pieces of this size, so that the clock sees them leave.
const PIECE: usize = 64 * 1024;

/// What the two sides of one exchange know of each other. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Progress(Arc<Mutex<State>>);

struct State {
    /// When something last moved.
    last: Instant,
    /// The next piece of the request's body is for the caller to bring.
    with_caller: bool,
    /// Why the caller's body failed.
    failure: Option<TransportError>,
}

impl Progress {
    pub(crate) fn start() -> Self {
        Self(Arc::new(Mutex::new(State { last: Instant::now(), with_caller: false, failure: None })))
    }

    /// When the server will have been silent for `limit`.
    pub(crate) fn silent_at(&self, limit: Duration) -> Instant {
        let state = self.state();
        let from = if state.with_caller { Instant::now() } else { state.last };
        later(from, limit)
    }

    /// The failure of the caller's body, once.
    pub(crate) fn take_failure(&self) -> Option<TransportError> {
        let failure = self.state().failure.take()?;
        // Part of the request may have arrived, whatever the body's own source says.
        let mut error = TransportError::new(failure.kind(), Delivery::Unknown, failure.to_string());
        if let Some(code) = failure.code() {
            error = error.with_code(code);
        }
        for (name, value) in failure.details() {
            error = error.with_detail(name, value);
        }
        Some(error.with_source(failure))
    }

    fn moved(&self, with_caller: bool) {
        let mut state = self.state();
        state.last = Instant::now();
        state.with_caller = with_caller;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `from` plus `limit`, also where that is further than the clock can count.
pub(crate) fn later(from: Instant, limit: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(60 * 60 * 24 * 365);
    from + limit.min(FAR)
}

/// The request's body in reqwest's form.
pub(crate) fn upload(body: Body, progress: &Progress) -> reqwest::Body {
    match body.as_bytes() {
        Some(bytes) if bytes.len() <= PIECE => bytes.clone().into(),
        _ => reqwest::Body::wrap(Upload {
            left: body.length(),
            source: body,
            piece: Bytes::new(),
            progress: progress.clone(),
        }),
    }
}

struct Upload {
    source: Body,
    /// What of the source's last chunk is still to go.
    piece: Bytes,
    /// What is still to come, where the length is known.
    left: Option<u64>,
    progress: Progress,
}

impl Upload {
    fn failed(&self, error: TransportError) -> UploadFailed {
        self.progress.moved(false);
        self.progress.state().failure = Some(error);
        UploadFailed
    }

    fn wrong_length(&self, how: &str) -> UploadFailed {
        self.failed(TransportError::new(
            ErrorKind::InvalidInput,
            Delivery::Unknown,
            format!("the request's body is {how} than the length it was given with"),
        ))
    }
}

impl Drop for Upload {
    /// Nothing more comes from the caller, so that from here on it is the server who is silent.
    fn drop(&mut self) {
        self.progress.moved(false);
    }
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = UploadFailed;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadFailed>>> {
        let this = self.get_mut();
        while this.piece.is_empty() {
            let Poll::Ready(chunk) = this.source.poll_next_unpin(cx) else {
                this.progress.moved(true);
                return Poll::Pending;
            };
            this.progress.moved(false);
            match chunk {
                Some(Ok(chunk)) => this.piece = chunk,
                Some(Err(error)) => return Poll::Ready(Some(Err(this.failed(error)))),
                None if this.left.is_some_and(|left| left > 0) => {
                    return Poll::Ready(Some(Err(this.wrong_length("shorter"))));
                }
                None => return Poll::Ready(None),
            }
        }
        let size = this.piece.len().min(PIECE);
        let piece = this.piece.split_to(size);
        if let Some(left) = this.left {
            match left.checked_sub(size as u64) {
                Some(left) => this.left = Some(left),
                None => return Poll::Ready(Some(Err(this.wrong_length("longer")))),
            }
        }
        this.progress.moved(false);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0) && self.piece.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// Tells reqwest to stop; the cause is in [`Progress`].
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the request's body failed")]
pub(crate) struct UploadFailed;

/// Limits of one exchange.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) silence: Duration,
    /// The end of the whole request, with the limit it came from.
    pub(crate) end: Option<(Instant, Duration)>,
}

/// The answer's body. Its time runs only while the reader waits, and an error ends it.
pub(crate) fn download(response: reqwest::Response, progress: Progress, limits: Limits) -> Body {
    let length = response.content_length();
    if length == Some(0) {
        return Body::empty();
    }
    let chunks = Box::pin(response.bytes_stream());
    let chunks = stream::unfold(Some(chunks), move |chunks| {
        let progress = progress.clone();
        async move {
            let mut chunks = chunks?;
            match next(&mut chunks, &progress, limits).await {
                Ok(None) => None,
                Ok(Some(chunk)) => Some((Ok(chunk), Some(chunks))),
                Err(error) => Some((Err(error), None)),
            }
        }
    });
    Body::stream(chunks, length)
}

async fn next(
    chunks: &mut (impl Stream<Item = reqwest::Result<Bytes>> + Unpin),
    progress: &Progress,
    limits: Limits,
) -> Result<Option<Bytes>, TransportError> {
    let waiting = Instant::now();
    loop {
        // A body that still goes out counts as movement too.
        let silent_at = progress.silent_at(limits.silence).max(later(waiting, limits.silence));
        match within(silent_at, limits, chunks.next()).await {
            Ok(Some(Ok(chunk))) => return Ok(Some(chunk)),
            Ok(Some(Err(error))) => {
                return Err(progress.take_failure().unwrap_or_else(|| classify::answer_body(error)));
            }
            Ok(None) => return Ok(None),
            Err(Elapsed::End(limit)) => return Err(classify::out_of_time(limit)),
            Err(Elapsed::Silence) if progress.silent_at(limits.silence) > Instant::now() => {}
            Err(Elapsed::Silence) => return Err(classify::silent(limits.silence)),
        }
    }
}

/// Which limit came first.
pub(crate) enum Elapsed {
    Silence,
    End(Duration),
}

/// Awaits `work` until `silent_at` or the end of the request.
pub(crate) async fn within<T>(
    silent_at: Instant,
    limits: Limits,
    work: impl Future<Output = T>,
) -> Result<T, Elapsed> {
    match limits.end {
        Some((end, limit)) if end <= silent_at => {
            timeout_at(end, work).await.map_err(|_| Elapsed::End(limit))
        }
        _ => timeout_at(silent_at, work).await.map_err(|_| Elapsed::Silence),
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use http_body::Body as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silence_counts_only_while_the_server_is_to_act() {
        let limit = Duration::from_secs(1);
        let progress = Progress::start();
        let mut body = Box::pin(upload(Body::stream(stream::pending(), None), &progress));
        tokio::time::advance(limit * 2).await;
        assert!(progress.silent_at(limit) < Instant::now());

        assert!(body.as_mut().poll_frame(&mut Context::from_waker(Waker::noop())).is_pending());
        tokio::time::advance(limit * 2).await;
        assert!(progress.silent_at(limit) > Instant::now(), "the caller is to act");

        drop(body);
        tokio::time::advance(limit * 2).await;
        assert!(progress.silent_at(limit) < Instant::now(), "nobody waits for the caller any more");
    }
}
