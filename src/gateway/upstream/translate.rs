//! A request and its result on their way between a client and an upstream, each in its own era.
//!
//! Only what has to change does: the name without its prefix, some keys of `_meta`, what is sealed. Arguments and
//! unknown members stay as they came, to the letter.

use serde_json::json;

use super::ask::Ask;
use super::discovery::Known;
use crate::mcp::{Era, Json, JsonBuf, MODERN_VERSION, Method, Object, Pieces, ResultType};

const PROTOCOL_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";
const CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
const SERVED_BY: &str = "dev.baton/servedBy";
const PROGRESS_TOKEN: &str = "progressToken";

/// The params of a request for a modern upstream. `number` is the request's id there, and its progress token too.
pub(super) fn modern_params(ask: &Ask, number: u64) -> Object<'_> {
    let mut params = own_params(ask);
    let legacy = !ask.envelope.era().is_modern();
    if legacy {
        // 2025-11-25 tasks, "Creating Tasks": a member that means nothing to a modern server.
        params.remove("task");
    }
    params.amend("_meta", |meta| {
        if legacy {
            meta.set_text(PROTOCOL_VERSION, MODERN_VERSION);
            meta.set(CLIENT_INFO, gateway_info());
            let capabilities = ask.client().raw().map(Json::to_buf);
            let capabilities = capabilities.unwrap_or_else(|| JsonBuf::of(&json!({})));
            meta.set(CLIENT_CAPABILITIES, capabilities);
            if ask.envelope.accepts_sse() {
                // A legacy client cannot say on each request what it wants; its servers chose.
                meta.set_text(LOG_LEVEL, "info");
            }
        }
        carry(meta, ask, number);
    });
    params
}

/// The params of a request for a legacy upstream: without what only 2026-07-28 knows.
pub(super) fn legacy_params(ask: &Ask, number: u64) -> JsonBuf {
    let mut params = own_params(ask);
    for modern in ["inputResponses", "requestState"] {
        params.remove(modern);
    }
    if ask.envelope.era().is_modern() {
        // 2025-11-25 tasks, "Creating Tasks": a member that a modern client's request does not have.
        params.remove("task");
    }
    let mut bare = true;
    params.amend("_meta", |meta| {
        for modern in [PROTOCOL_VERSION, CLIENT_INFO, CLIENT_CAPABILITIES, LOG_LEVEL] {
            meta.remove(modern);
        }
        carry(meta, ask, number);
        bare = meta.is_empty();
    });
    if bare {
        params.remove("_meta");
    }
    params.render()
}

/// Who the gateway says it is, as an `Implementation`.
pub(super) fn gateway_info() -> JsonBuf {
    JsonBuf::of(&json!({"name": "baton", "version": env!("CARGO_PKG_VERSION")}))
}

/// The `_meta` of a request that the gateway makes of its own accord. It can pass on whatever a server asks, so it
/// declares all of it.
pub(super) fn gateway_meta() -> JsonBuf {
    JsonBuf::of(&json!({
        PROTOCOL_VERSION: MODERN_VERSION,
        CLIENT_INFO: {"name": "baton", "version": env!("CARGO_PKG_VERSION")},
        CLIENT_CAPABILITIES: {
            "elicitation": {"form": {}, "url": {}},
            "sampling": {},
            "roots": {},
            "extensions": {"io.modelcontextprotocol/tasks": {}},
        },
    }))
}

fn own_params(ask: &Ask) -> Object<'_> {
    let mut params = ask.envelope.params().object();
    for (key, value) in &ask.replacing {
        match value {
            Some(value) => params.set(key, value.clone()),
            None => params.remove(key),
        }
    }
    params
}

/// Ids and tokens of clients begin at 0 or 1 in all of them, so they are never sent on.
fn carry(meta: &mut Object<'_>, ask: &Ask, number: u64) {
    if ask.wants_progress() {
        meta.set(PROGRESS_TOKEN, JsonBuf::of(&number));
    } else {
        meta.remove(PROGRESS_TOKEN);
    }
    for (key, value) in ask.trace.members() {
        meta.set_text(key, value);
    }
}

/// Completes a result for a client of `era`: what its revision requires is there, what it forbids is not.
pub(super) fn finish(
    mut result: Object<'_>,
    era: Era,
    method: Method,
    known: &Known,
    replica: &str,
) -> Pieces {
    if era.is_modern() {
        if result.get("resultType").is_none() {
            // basic, "ResultType": MUST be included; no earlier revision has it.
            result.set_text("resultType", "complete");
        }
        if method.is_cacheable() && ResultType::of(&result) == Some(ResultType::Complete) {
            // caching, "Cacheable Results": MUST be there. Nobody said that it may be kept, so it may not.
            if result.get("ttlMs").is_none() {
                result.set("ttlMs", JsonBuf::of(&0));
            }
            if result.get("cacheScope").is_none() {
                result.set_text("cacheScope", "private");
            }
        }
    } else {
        for modern in ["resultType", "ttlMs", "cacheScope"] {
            result.remove(modern);
        }
        // Before 2026-07-28 it had to be an object.
        if result.get("structuredContent").is_some_and(|it| !it.get().starts_with('{')) {
            result.remove("structuredContent");
        }
    }
    result.amend("_meta", |meta| {
        if !era.is_modern() {
            meta.remove(SERVER_INFO);
        } else if let (Some(info), None) = (&known.server_info, meta.get(SERVER_INFO)) {
            // basic, "Per-response protocol fields": SHOULD be in every result.
            meta.set(SERVER_INFO, info.clone());
        }
        meta.set_text(SERVED_BY, replica);
    });
    result.pieces()
}

/// A string as JSON text.
pub(super) fn text(value: &str) -> JsonBuf {
    JsonBuf::of(&value)
}
