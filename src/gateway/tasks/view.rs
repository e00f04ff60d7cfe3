//! A task of ours, as its worker tells it and as clients of either revision read it.

use std::time::Duration;

use crate::domain::ids::Timestamp;
use crate::domain::task::TaskFailure;
use crate::gateway::failure::{Executed, Failure, Fault, ToolError};
use crate::gateway::locate;
use crate::gateway::tools::{ToolAnswer, answer};
use crate::mcp::{Era, Identity, JsonBuf, Reply, Task, TaskCreated, TaskState};
use crate::rpc::task::{self, Progress};

/// The shortest and the longest time that a client is asked to wait between two polls: a tenth of the task's age.
const POLL: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// An execution in one of our environments that is a task.
#[derive(Clone, Debug)]
pub(in crate::gateway) struct OurTask {
    id: String,
    created: Timestamp,
    updated: Timestamp,
    keep_until: Timestamp,
    progress: Stage,
}

/// How far it is.
#[derive(Clone, Debug)]
enum Stage {
    Working,
    Done(Box<ToolAnswer>),
    Failed(Fault),
    Cancelled,
}

impl OurTask {
    /// The task that a client knows by this id, as its worker tells it.
    pub(in crate::gateway) fn new(id: String, told: task::Task) -> Self {
        let progress = match told.progress {
            Progress::Working => Stage::Working,
            Progress::Ended { ended } => Stage::Done(Box::new(answer(told.kind, *ended))),
            Progress::NotStarted { why } => match locate::not_begun(&why) {
                Some(error) => Stage::Done(Box::new((&error).into())),
                None => Stage::Failed(Fault::internal(Executed::No)),
            },
            Progress::Failed { reason } => {
                let reason = TaskFailure::parse(&reason).unwrap_or(TaskFailure::SandboxLost);
                Stage::Failed(Fault::task_failed(reason))
            }
            Progress::Cancelled => Stage::Cancelled,
            // Told instead of an outcome that was asked for.
            Progress::Over => Stage::Failed(Fault::task_failed(TaskFailure::OutcomeLost)),
        };
        Self {
            id,
            created: Timestamp::from_millis(told.created_ms),
            updated: Timestamp::from_millis(told.updated_ms),
            keep_until: Timestamp::from_millis(told.keep_until_ms),
            progress,
        }
    }

    /// What a call is answered with that became this task. It begins as working, however soon it ended (2025-11-25 tasks,
    /// "Task Status Lifecycle").
    pub(in crate::gateway) fn created(&self) -> TaskCreated {
        TaskCreated(self.at(TaskState::Working, self.created, None))
    }

    /// What `tasks/get` returns, and `notifications/tasks` tells.
    pub(in crate::gateway) fn detailed(&self, identity: &Identity, now: Timestamp) -> Task {
        let (state, message) = match &self.progress {
            Stage::Working => (TaskState::Working, None),
            Stage::Done(answer) => {
                let message =
                    answer.is_error().then(|| "The call failed: its result says why.".to_owned());
                (TaskState::Completed(result(answer, identity)), message)
            }
            Stage::Failed(fault) => {
                let error = JsonBuf::of(&fault.error());
                (TaskState::Failed(error), Some(fault.message().to_owned()))
            }
            Stage::Cancelled => {
                (TaskState::Cancelled, Some("The task was cancelled by request.".to_owned()))
            }
        };
        self.at(state, now, message)
    }

    /// The same, with a result that fits into one event: what is too long is cut, and says so.
    #[must_use]
    pub(in crate::gateway) fn fit(mut self, limit: usize) -> Self {
        if let Stage::Done(answer) = self.progress {
            self.progress = Stage::Done(Box::new(answer.fit(limit)));
        }
        self
    }

    /// Whether it goes on.
    pub(in crate::gateway) fn is_working(&self) -> bool {
        matches!(self.progress, Stage::Working)
    }

    /// What the call would have returned (2025-11-25 tasks, "Result Retrieval"). A client that cancelled one is told so.
    pub(in crate::gateway) fn into_result(self) -> Result<ToolAnswer, Failure> {
        match self.progress {
            Stage::Done(answer) => Ok(answer.of_task(self.id)),
            Stage::Cancelled => Ok(ToolAnswer::from(&ToolError::cancelled()).of_task(self.id)),
            Stage::Failed(fault) => Err(fault.into()),
            Stage::Working => Err(Fault::deadline().into()),
        }
    }

    fn at(&self, state: TaskState, now: Timestamp, status_message: Option<String>) -> Task {
        let (shortest, longest) = POLL;
        let poll_interval = (now.since(self.created) / 10).clamp(shortest, longest);
        Task {
            id: self.id.clone(),
            state,
            status_message,
            created_at: self.created.to_rfc3339(),
            last_updated_at: self.updated.to_rfc3339(),
            ttl: Some(self.keep_until.since(self.created)),
            poll_interval: Some(poll_interval),
        }
    }
}

/// Just what the call would have returned (SEP-2663, "Error Handling").
fn result(answer: &ToolAnswer, identity: &Identity) -> JsonBuf {
    let result = answer.clone().into_result();
    JsonBuf::of(&Reply::new(Era::Modern, identity, &result))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::task::JobKind;
    use crate::rpc::wire::{Ended, NotStarted, Queue};

    fn check(progress: Progress, status: &str, shown: &str) -> OurTask {
        let (kind, created_ms, updated_ms) = (JobKind::Python, 1_000, 2_000);
        let told = task::Task { kind, created_ms, updated_ms, keep_until_ms: 61_000, progress };
        let task = OurTask::new("btt_a".to_owned(), told);
        let identity = Identity::new("baton", "1", "r1");
        let text = task.detailed(&identity, Timestamp::from_millis(21_000)).params();
        let json: serde_json::Value = serde_json::from_str(text.get()).unwrap();
        assert_eq!((json["status"].as_str(), json["ttlMs"].as_u64()), (Some(status), Some(60_000)));
        assert_eq!(json["pollIntervalMs"], 2_000, "a tenth of its age");
        assert!(text.get().contains(shown), "{text}");
        task
    }

    #[test]
    fn a_tool_that_failed_completes_its_task() {
        let ended = Box::new(Ended { exit_code: 1, ..Ended::default() });
        check(Progress::Ended { ended }, "completed", r#""isError":true"#);
        let why = NotStarted::QueueFull { retry_after_ms: 1, queue: Queue::Environment };
        check(Progress::NotStarted { why }, "completed", "busy with other calls");
    }

    #[test]
    fn a_task_without_a_result_says_whether_its_code_ran() {
        let failed = |reason: &str| Progress::Failed { reason: reason.to_owned() };
        check(failed("worker-restarted"), "failed", r#""executed":"maybe""#);
        check(failed("outcome-lost"), "failed", r#""executed":"yes""#);
        check(failed("a word of tomorrow"), "failed", r#""code":50201"#);
        let lost = check(failed("worker-restarted"), "failed", "restarted");
        assert!(matches!(lost.into_result(), Err(Failure::Fault(_))));
    }

    #[test]
    fn a_cancelled_task_has_a_result_that_says_so() {
        let cancelled = check(Progress::Cancelled, "cancelled", "by request");
        assert!(cancelled.into_result().unwrap().is_error());
        assert!(check(Progress::Working, "working", "btt_a").is_working());
    }
}
