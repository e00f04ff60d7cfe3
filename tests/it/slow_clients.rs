//! Clients that ask, and then read nothing: what they asked for ends all the same. And one that asks before it sends.

#![expect(clippy::unwrap_used, reason = "a test whose connection cannot be made has failed")]

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::interval;

use crate::cluster::{ALICE, eventually, keys};
use crate::mcp_client::Modern;
use crate::upstream_server::{Answer, Gate, UpstreamServer};
use crate::upstreams::{gateway, set, upstream};

/// The head of the answer, over HTTP/2 without credit for any of its body.
async fn without_credit(
    url: &str,
    request: &Modern,
    tasks: &mut JoinSet<hyper::Result<()>>,
) -> Response<Incoming> {
    let address = url.strip_prefix("http://").unwrap().split('/').next().unwrap();
    let socket = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (mut client, connection) = http2::Builder::new(TokioExecutor::new())
        .adaptive_window(false)
        .initial_stream_window_size(0)
        .handshake(socket)
        .await
        .unwrap();
    tasks.spawn(connection);
    let mut asked = Request::post(url);
    for (name, value) in request.headers() {
        asked = asked.header(name, value);
    }
    client.send_request(asked.body(Full::new(Bytes::from(request.body()))).unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_client_without_credit_does_not_keep_a_call_from_its_deadline() {
    let server = UpstreamServer::modern().await;
    server.on("tools/call", |_| Answer::stream().progress(1, 2).gate(&Gate::new()));
    let mut table = upstream("u", &server);
    table.timeouts.call = Duration::from_millis(500);
    let gateway = gateway(&set([table]), |_| {});
    gateway.client().modern("tools/list", json!({})).await.result();
    let params = json!({"name": "echo", "arguments": {}, "_meta": {"progressToken": "p"}});
    let call = Modern::new("tools/call", params);
    let mut tasks = JoinSet::new();
    let answer = without_credit(&gateway.client().url, &call, &mut tasks).await;
    assert_eq!(answer.status(), StatusCode::OK);
    eventually(async || server.abandoned("tools/call") == 1).await;
    drop(answer);
}

// streamable-http, "Receiving Messages": notifications come before the response, however soon that is there.
#[tokio::test]
async fn what_was_told_comes_before_a_result_that_is_there_at_once() {
    let server = UpstreamServer::modern().await;
    server.on("tools/call", |_| {
        Answer::stream().progress(1, 2).progress(2, 2).finish(json!({"content": []}))
    });
    let gateway = gateway(&set([upstream("u", &server)]), |_| {});
    for _ in 0..20 {
        let params = json!({"name": "echo", "arguments": {}, "_meta": {"progressToken": "p"}});
        let told = gateway.client().modern("tools/call", params).await.messages();
        assert_eq!(told.len(), 3, "{told:?}");
    }
}

#[tokio::test]
async fn what_is_too_large_to_be_told_is_left_out() {
    let server = UpstreamServer::modern().await;
    server.on("tools/call", |_| {
        let told = Answer::stream().log("error", "x".repeat(1_000_000)).log("error", "small");
        told.finish(json!({"content": []}))
    });
    let gateway = gateway(&set([upstream("u", &server)]), |_| {});
    let meta = json!({"io.modelcontextprotocol/logLevel": "info"});
    let params = json!({"name": "echo", "arguments": {}, "_meta": meta});
    let told = gateway.client().modern("tools/call", params).await.messages();
    assert_eq!(told.len(), 2);
    assert_eq!(told[0]["params"]["data"], "small");
}

// RFC 9110, 10.1.1: the final status at once, if it is known that the content is not wanted.
#[tokio::test]
async fn who_asks_whether_to_send_too_much_is_told_not_to() {
    let server = UpstreamServer::modern().await;
    let gateway = gateway(&set([upstream("u", &server)]), |_| {});
    let address = gateway.url.strip_prefix("http://").unwrap().split('/').next().unwrap();
    let mut socket = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: 30000000\r\nExpect: 100-continue\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}

// RFC 9112, 9.6: a connection that closes with bytes unread is reset, which takes the answer with it.
#[tokio::test]
async fn who_is_refused_while_he_still_sends_reads_why() {
    let keys = keys(&[(ALICE, "t", "alice")]);
    let gateway = gateway(&set([]), |config| config.credentials = keys);
    let address = gateway.url.strip_prefix("http://").unwrap().split('/').next().unwrap();
    let check = async |method: &str, host: &str, bytes: usize, status: &str| {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let head =
            format!("{method} /mcp HTTP/1.1\r\nHost: {host}\r\nContent-Length: {bytes}\r\n\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        // All of it before a look at the answer, as many clients do.
        socket.write_all(&vec![b' '; bytes]).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{method} {host}: {answer}");
        assert!(answer.contains("\"error\""), "{answer}");
    };
    for bytes in [100_000, 7_000_000] {
        check("POST", "localhost", bytes, "401").await;
        check("POST", "evil.example", bytes, "403").await;
        check("PUT", "localhost", bytes, "405").await;
    }
}

#[tokio::test]
async fn what_is_sent_after_a_refusal_is_read_within_bounds() {
    let keys = keys(&[(ALICE, "t", "alice")]);
    let gateway = gateway(&set([]), |config| config.credentials = keys);
    let address = gateway.url.strip_prefix("http://").unwrap().split('/').next().unwrap();
    let mut socket = TcpStream::connect(address).await.unwrap();
    let head = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999999\r\n\r\n";
    socket.write_all(head.as_bytes()).await.unwrap();
    let piece = vec![b' '; 1 << 20];
    let mut mebibytes = 0;
    while socket.write_all(&piece).await.is_ok() {
        mebibytes += 1;
        assert!(mebibytes < 64, "it reads on and on");
    }
}

#[tokio::test]
async fn a_body_that_drips_is_told_so_and_gone_within_twelve_seconds() {
    let gateway = gateway(&set([]), |_| {});
    let address = gateway.url.strip_prefix("http://").unwrap().split('/').next().unwrap();
    let mut socket = TcpStream::connect(address).await.unwrap();
    let head = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n";
    socket.write_all(head.as_bytes()).await.unwrap();
    let began = Instant::now();
    let (mut read, mut write) = socket.split();
    let mut tick = interval(Duration::from_millis(200));
    let drip = async {
        // Until nobody listens any more.
        while write.write_all(b" ").await.is_ok() {
            tick.tick().await;
        }
    };
    let mut answer = String::new();
    let told = async { read.read_to_string(&mut answer).await };
    let (whole, ()) = tokio::join!(told, drip);
    whole.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    let took = began.elapsed();
    assert!((9..13).contains(&took.as_secs()), "{took:?}");
}
