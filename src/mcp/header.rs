//! Reading the headers of a POST: bounds first, then one value per name, then its text.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderMap, HeaderName, ORIGIN,
};

use super::accept::Accept;
use super::era::{Era, LegacyVersion};
use super::method::Method;
use super::rejection::{Refusal, RejectionKind};

/// More headers than this are refused before one of them is decoded.
pub const MAX_HEADERS: usize = 64;

/// More bytes of names and values than this are refused likewise.
pub const MAX_HEADER_BYTES: usize = 64 * 1024;

pub(super) const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
pub(super) const METHOD: HeaderName = HeaderName::from_static("mcp-method");
pub(super) const NAME: HeaderName = HeaderName::from_static("mcp-name");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
pub(super) const PARAM_PREFIX: &str = "mcp-param-";

/// Headers that may be there once. Equal copies are refused too: proxies fold them into "a, a".
const SINGLETONS: [HeaderName; 5] = [AUTHORIZATION, ORIGIN, CONTENT_TYPE, HOST, IDEMPOTENCY_KEY];

/// Headers within their bounds, none of the singletons twice.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head<'a>(&'a HeaderMap);

impl<'a> Head<'a> {
    pub(super) fn admit(headers: &'a HeaderMap) -> Result<Self, Refusal> {
        bound(headers)?;
        only_once(headers)?;
        plain_json(headers)?;
        Ok(Self(headers))
    }

    /// `MCP-Protocol-Version`, which is never encoded.
    pub(super) fn protocol_version(self) -> Result<Option<&'a str>, Refusal> {
        self.text(&PROTOCOL_VERSION)
    }

    /// `Mcp-Method`, which is never encoded.
    pub(super) fn method(self) -> Result<Option<&'a str>, Refusal> {
        self.text(&METHOD)
    }

    /// Whether the headers say no version, and by `Mcp-Method` no more than that a legacy handshake begins.
    pub(super) fn begins_a_handshake(self) -> bool {
        let initialize = |method: &HeaderValue| method == Method::Initialize.as_str();
        !self.0.contains_key(PROTOCOL_VERSION) && self.0.get(METHOD).is_some_and(initialize)
    }

    /// `Mcp-Name`, decoded.
    pub(super) fn name(self) -> Result<Option<Cow<'a, str>>, Refusal> {
        self.0.get(NAME).map(|value| decoded(&NAME, value)).transpose()
    }

    /// `Idempotency-Key`, bare or as the quoted string of the IETF draft.
    pub(super) fn idempotency_key(self) -> Result<Option<&'a str>, Refusal> {
        let text = self.text(&IDEMPOTENCY_KEY)?;
        let unquoted = |text: &'a str| text.strip_prefix('"')?.strip_suffix('"');
        Ok(text.map(|text| unquoted(text).unwrap_or(text)))
    }

    /// The `Mcp-Param-*` headers, not decoded.
    pub(super) fn params(self) -> impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)> {
        self.0.iter().filter(|(name, _)| name.as_str().starts_with(PARAM_PREFIX))
    }

    pub(super) fn accept(self) -> Accept {
        Accept::read(self.0)
    }

    fn text(self, name: &HeaderName) -> Result<Option<&'a str>, Refusal> {
        self.0.get(name).map(|value| plain(name, value)).transpose()
    }
}

/// The era, as far as headers tell. A client that says a legacy version means it, whatever other headers it or a
/// proxy adds (the official suite sends `Mcp-Method` with 2025-11-25); who says nothing and has `Mcp-Method` is
/// modern.
pub(super) fn era(headers: &HeaderMap) -> Era {
    let mut legacy = None;
    for value in headers.get_all(PROTOCOL_VERSION) {
        match value.to_str().ok().and_then(|text| LegacyVersion::from_wire(trimmed(text))) {
            Some(version) => legacy = Some(version),
            None => return Era::Modern,
        }
    }
    match legacy {
        Some(version) => Era::Legacy(version),
        None if headers.contains_key(METHOD) => Era::Modern,
        None => Era::Legacy(LegacyVersion::UNSTATED),
    }
}

/// The text of a value that may be Base64 (streamable-http, "Value Encoding").
pub(super) fn decoded<'a>(
    name: &HeaderName,
    value: &'a HeaderValue,
) -> Result<Cow<'a, str>, Refusal> {
    let text = plain(name, value)?;
    // Half a sentinel, or one in capitals, is a literal.
    let Some(code) = text.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) else {
        return Ok(Cow::Borrowed(text));
    };
    // STANDARD is strict: canonical padding, no stray bits, no other alphabet.
    let decoded = STANDARD.decode(code).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    decoded
        .map(Cow::Owned)
        .ok_or_else(|| Refusal::mismatch(format!("Header mismatch: {name} is not valid Base64")))
}

