//! Which environment each key launched.

use std::collections::HashMap;

use super::Overfull;
use crate::directory::{Launch, LaunchClaim, LaunchEnd, Terms};
use crate::domain::ids::{EnvironmentId, LaunchKey, TenantDigest, Timestamp};

/// Most keys.
const MAX_LAUNCHES: usize = 100_000;

#[derive(Debug, Default)]
pub(super) struct Launches(HashMap<(TenantDigest, LaunchKey), Record>);

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
        let is_full = self.0.len() >= MAX_LAUNCHES;
        let Some(known) = self.0.get_mut(&(tenant, key)).filter(|it| it.counts(now)) else {
            if is_full {
                return Err(Overfull("launches"));
            }
            let record = Record { launch: mine, progress: claimed, until: now.after(terms.launch) };
            self.0.insert((tenant, key), record);
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
        let Some(known) = self.0.get_mut(&(tenant, key)).filter(|it| it.counts(now)) else {
            return;
        };
        if known.launch.environment != environment || known.progress == Progress::Made {
            return;
        }
        match how {
            LaunchEnd::Made => known.progress = Progress::Made,
            LaunchEnd::NotMade => {
                self.0.remove(&(tenant, key));
            }
        }
    }

    pub(super) fn sweep(&mut self, now: Timestamp) {
        self.0.retain(|_, it| it.counts(now));
    }
}
