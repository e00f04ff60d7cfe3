//! The scripted upstream itself: tests that use it may believe it.

use http::StatusCode;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::{Answer, Gate, Speaks, UpstreamServer, prompt, resource, tool};
use crate::cluster::eventually;
use crate::mcp_client::{McpClient, Modern};

const SAMPLING: &str = "sampling/createMessage";

#[tokio::test]
async fn what_no_test_scripted_is_answered_in_good_order() {
    let upstream = UpstreamServer::modern().await;
    let client = McpClient::unjudging(&upstream.url());
    let listed = client.modern("tools/list", json!({})).await.result();
    assert_eq!(listed["tools"][0]["name"], "echo");
    assert_eq!(listed["resultType"], "complete");
    assert_eq!(listed["cacheScope"], "public");
    let refused = client.legacy("initialize", json!({})).await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND);
    assert_eq!(refused.error()["code"], -32601);
}

#[tokio::test]
async fn a_script_replaces_an_answer_and_what_came_is_kept() {
    let upstream = UpstreamServer::modern().await;
    upstream.offer(&[tool("one"), tool("two")]);
    upstream.on("tools/call", |call| {
        Answer::stream()
            .progress(1, 2)
            .log("info", "half")
            .finish(json!({"saw": call.params()["name"]}))
    });
    let client = McpClient::unjudging(&upstream.url());
    let listed = client.modern("tools/list", json!({})).await.result();
    assert_eq!(listed["tools"][1]["name"], "two");
    let params = json!({"name": "one", "_meta": {"progressToken": 0}});
    let called = client.modern("tools/call", params).await;
    let text = String::from_utf8(called.body.to_vec()).unwrap();
    assert!(text.contains(r#""progressToken":0"#) && text.contains("half"), "{text}");
    assert_eq!(called.result()["saw"], "one");
    let [call] = upstream.wait_for("tools/call", 1).await.try_into().unwrap();
    assert_eq!(call.header("mcp-name"), Some("one"));
    assert_eq!(call.message, serde_json::from_slice::<Value>(&call.bytes).unwrap());
    assert_eq!(call.meta("io.modelcontextprotocol/protocolVersion"), "2026-07-28");
}

#[tokio::test]
async fn a_session_is_needed_kept_and_forgotten() {
    let upstream = UpstreamServer::legacy().await;
    let client = McpClient::unjudging(&upstream.url());
    let discovered = client.modern("server/discover", json!({})).await;
    assert_eq!(discovered.status, StatusCode::BAD_REQUEST);
    assert_eq!(discovered.error()["code"], -32000);
    let initialized = client.legacy("initialize", json!({})).await;
    let session = initialized.header("mcp-session-id").unwrap().to_owned();
    let list = async || {
        let body = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"}).to_string();
        client.post(&[("mcp-session-id", &session)], body).await.status
    };
    assert_eq!(list().await, StatusCode::OK);
    upstream.forget_sessions(StatusCode::NOT_FOUND);
    assert_eq!(list().await, StatusCode::NOT_FOUND);
    assert_eq!(upstream.sessions(), 0);
}

#[tokio::test]
async fn a_server_that_asks_waits_for_the_posted_response() {
    let upstream = UpstreamServer::start(Speaks::Sessionless).await;
    upstream.on("tools/call", |_| {
        Answer::stream()
            .ask(SAMPLING, json!({"maxTokens": 1, "messages": []}))
            .answered(|replies| json!({"heard": replies[0]["result"]}))
    });
    let client = McpClient::unjudging(&upstream.url());
    let call = client.legacy("tools/call", json!({"name": "ask"}));
    let reply = async {
        upstream.wait_for("tools/call", 1).await;
        let body = json!({"jsonrpc": "2.0", "id": "asked-1", "result": {"model": "m"}}).to_string();
        assert_eq!(client.post(&[], body).await.status, StatusCode::ACCEPTED);
    };
    let (called, ()) = futures_util::join!(call, reply);
    assert_eq!(called.result()["heard"]["model"], "m");
}

#[tokio::test]
async fn whoever_leaves_before_the_end_is_counted() {
    let upstream = UpstreamServer::modern().await;
    upstream.on("tools/call", |_| Answer::never());
    let request = Modern::new("tools/call", json!({"name": "slow"}));
    let client = McpClient::unjudging(&upstream.url());
    let (headers, body) = (request.headers(), request.body());
    let left = tokio::select! {
        _ = client.post(&headers, body) => false,
        _ = upstream.wait_for("tools/call", 1) => true,
    };
    assert!(left);
    eventually(async || upstream.abandoned("tools/call") == 1).await;
}

#[tokio::test]
async fn a_gate_holds_a_head_or_a_step_until_it_is_opened() {
    let (upstream, head, step) = (UpstreamServer::modern().await, Gate::new(), Gate::new());
    let (of_head, of_step) = (head.clone(), step.clone());
    upstream.on("resources/list", move |_| {
        Answer::result(json!({"resources": [resource("test://a")]})).after(&of_head)
    });
    upstream.on("prompts/list", move |_| {
        Answer::stream().gate(&of_step).finish(json!({"prompts": [prompt("a")]}))
    });
    let client = McpClient::unjudging(&upstream.url());
    let opening = async {
        upstream.wait_for("resources/list", 1).await;
        head.open();
    };
    let (listed, ()) = futures_util::join!(client.modern("resources/list", json!({})), opening);
    assert_eq!(listed.result()["resources"][0]["uri"], "test://a");
    let mut stream = client.open(&Modern::new("prompts/list", json!({}))).await;
    step.open();
    assert_eq!(stream.next().await.unwrap()["result"]["prompts"][0]["name"], "a");
}

#[tokio::test]
async fn every_open_stream_gets_what_is_notified_under_its_own_id() {
    let upstream = UpstreamServer::modern().await;
    let client = McpClient::unjudging(&upstream.url());
    let listen =
        Modern::new("subscriptions/listen", json!({"notifications": {"toolsListChanged": true}}));
    let mut stream = client.open(&listen).await;
    let acknowledged = stream.next().await.unwrap();
    assert_eq!(acknowledged["params"]["notifications"]["toolsListChanged"], true);
    assert_eq!(upstream.streams(), 1);
    upstream.notify("notifications/tools/list_changed", &json!({}));
    let changed = stream.next().await.unwrap();
    assert_eq!(changed["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], 1);
    drop(stream);
    eventually(async || upstream.streams() == 0).await;
}

#[tokio::test]
async fn a_refused_connection_is_taken_again_at_the_same_address() {
    let upstream = UpstreamServer::modern().await;
    upstream.refuse_connections().await;
    assert!(TcpStream::connect(upstream.address()).await.is_err());
    upstream.accept_connections().await;
    let listed = McpClient::unjudging(&upstream.url()).modern("prompts/list", json!({})).await;
    assert_eq!(listed.result()["prompts"][0]["name"], "greeting");
}

#[tokio::test]
async fn a_server_may_misbehave_in_every_way_there_is() {
    let upstream = UpstreamServer::modern().await;
    let client = McpClient::unjudging(&upstream.url());
    let say = async |answer: fn() -> Answer| {
        upstream.on("tools/call", move |_| answer());
        client.open(&Modern::new("tools/call", json!({"name": "any"}))).await
    };
    let mut wrong_id =
        say(|| Answer::message(json!({"jsonrpc": "2.0", "id": 77, "result": {}}))).await;
    assert_eq!(wrong_id.next().await.unwrap()["id"], 77);

    let busy = say(|| {
        let busy = Answer::error(50_301, "busy").status(StatusCode::SERVICE_UNAVAILABLE);
        busy.header("retry-after", "1")
    });
    let busy = busy.await;
    assert_eq!(busy.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(busy.headers["retry-after"], "1");

    let mut half = say(|| Answer::half("application/json", r#"{"jsonrpc""#)).await;
    assert_eq!(half.next().await, None);
    assert!(half.broken);

    let mut torn = say(|| Answer::stream().log("info", "a").raw(": comment\n\n").cut()).await;
    assert_eq!(torn.next().await.unwrap()["params"]["data"], "a");
    assert_eq!(torn.next().await, None);
    assert!(torn.broken);

    let mut failed = say(|| Answer::stream().fail(-32603, "late")).await;
    assert_eq!(failed.next().await.unwrap()["error"]["code"], -32603);
    assert_eq!(failed.next().await, None);
    assert!(!failed.broken);

    upstream.on("tools/call", |_| Answer::cut_off());
    assert!(client.try_open(&Modern::new("tools/call", json!({"name": "any"}))).await.is_err());
}
