//! The four lists: Baton's own items and those of all upstreams, merged, page by page.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::discover::Standing;
use super::dispatch::{Edge, not_served};
use super::failure::Failure;
use super::limits::Class;
use super::observe::Observation;
use super::upstream::{Listing, Listings, Server, Upstreams};
use crate::domain::ids::{Principal, Timestamp};
use crate::domain::keyring::Keyring;
use crate::domain::sealed::{self, Kind};
use crate::mcp::{CacheHint, Envelope, Era, JsonBuf, ListResult, Listed, RejectionKind, Reply};

/// How long clients may keep what does not change while a replica runs.
pub(super) const FRESH_FOR: Duration = Duration::from_mins(5);
const SECOND: Duration = Duration::from_secs(1);
/// How long the place in a list can be come back to.
const CURSOR_LIFE_MILLIS: u64 = 60 * 60 * 1000;

/// What clients read at once without trouble.
const PAGE: PageSize = PageSize { items: 500, bytes: 4 << 20 };

/// How much a page holds at most. One item it always holds, however large.
#[derive(Clone, Copy, Debug)]
pub(super) struct PageSize {
    /// Items.
    pub items: usize,
    /// Bytes of their definitions.
    pub bytes: usize,
}

impl Edge {
    /// Any of the four lists.
    pub(super) async fn list(
        &self,
        listed: Listed,
        envelope: &Envelope,
        caller: &Principal,
        observation: &Observation,
    ) -> Result<Vec<u8>, Failure> {
        let cursor = envelope.text_param("cursor")?;
        let _slot = match self.rendered(listed, cursor.is_some()) {
            // To refuse it would be no less work.
            Some(standing) => return Ok(standing.tools(envelope.era()).to(envelope.id())),
            None => self.limits.slot(Class::List, caller.tenant_digest()).await?,
        };
        let standing = self.standing_where(|can| can.lists(listed)).await;
        if !standing.capabilities().lists(listed) {
            return Err(not_served(envelope).into());
        }
        let own = self.own_items(listed, envelope.era(), caller, observation).await;
        let merged = Merged::gather(&self.upstreams, listed, own, caller).await;
        let kept = standing.pages().find(envelope.era(), &merged);
        if let (None, Some(rendered)) = (&cursor, kept) {
            return Ok(rendered.to(envelope.id()));
        }
        let page = merged.page(cursor.as_deref(), PAGE, caller, &self.keys, self.clock.now());
        // pagination, "Error Handling": an invalid cursor SHOULD be -32602.
        let page = page.map_err(|NoSuchCursor| {
            let message = "there is no such cursor: begin the list again without one";
            envelope.reject(RejectionKind::InvalidParams, message)
        })?;
        let reply = Reply::new(envelope.era(), &self.identity, &page);
        if cursor.is_some() || page.has_next() {
            return Ok(reply.to(envelope.id()));
        }
        let rendered = reply.render();
        standing.pages().keep(envelope.era(), merged, &rendered);
        Ok(rendered.to(envelope.id()))
    }

    /// The list of tools where it is the same for everybody and has one page: without upstreams.
    fn rendered(&self, listed: Listed, has_cursor: bool) -> Option<Arc<Standing>> {
        let is_same = listed == Listed::Tools && self.upstreams.is_empty() && !has_cursor;
        let standing = is_same.then(|| self.standing())?;
        standing.capabilities().lists(listed).then_some(standing)
    }

    async fn own_items(
        &self,
        listed: Listed,
        era: Era,
        caller: &Principal,
        observation: &Observation,
    ) -> Own {
        match listed {
            Listed::Tools => self.own.tools(era).clone(),
            Listed::Prompts => Own::default(),
            Listed::Resources => self.own_resources(caller, observation).await,
            Listed::ResourceTemplates => self.own_templates(),
        }
    }
}

/// One item of Baton's own: what clients call it, and its definition.
#[derive(Clone, Debug)]
pub(super) struct OwnItem {
    /// The name or the URI.
    pub key: String,
    /// The definition.
    pub definition: JsonBuf,
}

