//! The one place where headers, `_meta` and body are compared.

use std::any::Any;
use std::borrow::Cow;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::json;

use super::accept::{Accept, Welcome};
use super::agreement::Agreement;
use super::era::{Era, LegacyVersion};
use super::frame::Frame;
use super::header::{self, Head};
use super::json::{JsonBuf, Text};
use super::jsonrpc::RequestId;
use super::meta::{Meta, WireMeta};
use super::method::Method;
use super::mirror::Mirror;
use super::notification::Notification;
use super::object::Object;
use super::params::Params;
use super::rejection::{Refusal, Rejection, RejectionKind};

/// What a POST can bring.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "moved once, and nearly always a request")]
pub enum Incoming {
    /// Somebody waits for an answer.
    Request(Envelope),
    /// Nobody waits: it gets 202.
    Notification(Notification),
    /// A legacy client answers a question: it gets 202. What it says is for whoever asked to read.
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
    _lease: Option<Box<dyn Any + Send + Sync>>,
}

impl Envelope {
    /// Reads a POST. It is the only way to get a request.
    pub fn parse(headers: &HeaderMap, body: &Bytes) -> Result<Incoming, Rejection> {
        let hint = header::era(headers);
        let refuse = |refusal: Refusal| refusal.to(hint, None);
        let head = Head::admit(headers).map_err(|refusal| refusal.to(hint, Frame::id(body)))?;
        let text = Text::of(body).ok_or_else(|| refuse(Refusal::parse("it is not UTF-8")))?;
        let (frame, strict) =
            Frame::read(text.get()).map_err(|no| Refusal::from(no.fault).to(hint, no.id))?;
        let strict = strict.map_err(Refusal::from);
        match frame {
            Frame::Request { id, method, params } => {
                let params = strict.and_then(|()| params.judge(&text));
                let params = params.map_err(|refusal| refusal.to(hint, Some(id.clone())))?;
                Self::agree(head, hint, id, &method, params).map(Incoming::Request)
            }
            Frame::Notification { method, params } => strict
                .and_then(|()| params.judge(&text))
                .map_err(refuse)
                .and_then(|params| Notification::agree(head, hint, &method, params))
                .map(Incoming::Notification),
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
        (params, wire): (Params, WireMeta<'_>),
    ) -> Result<Self, Rejection> {
        // versioning, "Backward Compatibility": modern `_meta` is served by the modern rules.
        // There is no modern handshake, and newer SDKs name the method when they begin one (mcp-remote 0.15.1 does).
        let is_handshake = method == Method::Initialize.as_str() && head.begins_a_handshake();
        let era = match wire.protocol_version {
            Some(_) => Era::Modern,
            None if is_handshake => Era::Legacy(LegacyVersion::UNSTATED),
            None => hint,
        };
        match Agreement::reach(head, era, method, &wire, &params) {
            Ok(Agreement { method, name, meta }) => {
                let mirrored =
                    head.params().map(|(name, value)| (name.clone(), value.clone())).collect();
                let accept = head.accept();
                Ok(Self { era, id, method, name, params, meta, mirrored, accept, _lease: None })
            }
            Err(refusal) => Err(refusal.to(era, Some(id))),
        }
    }

    /// The rules the request was held to, in whose words it is answered.
    pub fn era(&self) -> Era {
        self.era
    }

    /// The id, for the answer.
    pub fn id(&self) -> &RequestId {
        &self.id
    }

    /// What is asked. The era has this method.
    pub fn method(&self) -> Method {
        self.method
    }

    /// What the method is aimed at: a tool, a prompt, a resource's URI, a task. The method's
    /// [`NameSource`](super::NameSource) says which, and every method that has one has a name here.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// All params, `_meta` among them.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The arguments of a tool or prompt: an object, as it came.
    pub fn arguments(&self) -> Option<&JsonBuf> {
        self.params.held("arguments")
    }

    /// A param that has to be a string if it is there, such as a list's `cursor`.
    pub fn text_param(&self, key: &str) -> Result<Option<Cow<'_, str>>, Rejection> {
        self.params.string(key).map_err(|refusal| self.refusal(refusal))
    }

    /// A param that has to be an object if it is there, such as `inputResponses`.
    pub fn object_param(&self, key: &str) -> Result<Option<Object<'_>>, Rejection> {
        let read = |json| {
            let refuse =
                || Refusal::params(format!("params.{key} must be an object of fewer members"));
            Object::read(json).ok_or_else(|| self.refusal(refuse()))
        };
        self.params.get(key).map(read).transpose()
    }

