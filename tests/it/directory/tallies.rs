//! Tallies: every operation counts once, to the last digit.
#![expect(clippy::unwrap_used, reason = "a directory that is away fails the test")]

use std::collections::HashSet;

use baton::directory::{MAX_TALLY_OPERATIONS, Tally};
use futures_util::{StreamExt, stream};

use super::subject::{Kind, LONG, SHORT, tally};

contract! {
    a_tally_counts_each_operation_once
    a_tally_that_is_not_there_is_lost_and_stays_lost
    a_tally_never_leaves_64_bits
    a_tally_counts_so_many_operations_and_no_more
    a_tally_lives_on_while_it_changes
}

fn total(total: i64, repeated: bool) -> Tally {
    Tally::Total { total, repeated }
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
