//! Results on their way out: the envelope every result has, in the shape of an era.

use std::sync::Arc;

use bytes::Bytes;
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::era::Era;
use super::json::JsonBuf;
use super::jsonrpc::{RequestId, to_json};
use super::result_type::ResultType;

const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
const SERVED_BY: &str = "dev.baton/servedBy";

/// Who answers: the server's name and version, and which replica of it.
#[derive(Debug, Clone)]
pub struct Identity(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    name: String,
    version: String,
    replica: String,
}

impl Identity {
    /// `replica` names this process among its equals.
    pub fn new(name: &str, version: &str, replica: &str) -> Self {
        let [name, version, replica] = [name, version, replica].map(str::to_owned);
        Self(Arc::new(Parts { name, version, replica }))
    }

    /// The replica, for the `Baton-Replica` header.
    pub fn replica(&self) -> &str {
        &self.0.replica
    }

    /// An `Implementation`, for `serverInfo`.
    pub(super) fn server_info(&self) -> impl Serialize + '_ {
        #[derive(serde::Serialize)]
        struct Implementation<'a> {
            name: &'a str,
            version: &'a str,
        }
        Implementation { name: &self.0.name, version: &self.0.version }
    }
}

/// The members of one kind of result. What all results share is written by [`Reply`].
pub trait ResultBody {
    /// Writes the members that only this kind has.
    fn write<M: SerializeMap>(
        &self,
        era: Era,
        identity: &Identity,
        result: &mut M,
    ) -> Result<(), M::Error>;

    /// What it says it is, to a modern client.
    fn result_type(&self) -> ResultType {
        ResultType::Complete
    }

    /// Whether it has a `_meta` at all.
    fn has_meta(&self, _: Era) -> bool {
        true
    }

    /// What this result adds to its `_meta`.
    fn meta(&self) -> &[(String, JsonBuf)] {
        &[]
    }
}

/// One result for one era, written straight into bytes.
#[derive(Debug)]
pub struct Reply<'a, B> {
    era: Era,
    identity: &'a Identity,
    result: &'a B,
}

impl<'a, B: ResultBody> Reply<'a, B> {
    /// Takes a result to be written in the shape of `era`.
    pub fn new(era: Era, identity: &'a Identity, result: &'a B) -> Self {
        Self { era, identity, result }
    }

    /// The whole response message.
    pub fn to(&self, id: &RequestId) -> Vec<u8> {
        #[derive(serde::Serialize)]
        struct Response<'a, R> {
            jsonrpc: &'static str,
            id: &'a RequestId,
            result: &'a R,
        }
        to_json(&Response { jsonrpc: "2.0", id, result: self })
    }

    /// Everything but the id, to be kept and sent many times.
    pub fn render(&self) -> Rendered {
        Rendered { result: to_json(self).into() }
    }
}

impl<B: ResultBody> Serialize for Reply<'_, B> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut result = serializer.serialize_map(None)?;
        if self.era.is_modern() {
            // basic, "ResultType": MUST be included; no earlier revision has it.
            result.serialize_entry("resultType", self.result.result_type().as_str())?;
        }
        self.result.write(self.era, self.identity, &mut result)?;
        if !self.result.has_meta(self.era) {
            return result.end();
        }
        let meta = MetaOut { era: self.era, identity: self.identity, more: self.result.meta() };
        result.serialize_entry("_meta", &meta)?;
        result.end()
    }
}

struct MetaOut<'a> {
    era: Era,
    identity: &'a Identity,
    more: &'a [(String, JsonBuf)],
}

impl Serialize for MetaOut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut meta = serializer.serialize_map(None)?;
        if self.era.is_modern() {
            // basic, "Per-response protocol fields": SHOULD be in every result.
            meta.serialize_entry(SERVER_INFO, &self.identity.server_info())?;
        }
        meta.serialize_entry(SERVED_BY, self.identity.replica())?;
        for (key, value) in self.more {
            meta.serialize_entry(key, value)?;
        }
        meta.end()
    }
}

/// A result that was written once; each answer only adds the id.
#[derive(Debug, Clone)]
pub struct Rendered {
    result: Bytes,
}

