//! A whole list of one upstream, as it was fetched.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::ids::{OwnerDigest, Principal};
use crate::mcp::{JsonBuf, Mirror};

/// One thing that an upstream lists.
#[derive(Debug)]
pub(in crate::gateway) struct Item {
    /// What clients call it: the name with the prefix, or the URI.
    pub key: Box<str>,
    /// Its definition: as it came, but for the name's prefix.
    pub definition: JsonBuf,
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
    /// When it was fetched.
    pub(super) fetched: Instant,
    /// How often it was said to have changed before that.
    pub(super) generation: u64,
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

    /// Whether it lists the same.
    pub(super) fn is_as(&self, other: &Self) -> bool {
        let definitions = self.items.iter().map(|it| it.definition.get());
        definitions.eq(other.items.iter().map(|it| it.definition.get()))
    }

    /// Whether this caller may see it.
    pub(super) fn is_for(&self, caller: &Principal) -> bool {
        self.owner.is_none_or(|owner| owner == caller.owner_digest())
    }
}
