//! What an upstream lists, kept for as long as it says, and longer when it does not answer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use quick_cache::sync::Cache;
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};

use super::fetch::fetch;
use super::server::Server;
use crate::domain::ids::{OwnerDigest, Principal};
use crate::mcp::{Listed, Mirror};

/// How long a list request waits for an upstream whose last list could be given instead, or that gave none when it was
/// last asked.
const SOON: Duration = Duration::from_secs(1);
/// How long an upstream that did not give its list is not asked for it again.
const PAUSE: Duration = Duration::from_secs(5);
/// Callers whose private lists are kept, each kind counted, per upstream.
const MAX_PRIVATE: usize = 1024;

/// One thing that an upstream lists.
#[derive(Debug)]
pub(in crate::gateway) struct Item {
    /// What clients call it: the name with the prefix, or the URI.
    pub key: Box<str>,
    /// Its definition: as it came, but for the name's prefix.
    pub definition: Box<RawValue>,
    /// Which arguments of a tool are repeated in headers.
    pub mirrors: Vec<Mirror>,
}

/// A whole list of one upstream.
#[derive(Debug)]
pub(in crate::gateway) struct Listing {
    /// In the upstream's order, without those that are not offered here.
    pub items: Vec<Item>,
    places: HashMap<Box<str>, usize>,
    /// How long it may be kept by clients, from when it was fetched.
    pub fresh_for: Duration,
    /// Whose it is alone; `None` if it is the same for every caller (caching, "Cache Scope").
    pub owner: Option<OwnerDigest>,
    fetched: Instant,
    generation: u64,
}

impl Listing {
    /// A list of these items.
    pub(super) fn new(items: Vec<Item>, fresh_for: Duration, owner: Option<OwnerDigest>) -> Self {
        let places = items.iter().enumerate().map(|(at, item)| (item.key.clone(), at)).collect();
        Self { items, places, fresh_for, owner, fetched: Instant::now(), generation: 0 }
    }

    /// What is listed under this name or URI.
    pub(in crate::gateway) fn find(&self, key: &str) -> Option<&Item> {
        self.places.get(key).map(|at| &self.items[*at])
    }

    /// How much longer it is fresh.
    pub(in crate::gateway) fn fresh_left(&self) -> Duration {
        self.fresh_for.saturating_sub(self.fetched.elapsed())
    }

    fn is_for(&self, caller: &Principal) -> bool {
        self.owner.is_none_or(|owner| owner == caller.owner_digest())
    }
}

type Fetching = Shared<BoxFuture<'static, Option<Arc<Listing>>>>;

/// A fetch under way.
#[derive(Clone, Debug)]
struct Flight {
    fetching: Fetching,
    begun: Instant,
}

/// One list for one audience: the last one fetched, and the fetch under way.
#[derive(Debug, Default)]
struct Slot(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    last: Option<Arc<Listing>>,
    flight: Option<Flight>,
    failed: Option<Instant>,
}

/// The lists of one upstream, for everybody and for each caller.
#[derive(Debug)]
pub(in crate::gateway) struct Listings {
    shared: [Arc<Slot>; 4],
    private: Cache<(Listed, OwnerDigest), Arc<Slot>>,
    /// Which lists turned out to be another one for each caller.
    apart: [AtomicBool; 4],
    /// Which lists were not given when they were last asked for, by whomever.
    missed: [AtomicBool; 4],
    generation: [AtomicU64; 4],
}

