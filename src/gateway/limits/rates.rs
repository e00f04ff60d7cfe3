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
        let (global, shared): (Vec<Applied<'_>>, Vec<_>) =
            applied.into_iter().flatten().partition(|it| it.limiter.is_global());
        let (now, replicas) = (self.now(), self.replicas());
        let all = || shared.iter().chain(&global);
        if let Some(exhausted) = longest(all().map(|it| it.look(replicas, now))) {
            for it in all() {
                left.note(it.limiter, it.rate(replicas), it.limiter.used(it.key, now));
            }
            return (left, Err(exhausted));
        }
        let counted = match &global[..] {
            [] => Ok(()),
            global => self.spend(caller, global, &mut left).await,
        };
        let counted = counted.and_then(|()| self.count_shares(&shared, &mut left));
        (left, counted)
    }

    /// All rates of a request.
    fn applied(&self, caller: &Principal, asked: Asked<'_>) -> [Option<Applied<'_>>; MAX_RATES] {
        let limiters = [
            self.subject.as_ref(),
            asked.tool.and_then(|name| self.tools.get(name)),
            asked.method.and_then(|method| self.methods.get(&method)),
            self.tenant.as_ref(),
        ];
        limiters.map(|limiter| limiter.map(|limiter| Applied { limiter, key: limiter.key(caller) }))
    }

    /// Counts in this replica's shares.
    fn count_shares<'a>(
        &self,
        applied: &[Applied<'a>],
        left: &mut Left<'a>,
    ) -> Result<(), Exhausted> {
        let (now, replicas) = (self.now(), self.replicas());
        for Applied { limiter, key } in applied {
            let counted = limiter.count(*key, replicas, now);
            let used = counted.unwrap_or_else(|_| limiter.used(*key, now));
            left.note(limiter, limiter.rate().share(replicas), used);
            counted.map_err(|it| Exhausted { scope: limiter.scope(), wait: it.wait })?;
        }
        Ok(())
    }

    /// Counts in what all replicas hold together, or, while the directory is away, in this replica's shares of it.
    async fn spend<'a>(
        &self,
        caller: &Principal,
        applied: &[Applied<'a>],
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
                    return self.count_shares(applied, left);
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
