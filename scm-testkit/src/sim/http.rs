//! HTTP/1.1 on our own accept loop, so that a connection can be reset or an answer cut short on purpose.

use std::{convert::Infallible, future::Future, net::SocketAddr, sync::Arc, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
};
use tokio_util::sync::CancellationToken;

use crate::sim::SimError;

/// What becomes of a request.
#[derive(Debug)]
pub(crate) enum Answer {
    Response(Response<Body>),
    /// The connection is closed with a TCP reset.
    Reset,
}

/// A running server; dropping it stops it.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    cancel: CancellationToken,
    task: Option<tokio::task::JoinHandle<()>>,
}

impl Server {
    pub(crate) async fn bind(listen: &str) -> Result<(TcpListener, SocketAddr), SimError> {
        let listener =
            TcpListener::bind(listen).await.map_err(SimError::io(format!("cannot listen on {listen}")))?;
        let address = listener.local_addr().map_err(SimError::io("local address"))?;
        Ok((listener, address))
    }

    pub(crate) fn start<F, Fut>(listener: TcpListener, address: SocketAddr, handler: F) -> Self
    where
        F: Fn(Request<Incoming>) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Answer> + Send + 'static,
    {
        let cancel = CancellationToken::new();
        let stop = cancel.clone();
        let task = tokio::spawn(async move {
            loop {
                let stream = tokio::select! {
                    () = stop.cancelled() => return,
                    accepted = listener.accept() => match accepted {
                        Ok((stream, _)) => stream,
                        // Out of descriptors and the like pass; spinning on them would not help.
                        Err(_) => {
                            tokio::time::sleep(Duration::from_millis(10)).await;
                            continue;
                        }
                    },
                };
                tokio::spawn(connection(stream, handler.clone(), stop.clone()));
            }
        });
        Self { address, cancel, task: Some(task) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) async fn stop(&mut self) {
        self.cancel.cancel();
        if let Some(task) = self.task.take() {
            // The accept loop ends by itself; a join error only says that the runtime is going down.
            let _ = task.await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

async fn connection<F, Fut>(stream: TcpStream, handler: F, stop: CancellationToken)
where
    F: Fn(Request<Incoming>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Answer> + Send + 'static,
{
    let _ = stream.set_nodelay(true);
    let reset = Arc::new(Notify::new());
    let service = service_fn(|request| {
        let answer = handler(request);
        let reset = Arc::clone(&reset);
        async move {
            match answer.await {
                Answer::Response(response) => Ok::<_, Infallible>(response),
                Answer::Reset => {
                    reset.notify_one();
                    std::future::pending().await
                }
            }
        }
    });
    let mut connection =
        http1::Builder::new().title_case_headers(true).serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        ended = &mut connection => {
            if let Err(error) = ended {
                tracing::debug!(%error, "connection ended early");
            }
        }
        () = reset.notified() => {
            let stream = connection.into_parts().io.into_inner();
            // Zero linger makes the close a reset instead of an orderly end.
            let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        }
        () = stop.cancelled() => {}
    }
}

/// The whole of `full` is announced, about half of it is sent, then the connection ends.
pub(crate) fn truncated(full: Bytes) -> Body {
    let cut = full.slice(..full.len() / 2);
    let broken = || std::io::Error::new(std::io::ErrorKind::ConnectionAborted, "cut short on purpose");
    let end = futures_util::stream::once(async move {
        // While the body is pending the server flushes what it has; an error at once would swallow the head.
        tokio::task::yield_now().await;
        Err(broken())
    });
    Body::from_stream(futures_util::stream::iter([Ok(cut)]).chain(end))
}

/// The body in pieces of `chunk` bytes, each after a pause.
pub(crate) fn slow(full: Bytes, chunk: usize, pause: Duration) -> Body {
    let chunk = chunk.max(1);
    let pieces: Vec<Bytes> =
        (0..full.len()).step_by(chunk).map(|at| full.slice(at..full.len().min(at + chunk))).collect();
    Body::from_stream(futures_util::stream::iter(pieces).then(move |piece| async move {
        tokio::time::sleep(pause).await;
        Ok::<_, Infallible>(piece)
    }))
}
