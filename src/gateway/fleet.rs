//! The workers as this replica knows them: heartbeats in, the table out.
//!
//! Each worker reports to each replica, so the table is right without Redis. What only the directory knows (a
//! worker that has not found this replica yet, or that meets another one behind an address they share) is added from
//! there.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::claims;
use crate::clock::Clock;
use crate::directory::{Beat, Directory, DirectoryError, Replica};
use crate::domain::ids::{Incarnation, WorkerId};
use crate::domain::keyring::{Keyring, SecretKey, WorkerKey};
use crate::domain::placement::{Holding, NO_NEW_AFTER, Sighting, WorkerReport, WorkerState};
use crate::rpc::client::Peer;
use crate::rpc::wire::{Heartbeat, HeartbeatReply};

/// How often a replica announces itself and looks at what the others know.
const ROUND: Duration = Duration::from_secs(2);
/// How soon it does so again when something is missing.
const SOONER: Duration = Duration::from_millis(250);
/// What a worker may be, as metrics tell it.
pub(super) const STATES: [&str; 3] = ["serving", "draining", "silent"];
/// A worker that has not reported here for so long may have reported to another replica: one that reports here does so
/// sooner. With a round more it is still short of [`NO_NEW_AFTER`].
const PERHAPS_ELSEWHERE: Duration = Duration::from_secs(3);
/// A worker silent for longer is out of the table; until then its environments are unreachable, not gone.
const FORGET_AFTER: Duration = Duration::from_mins(5);

/// The workers and replicas, as this replica knows them.
#[derive(Debug)]
pub(super) struct Fleet {
    directory: Arc<dyn Directory>,
    keys: Keyring,
    roots: Vec<SecretKey>,
    clock: Clock,
    here: Replica,
    members: ArcSwap<HashMap<WorkerId, Arc<Member>>>,
    changing: Mutex<()>,
    watch: tokio::sync::Mutex<Watch>,
    unshared: AtomicBool,
    replicas: ArcSwap<Vec<Replica>>,
}

/// How the directory's own table has been read.
#[derive(Debug, Default)]
struct Watch {
    last: Option<Instant>,
    /// Since when without a failure.
    since: Option<Instant>,
}

#[derive(Debug)]
struct Member {
    sighting: Sighting,
    peer: Peer,
    /// Environments it was offered from here since that report.
    offered: AtomicU32,
}

impl Member {
    fn new(sighting: Sighting, peer: Peer) -> Arc<Self> {
        Arc::new(Self { sighting, peer, offered: AtomicU32::new(0) })
    }
}

impl Fleet {
    /// A fleet in which nobody has been heard yet. `roots` is not empty.
    pub(super) fn new(
        directory: Arc<dyn Directory>,
        keys: Keyring,
        roots: Vec<SecretKey>,
        clock: Clock,
        here: Replica,
    ) -> Self {
        let replicas = ArcSwap::from_pointee(vec![here.clone()]);
        let (members, changing, watch, unshared) = Default::default();
        Self { directory, keys, roots, clock, here, members, changing, watch, unshared, replicas }
    }

