//! One contract, held by the embedded directory and by Redis.
#![expect(clippy::unwrap_used, reason = "a directory that is away fails the test")]

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use baton::clock::Clock;
use baton::directory::{
    Beat, Directory, DirectoryConfig, MAX_TALLY_OPERATIONS, Placed, Replica, Reservation, Tally,
    Terms, open_with,
};
use baton::domain::ids::{
    EnvironmentId, Incarnation, OwnerDigest, TallyId, TenantDigest, Timestamp, WorkerId,
};
use baton::domain::placement::{Epoch, Holding, Placement, WorkerReport, WorkerState, list_digest};
use futures_util::{StreamExt, stream};

use crate::redis_server::RedisServer;

/// Writes each check as two tests.
macro_rules! contract {
    ($($check:ident)*) => {
        mod embedded {$(
            #[tokio::test]
            async fn $check() {
                super::$check(super::Kind::Embedded).await;
            }
        )*}
        mod redis {$(
            #[tokio::test]
            async fn $check() {
                super::$check(super::Kind::Redis).await;
            }
        )*}
    };
}

contract! {
    a_quota_grants_up_to_its_limit_and_repeats_are_granted_again
    a_released_place_is_free_again
    a_reservation_that_nothing_follows_expires
    what_is_placed_counts_until_its_end_and_no_longer
    what_is_placed_is_found_until_it_is_released
    only_a_larger_epoch_moves_an_environment
    a_released_environment_returns_only_under_a_larger_epoch
    what_was_released_long_ago_may_return
    a_placement_that_is_over_leaves_no_trace
    a_list_is_wanted_until_it_was_reconciled_and_when_it_changed
    a_list_is_wanted_again_after_its_term
    an_older_incarnation_is_fenced_and_its_list_changes_nothing
    the_fleet_is_who_was_heard_within_the_term
    a_list_places_what_it_has_and_releases_what_it_lost
    a_list_from_before_a_placement_does_not_release_it
    a_list_from_before_a_release_does_not_bring_it_back
    a_list_does_not_touch_what_another_worker_holds
    a_list_does_not_touch_a_mere_reservation
    a_long_list_of_many_tenants_is_taken_whole
    replicas_count_from_announcement_to_withdrawal
    a_silent_replica_no_longer_counts
    a_tally_counts_each_operation_once
    a_tally_that_is_not_there_is_lost_and_stays_lost
    a_tally_never_leaves_64_bits
    a_tally_counts_so_many_operations_and_no_more
    a_tally_lives_on_while_it_changes
}

pub(crate) const LIMIT: u32 = 3;
/// For checks that wait: long enough for a busy machine not to use it up between two steps.
const SHORT: Duration = Duration::from_millis(800);
const LONG: Duration = Duration::from_hours(1);

#[derive(Clone, Copy)]
enum Kind {
    Embedded,
    Redis,
}

struct Subject {
    directory: Arc<dyn Directory>,
    clock: Clock,
    kind: Kind,
    _server: Option<RedisServer>,
}

impl Kind {
    async fn open(self) -> Subject {
        self.open_with(Terms::default()).await
    }

    async fn open_with(self, terms: Terms) -> Subject {
        let clock = Clock::manual(Clock::system().now());
        let (config, server) = match self {
            Self::Embedded => (DirectoryConfig::Embedded, None),
            Self::Redis => {
                let server = RedisServer::start();
                (DirectoryConfig::Redis(server.url()), Some(server))
            }
        };
        let directory = open_with(&config, clock.clone(), terms).await;
        Subject { directory, clock, kind: self, _server: server }
    }
}

impl Subject {
    /// Lets time go by: by hand where the clock is ours.
    async fn pass(&self, time: Duration) {
        match self.kind {
            Kind::Embedded => self.clock.advance(time),
            Kind::Redis => tokio::time::sleep(time).await,
        }
    }

    fn now(&self) -> Timestamp {
        match self.kind {
            Kind::Embedded => self.clock.now(),
            Kind::Redis => Clock::system().now(),
        }
    }

