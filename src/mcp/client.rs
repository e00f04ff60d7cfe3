//! Who asks, by its own account, and what it can do (basic, "Per-request protocol fields").

use super::era::LegacyVersion;
use super::json::{Json, JsonBuf};
use super::lex::NotJson;
use super::rejection::{Refusal, RejectionKind};
use super::scan::Scan;

/// Who the client says it is, unread. Nobody verified it and nothing goes by it, so it is held to its form only.
#[derive(Debug, Default)]
pub(super) struct WireClientInfo<'a> {
    name: Option<Json<'a>>,
    version: Option<Json<'a>>,
}

impl<'a> WireClientInfo<'a> {
    /// Reads the value that comes next; `None` for a `null`.
    pub(super) fn read(scan: &mut Scan<'a>) -> Result<Option<Self>, NotJson> {
        let mut info = Self::default();
        if scan.peek() != Some(b'{') {
            return Ok((!scan.value()?.is_null()).then_some(info));
        }
        scan.object(|scan, key| {
            let value = scan.value()?;
            match key {
                "name" => info.name = Some(value),
                "version" => info.version = Some(value),
                _ => {}
            }
            Ok(())
        })?;
        Ok(Some(info))
    }

    pub(super) fn check(&self) -> Result<(), Refusal> {
        let is_text = |member: Option<Json<'_>>| member.and_then(Json::string).is_some();
        if is_text(self.name) && is_text(self.version) {
            return Ok(());
        }
        Err(Refusal::params("clientInfo must be an object with name and version"))
    }
}

/// What the client can do, on this request; a legacy request declares nothing.
#[derive(Debug, Clone, Default)]
pub struct ClientCapabilities(Option<JsonBuf>);

impl ClientCapabilities {
    pub(super) fn read(json: Option<Json<'_>>) -> Result<Self, Refusal> {
        let refuse = |message| Refusal::new(RejectionKind::MissingMeta, message);
        let json = json.ok_or_else(|| {
            refuse("params._meta lacks io.modelcontextprotocol/clientCapabilities")
        })?;
        if !json.is_object() {
            return Err(refuse("clientCapabilities must be an object"));
        }
        Ok(Self(Some(json.to_buf())))
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
        Self(Some(JsonBuf::fixed(text)))
    }

    /// Is there an object for this capability, such as `sampling`?
    pub fn declares(&self, capability: &str) -> bool {
        self.member(capability).is_some_and(Json::is_object)
    }

    /// Is there an object for this extension (versioning, "Extension Negotiation")?
    pub fn declares_extension(&self, extension: &str) -> bool {
        let extensions = self.member("extensions");
        extensions.and_then(|all| Json::member(all, extension)).is_some_and(Json::is_object)
    }

    /// The whole object as it came, to be sent on; `None` of a legacy request.
    pub fn raw(&self) -> Option<Json<'_>> {
        self.0.as_ref().map(JsonBuf::json)
    }

    /// Is there an object for a part of a capability, such as `url` of `elicitation`?
    pub(super) fn declares_part(&self, capability: &str, part: &str) -> bool {
        let capability = self.member(capability);
        capability.and_then(|all| Json::member(all, part)).is_some_and(Json::is_object)
    }

    fn member(&self, key: &str) -> Option<Json<'_>> {
        self.raw().and_then(|all| all.member(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_objects_where_they_are_declared() {
        let declared = r#"{"sampling":{},"roots":true,"extensions":{"a/b":{},"a/c":null}}"#;
        let capabilities = ClientCapabilities::read(Some(Json::checked(declared))).unwrap();
        assert!(capabilities.declares("sampling"));
        assert!(!capabilities.declares("roots") && !capabilities.declares("elicitation"));
        assert!(capabilities.declares_extension("a/b"));
        assert!(!capabilities.declares_extension("a/c") && !capabilities.declares_extension("a"));
        assert_eq!(capabilities.raw().map(Json::get), Some(declared));
        assert!(!ClientCapabilities::default().declares("sampling"));
    }
}
