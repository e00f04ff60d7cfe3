//! Rates that all replicas hold together.

use std::collections::HashMap;
use std::time::Duration;

use super::Overfull;
use crate::directory::Spending;
use crate::domain::ids::{RateId, TenantDigest, Timestamp};
use crate::domain::rate::Rate;

/// Most rates of which something is in use.
const MAX_RATES_IN_USE: usize = 100_000;

#[derive(Debug, Default)]
pub(super) struct Rates {
    /// The moment at which nothing of each is in use, counted from the Unix epoch.
    until: HashMap<(TenantDigest, RateId), Duration>,
}

impl Rates {
    pub(super) fn spend(
        &mut self,
        tenant: TenantDigest,
        rates: &[(RateId, Rate)],
        now: Timestamp,
    ) -> Result<Spending, Overfull> {
        let now = Duration::from_millis(now.as_millis());
        for (id, rate) in rates {
            // Never beyond the window: the clock may have gone back, and rates may be set anew. It is put right for good,
            // whether or not this one passes: else all are refused until the old moment, whatever wait they are told.
            if let Some(until) = self.until.get_mut(&(tenant, *id)) {
                *until = (*until).min(now + rate.window());
            }
        }
        let used_of = |(id, _): &(RateId, Rate)| {
            let until = self.until.get(&(tenant, *id)).copied().unwrap_or_default();
            until.saturating_sub(now)
        };
        let before: Vec<Duration> = rates.iter().map(used_of).collect();
        let counted = rates.iter().zip(&before).map(|((_, rate), used)| rate.count(*used));
        let Ok(used) = counted.collect::<Result<Vec<_>, _>>() else {
            return Ok(Spending { granted: false, used: before });
        };
        let names = rates.iter().map(|(id, _)| (tenant, *id));
        let new = names.clone().filter(|name| !self.until.contains_key(name)).count();
        if self.until.len() + new > MAX_RATES_IN_USE {
            return Err(Overfull("rates"));
        }
        self.until.extend(names.zip(used.iter().map(|used| now + *used)));
        Ok(Spending { granted: true, used })
    }

    pub(super) fn sweep(&mut self, now: Timestamp) {
        let now = Duration::from_millis(now.as_millis());
        self.until.retain(|_, until| now < *until);
    }
}
