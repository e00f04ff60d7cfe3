//! JSON-RPC 2.0: one message per body, ids kept as they came (basic, "Messages").

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::json::{Json, quote};

/// Longer ids are refused: an id is copied into every message about its request.
pub(super) const MAX_ID_BYTES: usize = 1024;

/// A request's id as its sender wrote it: a string or an integer, of any size (basic, "Requests").
///
/// Kept as JSON text, so that 2^53+1 comes back as 2^53+1.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct RequestId(RawScalar);

impl RequestId {
    /// Takes a string or an integer; `null`, fractions and everything else are refused.
    pub(super) fn read(json: Json<'_>) -> Option<Self> {
        RawScalar::read(json).map(Self)
    }

    /// An id of our own, for a request to a client.
    pub fn text(text: &str) -> Self {
        let mut quoted = String::with_capacity(text.len() + 2);
        quote(text, &mut quoted);
        Self(RawScalar(quoted.into()))
    }

    /// The string, if it is one.
    pub fn as_text(&self) -> Option<Cow<'_, str>> {
        Json::checked(self.as_json()).string()
    }

    /// The JSON text.
    pub fn as_json(&self) -> &str {
        self.0.as_json()
    }
}

/// An id of our own, for a request to an upstream.
impl From<u64> for RequestId {
    fn from(number: u64) -> Self {
        Self(RawScalar(number.to_string().into()))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_json())
    }
}

/// JSON text of a string or an integer, for the values a client chooses and wants back untouched.
#[derive(Debug, Clone)]
pub(super) struct RawScalar(Box<str>);

impl RawScalar {
    pub(super) fn read(json: Json<'_>) -> Option<Self> {
        let text = json.get();
        let digits = text.strip_prefix('-').unwrap_or(text);
        // The grammar is checked: digits alone are an integer.
        let is_integer = || digits.bytes().all(|byte| byte.is_ascii_digit());
        let admitted = text.len() <= MAX_ID_BYTES && (is_integer() || json.string().is_some());
        admitted.then(|| Self(text.into()))
    }

    pub(super) fn as_json(&self) -> &str {
        &self.0
    }
}

impl PartialEq for RawScalar {
    fn eq(&self, other: &Self) -> bool {
        self.as_json() == other.as_json()
    }
}

impl Eq for RawScalar {}

impl std::hash::Hash for RawScalar {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_json().hash(state);
    }
}

impl Serialize for RawScalar {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Json::checked(&self.0).serialize(serializer)
    }
}

/// Every error number this gateway may send, and no other (basic, "Error Codes").
///
/// The last eight are Baton's own, outside the range JSON-RPC reserves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum ErrorCode {
    /// The body is not JSON.
    ParseError = -32700,
    /// The body is no message, or breaks a rule that has no code of its own.
    InvalidRequest = -32600,
    /// The era has no such method.
    MethodNotFound = -32601,
    /// The params do not fit the method; an unknown tool too.
    InvalidParams = -32602,
    /// A fault of ours that has no other name.
    InternalError = -32603,
    /// streamable-http, "Server Validation".
    HeaderMismatch = -32020,
    /// basic, "Per-request protocol fields".
    MissingRequiredClientCapability = -32021,
    /// versioning, "Protocol Version Negotiation".
    UnsupportedProtocolVersion = -32022,
    /// The idempotency key belongs to another call.
    KeyConflict = 40901,
    /// Too many requests.
    RateLimited = 42901,
    /// Too many environments.
    QuotaExceeded = 42902,
    /// The call may have run, and nobody can tell.
    OutcomeUnknown = 50201,
    /// No slot became free in time.
    Overloaded = 50301,
    /// The worker that holds the environment does not answer.
    WorkerUnreachable = 50302,
    /// What replicas share cannot be read.
    DirectoryAway = 50303,
    /// The upstream server that this is for does not answer, or its answer cannot be used.
    UpstreamUnavailable = 50304,
    /// The call ran out of time.
    DeadlineExceeded = 50401,
}

impl ErrorCode {
    /// The number on the wire.
    pub fn number(self) -> i32 {
        self as i32
    }
}

/// An error response. Without an id it is about a request whose id nobody could read: every
/// revision's schema forbids `"id": null`.
pub fn render_error(
    id: Option<&RequestId>,
    code: ErrorCode,
    message: &str,
    data: Option<&Value>,
) -> Vec<u8> {
    #[derive(Serialize)]
    struct Response<'a> {
        jsonrpc: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a RequestId>,
        error: Body<'a>,
    }
    #[derive(Serialize)]
    struct Body<'a> {
        code: i32,
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        data: Option<&'a Value>,
    }
    let error = Body { code: code.number(), message, data };
    to_json(&Response { jsonrpc: "2.0", id, error })
}

/// Writes a value whose serialization cannot fail.
pub(super) fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("string keys and finite numbers always serialize")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn id_of(text: &str) -> Option<RequestId> {
        RequestId::read(Json::checked(text))
    }

    // basic, "Requests": MUST include a string or integer ID, which MUST NOT be null.
    #[test]
    fn ids_are_kept_as_they_came() {
        for text in ["0", "-7", "9007199254740993", "123456789012345678901234567890", r#""""#] {
            assert_eq!(id_of(text).unwrap().as_json(), text);
        }
        assert_eq!(id_of(r#""a\u0062""#).unwrap().as_json(), r#""a\u0062""#);
    }

    #[test]
    fn other_ids_are_refused() {
        for text in ["null", "1.0", "1e3", "1.5", "true", "{}", "[1]", r#""\ud800""#] {
            assert_eq!(id_of(text), None, "{text}");
        }
        assert_eq!(id_of(&format!("\"{}\"", "x".repeat(MAX_ID_BYTES))), None);
    }

    #[test]
    fn an_error_without_a_readable_id_has_no_id() {
        assert_eq!(
            render_error(None, ErrorCode::ParseError, "no \"JSON\"", None),
            br#"{"jsonrpc":"2.0","error":{"code":-32700,"message":"no \"JSON\""}}"#
        );
        assert_eq!(
            render_error(
                id_of("9007199254740993").as_ref(),
                ErrorCode::RateLimited,
                "slow down",
                Some(&json!({"retryable": true})),
            ),
            br#"{"jsonrpc":"2.0","id":9007199254740993,"error":{"code":42901,"message":"slow down","data":{"retryable":true}}}"#
        );
    }
}
