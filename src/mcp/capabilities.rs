//! What a server can do, told to both eras in their own words.

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::era::{Era, LegacyVersion};
use super::json::{Json, JsonBuf};
use super::result::Listed;

/// The extension of tasks (SEP-2663, "Extension Identifier"). 2025-11-25 has tasks of its own, under `tasks`.
pub const TASKS_EXTENSION: &str = "io.modelcontextprotocol/tasks";

/// The `capabilities` of `server/discover` and `initialize`.
#[derive(Debug, Clone, Default)]
pub struct ServerCapabilities {
    pub(super) tools: Offer,
    pub(super) prompts: Offer,
    pub(super) resources: Offer,
    pub(super) resource_subscriptions: bool,
    pub(super) completions: bool,
    pub(super) logging: bool,
    pub(super) extensions: Vec<(String, JsonBuf)>,
}

/// Whether there is such a list, and whether its changes are told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Offer {
    #[default]
    Nothing,
    List,
    ListAndChanges,
}

impl ServerCapabilities {
    /// Says that there are tools (tools, "Capabilities").
    #[must_use]
    pub fn with_tools(self) -> Self {
        Self { tools: self.tools.max(Offer::List), ..self }
    }

    /// Says that `subscriptions/listen` tells of changed tools. Legacy has no stream to tell it on.
    #[must_use]
    pub fn with_tools_list_changed(self) -> Self {
        Self { tools: Offer::ListAndChanges, ..self }
    }

    /// Says that there are prompts (prompts, "Capabilities").
    #[must_use]
    pub fn with_prompts(self) -> Self {
        Self { prompts: self.prompts.max(Offer::List), ..self }
    }

    /// Says that `subscriptions/listen` tells of changed prompts.
    #[must_use]
    pub fn with_prompts_list_changed(self) -> Self {
        Self { prompts: Offer::ListAndChanges, ..self }
    }

    /// Says that there are resources (resources, "Capabilities").
    #[must_use]
    pub fn with_resources(self) -> Self {
        Self { resources: self.resources.max(Offer::List), ..self }
    }

    /// Says that `subscriptions/listen` tells of resources that come and go.
    #[must_use]
    pub fn with_resources_list_changed(self) -> Self {
        Self { resources: Offer::ListAndChanges, ..self }
    }

    /// Says that `subscriptions/listen` tells of changes inside a resource.
    #[must_use]
    pub fn with_resource_subscriptions(self) -> Self {
        Self { resource_subscriptions: true, ..self.with_resources() }
    }

    /// Says that arguments can be completed (completion, "Capabilities").
    #[must_use]
    pub fn with_completions(self) -> Self {
        Self { completions: true, ..self }
    }

    /// Must be declared by whoever sends `notifications/message` (logging, "Capabilities").
    #[must_use]
    pub fn with_logging(self) -> Self {
        Self { logging: true, ..self }
    }

    /// `settings` is an object (versioning, "Extension Negotiation"). An extension that is there already stays.
    #[must_use]
    pub fn with_extension(mut self, name: &str, settings: JsonBuf) -> Self {
        if self.extension(name).is_none() {
            self.extensions.push((name.to_owned(), settings));
        }
        self
    }

