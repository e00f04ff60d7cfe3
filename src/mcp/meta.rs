//! The `_meta` of a request (basic, "`_meta`").
//!
//! Keys we do not know are nobody's fault and stay in the params. A `null` counts as absent.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::era::Era;
use super::jsonrpc::RawScalar;
use super::raw;
use super::rejection::{Refusal, RejectionKind};

/// The longest idempotency key, in characters.
const MAX_KEY_CHARS: usize = 255;

#[derive(Default, Deserialize)]
pub(super) struct WireMeta<'a> {
    #[serde(borrow, rename = "io.modelcontextprotocol/protocolVersion")]
    pub(super) protocol_version: Option<&'a RawValue>,
    #[serde(borrow, rename = "io.modelcontextprotocol/clientInfo")]
    client_info: Option<&'a RawValue>,
    #[serde(borrow, rename = "io.modelcontextprotocol/clientCapabilities")]
    client_capabilities: Option<&'a RawValue>,
    #[serde(borrow, rename = "io.modelcontextprotocol/logLevel")]
    log_level: Option<&'a RawValue>,
    #[serde(borrow, rename = "progressToken")]
    progress_token: Option<&'a RawValue>,
    #[serde(borrow)]
    traceparent: Option<&'a RawValue>,
    #[serde(borrow)]
    tracestate: Option<&'a RawValue>,
    #[serde(borrow)]
    baggage: Option<&'a RawValue>,
    #[serde(borrow, rename = "dev.baton/idempotencyKey")]
    idempotency_key: Option<&'a RawValue>,
}

impl<'a> WireMeta<'a> {
    pub(super) fn read(meta: Option<&'a RawValue>) -> Result<Self, Refusal> {
        let Some(meta) = meta else { return Ok(Self::default()) };
        // Derived `Deserialize` would take an array too.
        let object = raw::is_object(meta).then(|| serde_json::from_str(meta.get()).ok()).flatten();
        object.ok_or_else(|| Refusal::params("params._meta must be an object"))
    }
}

/// What a request says about itself, checked.
#[derive(Debug, Clone, Default)]
pub struct Meta {
    client_info: Option<ClientInfo>,
    client_capabilities: ClientCapabilities,
    log_level: Option<LogLevel>,
    progress_token: Option<ProgressToken>,
    trace: TraceContext,
    idempotency_key: Option<IdempotencyKey>,
}

impl Meta {
    /// `key_header` is the other place an idempotency key may stand; both must agree.
    pub(super) fn read(
        wire: &WireMeta<'_>,
        era: Era,
        key_header: Option<&str>,
    ) -> Result<Self, Refusal> {
        let mut meta = Self {
            progress_token: wire.progress_token.map(ProgressToken::read).transpose()?,
            trace: TraceContext::read(wire),
            idempotency_key: idempotency_key(wire.idempotency_key, key_header)?,
            ..Self::default()
        };
        // Before 2026-07-28 these keys meant nothing.
        if era.is_modern() {
            meta.client_capabilities = ClientCapabilities::read(wire.client_capabilities)?;
            meta.client_info = wire.client_info.map(ClientInfo::read).transpose()?;
            meta.log_level = wire.log_level.map(LogLevel::read).transpose()?;
        }
        Ok(meta)
    }

    pub fn client_info(&self) -> Option<&ClientInfo> {
        self.client_info.as_ref()
    }

    pub fn client_capabilities(&self) -> &ClientCapabilities {
        &self.client_capabilities
    }

    /// Without one, no `notifications/message` may be sent (logging, "Per-request log level").
    pub fn log_level(&self) -> Option<LogLevel> {
        self.log_level
    }

    pub fn progress_token(&self) -> Option<&ProgressToken> {
        self.progress_token.as_ref()
    }

    pub fn trace(&self) -> &TraceContext {
        &self.trace
    }

    pub fn idempotency_key(&self) -> Option<&IdempotencyKey> {
        self.idempotency_key.as_ref()
    }
}

/// Who the client says it is. For logs only: nobody verified it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ClientInfo {
    name: String,
    version: String,
}

impl ClientInfo {
    fn read(raw: &RawValue) -> Result<Self, Refusal> {
        let info = raw::is_object(raw).then(|| serde_json::from_str(raw.get()).ok()).flatten();
        info.ok_or_else(|| Refusal::params("clientInfo must be an object with name and version"))
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn version(&self) -> &str {
        &self.version
    }
}

/// What the client can do, on this request; a legacy request declares nothing.
#[derive(Debug, Clone, Default)]
pub struct ClientCapabilities(Option<Box<RawValue>>);

impl ClientCapabilities {
    fn read(raw: Option<&RawValue>) -> Result<Self, Refusal> {
        let refuse = |message| Refusal::new(RejectionKind::MissingMeta, message);
        let raw = raw.ok_or_else(|| {
            refuse("params._meta lacks io.modelcontextprotocol/clientCapabilities")
        })?;
        if !raw::is_object(raw) {
            return Err(refuse("clientCapabilities must be an object"));
        }
        Ok(Self(Some(raw.to_owned())))
    }