impl PageSize {
    /// How many of these make a page.
    fn fits(self, items: &[(&str, &JsonBuf)]) -> usize {
        let mut bytes = 0;
        let more = |(place, (_, definition)): &(usize, &(&str, &JsonBuf))| {
            bytes += definition.get().len();
            *place == 0 || (*place < self.items && bytes <= self.bytes)
        };
        items.iter().enumerate().take_while(more).count()
    }
}

/// Baton's own part of a list.
#[derive(Clone, Debug, Default)]
pub(super) struct Own {
    /// In their order, before those of upstreams.
    pub items: Arc<[OwnItem]>,
    /// How long they are fresh.
    pub fresh_for: Duration,
    /// Whether they are this caller's alone.
    pub private: bool,
}

impl Own {
    /// Tools that stay the same while the replica runs.
    pub(super) fn always(tools: Vec<(&'static str, JsonBuf)>) -> Self {
        let item = |(name, definition): (&str, _)| OwnItem { key: name.to_owned(), definition };
        Self { items: tools.into_iter().map(item).collect(), fresh_for: FRESH_FOR, private: false }
    }
}

/// There is no such place in the list.
#[derive(Debug)]
pub(super) struct NoSuchCursor;

/// One list for one caller, whole.
#[derive(Debug)]
pub(super) struct Merged {
    listed: Listed,
    own: Own,
    lists: Vec<Arc<Listing>>,
    /// Whether a list is missing, or has changed since it was fetched.
    is_short: bool,
}

impl Merged {
    /// Asks all upstreams at once. One that does not answer is missing, or there with its last list.
    pub(super) async fn gather(
        upstreams: &Upstreams,
        listed: Listed,
        own: Own,
        caller: &Principal,
    ) -> Self {
        let servers = upstreams.servers();
        let lists = join_all(servers.iter().map(|it| Listings::get(it, listed, caller))).await;
        let is_current = |(server, list): (&Arc<Server>, &Option<Arc<Listing>>)| {
            list.as_ref().is_some_and(|it| server.listings.is_current(listed, it))
        };
        let is_short = !servers.iter().zip(&lists).all(is_current);
        Self { listed, own, lists: lists.into_iter().flatten().collect(), is_short }
    }

    /// The page that begins at this cursor; the first without one.
    pub(super) fn page(
        &self,
        cursor: Option<&str>,
        size: PageSize,
        caller: &Principal,
        keys: &Keyring,
        now: Timestamp,
    ) -> Result<ListResult, NoSuchCursor> {
        let items = self.items();
        let context = [self.listed as u8];
        let from = match cursor {
            None => 0,
            Some(cursor) => {
                let last = sealed::open(Kind::Cursor, cursor, caller, &context, keys, now);
                let last = last.map_err(|_| NoSuchCursor)?;
                let place = items.iter().position(|(key, _)| key.as_bytes() == last);
                place.ok_or(NoSuchCursor)? + 1
            }
        };
        let to = from + size.fits(&items[from..]);
        let page = items[from..to].iter().map(|(_, definition)| (*definition).clone()).collect();
        let result = ListResult::new(self.listed, page, self.hint());
        if to == items.len() {
            return Ok(result);
        }
        let not_after = Timestamp::from_millis(now.as_millis() + CURSOR_LIFE_MILLIS);
        let last = items[to - 1].0.as_bytes();
        let next = sealed::seal(Kind::Cursor, caller, &context, last, not_after, keys);
        // A name that is too long to be sealed ends the list: it could not be called either.
        Ok(match next {
            Some(next) => result.with_next_cursor(next),
            None => result,
        })
    }

    /// Every item once; of equal names the first.
    fn items(&self) -> Vec<(&str, &JsonBuf)> {
        let own = self.own.items.iter().map(|it| (it.key.as_str(), &it.definition));
        let others =
            self.lists.iter().flat_map(|it| &it.items).map(|it| (&*it.key, &it.definition));
        let mut seen = HashSet::new();
        own.chain(others).filter(|(key, _)| seen.insert(*key)).collect()
    }