    /// What either of two servers can do, when one stands for both.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        let extensions = other.extensions.into_iter();
        let merged =
            extensions.fold(self, |all, (name, settings)| all.with_extension(&name, settings));
        Self {
            tools: merged.tools.max(other.tools),
            prompts: merged.prompts.max(other.prompts),
            resources: merged.resources.max(other.resources),
            resource_subscriptions: merged.resource_subscriptions || other.resource_subscriptions,
            completions: merged.completions || other.completions,
            logging: merged.logging || other.logging,
            extensions: merged.extensions,
        }
    }

    /// Is there such a list?
    pub fn lists(&self, listed: Listed) -> bool {
        self.offer(listed) != Offer::Nothing
    }

    /// Does it tell when such a list changes?
    pub fn tells_changes(&self, listed: Listed) -> bool {
        self.offer(listed) == Offer::ListAndChanges
    }

    /// Does it tell when a resource changes?
    pub fn has_resource_subscriptions(&self) -> bool {
        self.resource_subscriptions
    }

    /// Does it complete arguments?
    pub fn has_completions(&self) -> bool {
        self.completions
    }

    /// May it send log messages?
    pub fn has_logging(&self) -> bool {
        self.logging
    }

    /// The settings of an extension, if it is declared.
    pub fn extension(&self, name: &str) -> Option<Json<'_>> {
        self.extensions.iter().find(|(known, _)| known == name).map(|(_, settings)| settings.json())
    }

    fn offer(&self, listed: Listed) -> Offer {
        match listed {
            Listed::Tools => self.tools,
            Listed::Prompts => self.prompts,
            Listed::Resources | Listed::ResourceTemplates => self.resources,
        }
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
        let Self { capabilities: can, era } = *self;
        let mut members = serializer.serialize_map(None)?;
        let mut list = |key, offer, subscribe: bool| match (offer, era) {
            (Offer::Nothing, _) => Ok(()),
            // What the platform we replace says; every legacy client reads over it.
            (_, Era::Legacy(_)) if key == "tools" => {
                members.serialize_entry(key, &Flags(&[("call", true), ("list", true)]))
            }
            (_, Era::Legacy(_)) => members.serialize_entry(key, &Flags(&[])),
            (offer, Era::Modern) => {
                let changes = offer == Offer::ListAndChanges;
                let flags = [("listChanged", changes), ("subscribe", subscribe)];
                members.serialize_entry(key, &Flags(&flags))
            }
        };
        list("tools", can.tools, false)?;
        list("prompts", can.prompts, false)?;
        list("resources", can.resources, can.resource_subscriptions)?;
        if can.completions {
            members.serialize_entry("completions", &Flags(&[]))?;
        }
        if can.logging {
            members.serialize_entry("logging", &Flags(&[]))?;
        }
        match era {
            Era::Modern if !can.extensions.is_empty() => {
                members.serialize_entry("extensions", &Extensions(&can.extensions))?;
            }
            Era::Legacy(LegacyVersion::November2025)
                if can.extension(TASKS_EXTENSION).is_some() =>
            {
                members.serialize_entry(
                    "tasks",
                    &serde_json::json!({"cancel": {}, "requests": {"tools": {"call": {}}}}),
                )?;
            }
            _ => {}
        }
        members.end()
    }
}

/// An object of those flags that are true.
struct Flags<'a>(&'a [(&'a str, bool)]);

impl Serialize for Flags<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().filter(|(_, is_set)| *is_set).copied())
    }
}

struct Extensions<'a>(&'a [(String, JsonBuf)]);

impl Serialize for Extensions<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, settings)| (name, settings)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOVEMBER: Era = Era::Legacy(LegacyVersion::November2025);
    const JUNE: Era = Era::Legacy(LegacyVersion::June2025);

    fn raw(text: &str) -> JsonBuf {
        JsonBuf::parse(text).unwrap()
    }

    fn shape(capabilities: &ServerCapabilities, era: Era) -> String {
        serde_json::to_string(&capabilities.shape(era)).unwrap()
    }

    #[test]
    fn each_era_is_told_in_its_own_words() {
        let all = ServerCapabilities::default()
            .with_tools()
            .with_prompts_list_changed()
            .with_prompts()
            .with_resource_subscriptions()
            .with_completions()
            .with_logging()
            .with_extension(TASKS_EXTENSION, raw("{}"));
        assert_eq!(
            shape(&all, Era::Modern),
            r#"{"tools":{},"prompts":{"listChanged":true},"resources":{"subscribe":true},"completions":{},"logging":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}"#
        );
        let legacy = r#"{"tools":{"call":true,"list":true},"prompts":{},"resources":{},"completions":{},"logging":{}"#;
        assert_eq!(shape(&all, JUNE), format!("{legacy}}}"));
        let tasks = r#""tasks":{"cancel":{},"requests":{"tools":{"call":{}}}}"#;
        assert_eq!(shape(&all, NOVEMBER), format!("{legacy},{tasks}}}"));
        assert_eq!(shape(&ServerCapabilities::default(), Era::Modern), "{}");
    }

    #[test]
    fn a_union_has_what_either_has() {
        let read = |text| ServerCapabilities::read(Json::checked(text), Era::Modern);
        let one = read(r#"{"tools":{},"logging":{},"extensions":{"a/b":{"x":1}}}"#);
        let other = read(
            r#"{"tools":{"listChanged":true},"resources":{"subscribe":true},"extensions":{"a/b":{"x":2},"c/d":{}}}"#,
        );
        assert_eq!(
            shape(&one.merge(other), Era::Modern),
            r#"{"tools":{"listChanged":true},"resources":{"subscribe":true},"logging":{},"extensions":{"a/b":{"x":1},"c/d":{}}}"#
        );
    }
}
