//! More than a replica can do: what is shed first, what never, and that nobody pays for another tenant's noise.

#![expect(clippy::unwrap_used, reason = "a test whose cluster does not answer has failed")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use baton::gateway::{Buffers, Config, InFlight};
use baton::worker;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::cluster::{
    ALICE, Cluster, RunningGateway, RunningWorker, config, embedded, eventually, keys,
};
use crate::mcp_client::{Answer, McpClient};
use crate::upstream_server::{Answer as Said, Gate, UpstreamServer, tool};
use crate::upstreams::{gateway, set, upstream};

/// Checks that a request was shed, with all that its client has to know.
fn shed(answer: &Answer) {
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{answer:?}");
    let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=3).contains(&seconds), "{seconds}");
    let error = answer.error();
    let data = &error["data"];
    assert_eq!(error["code"], 50301);
    assert_eq!(
        (&data["executed"], &data["retryable"], &data["overloaded"]),
        (&json!("no"), &json!(true), &json!(true))
    );
    assert!(data["retryAfterMs"].as_u64().unwrap() > 0);
}

async fn call(client: &McpClient, name: &str, arguments: Value) -> Answer {
    client.modern("tools/call", json!({"name": name, "arguments": arguments})).await
}

#[tokio::test]
async fn creating_is_shed_first_then_lists_then_executions_then_closing_and_discover_never() {
    let (server, gate) = (UpstreamServer::modern().await, Gate::new());
    server.offer(&[tool("hold")]);
    let held = gate.clone();
    server.on("tools/call", move |_| Said::result(json!({"content": []})).after(&held));
    let set = set([upstream("u", &server)]);
    let cluster = Cluster::start(1, 1, |config| {
        config.in_flight = InFlight { calls: 4, calls_per_tenant: 4 };
        config.upstreams = set.subscribe();
    })
    .await;
    let client = cluster.client(0, ALICE);
    let (first, second) = (client.launch().await, client.launch().await);

    let mut holding = JoinSet::new();
    for (held, [creates, lists, executes]) in [
        (1, [true, true, true]),
        (2, [false, true, true]),
        (3, [false, false, true]),
        (4, [false, false, false]),
    ] {
        let holder = client.clone();
        holding.spawn(async move { call(&holder, "hold", json!({})).await });
        server.wait_for("tools/call", held).await;
        let check = |answer: Answer, may: bool, what: &str| {
            if may {
                assert_eq!(answer.status, StatusCode::OK, "{what} beside {held}: {answer:?}");
            } else {
                shed(&answer);
            }
        };
        check(call(&client, "launchShell", json!({})).await, creates, "create");
        check(client.modern("resources/list", json!({})).await, lists, "list");
        let run = json!({"environmentId": first, "shellCommand": "true"});
        check(call(&client, "runShellCommandInRemoteEnvironment", run).await, executes, "run");
        assert_eq!(client.modern("server/discover", json!({})).await.status, StatusCode::OK);
        assert_eq!(client.legacy("initialize", json!({})).await.json()["id"], 1);
        assert!(client.legacy("ping", json!({})).await.json()["result"].is_object());
    }
    let refused = client.legacy("tools/call", json!({"name": "hold"})).await;
    assert_eq!((refused.status, &refused.error()["code"]), (StatusCode::OK, &json!(50301)));
    assert!(refused.header("retry-after").is_some());
    for environment in [first, second] {
        client.succeed("closeEnvironment", json!({"environmentId": environment})).await;
    }
    gate.open();
    while let Some(answer) = holding.join_next().await {
        assert_eq!(answer.unwrap().status, StatusCode::OK, "what was let in is finished");
    }
    client.launch().await;
}

