//! Upstreams of the legacy era behind the gateway: their sessions, and what they ask while they work.

#![expect(clippy::unwrap_used, reason = "a test whose upstream does not start has failed")]

use std::time::Duration;

use baton::gateway::{EraChoice, Upstream};
use http::StatusCode;
use serde_json::{Value, json};

use crate::cluster::{RunningGateway, eventually, keys};
use crate::mcp_client::{McpClient, Modern};
use crate::upstream_server::{Answer, Received, Speaks, UpstreamServer, tool};
use crate::upstreams::{gateway, set, upstream};

/// Two subjects of one tenant.
const KEYS: [(&str, &str, &str); 2] =
    [("tests-key-one", "t", "one"), ("tests-key-two", "t", "two")];

/// A gateway with this upstream alone, and a client of it.
fn behind(upstream: Upstream) -> (RunningGateway, McpClient) {
    let gateway = gateway(&set([upstream]), |config| config.credentials = keys(&KEYS));
    let client = gateway.client().with_key(KEYS[0].0);
    (gateway, client)
}

fn call(name: &str) -> Modern {
    Modern::new("tools/call", json!({"name": name, "arguments": {"a": 1}}))
}

fn session(received: &Received) -> &str {
    received.header("mcp-session-id").unwrap()
}

#[tokio::test]
async fn each_caller_has_a_session_and_keeps_it() {
    let server = UpstreamServer::legacy().await;
    let (gateway, one) = behind(upstream("u", &server));
    let two = gateway.client().with_key(KEYS[1].0);
    for client in [&one, &two, &one] {
        let result = client.tool("echo", json!({"x": 1})).await;
        assert_eq!(result["structuredContent"]["arguments"], json!({"x": 1}));
        assert_eq!(result["resultType"], "complete");
        assert_eq!(result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "scripted");
    }
    let calls = server.received_of("tools/call");
    assert_eq!(session(&calls[0]), session(&calls[2]));
    assert_ne!(session(&calls[0]), session(&calls[1]));
    let begun = server.received_of("notifications/initialized");
    assert!(begun.iter().any(|it| session(it) == session(&calls[0])));
    for call in &calls {
        assert_eq!(call.header("mcp-protocol-version"), Some("2025-11-25"));
        assert_eq!(call.header("mcp-method"), None);
        assert!(call.params().get("_meta").is_none(), "{}", call.message);
        assert_eq!(call.header("x-ms-apikey"), None);
    }
}

#[tokio::test]
async fn calls_at_once_share_one_handshake() {
    let server = UpstreamServer::legacy().await;
    let (_gateway, client) = behind(upstream("u", &server));
    client.modern("tools/list", json!({})).await.result();
    let before = server.received_of("initialize").len();
    let calls = (0..8).map(|_| client.tool("echo", json!({})));
    futures_util::future::join_all(calls).await;
    assert_eq!(server.received_of("initialize").len(), before + 1);
}

#[tokio::test]
async fn an_upstream_without_sessions_is_greeted_once() {
    let server = UpstreamServer::start(Speaks::Sessionless).await;
    let (gateway, one) = behind(upstream("u", &server));
    one.modern("tools/list", json!({})).await.result();
    for client in [one, gateway.client().with_key(KEYS[1].0)] {
        client.tool("echo", json!({})).await;
    }
    assert_eq!(server.received_of("initialize").len(), 1);
    let calls = server.received_of("tools/call");
    assert!(calls.iter().all(|it| it.header("mcp-session-id").is_none()));
}

#[tokio::test]
async fn a_shared_upstream_has_one_session_for_all() {
    let server = UpstreamServer::legacy().await;
    let (gateway, one) = behind(Upstream { shared: true, ..upstream("u", &server) });
    let two = gateway.client().with_key(KEYS[1].0);
    one.tool("echo", json!({})).await;
    two.tool("echo", json!({})).await;
    let calls = server.received_of("tools/call");
    assert_eq!(session(&calls[0]), session(&calls[1]));
}