    /// The keys that a worker may have, the present root's first.
    pub(super) fn keys_of<'a>(
        &'a self,
        worker: &'a WorkerId,
    ) -> impl Iterator<Item = WorkerKey> + 'a {
        self.roots.iter().map(|root| WorkerKey::derive(root, worker))
    }

    /// Every worker in the table and when it was last heard.
    pub(super) fn sightings(&self) -> Vec<Sighting> {
        self.members.load().values().map(|member| member.sighting.clone()).collect()
    }

    /// The same, with what was offered to each since its report counted as there: reports are two seconds apart, and
    /// a rush in between would else go to one worker.
    pub(super) fn expectations(&self) -> Vec<Sighting> {
        let expected = |member: &Arc<Member>| {
            let mut sighting = member.sighting.clone();
            let offered = member.offered.load(Ordering::Relaxed);
            sighting.report.environments = sighting.report.environments.saturating_add(offered);
            sighting
        };
        self.members.load().values().map(expected).collect()
    }

    /// Counts an environment that is about to be offered to a worker.
    pub(super) fn offers(&self, worker: &WorkerId) {
        if let Some(member) = self.members.load().get(worker) {
            member.offered.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many workers are in one of [`STATES`].
    pub(super) fn count(&self, state: &str) -> usize {
        let now = self.clock.now();
        let sightings = self.sightings();
        let state_of = |it: &&Sighting| match it.report.state {
            _ if now.since(it.seen) > NO_NEW_AFTER => "silent",
            WorkerState::Serving => "serving",
            WorkerState::Draining => "draining",
        };
        sightings.iter().filter(|it| state_of(it) == state).count()
    }

    /// How to reach a worker.
    pub(super) fn peer(&self, worker: &WorkerId) -> Option<Peer> {
        self.members.load().get(worker).map(|member| member.peer.clone())
    }

    /// How to reach every worker in the table.
    pub(super) fn peers(&self) -> Vec<Peer> {
        self.members.load().values().map(|member| member.peer.clone()).collect()
    }

    /// Another replica that serves now, as far as is known.
    pub(super) fn replica(&self, id: &str) -> Option<Replica> {
        self.replicas.load().iter().find(|it| it.id == id).cloned()
    }

    /// How many known replicas announce this address. Behind one that several share (a platform's load balancer), who
    /// connects meets any of them.
    pub(super) fn behind(&self, url: &str) -> usize {
        self.replicas.load().iter().filter(|it| it.url == url).count()
    }

    /// Whether other replicas announce the address of this one, so that what is sent there is heard by one of them.
    pub(super) fn shares_its_address(&self) -> bool {
        self.behind(&self.here.url) > 1
    }

    /// How many replicas share the work, this one included.
    pub(super) fn replica_count(&self) -> NonZeroU32 {
        let count = u32::try_from(self.replicas.load().len()).unwrap_or(u32::MAX);
        NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN)
    }

    /// Takes in a heartbeat whose MAC was checked with `key`.
    pub(super) async fn heard(
        &self,
        key: WorkerKey,
        incarnation: Incarnation,
        heartbeat: &Heartbeat,
    ) -> HeartbeatReply {
        let report = report_of(&key, incarnation, heartbeat);
        let mut reply = HeartbeatReply {
            gateways: self.replicas.load().iter().map(|replica| replica.url.clone()).collect(),
            time_ms: self.clock.now().as_millis(),
            ..HeartbeatReply::default()
        };
        if !self.note(&report, key) {
            reply.fenced = true;
            return reply;
        }
        match self.share(&report, heartbeat).await {
            Ok(Beat::Current) => {}
            Ok(Beat::ListWanted) => reply.list_wanted = true,
            Ok(Beat::Fenced) => reply.fenced = true,
            // The table here is right all the same; the list is asked for when the directory is back.
            Err(error) => {
                tracing::debug!(%error, worker = %report.worker, "heartbeat not shared");
                self.unshared.store(true, Ordering::Relaxed);
            }
        }
        reply
    }

    /// Takes in workers that an earlier start of this replica knew.
    pub(super) fn remember(&self, workers: Vec<Sighting>) {
        let _changing = self.changing.lock().expect("no panic under this lock");
        let member = |sighting: Sighting| (sighting.report.worker.clone(), self.member(sighting));
        self.members.store(Arc::new(workers.into_iter().map(member).collect()));
    }

    /// Says that this replica serves, and learns what the others know. Returns how long to wait for the next round:
    /// a replica that could not announce itself is not known to workers, and tries again soon.
    pub(super) async fn round(&self) -> Duration {
        let announced = self.directory.announce(&self.here).await;
        let pause = if announced.is_ok() { ROUND } else { SOONER };
        match announced {
            Ok(mut replicas) => {
                if !replicas.contains(&self.here) {
                    replicas.push(self.here.clone());
                }
                self.replicas.store(Arc::new(replicas));
            }
            Err(error) => tracing::debug!(%error, "replica not announced"),
        }
        if pause == ROUND && self.unshared.swap(false, Ordering::Relaxed) {
            self.share_anew().await;
        }
        self.refresh().await;
        pause
    }

    /// Tells the directory, which is back, of the workers that reported meanwhile: other replicas look there.
    async fn share_anew(&self) {
        let now = self.clock.now();
        for Sighting { report, seen } in self.sightings() {
            if now.since(seen) <= NO_NEW_AFTER
                && let Err(error) = self.directory.beat(&report).await
            {
                tracing::debug!(%error, worker = %report.worker, "heartbeat not shared");
                self.unshared.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Learns what the directory knows of workers, now: for a replica that has just started and misses one. At most
    /// once in [`SOONER`], whoever asks.
    pub(super) async fn refresh(&self) {
        let mut watch = self.watch.lock().await;
        if watch.last.is_some_and(|last| last.elapsed() < SOONER) {
            return;
        }
        match self.directory.fleet().await {
            Ok(fleet) => {
                self.learn(fleet);
                watch.since.get_or_insert_with(Instant::now);
            }
            Err(error) => {
                tracing::debug!(%error, "fleet not read");
                watch.since = None;
            }
        }
        watch.last = Some(Instant::now());
    }

    /// Whether a worker that is not in the table can be taken for lost: only after the directory has been watched
    /// without a gap for as long as a silent worker is waited for.
    pub(super) async fn knows_all(&self) -> bool {
        self.watch.lock().await.since.is_some_and(|since| since.elapsed() >= FORGET_AFTER)
    }

    /// Says that this replica no longer serves.
    pub(super) async fn withdraw(&self) -> Result<(), DirectoryError> {
        self.directory.withdraw(&self.here).await
    }

    async fn share(
        &self,
        report: &WorkerReport,
        heartbeat: &Heartbeat,
    ) -> Result<Beat, DirectoryError> {
        let beat = self.directory.beat(report).await?;
        let Some(list) = heartbeat.list.as_ref().filter(|_| beat == Beat::ListWanted) else {
            return Ok(beat);
        };
        let holdings: Vec<Holding> = list
            .iter()
            .filter_map(|claim| claims::proven(claim, &report.worker, &self.keys))
            .collect();
        if holdings.len() < list.len() {
            let ignored = list.len() - holdings.len();
            tracing::warn!(worker = %report.worker, ignored, "claims without a valid ticket");
        }
        self.directory.reconcile(report, &holdings).await?;
        Ok(Beat::Current)
    }

    /// Notes a report in the table; false if a newer incarnation of the worker is there.
    fn note(&self, report: &WorkerReport, key: WorkerKey) -> bool {
        let _changing = self.changing.lock().expect("no panic under this lock");
        let known = self.members.load_full();
        let before = known.get(&report.worker);
        if before.is_some_and(|it| it.sighting.report.incarnation > report.incarnation) {
            return false;
        }
        let seen = self.clock.now();
        let peer = Peer::new(report.url.clone(), key, report.incarnation);
        let mut members = HashMap::clone(&known);
        let sighting = Sighting { report: report.clone(), seen };
        members.insert(report.worker.clone(), Member::new(sighting, peer));
        self.members.store(Arc::new(members));
        true
    }

    /// Adds workers that only the directory has heard, and forgets those that nobody hears any more.
    fn learn(&self, fleet: Vec<Sighting>) {
        let _changing = self.changing.lock().expect("no panic under this lock");
        let now = self.clock.now();
        let mut members = HashMap::clone(&self.members.load());
        // What only a file remembered goes with the directory's first word: those that live have reported by then.
        members.retain(|_, member| now.since(member.sighting.seen) < FORGET_AFTER);
        for sighting in fleet {
            let known = members.get(&sighting.report.worker);
            let stale = |it: &Arc<Member>| {
                it.sighting.report.incarnation < sighting.report.incarnation
                    || now.since(it.sighting.seen) > PERHAPS_ELSEWHERE
            };
            if known.is_none_or(stale) {
                members.insert(sighting.report.worker.clone(), self.member(sighting));
            }
        }
        self.members.store(Arc::new(members));
    }

    /// A worker that has not reported here yet is called with the present root's key.
    fn member(&self, sighting: Sighting) -> Arc<Member> {
        let report = &sighting.report;
        let key = WorkerKey::derive(&self.roots[0], &report.worker);
        let peer = Peer::new(report.url.clone(), key, report.incarnation);
        Member::new(sighting, peer)
    }
}

/// A worker's own report, as its heartbeat makes it.
fn report_of(key: &WorkerKey, incarnation: Incarnation, heartbeat: &Heartbeat) -> WorkerReport {
    WorkerReport {
        worker: key.worker().clone(),
        incarnation,
        url: heartbeat.url.clone(),
        state: if heartbeat.draining { WorkerState::Draining } else { WorkerState::Serving },
        capacity: heartbeat.capacity,
        environments: heartbeat.environments,
        running: heartbeat.running,
        list_digest: claims::digest(&heartbeat.list_digest),
    }
}