    async fn reserve(&self, id: u8) -> Reservation {
        self.directory.reserve(tenant(0), environment(id), LIMIT).await.unwrap()
    }

    async fn place(&self, id: u8, worker: &str, epoch: u64) -> Placed {
        self.directory.place(&self.holding(id, worker, epoch)).await.unwrap()
    }

    async fn release(&self, id: u8) {
        self.directory.release(tenant(0), environment(id)).await.unwrap();
    }

    async fn located(&self, id: u8) -> Option<String> {
        let placement = self.directory.locate(tenant(0), environment(id)).await.unwrap();
        placement.map(|it| format!("{}@{}", it.worker, it.epoch.0))
    }

    async fn reconcile(&self, worker: &str, holdings: &[Holding]) {
        self.directory.reconcile(&report(worker, 1, holdings), holdings).await.unwrap();
    }

    async fn beat(&self, worker: &str, incarnation: u64, holdings: &[Holding]) -> Beat {
        self.directory.beat(&report(worker, incarnation, holdings)).await.unwrap()
    }

    async fn add(&self, operation: &str, amount: i64) -> Tally {
        self.directory.add_to_tally(tally(0), operation, amount, LONG).await.unwrap()
    }

    fn holding(&self, id: u8, worker: &str, epoch: u64) -> Holding {
        holding(id, worker, epoch, self.now().after(LONG))
    }
}

pub(crate) fn environment(id: u8) -> EnvironmentId {
    EnvironmentId::from_bytes([id; 16])
}

pub(crate) fn tenant(id: u8) -> TenantDigest {
    TenantDigest::from_bytes([id; 16])
}

pub(crate) fn tally(id: u8) -> TallyId {
    TallyId::from_bytes([id; 16])
}

/// An environment of tenant 0.
pub(crate) fn holding(id: u8, worker: &str, epoch: u64, not_after: Timestamp) -> Holding {
    Holding {
        environment: environment(id),
        tenant: tenant(0),
        owner: OwnerDigest::from_bytes([id; 16]),
        placement: Placement { worker: WorkerId::parse(worker).unwrap(), epoch: Epoch(epoch) },
        not_after,
    }
}

/// The report of a worker that has this list.
pub(crate) fn report(worker: &str, incarnation: u64, holdings: &[Holding]) -> WorkerReport {
    WorkerReport {
        worker: WorkerId::parse(worker).unwrap(),
        incarnation: Incarnation(incarnation),
        url: format!("http://{worker}"),
        state: WorkerState::Serving,
        capacity: 10,
        environments: u32::try_from(holdings.len()).unwrap(),
        running: 0,
        list_digest: list_digest(holdings.iter().map(|it| (it.environment, it.placement.epoch))),
    }
}

fn total(total: i64, repeated: bool) -> Tally {
    Tally::Total { total, repeated }
}

async fn a_quota_grants_up_to_its_limit_and_repeats_are_granted_again(kind: Kind) {
    let it = kind.open().await;
    for id in [1, 2, 3, 2, 1] {
        assert_eq!(it.reserve(id).await, Reservation::Granted, "{id}");
    }
    assert_eq!(it.reserve(4).await, Reservation::Full);
    let other = it.directory.reserve(tenant(1), environment(4), LIMIT).await.unwrap();
    assert_eq!(other, Reservation::Granted, "tenants do not share a quota");
}

async fn a_released_place_is_free_again(kind: Kind) {
    let it = kind.open().await;
    for id in [1, 2, 3] {
        it.reserve(id).await;
    }
    it.release(1).await;
    assert_eq!(it.reserve(4).await, Reservation::Granted);
    assert_eq!(it.reserve(1).await, Reservation::Full);
}

