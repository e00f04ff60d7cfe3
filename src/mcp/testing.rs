//! Posts for the tests of this layer.

use http::header::{HeaderMap, HeaderName, HeaderValue};

use proptest::prelude::*;

use super::envelope::{Envelope, Incoming};
use super::rejection::Rejection;

/// What every modern request has to have.
pub(super) const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

/// The headers of a modern `tools/list`.
pub(super) const LIST: [(&str, &str); 2] =
    [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/list")];

/// The body of a modern `tools/list` with more members in its `_meta`.
pub(super) fn list(more: &str) -> String {
    let meta = META.replacen('{', &format!("{{{more},"), 1);
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{{meta}}}}}"#)
}

pub(super) fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

/// Posts JSON with these headers.
pub(super) fn post(pairs: &[(&str, &str)], body: &str) -> Result<Incoming, Rejection> {
    let mut headers = headers(pairs);
    headers.append("content-type", HeaderValue::from_static("application/json"));
    Envelope::parse(&headers, &body.to_owned().into())
}

/// Posts what must be a request.
pub(super) fn request(pairs: &[(&str, &str)], body: &str) -> Envelope {
    match post(pairs, body) {
        Ok(Incoming::Request(envelope)) => envelope,
        other => panic!("{body} gave {other:?}"),
    }
}

/// A modern `tools/call` of `echo`, with more headers and these arguments.
pub(super) fn call(more: &[(&str, &str)], arguments: &str) -> Envelope {
    let mut pairs = vec![
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "echo"),
    ];
    pairs.extend_from_slice(more);
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"echo","arguments":{arguments},{META}}}}}"#
    );
    request(&pairs, &body)
}

pub(super) fn any_name() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("content-type".to_owned()),
        Just("mcp-protocol-version".to_owned()),
        Just("mcp-method".to_owned()),
        Just("mcp-name".to_owned()),
        Just("accept".to_owned()),
        Just("idempotency-key".to_owned()),
        "mcp-param-[a-z]{0,3}",
        "[a-z-]{1,12}",
    ]
}

pub(super) fn any_value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => Just(b"application/json".to_vec()),
        2 => Just(b"2026-07-28".to_vec()),
        1 => Just(b"tools/call".to_vec()),
        1 => "=\\?base64\\?[A-Za-z0-9+/=]{0,8}\\?=".prop_map(String::into_bytes),
        2 => proptest::collection::vec(any::<u8>(), 0..24),
    ]
}

pub(super) fn any_body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        r#"[\[\]{}",:0-9a-z\\ ]{0,80}"#.prop_map(String::into_bytes),
        r#"[\[\]{}",:0-9a-z\\ ]{0,60}"#.prop_map(|middle| {
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{middle}}}"#)
                .into_bytes()
        }),
        r#"[\[\]{}",:0-9a-z\\ ]{0,60}"#.prop_map(|middle| {
            let params = format!(r#"{META},"name":"a","arguments":{middle}"#);
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{{params}}}}}"#)
                .into_bytes()
        }),
    ]
}
