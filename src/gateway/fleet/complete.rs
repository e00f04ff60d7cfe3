//! Whether the directory knows all that lives. Before, a quota cannot be checked and nobody can be taken for lost.
//!
//! One task looks, now and then and whenever somebody waits for it; what it saw is told to all.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::Fleet;
use crate::directory::{Completeness, DirectoryError};
use crate::domain::ids::{Timestamp, WorkerId};
use crate::domain::placement::NO_NEW_AFTER;

/// Every worker that lives has reported to a replica that has served for so long.
const ALL_HEARD: Duration = Duration::from_secs(3);
/// How often the directory is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How soon it is looked at again for who waits for it.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// A worker that lives and whose list does not come for so long is waited for no longer: it may be broken, or hostile.
const LIST_MISSED_AFTER: Duration = Duration::from_secs(15);

/// What the last look at the directory saw.
#[derive(Debug, Default)]
pub(super) struct Looks {
    seen: watch::Sender<Seen>,
    wanted: Notify,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// Since when it is complete, by its own clock.
    complete_since: Option<Timestamp>,
    /// When it was last seen incomplete, or complete since another moment.
    changed: Option<Instant>,
}

impl Looks {
    /// Asks for a look, soon.
    pub(super) fn want(&self) {
        self.wanted.notify_one();
    }

    /// Whether the directory was complete at the last look.
    pub(super) fn were_complete(&self) -> bool {
        self.seen.borrow().complete_since.is_some()
    }

    /// Whether no look for so long has seen that it forgot anything.
    pub(super) fn are_steady_for(&self, time: Duration) -> bool {
        self.seen.borrow().changed.is_none_or(|changed| changed.elapsed() >= time)
    }

    /// Takes in since when it is complete. One that forgot everything may have been complete again however soon.
    fn saw(&self, complete_since: Option<Timestamp>) {
        self.seen.send_modify(|seen| {
            if complete_since.is_none() || seen.complete_since != complete_since {
                seen.changed = Some(Instant::now());
            }
            seen.complete_since = complete_since;
        });
    }
}

/// The workers that live and whose lists the directory misses.
#[derive(Debug, Default)]
struct Missed(HashMap<WorkerId, Missing>);

#[derive(Clone, Copy, Debug)]
enum Missing {
    Since(Instant),
    /// For too long: it is waited for no longer, and that was said.
    Excused,
}

impl Missed {
    /// Takes in who is missed now; true if one of them is waited for no longer from now on.
    fn are(&mut self, now: Instant, workers: Vec<WorkerId>) -> bool {
        let mut excused = false;
        let before = std::mem::take(&mut self.0);
        // Those that were excused were not asked for.
        self.0 = before.iter().filter(|it| matches!(it.1, Missing::Excused)).map(own).collect();
        for worker in workers {
            let since = match before.get(&worker) {
                Some(Missing::Since(since)) => *since,
                _ => now,
            };
            let is_excused = now - since >= LIST_MISSED_AFTER;
            if is_excused {
                tracing::warn!(%worker, "its list does not come: what it holds may not count in quotas");
            }
            excused |= is_excused;
            let missing = if is_excused { Missing::Excused } else { Missing::Since(since) };
            self.0.insert(worker, missing);
        }
        excused
    }

    fn is_excused(&self, worker: &WorkerId) -> bool {
        matches!(self.0.get(worker), Some(Missing::Excused))
    }
}

fn own((worker, missing): (&WorkerId, &Missing)) -> (WorkerId, Missing) {
    (worker.clone(), *missing)
}

