//! The `_meta` of a request (basic, "`_meta`").
//!
//! Keys we do not know are nobody's fault and stay in the params. A `null` counts as absent.

use serde::{Deserialize, Serialize};

use super::client::{ClientCapabilities, WireClientInfo};
use super::era::Era;
use super::idempotency::{self, IdempotencyKey};
use super::json::{Json, JsonBuf};
use super::jsonrpc::RawScalar;
use super::lex::NotJson;
use super::rejection::Refusal;
use super::scan::Scan;

/// `_meta` as it stands in a body, taken apart while the body is read and not yet judged.
#[derive(Debug)]
pub(super) enum UnjudgedMeta<'a> {
    /// Its members, all absent where it is.
    Members(WireMeta<'a>),
    NotAnObject,
}

impl Default for UnjudgedMeta<'_> {
    fn default() -> Self {
        Self::Members(WireMeta::default())
    }
}

impl<'a> UnjudgedMeta<'a> {
    /// Reads the value that comes next, and returns all of its text.
    pub(super) fn read(&mut self, scan: &mut Scan<'a>) -> Result<Json<'a>, NotJson> {
        if scan.peek() != Some(b'{') {
            let value = scan.value()?;
            if !value.is_null() {
                *self = Self::NotAnObject;
            }
            return Ok(value);
        }
        let mut meta = WireMeta::default();
        let value = scan.object(|scan, key| meta.member(scan, key))?;
        *self = Self::Members(meta);
        Ok(value)
    }

    pub(super) fn judge(self) -> Result<WireMeta<'a>, Refusal> {
        match self {
            Self::Members(meta) => Ok(meta),
            Self::NotAnObject => Err(Refusal::params("params._meta must be an object")),
        }
    }
}

/// The members of `_meta` that mean something here, unread.
#[derive(Debug, Default)]
pub(super) struct WireMeta<'a> {
    pub(super) protocol_version: Option<Json<'a>>,
    client_info: Option<WireClientInfo<'a>>,
    client_capabilities: Option<Json<'a>>,
    log_level: Option<Json<'a>>,
    progress_token: Option<Json<'a>>,
    traceparent: Option<Json<'a>>,
    tracestate: Option<Json<'a>>,
    baggage: Option<Json<'a>>,
    idempotency_key: Option<Json<'a>>,
}

impl<'a> WireMeta<'a> {
    /// Reads the value that comes next, as that of this key.
    fn member(&mut self, scan: &mut Scan<'a>, key: &str) -> Result<(), NotJson> {
        let member = match key {
            "io.modelcontextprotocol/clientInfo" => {
                self.client_info = WireClientInfo::read(scan)?;
                return Ok(());
            }
            "io.modelcontextprotocol/protocolVersion" => &mut self.protocol_version,
            "io.modelcontextprotocol/clientCapabilities" => &mut self.client_capabilities,
            "io.modelcontextprotocol/logLevel" => &mut self.log_level,
            "progressToken" => &mut self.progress_token,
            "traceparent" => &mut self.traceparent,
            "tracestate" => &mut self.tracestate,
            "baggage" => &mut self.baggage,
            "dev.baton/idempotencyKey" => &mut self.idempotency_key,
            _ => return scan.value().map(drop),
        };
        *member = Some(scan.value()?).filter(|value| !value.is_null());
        Ok(())
    }
}

/// What a request says about itself, checked.
#[derive(Debug, Clone, Default)]
pub struct Meta {
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
            idempotency_key: idempotency::agree(wire.idempotency_key, key_header)?,
            ..Self::default()
        };
        // Before 2026-07-28 these keys meant nothing.
        if era.is_modern() {
            meta.client_capabilities = ClientCapabilities::read(wire.client_capabilities)?;
            wire.client_info.as_ref().map_or(Ok(()), WireClientInfo::check)?;
            meta.log_level = wire.log_level.map(LogLevel::read).transpose()?;
        }
        Ok(meta)
    }

    /// What the client can do, on this request.
    pub fn client_capabilities(&self) -> &ClientCapabilities {
        &self.client_capabilities
    }

    /// Without one, no `notifications/message` may be sent (logging, "Per-request log level").
    pub fn log_level(&self) -> Option<LogLevel> {
        self.log_level
    }

    /// Without one, no progress may be reported (progress, "Progress Flow").
    pub fn progress_token(&self) -> Option<&ProgressToken> {
        self.progress_token.as_ref()
    }

    /// The trace this request belongs to.
    pub fn trace(&self) -> &TraceContext {
        &self.trace
    }

    /// The key, from `_meta` or the header.
    pub fn idempotency_key(&self) -> Option<&IdempotencyKey> {
        self.idempotency_key.as_ref()
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
    fn read(json: Json<'_>) -> Result<Self, Refusal> {
        // logging, "Error Handling": an unknown level SHOULD be refused with -32602.
        Self::named(json).ok_or_else(|| Refusal::params("logLevel is not a log level"))
    }

    /// The level of this name.
    pub fn parse(raw: Json<'_>) -> Option<Self> {
        Self::named(raw)
    }

    fn named(json: Json<'_>) -> Option<Self> {
        // A derived enum would take `{"debug": null}` too.
        json.string().and_then(|_| serde_json::from_str(json.get()).ok())
    }
}

/// What progress notifications of a request carry, as its sender wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ProgressToken(RawScalar);

impl ProgressToken {
    pub(super) fn read(json: Json<'_>) -> Result<Self, Refusal> {
        // progress, "Progress Flow": MUST be a string or integer value.
        let token = RawScalar::read(json).map(Self);
        token.ok_or_else(|| Refusal::params("progressToken must be a string or an integer"))
    }

    /// The JSON text.
    pub fn as_json(&self) -> &str {
        self.0.as_json()
    }

    /// The same, to be put into other JSON.
    pub fn to_buf(&self) -> JsonBuf {
        JsonBuf::of(self)
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
        let text = |json: Option<Json<'_>>| json.and_then(Json::string).map(String::from);
        Self {
            traceparent: text(wire.traceparent),
            tracestate: text(wire.tracestate),
            baggage: text(wire.baggage),
        }
    }

    /// `traceparent`, unchecked.
    pub fn traceparent(&self) -> Option<&str> {
        self.traceparent.as_deref()
    }

    /// `tracestate`, unchecked.
    pub fn tracestate(&self) -> Option<&str> {
        self.tracestate.as_deref()
    }

    /// `baggage`, unchecked.
    pub fn baggage(&self) -> Option<&str> {
        self.baggage.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::ErrorCode;
    use crate::mcp::testing::{LIST, list, post, request};

    fn accepts(more: &str) -> Meta {
        request(&LIST, &list(more)).meta().clone()
    }

    fn refuses(more: &str) {
        let refused = post(&LIST, &list(more)).unwrap_err();
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
        accepts(&format!(r#"{key}:{{"name":"a","version":"1","x":[]}}"#));
        accepts(&format!("{key}:null"));
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
    fn legacy_requests_have_no_modern_meta() {
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"progressToken":1,"io.modelcontextprotocol/logLevel":"loud"}}}"#;
        let envelope = request(&[], body);
        assert_eq!(envelope.meta().log_level(), None);
        assert_eq!(envelope.meta().progress_token().unwrap().as_json(), "1");
    }
}
