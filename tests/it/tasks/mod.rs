//! Tasks, of both revisions, on two replicas over real workers.

#![expect(clippy::unwrap_used, reason = "an answer of another form has failed the test")]

mod legacy;
mod upstream;

use std::fs::metadata;
use std::time::{Duration, Instant};

use baton::gateway::Config;
use http::StatusCode;
use serde_json::{Value, json};

use crate::cluster::{ALICE, BOB, CAROL, Cluster, eventually, workers_heard};
use crate::mcp_client::{Answer, McpClient, Modern};
use crate::program::Program;

const PYTHON: &str = "runPythonCodeInRemoteEnvironment";
const SHELL: &str = "runShellCommandInRemoteEnvironment";

/// A cluster of two replicas and one worker, where a long call becomes a task after this.
pub async fn cluster(task_after: Duration) -> Cluster {
    Cluster::start(2, 1, |it: &mut Config| it.environments.task_after = task_after).await
}

/// A modern request of a client that knows tasks.
pub async fn ask(client: &McpClient, method: &str, mut params: Value) -> Answer {
    params["_meta"] = json!({
        "io.modelcontextprotocol/clientCapabilities": {
            "extensions": {"io.modelcontextprotocol/tasks": {}},
        },
    });
    client.modern(method, params).await
}

pub fn shell(environment: &str, line: &str) -> Value {
    json!({"name": SHELL, "arguments": {"environmentId": environment, "shellCommand": line}})
}

fn python(environment: &str, code: &str) -> Value {
    json!({"name": PYTHON, "arguments": {"environmentId": environment, "pythonCode": code}})
}

/// A call that must become a task; its id.
pub async fn begin(client: &McpClient, call: Value) -> String {
    let created = ask(client, "tools/call", call).await.result();
    assert_eq!((&created["resultType"], &created["status"]), (&json!("task"), &json!("working")));
    assert!(created["ttlMs"].as_u64().unwrap() >= 60_000, "{created}");
    assert!(created["pollIntervalMs"].is_u64() && created.get("result").is_none(), "{created}");
    let id = created["taskId"].as_str().unwrap();
    assert!(id.starts_with("btt_") && id.len() < 128, "{id}");
    id.to_owned()
}

pub async fn get(client: &McpClient, id: &str) -> Value {
    let task = ask(client, "tasks/get", json!({"taskId": id})).await.result();
    assert_eq!((&task["resultType"], &task["taskId"]), (&json!("complete"), &json!(id)));
    task
}

pub async fn cancel(client: &McpClient, id: &str) -> Value {
    ask(client, "tasks/cancel", json!({"taskId": id})).await.result()
}

/// Polls until the task has ended, and returns it.
pub async fn ended(client: &McpClient, id: &str) -> Value {
    let is_working = async || get(client, id).await["status"] == "working";
    eventually(async || !is_working().await).await;
    get(client, id).await
}

/// A request of revision 2025-11-25.
async fn november(client: &McpClient, method: &str, params: Value) -> Answer {
    client.legacy_of("2025-11-25", method, params).await
}

fn refused(answer: &Answer, code: i32, words: &str) {
    let error = answer.error();
    assert_eq!(error["code"], code, "{error}");
    assert!(error["message"].as_str().unwrap().contains(words), "{error}");
}

#[tokio::test]
async fn a_task_of_one_replica_is_told_by_the_other() {
    let cluster = cluster(Duration::from_millis(200)).await;
    let (here, there) = (cluster.client(0, ALICE), cluster.client(1, ALICE));
    let environment = here.launch().await;
    let quick = ask(&here, "tools/call", shell(&environment, "echo quick")).await.result();
    assert_eq!(quick["structuredContent"]["stdout"], "quick\n", "no task is made of it");
    let id = begin(&here, shell(&environment, "sleep 1; echo done; exit 3")).await;
    for client in [&there, &here] {
        assert_eq!(get(client, &id).await["status"], "working");
    }
    let task = ended(&there, &id).await;
    assert_eq!(task["status"], "completed");
    let result = &task["result"];
    assert_eq!((&result["isError"], &result["resultType"]), (&json!(false), &json!("complete")));
    let structured = &result["structuredContent"];
    assert_eq!((&structured["stdout"], &structured["exitCode"]), (&json!("done\n"), &json!(3)));
    assert_eq!(get(&here, &id).await["result"]["content"], result["content"]);

    let failing = "import time; time.sleep(0.5); print('so far'); 1 / 0";
    let id = begin(&there, python(&environment, failing)).await;
    let task = ended(&here, &id).await;
    assert_eq!((&task["status"], &task["result"]["isError"]), (&json!("completed"), &json!(true)));
    let structured = &task["result"]["structuredContent"];
    assert!(structured["stderr"].as_str().unwrap().contains("ZeroDivisionError"), "{task}");

    let answers = json!({"taskId": id, "inputResponses": {"nobody": {"action": "accept"}}});
    let updated = ask(&here, "tasks/update", answers).await.result();
    assert_eq!(updated["resultType"], "complete", "what nobody asked for is ignored");
}

