//! What upstreams of the legacy era ask their client while they work: a modern client brings it with its next request.

#![expect(clippy::unwrap_used, reason = "a test whose upstream does not start has failed")]

use std::time::Duration;

use baton::gateway::Upstream;
use http::StatusCode;
use serde_json::{Value, json};

use crate::cluster::{RunningGateway, eventually, keys};
use crate::mcp_client::{Answer as Answered, McpClient, Modern};
use crate::upstream_server::{Answer, Speaks, UpstreamServer};
use crate::upstreams::{gateway, set, upstream};

/// Two subjects of one tenant.
pub const KEYS: [(&str, &str, &str); 2] =
    [("tests-key-one", "t", "one"), ("tests-key-two", "t", "two")];
const ELICIT: &str = "elicitation/create";

fn behind(upstream: Upstream) -> (RunningGateway, McpClient) {
    let gateway = gateway(&set([upstream]), |config| config.credentials = keys(&KEYS));
    let client = gateway.client().with_key(KEYS[0].0);
    (gateway, client)
}

/// An upstream whose calls ask for a name, and answer with what they were told.
pub async fn asking() -> UpstreamServer {
    let server = UpstreamServer::legacy().await;
    server.on("tools/call", |_| {
        let asked = Answer::stream().progress(1, 3).ask(ELICIT, question("Your name?"));
        asked.progress(2, 3).answered(|replies| json!({"content": [], "heard": replies}))
    });
    server
}

pub fn question(message: &str) -> Value {
    json!({"message": message, "requestedSchema": {"type": "object", "properties": {}}})
}

/// A call by a client that can be asked anything.
pub fn call(more: &Value) -> Modern {
    let mut params = json!({
        "name": "ask",
        "arguments": {"a": 1},
        "_meta": {"io.modelcontextprotocol/clientCapabilities":
            {"elicitation": {"form": {}}, "sampling": {}, "roots": {}}},
    });
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Modern::new("tools/call", params)
}

pub async fn send(client: &McpClient, request: &Modern) -> Answered {
    client.post(&request.headers(), request.body()).await
}

/// The one thing that a result asks for: its key, its request, and the state to bring back.
pub fn asked(result: &Value) -> (String, Value, Value) {
    assert_eq!(result["resultType"], "input_required", "{result}");
    let requests = result["inputRequests"].as_object().unwrap();
    assert_eq!(requests.len(), 1, "{result}");
    let (key, request) = requests.iter().next().unwrap();
    (key.clone(), request.clone(), result["requestState"].clone())
}

pub fn retry(key: &str, answer: &Value, state: &Value) -> Modern {
    call(&json!({"inputResponses": {key: answer}, "requestState": state}))
}

#[tokio::test]
async fn a_question_ends_the_request_and_the_retry_goes_on_with_the_call() {
    let server = asking().await;
    let (_gateway, client) = behind(upstream("u", &server));
    let (key, request, state) = asked(&send(&client, &call(&json!({}))).await.result());
    assert_eq!(request, json!({"method": ELICIT, "params": question("Your name?")}));
    let answer = json!({"action": "accept", "content": {"name": "Ada"}});
    let result = send(&client, &retry(&key, &answer, &state)).await.result();
    assert_eq!(result["heard"][0]["result"], answer);
    assert_eq!(result["resultType"], "complete");
    assert_eq!(server.received_of("tools/call").len(), 1, "the call goes on, it is not made again");
    assert!(server.received_of("notifications/cancelled").is_empty());
    let declared = server.received_of("initialize").into_iter();
    let declared: Vec<Value> = declared.map(|it| it.params()["capabilities"].clone()).collect();
    assert!(declared.contains(&json!({"elicitation": {"form": {}}, "roots": {}, "sampling": {}})));
    let again = send(&client, &retry(&key, &answer, &state)).await;
    assert_eq!(again.status, StatusCode::BAD_REQUEST, "a state is good once");
    assert_eq!(again.error()["code"], -32602);
}

#[tokio::test]
async fn questions_follow_one_another_and_those_at_once_go_together() {
    let server = UpstreamServer::legacy().await;
    server.on("tools/call", |_| {
        let both = json!({"jsonrpc": "2.0", "id": 0, "method": "roots/list"});
        let first = Answer::stream()
            .then(both)
            .ask("sampling/createMessage", json!({"maxTokens": 1, "messages": []}));
        first
            .ask(ELICIT, question("Sure?"))
            .answered(|replies| json!({"content": [], "heard": replies}))
    });
    let (_gateway, client) = behind(upstream("u", &server));
    let result = send(&client, &call(&json!({}))).await.result();
    let requests = result["inputRequests"].as_object().unwrap();
    let methods: Vec<&Value> = requests.values().map(|it| &it["method"]).collect();
    assert_eq!(methods, ["roots/list", "sampling/createMessage"]);
    let answers: Value = requests.keys().map(|key| (key.clone(), json!({"for": key}))).collect();
    let more = json!({"inputResponses": answers, "requestState": result["requestState"]});
    let (key, request, state) = asked(&send(&client, &call(&more)).await.result());
    assert_eq!(request["params"]["message"], "Sure?");
    let result = send(&client, &retry(&key, &json!({"action": "decline"}), &state)).await.result();
    assert_eq!(result["heard"][1]["result"]["action"], "decline");
}

