//! Servers that are no servers: sockets on loopback that play a script, whatever HTTP says about it.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use scm_testkit::fault::socket::{Script, ScriptedServer};
//!
//! // The first answer is cut off, all later ones are whole.
//! let cut = Script::new().request().write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"id\":");
//! let server = ScriptedServer::start([cut, Script::new().request().json(200, "{}")]).await?;
//! println!("{} saw {} requests", server.url(), server.requests().len());
//! # Ok(())
//! # }
//! ```

use std::{
    future::Future,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{Notify, Semaphore},
    task::JoinHandle,
};

/// What a connection does, step by step. After the last step it is closed.
#[derive(Debug, Clone, Default)]
pub struct Script(Vec<Step>);

#[derive(Debug, Clone)]
enum Step {
    Request,
    Touch,
    Write(Bytes),
    Drip(Bytes, Duration),
    Gate(Arc<Semaphore>),
    HalfClose,
    Reset,
    Stall,
}

impl Script {
    /// No step: accepts and closes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a whole request, head and body.
    #[must_use]
    pub fn request(self) -> Self {
        self.then(Step::Request)
    }

    /// Waits until the first byte of a request is there, and leaves it unread.
    #[must_use]
    pub fn touch(self) -> Self {
        self.then(Step::Touch)
    }

    /// Writes these bytes in one piece.
    #[must_use]
    pub fn write(self, bytes: impl Into<Bytes>) -> Self {
        self.then(Step::Write(bytes.into()))
    }

    /// Writes an answer as it should be, and says that the connection ends with it.
    #[must_use]
    pub fn answer(self, status: u16, headers: &[(&str, &str)], body: &str) -> Self {
        let mut text = format!("HTTP/1.1 {status} Scripted\r\nConnection: close\r\n");
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        self.write(format!("{text}Content-Length: {}\r\n\r\n{body}", body.len()))
    }

    /// Writes an answer in JSON as it should be.
    #[must_use]
    pub fn json(self, status: u16, body: &str) -> Self {
        self.answer(status, &[("Content-Type", "application/json")], body)
    }

    /// Writes these bytes one by one, with a pause before each.
    #[must_use]
    pub fn drip(self, bytes: impl Into<Bytes>, pause: Duration) -> Self {
        self.then(Step::Drip(bytes.into(), pause))
    }

    /// Waits for a permit, which the test gives when it is time.
    #[must_use]
    pub fn gate(self, gate: &Arc<Semaphore>) -> Self {
        self.then(Step::Gate(Arc::clone(gate)))
    }

    /// Says that nothing more will be written, and keeps reading.
    #[must_use]
    pub fn half_close(self) -> Self {
        self.then(Step::HalfClose)
    }

    /// Ends the connection with a TCP reset.
    #[must_use]
    pub fn reset(self) -> Self {
        self.then(Step::Reset)
    }

    /// Says nothing more, until the other side ends the connection.
    #[must_use]
    pub fn stall(self) -> Self {
        self.then(Step::Stall)
    }

    fn then(mut self, step: Step) -> Self {
        self.0.push(step);
        self
    }

    async fn play(self, mut stream: TcpStream, log: &Log) -> io::Result<()> {
        for step in self.0 {
            match step {
                Step::Request => match SeenRequest::read(&mut stream).await? {
                    Some(request) => log.seen().requests.push(request),
                    None => return Ok(()),
                },
                Step::Touch => {
                    stream.peek(&mut [0]).await?;
                }
                Step::Write(bytes) => stream.write_all(&bytes).await?,
                Step::Drip(bytes, pause) => {
                    for byte in bytes {
                        tokio::time::sleep(pause).await;
                        stream.write_u8(byte).await?;
                    }
                }
                Step::Gate(gate) => {
                    let permit = gate.acquire().await.map_err(io::Error::other)?;
                    permit.forget();
                }
                Step::HalfClose => {
                    stream.shutdown().await?;
                    drain(&mut stream).await;
                }
                Step::Reset => return reset(stream),
                Step::Stall => drain(&mut stream).await,
            }
        }
        // An orderly end, also where the other side still writes: closing a socket with unread bytes would reset it.
        stream.shutdown().await
    }
}

/// A request as a scripted connection read it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SeenRequest {
    /// HTTP method.
    pub method: String,
    /// Path and query as they arrived.
    pub target: String,
    /// The whole head.
    pub head: String,
    /// The body, without its chunk framing.
    pub body: Vec<u8>,
}

impl SeenRequest {
    /// Reads a request; `None` when the connection ended first.
    async fn read(stream: &mut TcpStream) -> io::Result<Option<Self>> {
        let head = head(stream).await;
        let Some((method, target)) = head.split_once(' ').and_then(|(method, rest)| {
            let (target, _) = rest.split_once(' ')?;
            Some((method.to_owned(), target.to_owned()))
        }) else {
            return Ok(None);
        };
        let body = match header(&head, "content-length").and_then(|length| length.parse::<usize>().ok()) {
            Some(length) => {
                let mut body = vec![0; length];
                stream.read_exact(&mut body).await?;
                body
            }
            None if header(&head, "transfer-encoding").is_some() => chunks(stream).await?,
            None => Vec::new(),
        };
        Ok(Some(Self { method, target, head, body }))
    }
}

