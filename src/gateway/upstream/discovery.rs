//! Which era an upstream speaks, and what it offers.

use serde_json::value::RawValue;

use super::ask::next_number;
use super::config::EraChoice;
use super::exchange::Until;
use super::modern;
use super::server::{Answered, Server};
use super::translate::gateway_meta;
use super::trouble::Trouble;
use crate::mcp::{Era, LegacyVersion, MODERN_VERSION, Method, Object, ServerCapabilities};
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
    pub server_info: Option<Box<RawValue>>,
}

/// Finds out (versioning, "Backward Compatibility"): asks for a discovery, and where that is not understood, shakes
/// hands.
pub(super) async fn discover(server: &Server) -> Result<Known, Trouble> {
    let choice = server.config.era;
    if choice != EraChoice::Legacy {
        match ask(server).await {
            Ok(known) => return Ok(known),
            Err(trouble @ (Trouble::NotMcp(_) | Trouble::Protocol(_))) => {
                if choice == EraChoice::Modern || is_ours(&trouble) {
                    return Err(trouble);
                }
            }
            Err(trouble) => return Err(trouble),
        }
    }
    server.legacy.introduce(server).await
}

/// A server that fails, or refuses our credentials, has not said that it is an old one.
fn is_ours(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::NotMcp(status)
        if status.is_server_error() || matches!(status.as_u16(), 401 | 403 | 429))
}

async fn ask(server: &Server) -> Result<Known, Trouble> {
    let number = next_number();
    let mut params = Object::default();
    params.set("_meta", gateway_meta());
    let post = modern::post(
        number,
        Method::Discover,
        None,
        &params.render(),
        std::iter::empty(),
        &TraceHeaders::default(),
    );
    let until = Until::within(server.config.timeouts.list);
    match server.answer(post, number, until).await? {
        Answered::Result(result) => read(&result),
        Answered::Error(_) => Err(Trouble::Protocol("server/discover was refused")),
    }
}

fn read(result: &RawValue) -> Result<Known, Trouble> {
    let result = Object::read(result).ok_or(Trouble::Protocol("a result is an object"))?;
    let versions: Vec<String> = result
        .get("supportedVersions")
        .and_then(|it| serde_json::from_str(it.get()).ok())
        .unwrap_or_default();
    if !versions.iter().any(|it| it == MODERN_VERSION) {
        return Err(Trouble::Protocol("it does not speak 2026-07-28"));
    }
    let meta = result.get("_meta").and_then(Object::read);
    let info = meta.as_ref().and_then(|it| it.get("io.modelcontextprotocol/serverInfo"));
    Ok(Known {
        spoken: Spoken::Modern,
        capabilities: capabilities(&result, Era::Modern),
        instructions: instructions(&result),
        server_info: info.map(ToOwned::to_owned),
    })
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
