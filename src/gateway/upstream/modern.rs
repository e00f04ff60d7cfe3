//! How a request is put to a modern upstream: everything is in the request (streamable-http, "Standard Request
//! Headers").

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::value::RawValue;

use crate::mcp::{MODERN_VERSION, Method, render_request};
use crate::rpc::client::TraceHeaders;

/// A request that may be sent to any endpoint of an upstream.
#[derive(Clone, Debug)]
pub(super) struct Post {
    /// The headers that MCP asks for.
    pub headers: HeaderMap,
    /// The message.
    pub body: Bytes,
}

/// A request as a modern upstream reads it.
pub(super) fn post(
    number: u64,
    method: Method,
    name: Option<&str>,
    params: &RawValue,
    mirrored: impl Iterator<Item = (HeaderName, HeaderValue)>,
    trace: &TraceHeaders,
) -> Post {
    let mut headers = HeaderMap::with_capacity(12);
    headers.insert("mcp-protocol-version", HeaderValue::from_static(MODERN_VERSION));
    headers.insert("mcp-method", HeaderValue::from_static(method.as_str()));
    if let Some(name) = name.filter(|_| method.name_source().is_some()) {
        headers.insert("mcp-name", encoded(name));
    }
    headers.extend(mirrored);
    plain(&mut headers, trace);
    Post { headers, body: render_request(&number.into(), method.as_str(), Some(params)).into() }
}

/// What every POST of either era carries.
pub(super) fn plain(headers: &mut HeaderMap, trace: &TraceHeaders) {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    for (key, value) in trace.members() {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(key, value);
        }
    }
}

/// A value as a header carries it: in Base64 where it is not plain, or could pass for Base64 (streamable-http, "Value
/// Encoding").
fn encoded(text: &str) -> HeaderValue {
    let visible = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    let padded = text.starts_with(' ') || text.ends_with(' ');
    let sentinel = text.starts_with("=?base64?") && text.ends_with("?=");
    let plain = visible && !padded && !sentinel && !text.is_empty();
    let value =
        if plain { text.to_owned() } else { format!("=?base64?{}?=", STANDARD.encode(text)) };
    HeaderValue::from_str(&value).expect("Base64 and visible ASCII are header values")
}

#[cfg(test)]
mod tests {
    use super::*;

    // streamable-http, "Value Encoding".
    #[test]
    fn what_is_not_plain_is_encoded() {
        let check = |text: &str, header: &str| assert_eq!(encoded(text), header, "{text:?}");
        check("echo", "echo");
        check("a b", "a b");
        check(" a", "=?base64?IGE=?=");
        check("ü", "=?base64?w7w=?=");
        check("a\tb", "=?base64?YQli?=");
        check("=?base64?YQ==?=", "=?base64?PT9iYXNlNjQ/WVE9PT89?=");
        check("=?base64?half", "=?base64?half");
        check("", "=?base64??=");
    }
}
