//! The main job: an agent runs code in an environment, through any replica.

use std::collections::BTreeSet;
use std::time::Duration;

use baton::gateway::EnvironmentPolicy;
use serde_json::{Value, json};

use crate::cluster::{
    ALICE, BOB, CAROL, Cluster, RunningGateway, RunningWorker, Scratch, config, embedded,
    eventually, worker_config,
};
use crate::mcp_client::Modern;

#[tokio::test]
async fn variables_imports_files_and_the_directory_stay_whichever_replica_serves() {
    let cluster = Cluster::two_by_two().await;
    let id = cluster.client(0, ALICE).launch().await;
    let replica = |n: usize| cluster.client(n, ALICE);
    replica(0).python(&id, "import math, os\nx = 6\nos.makedirs('sub')\nos.chdir('sub')").await;
    replica(1).shell(&id, "echo from-shell > sub/file").await;
    let read =
        replica(0).python(&id, "print(open('file').read().strip())\nmath.factorial(x)").await;
    assert_eq!(
        (&read["stdout"], &read["executionResult"]),
        (&json!("from-shell\n"), &json!("720"))
    );
    let read = replica(1).python(&id, "os.getcwd()").await;
    assert_eq!(read["executionResult"], "'/workspace/sub'");
}

#[tokio::test]
async fn results_carry_output_errors_and_exit_codes() {
    let cluster = Cluster::two_by_two().await;
    let client = cluster.client(0, ALICE);
    let id = client.launch().await;
    let run = |code: &str| json!({"environmentId": id, "pythonCode": code});
    let raised = client.tool("runPythonCodeInRemoteEnvironment", run("print('before')\n1/0")).await;
    assert_eq!(raised["isError"], true);
    let structured = &raised["structuredContent"];
    assert_eq!((&structured["stdout"], &structured["exitCode"]), (&json!("before\n"), &json!(1)));
    assert_eq!(structured["executed"], "yes");
    assert!(structured["stderr"].as_str().unwrap().contains("ZeroDivisionError"));
    let text: Value = serde_json::from_str(raised["content"][0]["text"].as_str().unwrap()).unwrap();
    assert_eq!(&text, structured, "the text form is the structure");
    let shell = client.shell(&id, "echo out; echo err >&2; exit 3").await;
    assert_eq!(
        (&shell["stdout"], &shell["stderr"], &shell["exitCode"]),
        (&json!("out\n"), &json!("err\n"), &json!(3))
    );
    let argv =
        json!({"environmentId": id, "execCommandAndArgs": ["printf", "%s|", "a b", "$HOME"]});
    let exec = client.succeed("runShellCommandInRemoteEnvironment", argv).await;
    assert_eq!(exec["stdout"], "a b|$HOME|");
}

#[tokio::test]
async fn wrong_arguments_say_what_to_do() {
    let cluster = Cluster::two_by_two().await;
    let client = cluster.client(0, ALICE);
    let id = client.launch().await;
    let shell = "runShellCommandInRemoteEnvironment";
    for (tool, arguments, words) in [
        (shell, json!({"environmentId": id}), "exactly one of"),
        (
            shell,
            json!({"environmentId": id, "shellCommand": "a", "execCommandAndArgs": ["a"]}),
            "exactly one of",
        ),
        (shell, json!({"environmentId": id, "execCommandAndArgs": []}), "empty"),
        (shell, json!({"environmentId": id, "shellCommand": "a", "timeoutSeconds": 0}), "1 to 60"),
        (
            "runPythonCodeInRemoteEnvironment",
            json!({"environmentId": "1", "pythonCode": ""}),
            "launchShell",
        ),
        ("runPythonCodeInRemoteEnvironment", json!({"pythonCode": ""}), "environmentId"),
        ("closeEnvironment", json!({}), "environmentId"),
        ("launchShell", json!({"size": "big"}), "size"),
    ] {
        let (text, data) = client.fail(tool, arguments).await;
        assert!(text.contains(words), "{tool}: {text}");
        assert_eq!(
            (&data["executed"], &data["retryable"]),
            (&json!("no"), &json!(false)),
            "{tool}"
        );
    }
}

#[tokio::test]
async fn a_handle_is_good_for_its_owner_alone_and_foreign_is_unknown() {
    let cluster = Cluster::two_by_two().await;
    let id = cluster.client(0, ALICE).launch().await;
    let forged = format!("bte_AQ{}", "A".repeat(58)); // of the right form
    let run = |id: &str| json!({"environmentId": id, "shellCommand": "true"});
    let (unknown, _) =
        cluster.client(0, ALICE).fail("runShellCommandInRemoteEnvironment", run(&forged)).await;
    for key in [BOB, CAROL] {
        let (foreign, _) =
            cluster.client(1, key).fail("runShellCommandInRemoteEnvironment", run(&id)).await;
        assert_eq!(foreign.replace(&id, ""), unknown.replace(&forged, ""), "the same words");
    }
    cluster.client(1, ALICE).shell(&id, "true").await;
}

