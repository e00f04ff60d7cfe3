//! What this server can do, told to both eras in their own words.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;

use super::era::Era;

/// The `capabilities` of `server/discover` and `initialize`.
#[derive(Debug, Clone, Default)]
pub struct ServerCapabilities {
    tools: bool,
    tools_list_changed: bool,
    logging: bool,
    extensions: Vec<(String, Box<RawValue>)>,
}

impl ServerCapabilities {
    /// Says that there are tools (tools, "Capabilities").
    #[must_use]
    pub fn with_tools(self) -> Self {
        Self { tools: true, ..self }
    }

    /// Says that `subscriptions/listen` tells of changed tools. Legacy has no stream to tell it on.
    #[must_use]
    pub fn with_tools_list_changed(self) -> Self {
        Self { tools: true, tools_list_changed: true, ..self }
    }

    /// Must be declared by whoever sends `notifications/message` (logging, "Capabilities").
    #[must_use]
    pub fn with_logging(self) -> Self {
        Self { logging: true, ..self }
    }

    /// `settings` is an object (versioning, "Extension Negotiation").
    #[must_use]
    pub fn with_extension(mut self, name: &str, settings: Box<RawValue>) -> Self {
        self.extensions.push((name.to_owned(), settings));
        self
    }

    pub(super) fn shape(&self, era: Era) -> impl Serialize + '_ {
        Shape { capabilities: self, era }
    }
}

struct Shape<'a> {
    capabilities: &'a ServerCapabilities,
    era: Era,
}

impl Serialize for Shape<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { capabilities, era } = self;
        let mut members = serializer.serialize_map(None)?;
        if capabilities.tools {
            match era {
                Era::Modern if capabilities.tools_list_changed => {
                    members.serialize_entry("tools", &Flags(&["listChanged"]))?;
                }
                Era::Modern => members.serialize_entry("tools", &Flags(&[]))?,
                // What the platform we replace says; every legacy client reads over it.
                Era::Legacy(_) => members.serialize_entry("tools", &Flags(&["call", "list"]))?,
            }
        }
        if capabilities.logging {
            members.serialize_entry("logging", &Flags(&[]))?;
        }
        if era.is_modern() && !capabilities.extensions.is_empty() {
            members.serialize_entry("extensions", &Extensions(&capabilities.extensions))?;
        }
        members.end()
    }
}

/// An object whose named members are all `true`.
struct Flags<'a>(&'a [&'a str]);

impl Serialize for Flags<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|flag| (flag, true)))
    }
}

struct Extensions<'a>(&'a [(String, Box<RawValue>)]);

impl Serialize for Extensions<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, settings)| (name, settings)))
    }
}
