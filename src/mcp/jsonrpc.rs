//! JSON-RPC 2.0: one message per body, ids kept as they came (basic, "Messages").

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::raw;

/// Longer ids are refused: an id is copied into every message about its request.
const MAX_ID_BYTES: usize = 1024;

/// A request's id as its sender wrote it: a string or an integer, of any size (basic, "Requests").
///
/// Kept as JSON text, so that 2^53+1 comes back as 2^53+1.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct RequestId(RawScalar);

impl RequestId {
    /// Takes a string or an integer; `null`, fractions and everything else are refused.
    pub(super) fn read(raw: &RawValue) -> Option<Self> {
        RawScalar::read(raw).map(Self)
    }

    /// The JSON text.
    pub fn as_json(&self) -> &str {
        self.0.as_json()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_json())
    }
}

/// JSON text of a string or an integer, for the values a client chooses and wants back untouched.
#[derive(Debug, Clone)]
pub(super) struct RawScalar(Box<RawValue>);

impl RawScalar {
    pub(super) fn read(raw: &RawValue) -> Option<Self> {
        let text = raw.get();
        let is_integer = || {
            let digits = text.strip_prefix('-').unwrap_or(text);
            // RawValue has checked the grammar: digits alone are an integer.
            digits.bytes().all(|byte| byte.is_ascii_digit())
        };
        let admitted = text.len() <= MAX_ID_BYTES && (raw::string(raw).is_some() || is_integer());
        admitted.then(|| Self(raw.to_owned()))
    }

    pub(super) fn as_json(&self) -> &str {
        self.0.get()
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
        self.0.serialize(serializer)
    }
}

/// What a body is, before anyone looks into its params.
#[derive(Debug)]
pub(super) enum Frame<'a> {
    Request { id: RequestId, method: Cow<'a, str>, params: Option<&'a RawValue> },
    Notification { method: Cow<'a, str>, params: Option<&'a RawValue> },
    Response,
}

/// Why a body is no message; with the id, wherever it could be read.
#[derive(Debug)]
pub(super) struct NotAMessage {
    pub(super) id: Option<RequestId>,
    pub(super) fault: FrameFault,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameFault {
    #[error("the body is not JSON")]
    NotJson,
    // 2025-03-26 allowed them; no client sends them, every later revision removed them.
    #[error("the body must be one JSON-RPC message, not a batch")]
    Batch,
    #[error("the body must be a JSON object")]
    NotAnObject,
    #[error("a member of the message stands there twice")]
    DuplicateMember,
    #[error("the member `jsonrpc` must be \"2.0\"")]
    Version,
    #[error("the id must be a string or an integer of at most {MAX_ID_BYTES} bytes")]
    Id,
    #[error("the member `method` must be a string")]
    Method,
    #[error("a message is either a request or a response")]
    Ambiguous,
}

#[derive(Deserialize)]
struct Shape<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    method: Option<&'a RawValue>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    error: Option<&'a RawValue>,
}

/// Tells a member that is `null` from one that is not there: `"id": null` is no notification.
fn present<'de, D: Deserializer<'de>>(value: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(value).map(Some)
}

impl<'a> Frame<'a> {
    pub(super) fn read(text: &'a str) -> Result<Self, NotAMessage> {
        let shape = Shape::read(text).map_err(|fault| NotAMessage { id: None, fault })?;
        let id = shape.id.map(|raw| RequestId::read(raw).ok_or(FrameFault::Id)).transpose();
        let known = id.as_ref().ok().cloned().flatten();
        shape.message(id).map_err(|fault| NotAMessage { id: known, fault })
    }
}

impl<'a> Shape<'a> {
    fn read(text: &'a str) -> Result<Self, FrameFault> {
        // Derived `Deserialize` would take an array for the struct's fields in order.
        let is_object = text.trim_ascii_start().starts_with('{');
        if is_object {
            return serde_json::from_str(text).map_err(|error| match error.classify() {
                serde_json::error::Category::Data => FrameFault::DuplicateMember,
                _ => FrameFault::NotJson,
            });
        }
        let value: &RawValue = serde_json::from_str(text).map_err(|_| FrameFault::NotJson)?;
        let is_batch = value.get().starts_with('[');
        Err(if is_batch { FrameFault::Batch } else { FrameFault::NotAnObject })
    }