#[tokio::test]
async fn closing_ends_it_everywhere_and_twice_is_no_error() {
    let cluster = Cluster::two_by_two().await;
    let (here, there) = (cluster.client(0, ALICE), cluster.client(1, ALICE));
    let id = here.launch().await;
    there.shell(&id, "true").await;
    for client in [&here, &there] {
        let closed = client.succeed("closeEnvironment", json!({"environmentId": id})).await;
        assert_eq!(closed["closed"], true);
    }
    let run = json!({"environmentId": id, "shellCommand": "true"});
    let (text, data) = there.fail("runShellCommandInRemoteEnvironment", run).await;
    assert!(text.contains("was closed") && text.contains("launchShell"), "{text}");
    assert_eq!(data["environment"]["reason"], "deleted");
}

#[tokio::test]
async fn a_list_has_ones_own_with_handles_that_work() {
    let cluster = Cluster::two_by_two().await;
    let alice = cluster.client(0, ALICE);
    let ids = [alice.launch().await, alice.launch().await, alice.launch().await];
    cluster.client(0, BOB).launch().await;
    alice.python(&ids[1], "x = 'mine'").await;
    let list = cluster.client(1, ALICE).succeed("listEnvironments", json!({})).await;
    assert_eq!(list["partial"], false);
    let listed: Vec<&str> = list["environments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["environmentId"].as_str().unwrap())
        .collect();
    assert_eq!(listed.len(), 3, "{list}");
    assert_eq!(
        listed.iter().copied().collect::<BTreeSet<_>>(),
        ids.iter().map(String::as_str).collect()
    );
    let states: Vec<&str> = list["environments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["state"].as_str().unwrap())
        .collect();
    assert_eq!(states.iter().filter(|it| **it == "running").count(), 1, "{states:?}");
    let mine = cluster
        .client(0, ALICE)
        .python(listed[listed.iter().position(|it| *it == ids[1]).unwrap()], "x")
        .await;
    assert_eq!(mine["executionResult"], "'mine'");
    let nobody = cluster.client(0, CAROL).succeed("listEnvironments", json!({})).await;
    assert_eq!(nobody["environments"], json!([]));
}

#[tokio::test]
async fn the_anonymous_are_listed_nothing() {
    let scratch = Scratch::new("anonymous");
    let gateway = RunningGateway::start(config(embedded()));
    let _worker = RunningWorker::start(worker_config(
        "w1",
        scratch.path(),
        vec![gateway.internal_url.clone()],
    ))
    .await;
    eventually(async || gateway.workers().await == 1).await;
    let id = gateway.client().launch().await;
    gateway.client().shell(&id, "true").await;
    let list = gateway.client().succeed("listEnvironments", json!({})).await;
    assert_eq!(list["environments"], json!([]));
}

#[tokio::test]
async fn one_environment_too_many_is_refused_with_when_to_come_back() {
    let few = |config: &mut baton::gateway::Config| config.environments.max_per_tenant = 2;
    let cluster = Cluster::start(2, 1, few).await;
    let (alice, bob) = (cluster.client(0, ALICE), cluster.client(1, BOB));
    let first = alice.launch().await;
    bob.launch().await;
    let (text, data) = alice.fail("launchShell", json!({})).await;
    assert!(text.contains("closeEnvironment"), "{text}");
    assert_eq!((&data["code"], &data["executed"]), (&json!(42902), &json!("no")));
    let wait = data["retryAfterMs"].as_u64().unwrap();
    assert!((1..=300_000).contains(&wait), "{wait}");
    cluster.client(1, CAROL).launch().await; // another tenant
    alice.succeed("closeEnvironment", json!({"environmentId": first})).await;
    bob.launch().await;
}

#[tokio::test]
async fn an_idle_environment_ends_and_makes_room() {
    let brief = |config: &mut baton::gateway::Config| {
        let policy = config.environments;
        config.environments =
            EnvironmentPolicy { idle_timeout: Duration::from_secs(2), max_per_tenant: 1, ..policy };
    };
    let cluster = Cluster::start(1, 1, brief).await;
    let client = cluster.client(0, ALICE);
    let id = client.launch().await;
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(800)).await;
        client.shell(&id, "true").await; // each call begins the time anew
    }
    eventually(async || {
        let run = json!({"environmentId": id, "shellCommand": "true", "timeoutSeconds": 1});
        tokio::time::sleep(Duration::from_millis(2500)).await;
        client.tool("runShellCommandInRemoteEnvironment", run).await["isError"] == true
    })
    .await;
    let run = json!({"environmentId": id, "shellCommand": "true"});
    let (text, data) = client.fail("runShellCommandInRemoteEnvironment", run).await;
    assert!(text.contains("idle too long"), "{text}");
    assert_eq!(data["environment"]["reason"], "expired");
    eventually(async || client.tool("launchShell", json!({})).await["isError"] == false).await;
}

