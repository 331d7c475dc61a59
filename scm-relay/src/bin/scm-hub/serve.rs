//! `scm-hub serve`: sockets, TLS, signals, and what is read again.

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use scm_core::{Error, Result};
use scm_relay::Hub;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::tls::Tls;
use crate::{Serve, failed, print};

/// Longest TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long a caller has to read why it was not let in.
const FAREWELL: Duration = Duration::from_secs(1);

/// Pause when no connection can be taken, for want of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// What one upload may be ahead of the tunnel it goes into, over HTTP/2.
const STREAM_WINDOW: u32 = 2 * 1024 * 1024;

/// The same for all uploads of a connection: no number of them that stall may hold the others up.
const CONNECTION_WINDOW: u32 = 1 << 30;

/// Largest head of a request, in bytes. Tunnels take no larger ones.
const HEAD: usize = 160 * 1024;

pub(crate) async fn run(options: Serve) -> Result<()> {
    let text = read(&options.config)?;
    let config = Config::parse(&text, &options.config)?;
    let grace = config.grace()?;
    let settings = config.settings()?;
    let header_timeout = settings.header_timeout;
    let tls = match (&config.tls, options.danger_plain_http || config.danger_plain_http) {
        (Some(files), _) => Some(Arc::new(Tls::new(files.clone())?)),
        (None, true) => {
            tracing::warn!("the hub serves without TLS: keys and tokens can be read on the way");
            None
        }
        (None, false) => {
            return Err(Error::config(
                "there is no certificate: add a line such as tls = { certificate = \"hub.pem\", key = \"hub.key\" } to the \
                 configuration, or allow plain http with --danger-plain-http",
            ));
        }
    };
    let Some(listen) = options.listen.or(config.listen) else {
        return Err(Error::config(
            "there is no address to listen on: give --listen 0.0.0.0:8443, or listen in the configuration",
        ));
    };
    let hub = Hub::new(settings, config.keys()?);
    let mut stop = Stop::new()?;

    let listener = bind(listen).await?;
    let address =
        listener.local_addr().map_err(|error| failed("the socket has no address").with_source(error))?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let closing = CancellationToken::new();
    let metrics = match config.metrics_listen {
        Some(address) => {
            Some(tokio::spawn(metrics(bind(address).await?, hub.clone(), header_timeout, closing.clone())))
        }
        None => None,
    };
    let reload = tokio::spawn(reload(options.config.clone(), text, hub.clone(), tls.clone()));
    tracing::info!(%address, scheme, "the hub is ready");
    print(&format!("{}\n", serde_json::json!({ "url": format!("{scheme}://{address}") })))?;

    let front = Front { hub: hub.clone(), tls, header_timeout, closing: closing.clone() };
    let mut connections = JoinSet::new();
    tokio::select! {
        () = accept(&listener, |stream| front.clone().serve(stream), &mut connections) => {}
        () = stop.wait() => {}
    }
    drop(listener);
    tracing::info!(?grace, "the hub stops: it takes nothing new, and waits for what is in flight");
    closing.cancel();
    let drained = async {
        while connections.join_next().await.is_some() {}
        hub.drain().await;
    };
    if timeout(grace, drained).await.is_err() {
        tracing::warn!("requests were still in flight at the end of the grace period");
    }
    reload.abort();
    if let Some(metrics) = metrics {
        metrics.abort();
    }
    Ok(())
}

async fn bind(address: std::net::SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| failed(format!("cannot listen on {address}: {error}")))
}

/// Takes connections for ever.
async fn accept<F, Fut>(listener: &TcpListener, serve: F, connections: &mut JoinSet<()>)
where
    F: Fn(TcpStream) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, _)) => {
                // Heartbeats and small answers must not wait for more to come.
                let _ = stream.set_nodelay(true);
                connections.spawn(serve(stream));
            }
            // The connection was gone again before it was taken.
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::error!(%error, "no connection can be taken: are there enough file descriptors?");
                sleep(PAUSE).await;
            }
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}

