//! The one place where headers, `_meta` and body are compared.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::json;
use serde_json::value::RawValue;

use super::agreement;
use super::era::{Era, LegacyVersion, MODERN_VERSION};
use super::header::{self, Accept, Head, Welcome};
use super::jsonrpc::{Frame, RequestId};
use super::meta::{Meta, WireMeta};
use super::method::{Method, Notice};
use super::mirror::Mirror;
use super::params::Params;
use super::raw;
use super::rejection::{Refusal, Rejection, RejectionKind};
use super::strict;

/// What a POST can bring.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "moved once, and nearly always a request")]
pub enum Incoming {
    Request(Envelope),
    Notification(Notification),
    /// A legacy client answers a question. We ask none, so it gets 202 and is forgotten.
    Response,
}

/// One request whose headers, `_meta` and body agree.
///
/// Holding one means that every rule of the transport, versioning and `_meta` pages has been
/// checked, except those that need a tool's schema: [`Envelope::check_mirrors`].
#[derive(Debug)]
pub struct Envelope {
    era: Era,
    id: RequestId,
    method: Method,
    name: Option<String>,
    params: Params,
    meta: Meta,
    mirrored: Vec<(HeaderName, HeaderValue)>,
    accept: Accept,
}

/// Something a client told us; nobody waits for an answer.
#[derive(Debug)]
pub struct Notification {
    era: Era,
    notice: Notice,
    params: Params,
}

impl Envelope {
    /// Reads a POST. It is the only way to get a request.
    pub fn parse(headers: &HeaderMap, body: &Bytes) -> Result<Incoming, Rejection> {
        let hint = header::era(headers);
        let refuse = |refusal: Refusal| refusal.to(hint, None);
        let head = Head::admit(headers).map_err(refuse)?;
        let text = str::from_utf8(body).map_err(|_| refuse(Refusal::parse("it is not UTF-8")))?;
        let frame = Frame::read(text).map_err(|no| Refusal::from(no.fault).to(hint, no.id))?;
        let strict = strict::check(text).map_err(Refusal::from);
        match frame {
            Frame::Request { id, method, params } => {
                let params = strict.and_then(|()| Params::read(params));
                let params = params.map_err(|refusal| refusal.to(hint, Some(id.clone())))?;
                Self::agree(head, hint, id, &method, params).map(Incoming::Request)
            }
            Frame::Notification { method, params } => strict
                .and_then(|()| Params::read(params))
                .and_then(|params| Notification::agree(head, hint, &method, params))
                .map(Incoming::Notification)
                .map_err(refuse),
            // streamable-http, "Sending Messages" 4: the client MUST NOT send responses.
            Frame::Response if hint.is_modern() => Err(refuse(Refusal::new(
                RejectionKind::InvalidRequest,
                "the body must be a request or a notification, not a response",
            ))),
            Frame::Response => strict.map(|()| Incoming::Response).map_err(refuse),
        }
    }

    /// Settles the era, then holds headers and body to its rules.
    fn agree(
        head: Head<'_>,
        hint: Era,
        id: RequestId,
        method: &str,
        params: Params,
    ) -> Result<Self, Rejection> {
        let wire = match WireMeta::read(params.get("_meta")) {
            Ok(wire) => wire,
            Err(refusal) => return Err(refusal.to(hint, Some(id))),
        };
        // versioning, "Backward Compatibility": modern `_meta` is served by the modern rules.
        let era = if wire.protocol_version.is_some() { Era::Modern } else { hint };
        let checked = match era {
            Era::Modern => Checked::modern(head, method, &wire, &params),
            Era::Legacy(version) => Checked::legacy(head, version, method, &wire, &params),
        };
        match checked {
            Ok(Checked { method, name, meta }) => {
                let mirrored =
                    head.params().map(|(name, value)| (name.clone(), value.clone())).collect();
                Ok(Self { era, id, method, name, params, meta, mirrored, accept: head.accept() })
            }
            Err(refusal) => Err(refusal.to(era, Some(id))),
        }
    }

    pub fn era(&self) -> Era {
        self.era
    }

    pub fn id(&self) -> &RequestId {
        &self.id
    }

    pub fn method(&self) -> Method {
        self.method
    }

    /// What the method is aimed at: a tool, a prompt, a resource's URI, a task. The method's
    /// [`NameSource`](super::NameSource) says which, and every method that has one has a name here.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The arguments of a tool or prompt: an object, as it came.
    pub fn arguments(&self) -> Option<&RawValue> {
        self.params.get("arguments")
    }