#[tokio::test]
async fn without_the_extension_there_are_no_tasks() {
    let cluster = cluster(Duration::ZERO).await;
    let client = cluster.client(0, ALICE);
    let environment = client.launch().await;
    let long = client.modern("tools/call", shell(&environment, "sleep 2.5; echo done")).await;
    assert_eq!(long.header("content-type"), Some("text/event-stream"));
    assert_eq!(long.result()["structuredContent"]["stdout"], "done\n");
    // SEP-2663, "Backward Compatibility": modern calls have no such param.
    let mut call = shell(&environment, "echo done");
    call["task"] = json!({"ttl": 1});
    assert_eq!(client.modern("tools/call", call).await.result()["isError"], false);

    let id = begin(&client, shell(&environment, "sleep 0.2")).await;
    for method in ["tasks/get", "tasks/cancel", "tasks/update"] {
        let answer = client.modern(method, json!({"taskId": id, "inputResponses": {}})).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        let error = answer.error();
        let required = json!({"extensions": {"io.modelcontextprotocol/tasks": {}}});
        assert_eq!(
            (&error["code"], &error["data"]["requiredCapabilities"]),
            (&json!(-32021), &required)
        );
    }
    for method in ["tasks/result", "tasks/list"] {
        let answer = ask(&client, method, json!({"taskId": id})).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        refused(&answer, -32601, method);
    }
}

#[tokio::test]
async fn only_its_owner_knows_a_task() {
    let cluster = cluster(Duration::ZERO).await;
    let client = cluster.client(0, ALICE);
    let environment = client.launch().await;
    let id = begin(&client, shell(&environment, "sleep 20")).await;
    for method in ["tasks/get", "tasks/cancel", "tasks/update"] {
        for (replica, key) in [(0, BOB), (1, CAROL)] {
            let answer = ask(&cluster.client(replica, key), method, json!({"taskId": id})).await;
            refused(&answer, -32602, "no such task");
        }
        let forged = format!("{}A", &id[..id.len() - 1]);
        let forged = if forged == id { format!("{}B", &id[..id.len() - 1]) } else { forged };
        for id in [forged.as_str(), environment.as_str(), "1", "btt_", &"x".repeat(4000)] {
            refused(&ask(&client, method, json!({"taskId": id})).await, -32602, "no such task");
        }
    }
    let other = Modern::new("tasks/get", json!({"taskId": id})).with_header("mcp-name", Some("b"));
    let answer = client.post(&other.headers(), other.body()).await;
    assert_eq!(answer.error()["code"], -32020, "SEP-2663, \"Routing Headers\"");
    assert_eq!(get(&client, &id).await["status"], "working");

    client.succeed("closeEnvironment", json!({"environmentId": environment})).await;
    for replica in 0..2 {
        let client = cluster.client(replica, ALICE);
        let answer = ask(&client, "tasks/get", json!({"taskId": id})).await;
        refused(&answer, -32602, "was closed");
    }
}

#[tokio::test]
async fn a_cancelled_task_stops() {
    let cluster = cluster(Duration::ZERO).await;
    let (here, there) = (cluster.client(0, ALICE), cluster.client(1, ALICE));
    let environment = here.launch().await;
    here.python(&environment, "x = 1").await;
    let code = "import time; time.sleep(0.2); open('begun', 'w')\nwhile True: time.sleep(0.1)";
    let id = begin(&here, python(&environment, code)).await;
    let begun = cluster.workspace("w1", &environment).join("begun");
    eventually(async || begun.exists()).await;
    let before = Instant::now();
    for client in [&there, &here] {
        let acknowledged = cancel(client, &id).await;
        assert_eq!(acknowledged["resultType"], "complete");
        assert!(acknowledged.get("status").is_none(), "{acknowledged}");
        assert_eq!(get(client, &id).await["status"], "cancelled");
    }
    assert_eq!(here.python(&environment, "x").await["executionResult"], "1");
    assert!(before.elapsed() < Duration::from_secs(5), "{:?}", before.elapsed());

    let id = begin(&here, shell(&environment, "true")).await;
    let task = ended(&here, &id).await;
    cancel(&there, &id).await;
    let mut after = get(&here, &id).await;
    after["ttlMs"] = task["ttlMs"].clone();
    after["pollIntervalMs"] = task["pollIntervalMs"].clone();
    assert_eq!(after["result"]["content"], task["result"]["content"], "it stays as it ended");
    assert_eq!(after["status"], "completed");
}