// 2025-11-25 transports, "Session Management" 4; some servers say 400.
#[tokio::test]
async fn a_lost_session_costs_a_handshake_and_nothing_runs_twice() {
    for status in [StatusCode::NOT_FOUND, StatusCode::BAD_REQUEST] {
        let server = UpstreamServer::legacy().await;
        let (_gateway, client) = behind(upstream("u", &server));
        client.tool("echo", json!({})).await;
        server.forget_sessions(status);
        client.tool("echo", json!({"x": 2})).await;
        let calls = server.received_of("tools/call");
        assert_eq!(calls.len(), 3, "{status}");
        assert_ne!(session(&calls[1]), session(&calls[2]), "{status}");
        assert_eq!(calls[1].params()["arguments"], calls[2].params()["arguments"]);
    }
}

#[tokio::test]
async fn any_other_400_or_404_is_the_clients_to_read() {
    for (status, code, message) in [
        (StatusCode::BAD_REQUEST, -32602, "close_session needs a name"),
        // It has acted, as far as anybody knows.
        (StatusCode::BAD_REQUEST, -32603, "the database session broke off"),
        (StatusCode::NOT_FOUND, -32601, "tools/call: the params do not fit"),
    ] {
        let server = UpstreamServer::legacy().await;
        server.on("tools/call", move |_| Answer::error(code, message).status(status));
        let (_gateway, client) = behind(upstream("u", &server));
        let answer = client.post(&call("echo").headers(), call("echo").body()).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.error()["message"], message);
        assert_eq!(server.received_of("tools/call").len(), 1, "{message}");
    }
}

#[tokio::test]
async fn progress_comes_with_the_clients_own_token_and_logs_only_where_asked_for() {
    let server = UpstreamServer::legacy().await;
    server.on("tools/call", |_| {
        let told = Answer::stream().progress(1, 2).log("debug", "mild").log("error", "grave");
        told.finish(json!({"content": []}))
    });
    let (_gateway, client) = behind(upstream("u", &server));
    let meta = json!({"progressToken": "t", "io.modelcontextprotocol/logLevel": "warning"});
    let request = Modern::new("tools/call", json!({"name": "echo", "_meta": meta}));
    let mut stream = client.open(&request).await;
    let progress = stream.next().await.unwrap();
    assert_eq!(progress["params"], json!({"progressToken": "t", "progress": 1, "total": 2}));
    assert_eq!(stream.next().await.unwrap()["params"]["data"], "grave");
    assert_eq!(stream.next().await.unwrap()["result"]["resultType"], "complete");
    client.open(&request).await;
    let levels = server.received_of("logging/setLevel");
    assert_eq!(levels.len(), 1, "a level is set once");
    assert_eq!(levels[0].params()["level"], "warning");
    let [first, _] = server.wait_for("tools/call", 2).await.try_into().unwrap();
    assert_eq!(first.meta("progressToken"), first.id());
    assert_eq!(session(&levels[0]), session(&first));
}

// 2025-11-25 cancellation: a closed connection means nothing there.
#[tokio::test]
async fn a_client_that_leaves_cancels_its_call_in_its_session() {
    let server = UpstreamServer::legacy().await;
    server.on("tools/call", |_| Answer::never());
    let (_gateway, client) = behind(upstream("u", &server));
    let request = call("slow");
    let (headers, body) = (request.headers(), request.body());
    tokio::select! {
        answer = client.post(&headers, body) => panic!("{answer:?}"),
        _ = server.wait_for("tools/call", 1) => {}
    }
    let [cancelled] = server.wait_for("notifications/cancelled", 1).await.try_into().unwrap();
    let [call] = server.received_of("tools/call").try_into().unwrap();
    assert_eq!(&cancelled.params()["requestId"], call.id());
    assert_eq!(session(&cancelled), session(&call));
}

