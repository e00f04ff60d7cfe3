//! Idempotency keys through several gateways: whatever fails in between, a call runs once.

#![expect(clippy::unwrap_used, reason = "an answer of another form has failed the test")]

use std::fs::read_to_string;
use std::path::Path;
use std::time::{Duration, Instant};

use baton::clock::Clock;
use baton::directory::{Launch, LaunchEnd, MAX_LAUNCH_KEYS};
use baton::domain::ids::{EnvironmentId, LaunchKey};
use baton::gateway::Credentials;
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

use crate::cluster::{ALICE, BOB, CAROL, Cluster, alice, eventually, workers_heard};
use crate::mcp_client::McpClient;
use crate::program::Program;

const PYTHON: &str = "runPythonCodeInRemoteEnvironment";
const SHELL: &str = "runShellCommandInRemoteEnvironment";

/// The parameters of a call with a key.
fn keyed(key: &str, tool: &str, arguments: &Value) -> Value {
    json!({"name": tool, "arguments": arguments, "_meta": {"dev.baton/idempotencyKey": key}})
}

fn shell(key: &str, environment: &str, line: &str) -> Value {
    keyed(key, SHELL, &json!({"environmentId": environment, "shellCommand": line}))
}

async fn call(client: &McpClient, params: Value) -> Value {
    client.modern("tools/call", params).await.result()
}

/// What a call returned, without what may differ: a repeat is a use of the environment.
fn told(result: &Value) -> (Value, bool) {
    let mut structured = result["structuredContent"].clone();
    let members = structured.as_object_mut().unwrap();
    members.remove("idleExpiresAt");
    let replayed = members.remove("replayed").is_some_and(|it| it == true);
    (structured, replayed)
}

fn lines(path: &Path) -> usize {
    read_to_string(path).map_or(0, |text| text.lines().count())
}

#[tokio::test]
async fn a_repeat_through_another_gateway_gets_the_result_and_runs_nothing() {
    let cluster = Cluster::start(2, 1, |_| {}).await;
    let (here, there) = (cluster.client(0, ALICE), cluster.client(1, ALICE));
    let id = here.launch().await;
    let line = shell("k-1", &id, "echo ran >> runs; echo out; exit 3");
    let (first, replayed) = told(&call(&here, line.clone()).await);
    assert!(!replayed && first["exitCode"] == 3, "{first}");
    for client in [&there, &here] {
        assert_eq!(told(&call(client, line.clone()).await), (first.clone(), true));
    }
    // The header says the same, of any revision.
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
        "name": SHELL,
        "arguments": {"environmentId": id, "shellCommand": "echo ran >> runs; echo out; exit 3"},
    }});
    let headers = [("content-type", "application/json"), ("idempotency-key", "k-1")];
    let legacy = there.post(&headers, body.to_string()).await.result();
    assert_eq!(told(&legacy), (first.clone(), true));

    let code = json!({"environmentId": id, "pythonCode": "1 / 0"});
    let failing = keyed("k-2", PYTHON, &code);
    let (failed, _) = told(&call(&here, failing.clone()).await);
    assert_eq!(failed["executed"], "yes");
    let again = call(&there, failing).await;
    assert_eq!((told(&again), &again["isError"]), ((failed, true), &json!(true)));

    let other = call(&there, shell("k-1", &id, "echo ran >> runs")).await;
    let data = &other["structuredContent"];
    assert_eq!(
        (&other["isError"], &data["code"], &data["executed"], &data["retryable"]),
        (&json!(true), &json!(40901), &json!("no"), &json!(false))
    );
    assert!(other["content"][0]["text"].as_str().unwrap().contains("new key"), "{other}");
    assert_eq!(lines(&cluster.workspace("w1", &id).join("runs")), 1);

    let bob = cluster.client(1, BOB);
    let his = bob.launch().await;
    let (mine, replayed) = told(&call(&bob, shell("k-1", &his, "echo mine")).await);
    assert!(!replayed && mine["stdout"] == "mine\n", "another environment's key is another");
}

#[tokio::test]
async fn who_repeats_a_call_that_runs_waits_for_it_at_another_gateway() {
    let cluster = Cluster::start(2, 1, |_| {}).await;
    let id = cluster.client(0, ALICE).launch().await;
    let line = shell("k", &id, "echo ran >> runs; sleep 1; echo done");
    let calls = [0, 1, 0, 1].map(|replica| {
        let (client, line) = (cluster.client(replica, ALICE), line.clone());
        async move { told(&call(&client, line).await) }
    });
    let ends = futures_util::future::join_all(calls).await;
    assert!(ends.iter().all(|(result, _)| result["stdout"] == "done\n"), "{ends:?}");
    assert_eq!(ends.iter().filter(|(_, replayed)| !replayed).count(), 1, "{ends:?}");
    assert_eq!(lines(&cluster.workspace("w1", &id).join("runs")), 1);
}

