//! What a client wants to be told of (subscriptions, "Notification Filter").

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::capabilities::TASKS_EXTENSION;
use super::envelope::Envelope;
use super::json::{Json, JsonBuf};
use super::params::Params;
use super::rejection::{Refusal, Rejection};
use super::result::Listed;

/// The most resources, and the most tasks, that one subscription may name.
const MAX_NAMES: usize = 256;

/// The longest URI or task id in a subscription. A task id of ours may wrap an upstream's.
const MAX_NAME_BYTES: usize = 8 * 1024;

/// The `notifications` of `subscriptions/listen` and of its acknowledgement (subscriptions, "Notification Filter").
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListenFilter {
    /// Which lists: tools, prompts, resources.
    pub lists: Vec<Listed>,
    /// `resourceSubscriptions`: URIs.
    pub resources: Vec<String>,
    /// `taskIds` (SEP-2663, "Task Status Notifications").
    pub tasks: Vec<String>,
}

/// Something that happened, which some subscriptions are told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A list changed; resource templates belong to resources.
    List(Listed),
    /// The resource of this URI changed.
    Resource(String),
    /// The task of this id changed.
    Task(String),
}

/// The lists that tell of changes: member of the filter, notification.
const LISTS: [(Listed, &str, &str); 3] = [
    (Listed::Tools, "toolsListChanged", "notifications/tools/list_changed"),
    (Listed::Prompts, "promptsListChanged", "notifications/prompts/list_changed"),
    (Listed::Resources, "resourcesListChanged", "notifications/resources/list_changed"),
];
pub(super) const ACKNOWLEDGED: &str = "notifications/subscriptions/acknowledged";
pub(super) const RESOURCE_UPDATED: &str = "notifications/resources/updated";
pub(super) const TASK_CHANGED: &str = "notifications/tasks";

impl ListenFilter {
    /// What an upstream acknowledges (subscriptions, "Acknowledgment"); `None` if the notification is no such thing.
    pub fn acknowledged(method: &str, params: Option<Json<'_>>) -> Option<Self> {
        let filter = params.and_then(|params| params.member("notifications"));
        (method == ACKNOWLEDGED).then(|| Self::of(filter?).ok()).flatten()
    }

    fn read(params: &Params) -> Result<Self, Refusal> {
        let missing = || Refusal::params("params.notifications is missing");
        Self::of(params.get("notifications").ok_or_else(missing)?)
    }

    fn of(filter: Json<'_>) -> Result<Self, Refusal> {
        let refuse = |what: &str| Refusal::params(format!("params.notifications{what}"));
        if !filter.is_object() {
            return Err(refuse(" must be an object"));
        }
        let member = |key| filter.member(key).filter(|value| !value.is_null());
        let mut lists = Vec::new();
        for (listed, key, _) in LISTS {
            match member(key).map(Json::get) {
                Some("true") => lists.push(listed),
                None | Some("false") => {}
                Some(_) => return Err(refuse(&format!(".{key} must be true or false"))),
            }
        }
        let names = |key| match member(key).map(names) {
            None => Ok(Vec::new()),
            Some(Some(names)) => Ok(names),
            Some(None) => Err(refuse(&format!(
                ".{key} must be at most {MAX_NAMES} strings of at most {MAX_NAME_BYTES} bytes"
            ))),
        };
        Ok(Self { lists, resources: names("resourceSubscriptions")?, tasks: names("taskIds")? })
    }

    /// Is there nothing that it asks for?
    pub fn is_empty(&self) -> bool {
        self.lists.is_empty() && self.resources.is_empty() && self.tasks.is_empty()
    }

    /// May a subscription with this filter be told? It MUST NOT be told what it did not ask for.
    pub fn admits(&self, change: &Change) -> bool {
        match change {
            Change::List(Listed::ResourceTemplates) => self.lists.contains(&Listed::Resources),
            Change::List(listed) => self.lists.contains(listed),
            Change::Resource(uri) => self.resources.iter().any(|of| is_within(uri, of)),
            Change::Task(id) => self.tasks.iter().any(|of| of == id),
        }
    }

    /// The filter as it is asked for, of an upstream too.
    pub fn render(&self) -> JsonBuf {
        JsonBuf::of(self)
    }
}

