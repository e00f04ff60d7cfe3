//! Everything a client may ask, in one table.

use NameSource::{Name, TaskId, Uri};

/// Which eras know a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Modern,
    Legacy,
    Both,
}

/// The body field that `Mcp-Name` repeats (streamable-http, "Standard Request Headers").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameSource {
    /// `params.name`
    Name,
    /// `params.uri`
    Uri,
    /// SEP-2663, "Streamable HTTP: Routing Headers".
    TaskId,
}

impl NameSource {
    /// The key in `params`.
    pub fn key(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Uri => "uri",
            Self::TaskId => "taskId",
        }
    }
}

struct Row {
    method: Method,
    wire: &'static str,
    known: Known,
    names: Option<NameSource>,
    cacheable: bool,
    asks: bool,
}

// A macro, so that a method without a row cannot exist and a row without a method neither.
macro_rules! methods {
    ($($method:ident $wire:literal $known:ident $names:expr, $cacheable:literal $asks:literal;)*) => {
        /// A request method of any revision spoken here.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Method {
            $(#[doc = concat!("`", $wire, "`")] $method,)*
        }

        const TABLE: &[Row] = &[$(Row {
            method: Method::$method,
            wire: $wire,
            known: Known::$known,
            names: $names,
            cacheable: $cacheable,
            asks: $asks,
        },)*];
    };
}

methods! {
//  method                wire name                    eras    named by      cacheable, asks for input
    Discover              "server/discover"            Modern  None,         true  false;
    ListTools             "tools/list"                 Both    None,         true  false;
    CallTool              "tools/call"                 Both    Some(Name),   false true;
    ListPrompts           "prompts/list"               Both    None,         true  false;
    GetPrompt             "prompts/get"                Both    Some(Name),   false true;
    ListResources         "resources/list"             Both    None,         true  false;
    ListResourceTemplates "resources/templates/list"   Both    None,         true  false;
    ReadResource          "resources/read"             Both    Some(Uri),    true  true;
    Complete              "completion/complete"        Both    None,         false false;
    Listen                "subscriptions/listen"       Modern  None,         false false;
    GetTask               "tasks/get"                  Both    Some(TaskId), false false;
    UpdateTask            "tasks/update"               Modern  Some(TaskId), false false;
    CancelTask            "tasks/cancel"               Both    Some(TaskId), false false;
    TaskResult            "tasks/result"               Legacy  Some(TaskId), false false;
    ListTasks             "tasks/list"                 Legacy  None,         false false;
    Initialize            "initialize"                 Legacy  None,         false false;
    Ping                  "ping"                       Legacy  None,         false false;
    SetLogLevel           "logging/setLevel"           Legacy  None,         false false;
    Subscribe             "resources/subscribe"        Legacy  Some(Uri),    false false;
    Unsubscribe           "resources/unsubscribe"      Legacy  Some(Uri),    false false;
}

impl Method {
    /// Every method of any era.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.method)
    }

    /// Finds a method by its name on the wire, which is case-sensitive.
    pub fn from_wire(name: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.wire == name).map(|row| row.method)
    }

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        self.row().wire
    }

    /// Which body field names the target, if one does.
    pub fn name_source(self) -> Option<NameSource> {
        self.row().names
    }

    /// Must a complete result carry `ttlMs` and `cacheScope` (caching, "Cacheable Results")?
    pub fn is_cacheable(self) -> bool {
        self.row().cacheable
    }

    /// May its result be `input_required` (mrtr, "Supported Requests")? MUST NOT on any other.
    pub fn may_ask_for_input(self) -> bool {
        self.row().asks
    }

    /// Is it a method of 2026-07-28 or its extensions?
    pub fn is_modern(self) -> bool {
        self.row().known != Known::Legacy
    }

    /// Is it a method of some revision with a handshake?
    pub fn is_legacy(self) -> bool {
        self.row().known != Known::Modern
    }

    fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }
}

/// What a client may tell us without waiting for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// The handshake is over. There is no session, so nothing follows from it.
    Initialized,
    /// Somebody gave up on a request.
    Cancelled,
    /// Progress of a request of ours; there are none.
    Progress,
    /// The client's roots changed.
    RootsListChanged,
    /// The status of a task the client runs; there are none.
    TaskStatus,
    /// One we do not know: it is accepted and ignored, for nobody waits for a refusal.
    Other,
}

impl Notice {
    /// Every name is some notice.
    pub fn from_wire(name: &str) -> Self {
        match name {
            "notifications/initialized" => Self::Initialized,
            "notifications/cancelled" => Self::Cancelled,
            "notifications/progress" => Self::Progress,
            "notifications/roots/list_changed" => Self::RootsListChanged,
            "notifications/tasks/status" => Self::TaskStatus,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wire_name_finds_its_own_method() {
        for row in TABLE {
            assert_eq!(Method::from_wire(row.wire), Some(row.method));
            assert_eq!(row.method.as_str(), row.wire);
        }
    }

    // streamable-http, "Case Sensitivity": header values (such as method names) are case-sensitive.
    #[test]
    fn wire_names_are_case_sensitive() {
        assert_eq!(Method::from_wire("Tools/Call"), None);
    }

    // caching, "Cacheable Results": the six operations that MUST include caching hints.
    #[test]
    fn six_operations_are_cacheable() {
        let cacheable: Vec<_> =
            TABLE.iter().filter(|row| row.cacheable).map(|row| row.wire).collect();
        assert_eq!(
            cacheable,
            [
                "server/discover",
                "tools/list",
                "prompts/list",
                "resources/list",
                "resources/templates/list",
                "resources/read"
            ]
        );
    }

    // mrtr, "Supported Requests".
    #[test]
    fn three_requests_may_ask_for_input() {
        let asking: Vec<_> =
            Method::all().filter(|it| it.may_ask_for_input()).map(Method::as_str).collect();
        assert_eq!(asking, ["tools/call", "prompts/get", "resources/read"]);
    }

    // changelog 2026-07-28, "Major changes" 2, 4, 5, 6.
    #[test]
    fn what_was_removed_is_not_modern() {
        for removed in [
            "initialize",
            "ping",
            "logging/setLevel",
            "resources/subscribe",
            "resources/unsubscribe",
            "tasks/result",
            "tasks/list",
        ] {
            assert!(!Method::from_wire(removed).unwrap().is_modern(), "{removed}");
        }
    }

    #[test]
    fn what_was_added_is_not_legacy() {
        for added in ["server/discover", "subscriptions/listen", "tasks/update"] {
            assert!(!Method::from_wire(added).unwrap().is_legacy(), "{added}");
        }
    }
}
