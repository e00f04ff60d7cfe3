//! HTTP/2 clients that cost more than they ask for: each is stopped, and no other client waits for it.

#![expect(clippy::unwrap_used, reason = "a test whose connection cannot be made has failed")]

use std::time::Duration;

use baton::gateway::Config;
use baton::serve::ConnectionLimits;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Empty;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::cluster::{RunningGateway, config, embedded, eventually};
use crate::mcp_client::{McpClient, Modern};

const PATIENCE: Duration = Duration::from_secs(20);
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// RFC 9113 §6: types of frames, and flags.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// RFC 7541: GET, http, `/`, and the authority `localhost`; POST by another first byte.
const GET: &[u8] = b"\x82\x86\x84\x41\x09localhost";
const POST: &[u8] = b"\x83\x86\x04\x04/mcp\x41\x09localhost";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn authority(gateway: &RunningGateway) -> &str {
    gateway.url.strip_prefix("http://").unwrap().split('/').next().unwrap()
}

/// Sends the preface and what `flood` makes for as long as the gateway listens. Returns the type of the last frame that
/// came back.
async fn stopped(gateway: &RunningGateway, flood: impl Fn(u32) -> Vec<u8>) -> Option<u8> {
    let mut socket = TcpStream::connect(authority(gateway)).await.unwrap();
    let (mut read, mut write) = socket.split();
    let speak = async {
        write.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await.unwrap();
        for turn in 0.. {
            if write.write_all(&flood(turn)).await.is_err() {
                return;
            }
        }
    };
    let hear = async {
        let mut last = None;
        let mut head = [0; 9];
        while read.read_exact(&mut head).await.is_ok() {
            let length = usize::from(head[1]) << 8 | usize::from(head[2]);
            if read.read_exact(&mut vec![0; length]).await.is_err() {
                break;
            }
            last = Some(head[3]);
        }
        last
    };
    let both = async { tokio::join!(speak, hear).1 };
    timeout(PATIENCE, both).await.expect("the gateway goes on listening")
}

/// No deadline of a connection ends what these tests begin.
fn patient() -> Config {
    let mut config = config(embedded());
    let (head, idle) = (10 * PATIENCE, 10 * PATIENCE);
    config.connections = ConnectionLimits { head, idle, ..ConnectionLimits::default() };
    config
}

