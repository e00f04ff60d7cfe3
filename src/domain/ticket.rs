//! A worker's right to an environment.

use super::keyring::{Keyring, Purpose, SEAL_LEN, Seal};
use super::placement::Holding;

/// A gateway's sealed statement that a worker was given an environment. The worker keeps it and shows it in
/// its heartbeats: a claim without it is ignored, so a hostile worker cannot take what is not its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(Seal);

/// Length of a ticket in bytes.
pub const TICKET_LEN: usize = SEAL_LEN + 1;

impl Ticket {
    /// Gives an environment to a worker.
    pub fn seal(holding: &Holding, keys: &Keyring) -> Self {
        Self(with_statement(holding, |statement| keys.seal_own(Purpose::Ticket, statement)))
    }

    /// The ticket with these bytes, not yet checked.
    pub fn from_bytes(bytes: [u8; TICKET_LEN]) -> Self {
        let mut mac = [0; SEAL_LEN];
        mac.copy_from_slice(&bytes[1..]);
        Self(Seal { key_id: bytes[0], mac })
    }

    /// Its bytes.
    pub fn to_bytes(self) -> [u8; TICKET_LEN] {
        let mut bytes = [0; TICKET_LEN];
        bytes[0] = self.0.key_id;
        bytes[1..].copy_from_slice(&self.0.mac);
        bytes
    }

    /// Whether a gateway gave exactly this. Constant time in the seal.
    pub fn proves(self, holding: &Holding, keys: &Keyring) -> bool {
        with_statement(holding, |statement| keys.verifies_own(&self.0, Purpose::Ticket, statement))
    }
}

fn with_statement<T>(holding: &Holding, use_it: impl FnOnce(&[&[u8]]) -> T) -> T {
    let placement = &holding.placement;
    // The worker's name is the only part without a fixed length, and comes last.
    use_it(&[
        holding.environment.as_bytes(),
        holding.tenant.as_bytes(),
        holding.owner.as_bytes(),
        &placement.epoch.0.to_be_bytes(),
        &holding.not_after.as_millis().to_be_bytes(),
        placement.worker.as_str().as_bytes(),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{EnvironmentId, Principal, Timestamp, WorkerId};
    use crate::domain::keyring::SecretKey;
    use crate::domain::placement::{Epoch, Placement};

    fn holding() -> Holding {
        Holding {
            environment: EnvironmentId::from_bytes([1; 16]),
            tenant: Principal::Anonymous.tenant_digest(),
            owner: Principal::Anonymous.owner_digest(),
            placement: Placement { worker: WorkerId::parse("w1").unwrap(), epoch: Epoch(1) },
            not_after: Timestamp::from_millis(1000),
        }
    }

    #[test]
    fn a_ticket_proves_one_holding_and_no_other() {
        let keys = Keyring::new("baton", &[SecretKey::from_bytes([1; 32])]).unwrap();
        let ticket = Ticket::from_bytes(Ticket::seal(&holding(), &keys).to_bytes());
        assert!(ticket.proves(&holding(), &keys));
        let mut others = [holding(), holding(), holding(), holding()];
        others[0].environment = EnvironmentId::from_bytes([2; 16]);
        others[1].placement.worker = WorkerId::parse("w2").unwrap();
        others[2].placement.epoch = Epoch(2);
        others[3].not_after = Timestamp::from_millis(1001);
        assert!(others.iter().all(|other| !ticket.proves(other, &keys)));
    }
}
