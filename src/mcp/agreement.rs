//! The headers that repeat the body, held against it (streamable-http, "Server Validation").
//!
//! A load balancer routes by the headers and we act on the body: where they differ, someone is
//! being fooled.

use serde_json::json;
use serde_json::value::RawValue;

use super::era::{MODERN_VERSION, SUPPORTED_VERSIONS};
use super::header::Head;
use super::method::{Method, NameSource};
use super::params::Params;
use super::raw;
use super::rejection::{Refusal, RejectionKind};

/// The longest unknown method that is repeated to its sender.
const MAX_ECHO_CHARS: usize = 64;

/// `MCP-Protocol-Version` and `_meta` name the same version, and we speak it.
pub(super) fn modern_version(head: Head<'_>, in_meta: Option<&RawValue>) -> Result<(), Refusal> {
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
    let Some(in_meta) = raw::string(in_meta) else {
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
pub(super) fn modern_method(head: Head<'_>, in_body: &str) -> Result<Method, Refusal> {
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

pub(super) fn legacy_method(in_body: &str) -> Result<Method, Refusal> {
    let known = Method::from_wire(in_body);
    known.filter(|method| method.is_legacy()).ok_or_else(|| unknown_method(in_body))
}

/// `Mcp-Name`, decoded, is what the body names. Methods that name nothing have nothing to compare.
pub(super) fn modern_name(
    head: Head<'_>,
    method: Method,
    params: &Params,
) -> Result<Option<String>, Refusal> {
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

pub(super) fn legacy_name(method: Method, params: &Params) -> Result<Option<String>, Refusal> {
    method.name_source().map(|source| body_name(source, params)).transpose()
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
