//! What goes on when a gateway, a worker, Redis or the wire between them fails, and what is said of it.

use std::fs::metadata;
use std::time::{Duration, Instant};

use baton::domain::ids::WorkerId;
use baton::domain::placement::{Epoch, Holding, Placement};
use http::StatusCode;
use serde_json::{Value, json};

use crate::cluster::{
    ALICE, Cluster, RunningWorker, alice, environment_id, eventually, workers_heard,
};
use crate::fault::{Fault, Proxy};
use crate::mcp_client::{Answer, McpClient};
use crate::program::Program;

const PYTHON: &str = "runPythonCodeInRemoteEnvironment";
const SHELL: &str = "runShellCommandInRemoteEnvironment";

/// What a fault must say.
struct Expected {
    status: u16,
    code: i32,
    executed: &'static str,
    retryable: bool,
}

const UNREACHABLE: Expected =
    Expected { status: 503, code: 50302, executed: "no", retryable: true };
const AWAY: Expected = Expected { status: 503, code: 50303, executed: "no", retryable: true };
// Proxies send a 5xx again, so this is a 200.
const UNKNOWN: Expected =
    Expected { status: 200, code: 50201, executed: "maybe", retryable: false };
const LATE: Expected = Expected { status: 200, code: 50401, executed: "maybe", retryable: false };

fn check(answer: &Answer, expected: &Expected) {
    let error = answer.error();
    let data = &error["data"];
    assert_eq!(
        (answer.status.as_u16(), &error["code"], &data["executed"], &data["retryable"]),
        (
            expected.status,
            &json!(expected.code),
            &json!(expected.executed),
            &json!(expected.retryable)
        ),
        "{answer:?}"
    );
    assert_eq!(answer.header("retry-after").is_some(), expected.retryable, "{answer:?}");
    assert_eq!(data.get("retryAfterMs").is_some(), expected.retryable, "{error}");
}

fn shell(environment: &str, line: &str) -> Value {
    json!({"name": SHELL, "arguments": {"environmentId": environment, "shellCommand": line}})
}

async fn run(client: &McpClient, environment: &str, line: &str) -> Answer {
    client.modern("tools/call", shell(environment, line)).await
}

async fn launch(client: &McpClient) -> Answer {
    client.modern("tools/call", json!({"name": "launchShell", "arguments": {}})).await
}

/// A cluster of two gateways that reach its only worker by a proxy, and an environment there.
async fn behind_a_proxy() -> (Cluster, Proxy, String) {
    let mut cluster = Cluster::start(2, 0, |_| {}).await;
    let proxy = cluster.add_worker_behind_proxy("w1").await;
    cluster.ready(1).await;
    let id = cluster.client(0, ALICE).launch().await;
    cluster.client(0, ALICE).shell(&id, "true").await;
    (cluster, proxy, id)
}

#[tokio::test]
async fn another_replica_serves_on_when_one_dies_between_calls() {
    let cluster = Cluster::two_by_two().await;
    let id = cluster.client(0, ALICE).launch().await;
    cluster.client(0, ALICE).python(&id, "x = 41").await;
    cluster.gateways[0].kill();
    assert_eq!(cluster.client(1, ALICE).python(&id, "x + 1").await["executionResult"], "42");
}

#[tokio::test]
async fn a_call_whose_gateway_is_killed_stops_and_the_next_one_works() {
    let cluster = Cluster::start(1, 1, |_| {}).await;
    let mut gateway = Program::gateway_of(&cluster).await;
    eventually(async || workers_heard(gateway.url("gateway-internal")).await == 1).await;
    let client = gateway.client().with_key(ALICE);
    let id = client.launch().await;
    client.python(&id, "x = 1").await;
    let ticks = cluster.workspace("w1", &id).join("ticks");
    let code =
        "import time\nfor n in range(300):\n    open('ticks', 'a').write('.')\n    time.sleep(0.1)";
    let killed = async {
        eventually(async || ticks.exists()).await;
        gateway.kill();
    };
    tokio::select! {
        biased;
        () = killed => {}
        result = client.python(&id, code) => panic!("it ended by itself: {result}"),
    }
    let began = Instant::now();
    let here = cluster.client(0, ALICE);
    assert_eq!(here.python(&id, "x").await["executionResult"], "1");
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
    let ticked = metadata(&ticks).unwrap().len();
    here.python(&id, "import time\ntime.sleep(0.5)").await;
    assert_eq!(metadata(&ticks).unwrap().len(), ticked, "it ticks on");
    assert!(ticked < 100, "{ticked}");
}