/// An update "might be a sub-resource of the one that the client actually subscribed to" (schema,
/// `ResourceUpdatedNotificationParams`).
fn is_within(uri: &str, of: &str) -> bool {
    let Some(rest) = uri.strip_prefix(of) else { return false };
    rest.is_empty() || of.ends_with('/') || rest.starts_with(['/', '#', '?'])
}

/// Without repetitions; `None` if there are too many, too long ones, or others than strings.
fn names(raw: Json<'_>) -> Option<Vec<String>> {
    let list = raw.items()?;
    if list.len() > MAX_NAMES {
        return None;
    }
    let mut names = Vec::new();
    for raw in list {
        let name = raw.string().filter(|name| name.len() <= MAX_NAME_BYTES)?;
        if !names.iter().any(|known| *known == name) {
            names.push(name.into_owned());
        }
    }
    Some(names)
}

impl Serialize for ListenFilter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut members = serializer.serialize_map(None)?;
        for (listed, key, _) in LISTS {
            if self.lists.contains(&listed) {
                members.serialize_entry(key, &true)?;
            }
        }
        for (key, names) in [("resourceSubscriptions", &self.resources), ("taskIds", &self.tasks)] {
            if !names.is_empty() {
                members.serialize_entry(key, names)?;
            }
        }
        members.end()
    }
}

impl Change {
    /// What an upstream's notification tells of; `None` if it is none that subscriptions are told of.
    pub fn read(method: &str, params: Option<Json<'_>>) -> Option<Self> {
        if let Some((listed, _, _)) = LISTS.iter().find(|(_, _, known)| *known == method) {
            return Some(Self::List(*listed));
        }
        let text = |key| params.and_then(|params| params.member(key)).and_then(Json::string);
        match method {
            RESOURCE_UPDATED => text("uri").map(|uri| Self::Resource(uri.into_owned())),
            TASK_CHANGED => text("taskId").map(|id| Self::Task(id.into_owned())),
            _ => None,
        }
    }
}

/// The notification of a list that changed.
pub(super) fn list_changed(listed: Listed) -> &'static str {
    let listed = if listed == Listed::ResourceTemplates { Listed::Resources } else { listed };
    let row = LISTS.iter().find(|(known, _, _)| *known == listed);
    row.expect("templates are resources, and every other list has a row").2
}

impl Envelope {
    /// What this `subscriptions/listen` asks for.
    pub fn listen_filter(&self) -> Result<ListenFilter, Rejection> {
        let filter = ListenFilter::read(self.params()).map_err(|refusal| self.refusal(refusal))?;
        if !filter.tasks.is_empty() {
            // SEP-2663, "Task Status Notifications": MUST be refused without the capability.
            self.require_extension(TASKS_EXTENSION)?;
        }
        Ok(filter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::ErrorCode;
    use crate::mcp::testing::request;

    const LISTEN: [(&str, &str); 3] = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "subscriptions/listen"),
        ("accept", "text/event-stream"),
    ];

