//! Soft state that every replica shares, in domain verbs.
//!
//! Losing any write here must never grant access, run a call twice, or destroy an environment: the workers'
//! heartbeats bring it back. Every verb is safe to repeat.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;

use crate::domain::ids::{
    EnvironmentId, LaunchKey, RateId, TallyId, TenantDigest, Timestamp, WorkerId,
};
use crate::domain::placement::{Holding, Placement, Sighting, WorkerReport};
use crate::domain::rate::Rate;

pub mod embedded;
mod events;
pub mod redis;
mod settings;
mod terms;

pub use events::{Audience, Change, DirectoryEvent, Events, Heard, List, MAX_CHANGES};
pub use settings::{DirectoryConfig, open, open_with};
pub use terms::{
    CLUSTER_LIST_TERM, LAUNCH_CLAIM_TERM, LAUNCH_TERM, LIST_TERM, MAX_LAUNCH_KEYS, MAX_RATES,
    MAX_TALLY_OPERATIONS, REPLICA_TERM, RESERVATION_TERM, SETTLING_TERM, Terms, WORKER_MEMORY,
    WORKER_TERM,
};

/// Whether the directory knows all that lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// It does since then, by its own clock.
    Since(Timestamp),
    /// The lists of these workers were not taken.
    Missing(Vec<WorkerId>),
}

/// What replicas share.
#[async_trait]
pub trait Directory: Send + Sync + Debug {
    /// Notes a worker's heartbeat. An older incarnation than one already heard is fenced.
    async fn beat(&self, report: &WorkerReport) -> Result<Beat, DirectoryError>;

    /// Makes the directory's picture of one worker equal to the worker's own list: what it holds is placed
    /// and counts in its tenant's quota, what it no longer holds is released. `holdings` have proven tickets.
    ///
    /// The list may be older than what the directory knows: it does not overrule a placement or a release of the
    /// last [`SETTLING_TERM`]. Where they differ the next [`Directory::beat`] wants the list again. A list of an
    /// older incarnation changes nothing.
    async fn reconcile(
        &self,
        report: &WorkerReport,
        holdings: &[Holding],
    ) -> Result<(), DirectoryError>;

    /// Every worker heard within [`WORKER_TERM`].
    async fn fleet(&self) -> Result<Vec<Sighting>, DirectoryError>;

    /// Says that this replica serves for another [`REPLICA_TERM`], and returns all that do.
    async fn announce(&self, replica: &Replica) -> Result<Vec<Replica>, DirectoryError>;

    /// Says that this replica no longer serves.
    async fn withdraw(&self, replica: &Replica) -> Result<(), DirectoryError>;

    /// Says which workers live. Once the list of each of them was taken the directory is complete. One that forgets
    /// everything is incomplete again, and then complete since another moment.
    async fn complete(&self, workers: &[WorkerId]) -> Result<Completeness, DirectoryError>;

    /// Reserves one place in a tenant's quota for [`RESERVATION_TERM`]; [`Directory::place`] makes it last.
    /// A repeat renews the term, whatever the limit. While the directory is not complete nothing is reserved: it does
    /// not know what a tenant has.
    async fn reserve(
        &self,
        tenant: TenantDigest,
        environment: EnvironmentId,
        limit: u32,
    ) -> Result<Reservation, DirectoryError>;

    /// Notes where an environment lives, until its `not_after`. A smaller epoch than the known one, another worker
    /// under the same, or a life that is over is stale and changes nothing.
    async fn place(&self, holding: &Holding) -> Result<Placed, DirectoryError>;

    /// Where an environment lives. `None` only means that the directory does not know.
    async fn locate(
        &self,
        tenant: TenantDigest,
        environment: EnvironmentId,
    ) -> Result<Option<Placement>, DirectoryError>;

    /// Forgets an environment and frees its place in the quota. For [`SETTLING_TERM`] it cannot be placed again
    /// under the same epoch, so that a worker's list from before does not bring it back.
    async fn release(
        &self,
        tenant: TenantDigest,
        environment: EnvironmentId,
    ) -> Result<(), DirectoryError>;

    /// Counts one request in each of these rates of a tenant, or in none of them if one is used up. A repeat counts
    /// again, so it never grants more. At most [`MAX_RATES`].
    async fn spend(
        &self,
        tenant: TenantDigest,
        rates: &[(RateId, Rate)],
    ) -> Result<Spending, DirectoryError>;

