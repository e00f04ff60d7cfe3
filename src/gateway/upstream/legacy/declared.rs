//! What a session's client says it can do.

use crate::mcp::{ClientCapabilities, JsonBuf, Object};

/// Client capabilities as `initialize` declares them, always written alike, so that they can be compared.
///
/// Only what can be put to a client of 2026-07-28 is in them: nobody tells of changed roots, or runs a server's tasks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Declared(String);

/// What a server may ask for, and the parts of it that are named.
const KNOWN: [(&str, &[&str]); 3] =
    [("elicitation", &["form", "url"]), ("roots", &[]), ("sampling", &["context", "tools"])];

impl Declared {
    /// All that a client can do. For what the gateway does of its own accord: a server may list less for those who
    /// can do less.
    pub(super) fn all() -> Self {
        let mut all = Object::default();
        for (capability, parts) in KNOWN {
            all.amend(capability, |it| parts.iter().for_each(|part| it.amend(part, |_| {})));
        }
        Self(all.render().get().to_owned())
    }

    /// What this client can do, as it says on its request.
    pub(super) fn of(client: &ClientCapabilities) -> Self {
        let said = client.raw().and_then(Object::read).unwrap_or_default();
        let mut declared = Object::default();
        for (capability, parts) in KNOWN {
            let Some(named) = said.get(capability).and_then(Object::read) else { continue };
            let has = |part: &&&str| named.get(part).and_then(Object::read).is_some();
            let parts = parts.iter().filter(has);
            declared.amend(capability, |it| parts.for_each(|part| it.amend(part, |_| {})));
        }
        Self(declared.render().get().to_owned())
    }

    /// The JSON object.
    pub(super) fn to_buf(&self) -> JsonBuf {
        JsonBuf::parse(&self.0).expect("it was rendered as JSON")
    }
}
