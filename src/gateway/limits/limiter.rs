//! One rate of every caller: how much of it each has in use, as this replica knows it.
//!
//! The state is kept as the share of the rate that is in use, so what was used up stays used up when replicas come or
//! go, and when a rate that is held in the directory is held here for a while.

use std::convert::Infallible;
use std::hash::BuildHasherDefault;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::nanos::Nanos;
use governor::state::StateStore as _;
use governor::state::keyed::{DashMapStateStore, ShrinkableKeyedStateStore as _};

use super::rates::{RateLimit, Reach};
use crate::domain::digest_map::DigestHasher;
use crate::domain::ids::{OwnerDigest, Principal, RateId};
use crate::domain::rate::{Rate, UsedUp};

/// What a rate is a rate of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) enum Scope {
    /// All requests of one subject of a tenant.
    Subject,
    /// Calls of one tool.
    Tool,
    /// Requests of one method.
    Method,
    /// All requests of a tenant.
    Tenant,
}

impl Scope {
    /// The word for it in headers and messages.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Subject => "subject",
            Self::Tool => "tool",
            Self::Method => "method",
            Self::Tenant => "tenant",
        }
    }
}

/// Whose use is counted: a digest of the tenant, or of tenant and subject.
pub(super) type Key = [u8; 16];

/// One rate, and how much of it each caller has in use.
#[derive(Debug)]
pub(super) struct Limiter {
    scope: Scope,
    limit: RateLimit,
    id: RateId,
    /// As headers name it, quoted.
    label: String,
    /// As headers tell it.
    policy: String,
    /// The moment at which nothing is in use, counted like `now`.
    until: DashMapStateStore<Key, BuildHasherDefault<DigestHasher>>,
}

impl Limiter {
    /// The rate of a scope; `name` is the tool's or the method's.
    pub(super) fn new(scope: Scope, name: &str, limit: RateLimit) -> Self {
        let (id, label) = (RateId::of(scope.as_str(), name), label(scope, name));
        let window = limit.rate.window().as_millis().div_ceil(1000).max(1);
        let policy = format!("{label};q={};w={window}", limit.rate.burst());
        Self { scope, limit, id, label, policy, until: DashMapStateStore::default() }
    }

    /// What it is a rate of.
    pub(super) fn scope(&self) -> Scope {
        self.scope
    }

    /// The rate of all replicas together.
    pub(super) fn rate(&self) -> Rate {
        self.limit.rate
    }

    /// Whether all replicas hold it together.
    pub(super) fn is_global(&self) -> bool {
        self.limit.reach == Reach::Global
    }

    /// Its name in headers: a structured-field string.
    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// It, as an item of `RateLimit-Policy`.
    pub(super) fn policy(&self) -> &str {
        &self.policy
    }

    /// Whose use of it a caller's request is.
    pub(super) fn key(&self, caller: &Principal) -> Key {
        match self.scope {
            Scope::Subject => *caller.owner_digest().as_bytes(),
            Scope::Tool | Scope::Method | Scope::Tenant => *caller.tenant_digest().as_bytes(),
        }
    }

    /// What the directory calls it.
    pub(super) fn id(&self, key: Key) -> RateId {
        match self.scope {
            Scope::Subject => RateId::of_subject(OwnerDigest::from_bytes(key)),
            Scope::Tool | Scope::Method | Scope::Tenant => self.id,
        }
    }

    /// Counts one request in the share of one of so many replicas: how much of it is in use then.
    pub(super) fn count(
        &self,
        key: Key,
        replicas: NonZeroU32,
        now: Duration,
    ) -> Result<Duration, UsedUp> {
        let share = self.limit.rate.share(replicas);
        self.until.measure_and_replace(&key, |until| {
            let used = share.count(used(until, now))?;
            Ok((used, nanos(now + used)))
        })
    }

    /// Gives back one that was counted, as far as time has not done so: nothing of it is in use after `until`.
    pub(super) fn give_back(&self, key: Key, replicas: NonZeroU32, until: Duration, now: Duration) {
        let interval = self.limit.rate.share(replicas).interval();
        let back = until.saturating_sub(now).min(interval);
        self.learn_from(key, now, |used| used.saturating_sub(back));
    }

    /// How much is in use, as far as is known here.
    pub(super) fn used(&self, key: Key, now: Duration) -> Duration {
        let look = |until| Err(used(until, now));
        match self.until.measure_and_replace::<Infallible, _, _>(&key, look) {
            Err(used) => used,
        }
    }

    /// Learns how much is in use.
    pub(super) fn learn(&self, key: Key, used: Duration, now: Duration) {
        self.learn_from(key, now, |_| used);
    }

    fn learn_from(&self, key: Key, now: Duration, learn: impl Fn(Duration) -> Duration) {
        let learnt = |until| Ok(((), nanos(now + learn(used(until, now)))));
        match self.until.measure_and_replace::<_, _, Infallible>(&key, learnt) {
            Ok(()) => {}
        }
    }

