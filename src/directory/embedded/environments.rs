//! Where environments live, and what counts in each tenant's quota.

use std::collections::HashMap;
use std::time::Duration;

use super::Overfull;
use crate::directory::{Placed, Reservation};
use crate::domain::ids::{EnvironmentId, TenantDigest, Timestamp, WorkerId};
use crate::domain::placement::{Epoch, Holding, Placement};

/// Most environments, and most places in quotas.
const MAX_ENVIRONMENTS: usize = 100_000;

#[derive(Debug, Default)]
pub(super) struct Environments {
    records: HashMap<Named, Record>,
    /// What each tenant has, and until when it counts.
    quotas: HashMap<TenantDigest, HashMap<EnvironmentId, Timestamp>>,
    places: usize,
}

type Named = (TenantDigest, EnvironmentId);

#[derive(Debug)]
enum Record {
    Placed {
        placement: Placement,
        /// When it was first placed so: a list may be older.
        since: Timestamp,
        not_after: Timestamp,
    },
    Released {
        epoch: Epoch,
        until: Timestamp,
    },
}

/// What came of a worker's claim to hold an environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claimed {
    Noted,
    Outdated,
    JustReleased,
}

impl Environments {
    pub(super) fn reserve(
        &mut self,
        tenant: TenantDigest,
        environment: EnvironmentId,
        limit: u32,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Reservation, Overfull> {
        self.forget_expired_places(tenant, now);
        let quota = self.quotas.get(&tenant);
        let counted = quota.and_then(|quota| quota.get(&environment)).copied();
        let taken = quota.map_or(0, HashMap::len);
        if counted.is_none() && taken >= usize::try_from(limit).unwrap_or(usize::MAX) {
            return Ok(Reservation::Full);
        }
        // Never earlier: it may be placed already.
        self.count(tenant, environment, counted.map_or(until, |known| known.max(until)))?;
        Ok(Reservation::Granted)
    }

    pub(super) fn place(&mut self, holding: &Holding, now: Timestamp) -> Result<Placed, Overfull> {
        Ok(match self.claim(holding, now)? {
            Claimed::Noted => Placed::Noted,
            Claimed::Outdated | Claimed::JustReleased => Placed::Stale,
        })
    }

    pub(super) fn locate(
        &self,
        tenant: TenantDigest,
        environment: EnvironmentId,
        now: Timestamp,
    ) -> Option<Placement> {
        match self.record((tenant, environment), now)? {
            Record::Placed { placement, .. } => Some(placement.clone()),
            Record::Released { .. } => None,
        }
    }

    pub(super) fn release(
        &mut self,
        tenant: TenantDigest,
        environment: EnvironmentId,
        now: Timestamp,
        settling: Duration,
    ) {
        self.uncount(tenant, environment);
        let name = (tenant, environment);
        if let Some(Record::Placed { placement, .. }) = self.record(name, now) {
            let released = Record::Released { epoch: placement.epoch, until: now.after(settling) };
            self.records.insert(name, released);
        }
    }

    /// Takes over a worker's list; whether nothing is left in which the two differ.
    pub(super) fn reconcile(
        &mut self,
        worker: &WorkerId,
        holdings: &[Holding],
        now: Timestamp,
        settling: Duration,
    ) -> Result<bool, Overfull> {
        let mut settled = true;
        for holding in holdings {
            settled &= self.claim(holding, now)? != Claimed::JustReleased;
        }
        for (tenant, environment, since) in self.held_besides(worker, holdings, now) {
            if now < since.after(settling) {
                settled = false;
            } else {
                self.release(tenant, environment, now, settling);
            }
        }
        Ok(settled)
    }

    pub(super) fn sweep(&mut self, now: Timestamp) {
        self.records.retain(|_, record| now < record.until());
        let tenants: Vec<_> = self.quotas.keys().copied().collect();
        for tenant in tenants {
            self.forget_expired_places(tenant, now);
        }
    }

    fn claim(&mut self, holding: &Holding, now: Timestamp) -> Result<Claimed, Overfull> {
        let name = (holding.tenant, holding.environment);
        let claimed = &holding.placement;
        if holding.not_after <= now {
            return Ok(Claimed::Outdated);
        }
        let since = match self.record(name, now) {
            Some(Record::Placed { placement, since, .. }) => {
                if placement == claimed {
                    *since
                } else if claimed.epoch <= placement.epoch {
                    return Ok(Claimed::Outdated);
                } else {
                    now
                }
            }
            Some(Record::Released { epoch, .. }) if claimed.epoch < *epoch => {
                return Ok(Claimed::Outdated);
            }
            Some(Record::Released { epoch, .. }) if claimed.epoch == *epoch => {
                return Ok(Claimed::JustReleased);
            }
            Some(Record::Released { .. }) | None => now,
        };
        if self.records.len() >= MAX_ENVIRONMENTS && !self.records.contains_key(&name) {
            return Err(Overfull("environments"));
        }
        self.count(holding.tenant, holding.environment, holding.not_after)?;
        let placement = claimed.clone();
        self.records
            .insert(name, Record::Placed { placement, since, not_after: holding.not_after });
        Ok(Claimed::Noted)
    }

    /// What the directory believes a worker to hold that its list does not have, and since when.
    fn held_besides(
        &self,
        worker: &WorkerId,
        holdings: &[Holding],
        now: Timestamp,
    ) -> Vec<(TenantDigest, EnvironmentId, Timestamp)> {
        let listed: std::collections::HashSet<Named> =
            holdings.iter().map(|it| (it.tenant, it.environment)).collect();
        let missing = |(name, record): (&Named, &Record)| match record {
            Record::Placed { placement, since, not_after }
                if placement.worker == *worker && now < *not_after && !listed.contains(name) =>
            {
                Some((name.0, name.1, *since))
            }
            Record::Placed { .. } | Record::Released { .. } => None,
        };
        self.records.iter().filter_map(missing).collect()
    }

    fn record(&self, name: Named, now: Timestamp) -> Option<&Record> {
        self.records.get(&name).filter(|record| now < record.until())
    }

    fn count(
        &mut self,
        tenant: TenantDigest,
        environment: EnvironmentId,
        until: Timestamp,
    ) -> Result<(), Overfull> {
        let quota = self.quotas.entry(tenant).or_default();
        if !quota.contains_key(&environment) {
            if self.places >= MAX_ENVIRONMENTS {
                return Err(Overfull("places in quotas"));
            }
            self.places += 1;
        }
        quota.insert(environment, until);
        Ok(())
    }

    fn uncount(&mut self, tenant: TenantDigest, environment: EnvironmentId) {
        let Some(quota) = self.quotas.get_mut(&tenant) else { return };
        self.places -= usize::from(quota.remove(&environment).is_some());
        if quota.is_empty() {
            self.quotas.remove(&tenant);
        }
    }

    fn forget_expired_places(&mut self, tenant: TenantDigest, now: Timestamp) {
        let Some(quota) = self.quotas.get_mut(&tenant) else { return };
        let before = quota.len();
        quota.retain(|_, until| now < *until);
        self.places -= before - quota.len();
        if quota.is_empty() {
            self.quotas.remove(&tenant);
        }
    }
}

impl Record {
    fn until(&self) -> Timestamp {
        match self {
            Self::Placed { not_after, .. } => *not_after,
            Self::Released { until, .. } => *until,
        }
    }
}
