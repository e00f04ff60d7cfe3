//! Which era an upstream is spoken to in, by how it answers a discovery.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::StatusCode;
use serde_json::{Value, json};

use crate::cluster::eventually;
use crate::upstream_server::{Answer, Speaks, UpstreamServer, tool};
use crate::upstreams::{gateway, set, upstream};

/// How many tools a gateway lists of an upstream that does both eras, and fails at discovery with this; and whether it
/// was shaken hands with.
async fn met(speaks: Speaks, refusal: fn() -> Answer) -> (usize, bool) {
    let server = UpstreamServer::start(speaks).await;
    server.offer(&[tool("echo")]);
    server.on("server/discover", move |_| refusal());
    server.on("initialize", |_| {
        Answer::result(json!({
            "protocolVersion": "2025-11-25",
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "scripted", "version": "1"},
        }))
    });
    let gateway = gateway(&set([upstream("u", &server)]), |_| {});
    let listed = gateway.client().modern("tools/list", json!({})).await.result();
    let tools = listed["tools"].as_array().map_or(0, Vec::len);
    (tools, !server.received_of("initialize").is_empty())
}

fn unsupported(supported: &Value) -> Answer {
    let data = json!({"supported": supported, "requested": "2026-07-28"});
    Answer::error_with(-32022, "Unsupported protocol version", data).status(StatusCode::BAD_REQUEST)
}

fn empty(status: StatusCode) -> Answer {
    Answer::bytes("text/plain", "").status(status)
}

// streamable-http, "Backward Compatibility".
#[tokio::test]
async fn a_server_that_does_not_understand_a_discovery_is_shaken_hands_with() {
    let refusals: [fn() -> Answer; 10] = [
        || empty(StatusCode::BAD_REQUEST),
        || empty(StatusCode::NOT_FOUND),
        || empty(StatusCode::METHOD_NOT_ALLOWED),
        || empty(StatusCode::NOT_ACCEPTABLE),
        || Answer::error(-32601, "Method not found"),
        || Answer::error(-32601, "Method not found").status(StatusCode::NOT_FOUND),
        || Answer::error(-32602, "Invalid request parameters"),
        || Answer::error(-32000, "Server not initialized").status(StatusCode::BAD_REQUEST),
        || unsupported(&json!(["2025-11-25", "2025-06-18"])),
        || Answer::result(json!({"supportedVersions": ["2025-11-25"], "capabilities": {}})),
    ];
    for (at, refusal) in refusals.into_iter().enumerate() {
        assert_eq!(met(Speaks::Sessionless, refusal).await, (1, true), "{at}");
    }
}

#[tokio::test]
async fn a_server_that_is_in_trouble_or_modern_is_not() {
    let refusals: [fn() -> Answer; 9] = [
        || empty(StatusCode::SERVICE_UNAVAILABLE),
        || empty(StatusCode::TOO_MANY_REQUESTS),
        || empty(StatusCode::FOUND),
        || Answer::error(-32601, "busy").status(StatusCode::TOO_MANY_REQUESTS),
        || Answer::error(50_301, "overloaded").status(StatusCode::SERVICE_UNAVAILABLE),
        || Answer::error(-32603, "Internal error"),
        || Answer::error(-32020, "Header mismatch").status(StatusCode::BAD_REQUEST),
        || unsupported(&json!(["2027-03-26"])),
        || Answer::result(json!({"supportedVersions": ["2027-03-26"], "capabilities": {}})),
    ];
    for (at, refusal) in refusals.into_iter().enumerate() {
        assert_eq!(met(Speaks::Sessionless, refusal).await, (0, false), "{at}");
    }
}

#[tokio::test]
async fn a_modern_server_that_was_busy_is_spoken_to_as_one() {
    let server = UpstreamServer::modern().await;
    let busy = Arc::new(AtomicBool::new(true));
    let is_busy = Arc::clone(&busy);
    server.on("server/discover", move |_| {
        if is_busy.load(Ordering::Relaxed) {
            return Answer::error(42_901, "slow down").status(StatusCode::TOO_MANY_REQUESTS);
        }
        Answer::result(json!({"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}))
    });
    let gateway = gateway(&set([upstream("u", &server)]), |_| {});
    let client = gateway.client();
    let refused = client.modern("tools/call", json!({"name": "echo", "arguments": {}})).await;
    assert_eq!(refused.error()["data"]["executed"], "no");
    busy.store(false, Ordering::Relaxed);
    let echo = json!({"name": "echo", "arguments": {}});
    // It is left alone for a moment.
    eventually(async || client.modern("tools/call", echo.clone()).await.status == 200).await;
    assert!(server.received_of("initialize").is_empty());
}
