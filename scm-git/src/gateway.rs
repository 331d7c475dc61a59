//! A loopback address through which a real git takes the chosen route.

use std::convert::Infallible;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, BodyStream, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use scm_core::pipeline::{ApiRequest, Idempotency, Operation, Pipeline, PipelineConfig};
use scm_core::{Body, Delivery, Error, ErrorKind, GitRemote, Result, Transport, TransportError};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::dialect::GitDialect;

/// Longest time until the server begins to answer: a large push is read whole before.
const DEADLINE: Duration = Duration::from_secs(60 * 60);

const LFS: &str = "Git LFS does not go through this gateway yet: switch it off (GIT_LFS_SKIP_SMUDGE=1), or use the server's own URL";

type Answer = Response<UnsyncBoxBody<Bytes, Error>>;

/// Lets a real git clone, fetch and push one repository over a transport of this crate family: route, CA and credential
/// are added on the way, so that none of them stands in git's arguments, environment or configuration.
///
/// The address holds an unguessable part, takes connections from this machine only, and is good for this repository until
/// the gateway is dropped.
///
/// ```no_run
/// # async fn example(transport: scm_core::Transport, remote: scm_core::GitRemote) -> scm_core::Result<()> {
/// use scm_git::Gateway;
///
/// let gateway = Gateway::start(transport, &remote).await?;
/// // Clones through the gateway, and leaves the clone pointing at the server's own URL.
/// let done = tokio::process::Command::new("git")
///     .args(["-c", &gateway.instead_of(), "clone", gateway.remote_url().as_str(), "work"])
///     .status()
///     .await;
/// # let _ = done;
/// # Ok(())
/// # }
/// ```
pub struct Gateway {
    url: Url,
    remote: Url,
    stop: CancellationToken,
}

impl Gateway {
    /// Opens the gateway to `remote`, by way of `transport`. Needs a tokio runtime, on which it serves.
    ///
    /// # Errors
    /// `Config` for a remote that cannot be used, `Internal` when no loopback address can be had.
    pub async fn start(transport: Transport, remote: &GitRemote) -> Result<Self> {
        let dialect = GitDialect {
            provider: "git",
            token_username: remote.token_username,
            request_id_header: HeaderName::from_static("x-request-id"),
        };
        let mut config = PipelineConfig::new(remote.url.clone(), transport, Arc::clone(&remote.credentials));
        config.deadline = DEADLINE;
        let pipeline = Pipeline::new(config, Arc::new(dialect))?;

        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let address = |listener: TcpListener| listener.local_addr().map(|address| (listener, address));
        let (listener, address) = listener.and_then(address).map_err(|error| {
            Error::new(ErrorKind::Internal, "no loopback address for the gateway").with_source(error)
        })?;
        let secret = secret()?;
        let stop = CancellationToken::new();
        let url = address_of(address, &secret)?;
        tokio::spawn(serve(
            listener,
            Arc::new(Door { pipeline, prefix: format!("/{secret}/") }),
            stop.clone(),
        ));
        Ok(Self { url, remote: remote.url.clone(), stop })
    }

    /// The address for git: whoever knows it may use it.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The server's own URL of the repository.
    pub fn remote_url(&self) -> &Url {
        &self.remote
    }