    /// Is there an object for this capability, such as `sampling`?
    pub fn declares(&self, capability: &str) -> bool {
        self.member(capability).is_some_and(raw::is_object)
    }

    /// Is there an object for this extension (versioning, "Extension Negotiation")?
    pub fn declares_extension(&self, extension: &str) -> bool {
        let extensions = self.member("extensions");
        extensions.and_then(|all| raw::member(all, extension)).is_some_and(raw::is_object)
    }

    fn member(&self, key: &str) -> Option<&RawValue> {
        self.0.as_deref().and_then(|all| raw::member(all, key))
    }
}

/// Severity of a log message (RFC 5424), mildest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Debug,
    Info,
    Notice,
    Warning,
    Error,
    Critical,
    Alert,
    Emergency,
}

impl LogLevel {
    fn read(raw: &RawValue) -> Result<Self, Refusal> {
        // A derived enum would take `{"debug": null}` too.
        let level = raw::string(raw).and_then(|_| serde_json::from_str(raw.get()).ok());
        // logging, "Error Handling": an unknown level SHOULD be refused with -32602.
        level.ok_or_else(|| Refusal::params("logLevel is not a log level"))
    }
}

/// What progress notifications of a request carry, as its sender wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ProgressToken(RawScalar);

impl ProgressToken {
    fn read(raw: &RawValue) -> Result<Self, Refusal> {
        // progress, "Progress Flow": MUST be a string or integer value.
        let token = RawScalar::read(raw).map(Self);
        token.ok_or_else(|| Refusal::params("progressToken must be a string or an integer"))
    }

    /// The JSON text.
    pub fn as_json(&self) -> &str {
        self.0.as_json()
    }
}

/// W3C trace context, as it came: a bad one must not fail a request (basic, "`_meta`").
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraceContext {
    traceparent: Option<String>,
    tracestate: Option<String>,
    baggage: Option<String>,
}

impl TraceContext {
    fn read(wire: &WireMeta<'_>) -> Self {
        let text = |raw: Option<&RawValue>| raw.and_then(raw::string).map(String::from);
        Self {
            traceparent: text(wire.traceparent),
            tracestate: text(wire.tracestate),
            baggage: text(wire.baggage),
        }
    }

    pub fn traceparent(&self) -> Option<&str> {
        self.traceparent.as_deref()
    }

    pub fn tracestate(&self) -> Option<&str> {
        self.tracestate.as_deref()
    }

    pub fn baggage(&self) -> Option<&str> {
        self.baggage.as_deref()
    }
}

/// Names one intended effect: the same key means the same call, not another one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IdempotencyKey {
    type Err = NotAKey;

    fn from_str(key: &str) -> Result<Self, NotAKey> {
        let is_sized = (1..=MAX_KEY_CHARS).contains(&key.chars().take(MAX_KEY_CHARS + 1).count());
        if !is_sized || key.chars().any(char::is_control) {
            return Err(NotAKey);
        }
        Ok(Self(key.to_owned()))
    }
}

/// Not a usable idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an idempotency key has 1 to {MAX_KEY_CHARS} characters, none of them a control character")]
pub struct NotAKey;