    fn read(params: &str, capabilities: &str) -> Result<ListenFilter, Rejection> {
        let meta = format!(
            r#""_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{capabilities}}}"#
        );
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{{{params}{meta}}}}}"#
        );
        request(&LISTEN, &body).listen_filter()
    }

    fn reads(filter: &str, expected: &str) {
        let capabilities = r#"{"extensions":{"io.modelcontextprotocol/tasks":{}}}"#;
        let filter = read(&format!(r#""notifications":{filter},"#), capabilities).unwrap();
        assert_eq!(filter.render().get(), expected);
        assert_eq!(filter.is_empty(), expected == "{}");
    }

    fn refuses(params: &str) {
        let refused = read(params, "{}").unwrap_err();
        assert_eq!(refused.code(), ErrorCode::InvalidParams, "{params}");
    }

    // subscriptions, "Notification Filter": all fields are optional.
    #[test]
    fn a_filter_names_lists_resources_and_tasks() {
        let all = r#"{"toolsListChanged":true,"promptsListChanged":true,"resourcesListChanged":true,"resourceSubscriptions":["a:b","c:d"],"taskIds":["t"]}"#;
        reads(all, all);
        reads(r#"{"taskIds":[],"toolsListChanged":false,"resourcesListChanged":null,"x":1}"#, "{}");
        reads(
            r#"{"resourceSubscriptions":["b","a","b"],"promptsListChanged":true}"#,
            r#"{"promptsListChanged":true,"resourceSubscriptions":["b","a"]}"#,
        );
    }

    #[test]
    fn a_filter_of_wrong_types_or_sizes_is_refused() {
        refuses("");
        for filter in [
            "null",
            "[]",
            r#"{"toolsListChanged":1}"#,
            r#"{"resourcesListChanged":"true"}"#,
            r#"{"resourceSubscriptions":"a:b"}"#,
            r#"{"resourceSubscriptions":[1]}"#,
            r#"{"taskIds":{"a":true}}"#,
        ] {
            refuses(&format!(r#""notifications":{filter},"#));
        }
        let names = |count: usize, length: usize| {
            let name = format!("\"{}\"", "x".repeat(length));
            format!(
                r#""notifications":{{"resourceSubscriptions":[{}]}},"#,
                vec![name; count].join(",")
            )
        };
        assert!(read(&names(MAX_NAMES, 1), "{}").is_ok());
        refuses(&names(MAX_NAMES + 1, 1));
        assert!(read(&names(1, MAX_NAME_BYTES), "{}").is_ok());
        refuses(&names(1, MAX_NAME_BYTES + 1));
    }

    #[test]
    fn an_upstream_s_acknowledgement_says_what_it_honours() {
        let read =
            |method, params: &str| ListenFilter::acknowledged(method, Some(Json::checked(params)));
        let some = read(ACKNOWLEDGED, r#"{"notifications":{"resourceSubscriptions":["a:b"]}}"#);
        assert_eq!(some.unwrap().resources, ["a:b"]);
        assert!(read(ACKNOWLEDGED, r#"{"notifications":{}}"#).unwrap().is_empty());
        for wrong in ["{}", r#"{"notifications":[]}"#, r#"{"notifications":{"taskIds":"t"}}"#] {
            assert_eq!(read(ACKNOWLEDGED, wrong), None, "{wrong}");
        }
        assert_eq!(read(TASK_CHANGED, r#"{"notifications":{}}"#), None);
    }

    // SEP-2663, "Task Status Notifications".
    #[test]
    fn tasks_are_listened_to_by_those_who_know_them() {
        let refused = read(r#""notifications":{"taskIds":["t"]},"#, "{}").unwrap_err();
        assert_eq!(refused.code(), ErrorCode::MissingRequiredClientCapability);
    }

    // subscriptions, "Opening a Stream": MUST NOT send what was not requested.
    #[test]
    fn a_subscription_is_told_what_it_asked_for_and_no_more() {
        let filter = ListenFilter {
            lists: vec![Listed::Resources],
            resources: vec!["file:///a".to_owned(), "x:/b/".to_owned()],
            tasks: vec!["t".to_owned()],
        };
        let resource = |uri: &str| filter.admits(&Change::Resource(uri.to_owned()));
        assert!(filter.admits(&Change::List(Listed::Resources)));
        assert!(filter.admits(&Change::List(Listed::ResourceTemplates)));
        assert!(!filter.admits(&Change::List(Listed::Tools)));
        for uri in ["file:///a", "file:///a/b", "file:///a#b", "x:/b/", "x:/b/c"] {
            assert!(resource(uri), "{uri}");
        }
        for uri in ["file:///ab", "file://", "x:/b", "y"] {
            assert!(!resource(uri), "{uri}");
        }
        assert!(filter.admits(&Change::Task("t".to_owned())));
        assert!(!filter.admits(&Change::Task("u".to_owned())));
    }

    #[test]
    fn an_upstream_s_notification_tells_what_changed() {
        let read = |method, params: &str| Change::read(method, Some(Json::checked(params)));
        for (listed, _, method) in LISTS {
            assert_eq!(Change::read(method, None), Some(Change::List(listed)));
            assert_eq!(list_changed(listed), method);
        }
        let uri = r#"{"uri":"\u0061"}"#;
        assert_eq!(read(RESOURCE_UPDATED, uri), Some(Change::Resource("a".to_owned())));
        assert_eq!(read(TASK_CHANGED, r#"{"taskId":"t"}"#), Some(Change::Task("t".to_owned())));
        assert_eq!(read(TASK_CHANGED, uri), None);
        assert_eq!(read("notifications/progress", "{}"), None);
    }
}