// CVE-2023-44487.
#[tokio::test]
async fn a_client_that_resets_what_it_asks_is_told_to_go() {
    let gateway = RunningGateway::start(patient());
    let last = stopped(&gateway, |turn| {
        let stream = 2 * turn + 1;
        let asked = frame(HEADERS, END_STREAM | END_HEADERS, stream, GET);
        [asked, frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
    });
    assert!(matches!(last.await, Some(GOAWAY) | None));
    assert_eq!(gateway.client().legacy("ping", json!({})).await.status, StatusCode::OK);
}

#[tokio::test]
async fn headers_without_end_are_refused() {
    let gateway = RunningGateway::start(patient());
    let endless = |turn| match turn {
        0 => frame(HEADERS, END_STREAM, 1, GET),
        _ => frame(CONTINUATION, 0, 1, &[0x82; 64]),
    };
    assert!(matches!(stopped(&gateway, endless).await, Some(GOAWAY | RST_STREAM) | None));
    let empty = |turn| match turn {
        0 => frame(HEADERS, END_STREAM, 1, GET),
        _ => frame(CONTINUATION, 0, 1, &[]),
    };
    assert!(matches!(stopped(&gateway, empty).await, Some(GOAWAY | RST_STREAM) | None));
}

#[tokio::test]
async fn control_frames_and_empty_data_do_not_keep_a_connection() {
    let head = Duration::from_secs(1);
    let mut config = config(embedded());
    config.connections = ConnectionLimits { head, ..ConnectionLimits::default() };
    let gateway = RunningGateway::start(config);
    // Before the first request: a head has its deadline, whatever comes.
    stopped(&gateway, |_| frame(PING, 0, 0, &[0; 8]).repeat(64)).await;
    stopped(&gateway, |_| frame(SETTINGS, 0, 0, &[]).repeat(64)).await;
    // After it: so many bytes and no more.
    stopped(&gateway, |turn| match turn {
        0 => frame(HEADERS, END_STREAM | END_HEADERS, 1, GET),
        _ => frame(PING, 0, 0, &[0; 8]).repeat(64),
    })
    .await;
    // In a body that never ends: as long as a body may take.
    stopped(&gateway, |turn| match turn {
        0 => frame(HEADERS, END_HEADERS, 1, POST),
        _ => frame(DATA, 0, 1, &[]).repeat(64),
    })
    .await;
    assert_eq!(gateway.client().legacy("ping", json!({})).await.status, StatusCode::OK);
}

/// A request of revision 2026-07-28 on stream 1, its headers as literals that nobody is to remember (RFC 7541 §6.2.2).
fn post(request: &Modern) -> Vec<u8> {
    let length = |text: &str| vec![u8::try_from(text.len()).unwrap()];
    let literal = |(name, value): (&str, &str)| {
        [vec![0], length(name), name.into(), length(value), value.into()].concat()
    };
    let literals = request.headers().into_iter().map(literal).collect::<Vec<_>>().concat();
    let head = frame(HEADERS, END_HEADERS, 1, &[POST, &literals].concat());
    [head, frame(DATA, END_STREAM, 1, request.body().as_ref())].concat()
}

#[tokio::test]
async fn control_frames_do_not_flood_a_call_that_goes_on() {
    let gateway = RunningGateway::start(config(embedded()));
    let notifications = json!({"notifications": {"toolsListChanged": true}});
    let listen = post(&Modern::new("subscriptions/listen", notifications));
    let unfinished = [listen.clone(), frame(HEADERS, END_HEADERS, 3, POST)].concat();
    for (call, flood) in [
        (&listen, frame(PING, 0, 0, &[0; 8])),
        (&listen, frame(SETTINGS, 0, 0, &[])),
        (&listen, frame(WINDOW_UPDATE, 0, 1, &1_u32.to_be_bytes())),
        (&unfinished, frame(DATA, 0, 3, &[])),
    ] {
        stopped(&gateway, |turn| if turn == 0 { call.clone() } else { flood.repeat(64) }).await;
    }
    assert_eq!(gateway.client().legacy("ping", json!({})).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_stream_without_credit_ends_and_its_connection_goes_on() {
    for window in [0, 1] {
        let mut config = config(embedded());
        let write_stall = Duration::from_millis(500);
        config.connections = ConnectionLimits { write_stall, ..ConnectionLimits::default() };
        let gateway = RunningGateway::start(config);
        let socket = TokioIo::new(TcpStream::connect(authority(&gateway)).await.unwrap());
        let (mut client, connection) = http2::Builder::new(TokioExecutor::new())
            .adaptive_window(false)
            .initial_stream_window_size(window)
            .handshake(socket)
            .await
            .unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(connection);
        let ask = |path: &str| {
            let uri = format!("http://{}{path}", authority(&gateway));
            Request::get(uri).body(Empty::<Bytes>::new()).unwrap()
        };
        // Nobody reads its body, so nobody grants it more.
        let left = client.send_request(ask("/health")).await.unwrap();
        eventually(async || too_slow(&gateway).await == 1).await;
        let next = client.send_request(ask("/")).await.unwrap();
        assert_eq!((left.status(), next.status()), (StatusCode::OK, StatusCode::OK), "{window}");
    }
}

async fn too_slow(gateway: &RunningGateway) -> usize {
    let metrics = McpClient::new(&format!("{}/metrics", gateway.internal_url));
    let text = String::from_utf8(metrics.send("GET", &[], "").await.body.to_vec()).unwrap();
    let line = "baton_connections_closed_total{listener=\"gateway\",reason=\"too_slow\"} ";
    text.lines().find_map(|it| it.strip_prefix(line)).unwrap().parse().unwrap()
}
