//! An upstream of the legacy era: a handshake, and a session if it wants one.

use serde_json::value::RawValue;

use super::ask::Ask;
use super::discovery::Known;
use super::exchange::Until;
use super::server::{Answered, Server};
use super::trouble::Trouble;
use crate::domain::ids::Principal;
use crate::gateway::feed::Feed;
use crate::mcp::Method;

/// The sessions with one upstream.
#[derive(Debug, Default)]
pub(super) struct Legacy {}

const NOT_SPOKEN: Trouble = Trouble::Protocol("it does not speak 2026-07-28");

#[expect(clippy::unused_async, reason = "speaking to one waits; refusing does not")]
impl Legacy {
    /// Shakes hands and says what the upstream is.
    pub(super) async fn introduce(&self, _server: &Server) -> Result<Known, Trouble> {
        Err(NOT_SPOKEN)
    }

    /// One page of a list, as this caller may see it.
    pub(super) async fn list(
        &self,
        _server: &Server,
        _method: Method,
        _params: &RawValue,
        _caller: &Principal,
        _until: Until,
    ) -> Result<Answered, Trouble> {
        Err(NOT_SPOKEN)
    }

    /// Puts a client's request to it and passes notifications on until the answer.
    pub(super) async fn ask(
        &self,
        _server: &Server,
        _ask: &Ask,
        _feed: &Feed,
    ) -> Result<Answered, Trouble> {
        Err(NOT_SPOKEN)
    }
}
