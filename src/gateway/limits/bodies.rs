//! Bytes of requests: how much this replica holds of them at once, in all and for one tenant.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Refusal;
use crate::domain::digest_map::DigestMap;
use crate::domain::ids::TenantDigest;

/// How many bytes of requests may be held on this replica at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffers {
    /// In all.
    pub bytes: u64,
    /// Of one tenant.
    pub bytes_per_tenant: u64,
}

/// A body of at most so many bytes is never refused and not counted: sockets hold as much. What introduces a client fits,
/// which must not be shed.
const SMALL: u64 = 4096;

/// Room for one request; given back when dropped.
#[derive(Debug)]
pub(in crate::gateway) struct Room {
    bodies: Arc<Bodies>,
    tenant: TenantDigest,
    bytes: u64,
}

/// The bodies that one replica holds.
#[derive(Debug)]
pub(super) struct Bodies {
    buffers: Buffers,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    bytes: u64,
    /// Of those who have any.
    tenants: DigestMap<TenantDigest, u64>,
}

impl Bodies {
    /// None yet.
    pub(super) fn new(buffers: Buffers) -> Arc<Self> {
        Arc::new(Self { buffers, held: Mutex::default() })
    }

    /// Room for nothing, which can grow.
    pub(super) fn room(self: &Arc<Self>, tenant: TenantDigest) -> Room {
        Room { bodies: Arc::clone(self), tenant, bytes: 0 }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    /// Grows to so many bytes in all; what there is already stays where there is no more.
    pub(in crate::gateway) fn grow_to(&mut self, bytes: u64) -> Result<(), Refusal> {
        if bytes <= self.bytes.max(SMALL) {
            return Ok(());
        }
        let more = bytes - self.bytes;
        let Buffers { bytes: in_all, bytes_per_tenant } = self.bodies.buffers;
        let mut held = self.bodies.held();
        let of_tenant = held.tenants.get(&self.tenant).copied().unwrap_or(0);
        if held.bytes + more > in_all || of_tenant + more > bytes_per_tenant {
            return Err(Refusal::Busy);
        }
        held.bytes += more;
        held.tenants.insert(self.tenant, of_tenant + more);
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let mut held = self.bodies.held();
        held.bytes -= self.bytes;
        if let Some(of_tenant) = held.tenants.get_mut(&self.tenant) {
            *of_tenant -= self.bytes;
            if *of_tenant == 0 {
                held.tenants.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::limits::tests::tenant;

    #[test]
    fn room_is_bounded_in_all_and_for_one_tenant_and_comes_back() {
        let kib = |count: u64| count << 10;
        let bodies = Bodies::new(Buffers { bytes: kib(100), bytes_per_tenant: kib(60) });
        let grow = |room: &mut Room, to: u64| room.grow_to(kib(to)).is_ok();
        let mut first = bodies.room(tenant("a"));
        assert!(grow(&mut first, 40));
        assert!(grow(&mut first, 30), "it has that already");
        assert!(grow(&mut first, 60));
        assert!(!grow(&mut first, 70), "more than a tenant may");
        assert!(!grow(&mut bodies.room(tenant("a")), 10));
        let mut second = bodies.room(tenant("b"));
        assert!(!grow(&mut second, 50), "more than there is");
        assert!(grow(&mut second, 40));
        assert!(grow(&mut bodies.room(tenant("a")), 4), "small ones find room always");
        drop(first);
        assert!(grow(&mut second, 60));
        drop(second);
        assert!(bodies.held().tenants.is_empty() && bodies.held().bytes == 0);
    }
}
