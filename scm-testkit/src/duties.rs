//! The duties of a transport, as its contract [`HttpTransport`](scm_core::HttpTransport) lists them, checked against servers that
//! play a script. The same list holds for every route.
//!
//! ```no_run
//! # async fn example(transport: scm_core::Transport) {
//! use scm_testkit::duties::{self, Plain};
//!
//! for outcome in duties::check(&Plain(transport)).await {
//!     println!("{}: {:?}", outcome.name, outcome.result);
//! }
//! # }
//! ```

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{Method, Request, Response};
use scm_core::{Body, Delivery, Error, ErrorKind, Transport, TransportError};
use tokio::sync::{Semaphore, mpsc};

use crate::conformance::Stop;
use crate::fault::socket::{self, Script, ScriptedServer};

/// Longer than anything here should take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where a transport is tried.
#[async_trait]
pub trait Lab: Send + Sync {
    /// What is tried. It has to reach loopback by its own route.
    fn transport(&self) -> &Transport;

    /// The URL, without a slash at its end, under which the plain server at `address` is reached: its own, or that of
    /// something in front of it that speaks TLS.
    async fn url(&self, address: SocketAddr) -> String {
        format!("http://{address}")
    }

    /// Why a duty cannot be kept here, whatever the transport does: something on the way prevents it.
    fn excuse(&self, _duty: &str) -> Option<&'static str> {
        None
    }
}

/// Servers with plain HTTP, reached without anything between that would have to be excused.
#[derive(Clone, Debug)]
pub struct Plain(pub Transport);

impl Lab for Plain {
    fn transport(&self) -> &Transport {
        &self.0
    }
}

/// What became of one duty.
#[derive(Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// The duty.
    pub name: &'static str,
    /// Kept, or why not; excused ones were not tried.
    pub result: Result<(), Stop>,
}

/// Checks every duty, one after the other.
pub async fn check(lab: &dyn Lab) -> Vec<Outcome> {
    let mut outcomes = Vec::with_capacity(DUTIES.len());
    for (name, duty) in DUTIES {
        if let Some(why) = lab.excuse(name) {
            outcomes.push(Outcome { name, result: Err(Stop::unavailable(why)) });
            continue;
        }
        let result = tokio::time::timeout(PATIENCE, duty(lab)).await;
        let result = result.unwrap_or_else(|_| Err(Stop::failed(format!("no end within {PATIENCE:?}"))));
        outcomes.push(Outcome { name, result });
    }
    outcomes
}

type Running<'a> = Pin<Box<dyn Future<Output = Result<(), Stop>> + Send + 'a>>;

macro_rules! duties {
    ($($name:ident),+ $(,)?) => {
        const DUTIES: &[(&str, for<'a> fn(&'a dyn Lab) -> Running<'a>)] =
            &[$((stringify!($name), |lab| Box::pin($name(lab)))),+];
    };
}

duties! {
    any_status_is_an_answer_and_no_redirect_is_followed,
    the_request_arrives_as_it_is,
    an_upload_arrives_whole,
    an_upload_of_unknown_length_arrives_whole,
    an_answer_streams,
    both_bodies_stream_at_the_same_time,
    dropping_the_future_ends_the_request,
    dropping_the_body_ends_the_request,
    nothing_is_decompressed,
    a_lost_answer_leaves_the_outcome_unknown_and_nothing_is_sent_again,
    a_cut_answer_is_an_error_of_its_body,
    a_server_that_cannot_be_reached_got_nothing,
    a_failure_of_the_callers_body_keeps_its_kind,
    a_url_with_a_password_is_refused,
    no_error_shows_the_query_or_a_secret,
}

macro_rules! ensure {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err(Stop::failed(format!($($text)+)));
        }
    };
}