async fn a_reservation_that_nothing_follows_expires(kind: Kind) {
    let it = kind.open_with(Terms { reservation: SHORT, ..Terms::default() }).await;
    for id in [1, 2, 3] {
        it.reserve(id).await;
    }
    it.place(1, "a", 1).await;
    assert_eq!(it.reserve(4).await, Reservation::Full);
    it.pass(SHORT * 2).await;
    assert_eq!([it.reserve(4).await, it.reserve(5).await], [Reservation::Granted; 2]);
    assert_eq!(it.reserve(6).await, Reservation::Full, "what was placed still counts");
}

async fn what_is_placed_counts_until_its_end_and_no_longer(kind: Kind) {
    let it = kind.open().await;
    for id in [1, 2, 3] {
        let end = it.now().after(if id == 3 { SHORT } else { LONG });
        it.directory.place(&holding(id, "a", 1, end)).await.unwrap();
    }
    assert_eq!(it.reserve(4).await, Reservation::Full);
    it.pass(SHORT * 2).await;
    assert_eq!(it.located(3).await, None);
    assert_eq!(it.reserve(4).await, Reservation::Granted);
    assert_eq!(it.reserve(5).await, Reservation::Full);
}

async fn what_is_placed_is_found_until_it_is_released(kind: Kind) {
    let it = kind.open().await;
    assert_eq!(it.located(1).await, None);
    it.reserve(1).await;
    assert_eq!(it.located(1).await, None, "reserved is not placed");
    for _ in 0..2 {
        assert_eq!(it.place(1, "a", 1).await, Placed::Noted);
        assert_eq!(it.located(1).await.as_deref(), Some("a@1"));
    }
    let other = it.directory.locate(tenant(1), environment(1)).await.unwrap();
    assert_eq!(other, None, "another tenant does not find it");
    for _ in 0..2 {
        it.release(1).await;
        assert_eq!(it.located(1).await, None);
    }
}

async fn only_a_larger_epoch_moves_an_environment(kind: Kind) {
    let it = kind.open().await;
    it.place(1, "a", 9).await;
    assert_eq!(it.place(1, "b", 9).await, Placed::Stale);
    assert_eq!(it.place(1, "a", 8).await, Placed::Stale);
    assert_eq!(it.located(1).await.as_deref(), Some("a@9"));
    assert_eq!(it.place(1, "b", 10).await, Placed::Noted);
    assert_eq!(it.place(1, "a", u64::MAX).await, Placed::Noted);
    assert_eq!(it.place(1, "b", u64::MAX - 1).await, Placed::Stale);
    assert_eq!(it.located(1).await, Some(format!("a@{}", u64::MAX)));
}

async fn a_released_environment_returns_only_under_a_larger_epoch(kind: Kind) {
    let it = kind.open().await;
    it.place(1, "a", 2).await;
    it.release(1).await;
    assert_eq!(it.place(1, "a", 2).await, Placed::Stale);
    assert_eq!(it.place(1, "a", 1).await, Placed::Stale);
    assert_eq!(it.located(1).await, None);
    assert_eq!(it.place(1, "b", 3).await, Placed::Noted);
    assert_eq!(it.located(1).await.as_deref(), Some("b@3"));
}

async fn what_was_released_long_ago_may_return(kind: Kind) {
    let it = kind.open_with(Terms { settling: SHORT, ..Terms::default() }).await;
    it.place(1, "a", 1).await;
    it.release(1).await;
    it.pass(SHORT * 2).await;
    assert_eq!(it.place(1, "a", 1).await, Placed::Noted);
    assert_eq!(it.located(1).await.as_deref(), Some("a@1"));
}

async fn a_placement_that_is_over_leaves_no_trace(kind: Kind) {
    let it = kind.open().await;
    for id in [1, 2, 3] {
        it.place(id, "a", 1).await;
    }
    let over = holding(3, "a", 2, Timestamp::from_millis(1000));
    assert_eq!(it.directory.place(&over).await.unwrap(), Placed::Noted);
    assert_eq!(it.located(3).await, None);
    assert_eq!(it.reserve(4).await, Reservation::Granted);
}

