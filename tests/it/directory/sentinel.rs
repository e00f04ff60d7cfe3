//! The directory by Sentinel: the master is found, followed, and told from one that was.
#![expect(clippy::unwrap_used, reason = "set-up of a test")]

use std::fs::{File, read_to_string};
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use baton::clock::Clock;
use baton::directory::redis::{RedisSettings, RedisUrl, inspect};
use baton::directory::{
    Audience, Change, Directory, DirectoryConfig, DirectoryEvent, Heard, List, Tally, open,
};
use http::StatusCode;
use serde_json::json;
use tokio::time::{sleep, timeout};

use super::subject::tally;
use crate::cluster::{ALICE, Cluster, Scratch, alice, environment_id, eventually, free_address};
use crate::program::Program;
use crate::redis_sentinel::{MASTER, Obedient, Watched, settings, url};
use crate::redis_server::RedisServer;

/// A second until the master is missed, the vote, the promotion, and what a busy machine may add.
const FAILOVER: Duration = Duration::from_secs(15);
const LONG: Duration = Duration::from_hours(1);

async fn directory_by(settings: RedisSettings) -> Arc<dyn Directory> {
    open(&DirectoryConfig::Redis(settings), Clock::system()).await
}

/// Adds one until there is an answer: the sum.
async fn count(directory: &dyn Directory, operation: &str) -> i64 {
    let began = Instant::now();
    loop {
        match directory.add_to_tally(tally(0), operation, 1, LONG).await {
            Ok(Tally::Total { total, .. }) => return total,
            Ok(other) => panic!("{other:?}"),
            Err(error) => assert!(began.elapsed() < FAILOVER, "{error:?}"),
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// Two gateways and two workers go on while the master is replaced.
async fn goes_on_without(hurt: impl FnOnce(&mut RedisServer)) {
    let mut redis = Watched::start();
    // Each gateway has a directory of its own, as in a process of its own.
    let both = [directory_by(redis.settings()).await, directory_by(redis.settings()).await];
    let directories = Mutex::new(both.to_vec());
    let cluster = Cluster::start(2, 2, |config| {
        config.directory = directories.lock().unwrap().pop().unwrap();
    })
    .await;
    let clients = [cluster.client(0, ALICE), cluster.client(1, ALICE)];
    let id = clients[0].launch().await;
    clients[0].python(&id, "x = 0").await;

    hurt(&mut redis.master);
    let began = Instant::now();
    for (replica, client) in clients.iter().enumerate() {
        eventually(async || {
            // Served all the while.
            clients[replica].python(&id, "x += 1").await;
            let launched = client.modern("tools/call", json!({"name": "launchShell"})).await;
            launched.status == StatusCode::OK
        })
        .await;
    }
    assert!(began.elapsed() < FAILOVER, "{:?}", began.elapsed());
    assert!(redis.replica.is_master());
    for client in &clients {
        let listed = client.succeed("listEnvironments", json!({})).await;
        assert_eq!(
            (listed["environments"].as_array().unwrap().len(), &listed["partial"]),
            (3, &json!(false))
        );
    }
    // What the promoted one had not yet been told, the workers tell it.
    let (tenant, environment) = (alice().tenant_digest(), environment_id(&id));
    eventually(async || both[0].locate(tenant, environment).await.unwrap().is_some()).await;
}

#[tokio::test]
async fn a_killed_master_is_replaced_and_environments_are_served_throughout() {
    goes_on_without(RedisServer::kill).await;
}

#[tokio::test]
async fn a_frozen_master_is_replaced_and_environments_are_served_throughout() {
    goes_on_without(|master| master.freeze()).await;
}

#[tokio::test]
async fn a_master_that_steps_down_is_left_at_once_and_events_are_heard_of_the_next() {
    let redis = Watched::start();
    let directory = directory_by(redis.settings()).await;
    let mut events = directory.subscribe().await;
    directory.open_tally(tally(0), LONG).await.unwrap();
    assert_eq!(count(&*directory, "before").await, 1);
    redis.sentinels[0].say(&format!("SENTINEL FAILOVER {MASTER}"));
    eventually(async || redis.replica.is_master() && !redis.master.is_master()).await;
    // It had the first one before it was promoted: a planned failover loses nothing.
    assert_eq!(count(&*directory, "after").await, 2);
    assert_eq!(timeout(FAILOVER, events.next()).await.unwrap(), Some(Heard::Missed));
    let change = Change::List { list: List::Tools, audience: Audience::Everybody };
    let event = DirectoryEvent { replica: "r".into(), changes: vec![change] };
    directory.publish(&event).await.unwrap();
    assert_eq!(timeout(FAILOVER, events.next()).await.unwrap(), Some(Heard::Event(event)));
}

#[tokio::test]
async fn a_server_that_has_become_a_replica_is_left_with_its_first_refusal() {
    let (one, two) = (RedisServer::start(), RedisServer::start());
    let sentinel = Obedient::naming(&one).await;
    let directory = directory_by(settings(&[sentinel.address()], MASTER)).await;
    directory.open_tally(tally(0), LONG).await.unwrap();
    two.say("SET x 1");
    sentinel.name(&two);
    // Nobody closes the connection.
    one.say(&format!("REPLICAOF 127.0.0.1 {}", two.address().port()));
    directory.open_tally(tally(1), LONG).await.unwrap_err();
    directory.open_tally(tally(1), LONG).await.unwrap();
    assert!(two.say("DBSIZE").contains('2'));
}

#[tokio::test]
async fn a_sentinel_that_is_behind_is_not_believed() {
    let master = RedisServer::start();
    let port = master.address().port().to_string();
    let replica = RedisServer::start_with(&["--replicaof", &format!("127.0.0.1 {port}")]);
    let (behind, right) = (Obedient::naming(&replica).await, Obedient::naming(&master).await);
    let alone = inspect(&settings(&[behind.address()], MASTER)).await.unwrap_err();
    assert!(format!("{alone:?}").contains("NotMaster"), "{alone:?}");
    let directory = directory_by(settings(&[behind.address(), right.address()], MASTER)).await;
    directory.open_tally(tally(0), LONG).await.unwrap();
    behind.name(&master);
    inspect(&settings(&[behind.address()], MASTER)).await.unwrap();
}

#[tokio::test]
async fn a_master_that_sentinels_no_longer_name_is_left_without_a_failure() {
    let (one, two) = (RedisServer::start(), RedisServer::start());
    let sentinel = Obedient::naming(&one).await;
    let directory = directory_by(settings(&[sentinel.address()], MASTER)).await;
    directory.open_tally(tally(0), LONG).await.unwrap();
    // It takes writes still, and answers in time.
    sentinel.name(&two);
    eventually(async || {
        drop(directory.open_tally(tally(1), LONG).await);
        two.say("DBSIZE").contains('1')
    })
    .await;
}

#[tokio::test]
async fn what_a_minority_of_sentinels_names_is_not_taken_while_the_master_is_silent() {
    let (stale, master) = (RedisServer::start(), RedisServer::start());
    let behind = Obedient::naming(&stale).await;
    let right = [Obedient::naming(&master).await, Obedient::naming(&master).await];
    let sentinels = [behind.address(), right[0].address(), right[1].address()];
    let directory = directory_by(settings(&sentinels, MASTER)).await;
    directory.open_tally(tally(0), LONG).await.unwrap();
    master.freeze();
    // Long enough for some attempts to connect.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(2) {
        directory.open_tally(tally(1), LONG).await.unwrap_err();
        sleep(Duration::from_millis(20)).await;
    }
    master.thaw();
    eventually(async || directory.open_tally(tally(1), LONG).await.is_ok()).await;
    assert!(stale.say("DBSIZE").contains('0') && master.say("DBSIZE").contains('2'));
}

#[tokio::test]
async fn a_master_without_enough_replicas_is_asked_for_again() {
    let (one, two) = (RedisServer::start(), RedisServer::start());
    let sentinel = Obedient::naming(&one).await;
    let directory = directory_by(settings(&[sentinel.address()], MASTER)).await;
    directory.ping().await.unwrap();
    // As when it is cut off from its replicas, one of which has taken its place.
    one.say("CONFIG SET min-replicas-to-write 1");
    sentinel.name(&two);
    eventually(async || directory.open_tally(tally(0), LONG).await.is_ok()).await;
    assert!(two.say("DBSIZE").contains('1'));
}

#[tokio::test]
async fn a_server_and_its_sentinels_each_have_a_password() {
    let master = RedisServer::start();
    master.say("CONFIG SET requirepass p");
    let sentinel = Obedient::naming(&master).await;
    sentinel.demand("q");
    let at = sentinel.address();
    let known = |text: &str| RedisSettings::from(RedisUrl::parse(text).unwrap());
    let right = format!("redis+sentinel://:p@{at}/{MASTER}?sentinel_password=q");
    inspect(&known(&right)).await.unwrap();
    for (wrong, why) in [
        (format!("redis+sentinel://:p@{at}/{MASTER}"), "NoSentinel"),
        (format!("redis+sentinel://{at}/{MASTER}?sentinel_password=q"), "Master("),
    ] {
        let error = format!("{:?}", inspect(&known(&wrong)).await.unwrap_err());
        assert!(error.contains(why) && error.contains("NOAUTH"), "{error}");
    }
}

#[tokio::test]
async fn sentinels_that_are_down_or_silent_are_passed_over() {
    let master = RedisServer::start();
    let (right, silent) = (Obedient::naming(&master).await, RedisServer::start());
    silent.freeze();
    let sentinels: [SocketAddr; 3] = [free_address(), silent.address(), right.address()];
    let began = Instant::now();
    let directory = directory_by(settings(&sentinels, MASTER)).await;
    // A start waits for the first half second only.
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    eventually(async || directory.ping().await.is_ok()).await;

    // Where most agree nobody waits for the rest.
    let another = Obedient::naming(&master).await;
    let sentinels = [silent.address(), right.address(), another.address()];
    let directory = directory_by(settings(&sentinels, MASTER)).await;
    directory.ping().await.unwrap();
    for _ in 0..3 {
        master.say("CLIENT KILL TYPE normal");
        drop(directory.ping().await);
        directory.ping().await.unwrap();
    }
}

#[tokio::test]
async fn a_name_that_no_sentinel_knows_is_said_by_the_log_and_by_the_doctor() {
    let redis = Watched::start();
    let scratch = Scratch::new("sentinel");
    let sentinels = [redis.sentinels[0].address(), free_address()];
    let flags = |master: &str| [("--redis", url(&sentinels, master))];
    let said = Program::doctor_over(scratch.path(), &flags("nobody")).await;
    for line in [
        &format!("FAIL redis: Sentinel {} knows no master of that name", sentinels[0]),
        &format!("note redis: Sentinel {} does not answer", sentinels[1]),
        "no Sentinel that answers knows a master named nobody",
    ] {
        assert!(said.contains(line), "{line}\n{said}");
    }
    let log = scratch.path().join("log");
    let file = Stdio::from(File::create(&log).unwrap());
    let _gateway = Program::gateway_over(scratch.path(), &flags("nobody"), file).await;
    let line = "no Sentinel that answers knows a master named nobody";
    eventually(async || read_to_string(&log).unwrap().contains(line)).await;

    let said = Program::doctor_over(scratch.path(), &flags(MASTER)).await;
    for line in [
        &format!("Sentinel {} names the master {}", sentinels[0], redis.master.address()),
        "ok   redis: redis+sentinel://",
        "note redis: it takes writes that no replica has",
    ] {
        assert!(said.contains(line), "{line}\n{said}");
    }
}