async fn any_status_is_an_answer_and_no_redirect_is_followed(lab: &dyn Lab) -> Result<(), Stop> {
    for status in [204, 302, 307, 401, 403, 404, 429, 500, 502, 503] {
        let headers = [("Location", "/other"), ("Retry-After", "7")];
        let server = start([Script::new().request().answer(status, &headers, "")]).await?;
        let response = send(lab, get(&lab.url(server.address()).await, "/")?).await.map_err(broken)?;
        ensure!(response.status().as_u16() == status, "{status} came as {}", response.status());
        for (name, value) in headers {
            ensure!(
                response.headers().get(name).is_some_and(|seen| seen == value),
                "{status} without {name}"
            );
        }
        ensure!(server.requests().len() == 1, "{status} led to {} requests", server.requests().len());
    }
    Ok(())
}

async fn the_request_arrives_as_it_is(lab: &dyn Lab) -> Result<(), Stop> {
    let server = start([Script::new().request().json(200, "{}")]).await?;
    let url = format!("{}/a%2Fb/c?x=%20y&z=%2F", lab.url(server.address()).await);
    let request = Request::builder().method(Method::DELETE).uri(&url).header("private-token", "t");
    let request = request.body(Body::empty()).map_err(Stop::failed)?;
    send(lab, request).await.map_err(broken)?;
    let seen = server.requests();
    let [seen] = seen.as_slice() else { return Err(Stop::failed(format!("{} requests", seen.len()))) };
    ensure!(seen.method == "DELETE", "the method came as {}", seen.method);
    // A proxy turns the absolute form into this one again.
    ensure!(seen.target == "/a%2Fb/c?x=%20y&z=%2F", "the target came as {}", seen.target);
    let head = seen.head.to_ascii_lowercase();
    ensure!(head.contains("\r\nprivate-token: t\r\n"), "a header is missing in {head}");
    for added in ["accept-encoding", "authorization", "cookie:", "referer"] {
        ensure!(!head.contains(added), "{added} was added: {head}");
    }
    Ok(())
}

async fn an_upload_arrives_whole(lab: &dyn Lab) -> Result<(), Stop> {
    let sent = (0..1_000_003_u32).map(|n| n.to_le_bytes()[0]).collect::<Vec<_>>();
    upload(lab, Body::from(sent.clone()), &sent).await
}

async fn an_upload_of_unknown_length_arrives_whole(lab: &dyn Lab) -> Result<(), Stop> {
    let chunks = stream::iter((0..50).map(|_| Ok(Bytes::from_static(b"chunk"))));
    upload(lab, Body::stream(chunks, None), &b"chunk".repeat(50)).await
}

async fn upload(lab: &dyn Lab, body: Body, expected: &[u8]) -> Result<(), Stop> {
    let server = start([Script::new().request().json(201, "{}")]).await?;
    let request = Request::post(format!("{}/", lab.url(server.address()).await));
    send(lab, request.body(body).map_err(Stop::failed)?).await.map_err(broken)?;
    let seen = server.requests();
    let [seen] = seen.as_slice() else { return Err(Stop::failed(format!("{} requests", seen.len()))) };
    ensure!(seen.body == expected, "{} bytes came as {} others", expected.len(), seen.body.len());
    Ok(())
}

async fn an_answer_streams(lab: &dyn Lab) -> Result<(), Stop> {
    let gate = Arc::new(Semaphore::new(0));
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nabc";
    let server = start([Script::new().request().write(head).gate(&gate).write("def")]).await?;
    let response = send(lab, get(&lab.url(server.address()).await, "/")?).await.map_err(broken)?;
    let mut body = response.into_body();
    let first = chunk(&mut body).await?;
    ensure!(first == "abc", "{first:?} came first");
    gate.add_permits(1);
    let second = chunk(&mut body).await?;
    ensure!(second == "def", "{second:?} came then");
    ensure!(body.next().await.is_none(), "the body has no end");
    Ok(())
}

