//! The tasks of 2025-11-25, which a client asks for by itself.

use std::time::Duration;

use serde_json::{Value, json};

use super::{PYTHON, SHELL, cluster, get, november, python, refused, shell};
use crate::cluster::{ALICE, BOB, eventually};
use crate::mcp_client::McpClient;

const OLDER: [&str; 2] = ["2025-03-26", "2025-06-18"];

/// Long enough that only what asks for it is a task.
const NEVER: Duration = Duration::from_mins(10);

fn as_task(mut call: Value, ttl: Option<u64>) -> Value {
    call["task"] = ttl.map_or_else(|| json!({}), |ttl| json!({"ttl": ttl}));
    call
}

/// A call that must be answered with a task; its id.
async fn begin(client: &McpClient, call: Value) -> String {
    let created = november(client, "tools/call", as_task(call, None)).await.result();
    let task = &created["task"];
    assert_eq!(task["status"], "working", "{created}");
    assert!(created.get("resultType").is_none() && created.get("content").is_none(), "{created}");
    task["taskId"].as_str().unwrap().to_owned()
}

async fn look(client: &McpClient, id: &str) -> Value {
    november(client, "tasks/get", json!({"taskId": id})).await.result()
}

async fn result(client: &McpClient, id: &str) -> Value {
    let result = november(client, "tasks/result", json!({"taskId": id})).await.result();
    let related = &result["_meta"]["io.modelcontextprotocol/related-task"];
    assert_eq!(related, &json!({"taskId": id}), "{result}");
    result
}

#[tokio::test]
async fn a_call_with_a_task_is_answered_at_once_and_its_result_waited_for() {
    let cluster = cluster(NEVER).await;
    let (here, there) = (cluster.client(0, ALICE), cluster.client(1, ALICE));
    let environment = here.launch().await;
    let call = as_task(shell(&environment, "sleep 2.5; echo done"), Some(3_000_000));
    let created = november(&here, "tools/call", call).await.result();
    let task = &created["task"];
    assert_eq!((&task["status"], &task["ttl"]), (&json!("working"), &json!(3_000_000)));
    assert!(task["pollInterval"].is_u64() && task["createdAt"].is_string(), "{task}");
    let id = task["taskId"].as_str().unwrap();
    assert_eq!(look(&there, id).await["status"], "working");
    // Blocks until the end, as a stream once that takes long.
    let answer = november(&there, "tasks/result", json!({"taskId": id})).await;
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    assert_eq!(answer.result()["structuredContent"]["stdout"], "done\n");
    assert_eq!(result(&here, id).await["content"], answer.result()["content"], "as often as asked");
    let task = look(&here, id).await;
    assert_eq!((&task["status"], &task["ttl"]), (&json!("completed"), &json!(3_000_000)));
    assert!(task.get("result").is_none() && task["_meta"].get("related-task").is_none(), "{task}");
    // SEP-2663, "Backward Compatibility": a modern client may ask for it as well.
    assert_eq!(get(&there, id).await["result"]["structuredContent"]["stdout"], "done\n");
}

#[tokio::test]
async fn a_tool_error_fails_a_legacy_task() {
    let cluster = cluster(NEVER).await;
    let client = cluster.client(0, ALICE);
    let environment = client.launch().await;
    let id = begin(&client, python(&environment, "1 / 0")).await;
    let failed = result(&client, &id).await;
    assert_eq!(failed["isError"], true);
    let task = look(&client, &id).await;
    assert_eq!(task["status"], "failed");
    assert!(task["statusMessage"].is_string(), "{task}");
    assert_eq!(get(&client, &id).await["status"], "completed", "to a modern client");
}

#[tokio::test]
async fn a_task_is_cancelled_once() {
    let cluster = cluster(NEVER).await;
    let (here, there) = (cluster.client(0, ALICE), cluster.client(1, ALICE));
    let environment = here.launch().await;
    let id = begin(&here, shell(&environment, "sleep 60")).await;
    let waiting = async { result(&there, &id).await };
    let cancelled = async {
        eventually(async || look(&here, &id).await["status"] == "working").await;
        november(&here, "tasks/cancel", json!({"taskId": id})).await.result()
    };
    let (result, task) = tokio::join!(waiting, cancelled);
    assert_eq!((&task["status"], &task["taskId"]), (&json!("cancelled"), &json!(id)));
    assert_eq!(result["isError"], true);
    assert!(result["content"][0]["text"].as_str().unwrap().contains("cancelled"), "{result}");
    for client in [&here, &there] {
        let again = november(client, "tasks/cancel", json!({"taskId": id})).await;
        refused(&again, -32602, "cancelled already");
    }
    let id = begin(&here, shell(&environment, "true")).await;
    self::result(&here, &id).await;
    let late = november(&there, "tasks/cancel", json!({"taskId": id})).await;
    refused(&late, -32602, "completed already");
}

