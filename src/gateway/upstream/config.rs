//! What an operator says of an upstream server: one `[[upstream]]` table, checked.

use std::fmt;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Uri};

use crate::mcp::Listed;
use crate::serve::Network;
use crate::tls::Trust;

/// One MCP server behind the gateway: its place, its names, and how it is spoken to.
#[derive(Clone, PartialEq, Eq)]
pub struct Upstream {
    /// What it is called in logs, metrics and messages; unique among the upstreams.
    pub name: UpstreamName,
    /// Its MCP endpoints, equal to each other; at least one. `https`, or `http` into [`Upstream::private_networks`].
    pub endpoints: Vec<Uri>,
    /// Put before the names of its tools and prompts; may be empty.
    pub prefix: String,
    /// Which of its tools are offered, by their names without the prefix.
    pub tools: NameFilter,
    /// Which of its prompts are offered, by their names without the prefix.
    pub prompts: NameFilter,
    /// Which of its resources are offered, by URI.
    pub resources: NameFilter,
    /// Headers added to every request to it; their values are secrets.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Which era it is spoken to in.
    pub era: EraChoice,
    /// Of equal names, the upstream with the higher priority serves; of equal priorities, the one configured first.
    pub priority: i32,
    /// It keeps no state of its sessions, so that callers may share one (legacy era).
    pub shared: bool,
    /// Addresses that are not public and still allowed, for this upstream alone.
    pub private_networks: Vec<Network>,
    /// Who vouches for its name.
    pub trust: Trust,
    /// How long it may take.
    pub timeouts: UpstreamTimeouts,
}

impl Upstream {
    /// An upstream of which nothing else is said.
    pub fn new(name: UpstreamName, endpoints: Vec<Uri>) -> Self {
        Self {
            name,
            endpoints,
            prefix: String::new(),
            tools: NameFilter::default(),
            prompts: NameFilter::default(),
            resources: NameFilter::default(),
            headers: Vec::new(),
            era: EraChoice::default(),
            priority: 0,
            shared: false,
            private_networks: Vec::new(),
            trust: Trust::default(),
            timeouts: UpstreamTimeouts::default(),
        }
    }
}

/// How long an upstream may take, and how long its lists are good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpstreamTimeouts {
    /// To a connection.
    pub connect: Duration,
    /// To the whole answer of a call.
    pub call: Duration,
    /// To one page of a list, a handshake, a discovery.
    pub list: Duration,
    /// Without a call after which a session with it is closed (legacy era).
    pub session_idle: Duration,
    /// How long its lists are fresh where it says nothing.
    pub list_fresh: Duration,
    /// How long its last lists are offered when it does not answer.
    pub list_stale: Duration,
}

impl Upstream {
    /// Which items of this list are offered. Templates are URIs with gaps.
    pub(super) fn filter(&self, listed: Listed) -> &NameFilter {
        match listed {
            Listed::Tools => &self.tools,
            Listed::Prompts => &self.prompts,
            Listed::Resources | Listed::ResourceTemplates => &self.resources,
        }
    }
}

impl Default for UpstreamTimeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            call: Duration::from_mins(5),
            list: Duration::from_secs(5),
            session_idle: Duration::from_mins(5),
            list_fresh: Duration::from_mins(1),
            list_stale: Duration::from_mins(10),
        }
    }
}

/// Which era an upstream is spoken to in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EraChoice {
    /// The one that it answers to, asked again from time to time.
    #[default]
    Auto,
    /// 2026-07-28.
    Modern,
    /// A revision with a handshake, and sessions if it wants them.
    Legacy,
}

/// An upstream's name: 1 to 32 of `A-Z a-z 0-9 _ -`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UpstreamName(String);

impl UpstreamName {
    /// The name, if it is one.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        ((1..=32).contains(&text.len()) && text.bytes().all(fits)).then(|| Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UpstreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which names are offered: all that are allowed and not denied. A pattern is a name, or a beginning and `*`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameFilter {
    /// All, where there is no pattern.
    pub allow: Vec<String>,
    /// None, where there is no pattern.
    pub deny: Vec<String>,
}

impl NameFilter {
    /// Whether this name is offered.
    pub fn admits(&self, name: &str) -> bool {
        let fits = |pattern: &String| match pattern.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => pattern == name,
        };
        (self.allow.is_empty() || self.allow.iter().any(fits)) && !self.deny.iter().any(fits)
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The rest of a URL may hold a secret, as headers do.
        let hosts: Vec<_> = self.endpoints.iter().map(Uri::authority).collect();
        f.debug_struct("Upstream")
            .field("name", &self.name)
            .field("endpoints", &hosts)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_admits_what_is_allowed_and_not_denied() {
        let check = |allow: &[&str], deny: &[&str], name: &str, admits: bool| {
            let owned = |it: &[&str]| it.iter().map(|&it| it.to_owned()).collect();
            let filter = NameFilter { allow: owned(allow), deny: owned(deny) };
            assert_eq!(filter.admits(name), admits, "{allow:?} {deny:?} {name}");
        };
        check(&[], &[], "a", true);
        check(&["a"], &[], "a", true);
        check(&["a"], &[], "ab", false);
        check(&["a*"], &[], "ab", true);
        check(&["a*"], &["ab"], "ab", false);
        check(&[], &["*"], "a", false);
    }

    #[test]
    fn a_name_is_short_and_plain() {
        for (text, is_name) in [("a", true), ("a-B_1", true), ("", false), ("a.b", false)] {
            assert_eq!(UpstreamName::parse(text).is_some(), is_name, "{text}");
        }
        assert!(UpstreamName::parse(&"a".repeat(33)).is_none());
    }
}