    /// Claims for [`LAUNCH_CLAIM_TERM`] the creation of the environment that a key names: that of its first claim, which is
    /// remembered for [`LAUNCH_TERM`]. One that was never made is forgotten when its life is over.
    async fn claim_launch(
        &self,
        tenant: TenantDigest,
        key: LaunchKey,
        mine: Launch,
    ) -> Result<LaunchClaim, DirectoryError>;

    /// Says how a claimed creation went. It changes nothing where another environment is known, or that it was made.
    async fn settle_launch(
        &self,
        tenant: TenantDigest,
        key: LaunchKey,
        environment: EnvironmentId,
        how: LaunchEnd,
    ) -> Result<(), DirectoryError>;

    /// Begins a tally at 0 that lives for `term` after its last change. One that is there stays as it is.
    async fn open_tally(&self, tally: TallyId, term: Duration) -> Result<(), DirectoryError>;

    /// Adds to a tally, once for each operation id: a repeat gets the first one's answer.
    async fn add_to_tally(
        &self,
        tally: TallyId,
        operation: &str,
        amount: i64,
        term: Duration,
    ) -> Result<Tally, DirectoryError>;

    /// Tells every replica that reads events now of changes. Who does not read now never learns of it.
    async fn publish(&self, event: &DirectoryEvent) -> Result<(), DirectoryError>;

    /// What replicas tell from now on, this one too. While the directory is away nothing is heard; that it was is
    /// said by [`Heard::Missed`] when it is back.
    async fn subscribe(&self) -> Events;

    /// One round trip, for the doctor.
    async fn ping(&self) -> Result<(), DirectoryError>;
}

/// What became of a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// Noted, and the directory has the worker's list as it is.
    Current,
    /// Noted; the worker is to send its list, for [`Directory::reconcile`].
    ListWanted,
    /// A newer incarnation of the worker has been heard: this one is a zombie.
    Fenced,
}

/// One gateway replica.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Replica {
    /// Its id.
    pub id: String,
    /// Its internal address, where workers report.
    pub url: String,
}

/// Whether a tenant has room for one more environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reservation {
    /// It has, and the place is reserved.
    Granted,
    /// It has as many as it may.
    Full,
}

/// What came of counting a request in some rates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spending {
    /// Whether it was counted; else one of the rates is used up.
    pub granted: bool,
    /// How much of each is in use now, as [`Rate`] tells it.
    pub used: Vec<Duration>,
}

/// Whether a placement was noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    /// It was.
    Noted,
    /// A newer one is known, the environment has just been released, or its life is over.
    Stale,
}

/// The environment that a key names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Its id.
    pub environment: EnvironmentId,
    /// When its life ends at most.
    pub not_after: Timestamp,
}

/// What is known of the environment that a key names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaunchClaim {
    /// It is the caller's to create. One that is not what the caller proposed may be there already, for its creator did not
    /// say.
    Yours(Launch),
    /// Somebody else creates it now.
    UnderWay,
    /// It was created.
    Made(Launch),
    /// Nothing: the key is new, and its tenant has [`MAX_LAUNCH_KEYS`].
    Full {
        /// How long until it may have one less.
        wait: Duration,
    },
}

/// How the creation of an environment went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaunchEnd {
    /// It is there.
    Made,
    /// It is not there, and nobody tries any more: the next claim may be another's.
    NotMade,
    /// It may be there, and nobody tries any more: the next claim is to look for it.
    Open,
}

/// What adding to a tally came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tally {
    /// The total after this operation.
    Total {
        /// The sum of all operations up to this one.
        total: i64,
        /// Whether this operation had been counted before.
        repeated: bool,
    },
    /// The directory has no such tally (any more): it does not begin at 0 again.
    Lost,
    /// It has counted [`MAX_TALLY_OPERATIONS`].
    Full,
    /// The total would leave the range of 64-bit integers; nothing was counted.
    Overflow,
}

/// Why the directory gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// It cannot be reached, or took longer than its deadline. The step may have been taken.
    #[error("the directory is away")]
    Away {
        /// What the link saw.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// It has forgotten what there is, and waits for the workers' lists.
    #[error("the directory waits for the workers' lists")]
    Incomplete,
    /// It answered what this version does not understand.
    #[error("the directory holds a record that this version cannot read: {what}")]
    Unreadable {
        /// Which record.
        what: String,
    },
}
