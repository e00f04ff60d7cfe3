//! What an upstream says, and what is said to it: JSON-RPC messages whose params and results stay raw text.

use serde::Serialize;
use serde_json::value::RawValue;

use super::json::Json;
use super::jsonrpc::{RequestId, to_json, to_json_of};
use super::object::Object;
use super::raw;
use super::strict::{self, MAX_DEPTH};

/// One message of an upstream (basic, "Messages"). Its params, if it has any, and its result are objects.
#[derive(Debug)]
pub enum Message {
    /// Only an error may lack the id: it is then about a request whose id its sender could not read.
    Response { id: Option<RequestId>, outcome: Result<Box<RawValue>, RawError> },
    /// Only upstreams of the legacy era ask.
    Request { id: RequestId, method: String, params: Option<Box<RawValue>> },
    /// Nobody waits for an answer.
    Notification { method: String, params: Option<Box<RawValue>> },
}

/// An error as its sender wrote it.
#[derive(Debug, Clone)]
pub struct RawError {
    /// What kind it is.
    pub code: i64,
    /// One sentence about it.
    pub message: String,
    /// The whole error object, to be passed on to the letter.
    pub raw: Box<RawValue>,
}

/// Why bytes of an upstream are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAMessage {
    #[error("it is not JSON in UTF-8")]
    NotJson,
    #[error("it nests more than {MAX_DEPTH} levels deep")]
    TooDeep,
    #[error("it is no JSON object, or has a key twice")]
    NotAnObject,
    #[error("its member `jsonrpc` is not \"2.0\"")]
    Version,
    #[error("its id is missing, or is no string or integer of a bearable length")]
    Id,
    #[error("its method is not a string")]
    Method,
    #[error("its params are not an object")]
    Params,
    #[error("its result is not an object")]
    Result,
    #[error("its error has no integer code or no message")]
    Error,
    #[error("it is not exactly one of request, notification, result and error")]
    Kind,
}

impl Message {
    /// Reads the body of an answer, or the data of an event.
    pub fn read(bytes: &[u8]) -> Result<Self, NotAMessage> {
        let text = str::from_utf8(bytes).map_err(|_| NotAMessage::NotJson)?;
        let message = Object::parse(text).ok_or_else(|| no_object(text))?;
        if !strict::is_shallow(Json::checked(text)) {
            return Err(NotAMessage::TooDeep);
        }
        if message.text("jsonrpc").as_deref() != Some("2.0") {
            return Err(NotAMessage::Version);
        }
        match (message.get("method"), message.get("result"), message.get("error")) {
            (Some(method), None, None) => Self::call(&message, method),
            (None, Some(result), None) => {
                let id = message
                    .get("id")
                    .map(Json::from)
                    .and_then(RequestId::read)
                    .ok_or(NotAMessage::Id)?;
                let result = raw::is_object(result).then(|| result.to_owned());
                Ok(Self::Response { id: Some(id), outcome: Ok(result.ok_or(NotAMessage::Result)?) })
            }
            (None, None, Some(error)) => {
                let id = message.get("id").filter(|id| !raw::is_null(id));
                let id =
                    id.map(|id| RequestId::read(id.into()).ok_or(NotAMessage::Id)).transpose()?;
                Ok(Self::Response { id, outcome: Err(RawError::read(error)?) })
            }
            _ => Err(NotAMessage::Kind),
        }
    }

    fn call(message: &Object<'_>, method: &RawValue) -> Result<Self, NotAMessage> {
        let method = raw::string(method).ok_or(NotAMessage::Method)?.into_owned();
        let params = message.get("params").filter(|params| !raw::is_null(params));
        if params.is_some_and(|params| !raw::is_object(params)) {
            return Err(NotAMessage::Params);
        }
        let params = params.map(ToOwned::to_owned);
        Ok(match message.get("id") {
            // basic, "Requests": the id MUST NOT be null.
            Some(id) => Self::Request {
                id: RequestId::read(id.into()).ok_or(NotAMessage::Id)?,
                method,
                params,
            },
            None => Self::Notification { method, params },
        })
    }
}

