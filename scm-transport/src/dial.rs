//! The way to a server, step by step: name, TCP, TLS, each with an error that says what it was.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::ProtocolVersion;
use rustls::pki_types::ServerName;
use scm_core::{Code, TransportError};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::body::later;
use crate::classify::{self, Target};
use crate::resolve::{Names, ResolveError};
use crate::tls::Tls;

/// How long a server that asked for a client certificate may take to say that it wants one, with TLS 1.3.
const VERDICT: Duration = Duration::from_secs(1);

/// A byte stream of whatever kind.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// One time limit for all steps.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    end: Instant,
    pub(crate) limit: Duration,
}

impl Clock {
    pub(crate) fn start(limit: Duration) -> Self {
        Self { end: later(Instant::now(), limit), limit }
    }

    /// Awaits `step`; `None` when the time is over.
    pub(crate) async fn run<T>(self, step: impl Future<Output = T>) -> Option<T> {
        timeout_at(self.end, step).await.ok()
    }

    fn left(self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }
}

/// The addresses of `target`; at least one.
pub(crate) async fn resolve(
    target: &Target,
    names: &Names,
    clock: Clock,
) -> Result<Vec<SocketAddr>, TransportError> {
    if let Ok(ip) = target.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, target.port)]);
    }
    let found = clock.run(names.lookup(&target.host, target.port)).await;
    found
        .unwrap_or_else(|| Err(ResolveError::TimedOut(target.host.clone(), clock.limit)))
        .map_err(|error| error.to_transport())
}

/// A TCP connection.
pub(crate) struct Dialled {
    pub(crate) stream: TcpStream,
    pub(crate) address: SocketAddr,
    /// Addresses that were tried before, with what became of them.
    pub(crate) failed: Option<String>,
}

/// Tries the addresses in turn, each with its share of the time that is left.
pub(crate) async fn tcp(
    target: &Target,
    addresses: &[SocketAddr],
    clock: Clock,
) -> Result<Dialled, TransportError> {
    let mut failures: Vec<(SocketAddr, TransportError)> = Vec::new();
    for (index, &address) in addresses.iter().enumerate() {
        let share = clock.left() / u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        let error = match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Small messages must not wait for more to come. It fails on a connection that is gone, which shows soon.
                let _ = stream.set_nodelay(true);
                let failed = (!failures.is_empty()).then(|| list(&failures));
                return Ok(Dialled { stream, address, failed });
            }
            // No handshake has begun, so that every failure is one of the connection.
            Ok(Err(error)) => classify::connect(&error, &Target { tls: false, ..target.clone() }),
            Err(_) => classify::connect_timed_out(target, clock.limit),
        };
        failures.push((address, error));
    }
    // The most telling one: a refusal proves that a machine is there, a timeout proves nothing.
    let rank = |error: &TransportError| match error.code() {
        Some(Code::TcpRefused) => 0,
        Some(Code::TcpTimeout) => 1,
        _ => 2,
    };
    let shown = list(&failures);
    let worst = failures.into_iter().map(|(_, error)| error).min_by_key(rank);
    let worst = worst.unwrap_or_else(|| ResolveError::NotFound(target.host.clone()).to_transport());
    Err(worst.with_detail("failed_addresses", shown))
}

fn list(failures: &[(SocketAddr, TransportError)]) -> String {
    let shown = failures.iter().map(|(address, error)| {
        let code = error.code().map_or("failed", Code::as_str);
        format!("{}: {code}", address.ip())
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// TLS over `stream`, up to the server's verdict about a client certificate.
pub(crate) async fn tls<S: Io>(
    target: &Target,
    stream: S,
    tls: &Tls,
    clock: Clock,
) -> Result<TlsStream<S>, TransportError> {
    clock.run(handshake(target, stream, tls)).await.unwrap_or_else(|| {
        Err(classify::tls_fault(
            Code::TlsHandshake,
            format!("{target} did not finish the TLS handshake within {:?}", clock.limit),
        ))
    })
}

async fn handshake<S: Io>(target: &Target, stream: S, tls: &Tls) -> Result<TlsStream<S>, TransportError> {
    let name = ServerName::try_from(target.host.clone()).map_err(|_| {
        classify::tls_fault(
            Code::TlsNameMismatch,
            format!("{} cannot be a name in a certificate", target.host),
        )
    })?;
    let fault = |error: &io::Error| match classify::find::<rustls::Error>(error) {
        Some(error) => classify::handshake(error, target, tls),
        None => classify::connect(error, target),
    };
    let connector = TlsConnector::from(Arc::clone(tls.config()));
    let mut stream = connector.connect(name, stream).await.map_err(|error| fault(&error))?;
    let late = tls.was_asked() && stream.get_ref().1.protocol_version() == Some(ProtocolVersion::TLSv1_3);
    if late {
        verdict(&mut stream, target, tls, fault).await?;
    }
    Ok(stream)
}

/// With TLS 1.3 the handshake is over for the client before the server has looked at the client's certificate.
async fn verdict<S: Io>(
    stream: &mut TlsStream<S>,
    target: &Target,
    tls: &Tls,
    fault: impl Fn(&io::Error) -> TransportError,
) -> Result<(), TransportError> {
    match timeout(VERDICT, stream.read(&mut [0; 1])).await {
        // Silence, or the start of HTTP/2: the server is content.
        Err(_) | Ok(Ok(1..)) => Ok(()),
        Ok(Err(error)) if classify::find::<rustls::Error>(&error).is_some() => Err(fault(&error)),
        Ok(_) if tls.has_identity() => Err(classify::broken_handshake(target)),
        Ok(_) => Err(classify::tls_fault(
            Code::TlsClientCertRequired,
            format!("{target} asked for a client certificate, got none, and closed the connection"),
        )),
    }
}
