//! What kind of message a body is, before anyone judges its params (basic, "Messages").

use std::borrow::Cow;

use super::json::Json;
use super::jsonrpc::{MAX_ID_BYTES, RequestId};
use super::lex::NotJson;
use super::params::Unjudged;
use super::scan::Scan;
use super::strict::NotStrict;

/// One message, its params taken apart and not yet judged.
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

/// The members of a message that mean something, unread but for the params.
#[derive(Default)]
struct Shape<'a> {
    jsonrpc: Option<Json<'a>>,
    id: Option<Json<'a>>,
    method: Option<Json<'a>>,
    params: Option<Unjudged<'a>>,
    result: Option<Json<'a>>,
    error: Option<Json<'a>>,
}

impl From<NotJson> for FrameFault {
    fn from(NotJson: NotJson) -> Self {
        Self::NotJson
    }
}

impl<'a> Frame<'a> {
    /// Reads a body; and whether all of it is strict.
    pub(super) fn read(text: &'a str) -> Result<(Self, Result<(), NotStrict>), BadFrame> {
        let mut scan = Scan::new(text);
        let shape = Shape::read(&mut scan).map_err(|fault| BadFrame { id: None, fault })?;
        let id = shape.id.map(|json| RequestId::read(json).ok_or(FrameFault::Id)).transpose();
        let frame = match (shape.asks(), id) {
            (Ok(None), _) => Self::Response,
            (Ok(Some(method)), Ok(Some(id))) => {
                Self::Request { id, method, params: shape.params.unwrap_or_default() }
            }
            (Ok(Some(method)), Ok(None)) => {
                Self::Notification { method, params: shape.params.unwrap_or_default() }
            }
            (Ok(Some(_)), Err(fault)) => return Err(BadFrame { id: None, fault }),
            (Err(fault), id) => return Err(BadFrame { id: id.ok().flatten(), fault }),
        };
        Ok((frame, scan.verdict()))
    }
}

impl Frame<'_> {
    /// The id alone, for an answer that is decided before the body is looked at.
    pub(super) fn id(body: &[u8]) -> Option<RequestId> {
        let text = str::from_utf8(body).ok()?;
        Shape::read(&mut Scan::new(text)).ok()?.id.and_then(RequestId::read)
    }
}

impl<'a> Shape<'a> {
    fn read(scan: &mut Scan<'a>) -> Result<Self, FrameFault> {
        let mut shape = Self::default();
        match scan.peek() {
            Some(b'{') => drop(scan.object(|scan, key| shape.member(scan, key))?),
            first => {
                scan.value().and_then(|_| scan.end())?;
                let is_batch = first == Some(b'[');
                return Err(if is_batch { FrameFault::Batch } else { FrameFault::NotAnObject });
            }
        }
        scan.end()?;
        Ok(shape)
    }

    /// Reads the value that comes next, as that of this key. A member that is `null` is not one that is not there:
    /// `"id": null` is no notification.
    fn member(&mut self, scan: &mut Scan<'a>, key: &str) -> Result<(), FrameFault> {
        let member = match key {
            "params" => {
                let before = self.params.replace(Unjudged::read(scan)?);
                return before.map_or(Ok(()), |_| Err(FrameFault::DuplicateMember));
            }
            "jsonrpc" => &mut self.jsonrpc,
            "id" => &mut self.id,
            "method" => &mut self.method,
            "result" => &mut self.result,
            "error" => &mut self.error,
            _ => return Ok(scan.value().map(drop)?),
        };
        if member.is_some() {
            return Err(FrameFault::DuplicateMember);
        }
        *member = Some(scan.value()?);
        Ok(())
    }

    /// The method; `None` of a response.
    fn asks(&self) -> Result<Option<Cow<'a, str>>, FrameFault> {
        if self.jsonrpc.and_then(Json::string).as_deref() != Some("2.0") {
            return Err(FrameFault::Version);
        }
        let answers = self.result.is_some() || self.error.is_some();
        match self.method {
            None if answers => Ok(None),
            None => Err(FrameFault::Method),
            Some(_) if answers => Err(FrameFault::Ambiguous),
            Some(method) => method.string().ok_or(FrameFault::Method).map(Some),
        }
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
        let read = |text| Frame::read(text).unwrap().0;
        let request = read(r#"{"method":"a\u002fb","id":1,"jsonrpc":"2.0","params":{"x":1}}"#);
        assert!(
            matches!(request, Frame::Request { method, params: Unjudged::Members(..), .. } if method == "a/b")
        );
        let notification = read(r#"{"jsonrpc":"2.0","method":"n","params":null,"extra":[]}"#);
        assert!(matches!(notification, Frame::Notification { params: Unjudged::Absent, .. }));
        assert!(matches!(read(r#"{"jsonrpc":"2.0","id":1,"result":null}"#), Frame::Response));
        assert!(matches!(read(r#"{"jsonrpc":"2.0","error":{}}"#), Frame::Response));
    }
}