/// The server answers a piece of the upload before the next one is made.
async fn both_bodies_stream_at_the_same_time(lab: &dyn Lab) -> Result<(), Stop> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let address = socket::serve(|mut stream| async move {
        socket::head(&mut stream).await;
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\n";
        let mut sent = stream.write_all(head).await;
        let mut piece = [0; 3];
        while sent.is_ok() && stream.read_exact(&mut piece).await.is_ok() {
            sent = stream.write_all(&piece).await;
        }
    })
    .await
    .map_err(Stop::failed)?;
    let (feed, pieces) = mpsc::channel(1);
    let pieces = stream::unfold(pieces, |mut pieces| async { Some((pieces.recv().await?, pieces)) });
    let request = Request::post(format!("{}/", lab.url(address).await));
    let request = request.body(Body::stream(pieces, Some(9))).map_err(Stop::failed)?;
    // Some hops pass the head on with the first piece of the body.
    feed.send(Ok(Bytes::from_static(b"one"))).await.map_err(Stop::failed)?;
    let mut echo = send(lab, request).await.map_err(broken)?.into_body();
    for (sent, next) in [("one", Some("two")), ("two", Some("six")), ("six", None)] {
        let back = chunk(&mut echo).await?;
        ensure!(back == sent, "{back:?} came for {sent}");
        if let Some(next) = next {
            feed.send(Ok(Bytes::from_static(next.as_bytes()))).await.map_err(Stop::failed)?;
        }
    }
    Ok(())
}

async fn dropping_the_future_ends_the_request(lab: &dyn Lab) -> Result<(), Stop> {
    let (asked, mut requests) = mpsc::channel(1);
    let (closed, mut ends) = mpsc::channel(1);
    let address = socket::serve(move |mut stream| {
        let (asked, closed) = (asked.clone(), closed.clone());
        async move {
            socket::head(&mut stream).await;
            // Nobody listens any more after a failure.
            let _ = asked.send(()).await;
            socket::drain(&mut stream).await;
            let _ = closed.send(()).await;
        }
    })
    .await
    .map_err(Stop::failed)?;
    let mut pending = Box::pin(send(lab, get(&lab.url(address).await, "/")?));
    tokio::select! {
        outcome = &mut pending => return Err(Stop::failed(format!("{outcome:?} without an answer"))),
        _ = requests.recv() => {}
    }
    drop(pending);
    ends.recv().await.ok_or_else(|| Stop::failed("the server is gone"))
}

async fn dropping_the_body_ends_the_request(lab: &dyn Lab) -> Result<(), Stop> {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\nabc";
    let server = start([Script::new().request().write(head).stall()]).await?;
    let response = send(lab, get(&lab.url(server.address()).await, "/")?).await.map_err(broken)?;
    drop(response);
    server.ended(1).await;
    Ok(())
}

async fn nothing_is_decompressed(lab: &dyn Lab) -> Result<(), Stop> {
    let script = Script::new().request().answer(200, &[("Content-Encoding", "gzip")], "zzzz");
    let server = start([script]).await?;
    let response = send(lab, get(&lab.url(server.address()).await, "/")?).await.map_err(broken)?;
    let encoding = response.headers().get("content-encoding").cloned();
    ensure!(encoding.is_some_and(|encoding| encoding == "gzip"), "the header is gone");
    let body = response.into_body().collect(100).await.map_err(broken)?;
    ensure!(body == "zzzz", "the body came as {body:?}");
    Ok(())
}

async fn a_lost_answer_leaves_the_outcome_unknown_and_nothing_is_sent_again(
    lab: &dyn Lab,
) -> Result<(), Stop> {
    for script in [Script::new().request(), Script::new().request().reset()] {
        let server = start([script]).await?;
        let request = Request::post(format!("{}/", lab.url(server.address()).await));
        let request = request.body(Body::from("work".to_owned())).map_err(Stop::failed)?;
        let error = failure(send(lab, request).await)?;
        ensure!(error.delivery() == Delivery::Unknown, "{error:?}");
        ensure!(server.requests().len() == 1, "{} requests", server.requests().len());
    }
    Ok(())
}

async fn a_cut_answer_is_an_error_of_its_body(lab: &dyn Lab) -> Result<(), Stop> {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc";
    let server = start([Script::new().request().write(head)]).await?;
    let response = send(lab, get(&lab.url(server.address()).await, "/")?).await.map_err(broken)?;
    let error = failure(response.into_body().collect(100).await)?;
    let seen = (error.kind(), error.delivery());
    ensure!(seen == (ErrorKind::Unavailable, Delivery::Unknown), "{error:?}");
    Ok(())
}

