//! The results this gateway makes itself, one type each. What all share is written by
//! [`Reply`](super::Reply).

use std::time::Duration;

use serde::Serialize;
use serde::ser::SerializeMap;

use super::capabilities::ServerCapabilities;
use super::era::{Era, LegacyVersion, SUPPORTED_VERSIONS};
use super::json::JsonBuf;
use super::method::Method;
use super::reply::{Identity, ResultBody};

/// How long a result stays fresh, and for whom (caching, "Cacheable Model").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheHint {
    fresh_for: Duration,
    scope: CacheScope,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum CacheScope {
    Public,
    Private,
}

impl CacheHint {
    /// The result is the same for every caller.
    pub const fn public(fresh_for: Duration) -> Self {
        Self { fresh_for, scope: CacheScope::Public }
    }

    /// The result is for this caller's credentials only.
    pub const fn private(fresh_for: Duration) -> Self {
        Self { fresh_for, scope: CacheScope::Private }
    }

    /// How long it may be kept, if it is the same for every caller.
    pub fn for_everybody(self) -> Option<Duration> {
        (self.scope == CacheScope::Public).then_some(self.fresh_for)
    }

    fn write<M: SerializeMap>(self, era: Era, result: &mut M) -> Result<(), M::Error> {
        if era.is_modern() {
            let ttl_ms = u64::try_from(self.fresh_for.as_millis()).unwrap_or(u64::MAX);
            result.serialize_entry("ttlMs", &ttl_ms)?;
            result.serialize_entry("cacheScope", &self.scope)?;
        }
        Ok(())
    }
}

/// The result of `server/discover`. Some clients turn legacy for good without its caching hints.
#[derive(Debug, Clone)]
pub struct Discover {
    capabilities: ServerCapabilities,
    instructions: Option<String>,
    cache: CacheHint,
}

impl Discover {
    /// The supported versions are no choice: they are [`SUPPORTED_VERSIONS`].
    pub fn new(capabilities: ServerCapabilities, cache: CacheHint) -> Self {
        Self { capabilities, instructions: None, cache }
    }

    /// Guidance for models on how to use this server.
    #[must_use]
    pub fn with_instructions(self, instructions: &str) -> Self {
        Self { instructions: Some(instructions.to_owned()), ..self }
    }
}

impl ResultBody for Discover {
    fn write<M: SerializeMap>(
        &self,
        era: Era,
        _: &Identity,
        result: &mut M,
    ) -> Result<(), M::Error> {
        result.serialize_entry("supportedVersions", &SUPPORTED_VERSIONS)?;
        result.serialize_entry("capabilities", &self.capabilities.shape(era))?;
        if let Some(instructions) = &self.instructions {
            result.serialize_entry("instructions", instructions)?;
        }
        self.cache.write(era, result)
    }
}

/// The result of `initialize`, which opens nothing: no session follows (2025-11-25, lifecycle).
#[derive(Debug, Clone)]
pub struct Initialize {
    version: LegacyVersion,
    capabilities: ServerCapabilities,
    instructions: Option<String>,
}

impl Initialize {
    /// `version` is what [`LegacyVersion::negotiate`] made of the version that was asked for.
    pub fn new(version: LegacyVersion, capabilities: ServerCapabilities) -> Self {
        Self { version, capabilities, instructions: None }
    }

    /// Guidance for models on how to use this server.
    #[must_use]
    pub fn with_instructions(self, instructions: &str) -> Self {
        Self { instructions: Some(instructions.to_owned()), ..self }
    }
}

impl ResultBody for Initialize {
    fn write<M: SerializeMap>(
        &self,
        era: Era,
        identity: &Identity,
        result: &mut M,
    ) -> Result<(), M::Error> {
        result.serialize_entry("protocolVersion", self.version.as_str())?;
        result.serialize_entry("capabilities", &self.capabilities.shape(era))?;
        result.serialize_entry("serverInfo", &identity.server_info())?;
        if let Some(instructions) = &self.instructions {
            result.serialize_entry("instructions", instructions)?;
        }
        Ok(())
    }
}