/// What a connection is served with.
#[derive(Clone)]
struct Front {
    hub: Hub,
    tls: Option<Arc<Tls>>,
    header_timeout: Duration,
    closing: CancellationToken,
}

impl Front {
    async fn serve(self, stream: TcpStream) {
        let Some(tls) = &self.tls else { return self.http1(stream).await };
        let handshake = TlsAcceptor::from(tls.config()).accept(stream).into_fallible();
        match timeout(HANDSHAKE, handshake).await {
            Ok(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => self.http2(stream).await,
            Ok(Ok(stream)) => self.http1(stream).await,
            Ok(Err((error, stream))) => {
                tracing::debug!(%error, "a TLS handshake failed");
                part(stream).await;
            }
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        }
    }

    async fn http1<S>(self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.header_timeout)
            .max_buf_size(HEAD)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(self.hub))
            .with_upgrades();
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = &mut connection => ended,
            () = self.closing.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection broke");
        }
    }

    async fn http2<S>(self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_header_list_size(HEAD as u32)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(self.header_timeout)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(self.hub));
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = &mut connection => ended,
            () = self.closing.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection broke");
        }
    }
}

/// Ends a connection so that the other end reads what was said last: closing it with something unread would reset it.
async fn part(mut stream: TcpStream) {
    let read = async {
        stream.shutdown().await?;
        let mut unread = [0; 4096];
        while stream.read(&mut unread).await? > 0 {}
        io::Result::Ok(())
    };
    // How it ends does not matter any more.
    let _ = timeout(FAREWELL, read).await;
}

/// `/metrics`, on an address of its own.
async fn metrics(listener: TcpListener, hub: Hub, header_timeout: Duration, closing: CancellationToken) {
    let serve = |stream: TcpStream| {
        let hub = hub.clone();
        async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let mut hub = hub.clone();
                async move {
                    match request.uri().path() {
                        "/metrics" => Ok::<_, Infallible>(Response::new(hub.metrics().into())),
                        "/healthz" | "/health" | "/readyz" => {
                            tower_service::Service::call(&mut hub, request).await
                        }
                        // Agents and services come in by the other address, over TLS.
                        _ => {
                            let mut answer = Response::new("no such path\n".to_owned().into());
                            *answer.status_mut() = StatusCode::NOT_FOUND;
                            Ok(answer)
                        }
                    }
                }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(header_timeout)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection for metrics broke");
            }
        }
    };
    let mut connections = JoinSet::new();
    tokio::select! {
        () = accept(&listener, serve, &mut connections) => {}
        () = closing.cancelled() => {}
    }
}

/// Reads keys and certificates again when their files change, and on SIGHUP.
async fn reload(path: PathBuf, mut known: String, hub: Hub, tls: Option<Arc<Tls>>) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
    // Said once, not every time it is looked at.
    let mut complaint = String::new();
    loop {
        let asked = tokio::select! {
            _ = hangup.recv() => true,
            () = sleep(LOOK) => false,
        };
        let outcome = keys(&path, &mut known, &hub, asked).and_then(|keys| {
            let certificates = tls.as_ref().map_or(Ok(false), |tls| tls.reload())?;
            Ok((keys, certificates))
        });
        match outcome {
            Ok((keys, certificates)) => {
                complaint.clear();
                if keys || certificates {
                    tracing::info!(keys, certificates, "files were read again");
                }
            }
            Err(error) => {
                let text = error.to_string();
                if asked || text != complaint {
                    tracing::error!(%error, "a file cannot be used: what was read before stays");
                }
                complaint = text;
            }
        }
    }
}

fn keys(path: &Path, known: &mut String, hub: &Hub, asked: bool) -> Result<bool> {
    let text = read(path)?;
    if text == *known && !asked {
        return Ok(false);
    }
    hub.set_keys(Config::parse(&text, path)?.keys()?);
    *known = text;
    Ok(true)
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path)
        .map_err(|error| Error::config(format!("{} cannot be read: {error}", path.display())))
}

/// The signals that end the program.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn new() -> Result<Self> {
        let listen =
            |kind| signal(kind).map_err(|error| failed("signals cannot be listened to").with_source(error));
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