fn idempotency_key(
    meta: Option<&RawValue>,
    header: Option<&str>,
) -> Result<Option<IdempotencyKey>, Refusal> {
    let key = |text: &str| {
        text.parse::<IdempotencyKey>().map_err(|fault| Refusal::params(fault.to_string()))
    };
    // What is no string is refused as the empty one is.
    let in_meta = meta.map(|raw| key(&raw::string(raw).unwrap_or_default())).transpose()?;
    let in_header = header.map(key).transpose()?;
    match (in_meta, in_header) {
        (Some(meta), Some(header)) if meta != header => Err(Refusal::mismatch(
            "Header mismatch: Idempotency-Key does not match dev.baton/idempotencyKey",
        )),
        (meta, header) => Ok(meta.or(header)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::testing::{META, post, request};
    use crate::mcp::{ErrorCode, Incoming};

    const MODERN: [(&str, &str); 2] =
        [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/list")];

    fn body(more: &str) -> String {
        let meta = META.replacen('{', &format!("{{{more},"), 1);
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{{meta}}}}}"#)
    }

    fn accepts(more: &str) -> Meta {
        request(&MODERN, &body(more)).meta().clone()
    }

    fn refuses(more: &str) {
        let refused = post(&MODERN, &body(more)).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::InvalidParams, "{more}");
    }

    // progress, "Progress Flow": tokens MUST be a string or integer value.
    #[test]
    fn progress_tokens_keep_their_type() {
        for token in ["0", r#""0""#, "9007199254740993", r#""\u0061""#] {
            let meta = accepts(&format!(r#""progressToken":{token}"#));
            assert_eq!(meta.progress_token().unwrap().as_json(), token);
        }
        assert!(accepts(r#""progressToken":null"#).progress_token().is_none());
        for token in ["1.5", "true", "{}"] {
            refuses(&format!(r#""progressToken":{token}"#));
        }
    }

    // basic, "`_meta`": clientInfo is optional.
    #[test]
    fn a_client_that_introduces_itself_does_it_fully() {
        let key = r#""io.modelcontextprotocol/clientInfo""#;
        let meta = accepts(&format!(r#"{key}:{{"name":"a","version":"1","x":[]}}"#));
        let info = meta.client_info().unwrap();
        assert_eq!((info.name(), info.version()), ("a", "1"));
        for info in [r#""a""#, r#"{"name":"a"}"#, r#"["a","1"]"#, r#"{"name":1,"version":"1"}"#] {
            refuses(&format!("{key}:{info}"));
        }
    }

    // logging, "Error Handling": an unknown level SHOULD be refused with -32602.
    #[test]
    fn log_levels_are_known_and_ordered() {
        let key = r#""io.modelcontextprotocol/logLevel""#;
        let level = accepts(&format!(r#"{key}:"warning""#)).log_level();
        assert_eq!(level, Some(LogLevel::Warning));
        assert!(level < Some(LogLevel::Error) && level > Some(LogLevel::Notice));
        for level in [r#""loud""#, r#""Debug""#, "3", r#"{"debug":null}"#] {
            refuses(&format!("{key}:{level}"));
        }
    }

    #[test]
    fn a_bad_trace_context_fails_nothing() {
        let meta = accepts(r#""traceparent":"00-a-b-03","tracestate":7,"baggage":"k=v""#);
        assert_eq!(meta.trace().traceparent(), Some("00-a-b-03"));
        assert_eq!(meta.trace().tracestate(), None);
        assert_eq!(meta.trace().baggage(), Some("k=v"));
    }

    #[test]
    fn capabilities_are_objects_where_they_are_declared() {
        let declared = r#"{"sampling":{},"roots":true,"extensions":{"a/b":{},"a/c":null}}"#;
        let raw: &RawValue = serde_json::from_str(declared).unwrap();
        let capabilities = ClientCapabilities::read(Some(raw)).unwrap();
        assert!(capabilities.declares("sampling"));
        assert!(!capabilities.declares("roots") && !capabilities.declares("elicitation"));
        assert!(capabilities.declares_extension("a/b"));
        assert!(!capabilities.declares_extension("a/c") && !capabilities.declares_extension("a"));
        assert!(!ClientCapabilities::default().declares("sampling"));
    }

    fn key_of(in_meta: Option<&str>, header: Option<&str>) -> Result<Option<String>, ErrorCode> {
        let mut pairs = MODERN.to_vec();
        pairs.extend(header.map(|key| ("idempotency-key", key)));
        let more = in_meta.map_or_else(
            || r#""x":1"#.to_owned(),
            |json| format!(r#""dev.baton/idempotencyKey":{json}"#),
        );
        match post(&pairs, &body(&more)) {
            Ok(Incoming::Request(envelope)) => {
                Ok(envelope.meta().idempotency_key().map(|key| key.as_str().to_owned()))
            }
            Ok(other) => panic!("{other:?}"),
            Err(refused) => Err(refused.code()),
        }
    }

    #[test]
    fn an_idempotency_key_stands_in_either_place() {
        let key = Ok(Some("k-1".to_owned()));
        assert_eq!(key_of(None, None), Ok(None));
        assert_eq!(key_of(Some(r#""k-1""#), None), key);
        assert_eq!(key_of(None, Some("k-1")), key);
        assert_eq!(key_of(None, Some(r#""k-1""#)), key);
        assert_eq!(key_of(Some(r#""k-1""#), Some("k-1")), key);
    }

    #[test]
    fn two_idempotency_keys_are_a_mismatch() {
        assert_eq!(key_of(Some(r#""k-1""#), Some("k-2")), Err(ErrorCode::HeaderMismatch));
    }

    #[test]
    fn an_unusable_idempotency_key_is_refused() {
        let long = format!(r#""{}""#, "ü".repeat(MAX_KEY_CHARS + 1));
        for json in [r#""""#, "1", r#""a\n""#, &long] {
            assert_eq!(key_of(Some(json), None), Err(ErrorCode::InvalidParams), "{json}");
        }
        assert!(key_of(Some(&format!(r#""{}""#, "ü".repeat(MAX_KEY_CHARS))), None).is_ok());
        assert_eq!(key_of(None, Some("")), Err(ErrorCode::InvalidParams));
    }

    #[test]
    fn legacy_requests_have_no_modern_meta() {
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"progressToken":1,"io.modelcontextprotocol/logLevel":"loud"}}}"#;
        let envelope = request(&[], body);
        assert_eq!(envelope.meta().log_level(), None);
        assert_eq!(envelope.meta().progress_token().unwrap().as_json(), "1");
    }
}