async fn a_list_is_wanted_until_it_was_reconciled_and_when_it_changed(kind: Kind) {
    let it = kind.open().await;
    let list = [it.holding(1, "a", 1)];
    assert_eq!(it.beat("a", 1, &[]).await, Beat::ListWanted, "even an empty one");
    it.reconcile("a", &[]).await;
    assert_eq!(it.beat("a", 1, &[]).await, Beat::Current);
    assert_eq!(it.beat("a", 1, &list).await, Beat::ListWanted);
    it.reconcile("a", &list).await;
    assert_eq!(it.beat("a", 1, &list).await, Beat::Current);
    assert_eq!(it.beat("a", 2, &list).await, Beat::Current, "a restart that kept everything");
    assert_eq!(it.beat("b", 1, &list).await, Beat::ListWanted, "another worker");
}

async fn a_list_is_wanted_again_after_its_term(kind: Kind) {
    let it = kind.open_with(Terms { list: SHORT, ..Terms::default() }).await;
    it.reconcile("a", &[]).await;
    assert_eq!(it.beat("a", 1, &[]).await, Beat::Current);
    it.pass(SHORT * 2).await;
    assert_eq!(it.beat("a", 1, &[]).await, Beat::ListWanted);
}

async fn an_older_incarnation_is_fenced_and_its_list_changes_nothing(kind: Kind) {
    let it = kind.open().await;
    it.beat("a", 10, &[]).await;
    let zombies = [it.holding(1, "a", 1)];
    assert_eq!(it.beat("a", 9, &zombies).await, Beat::Fenced);
    it.directory.reconcile(&report("a", 9, &zombies), &zombies).await.unwrap();
    assert_eq!(it.located(1).await, None);
    let fleet = it.directory.fleet().await.unwrap();
    assert_eq!(fleet[0].report, report("a", 10, &[]), "nothing of it was noted");
    assert_eq!(it.beat("a", 10, &zombies).await, Beat::ListWanted);
}

async fn the_fleet_is_who_was_heard_within_the_term(kind: Kind) {
    let it = kind.open_with(Terms { worker: SHORT, ..Terms::default() }).await;
    assert!(it.directory.fleet().await.unwrap().is_empty());
    let before = it.now();
    it.beat("b", 1, &[]).await;
    it.beat("a", 1, &[]).await;
    let fleet = it.directory.fleet().await.unwrap();
    let reports: Vec<_> = fleet.iter().map(|it| it.report.clone()).collect();
    assert_eq!(reports, [report("a", 1, &[]), report("b", 1, &[])]);
    let heard = |seen: Timestamp| before <= seen && seen <= it.now();
    assert!(fleet.iter().all(|it| heard(it.seen)));
    it.pass(SHORT * 2).await;
    it.beat("a", 1, &[]).await;
    let fleet = it.directory.fleet().await.unwrap();
    assert_eq!(fleet.len(), 1, "b has been silent");
    it.beat("b", 2, &[]).await;
    assert_eq!(it.beat("b", 1, &[]).await, Beat::Fenced);
}

async fn a_list_places_what_it_has_and_releases_what_it_lost(kind: Kind) {
    let it = kind.open_with(Terms { settling: Duration::ZERO, ..Terms::default() }).await;
    let list = [it.holding(1, "a", 1), it.holding(2, "a", 1), it.holding(3, "a", 1)];
    it.reconcile("a", &list).await;
    assert_eq!(it.located(3).await.as_deref(), Some("a@1"));
    assert_eq!(it.reserve(4).await, Reservation::Full, "what is placed counts");
    it.reconcile("a", &list[..2]).await;
    assert_eq!(it.located(3).await, None);
    assert_eq!(it.located(2).await.as_deref(), Some("a@1"));
    assert_eq!(it.reserve(4).await, Reservation::Granted);
    assert_eq!(it.beat("a", 1, &list[..2]).await, Beat::Current);
}