#[tokio::test]
async fn one_legacy_revision_declares_tasks() {
    let cluster = cluster(NEVER).await;
    let client = cluster.client(0, ALICE);
    let tasks = async |version: &str| {
        let params = json!({"protocolVersion": version, "capabilities": {}, "clientInfo": {}});
        let result = client.legacy_of(version, "initialize", params).await.result();
        result["capabilities"]["tasks"].clone()
    };
    let declared = json!({"cancel": {}, "requests": {"tools": {"call": {}}}});
    assert_eq!(tasks("2025-11-25").await, declared);
    let modern = client.modern("server/discover", json!({})).await.result();
    let capabilities = &modern["capabilities"];
    assert_eq!(capabilities["extensions"], json!({"io.modelcontextprotocol/tasks": {}}));
    assert!(capabilities.get("tasks").is_none(), "{capabilities}");

    let mut listed = november(&client, "tools/list", json!({})).await.result()["tools"].take();
    for tool in listed.as_array_mut().unwrap() {
        let runs = [PYTHON, SHELL].contains(&tool["name"].as_str().unwrap());
        let execution = tool.as_object_mut().unwrap().remove("execution");
        assert_eq!(execution, runs.then(|| json!({"taskSupport": "optional"})), "{tool}");
    }
    assert_eq!(client.modern("tools/list", json!({})).await.result()["tools"], listed);
    for version in OLDER {
        assert_eq!(tasks(version).await, Value::Null);
        let tools = client.legacy_of(version, "tools/list", json!({})).await.result();
        assert_eq!(tools["tools"], listed);
    }
}

#[tokio::test]
async fn older_revisions_have_no_tasks_and_this_one_no_list_of_them() {
    let cluster = cluster(NEVER).await;
    let client = cluster.client(0, ALICE);
    let environment = client.launch().await;
    let id = begin(&client, shell(&environment, "true")).await;
    refused(&november(&client, "tasks/list", json!({})).await, -32601, "tasks/list");
    for version in OLDER {
        let call = as_task(shell(&environment, "true"), None);
        let result = client.legacy_of(version, "tools/call", call).await.result();
        assert_eq!(result["isError"], false, "an ordinary call");
        for method in ["tasks/get", "tasks/result", "tasks/cancel", "tasks/list"] {
            let answer = client.legacy_of(version, method, json!({"taskId": id})).await;
            refused(&answer, -32601, method);
        }
    }
}

#[tokio::test]
async fn what_cannot_be_a_task_is_refused_and_not_run() {
    let cluster = cluster(NEVER).await;
    let client = cluster.client(0, ALICE);
    let environment = client.launch().await;
    let launch = as_task(json!({"name": "launchShell", "arguments": {}}), None);
    refused(&november(&client, "tools/call", launch).await, -32601, "launchShell");
    let list = client.succeed("listEnvironments", json!({})).await;
    assert_eq!(list["environments"].as_array().unwrap().len(), 1);
    let whoami = as_task(json!({"name": "whoami", "arguments": {}}), None);
    refused(&november(&client, "tools/call", whoami).await, -32601, "whoami");
    for task in [json!(1), json!([]), json!({"ttl": "1"}), json!({"ttl": -1})] {
        let mut call = shell(&environment, "touch ran");
        call["task"] = task;
        refused(&november(&client, "tools/call", call).await, -32602, "task");
    }
    let foreign = as_task(shell(&environment, "touch ran"), None);
    let answer = november(&cluster.client(1, BOB), "tools/call", foreign).await;
    refused(&answer, -32602, "no such environment");
    assert!(!cluster.workspace("w1", &environment).join("ran").exists());
    for method in ["tasks/get", "tasks/result", "tasks/cancel"] {
        refused(&november(&client, method, json!({"taskId": "1"})).await, -32602, "no such task");
    }
}
