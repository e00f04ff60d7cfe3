//! The workers as this replica knows them: heartbeats in, the table out.
//!
//! Each worker reports to each replica, so the table is right without Redis. What only the directory knows (a
//! worker that has not found this replica yet, or that meets another one behind an address they share) is added from
//! there ([`round`]).

mod brake;
mod complete;
mod lists;
mod round;

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::claims;
use crate::clock::Clock;
use crate::directory::{Beat, Directory, Replica};
use crate::domain::ids::{Incarnation, WorkerId};
use crate::domain::keyring::{Keyring, SecretKey, WorkerKey};
use crate::domain::placement::{NO_NEW_AFTER, Sighting, WorkerReport, WorkerState};
use crate::rpc::client::Peer;
use crate::rpc::wire::{Heartbeat, HeartbeatReply};
use complete::Looks;
use lists::Lists;
use round::Watch;

/// What a worker may be, as metrics tell it.
pub(super) const STATES: [&str; 3] = ["serving", "draining", "silent"];

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
    hurry: Notify,
    begun: Instant,
    /// Whether no other replica served when this one began, and no worker was known here or in the directory.
    found_nothing: OnceLock<bool>,
    looks: Looks,
    lists: Lists,
    replicas: ArcSwap<Vec<Replica>>,
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
    /// A fleet in which nobody has been heard yet. `roots` is not empty; `tasks` take what workers send.
    pub(super) fn new(
        directory: Arc<dyn Directory>,
        keys: Keyring,
        roots: Vec<SecretKey>,
        clock: Clock,
        here: Replica,
        tasks: TaskTracker,
    ) -> Self {
        let replicas = ArcSwap::from_pointee(vec![here.clone()]);
        let (members, changing, watch, unshared, hurry) = Default::default();
        let (begun, found_nothing) = (Instant::now(), OnceLock::new());
        let (looks, lists) = (Looks::default(), Lists::new(tasks));
        Self {
            directory,
            keys,
            roots,
            clock,
            here,
            members,
            changing,
            watch,
            unshared,
            hurry,
            begun,
            found_nothing,
            looks,
            lists,
            replicas,
        }
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
            Ok(Beat::Current) if !self.looks.were_complete() => self.looks.want(),
            Ok(Beat::Current) => {}
            Ok(Beat::ListWanted) => reply.list_wanted = true,
            Ok(Beat::Fenced) => reply.fenced = true,
            // The table here is right all the same; the list is asked for when the directory is back.
            Err(error) => {
                tracing::debug!(%error, worker = %report.worker, "heartbeat not shared");
                self.unshared.store(true, Ordering::Relaxed);
                self.hurry.notify_one();
            }
        }
        reply
    }

    /// Takes in workers that an earlier start of this replica knew.
    pub(super) fn remember(&self, workers: Vec<Sighting>) {
        if !workers.is_empty() {
            self.found_nothing.get_or_init(|| false);
        }
        let _changing = self.changing.lock().expect("no panic under this lock");
        let member = |sighting: Sighting| (sighting.report.worker.clone(), self.member(sighting));
        self.members.store(Arc::new(workers.into_iter().map(member).collect()));
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
        let peer = self.peer_of(report, key);
        let mut members = HashMap::clone(&known);
        let sighting = Sighting { report: report.clone(), seen };
        members.insert(report.worker.clone(), Member::new(sighting, peer));
        self.members.store(Arc::new(members));
        true
    }

    /// A worker that has not reported here yet is called with the present root's key, until it says that it has
    /// another's.
    fn member(&self, sighting: Sighting) -> Arc<Member> {
        let report = &sighting.report;
        let peer = self.peer_of(report, WorkerKey::derive(&self.roots[0], &report.worker));
        Member::new(sighting, peer)
    }

    /// The other roots' keys count even where a report has shown the worker's: its next start may have one of them.
    fn peer_of(&self, report: &WorkerReport, key: WorkerKey) -> Peer {
        let peer = Peer::new(report.url.clone(), key, report.incarnation);
        peer.or_keys(self.keys_of(&report.worker))
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
