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
        // logging, "Error Handling": an unknown level SHOULD be refused with -32602.
        serde_json::from_str(raw.get()).map_err(|_| Refusal::params("logLevel is not a log level"))
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
    let unusable = |fault: NotAKey| Refusal::params(fault.to_string());
    let in_meta = meta.map(|raw| raw::string(raw).unwrap_or_default().parse().map_err(unusable));
    let in_meta: Option<IdempotencyKey> = in_meta.transpose()?;
    let in_header: Option<IdempotencyKey> =
        header.map(|key| key.parse().map_err(unusable)).transpose()?;
    match (in_meta, in_header) {
        (Some(meta), Some(header)) if meta != header => Err(Refusal::mismatch(
            "Header mismatch: Idempotency-Key does not match dev.baton/idempotencyKey",
        )),
        (meta, header) => Ok(meta.or(header)),
    }
}
