//! Rates: how often callers may ask, and who keeps count.
//!
//! A rate is shared among the replicas, each of which holds an equal part of it, or global: then the directory holds it
//! for all of them, and while that is away each holds its part. A request counts in every rate that is about it, or, if one
//! is used up, in none: who is refused uses up nothing that others share.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::left::Left;
use super::limiter::{Key, Limiter, Scope};
use crate::directory::{Directory, MAX_RATES, Spending};
use crate::domain::ids::{Principal, RateId};
use crate::domain::rate::Rate;
use crate::gateway::seldom::Seldom;
use crate::mcp::Method;

/// A rate, and who holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    pub(super) rate: Rate,
    pub(super) reach: Reach,
}

/// Who keeps count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Each replica, of its share.
    Shared,
    /// The directory, for all replicas.
    Global,
}

impl RateLimit {
    /// Each replica holds its share of this.
    pub fn shared(rate: Rate) -> Self {
        Self { rate, reach: Reach::Shared }
    }

    /// All replicas hold this together, to the request.
    pub fn global(rate: Rate) -> Self {
        Self { rate, reach: Reach::Global }
    }

    /// How often.
    pub fn rate(&self) -> Rate {
        self.rate
    }
}

/// The rates of every caller; where there is none, there is no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Of all requests of a tenant.
    pub tenant: Option<RateLimit>,
    /// Of all requests of one subject of a tenant.
    pub subject: Option<RateLimit>,
    /// Of a tenant's requests of single methods.
    pub methods: Vec<(Method, RateLimit)>,
    /// Of a tenant's calls of single tools, ours and upstreams', as lists name them.
    pub tools: Vec<(String, RateLimit)>,
}

/// What is asked, as far as rates go.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::gateway) struct Asked<'a> {
    /// The method; none of what is not replied to.
    pub method: Option<Method>,
    /// The tool that is called.
    pub tool: Option<&'a str>,
}

/// A rate that is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exhausted {
    /// Which.
    pub(super) scope: Scope,
    /// When the next request may come.
    pub(super) wait: Duration,
}

/// All rates, as one replica keeps count.
#[derive(Debug)]
pub(super) struct Limiters {
    subject: Option<Limiter>,
    tools: HashMap<String, Limiter>,
    methods: HashMap<Method, Limiter>,
    tenant: Option<Limiter>,
    directory: Arc<dyn Directory>,
    replicas: AtomicU32,
    began: Instant,
    said: Seldom,
}

/// A limiter that a request is counted by.
#[derive(Clone, Copy)]
struct Applied<'a> {
    limiter: &'a Limiter,
    key: Key,
}

/// A request that was counted in a share.
struct Counted<'a> {
    applied: Applied<'a>,
    /// When nothing of it is in use any more.
    until: Duration,
}

impl Limiters {
    /// Limiters of one replica of `replicas`.
    pub(super) fn new(rates: Rates, replicas: NonZeroU32, directory: Arc<dyn Directory>) -> Self {
        let whole = |scope, limit: Option<RateLimit>| Some(Limiter::new(scope, "", limit?));
        let method = |(method, limit): (Method, _)| {
            (method, Limiter::new(Scope::Method, method.as_str(), limit))
        };
        let tool = |(name, limit): (String, _)| {
            let limiter = Limiter::new(Scope::Tool, &name, limit);
            (name, limiter)
        };
        Self {
            subject: whole(Scope::Subject, rates.subject),
            tools: rates.tools.into_iter().map(tool).collect(),
            methods: rates.methods.into_iter().map(method).collect(),
            tenant: whole(Scope::Tenant, rates.tenant),
            directory,
            replicas: AtomicU32::new(replicas.get()),
            began: Instant::now(),
            said: Seldom::default(),
        }
    }

    /// Takes this replica's share anew. What is in use stays in use.
    pub(super) fn share_among(&self, replicas: NonZeroU32) {
        self.replicas.store(replicas.get(), Ordering::Relaxed);
    }

    /// Forgets whoever has nothing in use.
    pub(super) fn tidy(&self) {
        let now = self.now();
        let named = self.tools.values().chain(self.methods.values());
        named.chain(&self.subject).chain(&self.tenant).for_each(|it| it.tidy(now));
    }