/// Why a text is no object that can be read.
fn no_object(text: &str) -> NotAMessage {
    match serde_json::from_str::<&RawValue>(text) {
        Err(_) => NotAMessage::NotJson,
        Ok(raw) if !strict::is_shallow(raw.into()) => NotAMessage::TooDeep,
        Ok(_) => NotAMessage::NotAnObject,
    }
}

impl RawError {
    fn read(raw: &RawValue) -> Result<Self, NotAMessage> {
        let error = Object::read(raw).ok_or(NotAMessage::Error)?;
        let code = error.get("code").and_then(|code| code.get().parse().ok());
        let message = error.text("message").map(String::from);
        let (code, message) = code.zip(message).ok_or(NotAMessage::Error)?;
        Ok(Self { code, message, raw: raw.to_owned() })
    }
}

/// More bytes than a message has besides what it carries, but for a long id.
const FRAME_BYTES: usize = 128;

#[derive(Serialize)]
struct Call<'a, P: ?Sized> {
    jsonrpc: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a RequestId>,
    method: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<&'a P>,
}

/// A request of ours to an upstream.
pub fn render_request(id: &RequestId, method: &str, params: Option<&RawValue>) -> Vec<u8> {
    to_json(&Call { jsonrpc: "2.0", id: Some(id), method, params })
}

/// The same with params that were rewritten for it.
pub fn render_rewritten(id: &RequestId, method: &str, params: &Object<'_>) -> Vec<u8> {
    let call = Call { jsonrpc: "2.0", id: Some(id), method, params: Some(params) };
    to_json_of(params.size() + FRAME_BYTES, &call)
}

/// A notification, to an upstream or passed on from one.
pub fn render_notification(method: &str, params: Option<&RawValue>) -> Vec<u8> {
    to_json(&Call { jsonrpc: "2.0", id: None, method, params })
}

/// A result that is passed on, to the client that asked or to an upstream of the legacy era.
pub fn render_response(id: &RequestId, result: &RawValue) -> Vec<u8> {
    #[derive(Serialize)]
    struct Response<'a> {
        jsonrpc: &'static str,
        id: &'a RequestId,
        result: &'a RawValue,
    }
    to_json_of(result.get().len() + FRAME_BYTES, &Response { jsonrpc: "2.0", id, result })
}

