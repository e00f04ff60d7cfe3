//! Rates, calls in flight and bytes held: this replica's share of what a tenant may do, and what is shed when it is too much.

mod bodies;
mod class;
mod pace;
mod queue;
mod rates;
mod slots;

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use governor::{Quota, RateLimiter};

use self::bodies::Bodies;
pub(super) use self::bodies::Room;
pub(super) use self::class::Class;
use self::rates::{Keyed, Limiters, check};
pub(super) use self::slots::Slot;
use self::slots::Slots;
use super::failure::{Failure, Fault};
use crate::domain::ids::TenantDigest;
use crate::gateway::tools::Tool;
use crate::mcp::Method;
use crate::telemetry::{Counter, Metrics};

pub use self::bodies::Buffers;
pub use self::rates::{Rate, Rates};
pub use self::slots::InFlight;

/// Requests with a wrong credential that one address may send in a second, and at once.
const GUESSES: NonZeroU32 = NonZeroU32::new(5).unwrap();
const GUESSES_AT_ONCE: NonZeroU32 = NonZeroU32::new(20).unwrap();
/// Why a request is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// Too many in too short a time.
    #[error("too many requests: the rate of {scope} is used up")]
    Rate {
        /// Whose rate.
        scope: &'static str,
        /// When the next one may come.
        retry_after: Duration,
    },
    /// Too many at once.
    #[error("too many calls are in flight")]
    Busy,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Fault(match refusal {
            Refusal::Busy => Fault::overloaded(),
            Refusal::Rate { retry_after, .. } => {
                Fault::rate_limited(refusal.to_string(), retry_after)
            }
        })
    }
}

/// Admits requests.
#[derive(Debug)]
pub(super) struct Limits {
    rates: Rates,
    limiters: ArcSwap<Limiters>,
    guesses: Keyed<IpAddr>,
    slots: Slots,
    bodies: Arc<Bodies>,
    refused: Refused,
}

/// How many were refused, by what was used up.
#[derive(Debug)]
struct Refused {
    address: Counter,
    tenant: Counter,
    method: Counter,
    tool: Counter,
    busy: Counter,
}

impl Limits {
    /// Limits for one replica of `replicas`; what they refuse is counted.
    pub(super) fn new(
        rates: Rates,
        (in_flight, buffers): (InFlight, Buffers),
        replicas: NonZeroU32,
        metrics: &Metrics,
    ) -> Self {
        Self {
            refused: Refused {
                address: metrics.refusals("rate_address"),
                tenant: metrics.refusals("rate_tenant"),
                method: metrics.refusals("rate_method"),
                tool: metrics.refusals("rate_tool"),
                busy: metrics.refusals("overloaded"),
            },
            limiters: ArcSwap::from_pointee(Limiters::new(&rates, replicas)),
            rates,
            guesses: RateLimiter::dashmap(Quota::per_second(GUESSES).allow_burst(GUESSES_AT_ONCE)),
            slots: Slots::new(in_flight),
            bodies: Bodies::new(buffers),
        }
    }

    /// Takes this replica's share anew when replicas came or went. What was used up is forgotten.
    pub(super) fn share_among(&self, replicas: NonZeroU32) {
        if self.limiters.load().replicas != replicas {
            self.limiters.store(Arc::new(Limiters::new(&self.rates, replicas)));
        }
    }

    /// Counts one request without a known credential.
    pub(super) fn admit_guess(&self, address: Option<IpAddr>) -> Result<(), Refusal> {
        let nobody = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        check(Some(&self.guesses), &address.unwrap_or(nobody), "the address", &self.refused.address)
    }

    /// Counts one request of a tenant.
    pub(super) fn admit_tenant(&self, tenant: TenantDigest) -> Result<(), Refusal> {
        check(self.limiters.load().tenant.as_ref(), &tenant, "the tenant", &self.refused.tenant)
    }

    /// Counts one request of a method.
    pub(super) fn admit_method(&self, tenant: TenantDigest, method: Method) -> Result<(), Refusal> {
        check(
            self.limiters.load().methods.get(&method),
            &tenant,
            "the method",
            &self.refused.method,
        )
    }

