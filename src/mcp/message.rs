//! What an upstream says, and what is said to it: JSON-RPC messages whose params and results stay raw text.

use bytes::Bytes;
use serde::de::IgnoredAny;

use super::json::{Json, JsonBuf, Text, quote};
use super::jsonrpc::RequestId;
use super::object::Object;
use super::pieces::Pieces;
use super::strict::{self, MAX_DEPTH};

/// One message of an upstream (basic, "Messages"). Its params, if it has any, and its result are objects.
#[derive(Debug)]
pub enum Message {
    /// Only an error may lack the id: it is then about a request whose id its sender could not read.
    Response { id: Option<RequestId>, outcome: Result<JsonBuf, RawError> },
    /// Only upstreams of the legacy era ask.
    Request { id: RequestId, method: String, params: Option<JsonBuf> },
    /// Nobody waits for an answer.
    Notification { method: String, params: Option<JsonBuf> },
}

/// An error as its sender wrote it.
#[derive(Debug, Clone)]
pub struct RawError {
    /// What kind it is.
    pub code: i64,
    /// One sentence about it.
    pub message: String,
    /// The whole error object, to be passed on to the letter.
    pub raw: JsonBuf,
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
    pub fn read(body: &Bytes) -> Result<Self, NotAMessage> {
        let text = Text::of(body).ok_or(NotAMessage::NotJson)?;
        let message = Object::parse(text.get()).ok_or_else(|| no_object(text.get()))?;
        if message.text("jsonrpc").as_deref() != Some("2.0") {
            return Err(NotAMessage::Version);
        }
        match (message.get("method"), message.get("result"), message.get("error")) {
            (Some(method), None, None) => Self::call(&text, &message, method),
            (None, Some(result), None) => {
                let id = message.get("id").and_then(RequestId::read).ok_or(NotAMessage::Id)?;
                if !result.is_object() {
                    return Err(NotAMessage::Result);
                }
                Ok(Self::Response { id: Some(id), outcome: Ok(text.part(result)) })
            }
            (None, None, Some(error)) => {
                let id = message.get("id").filter(|id| !id.is_null());
                let id = id.map(|id| RequestId::read(id).ok_or(NotAMessage::Id)).transpose()?;
                Ok(Self::Response { id, outcome: Err(RawError::read(text.part(error))?) })
            }
            _ => Err(NotAMessage::Kind),
        }
    }

    fn call(text: &Text, message: &Object<'_>, method: Json<'_>) -> Result<Self, NotAMessage> {
        let method = method.string().ok_or(NotAMessage::Method)?.into_owned();
        let params = message.get("params").filter(|params| !params.is_null());
        if params.is_some_and(|params| !params.is_object()) {
            return Err(NotAMessage::Params);
        }
        let params = params.map(|params| text.part(params));
        Ok(match message.get("id") {
            // basic, "Requests": the id MUST NOT be null.
            Some(id) => {
                Self::Request { id: RequestId::read(id).ok_or(NotAMessage::Id)?, method, params }
            }
            None => Self::Notification { method, params },
        })
    }
}

/// Why a text is no object that can be read.
fn no_object(text: &str) -> NotAMessage {
    match serde_json::from_str::<IgnoredAny>(text) {
        Err(_) => NotAMessage::NotJson,
        Ok(_) if !strict::is_shallow(Json::checked(text)) => NotAMessage::TooDeep,
        Ok(_) => NotAMessage::NotAnObject,
    }
}

impl RawError {
    fn read(raw: JsonBuf) -> Result<Self, NotAMessage> {
        let error = Object::read(&raw).ok_or(NotAMessage::Error)?;
        let code = error.get("code").and_then(|code| code.get().parse().ok());
        let message = error.text("message").map(String::from);
        let (code, message) = code.zip(message).ok_or(NotAMessage::Error)?;
        Ok(Self { code, message, raw })
    }
}

