//! WebSocket as a byte stream: what proxies and load balancers see of a tunnel.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::{Sink as _, Stream as _};
use sha1::{Digest as _, Sha1};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

/// The major version of what is spoken inside.
pub(crate) const SUBPROTOCOL: &str = "scm-relay.h2.v1";

/// Longest message: a heartbeat waits for no more than this.
pub(crate) const MESSAGE: usize = 32 * 1024;

/// Longest message that is taken: some other version may write longer ones.
const LONGEST: usize = 1024 * 1024;

/// Which end of the WebSocket this is: the agent dials, so that the hub is its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Agent,
    Hub,
}

/// A WebSocket whose opening handshake is over, as a byte stream over binary messages.
#[derive(Debug)]
pub(crate) struct WebSocketIo<S> {
    socket: WebSocketStream<S>,
    unread: Bytes,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocketIo<S> {
    pub(crate) async fn new(stream: S, end: End) -> Self {
        let role = match end {
            End::Agent => Role::Client,
            End::Hub => Role::Server,
        };
        // Buffers are there from the start, and an idle tunnel has to be cheap.
        let config = WebSocketConfig::default()
            .read_buffer_size(16 * 1024)
            .write_buffer_size(MESSAGE)
            .max_write_buffer_size(4 * MESSAGE)
            .max_message_size(Some(LONGEST))
            .max_frame_size(Some(LONGEST));
        let socket = WebSocketStream::from_raw_socket(stream, role, Some(config)).await;
        Self { socket, unread: Bytes::new() }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocketIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.unread.is_empty() {
            match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                Some(Ok(Message::Binary(bytes))) => self.unread = bytes,
                // Answered by the library.
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Text(_) | Message::Frame(_))) => {
                    return Poll::Ready(Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "a message of a tunnel is binary",
                    )));
                }
                Some(Ok(Message::Close(_))) | None => return Poll::Ready(Ok(())),
                Some(Err(error)) => return Poll::Ready(Err(into_io(error))),
            }
        }
        let length = self.unread.len().min(buf.remaining());
        buf.put_slice(&self.unread[..length]);
        self.unread.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocketIo<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    /// A frame and its head are one message.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut self.socket).poll_ready(cx)).map_err(into_io)?;
        let length = slices.iter().map(|slice| slice.len()).sum::<usize>().min(MESSAGE);
        let mut message = BytesMut::with_capacity(length);
        for slice in slices {
            message.extend_from_slice(&slice[..slice.len().min(length - message.len())]);
        }
        let message = Message::Binary(message.freeze());
        Pin::new(&mut self.socket).start_send(message).map_err(into_io)?;
        Poll::Ready(Ok(length))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx).map_err(into_io)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(cx).map_err(into_io)
    }
}

/// `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key` (RFC 6455, 4.2.2).
pub(crate) fn accept_key(key: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(hash.finalize())
}

fn into_io(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        Error::ConnectionClosed | Error::AlreadyClosed => io::ErrorKind::BrokenPipe.into(),
        other => io::Error::new(io::ErrorKind::InvalidData, other),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{SinkExt as _, StreamExt as _};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    async fn pair() -> (WebSocketIo<DuplexStream>, WebSocketIo<DuplexStream>) {
        let (agent, hub) = duplex(16 * 1024);
        (WebSocketIo::new(agent, End::Agent).await, WebSocketIo::new(hub, End::Hub).await)
    }

    async fn raw_agent() -> (WebSocketStream<DuplexStream>, WebSocketIo<DuplexStream>) {
        let (agent, hub) = duplex(1024 * 1024);
        let agent = WebSocketStream::from_raw_socket(agent, Role::Client, None).await;
        (agent, WebSocketIo::new(hub, End::Hub).await)
    }

    #[test]
    fn the_accept_key_is_that_of_the_standard() {
        assert_eq!(accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[tokio::test]
    async fn bytes_pass_both_ways_at_once_and_end_with_the_socket() {
        let (agent, hub) = pair().await;
        let sent: Vec<u8> = (0..1_000_003_u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
        let (mut agent_reads, mut agent_writes) = tokio::io::split(agent);
        let (mut hub_reads, mut hub_writes) = tokio::io::split(hub);
        let up = async {
            agent_writes.write_all(&sent).await.unwrap();
            agent_writes.flush().await.unwrap();
        };
        let down = async {
            hub_writes.write_all(&sent).await.unwrap();
            hub_writes.shutdown().await.unwrap();
        };
        let read_up = async {
            let mut read = vec![0; sent.len()];
            hub_reads.read_exact(&mut read).await.unwrap();
            read
        };
        let read_down = async {
            let mut read = Vec::new();
            agent_reads.read_to_end(&mut read).await.unwrap();
            read
        };
        let ((), (), up, down) = tokio::join!(up, down, read_up, read_down);
        assert!(up == sent && down == sent);
    }

    #[tokio::test]
    async fn no_message_is_longer_than_a_heartbeat_may_wait_for() {
        let (mut agent, mut hub) = raw_agent().await;
        hub.write_all(&[7; 100_000]).await.unwrap();
        hub.flush().await.unwrap();
        let mut lengths = Vec::new();
        while lengths.iter().sum::<usize>() < 100_000 {
            lengths.push(agent.next().await.unwrap().unwrap().into_data().len());
        }
        assert_eq!(lengths, [32_768, 32_768, 32_768, 1_696]);
    }

    #[tokio::test]
    async fn what_is_written_together_is_one_message() {
        let (mut agent, mut hub) = raw_agent().await;
        let payload = [7; MESSAGE];
        let slices = [&b"head"[..], &[], &payload].map(IoSlice::new);
        assert_eq!(hub.write_vectored(&slices).await.unwrap(), MESSAGE);
        hub.flush().await.unwrap();
        let message = agent.next().await.unwrap().unwrap().into_data();
        assert!(message.len() == MESSAGE && message.starts_with(b"head\x07") && message.ends_with(&[7]));
    }

    #[tokio::test]
    async fn a_ping_is_answered_and_a_text_is_an_error() {
        let (mut agent, mut hub) = raw_agent().await;
        agent.send(Message::Ping(Bytes::from_static(b"there?"))).await.unwrap();
        agent.send(Message::binary(Bytes::from_static(b"bytes"))).await.unwrap();
        let mut read = [0; 5];
        hub.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"bytes");
        hub.flush().await.unwrap();
        assert_eq!(agent.next().await.unwrap().unwrap(), Message::Pong(Bytes::from_static(b"there?")));

        agent.send(Message::text("hello")).await.unwrap();
        assert_eq!(hub.read_u8().await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