/// The value that says `text`, in Base64 where a header could not carry it as it is (streamable-http, "Value
/// Encoding").
pub fn encode_header(text: &str) -> HeaderValue {
    let is_sentinel = text.starts_with("=?base64?") && text.ends_with("?=");
    let is_visible = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    // An empty value is allowed, and some HTTP libraries drop its header.
    let is_plain = is_visible && !is_sentinel && !text.is_empty() && text.trim() == text;
    let value =
        if is_plain { text.to_owned() } else { format!("=?base64?{}?=", STANDARD.encode(text)) };
    HeaderValue::try_from(value).expect("visible ASCII is a header value")
}

/// Visible ASCII, spaces and tabs; those around the value are not part of it (RFC 9110, 5.5).
fn plain<'a>(name: &HeaderName, value: &'a HeaderValue) -> Result<&'a str, Refusal> {
    value.to_str().map(trimmed).map_err(|_| {
        Refusal::mismatch(format!("Header mismatch: {name} contains invalid characters"))
    })
}

/// Of the white space that ASCII has, a header's text holds spaces and tabs only.
pub(super) fn trimmed(text: &str) -> &str {
    text.trim_ascii()
}

fn bound(headers: &HeaderMap) -> Result<(), Refusal> {
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if headers.len() > MAX_HEADERS || bytes > MAX_HEADER_BYTES {
        let message = "the request has too many headers, or too many bytes of them";
        return Err(Refusal::new(RejectionKind::TooManyHeaders, message));
    }
    Ok(())
}

fn only_once(headers: &HeaderMap) -> Result<(), Refusal> {
    if headers.keys_len() == headers.len() {
        return Ok(()); // as nearly always: every name has one value
    }
    for name in headers.keys() {
        if headers.get_all(name).iter().nth(1).is_none() {
            continue;
        }
        let is_mirror = [PROTOCOL_VERSION, METHOD, NAME].contains(name)
            || name.as_str().starts_with(PARAM_PREFIX);
        if is_mirror {
            return Err(Refusal::mismatch(format!("Header mismatch: {name} is there twice")));
        }
        if SINGLETONS.contains(name) {
            let message = format!("the header {name} may be there once only");
            return Err(Refusal::new(RejectionKind::BadHeader, message));
        }
    }
    Ok(())
}

