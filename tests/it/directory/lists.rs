//! Lists: the directory's picture of a worker becomes the worker's own, and nobody else's changes.
#![expect(clippy::unwrap_used, reason = "a directory that is away fails the test")]

use std::time::Duration;

use baton::directory::{Beat, Reservation, Terms};
use baton::domain::ids::{EnvironmentId, TenantDigest};
use baton::domain::placement::Holding;

use super::subject::{Kind, SHORT, tenant};

contract! {
    a_list_places_what_it_has_and_releases_what_it_lost
    a_list_from_before_a_placement_does_not_release_it
    a_list_from_before_a_release_does_not_bring_it_back
    a_list_does_not_touch_what_another_worker_holds
    a_list_does_not_touch_a_mere_reservation
    a_long_list_of_many_tenants_is_taken_whole
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
    it.place(1, "a", 1).await;
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
