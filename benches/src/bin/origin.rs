//! `bench-origin [CERTIFICATES]`: a server that answers `GET /small` with 1 KB and `GET /large/BYTES` with as many bytes,
//! and reads what `PUT /large` brings. Over TLS where there is a folder with a certificate. Prints its address, and stops
//! when standard input ends.

use std::convert::Infallible;
use std::error::Error;
use std::io::{Write as _, stdin, stdout};
use std::path::PathBuf;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, BodyStream, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;

/// What bodies are made of.
static CHUNK: [u8; 64 * 1024] = [b'x'; 64 * 1024];

/// The small answer.
const SMALL: usize = 1000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let certificates = std::env::args().nth(1).map(PathBuf::from);
    let address = benches::serve(service_fn(answer), certificates.as_deref()).await?;
    writeln!(stdout(), "{address}")?;
    tokio::task::spawn_blocking(|| stdin().lines().count()).await?;
    Ok(())
}

async fn answer(request: Request<Incoming>) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
    let whole = |bytes| http_body_util::Full::new(bytes).boxed();
    let path = request.uri().path();
    if request.method() == Method::PUT {
        let mut read = 0;
        let mut body = BodyStream::new(request.into_body());
        while let Some(Ok(frame)) = body.next().await {
            read += frame.data_ref().map_or(0, Bytes::len);
        }
        return Ok(Response::new(whole(read.to_string().into())));
    }
    if let Some(length) = path.strip_prefix("/large/").and_then(|length| length.parse::<usize>().ok()) {
        let chunks = stream::iter((0..length).step_by(CHUNK.len()).map(move |at| {
            let length = CHUNK.len().min(length - at);
            Ok(Frame::data(Bytes::from_static(&CHUNK[..length])))
        }));
        let mut answer = Response::new(BodyExt::boxed(StreamBody::new(chunks)));
        answer.headers_mut().insert(http::header::CONTENT_LENGTH, length.into());
        return Ok(answer);
    }
    let mut answer = Response::new(whole(Bytes::from_static(&CHUNK[..SMALL])));
    if path != "/small" {
        *answer.status_mut() = StatusCode::NOT_FOUND;
    }
    Ok(answer)
}