    /// Counts a request in all its rates, or in none if one is used up; and what is left of them.
    pub(super) async fn count(
        &self,
        caller: &Principal,
        asked: Asked<'_>,
    ) -> (Left<'_>, Result<(), Exhausted>) {
        let mut left = Left::default();
        let applied = self.applied(caller, asked);
        let all = || applied.iter().flatten();
        let shared = || all().filter(|it| !it.limiter.is_global());
        let (now, replicas) = (self.now(), self.replicas());
        // The shares first: they tell at once whom they refuse, and can be given back.
        let counted = match longest(all().map(|it| it.look(replicas, now))) {
            Some(exhausted) => Err(exhausted),
            None => self.count_shares(shared(), replicas),
        };
        let counted = match counted {
            Ok(counted) => counted,
            Err(exhausted) => {
                for it in all() {
                    left.note(it.limiter, it.rate(replicas), it.limiter.used(it.key, now));
                }
                return (left, Err(exhausted));
            }
        };
        // Whoever hangs up meanwhile stays counted: the directory may have counted it too.
        let global: Vec<_> = all().filter(|it| it.limiter.is_global()).copied().collect();
        let spent = match &global[..] {
            [] => Ok(()),
            global => self.spend(caller, global, replicas, &mut left).await,
        };
        if spent.is_err() {
            self.give_back(&counted, replicas);
        }
        let now = self.now();
        for it in shared() {
            left.note(it.limiter, it.rate(replicas), it.limiter.used(it.key, now));
        }
        (left, spent)
    }

    /// All rates of a request, the caller's own first: who uses that up comes to none that others share.
    fn applied(&self, caller: &Principal, asked: Asked<'_>) -> [Option<Applied<'_>>; MAX_RATES] {
        let limiters = [
            self.subject.as_ref(),
            asked.tool.and_then(|name| self.tools.get(name)),
            asked.method.and_then(|method| self.methods.get(&method)),
            self.tenant.as_ref(),
        ];
        limiters.map(|limiter| limiter.map(|limiter| Applied { limiter, key: limiter.key(caller) }))
    }

    /// Counts in this replica's shares, or in none of them.
    fn count_shares<'a, 'b>(
        &self,
        applied: impl IntoIterator<Item = &'b Applied<'a>>,
        replicas: NonZeroU32,
    ) -> Result<Vec<Counted<'a>>, Exhausted>
    where
        'a: 'b,
    {
        let now = self.now();
        let mut all = Vec::new();
        for it in applied {
            match it.limiter.count(it.key, replicas, now) {
                Ok(used) => all.push(Counted { applied: *it, until: now + used }),
                Err(used_up) => {
                    self.give_back(&all, replicas);
                    return Err(Exhausted { scope: it.limiter.scope(), wait: used_up.wait });
                }
            }
        }
        Ok(all)
    }

    /// Takes out of this replica's shares what was counted in them.
    fn give_back(&self, counted: &[Counted<'_>], replicas: NonZeroU32) {
        let now = self.now();
        for Counted { applied: Applied { limiter, key }, until } in counted {
            limiter.give_back(*key, replicas, *until, now);
        }
    }

    /// Counts in what all replicas hold together, or, while the directory is away, in this replica's shares of it.
    async fn spend<'a>(
        &self,
        caller: &Principal,
        applied: &[Applied<'a>],
        replicas: NonZeroU32,
        left: &mut Left<'a>,
    ) -> Result<(), Exhausted> {
        let rates: Vec<(RateId, Rate)> =
            applied.iter().map(|it| (it.limiter.id(it.key), it.limiter.rate())).collect();
        let Spending { granted, used } =
            match self.directory.spend(caller.tenant_digest(), &rates).await {
                Ok(spending) => spending,
                Err(error) => {
                    if let Some(before) = self.said.say() {
                        let message = "global rates are held by replicas, each of its share";
                        tracing::warn!(%error, before, message);
                    }
                    let counted = self.count_shares(applied, replicas).map(drop);
                    let now = self.now();
                    for Applied { limiter, key } in applied {
                        left.note(limiter, limiter.rate().share(replicas), limiter.used(*key, now));
                    }
                    return counted;
                }
            };
        let now = self.now();
        for (Applied { limiter, key }, used) in applied.iter().zip(&used) {
            limiter.learn(*key, *used, now);
            left.note(limiter, limiter.rate(), *used);
        }
        if granted {
            return Ok(());
        }
        // By what was answered: the next answer may have been learnt by now.
        let exhausted = |(it, used): (&Applied<'_>, &Duration)| {
            let wait = it.limiter.rate().count(*used).err().map(|it| it.wait).unwrap_or_default();
            Some(Exhausted { scope: it.limiter.scope(), wait })
        };
        longest(applied.iter().zip(&used).map(exhausted)).map_or(Ok(()), Err)
    }

    fn replicas(&self) -> NonZeroU32 {
        NonZeroU32::new(self.replicas.load(Ordering::Relaxed)).unwrap_or(NonZeroU32::MIN)
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }
}

impl Applied<'_> {
    /// The rate that this replica keeps count of: all of a global one, for what the directory said last is the least
    /// that is in use, so a refusal that is certain needs no round trip. (After the directory was away it is what was
    /// granted of a share: that is not granted twice.)
    fn rate(&self, replicas: NonZeroU32) -> Rate {
        let whole = self.limiter.rate();
        if self.limiter.is_global() { whole } else { whole.share(replicas) }
    }

