//! Which era an upstream speaks, and what it offers.

use http::StatusCode;

use super::ask::next_number;
use super::config::EraChoice;
use super::exchange::Until;
use super::modern;
use super::server::{Answered, Server};
use super::translate::gateway_meta;
use super::trouble::Trouble;
use crate::gateway::failure::UpstreamError;
use crate::mcp::{
    Era, ErrorCode, Json, JsonBuf, LegacyVersion, MODERN_VERSION, Method, Object,
    ServerCapabilities,
};
use crate::rpc::client::TraceHeaders;

/// The revision an upstream is spoken to in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) enum Spoken {
    /// 2026-07-28.
    Modern,
    /// A revision with a handshake.
    Legacy(LegacyVersion),
}

/// What an upstream said of itself.
#[derive(Clone, Debug)]
pub(in crate::gateway) struct Known {
    /// How it is spoken to.
    pub spoken: Spoken,
    /// What it can do.
    pub capabilities: ServerCapabilities,
    /// Its guidance for models.
    pub instructions: Option<String>,
    /// Its `Implementation`.
    pub server_info: Option<JsonBuf>,
}

/// What it makes of a discovery.
#[derive(Debug)]
enum Discovered {
    /// It is one of 2026-07-28.
    Modern(Known),
    /// It says that it knows no such thing, in these words.
    NotUnderstood(Trouble),
}

/// Finds out (versioning, "Backward Compatibility"): asks for a discovery, and where that is not understood, shakes
/// hands.
pub(super) async fn discover(server: &Server) -> Result<Known, Trouble> {
    let choice = server.config.era;
    if choice != EraChoice::Legacy {
        match ask(server).await? {
            Discovered::Modern(known) => return Ok(known),
            Discovered::NotUnderstood(trouble) if choice == EraChoice::Modern => {
                return Err(trouble);
            }
            Discovered::NotUnderstood(_) => {}
        }
    }
    server.legacy.introduce(server).await
}

async fn ask(server: &Server) -> Result<Discovered, Trouble> {
    let number = next_number();
    let mut params = Object::default();
    params.set("_meta", gateway_meta());
    let post = modern::post(
        number,
        Method::Discover,
        None,
        &params,
        std::iter::empty(),
        &TraceHeaders::default(),
    );
    let until = Until::within(server.config.timeouts.list);
    match server.answer(post, number, until).await {
        Ok(Answered::Result(result)) => read(result.json()),
        Ok(Answered::Error(error)) => refused(&error),
        Err(trouble @ Trouble::NotMcp(status)) if may_be_old(status) => {
            Ok(Discovered::NotUnderstood(trouble))
        }
        Err(trouble @ Trouble::Protocol(_)) => Ok(Discovered::NotUnderstood(trouble)),
        Err(trouble) => Err(trouble),
    }
}

/// A server that fails, is busy, or refuses our credentials has not said that it is an old one.
fn may_be_old(status: StatusCode) -> bool {
    let says_other = matches!(status.as_u16(), 401 | 403 | 407 | 408 | 425 | 429);
    (status.is_success() || status.is_client_error()) && !says_other
}

/// streamable-http, "Backward Compatibility": a modern error is no reason to shake hands, but where it names a revision
/// of the other era that is spoken here.
fn refused(error: &UpstreamError) -> Result<Discovered, Trouble> {
    let is = |code: ErrorCode| error.code() == i64::from(code.number());
    if is(ErrorCode::UnsupportedProtocolVersion) {
        let data = error.data();
        let data = data.as_ref().map(JsonBuf::json).and_then(Object::read);
        return other_era(&data.map(|it| versions(&it, "supported")).unwrap_or_default());
    }
    let is_modern = is(ErrorCode::HeaderMismatch) || is(ErrorCode::MissingRequiredClientCapability);
    // With -32603 it has understood, and failed.
    if is_modern || is(ErrorCode::InternalError) || !may_be_old(error.came_with()) {
        return Err(REFUSED);
    }
    Ok(Discovered::NotUnderstood(REFUSED))
}

const REFUSED: Trouble = Trouble::Protocol("server/discover was refused");

/// What it is that does not speak 2026-07-28.
fn other_era(versions: &[String]) -> Result<Discovered, Trouble> {
    if versions.iter().any(|it| LegacyVersion::from_wire(it).is_some()) {
        let trouble = Trouble::Protocol("it does not speak 2026-07-28");
        return Ok(Discovered::NotUnderstood(trouble));
    }
    Err(Trouble::Protocol("it speaks no revision that is spoken here"))
}

fn read(result: Json<'_>) -> Result<Discovered, Trouble> {
    const NO_DISCOVERY: Trouble = Trouble::Protocol("its answer to server/discover is none");
    let Some(result) = Object::read(result).filter(|it| it.get("supportedVersions").is_some())
    else {
        return Ok(Discovered::NotUnderstood(NO_DISCOVERY));
    };
    let versions = versions(&result, "supportedVersions");
    if !versions.iter().any(|it| it == MODERN_VERSION) {
        return other_era(&versions);
    }
    let meta = result.get("_meta").and_then(Object::read);
    let info = meta.as_ref().and_then(|it| it.get("io.modelcontextprotocol/serverInfo"));
    Ok(Discovered::Modern(Known {
        spoken: Spoken::Modern,
        capabilities: capabilities(&result, Era::Modern),
        instructions: instructions(&result),
        server_info: info.map(Json::to_buf),
    }))
}

fn versions(holder: &Object<'_>, key: &str) -> Vec<String> {
    holder.get(key).and_then(|it| serde_json::from_str(it.get()).ok()).unwrap_or_default()
}

/// The `capabilities` of a discovery or a handshake.
pub(super) fn capabilities(result: &Object<'_>, era: Era) -> ServerCapabilities {
    let said = result.get("capabilities");
    said.map(|it| ServerCapabilities::read(it, era)).unwrap_or_default()
}

/// The `instructions` of a discovery or a handshake.
pub(super) fn instructions(result: &Object<'_>) -> Option<String> {
    result.text("instructions").map(std::borrow::Cow::into_owned)
}
