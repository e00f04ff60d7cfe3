//! What goes between this replica's table and the directory, every round and when something is missing.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Fleet, brake};
use crate::directory::{Beat, DirectoryError, Replica};
use crate::domain::ids::Timestamp;
use crate::domain::placement::{Holding, NO_NEW_AFTER, Sighting, WorkerReport};
use crate::gateway::claims;
use crate::rpc::wire::Heartbeat;

/// How often a replica announces itself and looks at what the others know.
const ROUND: Duration = Duration::from_secs(2);
/// How soon it does so again when something is missing.
const SOONER: Duration = Duration::from_millis(250);
/// A worker that has said nothing here for longer than between two reports is taken from the directory: where replicas
/// share one address only one of them hears it, and the others must not think it silent meanwhile.
const HEARD_HERE: Duration = Duration::from_secs(3);
/// Nobody is taken for lost before the directory was watched for so long.
const WATCH_FOR: Duration = Duration::from_mins(5);

/// How the directory's own table has been read.
#[derive(Debug, Default)]
pub(super) struct Watch {
    last: Option<Instant>,
    /// Whether it was away then.
    is_away: bool,
    /// Since when without a failure.
    since: Option<Instant>,
}

impl Fleet {
    /// Returns when it is time for the next round, this long after the last one; sooner, if a report came that could not
    /// be shared, for other replicas look for its worker in the directory.
    pub(in crate::gateway) async fn rest(&self, pause: Duration) {
        sleep(SOONER.min(pause)).await;
        tokio::select! {
            () = sleep(pause.saturating_sub(SOONER)) => {}
            () = self.hurry.notified() => {}
        }
    }

    /// Says that this replica serves, and learns what the others know. Returns how long to wait for the next round:
    /// a replica that could not announce itself is not known to workers, and tries again soon.
    pub(in crate::gateway) async fn round(&self) -> Duration {
        let announced = self.directory.announce(&self.here).await;
        let pause = if announced.is_ok() { ROUND } else { SOONER };
        match announced {
            Ok(mut replicas) => {
                self.look_around(&replicas).await;
                if !replicas.contains(&self.here) {
                    replicas.push(self.here.clone());
                }
                self.replicas.store(Arc::new(replicas));
            }
            Err(error) => tracing::debug!(%error, "replica not announced"),
        }
        if pause == ROUND && self.unshared.swap(false, Relaxed) {
            self.share_anew().await;
        }
        self.refresh().await;
        pause
    }

    /// Notes, once, whether anything was there before this replica: what it was told here later says nothing of that.
    async fn look_around(&self, replicas: &[Replica]) {
        if self.found_nothing.get().is_some() {
            return;
        }
        let alone = replicas.iter().all(|it| *it == self.here);
        let nothing = alone && self.directory.fleet().await.is_ok_and(|it| it.is_empty());
        self.found_nothing.get_or_init(|| nothing);
    }

    /// Tells the directory, which is back, of the workers that reported meanwhile: other replicas look there.
    async fn share_anew(&self) {
        let now = self.clock.now();
        for Sighting { report, seen } in self.sightings() {
            if now.since(seen) <= NO_NEW_AFTER
                && let Err(error) = self.directory.beat(&report).await
            {
                tracing::debug!(%error, worker = %report.worker, "heartbeat not shared");
                self.unshared.store(true, Relaxed);
            }
        }
    }

    /// Learns what the directory knows of workers now: for a call whose worker is not in the table. A directory that
    /// answers is read at most once in [`SOONER`], and always after the one who asks has asked. One that is away is not
    /// waited for: it refuses at once, and tells nobody more a moment later.
    pub(in crate::gateway) async fn refresh(&self) {
        let asked = Instant::now();
        let mut watch = self.watch.lock().await;
        if let Some(last) = watch.last {
            if last > asked {
                return;
            }
            if !watch.is_away {
                sleep(SOONER.saturating_sub(last.elapsed())).await;
            }
        }
        let read = Instant::now();
        let answer = self.directory.fleet().await;
        // Not before there is an answer: whoever waits must not take an abandoned reading for one.
        watch.last = Some(read);
        match answer {
            Ok(fleet) => {
                self.learn(fleet);
                watch.is_away = false;
                watch.since.get_or_insert_with(Instant::now);
            }
            Err(error) => {
                tracing::debug!(%error, "fleet not read");
                watch.since = None;
                watch.is_away = matches!(error, DirectoryError::Away { .. });
            }
        }
    }