    /// What the request says about itself.
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

    /// The `Mcp-Param-*` headers for whoever gets the call next: untouched as they came, or made from the arguments of a
    /// client whose revision has none (streamable-http, "Client Behavior").
    pub fn mirrored_headers(&self, mirrors: &[Mirror]) -> Vec<(HeaderName, HeaderValue)> {
        if self.era.is_modern() {
            return self.mirrored.clone();
        }
        let Some(arguments) = self.arguments() else { return Vec::new() };
        let header = |it: &Mirror| Some((it.header().clone(), it.header_value(arguments.json())?));
        mirrors.iter().filter_map(header).collect()
    }

    /// Compares the `Mcp-Param-*` headers with the arguments, once the tool is known
    /// (streamable-http, "Server Behavior for Custom Headers").
    pub fn check_mirrors(&self, mirrors: &[Mirror]) -> Result<(), Rejection> {
        // Legacy clients know no such headers.
        let mirrors = if self.era.is_modern() { mirrors } else { &[] };
        let check =
            |mirror: &Mirror| mirror.check(&self.mirrored, self.arguments().map(JsonBuf::json));
        mirrors.iter().try_for_each(check).map_err(|refusal| self.refusal(refusal))
    }

    /// The request, and with it for as long as it is held something else, such as the room it takes.
    #[must_use]
    pub fn keeping(self, lease: impl Any + Send + Sync) -> Self {
        Self { _lease: Some(Box::new(lease)), ..self }
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

    pub(super) fn refusal(&self, refusal: Refusal) -> Rejection {
        refusal.to(self.era, Some(self.id.clone()))
    }
}

#[cfg(test)]
mod tests {
    use http::header::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;
    use crate::mcp::ErrorCode;
    use crate::mcp::testing::{META, any_body, any_name, any_value, call, post, request};

    const MODERN: (&str, &str) = ("mcp-protocol-version", "2026-07-28");

    fn refuses(pairs: &[(&str, &str)], body: &str, code: ErrorCode, id: Option<&str>) {
        let refused = post(pairs, body).unwrap_err();
        assert_eq!(refused.code(), code, "{pairs:?} {body}");
        assert_eq!(refused.id().map(RequestId::as_json), id, "{pairs:?} {body}");
    }

