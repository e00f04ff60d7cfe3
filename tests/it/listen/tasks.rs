//! Tasks: their ends are told on whichever replica somebody listens.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Stream, updated, uri_of};
use crate::cluster::{ALICE, BOB};
use crate::tasks::{begin, cancel, cluster, get, shell};

#[tokio::test]
async fn an_execution_that_became_a_task_changes_its_environment_when_it_ends() {
    let cluster = cluster(Duration::ZERO).await;
    let (here, there) = (cluster.client(0, ALICE), cluster.client(1, ALICE));
    let environment = here.launch().await;
    let asked = json!({"resourceSubscriptions": [uri_of(&environment)]});
    let (mut stream, _) = Stream::open(&there, json!(1), &asked).await;
    let workspace = cluster.workspace("w1", &environment);
    begin(&here, shell(&environment, "sleep 0.5; touch done")).await;
    assert_eq!(stream.told().await, updated(&environment));
    assert!(workspace.join("done").exists(), "it was told too early");
    let id = begin(&here, shell(&environment, "sleep 60")).await;
    cancel(&there, &id).await;
    assert_eq!(stream.told().await, updated(&environment));
}

#[tokio::test]
async fn a_task_of_one_replica_is_followed_from_another_to_its_end() {
    let cluster = cluster(Duration::ZERO).await;
    let (here, there) = (cluster.client(0, ALICE), cluster.client(1, ALICE));
    let environment = here.launch().await;
    let id = begin(&here, shell(&environment, "sleep 1; echo done")).await;
    let gone = format!("{}A", &id[..id.len() - 1]);
    let asked = json!({"taskIds": [id, gone, "btt_x", environment]});
    let (mut stream, acknowledged) = Stream::open(&there, json!("t"), &asked).await;
    assert_eq!(acknowledged, json!({"taskIds": [id]}));
    let (bobs, acknowledged) = Stream::open(&cluster.client(1, BOB), json!(1), &asked).await;
    assert_eq!(acknowledged, json!({}), "what is alice's is not told to bob");
    for status in ["working", "completed"] {
        let told = stream.next().await;
        assert_eq!(told["method"], "notifications/tasks");
        let params = &told["params"];
        assert_eq!((&params["taskId"], &params["status"]), (&json!(id), &json!(status)));
        let mut same = get(&here, &id).await;
        for member in ["createdAt", "lastUpdatedAt"] {
            assert_eq!(params[member], same[member].take(), "{member}");
        }
        let stdout = &params["result"]["structuredContent"]["stdout"];
        assert_eq!(stdout.as_str(), (status == "completed").then_some("done\n"));
    }
    // It stays open for what else its client listens to, and one that begins later hears of the end at once.
    let (mut late, _) = Stream::open(&here, json!(1), &asked).await;
    assert_eq!(late.next().await["params"]["status"], "completed");
    for gateway in &cluster.gateways {
        gateway.begin_drain();
    }
    for stream in [stream, late, bobs] {
        assert_eq!(stream.drained().await, [""; 0]);
    }
}

#[tokio::test]
async fn a_listener_of_a_task_whose_environment_is_closed_is_told_to_begin_anew() {
    let cluster = cluster(Duration::ZERO).await;
    let client = cluster.client(0, ALICE);
    let environment = client.launch().await;
    let id = begin(&client, shell(&environment, "sleep 60")).await;
    let asked = json!({"taskIds": [id]});
    let (stream, _) = Stream::open(&cluster.client(1, ALICE), json!(1), &asked).await;
    client.succeed("closeEnvironment", json!({"environmentId": environment})).await;
    let told = stream.drained().await;
    assert!(told.iter().all(|it| it == "notifications/tasks"), "{told:?}");
    let (_stream, acknowledged) = Stream::open(&client, json!(1), &asked).await;
    assert_eq!(acknowledged, json!({}));
}

#[tokio::test]
async fn a_replica_that_stops_waits_for_no_task_that_it_made() {
    let mut cluster = cluster(Duration::ZERO).await;
    let client = cluster.client(0, ALICE);
    let environment = client.launch().await;
    let id = begin(&client, shell(&environment, "sleep 60")).await;
    let begun = Instant::now();
    assert_eq!(cluster.gateways.remove(0).stop().await, 0);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(get(&cluster.client(0, ALICE), &id).await["status"], "working");
}
