//! Places in flight: how many calls this replica works on at once, in all and for one tenant.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Refusal;
use crate::domain::ids::TenantDigest;

/// How much may be in flight on this replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InFlight {
    /// Calls in all.
    pub calls: usize,
    /// Calls of one tenant.
    pub calls_per_tenant: usize,
}

/// How long a call may wait for its turn before it is shed.
const SLOT_WAIT: Duration = Duration::from_millis(250);
/// Tenants whose state is kept when nothing of theirs is in flight.
const IDLE_TENANTS: usize = 1024;

/// A place in flight; given back when dropped.
#[derive(Debug)]
pub(in crate::gateway) struct Slot {
    _replica: OwnedSemaphorePermit,
    _tenant: OwnedSemaphorePermit,
}

/// The places of one replica.
#[derive(Debug)]
pub(super) struct Slots {
    replica: Arc<Semaphore>,
    per_tenant: usize,
    tenants: Mutex<HashMap<TenantDigest, Arc<Semaphore>>>,
}

impl Slots {
    /// So many, all of them free.
    pub(super) fn new(in_flight: InFlight) -> Self {
        let replica = Arc::new(Semaphore::new(in_flight.calls));
        Self { replica, per_tenant: in_flight.calls_per_tenant, tenants: Mutex::default() }
    }

    /// Takes one, waiting for it a short while.
    pub(super) async fn take(&self, tenant: TenantDigest) -> Result<Slot, Refusal> {
        let of_tenant = self.of(tenant);
        let both = async {
            let tenant = of_tenant.acquire_owned().await.map_err(|_| Refusal::Busy)?;
            let replica =
                Arc::clone(&self.replica).acquire_owned().await.map_err(|_| Refusal::Busy)?;
            Ok(Slot { _replica: replica, _tenant: tenant })
        };
        tokio::time::timeout(SLOT_WAIT, both).await.unwrap_or(Err(Refusal::Busy))
    }

    /// Forgets tenants of whom nothing is in flight, where there are many.
    pub(super) fn tidy(&self) {
        let mut tenants = self.tenants.lock().expect("no panic under this lock");
        if tenants.len() > IDLE_TENANTS {
            tenants.retain(|_, slots| slots.available_permits() < self.per_tenant);
        }
    }

    fn of(&self, tenant: TenantDigest) -> Arc<Semaphore> {
        let mut tenants = self.tenants.lock().expect("no panic under this lock");
        let slots = || Arc::new(Semaphore::new(self.per_tenant));
        Arc::clone(tenants.entry(tenant).or_insert_with(slots))
    }
}
