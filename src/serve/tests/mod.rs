//! The accept loop over real sockets.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Request};
use axum::routing::{any, get, post};
use bytes::Bytes;
use futures_util::stream;
use http::HeaderMap;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;

mod rest;

/// Far longer than anything here takes when it works.
const PATIENCE: Duration = Duration::from_secs(5);
const SHORT: Duration = Duration::from_millis(60);

/// Served on a free port, with the handlers' doings told through `events`.
struct Served {
    address: SocketAddr,
    counts: ConnectionCounts,
    drain: Drain,
    events: UnboundedReceiver<&'static str>,
    /// Lets the handlers of `/wait` answer.
    answer: CancellationToken,
    server: JoinSet<Drained>,
}

/// Tells that a handler ended, however it did.
struct Told(UnboundedSender<&'static str>);

impl Drop for Told {
    fn drop(&mut self) {
        // The test may be over.
        let _heard = self.0.send("ended");
    }
}

fn served(limits: ConnectionLimits, timings: DrainTimings) -> Served {
    let (tell, events) = unbounded_channel();
    let answer = CancellationToken::new();
    let wait = {
        let answer = answer.clone();
        move || async move {
            let _told = Told(tell.clone());
            tell.send("began").unwrap();
            answer.cancelled().await;
            "waited"
        }
    };
    let first = {
        let answer = answer.clone();
        // Answers first, and holds the request's body until later.
        move |request: Request| async move {
            TaskTracker::new().spawn(async move {
                answer.cancelled().await;
                drop(request);
            });
            "first"
        }
    };
    let app = Router::new()
        .route("/", get(|| async { "here" }))
        .route("/wait", any(wait))
        .route("/peer", get(|peer: Extension<Peer>| async move { peer.0.0.ip().to_string() }))
        .route(
            "/host",
            get(|headers: HeaderMap| async move { headers["host"].as_bytes().to_vec() }),
        )
        .route("/echo", post(echo))
        .route("/first", post(first))
        .route("/endless", get(|| async { Body::from_stream(endless()) }));
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let (address, counts) = (listener.local_addr(), listener.counts());
    let drain = Drain::new(timings);
    let mut server = JoinSet::new();
    server.spawn(serve(listener, app, limits, drain.clone()));
    Served { address, counts, drain, events, answer, server }
}

async fn echo(request: Request) -> Result<Bytes, http::StatusCode> {
    read_body(request.into_body(), 8, PATIENCE)
        .await
        .map_err(|_| http::StatusCode::PAYLOAD_TOO_LARGE)
}

fn endless() -> impl stream::Stream<Item = std::io::Result<Bytes>> {
    stream::repeat_with(|| Ok(Bytes::from_static(&[b'x'; 16384])))
}

impl Served {
    fn new() -> Self {
        served(ConnectionLimits::default(), AT_ONCE)
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// A connection on which `bytes` were sent.
    async fn sent(&self, bytes: &str) -> TcpStream {
        let mut socket = self.connect().await;
        socket.write_all(bytes.as_bytes()).await.unwrap();
        socket
    }

    async fn event(&mut self) -> &'static str {
        timeout(PATIENCE, self.events.recv()).await.expect("no event").unwrap()
    }

    async fn drained(mut self) -> Drained {
        timeout(PATIENCE, self.server.join_next()).await.expect("not drained").unwrap().unwrap()
    }
}

const AT_ONCE: DrainTimings =
    DrainTimings { not_ready: Duration::ZERO, in_flight: Duration::from_mins(1) };

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const WAIT: &str = "POST /wait HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";

/// Everything until the other side closes.
async fn until_closed(mut socket: TcpStream) -> String {
    let mut bytes = Vec::new();
    match timeout(PATIENCE, socket.read_to_end(&mut bytes)).await.expect("still open") {
        // A cut socket may be reset.
        Ok(_) | Err(_) => String::from_utf8(bytes).unwrap(),
    }
}

/// One response with a body of known length, the connection staying open.
async fn response(socket: &mut TcpStream, ends_with: &str) -> String {
    let mut text = String::new();
    let mut buffer = [0; 1024];
    while !text.ends_with(ends_with) {
        let read = timeout(PATIENCE, socket.read(&mut buffer)).await.expect("no answer").unwrap();
        assert_ne!(read, 0, "closed after {text:?}");
        text.push_str(str::from_utf8(&buffer[..read]).unwrap());
    }
    text
}

async fn status_of(request: &str) -> String {
    let served = Served::new();
    let answer = until_closed(served.sent(request).await).await;
    answer.split(' ').nth(1).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn silent_connections_and_slow_heads_are_dropped_and_counted() {
    let limits = ConnectionLimits { first_byte: SHORT, head: SHORT, ..ConnectionLimits::default() };
    let served = served(limits, AT_ONCE);
    let silent = served.connect().await;
    let slow = served.sent("POST /mcp HTTP/1.1\r\nHo").await;
    assert_eq!(until_closed(silent).await, "");
    assert_eq!(until_closed(slow).await, "");
    assert_eq!(served.counts.too_slow(), 2);
}

#[tokio::test]
async fn a_kept_alive_connection_may_idle_longer_than_a_head_may_take() {
    let limits = ConnectionLimits { first_byte: SHORT, head: SHORT, ..ConnectionLimits::default() };
    let served = served(limits, AT_ONCE);
    let mut idle = served.sent(GET).await;
    response(&mut idle, "here").await;
    let slow = served.sent("GET").await;
    until_closed(slow).await;
    idle.write_all(GET.as_bytes()).await.unwrap();
    response(&mut idle, "here").await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let limits = ConnectionLimits { idle: SHORT, head: SHORT, ..ConnectionLimits::default() };
    let mut served = served(limits, AT_ONCE);
    let mut busy = served.sent(WAIT).await;
    served.event().await;
    let idle = served.sent(GET).await;
    assert!(until_closed(idle).await.ends_with("here"));
    served.answer.cancel();
    response(&mut busy, "waited").await;
}

#[tokio::test]
async fn a_client_that_takes_no_bytes_is_cut() {
    let limits = ConnectionLimits { write_stall: SHORT, ..ConnectionLimits::default() };
    let served = served(limits, AT_ONCE);
    let mut stalled = served.sent("GET /endless HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let cut = async {
        while served.counts.too_slow() == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, cut).await.expect("not cut");
    let mut rest = Vec::new();
    assert!(timeout(PATIENCE, stalled.read_to_end(&mut rest)).await.is_ok(), "still open");
}

#[tokio::test]
async fn an_address_has_its_share_and_gets_it_back() {
    let limits = ConnectionLimits { connections_per_address: 2, ..ConnectionLimits::default() };
    let served = served(limits, AT_ONCE);
    let mut first = served.sent(GET).await;
    let mut second = served.sent(GET).await;
    response(&mut first, "here").await;
    response(&mut second, "here").await;
    assert_eq!(until_closed(served.connect().await).await, "");
    assert_eq!(served.counts.refused_by_address(), 1);
    drop(first);
    while served.counts.open() > 1 {
        tokio::task::yield_now().await;
    }
    response(&mut served.sent(GET).await, "here").await;
}

#[tokio::test]
async fn a_full_listener_refuses() {
    let limits = ConnectionLimits { connections: 1, ..ConnectionLimits::default() };
    let served = served(limits, AT_ONCE);
    let mut first = served.sent(GET).await;
    response(&mut first, "here").await;
    assert_eq!(until_closed(served.connect().await).await, "");
    assert_eq!(served.counts.refused_in_all(), 1);
}

#[tokio::test]
async fn a_drain_finishes_what_is_in_flight_and_refuses_the_new() {
    let mut served = Served::new();
    let mut idle = served.sent(GET).await;
    response(&mut idle, "here").await;
    let busy = served.sent(WAIT).await;
    assert_eq!(served.event().await, "began");
    served.drain.begin();
    assert_eq!(until_closed(idle).await, "");
    assert!(TcpStream::connect(served.address).await.is_err());
    served.answer.cancel();
    assert!(until_closed(busy).await.ends_with("waited"));
    assert_eq!(served.drained().await, Drained { cut: 0 });
}

#[tokio::test]
async fn what_is_still_in_flight_at_the_deadline_is_cut_and_counted() {
    let timings = DrainTimings { not_ready: Duration::ZERO, in_flight: SHORT };
    let mut served = served(ConnectionLimits::default(), timings);
    let busy = served.sent(WAIT).await;
    assert_eq!(served.event().await, "began");
    served.drain.begin();
    assert_eq!(until_closed(busy).await, "");
    assert_eq!(served.event().await, "ended");
    assert_eq!(served.drained().await, Drained { cut: 1 });
}

#[tokio::test]
async fn while_not_ready_it_answers_and_asks_clients_to_leave() {
    let timings = DrainTimings { not_ready: PATIENCE, in_flight: PATIENCE };
    let served = served(ConnectionLimits::default(), timings);
    assert!(!served.drain.is_draining());
    served.drain.begin();
    assert!(served.drain.is_draining());
    let answer = until_closed(served.sent(GET).await).await;
    assert!(answer.contains("connection: close") && answer.ends_with("here"), "{answer}");
}

#[tokio::test]
async fn dropping_the_server_drops_its_handlers() {
    let mut served = Served::new();
    let busy = served.sent(WAIT).await;
    assert_eq!(served.event().await, "began");
    served.server.abort_all();
    assert_eq!(served.event().await, "ended");
    assert_eq!(until_closed(busy).await, "");
}

#[tokio::test]
async fn a_client_that_leaves_drops_its_handler() {
    let mut served = Served::new();
    let closed = served.sent(WAIT).await;
    assert_eq!(served.event().await, "began");
    drop(closed);
    assert_eq!(served.event().await, "ended");
    let mut half_closed = served.sent(WAIT).await;
    assert_eq!(served.event().await, "began");
    half_closed.shutdown().await.unwrap();
    assert_eq!(served.event().await, "ended");
}

#[tokio::test]
async fn ambiguous_and_oversized_requests_are_refused() {
    let many = "x: 1\r\n".repeat(70);
    let close = "Connection: close\r\n\r\n";
    assert_eq!(status_of(&format!("GET / HTTP/1.1\r\nHost: a\r\n{close}")).await, "200");
    assert_eq!(status_of(&format!("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n{close}")).await, "400");
    assert_eq!(status_of(&format!("GET / HTTP/1.1\r\n{close}")).await, "400");
    assert_eq!(status_of(&format!("GET / HTTP/1.1\r\nHost: a\r\n{many}{close}")).await, "431");
    let head = |size: usize| {
        let around = format!("GET / HTTP/1.1\r\nHost: a\r\nx: \r\n{close}").len();
        format!("GET / HTTP/1.1\r\nHost: a\r\nx: {}\r\n{close}", "x".repeat(size - around))
    };
    assert_eq!(status_of(&head(64 * 1024)).await, "200");
    assert_eq!(status_of(&head(64 * 1024 + 1)).await, "431");
}

#[tokio::test]
async fn a_chunked_request_is_answered_and_its_connection_closed() {
    let served = Served::new();
    let request =
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    let answer = until_closed(served.sent(request).await).await;
    assert!(answer.contains("connection: close") && answer.ends_with("ok"), "{answer}");
}

#[tokio::test]
async fn handlers_know_the_peer() {
    let served = Served::new();
    let mut socket = served.sent("GET /peer HTTP/1.1\r\nHost: a\r\n\r\n").await;
    response(&mut socket, "127.0.0.1").await;
}

type H2 = hyper::client::conn::http2::SendRequest<Empty<Bytes>>;

async fn h2(served: &Served, tasks: &mut JoinSet<hyper::Result<()>>) -> H2 {
    let io = TokioIo::new(served.connect().await);
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tasks.spawn(connection);
    sender
}

fn h2_get(path: &str) -> http::Request<Empty<Bytes>> {
    http::Request::get(format!("http://a{path}")).body(Empty::new()).unwrap()
}

#[tokio::test]
async fn http2_in_the_clear_has_a_host_too() {
    let (served, mut tasks) = (Served::new(), JoinSet::new());
    let mut client = h2(&served, &mut tasks).await;
    let answer = client.send_request(h2_get("/host")).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "a");
}

#[tokio::test]
async fn a_reset_stream_drops_its_handler_and_no_other() {
    let (mut served, mut tasks) = (Served::new(), JoinSet::new());
    let mut client = h2(&served, &mut tasks).await;
    let stays = client.send_request(h2_get("/wait"));
    let leaves = client.send_request(h2_get("/wait"));
    assert_eq!((served.event().await, served.event().await), ("began", "began"));
    drop(leaves);
    assert_eq!(served.event().await, "ended");
    served.answer.cancel();
    assert_eq!(timeout(PATIENCE, stays).await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn an_http2_connection_drains_too() {
    let (mut served, mut tasks) = (Served::new(), JoinSet::new());
    let mut client = h2(&served, &mut tasks).await;
    let in_flight = client.send_request(h2_get("/wait"));
    assert_eq!(served.event().await, "began");
    served.drain.begin();
    served.answer.cancel();
    assert_eq!(timeout(PATIENCE, in_flight).await.unwrap().unwrap().status(), 200);
    assert_eq!(served.drained().await, Drained { cut: 0 });
}

#[tokio::test]
async fn an_http2_connection_that_has_not_called_yet_drains_too() {
    let (served, mut tasks) = (Served::new(), JoinSet::new());
    let _client = h2(&served, &mut tasks).await;
    while served.counts.open() == 0 {
        tokio::task::yield_now().await;
    }
    served.drain.begin();
    assert!(timeout(PATIENCE, tasks.join_next()).await.is_ok(), "still open");
    assert_eq!(served.counts.too_slow(), 0);
    assert_eq!(served.drained().await, Drained { cut: 0 });
}
