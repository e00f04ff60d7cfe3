//! Worker roots in rotation: what a gateway that no report reaches makes of workers' keys.

use baton::domain::keyring::{SecretKey, WorkerKey};
use baton::gateway::Config;
use baton::worker;
use serde_json::json;

use crate::cluster::{
    ALICE, Cluster, RunningGateway, RunningWorker, eventually, free_address, worker_root,
};

/// The root that comes after the cluster's.
fn next_root() -> SecretKey {
    SecretKey::from_bytes([3; 32])
}

/// A cluster of one gateway and one worker at a fixed address, with the present root's key.
async fn before_rotation() -> (Cluster, worker::Config) {
    let mut cluster = Cluster::start(1, 0, |config| {
        config.worker_roots = vec![worker_root(), next_root()];
    })
    .await;
    let worker = worker::Config { listen: free_address(), ..cluster.worker_config("w1") };
    cluster.workers.push(RunningWorker::start(worker.clone()).await);
    cluster.ready(1).await;
    (cluster, worker)
}

/// One more replica, whose workers have the next root's key or still this one's. Reports do not reach it: it knows of
/// workers from the directory.
async fn add_unheard_gateway(cluster: &mut Cluster) {
    let config = Config {
        worker_roots: vec![next_root(), worker_root()],
        advertise: Some(format!("http://{}", free_address())),
        ..cluster.gateway_config().await
    };
    cluster.gateways.push(RunningGateway::start(config));
}

#[tokio::test]
async fn a_worker_with_the_former_roots_key_serves_before_it_has_reported() {
    let (mut cluster, _) = before_rotation().await;
    let id = cluster.client(0, ALICE).launch().await;
    add_unheard_gateway(&mut cluster).await;
    let client = cluster.client(1, ALICE);
    let answer = client.shell(&id, "echo once >> calls; cat calls").await;
    assert_eq!(answer["stdout"], "once\n", "{answer}");
    let answer = client.python(&id, "6 * 7").await;
    assert_eq!(answer["executionResult"], "42", "{answer}");
    let mut another = None;
    eventually(async || {
        let launch = json!({"name": "launchShell", "arguments": {}});
        let answer = client.modern("tools/call", launch).await.json();
        // On a machine that is busy the directory may be late; then nothing was begun.
        let launched = &answer["result"]["structuredContent"]["environmentId"];
        another = launched.as_str().map(str::to_owned);
        another.is_some() || answer["error"]["code"] != 50303
    })
    .await;
    let another = another.expect("an environment, or that the directory is away");
    assert_eq!(cluster.client(0, ALICE).shell(&another, "echo here").await["stdout"], "here\n");
}

#[tokio::test]
async fn a_worker_that_comes_back_with_the_next_roots_key_serves_whoever_knew_the_former_one() {
    let (mut cluster, config) = before_rotation().await;
    let id = cluster.client(0, ALICE).launch().await;
    add_unheard_gateway(&mut cluster).await;
    let client = cluster.client(1, ALICE);
    client.shell(&id, "echo first >> calls").await;
    cluster.workers.pop().unwrap().stop().await;
    let key = WorkerKey::derive(&next_root(), config.key.worker());
    cluster.workers.push(RunningWorker::start(worker::Config { key, ..config }).await);
    for _ in 0..2 {
        // The directory may not have heard of this start yet; then nothing was begun, and it is said so.
        let answer = loop {
            let call =
                json!({"environmentId": id, "shellCommand": "echo next >> calls; cat calls"});
            let call = json!({"name": "runShellCommandInRemoteEnvironment", "arguments": call});
            let answer = client.modern("tools/call", call).await;
            let Some(data) = answer.json()["error"].get("data").cloned() else { break answer };
            assert_eq!(data["executed"], "no", "{data}");
            assert_eq!(data["retryable"], true, "{data}");
        };
        assert!(answer.result()["isError"] != true, "{answer:?}");
    }
    let calls = client.shell(&id, "cat calls").await;
    assert_eq!(calls["stdout"], "first\nnext\nnext\n", "{calls}");
}
