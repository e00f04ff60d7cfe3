//! An environment's journal: which executions became tasks, how far each is, and how it ended.
//!
//! It lies beside the environment's record, outside what its sandbox sees, and goes with it. What a client may have been
//! told is on disk first. States are in memory too; outcomes are on disk alone.

mod entry;
mod room;

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub(super) use entry::Head;

use self::room::{MAX_TASKS, surplus};
use super::disk::Disk;
use super::host::Host;
use crate::domain::ids::{EnvironmentId, ExecutionId, Timestamp};
use crate::domain::task::{TaskFailure, TaskState};
use crate::rpc::task::{Progress, Reader, Task, TaskReply};
use crate::rpc::wire::{Ended, Frame, NotStarted};

/// The tasks of one environment.
#[derive(Debug)]
pub(super) struct Journal {
    environment: EnvironmentId,
    entries: Mutex<HashMap<ExecutionId, Entry>>,
    /// Whoever holds the lock writes.
    writing: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Entry {
    head: Head,
    /// Bytes on disk.
    size: u64,
    /// Whether its client has read the outcome.
    is_read: bool,
    /// Cancelled when the task has ended.
    ended: CancellationToken,
}

/// Why an execution becomes no task.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotEntered {
    /// As many are kept as may, each for as long as its client was told.
    #[error("the environment keeps {MAX_TASKS} tasks already")]
    Full,
    /// The disk did not take it.
    #[error("the disk did not take the entry")]
    Unwritten(#[from] io::Error),
}

/// What came of the wish to cancel a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cancelling {
    /// It is cancelled.
    Cancelled,
    /// It had ended, and stays as it ended.
    HadEnded,
    /// There is none.
    Unknown,
}

impl Journal {
    /// The journal of an environment that has no tasks yet.
    pub(super) fn empty(environment: EnvironmentId) -> Self {
        Self { environment, entries: Mutex::default(), writing: tokio::sync::Mutex::default() }
    }

    /// What an earlier start left on the disk. What was under way then has failed; all is kept until `until` at least,
    /// for nobody could ask while the worker was away.
    pub(super) fn recover(
        disk: &Disk,
        environment: EnvironmentId,
        now: Timestamp,
        until: Timestamp,
    ) -> Self {
        let (journal, directory) = (Self::empty(environment), disk.journal(environment));
        let found = entry::list(&directory).unwrap_or_else(|error| {
            tracing::error!(environment = environment.log_name(), %error, "its journal does not read");
            Vec::new()
        });
        for (mut head, mut size) in found {
            head.keep_until = head.keep_until.max(until);
            if let Ok(state) = head.state.fail(TaskFailure::WorkerRestarted) {
                (head.state, head.updated) = (state, now);
                // Unwritten it fails again at the next start.
                size = entry::write(&directory, &head, b"").unwrap_or(size);
            }
            journal.set(head, size);
        }
        journal
    }

    /// Until when one of the tasks must be found.
    pub(super) fn keep_until(&self) -> Option<Timestamp> {
        self.entries().values().map(|entry| entry.head.keep_until).max()
    }

    /// Enters a task; it is on disk when this returns. Only tasks whose time is over make room for it.
    pub(super) async fn begin(&self, host: &Host, head: Head) -> Result<(), NotEntered> {
        let _turn = self.writing.lock().await;
        self.tidy(host).await;
        if self.entries().len() >= MAX_TASKS {
            return Err(NotEntered::Full);
        }
        let size = self.write(host, head, Vec::new()).await?;
        self.set(head, size);
        Ok(())
    }