#[tokio::test]
async fn one_environments_bomb_does_not_hurt_the_next_call_of_another() {
    let cluster = Cluster::start(1, 1, |_| {}).await;
    let client = cluster.client(0, ALICE);
    let (bomb, other) = (client.launch().await, client.launch().await);
    client.python(&other, "x = 1").await;
    for code in
        ["import os\nos._exit(7)", "print('x' * 50_000_000)", "import os\nos.kill(os.getpid(), 9)"]
    {
        let run = json!({"environmentId": bomb, "pythonCode": code});
        client.tool("runPythonCodeInRemoteEnvironment", run).await;
        assert_eq!(client.python(&other, "x").await["executionResult"], "1", "{code}");
    }
    let endless =
        json!({"environmentId": bomb, "pythonCode": "while True: pass", "timeoutSeconds": 1});
    let result = client.tool("runPythonCodeInRemoteEnvironment", endless).await;
    assert_eq!(result["structuredContent"]["terminatedBy"], "wallTime", "{result}");
    assert_eq!(client.python(&other, "x").await["executionResult"], "1");
}

#[tokio::test]
async fn progress_streams_while_code_runs_to_a_client_that_asked() {
    let cluster = Cluster::start(1, 1, |_| {}).await;
    let client = cluster.client(0, ALICE);
    let id = client.launch().await;
    let code =
        "import time\nfor n in range(3):\n    print('line', n, flush=True)\n    time.sleep(0.2)";
    let arguments = json!({"environmentId": id, "pythonCode": code});
    let params = json!({
        "name": "runPythonCodeInRemoteEnvironment", "arguments": arguments, "_meta": {"progressToken": "p1"},
    });
    let request = Modern::new("tools/call", params.clone());
    let answer = client.post(&request.headers(), request.body()).await;
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    assert_eq!(answer.header("x-accel-buffering"), Some("no"));
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    assert!(!text.contains("\nid:") && !text.starts_with("id:"), "modern streams carry no ids");
    let events: Vec<Value> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|it| serde_json::from_str(it).unwrap())
        .collect();
    let (last, progress) = events.split_last().unwrap();
    assert_eq!(last["result"]["structuredContent"]["stdout"], "line 0\nline 1\nline 2\n");
    let streamed: String =
        progress.iter().map(|it| it["params"]["message"].as_str().unwrap()).collect();
    assert_eq!(streamed, "line 0\nline 1\nline 2\n");
    assert!(progress.iter().all(|it| it["params"]["progressToken"] == "p1"));
    let values: Vec<f64> =
        progress.iter().map(|it| it["params"]["progress"].as_f64().unwrap()).collect();
    assert!(values.is_sorted_by(|a, b| a < b), "{values:?}");
    let json_only = request.with_header("accept", Some("application/json"));
    let answer = client.post(&json_only.headers(), json_only.body()).await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
}

// streamable-http, "Cancellation": closing the stream cancels; the work stops within a second.
#[tokio::test]
async fn a_client_that_leaves_stops_its_work() {
    let cluster = Cluster::start(1, 1, |_| {}).await;
    let client = cluster.client(0, ALICE);
    let id = client.launch().await;
    client.python(&id, "x = 1").await;
    let code = "import time\nopen('/workspace/began', 'w').close()\ntime.sleep(20)\nopen('/workspace/done', 'w').close()";
    let run = json!({"name": "runPythonCodeInRemoteEnvironment", "arguments": {"environmentId": id, "pythonCode": code}});
    let left = client.modern("tools/call", run);
    assert!(tokio::time::timeout(Duration::from_millis(1500), left).await.is_err());
    let began = std::time::Instant::now();
    let next = client
        .python(
            &id,
            "import os\n(x, os.path.exists('/workspace/began'), os.path.exists('/workspace/done'))",
        )
        .await;
    assert_eq!(next["executionResult"], "(1, True, False)");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_long_call_answers_its_headers_early_where_a_stream_is_taken() {
    let cluster = Cluster::start(1, 1, |_| {}).await;
    let client = cluster.client(0, ALICE);
    let id = client.launch().await;
    let run = json!({"name": "runShellCommandInRemoteEnvironment", "arguments": {"environmentId": id, "shellCommand": "sleep 3; echo done"}});
    let answer = client.modern("tools/call", run).await;
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    assert!(String::from_utf8_lossy(&answer.body).contains("done"));
}

#[tokio::test]
async fn a_final_event_is_cut_to_what_clients_take() {
    let cluster = Cluster::start(1, 1, |_| {}).await;
    let client = cluster.client(0, ALICE);
    let id = client.launch().await;
    let code = "import sys\nprint('\\\\\"' * 120_000)\nprint('\\\\\"' * 120_000, file=sys.stderr)";
    let arguments = json!({"environmentId": id, "pythonCode": code});
    let params = json!({"name": "runPythonCodeInRemoteEnvironment", "arguments": arguments, "_meta": {"progressToken": 1}});
    let answer = client.modern("tools/call", params).await;
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    let last = text.lines().rfind(|line| line.starts_with("data: ")).unwrap();
    assert!(last.len() <= 1_000_000, "{}", last.len());
    let message: Value = serde_json::from_str(&last[6..]).unwrap();
    assert_eq!(message["result"]["structuredContent"]["truncated"], true);
}
