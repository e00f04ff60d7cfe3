//! How a request is put to a modern upstream: everything is in the request (streamable-http, "Standard Request
//! Headers").

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::mcp::{MODERN_VERSION, Method, Object, encode_header, render_rewritten};
use crate::rpc::client::TraceHeaders;

const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");

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
    params: &Object<'_>,
    mirrored: impl Iterator<Item = (HeaderName, HeaderValue)>,
    trace: &TraceHeaders,
) -> Post {
    let mut headers = HeaderMap::with_capacity(12);
    headers.insert(PROTOCOL_VERSION, HeaderValue::from_static(MODERN_VERSION));
    headers.insert(METHOD, HeaderValue::from_static(method.as_str()));
    if let Some(name) = name.filter(|_| method.name_source().is_some()) {
        headers.insert(NAME, encode_header(name));
    }
    headers.extend(mirrored);
    plain(&mut headers, trace);
    Post { headers, body: render_rewritten(&number.into(), method.as_str(), params).into() }
}

/// What every POST of either era carries.
pub(super) fn plain(headers: &mut HeaderMap, trace: &TraceHeaders) {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    trace.write(headers);
}
