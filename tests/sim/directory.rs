//! The embedded directory as replicas see a Redis: a way off, at times away, and with a memory that can be lost.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use baton::clock::Clock;
use baton::directory::embedded::Embedded;
use baton::directory::{
    Beat, Completeness, Directory, DirectoryError, DirectoryEvent, Events, Launch, LaunchClaim,
    LaunchEnd, Placed, Replica, Reservation, Spending, Tally, Terms,
};
use baton::domain::ids::{EnvironmentId, LaunchKey, RateId, TallyId, TenantDigest, WorkerId};
use baton::domain::placement::{Holding, Placement, Sighting, WorkerReport};
use baton::domain::rate::Rate;
use tokio::time::sleep;

use crate::dice::Dice;
use crate::history::History;
use crate::plant::Plant;

/// How long a replica waits for an answer.
const DEADLINE: Duration = Duration::from_millis(250);

/// The state behind every replica's link.
#[derive(Debug)]
pub struct Store {
    clock: Clock,
    history: History,
    plant: Plant,
    nodes: Mutex<Nodes>,
}

#[derive(Debug)]
struct Nodes {
    primary: Arc<Embedded>,
    replica: Arc<Embedded>,
    /// Whether the replica hears of what is written.
    replicates: bool,
}

/// One replica's way to the store.
#[derive(Clone, Debug)]
pub struct Link {
    store: Arc<Store>,
    trouble: Arc<Mutex<Trouble>>,
    dice: Dice,
}

/// What is wrong with a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trouble {
    #[default]
    None,
    /// Nothing arrives.
    Away,
    /// Half of all steps are taken without an answer.
    LosesAnswers,
}

/// Shorter than in production, so that what a directory has lost is back within a simulation. A list is never
/// older than the settling term: no message is held that long.
pub fn terms() -> Terms {
    Terms {
        worker: Duration::from_secs(10),
        replica: Duration::from_secs(10),
        reservation: Duration::from_secs(10),
        settling: Duration::from_secs(8),
        list: Duration::from_secs(5),
        ..Terms::default()
    }
}

impl Store {
    pub fn new(clock: Clock, history: History, plant: Plant) -> Arc<Self> {
        let nodes = Nodes { primary: empty(&clock), replica: empty(&clock), replicates: true };
        Arc::new(Self { clock, history, plant, nodes: Mutex::new(nodes) })
    }

    /// A link without trouble.
    pub fn link(self: &Arc<Self>, dice: Dice) -> Link {
        Link { store: Arc::clone(self), trouble: Arc::default(), dice }
    }

    /// FLUSHALL.
    pub fn flush(&self) {
        let mut nodes = self.nodes();
        (nodes.primary, nodes.replica) = (empty(&self.clock), empty(&self.clock));
        self.history.directory_lost();
    }

    /// From now on the replica misses what is written.
    pub fn stop_replication(&self) {
        self.nodes().replicates = false;
    }

    /// The replica takes over, without what it missed.
    pub fn fail_over(&self) {
        let mut nodes = self.nodes();
        nodes.primary = std::mem::replace(&mut nodes.replica, empty(&self.clock));
        nodes.replicates = true;
        self.history.directory_lost();
    }

    /// How many places of a tenant's quota are taken.
    pub async fn taken(&self, tenant: TenantDigest) -> u32 {
        let primary = Arc::clone(&self.nodes().primary);
        let nobody = EnvironmentId::from_bytes([0xee; 16]);
        for limit in 1.. {
            let reserved = primary.reserve(tenant, nobody, limit).await;
            if reserved.expect("it is in memory") == Reservation::Granted {
                primary.release(tenant, nobody).await.expect("it is in memory");
                return limit - 1;
            }
        }
        unreachable!("a quota of that size")
    }

    fn nodes(&self) -> std::sync::MutexGuard<'_, Nodes> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn empty(clock: &Clock) -> Arc<Embedded> {
    Arc::new(Embedded::new(clock.clone(), terms()))
}

fn away() -> DirectoryError {
    DirectoryError::Away { source: None }
}

