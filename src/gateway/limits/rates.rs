//! Rates: how often a tenant may ask, and this replica's share of it.

use std::collections::HashMap;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};

use super::Refusal;
use crate::domain::ids::TenantDigest;
use crate::gateway::tools::Tool;
use crate::mcp::Method;
use crate::telemetry::Counter;

/// How often something may happen, over all replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Time after which one more may.
    pub interval: Duration,
    /// How often at once after a pause.
    pub burst: NonZeroU32,
}

/// The rates of every tenant; where there is none, there is no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Of all requests.
    pub tenant: Option<Rate>,
    /// Of single methods.
    pub methods: Vec<(Method, Rate)>,
    /// Of single tools.
    pub tools: Vec<(Tool, Rate)>,
}

/// One limiter for each key.
pub(super) type Keyed<K> = RateLimiter<K, DashMapStateStore<K>, DefaultClock>;

/// The limiters of one replica among so many.
#[derive(Debug)]
pub(super) struct Limiters {
    pub(super) replicas: NonZeroU32,
    pub(super) tenant: Option<Keyed<TenantDigest>>,
    pub(super) methods: HashMap<Method, Keyed<TenantDigest>>,
    pub(super) tools: HashMap<Tool, Keyed<TenantDigest>>,
}

impl Limiters {
    /// This replica's shares of the rates.
    pub(super) fn new(rates: &Rates, replicas: NonZeroU32) -> Self {
        let share = |rate: Rate| share(rate, replicas);
        Self {
            replicas,
            tenant: rates.tenant.map(share),
            methods: rates.methods.iter().map(|(method, rate)| (*method, share(*rate))).collect(),
            tools: rates.tools.iter().map(|(tool, rate)| (*tool, share(*rate))).collect(),
        }
    }

    /// Forgets whoever asked nothing lately.
    pub(super) fn tidy(&self) {
        self.tenant.iter().for_each(RateLimiter::retain_recent);
        self.methods.values().for_each(RateLimiter::retain_recent);
        self.tools.values().for_each(RateLimiter::retain_recent);
    }
}

/// One replica's share of a rate.
fn share<K: Hash + Eq + Clone>(rate: Rate, replicas: NonZeroU32) -> Keyed<K> {
    let interval = rate.interval.saturating_mul(replicas.get()).max(Duration::from_nanos(1));
    let burst = NonZeroU32::new(rate.burst.get() / replicas.get()).unwrap_or(NonZeroU32::MIN);
    let quota = Quota::with_period(interval).expect("an interval is never zero");
    RateLimiter::dashmap(quota.allow_burst(burst))
}

/// Counts one of `key`, where there is a limiter.
pub(super) fn check<K: Hash + Eq + Clone>(
    limiter: Option<&Keyed<K>>,
    key: &K,
    scope: &'static str,
    refused: &Counter,
) -> Result<(), Refusal> {
    let Some(limiter) = limiter else { return Ok(()) };
    limiter.check_key(key).map_err(|not_until| {
        refused.inc();
        let retry_after = not_until.wait_time_from(limiter.clock().now());
        Refusal::Rate { scope, retry_after }
    })
}