    /// Whether it is used up.
    fn look(&self, replicas: NonZeroU32, now: Duration) -> Option<Exhausted> {
        let refused = self.rate(replicas).count(self.limiter.used(self.key, now)).err()?;
        Some(Exhausted { scope: self.limiter.scope(), wait: refused.wait })
    }
}

/// Of the rates that are used up, the one that takes longest to come back.
fn longest(looks: impl Iterator<Item = Option<Exhausted>>) -> Option<Exhausted> {
    looks.flatten().max_by_key(|it| it.wait)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::directory::Terms;
    use crate::directory::embedded::Embedded;
    use crate::domain::ids::{Name, Timestamp};

    fn a_second_each(burst: u32) -> Rate {
        Rate::new(Duration::from_secs(1), NonZeroU32::new(burst).unwrap())
    }

    fn caller() -> Principal {
        Principal::verified(Name::parse("a").unwrap(), Name::parse("x").unwrap())
    }

    fn directory() -> Arc<dyn Directory> {
        let clock = Clock::manual(Timestamp::from_millis(1_000_000));
        Arc::new(Embedded::new(clock, Terms::default()))
    }

    /// How much of its rate the subject has in use.
    fn used_by_subject(limiters: &Limiters) -> Duration {
        let subject = limiters.subject.as_ref().unwrap();
        subject.used(subject.key(&caller()), limiters.now())
    }

    #[tokio::test(start_paused = true)]
    async fn a_share_that_refuses_gives_back_the_shares_before_it() {
        let rates = Rates {
            subject: Some(RateLimit::shared(a_second_each(9))),
            tenant: Some(RateLimit::shared(a_second_each(1))),
            ..Rates::default()
        };
        let limiters = Limiters::new(rates, NonZeroU32::MIN, directory());
        let caller = caller();
        let applied: Vec<_> =
            limiters.applied(&caller, Asked::default()).into_iter().flatten().collect();
        for passes in [true, false, false] {
            // Without a look first, as those meet it who looked at the same time.
            assert_eq!(limiters.count_shares(&applied, NonZeroU32::MIN).is_ok(), passes);
            assert_eq!(used_by_subject(&limiters), Duration::from_secs(1));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_directory_refuses_is_in_use_of_no_share() {
        let rates = Rates {
            subject: Some(RateLimit::shared(a_second_each(9))),
            tenant: Some(RateLimit::global(a_second_each(1))),
            ..Rates::default()
        };
        let directory = directory();
        let replica = || Limiters::new(rates.clone(), NonZeroU32::MIN, Arc::clone(&directory));
        let (one, other) = (replica(), replica());
        assert!(one.count(&caller(), Asked::default()).await.1.is_ok());
        let refused = other.count(&caller(), Asked::default()).await.1.unwrap_err();
        assert_eq!(refused.scope, Scope::Tenant);
        assert_eq!(used_by_subject(&one), Duration::from_secs(1));
        assert_eq!(used_by_subject(&other), Duration::ZERO);
    }
}
