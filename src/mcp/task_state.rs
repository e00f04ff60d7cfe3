//! Where a task stands, in the words of both eras.

use super::era::Era;
use super::json::{Json, JsonBuf};
use super::object::Object;

/// Where a task of ours stands, with what exists only there. Ours ask nothing; an upstream's are not read but passed on.
#[derive(Debug, Clone)]
pub enum TaskState {
    /// It is being worked on.
    Working,
    /// This is the result, an `isError` one too.
    Completed(JsonBuf),
    /// This is the JSON-RPC error.
    Failed(JsonBuf),
    /// Somebody cancelled it.
    Cancelled,
}

/// A task's status: the words are those of both eras.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskStatus {
    /// `working`
    Working,
    /// `input_required`
    InputRequired,
    /// `completed`
    Completed,
    /// `failed`
    Failed,
    /// `cancelled`
    Cancelled,
}

impl TaskStatus {
    const ALL: [Self; 5] =
        [Self::Working, Self::InputRequired, Self::Completed, Self::Failed, Self::Cancelled];

    /// The status in an upstream's task; `None` if it is none.
    pub fn of(task: &Object<'_>) -> Option<Self> {
        let said = task.text("status")?;
        Self::ALL.into_iter().find(|status| status.as_str() == said)
    }

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Working => "working",
            Self::InputRequired => "input_required",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Does it stay so for good (2025-11-25 tasks, "Task Status Lifecycle")?
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

impl TaskState {
    /// What it is called in `era`. A tool's error completes a modern task and fails a legacy one (2025-11-25 tasks,
    /// "Task Status").
    pub fn status(&self, era: Era) -> TaskStatus {
        match self {
            Self::Working => TaskStatus::Working,
            Self::Completed(result) if !era.is_modern() && is_tool_error(result.json()) => {
                TaskStatus::Failed
            }
            Self::Completed(_) => TaskStatus::Completed,
            Self::Failed(_) => TaskStatus::Failed,
            Self::Cancelled => TaskStatus::Cancelled,
        }
    }

    /// The member that a modern task of this state has (SEP-2663, "Task Status").
    pub(super) fn detail(&self) -> Option<(&'static str, Json<'_>)> {
        match self {
            Self::Working | Self::Cancelled => None,
            Self::Completed(result) => Some(("result", result.json())),
            Self::Failed(error) => Some(("error", error.json())),
        }
    }
}

fn is_tool_error(result: Json<'_>) -> bool {
    result.member("isError").is_some_and(|flag| flag.get() == "true")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::LegacyVersion;

    // 2025-11-25 tasks, "Task Status"; SEP-2663, "Task Status".
    #[test]
    fn a_tool_error_fails_a_legacy_task_and_completes_a_modern_one() {
        let result = r#"{"content":[],"isError":true}"#;
        let state = TaskState::Completed(JsonBuf::parse(result).unwrap());
        assert_eq!(state.status(Era::Modern), TaskStatus::Completed);
        assert_eq!(state.status(Era::Legacy(LegacyVersion::LATEST)), TaskStatus::Failed);
    }

    #[test]
    fn what_is_over_is_over() {
        let over: Vec<_> = TaskStatus::ALL
            .into_iter()
            .filter(|it| it.is_final())
            .map(TaskStatus::as_str)
            .collect();
        assert_eq!(over, ["completed", "failed", "cancelled"]);
    }
}