#[tokio::test]
async fn a_call_whose_gateway_is_killed_ends_and_is_told_through_another() {
    let cluster = Cluster::start(1, 1, |_| {}).await;
    let mut gateway = Program::gateway_of(&cluster).await;
    eventually(async || workers_heard(gateway.url("gateway-internal")).await == 1).await;
    let client = gateway.client().with_key(ALICE);
    let id = client.launch().await;
    let runs = cluster.workspace("w1", &id).join("runs");
    // Longer than a call without a key goes on without its gateway.
    let line = shell("k", &id, "echo ran >> runs; sleep 7; echo done");
    let killed = async {
        eventually(async || runs.exists()).await;
        gateway.kill();
    };
    tokio::select! {
        biased;
        () = killed => {}
        result = call(&client, line.clone()) => panic!("it ended by itself: {result}"),
    }
    let here = cluster.client(0, ALICE);
    let (result, replayed) = told(&call(&here, line.clone()).await);
    assert!(replayed && result["stdout"] == "done\n", "{result}");
    assert_eq!(told(&call(&here, line).await), (result, true));
    assert_eq!(lines(&runs), 1);
}

#[tokio::test]
async fn what_ran_when_its_worker_was_killed_is_interrupted_for_good() {
    let cluster = Cluster::start(2, 0, |_| {}).await;
    let mut worker = Program::worker_of(&cluster, "w1").await;
    cluster.ready(1).await;
    let (here, there) = (cluster.client(0, ALICE), cluster.client(1, ALICE));
    let id = here.launch().await;
    let runs = cluster.workspace("w1", &id).join("runs");
    let line = shell("k", &id, "echo ran >> runs; sleep 60");
    let killed = async {
        eventually(async || runs.exists()).await;
        worker.kill();
        worker.ended().await;
    };
    let asked = here.modern("tools/call", line.clone());
    let (answer, ()) = tokio::join!(asked, killed);
    let error = answer.error();
    assert_eq!((&error["code"], &error["data"]["executed"]), (&json!(50201), &json!("maybe")));
    assert_eq!(error["data"]["retryable"], true, "with a key it is safe to repeat");
    let _worker = Program::worker_of(&cluster, "w1").await;
    for client in [&here, &there] {
        let whole =
            async || client.succeed("listEnvironments", json!({})).await["partial"] == false;
        eventually(whole).await;
        let again = call(client, line.clone()).await;
        let data = &again["structuredContent"];
        assert_eq!(
            (&again["isError"], &data["executed"], &data["retryable"], &data["replayed"]),
            (&json!(true), &json!("maybe"), &json!(false), &json!(true))
        );
        assert_eq!(data["terminatedBy"], "interrupted");
    }
    assert_eq!(lines(&runs), 1);
}