async fn a_list_from_before_a_placement_does_not_release_it(kind: Kind) {
    let it = kind.open_with(Terms { settling: SHORT, ..Terms::default() }).await;
    it.reconcile("a", &[]).await;
    it.reserve(1).await;
    it.place(1, "a", 1).await;
    it.reconcile("a", &[]).await;
    assert_eq!(it.located(1).await.as_deref(), Some("a@1"));
    assert_eq!(it.beat("a", 1, &[]).await, Beat::ListWanted, "the two still differ");
    it.pass(SHORT * 2).await;
    it.reconcile("a", &[]).await;
    assert_eq!(it.located(1).await, None, "no list under way can be that old");
    assert_eq!(it.beat("a", 1, &[]).await, Beat::Current);
}

async fn a_list_from_before_a_release_does_not_bring_it_back(kind: Kind) {
    let it = kind.open().await;
    let list = [it.holding(1, "a", 1)];
    it.reconcile("a", &list).await;
    it.release(1).await;
    it.reconcile("a", &list).await;
    assert_eq!(it.located(1).await, None);
    for id in [2, 3, 4] {
        assert_eq!(it.reserve(id).await, Reservation::Granted, "it does not count");
    }
    assert_eq!(it.beat("a", 1, &list).await, Beat::ListWanted, "the two still differ");
    it.reconcile("a", &[]).await;
    assert_eq!(it.beat("a", 1, &[]).await, Beat::Current);
}

async fn a_list_does_not_touch_what_another_worker_holds(kind: Kind) {
    let it = kind.open_with(Terms { settling: Duration::ZERO, ..Terms::default() }).await;
    let before = [it.holding(1, "a", 1)];
    it.reconcile("a", &before).await;
    it.place(1, "b", 2).await;
    it.reconcile("a", &before).await;
    assert_eq!(it.located(1).await.as_deref(), Some("b@2"), "the old holder still lists it");
    assert_eq!(it.beat("a", 1, &before).await, Beat::Current, "a newer placement is no dispute");
    it.reconcile("a", &[]).await;
    assert_eq!(it.located(1).await.as_deref(), Some("b@2"), "the old holder has let it go");
    for id in [2, 3] {
        assert_eq!(it.reserve(id).await, Reservation::Granted);
    }
    assert_eq!(it.reserve(4).await, Reservation::Full, "it counts once");
}

async fn a_list_does_not_touch_a_mere_reservation(kind: Kind) {
    let it = kind.open_with(Terms { settling: Duration::ZERO, ..Terms::default() }).await;
    for id in [1, 2, 3] {
        it.reserve(id).await;
    }
    it.reconcile("a", &[]).await;
    assert_eq!(it.reserve(4).await, Reservation::Full);
}

async fn a_long_list_of_many_tenants_is_taken_whole(kind: Kind) {
    let it = kind.open_with(Terms { settling: Duration::ZERO, ..Terms::default() }).await;
    let numbered = |number: u16| {
        let mut bytes = [0; 16];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        let tenant = if number < 250 { tenant(0) } else { TenantDigest::from_bytes(bytes) };
        Holding { environment: EnvironmentId::from_bytes(bytes), tenant, ..it.holding(0, "a", 1) }
    };
    let list: Vec<_> = (0..350).map(numbered).collect();
    for kept in [&list[..], &list[..10]] {
        it.reconcile("a", kept).await;
        assert_eq!(it.beat("a", 1, kept).await, Beat::Current);
        for (number, holding) in list.iter().enumerate() {
            let at = it.directory.locate(holding.tenant, holding.environment).await.unwrap();
            assert_eq!(at.is_some(), number < kept.len(), "{number} of {}", kept.len());
        }
    }
}

