//! The directory of one machine, in memory; also the model that Redis is tested against.
//!
//! Nothing runs in the background: what has expired by the clock counts as absent, and is swept out now and then.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::events::Readers;
use super::{
    Beat, Completeness, Directory, DirectoryError, DirectoryEvent, Events, Heard, Launch,
    LaunchClaim, LaunchEnd, Placed, Replica, Reservation, Spending, Tally, Terms, WORKER_MEMORY,
};
use crate::clock::Clock;
use crate::domain::ids::{
    EnvironmentId, LaunchKey, RateId, TallyId, TenantDigest, Timestamp, WorkerId,
};
use crate::domain::placement::{Holding, Placement, Sighting, WorkerReport};
use crate::domain::rate::Rate;

mod environments;
mod fleet;
mod launches;
mod rates;
mod tallies;

use environments::Environments;
use fleet::Fleet;
use launches::Launches;
use rates::Rates;
use tallies::Tallies;

/// Soft state in the memory of one process.
#[derive(Debug)]
pub struct Embedded {
    clock: Clock,
    terms: Terms,
    begun: Timestamp,
    state: Mutex<State>,
    readers: Readers,
}

#[derive(Debug, Default)]
struct State {
    fleet: Fleet,
    environments: Environments,
    launches: Launches,
    rates: Rates,
    tallies: Tallies,
    changes_until_sweep: u32,
}

/// How many changes are made between two sweeps.
const SWEEP_EVERY: u32 = 1000;

/// A table of the embedded directory holds as many entries as it may.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the embedded directory holds as many {0} as it may")]
struct Overfull(&'static str);

impl From<Overfull> for DirectoryError {
    fn from(overfull: Overfull) -> Self {
        Self::Away { source: Some(Box::new(overfull)) }
    }
}

impl Embedded {
    /// An empty directory that tells the time by `clock`.
    pub fn new(clock: Clock, terms: Terms) -> Self {
        let (begun, state, readers) = (clock.now(), Mutex::default(), Readers::default());
        Self { clock, terms, begun, state, readers }
    }

    fn read(&self) -> (MutexGuard<'_, State>, Timestamp) {
        // A panic while it was held leaves soft state that the next heartbeat puts right.
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state, self.clock.now())
    }

    fn change(&self) -> (MutexGuard<'_, State>, Timestamp) {
        let (mut state, now) = self.read();
        match state.changes_until_sweep.checked_sub(1) {
            Some(left) => state.changes_until_sweep = left,
            None => state.sweep(now),
        }
        (state, now)
    }
}

impl State {
    fn sweep(&mut self, now: Timestamp) {
        self.fleet.sweep(now);
        self.environments.sweep(now);
        self.launches.sweep(now);
        self.rates.sweep(now);
        self.tallies.sweep(now);
        self.changes_until_sweep = SWEEP_EVERY;
    }
}

#[async_trait]
impl Directory for Embedded {
    async fn beat(&self, report: &WorkerReport) -> Result<Beat, DirectoryError> {
        let (mut state, now) = self.change();
        Ok(state.fleet.beat(report, now, &self.terms)?)
    }

    async fn reconcile(
        &self,
        report: &WorkerReport,
        holdings: &[Holding],
    ) -> Result<(), DirectoryError> {
        let (mut state, now) = self.change();
        if !state.fleet.hears(report, now)? {
            return Ok(());
        }
        let settled =
            state.environments.reconcile(&report.worker, holdings, now, self.terms.settling)?;
        state.fleet.listed(report, settled, now);
        Ok(())
    }

    async fn fleet(&self) -> Result<Vec<Sighting>, DirectoryError> {
        let (state, now) = self.read();
        Ok(state.fleet.sightings(now, &self.terms))
    }

    async fn announce(&self, replica: &Replica) -> Result<Vec<Replica>, DirectoryError> {
        let (mut state, now) = self.change();
        Ok(state.fleet.announce(replica, now, &self.terms)?)
    }

    async fn withdraw(&self, replica: &Replica) -> Result<(), DirectoryError> {
        self.change().0.fleet.withdraw(replica);
        Ok(())
    }

    /// It begins and ends with its only gateway, and forgets nothing meanwhile.
    async fn complete(&self, _workers: &[WorkerId]) -> Result<Completeness, DirectoryError> {
        Ok(Completeness::Since(self.begun))
    }

    async fn reserve(
        &self,
        tenant: TenantDigest,
        environment: EnvironmentId,
        limit: u32,
    ) -> Result<Reservation, DirectoryError> {
        let (mut state, now) = self.change();
        let until = now.after(self.terms.reservation);
        Ok(state.environments.reserve(tenant, environment, limit, until, now)?)
    }

    async fn place(&self, holding: &Holding) -> Result<Placed, DirectoryError> {
        let (mut state, now) = self.change();
        Ok(state.environments.place(holding, now)?)
    }

    async fn locate(
        &self,
        tenant: TenantDigest,
        environment: EnvironmentId,
    ) -> Result<Option<Placement>, DirectoryError> {
        let (state, now) = self.read();
        Ok(state.environments.locate(tenant, environment, now))
    }

    async fn release(
        &self,
        tenant: TenantDigest,
        environment: EnvironmentId,
    ) -> Result<(), DirectoryError> {
        let (mut state, now) = self.change();
        state.environments.release(tenant, environment, now, self.terms.settling);
        Ok(())
    }

    async fn spend(
        &self,
        tenant: TenantDigest,
        rates: &[(RateId, Rate)],
    ) -> Result<Spending, DirectoryError> {
        let (mut state, now) = self.change();
        Ok(state.rates.spend(tenant, rates, now)?)
    }

    async fn claim_launch(
        &self,
        tenant: TenantDigest,
        key: LaunchKey,
        mine: Launch,
    ) -> Result<LaunchClaim, DirectoryError> {
        let (mut state, now) = self.change();
        Ok(state.launches.claim((tenant, key), mine, now, &self.terms)?)
    }

    async fn settle_launch(
        &self,
        tenant: TenantDigest,
        key: LaunchKey,
        environment: EnvironmentId,
        how: LaunchEnd,
    ) -> Result<(), DirectoryError> {
        let (mut state, now) = self.change();
        state.launches.settle((tenant, key), environment, how, now);
        Ok(())
    }

    async fn open_tally(&self, tally: TallyId, term: Duration) -> Result<(), DirectoryError> {
        let (mut state, now) = self.change();
        Ok(state.tallies.open(tally, now.after(term), now)?)
    }

    async fn add_to_tally(
        &self,
        tally: TallyId,
        operation: &str,
        amount: i64,
        term: Duration,
    ) -> Result<Tally, DirectoryError> {
        let (mut state, now) = self.change();
        Ok(state.tallies.add(tally, operation, amount, now.after(term), now)?)
    }

    async fn publish(&self, event: &DirectoryEvent) -> Result<(), DirectoryError> {
        self.readers.tell(Heard::Event(event.clone()));
        Ok(())
    }

    async fn subscribe(&self) -> Events {
        self.readers.join()
    }

    async fn ping(&self) -> Result<(), DirectoryError> {
        Ok(())
    }
}