#[tokio::test]
async fn a_call_that_is_not_begun_is_no_task() {
    let cluster = cluster(Duration::ZERO).await;
    let client = cluster.client(0, ALICE);
    let environment = client.launch().await;
    client.succeed("closeEnvironment", json!({"environmentId": environment})).await;
    let result = ask(&client, "tools/call", shell(&environment, "true")).await.result();
    assert_eq!((&result["resultType"], &result["isError"]), (&json!("complete"), &json!(true)));
    let launched =
        ask(&client, "tools/call", json!({"name": "launchShell", "arguments": {}})).await.result();
    assert_eq!(launched["resultType"], "complete", "only what runs code becomes a task");
}

#[tokio::test]
async fn a_task_goes_on_when_its_gateway_is_killed() {
    let cluster = cluster(Duration::from_secs(30)).await;
    let mut gateway = Program::gateway_of(&cluster).await;
    eventually(async || workers_heard(gateway.url("gateway-internal")).await == 1).await;
    let client = gateway.client().with_key(ALICE);
    let environment = client.launch().await;
    let mut call = shell(&environment, "sleep 6; echo done");
    call["task"] = json!({});
    let created = november(&client, "tools/call", call).await.result();
    let id = created["task"]["taskId"].as_str().unwrap();
    gateway.kill();
    gateway.ended().await;
    let here = cluster.client(0, ALICE);
    let task = ended(&here, id).await;
    assert_eq!(task["result"]["structuredContent"]["stdout"], "done\n", "{task}");
}

#[tokio::test]
async fn a_task_whose_worker_is_killed_fails_and_says_why() {
    let cluster =
        Cluster::start(2, 0, |it: &mut Config| it.environments.task_after = Duration::ZERO).await;
    let mut worker = Program::worker_of(&cluster, "w1").await;
    cluster.ready(1).await;
    let (here, there) = (cluster.client(0, ALICE), cluster.client(1, ALICE));
    let environment = here.launch().await;
    let done = begin(&here, shell(&environment, "echo kept")).await;
    ended(&here, &done).await;
    let lost = begin(&here, shell(&environment, "sleep 60")).await;
    worker.kill();
    worker.ended().await;
    let away = ask(&here, "tasks/get", json!({"taskId": lost})).await;
    assert_eq!((away.status.as_u16(), &away.error()["code"]), (503, &json!(50302)));
    let _worker = Program::worker_of(&cluster, "w1").await;
    for client in [&here, &there] {
        let is_there = async || {
            ask(client, "tasks/get", json!({"taskId": lost})).await.status == StatusCode::OK
        };
        eventually(is_there).await;
        let task = get(client, &lost).await;
        assert_eq!(task["status"], "failed", "{task}");
        let error = &task["error"];
        assert_eq!((&error["code"], &error["data"]["executed"]), (&json!(50201), &json!("maybe")));
        assert!(task["statusMessage"].as_str().unwrap().contains("worker restarted"), "{task}");
        let kept = get(client, &done).await;
        assert_eq!(kept["result"]["structuredContent"]["stdout"], "kept\n", "{kept}");
    }
    let result = november(&there, "tasks/result", json!({"taskId": lost})).await;
    refused(&result, 50201, "worker restarted");
}

#[tokio::test]
async fn a_worker_that_cannot_keep_a_task_runs_an_ordinary_call() {
    let cluster = cluster(Duration::from_millis(100)).await;
    let client = cluster.client(0, ALICE);
    let environment = client.launch().await;
    client.shell(&environment, "true").await;
    let journal = cluster.workspace("w1", &environment).parent().unwrap().join("journal");
    std::fs::write(&journal, b"in the way").unwrap();
    let call = shell(&environment, "sleep 0.5; echo done");
    let result = ask(&client, "tools/call", call).await.result();
    assert_eq!(result["structuredContent"]["stdout"], "done\n");
    let mut call = shell(&environment, "touch ran");
    call["task"] = json!({});
    refused(&november(&client, "tools/call", call).await, 50301, "no more tasks");
    assert!(metadata(cluster.workspace("w1", &environment).join("ran")).is_err());
}

#[tokio::test]
async fn a_call_that_nobody_asked_to_be_a_task_runs_when_none_can_be_kept() {
    let cluster = cluster(Duration::ZERO).await;
    let client = cluster.client(0, ALICE);
    let environment = client.launch().await;
    let journal = cluster.workspace("w1", &environment).parent().unwrap().join("journal");
    std::fs::write(&journal, b"in the way").unwrap();
    let result = ask(&client, "tools/call", shell(&environment, "echo done")).await.result();
    assert_eq!(result["structuredContent"]["stdout"], "done\n");
}