    // The platform being replaced: its tutorials' curl commands must work as they stand.
    #[test]
    fn initialize_without_params_and_with_a_text_id_is_welcome() {
        let body = r#"{"jsonrpc":"2.0","id":"1","method":"initialize"}"#;
        let envelope = request(&[("accept", "*/*"), ("x-ms-apikey", "k")], body);
        assert_eq!(envelope.method(), Method::Initialize);
        assert_eq!(envelope.id().as_json(), r#""1""#);
        assert_eq!(envelope.era(), Era::Legacy(LegacyVersion::March2025));
        assert_eq!(envelope.text_param("protocolVersion").unwrap(), None);
        assert!(envelope.accepts_json() && !envelope.accepts_sse());
    }

    #[test]
    fn a_legacy_call_needs_no_headers() {
        let body = r#"{"jsonrpc":"2.0","id":"2","method":"tools/call","params":{"name":"launchShell","arguments":{"a":[1, 2]}}}"#;
        let envelope = request(&[], body);
        assert_eq!(envelope.method(), Method::CallTool);
        assert_eq!(envelope.name(), Some("launchShell"));
        assert_eq!(envelope.arguments().unwrap().get(), r#"{"a":[1, 2]}"#);
        let versioned = request(&[("mcp-protocol-version", "2025-11-25")], body);
        assert_eq!(versioned.era(), Era::Legacy(LegacyVersion::November2025));
    }

    // rmcp's default client asks for 2026-07-28 by a handshake, without a header or `_meta`.
    #[test]
    fn an_initialize_that_asks_for_the_modern_version_is_legacy() {
        let body = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2026-07-28","capabilities":{},"clientInfo":{"name":"a","version":"1"}}}"#;
        let envelope = request(&[], body);
        assert!(!envelope.era().is_modern());
        let asked = envelope.text_param("protocolVersion").unwrap();
        assert_eq!(LegacyVersion::negotiate(asked.as_deref()), LegacyVersion::LATEST);
    }

    // mcp-remote 0.15.1 sends `Mcp-Method` with the handshake, and no version before it was agreed on.
    #[test]
    fn an_initialize_that_only_names_its_method_is_legacy() {
        let named = ("mcp-method", "initialize");
        let body = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{}}"#;
        assert_eq!(request(&[named], body).era(), Era::Legacy(LegacyVersion::UNSTATED));
        refuses(&[("mcp-method", "tools/list")], body, ErrorCode::HeaderMismatch, Some("0"));
        let other = r#"{"jsonrpc":"2.0","id":0,"method":"tools/list"}"#;
        refuses(&[named], other, ErrorCode::HeaderMismatch, Some("0"));
        let modern =
            format!(r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{{META}}}}}"#);
        refuses(&[named], &modern, ErrorCode::HeaderMismatch, Some("0"));
        refuses(&[MODERN, named], &modern, ErrorCode::MethodNotFound, Some("0"));
    }

