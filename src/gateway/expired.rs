//! Environments whose time was over, as their workers report it: whoever listens here is told of each, by this replica once.
//!
//! Each worker reports to each replica, so every replica tells its own listeners and none has to tell another. Only
//! replicas that share an address do: a report that is sent there reaches one of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::claims;
use super::fleet::Fleet;
use super::listen::Hub;
use crate::clock::Clock;
use crate::directory::{Audience, Change, List};
use crate::domain::ids::{EnvironmentId, Principal, Timestamp, WorkerId};
use crate::domain::keyring::Keyring;
use crate::domain::placement::Holding;
use crate::rpc::wire::Claim;

/// For how long after a worker's last word it is remembered that an environment was told of; workers repeat each for
/// half of it.
const REMEMBERED: Duration = Duration::from_mins(1);

/// Tells of environments that have expired.
#[derive(Debug)]
pub(super) struct Expired {
    hub: Arc<Hub>,
    fleet: Arc<Fleet>,
    keys: Keyring,
    clock: Clock,
    told: Mutex<Told>,
}

impl Expired {
    /// Nothing has been told yet.
    pub(super) fn new(hub: Arc<Hub>, fleet: Arc<Fleet>, keys: Keyring, clock: Clock) -> Self {
        Self { hub, fleet, keys, clock, told: Mutex::default() }
    }

    /// Tells of what a worker held until its time was over, unless that was told before.
    pub(super) fn heard(&self, worker: &WorkerId, claims: &[Claim]) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let news = told.news(worker, claims, &self.keys, self.clock.now());
        drop(told);
        for Holding { environment, owner, .. } in news {
            // The anonymous have no list of their own.
            if owner != Principal::Anonymous.owner_digest() {
                let audience = Audience::Owner(owner);
                self.tell(Change::List { list: List::Resources, audience });
            }
            self.tell(Change::Environment { environment, owner });
        }
    }

    fn tell(&self, change: Change) {
        if self.fleet.shares_its_address() {
            self.hub.spread(change);
        } else {
            self.hub.publish(&change);
        }
    }
}

/// What was told, and when its worker last said so.
#[derive(Debug, Default)]
struct Told(HashMap<EnvironmentId, Timestamp>);

impl Told {
    /// What of these claims is new. One that its worker cannot prove is passed over.
    fn news(
        &mut self,
        worker: &WorkerId,
        claims: &[Claim],
        keys: &Keyring,
        now: Timestamp,
    ) -> Vec<Holding> {
        self.0.retain(|_, last| now.since(*last) < REMEMBERED);
        let mut news = Vec::new();
        for claim in claims {
            let known = EnvironmentId::from_hex(&claim.environment);
            if let Some(last) = known.and_then(|it| self.0.get_mut(&it)) {
                *last = now;
            } else if let Some(holding) = claims::proven(claim, worker, keys) {
                self.0.insert(holding.environment, now);
                news.push(holding);
            }
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::keyring::SecretKey;

    #[test]
    fn what_is_proven_is_told_once_however_often_it_is_said() {
        let keys = Keyring::new("baton", &[SecretKey::from_bytes([1; 32])]).unwrap();
        let worker = |id| WorkerId::parse(id).unwrap();
        let holding = claims::tests::holding();
        let claim = [claims::seal(&holding, &keys)];
        let forged = [Claim { ticket: String::new(), ..claim[0].clone() }];
        let (mut told, mut now) = (Told::default(), Timestamp::from_millis(1_000_000));
        assert_eq!(told.news(&worker("w1"), &forged, &keys, now), []);
        assert_eq!(told.news(&worker("w2"), &claim, &keys, now), []);
        assert_eq!(told.news(&worker("w1"), &claim, &keys, now), [holding]);
        for _ in 0..3 {
            now = now.after(REMEMBERED / 2);
            assert_eq!(told.news(&worker("w1"), &claim, &keys, now), []);
        }
        told.news(&worker("w1"), &[], &keys, now.after(REMEMBERED));
        assert!(told.0.is_empty(), "it is not remembered for ever");
    }
}