    /// A setting for `git -c` by which git takes this gateway wherever the server's own URL is named, so that a clone is
    /// left pointing there.
    pub fn instead_of(&self) -> String {
        format!("url.{}.insteadOf={}", self.url, self.remote)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl fmt::Debug for Gateway {
    /// Without the address: it is a capability.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("remote", &self.remote.as_str()).finish_non_exhaustive()
    }
}

/// 128 bits that nobody guesses, as text.
fn secret() -> Result<String> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes)
        .map_err(|_| Error::new(ErrorKind::Internal, "the system gives no random bytes"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn address_of(address: SocketAddr, secret: &str) -> Result<Url> {
    Url::parse(&format!("http://{address}/{secret}/repository.git"))
        .map_err(|_| Error::new(ErrorKind::Internal, "the gateway's address cannot be written"))
}

/// What all connections share.
struct Door {
    pipeline: Pipeline,
    /// The unguessable part of the path.
    prefix: String,
}

async fn serve(listener: TcpListener, door: Arc<Door>, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                tokio::spawn(connection(stream, Arc::clone(&door), stop.clone()));
            }
            // Out of descriptors and the like pass; spinning on them would not help.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn connection(stream: TcpStream, door: Arc<Door>, stop: CancellationToken) {
    let service = service_fn(|request| {
        let door = Arc::clone(&door);
        async move { Ok::<_, Infallible>(door.answer(request).await) }
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        () = stop.cancelled() => {}
        // Who hangs up early is told by git itself.
        _ = connection => {}
    }
}

impl Door {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (parts, body) = request.into_parts();
        let Some(rest) = parts.uri.path().strip_prefix(self.prefix.as_str()) else {
            return text(StatusCode::NOT_FOUND, "no such gateway; it may have been closed");
        };
        let Some(service) = rest.strip_prefix("repository.git/") else {
            return text(StatusCode::NOT_FOUND, "this gateway leads to one repository only");
        };
        if service.starts_with("info/lfs") {
            return text(StatusCode::NOT_IMPLEMENTED, LFS);
        }
        let query = parts.uri.query().unwrap_or_default();
        let (kind, advertised) = match (&parts.method, service, query) {
            (&Method::GET, "info/refs", "service=git-upload-pack") => ("git-upload-pack", true),
            (&Method::GET, "info/refs", "service=git-receive-pack") => ("git-receive-pack", true),
            (&Method::POST, "git-upload-pack", "") => ("git-upload-pack", false),
            (&Method::POST, "git-receive-pack", "") => ("git-receive-pack", false),
            _ => return text(StatusCode::FORBIDDEN, "only git's smart protocol goes through this gateway"),
        };
        let answer_type = if advertised { "advertisement" } else { "result" };
        let operation =
            self.pipeline.operation(if kind == "git-upload-pack" { "git_read" } else { "git_write" });
        match forward(&operation, &parts, body, service, kind).await {
            Ok(stream) => {
                let body = StreamBody::new(stream.map(|chunk| chunk.map(Frame::data)));
                let mut response = Response::new(body.boxed_unsync());
                let kind = format!("application/x-{kind}-{answer_type}");
                if let Ok(kind) = HeaderValue::try_from(kind) {
                    response.headers_mut().insert(CONTENT_TYPE, kind);
                }
                response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
                response
            }
            Err(error) => refusal(&error),
        }
    }
}

async fn forward(
    operation: &Operation,
    parts: &http::request::Parts,
    body: Incoming,
    service: &str,
    kind: &str,
) -> Result<scm_core::ByteStream> {
    let mut out = ApiRequest::new(parts.method.clone(), service, &[]);
    if parts.method == Method::GET {
        out = out.query("service", kind);
    } else {
        let kind = parts.headers.get(CONTENT_TYPE).cloned();
        let kind = kind.unwrap_or(HeaderValue::from_static("application/octet-stream"));
        out = out.body(streamed(body), kind).idempotency(Idempotency::NotIdempotent);
    }
    // An allow-list: nothing else of git's own goes out, above all no credential.
    for name in [ACCEPT, CONTENT_ENCODING, HeaderName::from_static("git-protocol")] {
        if let Some(value) = parts.headers.get(&name) {
            out = out.header(name, value.clone());
        }
    }
    operation.stream(out).await
}

fn streamed(body: Incoming) -> Body {
    let chunks = BodyStream::new(body).filter_map(async |frame| match frame {
        Ok(frame) => frame.into_data().ok().map(Ok),
        Err(_) => Some(Err(TransportError::new(ErrorKind::Cancelled, Delivery::Unknown, "git hung up"))),
    });
    Body::stream(chunks, None)
}

/// An error as git shows it to people. A refused credential is no 401: git would ask for another one.
fn refusal(error: &Error) -> Answer {
    let status = match (error.kind(), error.status()) {
        (ErrorKind::Unauthenticated, _) => StatusCode::FORBIDDEN,
        (_, Some(status)) if status.is_client_error() || status.is_server_error() => status,
        _ => StatusCode::BAD_GATEWAY,
    };
    text(status, &error.to_string())
}

fn text(status: StatusCode, message: &str) -> Answer {
    let body = Full::new(Bytes::from(format!("{message}\n"))).map_err(|never: Infallible| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
