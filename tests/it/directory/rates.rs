//! Rates that all replicas hold together: never more than the burst and the rate, whoever asks.
#![expect(clippy::unwrap_used, reason = "a directory that is away fails the test")]

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use baton::clock::Clock;
use baton::directory::{DirectoryConfig, Spending, open};
use baton::domain::ids::RateId;
use baton::domain::rate::Rate;
use tokio::task::JoinSet;

use super::subject::{Kind, LONG, SHORT, Subject, tenant};
use crate::redis_server::RedisServer;

contract! {
    a_rate_grants_its_burst_and_then_one_each_interval
    a_request_counts_in_all_of_its_rates_or_in_none
    tenants_have_rates_of_their_own
    what_is_in_use_is_never_more_than_the_window
}

fn rate(interval: Duration, burst: u32) -> Rate {
    Rate::new(interval, NonZeroU32::new(burst).unwrap())
}

fn id(name: &str) -> RateId {
    RateId::of("test", name)
}

async fn spend(it: &Subject, rates: &[(RateId, Rate)]) -> Spending {
    it.directory.spend(tenant(0), rates).await.unwrap()
}

async fn a_rate_grants_its_burst_and_then_one_each_interval(kind: Kind) {
    let it = kind.open().await;
    let rates = [(id("a"), rate(SHORT, 2))];
    let first = spend(&it, &rates).await;
    assert!(first.granted && rates[0].1.left(first.used[0]) == 1, "{first:?}");
    assert!(spend(&it, &rates).await.granted);
    let refused = spend(&it, &rates).await;
    let wait = rates[0].1.count(refused.used[0]).unwrap_err().wait;
    assert!(!refused.granted && wait <= SHORT, "{refused:?}");
    it.pass(wait + Duration::from_millis(5)).await;
    assert!(spend(&it, &rates).await.granted);
    assert!(!spend(&it, &rates).await.granted);
    it.pass(SHORT * 3).await;
    for granted in [true, true, false] {
        assert_eq!(spend(&it, &rates).await.granted, granted, "no more than the burst comes back");
    }
}

async fn a_request_counts_in_all_of_its_rates_or_in_none(kind: Kind) {
    let it = kind.open().await;
    let (wide, narrow) = ((id("wide"), rate(LONG, 3)), (id("narrow"), rate(LONG, 1)));
    assert!(spend(&it, &[wide, narrow]).await.granted);
    for _ in 0..5 {
        let refused = spend(&it, &[wide, narrow]).await;
        assert!(!refused.granted);
        assert_eq!((wide.1.left(refused.used[0]), narrow.1.left(refused.used[1])), (2, 0));
    }
    for granted in [true, true, false] {
        assert_eq!(spend(&it, &[wide]).await.granted, granted);
    }
    assert_eq!(spend(&it, &[]).await, Spending { granted: true, used: Vec::new() });
}

async fn tenants_have_rates_of_their_own(kind: Kind) {
    let it = kind.open().await;
    let rates = [(id("a"), rate(LONG, 1))];
    for granted in [true, false] {
        for tenant in [tenant(0), tenant(1)] {
            let spending = it.directory.spend(tenant, &rates).await.unwrap();
            assert_eq!(spending.granted, granted);
        }
    }
}

async fn what_is_in_use_is_never_more_than_the_window(kind: Kind) {
    let it = kind.open().await;
    for _ in 0..9 {
        assert!(spend(&it, &[(id("a"), rate(LONG, 9))]).await.granted);
    }
    let smaller = rate(SHORT, 2);
    let refused = spend(&it, &[(id("a"), smaller)]).await;
    assert_eq!((refused.granted, refused.used[0]), (false, smaller.window()));
    let wait = smaller.count(refused.used[0]).unwrap_err().wait;
    it.pass(wait + Duration::from_millis(5)).await;
    assert!(spend(&it, &[(id("a"), smaller)]).await.granted, "it waited as it was told");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_is_exact_whoever_asks_at_once() {
    const BURST: u32 = 20;
    let (each, server) = (Duration::from_millis(10), RedisServer::start());
    let rates = [(id("a"), rate(each, BURST))];
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..4 {
        let config = DirectoryConfig::Redis(server.url());
        let directory = open(&config, Clock::system()).await;
        for _ in 0..2 {
            let directory = Arc::clone(&directory);
            tasks.spawn(async move {
                let mut granted = 0;
                while began.elapsed() < Duration::from_secs(1) {
                    // One whose answer is late was granted to nobody.
                    let spent = directory.spend(tenant(0), &rates).await;
                    granted += u32::from(spent.is_ok_and(|it| it.granted));
                }
                granted
            });
        }
    }
    let granted: u32 = tasks.join_all().await.iter().sum();
    let most = BURST + u32::try_from(began.elapsed().as_millis() / each.as_millis()).unwrap() + 1;
    assert!((BURST..=most).contains(&granted), "{granted} of {most}");
}
