//! A request that broke a rule of the protocol: which rule, in whose words, to whom.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::era::{Era, SUPPORTED_VERSIONS};
use super::frame::FrameFault;
use super::jsonrpc::{ErrorCode, RequestId, render_error};
use super::strict::NotStrict;

/// Which rule was broken. The HTTP status each is meant to get stands beside it.
///
/// In the legacy era the first three keep theirs, and the others get 200 if the rejection carries
/// an id: old clients die of anything else. Without an id nobody waits for that JSON, and a
/// refused notification MUST get an error status (2025-11-25 transports, "Sending Messages").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectionKind {
    /// 431: too many headers or too many bytes of them.
    TooManyHeaders,
    /// 400: a header that may be there once is there twice.
    BadHeader,
    /// 415: the body is not plain `application/json`.
    UnsupportedMediaType,
    /// 406: the answer would be a stream, and `Accept` rules that out.
    NotAcceptable,
    /// 400: the body is not JSON.
    Parse,
    /// 400: the body is JSON, but not one message that is read here.
    InvalidRequest,
    /// 400: a header is missing or disagrees with the body (streamable-http, "Server Validation").
    HeaderMismatch,
    /// 400 (versioning, "Protocol Version Negotiation").
    UnsupportedVersion,
    /// 404 (streamable-http, "Protocol Version Header").
    MethodNotFound,
    /// 400: `_meta` lacks a required field (basic, "`_meta`").
    MissingMeta,
    /// 400: the params do not fit the method.
    InvalidParams,
    /// 400: the request needs what its client did not declare (basic, "`_meta`").
    MissingCapability,
}

/// What is wrong, before anyone knows whom to tell.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) kind: RejectionKind,
    pub(super) message: Cow<'static, str>,
    pub(super) data: Option<Value>,
}

impl Refusal {
    pub(super) fn new(kind: RejectionKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into(), data: None }
    }

    pub(super) fn parse(reason: &'static str) -> Self {
        Self::new(RejectionKind::Parse, format!("the body is not JSON: {reason}"))
    }

    pub(super) fn mismatch(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(RejectionKind::HeaderMismatch, message)
    }

    pub(super) fn params(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(RejectionKind::InvalidParams, message)
    }

    /// versioning, "Protocol Version Negotiation": MUST list the supported versions.
    pub(super) fn version(requested: &str) -> Self {
        Self {
            kind: RejectionKind::UnsupportedVersion,
            message: "Unsupported protocol version".into(),
            data: Some(json!({"supported": SUPPORTED_VERSIONS, "requested": requested})),
        }
    }

    pub(super) fn to(self, era: Era, id: Option<RequestId>) -> Rejection {
        Rejection { era, id, refusal: self }
    }
}

impl From<FrameFault> for Refusal {
    fn from(fault: FrameFault) -> Self {
        let kind = match fault {
            FrameFault::NotJson => RejectionKind::Parse,
            _ => RejectionKind::InvalidRequest,
        };
        Self::new(kind, fault.to_string())
    }
}

impl From<NotStrict> for Refusal {
    fn from(fault: NotStrict) -> Self {
        let kind = match fault {
            NotStrict::Malformed => RejectionKind::Parse,
            _ => RejectionKind::InvalidRequest,
        };
        Self::new(kind, fault.to_string())
    }
}

/// A refused message, ready to be answered.
#[derive(Debug)]
pub struct Rejection {
    era: Era,
    id: Option<RequestId>,
    refusal: Refusal,
}

impl Rejection {
    /// With what the error's `data` must hold.
    #[must_use]
    pub fn with_data(mut self, data: Value) -> Self {
        self.refusal.data = Some(data);
        self
    }

    /// Which rule was broken.
    pub fn kind(&self) -> RejectionKind {
        self.refusal.kind
    }

    /// In whose words it is answered.
    pub fn era(&self) -> Era {
        self.era
    }

    /// The request's id, if it could be read.
    pub fn id(&self) -> Option<&RequestId> {
        self.id.as_ref()
    }

    /// One sentence for the client's developer.
    pub fn message(&self) -> &str {
        &self.refusal.message
    }

    /// What the code says `data` must hold.
    pub fn data(&self) -> Option<&Value> {
        self.refusal.data.as_ref()
    }

    /// The number to send. A legacy client never sees the three that its revision does not define.
    pub fn code(&self) -> ErrorCode {
        use RejectionKind as Kind;
        let is_modern = self.era.is_modern();
        match self.refusal.kind {
            Kind::Parse => ErrorCode::ParseError,
            Kind::HeaderMismatch if is_modern => ErrorCode::HeaderMismatch,
            Kind::UnsupportedVersion if is_modern => ErrorCode::UnsupportedProtocolVersion,
            Kind::MissingCapability if is_modern => ErrorCode::MissingRequiredClientCapability,
            Kind::MethodNotFound => ErrorCode::MethodNotFound,
            Kind::MissingMeta | Kind::InvalidParams => ErrorCode::InvalidParams,
            Kind::TooManyHeaders
            | Kind::BadHeader
            | Kind::UnsupportedMediaType
            | Kind::NotAcceptable
            | Kind::InvalidRequest
            | Kind::HeaderMismatch
            | Kind::UnsupportedVersion
            | Kind::MissingCapability => ErrorCode::InvalidRequest,
        }
    }

    /// The JSON-RPC error response.
    pub fn body(&self) -> Vec<u8> {
        render_error(self.id(), self.code(), self.message(), self.data())
    }
}
