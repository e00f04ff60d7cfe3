use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use http_body_util::BodyExt as _;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::*;
use crate::net::{Connector, Net};

const SOON: Duration = Duration::from_secs(5);
const BOUNDS: Bounds =
    Bounds { idle: Duration::from_secs(4), idle_most: 2, head: 16 << 10, headers: 32 };

fn pool(bounds: Bounds) -> Pool<Connector> {
    Pool::new(Net::system().connector(SOON, SOON), bounds)
}

fn post(url: &str) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(Bytes::from_static(b"hello")));
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = url.parse().unwrap();
    request
}

async fn read(answer: Response<Body>) -> Bytes {
    timeout(SOON, answer.into_body().collect()).await.unwrap().unwrap().to_bytes()
}

/// A server that says which of its connections it answers on, and what host it was asked for.
async fn server() -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/path?query", listener.local_addr().unwrap());
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        let mut connections = JoinSet::new();
        for number in 0.. {
            let (socket, _) = listener.accept().await.unwrap();
            let service = service_fn(move |request: Request<Incoming>| async move {
                let (host, target) = (request.headers()[HOST].clone(), request.uri().to_string());
                assert_eq!(request.into_body().collect().await.unwrap().to_bytes(), "hello");
                let text = format!("{number} {target} {}", host.to_str().unwrap());
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(text))))
            });
            let http = http1::Builder::new().serve_connection(TokioIo::new(socket), service);
            connections.spawn(async move { http.await.unwrap() });
        }
    });
    (url, serving)
}

#[tokio::test]
async fn a_connection_is_used_again_once_its_answer_is_read() {
    let ((url, _server), pool) = (server().await, pool(BOUNDS));
    let host = url.split('/').nth(2).unwrap();
    for _ in 0..3 {
        let answer = pool.send(post(&url)).await.unwrap();
        assert_eq!(read(answer).await, format!("0 /path?query {host}"));
    }
    let (first, second) = tokio::join!(pool.send(post(&url)), pool.send(post(&url)));
    let (first, second) = (read(first.unwrap()).await, read(second.unwrap()).await);
    assert!(first.starts_with(b"0 ") && second.starts_with(b"1 "), "{first:?} {second:?}");
}

#[tokio::test]
async fn an_answer_that_is_dropped_closes_its_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let pool = pool(BOUNDS);
    let server = async {
        let mut socket = head(&listener).await;
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nbegun").await.unwrap();
        // Nothing more is read: the client has gone.
        assert_eq!(timeout(SOON, socket.read(&mut [0; 9])).await.unwrap().unwrap_or(0), 0);
    };
    let client = async {
        let mut answer = pool.send(post(&url)).await.unwrap();
        assert_eq!(answer.frame().await.unwrap().unwrap().into_data().unwrap(), "begun");
    };
    tokio::join!(server, client);
}

/// A server that answers so on each connection, as often as it is asked; says how many connections there were.
async fn answering(answers: &'static [u8]) -> (String, Arc<AtomicUsize>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (opened, mut serving) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
    let counted = Arc::clone(&opened);
    serving.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::Relaxed);
            connections.spawn(async move {
                let mut read = Vec::new();
                while socket.read_buf(&mut read).await.is_ok_and(|size| size > 0) {
                    if read.ends_with(b"hello") {
                        read.clear();
                        socket.write_all(answers).await.unwrap();
                    }
                }
            });
        }
    });
    (url, opened, serving)
}

const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";

#[tokio::test]
async fn an_answer_whose_length_was_not_said_gives_its_connection_back_too() {
    let (url, opened, _serving) = answering(CHUNKED).await;
    let pool = pool(BOUNDS);
    for _ in 0..3 {
        assert_eq!(read(pool.send(post(&url)).await.unwrap()).await, "ok");
    }
    assert_eq!(opened.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn whoever_leaves_when_all_has_come_leaves_the_connection_whole() {
    let (url, opened, _serving) = answering(CHUNKED).await;
    let pool = pool(BOUNDS);
    for _ in 0..3 {
        let mut answer = pool.send(post(&url)).await.unwrap();
        assert_eq!(answer.frame().await.unwrap().unwrap().into_data().unwrap(), "ok");
    }
    assert_eq!(opened.load(Ordering::Relaxed), 1);
}

/// The server's end of a connection, whose request was read.
async fn head(listener: &TcpListener) -> TcpStream {
    let (mut socket, _) = timeout(SOON, listener.accept()).await.unwrap().unwrap();
    let mut read = Vec::new();
    while !read.ends_with(b"hello") {
        assert_ne!(timeout(SOON, socket.read_buf(&mut read)).await.unwrap().unwrap(), 0);
    }
    socket
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_loses_no_request() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let pool = pool(BOUNDS);
    for _ in 0..3 {
        let server = async {
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
            head(&listener).await.write_all(answer).await.unwrap();
        };
        let client = async { read(pool.send(post(&url)).await.unwrap()).await };
        assert_eq!(tokio::join!(server, client).1, "ok");
    }
}

#[tokio::test]
async fn what_proves_that_nothing_was_sent_is_told_from_what_does_not() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let pool = pool(BOUNDS);
    let (cut, ()) = tokio::join!(pool.send(post(&url)), async { drop(head(&listener).await) });
    assert!(matches!(cut, Err(SendError::Lost(_))), "{cut:?}");
    drop(listener);
    let refused = pool.send(post(&url)).await;
    assert!(matches!(refused, Err(SendError::NotSent(_))), "{refused:?}");
}

#[tokio::test]
async fn what_is_kept_too_long_is_closed_though_nobody_asks() {
    let bounds = Bounds { idle: Duration::from_millis(50), ..BOUNDS };
    let ((url, mut server), pool) = (server().await, pool(bounds));
    drop(read(pool.send(post(&url)).await.unwrap()).await);
    let kept = || pool.unused.shelf(thread_number()).lines.len();
    assert_eq!(kept(), 1);
    let swept = async {
        while kept() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, swept).await.unwrap();
    assert!(server.try_join_next().is_none());
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn only_the_socket_wakes_whoever_waits() {
    let ((url, _server), pool) = (server().await, pool(BOUNDS));
    // The connection is there, and so is the answer by the time it is looked for again.
    drop(read(pool.send(post(&url)).await.unwrap()).await);
    let counted = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&counted));
    let mut answering = pin!(async { read(pool.send(post(&url)).await.unwrap()).await });
    let mut polls = 0;
    poll_fn(|context| {
        polls += 1;
        let done = answering.as_mut().poll(&mut Context::from_waker(&waker));
        if done.is_pending() {
            context.waker().wake_by_ref();
        }
        done
    })
    .await;
    // A byte more or less of the answer at once: head and body come together, nearly always.
    assert!(
        (1..=2).contains(&counted.0.load(Ordering::Relaxed)),
        "{counted:?} after {polls} polls"
    );
}

impl Debug for Wakes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} wakes", self.0)
    }
}