async fn replicas_count_from_announcement_to_withdrawal(kind: Kind) {
    let it = kind.open().await;
    let replica = |id: &str, url: &str| Replica { id: id.to_owned(), url: url.to_owned() };
    let (one, two, moved) =
        (replica("1", "http://x"), replica("2", "http://y"), replica("2", "http://z"));
    assert_eq!(it.directory.announce(&two).await.unwrap(), [two.clone()]);
    assert_eq!(it.directory.announce(&one).await.unwrap(), [one.clone(), two.clone()]);
    assert_eq!(it.directory.announce(&moved).await.unwrap(), [one.clone(), moved.clone()]);
    it.directory.withdraw(&two).await.unwrap();
    assert_eq!(it.directory.announce(&one).await.unwrap(), [one.clone(), moved.clone()]);
    it.directory.withdraw(&moved).await.unwrap();
    assert_eq!(it.directory.announce(&one).await.unwrap(), [one]);
}

async fn a_silent_replica_no_longer_counts(kind: Kind) {
    let it = kind.open_with(Terms { replica: SHORT, ..Terms::default() }).await;
    let replica = |id: &str| Replica { id: id.to_owned(), url: String::new() };
    it.directory.announce(&replica("1")).await.unwrap();
    it.pass(SHORT * 2).await;
    assert_eq!(it.directory.announce(&replica("2")).await.unwrap(), [replica("2")]);
}

async fn a_tally_counts_each_operation_once(kind: Kind) {
    let it = kind.open().await;
    it.directory.open_tally(tally(0), LONG).await.unwrap();
    assert_eq!(it.add("x", 5).await, total(5, false));
    assert_eq!(it.add("y", -7).await, total(-2, false));
    assert_eq!(it.add("x", 100).await, total(5, true), "the first answer, whatever is sent again");
    it.directory.open_tally(tally(0), LONG).await.unwrap();
    assert_eq!(it.add("z", 0).await, total(-2, false), "it does not begin again");
}

async fn a_tally_that_is_not_there_is_lost_and_stays_lost(kind: Kind) {
    let it = kind.open().await;
    assert_eq!(it.add("x", 5).await, Tally::Lost);
    assert_eq!(it.add("x", 5).await, Tally::Lost);
}

async fn a_tally_never_leaves_64_bits(kind: Kind) {
    let it = kind.open().await;
    it.directory.open_tally(tally(0), LONG).await.unwrap();
    assert_eq!(it.add("a", i64::MAX - 1).await, total(i64::MAX - 1, false), "to the last digit");
    assert_eq!(it.add("b", 2).await, Tally::Overflow);
    assert_eq!(it.add("b", 1).await, total(i64::MAX, false), "nothing was counted");
    assert_eq!(it.add("c", i64::MIN).await, total(-1, false));
    assert_eq!(it.add("d", i64::MIN).await, Tally::Overflow);
    assert_eq!(it.add("a", 0).await, total(i64::MAX - 1, true));
}

async fn a_tally_counts_so_many_operations_and_no_more(kind: Kind) {
    let it = &kind.open().await;
    it.directory.open_tally(tally(0), LONG).await.unwrap();
    let adds = (0..MAX_TALLY_OPERATIONS).map(|n| async move { it.add(&n.to_string(), 1).await });
    let totals: HashSet<_> = stream::iter(adds)
        .buffer_unordered(64)
        .map(|added| match added {
            Tally::Total { total, repeated: false } => total,
            other => panic!("{other:?}"),
        })
        .collect()
        .await;
    assert_eq!(totals.len(), MAX_TALLY_OPERATIONS as usize);
    assert_eq!(it.add("one more", 1).await, Tally::Full);
    assert!(matches!(it.add("7", 1).await, Tally::Total { repeated: true, .. }));
}

async fn a_tally_lives_on_while_it_changes(kind: Kind) {
    let it = kind.open().await;
    it.directory.open_tally(tally(0), SHORT).await.unwrap();
    it.directory.add_to_tally(tally(0), "x", 1, SHORT * 3).await.unwrap();
    it.pass(SHORT * 3 / 2).await;
    assert_eq!(it.add("y", 1).await, total(2, false));
    it.directory.add_to_tally(tally(0), "z", 1, SHORT).await.unwrap();
    it.pass(SHORT * 2).await;
    assert_eq!(it.add("x", 1).await, Tally::Lost);
}
