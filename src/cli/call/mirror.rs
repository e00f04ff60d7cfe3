//! Arguments that a tool wants repeated in headers (streamable-http, "Custom Headers from Tool Parameters").

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue};
use serde_json::Value;

/// The headers of one call, by the tool's input schema.
pub(super) fn headers(schema: &Value, arguments: &Value) -> Vec<(HeaderName, HeaderValue)> {
    let mut found = Vec::new();
    collect(schema, arguments, &mut found);
    found
}

fn collect(schema: &Value, arguments: &Value, found: &mut Vec<(HeaderName, HeaderValue)>) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    for (key, schema) in properties {
        let Some(value) = arguments.get(key) else { continue };
        collect(schema, value, found);
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Bool(_) | Value::Number(_) => value.to_string(),
            Value::Null | Value::Array(_) | Value::Object(_) => continue,
        };
        let name = schema.get("x-mcp-header").and_then(Value::as_str);
        let name = name.and_then(|it| HeaderName::try_from(format!("mcp-param-{it}")).ok());
        found.extend(name.map(|name| (name, encoded(&text))));
    }
}

/// A header value; Base64 behind a sentinel where a header could not carry the text as it is ("Value Encoding").
pub(super) fn encoded(text: &str) -> HeaderValue {
    let sentinel = text.starts_with("=?base64?") && text.ends_with("?=");
    let visible = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    let plain = visible && !sentinel && !text.is_empty() && text.trim() == text;
    let value =
        if plain { text.to_owned() } else { format!("=?base64?{}?=", STANDARD.encode(text)) };
    HeaderValue::try_from(value).expect("visible ASCII is a header value")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_header_cannot_carry_is_base64() {
        for plain in ["launchShell", "a b", "=?base64?"] {
            assert_eq!(encoded(plain), plain);
        }
        for (text, expected) in [
            ("", "=?base64??="),
            ("ü", "=?base64?w7w=?="),
            (" a", "=?base64?IGE=?="),
            ("a\n", "=?base64?YQo=?="),
            ("=?base64?YQ==?=", "=?base64?PT9iYXNlNjQ/WVE9PT89?="),
        ] {
            assert_eq!(encoded(text), expected, "{text}");
        }
    }

    #[test]
    fn annotated_arguments_are_repeated_wherever_they_lie() {
        let schema = json!({"properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "deep": {"properties": {"n": {"type": "integer", "x-mcp-header": "N"}}},
            "list": {"x-mcp-header": "List"}, "absent": {"x-mcp-header": "A"}, "plain": {},
        }});
        let arguments = json!({"region": "eu", "deep": {"n": 7}, "list": [1], "plain": "x"});
        let found = headers(&schema, &arguments);
        let mut found: Vec<String> = found
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        found.sort();
        assert_eq!(found, ["mcp-param-n: 7", "mcp-param-region: eu"]);
    }
}
