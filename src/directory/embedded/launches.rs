//! Which environment each key launched.

use std::collections::HashMap;
use std::time::Duration;

use super::Overfull;
use crate::directory::{Launch, LaunchClaim, LaunchEnd, MAX_LAUNCH_KEYS, Terms};
use crate::domain::ids::{EnvironmentId, LaunchKey, TenantDigest, Timestamp};

/// Most keys of all tenants.
const MAX_LAUNCHES: usize = 100_000;

#[derive(Debug, Default)]
pub(super) struct Launches(HashMap<TenantDigest, HashMap<LaunchKey, Record>>);

#[derive(Debug)]
struct Record {
    launch: Launch,
    progress: Progress,
    until: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Claimed { until: Timestamp },
    Made,
}

impl Record {
    fn counts(&self, now: Timestamp) -> bool {
        now < self.until && (self.progress == Progress::Made || now < self.launch.not_after)
    }
}

impl Launches {
    pub(super) fn claim(
        &mut self,
        (tenant, key): (TenantDigest, LaunchKey),
        mine: Launch,
        now: Timestamp,
        terms: &Terms,
    ) -> Result<LaunchClaim, Overfull> {
        let claimed = Progress::Claimed { until: now.after(terms.launch_claim) };
        let Some(known) = self.known((tenant, key), now) else {
            if let Some(wait) = self.full(tenant, now) {
                return Ok(LaunchClaim::Full { wait });
            }
            if self.0.values().map(HashMap::len).sum::<usize>() >= MAX_LAUNCHES {
                return Err(Overfull("launches"));
            }
            let record = Record { launch: mine, progress: claimed, until: now.after(terms.launch) };
            self.0.entry(tenant).or_default().insert(key, record);
            return Ok(LaunchClaim::Yours(mine));
        };
        match known.progress {
            Progress::Made => Ok(LaunchClaim::Made(known.launch)),
            Progress::Claimed { until }
                if now < until && known.launch.environment != mine.environment =>
            {
                Ok(LaunchClaim::UnderWay)
            }
            Progress::Claimed { .. } => {
                known.progress = claimed;
                Ok(LaunchClaim::Yours(known.launch))
            }
        }
    }

    pub(super) fn settle(
        &mut self,
        (tenant, key): (TenantDigest, LaunchKey),
        environment: EnvironmentId,
        how: LaunchEnd,
        now: Timestamp,
    ) {
        let Some(known) = self.known((tenant, key), now) else { return };
        if known.launch.environment != environment || known.progress == Progress::Made {
            return;
        }
        match how {
            LaunchEnd::Made => known.progress = Progress::Made,
            LaunchEnd::NotMade => {
                self.0.get_mut(&tenant).and_then(|keys| keys.remove(&key));
            }
            LaunchEnd::Open => known.progress = Progress::Claimed { until: now },
        }
    }

    pub(super) fn sweep(&mut self, now: Timestamp) {
        self.0.retain(|_, keys| {
            keys.retain(|_, it| it.counts(now));
            !keys.is_empty()
        });
    }

    fn known(
        &mut self,
        (tenant, key): (TenantDigest, LaunchKey),
        now: Timestamp,
    ) -> Option<&mut Record> {
        self.0.get_mut(&tenant)?.get_mut(&key).filter(|it| it.counts(now))
    }

    /// How long until a tenant that has as many keys as it may has one less.
    fn full(&mut self, tenant: TenantDigest, now: Timestamp) -> Option<Duration> {
        let keys = self.0.get_mut(&tenant).filter(|keys| keys.len() >= MAX_LAUNCH_KEYS as usize)?;
        keys.retain(|_, it| it.counts(now));
        let first = keys.values().map(|it| it.until).min();
        first.filter(|_| keys.len() >= MAX_LAUNCH_KEYS as usize).map(|it| it.since(now))
    }
}
