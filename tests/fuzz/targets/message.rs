//! The body of an upstream's answer. What is read is one message by another reader's judgement too, and passed on it
//! is the same.

#![no_main]

use baton::mcp::{
    JsonBuf, Message, render_notification, render_raw_error, render_request, render_response,
};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let Ok(message) = Message::read(&Bytes::copy_from_slice(data)) else { return };
    let rendered = match &message {
        Message::Response { id, outcome: Ok(result) } => {
            render_response(id.as_ref().expect("a result has its id"), result.json())
        }
        Message::Response { id, outcome: Err(error) } => {
            render_raw_error(id.as_ref(), error.raw.json())
        }
        Message::Request { id, method, params } => {
            render_request(id, method, params.as_ref().map(JsonBuf::json))
        }
        Message::Notification { method, params } => {
            render_notification(method, params.as_ref().map(JsonBuf::json))
        }
    };
    assert!(Message::read(&rendered.clone().into()).is_ok(), "what is rendered is a message");
    // Text with half a surrogate or a number beyond a double is passed on; this reader takes neither.
    let (Ok(sent), Ok(passed)) =
        (serde_json::from_slice::<Value>(data), serde_json::from_slice::<Value>(&rendered))
    else {
        return;
    };
    assert_eq!(passed["jsonrpc"], "2.0");
    // What an answer has beside its id and its outcome means nothing, and goes no further.
    let meant: &[&str] = match &message {
        Message::Response { .. } => &["id", "result", "error"],
        Message::Request { .. } | Message::Notification { .. } => &["id", "method", "params"],
    };
    for key in meant {
        let was_null = sent[key].is_null();
        assert!(was_null && passed[key].is_null() || passed[key] == sent[key], "{key}");
    }
});
