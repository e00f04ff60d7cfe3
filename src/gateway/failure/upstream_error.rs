//! What an upstream says is wrong.

use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};

use crate::mcp::{Era, ErrorCode, Json, JsonBuf, Object, RawError, RequestId, render_raw_error};

/// When to come back where an upstream does not say it, and the longest that one may say.
const COME_BACK: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_hours(1);

/// A JSON-RPC error of an upstream, with the status that it came with.
#[derive(Clone, Debug)]
pub(in crate::gateway) struct UpstreamError {
    status: StatusCode,
    retry_after: Duration,
    error: RawError,
}

impl UpstreamError {
    /// As it came.
    pub(in crate::gateway) fn new(
        (status, headers): (StatusCode, &HeaderMap),
        error: RawError,
    ) -> Self {
        // As a date it would be about another clock.
        let said = headers.get(RETRY_AFTER).and_then(|it| it.to_str().ok()?.parse().ok());
        let retry_after = said.map_or(COME_BACK, Duration::from_secs).min(LONGEST);
        Self { status, retry_after, error }
    }

    /// When its sender wants to be asked again, if it says so by its status.
    pub(super) fn retry_after(&self) -> Duration {
        self.retry_after
    }

    /// The number a client sees.
    pub(in crate::gateway) fn code(&self) -> i64 {
        self.error.code
    }

    /// What more its sender said of it.
    pub(in crate::gateway) fn data(&self) -> Option<JsonBuf> {
        Object::read(&self.error.raw)?.get("data").map(Json::to_buf)
    }

    /// The JSON-RPC error response, in the words of the client's era.
    pub(in crate::gateway) fn body(&self, era: Era, id: &RequestId) -> Vec<u8> {
        let code = match (era, self.error.code) {
            // What only 2026-07-28 means by these, an older client cannot know.
            (Era::Legacy(_), -32022..=-32020) => Some(ErrorCode::InvalidRequest),
            // resources, "Error Handling": before 2026-07-28 a missing resource had a number of its own.
            (Era::Modern, LEGACY_NO_RESOURCE) => Some(ErrorCode::InvalidParams),
            _ => None,
        };
        let Some(code) = code else { return render_raw_error(Some(id), self.error.raw.json()) };
        let mut error = Object::read(&self.error.raw).unwrap_or_default();
        let code = JsonBuf::of(&code.number());
        error.set("code", code);
        render_raw_error(Some(id), error.render().json())
    }

    /// The status that it came with.
    pub(in crate::gateway) fn came_with(&self) -> StatusCode {
        self.status
    }

    /// What an upstream said with its status stays what it says, unless that status is about the gateway itself. An
    /// upstream of the legacy era says no more by it than 200. Proxies send a 5xx again, so it stays one only where the
    /// upstream says that it did nothing.
    pub(in crate::gateway) fn status(&self) -> StatusCode {
        match self.error.code {
            -32601 if self.status == StatusCode::OK => StatusCode::NOT_FOUND,
            _ if self.status.is_client_error() => self.status,
            _ if self.status.is_server_error() && self.has_done_nothing() => self.status,
            _ => StatusCode::OK,
        }
    }

    fn has_done_nothing(&self) -> bool {
        let data = self.data();
        let data = data.as_ref().map(JsonBuf::json).and_then(Object::read).unwrap_or_default();
        data.get("executed").is_some_and(|executed| executed.get() == "\"no\"")
    }
}

/// 2025-11-25 resources, "Error Handling".
const LEGACY_NO_RESOURCE: i64 = -32002;
