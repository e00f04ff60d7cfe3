//! The link to Redis when Redis is away, slow, or loses replies.
#![expect(clippy::unwrap_used, reason = "set-up of a test")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use baton::clock::Clock;
use baton::directory::redis::inspect;
use baton::directory::{Directory, DirectoryConfig, DirectoryError, Tally, open};
use futures_util::future::join_all;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::subject::tally;
use crate::fault::{Fault, Proxy};
use crate::redis_server::{RedisServer, url_of};

/// The deadline of one operation, and what a busy machine may add.
const IN_TIME: Duration = Duration::from_millis(250 + 100);
/// What a refusal without asking may take: the median, as this machine is shared.
const AT_ONCE: Duration = Duration::from_millis(5);
/// Two probes after the server is back.
const BACK: Duration = Duration::from_millis(1500);
const LONG: Duration = Duration::from_hours(1);

async fn directory_at(address: std::net::SocketAddr) -> Arc<dyn Directory> {
    open(&DirectoryConfig::Redis(url_of(address)), Clock::system()).await
}

/// Asks until the directory is found away without being asked, each time within its deadline.
pub(super) async fn is_away(directory: &dyn Directory) {
    let mut took = Vec::new();
    for _ in 0..60 {
        let begun = Instant::now();
        let answer = directory.ping().await;
        assert!(begun.elapsed() < IN_TIME, "{:?}", begun.elapsed());
        assert!(matches!(answer, Err(DirectoryError::Away { .. })), "{answer:?}");
        took.push(begun.elapsed());
    }
    let last = &mut took[10..];
    last.sort();
    assert!(last[last.len() / 2] < AT_ONCE, "{last:?}");
}

pub(super) async fn comes_back(directory: &dyn Directory) {
    let begun = Instant::now();
    while directory.ping().await.is_err() {
        assert!(begun.elapsed() < BACK, "it should be back by now");
        sleep(Duration::from_millis(10)).await;
    }
    for _ in 0..20 {
        directory.ping().await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_comes_later_is_found() {
    let mut server = RedisServer::not_started();
    let directory = directory_at(server.address()).await;
    is_away(&*directory).await;
    server.restart();
    comes_back(&*directory).await;
}

#[tokio::test]
async fn a_killed_server_is_refused_at_once_and_found_again() {
    let mut server = RedisServer::start();
    let directory = directory_at(server.address()).await;
    directory.ping().await.unwrap();
    server.kill();
    is_away(&*directory).await;
    server.restart();
    comes_back(&*directory).await;
}

#[tokio::test]
async fn a_frozen_server_costs_its_deadline_and_then_nothing() {
    let server = RedisServer::start();
    let directory = directory_at(server.address()).await;
    directory.ping().await.unwrap();
    server.freeze();
    is_away(&*directory).await;
    server.thaw();
    comes_back(&*directory).await;
}

#[tokio::test]
async fn a_stalled_network_costs_its_deadline_and_then_nothing() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.address()).await;
    let directory = directory_at(proxy.address()).await;
    directory.ping().await.unwrap();
    for fault in [Fault::Stall, Fault::Cut] {
        proxy.inject(fault);
        is_away(&*directory).await;
        proxy.heal();
        comes_back(&*directory).await;
    }
}

#[tokio::test]
async fn one_late_answer_does_not_open_the_breaker() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.address()).await;
    let directory = directory_at(proxy.address()).await;
    directory.ping().await.unwrap();
    proxy.inject(Fault::Stall);
    let begun = Instant::now();
    directory.ping().await.unwrap_err();
    assert!((Duration::from_millis(250)..IN_TIME).contains(&begun.elapsed()));
    proxy.heal();
    directory.ping().await.unwrap();
}

#[tokio::test]
async fn five_late_answers_open_the_breaker_before_any_check_is_over() {
    let server = RedisServer::start();
    let directory = directory_at(server.address()).await;
    server.freeze();
    let late = join_all((0..5).map(|_| directory.ping())).await;
    assert!(late.iter().all(Result::is_err));
    let begun = Instant::now();
    directory.ping().await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_millis(100), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_server_that_has_fallen_silent_is_noticed_after_one_late_answer() {
    let server = RedisServer::start();
    let directory = directory_at(server.address()).await;
    server.freeze();
    directory.ping().await.unwrap_err();
    sleep(Duration::from_millis(800)).await;
    let begun = Instant::now();
    directory.ping().await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_millis(100), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_connection_that_breaks_is_replaced_before_anybody_waits_long() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.address()).await;
    let directory = directory_at(proxy.address()).await;
    directory.ping().await.unwrap();
    for _ in 0..5 {
        server.say("CLIENT KILL TYPE normal");
        drop(directory.ping().await);
        directory.ping().await.unwrap();
    }
}

