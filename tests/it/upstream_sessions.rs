//! Sessions with upstreams of the legacy era: whose they are when the upstream changes, and what ends them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use baton::gateway::Upstream;
use http::{Method, StatusCode};
use serde_json::json;

use crate::cluster::{RunningGateway, eventually, keys};
use crate::mcp_client::{McpClient, Modern};
use crate::upstream_server::{Answer, Gate, Speaks, UpstreamServer};
use crate::upstreams::{gateway, set, upstream};

/// Two subjects of one tenant.
const KEYS: [(&str, &str, &str); 2] =
    [("tests-key-one", "t", "one"), ("tests-key-two", "t", "two")];

/// A gateway with this upstream alone, and two clients of it.
fn behind(upstream: Upstream) -> (RunningGateway, [McpClient; 2]) {
    let gateway = gateway(&set([upstream]), |config| config.credentials = keys(&KEYS));
    let clients = KEYS.map(|(key, _, _)| gateway.client().with_key(key));
    (gateway, clients)
}

/// Answers `initialize` with a session's id, if there is one to give.
fn greet(server: &UpstreamServer, id: impl Fn() -> Option<String> + Send + Sync + 'static) {
    server.on("initialize", move |_| {
        // No list changes, so that the gateway opens no stream in its own session.
        let greeting = Answer::result(json!({
            "protocolVersion": "2025-11-25",
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "scripted", "version": "1"},
        }));
        match id() {
            Some(id) => greeting.header("mcp-session-id", &id),
            None => greeting,
        }
    });
}

/// How a server with sessions refuses a request without one.
fn no_session() -> Answer {
    let error = json!({"code": -32000, "message": "Bad Request: No valid session ID provided"});
    Answer::message(json!({"jsonrpc": "2.0", "id": null, "error": error}))
        .status(StatusCode::BAD_REQUEST)
}

#[tokio::test]
async fn an_upstream_that_begins_to_keep_sessions_gives_each_caller_one() {
    let server = UpstreamServer::start(Speaks::Sessionless).await;
    greet(&server, || None);
    let (_gateway, [one, two]) = behind(upstream("u", &server));
    for client in [&one, &two] {
        client.tool("echo", json!({})).await;
    }
    let given = AtomicUsize::new(0);
    greet(&server, move || Some(format!("kept-{}", given.fetch_add(1, Ordering::Relaxed))));
    server.on("tools/call", |call| match call.header("mcp-session-id") {
        Some(_) => Answer::result(json!({"content": []})),
        None => no_session(),
    });
    for client in [&one, &two, &one] {
        client.tool("echo", json!({})).await;
    }
    let calls = server.received_of("tools/call");
    let kept: Vec<&str> = calls.iter().filter_map(|it| it.header("mcp-session-id")).collect();
    assert_eq!((calls.len(), kept.len()), (6, 3), "{kept:?}");
    assert_ne!(kept[0], kept[1], "one caller's session is not another's");
    assert_eq!(kept[0], kept[2]);
}

#[tokio::test]
async fn what_an_upstream_asks_of_its_own_accord_is_answered_one_by_one() {
    let server = UpstreamServer::legacy().await;
    let gate = Gate::new();
    let held = gate.clone();
    // A response has no method.
    server
        .on("", move |_| Answer::bytes("text/plain", "").status(StatusCode::ACCEPTED).after(&held));
    server.on("GET", |_| {
        let ping = |id| json!({"jsonrpc": "2.0", "id": id, "method": "ping"});
        (0..8).fold(Answer::stream(), |stream, id| stream.then(ping(id))).feed()
    });
    let (_gateway, [client, _]) = behind(upstream("u", &server));
    client.tool("echo", json!({})).await;
    let answered = || {
        let all = server.received().into_iter();
        all.filter(|it| it.message["result"] == json!({})).count()
    };
    eventually(async || answered() > 0).await;
    // Time enough for the others, if they did not wait.
    client.tool("echo", json!({})).await;
    assert_eq!(answered(), 1);
    gate.open();
    eventually(async || answered() == 8).await;
}

// 2025-11-25 transports, "Resumability and Redelivery".
#[tokio::test]
async fn a_stream_whose_event_id_no_header_carries_cannot_be_taken_up() {
    for id in ["one\u{1}", "\u{7f}", &"9".repeat(5000)] {
        let server = UpstreamServer::start(Speaks::Sessionless).await;
        let event = format!("id: {id}\nretry: 100\ndata:\n\n");
        server.on("tools/call", move |_| Answer::stream().raw(event.clone()).cut());
        // Another stream, of which nothing comes.
        server.on("GET", |_| Answer::stream().gate(&Gate::new()));
        greet(&server, || None);
        let (_gateway, [client, _]) = behind(upstream("u", &server));
        let call = Modern::new("tools/call", json!({"name": "echo", "arguments": {}}));
        let answer = client.post(&call.headers(), call.body()).await;
        assert_eq!(answer.error()["data"]["executed"], "maybe");
        assert!(server.received().iter().all(|it| it.verb != Method::GET), "{id:?}");
    }
}

#[tokio::test]
async fn a_stream_that_does_not_begin_is_asked_for_again() {
    for speaks in [Speaks::Sessions, Speaks::Modern] {
        let server = UpstreamServer::start(speaks).await;
        let stream = if speaks == Speaks::Modern { "subscriptions/listen" } else { "GET" };
        let asked = AtomicUsize::new(0);
        server.on(stream, move |listen| match asked.fetch_add(1, Ordering::Relaxed) {
            0 => Answer::never(),
            _ => Answer::stream()
                .then(json!({
                    "jsonrpc": "2.0",
                    "method": "notifications/subscriptions/acknowledged",
                    "params": {"notifications": listen.params()["notifications"]},
                }))
                .feed(),
        });
        let mut table = upstream("u", &server);
        table.timeouts.list = Duration::from_millis(300);
        let (_gateway, [client, _]) = behind(table);
        client.tool("echo", json!({})).await;
        eventually(async || server.streams() == 1).await;
    }
}