/// What a list lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Listed {
    /// `tools/list`
    Tools,
    /// `prompts/list`
    Prompts,
    /// `resources/list`
    Resources,
    /// `resources/templates/list`
    ResourceTemplates,
}

impl Listed {
    /// Every kind of list.
    pub const ALL: [Self; 4] =
        [Self::Tools, Self::Prompts, Self::Resources, Self::ResourceTemplates];

    /// The method that lists it.
    pub fn method(self) -> Method {
        match self {
            Self::Tools => Method::ListTools,
            Self::Prompts => Method::ListPrompts,
            Self::Resources => Method::ListResources,
            Self::ResourceTemplates => Method::ListResourceTemplates,
        }
    }

    /// The member that holds the items.
    pub fn key(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::ResourceTemplates => "resourceTemplates",
        }
    }
}

/// One page of a list, its items as they were defined.
#[derive(Debug, Clone)]
pub struct ListResult {
    listed: Listed,
    items: Vec<JsonBuf>,
    next_cursor: Option<String>,
    cache: CacheHint,
}

impl ListResult {
    /// The order of `items` is the client's order: keep it the same from call to call.
    pub fn new(listed: Listed, items: Vec<JsonBuf>, cache: CacheHint) -> Self {
        Self { listed, items, next_cursor: None, cache }
    }

    /// Says that there is another page. Even an empty cursor does (pagination, "Implementation
    /// Guidelines").
    #[must_use]
    pub fn with_next_cursor(self, cursor: String) -> Self {
        Self { next_cursor: Some(cursor), ..self }
    }

    /// Is there another page?
    pub fn has_next(&self) -> bool {
        self.next_cursor.is_some()
    }
}

impl ResultBody for ListResult {
    fn write<M: SerializeMap>(
        &self,
        era: Era,
        _: &Identity,
        result: &mut M,
    ) -> Result<(), M::Error> {
        result.serialize_entry(self.listed.key(), &self.items)?;
        if let Some(cursor) = &self.next_cursor {
            result.serialize_entry("nextCursor", cursor)?;
        }
        self.cache.write(era, result)
    }
}

/// The result of `resources/read` (resources, "Reading Resources").
#[derive(Debug, Clone)]
pub struct ReadResource {
    contents: Vec<JsonBuf>,
    cache: CacheHint,
}

impl ReadResource {
    /// `contents` are never empty: a resource that is not there is an error.
    pub fn new(contents: Vec<JsonBuf>, cache: CacheHint) -> Self {
        Self { contents, cache }
    }
}

impl ResultBody for ReadResource {
    fn write<M: SerializeMap>(
        &self,
        era: Era,
        _: &Identity,
        result: &mut M,
    ) -> Result<(), M::Error> {
        result.serialize_entry("contents", &self.contents)?;
        self.cache.write(era, result)
    }
}

/// A result that says no more than that it is one: `ping`, acknowledgements.
#[derive(Debug, Clone, Default)]
pub struct Empty {
    meta: Vec<(String, JsonBuf)>,
}

impl Empty {
    /// Adds a member to `_meta`.
    #[must_use]
    pub fn with_meta(mut self, key: &str, value: JsonBuf) -> Self {
        self.meta.push((key.to_owned(), value));
        self
    }
}

impl ResultBody for Empty {
    fn write<M: SerializeMap>(&self, _: Era, _: &Identity, _: &mut M) -> Result<(), M::Error> {
        Ok(())
    }

    /// Legacy revisions mean it: "an empty response", to `ping`.
    fn has_meta(&self, era: Era) -> bool {
        era.is_modern() || !self.meta.is_empty()
    }

    fn meta(&self) -> &[(String, JsonBuf)] {
        &self.meta
    }
}
