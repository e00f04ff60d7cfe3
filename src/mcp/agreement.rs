//! The headers that repeat the body, held against it (streamable-http, "Server Validation").
//!
//! A load balancer routes by the headers and we act on the body: where they differ, someone is
//! being fooled.

use serde_json::json;

use super::accept::Welcome;
use super::era::{Era, MODERN_VERSION, SUPPORTED_VERSIONS};
use super::header::Head;
use super::json::Json;
use super::meta::{Meta, WireMeta};
use super::method::{Method, NameSource};
use super::params::Params;
use super::rejection::{Refusal, RejectionKind};

/// The longest unknown method that is repeated to its sender.
const MAX_ECHO_CHARS: usize = 64;

/// What the headers and the body say together.
pub(super) struct Agreement {
    pub(super) method: Method,
    pub(super) name: Option<String>,
    pub(super) meta: Meta,
}

impl Agreement {
    /// Holds a request to the rules of its era.
    pub(super) fn reach(
        head: Head<'_>,
        era: Era,
        method: &str,
        wire: &WireMeta<'_>,
        params: &Params,
    ) -> Result<Self, Refusal> {
        let key_header = head.idempotency_key()?;
        let (method, meta, name) = if era.is_modern() {
            // The version comes first: what another version means by the rest, we cannot know.
            modern_version(head, wire.protocol_version)?;
            let method = modern_method(head, method)?;
            (method, Meta::read(wire, era, key_header)?, modern_name(head, method, params)?)
        } else {
            // No revision with a handshake has these headers, so there is nothing to compare.
            let method = legacy_method(method)?;
            (method, Meta::read(wire, era, key_header)?, legacy_name(method, params)?)
        };
        params.expect_object("arguments")?;
        if method == Method::Listen && head.accept().sse == Welcome::No {
            let message = "subscriptions/listen is answered by text/event-stream only";
            return Err(Refusal::new(RejectionKind::NotAcceptable, message));
        }
        Ok(Self { method, name, meta })
    }
}

/// `MCP-Protocol-Version` and `_meta` name the same version, and we speak it.
fn modern_version(head: Head<'_>, in_meta: Option<Json<'_>>) -> Result<(), Refusal> {
    let Some(header) = head.protocol_version()? else {
        return Err(Refusal::mismatch("Header mismatch: MCP-Protocol-Version is missing"));
    };
    let lacking = |message| Err(Refusal::new(RejectionKind::MissingMeta, message));
    let Some(in_meta) = in_meta else {
        // What `_meta` of a version we do not know looks like, we do not know either.
        return if header == MODERN_VERSION {
            lacking("params._meta lacks io.modelcontextprotocol/protocolVersion")
        } else {
            Err(Refusal::version(header))
        };
    };
    let Some(in_meta) = in_meta.string() else {
        return lacking("io.modelcontextprotocol/protocolVersion must be a string");
    };
    if header != in_meta {
        return Err(Refusal::mismatch(
            "Header mismatch: MCP-Protocol-Version does not match \
             io.modelcontextprotocol/protocolVersion",
        ));
    }
    // A legacy version is spoken here too, but by `initialize`, never with this `_meta`.
    if header == MODERN_VERSION { Ok(()) } else { Err(Refusal::version(header)) }
}

/// `Mcp-Method` is the body's method, and this revision has it.
fn modern_method(head: Head<'_>, in_body: &str) -> Result<Method, Refusal> {
    match head.method()? {
        None => return Err(Refusal::mismatch("Header mismatch: Mcp-Method is missing")),
        Some(header) if header != in_body => {
            return Err(Refusal::mismatch("Header mismatch: Mcp-Method does not match method"));
        }
        Some(_) => {}
    }
    let known = Method::from_wire(in_body);
    known.filter(|method| method.is_modern()).ok_or_else(|| unknown_method(in_body))
}

fn legacy_method(in_body: &str) -> Result<Method, Refusal> {
    let known = Method::from_wire(in_body);
    known.filter(|method| method.is_legacy()).ok_or_else(|| unknown_method(in_body))
}

