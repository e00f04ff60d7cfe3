//! The directory on Redis Cluster: slots are found, followed, and missed one by one.
#![expect(clippy::unwrap_used, reason = "set-up of a test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use baton::clock::Clock;
use baton::directory::redis::{RedisSettings, RedisUrl};
use baton::directory::{
    Audience, Change, Directory, DirectoryConfig, DirectoryError, DirectoryEvent, Heard, Launch,
    LaunchClaim, List, Reservation, Tally, open,
};
use baton::domain::ids::{LaunchKey, RateId};
use baton::domain::rate::Rate;
use futures_util::future::join_all;
use http::StatusCode;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::subject::{environment, holding, tally, tenant};
use crate::cluster::{ALICE, Cluster, eventually, number};
use crate::fault::{Fault, Proxy};
use crate::redis_cluster::RedisCluster;
use crate::redis_server::{RedisServer, free_port};

const LONG: Duration = Duration::from_hours(1);
/// A second until the master is missed, the vote, the promotion, and what a busy machine may add.
const FAILOVER: Duration = Duration::from_secs(15);
/// The deadline of one operation, and what a busy machine may add; one deadline at each node would be far more.
const IN_TIME: Duration = Duration::from_secs(1);

async fn directory_at(settings: RedisSettings) -> Arc<dyn Directory> {
    open(&DirectoryConfig::Redis(settings), Clock::system()).await
}

async fn add(directory: &dyn Directory, operation: &str) -> Result<Tally, DirectoryError> {
    let began = Instant::now();
    let added = directory.add_to_tally(tally(0), operation, 1, LONG).await;
    assert!(began.elapsed() < IN_TIME, "{:?}", began.elapsed());
    added
}

async fn total(directory: &dyn Directory) -> i64 {
    match directory.add_to_tally(tally(0), "last", 0, LONG).await.unwrap() {
        Tally::Total { total, .. } => total,
        other => panic!("{other:?}"),
    }
}

