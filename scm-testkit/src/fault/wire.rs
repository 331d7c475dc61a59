//! A piece of network that can go wrong: a TCP relay on loopback that delays, stalls, loses and cuts what it carries.
//!
//! ```no_run
//! # async fn example(server: std::net::SocketAddr) -> std::io::Result<()> {
//! use scm_testkit::fault::wire::{Line, Wire};
//!
//! let wire = Wire::to(server).start().await?;
//! // The first connection loses every byte from now on, and neither end is told.
//! wire.turn(0..1, Line::Lost);
//! # Ok(())
//! # }
//! ```

use std::{
    io,
    net::SocketAddr,
    ops::{Bound, RangeBounds},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

/// Read at once.
const PIECE: usize = 64 * 1024;

/// Pieces on their way in one direction: enough for a delay not to be a limit of bandwidth.
const PIECES: usize = 1024;

/// How a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Line {
    /// Carries everything.
    Open,
    /// Takes nothing, so that whoever writes has to wait.
    Stalled,
    /// Takes everything and delivers nothing, the end of a side included: no end hears that the other one is gone.
    Lost,
    /// Ends with a reset at both ends.
    Cut,
}

/// How a wire is to be.
#[derive(Debug, Clone, Copy)]
pub struct WireBuilder {
    target: SocketAddr,
    delay: Duration,
    idle: Option<Duration>,
    limit: Option<u64>,
}

impl WireBuilder {
    /// Each direction takes so long.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Cuts a connection that carries nothing, in neither direction, for so long.
    #[must_use]
    pub fn cut_idle(mut self, limit: Duration) -> Self {
        self.idle = Some(limit);
        self
    }

    /// Cuts a connection once it has carried so many bytes, of both directions together.
    #[must_use]
    pub fn cut_after(mut self, bytes: u64) -> Self {
        self.limit = Some(bytes);
        self
    }

    /// Lays it.
    ///
    /// # Errors
    /// When no socket can be had.
    pub async fn start(self) -> io::Result<Wire> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let lines = watch::Sender::new(Vec::new());
        let connections = Arc::new(AtomicUsize::new(0));
        let task = tokio::spawn(accept(listener, self, lines.clone(), Arc::clone(&connections)));
        Ok(Wire { address, lines, connections, task })
    }
}

/// A relay to one address. Dropping it ends every connection.
#[derive(Debug)]
pub struct Wire {
    address: SocketAddr,
    /// Which connections are how; the last one that fits is right.
    lines: watch::Sender<Vec<(Which, Line)>>,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

/// Connections from this number on, up to but not including that one.
type Which = (usize, usize);

impl Wire {
    /// A wire to `target`.
    #[must_use]
    pub fn to(target: SocketAddr) -> WireBuilder {
        WireBuilder { target, delay: Duration::ZERO, idle: None, limit: None }
    }