    /// Whether a worker that is not in the table can be taken for lost: only after the directory has been watched
    /// without a gap for as long as a silent worker is waited for. One that was emptied is watched anew.
    pub(in crate::gateway) async fn knows_all(&self) -> bool {
        self.watch.lock().await.since.is_some_and(|since| since.elapsed() >= WATCH_FOR)
            && self.looks.are_steady_for(WATCH_FOR)
    }

    /// Says that this replica no longer serves.
    pub(in crate::gateway) async fn withdraw(&self) -> Result<(), DirectoryError> {
        self.directory.withdraw(&self.here).await
    }

    /// Puts a report where the other replicas look, with the worker's list if the directory wants it.
    pub(super) async fn share(
        &self,
        report: &WorkerReport,
        heartbeat: &Heartbeat,
    ) -> Result<Beat, DirectoryError> {
        let beat = self.directory.beat(report).await?;
        match beat {
            // What comes meanwhile would wait for it.
            Beat::ListWanted if self.lists.is_taking(&report.worker) => return Ok(Beat::Current),
            Beat::ListWanted => {}
            Beat::Current | Beat::Fenced => return Ok(beat),
        }
        let Some(list) = &heartbeat.list else { return Ok(beat) };
        let holdings: Vec<Holding> = list
            .iter()
            .filter_map(|claim| claims::proven(claim, &report.worker, &self.keys))
            .collect();
        if holdings.len() < list.len() {
            let ignored = list.len() - holdings.len();
            tracing::warn!(worker = %report.worker, ignored, "claims without a valid ticket");
        }
        self.take_list(report, holdings).await?;
        // It may have been the last list that was missing.
        self.looks.want();
        Ok(Beat::Current)
    }

    /// Adds workers that only the directory has heard, and forgets those that nobody hears any more.
    fn learn(&self, fleet: Vec<Sighting>) {
        let _changing = self.changing.lock().expect("no panic under this lock");
        let now = self.clock.now();
        let mut members = HashMap::clone(&self.members.load());
        for sighting in fleet {
            let known = members.get(&sighting.report.worker);
            if known.is_none_or(|it| is_stale(&it.sighting, &sighting, now)) {
                members.insert(sighting.report.worker.clone(), self.member(sighting));
            }
        }
        let patience = brake::patience(members.values().map(|it| &it.sighting), now);
        members.retain(|_, member| now.since(member.sighting.seen) < patience);
        self.members.store(Arc::new(members));
    }
}

