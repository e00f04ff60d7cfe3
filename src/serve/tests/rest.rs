//! Connections on which nobody calls for a while.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::time::sleep;

use super::{AT_ONCE, GET, SHORT, Served, response, served, until_closed};
use crate::serve::{ConnectionLimits, Drained};

/// Long enough for a connection to rest.
const REST: Duration = Duration::from_millis(300);

#[tokio::test]
async fn a_connection_that_rested_is_served_again() {
    let served = Served::new();
    let mut socket = served.connect().await;
    for pause in [REST, SHORT, REST, SHORT] {
        socket.write_all(GET.as_bytes()).await.unwrap();
        response(&mut socket, "here").await;
        sleep(pause).await;
    }
}

#[tokio::test]
async fn a_head_that_began_behind_another_request_is_whole_after_a_rest() {
    let served = Served::new();
    for split in [1, GET.len() / 2, GET.len() - 1] {
        let (begun, rest) = GET.split_at(split);
        let mut socket = served.sent(&format!("{GET}{begun}")).await;
        response(&mut socket, "here").await;
        for pieces in rest.as_bytes().chunks(rest.len().div_ceil(2)) {
            sleep(REST).await;
            socket.write_all(pieces).await.unwrap();
        }
        response(&mut socket, "here").await;
    }
}

#[tokio::test]
async fn a_body_that_somebody_may_still_read_is_no_request() {
    let served = Served::new();
    let length = GET.len();
    let head = format!("POST /first HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    let mut socket = served.sent(&head).await;
    response(&mut socket, "first").await;
    sleep(REST).await;
    socket.write_all(GET.as_bytes()).await.unwrap();
    sleep(REST).await;
    served.answer.cancel();
    socket.shutdown().await.unwrap();
    assert_eq!(until_closed(socket).await, "");
}

#[tokio::test]
async fn a_rest_ends_with_the_client_with_its_time_and_with_the_process() {
    let limits = ConnectionLimits { idle: REST * 3, ..ConnectionLimits::default() };
    let served = served(limits, AT_ONCE);
    let mut left = served.sent(GET).await;
    response(&mut left, "here").await;
    sleep(REST).await;
    left.shutdown().await.unwrap();
    assert_eq!(until_closed(left).await, "");
    let idle = served.sent(GET).await;
    assert!(until_closed(idle).await.ends_with("here"));
    assert_eq!(served.counts.too_slow(), 1);
    let mut last = served.sent(GET).await;
    response(&mut last, "here").await;
    sleep(REST).await;
    served.drain.begin();
    assert_eq!(until_closed(last).await, "");
    assert_eq!(served.counts.too_slow(), 1);
    assert_eq!(served.drained().await, Drained { cut: 0 });
}

#[tokio::test]
async fn the_first_bytes_say_which_http_it_is_however_they_come() {
    const PREFACE: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const NO_SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let served = Served::new();
    for size in [1, 7, 23, 24] {
        let mut http2 = served.connect().await;
        for piece in PREFACE.as_bytes().chunks(size) {
            http2.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        http2.write_all(&NO_SETTINGS).await.unwrap();
        let mut settings = [0; 4];
        tokio::io::AsyncReadExt::read_exact(&mut http2, &mut settings).await.unwrap();
        assert_eq!(settings[3], 4, "the type of a SETTINGS frame");
        let mut http1 = served.connect().await;
        for piece in GET.as_bytes().chunks(size) {
            http1.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        response(&mut http1, "here").await;
    }
    let neither =
        until_closed(served.sent("PRI * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await);
    assert!(neither.await.starts_with("HTTP/1.1 4"));
}
