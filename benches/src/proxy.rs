//! A wire of some length between client and server, on which the bytes are counted.

use std::io::Result;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// Passes bytes on to a server on this machine. Each byte arrives half a round trip after it was sent, however many
/// others are on the way, and a new connection costs a round trip, as the TCP handshake does.
#[derive(Clone, Debug)]
pub struct Proxy {
    address: String,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    round_trip: AtomicU64,
    connections: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
}

/// What went over the wire, as the client sees it.
#[derive(Clone, Copy, Debug)]
pub struct Traffic {
    /// Connections opened.
    pub connections: u64,
    /// Bytes to the server.
    pub sent: u64,
    /// Bytes from the server.
    pub received: u64,
}

impl Proxy {
    /// In front of the server at `server`, as `HOST:PORT`.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(server: String) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let shared = Arc::<Shared>::default();
        let proxy = Self { address, shared: Arc::clone(&shared) };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, shared) = (server.clone(), Arc::clone(&shared));
                // A connection that breaks is seen by both its ends.
                tokio::spawn(async move { drop(connect(client, &server, &shared).await) });
            }
        });
        Ok(proxy)
    }

    /// Where clients connect, as `HOST:PORT`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Counts from zero, over a wire of this round trip for new connections.
    pub fn reset(&self, round_trip: Duration) {
        let shared = &self.shared;
        shared.round_trip.store(round_trip.as_millis() as u64, Ordering::Relaxed);
        for count in [&shared.connections, &shared.sent, &shared.received] {
            count.store(0, Ordering::Relaxed);
        }
    }

    /// What went over the wire since.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let shared = &self.shared;
        Traffic {
            connections: of(&shared.connections),
            sent: of(&shared.sent),
            received: of(&shared.received),
        }
    }
}

async fn connect(client: TcpStream, server: &str, shared: &Shared) -> Result<()> {
    shared.connections.fetch_add(1, Ordering::Relaxed);
    let round_trip = Duration::from_millis(shared.round_trip.load(Ordering::Relaxed));
    let half = round_trip / 2;
    let (now, open) = (Instant::now(), Instant::now() + round_trip);
    let server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (there, back) = tokio::join!(
        pass(from_client, to_server, open, half, &shared.sent),
        pass(from_server, to_client, now, half, &shared.received),
    );
    there.and(back)
}

/// One direction. What waits is not limited, so that a long wire is not a narrow one too.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    open: Instant,
    half: Duration,
    count: &AtomicU64,
) -> Result<()> {
    let (wire, mut arriving) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let read = async move {
        let mut chunk = vec![0; 64 * 1024];
        loop {
            let length = from.read(&mut chunk).await?;
            if length == 0 {
                return Ok(());
            }
            count.fetch_add(length as u64, Ordering::Relaxed);
            // Nobody listens at the other end any more.
            if wire.send((Instant::now().max(open) + half, chunk[..length].to_vec())).is_err() {
                return Ok(());
            }
        }
    };
    let write = async move {
        while let Some((at, bytes)) = arriving.recv().await {
            if !half.is_zero() {
                sleep_until(at).await;
            }
            to.write_all(&bytes).await?;
        }
        to.shutdown().await
    };
    let (read, written): (Result<()>, Result<()>) = tokio::join!(read, write);
    read.and(written)
}