async fn a_server_that_cannot_be_reached_got_nothing(lab: &dyn Lab) -> Result<(), Stop> {
    let closed = socket::closed_port().await.map_err(Stop::failed)?;
    // With and without TLS: nothing stands in front here.
    for scheme in ["http", "https"] {
        let error = failure(send(lab, get(&format!("{scheme}://{closed}"), "/")?).await)?;
        ensure!(error.delivery() == Delivery::NotSent, "{scheme}: {error:?}");
        ensure!(error.code().is_some(), "{scheme}: {error:?} has no code");
        ensure!(Error::from(error).is_retryable(), "{scheme}: it may be there a little later");
    }
    Ok(())
}

async fn a_failure_of_the_callers_body_keeps_its_kind(lab: &dyn Lab) -> Result<(), Stop> {
    let server = start([Script::new().stall()]).await?;
    let fault = TransportError::new(ErrorKind::Cancelled, Delivery::NotSent, "the pack could not be made");
    let chunks = stream::iter([Ok(Bytes::from_static(b"abc")), Err(fault)]);
    let request = Request::post(format!("{}/", lab.url(server.address()).await));
    let request = request.body(Body::stream(chunks, Some(6))).map_err(Stop::failed)?;
    let error = failure(send(lab, request).await)?;
    let seen = (error.kind(), error.delivery());
    ensure!(seen == (ErrorKind::Cancelled, Delivery::Unknown), "{error:?}");
    Ok(())
}

async fn a_url_with_a_password_is_refused(lab: &dyn Lab) -> Result<(), Stop> {
    let server = start([Script::new().request().json(200, "{}")]).await?;
    let url = lab.url(server.address()).await.replace("://", "://svc:hunter2@");
    let error = failure(send(lab, get(&url, "/")?).await)?;
    let seen = (error.kind(), error.delivery());
    ensure!(seen == (ErrorKind::InvalidInput, Delivery::NotSent), "{error:?}");
    ensure!(!format!("{error} {error:?}").contains("hunter2"), "the password is shown");
    ensure!(server.connections() == 0, "it was sent");
    Ok(())
}

async fn no_error_shows_the_query_or_a_secret(lab: &dyn Lab) -> Result<(), Stop> {
    let server = start([Script::new().request().reset()]).await?;
    let closed = socket::closed_port().await.map_err(Stop::failed)?;
    for url in [lab.url(server.address()).await, format!("http://{closed}"), format!("https://{closed}")] {
        let request = Request::get(format!("{url}/p?q=s3cret-query")).header("private-token", "s3cret-token");
        let error = failure(send(lab, request.body(Body::empty()).map_err(Stop::failed)?).await)?;
        let details = format!("{:?}", error.details());
        let error = Error::from(error);
        let shown = format!("{error} {error:?} {} {details}", error.report());
        ensure!(!shown.contains("s3cret"), "{shown}");
    }
    Ok(())
}

async fn start(scripts: impl IntoIterator<Item = Script>) -> Result<ScriptedServer, Stop> {
    ScriptedServer::start(scripts).await.map_err(Stop::failed)
}

fn get(url: &str, path: &str) -> Result<Request<Body>, Stop> {
    Request::get(format!("{url}{path}")).body(Body::empty()).map_err(Stop::failed)
}

async fn send(lab: &dyn Lab, request: Request<Body>) -> Result<Response<Body>, TransportError> {
    lab.transport().send(request).await
}

async fn chunk(body: &mut Body) -> Result<Bytes, Stop> {
    let chunk = body.next().await.ok_or_else(|| Stop::failed("the body ended"))?;
    chunk.map_err(broken)
}

fn broken(error: TransportError) -> Stop {
    Stop::failed(format!("{error} ({:?})", error.details()))
}

fn failure<T>(outcome: Result<T, TransportError>) -> Result<TransportError, Stop> {
    outcome.err().ok_or_else(|| Stop::failed("it succeeded"))
}