impl Default for Listings {
    fn default() -> Self {
        Self {
            shared: std::array::from_fn(|_| Arc::default()),
            private: Cache::new(MAX_PRIVATE),
            apart: std::array::from_fn(|_| AtomicBool::new(false)),
            missed: std::array::from_fn(|_| AtomicBool::new(false)),
            generation: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

impl Listings {
    /// The list as fresh as it can be had in time; `None` if there is none, and has not been for long.
    pub(in crate::gateway) async fn get(
        server: &Arc<Server>,
        listed: Listed,
        caller: &Principal,
    ) -> Option<Arc<Listing>> {
        let listing = Self::share(server, listed, caller).await?;
        if listing.is_for(caller) {
            return Some(listing);
        }
        // While nobody knew that it is another one for each caller, it was fetched for one of those who waited.
        Self::share(server, listed, caller).await.filter(|it| it.is_for(caller))
    }

    /// The list of this caller's slot, whoever it was fetched for.
    async fn share(
        server: &Arc<Server>,
        listed: Listed,
        caller: &Principal,
    ) -> Option<Arc<Listing>> {
        let listings = &server.listings;
        let slot = listings.slot(listed, caller);
        let generation = listings.generation[listed as usize].load(Ordering::Acquire);
        let timeouts = &server.config.timeouts;
        let (last, flight) = {
            let mut held = slot.held();
            let last = held.last.clone().filter(|it| it.fetched.elapsed() < timeouts.list_stale);
            if let Some(last) = &last
                && last.generation == generation
                && !last.fresh_left().is_zero()
            {
                return Some(Arc::clone(last));
            }
            if held.flight.is_none() && held.failed.is_some_and(|at| at.elapsed() < PAUSE) {
                return last;
            }
            let flight = held.flight.get_or_insert_with(|| {
                let fetching = Self::begin(server, &slot, listed, caller, generation);
                server.tasks.spawn(fetching.clone());
                Flight { fetching, begun: Instant::now() }
            });
            (last, flight.clone())
        };
        let missed = listings.missed[listed as usize].load(Ordering::Relaxed);
        let brief = last.is_some() || missed;
        let patience = if brief { SOON } else { timeouts.list.saturating_mul(2) };
        timeout_at(flight.begun + patience, flight.fetching).await.ok().flatten().or(last)
    }

    /// The last list that was fetched for this caller, fresh or not.
    pub(in crate::gateway) fn last(
        &self,
        listed: Listed,
        caller: &Principal,
    ) -> Option<Arc<Listing>> {
        self.slot(listed, caller).held().last.clone()
    }

    /// Forgets that this kind of list is fresh: the upstream said that it changed.
    pub(super) fn invalidate(&self, listed: Listed) {
        self.generation[listed as usize].fetch_add(1, Ordering::AcqRel);
    }

    /// The slot for everybody, unless the upstream's lists differ from caller to caller.
    fn slot(&self, listed: Listed, caller: &Principal) -> Arc<Slot> {
        if !self.apart[listed as usize].load(Ordering::Acquire) {
            return Arc::clone(&self.shared[listed as usize]);
        }
        let key = (listed, caller.owner_digest());
        let made = self
            .private
            .get_or_insert_with(&key, || Ok::<_, std::convert::Infallible>(Arc::default()));
        let Ok(slot) = made;
        slot
    }

    fn begin(
        server: &Arc<Server>,
        slot: &Arc<Slot>,
        listed: Listed,
        caller: &Principal,
        generation: u64,
    ) -> Fetching {
        let (server, slot, caller) = (Arc::clone(server), Arc::clone(slot), caller.clone());
        async move {
            let fetched = fetch(&server, listed, &caller).await;
            let listings = &server.listings;
            listings.missed[listed as usize].store(fetched.is_err(), Ordering::Relaxed);
            match fetched {
                Ok(mut listing) => {
                    listing.generation = generation;
                    let listing = Arc::new(listing);
                    // Whoever comes when the flight has landed must find it in no slot but its owner's.
                    let place = match listing.owner {
                        Some(_) => listings.keep_apart(listed, &caller),
                        None => Arc::clone(&slot),
                    };
                    place.held().last = Some(Arc::clone(&listing));
                    slot.land(Landed::Well);
                    Some(listing)
                }
                Err(trouble) => {
                    tracing::warn!(upstream = %server.config.name, list = listed.key(), error = %trouble, "list not fetched");
                    slot.land(Landed::Ill);
                    None
                }
            }
        }
        .boxed()
        .shared()
    }

    /// From now on this list is another one for each caller; what everybody shared is nobody's.
    fn keep_apart(&self, listed: Listed, caller: &Principal) -> Arc<Slot> {
        self.apart[listed as usize].store(true, Ordering::Release);
        self.shared[listed as usize].held().last = None;
        self.slot(listed, caller)
    }
}

/// How a fetch ended.
#[derive(Clone, Copy, Debug)]
enum Landed {
    Well,
    Ill,
}

impl Slot {
    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn land(&self, landed: Landed) {
        let mut held = self.held();
        held.flight = None;
        held.failed = matches!(landed, Landed::Ill).then(Instant::now);
    }
}