#[tokio::test]
async fn what_was_answered_is_not_cancelled() {
    let server = UpstreamServer::legacy().await;
    let (gateway, client) = behind(upstream("u", &server));
    client.tool("echo", json!({})).await;
    gateway.stop().await;
    assert!(server.received_of("notifications/cancelled").is_empty());
}

#[tokio::test]
async fn sessions_end_when_they_are_idle_and_when_the_gateway_does() {
    let server = UpstreamServer::legacy().await;
    let mut table = upstream("u", &server);
    table.timeouts.session_idle = Duration::from_millis(300);
    let (gateway, client) = behind(table);
    client.tool("echo", json!({})).await;
    let [call] = server.received_of("tools/call").try_into().unwrap();
    let ended = |id: &str| {
        let all = server.received().into_iter();
        all.filter(|it| it.verb == http::Method::DELETE).any(|it| session(&it) == id)
    };
    eventually(async || ended(session(&call))).await;
    // The gateway's own listens, and is not idle.
    assert_eq!(server.sessions(), 1);
    gateway.stop().await;
    assert_eq!(server.sessions(), 0);
}

#[tokio::test]
async fn a_set_without_it_ends_the_sessions_of_an_upstream() {
    let server = UpstreamServer::legacy().await;
    let upstreams = set([upstream("u", &server)]);
    let gateway = gateway(&upstreams, |_| {});
    gateway.client().tool("echo", json!({})).await;
    upstreams.send_replace(std::sync::Arc::from([]));
    eventually(async || server.sessions() == 0).await;
}

#[tokio::test]
async fn a_changed_list_is_heard_of_by_the_gateways_own_stream() {
    let server = UpstreamServer::legacy().await;
    let (_gateway, client) = behind(upstream("u", &server));
    let tools = async || {
        let listed = client.modern("tools/list", json!({})).await.result();
        assert_eq!(listed["cacheScope"], "private");
        listed["tools"].as_array().unwrap().len()
    };
    assert_eq!(tools().await, 1);
    eventually(async || server.streams() == 1).await;
    server.offer(&[tool("echo"), tool("other")]);
    server.notify("notifications/tools/list_changed", &json!({}));
    eventually(async || tools().await == 2).await;
}

// 2025-11-25 transports, "Resumability and Redelivery".
#[tokio::test]
async fn a_stream_that_breaks_is_taken_up_after_its_last_event() {
    let server = UpstreamServer::start(Speaks::Sessionless).await;
    server.on("tools/call", |call| {
        let id = call.id();
        Answer::stream().raw(format!("id: event-{id}\nretry: 100\ndata:\n\n")).cut()
    });
    server.on("GET", |get| {
        let last = get.header("last-event-id").unwrap_or_default().to_owned();
        let id: Value = last.strip_prefix("event-").unwrap_or("0").parse().unwrap();
        Answer::stream().then(json!({"jsonrpc": "2.0", "id": id, "result": {"content": []}}))
    });
    let (_gateway, client) = behind(upstream("u", &server));
    assert_eq!(client.tool("echo", json!({})).await["content"], json!([]));
    assert_eq!(server.received_of("tools/call").len(), 1);
    assert!(server.received_of("notifications/cancelled").is_empty());
}

#[tokio::test]
async fn a_stream_that_cannot_be_taken_up_is_an_unknown_outcome() {
    let server = UpstreamServer::legacy().await;
    server.on("tools/call", |_| Answer::stream().log("info", "begun").cut());
    let (_gateway, client) = behind(Upstream { era: EraChoice::Legacy, ..upstream("u", &server) });
    let answer = client.post(&call("echo").headers(), call("echo").body()).await;
    assert_eq!(answer.error()["data"]["executed"], "maybe");
    server.wait_for("notifications/cancelled", 1).await;
    assert_eq!(server.received_of("tools/call").len(), 1);
}
