//! What an upstream declares that it can do.

use super::capabilities::{Offer, ServerCapabilities, TASKS_EXTENSION};
use super::era::Era;
use super::json::{Json, JsonBuf};
use super::object::Object;

/// An upstream that declares more extensions has the others ignored.
const MAX_EXTENSIONS: usize = 32;

impl ServerCapabilities {
    /// The `capabilities` of an upstream's `server/discover` or `initialize`, as `era` writes them. What is of a wrong
    /// type counts as not declared: an upstream is not lost for it.
    pub fn read(raw: Json<'_>, era: Era) -> Self {
        let list = |key| {
            let declared = raw.member(key).filter(|it| it.is_object());
            match declared.map(|it| flag(it, "listChanged")) {
                None => Offer::Nothing,
                Some(false) => Offer::List,
                Some(true) => Offer::ListAndChanges,
            }
        };
        let has = |key| raw.member(key).is_some_and(Json::is_object);
        Self {
            tools: list("tools"),
            prompts: list("prompts"),
            resources: list("resources"),
            resource_subscriptions: raw
                .member("resources")
                .is_some_and(|resources| flag(resources, "subscribe")),
            completions: has("completions"),
            logging: has("logging"),
            extensions: extensions(raw, era),
        }
    }
}

fn flag(capability: Json<'_>, key: &str) -> bool {
    capability.member(key).is_some_and(|value| value.get() == "true")
}

fn extensions(capabilities: Json<'_>, era: Era) -> Vec<(String, JsonBuf)> {
    let key = match era {
        Era::Modern => "extensions",
        Era::Legacy(_) => {
            // 2025-11-25 tasks, "Server Capabilities".
            let tools = ["tasks", "requests", "tools", "call"];
            let call = tools.into_iter().try_fold(capabilities, Json::member);
            let call = call.filter(|call| call.is_object());
            return call
                .map(|call| (TASKS_EXTENSION.to_owned(), call.to_buf()))
                .into_iter()
                .collect();
        }
    };
    let declared = capabilities.member(key).and_then(Object::read).unwrap_or_default();
    let declared = declared.iter().filter(|(_, settings)| settings.is_object());
    let owned = |(name, settings): (&str, Json<'_>)| (name.to_owned(), settings.to_buf());
    declared.map(owned).take(MAX_EXTENSIONS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::{LegacyVersion, Listed};

    const NOVEMBER: Era = Era::Legacy(LegacyVersion::November2025);

    fn read(text: &str, era: Era) -> ServerCapabilities {
        ServerCapabilities::read(Json::checked(text), era)
    }

    fn shape(capabilities: &ServerCapabilities, era: Era) -> String {
        serde_json::to_string(&capabilities.shape(era)).unwrap()
    }

    #[test]
    fn what_a_modern_upstream_declares_reads_back() {
        let text = r#"{"tools":{"listChanged":true},"prompts":{},"resources":{"listChanged":true,"subscribe":true},"completions":{},"logging":{},"extensions":{"a/b":{"x": 1}}}"#;
        assert_eq!(shape(&read(text, Era::Modern), Era::Modern), text);
        let can = read(text, Era::Modern);
        assert!(can.lists(Listed::ResourceTemplates) && can.has_resource_subscriptions());
        assert!(can.tells_changes(Listed::Tools) && !can.tells_changes(Listed::Prompts));
        assert!(can.has_completions() && can.has_logging());
        assert_eq!(can.extension("a/b").map(Json::get), Some(r#"{"x": 1}"#));
    }

    #[test]
    fn the_tasks_of_each_era_are_read_as_the_same() {
        let legacy = r#"{"tasks":{"list":{},"requests":{"tools":{"call":{}}}}}"#;
        assert!(read(legacy, NOVEMBER).extension(TASKS_EXTENSION).is_some());
        // SEP-2663, "Backward Compatibility": neither era's word counts in the other.
        assert!(read(legacy, Era::Modern).extension(TASKS_EXTENSION).is_none());
        let modern = r#"{"extensions":{"io.modelcontextprotocol/tasks":{}}}"#;
        assert!(read(modern, NOVEMBER).extension(TASKS_EXTENSION).is_none());
    }

    #[test]
    fn what_is_of_a_wrong_type_is_not_declared() {
        for text in
            ["{}", "[]", "null", r#"{"tools":true,"logging":null,"extensions":{"a/b":true}}"#]
        {
            assert_eq!(shape(&read(text, Era::Modern), Era::Modern), "{}", "{text}");
        }
        let odd = r#"{"tools":{"listChanged":"yes"},"resources":{"subscribe":1}}"#;
        assert_eq!(shape(&read(odd, Era::Modern), Era::Modern), r#"{"tools":{},"resources":{}}"#);
    }
}
