//! Tool arguments repeated in `Mcp-Param-*` headers (streamable-http, "Custom Headers from Tool
//! Parameters").

use std::borrow::Cow;

use http::header::{HeaderName, HeaderValue};

use super::header::{PARAM_PREFIX, decoded, encode_header};
use super::json::Json;
use super::rejection::Refusal;

/// 2^53 - 1, the largest integer that may be mirrored.
const MAX_SAFE_INTEGER: i64 = (1 << 53) - 1;

/// One `x-mcp-header` annotation of a tool's input schema.
///
/// It needs no type: a value is compared as what it is in the body, and whether that fits the
/// schema is for the tool to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    header: HeaderName,
    path: Vec<String>,
}

impl Mirror {
    /// `name` is the annotation's value, `path` the chain of `properties` keys that leads to it.
    /// `None` if no header can have that name.
    pub fn new(name: &str, path: &[&str]) -> Option<Self> {
        // An empty name would make "mcp-param-" a header of its own.
        let header = HeaderName::try_from(format!("{PARAM_PREFIX}{name}")).ok()?;
        let path = path.iter().map(|&key| key.to_owned()).collect::<Vec<_>>();
        (!name.is_empty() && !path.is_empty()).then_some(Self { header, path })
    }

    /// `mcp-param-` and the annotation's value.
    pub fn header(&self) -> &HeaderName {
        &self.header
    }

    /// What an upstream has to be sent in that header; `None` if the arguments have nothing for it ("Client Behavior").
    pub fn header_value(&self, arguments: Json<'_>) -> Option<HeaderValue> {
        let value = self.value(arguments).filter(|value| is_primitive(*value))?;
        Some(encode_header(&value.string().unwrap_or(Cow::Borrowed(value.get()))))
    }

    /// Does the header say what the arguments say ("Server Behavior for Custom Headers")?
    pub(super) fn check(
        &self,
        headers: &[(HeaderName, HeaderValue)],
        arguments: Option<Json<'_>>,
    ) -> Result<(), Refusal> {
        let name = &self.header;
        let refuse = |what| Err(Refusal::mismatch(format!("Header mismatch: {name} {what}")));
        let sent = headers.iter().find(|(header, _)| header == name);
        let sent = sent.map(|(_, value)| decoded(name, value)).transpose()?;
        match (sent, arguments.and_then(|arguments| self.value(arguments))) {
            (None, None) => Ok(()),
            (None, Some(value)) if !is_primitive(value) => Ok(()),
            (None, Some(_)) => refuse("is missing, and the arguments have a value for it"),
            (Some(_), None) => refuse("has a value, and the arguments have none for it"),
            (Some(sent), Some(value)) if is_same(&sent, value) => Ok(()),
            (Some(_), Some(_)) => refuse("does not match the arguments"),
        }
    }

    /// The value at the property path; a `null` is no value.
    fn value<'a>(&self, arguments: Json<'a>) -> Option<Json<'a>> {
        let found = self.path.iter().try_fold(arguments, |object, key| object.member(key))?;
        (!found.is_null()).then_some(found)
    }
}

/// A client cannot mirror anything else; that such a value is wrong is for the tool to say.
fn is_primitive(value: Json<'_>) -> bool {
    !value.get().starts_with(['{', '['])
}

fn is_same(header: &str, value: Json<'_>) -> bool {
    if let Some(text) = value.string() {
        return header == text;
    }
    let (Some(header), Some(value)) = (integer(header), integer(value.get())) else {
        return is_primitive(value) && header == value.get();
    };
    header == value
}

