//! `Idempotency-Key` on the first line, the member of `_meta` as JSON on the rest; an empty one is absent. A call has a
//! key if both that are there say the same usable one, by another reader's judgement.

#![no_main]

use baton::mcp::{Envelope, Incoming};
use http::header::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const BEFORE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}"#;

fuzz_target!(|data: &[u8]| {
    let Some(end) = data.iter().position(|byte| *byte == b'\n') else { return };
    let (header, member) = (data[..end].trim_ascii(), &data[end + 1..]);
    let Ok(value) = HeaderValue::from_bytes(header) else { return };
    let read = serde_json::from_slice::<Value>(member);
    // An object with a key twice is read by the other reader, and by neither is it a key.
    if !member.is_empty() && read.is_err() {
        return;
    }
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("content-type", "application/json"),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "echo"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let mut body = BEFORE.as_bytes().to_vec();
    if !member.is_empty() {
        body.extend(b",\"dev.baton/idempotencyKey\":");
        body.extend(member);
    }
    body.extend(b"}}}");
    if !header.is_empty() {
        headers.insert("idempotency-key", value);
    }
    let found = match Envelope::parse(&headers, &body.into()) {
        Ok(Incoming::Request(envelope)) => {
            Ok(envelope.meta().idempotency_key().map(|it| it.as_str().to_owned()))
        }
        _ => Err(()),
    };
    assert_eq!(found, expected(header, read.ok()));
});

fn expected(header: &[u8], member: Option<Value>) -> Result<Option<String>, ()> {
    let header = match str::from_utf8(header).map_err(|_| ())? {
        "" => None,
        text if text.len() >= 2 && text.starts_with('"') && text.ends_with('"') => {
            Some(&text[1..text.len() - 1])
        }
        text => Some(text),
    };
    let member = match member {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text),
        Some(_) => return Err(()),
    };
    let is_key = |text: &str| {
        let length = text.chars().count();
        1 <= length && length <= 255 && !text.chars().any(char::is_control)
    };
    let visible = header.is_none_or(|it| it.bytes().all(|byte| matches!(byte, b' '..=b'~')));
    if !visible || !header.is_none_or(is_key) || !member.as_deref().is_none_or(is_key) {
        return Err(());
    }
    match (header, member) {
        (Some(header), Some(member)) if header != member => Err(()),
        (header, member) => Ok(header.map(str::to_owned).or(member)),
    }
}