impl Link {
    pub fn set(&self, trouble: Trouble) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// One round trip.
    async fn step<T, F>(
        &self,
        step: impl Fn(Arc<Embedded>) -> F + Send,
    ) -> Result<T, DirectoryError>
    where
        F: Future<Output = Result<T, DirectoryError>> + Send,
        T: Send,
    {
        sleep(self.dice.millis(1, 6)).await;
        let trouble = *self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if trouble == Trouble::Away {
            sleep(DEADLINE).await;
            return Err(away());
        }
        let (primary, replica) = {
            let nodes = self.store.nodes();
            (Arc::clone(&nodes.primary), nodes.replicates.then(|| Arc::clone(&nodes.replica)))
        };
        let answer = step(primary).await;
        if let Some(replica) = replica {
            step(replica).await.ok();
        }
        if trouble == Trouble::LosesAnswers && self.dice.percent(50) {
            sleep(DEADLINE).await;
            return Err(away());
        }
        sleep(self.dice.millis(1, 6)).await;
        answer
    }
}

#[async_trait]
impl Directory for Link {
    async fn beat(&self, report: &WorkerReport) -> Result<Beat, DirectoryError> {
        self.step(|it| async move { it.beat(report).await }).await
    }

    async fn reconcile(
        &self,
        report: &WorkerReport,
        holdings: &[Holding],
    ) -> Result<(), DirectoryError> {
        self.step(|it| async move { it.reconcile(report, holdings).await }).await
    }

    async fn fleet(&self) -> Result<Vec<Sighting>, DirectoryError> {
        self.step(|it| async move { it.fleet().await }).await
    }

    async fn announce(&self, replica: &Replica) -> Result<Vec<Replica>, DirectoryError> {
        self.step(|it| async move { it.announce(replica).await }).await
    }

    async fn withdraw(&self, replica: &Replica) -> Result<(), DirectoryError> {
        self.step(|it| async move { it.withdraw(replica).await }).await
    }

    async fn complete(&self, workers: &[WorkerId]) -> Result<Completeness, DirectoryError> {
        self.step(|it| async move { it.complete(workers).await }).await
    }

    async fn reserve(
        &self,
        tenant: TenantDigest,
        environment: EnvironmentId,
        limit: u32,
    ) -> Result<Reservation, DirectoryError> {
        self.step(|it| async move { it.reserve(tenant, environment, limit).await }).await
    }

    async fn spend(
        &self,
        tenant: TenantDigest,
        rates: &[(RateId, Rate)],
    ) -> Result<Spending, DirectoryError> {
        self.step(|it| async move { it.spend(tenant, rates).await }).await
    }

    async fn claim_launch(
        &self,
        tenant: TenantDigest,
        key: LaunchKey,
        mine: Launch,
    ) -> Result<LaunchClaim, DirectoryError> {
        if self.store.plant == Plant::LaunchesForgotten {
            return Ok(LaunchClaim::Yours(mine));
        }
        self.step(|it| async move { it.claim_launch(tenant, key, mine).await }).await
    }

    async fn settle_launch(
        &self,
        tenant: TenantDigest,
        key: LaunchKey,
        environment: EnvironmentId,
        how: LaunchEnd,
    ) -> Result<(), DirectoryError> {
        self.step(|it| async move { it.settle_launch(tenant, key, environment, how).await }).await
    }

    async fn place(&self, holding: &Holding) -> Result<Placed, DirectoryError> {
        self.step(|it| async move { it.place(holding).await }).await
    }

    async fn locate(
        &self,
        tenant: TenantDigest,
        environment: EnvironmentId,
    ) -> Result<Option<Placement>, DirectoryError> {
        self.step(|it| async move { it.locate(tenant, environment).await }).await
    }

    async fn release(
        &self,
        tenant: TenantDigest,
        environment: EnvironmentId,
    ) -> Result<(), DirectoryError> {
        self.step(|it| async move { it.release(tenant, environment).await }).await
    }

    async fn open_tally(&self, tally: TallyId, term: Duration) -> Result<(), DirectoryError> {
        self.step(|it| async move { it.open_tally(tally, term).await }).await
    }

    async fn add_to_tally(
        &self,
        tally: TallyId,
        operation: &str,
        amount: i64,
        term: Duration,
    ) -> Result<Tally, DirectoryError> {
        self.step(|it| async move { it.add_to_tally(tally, operation, amount, term).await }).await
    }

    async fn publish(&self, event: &DirectoryEvent) -> Result<(), DirectoryError> {
        self.step(|it| async move { it.publish(event).await }).await
    }

    async fn subscribe(&self) -> Events {
        let primary = Arc::clone(&self.store.nodes().primary);
        primary.subscribe().await
    }

    async fn ping(&self) -> Result<(), DirectoryError> {
        self.step(|it| async move { it.ping().await }).await
    }
}
