//! `Mcp-Name` on the first line, the body's name on the rest. They agree if and only if the header says the name,
//! as it is or in the Base64 sentinel, by another reader's judgement.

#![no_main]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use baton::mcp::Envelope;
use http::header::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;

const BEFORE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}},"name":"#;

fuzz_target!(|data: &[u8]| {
    let Some(line) = data.iter().position(|byte| *byte == b'\n') else { return };
    let Ok(value) = HeaderValue::from_bytes(&data[..line]) else { return };
    let Ok(name) = str::from_utf8(&data[line + 1..]) else { return };
    let name_in_json = serde_json::to_string(name).expect("text is JSON");
    let body = [BEFORE, &name_in_json, "}}"].concat();
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    headers.insert("mcp-protocol-version", HeaderValue::from_static("2026-07-28"));
    headers.insert("mcp-method", HeaderValue::from_static("tools/call"));
    headers.insert("mcp-name", value);
    let agrees = Envelope::parse(&headers, &body.into()).is_ok();
    assert_eq!(agrees, says(&data[..line], name), "{:?}", String::from_utf8_lossy(data));
});

fn says(value: &[u8], name: &str) -> bool {
    // Spaces and tabs around a field value are not part of it (RFC 9110, 5.5); what is not visible ASCII must be encoded.
    let value = value.trim_ascii();
    if !value.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t')) {
        return false;
    }
    match value.strip_prefix(b"=?base64?").and_then(|rest| rest.strip_suffix(b"?=")) {
        Some(code) => STANDARD.decode(code).is_ok_and(|bytes| bytes == name.as_bytes()),
        None => value == name.as_bytes(),
    }
}
