//! Tasks of other servers: their ids are sealed, all else of them is theirs.

use std::time::Duration;

use baton::gateway::Config;
use serde_json::{Value, json};

use super::{ask, november, refused};
use crate::cluster::keys;
use crate::upstream_server::{Answer, Speaks, UpstreamServer};
use crate::upstreams::{gateway, set, upstream};

/// Two subjects of one tenant.
const KEYS: [(&str, &str, &str); 2] =
    [("tests-key-one", "t", "one"), ("tests-key-two", "t", "two")];

fn working(id: &str) -> Value {
    json!({"taskId": id, "status": "working", "createdAt": "2026-07-28T00:00:00Z",
           "lastUpdatedAt": "2026-07-28T00:00:00Z", "ttlMs": null, "ttl": null})
}

/// A modern server whose every call is the task `theirs`, which asks for input.
async fn modern() -> UpstreamServer {
    let server = UpstreamServer::modern().await;
    server.on("server/discover", |_| {
        let capabilities =
            json!({"tools": {}, "extensions": {"io.modelcontextprotocol/tasks": {}}});
        Answer::result(json!({"supportedVersions": ["2026-07-28"], "capabilities": capabilities,
            "ttlMs": 60_000, "cacheScope": "public"}))
    });
    server.on("tools/call", |_| {
        let mut created = working("theirs");
        created["resultType"] = json!("task");
        Answer::result(created)
    });
    server.on("tasks/get", |request| {
        let mut task = working(request.params()["taskId"].as_str().unwrap());
        task["resultType"] = json!("complete");
        task["status"] = json!("input_required");
        let params =
            json!({"message": "?", "requestedSchema": {"type": "object", "properties": {}}});
        task["inputRequests"] = json!({"k": {"method": "elicitation/create", "params": params}});
        Answer::result(task)
    });
    for method in ["tasks/update", "tasks/cancel"] {
        server.on(method, |_| Answer::result(json!({"resultType": "complete"})));
    }
    server
}

#[tokio::test]
async fn a_task_of_an_upstream_is_asked_after_there_by_whom_it_belongs_to() {
    let server = modern().await;
    let set = set([upstream("u", &server)]);
    let two = |config: &mut Config| config.credentials = keys(&KEYS);
    let replicas = [gateway(&set, two), gateway(&set, two)];
    let one = replicas[0].client().with_key(KEYS[0].0);
    let discovered = one.modern("server/discover", json!({})).await.result();
    let extensions = &discovered["capabilities"]["extensions"];
    assert_eq!(extensions["io.modelcontextprotocol/tasks"], json!({}));
    let created = ask(&one, "tools/call", json!({"name": "echo", "arguments": {}})).await.result();
    assert_eq!(created["resultType"], "task");
    let id = created["taskId"].as_str().unwrap();
    assert!(id.starts_with("btt_"), "{id}");

    let [one, other] = KEYS.map(|(key, _, _)| replicas[1].client().with_key(key));
    let task = ask(&one, "tasks/get", json!({"taskId": id})).await.result();
    assert_eq!((&task["taskId"], &task["status"]), (&json!(id), &json!("input_required")));
    assert_eq!(task["inputRequests"]["k"]["method"], "elicitation/create");
    let answers = json!({"k": {"action": "accept"}});
    let update = json!({"taskId": id, "inputResponses": answers});
    ask(&one, "tasks/update", update).await.result();
    ask(&one, "tasks/cancel", json!({"taskId": id})).await.result();
    for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
        let [received] = server.received_of(method).try_into().unwrap();
        assert_eq!(received.params()["taskId"], "theirs");
        assert_eq!(received.header("mcp-name"), Some("theirs"));
    }
    assert_eq!(server.received_of("tasks/update")[0].params()["inputResponses"], answers);

    refused(&ask(&other, "tasks/get", json!({"taskId": id})).await, -32602, "no such task");
    refused(&ask(&one, "tasks/get", json!({"taskId": "theirs"})).await, -32602, "no such task");
    let ignorant = one.modern("tasks/get", json!({"taskId": id})).await;
    assert_eq!(ignorant.error()["code"], -32021);
    set.send_replace(std::sync::Arc::default());
    // Until that is in force it is asked as before, each time once.
    let mut received = 1;
    let over = async {
        while ask(&one, "tasks/get", json!({"taskId": id})).await.status == http::StatusCode::OK {
            received += 1;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), over).await.unwrap();
    assert_eq!(server.received_of("tasks/get").len(), received);
}

// 2025-11-25 tasks.
#[tokio::test]
async fn a_task_that_a_legacy_client_asked_a_legacy_upstream_for_is_asked_after_there() {
    let server = UpstreamServer::start(Speaks::Sessionless).await;
    server.on("initialize", |_| {
        let tasks = json!({"cancel": {}, "requests": {"tools": {"call": {}}}});
        Answer::result(
            json!({"protocolVersion": "2025-11-25", "serverInfo": {"name": "s", "version": "1"},
            "capabilities": {"tools": {}, "tasks": tasks}}),
        )
    });
    let related = || json!({"io.modelcontextprotocol/related-task": {"taskId": "theirs"}});
    let status = |id| {
        let params = working(id);
        json!({"jsonrpc": "2.0", "method": "notifications/tasks/status", "params": params})
    };
    // Its client does not know it yet, so this is not for it.
    server.on("tools/call", move |_| {
        Answer::stream().then(status("theirs")).finish(json!({"task": working("theirs")}))
    });
    server.on("tasks/get", |_| Answer::result(working("theirs")));
    server.on("tasks/result", move |_| {
        let log = json!({"level": "info", "data": "half", "_meta": related()});
        let log = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": log});
        let told = Answer::stream().then(status("theirs")).then(status("another")).then(log);
        told.finish(json!({"content": [], "_meta": related()}))
    });
    let mut offered = upstream("u", &server);
    offered.shared = true;
    let gateway = gateway(&set([offered]), |config| config.credentials = keys(&KEYS));
    let client = gateway.client().with_key(KEYS[0].0);
    let call = json!({"name": "echo", "arguments": {}, "task": {"ttl": 60_000}});
    let created = november(&client, "tools/call", call).await;
    assert_eq!(created.messages().len(), 1);
    let created = created.result();
    let id = created["task"]["taskId"].as_str().unwrap();
    assert!(id.starts_with("btt_"), "{id}");
    let task = november(&client, "tasks/get", json!({"taskId": id})).await.result();
    assert_eq!(task["taskId"], json!(id));
    let told = november(&client, "tasks/result", json!({"taskId": id})).await.messages();
    let [status, log, response] = told.try_into().unwrap();
    assert_eq!(status["params"]["taskId"], json!(id));
    for holder in [&log["params"], &response["result"]] {
        let related = &holder["_meta"]["io.modelcontextprotocol/related-task"];
        assert_eq!(related, &json!({"taskId": id}));
    }
    let asked = server.received_of("tasks/result");
    assert_eq!(asked[0].params()["taskId"], "theirs");
}
