//! Which worker holds an environment, and which one is asked to take a new one.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::ids::{EnvironmentId, Incarnation, OwnerDigest, TenantDigest, Timestamp, WorkerId};

/// The fencing number of an environment's place: 1 at creation, larger after each adoption.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch of a new environment.
    pub const FIRST: Self = Self(1);
}

/// Which worker holds an environment, at which fencing number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The worker.
    pub worker: WorkerId,
    /// The epoch under which it does.
    pub epoch: Epoch,
}

/// What the directory keeps of one environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// The environment.
    pub environment: EnvironmentId,
    /// Whose quota it counts in.
    pub tenant: TenantDigest,
    /// Whose it is.
    pub owner: OwnerDigest,
    /// Where it lives.
    pub placement: Placement,
    /// When its maximum life ends: no trace of it is needed after that.
    pub not_after: Timestamp,
}

/// Whether a worker takes new environments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerState {
    /// It does.
    Serving,
    /// It is about to stop; calls to what it holds are still served.
    Draining,
}

/// What a worker says of itself in a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerReport {
    /// Who reports.
    pub worker: WorkerId,
    /// Which start of it.
    pub incarnation: Incarnation,
    /// Where its rpc is reached.
    pub url: String,
    /// Whether it takes new environments.
    pub state: WorkerState,
    /// How many environments it may hold.
    pub capacity: u32,
    /// How many it holds.
    pub environments: u32,
    /// How many executions run.
    pub running: u32,
    /// Digest of its list of environments, so that the list itself is sent only when it differs.
    pub list_digest: [u8; 16],
}

impl WorkerReport {
    /// Whether there is room for one more.
    pub const fn takes_new(&self) -> bool {
        matches!(self.state, WorkerState::Serving) && self.environments < self.capacity
    }
}

/// A worker's report and when it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// What it said.
    pub report: WorkerReport,
    /// When it was heard.
    pub seen: Timestamp,
}

/// A worker silent for longer takes no new environments.
pub const NO_NEW_AFTER: Duration = Duration::from_secs(6);

/// How many workers are candidates for one environment.
pub const CANDIDATES: usize = 2;

/// The workers in the order in which an environment prefers them: by rendezvous hash, so that every
/// replica has the same order and a worker that comes or goes moves only its own share.
pub fn by_preference(environment: EnvironmentId, workers: &[Sighting]) -> Vec<&Sighting> {
    let mut ranked: Vec<([u8; 8], &Sighting)> =
        workers.iter().map(|it| (rendezvous(environment, &it.report.worker), it)).collect();
    ranked.sort_by(|(a, x), (b, y)| b.cmp(a).then_with(|| x.report.worker.cmp(&y.report.worker)));
    ranked.into_iter().map(|(_, worker)| worker).collect()
}

/// The workers to ask, in turn, to take a new environment: the two candidates, the less loaded first, then
/// the others by preference. Only workers with room that were heard within [`NO_NEW_AFTER`]; of
/// two equally loaded the preferred one goes first, so that what comes between two reports spreads.
pub fn choose(environment: EnvironmentId, workers: &[Sighting], now: Timestamp) -> Vec<&Sighting> {
    let open = |it: &&Sighting| it.report.takes_new() && now.since(it.seen) <= NO_NEW_AFTER;
    let mut order: Vec<&Sighting> =
        by_preference(environment, workers).into_iter().filter(open).collect();
    let candidates = order.len().min(CANDIDATES);
    order[..candidates].sort_by(|a, b| load(a, b));
    order
}

/// Compares the shares of capacity in use, without division.
fn load(a: &Sighting, b: &Sighting) -> std::cmp::Ordering {
    let (a, b) = (&a.report, &b.report);
    let left = u64::from(a.environments) * u64::from(b.capacity);
    let right = u64::from(b.environments) * u64::from(a.capacity);
    left.cmp(&right)
}

fn rendezvous(environment: EnvironmentId, worker: &WorkerId) -> [u8; 8] {
    let hash = Sha256::new_with_prefix(b"baton-rendezvous")
        .chain_update(environment.as_bytes())
        .chain_update(worker.as_str().as_bytes())
        .finalize();
    let mut weight = [0; 8];
    weight.copy_from_slice(&hash[..8]);
    weight
}

/// Digest of a list of environments, whatever its order: what heartbeats compare.
pub fn list_digest(holdings: impl IntoIterator<Item = (EnvironmentId, Epoch)>) -> [u8; 16] {
    let mut sum = [0; 16];
    for (environment, epoch) in holdings {
        let hash = Sha256::new_with_prefix(b"baton-holding")
            .chain_update(environment.as_bytes())
            .chain_update(epoch.0.to_be_bytes())
            .finalize();
        sum.iter_mut().zip(hash).for_each(|(sum, byte)| *sum ^= byte);
    }
    sum
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(100_000);

    fn worker(id: &str, environments: u32) -> Sighting {
        let report = WorkerReport {
            worker: WorkerId::parse(id).unwrap(),
            incarnation: Incarnation(1),
            url: format!("http://{id}"),
            state: WorkerState::Serving,
            capacity: 100,
            environments,
            running: 0,
            list_digest: [0; 16],
        };
        Sighting { report, seen: NOW }
    }

    fn chosen(workers: &[Sighting]) -> Vec<&str> {
        let environment = EnvironmentId::from_bytes([9; 16]);
        choose(environment, workers, NOW).iter().map(|it| it.report.worker.as_str()).collect()
    }

    #[test]
    fn the_emptier_candidate_is_asked_first() {
        assert_eq!(chosen(&[worker("a", 5), worker("b", 4)]), ["b", "a"]);
        assert_eq!(chosen(&[worker("a", 4), worker("b", 5)]), ["a", "b"]);
    }

    #[test]
    fn equal_workers_share_what_comes_between_two_reports() {
        let workers = [worker("a", 1), worker("b", 1)];
        let first = |id: u8| {
            let environment = EnvironmentId::from_bytes([id; 16]);
            choose(environment, &workers, NOW)[0].report.worker.as_str().to_owned()
        };
        let to_a = (0..200).filter(|id| first(*id) == "a").count();
        assert!((60..140).contains(&to_a), "{to_a}");
    }

    #[test]
    fn full_draining_and_silent_workers_are_not_asked() {
        let full = worker("a", 100);
        let mut draining = worker("b", 0);
        draining.report.state = WorkerState::Draining;
        let mut silent = worker("c", 0);
        silent.seen = Timestamp::from_millis(NOW.as_millis() - 6_001);
        assert_eq!(chosen(&[full, draining, silent, worker("d", 0)]), ["d"]);
    }

    proptest! {
        #[test]
        fn replicas_agree_whatever_the_order(id in any::<[u8; 16]>(), turn in 0usize..5) {
            let fleet: Vec<_> = ["a", "b", "c", "d", "e"].map(|id| worker(id, 0)).into();
            let mut turned = fleet.clone();
            turned.rotate_left(turn);
            let environment = EnvironmentId::from_bytes(id);
            prop_assert_eq!(choose(environment, &fleet, NOW), choose(environment, &turned, NOW));
        }

        #[test]
        fn a_lists_digest_does_not_depend_on_its_order(ids in prop::collection::hash_set(any::<[u8; 16]>(), 0..9)) {
            let list: Vec<_> = ids.iter().map(|id| (EnvironmentId::from_bytes(*id), Epoch(1))).collect();
            let reversed = list.iter().rev().copied();
            prop_assert_eq!(list_digest(list.iter().copied()), list_digest(reversed));
        }
    }
}
