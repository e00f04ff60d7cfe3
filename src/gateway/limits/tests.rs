//! Rates and places in flight, as requests meet them.

use std::collections::HashSet;

use super::*;
use crate::clock::Clock;
use crate::directory::Terms;
use crate::directory::embedded::Embedded;
use crate::domain::ids::{Name, Timestamp};
use crate::domain::rate::Rate;
use crate::mcp::Method;

fn caller(tenant: &str, subject: &str) -> Principal {
    Principal::verified(Name::parse(tenant).unwrap(), Name::parse(subject).unwrap())
}

pub(super) fn tenant(name: &str) -> TenantDigest {
    caller(name, name).tenant_digest()
}

fn number(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

fn a_second_each(burst: u32) -> Rate {
    Rate::new(Duration::from_secs(1), number(burst))
}

fn shared(burst: u32) -> RateLimit {
    RateLimit::shared(a_second_each(burst))
}

fn limits(rates: Rates) -> Limits {
    counted(rates, &Metrics::new("g-1", &[]))
}

fn counted(rates: Rates, metrics: &Metrics) -> Limits {
    let in_flight = InFlight { calls: 2, calls_per_tenant: 1 };
    let clock = Clock::manual(Timestamp::from_millis(1_000_000));
    let directory = Arc::new(Embedded::new(clock, Terms::default()));
    let buffers = Buffers { bytes: 10, bytes_per_tenant: 10 };
    Limits::new(rates, (in_flight, buffers), number(1), directory, metrics)
}

fn calling(tool: &str) -> Asked<'_> {
    Asked { method: Some(Method::CallTool), tool: Some(tool) }
}

async fn admitted(limits: &Limits, caller: &Principal, asked: Asked<'_>) -> usize {
    let mut admitted = 0;
    for _ in 0..100 {
        admitted += usize::from(limits.admit(caller, asked).await.1.is_ok());
    }
    admitted
}

#[tokio::test(start_paused = true)]
async fn the_share_changes_with_the_replicas_and_nothing_comes_back_by_that() {
    let limits = limits(Rates { tenant: Some(shared(9)), ..Rates::default() });
    let (a, b) = (caller("a", "x"), caller("b", "x"));
    limits.share_among(number(3));
    assert_eq!(admitted(&limits, &a, Asked::default()).await, 3);
    limits.share_among(number(1));
    assert_eq!(admitted(&limits, &a, Asked::default()).await, 0);
    assert_eq!(admitted(&limits, &b, Asked::default()).await, 9);
}

