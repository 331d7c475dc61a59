//! Both ends of a tunnel in one process, over a WebSocket in memory.

use futures_util::{Stream, TryStreamExt as _};
use scm_core::Code;
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::*;
use crate::wire::{End, WebSocketIo};

const MIB: usize = 1024 * 1024;

struct Pair {
    tunnel: Tunnel,
    hub: JoinHandle<Over>,
    agent: JoinHandle<Over>,
    drain: CancellationToken,
}

/// What both ends hold at most.
struct Room(usize, Duration);

impl Default for Room {
    fn default() -> Self {
        Self(64 * MIB, Duration::from_secs(60))
    }
}

impl Pair {
    async fn new<H, F>(handle: H) -> Self
    where
        H: Fn(Request<Body>) -> F + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send,
    {
        Self::with(Room::default(), handle).await
    }

    async fn with<H, F>(room: Room, handle: H) -> Self
    where
        H: Fn(Request<Body>) -> F + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send,
    {
        let (agent_io, hub_io) = duplex(256 * 1024);
        let drain = CancellationToken::new();
        let agent = {
            let (drain, ledger) = (drain.clone(), Ledger::new(room.0, room.1));
            tokio::spawn(async move {
                let io = WebSocketIo::new(agent_io, End::Agent).await;
                serve(io, Arc::new(Plain(handle)), &Settings::default(), ledger, drain).await
            })
        };
        let (tunnel, hub) = hub(hub_io, room).await;
        Self { tunnel, hub, agent, drain }
    }
}

async fn hub(io: DuplexStream, room: Room) -> (Tunnel, JoinHandle<Over>) {
    let io = WebSocketIo::new(io, End::Hub).await;
    let ledger = Ledger::new(room.0, room.1);
    let (tunnel, drive) = Tunnel::open(io, &Settings::default(), ledger).await.unwrap();
    (tunnel, tokio::spawn(drive))
}

struct Plain<H>(H);

