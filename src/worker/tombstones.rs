//! The environments that are no more: remembered for a day, so that the model is told why.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::oneshot;

use super::environment::Environment;
use super::host::Host;
use crate::domain::environment::GoneReason;
use crate::domain::ids::{EnvironmentId, OwnerDigest, Timestamp};

/// How long it is remembered why an environment is gone.
const REMEMBERED: Duration = Duration::from_hours(24);
/// How many of them are remembered; the oldest go first.
const CAPACITY: usize = 10_000;

/// What is remembered of an environment that is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tombstone {
    pub(super) owner: OwnerDigest,
    pub(super) reason: GoneReason,
    pub(super) since: Timestamp,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Tombstones(HashMap<EnvironmentId, Tombstone>);

impl Tombstones {
    pub(super) fn get(&self, environment: EnvironmentId) -> Option<Tombstone> {
        self.0.get(&environment).copied()
    }

    pub(super) fn set(&mut self, environment: EnvironmentId, tombstone: Tombstone) {
        self.0.insert(environment, tombstone);
    }

    /// Takes out those that were remembered long enough, or are too many.
    pub(super) fn take_old(&mut self, now: Timestamp) -> Vec<EnvironmentId> {
        let mut by_age: Vec<_> = self.0.iter().map(|(id, it)| (it.since, *id)).collect();
        by_age.sort_unstable();
        let surplus = by_age.len().saturating_sub(CAPACITY);
        let expired = by_age.partition_point(|(since, _)| now.since(*since) > REMEMBERED);
        by_age.truncate(surplus.max(expired));
        let old = by_age.into_iter().map(|(_, id)| id);
        old.filter(|id| self.0.remove(id).is_some()).collect()
    }
}

/// Writes that an environment is gone, then takes its sandbox and files away. Where the disk is too full to write,
/// the files make room; what still cannot be written is removed, or the next start would bring it back to life.
pub(super) async fn bury(host: &Host, environment: &Environment, written: oneshot::Sender<()>) {
    let first_try = environment.save(host).await;
    // Nobody may be waiting for it.
    written.send(()).ok();
    environment.put_down().await;
    let id = environment.id();
    if let Err(error) = host.remove_contents(id).await {
        tracing::error!(environment = id.log_name(), %error, "its files stay on disk");
    }
    if first_try.is_err()
        && environment.save(host).await.is_err()
        && let Err(error) = host.remove(id).await
    {
        tracing::error!(environment = id.log_name(), %error, "its record stays on disk");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::Principal;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn id(number: u32) -> EnvironmentId {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        EnvironmentId::from_bytes(bytes)
    }

    fn tombstone(since: Timestamp) -> Tombstone {
        Tombstone { owner: Principal::Anonymous.owner_digest(), reason: GoneReason::Deleted, since }
    }

    #[test]
    fn a_day_later_nobody_remembers() {
        let mut all = Tombstones::default();
        all.set(id(1), tombstone(NOW));
        assert_eq!(all.take_old(NOW.after(REMEMBERED)), []);
        assert_eq!(all.get(id(1)), Some(tombstone(NOW)));
        let later = NOW.after(REMEMBERED + Duration::from_millis(1));
        assert_eq!(all.take_old(later), [id(1)]);
        assert_eq!(all.get(id(1)), None);
    }

    #[test]
    fn the_oldest_make_room() {
        let mut all = Tombstones::default();
        for number in 0..=u32::try_from(CAPACITY).unwrap() {
            all.set(id(number), tombstone(NOW.after(Duration::from_millis(number.into()))));
        }
        assert_eq!(all.take_old(NOW), [id(0)]);
    }
}
