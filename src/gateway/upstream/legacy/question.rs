//! What an upstream asks its client while a call is under way.

use serde_json::json;

use crate::mcp::{ErrorCode, InputRequest, JsonBuf, RequestId, render_error, render_response};

/// Something to be put to the client.
#[derive(Debug)]
pub(super) struct Question {
    /// What the client knows it by.
    pub key: String,
    /// What the upstream knows it by.
    pub id: RequestId,
    /// What is asked.
    pub request: InputRequest,
}

/// The answer to a request that this client has no answer to (2025-11-25 roots, "Error Handling").
pub(super) fn refusal(id: &RequestId, method: &str) -> Vec<u8> {
    let message = format!("the client does not take {method}");
    render_error(Some(id), ErrorCode::MethodNotFound, &message, None)
}

/// The answer to `ping`.
pub(super) fn pong(id: &RequestId) -> Vec<u8> {
    let empty = JsonBuf::of(&json!({}));
    render_response(id, empty.json())
}

/// The answer to a request that belongs to no call.
pub(super) fn answer_unasked(id: &RequestId, method: &str) -> Vec<u8> {
    if method == "ping" { pong(id) } else { refusal(id, method) }
}
