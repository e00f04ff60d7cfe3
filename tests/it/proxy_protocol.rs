//! A load balancer that passes on bytes, and says before the first of them whose they are.

#![expect(clippy::unwrap_used, reason = "a test whose connection cannot be made has failed")]

use std::time::Duration;

use baton::gateway::Network;
use baton::serve::ConnectionLimits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::cluster::{RunningGateway, config, embedded, eventually, keys};
use crate::mcp_client::McpClient;

const HEALTH: &str = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
const PATIENCE: Duration = Duration::from_secs(10);

/// A gateway whose clients come through a balancer in this network, one connection each.
fn behind(network: &str) -> RunningGateway {
    let mut config = config(embedded());
    config.proxy_protocol = true;
    config.trusted_proxies = vec![Network::parse(network).unwrap()];
    let first_byte = Duration::from_secs(1);
    config.connections =
        ConnectionLimits { connections_per_address: 1, first_byte, ..ConnectionLimits::default() };
    RunningGateway::start(config)
}

fn line(client: &str) -> Vec<u8> {
    format!("PROXY TCP4 {client} 198.51.100.1 50123 443\r\n").into_bytes()
}

fn version_2(command: u8, client: [u8; 4]) -> Vec<u8> {
    let addresses = [&client[..], &[198, 51, 100, 1, 0xc3, 0xcb, 1, 0xbb]].concat();
    let extension = [0x04, 0, 1, 0xff]; // no operation
    [b"\r\n\r\n\0\r\nQUIT\n", &[command, 0x11, 0, 16][..], &addresses, &extension].concat()
}

/// A connection that begins with these pieces, each sent by itself.
async fn connect(gateway: &RunningGateway, pieces: &[&[u8]]) -> TcpStream {
    let authority = gateway.url.strip_prefix("http://").unwrap().split('/').next().unwrap();
    let mut socket = TcpStream::connect(authority).await.unwrap();
    socket.set_nodelay(true).unwrap();
    for piece in pieces {
        // The other side may have closed already.
        socket.write_all(piece).await.ok();
        tokio::task::yield_now().await;
    }
    socket
}

/// The first bytes of the answer; none if the connection was closed.
async fn answer(socket: &mut TcpStream) -> String {
    let mut buffer = [0; 15];
    let read = timeout(PATIENCE, socket.read_exact(&mut buffer)).await.expect("neither");
    read.map_or(String::new(), |_| str::from_utf8(&buffer).unwrap().to_owned())
}

async fn served(gateway: &RunningGateway, header: &[u8]) -> bool {
    let mut socket = connect(gateway, &[header, HEALTH.as_bytes()]).await;
    answer(&mut socket).await == "HTTP/1.1 200 OK"
}

#[tokio::test]
async fn connections_count_by_the_address_that_the_balancer_names() {
    let gateway = behind("127.0.0.0/8");
    let mut first = connect(&gateway, &[&line("192.0.2.1"), HEALTH.as_bytes()]).await;
    assert_eq!(answer(&mut first).await, "HTTP/1.1 200 OK");
    // In pieces, and in one with what follows.
    let header = line("192.0.2.2");
    let mut second = connect(&gateway, &[&header[..7], &header[7..], HEALTH.as_bytes()]).await;
    assert_eq!(answer(&mut second).await, "HTTP/1.1 200 OK");
    let whole = [version_2(0x21, [192, 0, 2, 3]), HEALTH.into()].concat();
    let mut third = connect(&gateway, &[&whole]).await;
    assert_eq!(answer(&mut third).await, "HTTP/1.1 200 OK");
    let another = version_2(0x21, [192, 0, 2, 1]);
    assert!(!served(&gateway, &another).await, "this address has its share");
    drop(first);
    eventually(async || served(&gateway, &another).await).await;
}

#[tokio::test]
async fn the_balancer_s_own_connections_are_served() {
    let gateway = behind("127.0.0.0/8");
    eventually(async || served(&gateway, &version_2(0x20, [0; 4])).await).await;
    eventually(async || served(&gateway, b"PROXY UNKNOWN\r\n").await).await;
}

#[tokio::test]
async fn without_its_header_from_a_known_balancer_a_connection_is_closed() {
    let gateway = behind("127.0.0.0/8");
    assert!(!served(&gateway, b"").await);
    assert!(!served(&gateway, b"PROXY TCP4 192.0.2.1\r\n").await);
    // It does not come at all: as long as for a first byte, however it drips.
    let mut silent = connect(&gateway, &[b"PROXY TCP4 192"]).await;
    assert_eq!(answer(&mut silent).await, "");
    let unknown = behind("192.0.2.0/24");
    assert!(!served(&unknown, &line("192.0.2.1")).await);
    let metrics = McpClient::new(&format!("{}/metrics", gateway.internal_url));
    let text = metrics.send("GET", &[], "").await.body;
    let text = String::from_utf8(text.to_vec()).unwrap();
    let counted =
        "baton_connections_closed_total{listener=\"gateway\",reason=\"no_proxy_header\"} 2";
    assert!(text.contains(counted), "{text}");
}

// A client in a network of proxies, or one that the balancer does not name, must not choose another address for each guess.
#[tokio::test]
async fn an_announced_client_is_no_proxy_whatever_it_writes() {
    let mut config = config(embedded());
    config.credentials = keys(&[("known", "t", "x")]);
    config.proxy_protocol = true;
    config.trusted_proxies = vec![Network::parse("127.0.0.0/8").unwrap()];
    let gateway = RunningGateway::start(config);
    for header in [line("127.0.0.9"), b"PROXY UNKNOWN\r\n".to_vec()] {
        let mut answers = Vec::new();
        for n in 0..40 {
            let guess = format!(
                "POST /mcp HTTP/1.1\r\nHost: localhost\r\nx-ms-apikey: wrong\r\nX-Forwarded-For: 192.0.2.{n}\r\n\
                 Content-Length: 0\r\n\r\n"
            );
            let mut socket = connect(&gateway, &[&header, guess.as_bytes()]).await;
            answers.push(answer(&mut socket).await);
        }
        let slowed = answers.iter().any(|it| it.contains("429"));
        assert!(slowed, "{}: {answers:?}", String::from_utf8_lossy(&header));
    }
}