    /// Notes how a task's execution ended: with this frame, or nobody knows how. What was cancelled stays cancelled.
    pub(super) async fn end(
        &self,
        host: &Host,
        execution: ExecutionId,
        last: Option<&Frame>,
        keep_until: Timestamp,
    ) {
        let _turn = self.writing.lock().await;
        let Some(head) = self.promise(execution, keep_until) else { return };
        let outcome = last.and_then(outcome_of);
        let next = match outcome {
            Some(_) => head.state.complete(),
            None => head.state.fail(TaskFailure::SandboxLost),
        };
        let Ok(state) = next else { return };
        let outcome = outcome.unwrap_or_default();
        let mut head = Head { state, updated: host.now(), ..head };
        let mut written = match self.make_room(host, outcome.len() as u64).await {
            Ok(()) => self.write(host, head, outcome).await,
            Err(full) => Err(full),
        };
        if let Err(error) = &written {
            tracing::error!(environment = self.environment.log_name(), %error, "an outcome is lost");
            head.state = TaskState::Failed { reason: TaskFailure::OutcomeLost };
            written = self.write(host, head, Vec::new()).await;
        }
        // What cannot be written at all is failed in memory, and again after a restart.
        self.set(head, written.unwrap_or(0));
    }

    /// Ends a task as cancelled, unless it has ended; its execution is stopped by others.
    pub(super) async fn cancel(&self, host: &Host, execution: ExecutionId) -> Cancelling {
        let _turn = self.writing.lock().await;
        let Some(head) = self.head(execution) else { return Cancelling::Unknown };
        let Ok(state) = head.state.cancel() else { return Cancelling::HadEnded };
        let head = Head { state, updated: host.now(), ..head };
        let written = self.write(host, head, Vec::new()).await;
        // It is stopped whatever the disk says; a start that finds it unwritten takes it for failed.
        self.set(head, written.unwrap_or(0));
        Cancelling::Cancelled
    }

    /// How a task is, which is kept until `keep_until` at least from now on.
    pub(super) async fn tell(
        &self,
        host: &Host,
        execution: ExecutionId,
        keep_until: Timestamp,
        reader: Reader,
    ) -> TaskReply {
        let Some(head) = self.promise(execution, keep_until) else { return TaskReply::Unknown };
        let progress = match head.state {
            TaskState::Working => Progress::Working,
            TaskState::Completed if reader == Reader::Waiter => Progress::Over,
            TaskState::Completed => self.outcome(host, execution).await,
            TaskState::Failed { reason } => failed(reason),
            TaskState::Cancelled => Progress::Cancelled,
        };
        TaskReply::Task(Box::new(Task {
            kind: head.kind,
            created_ms: head.created.as_millis(),
            updated_ms: head.updated.as_millis(),
            keep_until_ms: head.keep_until.as_millis(),
            progress,
        }))
    }

    /// Returns when a task has ended, or there is none, or after this long.
    pub(super) async fn wait(&self, execution: ExecutionId, longest: Duration) {
        let ended = self.entries().get(&execution).map(|entry| entry.ended.clone());
        if let Some(ended) = ended {
            // Time that is up is no error: whoever waits looks anyway.
            timeout(longest, ended.cancelled()).await.ok();
        }
    }

    /// Forgets the tasks that were kept long enough.
    pub(super) async fn tidy(&self, host: &Host) {
        self.forget(host, self.old(host.now())).await;
    }

    fn old(&self, now: Timestamp) -> Vec<ExecutionId> {
        let is_old = |head: &Head| head.state.is_terminal() && head.keep_until <= now;
        let entries = self.entries();
        let heads = entries.values().map(|entry| entry.head).filter(is_old);
        heads.map(|head| head.execution).collect()
    }

