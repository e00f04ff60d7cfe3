//! What an upstream lists, kept for as long as it says, and longer when it does not answer.

mod fetch;
mod listing;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use quick_cache::sync::Cache;
use tokio::time::{Instant, timeout_at};

pub(in crate::gateway) use listing::Listing;

use super::server::Server;
use super::watch::Change;
use crate::domain::ids::{OwnerDigest, Principal};
use crate::mcp::Listed;
use fetch::fetch;

/// How long a list request waits for an upstream whose last list could be given instead, or that gave none when it was
/// last asked.
const SOON: Duration = Duration::from_secs(1);
/// How long an upstream that did not give its list is not asked for it again.
const PAUSE: Duration = Duration::from_secs(5);
/// Callers whose private lists are kept, each kind counted, per upstream.
const MAX_PRIVATE: usize = 1024;

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
    /// When a fetch of which generation failed, if the last one did.
    failed: Option<(Instant, u64)>,
    /// For whom it was fetched last.
    caller: Option<Principal>,
    /// Somebody made do with the last one, or none: when there is another, that is told.
    owed: bool,
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
        let generation = listings.generation(listed);
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
            let failed = |(at, of): (Instant, u64)| of == generation && at.elapsed() < PAUSE;
            if held.flight.is_none() && held.failed.is_some_and(failed) {
                held.owed = true;
                return last;
            }
            (last, Self::fly(server, (&slot, &mut held), listed, caller))
        };
        let missed = listings.missed[listed as usize].load(Ordering::Relaxed);
        let brief = last.is_some() || missed;
        let patience = if brief { SOON } else { timeouts.list.saturating_mul(2) };
        let landed = timeout_at(flight.begun + patience, flight.fetching).await.ok().flatten();
        landed.or_else(|| slot.make_do(last))
    }

    /// Fetches the list that everybody shares once more, if anybody has one; whoever has it is told if it is another.
    pub(super) fn look_again(server: &Arc<Server>, listed: Listed) {
        let slot = &server.listings.shared[listed as usize];
        let mut held = slot.held();
        if let Some(caller) = held.caller.clone() {
            held.owed = true;
            Self::fly(server, (slot, &mut held), listed, &caller);
        }
    }

    /// Whether it turned out to be another one for each caller.
    pub(super) fn is_apart(&self, listed: Listed) -> bool {
        self.apart[listed as usize].load(Ordering::Acquire)
    }

    /// Whether somebody made do with less than the list that everybody shares.
    pub(super) fn is_owed(&self, listed: Listed) -> bool {
        self.shared[listed as usize].held().owed
    }

    /// Whether this list was fetched since the upstream last said that it changed.
    pub(in crate::gateway) fn is_current(&self, listed: Listed, listing: &Listing) -> bool {
        listing.generation == self.generation(listed)
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
        if !self.is_apart(listed) {
            return Arc::clone(&self.shared[listed as usize]);
        }
        self.private_slot(listed, caller.owner_digest())
    }

    /// The fetch under way, or one that begins.
    fn fly(
        server: &Arc<Server>,
        (slot, held): (&Arc<Slot>, &mut Held),
        listed: Listed,
        caller: &Principal,
    ) -> Flight {
        let flight = held.flight.get_or_insert_with(|| {
            let fetching = Self::begin(server, slot, listed, caller);
            server.tasks.spawn(fetching.clone());
            Flight { fetching, begun: Instant::now() }
        });
        held.caller = Some(caller.clone());
        flight.clone()
    }

    fn begin(
        server: &Arc<Server>,
        slot: &Arc<Slot>,
        listed: Listed,
        caller: &Principal,
    ) -> Fetching {
        let (server, slot, caller) = (Arc::clone(server), Arc::clone(slot), caller.clone());
        async move {
            let listings = &server.listings;
            let mut generation = listings.generation(listed);
            let mut fetched = fetch(&server, listed, &caller).await;
            let now = listings.generation(listed);
            if now != generation {
                // It changed while it was read. If that happens again, the next one who asks reads it again.
                generation = now;
                fetched = fetch(&server, listed, &caller).await;
            }
            listings.missed[listed as usize].store(fetched.is_err(), Ordering::Relaxed);
            match fetched {
                Ok(mut listing) => {
                    listing.generation = generation;
                    let listing = Arc::new(listing);
                    land(&server, &slot, listed, &listing);
                    Some(listing)
                }
                Err(trouble) => {
                    tracing::warn!(upstream = %server.config.name, list = listed.key(), error = %trouble, "list not fetched");
                    let mut held = slot.held();
                    held.flight = None;
                    held.failed = Some((Instant::now(), generation));
                    None
                }
            }
        }
        .boxed()
        .shared()
    }

    fn generation(&self, listed: Listed) -> u64 {
        self.generation[listed as usize].load(Ordering::Acquire)
    }

    /// From now on this list is another one for each caller; what everybody shared is nobody's.
    fn keep_apart(&self, listed: Listed, owner: OwnerDigest) -> Arc<Slot> {
        self.apart[listed as usize].store(true, Ordering::Release);
        self.shared[listed as usize].held().last = None;
        self.private_slot(listed, owner)
    }

    fn private_slot(&self, listed: Listed, owner: OwnerDigest) -> Arc<Slot> {
        let made = self.private.get_or_insert_with(&(listed, owner), || {
            Ok::<_, std::convert::Infallible>(Arc::default())
        });
        let Ok(slot) = made;
        slot
    }
}

/// Keeps a list that was fetched for this slot, and tells of it if somebody made do with another one.
fn land(server: &Server, slot: &Arc<Slot>, listed: Listed, listing: &Arc<Listing>) {
    // Whoever comes when the flight has landed must find it in no slot but its owner's.
    let place = match listing.owner {
        Some(owner) => server.listings.keep_apart(listed, owner),
        None => Arc::clone(slot),
    };
    let before = place.held().last.replace(Arc::clone(listing));
    let owed = {
        let mut held = slot.held();
        held.flight = None;
        held.failed = None;
        std::mem::take(&mut held.owed)
    };
    // One that is stale before anybody can come back for it is told of once for each change that it is known of: it
    // may be another at each look, and to tell of that would go round in circles.
    let is_news = before.map_or(!listing.items.is_empty(), |before| {
        let settled = before.generation != listing.generation || listing.fresh_for > SOON;
        settled && !before.is_as(listing)
    });
    if owed && is_news {
        // Those who waited for a list that turned out not to be everybody's wait for one of their own.
        let owner = listing.owner.filter(|_| Arc::ptr_eq(&place, slot));
        server.changes.tell(Change::List { listed, owner });
    }
}

impl Slot {
    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What there is without a flight that takes too long.
    fn make_do(&self, last: Option<Arc<Listing>>) -> Option<Arc<Listing>> {
        let mut held = self.held();
        if held.flight.is_none() && held.failed.is_none() {
            // It has landed just now.
            return held.last.clone();
        }
        held.owed = true;
        last
    }
}
