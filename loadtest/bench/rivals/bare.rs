//! An MCP server of one tool that does nothing but answer, as quickly as can be.

use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::value::RawValue;

const DISCOVERED: &str = r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"ttlMs":60000,"cacheScope":"public"}"#;
const LISTED: &str = r#"{"resultType":"complete","tools":[{"name":"echo","description":"Answers.","inputSchema":{"type":"object","properties":{"text":{"type":"string"}}}}],"ttlMs":60000,"cacheScope":"public"}"#;
const CALLED: &str = r#"{"resultType":"complete","content":[{"type":"text","text":"ok"}]}"#;

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
}

pub(crate) fn router() -> Router {
    Router::new().fallback(answer)
}

async fn answer(headers: HeaderMap, body: Bytes) -> Response {
    let Ok(Envelope { id }) = serde_json::from_slice(&body) else { return "?".into_response() };
    let result = match headers.get("mcp-method").map(HeaderValue::as_bytes) {
        Some(b"tools/call") => CALLED,
        Some(b"tools/list") => LISTED,
        _ => DISCOVERED,
    };
    let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#);
    ([(CONTENT_TYPE, "application/json")], text).into_response()
}
