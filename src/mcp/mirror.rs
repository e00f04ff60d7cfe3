//! Tool arguments repeated in `Mcp-Param-*` headers (streamable-http, "Custom Headers from Tool
//! Parameters").

use http::header::{HeaderName, HeaderValue};
use serde_json::value::RawValue;

use super::header::{PARAM_PREFIX, decoded};
use super::raw;
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

    /// Does the header say what the arguments say ("Server Behavior for Custom Headers")?
    pub(super) fn check(
        &self,
        headers: &[(HeaderName, HeaderValue)],
        arguments: Option<&RawValue>,
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
    fn value<'a>(&self, arguments: &'a RawValue) -> Option<&'a RawValue> {
        let found = self.path.iter().try_fold(arguments, |object, key| raw::member(object, key))?;
        (!raw::is_null(found)).then_some(found)
    }
}

/// A client cannot mirror anything else; that such a value is wrong is for the tool to say.
fn is_primitive(value: &RawValue) -> bool {
    !value.get().starts_with(['{', '['])
}

fn is_same(header: &str, value: &RawValue) -> bool {
    if let Some(text) = raw::string(value) {
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