impl Rendered {
    /// The whole response message.
    pub fn to(&self, id: &RequestId) -> Vec<u8> {
        let parts: [&[u8]; 5] = [
            br#"{"jsonrpc":"2.0","id":"#,
            id.as_json().as_bytes(),
            br#","result":"#,
            &self.result,
            b"}",
        ];
        parts.concat()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::mcp::json::Json;
    use crate::mcp::{
        CacheHint, Content, Discover, Empty, Initialize, LegacyVersion, ListResult, Listed,
        ServerCapabilities, ToolDefinition, ToolResult,
    };

    const LEGACY: Era = Era::Legacy(LegacyVersion::November2025);
    const MODERN_META: &str = r#""_meta":{"io.modelcontextprotocol/serverInfo":{"name":"baton","version":"1"},"dev.baton/servedBy":"r1"}"#;
    const LEGACY_META: &str = r#""_meta":{"dev.baton/servedBy":"r1"}"#;

    fn raw(json: &str) -> JsonBuf {
        JsonBuf::parse(json).unwrap()
    }

    /// `members` are those between `resultType` and `_meta`.
    fn check(era: Era, result: &impl ResultBody, members: &str) {
        let identity = Identity::new("baton", "1", "r1");
        let reply = Reply::new(era, &identity, result);
        let (first, last) = match era {
            Era::Modern => (r#""resultType":"complete","#, MODERN_META),
            Era::Legacy(_) => ("", LEGACY_META),
        };
        let expected =
            format!(r#"{{"jsonrpc":"2.0","id":"a","result":{{{first}{members}{last}}}}}"#);
        let id = RequestId::read(Json::checked(r#""a""#)).unwrap();
        assert_eq!(String::from_utf8(reply.to(&id)).unwrap(), expected);
        assert_eq!(String::from_utf8(reply.render().to(&id)).unwrap(), expected, "rendered");
    }

    // discover, "DiscoverResult"; caching, "Cacheable Results": hints MUST be included.
    #[test]
    fn discover_names_the_one_modern_version() {
        let capabilities = ServerCapabilities::default()
            .with_tools_list_changed()
            .with_extension("io.modelcontextprotocol/tasks", raw("{}"));
        let cache = CacheHint::public(Duration::from_mins(5));
        let discover = Discover::new(capabilities, cache).with_instructions("be \"good\"");
        check(
            Era::Modern,
            &discover,
            concat!(
                r#""supportedVersions":["2026-07-28"],"#,
                r#""capabilities":{"tools":{"listChanged":true},"#,
                r#""extensions":{"io.modelcontextprotocol/tasks":{}}},"#,
                r#""instructions":"be \"good\"","ttlMs":300000,"cacheScope":"public","#
            ),
        );
    }

    // 2025-11-25 schema, InitializeResult; the capabilities are the replaced platform's.
    #[test]
    fn initialize_answers_in_the_words_of_its_time() {
        let capabilities = ServerCapabilities::default()
            .with_tools_list_changed()
            .with_logging()
            .with_extension("io.modelcontextprotocol/tasks", raw("{}"));
        check(
            Era::Legacy(LegacyVersion::UNSTATED),
            &Initialize::new(LegacyVersion::UNSTATED, capabilities),
            concat!(
                r#""protocolVersion":"2025-03-26","#,
                r#""capabilities":{"tools":{"call":true,"list":true},"logging":{}},"#,
                r#""serverInfo":{"name":"baton","version":"1"},"#
            ),
        );
    }

    // caching, "Time-to-live" and "Cache Scope"; pagination: an empty cursor is a cursor.
    #[test]
    fn a_list_is_cacheable_in_the_modern_era_only() {
        let tool = ToolDefinition::new("a", "b", raw(r#"{"type":"object"}"#)).render();
        let list = |scope| ListResult::new(Listed::Tools, vec![tool.clone()], scope);
        let tools = r#""tools":[{"name":"a","description":"b","inputSchema":{"type":"object"}}],"#;
        let private = CacheHint::private(Duration::ZERO);
        let hint = r#""ttlMs":0,"cacheScope":"private","#;
        check(Era::Modern, &list(private), &format!("{tools}{hint}"));
        check(LEGACY, &list(private), tools);
        let page = list(private).with_next_cursor(String::new());
        check(Era::Modern, &page, &format!(r#"{tools}"nextCursor":"",{hint}"#));
    }

    #[test]
    fn every_list_has_its_own_key() {
        for (listed, key) in [
            (Listed::Prompts, "prompts"),
            (Listed::Resources, "resources"),
            (Listed::ResourceTemplates, "resourceTemplates"),
        ] {
            let list = ListResult::new(listed, Vec::new(), CacheHint::public(Duration::ZERO));
            check(LEGACY, &list, &format!(r#""{key}":[],"#));
        }
    }

    // tools, "Tool Result".
    #[test]
    fn a_tool_result_is_the_same_in_both_eras() {
        let result = ToolResult::success(vec![
            Content::text("a\nü\u{1}"),
            Content::image(b"Hello", "image/png"),
        ])
        .with_structured(raw(r#"{"stdout": "a"}"#));
        let members = concat!(
            r#""content":[{"type":"text","text":"a\nü\u0001"},"#,
            r#"{"type":"image","data":"SGVsbG8=","mimeType":"image/png"}],"#,
            r#""structuredContent":{"stdout": "a"},"isError":false,"#
        );
        check(Era::Modern, &result, members);
        check(LEGACY, &result, members);
    }

    #[test]
    fn a_tool_error_says_so() {
        let members = r#""content":[{"type":"text","text":"no"}],"isError":true,"#;
        check(Era::Modern, &ToolResult::error("no"), members);
    }

    // Before 2026-07-28 `structuredContent` had to be an object.
    #[test]
    fn structured_content_that_is_no_object_is_modern() {
        let result = ToolResult::success(Vec::new()).with_structured(raw("[1]"));
        check(Era::Modern, &result, r#""content":[],"structuredContent":[1],"isError":false,"#);
        check(LEGACY, &result, r#""content":[],"isError":false,"#);
    }

    #[test]
    fn an_empty_result_is_empty_for_a_legacy_client() {
        check(Era::Modern, &Empty::default(), "");
        let identity = Identity::new("baton", "1", "r1");
        let id = RequestId::read(Json::checked("1")).unwrap();
        let sent = Reply::new(LEGACY, &identity, &Empty::default()).to(&id);
        assert_eq!(sent, br#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    }

    #[test]
    fn a_result_adds_to_its_meta() {
        let identity = Identity::new("baton", "1", "r1");
        let result = Empty::default().with_meta("io.modelcontextprotocol/subscriptionId", raw("1"));
        let id = RequestId::read(Json::checked("1")).unwrap();
        let sent = String::from_utf8(Reply::new(LEGACY, &identity, &result).to(&id)).unwrap();
        let meta =
            r#""_meta":{"dev.baton/servedBy":"r1","io.modelcontextprotocol/subscriptionId":1}"#;
        assert!(sent.contains(meta), "{sent}");
    }
}
