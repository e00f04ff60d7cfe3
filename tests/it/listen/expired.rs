//! Environments whose time is over: nobody calls, and those who watch are told all the same.

use std::time::Duration;

use serde_json::json;

use super::{RESOURCES, Stream, updated, uri_of};
use crate::cluster::{ALICE, BOB, Cluster};

#[tokio::test]
async fn an_environment_that_expires_is_told_on_every_replica_to_its_owner() {
    let cluster = Cluster::start(2, 1, |config| {
        config.environments.idle_timeout = Duration::from_secs(2);
    })
    .await;
    let alice = |replica| cluster.client(replica, ALICE);
    let lists = json!({"resourcesListChanged": true});
    let (bobs, _) = Stream::open(&cluster.client(0, BOB), json!(0), &lists).await;
    let (mut here, _) = Stream::open(&alice(0), json!(1), &lists).await;
    let (mut there, _) = Stream::open(&alice(1), json!(2), &lists).await;
    let id = alice(0).launch().await;
    for stream in [&mut here, &mut there] {
        assert_eq!(stream.told().await.0, RESOURCES, "it is there");
    }
    let asked = json!({"resourceSubscriptions": [uri_of(&id)]});
    let (mut watching, acknowledged) = Stream::open(&alice(1), json!(3), &asked).await;
    assert_eq!(acknowledged, asked);
    for stream in [&mut here, &mut there] {
        assert_eq!(stream.told().await.0, RESOURCES, "it is there no more");
    }
    assert_eq!(watching.told().await, updated(&id));
    for gateway in &cluster.gateways {
        gateway.begin_drain();
    }
    for stream in [bobs, here, there, watching] {
        assert_eq!(stream.drained().await, [""; 0]);
    }
}