/// Whether the directory knows better than this replica: of a later start of the worker, or of a later report of this
/// one where none has come here for a while.
fn is_stale(known: &Sighting, shared: &Sighting, now: Timestamp) -> bool {
    match shared.report.incarnation.cmp(&known.report.incarnation) {
        Ordering::Greater => true,
        Ordering::Less => false,
        Ordering::Equal => shared.seen > known.seen && now.since(known.seen) > HEARD_HERE,
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::clock::Clock;
    use crate::directory::embedded::Embedded;
    use crate::directory::{Directory, Terms};
    use crate::domain::ids::{Incarnation, WorkerId};
    use crate::domain::keyring::{Keyring, SecretKey};
    use crate::domain::placement::WorkerState;

    #[test]
    fn a_worker_that_another_replica_hears_is_never_silent_here() {
        // As seldom as a worker reports, and as slowly as what it says goes round.
        let every = Duration::from_millis(2400);
        for offset in (0..2400).step_by(100) {
            let heard = |now: u64| Timestamp::from_millis(now - (now + offset) % 2400);
            let sighting = |seen| Sighting { seen, report: report() };
            let mut known = sighting(heard(10_000));
            for now in (10_000..60_000_u64).step_by(100) {
                let at = Timestamp::from_millis(now);
                assert!(at.since(known.seen) <= NO_NEW_AFTER, "{:?}", at.since(known.seen));
                let shared = sighting(heard(now));
                if now % 2000 == 0 && is_stale(&known, &shared, at) {
                    known = shared;
                }
            }
            // An earlier start does not come back, however long it is silent; a later one comes at once.
            let of =
                |incarnation| WorkerReport { incarnation: Incarnation(incarnation), ..report() };
            let (late, now) = (Timestamp::from_millis(20_000), Timestamp::from_millis(40_000));
            let starts = [1, 2].map(|it| Sighting { seen: late, report: of(it) });
            assert!(!is_stale(&starts[1], &Sighting { seen: now, ..starts[0].clone() }, now));
            assert!(is_stale(&Sighting { seen: now, ..starts[0].clone() }, &starts[1], now));
            // What it says here goes before what the directory says.
            let at = Timestamp::from_millis(60_000);
            assert!(!is_stale(&sighting(at), &sighting(at), at.after(every)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_silent_are_forgotten_after_five_minutes_unless_they_are_over_a_third() {
        let clock = Clock::manual(Timestamp::from_millis(1_000_000));
        let directory: Arc<dyn Directory> =
            Arc::new(Embedded::new(clock.clone(), Terms::default()));
        let fleet = fleet_by(Arc::clone(&directory), clock.clone());
        let live = async |workers: &[&str]| {
            for worker in workers {
                let worker = WorkerId::parse(worker).unwrap();
                directory.beat(&WorkerReport { worker, ..report() }).await.unwrap();
            }
            fleet.refresh().await;
            fleet.peers().len()
        };
        assert_eq!(live(&["a", "b", "c"]).await, 3);
        clock.advance(WATCH_FOR + SOONER);
        assert_eq!(live(&["a"]).await, 3, "two of three are silent");
        assert_eq!(live(&["a", "b"]).await, 2, "one of three was");
    }

    fn fleet(directory: Arc<dyn Directory>) -> Fleet {
        fleet_by(directory, Clock::system())
    }

    fn fleet_by(directory: Arc<dyn Directory>, clock: Clock) -> Fleet {
        let keys = Keyring::new("baton", &[SecretKey::from_bytes([1; 32])]).unwrap();
        let here = Replica { id: "r1".to_owned(), url: String::new() };
        let roots = vec![SecretKey::from_bytes([2; 32])];
        Fleet::new(directory, keys, roots, clock, here, TaskTracker::new())
    }

    #[tokio::test(start_paused = true)]
    async fn who_misses_a_worker_sees_what_the_directory_has_then_however_lately_it_was_read() {
        let directory: Arc<dyn Directory> =
            Arc::new(Embedded::new(Clock::system(), Terms::default()));
        let fleet = fleet(Arc::clone(&directory));
        fleet.refresh().await;
        directory.beat(&report()).await.unwrap();
        fleet.refresh().await;
        assert!(fleet.peer(&report().worker).is_some());
    }

    #[tokio::test]
    async fn a_list_is_taken_though_nobody_waits_for_it_any_more() {
        let directory: Arc<dyn Directory> =
            Arc::new(Embedded::new(Clock::system(), Terms::default()));
        let fleet = fleet(Arc::clone(&directory));
        assert_eq!(directory.beat(&report()).await.unwrap(), Beat::ListWanted);
        let (report, holdings) = (report(), Vec::new());
        assert!(fleet.take_list(&report, holdings).now_or_never().is_none());
        while fleet.lists.is_taking(&report.worker) {
            tokio::task::yield_now().await;
        }
        assert_eq!(directory.beat(&report).await.unwrap(), Beat::Current);
    }

    fn report() -> WorkerReport {
        WorkerReport {
            worker: WorkerId::parse("w1").unwrap(),
            incarnation: Incarnation(1),
            url: String::new(),
            state: WorkerState::Serving,
            capacity: 1,
            environments: 0,
            running: 0,
            list_digest: [0; 16],
        }
    }
}