    /// A param that has to be a string if it is there, such as a list's `cursor`.
    pub fn text_param(&self, key: &str) -> Result<Option<Cow<'_, str>>, Rejection> {
        self.params.string(key).map_err(|refusal| self.refusal(refusal))
    }

    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Does `Accept` name `text/event-stream`? A wildcard is not enough to be sent a stream unasked.
    pub fn accepts_sse(&self) -> bool {
        self.accept.sse == Welcome::Named
    }

    /// Does `Accept` allow `application/json`? A client that says nothing does.
    pub fn accepts_json(&self) -> bool {
        self.accept.json != Welcome::No
    }

    /// The `Mcp-Param-*` headers as they came, to be sent on untouched.
    pub fn mirrored_headers(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        self.mirrored.iter().map(|(name, value)| (name, value))
    }

    /// Compares the `Mcp-Param-*` headers with the arguments, once the tool is known
    /// (streamable-http, "Server Behavior for Custom Headers").
    pub fn check_mirrors(&self, mirrors: &[Mirror]) -> Result<(), Rejection> {
        // Legacy clients know no such headers.
        let mirrors = if self.era.is_modern() { mirrors } else { &[] };
        let check = |mirror: &Mirror| mirror.check(&self.mirrored, self.arguments());
        mirrors.iter().try_for_each(check).map_err(|refusal| self.refusal(refusal))
    }

    /// Refuses this request for a reason found behind the door, such as an unknown tool.
    pub fn reject(&self, kind: RejectionKind, message: impl Into<Cow<'static, str>>) -> Rejection {
        self.refusal(Refusal::new(kind, message))
    }

    /// Refuses this request because its client did not declare an extension (basic, "`_meta`").
    pub fn require_extension(&self, extension: &str) -> Result<(), Rejection> {
        if self.meta.client_capabilities().declares_extension(extension) {
            return Ok(());
        }
        let required = json!({"requiredCapabilities": {"extensions": {extension: {}}}});
        Err(self.refusal(Refusal {
            kind: RejectionKind::MissingCapability,
            message: format!("the request needs the extension {extension}").into(),
            data: Some(required),
        }))
    }

    fn refusal(&self, refusal: Refusal) -> Rejection {
        refusal.to(self.era, Some(self.id.clone()))
    }
}

/// What the headers and the body say together.
struct Checked {
    method: Method,
    name: Option<String>,
    meta: Meta,
}

impl Checked {
    /// The version comes first: what another version means by the rest, we cannot know.
    fn modern(
        head: Head<'_>,
        method: &str,
        wire: &WireMeta<'_>,
        params: &Params,
    ) -> Result<Self, Refusal> {
        agreement::modern_version(head, wire.protocol_version)?;
        let method = agreement::modern_method(head, method)?;
        let meta = Meta::read(wire, Era::Modern, head.idempotency_key()?)?;
        let name = agreement::modern_name(head, method, params)?;
        params.expect_object("arguments")?;
        if method == Method::Listen && head.accept().sse == Welcome::No {
            let message = "subscriptions/listen is answered by text/event-stream only";
            return Err(Refusal::new(RejectionKind::NotAcceptable, message));
        }
        Ok(Self { method, name, meta })
    }

    /// No revision with a handshake knows our headers, so there is nothing to compare.
    fn legacy(
        head: Head<'_>,
        version: LegacyVersion,
        method: &str,
        wire: &WireMeta<'_>,
        params: &Params,
    ) -> Result<Self, Refusal> {
        let method = agreement::legacy_method(method)?;
        let meta = Meta::read(wire, Era::Legacy(version), head.idempotency_key()?)?;
        let name = agreement::legacy_name(method, params)?;
        params.expect_object("arguments")?;
        Ok(Self { method, name, meta })
    }
}

impl Notification {
    /// Which headers a notification needs is not defined (streamable-http, "Sending Messages"), so
    /// it needs none; those it has must not lie.
    fn agree(head: Head<'_>, hint: Era, method: &str, params: Params) -> Result<Self, Refusal> {
        if Method::from_wire(method).is_some() {
            let message = format!("{method} needs an id");
            return Err(Refusal::new(RejectionKind::InvalidRequest, message));
        }
        if head.method()?.is_some_and(|header| header != method) {
            return Err(Refusal::mismatch("Header mismatch: Mcp-Method does not match method"));
        }
        let wire = WireMeta::read(params.get("_meta"))?;
        let in_meta = wire.protocol_version.and_then(raw::string);
        let era = if in_meta.is_some() { Era::Modern } else { hint };
        if let (Some(header), true) = (head.protocol_version()?, era.is_modern()) {
            if in_meta.is_some_and(|in_meta| in_meta != header) {
                return Err(Refusal::mismatch(
                    "Header mismatch: MCP-Protocol-Version does not match _meta",
                ));
            }
            if header != MODERN_VERSION {
                return Err(Refusal::version(header));
            }
        }
        Ok(Self { era, notice: Notice::from_wire(method), params })
    }

    pub fn era(&self) -> Era {
        self.era
    }

    pub fn notice(&self) -> Notice {
        self.notice
    }

    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The request that `notifications/cancelled` is about. Without a session the id alone names
    /// nothing: other clients use the same ones.
    pub fn cancelled(&self) -> Option<RequestId> {
        let id = (self.notice == Notice::Cancelled).then(|| self.params.get("requestId"))??;
        RequestId::read(id)
    }
}