/// The body must be JSON as it stands. Nothing is decompressed here, so nothing can be a bomb.
fn plain_json(headers: &HeaderMap) -> Result<(), Refusal> {
    let refuse = |message| Err(Refusal::new(RejectionKind::UnsupportedMediaType, message));
    if headers.contains_key(CONTENT_ENCODING) {
        return refuse("the body must not have a Content-Encoding");
    }
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = media_type.and_then(|text| text.split(';').next()).map(trimmed);
    if !essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json")) {
        return refuse("the Content-Type must be application/json");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::testing::headers;

    const JSON: (&str, &str) = ("content-type", "application/json");

    fn kind(pairs: &[(&str, &str)]) -> Option<RejectionKind> {
        Head::admit(&headers(pairs)).err().map(|refusal| refusal.kind)
    }

    #[test]
    fn what_a_header_cannot_carry_is_base64() {
        for plain in ["launchShell", "a b", "=?base64?"] {
            assert_eq!(encode_header(plain), plain);
        }
        for (text, expected) in [
            ("", "=?base64??="),
            ("ü", "=?base64?w7w=?="),
            (" a", "=?base64?IGE=?="),
            ("a\n", "=?base64?YQo=?="),
            ("=?base64?YQ==?=", "=?base64?PT9iYXNlNjQ/WVE9PT89?="),
        ] {
            assert_eq!(encode_header(text), expected, "{text}");
            assert_eq!(decoded(&NAME, &encode_header(text)).unwrap(), text);
        }
    }

    #[test]
    fn too_many_headers_are_refused_before_all_else() {
        let names: Vec<String> = (0..MAX_HEADERS).map(|n| format!("x-{n}")).collect();
        let mut pairs: Vec<_> = names.iter().map(|name| (name.as_str(), "1")).collect();
        assert_eq!(kind(&pairs), Some(RejectionKind::UnsupportedMediaType));
        pairs.push(JSON);
        assert_eq!(kind(&pairs), Some(RejectionKind::TooManyHeaders));
        let big = "a".repeat(MAX_HEADER_BYTES);
        assert_eq!(kind(&[JSON, ("x", &big)]), Some(RejectionKind::TooManyHeaders));
    }

    // Proxies fold copies into "a, a", so one of two readers would see another value.
    #[test]
    fn mirrors_are_there_once_even_when_equal() {
        for name in ["MCP-Protocol-Version", "mcp-method", "Mcp-Name", "Mcp-Param-Region"] {
            let pairs = [JSON, (name, "a"), (name, "a")];
            assert_eq!(kind(&pairs), Some(RejectionKind::HeaderMismatch), "{name}");
        }
    }

    #[test]
    fn other_singletons_are_there_once() {
        for name in ["Authorization", "Origin", "Content-Type", "Host", "Idempotency-Key"] {
            let pairs = [JSON, (name, "a"), (name, "a")];
            assert_eq!(kind(&pairs), Some(RejectionKind::BadHeader), "{name}");
        }
        assert_eq!(kind(&[JSON, ("accept", "a"), ("accept", "b")]), None);
    }

    #[test]
    fn the_body_is_plain_json() {
        for media_type in
            ["application/json", "Application/JSON", "application/json; charset=utf-8"]
        {
            assert_eq!(kind(&[("content-type", media_type)]), None, "{media_type}");
        }
        for media_type in ["text/json", "application/json5", "", "ü"] {
            let refused = kind(&[("content-type", media_type)]);
            assert_eq!(refused, Some(RejectionKind::UnsupportedMediaType), "{media_type}");
        }
        assert_eq!(kind(&[]), Some(RejectionKind::UnsupportedMediaType));
        let packed = [JSON, ("content-encoding", "gzip")];
        assert_eq!(kind(&packed), Some(RejectionKind::UnsupportedMediaType));
    }

    fn value(text: &str) -> Option<String> {
        let value = HeaderValue::from_bytes(text.as_bytes()).unwrap();
        decoded(&NAME, &value).ok().map(Cow::into_owned)
    }

    // streamable-http, "Value Encoding", and the examples of its table.
    #[test]
    fn sentinels_are_decoded() {
        for (text, meant) in [
            ("us-west1", "us-west1"),
            ("=?base64?SGVsbG8sIOS4lueVjA==?=", "Hello, 世界"),
            ("=?base64?IHBhZGRlZCA=?=", " padded "),
            ("=?base64?bGluZTEKbGluZTI=?=", "line1\nline2"),
            ("=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?=", "=?base64?literal?="),
            ("=?base64??=", ""),
            ("\t a b \t", "a b"),
        ] {
            assert_eq!(value(text).as_deref(), Some(meant), "{text}");
        }
    }

    // SEP-2243, "Server Validation Edge Cases".
    #[test]
    fn half_a_sentinel_is_a_literal() {
        for text in
            ["SGVsbG8=", "=?base64?SGVsbG8=", "SGVsbG8=?=", "=?BASE64?SGVsbG8=?=", "=?base64?="]
        {
            assert_eq!(value(text).as_deref(), Some(text));
        }
    }

    // "Server Behavior for Custom Headers": invalid characters MUST be rejected.
    #[test]
    fn loose_base64_is_refused() {
        for text in [
            "=?base64?SGVsbG8?=",
            "=?base64?SGVs!!!bG8=?=",
            "=?base64?SGVsbG9=?=",
            "=?base64?SGVs bG8=?=",
            "=?base64?_-8=?=",
            "=?base64?SGVsbG8==?=",
            "=?base64?/w==?=",
            "=?base64?=?=",
            "ü",
        ] {
            assert_eq!(value(text), None, "{text}");
        }
    }

    fn era_of(pairs: &[(&str, &str)], expected: &str) {
        assert_eq!(era(&headers(pairs)).version(), expected, "{pairs:?}");
    }

    #[test]
    fn a_modern_header_makes_a_request_modern_unless_a_legacy_version_is_named() {
        era_of(&[], "2025-03-26");
        era_of(&[("mcp-protocol-version", " 2025-06-18 ")], "2025-06-18");
        era_of(&[("mcp-name", "a"), ("mcp-session-id", "b")], "2025-03-26");
        era_of(&[("mcp-protocol-version", "2026-07-28")], "2026-07-28");
        era_of(&[("mcp-protocol-version", "1900-01-01")], "2026-07-28");
        era_of(&[("mcp-protocol-version", "2025-06-18"), ("mcp-method", "ping")], "2025-06-18");
    }
}
