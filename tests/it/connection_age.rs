//! Connections grow old: then they end, and between two requests only.

#![expect(clippy::unwrap_used, reason = "a test whose connection cannot be made has failed")]

use std::time::Duration;

use baton::serve::ConnectionLimits;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Empty;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::cluster::{RunningGateway, config, embedded};

const PATIENCE: Duration = Duration::from_secs(10);

fn gateway(age: Duration) -> RunningGateway {
    let mut config = config(embedded());
    config.connections = ConnectionLimits { age, ..ConnectionLimits::default() };
    RunningGateway::start(config)
}

async fn connect(gateway: &RunningGateway) -> TokioIo<TcpStream> {
    let authority = gateway.url.strip_prefix("http://").unwrap().split('/').next().unwrap();
    TokioIo::new(TcpStream::connect(authority).await.unwrap())
}

fn health(uri: &str) -> Request<Empty<Bytes>> {
    Request::get(uri).header("host", "localhost").body(Empty::new()).unwrap()
}

#[tokio::test]
async fn an_old_http1_connection_ends_with_an_answer_that_says_so() {
    for (age, expected) in [(Duration::ZERO, true), (PATIENCE, false)] {
        let gateway = gateway(age);
        let (mut client, connection) = http1::handshake(connect(&gateway).await).await.unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(connection);
        let answer = client.send_request(health("/health")).await.unwrap();
        assert_eq!(answer.headers().get("connection").is_some_and(|it| it == "close"), expected);
    }
}

#[tokio::test]
async fn an_old_http2_connection_is_told_to_go() {
    let gateway = gateway(Duration::from_millis(300));
    let (mut client, connection) =
        http2::handshake(TokioExecutor::new(), connect(&gateway).await).await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(connection);
    let answer = client.send_request(health("http://localhost/health")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    drop(answer);
    let ended = timeout(PATIENCE, tasks.join_next()).await.expect("it goes on").unwrap();
    ended.unwrap().expect("GOAWAY is no error");
}
