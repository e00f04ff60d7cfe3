//! What a tool returns, and how it is made to fit.

use serde_json::{Map, Value};

use crate::gateway::failure::ToolError;
use crate::mcp::{Content, JsonBuf, RELATED_TASK, ToolResult, related_task};
use crate::rpc::wire::Image;

/// The answer of a tool, before it is written for one era.
#[derive(Clone, Debug)]
pub(crate) struct ToolAnswer {
    structured: Map<String, Value>,
    text: Option<String>,
    images: Vec<Image>,
    is_error: bool,
    task: Option<String>,
}

/// The members of an answer that may be cut when it does not fit, and the one that says so.
const CUTTABLE: [&str; 3] = ["stdout", "stderr", "executionResult"];
const TRUNCATED: &str = "truncated";
/// Bytes of a message beside its result.
const ENVELOPE: usize = 4096;

impl ToolAnswer {
    /// An answer whose text form is its structure as JSON (tools, "Structured Content").
    pub(crate) fn of(structured: Value) -> Self {
        let Value::Object(structured) = structured else {
            unreachable!("a tool's structure is an object")
        };
        Self { structured, text: None, images: Vec::new(), is_error: false, task: None }
    }

    /// With images beside it.
    #[must_use]
    pub(crate) fn with_images(self, images: Vec<Image>) -> Self {
        Self { images, ..self }
    }

    /// As an error that the model can put right.
    #[must_use]
    pub(crate) fn failed(self) -> Self {
        Self { is_error: true, ..self }
    }

    /// As what a call with the same idempotency key did before.
    #[must_use]
    pub(crate) fn replayed(mut self) -> Self {
        self.structured.insert("replayed".to_owned(), true.into());
        self
    }

    /// As the result of this task, which it has to name (2025-11-25 tasks, "Related Task Metadata").
    #[must_use]
    pub(crate) fn of_task(self, id: String) -> Self {
        Self { task: Some(id), ..self }
    }

    /// Whether it is an error that the model can put right.
    pub(crate) fn is_error(&self) -> bool {
        self.is_error
    }

    /// The result in full.
    pub(crate) fn into_result(self) -> ToolResult {
        let structured = JsonBuf::of(&self.structured);
        let text = self.text.unwrap_or_else(|| structured.get().to_owned());
        let images = self.images.into_iter();
        let mut content = vec![Content::text(text)];
        content.extend(images.map(|it| Content::Image { data: it.data, mime_type: it.mime_type }));
        let result = ToolResult::success(content).with_structured(structured);
        let result = if self.is_error { result.failed() } else { result };
        match self.task {
            Some(id) => result.with_meta(RELATED_TASK, related_task(&id)),
            None => result,
        }
    }

    /// The same, cut until its message fits in `limit` bytes: images that do not fit are left out, then output is
    /// halved from its end, and the answer says so.
    #[must_use]
    pub(crate) fn fit(mut self, limit: usize) -> Self {
        let room = limit.saturating_sub(ENVELOPE);
        while self.weight() > room {
            if let Some(image) = self.images.pop() {
                let note = format!("\n[an image of {} base64 bytes did not fit]", image.data.len());
                self.append("stderr", &note);
            } else if !self.halve_longest() {
                break;
            }
            self.structured.insert(TRUNCATED.to_owned(), true.into());
        }
        self
    }

    /// Bytes of the result: the structure, the structure again within a JSON string, and the images.
    fn weight(&self) -> usize {
        let structured = serde_json::to_string(&self.structured).unwrap_or_default();
        let text = self.text.as_ref().unwrap_or(&structured);
        let quoted = serde_json::to_string(text).map_or(0, |it| it.len());
        let images: usize = self.images.iter().map(|it| it.data.len() + 64).sum();
        structured.len() + quoted + images
    }

    fn halve_longest(&mut self) -> bool {
        let length =
            |key: &str| self.structured.get(key).and_then(Value::as_str).map_or(0, str::len);
        let longest = CUTTABLE.into_iter().max_by_key(|key| length(key)).unwrap_or(CUTTABLE[0]);
        let Some(Value::String(text)) = self.structured.get_mut(longest) else { return false };
        if text.len() < 64 {
            return false;
        }
        text.truncate(text.floor_char_boundary(text.len() / 2));
        true
    }

    fn append(&mut self, key: &str, note: &str) {
        match self.structured.get_mut(key) {
            Some(Value::String(text)) => text.push_str(note),
            _ => {
                self.structured.insert(key.to_owned(), note.into());
            }
        }
    }
}

impl From<&ToolError> for ToolAnswer {
    fn from(error: &ToolError) -> Self {
        let text = Some(error.text().to_owned());
        Self { text, is_error: true, ..Self::of(error.data()) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn image(bytes: usize) -> Image {
        Image { mime_type: "image/png".to_owned(), data: "A".repeat(bytes) }
    }

    #[test]
    fn what_fits_is_left_alone() {
        let answer = ToolAnswer::of(json!({"stdout": "x", "truncated": false}));
        let fitted = answer.with_images(vec![image(1000)]).fit(10_000);
        assert_eq!(fitted.structured["truncated"], false);
        assert_eq!(fitted.images.len(), 1);
    }

    #[test]
    fn long_output_is_cut_and_said_so() {
        let check = |stdout: String| {
            let fitted = ToolAnswer::of(json!({"stdout": stdout, "truncated": false})).fit(20_000);
            assert!(fitted.weight() <= 20_000 && fitted.structured["truncated"] == true);
            assert!(!fitted.structured["stdout"].as_str().unwrap().is_empty());
        };
        check("x".repeat(100_000));
        check("ü".repeat(100_000));
        check("\u{0}\"\\".repeat(30_000));
    }

    #[test]
    fn an_image_that_does_not_fit_is_left_out_with_a_note() {
        let answer =
            ToolAnswer::of(json!({"stdout": "kept"})).with_images(vec![image(100), image(50_000)]);
        let fitted = answer.fit(20_000);
        assert_eq!(fitted.images.len(), 1);
        assert!(fitted.structured["stderr"].as_str().unwrap().contains("did not fit"));
        assert_eq!(fitted.structured["stdout"], "kept");
    }
}