#[tokio::test(start_paused = true)]
async fn every_tenant_subject_method_and_tool_has_a_rate_of_its_own() {
    let limits = limits(Rates {
        subject: Some(shared(4)),
        methods: vec![(Method::ListTools, shared(3))],
        tools: vec![("ours".to_owned(), shared(2)), ("up_theirs".to_owned(), shared(1))],
        tenant: Some(shared(9)),
    });
    let list = Asked { method: Some(Method::ListTools), tool: None };
    let (x, y, z) = (caller("a", "x"), caller("a", "y"), caller("a", "z"));
    for (caller, asked, passed, why) in [
        (&x, calling("ours"), 2, "the tool's"),
        (&x, calling("up_theirs"), 1, "an upstream's tool's"),
        (&x, calling("other"), 1, "the subject's"),
        (&y, list, 3, "the method's"),
        (&z, calling("ours"), 0, "the tool's, which the tenant has used up"),
        (&z, Asked::default(), 2, "the tenant's: what was refused before used nothing of it"),
        (&caller("b", "x"), calling("ours"), 2, "another tenant's"),
    ] {
        assert_eq!(admitted(&limits, caller, asked).await, passed, "{why}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_refused_uses_up_nothing_that_others_share() {
    let rates = Rates { subject: Some(shared(2)), tenant: Some(shared(4)), ..Rates::default() };
    let limits = limits(rates);
    assert_eq!(admitted(&limits, &caller("a", "x"), Asked::default()).await, 2);
    assert_eq!(admitted(&limits, &caller("a", "y"), Asked::default()).await, 2);
    let limits = limits_of_all(RateLimit::global);
    assert_eq!(admitted(&limits, &caller("a", "x"), calling("t")).await, 1);
    assert_eq!(admitted(&limits, &caller("a", "x"), Asked::default()).await, 1);
    assert_eq!(admitted(&limits, &caller("a", "y"), Asked::default()).await, 2);
}

/// One call of `t`, two requests of a subject, four of a tenant.
fn limits_of_all(limit: impl Fn(Rate) -> RateLimit) -> Limits {
    limits(Rates {
        tools: vec![("t".to_owned(), limit(a_second_each(1)))],
        subject: Some(limit(a_second_each(2))),
        tenant: Some(limit(a_second_each(4))),
        methods: Vec::new(),
    })
}

#[tokio::test(start_paused = true)]
async fn a_refusal_says_whose_rate_it_is_and_when_to_come_back() {
    for limit in [RateLimit::shared, RateLimit::global] {
        let limits = limits_of_all(limit);
        let x = caller("a", "x");
        assert!(limits.admit(&x, calling("t")).await.1.is_ok());
        let (left, refused) = limits.admit(&x, calling("t")).await;
        let Err(Refusal::Rate { scope: Scope::Tool, retry_after }) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(retry_after, Duration::from_secs(1));
        let mut headers = http::HeaderMap::new();
        left.tell(&mut headers);
        let told = headers["ratelimit"].to_str().unwrap();
        assert!(told.contains(r#""tool:t";r=0;t=1"#), "{told}");
    }
}

#[test]
fn waits_are_spread_to_the_next_second_and_no_further() {
    let check = |nanos: u64, random: u32, millis: u64| {
        let spread = spread(Duration::from_nanos(nanos), random);
        assert_eq!(spread, Duration::from_millis(millis), "{nanos} {random}");
    };
    check(0, 0, 1);
    check(1_000_001, 0, 2);
    check(1_200_000_000, 0, 1200);
    check(1_200_000_000, u32::MAX, 2000);
    check(1_200_000_000, u32::MAX / 2, 1599);
    check(2_000_000_000, u32::MAX, 2000);
}

#[tokio::test]
async fn those_who_are_refused_together_come_back_one_by_one() {
    let rate = Rate::new(Duration::from_millis(100), number(1));
    let limits = limits(Rates { tenant: Some(RateLimit::shared(rate)), ..Rates::default() });
    let mut waits = HashSet::new();
    for _ in 0..50 {
        let refused = limits.admit(&caller("a", "x"), Asked::default()).await.1;
        if let Err(Refusal::Rate { retry_after, .. }) = refused {
            waits.insert(retry_after);
        }
    }
    assert!(waits.len() > 10 && waits.iter().all(|it| *it <= Duration::from_secs(1)));
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_is_counted_by_what_was_used_up() {
    let metrics = Metrics::new("g-1", &[]);
    let rates = Rates {
        tools: vec![("t".to_owned(), shared(9))],
        subject: Some(shared(10)),
        ..Rates::default()
    };
    let limits = counted(rates, &metrics);
    let x = caller("a", "x");
    assert_eq!(admitted(&limits, &x, calling("t")).await, 9);
    assert_eq!(admitted(&limits, &x, Asked::default()).await, 1);
    let _first = limits.slot(Class::Execute, x.tenant_digest()).await.unwrap();
    assert!(limits.slot(Class::Execute, x.tenant_digest()).await.is_err());
    let body = metrics.render();
    for (reason, count) in [
        ("rate_tool", 91),
        ("rate_subject", 99),
        ("overloaded", 1),
        ("rate_tenant", 0),
        ("rate_address", 0),
    ] {
        let line = format!("baton_refusals_total{{reason=\"{reason}\"}} {count}");
        assert!(body.lines().any(|has| has == line), "{line}\nis not in\n{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_tenant_has_its_places_in_flight() {
    let limits = limits(Rates::default());
    let first = limits.slot(Class::Execute, caller("a", "x").tenant_digest()).await.unwrap();
    assert_eq!(
        limits.slot(Class::Execute, caller("a", "x").tenant_digest()).await.unwrap_err(),
        Refusal::Busy
    );
    let _other = limits.slot(Class::Execute, caller("b", "x").tenant_digest()).await.unwrap();
    assert_eq!(
        limits.slot(Class::Execute, caller("c", "x").tenant_digest()).await.unwrap_err(),
        Refusal::Busy,
        "the replica is full"
    );
    drop(first);
    assert!(limits.slot(Class::Execute, caller("a", "x").tenant_digest()).await.is_ok());
}