/// `Mcp-Name`, decoded, is what the body names. Methods that name nothing have nothing to compare.
fn modern_name(head: Head<'_>, method: Method, params: &Params) -> Result<Option<String>, Refusal> {
    let Some(source) = method.name_source() else { return Ok(None) };
    let Some(header) = head.name()? else {
        // A body that names nothing is the greater fault.
        body_name(source, params)?;
        return Err(Refusal::mismatch("Header mismatch: Mcp-Name is missing"));
    };
    if params.string(source.key())?.as_deref() != Some(&*header) {
        let key = source.key();
        return Err(Refusal::mismatch(format!(
            "Header mismatch: Mcp-Name does not match params.{key}"
        )));
    }
    Ok(Some(header.into_owned()))
}

fn legacy_name(method: Method, params: &Params) -> Result<Option<String>, Refusal> {
    method.name_source().map(|source| body_name(source, params)).transpose()
}

/// Which headers a notification needs is not defined (streamable-http, "Sending Messages"), so it
/// needs none; those it has must not lie.
pub(super) fn notification(
    head: Head<'_>,
    era: Era,
    in_body: &str,
    version_in_meta: Option<Json<'_>>,
) -> Result<(), Refusal> {
    if Method::from_wire(in_body).is_some() {
        // basic, "Requests": MUST include an ID.
        return Err(Refusal::new(RejectionKind::InvalidRequest, format!("{in_body} needs an id")));
    }
    if head.method()?.is_some_and(|header| header != in_body) {
        return Err(Refusal::mismatch("Header mismatch: Mcp-Method does not match method"));
    }
    let Some(header) = head.protocol_version()?.filter(|_| era.is_modern()) else { return Ok(()) };
    if version_in_meta.is_some_and(|json| json.string().as_deref() != Some(header)) {
        return Err(Refusal::mismatch(
            "Header mismatch: MCP-Protocol-Version does not match _meta",
        ));
    }
    if header == MODERN_VERSION { Ok(()) } else { Err(Refusal::version(header)) }
}

fn body_name(source: NameSource, params: &Params) -> Result<String, Refusal> {
    let key = source.key();
    let name = params.string(key)?;
    name.map(String::from).ok_or_else(|| Refusal::params(format!("params.{key} is missing")))
}

fn unknown_method(name: &str) -> Refusal {
    let echo: String = name.chars().take(MAX_ECHO_CHARS).collect();
    let mut refusal =
        Refusal::new(RejectionKind::MethodNotFound, format!("Method not found: {echo}"));
    if name == "initialize" {
        // versioning, "Backward Compatibility": such an error SHOULD name the versions.
        refusal.data = Some(json!({"supported": SUPPORTED_VERSIONS}));
    }
    refusal
}

#[cfg(test)]
mod tests {
    use crate::mcp::testing::{META, post, request};
    use crate::mcp::{ErrorCode, Incoming, RequestId};

    const VERSION: (&str, &str) = ("mcp-protocol-version", "2026-07-28");
    const CALL: (&str, &str) = ("mcp-method", "tools/call");