    /// Counts one call of a tool.
    pub(super) fn admit_tool(&self, tenant: TenantDigest, tool: Tool) -> Result<(), Refusal> {
        check(self.limiters.load().tools.get(&tool), &tenant, "the tool", &self.refused.tool)
    }

    /// Takes a place in flight, waiting for it a short while.
    pub(super) async fn slot(&self, class: Class, tenant: TenantDigest) -> Result<Slot, Refusal> {
        self.counted(self.slots.take(class, tenant).await)
    }

    /// Room for a body, which grows as that comes.
    pub(super) fn room(&self, tenant: TenantDigest) -> Room {
        self.bodies.room(tenant)
    }

    /// Counts what was refused because too much is done here at once.
    pub(super) fn counted<T>(&self, taken: Result<T, Refusal>) -> Result<T, Refusal> {
        taken.inspect_err(|_| {
            self.refused.busy.inc();
        })
    }

    /// Forgets tenants of whom nothing is heard; called now and then.
    pub(super) fn tidy(&self) {
        self.limiters.load().tidy();
        self.guesses.retain_recent();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{Name, Principal};

    pub(super) fn tenant(name: &str) -> TenantDigest {
        let name = Name::parse(name).unwrap();
        Principal::verified(name.clone(), name).tenant_digest()
    }

    fn number(n: u32) -> NonZeroU32 {
        NonZeroU32::new(n).unwrap()
    }

    fn limits(burst: u32, replicas: u32) -> Limits {
        counted(burst, replicas, &Metrics::new("g-1", &[]))
    }

    fn counted(burst: u32, replicas: u32, metrics: &Metrics) -> Limits {
        let rate = Rate { interval: Duration::from_secs(1), burst: number(burst) };
        let tools = vec![(Tool::Whoami, rate), (Tool::Tally, rate)];
        let in_flight = InFlight { calls: 2, calls_per_tenant: 1 };
        let rates = Rates { tools, ..Rates::default() };
        let buffers = Buffers { bytes: 10, bytes_per_tenant: 10 };
        Limits::new(rates, (in_flight, buffers), number(replicas), metrics)
    }

    fn admitted(limits: &Limits) -> usize {
        (0..100).filter(|_| limits.admit_tool(tenant("a"), Tool::Whoami).is_ok()).count()
    }

    #[test]
    fn a_replica_admits_its_share() {
        assert_eq!(admitted(&limits(9, 1)), 9);
        assert_eq!(admitted(&limits(9, 3)), 3);
        assert_eq!(admitted(&limits(1, 3)), 1);
    }

    #[test]
    fn the_share_changes_with_the_replicas() {
        let limits = limits(9, 1);
        limits.share_among(number(3));
        assert_eq!(admitted(&limits), 3);
    }

    #[test]
    fn tenants_and_tools_have_rates_of_their_own() {
        let limits = limits(1, 1);
        assert_eq!(admitted(&limits), 1);
        assert!(limits.admit_tool(tenant("b"), Tool::Whoami).is_ok());
        assert!(limits.admit_tool(tenant("a"), Tool::Tally).is_ok());
        let refused = limits.admit_tool(tenant("a"), Tool::Tally);
        assert!(
            matches!(refused, Err(Refusal::Rate { retry_after, .. }) if !retry_after.is_zero())
        );
        assert!(limits.admit_tenant(tenant("a")).is_ok(), "no rate, no limit");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_refused_is_counted_by_what_was_used_up() {
        let metrics = Metrics::new("g-1", &[]);
        let limits = counted(9, 1, &metrics);
        assert_eq!(admitted(&limits), 9);
        let _first = limits.slot(Class::Execute, tenant("a")).await.unwrap();
        assert!(limits.slot(Class::Execute, tenant("a")).await.is_err());
        let body = metrics.render();
        for (reason, count) in
            [("rate_tool", 91), ("overloaded", 1), ("rate_tenant", 0), ("rate_address", 0)]
        {
            let line = format!("baton_refusals_total{{reason=\"{reason}\"}} {count}");
            assert!(body.lines().any(|has| has == line), "{line}\nis not in\n{body}");
        }
    }
}