/// An error that is passed on, code, message, data and all.
pub fn render_raw_error(id: Option<&RequestId>, error: &RawValue) -> Vec<u8> {
    #[derive(Serialize)]
    struct Response<'a> {
        jsonrpc: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a RequestId>,
        error: &'a RawValue,
    }
    to_json(&Response { jsonrpc: "2.0", id, error })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn raw(text: &str) -> &RawValue {
        serde_json::from_str(text).unwrap()
    }

    fn read(text: &str) -> Message {
        Message::read(text.as_bytes()).unwrap_or_else(|fault| panic!("{text}: {fault}"))
    }

    fn refuses(text: &str, fault: NotAMessage) {
        assert_eq!(Message::read(text.as_bytes()).err(), Some(fault), "{text}");
    }

    // basic, "Result Responses".
    #[test]
    fn a_result_keeps_its_id_and_its_text() {
        let message =
            read(r#" {"result":{ "a":1.50 },"id":9007199254740993,"jsonrpc":"2.0","x":1}"#);
        let Message::Response { id: Some(id), outcome: Ok(result) } = message else { panic!() };
        assert_eq!((id.as_json(), result.get()), ("9007199254740993", r#"{ "a":1.50 }"#));
    }

    // basic, "Error Responses": without an id where it could not be read; older servers send null.
    #[test]
    fn an_error_may_lack_its_id() {
        let error = r#"{"code":-32000,"message":"no\n","data":[1],"x":null}"#;
        for (id, read_as) in [("", None), (r#""id":null,"#, None), (r#""id":"a","#, Some("\"a\""))]
        {
            let message = read(&format!(r#"{{"jsonrpc":"2.0",{id}"error":{error}}}"#));
            let Message::Response { id, outcome: Err(refused) } = message else { panic!() };
            assert_eq!(id.as_ref().map(RequestId::as_json), read_as);
            assert_eq!((refused.code, refused.message.as_str()), (-32000, "no\n"));
            assert_eq!(refused.raw.get(), error);
        }
    }

    #[test]
    fn requests_and_notifications_are_told_apart() {
        let request = read(r#"{"jsonrpc":"2.0","id":0,"method":"ping","params":null}"#);
        assert!(
            matches!(request, Message::Request { method, params: None, .. } if method == "ping")
        );
        let told = read(r#"{"jsonrpc":"2.0","method":"a\u002fb","params":{"x": 1}}"#);
        let Message::Notification { method, params: Some(params) } = told else { panic!() };
        assert_eq!((method.as_str(), params.get()), ("a/b", r#"{"x": 1}"#));
    }

    #[test]
    fn what_is_no_message_is_refused() {
        use NotAMessage::{Error, Id, Kind, Method, NotAnObject, NotJson, Params, Result, Version};
        refuses("", NotJson);
        refuses("{} {}", NotJson);
        assert_eq!(Message::read(b"\"\xff\"").err(), Some(NotJson));
        refuses("[]", NotAnObject);
        refuses(r#"{"jsonrpc":"2.0","id":1,"\u0069d":2,"result":{}}"#, NotAnObject);
        refuses(r#"{"id":1,"result":{}}"#, Version);
        refuses(r#"{"jsonrpc":"2.0","result":{}}"#, Id);
        refuses(r#"{"jsonrpc":"2.0","id":null,"result":{}}"#, Id);
        refuses(r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, Id);
        refuses(r#"{"jsonrpc":"2.0","id":1.5,"error":{"code":1,"message":""}}"#, Id);
        refuses(r#"{"jsonrpc":"2.0","id":1,"method":7}"#, Method);
        refuses(r#"{"jsonrpc":"2.0","id":1,"method":"a","params":[]}"#, Params);
        refuses(r#"{"jsonrpc":"2.0","id":1,"result":null}"#, Result);
        refuses(r#"{"jsonrpc":"2.0","id":1,"error":{"code":"1","message":""}}"#, Error);
        refuses(r#"{"jsonrpc":"2.0","id":1,"error":{"code":1}}"#, Error);
        refuses(r#"{"jsonrpc":"2.0","id":1}"#, Kind);
        refuses(r#"{"jsonrpc":"2.0","id":1,"method":"a","result":{}}"#, Kind);
        refuses(r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":""}}"#, Kind);
    }

    #[test]
    fn depth_has_a_bound_and_brackets_in_text_are_no_depth() {
        let nested = |levels: usize| {
            let value = "[".repeat(levels) + &"]".repeat(levels);
            format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"a":{value}}}}}"#)
        };
        read(&nested(MAX_DEPTH - 2));
        refuses(&nested(MAX_DEPTH - 1), NotAMessage::TooDeep);
        refuses(&nested(100_000), NotAMessage::TooDeep);
        let text = "[".repeat(1000);
        read(&format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"a":"\"{text}\\"}}}}"#));
    }

    #[test]
    fn what_is_rendered_reads_back_to_the_letter() {
        let id = RequestId::from(7);
        let params = raw(r#"{"a": 1}"#);
        assert_eq!(
            render_request(&id, "tools/call", Some(params)),
            br#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"a": 1}}"#
        );
        assert_eq!(render_notification("a", None), br#"{"jsonrpc":"2.0","method":"a"}"#);
        assert_eq!(render_response(&id, params), br#"{"jsonrpc":"2.0","id":7,"result":{"a": 1}}"#);
        let error = raw(r#"{"code":1, "message":""}"#);
        assert_eq!(
            render_raw_error(Some(&id), error),
            br#"{"jsonrpc":"2.0","id":7,"error":{"code":1, "message":""}}"#
        );
        assert_eq!(
            render_raw_error(None, error),
            br#"{"jsonrpc":"2.0","error":{"code":1, "message":""}}"#
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered_without_panic(
            middle in "[\\[\\]{}\",:0-9a-z\\\\ ]{0,60}",
            bytes in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let result = format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{{{middle}}}}}");
            let read = Message::read(result.as_bytes());
            prop_assert!(read.is_err() || serde_json::from_str::<serde_json::Value>(&result).is_ok());
            prop_assert!(Message::read(&bytes).is_err());
        }
    }
}
