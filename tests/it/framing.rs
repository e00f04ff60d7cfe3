//! Requests that two readers could frame in two ways, byte by byte: what is answered, and that nothing hidden in one runs.

#![expect(clippy::unwrap_used, reason = "a test whose connection cannot be made has failed")]

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::cluster::{RunningGateway, config, embedded};
use crate::mcp_client::McpClient;

const PATIENCE: Duration = Duration::from_secs(20);
const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
const CALL: &str =
    r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"whoami","arguments":{}}}"#;
/// Asked last: only an open connection answers it.
const PROBE: &str = "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// A request with these header lines and this body, and no length but what the lines say.
fn raw(lines: &str, body: &str) -> String {
    format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{lines}\r\n{body}"
    )
}

/// A ping with its length and some more lines.
fn ping(lines: &str) -> String {
    raw(&format!("Content-Length: {}\r\n{lines}", PING.len()), PING)
}

/// What must never run: a whole request, as a smuggler hides it.
fn hidden() -> String {
    raw(&format!("Content-Length: {}\r\n", CALL.len()), CALL)
}

/// A body in one chunk, whose line ends with `extension` and which `trailers` follow.
fn chunked(extension: &str, trailers: &str) -> String {
    format!("{:x}{extension}\r\n{PING}\r\n0\r\n{trailers}\r\n", PING.len())
}

