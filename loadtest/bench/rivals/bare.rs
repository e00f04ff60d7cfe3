//! An MCP server whose tools do nothing but answer, as quickly as can be.

use std::future::ready;
use std::iter;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::value::RawValue;

const BODY_BYTES: usize = 4 << 20;
const DISCOVERED: &str = r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"ttlMs":60000,"cacheScope":"public"}"#;
const CALLED: &str = r#"{"resultType":"complete","content":[{"type":"text","text":"ok"}]}"#;

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
}

/// With so many tools: `echo`, `echo_2` and so on.
pub(crate) fn router(tools: usize) -> Router {
    let others = (2..=tools).map(|number| tool(&format!("echo_{number}")));
    let tools: Vec<String> = iter::once(tool("echo")).chain(others).collect();
    let listed: Arc<str> = format!(
        r#"{{"resultType":"complete","tools":[{}],"ttlMs":60000,"cacheScope":"public"}}"#,
        tools.join(",")
    )
    .into();
    let answer = move |headers: HeaderMap, body: Bytes| ready(answer(&listed, &headers, &body));
    Router::new().fallback(answer).layer(DefaultBodyLimit::max(BODY_BYTES))
}

fn tool(name: &str) -> String {
    format!(
        r#"{{"name":"{name}","description":"Answers.","inputSchema":{{"type":"object","properties":{{"text":{{"type":"string"}}}}}}}}"#
    )
}

fn answer(listed: &str, headers: &HeaderMap, body: &[u8]) -> Response {
    let Ok(Envelope { id }) = serde_json::from_slice(body) else { return "?".into_response() };
    let result = match headers.get("mcp-method").map(HeaderValue::as_bytes) {
        Some(b"tools/call") => CALLED,
        Some(b"tools/list") => listed,
        _ => DISCOVERED,
    };
    let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#);
    ([(CONTENT_TYPE, "application/json")], text).into_response()
}
