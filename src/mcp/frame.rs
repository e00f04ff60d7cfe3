//! What kind of message a body is, before anyone looks into its params (basic, "Messages").

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::jsonrpc::{MAX_ID_BYTES, RequestId};
use super::params::Unjudged;
use super::raw;

/// One message, its params unread but for their keys.
#[derive(Debug)]
pub(super) enum Frame<'a> {
    Request { id: RequestId, method: Cow<'a, str>, params: Unjudged<'a> },
    Notification { method: Cow<'a, str>, params: Unjudged<'a> },
    Response,
}

/// Why a body is no message; with the id, wherever it could be read.
#[derive(Debug)]
pub(super) struct BadFrame {
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
    #[serde(borrow, default)]
    params: Unjudged<'a>,
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
    pub(super) fn read(text: &'a str) -> Result<Self, BadFrame> {
        let shape = Shape::read(text).map_err(|fault| BadFrame { id: None, fault })?;
        let id = shape.id.map(|raw| RequestId::read(raw).ok_or(FrameFault::Id)).transpose();
        let known = id.as_ref().ok().cloned().flatten();
        shape.message(id).map_err(|fault| BadFrame { id: known, fault })
    }
}

impl Frame<'_> {
    /// The id alone, for an answer that is decided before the body is looked at.
    pub(super) fn id(body: &[u8]) -> Option<RequestId> {
        let text = str::from_utf8(body).ok()?;
        Shape::read(text).ok()?.id.and_then(RequestId::read)
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

#[cfg(test)]
mod tests {
    use super::*;

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
            matches!(request, Frame::Request { method, params: Unjudged::Members(_), .. } if method == "a/b")
        );
        let notification = read(r#"{"jsonrpc":"2.0","method":"n","params":null,"extra":[]}"#);
        assert!(matches!(notification, Frame::Notification { params: Unjudged::Absent, .. }));
        assert!(matches!(read(r#"{"jsonrpc":"2.0","id":1,"result":null}"#), Frame::Response));
        assert!(matches!(read(r#"{"jsonrpc":"2.0","error":{}}"#), Frame::Response));
    }
}