    /// Which list it is.
    pub(super) fn listed(&self) -> Listed {
        self.listed
    }

    /// Whether every part is the very same one as of the other.
    pub(super) fn is_made_of_the_same(&self, other: &Self) -> bool {
        let are_same = |(one, other): (&Arc<Listing>, &Arc<Listing>)| Arc::ptr_eq(one, other);
        self.listed == other.listed
            && (Arc::ptr_eq(&self.own.items, &other.own.items)
                || self.own.items.is_empty() && other.own.items.is_empty())
            && self.lists.len() == other.lists.len()
            && self.lists.iter().zip(&other.lists).all(are_same)
    }

    /// How long clients may keep it, if it is the same for every caller.
    pub(super) fn fresh_for_everybody(&self) -> Option<Duration> {
        self.hint().for_everybody()
    }

    /// caching: as fresh as the stalest part, and private if one part is. Of a missing part nothing is known.
    fn hint(&self) -> CacheHint {
        if self.is_short {
            return CacheHint::private(Duration::ZERO);
        }
        let own = Some(self.own.fresh_for)
            .filter(|_| !self.own.items.is_empty() || self.lists.is_empty());
        let fresh =
            self.lists.iter().map(|it| it.fresh_left()).chain(own).min().unwrap_or_default();
        // In whole seconds, so that what is rendered stays as it is for one.
        let fresh = if fresh < SECOND { fresh } else { Duration::from_secs(fresh.as_secs()) };
        if self.own.private || self.lists.iter().any(|it| it.owner.is_some()) {
            CacheHint::private(fresh)
        } else {
            CacheHint::public(fresh)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::pages::Pages;
    use crate::mcp::{Empty, Identity, LegacyVersion};

    #[test]
    fn what_was_rendered_is_given_while_every_part_is_the_same_and_as_fresh() {
        let own = || {
            let definition = JsonBuf::parse("{}").unwrap();
            Own::always(vec![("a", definition)])
        };
        let merged = |own: &Own| {
            let (own, lists) = (own.clone(), Vec::new());
            Merged { listed: Listed::Tools, own, lists, is_short: false }
        };
        let (first, pages) = (own(), Pages::default());
        let identity = Identity::new("baton", "1", "r1");
        let rendered = Reply::new(Era::Modern, &identity, &Empty::default()).render();
        pages.keep(Era::Modern, merged(&first), &rendered);
        let finds = |era, own: &Own| pages.find(era, &merged(own)).is_some();
        assert!(finds(Era::Modern, &first));
        assert!(!finds(Era::Legacy(LegacyVersion::LATEST), &first));
        assert!(!finds(Era::Modern, &own()), "other items, though they are equal");
        assert!(!finds(Era::Modern, &Own { private: true, ..first.clone() }));
        assert!(!finds(Era::Modern, &Own { fresh_for: SECOND, ..first.clone() }));
        pages.keep(Era::Modern, merged(&Own { private: true, ..own() }), &rendered);
        assert!(finds(Era::Modern, &first), "what is one caller's is not kept");
    }

    #[test]
    fn a_page_ends_before_it_is_too_long_or_too_large_and_is_never_empty() {
        let check = |lengths: &[usize], fits: usize| {
            let definition = |length: &usize| {
                JsonBuf::parse(&format!("\"{}\"", "x".repeat(length - 2))).unwrap()
            };
            let definitions: Vec<_> = lengths.iter().map(definition).collect();
            let items: Vec<(&str, &JsonBuf)> = definitions.iter().map(|it| ("", it)).collect();
            assert_eq!(PageSize { items: 3, bytes: 10 }.fits(&items), fits, "{lengths:?}");
        };
        check(&[], 0);
        check(&[2, 2, 2], 3);
        check(&[2, 2, 2, 2], 3);
        check(&[5, 5, 2], 2);
        check(&[5, 6], 1);
        check(&[20, 2], 1);
    }
}
