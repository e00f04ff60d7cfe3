//! What upstreams of both eras ask clients of the legacy era while they work.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use crate::cluster::{eventually, keys};
use crate::handover::two;
use crate::mcp_client::{McpClient, Modern};
use crate::upstream_questions::{KEYS, asking, question};
use crate::upstream_server::{Answer, UpstreamServer};
use crate::upstreams::{gateway, set, upstream};

const JSON: &str = "application/json";
const BOTH: &str = "application/json, text/event-stream";

/// A call as the legacy revisions send it, in whichever form its client takes the answer.
fn call(accept: &str) -> Modern {
    let params = json!({"name": "ask", "arguments": {}});
    let message = json!({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": params});
    let headers =
        [("content-type", JSON), ("accept", accept), ("mcp-protocol-version", "2025-11-25")];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    Modern { message, headers }
}

/// A modern upstream whose calls ask for a name, and answer with what they were told.
async fn asking_modern() -> UpstreamServer {
    let server = UpstreamServer::modern().await;
    server.on("tools/call", |it| match &it.params()["inputResponses"] {
        Value::Null => {
            let request = json!({"method": "elicitation/create", "params": question("Your name?")});
            let asks = json!({"resultType": "input_required", "inputRequests": {"q": request}, "requestState": "s"});
            Answer::result(asks)
        }
        heard => Answer::result(json!({"content": [], "heard": heard, "state": it.params()["requestState"]})),
    });
    server
}

#[tokio::test]
async fn who_takes_no_stream_is_told_at_once_that_it_cannot_be_asked() {
    let (legacy, modern) = (asking().await, asking_modern().await);
    let of_legacy = gateway(&set([upstream("u", &legacy)]), |_| {});
    let result = of_legacy.client().post(&call(JSON).headers(), call(JSON).body()).await.result();
    assert_eq!(result["heard"][0]["error"]["code"], -32601, "its upstream ends the call itself");
    let of_modern = gateway(&set([upstream("u", &modern)]), |_| {});
    let refused = of_modern.client().post(&call(JSON).headers(), call(JSON).body()).await;
    assert_eq!((refused.status, &refused.error()["code"]), (StatusCode::OK, &json!(50304)));
}

/// Posts what a client answers to the request with this id.
async fn post(client: &McpClient, id: &Value, outcome: (&str, Value)) {
    let mut answer = json!({"jsonrpc": "2.0", "id": id});
    answer[outcome.0] = outcome.1;
    let answered = client.post(&call(BOTH).headers(), answer.to_string()).await;
    assert_eq!((answered.status, answered.body.len()), (StatusCode::ACCEPTED, 0));
}

#[tokio::test]
async fn who_takes_a_stream_is_asked_on_it_and_answers_at_any_replica() {
    for server in [asking().await, asking_modern().await] {
        let (_gateways, [here, there]) = two(&server).await;
        for client in [&here, &there] {
            let mut stream = here.open(&call(BOTH)).await;
            let asked = stream.next().await.unwrap();
            assert_eq!(asked["method"], "elicitation/create", "{asked}");
            assert_eq!(asked["params"], question("Your name?"));
            assert!(asked["id"].as_str().unwrap().starts_with("btq_"), "{asked}");
            let answer = json!({"action": "accept", "content": {"name": "Ada"}});
            post(client, &asked["id"], ("result", answer.clone())).await;
            let last = stream.next().await.unwrap();
            let heard = &last["result"]["heard"];
            assert!([&heard[0]["result"], &heard["q"]].contains(&&answer), "{last}");
            // It came once, and comes too late now.
            post(client, &asked["id"], ("result", answer)).await;
        }
    }
}

#[tokio::test]
async fn a_clients_refusal_ends_the_question() {
    let refusal = || ("error", json!({"code": -1, "message": "User rejected"}));
    let (legacy, modern) = (asking().await, asking_modern().await);
    let of_legacy = gateway(&set([upstream("u", &legacy)]), |_| {});
    let mut stream = of_legacy.client().open(&call(BOTH)).await;
    post(&of_legacy.client(), &stream.next().await.unwrap()["id"], refusal()).await;
    let last = stream.next().await.unwrap();
    assert_eq!(last["result"]["heard"][0]["error"], refusal().1);
    let of_modern = gateway(&set([upstream("u", &modern)]), |_| {});
    let mut stream = of_modern.client().open(&call(BOTH)).await;
    post(&of_modern.client(), &stream.next().await.unwrap()["id"], refusal()).await;
    let last = stream.next().await.unwrap();
    assert_eq!(last["error"]["code"], 50304, "{last}");
    assert!(last["error"]["message"].as_str().unwrap().contains("User rejected"), "{last}");
}

#[tokio::test]
async fn a_question_is_answered_by_whom_it_was_put_to_alone() {
    let server = asking().await;
    let (_gateways, [here, there]) = two(&server).await;
    let mut stream = here.open(&call(BOTH)).await;
    let asked = stream.next().await.unwrap();
    let id = asked["id"].as_str().unwrap();
    let foreign = ("result", json!({"action": "accept", "content": {"name": "Eve"}}));
    let mut bent = id.to_owned();
    bent.replace_range(20..21, if &id[20..21] == "A" { "B" } else { "A" });
    for (client, id) in [
        (here.clone().with_key(KEYS[1].0), id),
        (there.clone().with_key(KEYS[1].0), id),
        (here.clone(), &*bent),
        (here.clone(), "btq_"),
    ] {
        post(&client, &json!(id), foreign.clone()).await;
    }
    post(&here, &json!(7), foreign).await;
    post(&there, &asked["id"], ("result", json!({"action": "decline"}))).await;
    let last = stream.next().await.unwrap();
    assert_eq!(last["result"]["heard"][0]["result"]["action"], "decline", "{last}");
}

#[tokio::test]
async fn a_client_that_does_not_answer_is_told_so_and_waited_for_no_longer() {
    let (legacy, modern) = (asking().await, asking_modern().await);
    for server in [&legacy, &modern] {
        let mut table = upstream("u", server);
        table.timeouts.call = Duration::from_millis(300);
        let gateway = gateway(&set([table]), |_| {});
        let mut stream = gateway.client().open(&call(BOTH)).await;
        let asked = stream.next().await.unwrap();
        let cancelled = stream.next().await.unwrap();
        assert_eq!(cancelled["method"], "notifications/cancelled", "{cancelled}");
        assert_eq!(cancelled["params"]["requestId"], asked["id"]);
        let last = stream.next().await.unwrap();
        let refused = &last["result"]["heard"][0]["error"]["code"];
        assert!(*refused == -32601 || last["error"]["code"] == 50304, "{last}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_is_waited_for_no_longer() {
    let server = asking().await;
    let gateway =
        gateway(&set([upstream("u", &server)]), |config| config.credentials = keys(&KEYS));
    let mut stream = gateway.client().with_key(KEYS[0].0).open(&call(BOTH)).await;
    stream.next().await.unwrap();
    drop(stream);
    let refused = |it: &Value| it["error"]["code"] == -32601;
    eventually(async || server.received().iter().any(|it| refused(&it.message))).await;
    assert!(server.received_of("notifications/cancelled").is_empty(), "its call goes on");
}

#[tokio::test]
async fn nobody_is_asked_without_end() {
    let server = UpstreamServer::modern().await;
    server.on("tools/call", |_| {
        Answer::result(json!({"resultType": "input_required", "requestState": "s"}))
    });
    let gateway = gateway(&set([upstream("u", &server)]), |_| {});
    let refused = gateway.client().post(&call(BOTH).headers(), call(BOTH).body()).await;
    assert_eq!(refused.error()["code"], 50304);
    assert_eq!(server.received_of("tools/call").len(), 17);
}

// A revision without elicitation.
#[tokio::test]
async fn nobody_is_asked_what_their_revision_does_not_know() {
    let server = asking().await;
    let gateway = gateway(&set([upstream("u", &server)]), |_| {});
    let old = call(BOTH).with_header("mcp-protocol-version", Some("2025-03-26"));
    let result = gateway.client().post(&old.headers(), old.body()).await.result();
    assert_eq!(result["heard"][0]["error"]["code"], -32601);
}