/// Whether a call in the environment with these files has ended, so that its worker knows how.
fn has_ended(files: &Path) -> bool {
    let entries = std::fs::read_dir(files.with_file_name("journal"));
    let mut entries = entries.into_iter().flatten().flatten();
    entries.any(|it| read_to_string(it.path()).is_ok_and(|it| it.contains(r#""is":"completed""#)))
}

/// Whether a gateway has a call under way.
async fn is_busy(cluster: &Cluster, replica: usize) -> bool {
    let metrics = cluster.gateways[replica].internal("/metrics").send("GET", &[], "").await;
    String::from_utf8_lossy(&metrics.body).contains("baton_in_flight{kind=\"server\"} 1")
}

#[tokio::test]
async fn a_client_that_leaves_cancels_its_call_for_good_unless_another_waits() {
    let cluster = Cluster::start(2, 1, |_| {}).await;
    let (here, there) = (cluster.client(0, ALICE), cluster.client(1, ALICE));
    let id = here.launch().await;
    let files = cluster.workspace("w1", &id);
    let line = shell("k", &id, "echo ran >> runs; sleep 60");
    let began = Instant::now();
    tokio::select! {
        biased;
        () = eventually(async || files.join("runs").exists()) => {}
        result = call(&here, line.clone()) => panic!("{result}"),
    }
    // Who repeats it before the cancel has come would keep it running.
    eventually(async || has_ended(&files)).await;
    let again = call(&there, line.clone()).await;
    assert_eq!(again["structuredContent"]["terminatedBy"], "cancelled", "{again}");
    assert!(told(&again).1);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(lines(&files.join("runs")), 1);

    let line = shell("l", &id, "echo ran >> others; sleep 3; echo done");
    let runs = async || files.join("others").exists();
    let waits = async {
        eventually(runs).await;
        told(&call(&there, line.clone()).await)
    };
    let leaves = async {
        let somebody_waits = async {
            eventually(runs).await;
            eventually(async || is_busy(&cluster, 1).await).await;
        };
        tokio::select! {
            biased;
            () = somebody_waits => {}
            result = call(&here, line.clone()) => panic!("{result}"),
        }
    };
    let ((result, replayed), ()) = tokio::join!(waits, leaves);
    assert!(replayed && result["stdout"] == "done\n", "{result}");
    assert_eq!(lines(&files.join("others")), 1);
}

#[tokio::test]
async fn a_refused_call_leaves_its_key_free() {
    let cluster = Cluster::start(2, 1, |_| {}).await;
    let (here, there) = (cluster.client(0, ALICE), cluster.client(1, ALICE));
    let id = here.launch().await;
    let wrong = json!({"environmentId": id, "shellCommand": "true", "timeoutSeconds": 100_000});
    let refused = call(&here, keyed("k", SHELL, &wrong)).await;
    assert_eq!(refused["structuredContent"]["executed"], "no");
    let (result, replayed) = told(&call(&there, shell("k", &id, "echo ran")).await);
    assert!(!replayed && result["stdout"] == "ran\n", "{result}");
}

#[tokio::test]
async fn what_an_environment_knew_of_a_key_is_not_denied_when_it_is_gone() {
    let cluster = Cluster::start(2, 1, |_| {}).await;
    let (here, there) = (cluster.client(0, ALICE), cluster.client(1, ALICE));
    let id = here.launch().await;
    call(&here, shell("k", &id, "echo ran")).await;
    here.succeed("closeEnvironment", json!({"environmentId": id})).await;
    for client in [&here, &there] {
        let repeat = call(client, shell("k", &id, "echo ran")).await;
        let data = &repeat["structuredContent"];
        assert_eq!(
            (&data["executed"], &data["environment"]["reason"], &data["retryable"]),
            (&json!("maybe"), &json!("deleted"), &json!(false))
        );
        let plain = json!({"environmentId": id, "shellCommand": "echo ran"});
        let plain = call(client, json!({"name": SHELL, "arguments": plain})).await;
        assert_eq!(plain["structuredContent"]["executed"], "no", "{plain}");
    }
}

#[tokio::test]
async fn a_repeat_of_a_call_that_became_a_task_is_the_same_task() {
    let cluster = Cluster::start(2, 1, |it| {
        it.environments.task_after = Duration::from_millis(200);
    })
    .await;
    let id = cluster.client(0, ALICE).launch().await;
    let mut line = shell("k", &id, "echo ran >> runs; sleep 2; echo done");
    line["_meta"]["io.modelcontextprotocol/clientCapabilities"] =
        json!({"extensions": {"io.modelcontextprotocol/tasks": {}}});
    let mut tasks = Vec::new();
    for replica in 0..2 {
        let created = call(&cluster.client(replica, ALICE), line.clone()).await;
        assert_eq!(created["resultType"], "task", "{created}");
        tasks.push(created["taskId"].clone());
    }
    assert_eq!(tasks[0], tasks[1]);
    let result = async || call(&cluster.client(1, ALICE), line.clone()).await;
    eventually(async || result().await["resultType"] == "complete").await;
    let (ended, replayed) = told(&result().await);
    assert!(replayed && ended["stdout"] == "done\n", "{ended}");
    assert_eq!(lines(&cluster.workspace("w1", &id).join("runs")), 1);
}

/// The parameters of a launch with a key.
fn launch(key: &str) -> Value {
    keyed(key, "launchShell", &json!({}))
}

#[tokio::test]
async fn a_key_launches_one_environment_through_however_many_gateways() {
    let cluster = Cluster::start(2, 2, |_| {}).await;
    let calls = [0, 1, 0, 1].map(|replica| {
        let client = cluster.client(replica, ALICE);
        async move { call(&client, launch("k")).await["structuredContent"].clone() }
    });
    let launched = futures_util::future::join_all(calls).await;
    let id = launched[0]["environmentId"].as_str().unwrap();
    for one in &launched {
        assert_eq!(
            (&one["environmentId"], &one["expiresAt"]),
            (&json!(id), &launched[0]["expiresAt"])
        );
    }
    assert_eq!(launched.iter().filter(|one| one["replayed"] == true).count(), 3, "{launched:?}");
    let (here, there) = (cluster.client(0, ALICE), cluster.client(1, ALICE));
    let list = there.succeed("listEnvironments", json!({})).await;
    assert_eq!(list["environments"].as_array().unwrap().len(), 1, "{list}");
    here.python(id, "x = 1").await;

    let bob = cluster.client(0, BOB);
    let his = call(&bob, launch("k")).await;
    assert_ne!(his["structuredContent"]["environmentId"], id, "his key is another");
    let other = call(&here, launch("l")).await;
    assert_ne!(other["structuredContent"]["environmentId"], id);

    here.succeed("closeEnvironment", json!({"environmentId": id})).await;
    let ended = call(&there, launch("k")).await;
    let data = &ended["structuredContent"];
    assert_eq!(
        (&ended["isError"], &data["replayed"], &data["executed"], &data["environment"]["reason"]),
        (&json!(true), &json!(true), &json!("yes"), &json!("deleted"))
    );
    assert!(
        ended["content"][0]["text"].as_str().unwrap().contains("new idempotency key"),
        "{ended}"
    );
}

#[tokio::test]
async fn a_launch_that_is_refused_leaves_its_key_free_and_one_without_a_caller_is_refused() {
    let cluster = Cluster::start(1, 1, |it| it.environments.max_per_tenant = 1).await;
    let client = cluster.client(0, ALICE);
    let id = client.launch().await;
    let full = call(&client, launch("k")).await;
    assert_eq!(full["structuredContent"]["code"], 42902);
    client.succeed("closeEnvironment", json!({"environmentId": id})).await;
    let launched = call(&client, launch("k")).await;
    assert_eq!(launched["isError"], false, "{launched}");
    assert_eq!(launched["structuredContent"].get("replayed"), None);

    let open = Cluster::start(1, 1, |it| it.credentials = Credentials::Anonymous).await;
    let refused = call(&open.gateways[0].client(), launch("k")).await;
    assert_eq!(refused["structuredContent"]["executed"], "no", "{refused}");
}

#[tokio::test]
async fn a_tenant_that_launched_under_too_many_keys_is_told_when_to_come_back() {
    let cluster = Cluster::start(1, 1, |_| {}).await;
    let [client, other] = [ALICE, CAROL].map(|key| cluster.client(0, key));
    let first = call(&client, launch("k")).await["structuredContent"]["environmentId"].clone();
    let directory = &cluster.directory().await;
    let not_after = Clock::system().now().after(Duration::from_hours(1));
    let claims = (1..MAX_LAUNCH_KEYS).map(|number| async move {
        let key = LaunchKey::of(&alice(), &number.to_string());
        let mine = Launch { environment: EnvironmentId::from_bytes([1; 16]), not_after };
        directory.claim_launch(alice().tenant_digest(), key, mine).await.unwrap()
    });
    stream::iter(claims).buffer_unordered(64).for_each(async |_| {}).await;

    let refused = call(&client, launch("one more")).await;
    let data = &refused["structuredContent"];
    assert_eq!(
        (&refused["isError"], &data["executed"], &data["retryable"]),
        (&json!(true), &json!("no"), &json!(true)),
        "{refused}"
    );
    assert!(data["retryAfterMs"].as_u64().unwrap() > 0, "{refused}");
    let again = call(&client, launch("k")).await;
    assert_eq!(again["structuredContent"]["environmentId"], first, "a repeat is no new key");
    assert_eq!(call(&other, launch("one more")).await["isError"], false, "another tenant");
    client.launch().await;
}

#[tokio::test]
async fn a_launch_that_its_gateway_gave_up_is_kept_from_nobody_by_one_that_cannot_look_for_it() {
    let cluster = Cluster::start(2, 1, |_| {}).await;
    let directory = &cluster.directory().await;
    let environment = EnvironmentId::from_bytes([1; 16]);
    let not_after = Clock::system().now().after(Duration::from_hours(1));
    let (tenant, key) = (alice().tenant_digest(), LaunchKey::of(&alice(), "k"));
    directory.claim_launch(tenant, key, Launch { environment, not_after }).await.unwrap();
    directory.settle_launch(tenant, key, environment, LaunchEnd::Open).await.unwrap();
    // Both are too young to know every worker that may have it.
    for gateway in [0, 1, 0] {
        let refused = cluster.client(gateway, ALICE).modern("tools/call", launch("k")).await;
        let error = refused.error();
        assert_eq!((&error["code"], &error["data"]["executed"]), (&json!(50302), &json!("no")));
    }
    cluster.client(0, ALICE).launch().await;
}