    /// `params` without their braces.
    fn body(method: &str, params: &str) -> String {
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{params}}}}}"#)
    }

    fn call_body(name: &str) -> String {
        body("tools/call", &format!(r#""name":"{name}",{META}"#))
    }

    fn refuses(pairs: &[(&str, &str)], body: &str, code: ErrorCode) {
        let refused = post(pairs, body).unwrap_err();
        assert_eq!(refused.code(), code, "{pairs:?} {body}");
        assert_eq!(refused.id().map(RequestId::as_json), Some("1"), "{pairs:?} {body}");
        assert!(refused.era().is_modern());
    }

    fn versions(header: Option<&str>, in_meta: Option<&str>, code: ErrorCode) {
        let mut pairs = vec![("mcp-method", "tools/list")];
        pairs.extend(header.map(|version| (VERSION.0, version)));
        let version =
            in_meta.map(|json| format!(r#""io.modelcontextprotocol/protocolVersion":{json},"#));
        let meta = format!(
            r#""_meta":{{{}"io.modelcontextprotocol/clientCapabilities":{{}}}}"#,
            version.unwrap_or_default()
        );
        refuses(&pairs, &body("tools/list", &meta), code);
    }

    // streamable-http, "Protocol Version Header": every POST MUST include the header.
    #[test]
    fn a_missing_version_header_is_a_mismatch() {
        versions(None, Some(r#""2026-07-28""#), ErrorCode::HeaderMismatch);
        versions(None, None, ErrorCode::HeaderMismatch);
    }

    // The same section: the header MUST match `_meta`, otherwise MUST be HeaderMismatch.
    #[test]
    fn differing_versions_are_a_mismatch() {
        versions(Some("2026-07-28"), Some(r#""2027-01-01""#), ErrorCode::HeaderMismatch);
        versions(Some("2025-11-25"), Some(r#""2026-07-28""#), ErrorCode::HeaderMismatch);
        versions(Some("2027-01-01"), Some(r#""2026-07-28""#), ErrorCode::HeaderMismatch);
    }

    // versioning, "Protocol Version Negotiation": MUST be UnsupportedProtocolVersion.
    #[test]
    fn equal_versions_we_do_not_speak_this_way_are_unsupported() {
        let unsupported = ErrorCode::UnsupportedProtocolVersion;
        versions(Some("1900-01-01"), Some(r#""1900-01-01""#), unsupported);
        versions(Some("2025-11-25"), Some(r#""2025-11-25""#), unsupported);
        versions(Some("1900-01-01"), None, unsupported);
    }

    #[test]
    fn an_unsupported_version_is_echoed_beside_the_supported_one() {
        let meta = META.replace("2026-07-28", "1900-01-01");
        let pairs = [(VERSION.0, "1900-01-01"), ("mcp-method", "tools/list")];
        let refused = post(&pairs, &body("tools/list", &meta)).unwrap_err();
        let data = serde_json::json!({"supported": ["2026-07-28"], "requested": "1900-01-01"});
        assert_eq!(refused.data(), Some(&data));
    }

    // basic, "`_meta`": a request missing a required field MUST be rejected with -32602.
    #[test]
    fn missing_meta_is_invalid_params() {
        versions(Some("2026-07-28"), None, ErrorCode::InvalidParams);
        versions(Some("2026-07-28"), Some("null"), ErrorCode::InvalidParams);
        versions(Some("2026-07-28"), Some("20260728"), ErrorCode::InvalidParams);
        let pairs = [VERSION, ("mcp-method", "tools/list")];
        for params in [
            "",
            r#""_meta":null"#,
            r#""_meta":[]"#,
            r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#,
            r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":[]}"#,
        ] {
            refuses(&pairs, &body("tools/list", params), ErrorCode::InvalidParams);
        }
        let bare = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
        refuses(&pairs, bare, ErrorCode::InvalidParams);
        let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":[]}"#;
        refuses(&pairs, list, ErrorCode::InvalidParams);
    }

    // streamable-http, "Standard Request Headers": Mcp-Method is required for all requests.
    #[test]
    fn a_missing_or_different_method_header_is_a_mismatch() {
        let name = ("mcp-name", "echo");
        refuses(&[VERSION, name], &call_body("echo"), ErrorCode::HeaderMismatch);
        for method in ["tools/list", "Tools/Call", "", "=?base64?dG9vbHMvY2FsbA==?="] {
            let pairs = [VERSION, name, ("mcp-method", method)];
            refuses(&pairs, &call_body("echo"), ErrorCode::HeaderMismatch);
        }
    }

    // The same section: Mcp-Name is required for tools/call, resources/read and prompts/get, and by
    // SEP-2663, "Streamable HTTP: Routing Headers", for tasks/*.
    #[test]
    fn a_missing_or_different_name_header_is_a_mismatch() {
        for (method, key) in [
            ("tools/call", "name"),
            ("prompts/get", "name"),
            ("resources/read", "uri"),
            ("tasks/get", "taskId"),
            ("tasks/update", "taskId"),
            ("tasks/cancel", "taskId"),
        ] {
            let body = body(method, &format!(r#""{key}":"a",{META}"#));
            let method = ("mcp-method", method);
            refuses(&[VERSION, method], &body, ErrorCode::HeaderMismatch);
            for name in ["b", "A", "", "=?base64?Yg==?="] {
                refuses(&[VERSION, method, ("mcp-name", name)], &body, ErrorCode::HeaderMismatch);
            }
            let accepted = request(&[VERSION, method, ("mcp-name", "a")], &body);
            assert_eq!(accepted.name(), Some("a"));
        }
    }

    // streamable-http, "Value Encoding": servers MUST decode an encoded Mcp-Name before comparing.
    #[test]
    fn a_name_is_compared_after_decoding_and_trimming() {
        for (header, name) in [
            ("=?base64?w7w=?=", "ü"),
            ("=?base64??=", ""),
            ("", ""),
            ("  echo\t", "echo"),
            ("=?base64?IHBhZGRlZCA=?=", " padded "),
            ("=?BASE64?w7w=?=", "=?BASE64?w7w=?="),
        ] {
            let accepted = request(&[VERSION, CALL, ("Mcp-Name", header)], &call_body(name));
            assert_eq!(accepted.name(), Some(name));
        }
    }

    #[test]
    fn a_body_that_names_nothing_is_invalid_params() {
        let nameless = body("tools/call", META);
        refuses(&[VERSION, CALL], &nameless, ErrorCode::InvalidParams);
        refuses(&[VERSION, CALL, ("mcp-name", "a")], &nameless, ErrorCode::HeaderMismatch);
        let numbered = body("tools/call", &format!(r#""name":1,{META}"#));
        refuses(&[VERSION, CALL], &numbered, ErrorCode::InvalidParams);
        refuses(&[VERSION, CALL, ("mcp-name", "1")], &numbered, ErrorCode::InvalidParams);
    }

    #[test]
    fn a_name_nobody_asked_for_is_ignored() {
        let pairs = [VERSION, ("mcp-method", "tools/list"), ("mcp-name", "echo")];
        assert_eq!(request(&pairs, &body("tools/list", META)).name(), None);
    }

    // streamable-http, "Protocol Version Header": an RPC that is not implemented MUST be -32601.
    #[test]
    fn removed_and_unknown_methods_are_not_found() {
        for method in ["initialize", "ping", "logging/setLevel", "tasks/list", "unknown/method"] {
            let pairs = [VERSION, ("mcp-method", method)];
            refuses(&pairs, &body(method, META), ErrorCode::MethodNotFound);
        }
        let pairs = [VERSION, ("mcp-method", "notifications/initialized")];
        let notice = body("notifications/initialized", META);
        refuses(&pairs, &notice, ErrorCode::MethodNotFound);
    }

    // versioning, "Backward Compatibility": an error to `initialize` SHOULD name the versions.
    #[test]
    fn a_refused_initialize_names_our_versions() {
        let pairs = [VERSION, ("mcp-method", "initialize")];
        let refused = post(&pairs, &body("initialize", META)).unwrap_err();
        assert_eq!(refused.data(), Some(&serde_json::json!({"supported": ["2026-07-28"]})));
    }

    fn notifies(pairs: &[(&str, &str)], params: &str) -> Result<(), ErrorCode> {
        let body = format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{{params}}}}}"#
        );
        match post(pairs, &body) {
            Ok(Incoming::Notification(_)) => Ok(()),
            Ok(other) => panic!("{other:?}"),
            Err(refused) => {
                assert!(refused.id().is_none());
                Err(refused.code())
            }
        }
    }

    // streamable-http, "Sending Messages": headers of notifications are not defined.
    #[test]
    fn a_notification_needs_no_headers() {
        assert_eq!(notifies(&[], ""), Ok(()));
        assert_eq!(notifies(&[VERSION], ""), Ok(()));
        assert_eq!(notifies(&[VERSION], META), Ok(()));
        assert_eq!(notifies(&[("mcp-protocol-version", "2025-11-25")], ""), Ok(()));
        assert_eq!(notifies(&[VERSION, ("mcp-method", "notifications/cancelled")], META), Ok(()));
    }

    #[test]
    fn a_notification_whose_headers_lie_is_refused() {
        assert_eq!(notifies(&[VERSION, CALL], META), Err(ErrorCode::HeaderMismatch));
        let legacy = ("mcp-protocol-version", "2025-11-25");
        assert_eq!(notifies(&[legacy], META), Err(ErrorCode::HeaderMismatch));
        let unknown = ("mcp-protocol-version", "1900-01-01");
        assert_eq!(notifies(&[unknown], ""), Err(ErrorCode::UnsupportedProtocolVersion));
    }
}
