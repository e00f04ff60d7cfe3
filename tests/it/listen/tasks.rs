//! Tasks: their ends are told on whichever replica somebody listens.

use std::time::Duration;

use serde_json::json;

use super::{Stream, updated, uri_of};
use crate::cluster::ALICE;
use crate::tasks::{begin, cancel, cluster, shell};

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