// mrtr, "Error Handling".
#[tokio::test]
async fn what_was_left_unanswered_is_asked_again() {
    let server = asking().await;
    let (_gateway, client) = behind(upstream("u", &server));
    let (key, request, state) = asked(&send(&client, &call(&json!({}))).await.result());
    let nothing = call(&json!({"inputResponses": {"other": {}}, "requestState": state}));
    let (same, again, next) = asked(&send(&client, &nothing).await.result());
    assert_eq!((&same, &again), (&key, &request));
    let wrong = send(&client, &retry(&key, &json!("Ada"), &next)).await;
    assert_eq!(wrong.error()["code"], -32602, "no object, and the call still waits");
    let result = send(&client, &retry(&key, &json!({"action": "cancel"}), &next)).await.result();
    assert_eq!(result["heard"][0]["result"]["action"], "cancel");
}

#[tokio::test]
async fn nobody_else_can_take_a_call_up() {
    let server = asking().await;
    let (gateway, client) = behind(upstream("u", &server));
    let (key, _, state) = asked(&send(&client, &call(&json!({}))).await.result());
    let answer = json!({"action": "accept"});
    let other = gateway.client().with_key(KEYS[1].0);
    let foreign = send(&other, &retry(&key, &answer, &state)).await;
    assert_eq!(foreign.error()["code"], -32602);
    let mut bent = retry(&key, &answer, &state);
    bent.message["params"]["arguments"] = json!({"a": 2});
    assert_eq!(send(&client, &bent).await.error()["code"], -32602);
    send(&client, &retry(&key, &answer, &state)).await.result();
}

#[tokio::test]
async fn a_call_is_not_taken_up_as_one_of_another_upstream() {
    let (one, other) = (asking().await, asking().await);
    let upstreams = set([upstream("one", &one)]);
    let gateway = gateway(&upstreams, |_| {});
    let client = gateway.client();
    let (key, _, state) = asked(&send(&client, &call(&json!({}))).await.result());
    upstreams.send_replace(std::sync::Arc::from([upstream("other", &other).into()]));
    eventually(async || {
        client.modern("tools/call", json!({"name": "ask", "arguments": {}})).await;
        !other.received_of("tools/call").is_empty()
    })
    .await;
    let refused = send(&client, &retry(&key, &json!({"action": "accept"}), &state)).await;
    assert_eq!(refused.error()["code"], -32602);
    let message = refused.error()["message"].to_string();
    assert!(message.contains("make the call anew"), "{message}");
    assert!(!one.received().iter().any(|it| it.message["result"]["action"] == "accept"));
}

#[tokio::test]
async fn who_cannot_be_asked_is_answered_for_at_once() {
    let server = UpstreamServer::start(Speaks::Sessionless).await;
    server.on("tools/call", |_| {
        let asked = Answer::stream().ask("ping", json!({})).ask(ELICIT, question("?"));
        asked
            .ask("tools/list", json!({}))
            .answered(|replies| json!({"content": [], "heard": replies}))
    });
    let (_gateway, client) = behind(upstream("u", &server));
    let params = json!({"name": "ask", "arguments": {}});
    for result in [
        client.modern("tools/call", params.clone()).await.result(),
        client.legacy("tools/call", params).await.result(),
    ] {
        assert_eq!(result["heard"][0]["result"], json!({}));
        assert_eq!(result["heard"][1]["error"]["code"], -32601);
        assert_eq!(result["heard"][2]["error"]["code"], -32601);
    }
}

#[tokio::test]
async fn a_client_that_never_comes_back_is_given_up() {
    let server = asking().await;
    let mut table = upstream("u", &server);
    table.timeouts.call = Duration::from_millis(500);
    let (_gateway, client) = behind(table);
    let (key, _, state) = asked(&send(&client, &call(&json!({}))).await.result());
    let [cancelled] = server.wait_for("notifications/cancelled", 1).await.try_into().unwrap();
    let [asked] = server.received_of("tools/call").try_into().unwrap();
    assert_eq!(&cancelled.params()["requestId"], asked.id());
    let refused = |it: &Value| it["id"] == "asked-2" || it["error"]["code"] == -32601;
    eventually(async || server.received().iter().any(|it| refused(&it.message))).await;
    let late = send(&client, &retry(&key, &json!({}), &state)).await;
    assert_eq!(late.error()["code"], -32602);
}

#[tokio::test]
async fn no_caller_has_more_than_sixteen_calls_that_wait() {
    let server = asking().await;
    let (_gateway, client) = behind(upstream("u", &server));
    for _ in 0..16 {
        asked(&send(&client, &call(&json!({}))).await.result());
    }
    let result = send(&client, &call(&json!({}))).await.result();
    assert_eq!(result["heard"][0]["error"]["code"], -32601);
}
