//! Who asks, by its own account, and what it can do (basic, "Per-request protocol fields").

use serde_json::value::RawValue;

use super::era::LegacyVersion;
use super::raw;
use super::rejection::{Refusal, RejectionKind};

/// Who the client says it is. For logs only: nobody verified it.
#[derive(Debug, Clone)]
pub struct ClientInfo {
    name: String,
    version: String,
    raw: Box<RawValue>,
}

impl ClientInfo {
    pub(super) fn read(raw: &RawValue) -> Result<Self, Refusal> {
        let text = |key| raw::member(raw, key).and_then(raw::string).map(String::from);
        let (name, version) = text("name")
            .zip(text("version"))
            .ok_or_else(|| Refusal::params("clientInfo must be an object with name and version"))?;
        Ok(Self { name, version, raw: raw.to_owned() })
    }

    /// The client software's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The client software's version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The whole object as it came, to be sent on.
    pub fn raw(&self) -> &RawValue {
        &self.raw
    }
}

/// What the client can do, on this request; a legacy request declares nothing.
#[derive(Debug, Clone, Default)]
pub struct ClientCapabilities(Option<Box<RawValue>>);

impl ClientCapabilities {
    pub(super) fn read(raw: Option<&RawValue>) -> Result<Self, Refusal> {
        let refuse = |message| Refusal::new(RejectionKind::MissingMeta, message);
        let raw = raw.ok_or_else(|| {
            refuse("params._meta lacks io.modelcontextprotocol/clientCapabilities")
        })?;
        if !raw::is_object(raw) {
            return Err(refuse("clientCapabilities must be an object"));
        }
        Ok(Self(Some(raw.to_owned())))
    }

    /// What a client of a legacy revision is taken for when it can be asked: it said in a handshake that nobody kept,
    /// and refuses for itself what it cannot do. The parts that few can do are left out.
    pub fn assumed(version: LegacyVersion) -> Self {
        let text = match version {
            LegacyVersion::March2025 => r#"{"roots":{},"sampling":{}}"#,
            LegacyVersion::June2025 | LegacyVersion::November2025 => {
                r#"{"elicitation":{},"roots":{},"sampling":{}}"#
            }
        };
        Self(RawValue::from_string(text.to_owned()).ok())
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

    /// The whole object as it came, to be sent on; `None` of a legacy request.
    pub fn raw(&self) -> Option<&RawValue> {
        self.0.as_deref()
    }

    /// Is there an object for a part of a capability, such as `url` of `elicitation`?
    pub(super) fn declares_part(&self, capability: &str, part: &str) -> bool {
        let capability = self.member(capability);
        capability.and_then(|all| raw::member(all, part)).is_some_and(raw::is_object)
    }

    fn member(&self, key: &str) -> Option<&RawValue> {
        self.0.as_deref().and_then(|all| raw::member(all, key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_objects_where_they_are_declared() {
        let declared = r#"{"sampling":{},"roots":true,"extensions":{"a/b":{},"a/c":null}}"#;
        let raw: &RawValue = serde_json::from_str(declared).unwrap();
        let capabilities = ClientCapabilities::read(Some(raw)).unwrap();
        assert!(capabilities.declares("sampling"));
        assert!(!capabilities.declares("roots") && !capabilities.declares("elicitation"));
        assert!(capabilities.declares_extension("a/b"));
        assert!(!capabilities.declares_extension("a/c") && !capabilities.declares_extension("a"));
        assert_eq!(capabilities.raw().map(RawValue::get), Some(declared));
        assert!(!ClientCapabilities::default().declares("sampling"));
    }
}