#[tokio::test]
async fn a_restarted_worker_keeps_files_and_says_once_that_variables_are_gone() {
    let cluster = Cluster::start(2, 0, |_| {}).await;
    let mut worker = Program::worker_of(&cluster, "w1").await;
    cluster.ready(1).await;
    let (here, there) = (cluster.client(0, ALICE), cluster.client(1, ALICE));
    let id = here.launch().await;
    here.python(&id, "x = 1\nopen('kept', 'w').write('k')").await;
    worker.kill();
    worker.ended().await;
    let _worker = Program::worker_of(&cluster, "w1").await;
    for client in [&here, &there] {
        let whole =
            async || client.succeed("listEnvironments", json!({})).await["partial"] == false;
        eventually(whole).await;
    }
    let restarted = json!({
        "restarted": {"reason": "worker-restarted", "filesKept": true, "variablesKept": false},
    });

    let shell = here.shell(&id, "cat kept").await;
    assert_eq!((&shell["stdout"], &shell["environment"]), (&json!("k"), &restarted));
    let python = json!({"environmentId": id, "pythonCode": "open('ran', 'w')"});
    let (text, data) = there.fail(PYTHON, python).await;
    assert!(text.contains("Nothing was run") && text.contains("files are kept"), "{text}");
    assert_eq!((&data["executed"], &data["retryable"]), (&json!("no"), &json!(true)));
    assert_eq!(data["environment"], restarted);

    let look = "import os\n('x' in globals(), open('kept').read(), os.path.exists('ran'))";
    let next = here.python(&id, look).await;
    assert_eq!(next["executionResult"], "(False, 'k', False)");
    assert_eq!(
        (next.get("environment"), here.shell(&id, "true").await.get("environment")),
        (None, None)
    );
}

#[tokio::test]
async fn a_worker_that_is_away_is_said_to_be_and_creating_goes_to_the_other() {
    let mut cluster = Cluster::start(2, 0, |_| {}).await;
    let mut gone = Program::worker_of(&cluster, "w1").await;
    cluster.ready(1).await;
    let id = cluster.client(0, ALICE).launch().await;
    cluster.client(0, ALICE).python(&id, "x = 1").await;
    let other = cluster.worker_config("w2");
    cluster.workers.push(RunningWorker::start(other).await);
    cluster.ready(2).await;
    gone.kill();
    gone.ended().await;
    for replica in 0..2 {
        let client = cluster.client(replica, ALICE);
        let began = Instant::now();
        check(&run(&client, &id, "true").await, &UNREACHABLE);
        let legacy = client.legacy("tools/call", shell(&id, "true")).await;
        check(&legacy, &Expected { status: 200, ..UNREACHABLE });
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
        // The killed worker was heard a moment ago, so some of these are offered to it first.
        for _ in 0..4 {
            let new = client.launch().await;
            assert_eq!(client.python(&new, "1 + 1").await["executionResult"], "2");
        }
        let list = client.succeed("listEnvironments", json!({})).await;
        assert_eq!(list["partial"], true, "one worker did not answer");
    }
}

#[tokio::test]
async fn a_connection_cut_while_code_runs_leaves_an_unknown_outcome_and_no_second_run() {
    let (cluster, proxy, id) = behind_a_proxy().await;
    for (replica, ran) in [(0, "1"), (1, "2")] {
        let client = cluster.client(replica, ALICE);
        let began = cluster.workspace("w1", &id).join(format!("began{replica}"));
        let line = format!("echo ran >> runs; touch began{replica}; sleep 1");
        let cut = async {
            eventually(async || began.exists()).await;
            proxy.inject(Fault::Cut);
        };
        let (answer, ()) = if replica == 0 {
            tokio::join!(run(&client, &id, &line), cut)
        } else {
            tokio::join!(client.legacy("tools/call", shell(&id, &line)), cut)
        };
        check(&answer, &UNKNOWN);
        proxy.heal();
        // It waits for its turn, so what ran before has ended.
        let runs = client.shell(&id, "grep -c ran runs").await;
        assert_eq!(runs["stdout"].as_str().unwrap().trim(), ran);
    }
}

