//! Messages about tasks: executions that go on without the connection that started them.

use serde::{Deserialize, Serialize};

use super::wire::{Ended, Job, NotStarted, Target, TaskTerms};

/// Path of [`DetachRequest`].
pub const DETACH: &str = "/rpc/v1/detach";
/// Path of [`TaskRequest`].
pub const TASK: &str = "/rpc/v1/task";
/// Path of [`CancelTaskRequest`].
pub const CANCEL_TASK: &str = "/rpc/v1/cancel-task";

/// The longest [`TaskRequest::wait_ms`]; a longer one is shortened to this.
pub const LONGEST_WAIT_MS: u64 = 20_000;

/// Makes a task of an execution that was taken in. When the answer comes, that is on the worker's disk. Safe to
/// repeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetachRequest {
    /// Its environment.
    pub target: Target,
    /// The execution.
    pub execution: String,
    /// For how long it is kept.
    pub terms: TaskTerms,
    /// Where it has a key, the arguments it must have been called with, as in [`super::keyed::KeyedRequest`].
    #[serde(default)]
    pub arguments: Option<String>,
}

/// Asks how a task is doing; counts as a use of its environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRequest {
    /// Its environment.
    pub target: Target,
    /// The execution.
    pub execution: String,
    /// How long the answer may wait for the task's end, in milliseconds.
    pub wait_ms: u64,
    /// Whom the answer is for.
    #[serde(default)]
    pub reader: Reader,
}

/// Whom a task is told to, and so how much of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reader {
    /// The client that asked for it: all of it, and what it says counts as told.
    #[default]
    Client,
    /// A listener: all of it, which may never be read.
    Listener,
    /// Somebody who waits for its end: that it ended, and not with what, which may be megabytes.
    Waiter,
}

/// Ends a task, unless it has ended. When the answer comes, that is on the worker's disk. Safe to repeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelTaskRequest {
    /// Its environment.
    pub target: Target,
    /// The execution.
    pub execution: String,
}

/// Answer to all three.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is", content = "it")]
pub enum TaskReply {
    /// How the task is.
    Task(Box<Task>),
    /// It was to be cancelled, but had ended; it stays so.
    HadEnded(Box<Task>),
    /// There is no such task: it never was one, it had ended before it became one, or its time is over.
    Unknown,
    /// The worker's disk did not take it; the execution goes on as it was.
    NotKept,
    /// The environment is not to be used so.
    NotHere(NotStarted),
}

/// A task. Moments are in milliseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// What it runs.
    pub kind: JobKind,
    /// When it became a task.
    pub created_ms: u64,
    /// When its progress last changed.
    pub updated_ms: u64,
    /// Until when it will be found at least; asking for it may move this on.
    pub keep_until_ms: u64,
    /// How far it is.
    pub progress: Progress,
}

/// What a [`Job`] is, without what it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobKind {
    /// [`Job::Python`].
    Python,
    /// [`Job::Shell`].
    Shell,
    /// [`Job::Exec`].
    Exec,
}

/// How far a task is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum Progress {
    /// It waits for its turn, or runs.
    Working,
    /// It ended as a call would have.
    Ended {
        /// The end.
        ended: Box<Ended>,
    },
    /// The same, or [`Self::NotStarted`], to whoever asked for no more than [`Tell::End`].
    Over,
    /// Nothing was started, as a call would have been told.
    NotStarted {
        /// Why not.
        why: NotStarted,
    },
    /// Nobody will learn its outcome.
    Failed {
        /// The word of a [`crate::domain::task::TaskFailure`].
        reason: String,
    },
    /// It was cancelled.
    Cancelled,
}

impl Job {
    /// What it is.
    pub fn kind(&self) -> JobKind {
        match self {
            Self::Python { .. } => JobKind::Python,
            Self::Shell { .. } => JobKind::Shell,
            Self::Exec { .. } => JobKind::Exec,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_reads_back() {
        let check = |reply: TaskReply| {
            let json = serde_json::to_string(&reply).unwrap();
            assert_eq!(serde_json::from_str::<TaskReply>(&json).unwrap(), reply, "{json}");
        };
        let progress = [
            Progress::Working,
            Progress::Ended { ended: Box::default() },
            Progress::NotStarted { why: NotStarted::QueueFull { retry_after_ms: 1 } },
            Progress::Failed { reason: "worker-restarted".to_owned() },
            Progress::Cancelled,
            Progress::Over,
        ];
        let kinds = [JobKind::Python, JobKind::Shell, JobKind::Exec];
        for (progress, kind) in progress.into_iter().zip(kinds.into_iter().cycle()) {
            let (created_ms, updated_ms, keep_until_ms) = (1, 2, 3);
            let task = Task { kind, created_ms, updated_ms, keep_until_ms, progress };
            check(TaskReply::Task(Box::new(task.clone())));
            check(TaskReply::HadEnded(Box::new(task)));
        }
        check(TaskReply::Unknown);
        check(TaskReply::NotKept);
        check(TaskReply::NotHere(NotStarted::Gone { reason: "deleted".to_owned() }));
    }
}