    #[test]
    fn legacy_clients_never_see_modern_errors() {
        let nameless = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}"#;
        refuses(&[], nameless, ErrorCode::InvalidParams, Some("1"));
        let modern_only = r#"{"jsonrpc":"2.0","id":1,"method":"server/discover"}"#;
        refuses(&[], modern_only, ErrorCode::MethodNotFound, Some("1"));
        let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
        let twice = [("mcp-name", "a"), ("mcp-name", "a")];
        refuses(&twice, ping, ErrorCode::InvalidRequest, Some("1"));
        assert_eq!(request(&[("mcp-name", "a")], ping).method(), Method::Ping);
    }

    // versioning, "Backward Compatibility": modern `_meta` is served by the modern rules.
    #[test]
    fn meta_alone_makes_a_request_modern() {
        let body =
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{{META}}}}}"#);
        refuses(&[], &body, ErrorCode::HeaderMismatch, Some("1"));
    }

    // basic, "Error Responses": MUST include the same ID wherever it can be read.
    #[test]
    fn a_refused_header_still_echoes_the_id() {
        let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
        refuses(&[MODERN, MODERN], ping, ErrorCode::HeaderMismatch, Some("1"));
        refuses(&[("content-encoding", "gzip")], ping, ErrorCode::InvalidRequest, Some("1"));
        refuses(&[MODERN, MODERN], "{", ErrorCode::HeaderMismatch, None);
    }

    #[test]
    fn arguments_are_an_object_or_absent() {
        assert_eq!(call(&[], "{}").arguments().unwrap().get(), "{}");
        assert!(call(&[], "null").arguments().is_none());
        for arguments in ["[]", "1", "\"{}\""] {
            let body = format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"a","arguments":{arguments}}}}}"#
            );
            refuses(&[], &body, ErrorCode::InvalidParams, Some("1"));
        }
    }

    // streamable-http, "Sending Messages" 4: the body MUST be one message and no response.
    #[test]
    fn responses_are_legacy() {
        let body = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
        assert!(matches!(post(&[], body), Ok(Incoming::Response)));
        refuses(&[MODERN], body, ErrorCode::InvalidRequest, None);
    }

    #[test]
    fn the_body_is_read_strictly_and_the_id_still_echoed() {
        let list = |params: &str| {
            format!(r#"{{"jsonrpc":"2.0","method":"tools/list","params":{{{params}}},"id":7}}"#)
        };
        let deep = format!(r#""a":{}1{}"#, "[".repeat(100), "]".repeat(100));
        for params in [r#""a":1,"a":2"#, r#""_meta":{"x":{"y":1,"\u0079":2}}"#, &deep] {
            refuses(&[], &list(params), ErrorCode::InvalidRequest, Some("7"));
        }
        refuses(&[], &list(r#""a":"\ud800""#), ErrorCode::ParseError, Some("7"));
        refuses(&[], "{", ErrorCode::ParseError, None);
        refuses(&[MODERN], "[]", ErrorCode::InvalidRequest, None);
        let json = HeaderMap::from_iter([(
            HeaderName::from_static("content-type"),
            HeaderValue::from_static("application/json"),
        )]);
        let refused = Envelope::parse(&json, &Bytes::from_static(b"\xff{}")).unwrap_err();
        assert_eq!(refused.kind(), RejectionKind::Parse);
    }

    // basic, "Requests": a request MUST include an ID.
    #[test]
    fn a_request_without_an_id_is_refused_and_not_swallowed() {
        let body = r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"a"}}"#;
        refuses(&[], body, ErrorCode::InvalidRequest, None);
    }

    // Its answer is a stream whatever happens, so `Accept` may not rule streams out.
    #[test]
    fn listen_needs_a_client_that_takes_streams() {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{{"notifications":{{}},{META}}}}}"#
        );
        let pairs = |accept| [MODERN, ("mcp-method", "subscriptions/listen"), ("accept", accept)];
        let refused = post(&pairs("application/json"), &body).unwrap_err();
        assert_eq!(refused.kind(), RejectionKind::NotAcceptable);
        assert!(post(&pairs("text/event-stream"), &body).is_ok());
        assert!(post(&pairs("*/*"), &body).is_ok());
    }

    // basic, "`_meta`": an undeclared capability MUST be named in `requiredCapabilities`.
    #[test]
    fn an_undeclared_extension_is_named() {
        let refused = call(&[], "{}").require_extension("a/b").unwrap_err();
        assert_eq!(refused.code(), ErrorCode::MissingRequiredClientCapability);
        let data = json!({"requiredCapabilities": {"extensions": {"a/b": {}}}});
        assert_eq!(refused.data(), Some(&data));
    }

    #[test]
    fn an_unknown_tool_is_refused_in_the_words_of_its_request() {
        let refused = call(&[], "{}").reject(RejectionKind::InvalidParams, "Unknown tool: echo");
        assert_eq!(
            refused.body(),
            br#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"Unknown tool: echo"}}"#
        );
    }

    proptest! {
        #[test]
        fn arbitrary_posts_never_panic(
            pairs in proptest::collection::vec((any_name(), any_value()), 0..8),
            is_json in any::<bool>(),
            body in any_body(),
        ) {
            let mut headers = HeaderMap::new();
            if is_json {
                headers.insert("content-type", HeaderValue::from_static("application/json"));
            }
            for (name, value) in pairs {
                let name = HeaderName::from_bytes(name.as_bytes());
                if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(&value)) {
                    headers.append(name, value);
                }
            }
            let body = Bytes::from(body);
            match Envelope::parse(&headers, &body) {
                // Whatever got in is at least JSON with an id of ours to echo.
                Ok(Incoming::Request(envelope)) => {
                    prop_assert!(serde_json::from_slice::<serde_json::Value>(&body).is_ok());
                    prop_assert_eq!(envelope.id().as_json(), "1");
                }
                Ok(_) => {}
                Err(refused) => {
                    let body = refused.body();
                    prop_assert!(serde_json::from_slice::<serde_json::Value>(&body).is_ok());
                }
            }
        }
    }
}