    /// Where it takes connections.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections it has taken.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Makes the connections of these numbers so, counted from 0 in the order in which they came; those to come as well.
    pub fn turn(&self, which: impl RangeBounds<usize>, line: Line) {
        let from = match which.start_bound() {
            Bound::Included(first) => *first,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let to = match which.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(after) => *after,
            Bound::Unbounded => usize::MAX,
        };
        self.lines.send_modify(|lines| lines.push(((from, to), line)));
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(
    listener: TcpListener,
    settings: WireBuilder,
    lines: watch::Sender<Vec<(Which, Line)>>,
    connections: Arc<AtomicUsize>,
) {
    let mut running = JoinSet::new();
    while let Ok((near, _)) = listener.accept().await {
        let number = connections.fetch_add(1, Ordering::Relaxed);
        let state = State { number, lines: lines.subscribe() };
        running.spawn(async move {
            // A target that is not there is a connection that ends.
            if let Ok(far) = TcpStream::connect(settings.target).await {
                carry(near, far, settings, state).await;
            }
        });
        while running.try_join_next().is_some() {}
    }
}

/// How one connection is, now and later.
#[derive(Debug, Clone)]
struct State {
    number: usize,
    lines: watch::Receiver<Vec<(Which, Line)>>,
}

impl State {
    fn line(&self) -> Line {
        let lines = self.lines.borrow();
        let mut fitting = lines.iter().rev().filter(|((from, to), _)| (*from..*to).contains(&self.number));
        fitting.next().map_or(Line::Open, |(_, line)| *line)
    }

    /// Until it is something else than `line`; for ever, where that is not to be any more.
    async fn changes(&mut self, line: Line) {
        while self.line() == line {
            if self.lines.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    async fn becomes(&mut self, line: Line) {
        while self.line() != line {
            if self.lines.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// What a connection has carried, and when last.
#[derive(Debug)]
struct Meter {
    start: Instant,
    bytes: AtomicU64,
    /// In milliseconds since the start.
    last: AtomicU64,
}

async fn carry(near: TcpStream, far: TcpStream, settings: WireBuilder, mut state: State) {
    // It fails for connections that are over.
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let meter = Arc::new(Meter { start: Instant::now(), bytes: AtomicU64::new(0), last: AtomicU64::new(0) });
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    let (there, there_out) = mpsc::channel(PIECES);
    let (back, back_out) = mpsc::channel(PIECES);
    let cut = CancellationToken::new();
    let mut readers = JoinSet::new();
    for (from, pieces) in [(near_read, there), (far_read, back)] {
        readers.spawn(read(from, pieces, settings, Arc::clone(&meter), state.clone()));
    }
    let mut writers = JoinSet::new();
    for (to, pieces) in [(far_write, there_out), (near_write, back_out)] {
        writers.spawn(write(to, pieces, cut.clone()));
    }
    let over = async {
        while let Some(read) = readers.join_next().await {
            if matches!(read, Ok(Over::Cut)) {
                return;
            }
        }
        // What is on its way still arrives.
        while writers.join_next().await.is_some() {}
    };
    tokio::select! {
        () = over => {}
        () = state.becomes(Line::Cut) => {}
        () = quiet(&meter, settings.idle) => {}
    }
    cut.cancel();
    readers.shutdown().await;
    while let Some(written) = writers.join_next().await {
        if let Ok(to) = written {
            // It fails for a connection that is over.
            let _ = to.as_ref().set_zero_linger();
            // Dropped, it would say an orderly goodbye.
            to.forget();
        }
    }
}

/// How reading ended.
enum Over {
    End,
    Cut,
}

async fn read(
    mut from: OwnedReadHalf,
    pieces: mpsc::Sender<(Instant, Bytes)>,
    settings: WireBuilder,
    meter: Arc<Meter>,
    mut state: State,
) -> Over {
    let mut buffer = BytesMut::new();
    loop {
        state.changes(Line::Stalled).await;
        buffer.reserve(PIECE);
        let line = state.line();
        let read = tokio::select! {
            biased;
            () = state.changes(line) => continue,
            read = from.read_buf(&mut buffer) => read,
        };
        let mut piece = buffer.split().freeze();
        let lost = state.line() == Line::Lost;
        match read {
            _ if lost && piece.is_empty() => std::future::pending().await,
            _ if lost => continue,
            Ok(1..) => {}
            Ok(_) => return Over::End,
            Err(_) => return Over::Cut,
        }
        let after = meter.carried(piece.len() as u64);
        let surplus = settings.limit.map_or(0, |limit| after.saturating_sub(limit));
        piece.truncate(piece.len().saturating_sub(usize::try_from(surplus).unwrap_or(usize::MAX)));
        // Where the other side is gone, this one has to hear of it.
        if pieces.send((Instant::now() + settings.delay, piece)).await.is_err() || surplus > 0 {
            return Over::Cut;
        }
    }
}

/// Gives the half back, for whoever cuts the connection.
async fn write(
    mut to: OwnedWriteHalf,
    mut pieces: mpsc::Receiver<(Instant, Bytes)>,
    cut: CancellationToken,
) -> OwnedWriteHalf {
    let deliver = async {
        while let Some((due, piece)) = pieces.recv().await {
            sleep_until(due).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
        if !cut.is_cancelled() {
            // It fails for a connection that is over.
            let _ = to.shutdown().await;
        }
    };
    tokio::select! {
        () = deliver => {}
        () = cut.cancelled() => {}
    }
    to
}

/// Ends when nothing was carried for as long as `limit`.
async fn quiet(meter: &Meter, limit: Option<Duration>) {
    let Some(limit) = limit else { return std::future::pending().await };
    loop {
        let last = meter.start + Duration::from_millis(meter.last.load(Ordering::Relaxed));
        if last.elapsed() >= limit {
            return;
        }
        sleep_until(last + limit).await;
    }
}

impl Meter {
    /// How many it were with these.
    fn carried(&self, bytes: u64) -> u64 {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::socket::serve;

    /// A server that says everything back.
    async fn echo() -> SocketAddr {
        let echo = serve(|stream| async move {
            let (mut from, mut to) = stream.into_split();
            // The test's end tells how it went.
            let _ = tokio::io::copy(&mut from, &mut to).await;
        });
        echo.await.unwrap()
    }

    async fn says_back(stream: &mut TcpStream, words: &[u8]) {
        stream.write_all(words).await.unwrap();
        let mut back = vec![0; words.len()];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(back, words);
    }

    async fn is_reset(stream: &mut TcpStream) -> bool {
        let ended = stream.read(&mut [0; 100]).await;
        ended.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset)
    }

    #[tokio::test]
    async fn it_carries_both_ways_and_the_end_of_each_side() {
        let wire = Wire::to(echo().await).delay(Duration::from_millis(20)).start().await.unwrap();
        let mut stream = TcpStream::connect(wire.address()).await.unwrap();
        let start = Instant::now();
        says_back(&mut stream, b"hello").await;
        assert!(start.elapsed() >= Duration::from_millis(40));
        stream.write_all(&[7; 3_000_000]).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        assert_eq!((rest.len(), wire.connections()), (3_000_000, 1));
    }

    #[tokio::test]
    async fn a_connection_can_stall_go_on_get_lost_and_be_cut_apart_from_others() {
        let wire = Wire::to(echo().await).start().await.unwrap();
        let mut first = TcpStream::connect(wire.address()).await.unwrap();
        says_back(&mut first, b"1").await;
        let mut second = TcpStream::connect(wire.address()).await.unwrap();
        says_back(&mut second, b"2").await;
        wire.turn(..1, Line::Stalled);
        first.write_all(b"later").await.unwrap();
        says_back(&mut second, b"now").await;
        wire.turn(.., Line::Open);
        let mut later = [0; 5];
        first.read_exact(&mut later).await.unwrap();
        assert_eq!(&later, b"later");

        wire.turn(0..1, Line::Lost);
        first.write_all(b"gone").await.unwrap();
        says_back(&mut second, b"here").await;
        let mut third = TcpStream::connect(wire.address()).await.unwrap();
        says_back(&mut third, b"3").await;
        wire.turn(1..=1, Line::Cut);
        assert!(is_reset(&mut second).await);
        says_back(&mut third, b"33").await;
        // What was lost does not come back.
        wire.turn(.., Line::Open);
        says_back(&mut first, b"again").await;
    }

    #[tokio::test]
    async fn it_cuts_what_is_idle_and_what_is_long() {
        let wire = Wire::to(echo().await).cut_idle(Duration::from_millis(100)).start().await.unwrap();
        let mut stream = TcpStream::connect(wire.address()).await.unwrap();
        says_back(&mut stream, b"hello").await;
        assert!(is_reset(&mut stream).await);

        let wire = Wire::to(echo().await).cut_after(100).start().await.unwrap();
        let mut stream = TcpStream::connect(wire.address()).await.unwrap();
        says_back(&mut stream, &[1; 50]).await;
        stream.write_all(&[1]).await.unwrap();
        assert!(is_reset(&mut stream).await);
    }
}
