//! A gateway that starts while Redis is away, and knows no worker.

use std::time::{Duration, Instant};

use baton::gateway::Config;
use serde_json::json;

use crate::cluster::{ALICE, Cluster, RunningGateway, free_address};

#[tokio::test]
async fn calls_for_unknown_workers_are_refused_without_waiting_for_a_redis_that_is_away() {
    let mut cluster = Cluster::start(1, 1, |_| {}).await;
    let id = cluster.client(0, ALICE).launch().await;
    let config = Config {
        directory: cluster.directory_at(free_address()).await,
        advertise: Some(format!("http://{}", free_address())),
        ..cluster.gateway_config().await
    };
    cluster.gateways.push(RunningGateway::start(config));
    let client = cluster.client(1, ALICE);
    let mut times = Vec::new();
    for _ in 0..12 {
        let began = Instant::now();
        let call = json!({"environmentId": id, "shellCommand": "true"});
        let call = json!({"name": "runShellCommandInRemoteEnvironment", "arguments": call});
        let error = client.modern("tools/call", call).await.error();
        assert_eq!((&error["code"], &error["data"]["executed"]), (&json!(50302), &json!("no")));
        times.push(began.elapsed());
    }
    // Of one that answers, each would wait for its turn to be read.
    times.sort();
    let median = times[times.len() / 2];
    assert!(median < Duration::from_millis(100), "{times:?}");
    assert!(times.iter().sum::<Duration>() < Duration::from_secs(2), "{times:?}");
}
