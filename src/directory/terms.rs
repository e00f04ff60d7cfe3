//! How long the directory remembers what.

use std::time::Duration;

/// A worker not heard for this long is no longer in the fleet.
pub const WORKER_TERM: Duration = Duration::from_secs(15);
/// How long a silent worker's incarnation is remembered, so that a zombie is still fenced.
pub const WORKER_MEMORY: Duration = Duration::from_hours(24);
/// A replica that has not announced itself for this long no longer counts.
pub const REPLICA_TERM: Duration = Duration::from_secs(15);
/// How long a place in a quota is kept for an environment that is being created.
pub const RESERVATION_TERM: Duration = Duration::from_mins(1);
/// The greatest age of a worker's list when it is reconciled: heartbeats older than this are refused at the door.
pub const SETTLING_TERM: Duration = Duration::from_secs(30);
/// A worker's list is wanted again after this long even if it has not changed: it brings back what the
/// directory itself has lost.
pub const LIST_TERM: Duration = Duration::from_mins(5);
/// Likewise in a Redis Cluster: a master that comes back empty takes quotas with it, and nothing tells of that.
pub const CLUSTER_LIST_TERM: Duration = Duration::from_secs(10);
/// How many operations one tally counts; the next is refused.
pub const MAX_TALLY_OPERATIONS: u32 = 10_000;
/// How many rates one request is counted in at once.
pub const MAX_RATES: usize = 4;

/// For how long the one that creates an environment under a key has to itself, if it does not say how that went: it begins
/// nothing that may end later.
pub const LAUNCH_CLAIM_TERM: Duration = Duration::from_secs(20);
/// How long the environment that a key launched is remembered.
pub const LAUNCH_TERM: Duration = Duration::from_hours(24);
/// How many keys one tenant may have launched under within [`LAUNCH_TERM`]; a launch under one more is refused.
pub const MAX_LAUNCH_KEYS: u32 = 10_000;

/// The terms of one directory. Production takes the defaults, which are the constants beside this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// [`WORKER_TERM`].
    pub worker: Duration,
    /// [`REPLICA_TERM`].
    pub replica: Duration,
    /// [`RESERVATION_TERM`].
    pub reservation: Duration,
    /// [`SETTLING_TERM`].
    pub settling: Duration,
    /// [`LIST_TERM`].
    pub list: Duration,
    /// [`LAUNCH_CLAIM_TERM`].
    pub launch_claim: Duration,
    /// [`LAUNCH_TERM`].
    pub launch: Duration,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            worker: WORKER_TERM,
            replica: REPLICA_TERM,
            reservation: RESERVATION_TERM,
            settling: SETTLING_TERM,
            list: LIST_TERM,
            launch_claim: LAUNCH_CLAIM_TERM,
            launch: LAUNCH_TERM,
        }
    }
}