impl Fleet {
    /// Looks whether the directory is complete, as long as this replica serves.
    pub(in crate::gateway) async fn look(self: Arc<Self>) {
        let mut missed = Missed::default();
        loop {
            // Nobody has to ask for the next look.
            drop(timeout(LOOK_EVERY, self.looks.wanted.notified()).await);
            if let Err(error) = self.complete(&mut missed).await {
                tracing::debug!(%error, "the directory was not looked at");
                // No worker could be asked for its list.
                missed = Missed::default();
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Tells the directory which workers live, so that it knows when it has the lists of all.
    ///
    /// A replica that has just started does not know them and leaves this to the others, unless there was nothing before it.
    async fn complete(&self, missed: &mut Missed) -> Result<(), DirectoryError> {
        let mut live = self.live();
        let knows_them = self.begun.elapsed() >= ALL_HEARD || self.is_first();
        if live.is_empty() || !knows_them {
            return Ok(());
        }
        live.retain(|it| !missed.is_excused(it));
        match self.directory.complete(&live).await? {
            Completeness::Since(since) => {
                *missed = Missed::default();
                self.looks.saw(Some(since));
            }
            Completeness::Missing(workers) => {
                self.looks.saw(None);
                if missed.are(Instant::now(), workers) {
                    self.looks.want();
                }
            }
        }
        Ok(())
    }

    /// Waits until the directory, which said that it is not complete, is. False if it is not by then.
    pub(in crate::gateway) async fn wait_for_lists(&self, deadline: Instant) -> bool {
        // It knows better than the last look.
        let forget = |seen: &mut Seen| seen.complete_since.take().is_some();
        self.looks.seen.send_if_modified(forget);
        let mut seen = self.looks.seen.subscribe();
        self.looks.want();
        let complete = seen.wait_for(|seen| seen.complete_since.is_some());
        let is_complete = timeout_at(deadline, complete).await.is_ok_and(|it| it.is_ok());
        is_complete && Instant::now() < deadline
    }

    /// Whether all began with this replica: nobody was there before it, and no worker has anything.
    fn is_first(&self) -> bool {
        let holds = |it: &Arc<super::Member>| it.sighting.report.environments > 0;
        self.found_nothing.get() == Some(&true) && !self.members.load().values().any(holds)
    }

    /// Those that were heard lately: who is silent is not waited for.
    fn live(&self) -> Vec<WorkerId> {
        let now = self.clock.now();
        let members = self.members.load();
        let live = members.values().filter(|it| now.since(it.sighting.seen) <= NO_NEW_AFTER);
        live.map(|it| it.sighting.report.worker.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_directory_that_was_emptied_is_watched_anew_however_soon_it_was_complete_again() {
        let at = |millis| Some(Timestamp::from_millis(millis));
        for (then, now, steady) in [
            (at(1), at(1), true),
            (at(1), at(2), false),
            (at(1), None, false),
            (None, None, false),
            (None, at(1), false),
        ] {
            let looks = Looks::default();
            looks.saw(then);
            sleep(LOOK_EVERY).await;
            looks.saw(now);
            assert_eq!(looks.are_steady_for(LOOK_EVERY), steady, "{then:?} {now:?}");
            assert_eq!(looks.were_complete(), now.is_some());
        }
    }

    #[test]
    fn a_worker_whose_list_does_not_come_is_waited_for_a_while_and_then_no_longer() {
        let id = |text| WorkerId::parse(text).unwrap();
        let (mut missed, begun) = (Missed::default(), Instant::now());
        assert!(!missed.are(begun, vec![id("a")]));
        assert!(!missed.are(begun + LIST_MISSED_AFTER / 2, vec![id("a"), id("b")]));
        assert!(missed.are(begun + LIST_MISSED_AFTER, vec![id("a"), id("b")]));
        assert!(missed.is_excused(&id("a")) && !missed.is_excused(&id("b")));
        // It is asked for no more; the other's list came.
        assert!(!missed.are(begun + LIST_MISSED_AFTER * 2, vec![id("c")]));
        assert!(missed.is_excused(&id("a")) && !missed.is_excused(&id("c")));
        // Who was not missed in between is missed from the beginning.
        assert!(!missed.are(begun + LIST_MISSED_AFTER * 2, vec![id("b")]));
    }
}
