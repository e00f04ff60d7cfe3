//! Workers and replicas: who was heard, who is fenced, whose list is wanted.
#![expect(clippy::unwrap_used, reason = "a directory that is away fails the test")]

use baton::clock::Clock;
use baton::directory::{Beat, Replica, Terms};
use baton::domain::ids::Timestamp;

use super::subject::{Kind, LONG, SHORT, report};

contract! {
    a_list_is_wanted_until_it_was_reconciled_and_when_it_changed
    a_list_is_wanted_again_after_its_term
    an_older_incarnation_is_fenced_and_its_list_changes_nothing
    the_fleet_is_who_was_heard_within_the_term
    sightings_are_by_the_clock_of_who_asks
    replicas_count_from_announcement_to_withdrawal
    a_silent_replica_no_longer_counts
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

async fn sightings_are_by_the_clock_of_who_asks(kind: Kind) {
    let clock = Clock::manual(Clock::system().now().after(LONG));
    let it = kind.open_by(clock, Terms::default()).await;
    let before = it.now();
    it.beat("a", 1, &[]).await;
    let fleet = it.directory.fleet().await.unwrap();
    assert!(before.since(fleet[0].seen) < SHORT, "{:?}", fleet[0].seen);
}

async fn replicas_count_from_announcement_to_withdrawal(kind: Kind) {
    let it = kind.open().await;
    let replica = |id: &str, url: &str| Replica { id: id.to_owned(), url: url.to_owned() };
    let (one, two, moved) =
        (replica("1", "http://x"), replica("2", "http://y"), replica("2", "http://z"));
    assert_eq!(it.directory.announce(&two).await.unwrap(), std::slice::from_ref(&two));
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