#[async_trait]
impl<H, F> Handler for Plain<H>
where
    H: Fn(Request<Body>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send,
{
    async fn handle(&self, request: Request<Body>) -> Response<Body> {
        (self.0)(request).await
    }
}

fn get(path: &str) -> Request<Body> {
    Request::get(format!("https://git.test{path}")).body(Body::empty()).unwrap()
}

fn post(body: impl Into<Body>) -> Request<Body> {
    Request::post("https://git.test/").body(body.into()).unwrap()
}

/// Never ends by itself; says when it is dropped.
fn endless(dropped: mpsc::UnboundedSender<&'static str>) -> Body {
    Body::stream(
        stream::unfold(Farewell(dropped), |farewell| async {
            Some((Ok(Bytes::from(vec![1; 16 * 1024])), farewell))
        }),
        None,
    )
}

struct Farewell(mpsc::UnboundedSender<&'static str>);

impl Drop for Farewell {
    fn drop(&mut self) {
        let _ = self.0.send("dropped");
    }
}

fn pieces(items: Vec<&'static str>) -> impl Stream<Item = Result<Bytes, TransportError>> + Send {
    stream::iter(items.into_iter().map(|item| Ok(Bytes::from_static(item.as_bytes()))))
}

fn noise(length: usize) -> Vec<u8> {
    (0..length as u64).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

#[tokio::test]
async fn the_request_arrives_as_it_is_and_the_answer_too() {
    let pair = Pair::new(|request: Request<Body>| async move {
        let (head, body) = request.into_parts();
        let text = format!("{} {} {:?}", head.method, head.uri, head.headers.get("private-token"));
        assert_eq!(body.length(), Some(4));
        let headers: Vec<_> = head.headers.keys().map(|name| name.as_str()).collect();
        assert_eq!(headers, ["private-token"]);
        let body = [text.as_bytes(), &body.collect(10).await.unwrap()].concat();
        Response::builder().status(418).header("x-seen", "yes").body(body.into()).unwrap()
    })
    .await;
    let request = Request::put("http://[::1]:81//a/%2e%2E/b%2Fc?x=%20y")
        .header("private-token", "t")
        .header("transfer-encoding", "chunked")
        .header("content-length", "999")
        .body(Body::from("body".to_owned()))
        .unwrap();
    let answer = pair.tunnel.send(request).await.unwrap();
    assert_eq!(answer.status(), 418);
    assert_eq!(answer.headers().get("x-seen").unwrap(), "yes");
    assert_eq!(answer.headers().get("content-length").unwrap(), "56");
    let body = answer.into_body().collect(1000).await.unwrap();
    assert_eq!(body, "PUT http://[::1]:81//a/%2e%2E/b%2Fc?x=%20y Some(\"t\")body");
}

#[tokio::test]
async fn the_head_waits_for_no_body_and_a_missing_one_is_missed() {
    let (feed, late) = mpsc::unbounded_channel();
    let late = std::sync::Mutex::new(Some(late));
    let pair = Pair::new(move |request: Request<Body>| {
        let body = match late.lock().unwrap().take().filter(|_| request.uri().path() == "/late") {
            Some(late) => {
                let chunks = stream::unfold(late, |mut late| async { Some((Ok(late.recv().await?), late)) });
                Body::stream(chunks, Some(4))
            }
            None => Body::stream(stream::empty(), Some(4)),
        };
        async { Response::new(body) }
    })
    .await;
    let answer = pair.tunnel.send(get("/late")).await.unwrap();
    feed.send(Bytes::from_static(b"late")).unwrap();
    assert_eq!(answer.into_body().collect(10).await.unwrap(), "late");
    let answer = pair.tunnel.send(get("/missing")).await.unwrap();
    let error = answer.into_body().collect(10).await.unwrap_err();
    assert!(error.to_string().contains("shorter than it said"), "{error}");
}

#[tokio::test]
async fn large_bodies_pass_both_ways_at_the_same_time() {
    let pair = Pair::new(|request: Request<Body>| async { Response::new(request.into_body()) }).await;
    let sent = noise(20 * MIB + 3);
    for known in [true, false] {
        let chunks: Vec<_> = sent.chunks(60_000).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
        let body = Body::stream(stream::iter(chunks), known.then_some(sent.len() as u64));
        let answer = pair.tunnel.send(post(body)).await.unwrap();
        assert!(answer.into_body().collect(sent.len()).await.unwrap() == sent);
    }
    assert_eq!(pair.tunnel.in_flight(), 0);
}

#[tokio::test]
async fn every_piece_of_an_echo_comes_back_before_the_next_is_made() {
    let pair = Pair::new(|request: Request<Body>| async { Response::new(request.into_body()) }).await;
    let (feed, pieces) = mpsc::unbounded_channel();
    let pieces = stream::unfold(pieces, |mut pieces| async { Some((Ok(pieces.recv().await?), pieces)) });
    let answer = pair.tunnel.send(post(Body::stream(pieces, None))).await.unwrap();
    let mut echo = answer.into_body();
    for piece in ["one", "two", "three"] {
        feed.send(Bytes::from_static(piece.as_bytes())).unwrap();
        assert_eq!(echo.next().await.unwrap().unwrap(), piece);
    }
    assert_eq!(pair.tunnel.in_flight(), 1);
    drop(feed);
    assert!(echo.next().await.is_none());
}

#[tokio::test]
async fn frames_without_content_do_not_end_the_tunnel() {
    let pair =
        Pair::new(|_| async { Response::new(Body::stream(pieces(vec!["", "a", "", "", "b", ""]), None)) })
            .await;
    for _ in 0..200 {
        let request = post(Body::stream(pieces(vec!["", "x", ""]), None));
        let answer = pair.tunnel.send(request).await.unwrap();
        assert_eq!(answer.into_body().collect(10).await.unwrap(), "ab");
    }
}

#[tokio::test]
async fn many_tiny_pieces_arrive_in_few() {
    let pair = Pair::new(|_| async {
        let bytes = (0..20_000_u32).map(|n| Ok(Bytes::from(vec![n.to_le_bytes()[0]; 10])));
        Response::new(Body::stream(stream::iter(bytes), None))
    })
    .await;
    let answer = pair.tunnel.send(get("/")).await.unwrap();
    let chunks: Vec<Bytes> = answer.into_body().try_collect().await.unwrap();
    assert_eq!(chunks.iter().map(Bytes::len).sum::<usize>(), 200_000);
    assert!(chunks.len() < 100, "{}", chunks.len());
}

#[tokio::test]
async fn dropping_the_future_or_the_body_ends_the_work_at_the_other_end() {
    let (dropped, mut farewells) = mpsc::unbounded_channel();
    let (asked, mut requests) = mpsc::unbounded_channel();
    let pair = Pair::new(move |request: Request<Body>| {
        let (farewell, asked) = (dropped.clone(), asked.clone());
        async move {
            asked.send(()).unwrap();
            if request.uri().path() == "/silent" {
                let _farewell = Farewell(farewell);
                std::future::pending::<()>().await;
                unreachable!();
            }
            Response::new(endless(farewell))
        }
    })
    .await;
    let mut pending = Box::pin(pair.tunnel.send(get("/silent")));
    tokio::select! {
        _ = &mut pending => unreachable!(),
        _ = requests.recv() => {}
    }
    drop(pending);
    assert_eq!(farewells.recv().await, Some("dropped"));

    let mut body = pair.tunnel.send(get("/endless")).await.unwrap().into_body();
    body.next().await.unwrap().unwrap();
    drop(body);
    assert_eq!(farewells.recv().await, Some("dropped"));
    assert_eq!(pair.tunnel.in_flight(), 0);

    // An upload ends as well.
    let (upload_dropped, mut uploads) = mpsc::unbounded_channel();
    let body = pair.tunnel.send(post(endless(upload_dropped))).await.unwrap().into_body();
    drop(body);
    assert_eq!(uploads.recv().await, Some("dropped"));
}

#[tokio::test]
async fn a_thousand_cancels_leave_the_tunnel_whole() {
    let pair = Pair::new(|request: Request<Body>| async move {
        if request.uri().path() == "/silent" {
            std::future::pending::<()>().await;
        }
        Response::new(Body::from("here".to_owned()))
    })
    .await;
    for _ in 0..1000 {
        let mut pending = Box::pin(pair.tunnel.send(get("/silent")));
        assert!(pending.as_mut().now_or_never().is_none());
        tokio::task::yield_now().await;
        assert!(pending.as_mut().now_or_never().is_none());
    }
    let answer = pair.tunnel.send(get("/")).await.unwrap();
    assert_eq!(answer.into_body().collect(10).await.unwrap(), "here");
}

#[tokio::test]
async fn stalled_readers_are_given_up_past_the_cap_and_hold_nobody_up() {
    let (dropped, _farewells) = mpsc::unbounded_channel();
    let pair = Pair::with(Room(8 * MIB, Duration::from_secs(60)), move |request: Request<Body>| {
        let dropped = dropped.clone();
        async move {
            match request.uri().path() {
                "/endless" => Response::new(endless(dropped)),
                _ => Response::new(noise(30 * MIB).into()),
            }
        }
    })
    .await;
    let mut stalled = Vec::new();
    for _ in 0..64 {
        stalled.push(pair.tunnel.send(get("/endless")).await.unwrap().into_body());
    }
    let answer = pair.tunnel.send(get("/")).await.unwrap();
    assert_eq!(answer.into_body().collect(30 * MIB).await.unwrap().len(), 30 * MIB);
    let mut given_up = 0;
    for mut body in stalled {
        // Two windows' worth: one that was not given up goes on.
        let mut read = 0;
        while read < 12 * MIB {
            match body.next().await.unwrap() {
                Ok(chunk) => read += chunk.len(),
                Err(error) => {
                    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Relay, Delivery::Unknown));
                    assert!(error.to_string().contains("too much of it was waiting"), "{error}");
                    given_up += 1;
                    break;
                }
            }
        }
    }
    // Of 64 windows of 6 MiB no more than one fits into 8 MiB.
    assert!(given_up >= 63, "{given_up}");
}

#[tokio::test(start_paused = true)]
async fn what_nobody_reads_is_given_up_after_a_while() {
    let pair =
        Pair::with(Room(64 * MIB, Duration::from_secs(60)), |_| async { Response::new(noise(MIB).into()) })
            .await;
    let mut body = pair.tunnel.send(get("/")).await.unwrap().into_body();
    sleep(Duration::from_secs(59)).await;
    body.next().await.unwrap().unwrap();
    sleep(Duration::from_secs(80)).await;
    let error = body.next().await.unwrap().unwrap_err();
    assert!(error.to_string().contains("nobody read it for too long"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_more_is_not_one_who_does_not_read() {
    let (feed, late) = mpsc::unbounded_channel();
    let late = std::sync::Mutex::new(Some(late));
    let pair = Pair::with(Room(64 * MIB, Duration::from_secs(60)), move |_| {
        let late = late.lock().unwrap().take().unwrap();
        let chunks = stream::unfold(late, |mut late| async { Some((Ok(late.recv().await?), late)) });
        async { Response::new(Body::stream(chunks, None)) }
    })
    .await;
    let body = pair.tunnel.send(get("/")).await.unwrap().into_body();
    let reader = tokio::spawn(body.try_fold(0, |read, chunk| async move { Ok(read + chunk.len()) }));
    for _ in 0..8 {
        // The sizes differ, so that what is counted does not stay in step with the pauses.
        feed.send(Bytes::from(noise(200 * 1024 + 7))).unwrap();
        sleep(Duration::from_secs(100)).await;
    }
    drop(feed);
    assert_eq!(reader.await.unwrap().unwrap(), 8 * (200 * 1024 + 7));
}

/// A socket that closes takes back what is still under way.
#[tokio::test(start_paused = true)]
async fn the_agent_stays_until_the_hub_has_read_its_last_word() {
    let (agent_io, hub_io) = duplex(256 * 1024);
    let (drain, gate) = (CancellationToken::new(), Arc::new(Semaphore::new(0)));
    let agent = {
        let (drain, ledger) = (drain.clone(), Ledger::new(64 * MIB, Duration::from_secs(60)));
        let gate = Arc::clone(&gate);
        let handler = Plain(move |_| {
            let gate = Arc::clone(&gate).acquire_owned();
            async { Response::new(Body::from(format!("{:?}", gate.await.is_ok()))) }
        });
        tokio::spawn(async move {
            let io = WebSocketIo::new(agent_io, End::Agent).await;
            serve(io, Arc::new(handler), &Settings::default(), ledger, drain).await
        })
    };
    let io = WebSocketIo::new(hub_io, End::Hub).await;
    let ledger = Ledger::new(64 * MIB, Duration::from_secs(60));
    let (tunnel, drive) = Tunnel::open(io, &Settings::default(), ledger).await.unwrap();
    let (mut drive, mut sent) = (Box::pin(drive), Box::pin(tunnel.send(get("/"))));
    let mut a_moment = async || {
        tokio::select! {
            over = &mut drive => panic!("{over:?}"),
            answer = &mut sent => panic!("{answer:?}"),
            () = sleep(Duration::from_millis(100)) => {}
        }
    };
    a_moment().await;
    drain.cancel();
    a_moment().await;
    // The answer, the end and the farewell are written, and the hub sees nothing of it for a while.
    gate.add_permits(1);
    sleep(Duration::from_secs(5)).await;
    assert!(!agent.is_finished());
    let read = async { sent.await.unwrap().into_body().collect(10).await.unwrap() };
    assert_eq!(tokio::join!(read, drive), (Bytes::from_static(b"true"), Over::Closed));
    assert_eq!(agent.await.unwrap(), Over::Closed);
}

#[tokio::test(start_paused = true)]
async fn an_idle_tunnel_lives_and_one_without_a_peer_is_found_out() {
    let pair = Pair::new(|_| async { Response::new(Body::empty()) }).await;
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(pair.tunnel.send(get("/")).await.unwrap().status(), 200);

    // Somebody who takes everything and says nothing.
    let (_mute, io) = duplex(MIB);
    let (tunnel, hub) = hub(io, Room::default()).await;
    let start = Instant::now();
    let error = tunnel.send(get("/")).await.unwrap_err();
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Relay, Delivery::Unknown));
    assert_eq!(hub.await.unwrap(), Over::Silent);
    assert_eq!(start.elapsed().as_secs(), 25);
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_for_a_place_and_not_for_ever() {
    let pair = Pair::new(|request: Request<Body>| async move {
        if request.uri().path() == "/silent" {
            std::future::pending::<()>().await;
        }
        Response::new(Body::empty())
    })
    .await;
    let mut silent: Vec<_> = (0..256).map(|_| Box::pin(pair.tunnel.send(get("/silent")))).collect();
    assert!(silent.iter_mut().all(|sent| sent.now_or_never().is_none()));
    let start = Instant::now();
    let error = pair.tunnel.send(get("/")).await.unwrap_err();
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Relay, Delivery::NotSent));
    assert_eq!((start.elapsed().as_secs(), pair.tunnel.in_flight()), (5, 256));
    assert!(!pair.tunnel.is_draining());
    silent.pop();
    assert_eq!(pair.tunnel.send(get("/")).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_draining_agent_finishes_what_it_has_and_takes_nothing_new() {
    let (asked, mut requests) = mpsc::unbounded_channel();
    let gate = Arc::new(Semaphore::new(0));
    let pair = {
        let gate = Arc::clone(&gate);
        Pair::new(move |_| {
            let (asked, gate) = (asked.clone(), Arc::clone(&gate));
            async move {
                asked.send(()).unwrap();
                gate.acquire().await.unwrap().forget();
                Response::new(Body::from("late".to_owned()))
            }
        })
        .await
    };
    let first = tokio::spawn({
        let tunnel = pair.tunnel.clone();
        async move { tunnel.send(get("/")).await.unwrap().into_body().collect(10).await.unwrap() }
    });
    requests.recv().await.unwrap();
    pair.drain.cancel();
    // Until the news has come over, a request still goes out, and is refused there: the agent never sees it.
    let error = loop {
        match timeout(Duration::from_millis(20), pair.tunnel.send(get("/"))).await {
            Ok(outcome) => break outcome.unwrap_err(),
            Err(_) => assert!(requests.try_recv().is_ok() || !first.is_finished()),
        }
    };
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Relay, Delivery::NotSent));
    assert!(pair.tunnel.is_draining());
    gate.add_permits(100);
    assert_eq!(first.await.unwrap(), "late");
    assert_eq!((pair.hub.await.unwrap(), pair.agent.await.unwrap()), (Over::Closed, Over::Closed));
}

#[tokio::test]
async fn a_tunnel_that_goes_fails_what_is_in_flight_at_once() {
    let (asked, mut requests) = mpsc::unbounded_channel();
    let (dropped, mut farewells) = mpsc::unbounded_channel();
    let pair = Pair::new(move |_| {
        let (asked, farewell) = (asked.clone(), Farewell(dropped.clone()));
        async move {
            asked.send(()).unwrap();
            let _farewell = farewell;
            std::future::pending().await
        }
    })
    .await;
    let sent = tokio::spawn({
        let tunnel = pair.tunnel.clone();
        async move { tunnel.send(get("/")).await.unwrap_err() }
    });
    requests.recv().await.unwrap();
    pair.tunnel.stop();
    let error = sent.await.unwrap();
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Relay, Delivery::Unknown));
    assert_eq!(pair.hub.await.unwrap(), Over::Stopped);
    // The other end gives the request up, too.
    assert_eq!(farewells.recv().await, Some("dropped"));
    let error = pair.tunnel.send(get("/")).await.unwrap_err();
    assert_eq!((error.kind(), error.delivery()), (ErrorKind::Relay, Delivery::NotSent));
}