#[tokio::test]
async fn a_noisy_tenant_costs_the_others_no_more_than_a_tenth_of_their_calls() {
    const CALLS: usize = 50;
    let server = UpstreamServer::modern().await;
    server.offer(&[tool("work")]);
    server.on("tools/call", |_| Said::result(json!({"content": []})).after(&opens_after(WORK)));
    let set = set([upstream("u", &server)]);
    let gateway = gateway(&set, |config| {
        config.credentials = keys(&[("quiet", "q", "x"), ("noisy", "n", "x")]);
        config.in_flight = InFlight { calls: 4, calls_per_tenant: 4 };
    });
    let work = async |client: &McpClient| call(client, "work", json!({})).await;
    let quiet = gateway.client().with_key("quiet");
    assert_eq!(work(&quiet).await.status, StatusCode::OK);

    // The quiet one asks for one thing after the other. The crowd is more than may wait: 16 for each place.
    let (mut crowd, refused) = (JoinSet::new(), Arc::new(AtomicUsize::new(0)));
    for _ in 0..96 {
        let (noisy, refused) = (gateway.client().with_key("noisy"), Arc::clone(&refused));
        crowd.spawn(async move {
            loop {
                let answer = call(&noisy, "work", json!({})).await;
                if answer.status != StatusCode::OK {
                    shed(&answer);
                    refused.fetch_add(1, Ordering::Relaxed);
                    // It comes back far too soon, and yet leaves the processor to others.
                    tokio::time::sleep(WORK).await;
                }
            }
        });
    }
    eventually(async || refused.load(Ordering::Relaxed) > 100).await;
    let mut done = 0;
    for _ in 0..CALLS {
        done += usize::from(work(&quiet).await.status == StatusCode::OK);
    }
    crowd.abort_all();
    assert!(done * 10 >= CALLS * 9, "{done} of {CALLS} calls were served");
}

/// How long a call of the tests' upstream takes.
const WORK: Duration = Duration::from_millis(20);

#[expect(clippy::disallowed_methods, reason = "it ends by itself")]
fn opens_after(time: Duration) -> Gate {
    let gate = Gate::new();
    let opens = gate.clone();
    tokio::spawn(async move {
        tokio::time::sleep(time).await;
        opens.open();
    });
    gate
}

#[tokio::test]
async fn a_worker_that_runs_as_much_as_it_may_refuses_and_runs_nothing() {
    let mut cluster = Cluster::start(1, 0, |_| {}).await;
    let config = worker::Config { max_executions: 1, ..cluster.worker_config("w1") };
    cluster.workers.push(RunningWorker::start(config).await);
    cluster.ready(1).await;
    let client = cluster.client(0, ALICE);
    let (busy, other) = (client.launch().await, client.launch().await);
    let code =
        "import os, time\nopen('begun', 'w')\nwhile not os.path.exists('end'): time.sleep(0.01)";
    let waits = json!({"environmentId": busy, "pythonCode": code});
    let mut running = JoinSet::new();
    let runner = client.clone();
    running.spawn(async move { runner.succeed("runPythonCodeInRemoteEnvironment", waits).await });
    let files = cluster.workspace("w1", &busy);
    eventually(async || files.join("begun").exists()).await;
    let run = json!({"environmentId": other, "shellCommand": "echo ran >> it"});
    shed(&call(&client, "runShellCommandInRemoteEnvironment", run).await);
    std::fs::write(files.join("end"), "").unwrap();
    running.join_next().await.unwrap().unwrap();
    let shell = client.shell(&other, "cat it; echo ran >> it").await;
    assert_eq!(shell["stdout"], "", "the refused call had not run");
}

fn small_buffers(config: &mut Config) {
    config.buffers = Buffers { bytes: 12_000, bytes_per_tenant: 12_000 };
}

#[tokio::test]
async fn bodies_are_held_up_to_a_bound_and_shed_beyond_it_without_losing_the_refusal() {
    let mut config = config(embedded());
    small_buffers(&mut config);
    let gateway = RunningGateway::start(config);
    let client = gateway.client();
    let large = json!({"name": "lookup_fact", "arguments": {"topic": "x".repeat(6000)}});
    let answer = client.modern("tools/call", large.clone()).await;
    assert_eq!(answer.status, StatusCode::OK);

    // One that was announced has its room before its bytes come.
    let address = gateway.url.strip_prefix("http://").unwrap().strip_suffix("/mcp").unwrap();
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let body = format!("{body}{}", " ".repeat(8000 - body.len()));
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nAccept: */*\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    // Two connections are heard in any order: the announced one is shed where the other one came first.
    let mut announced = None;
    eventually(async || {
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(head.as_bytes()).await.unwrap();
        let answer = client.modern("tools/call", large.clone()).await;
        if answer.status == StatusCode::OK {
            return false;
        }
        shed_unread(&answer);
        announced = Some(slow);
        true
    })
    .await;
    let mut slow = announced.expect("it has its room once another one is shed");
    // Far more than sockets hold: the refusal comes all the same, and the connection is not reset under it.
    shed_unread(&client.post(&[], "x".repeat(3 << 20)).await);
    assert_eq!(client.modern("server/discover", json!({})).await.status, StatusCode::OK);

    slow.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert_eq!(client.modern("tools/call", large).await.status, StatusCode::OK, "given back");
}

/// What was not read has no id.
fn shed_unread(answer: &Answer) {
    shed(answer);
    assert_eq!(answer.json().get("id"), None);
}
