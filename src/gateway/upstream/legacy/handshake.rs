//! The beginning of a session (2025-11-25 lifecycle, "Initialization").

use tokio_util::task::TaskTracker;

use super::declared::Declared;
use super::session::{Session, SessionId};
use crate::gateway::upstream::ask::next_number;
use crate::gateway::upstream::discovery::{self, Known, Spoken};
use crate::gateway::upstream::exchange::Until;
use crate::gateway::upstream::modern::{Post, plain};
use crate::gateway::upstream::server::{Answered, only_answer};
use crate::gateway::upstream::translate::gateway_info;
use crate::gateway::upstream::trouble::Trouble;
use crate::gateway::upstream::wire::Wire;
use crate::mcp::{Era, Json, JsonBuf, LegacyVersion, Object, render_notification, render_request};
use crate::rpc::client::TraceHeaders;

/// Shakes hands for a client that can do this.
pub(super) async fn shake_hands(
    wire: Wire,
    tasks: TaskTracker,
    declared: &Declared,
    until: Until,
) -> Result<Session, Trouble> {
    let number = next_number();
    let params = params(declared);
    let mut headers = http::HeaderMap::new();
    plain(&mut headers, &TraceHeaders::default());
    let body = render_request(&number.into(), "initialize", Some(params.json())).into();
    let (endpoint, mut exchange) = wire.post(Post { headers, body }, until).await?;
    let Answered::Result(result) = only_answer(&mut exchange, number).await? else {
        return Err(Trouble::Protocol("initialize was refused"));
    };
    let id = exchange.headers().get("mcp-session-id");
    let id = id.map(|it| SessionId::read(it).ok_or(UNREADABLE_ID)).transpose()?;
    let (version, known) = read(result.json())?;
    let session = Session::new((wire, tasks), endpoint, id, version, known);
    session.tell(render_notification("notifications/initialized", None), until).await?;
    Ok(session)
}

const UNREADABLE_ID: Trouble = Trouble::Protocol("its session id has characters that no id has");

fn params(declared: &Declared) -> JsonBuf {
    let mut params = Object::default();
    params.set_text("protocolVersion", LegacyVersion::LATEST.as_str());
    params.set("capabilities", declared.to_buf());
    params.set("clientInfo", gateway_info());
    params.render()
}

/// "Version Negotiation": a revision that we do not speak is a reason to leave.
fn read(result: Json<'_>) -> Result<(LegacyVersion, Known), Trouble> {
    let result = Object::read(result).ok_or(Trouble::Protocol("a result is an object"))?;
    let version = result.text("protocolVersion").and_then(|it| LegacyVersion::from_wire(&it));
    let version = version.ok_or(Trouble::Protocol("it speaks no revision that is spoken here"))?;
    let known = Known {
        spoken: Spoken::Legacy(version),
        capabilities: discovery::capabilities(&result, Era::Legacy(version)),
        instructions: discovery::instructions(&result),
        server_info: result.get("serverInfo").map(Json::to_buf),
    };
    Ok((version, known))
}
