//! The embedded directory as the model of Redis, and what only a shared directory must stand.
#![expect(clippy::unwrap_used, reason = "a directory that is away fails the test")]

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use baton::clock::Clock;
use baton::directory::{
    Beat, Completeness, Directory, DirectoryConfig, DirectoryError, Launch, LaunchEnd, Replica,
    Reservation, Terms, open, open_with,
};
use baton::domain::ids::{EnvironmentId, LaunchKey, RateId, Timestamp, WorkerId};
use baton::domain::placement::Holding;
use baton::domain::rate::Rate;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tokio::task::JoinSet;

use super::subject::{LIMIT, environment, holding, report, tally, tenant};
use crate::redis_server::RedisServer;

const SEQUENCES: u32 = 200;
const STEPS: usize = 60;
const LONG: Duration = Duration::from_hours(1);

#[derive(Clone, Debug)]
enum Step {
    Beat { worker: u8, incarnation: u64, list: Vec<(u8, u64)> },
    Reconcile { worker: u8, incarnation: u64, list: Vec<(u8, u64)> },
    Fleet,
    Announce { id: u8, url: u8 },
    Withdraw { id: u8, url: u8 },
    Reserve { environment: u8, limit: u32 },
    Place { environment: u8, worker: u8, epoch: u64, over: bool },
    Locate { environment: u8 },
    Release { environment: u8 },
    Spend { tenant: u8, rates: Vec<u8> },
    ClaimLaunch { key: u8, environment: u8, over: bool },
    SettleLaunch { key: u8, environment: u8, how: LaunchEnd },
    OpenTally { tally: u8 },
    Add { tally: u8, operation: u8, amount: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    let (worker, incarnation, environment, epoch) = (0..3u8, 1..4u64, 0..6u8, 1..4u64);
    let list = || prop::collection::btree_map(environment.clone(), epoch.clone(), 0..5);
    let list = || list().prop_map(|list| list.into_iter().collect::<Vec<_>>());
    let amount = prop_oneof![-9..9i64, Just(i64::MAX), Just(i64::MIN)];
    prop_oneof![
        2 => (worker.clone(), incarnation.clone(), list())
            .prop_map(|(worker, incarnation, list)| Step::Beat { worker, incarnation, list }),
        4 => (worker.clone(), incarnation, list())
            .prop_map(|(worker, incarnation, list)| Step::Reconcile { worker, incarnation, list }),
        1 => Just(Step::Fleet),
        1 => (0..2u8, 0..2u8).prop_map(|(id, url)| Step::Announce { id, url }),
        1 => (0..2u8, 0..2u8).prop_map(|(id, url)| Step::Withdraw { id, url }),
        3 => (environment.clone(), 0..5u32)
            .prop_map(|(environment, limit)| Step::Reserve { environment, limit }),
        4 => (environment.clone(), worker, epoch, prop::bool::weighted(0.1))
            .prop_map(|(environment, worker, epoch, over)| Step::Place { environment, worker, epoch, over }),
        3 => environment.clone().prop_map(|environment| Step::Locate { environment }),
        2 => environment.clone().prop_map(|environment| Step::Release { environment }),
        2 => (0..2u8, environment.clone(), prop::bool::weighted(0.1))
            .prop_map(|(key, environment, over)| Step::ClaimLaunch { key, environment, over }),
        2 => (0..2u8, environment, prop::sample::select(vec![LaunchEnd::Made, LaunchEnd::NotMade, LaunchEnd::Open]))
            .prop_map(|(key, environment, how)| Step::SettleLaunch { key, environment, how }),
        3 => (0..2u8, prop::sample::subsequence(vec![0, 1, 4], 0..=3))
            .prop_map(|(tenant, rates)| Step::Spend { tenant, rates }),
        1 => (0..2u8).prop_map(|tally| Step::OpenTally { tally }),
        3 => (0..2u8, 0..6u8, amount)
            .prop_map(|(tally, operation, amount)| Step::Add { tally, operation, amount }),
    ]
}

/// An environment belongs to one tenant for life.
fn owned(environment: u8, worker: u8, epoch: u64, not_after: Timestamp) -> Holding {
    let worker = format!("w{worker}");
    Holding { tenant: tenant(environment % 2), ..holding(environment, &worker, epoch, not_after) }
}

/// Takes a step, and tells all that can be seen of what came of it.
async fn take(directory: &dyn Directory, step: &Step, start: Timestamp) -> String {
    let held = |worker: u8, list: &[(u8, u64)]| -> Vec<Holding> {
        list.iter().map(|(id, epoch)| owned(*id, worker, *epoch, start.after(LONG))).collect()
    };
    let replica = |id, url| Replica { id: format!("r{id}"), url: format!("http://{url}") };
    match step {
        Step::Beat { worker, incarnation, list } => {
            let report = report(&format!("w{worker}"), *incarnation, &held(*worker, list));
            format!("{:?}", directory.beat(&report).await.unwrap())
        }
        Step::Reconcile { worker, incarnation, list } => {
            let list = held(*worker, list);
            let report = report(&format!("w{worker}"), *incarnation, &list);
            format!("{:?}", directory.reconcile(&report, &list).await.unwrap())
        }
        Step::Fleet => {
            let fleet = directory.fleet().await.unwrap();
            format!("{:?}", fleet.into_iter().map(|it| it.report).collect::<Vec<_>>())
        }
        Step::Announce { id, url } => {
            format!("{:?}", directory.announce(&replica(id, url)).await.unwrap())
        }
        Step::Withdraw { id, url } => {
            format!("{:?}", directory.withdraw(&replica(id, url)).await.unwrap())
        }
        Step::Reserve { environment: id, limit } => {
            let (tenant, environment) = (tenant(id % 2), environment(*id));
            format!("{:?}", directory.reserve(tenant, environment, *limit).await.unwrap())
        }
        Step::Place { environment, worker, epoch, over } => {
            let not_after = if *over { Timestamp::from_millis(1) } else { start.after(LONG) };
            let holding = owned(*environment, *worker, *epoch, not_after);
            format!("{:?}", directory.place(&holding).await.unwrap())
        }
        Step::Locate { environment: id } => {
            format!("{:?}", directory.locate(tenant(id % 2), environment(*id)).await.unwrap())
        }
        Step::Release { environment: id } => {
            format!("{:?}", directory.release(tenant(id % 2), environment(*id)).await.unwrap())
        }
        Step::Spend { tenant: id, rates } => {
            let rate = |n: &u8| {
                let burst = NonZeroU32::new(u32::from(*n) + 1).unwrap();
                (RateId::of("model", &n.to_string()), Rate::new(LONG, burst))
            };
            let rates: Vec<_> = rates.iter().map(rate).collect();
            let spending = directory.spend(tenant(*id), &rates).await.unwrap();
            let left = rates.iter().zip(&spending.used).map(|((_, rate), used)| rate.left(*used));
            format!("{} {:?}", spending.granted, left.collect::<Vec<_>>())
        }
        Step::ClaimLaunch { key, environment: id, over } => {
            let not_after = if *over { Timestamp::from_millis(1) } else { start.after(LONG) };
            let mine = Launch { environment: environment(*id), not_after };
            let key = LaunchKey::from_bytes([*key; 16]);
            format!("{:?}", directory.claim_launch(tenant(0), key, mine).await.unwrap())
        }
        Step::SettleLaunch { key, environment: id, how } => {
            let (key, environment) = (LaunchKey::from_bytes([*key; 16]), environment(*id));
            format!(
                "{:?}",
                directory.settle_launch(tenant(0), key, environment, *how).await.unwrap()
            )
        }
        Step::OpenTally { tally: id } => {
            format!("{:?}", directory.open_tally(tally(*id), LONG).await.unwrap())
        }
        Step::Add { tally: id, operation, amount } => {
            let operation = operation.to_string();
            let added = directory.add_to_tally(tally(*id), &operation, *amount, LONG).await;
            format!("{:?}", added.unwrap())
        }
    }
}

/// What is looked at when a sequence is over: where everything lives, and how much room is left.
fn last_looks() -> Vec<Step> {
    let everywhere = (0..6).map(|environment| Step::Locate { environment });
    let room = (6..16).map(|environment| Step::Reserve { environment, limit: LIMIT });
    everywhere.chain(room).chain([Step::Fleet]).collect()
}

#[test]
fn redis_answers_any_sequence_as_the_embedded_directory_does() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = RedisServer::start();
    let config = DirectoryConfig::Redis(server.url());
    let mut runner = TestRunner::new(ProptestConfig {
        cases: SEQUENCES,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    // Time stands still in a sequence, so terms are either long or over at once.
    let term = |long| prop_oneof![Just(Duration::ZERO), Just(long)];
    let terms = (term(Terms::default().settling), term(Terms::default().list));
    let steps = prop::collection::vec(step(), 1..=STEPS);
    let outcome = runner.run(&(terms, steps), |((settling, list), steps)| {
        let terms = Terms { settling, list, ..Terms::default() };
        runtime.block_on(async {
            server.say("FLUSHDB");
            let clock = Clock::system();
            let model = open_with(&DirectoryConfig::Embedded, clock.clone(), terms).await;
            let redis = open_with(&config, clock.clone(), terms).await;
            redis.complete(&[]).await.unwrap();
            let start = clock.now();
            for step in steps.iter().chain(&last_looks()) {
                let expected = take(&*model, step, start).await;
                prop_assert_eq!(take(&*redis, step, start).await, expected, "{:?}", step);
            }
            Ok(())
        })
    });
    if let Err(difference) = outcome {
        panic!("{difference}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_is_exact_whoever_asks_at_once_and_twice() {
    const ROOM: u32 = 100;
    let server = RedisServer::start();
    let config = DirectoryConfig::Redis(server.url());
    let directory = open(&config, Clock::system()).await;
    directory.complete(&[]).await.unwrap();
    let mut tasks = JoinSet::new();
    for task in 0..8u8 {
        let directory = Arc::clone(&directory);
        tasks.spawn(async move {
            let mut granted = 0;
            for number in 0..40u8 {
                let mut bytes = [0; 16];
                bytes[..2].copy_from_slice(&[task, number]);
                let environment = EnvironmentId::from_bytes(bytes);
                let claim = || directory.reserve(tenant(0), environment, ROOM);
                let (one, two) = tokio::join!(claim(), claim());
                let (one, two) = (one.unwrap(), two.unwrap());
                assert_eq!(one, two, "a repeat gets the first one's answer");
                granted += u32::from(one == Reservation::Granted);
            }
            granted
        });
    }
    assert_eq!(tasks.join_all().await.iter().sum::<u32>(), ROOM);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_that_cross_are_never_believed_while_the_picture_is_neither() {
    let server = RedisServer::start();
    let terms = Terms { settling: Duration::ZERO, ..Terms::default() };
    let config = DirectoryConfig::Redis(server.url());
    let directory = open_with(&config, Clock::system(), terms).await;
    let end = Clock::system().now().after(LONG);
    let list = |ids: [u8; 2]| ids.map(|id| holding(id, "a", 1, end)).to_vec();
    let mut lists = [list([1, 2]), list([2, 3])];
    // More tenants, more steps: the first list begins before the second and often ends after it.
    let others = (10..90).map(|id| Holding { tenant: tenant(id), ..holding(id, "a", 1, end) });
    lists[0].extend(others);
    let [one, two] = lists.each_ref().map(|list| report("a", 1, list));
    for round in 0..100 {
        server.say("FLUSHDB");
        let later = async {
            tokio::time::sleep(Duration::from_micros(round * 50)).await;
            directory.reconcile(&two, &lists[1]).await
        };
        let (first, second) = tokio::join!(directory.reconcile(&one, &lists[0]), later);
        first.and(second).unwrap();
        for (report, list) in [&one, &two].into_iter().zip(&lists) {
            if directory.beat(report).await.unwrap() == Beat::Current {
                for it in lists.iter().flatten() {
                    let at = directory.locate(it.tenant, it.environment).await.unwrap();
                    assert_eq!(at.is_some(), list.contains(it), "{it:?} in round {round}");
                }
            }
        }
    }
}

async fn is_complete(directory: &dyn Directory, workers: &[WorkerId]) -> bool {
    matches!(directory.complete(workers).await.unwrap(), Completeness::Since(_))
}

#[tokio::test]
async fn workers_bring_back_what_redis_has_forgotten() {
    let server = RedisServer::start();
    let directory = open(&DirectoryConfig::Redis(server.url()), Clock::system()).await;
    let end = Clock::system().now().after(LONG);
    let list: Vec<_> = (1..=3).map(|id| holding(id, "a", 1, end)).collect();
    let (report, workers) = (report("a", 1, &list), [WorkerId::parse("a").unwrap()]);
    for command in ["FLUSHALL", "SCRIPT FLUSH", "PING"] {
        server.say(command);
        let emptied = command == "FLUSHALL";
        let complete = directory.complete(&workers).await.unwrap();
        assert_eq!(complete == Completeness::Missing(workers.to_vec()), emptied, "{complete:?}");
        let held = directory.reserve(tenant(0), environment(4), LIMIT).await;
        assert_eq!(matches!(held, Err(DirectoryError::Incomplete)), emptied, "{held:?}");
        if directory.beat(&report).await.unwrap() == Beat::ListWanted {
            directory.reconcile(&report, &list).await.unwrap();
        }
        assert_eq!(directory.beat(&report).await.unwrap(), Beat::Current, "after {command}");
        assert!(is_complete(&*directory, &workers).await);
        let at = directory.locate(tenant(0), environment(1)).await.unwrap();
        assert_eq!(at, Some(list[0].placement.clone()));
        let more = directory.reserve(tenant(0), environment(4), LIMIT).await.unwrap();
        assert_eq!(more, Reservation::Full);
    }
}

#[tokio::test]
async fn what_nobody_can_read_in_an_index_is_dropped_and_the_list_is_taken() {
    let server = RedisServer::start();
    let directory = open(&DirectoryConfig::Redis(server.url()), Clock::system()).await;
    let end = Clock::system().now().after(LONG);
    let list = [holding(1, "a", 1, end)];
    let (report, workers) = (report("a", 1, &list), [WorkerId::parse("a").unwrap()]);
    server.say("HSET baton:{w:a}:index nothing 0 00000000000000000000000000000007 nothing");
    directory.beat(&report).await.unwrap();
    directory.reconcile(&report, &list).await.unwrap();
    assert_eq!(directory.beat(&report).await.unwrap(), Beat::Current);
    assert!(is_complete(&*directory, &workers).await);
    let left = server.say("HLEN baton:{w:a}:index");
    assert_eq!(left.trim(), ":1", "what can be read stays");
}

#[tokio::test]
async fn every_key_dies_and_every_step_stays_in_one_slot() {
    let server = RedisServer::start_one_node_cluster();
    let directory = open(&DirectoryConfig::Redis(server.url()), Clock::system()).await;
    let start = Clock::system().now();
    let list = vec![(0, 1), (1, 1), (2, 1)];
    directory.complete(&[]).await.unwrap();
    for step in [
        Step::Beat { worker: 0, incarnation: 1, list: list.clone() },
        Step::Place { environment: 4, worker: 0, epoch: 1, over: false },
        Step::Reconcile { worker: 0, incarnation: 1, list },
        Step::Reconcile { worker: 0, incarnation: 1, list: vec![(0, 1)] },
        Step::Announce { id: 0, url: 0 },
        Step::Announce { id: 1, url: 0 },
        Step::Withdraw { id: 0, url: 0 },
        Step::Reserve { environment: 5, limit: 9 },
        Step::Release { environment: 1 },
        Step::Spend { tenant: 0, rates: vec![0, 1] },
        Step::ClaimLaunch { key: 0, environment: 0, over: false },
        Step::SettleLaunch { key: 0, environment: 0, how: LaunchEnd::Made },
        Step::OpenTally { tally: 0 },
        Step::Add { tally: 0, operation: 0, amount: 1 },
    ] {
        take(&*directory, &step, start).await;
    }
    let keys = server.say("KEYS *");
    let keys: Vec<_> = keys.lines().filter(|line| line.starts_with("baton:")).collect();
    assert!(keys.len() >= 12, "{keys:?}");
    for key in keys {
        let life = server.say(&format!("PTTL {key}"));
        assert!(life.trim_start_matches(':').trim().parse::<i64>().unwrap() > 0, "{key} {life}");
    }
}
