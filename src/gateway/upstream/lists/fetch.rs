//! Fetching a whole list from an upstream, page by page.

use std::time::Duration;

use super::listing::{Item, Listing};
use crate::domain::ids::Principal;
use crate::gateway::upstream::ask::next_number;
use crate::gateway::upstream::discovery::{Known, Spoken};
use crate::gateway::upstream::exchange::Until;
use crate::gateway::upstream::modern;
use crate::gateway::upstream::server::{Answered, Server};
use crate::gateway::upstream::translate::gateway_meta;
use crate::gateway::upstream::trouble::Trouble;
use crate::mcp::{Json, JsonBuf, Listed, Mirror, Object};
use crate::rpc::client::TraceHeaders;

/// Pages of one list.
const MAX_PAGES: usize = 100;
/// Items of one list; what comes after them is not offered.
const MAX_ITEMS: usize = 10_000;
/// The same in bytes of their definitions: a list is kept for each caller where it is private.
const MAX_BYTES: usize = 16 << 20;
/// Nobody keeps a list longer than this, whatever the upstream says.
const MAX_FRESH: Duration = Duration::from_hours(24);

/// The whole list, as this caller may see it.
pub(super) async fn fetch(
    server: &Server,
    listed: Listed,
    caller: &Principal,
) -> Result<Listing, Trouble> {
    let known = server.known().await?;
    if !known.capabilities.lists(listed) {
        return Ok(Listing::new(Vec::new(), server.config.timeouts.list_fresh, None));
    }
    let mut gathered = Gathered::new(server, &known);
    let mut cursor: Option<JsonBuf> = None;
    for _ in 0..MAX_PAGES {
        let page = page(server, &known, listed, caller, cursor.take()).await?;
        let page = Object::read(&page).ok_or(Trouble::Protocol("a result is an object"))?;
        gathered.add(listed, &page)?;
        cursor = page.get("nextCursor").filter(|it| it.get() != "null").map(Json::to_buf);
        if cursor.is_none() || gathered.is_full {
            break;
        }
    }
    if gathered.is_full || cursor.is_some() {
        let (upstream, items) = (&server.config.name, gathered.items.len());
        tracing::warn!(%upstream, list = listed.key(), items, "the list is longer than is offered of it");
    }
    Ok(gathered.finish(caller))
}

async fn page(
    server: &Server,
    known: &Known,
    listed: Listed,
    caller: &Principal,
    cursor: Option<JsonBuf>,
) -> Result<JsonBuf, Trouble> {
    let mut params = Object::default();
    if let Some(cursor) = cursor {
        params.set("cursor", cursor);
    }
    let until = Until::within(server.config.timeouts.list);
    let answered = match known.spoken {
        Spoken::Modern => {
            params.set("_meta", gateway_meta());
            let (number, none) = (next_number(), std::iter::empty());
            let trace = TraceHeaders::default();
            let post = modern::post(number, listed.method(), None, &params, none, &trace);
            server.answer(post, number, until).await?
        }
        Spoken::Legacy(_) => {
            server
                .legacy
                .list(server, listed.method(), params.render().json(), caller, until)
                .await?
        }
    };
    match answered {
        Answered::Result(result) => Ok(result),
        Answered::Error(_) => Err(Trouble::Protocol("the list was refused")),
    }
}

/// What has been read of a list.
struct Gathered<'a> {
    server: &'a Server,
    items: Vec<Item>,
    bytes: usize,
    /// What comes now is not offered.
    is_full: bool,
    fresh_for: Duration,
    public: bool,
}

impl<'a> Gathered<'a> {
    fn new(server: &'a Server, known: &Known) -> Self {
        let (fresh_for, public) = match known.spoken {
            Spoken::Modern => (MAX_FRESH, true),
            Spoken::Legacy(_) => (server.config.timeouts.list_fresh, server.config.shared),
        };
        Self { server, items: Vec::new(), bytes: 0, is_full: false, fresh_for, public }
    }

    /// caching, "Cacheable Results": the page that is stale first makes the list stale, and one that is private makes
    /// it private.
    fn add(&mut self, listed: Listed, page: &Object<'_>) -> Result<(), Trouble> {
        if let Some(ttl) = page.get("ttlMs").and_then(|it| it.get().parse().ok()) {
            self.fresh_for = self.fresh_for.min(Duration::from_millis(ttl));
        } else {
            self.fresh_for = self.fresh_for.min(self.server.config.timeouts.list_fresh);
        }
        if page.get("cacheScope").is_some_and(|it| it.get() == r#""private""#) {
            self.public = false;
        }
        let items: Vec<Json<'_>> = page
            .get(listed.key())
            .and_then(Json::items)
            .ok_or(Trouble::Protocol("a list has no items"))?;
        for item in items.into_iter().filter_map(|it| item(self.server, listed, it)) {
            let bytes = self.bytes + item.definition.get().len();
            if self.items.len() == MAX_ITEMS || bytes > MAX_BYTES {
                self.is_full = true;
                break;
            }
            self.bytes = bytes;
            self.items.push(item);
        }
        Ok(())
    }

    fn finish(self, caller: &Principal) -> Listing {
        let owner = (!self.public).then(|| caller.owner_digest());
        Listing::new(self.items, self.fresh_for, owner)
    }
}

/// One item as it is offered here; `None` if it is not, or has no name.
fn item(server: &Server, listed: Listed, definition: Json<'_>) -> Option<Item> {
    let config = &server.config;
    let mut object = Object::read(definition)?;
    let named = |key| object.text(key).map(std::borrow::Cow::into_owned);
    let own = match listed {
        Listed::Tools | Listed::Prompts => named("name")?,
        Listed::Resources => named("uri")?,
        Listed::ResourceTemplates => named("uriTemplate")?,
    };
    if !config.filter(listed).admits(&own) {
        return None;
    }
    let mirrors = match object.get("inputSchema").filter(|_| listed == Listed::Tools) {
        // streamable-http, "Custom Headers from Tool Parameters": clients leave such a tool out; so do we.
        Some(schema) => Mirror::in_schema(schema).ok()?,
        None => Vec::new(),
    };
    let prefixed = matches!(listed, Listed::Tools | Listed::Prompts) && !config.prefix.is_empty();
    if !prefixed {
        return Some(Item { key: own.into(), definition: definition.to_buf(), mirrors });
    }
    let key = format!("{}{own}", config.prefix);
    object.set_text("name", &key);
    Some(Item { key: key.into(), definition: object.render(), mirrors })
}