/// A server whose connections play scripts, the first one the first, and so on; the last one is played again and
/// again. Dropping it ends everything.
#[derive(Debug)]
pub struct ScriptedServer {
    address: SocketAddr,
    log: Log,
    task: JoinHandle<()>,
}

#[derive(Debug, Clone, Default)]
struct Log {
    seen: Arc<Mutex<Seen>>,
    changed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Seen {
    connections: usize,
    ended: usize,
    requests: Vec<SeenRequest>,
}

impl ScriptedServer {
    /// Listens on a port of its own.
    ///
    /// # Errors
    /// When no socket can be had.
    pub async fn start(scripts: impl IntoIterator<Item = Script>) -> io::Result<Self> {
        let mut scripts = scripts.into_iter().collect::<Vec<_>>().into_iter();
        let mut script = scripts.next().unwrap_or_default();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let log = Log::default();
        let shared = log.clone();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                shared.seen().connections += 1;
                let (log, this) = (shared.clone(), script.clone());
                script = scripts.next().unwrap_or(script);
                connections.spawn(async move {
                    // How it ended is told by the other side.
                    let _ = this.play(stream, &log).await;
                    log.seen().ended += 1;
                    log.changed.notify_waiters();
                });
            }
        });
        Ok(Self { address, log, task })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://` and the address, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many connections were opened.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.log.seen().connections
    }

    /// The requests that were read, in order.
    #[must_use]
    pub fn requests(&self) -> Vec<SeenRequest> {
        self.log.seen().requests.clone()
    }

    /// Waits until so many connections have ended.
    pub async fn ended(&self, connections: usize) {
        loop {
            let changed = self.log.changed.notified();
            if self.log.seen().ended >= connections {
                return;
            }
            changed.await;
        }
    }
}

impl Drop for ScriptedServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Log {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A server on loopback that runs `script` for every connection, until the runtime ends.
///
/// # Errors
/// When no socket can be had.
pub async fn serve<F, Fut>(script: F) -> io::Result<SocketAddr>
where
    F: Fn(TcpStream) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(script(stream));
        }
    });
    Ok(address)
}

/// A port that nothing listens on.
///
/// # Errors
/// When no socket can be had.
pub async fn closed_port() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0").await?.local_addr()
}

/// Reads a head up to its empty line, or what came of it.
pub async fn head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => seen.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&seen).into_owned()
}

/// Writes a 200 with this body, after which the connection goes on.
///
/// # Errors
/// When the other side is gone.
pub async fn answer(stream: &mut (impl AsyncWrite + Unpin), body: &str) -> io::Result<()> {
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(answer.as_bytes()).await?;
    stream.flush().await
}

/// Reads until the other side closes, so that closing sends no reset.
pub async fn drain(stream: &mut (impl AsyncRead + Unpin)) {
    let mut sink = [0; 1024];
    while matches!(stream.read(&mut sink).await, Ok(1..)) {}
}

/// Closes with a reset.
///
/// # Errors
/// When the system refuses.
pub fn reset(stream: TcpStream) -> io::Result<()> {
    stream.set_zero_linger()
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    lines.find(|(found, _)| found.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

async fn chunks(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.push(stream.read_u8().await?);
        }
        let size = String::from_utf8_lossy(&line);
        let size = usize::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
        let start = body.len();
        // The line end that follows the piece, too.
        body.resize(start + size + 2, 0);
        stream.read_exact(&mut body[start..]).await?;
        body.truncate(start + size);
        if size == 0 {
            return Ok(body);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn talk(server: &ScriptedServer, request: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect(server.address()).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn connections_play_their_scripts_in_order_and_the_last_one_again() {
        let scripts = [
            Script::new().request().reset(),
            Script::new().touch().reset(),
            Script::new().request().write("a").write("b"),
        ];
        let server = ScriptedServer::start(scripts).await.unwrap();
        let post = "POST /x?y HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc";
        for _ in 0..2 {
            let error = talk(&server, post).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        }
        let chunked = "PUT /z HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n1\r\nf\r\n0\r\n\r\n";
        assert_eq!(talk(&server, chunked).await.unwrap(), "ab");
        assert_eq!(talk(&server, "GET / HTTP/1.1\r\n\r\n").await.unwrap(), "ab");
        server.ended(4).await;
        assert_eq!(server.connections(), 4);
        let seen: Vec<_> = server
            .requests()
            .into_iter()
            .map(|seen| (seen.method, seen.target, String::from_utf8(seen.body).unwrap()))
            .collect();
        let expected = [("POST", "/x?y", "abc"), ("PUT", "/z", "def"), ("GET", "/", "")];
        assert_eq!(seen, expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned())));
    }
}