#[rustfmt::skip] // one case, one line: a table is read down its columns
fn cases() -> Vec<(&'static str, String, &'static str)> {
    let te = "Transfer-Encoding: chunked\r\n";
    let length = |value: &str| format!("Content-Length: {value}\r\n");
    let exact = length(&PING.len().to_string());
    let hidden = hidden();
    let hiding = length(&(5 + hidden.len()).to_string());
    let evil = || ping("").replace("localhost", "evil.example");
    vec![
        ("a length", ping(""), "200 open"),
        ("chunks", raw(te, &chunked("", "")), "200 closed"),
        ("CL.TE", raw(&format!("{hiding}{te}"), &format!("0\r\n\r\n{hidden}")), "400 closed"),
        ("TE.CL", raw(&format!("{te}{}", length("4")), &format!("{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len())), "400 closed"),
        ("CL.TE around a ping", raw(&format!("{exact}{te}"), &format!("{}{hidden}", chunked("", ""))), "200 closed"),
        ("TE.CL around a ping", raw(&format!("{te}{exact}"), &format!("{}{hidden}", chunked("", ""))), "200 closed"),
        ("an unknown encoding", raw(&format!("{exact}Transfer-Encoding: xchunked\r\n"), &format!("{PING}{hidden}")), "400 closed"),
        ("identity last", raw("Transfer-Encoding: chunked, identity\r\n", &chunked("", "")), "400 closed"),
        ("two encodings", raw(&format!("{te}Transfer-Encoding: identity\r\n"), &chunked("", "")), "400 closed"),
        ("a space before the colon", raw(&format!("{exact}Transfer-Encoding : chunked\r\n"), &format!("{PING}{hidden}")), "400 closed"),
        ("a control character", raw(&format!("{exact}Transfer-Encoding: \x0bchunked\r\n"), &format!("{PING}{hidden}")), "400 closed"),
        ("a tab before chunked", raw("Transfer-Encoding:\tchunked\r\n", &chunked("", "")), "200 closed"),
        ("chunked in capitals", raw("Transfer-Encoding: CHUNKED\r\n", &chunked("", "")), "200 closed"),
        ("an encoding in HTTP/1.0", ping(te).replace("HTTP/1.1", "HTTP/1.0"), "400 closed"),
        ("two equal lengths", ping(&exact), "200 open"),
        ("two lengths", ping(&length("0")), "400 closed"),
        ("a list of lengths", raw(&length(&format!("{0}, {0}", PING.len())), PING), "400 closed"),
        ("a length with a sign", raw(&length(&format!("+{}", PING.len())), PING), "400 closed"),
        ("a negative length", raw(&length("-1"), PING), "400 closed"),
        ("a length in hexadecimal", raw(&length("0x28"), PING), "400 closed"),
        ("no length in the length", raw(&length(""), PING), "400 closed"),
        ("a length beyond all numbers", raw(&length("99999999999999999999"), PING), "400 closed"),
        ("bare line feeds", ping("").replace("\r\n", "\n"), "200 open"),
        ("a folded line", ping("X-A: 1\r\n 2\r\n"), "400 closed"),
        ("a NUL", ping("X-A: 1\0\r\n"), "400 closed"),
        ("a name with a space", ping("X A: 1\r\n"), "400 closed"),
        ("an extension of a chunk", raw(te, &chunked(";a=b", "")), "200 closed"),
        ("an endless extension", raw(te, &chunked(&format!(";{}", "x".repeat(20_000)), "")), "400 closed"),
        ("a chunk of more than 2^64", raw(te, &format!("1{}\r\n{PING}", "0".repeat(17))), "400 closed"),
        ("a chunk of a sign", raw(te, &format!("+{:x}\r\n{PING}\r\n0\r\n\r\n", PING.len())), "400 closed"),
        ("a chunk that is longer than it says", raw(te, &format!("4\r\n{PING}\r\n0\r\n\r\n")), "400 closed"),
        ("a trailer", raw(te, &chunked("", "X-A: 1\r\n")), "200 closed"),
        ("100,000 trailers", raw(te, &chunked("", &"X-A: 1\r\n".repeat(100_000))), "400 closed"),
        ("no host", ping("").replace("Host: localhost\r\n", ""), "400 open"),
        ("two hosts", ping("Host: localhost\r\n"), "400 open"),
        ("a host that is not ours", evil(), "403 open"),
        ("the absolute form", ping("").replace("POST /", "POST http://localhost/"), "200 open"),
        ("the absolute form of another host", ping("").replace("POST /", "POST http://a/"), "400 open"),
        ("an empty line first", format!("\r\n{}", ping("")), "200 open"),
        ("no version", "GET /health\r\n\r\n".to_owned(), "400 closed"),
        ("a GET with a body", format!("GET /health HTTP/1.1\r\nHost: localhost\r\n{}\r\n{hidden}", length(&hidden.len().to_string())), "200 open"),
        ("65 headers", ping(&"X-A: 1\r\n".repeat(65)), "431 closed"),
        ("three in a row", ping("").repeat(3), "200 200 200 open"),
        ("one of three refused", [ping(""), evil(), ping("")].concat(), "200 403 200 open"),
        ("one of three malformed", [ping(""), ping(&length("0")), hidden.clone()].concat(), "200 400 closed"),
        ("one of three in chunks", [ping(""), raw(te, &chunked("", "")), hidden].concat(), "200 200 closed"),
    ]
}

/// The statuses of all answers to these bytes, and whether the connection stayed open behind them.
async fn outcome(authority: &str, bytes: &str, answers: usize) -> (String, String) {
    let mut socket = TcpStream::connect(authority).await.unwrap();
    // Who is refused may find the door closed while it still speaks.
    let (mut read, mut write) = socket.split();
    let mut text = String::new();
    let exchange = async {
        let ask = async {
            write.write_all(bytes.as_bytes()).await.ok();
        };
        let hear =
            async { while statuses(&text).len() < answers && more(&mut read, &mut text).await {} };
        tokio::join!(ask, hear);
        write.write_all(PROBE.as_bytes()).await.ok();
        while more(&mut read, &mut text).await {}
    };
    timeout(PATIENCE, exchange).await.unwrap_or_else(|_| panic!("{bytes:.300}\n{text}"));
    let mut seen = statuses(&text);
    let open = text.rsplit("HTTP/1.1 ").next().unwrap().starts_with("200 OK\r\n")
        && text.trim_end().rsplit("\r\n").next().unwrap().starts_with("replica-")
        && seen.len() > answers;
    if open {
        seen.pop();
    }
    (format!("{} {}", seen.join(" "), if open { "open" } else { "closed" }), text)
}

async fn more(read: &mut (impl AsyncRead + Unpin), text: &mut String) -> bool {
    let mut buffer = [0; 4096];
    let size = read.read(&mut buffer).await.unwrap_or(0);
    text.push_str(str::from_utf8(&buffer[..size]).unwrap());
    size > 0
}

fn statuses(text: &str) -> Vec<&str> {
    text.split("HTTP/1.1 ").skip(1).filter_map(|answer| answer.get(..3)).collect()
}

#[tokio::test]
async fn every_framing_has_one_reading() {
    let gateway = RunningGateway::start(config(embedded()));
    let authority = gateway.url.strip_prefix("http://").unwrap().split('/').next().unwrap();
    let mut wrong = Vec::new();
    for (name, bytes, expected) in cases() {
        let answers = expected.split(' ').count() - 1;
        let (found, text) = outcome(authority, &bytes, answers).await;
        if found != expected || text.contains("instance_id") {
            wrong.push(format!("{name}: {found}, not {expected}\n{text}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let calls = async || {
        let metrics = McpClient::new(&format!("{}/metrics", gateway.internal_url));
        let text = String::from_utf8(metrics.send("GET", &[], "").await.body.to_vec()).unwrap();
        let of_tool = text.lines().filter(|it| it.contains("_count{") && it.contains("whoami"));
        of_tool.map(|it| it.rsplit(' ').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(calls().await, ["0"], "a hidden request ran");
    // That one would be seen.
    gateway.client().legacy("tools/call", serde_json::json!({"name": "whoami"})).await.result();
    assert_eq!(calls().await, ["1"]);
}