#[tokio::test]
async fn a_reply_that_is_lost_leaves_an_unknown_outcome_and_no_second_run() {
    let (cluster, proxy, id) = behind_a_proxy().await;
    let client = cluster.client(0, ALICE);
    proxy.inject(Fault::LoseReplies { one_in: 1 });
    check(&run(&client, &id, "echo ran >> runs").await, &UNKNOWN);
    // Nobody has a handle to what may have been created.
    check(&launch(&client).await, &UNREACHABLE);
    assert!(proxy.lost_replies() >= 2);
    proxy.heal();
    assert_eq!(client.shell(&id, "grep -c ran runs").await["stdout"], "1\n");
}

#[tokio::test]
async fn a_worker_that_stalls_is_waited_for_no_longer_than_its_deadline() {
    let (cluster, proxy, id) = behind_a_proxy().await;
    let client = cluster.client(0, ALICE);
    proxy.inject(Fault::Stall);
    let began = Instant::now();
    check(&run(&client, &id, "echo ran >> runs").await, &LATE);
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    proxy.heal();
    let runs = client.shell(&id, "cat runs 2>/dev/null | wc -l").await;
    assert!(["0", "1"].contains(&runs["stdout"].as_str().unwrap().trim()), "{runs}");
}

#[tokio::test]
async fn without_redis_environments_go_on_and_what_needs_it_says_so() {
    let mut cluster = Cluster::two_by_two().await;
    let clients = [cluster.client(0, ALICE), cluster.client(1, ALICE)];
    let ids = [clients[0].launch().await, clients[0].launch().await];
    for id in &ids {
        clients[0].python(id, "x = 1").await;
    }
    cluster.redis.kill();
    for client in &clients {
        for id in &ids {
            // The second replica never saw them: it asks the workers.
            assert_eq!(client.python(id, "x").await["executionResult"], "1");
        }
        assert!(client.modern("tools/list", json!({})).await.result()["tools"].is_array());
        let list = client.succeed("listEnvironments", json!({})).await;
        assert_eq!(
            (list["environments"].as_array().unwrap().len(), &list["partial"]),
            (2, &json!(false))
        );
        for (name, arguments) in [("launchShell", json!({})), ("tally", json!({"amount": 1}))] {
            let began = Instant::now();
            let call = json!({"name": name, "arguments": arguments});
            check(&client.modern("tools/call", call).await, &AWAY);
            assert!(began.elapsed() < Duration::from_secs(1), "{name}: {:?}", began.elapsed());
        }
    }
    clients[1].succeed("closeEnvironment", json!({"environmentId": ids[1]})).await;
    let (_, data) = clients[0].fail(SHELL, shell(&ids[1], "true")["arguments"].take()).await;
    assert_eq!(data["environment"]["reason"], "deleted");

    cluster.redis.restart();
    let began = Instant::now();
    for client in &clients {
        eventually(async || launch(client).await.status == StatusCode::OK).await;
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(clients[1].python(&ids[0], "x").await["executionResult"], "1");
}

#[tokio::test]
async fn a_redis_that_hangs_delays_calls_by_less_than_two_seconds() {
    let cluster = Cluster::two_by_two().await;
    let id = cluster.client(0, ALICE).launch().await;
    cluster.redis.freeze();
    // The second replica never saw it: it asks the directory first, and does not wait for it.
    for replica in [1, 0] {
        let client = cluster.client(replica, ALICE);
        let began = Instant::now();
        client.shell(&id, "true").await;
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        let began = Instant::now();
        check(&launch(&client).await, &AWAY);
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    }
    cluster.redis.thaw();
    let began = Instant::now();
    for replica in 0..2 {
        let client = cluster.client(replica, ALICE);
        eventually(async || launch(&client).await.status == StatusCode::OK).await;
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn an_emptied_directory_is_rebuilt_from_heartbeats_and_ends_nothing() {
    let cluster = Cluster::start(2, 2, |it| it.environments.max_per_tenant = 3).await;
    let clients = [cluster.client(0, ALICE), cluster.client(1, ALICE)];
    let ids = [clients[0].launch().await, clients[1].launch().await, clients[0].launch().await];
    for id in &ids {
        clients[0].python(id, "x = 1").await;
    }
    let directory = cluster.directory().await;
    cluster.redis.say("FLUSHALL");
    let began = Instant::now();
    for id in &ids {
        assert_eq!(clients[0].python(id, "x").await["executionResult"], "1");
    }
    eventually(async || {
        let (mut known, tenant) = (0, alice().tenant_digest());
        for id in &ids {
            known +=
                usize::from(directory.locate(tenant, environment_id(id)).await.unwrap().is_some());
        }
        known == ids.len()
    })
    .await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    for client in &clients {
        // Until all lists are in again nothing is created, and then no more than the quota.
        eventually(async || {
            let answer =
                client.modern("tools/call", json!({"name": "launchShell", "arguments": {}})).await;
            let (error, result) = (&answer.json()["error"], &answer.json()["result"]);
            let data = if error.is_null() { &result["structuredContent"] } else { &error["data"] };
            assert_eq!(data["executed"], "no", "{answer:?}");
            data["code"] == 42902
        })
        .await;
        for id in &ids {
            assert_eq!(client.python(id, "x").await["executionResult"], "1");
        }
    }
}

#[tokio::test]
async fn a_directory_that_names_the_wrong_worker_or_epoch_leads_astray_and_no_further() {
    let cluster = Cluster::two_by_two().await;
    let id = cluster.client(0, ALICE).launch().await;
    cluster.client(0, ALICE).python(&id, "x = 1").await;
    let (directory, tenant) = (cluster.directory().await, alice().tenant_digest());
    let environment = environment_id(&id);
    let right = directory.locate(tenant, environment).await.unwrap().unwrap();
    let other = if right.worker.as_str() == "w1" { "w2" } else { "w1" };
    for (epoch, worker) in [(2, right.worker.as_str()), (3, other), (4, "nobody")] {
        let worker = WorkerId::parse(worker).unwrap();
        let placement = Placement { worker, epoch: Epoch(epoch) };
        let holding = Holding {
            environment,
            tenant,
            owner: alice().owner_digest(),
            placement: placement.clone(),
            not_after: baton::clock::Clock::system().now().after(Duration::from_mins(5)),
        };
        directory.place(&holding).await.unwrap();
        assert_eq!(directory.locate(tenant, environment).await.unwrap(), Some(placement));
        // A replica that has just started remembers nothing.
        let fresh = crate::cluster::RunningGateway::start(cluster.gateway_config().await);
        eventually(async || fresh.workers().await == 2).await;
        let answer = fresh.client().with_key(ALICE).python(&id, "x").await;
        assert_eq!(answer["executionResult"], "1", "epoch {epoch}");
    }
}

// A legacy disconnect is no cancel, and a worker gives up a call five seconds after its gateway did.
#[tokio::test]
async fn a_legacy_client_that_leaves_does_not_stop_its_call() {
    let cluster = Cluster::start(1, 1, |_| {}).await;
    let client = cluster.client(0, ALICE);
    let id = client.launch().await;
    let files = cluster.workspace("w1", &id);
    let line = "touch began; sleep 7; touch ended";
    tokio::select! {
        biased;
        () = eventually(async || files.join("began").exists()) => {}
        answer = client.legacy("tools/call", shell(&id, line)) => panic!("{answer:?}"),
    }
    eventually(async || files.join("ended").exists()).await;
}

#[tokio::test]
async fn a_legacy_client_that_names_no_form_gets_json_however_long_it_takes() {
    let cluster = Cluster::start(1, 1, |_| {}).await;
    let client = cluster.client(0, ALICE);
    let id = client.launch().await;
    let mut params = shell(&id, "echo one; sleep 3; echo two");
    params["_meta"] = json!({"progressToken": 1});
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    for accept in [None, Some(("accept", "*/*")), Some(("accept", "application/json"))] {
        let headers: Vec<_> =
            [("content-type", "application/json")].into_iter().chain(accept).collect();
        let answer = client.post(&headers, body.to_string()).await;
        assert_eq!(answer.header("content-type"), Some("application/json"), "{accept:?}");
        assert_eq!(answer.result()["structuredContent"]["stdout"], "one\ntwo\n");
    }
}