    fn message(self, id: Result<Option<RequestId>, FrameFault>) -> Result<Frame<'a>, FrameFault> {
        if self.jsonrpc.and_then(raw::string).as_deref() != Some("2.0") {
            return Err(FrameFault::Version);
        }
        let answers = self.result.is_some() || self.error.is_some();
        let Some(method) = self.method else {
            return if answers { Ok(Frame::Response) } else { Err(FrameFault::Method) };
        };
        if answers {
            return Err(FrameFault::Ambiguous);
        }
        let method = raw::string(method).ok_or(FrameFault::Method)?;
        Ok(match id? {
            Some(id) => Frame::Request { id, method, params: self.params },
            None => Frame::Notification { method, params: self.params },
        })
    }
}

/// Every error number this gateway may send, and no other (basic, "Error Codes").
///
/// The last eight are Baton's own, outside the range JSON-RPC reserves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum ErrorCode {
    ParseError = -32700,
    InvalidRequest = -32600,
    MethodNotFound = -32601,
    InvalidParams = -32602,
    InternalError = -32603,
    HeaderMismatch = -32020,
    MissingRequiredClientCapability = -32021,
    UnsupportedProtocolVersion = -32022,
    KeyConflict = 40901,
    RateLimited = 42901,
    QuotaExceeded = 42902,
    OutcomeUnknown = 50201,
    Overloaded = 50301,
    WorkerUnreachable = 50302,
    DirectoryAway = 50303,
    DeadlineExceeded = 50401,
}

impl ErrorCode {
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

/// The same, as JSON to be put into other JSON.
pub(super) fn to_raw(value: &impl Serialize) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).expect("string keys and finite numbers always serialize")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn id_of(text: &str) -> Option<RequestId> {
        RequestId::read(serde_json::from_str(text).unwrap())
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

    fn check(text: &str, fault: FrameFault, id: Option<&str>) {
        let refused = Frame::read(text).unwrap_err();
        assert_eq!(refused.fault, fault, "{text}");
        assert_eq!(refused.id.as_ref().map(RequestId::as_json), id, "{text}");
    }

    // streamable-http, "Sending Messages" 4: the body MUST be a single request or notification.
    #[test]
    fn a_batch_is_no_message() {
        check("[]", FrameFault::Batch, None);
        check(r#" [{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, FrameFault::Batch, None);
        check(r#"["2.0",1,"ping"]"#, FrameFault::Batch, None);
        check("[1", FrameFault::NotJson, None);
    }

    #[test]
    fn what_is_not_an_object_is_no_message() {
        check("1", FrameFault::NotAnObject, None);
        check("null", FrameFault::NotAnObject, None);
        check("", FrameFault::NotJson, None);
        check("{", FrameFault::NotJson, None);
        check(r#"{"jsonrpc":"2.0"} x"#, FrameFault::NotJson, None);
    }

    #[test]
    fn an_id_twice_is_no_id() {
        check(
            r#"{"jsonrpc":"2.0","id":1,"\u0069d":2,"method":"ping"}"#,
            FrameFault::DuplicateMember,
            None,
        );
    }

    // basic, "Error Responses": MUST include the same ID, except where it could not be read.
    #[test]
    fn the_id_survives_whatever_else_is_wrong() {
        check(r#"{"id":7,"method":"ping"}"#, FrameFault::Version, Some("7"));
        check(r#"{"jsonrpc":"1.0","id":7,"method":"ping"}"#, FrameFault::Version, Some("7"));
        check(r#"{"jsonrpc":"2.0","id":"a","method":3}"#, FrameFault::Method, Some("\"a\""));
        check(r#"{"jsonrpc":"2.0","id":7}"#, FrameFault::Method, Some("7"));
        check(
            r#"{"jsonrpc":"2.0","id":7,"method":"ping","result":{}}"#,
            FrameFault::Ambiguous,
            Some("7"),
        );
    }

    #[test]
    fn a_null_id_is_a_fault_and_not_a_notification() {
        check(r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, FrameFault::Id, None);
        check(r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, FrameFault::Id, None);
    }

    #[test]
    fn the_three_messages_are_told_apart() {
        let read = |text| Frame::read(text).unwrap();
        let request = read(r#"{"method":"a\u002fb","id":1,"jsonrpc":"2.0","params":{"x":1}}"#);
        assert!(
            matches!(request, Frame::Request { method, params: Some(_), .. } if method == "a/b")
        );
        let notification = read(r#"{"jsonrpc":"2.0","method":"n","params":null,"extra":[]}"#);
        assert!(matches!(notification, Frame::Notification { params: None, .. }));
        assert!(matches!(read(r#"{"jsonrpc":"2.0","id":1,"result":null}"#), Frame::Response));
        assert!(matches!(read(r#"{"jsonrpc":"2.0","error":{}}"#), Frame::Response));
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
