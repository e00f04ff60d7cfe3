//! Claims: what the rpc says of an environment, to and from what the domain means by it.

use crate::domain::ids::{EnvironmentId, OwnerDigest, TenantDigest, Timestamp, WorkerId};
use crate::domain::keyring::Keyring;
use crate::domain::placement::{Epoch, Holding, Placement};
use crate::domain::ticket::{TICKET_LEN, Ticket};
use crate::rpc::wire::Claim;

/// A sealed claim for a worker that is to hold an environment.
pub(super) fn seal(holding: &Holding, keys: &Keyring) -> Claim {
    Claim {
        environment: holding.environment.to_string(),
        tenant: holding.tenant.to_string(),
        owner: holding.owner.to_string(),
        epoch: holding.placement.epoch.0,
        not_after_ms: holding.not_after.as_millis(),
        ticket: hex(&Ticket::seal(holding, keys).to_bytes()),
    }
}

/// What a worker claims, if a gateway gave it just that.
pub(super) fn proven(claim: &Claim, worker: &WorkerId, keys: &Keyring) -> Option<Holding> {
    let holding = Holding {
        environment: EnvironmentId::from_hex(&claim.environment)?,
        tenant: TenantDigest::from_hex(&claim.tenant)?,
        owner: OwnerDigest::from_hex(&claim.owner)?,
        placement: Placement { worker: worker.clone(), epoch: Epoch(claim.epoch) },
        not_after: Timestamp::from_millis(claim.not_after_ms),
    };
    let ticket = Ticket::from_bytes(unhex(&claim.ticket)?);
    ticket.proves(&holding, keys).then_some(holding)
}

/// A list's digest; what is none is the digest of nothing known, so that the list is asked for.
pub(super) fn digest(text: &str) -> [u8; 16] {
    EnvironmentId::from_hex(text).map_or([0xff; 16], |id| *id.as_bytes())
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn unhex(text: &str) -> Option<[u8; TICKET_LEN]> {
    let mut bytes = [0; TICKET_LEN];
    if text.len() != 2 * TICKET_LEN || !text.is_ascii() {
        return None;
    }
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * place..2 * place + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::domain::ids::Principal;
    use crate::domain::keyring::SecretKey;

    /// What a worker named `w1` holds for a caller without a key.
    pub(in crate::gateway) fn holding() -> Holding {
        Holding {
            environment: EnvironmentId::from_bytes([1; 16]),
            tenant: Principal::Anonymous.tenant_digest(),
            owner: Principal::Anonymous.owner_digest(),
            placement: Placement { worker: WorkerId::parse("w1").unwrap(), epoch: Epoch::FIRST },
            not_after: Timestamp::from_millis(1000),
        }
    }

    #[test]
    fn a_claim_is_proven_for_its_worker_alone() {
        let keys = Keyring::new("baton", &[SecretKey::from_bytes([1; 32])]).unwrap();
        let worker = |id| WorkerId::parse(id).unwrap();
        let holding = holding();
        let claim = seal(&holding, &keys);
        assert_eq!(proven(&claim, &worker("w1"), &keys), Some(holding));
        assert_eq!(proven(&claim, &worker("w2"), &keys), None);
        for ticket in ["", "zz", &"0".repeat(42), &"é".repeat(21)] {
            let forged = Claim { ticket: ticket.to_owned(), ..claim.clone() };
            assert_eq!(proven(&forged, &worker("w1"), &keys), None, "{ticket}");
        }
    }
}