    /// Forgets whoever has nothing in use.
    pub(super) fn tidy(&self, now: Duration) {
        self.until.retain_recent(nanos(now));
    }
}

fn used(until: Option<Nanos>, now: Duration) -> Duration {
    Duration::from(until.unwrap_or_default()).saturating_sub(now)
}

fn nanos(moment: Duration) -> Nanos {
    Nanos::new(u64::try_from(moment.as_nanos()).unwrap_or(u64::MAX))
}

/// A structured-field string (RFC 9651, section 3.3.3): names have no other characters that it must not have.
fn label(scope: Scope, name: &str) -> String {
    let name = name.replace('\\', "\\\\").replace('"', "\\\"");
    let scope = scope.as_str();
    if name.is_empty() { format!("\"{scope}\"") } else { format!("\"{scope}:{name}\"") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = [1; 16];

    fn number(n: u32) -> NonZeroU32 {
        NonZeroU32::new(n).unwrap()
    }

    fn a_second_each(burst: u32) -> Limiter {
        let rate = Rate::new(Duration::from_secs(1), number(burst));
        Limiter::new(Scope::Tool, "a\"b", RateLimit::shared(rate))
    }

    fn counted(limiter: &Limiter, replicas: u32, now: Duration) -> usize {
        (0..100).take_while(|_| limiter.count(KEY, number(replicas), now).is_ok()).count()
    }

    #[test]
    fn a_replica_counts_to_its_share() {
        for (burst, replicas, share) in [(9, 1, 9), (9, 3, 3), (1, 3, 1), (99, 7, 14)] {
            assert_eq!(counted(&a_second_each(burst), replicas, Duration::ZERO), share);
        }
    }

    #[test]
    fn what_was_used_up_is_not_there_again_when_replicas_come_and_go() {
        let (limiter, now) = (a_second_each(9), Duration::from_secs(7));
        assert_eq!(counted(&limiter, 1, now), 9);
        for replicas in [3, 1, 2, 9, 30, 1] {
            assert_eq!(counted(&limiter, replicas, now), 0, "{replicas} replicas");
        }
        assert_eq!(counted(&limiter, 3, now + Duration::from_secs(2)), 0);
        assert_eq!(counted(&limiter, 3, now + Duration::from_secs(3)), 1);
    }

    #[test]
    fn who_has_nothing_in_use_is_forgotten() {
        let limiter = a_second_each(2);
        limiter.count(KEY, number(1), Duration::ZERO).unwrap();
        limiter.tidy(Duration::from_millis(999));
        assert_eq!(limiter.until.len(), 1);
        limiter.tidy(Duration::from_secs(1));
        assert_eq!(limiter.until.len(), 0);
    }

    #[test]
    fn what_is_learnt_holds_until_more_is_known() {
        let (limiter, now) = (a_second_each(2), Duration::from_secs(5));
        limiter.learn(KEY, Duration::from_secs(2), now);
        assert_eq!(limiter.used(KEY, now + Duration::from_millis(500)).as_millis(), 1500);
        assert_eq!(counted(&limiter, 4, now), 0, "what all had in use is in use of the share");
        limiter.learn(KEY, Duration::ZERO, now);
        assert_eq!(limiter.used(KEY, now), Duration::ZERO);
    }

    #[test]
    fn what_is_given_back_is_no_more_than_time_has_left_of_it() {
        let second = Duration::from_secs(1);
        let count = |limiter: &Limiter, now| now + limiter.count(KEY, number(1), now).unwrap();
        let check = |given_back_at: f64, left: f64| {
            let limiter = a_second_each(9);
            let until = count(&limiter, Duration::ZERO);
            let later = Duration::from_secs_f64(given_back_at);
            count(&limiter, later);
            limiter.give_back(KEY, number(1), until, later);
            assert_eq!(limiter.used(KEY, later), Duration::from_secs_f64(left), "{given_back_at}");
        };
        check(0.0, 1.0);
        check(0.75, 1.0);
        check(5.0, 1.0);

        // What was counted before it stays.
        let limiter = a_second_each(9);
        count(&limiter, Duration::ZERO);
        let until = count(&limiter, Duration::ZERO);
        limiter.give_back(KEY, number(1), until, second / 2);
        assert_eq!(limiter.used(KEY, second / 2), second / 2);
    }

    #[test]
    fn a_policy_is_a_structured_field() {
        assert_eq!(a_second_each(3).policy(), r#""tool:a\"b";q=3;w=3"#);
        let rate = Rate::new(Duration::from_millis(1), number(1));
        let tenant = Limiter::new(Scope::Tenant, "", RateLimit::global(rate));
        assert_eq!((tenant.policy(), tenant.label()), (r#""tenant";q=1;w=1"#, r#""tenant""#));
    }
}
