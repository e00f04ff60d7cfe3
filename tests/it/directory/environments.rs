//! Quotas and placements.
#![expect(clippy::unwrap_used, reason = "a directory that is away fails the test")]

use baton::directory::{Placed, Reservation, Terms};
use baton::domain::ids::Timestamp;

use super::subject::{Kind, LIMIT, LONG, SHORT, environment, holding, tenant};

contract! {
    a_quota_grants_up_to_its_limit_and_repeats_are_granted_again
    a_released_place_is_free_again
    a_reservation_that_nothing_follows_expires
    what_is_placed_counts_until_its_end_and_no_longer
    what_is_placed_is_found_until_it_is_released
    only_a_larger_epoch_moves_an_environment
    a_released_environment_returns_only_under_a_larger_epoch
    what_was_released_long_ago_may_return
    a_placement_that_is_over_changes_nothing
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
    assert_eq!(it.reserve(1).await, Reservation::Granted, "a late repeat does not shorten it");
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

async fn a_placement_that_is_over_changes_nothing(kind: Kind) {
    let it = kind.open().await;
    it.place(1, "a", 1).await;
    for id in [1, 2] {
        let over = holding(id, "b", 2, Timestamp::from_millis(1000));
        assert_eq!(it.directory.place(&over).await.unwrap(), Placed::Stale);
    }
    assert_eq!(it.located(1).await.as_deref(), Some("a@1"));
    assert_eq!(it.located(2).await, None);
    for id in [3, 4] {
        assert_eq!(it.reserve(id).await, Reservation::Granted, "it does not count");
    }
}