/// `-?\d{1,16}(\.0+)?` within the safe range: servers SHOULD take `42.0` for `42` ("Server
/// Validation"), and nothing that rounds.
fn integer(text: &str) -> Option<i64> {
    let (whole, zeros) = text.split_once('.').unwrap_or((text, "0"));
    let digits = whole.strip_prefix('-').unwrap_or(whole);
    let is_plain = (1..=16).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && !zeros.is_empty()
        && zeros.bytes().all(|byte| byte == b'0');
    let number: i64 = is_plain.then(|| whole.parse().ok())??;
    (number.abs() <= MAX_SAFE_INTEGER).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::ErrorCode;
    use crate::mcp::testing::{call, request};

    fn agrees(header: Option<&str>, arguments: &str) -> bool {
        let mirror = Mirror::new("Value", &["a", "b"]).unwrap();
        let more: Vec<_> = header.map(|value| ("Mcp-Param-Value", value)).into_iter().collect();
        match call(&more, arguments).check_mirrors(&[mirror]) {
            Ok(()) => true,
            Err(refused) => {
                assert_eq!(refused.code(), ErrorCode::HeaderMismatch);
                false
            }
        }
    }

    fn same(header: &str, value: &str) -> bool {
        agrees(Some(header), &format!(r#"{{"a":{{"b":{value}}}}}"#))
    }

    // streamable-http, "Server Behavior for Custom Headers": servers MUST validate.
    #[test]
    fn text_is_compared_after_decoding() {
        assert!(same("us-west1", r#""us-west1""#));
        assert!(same("=?base64?w7w=?=", r#""\u00fc""#));
        assert!(same("=?base64??=", r#""""#));
        assert!(same("", r#""""#));
        assert!(same("42.0", r#""42.0""#));
        assert!(!same("42.0", r#""42""#));
        assert!(!same("us-west1", r#""us-west2""#));
        assert!(!same("us-west1", r#""US-WEST1""#));
        assert!(!same("=?base64?w7w?=", r#""\u00fc""#));
    }

    // "Server Validation": integers SHOULD be compared numerically.
    #[test]
    fn integers_are_compared_as_numbers() {
        assert!(same("42", "42"));
        assert!(same("42.0", "42"));
        assert!(same("42", "42.000"));
        assert!(same("-7", "-7"));
        assert!(same("0", "-0"));
        assert!(same("9007199254740991", "9007199254740991"));
        assert!(!same("42", "43"));
        assert!(!same("42.5", "42"));
        assert!(!same("+42", "42"));
        assert!(!same("0x2a", "42"));
        assert!(!same("4.2e1", "42"));
        assert!(!same("42.", "42"));
        assert!(!same("9007199254740993", "9007199254740992"));
        // Beyond 2^53 - 1 readers round differently: only the same digits are the same.
        assert!(same("9007199254740993", "9007199254740993"));
        assert!(!same("9007199254740993.0", "9007199254740993"));
    }

    #[test]
    fn booleans_are_lower_case() {
        assert!(same("true", "true"));
        assert!(!same("True", "true"));
        assert!(!same("false", "true"));
        assert!(!same("1", "true"));
    }

    // The table: null or not in the arguments, the server MUST NOT expect the header; omitted while
    // the value is in the body, it MUST reject.
    #[test]
    fn a_header_is_expected_exactly_when_there_is_a_value() {
        for valueless in ["{}", r#"{"a":{}}"#, r#"{"a":{"b":null}}"#, r#"{"a":[{"b":1}]}"#] {
            assert!(agrees(None, valueless), "{valueless}");
            assert!(!agrees(Some("x"), valueless), "{valueless}");
        }
        assert!(!agrees(None, r#"{"a":{"b":"x"}}"#));
        assert!(!agrees(None, r#"{"a":{"b":""}}"#));
    }

    // "Client Behavior" 3 to 5, and "Value Encoding".
    #[test]
    fn what_is_sent_is_what_is_expected() {
        let mirror = Mirror::new("Value", &["a", "b"]).unwrap();
        for (value, header) in [
            (r#""us-west1""#, Some("us-west1")),
            (r#"" \u00fc""#, Some("=?base64?IMO8?=")),
            (r#""""#, Some("=?base64??=")),
            ("-7", Some("-7")),
            ("true", Some("true")),
            ("null", None),
            ("[1]", None),
        ] {
            let arguments = format!(r#"{{"a":{{"b":{value}}}}}"#);
            let sent = mirror.header_value(Json::checked(&arguments));
            let sent = sent.as_ref().map(|value| value.to_str().unwrap());
            assert_eq!(sent, header, "{value}");
            assert!(agrees(sent, &arguments), "{value}");
        }
        assert_eq!(mirror.header_value(Json::checked("{}")), None);
    }

    #[test]
    fn what_cannot_be_mirrored_is_left_to_the_tool() {
        assert!(agrees(None, r#"{"a":{"b":["x"]}}"#));
        assert!(!same("[\"x\"]", r#"["x"]"#));
    }

    // Intermediaries MUST forward a header they do not recognize and otherwise ignore it.
    #[test]
    fn a_header_no_schema_names_is_kept_and_not_judged() {
        let envelope = call(&[("Mcp-Param-Other", "=?base64?broken?=")], "{}");
        assert!(envelope.check_mirrors(&[]).is_ok());
        let kept = envelope.mirrored_headers(&[]);
        assert_eq!(
            kept,
            [("mcp-param-other".parse().unwrap(), "=?base64?broken?=".parse().unwrap())]
        );
    }

    #[test]
    fn legacy_clients_mirror_nothing() {
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"a":1}}}"#;
        let mirror = Mirror::new("A", &["a"]).unwrap();
        let request = request(&[], body);
        assert!(request.check_mirrors(std::slice::from_ref(&mirror)).is_ok());
        let made = request.mirrored_headers(&[mirror]);
        assert_eq!(made, [("mcp-param-a".parse().unwrap(), "1".parse().unwrap())]);
    }

    // tools, "x-mcp-header": the name MUST NOT be empty and MUST be a token.
    #[test]
    fn a_name_that_is_no_token_makes_no_mirror() {
        for name in ["", "a b", "a\r\nb", "ü", "a:b"] {
            assert_eq!(Mirror::new(name, &["a"]), None, "{name}");
        }
        assert_eq!(Mirror::new("A", &[]), None);
    }
}