#[tokio::test]
async fn a_cut_answer_is_an_error_of_its_body() {
    let pair = Pair::new(|_| async {
        let fault = TransportError::new(ErrorKind::Unavailable, Delivery::Unknown, "the server broke off");
        let chunks = stream::iter([Ok(Bytes::from(noise(3_000))), Err(fault)]);
        Response::new(Body::stream(chunks, Some(5_000)))
    })
    .await;
    // More often than h2 takes broken streams before it gives up the connection.
    for _ in 0..1100 {
        let mut body = pair.tunnel.send(get("/")).await.unwrap().into_body();
        let mut read = 0;
        let error = loop {
            match body.next().await.unwrap() {
                Ok(chunk) => read += chunk.len(),
                Err(error) => break error,
            }
        };
        assert_eq!(read, 3_000);
        let seen = (error.kind(), error.delivery(), error.to_string());
        assert_eq!(seen, (ErrorKind::Unavailable, Delivery::Unknown, "the server broke off".to_owned()));
        assert!(body.next().await.is_none());
    }
}

#[tokio::test]
async fn a_failure_of_the_callers_body_keeps_its_kind() {
    let pair = Pair::new(|request: Request<Body>| async move {
        request.into_body().collect(MIB).await.unwrap_err();
        std::future::pending().await
    })
    .await;
    let fault = TransportError::new(ErrorKind::Cancelled, Delivery::NotSent, "the pack could not be made")
        .with_code(Code::TcpRefused);
    let chunks = stream::iter([Ok(Bytes::from_static(b"abc")), Err(fault)]);
    let error = pair.tunnel.send(post(Body::stream(chunks, Some(6)))).await.unwrap_err();
    let seen = (error.kind(), error.delivery(), error.code());
    assert_eq!(seen, (ErrorKind::Cancelled, Delivery::Unknown, Some(Code::TcpRefused)));
}

#[tokio::test]
async fn an_answer_may_come_before_the_upload_is_over() {
    let pair = Pair::new(|_| async { Response::new(noise(100_000).into()) }).await;
    let (dropped, mut farewells) = mpsc::unbounded_channel();
    let answer = pair.tunnel.send(post(endless(dropped))).await.unwrap();
    assert!(answer.into_body().collect(MIB).await.unwrap() == noise(100_000));
    assert_eq!(farewells.recv().await, Some("dropped"));
}