/// A request of ours to an upstream.
pub fn render_request(id: &RequestId, method: &str, params: Option<Json<'_>>) -> Vec<u8> {
    call(Some(id), method, params)
}

/// The same with params that were rewritten for it.
pub fn render_rewritten(id: &RequestId, method: &str, params: &Object<'_>) -> Vec<u8> {
    let mut message = begin(Some(id), method.len() + params.size());
    member("method", &mut message);
    quote(method, &mut message);
    member("params", &mut message);
    params.write(&mut message);
    end(message)
}

/// A notification, to an upstream or passed on from one.
pub fn render_notification(method: &str, params: Option<Json<'_>>) -> Vec<u8> {
    call(None, method, params)
}

/// A result that is passed on to an upstream of the legacy era.
pub fn render_response(id: &RequestId, result: Json<'_>) -> Vec<u8> {
    let mut message = begin(Some(id), result.get().len());
    member("result", &mut message);
    message.push_str(result.get());
    end(message)
}

/// A result that is passed on to the client that asked.
pub fn pass_on_response(id: &RequestId, result: Pieces) -> Pieces {
    let mut message = begin(Some(id), 0);
    member("result", &mut message);
    result.between(message, "}")
}

/// An error that is passed on, code, message, data and all.
pub fn render_raw_error(id: Option<&RequestId>, error: Json<'_>) -> Vec<u8> {
    let mut message = begin(id, error.get().len());
    member("error", &mut message);
    message.push_str(error.get());
    end(message)
}

fn call(id: Option<&RequestId>, method: &str, params: Option<Json<'_>>) -> Vec<u8> {
    let mut message = begin(id, method.len() + params.map_or(0, |it| it.get().len()));
    member("method", &mut message);
    quote(method, &mut message);
    if let Some(params) = params {
        member("params", &mut message);
        message.push_str(params.get());
    }
    end(message)
}

/// The beginning of a message that carries so many bytes.
fn begin(id: Option<&RequestId>, bytes: usize) -> String {
    /// As many as stand around an id, a method and its params.
    const FRAME_BYTES: usize = r#"{"jsonrpc":"2.0","id":,"method":"","params":}"#.len();
    let id = id.map(RequestId::as_json);
    let mut message = String::with_capacity(FRAME_BYTES + id.map_or(0, str::len) + bytes);
    message.push_str(r#"{"jsonrpc":"2.0""#);
    if let Some(id) = id {
        member("id", &mut message);
        message.push_str(id);
    }
    message
}

fn member(key: &str, message: &mut String) {
    message.extend([",\"", key, "\":"]);
}

fn end(mut message: String) -> Vec<u8> {
    message.push('}');
    message.into_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(text: &str) -> Result<Message, NotAMessage> {
        Message::read(&text.to_owned().into())
    }

    fn read(text: &str) -> Message {
        message(text).unwrap_or_else(|fault| panic!("{text}: {fault}"))
    }

    fn refuses(text: &str, fault: NotAMessage) {
        assert_eq!(message(text).err(), Some(fault), "{text}");
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
        assert_eq!(Message::read(&Bytes::from_static(b"\"\xff\"")).err(), Some(NotJson));
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
        let params = Json::checked(r#"{"a": 1}"#);
        assert_eq!(
            render_request(&id, "tools/call", Some(params)),
            br#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"a": 1}}"#
        );
        assert_eq!(render_notification("a", None), br#"{"jsonrpc":"2.0","method":"a"}"#);
        assert_eq!(render_response(&id, params), br#"{"jsonrpc":"2.0","id":7,"result":{"a": 1}}"#);
        let error = Json::checked(r#"{"code":1, "message":""}"#);
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
            let read = message(&result);
            prop_assert!(read.is_err() || serde_json::from_str::<serde_json::Value>(&result).is_ok());
            prop_assert!(Message::read(&bytes.into()).is_err());
        }
    }
}
