//! Rates, calls in flight and bytes held: this replica's part of what callers may do, and what is shed when it is too much.

mod bodies;
mod class;
#[cfg(test)]
mod crowd;
mod left;
mod limiter;
mod pace;
mod queue;
mod rates;
mod slots;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use self::bodies::Bodies;
pub(super) use self::bodies::Room;
pub(super) use self::class::Class;
pub(super) use self::left::Left;
use self::limiter::Scope;
pub(super) use self::rates::Asked;
use self::rates::Limiters;
pub(super) use self::slots::Slot;
use self::slots::Slots;
use super::failure::{Failure, Fault, TurnedAway};
use crate::directory::Directory;
use crate::domain::ids::{Principal, TenantDigest};
use crate::telemetry::{Counter, Metrics};

pub use self::bodies::Buffers;
pub use self::rates::{RateLimit, Rates};
pub use self::slots::InFlight;

/// Requests with a wrong credential that one address may send in a second, and at once.
const GUESSES: NonZeroU32 = NonZeroU32::new(5).unwrap();
const GUESSES_AT_ONCE: NonZeroU32 = NonZeroU32::new(20).unwrap();

/// Why a request is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// Too many in too short a time.
    #[error(
        "too many requests: the rate of the {} is used up, try again in {} ms",
        scope.as_str(),
        retry_after.as_millis()
    )]
    Rate {
        /// Whose rate.
        scope: Scope,
        /// When the next one may come.
        retry_after: Duration,
    },
    /// Too many at once.
    #[error("too many calls are in flight")]
    Busy,
}

impl Refusal {
    /// What it is to its client.
    pub(super) fn fault(self) -> Fault {
        match self {
            Self::Busy => Fault::overloaded(),
            Self::Rate { retry_after, .. } => Fault::rate_limited(self.to_string(), retry_after),
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Fault(refusal.fault())
    }
}

/// Admits requests.
#[derive(Debug)]
pub(super) struct Limits {
    limiters: Limiters,
    guesses: DefaultKeyedRateLimiter<IpAddr>,
    slots: Slots,
    bodies: Arc<Bodies>,
    refused: Refused,
}

/// How many were refused, by what was used up.
#[derive(Debug)]
struct Refused {
    address: Counter,
    subject: Counter,
    tenant: Counter,
    method: Counter,
    tool: Counter,
    busy: Counter,
}

impl Refused {
    fn by(&self, scope: Scope) -> &Counter {
        match scope {
            Scope::Subject => &self.subject,
            Scope::Tool => &self.tool,
            Scope::Method => &self.method,
            Scope::Tenant => &self.tenant,
        }
    }
}

impl Limits {
    /// Limits for one replica of `replicas`; what they refuse is counted.
    pub(super) fn new(
        rates: Rates,
        (in_flight, buffers): (InFlight, Buffers),
        replicas: NonZeroU32,
        directory: Arc<dyn Directory>,
        metrics: &Metrics,
    ) -> Self {
        Self {
            refused: Refused {
                address: metrics.refusals("rate_address"),
                subject: metrics.refusals("rate_subject"),
                tenant: metrics.refusals("rate_tenant"),
                method: metrics.refusals("rate_method"),
                tool: metrics.refusals("rate_tool"),
                busy: metrics.refusals("overloaded"),
            },
            limiters: Limiters::new(rates, replicas, directory),
            guesses: RateLimiter::keyed(Quota::per_second(GUESSES).allow_burst(GUESSES_AT_ONCE)),
            slots: Slots::new(in_flight),
            bodies: Bodies::new(buffers),
        }
    }

    /// Takes this replica's share anew when replicas came or went. What is in use stays in use.
    pub(super) fn share_among(&self, replicas: NonZeroU32) {
        self.limiters.share_among(replicas);
    }

    /// Counts one request without a known credential.
    pub(super) fn admit_guess(&self, address: Option<IpAddr>) -> Result<(), TurnedAway> {
        let nobody = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        self.guesses.check_key(&address.unwrap_or(nobody)).map_err(|_| {
            self.refused.address.inc();
            TurnedAway::Guessing
        })
    }

    /// Counts one request of a caller in each of its rates, and says what is left of them.
    pub(super) async fn admit(
        &self,
        caller: &Principal,
        asked: Asked<'_>,
    ) -> (Left<'_>, Result<(), Refusal>) {
        let (left, counted) = self.limiters.count(caller, asked).await;
        let admitted = counted.map_err(|exhausted| {
            let scope = exhausted.scope;
            self.refused.by(scope).inc();
            let mut random = [0; 4];
            getrandom::fill(&mut random).expect("the kernel gives random bytes");
            let retry_after = spread(exhausted.wait, u32::from_ne_bytes(random));
            Refusal::Rate { scope, retry_after }
        });
        (left, admitted)
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

    /// Forgets callers of whom nothing is heard; called now and then.
    pub(super) fn tidy(&self) {
        self.limiters.tidy();
        self.guesses.retain_recent();
    }
}

/// Some moment between the end of a wait and the next whole second, so that those who are refused together do not come
/// back together, and none of them before or long after it can be served.
fn spread(wait: Duration, random: u32) -> Duration {
    let millis = u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX).max(1);
    let room = millis.next_multiple_of(1000) - millis;
    Duration::from_millis(millis + room * u64::from(random) / u64::from(u32::MAX))
}
