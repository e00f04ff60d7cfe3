//! Tools: how one is defined, and what a call of one returns (tools, "Data Types").

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde::ser::SerializeMap;

use super::era::Era;
use super::json::{Json, JsonBuf};
use super::reply::{Identity, ResultBody};

/// A tool as `tools/list` shows it. Schemas stay as they were written.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolDefinition {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    description: String,
    input_schema: JsonBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_schema: Option<JsonBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<ToolAnnotations>,
    #[serde(skip_serializing_if = "Option::is_none")]
    execution: Option<ToolExecution>,
}

/// How a 2025-11-25 client may have it run.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
struct ToolExecution {
    task_support: &'static str,
}

impl ToolDefinition {
    /// `input_schema` is a JSON Schema object.
    pub fn new(name: &str, description: &str, input_schema: JsonBuf) -> Self {
        Self {
            name: name.to_owned(),
            title: None,
            description: description.to_owned(),
            input_schema,
            output_schema: None,
            annotations: None,
            execution: None,
        }
    }

    /// A name for people.
    #[must_use]
    pub fn with_title(self, title: &str) -> Self {
        Self { title: Some(title.to_owned()), ..self }
    }

    /// Every result that is no error must then fit this schema (tools, "Output Schema").
    #[must_use]
    pub fn with_output_schema(self, schema: JsonBuf) -> Self {
        Self { output_schema: Some(schema), ..self }
    }

    /// Hints about its behaviour, which clients need not believe.
    #[must_use]
    pub fn with_annotations(self, annotations: ToolAnnotations) -> Self {
        Self { annotations: Some(annotations), ..self }
    }

    /// Says that its calls may be tasks (2025-11-25 tasks, "Tool-Level Negotiation").
    #[must_use]
    pub fn with_optional_task(self) -> Self {
        Self { execution: Some(ToolExecution { task_support: "optional" }), ..self }
    }

    /// The name calls use.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same bytes each time, so that lists can be compared and cached.
    pub fn render(&self) -> JsonBuf {
        JsonBuf::of(self)
    }
}

/// Hints about a tool's behaviour; what is not said takes the protocol's default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ToolAnnotations {
    #[serde(rename = "readOnlyHint", skip_serializing_if = "Option::is_none")]
    read_only: Option<bool>,
    #[serde(rename = "destructiveHint", skip_serializing_if = "Option::is_none")]
    destructive: Option<bool>,
    #[serde(rename = "idempotentHint", skip_serializing_if = "Option::is_none")]
    idempotent: Option<bool>,
    #[serde(rename = "openWorldHint", skip_serializing_if = "Option::is_none")]
    open_world: Option<bool>,
}

impl ToolAnnotations {
    /// It changes nothing.
    #[must_use]
    pub fn read_only(self) -> Self {
        Self { read_only: Some(true), ..self }
    }

    /// It changes things, and may destroy some.
    #[must_use]
    pub fn destructive(self) -> Self {
        Self { read_only: Some(false), destructive: Some(true), ..self }
    }

    /// It changes things, but only adds.
    #[must_use]
    pub fn additive(self) -> Self {
        Self { read_only: Some(false), destructive: Some(false), ..self }
    }

    /// Calling it again with the same arguments does nothing more.
    #[must_use]
    pub fn idempotent(self) -> Self {
        Self { idempotent: Some(true), ..self }
    }

    /// It may reach things outside, such as the web.
    #[must_use]
    pub fn open_world(self) -> Self {
        Self { open_world: Some(true), ..self }
    }

    /// It reaches nothing outside.
    #[must_use]
    pub fn closed_world(self) -> Self {
        Self { open_world: Some(false), ..self }
    }
}

/// One piece of what a tool returns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Content {
    /// Text for the model.
    Text { text: String },
    /// `data` is Base64.
    #[serde(rename_all = "camelCase")]
    Image { data: String, mime_type: String },
}

impl Content {
    /// Text for the model.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }

    /// A picture, from its bytes.
    pub fn image(bytes: &[u8], mime_type: &str) -> Self {
        Self::Image { data: STANDARD.encode(bytes), mime_type: mime_type.to_owned() }
    }
}

/// What a call of a tool returns (tools, "Tool Result").
#[derive(Debug, Clone)]
pub struct ToolResult {
    content: Vec<Content>,
    structured: Option<JsonBuf>,
    is_error: bool,
    meta: Vec<(String, JsonBuf)>,
}

impl ToolResult {
    /// What the tool was asked for.
    pub fn success(content: Vec<Content>) -> Self {
        Self { content, structured: None, is_error: false, meta: Vec::new() }
    }

    /// An error the model can put right; the text says how (tools, "Error Handling").
    pub fn error(text: impl Into<String>) -> Self {
        Self::success(vec![Content::text(text)]).failed()
    }

    /// The same content, as a failure that the model can put right.
    #[must_use]
    pub fn failed(self) -> Self {
        Self { is_error: true, ..self }
    }

    /// The same as JSON, for programs (tools, "Structured Content").
    #[must_use]
    pub fn with_structured(self, structured: JsonBuf) -> Self {
        Self { structured: Some(structured), ..self }
    }

    /// Adds a member to `_meta`.
    #[must_use]
    pub fn with_meta(mut self, key: &str, value: JsonBuf) -> Self {
        self.meta.push((key.to_owned(), value));
        self
    }

    /// Is it an error the model is told about?
    pub fn is_error(&self) -> bool {
        self.is_error
    }

    /// What the model sees.
    pub fn content(&self) -> &[Content] {
        &self.content
    }

    /// What programs see.
    pub fn structured(&self) -> Option<Json<'_>> {
        self.structured.as_ref().map(JsonBuf::json)
    }
}

impl ResultBody for ToolResult {
    fn write<M: SerializeMap>(
        &self,
        era: Era,
        _: &Identity,
        result: &mut M,
    ) -> Result<(), M::Error> {
        result.serialize_entry("content", &self.content)?;
        if let Some(structured) = &self.structured {
            // Before 2026-07-28 it had to be an object (changelog, "Minor changes" 10).
            if era.is_modern() || structured.json().is_object() {
                result.serialize_entry("structuredContent", structured)?;
            }
        }
        result.serialize_entry("isError", &self.is_error)
    }

    fn meta(&self) -> &[(String, JsonBuf)] {
        &self.meta
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> JsonBuf {
        JsonBuf::parse(json).unwrap()
    }

    // tools, "Tool"; schemas are shown as they were written (conformance, json-schema-2020-12).
    #[test]
    fn a_definition_is_rendered_whole_and_always_alike() {
        let schema = r#"{"type": "object", "$defs": {"b": 1, "a": 2}}"#;
        let tool = ToolDefinition::new("a", "b", raw(schema))
            .with_title("c")
            .with_output_schema(raw("{}"))
            .with_annotations(ToolAnnotations::default().additive().idempotent().closed_world());
        let expected = format!(
            r#"{{"name":"a","title":"c","description":"b","inputSchema":{schema},"outputSchema":{{}},"annotations":{{"readOnlyHint":false,"destructiveHint":false,"idempotentHint":true,"openWorldHint":false}}}}"#
        );
        assert_eq!(tool.render().get(), expected);
        assert_eq!(tool.clone().render().get(), expected);
        let with_task = tool.with_optional_task().render();
        let execution = r#","execution":{"taskSupport":"optional"}}"#;
        assert_eq!(with_task.get(), expected.strip_suffix('}').unwrap().to_owned() + execution);
    }

    #[test]
    fn what_a_definition_does_not_say_is_not_there() {
        let tool = ToolDefinition::new("a", "b", raw("{}"));
        assert_eq!(tool.render().get(), r#"{"name":"a","description":"b","inputSchema":{}}"#);
    }
}
