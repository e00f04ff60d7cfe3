//! Whether somebody answers at an address.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{StatusCode, Uri};
use http_body_util::Empty;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::finding::Finding;

const DEADLINE: Duration = Duration::from_secs(3);

/// Whether a gateway serves, by its internal listener.
pub(super) async fn gateway(url: &str) -> Finding {
    const NAME: &str = "gateway";
    match get(&format!("{url}/readyz")).await {
        Ok(StatusCode::OK) => Finding::good(NAME, format!("{url} is ready")),
        Ok(status) => Finding::bad(
            NAME,
            format!("{url} is not ready (HTTP {status})"),
            "wait until it has started; if it stays so, see its log",
        ),
        Err(why) => Finding::bad(
            NAME,
            format!("{url} does not answer ({why})"),
            "start it, or correct --gateway: it is the gateway's --internal-listen",
        ),
    }
}

/// Whether a connection to a URL's host and port comes about.
pub(super) async fn connect(url: &str) -> Result<(), String> {
    let uri: Uri = url.parse().map_err(|_| String::from("no URL"))?;
    let host = uri.host().ok_or("no host")?.trim_matches(['[', ']']);
    let port = uri.port_u16().unwrap_or(80);
    let connection = timeout(DEADLINE, TcpStream::connect((host, port))).await;
    let connected = connection.map_err(|_| String::from("no answer in 3 s"))?;
    connected.map(drop).map_err(|error| error.to_string())
}

/// Whether somebody listens there.
pub(super) async fn listens(address: SocketAddr) -> bool {
    matches!(timeout(DEADLINE, TcpStream::connect(address)).await, Ok(Ok(_)))
}

async fn get(url: &str) -> Result<StatusCode, String> {
    let uri: Uri = url.parse().map_err(|_| String::from("no URL"))?;
    if uri.scheme_str() != Some("http") {
        return Err("the doctor speaks plain http only".into());
    }
    let client: Client<_, Empty<Bytes>> =
        Client::builder(TokioExecutor::new()).build(HttpConnector::new());
    match timeout(DEADLINE, client.get(uri)).await {
        Ok(Ok(response)) => Ok(response.status()),
        Ok(Err(error)) => Err(super::finding::causes(&error)),
        Err(_) => Err("no answer in 3 s".into()),
    }
}