    /// Forgets all tasks, for the environment has ended. Their entries on disk go with its files.
    pub(super) fn close(&self) {
        for (_, entry) in self.entries().drain() {
            entry.ended.cancel();
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

    async fn write(&self, host: &Host, head: Head, outcome: Vec<u8>) -> io::Result<u64> {
        let environment = self.environment;
        host.on_disk(move |disk| entry::write(&disk.journal(environment), &head, &outcome)).await
    }

    async fn make_room(&self, host: &Host, bytes: u64) -> io::Result<()> {
        let surplus = surplus(&self.entries(), bytes, host.now());
        self.forget(host, surplus.ok_or(io::ErrorKind::QuotaExceeded)?).await;
        Ok(())
    }

    async fn forget(&self, host: &Host, executions: Vec<ExecutionId>) {
        if executions.is_empty() {
            return;
        }
        self.entries().retain(|execution, _| !executions.contains(execution));
        let environment = self.environment;
        let removed = host.on_disk(move |disk| {
            let directory = disk.journal(environment);
            executions.iter().try_for_each(|it| entry::remove(&directory, *it))
        });
        if let Err(error) = removed.await {
            tracing::warn!(environment = environment.log_name(), %error, "old tasks stay on disk");
        }
    }

    /// Its client has read how a task ended.
    pub(super) fn outcome_read(&self, execution: ExecutionId) {
        if let Some(entry) = self.entries().get_mut(&execution) {
            entry.is_read = true;
        }
    }

    fn head(&self, execution: ExecutionId) -> Option<Head> {
        self.entries().get(&execution).map(|entry| entry.head)
    }

    /// A task whose time is now `until` at least.
    fn promise(&self, execution: ExecutionId, until: Timestamp) -> Option<Head> {
        let mut entries = self.entries();
        let head = &mut entries.get_mut(&execution)?.head;
        head.keep_until = head.keep_until.max(until);
        Some(*head)
    }

    fn set(&self, head: Head, size: u64) {
        let mut entries = self.entries();
        let new = || Entry { head, size, is_read: false, ended: CancellationToken::new() };
        let entry = entries.entry(head.execution).or_insert_with(new);
        // Its client may have been told of a later moment while this was written.
        let keep_until = head.keep_until.max(entry.head.keep_until);
        (entry.head, entry.size) = (Head { keep_until, ..head }, size);
        if head.state.is_terminal() {
            entry.ended.cancel();
        }
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<ExecutionId, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The outcome as it is written; it reads back as [`Progress`].
fn outcome_of(last: &Frame) -> Option<Vec<u8>> {
    #[derive(serde::Serialize)]
    #[serde(rename_all = "kebab-case", tag = "is")]
    enum Outcome<'a> {
        Ended { ended: &'a Ended },
        NotStarted { why: &'a NotStarted },
    }
    let outcome = match last {
        Frame::Ended(ended) => Outcome::Ended { ended },
        Frame::NotStarted(why) => Outcome::NotStarted { why },
        Frame::Stdout(_) | Frame::Stderr(_) => return None,
    };
    Some(serde_json::to_vec(&outcome).expect("an outcome is JSON"))
}

fn failed(reason: TaskFailure) -> Progress {
    Progress::Failed { reason: reason.as_str().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::task::JobKind;

    const NOW: Timestamp = Timestamp::from_millis(1_000);

    #[test]
    fn what_was_promised_during_a_write_is_kept() {
        let journal = Journal::empty(EnvironmentId::from_bytes([1; 16]));
        let (execution, kind) = (ExecutionId::from_bytes([1; 16]), JobKind::Python);
        let (created, updated, keep_until, state) = (NOW, NOW, NOW, TaskState::Working);
        let head = Head { execution, kind, created, updated, keep_until, state };
        journal.set(head, 0);
        let later = NOW.after(Duration::from_secs(1));
        journal.promise(head.execution, later);
        journal.set(Head { state: TaskState::Completed, ..head }, 0);
        assert_eq!(journal.keep_until(), Some(later));
    }

    #[test]
    fn an_outcome_reads_back_as_progress() {
        let ended = Box::new(Ended { exit_code: 3, ..Ended::default() });
        let check = |frame: Frame, progress: Progress| {
            let written = outcome_of(&frame).unwrap();
            assert_eq!(serde_json::from_slice::<Progress>(&written).unwrap(), progress);
        };
        check(Frame::Ended(ended.clone()), Progress::Ended { ended });
        let why = NotStarted::Cancelled;
        check(Frame::NotStarted(why.clone()), Progress::NotStarted { why });
    }
}