fn key_of(id: u8) -> String {
    format!("baton:{{y:{}}}:tally", tally(id))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_takes_over_within_seconds_and_nothing_counts_twice() {
    const TASKS: usize = 4;
    let mut redis = RedisCluster::start_with_replicas();
    let directory = directory_at(redis.settings()).await;
    let other = directory_at(redis.settings()).await;
    let mut events = other.subscribe().await;
    directory.open_tally(tally(0), LONG).await.unwrap();
    let (owner, killed) = (redis.owner(&key_of(0)), AtomicBool::new(false));
    let (added, back) = (AtomicU32::new(0), AtomicU32::new(0));
    let add_all = async |task: usize| {
        for number in 0.. {
            let operation = format!("{task}/{number}");
            while add(&*directory, &operation).await.is_err() {
                sleep(Duration::from_millis(10)).await;
            }
            added.fetch_add(1, Ordering::Relaxed);
            // Fifty more after the new master took its first.
            if killed.load(Ordering::Relaxed) && back.fetch_add(1, Ordering::Relaxed) >= 50 {
                return number;
            }
        }
        unreachable!("numbers do not end")
    };
    let mut took = Duration::ZERO;
    let kill = async {
        eventually(async || added.load(Ordering::Relaxed) > 200).await;
        redis.masters[owner].kill();
        let began = Instant::now();
        eventually(async || add(&*directory, "first after").await.is_ok()).await;
        took = began.elapsed();
        killed.store(true, Ordering::Relaxed);
    };
    let (last, ()) = tokio::join!(join_all((0..TASKS).map(add_all)), kill);
    assert!(took < FAILOVER, "{took:?}");
    // What was acknowledged and not yet copied is lost with the master: those that are sent again count now, the others
    // do not count again.
    for (task, last) in last.iter().enumerate() {
        for number in 0..=*last {
            add(&*directory, &format!("{task}/{number}")).await.unwrap();
        }
    }
    add(&*directory, "first after").await.unwrap();
    assert_eq!(total(&*directory).await, i64::from(added.load(Ordering::Relaxed)) + 1);

    // Events are heard of one that lives.
    let change = Change::List { list: List::Tools, audience: Audience::Everybody };
    let event = DirectoryEvent { replica: "r".into(), changes: vec![change] };
    let heard = async {
        loop {
            directory.publish(&event).await.unwrap();
            if let Ok(Some(Heard::Event(it))) =
                timeout(Duration::from_millis(300), events.next()).await
            {
                return it;
            }
        }
    };
    assert_eq!(timeout(FAILOVER, heard).await.unwrap(), event);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_moves_under_load_costs_no_operation_on_one_key() {
    let redis = RedisCluster::start();
    let directory = directory_at(redis.settings()).await;
    directory.open_tally(tally(0), LONG).await.unwrap();
    let (slot, owner) = (redis.slot(&key_of(0)), redis.owner(&key_of(0)));
    let (added, over) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    // Tasks of their own, so that no time of theirs passes while a slot's keys are moved.
    let mut adding = JoinSet::new();
    for task in 0..4 {
        let (directory, added, over) =
            (Arc::clone(&directory), Arc::clone(&added), Arc::clone(&over));
        adding.spawn(async move {
            for number in 0.. {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let sum = add(&*directory, &format!("{task}/{number}")).await;
                assert!(matches!(sum, Ok(Tally::Total { repeated: false, .. })), "{sum:?}");
                added.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let some_more = async || {
        let enough = added.load(Ordering::Relaxed) + 50;
        eventually(async || added.load(Ordering::Relaxed) > enough).await;
    };
    for round in 0..4 {
        let (from, to) = ((owner + round) % 3, (owner + round + 1) % 3);
        some_more().await;
        redis.migrate(slot, from, to, some_more()).await;
    }
    some_more().await;
    over.store(true, Ordering::Relaxed);
    adding.join_all().await;
    assert_eq!(total(&*directory).await, i64::from(added.load(Ordering::Relaxed)));
}

#[tokio::test]
async fn what_writes_new_keys_together_is_refused_while_their_slot_moves_and_then_taken() {
    let redis = RedisCluster::start();
    let directory = directory_at(redis.settings()).await;
    directory.complete(&[]).await.unwrap();
    let quota = format!("baton:{{t:{}}}:quota", tenant(0));
    let (slot, from) = (redis.slot(&quota), redis.owner(&quota));
    let not_after = Clock::system().now().after(LONG);
    let rates = ["a", "b"].map(|name| (RateId::of("test", name), Rate::new(LONG, number(9))));
    let place = async |id| directory.place(&holding(id, "w", 1, not_after)).await;
    let spend = async || directory.spend(tenant(0), &rates).await;
    place(1).await.unwrap();
    let meanwhile = async {
        // What has one key, or finds all of its keys.
        let room = directory.reserve(tenant(0), environment(2), 2).await.unwrap();
        assert_eq!(room, Reservation::Granted);
        let mine = Launch { environment: environment(2), not_after };
        let key = LaunchKey::from_bytes([1; 16]);
        let claim = directory.claim_launch(tenant(0), key, mine).await.unwrap();
        assert_eq!(claim, LaunchClaim::Yours(mine));
        assert!(directory.locate(tenant(0), environment(1)).await.unwrap().is_some());
        place(1).await.unwrap();
        for _ in 0..3 {
            let began = Instant::now();
            assert!(matches!(place(2).await, Err(DirectoryError::Away { .. })));
            assert!(matches!(spend().await, Err(DirectoryError::Away { .. })));
            assert!(began.elapsed() < IN_TIME * 2, "{:?}", began.elapsed());
        }
    };
    redis.migrate(slot, from, (from + 1) % 3, meanwhile).await;
    place(2).await.unwrap();
    let spending = spend().await.unwrap();
    assert!(spending.granted);
    for used in spending.used {
        assert_eq!(used, LONG, "what was refused was not counted");
    }
}

#[tokio::test]
async fn what_is_on_other_masters_goes_on_and_what_is_away_is_named() {
    let mut redis = RedisCluster::start();
    let directory = directory_at(redis.settings()).await;
    let fleet = redis.owner("baton:{fleet}:seen");
    let on = |master: usize| (0..=u8::MAX).find(|id| redis.owner(&key_of(*id)) == master).unwrap();
    let (here, there) = (on(fleet), on((fleet + 1) % 3));
    for id in [here, there] {
        directory.open_tally(tally(id), LONG).await.unwrap();
    }
    let port = redis.masters[fleet].address().port().to_string();
    redis.masters[fleet].kill();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(4) {
        let asked = Instant::now();
        let away = format!("{:?}", directory.open_tally(tally(here), LONG).await.unwrap_err());
        assert!(asked.elapsed() < IN_TIME, "{:?}", asked.elapsed());
        assert!(away.contains(&port) || away.contains("NoOwner"), "{away}");
        assert!(directory.fleet().await.is_err());
        directory.open_tally(tally(there), LONG).await.unwrap();
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_cluster_that_comes_later_is_found() {
    let mut server = RedisServer::not_started_with(&["--cluster-enabled", "yes"]);
    let url = format!("redis-cluster://{}", server.address());
    let directory = directory_at(RedisUrl::parse(&url).unwrap().into()).await;
    let began = Instant::now();
    assert!(directory.ping().await.is_err() && began.elapsed() < IN_TIME);
    server.restart();
    server.say("CLUSTER ADDSLOTSRANGE 0 16383");
    eventually(async || directory.ping().await.is_ok()).await;
}

#[tokio::test]
async fn nodes_are_reached_where_they_announce_themselves_and_a_lost_reply_is_not_sent_again() {
    const OPERATIONS: u32 = 400;
    let port = free_port();
    let server = RedisServer::start_one_node_cluster();
    let proxy = Proxy::to(server.address()).await;
    server.say(&format!("CONFIG SET cluster-announce-port {}", proxy.address().port()));
    let url = format!("redis-cluster://127.0.0.1:{port},{}", server.address());
    let directory = directory_at(RedisUrl::parse(&url).unwrap().into()).await;
    directory.open_tally(tally(0), LONG).await.unwrap();
    server.say("CONFIG RESETSTAT");
    proxy.inject(Fault::LoseReplies { one_in: 10 });
    let mut lost = 0;
    for number in 0..OPERATIONS {
        lost += u32::from(add(&*directory, &number.to_string()).await.is_err());
    }
    assert!(proxy.lost_replies() > 0 && lost > 0);
    let said = server.say("INFO commandstats");
    let line = said.lines().find_map(|it| it.strip_prefix("cmdstat_evalsha:calls=")).unwrap();
    let calls: u32 = line.split(',').next().unwrap().parse().unwrap();
    assert!(calls <= OPERATIONS, "{calls}");
}

#[tokio::test]
async fn environments_are_served_while_a_master_of_the_cluster_is_replaced() {
    let mut redis = RedisCluster::start_with_replicas();
    let directories = [directory_at(redis.settings()).await, directory_at(redis.settings()).await];
    let directories = std::sync::Mutex::new(directories.to_vec());
    let cluster = Cluster::start(2, 2, |config| {
        config.directory = directories.lock().unwrap().pop().unwrap();
    })
    .await;
    let clients = [cluster.client(0, ALICE), cluster.client(1, ALICE)];
    let id = clients[0].launch().await;
    clients[0].python(&id, "x = 0").await;
    let fleet = redis.owner("baton:{fleet}:seen");
    redis.masters[fleet].kill();
    let began = Instant::now();
    for client in &clients {
        eventually(async || {
            // Served all the while.
            client.python(&id, "x += 1").await;
            let launched = client.modern("tools/call", json!({"name": "launchShell"})).await;
            launched.status == StatusCode::OK
        })
        .await;
    }
    assert!(began.elapsed() < FAILOVER, "{:?}", began.elapsed());
    let listed = clients[1].succeed("listEnvironments", json!({})).await;
    assert_eq!(listed["partial"], false);
}
