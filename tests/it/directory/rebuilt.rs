//! A directory that has forgotten everything is complete again within seconds, and no quota overshoots meanwhile.
#![expect(clippy::unwrap_used, reason = "set-up of a test")]

use std::time::{Duration, Instant};

use baton::directory::Replica;
use baton::domain::ids::{EnvironmentId, Name, Principal, TenantDigest};
use baton::worker;
use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use http::StatusCode;
use serde_json::json;
use tokio::time::sleep;

use super::subject::report;
use crate::cluster::{ALICE, Cluster, RunningWorker, environment_id, eventually, keys};

const TENANTS: usize = 5;
const EACH: usize = 60;
/// Room for a few more of each tenant.
const LIMIT: u32 = 64;
const KEYS: [(&str, &str, &str); TENANTS] =
    [("k0", "t0", "s"), ("k1", "t1", "s"), ("k2", "t2", "s"), ("k3", "t3", "s"), ("k4", "t4", "s")];

fn digest(tenant: usize) -> TenantDigest {
    let name = |text: &str| Name::parse(text).unwrap();
    Principal::verified(name(KEYS[tenant].1), name(KEYS[tenant].2)).tenant_digest()
}

/// Two gateways and two workers with room for all.
async fn roomy() -> Cluster {
    let mut cluster = Cluster::start(2, 0, |config| {
        config.environments.max_per_tenant = LIMIT;
        config.credentials = keys(&KEYS);
    })
    .await;
    for id in ["w1", "w2"] {
        let config = worker::Config { capacity: 400, ..cluster.worker_config(id) };
        cluster.workers.push(RunningWorker::start(config).await);
    }
    cluster.ready(2).await;
    cluster
}

#[tokio::test]
async fn three_hundred_environments_of_five_tenants_are_back_within_ten_seconds() {
    let cluster = roomy().await;
    let cluster = &cluster;
    let launches = (0..TENANTS * EACH).map(|number| async move {
        let tenant = number % TENANTS;
        let id = cluster.client(number, KEYS[tenant].0).launch().await;
        (tenant, environment_id(&id))
    });
    let all: Vec<(usize, EnvironmentId)> =
        stream::iter(launches).buffer_unordered(8).collect().await;
    let directory = cluster.directory().await;
    let placed = async || {
        let looks = all.iter().map(|(tenant, it)| directory.locate(digest(*tenant), *it));
        join_all(looks).await.into_iter().filter(|at| matches!(at, Ok(Some(_)))).count()
    };
    assert_eq!(placed().await, all.len());

    cluster.redis.say("FLUSHALL");
    let began = Instant::now();
    // Each tenant goes on creating, all the while and as fast as it can.
    let creating = (0..TENANTS).map(|tenant| async move {
        let client = cluster.client(tenant, KEYS[tenant].0);
        let (mut created, mut back) = (0, None);
        while began.elapsed() < Duration::from_secs(8) {
            let answer = client.modern("tools/call", json!({"name": "launchShell"})).await;
            match answer.status {
                StatusCode::OK if answer.result()["isError"] == true => {
                    back.get_or_insert(began.elapsed());
                    sleep(Duration::from_millis(200)).await;
                }
                StatusCode::OK => {
                    back.get_or_insert(began.elapsed());
                    created += 1;
                }
                _ => {
                    assert_eq!(answer.error()["code"], 50303, "{answer:?}");
                    assert!(answer.error()["data"]["retryAfterMs"].is_number(), "{answer:?}");
                }
            }
        }
        (created, back)
    });
    let complete = async {
        eventually(async || placed().await == all.len()).await;
        began.elapsed()
    };
    let (creating, complete) = tokio::join!(join_all(creating), complete);
    assert!(complete < Duration::from_secs(10), "{complete:?}");
    for (created, back) in creating {
        assert!(
            created <= usize::try_from(LIMIT).unwrap() - EACH,
            "{created} more than there was room for"
        );
        assert!(back.is_some_and(|it| it < Duration::from_secs(5)), "{back:?}");
    }
    // Replicas are known again too, and every environment is where it was.
    let another = Replica { id: "x".into(), url: String::new() };
    assert_eq!(directory.announce(&another).await.unwrap().len(), 3);
    let listed = cluster.client(0, KEYS[0].0).succeed("listEnvironments", json!({})).await;
    assert!(listed["environments"].as_array().unwrap().len() >= EACH, "{listed}");
}

#[tokio::test]
async fn a_worker_whose_list_never_comes_does_not_keep_others_from_creating() {
    let cluster = Cluster::start(2, 1, |_| {}).await;
    let (directory, client) = (cluster.directory().await, cluster.client(0, ALICE));
    client.launch().await;
    // It lives, as far as anybody can see, and that is all. Both gateways have seen it before.
    let silent = &report("silent", 1, &[]);
    for gateway in &cluster.gateways {
        eventually(async || {
            directory.beat(silent).await.unwrap();
            gateway.workers().await == 2
        })
        .await;
    }
    cluster.redis.say("FLUSHALL");
    let began = Instant::now();
    let created = loop {
        directory.beat(silent).await.unwrap();
        let answer = client.modern("tools/call", json!({"name": "launchShell"})).await;
        if answer.status == StatusCode::OK {
            break began.elapsed();
        }
        assert_eq!(answer.error()["code"], 50303, "{answer:?}");
        assert!(began.elapsed() < Duration::from_secs(40), "nobody can create");
    };
    assert!(created > Duration::from_secs(10), "its list was waited for: {created:?}");
}
