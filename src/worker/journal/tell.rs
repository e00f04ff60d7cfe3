//! What is told of a journal's entries, and to whom.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::{Head, Journal, entry};
use crate::domain::ids::{ExecutionId, Timestamp};
use crate::domain::task::{TaskFailure, TaskState};
use crate::rpc::task::{Progress, Reader, Task, TaskReply};
use crate::worker::host::Host;

impl Journal {
    /// How a task is, which is kept until `keep_until` at least from now on.
    pub(in crate::worker) async fn tell(
        &self,
        host: &Host,
        execution: ExecutionId,
        keep_until: Timestamp,
        reader: Reader,
    ) -> TaskReply {
        let Some(head) = self.promise(execution, keep_until) else { return TaskReply::Unknown };
        if reader == Reader::Waiter && head.state == TaskState::Completed {
            return TaskReply::Task(Box::new(task(&head, Progress::Over)));
        }
        TaskReply::Task(Box::new(self.told(host, head).await))
    }

    pub(super) async fn told(&self, host: &Host, head: Head) -> Task {
        let progress = match head.state {
            TaskState::Working => Progress::Working,
            TaskState::Completed => self.outcome(host, head.execution).await,
            TaskState::Failed { reason } => failed(reason),
            TaskState::Cancelled => Progress::Cancelled,
        };
        task(&head, progress)
    }

    /// Returns when a task has ended, or there is none, or after this long.
    pub(in crate::worker) async fn wait(&self, execution: ExecutionId, longest: Duration) {
        let ending = self.entries().get(&execution).map(|entry| Arc::clone(&entry.ending));
        if let Some(ending) = ending {
            // Time that is up is no error: whoever waits looks anyway.
            timeout(longest, ending.over.cancelled()).await.ok();
        }
    }

    /// Its client has read how a task ended.
    pub(in crate::worker) fn outcome_read(&self, execution: ExecutionId) {
        if let Some(entry) = self.entries().get_mut(&execution) {
            entry.is_read = true;
        }
    }

    async fn outcome(&self, host: &Host, execution: ExecutionId) -> Progress {
        let environment = self.environment;
        let read =
            host.on_disk(move |disk| entry::outcome(&disk.journal(environment), execution)).await;
        let outcome = read.and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
        outcome.unwrap_or_else(|error| {
            tracing::error!(environment = environment.log_name(), %error, "an outcome does not read");
            failed(TaskFailure::OutcomeLost)
        })
    }
}

fn task(head: &Head, progress: Progress) -> Task {
    Task {
        kind: head.kind,
        created_ms: head.created.as_millis(),
        updated_ms: head.updated.as_millis(),
        keep_until_ms: head.keep_until.as_millis(),
        progress,
    }
}

fn failed(reason: TaskFailure) -> Progress {
    Progress::Failed { reason: reason.as_str().to_owned() }
}
