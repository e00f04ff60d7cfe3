//! What is a model's to mend.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Executed, Fault, millis};
use crate::domain::environment::GoneReason;
use crate::mcp::ErrorCode;

/// What a model did that cannot be done as asked, in words that say what to do instead.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::gateway) struct ToolError {
    text: Cow<'static, str>,
    code: Option<ErrorCode>,
    executed: Executed,
    retry_after: Option<Duration>,
    detail: Option<(&'static str, Value)>,
    gone: bool,
}

impl ToolError {
    /// A call that was not begun, for this reason.
    pub(in crate::gateway) fn not_begun(text: impl Into<Cow<'static, str>>) -> Self {
        let text = text.into();
        let (code, executed, retry_after) = (None, Executed::No, None);
        Self { text, code, executed, retry_after, detail: None, gone: false }
    }

    /// A call that was begun, and of which this is known.
    pub(in crate::gateway) fn begun(
        text: impl Into<Cow<'static, str>>,
        executed: Executed,
    ) -> Self {
        Self { executed, ..Self::not_begun(text) }
    }

    /// A call that was stopped by its own client, whenever that was.
    pub(in crate::gateway) fn cancelled() -> Self {
        let text = "The task was cancelled: its code was stopped. What it did until then is done.";
        Self::begun(text, Executed::Maybe)
    }

    /// The same as what an earlier call with its key came to, with what its client may do about that: to call once more is
    /// not it.
    #[must_use]
    pub(in crate::gateway) fn of_repeat(self, executed: Executed, advice: &str) -> Self {
        let text = format!("{} {advice}", self.text).into();
        Self { text, executed, retry_after: None, ..self }
    }

    /// With one of our error numbers.
    #[must_use]
    pub(in crate::gateway) fn with_code(mut self, code: ErrorCode) -> Self {
        self.code = Some(code);
        self
    }

    /// Worth trying again after this long.
    #[must_use]
    pub(in crate::gateway) fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// The same as a fault, if it passes by itself.
    pub(in crate::gateway) fn into_fault(self) -> Result<Fault, Self> {
        let Some(wait) = self.retry_after else { return Err(self) };
        let code = self.code.unwrap_or(ErrorCode::Overloaded);
        Ok(Fault::passing(code, self.text, self.executed, wait))
    }

    /// With one more member in its data.
    #[must_use]
    pub(in crate::gateway) fn with(mut self, key: &'static str, value: Value) -> Self {
        self.detail = Some((key, value));
        self
    }

    /// For the reason that the environment is no more, and with it whatever was known there.
    #[must_use]
    pub(in crate::gateway) fn of_gone(self, reason: GoneReason) -> Self {
        let gone = json!({"state": "gone", "reason": reason.as_str()});
        Self { gone: true, ..self }.with("environment", gone)
    }

    /// Whether the environment is no more.
    pub(in crate::gateway) fn is_of_gone(&self) -> bool {
        self.gone
    }

    /// What the model reads.
    pub(in crate::gateway) fn text(&self) -> &str {
        &self.text
    }

    /// What a program reads, as `structuredContent`.
    pub(in crate::gateway) fn data(&self) -> Value {
        let mut data = json!({
            "executed": self.executed.as_str(),
            "retryable": self.retry_after.is_some(),
        });
        if let Some(code) = self.code {
            data["code"] = code.number().into();
        }
        if let Some(wait) = self.retry_after {
            data["retryAfterMs"] = millis(wait).into();
        }
        if let Some((key, value)) = &self.detail {
            data[*key] = value.clone();
        }
        data
    }
}