#[tokio::test]
async fn a_failover_behind_a_name_is_followed_with_the_first_refusal() {
    let (one, two) = (RedisServer::start(), RedisServer::start());
    let proxy = Proxy::to(one.address()).await;
    let directory = directory_at(proxy.address()).await;
    directory.open_tally(tally(0), LONG).await.unwrap();
    // Nobody closes the connection, and reads are answered on it.
    one.say(&format!("REPLICAOF 127.0.0.1 {}", two.address().port()));
    directory.open_tally(tally(1), LONG).await.unwrap_err();
    is_away(&*directory).await;
    let refusal = format!("{:?}", directory.ping().await.unwrap_err());
    assert!(refusal.contains("NotMaster"), "{refusal}");

    proxy.lead_to(two.address());
    comes_back(&*directory).await;
    directory.open_tally(tally(1), LONG).await.unwrap();
    assert!(two.say("DBSIZE").contains('1'));
}

#[tokio::test]
async fn a_server_that_does_not_tell_its_role_is_taken_at_its_name() {
    let server = RedisServer::start();
    server.say("ACL SETUSER default -role");
    let directory = directory_at(server.address()).await;
    directory.open_tally(tally(0), LONG).await.unwrap();
}

#[tokio::test]
async fn a_server_that_drops_who_runs_a_script_is_not_connected_to_in_a_storm() {
    for some_operations_pass in [false, true] {
        let server = RedisServer::start();
        let proxy = Proxy::to(server.address()).await;
        proxy.inject(Fault::CutAt { word: "EVALSHA" });
        let directory = directory_at(proxy.address()).await;
        let began = Instant::now();
        let mut refused_at_once = 0;
        while began.elapsed() < Duration::from_secs(3) {
            if some_operations_pass {
                drop(directory.ping().await);
            }
            let refusal = format!("{:?}", directory.open_tally(tally(0), LONG).await.unwrap_err());
            refused_at_once += u32::from(refusal.contains("Open("));
            sleep(Duration::from_millis(5)).await;
        }
        // Two a second; where some operations pass, a few at once before that.
        let most = if some_operations_pass { 16 } else { 8 };
        assert!(proxy.connections() <= most, "{}", proxy.connections());
        assert!(refused_at_once > 100, "{refused_at_once}");
        proxy.heal();
        comes_back(&*directory).await;
        directory.open_tally(tally(0), LONG).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_reply_never_counts_an_operation_twice() {
    const TASKS: u32 = 8;
    const EACH: u32 = 100;
    let server = RedisServer::start();
    let proxy = Proxy::to(server.address()).await;
    let directory = directory_at(proxy.address()).await;
    directory.open_tally(tally(0), LONG).await.unwrap();
    proxy.inject(Fault::LoseReplies { one_in: 25 });
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let directory = Arc::clone(&directory);
        tasks.spawn(async move {
            let mut already_counted = 0;
            for number in 0..EACH {
                already_counted += u32::from(add(&*directory, &format!("{task}/{number}")).await);
            }
            already_counted
        });
    }
    let already_counted: u32 = tasks.join_all().await.iter().sum();
    proxy.heal();
    comes_back(&*directory).await;
    let sum = directory.add_to_tally(tally(0), "last", 0, LONG).await.unwrap();
    assert_eq!(sum, Tally::Total { total: i64::from(TASKS * EACH), repeated: false });
    // What makes the count above worth something: replies were lost after the server had counted.
    assert!(proxy.lost_replies() > 0 && already_counted > 0);
}

/// Adds 1 until there is an answer; whether it says that the operation had been counted before.
async fn add(directory: &dyn Directory, operation: &str) -> bool {
    loop {
        match directory.add_to_tally(tally(0), operation, 1, LONG).await {
            Ok(Tally::Total { repeated, .. }) => return repeated,
            Ok(other) => panic!("{other:?}"),
            Err(_) => sleep(Duration::from_millis(5)).await,
        }
    }
}

#[tokio::test]
async fn the_doctor_learns_what_the_server_is_set_to() {
    let server = RedisServer::start();
    server.say("CONFIG SET min-replicas-to-write 1");
    let inspected = inspect(&server.url()).await.unwrap();
    let inspection = inspected.only().unwrap();
    assert_eq!(inspection.maxmemory_policy.as_deref(), Some("noeviction"));
    assert_eq!(inspection.role.as_deref(), Some("master"));
    assert_eq!((inspection.replicas, inspection.min_replicas_to_write), (Some(0), Some(1)));
    assert!(inspection.version.is_some());
    // Also of one that a gateway would not use: the doctor is to say why.
    server.say("REPLICAOF 127.0.0.1 1");
    assert!(inspect(&server.url()).await.unwrap().is_replica());
    let nobody = RedisServer::not_started();
    assert!(matches!(inspect(&nobody.url()).await, Err(DirectoryError::Away { .. })));
}
