//! An environment's journal: which executions became tasks or have an idempotency key, how far each is, and how it
//! ended.
//!
//! It lies beside the environment's record, outside what its sandbox sees, and goes with it. What a client may have been
//! told is on disk first. States are in memory too; outcomes are on disk alone.

mod entry;
mod keyed;
mod outcome;
mod room;
mod tell;

pub(super) use entry::Head;
#[cfg(fuzzing)]
pub(super) use entry::{first_line, head};
pub(super) use keyed::{Claimed, Ending, KeyedCall, under_way, unread};
use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use self::outcome::{fit, outcome_of};
use self::room::{MAX_KEYED, MAX_TASKS, is_kept_task, is_over, surplus};
use super::disk::Disk;
use super::host::Host;
use crate::domain::ids::{EnvironmentId, ExecutionId, Timestamp};
use crate::domain::task::{TaskFailure, TaskState};
use crate::rpc::keyed::MAX_KEPT_OUTCOME;
use crate::rpc::wire::Frame;

/// The tasks of one environment, and its executions with a key.
#[derive(Debug)]
pub(super) struct Journal {
    environment: EnvironmentId,
    entries: Mutex<HashMap<ExecutionId, Entry>>,
    /// Whoever holds the lock writes.
    writing: tokio::sync::Mutex<()>,
    unread: Unread,
}

/// Which entries on disk could not be read at the start.
#[derive(Debug)]
enum Unread {
    /// Of these executions, if of any.
    Some(HashSet<ExecutionId>),
    /// Perhaps of any: the directory itself does not read.
    Any,
}

#[derive(Debug)]
struct Entry {
    head: Head,
    /// Bytes on disk.
    size: u64,
    /// Whether its client has read the outcome.
    is_read: bool,
    /// Who waits for it on a connection, if it has a key.
    callers: HashSet<ExecutionId>,
    ending: Arc<Ending>,
}

/// Why an execution becomes no task, or does not start with its key.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotEntered {
    /// As many are kept as may, each for as long as its client was told.
    #[error("the environment keeps {MAX_TASKS} tasks already")]
    Full,
    /// As many keys are kept as may, each young.
    #[error("the environment keeps {MAX_KEYED} keys already, or their outcomes are too long")]
    KeysFull {
        /// How long until one may go.
        wait: Duration,
    },
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
        let unread = Unread::Some(HashSet::new());
        Self {
            environment,
            entries: Mutex::default(),
            writing: tokio::sync::Mutex::default(),
            unread,
        }
    }

    /// What an earlier start left on the disk. What was under way then has failed; all is kept until `until` at least,
    /// for nobody could ask while the worker was away.
    pub(super) fn recover(
        disk: &Disk,
        environment: EnvironmentId,
        now: Timestamp,
        until: Timestamp,
    ) -> Self {
        let (mut journal, directory) = (Self::empty(environment), disk.journal(environment));
        let found = match entry::list(&directory) {
            Ok(listing) => {
                journal.unread = Unread::Some(listing.unread);
                listing.heads
            }
            Err(error) => {
                tracing::error!(environment = environment.log_name(), %error, "its journal does not read");
                journal.unread = Unread::Any;
                Vec::new()
            }
        };
        for (mut head, mut size) in found {
            if head.is_task {
                head.keep_until = head.keep_until.max(until);
            }
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
        let entries = self.entries();
        entries.values().filter(|it| it.head.is_task).map(|it| it.head.keep_until).max()
    }

    /// Enters a task, which may have a key; it is on disk when this returns. Only tasks whose time is over make room for it.
    pub(super) async fn begin(&self, host: &Host, head: Head) -> Result<(), NotEntered> {
        let _turn = self.writing.lock().await;
        self.forget(host, self.old(host.now())).await;
        let now = host.now();
        if self.entries().values().filter(|it| is_kept_task(it, now)).count() >= MAX_TASKS {
            return Err(NotEntered::Full);
        }
        let key = self.head(head.execution).and_then(|known| known.key);
        let head = Head { key, ..head };
        let size = self.write(host, head, Vec::new()).await?;
        self.set(head, size);
        Ok(())
    }

    /// Notes how an execution ended: with this frame, or nobody knows how. What was cancelled stays cancelled.
    pub(super) async fn end(
        &self,
        host: &Host,
        execution: ExecutionId,
        last: Option<&Frame>,
        keep_until: Timestamp,
    ) {
        let _turn = self.writing.lock().await;
        if let Some(Frame::NotStarted(why)) = last
            && self.free(host, execution, why).await
        {
            return;
        }
        let Some(mut head) = self.head(execution) else { return };
        // Then nothing is written, and nobody has to make room for it.
        if head.state.is_terminal() {
            return;
        }
        if head.is_task {
            head.keep_until = head.keep_until.max(keep_until);
        }
        let outcome = match last {
            Some(last) => self.kept(host, &head, last).await,
            None => Ok(None),
        };
        let next = match outcome {
            Ok(None) => head.state.fail(TaskFailure::SandboxLost),
            Ok(Some(_)) | Err(_) => head.state.complete(),
        };
        let Ok(state) = next else { return };
        let mut head = Head { state, updated: host.now(), ..head };
        if let Some(Frame::NotStarted(why)) = last {
            self.give_back(&mut head, why);
        }
        let mut written = match outcome {
            Ok(outcome) => self.write(host, head, outcome.unwrap_or_default()).await,
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

    /// Forgets what was kept long enough.
    pub(super) async fn tidy(&self, host: &Host) {
        // What it removes from memory may be entered anew before it is off the disk.
        let _turn = self.writing.lock().await;
        self.forget(host, self.old(host.now())).await;
    }

    fn old(&self, now: Timestamp) -> Vec<ExecutionId> {
        let entries = self.entries();
        let old = entries.values().filter(|entry| is_over(entry, now));
        old.map(|entry| entry.head.execution).collect()
    }

    /// Forgets everything, for the environment has ended. Their entries on disk go with its files.
    pub(super) fn close(&self) {
        for (_, entry) in self.entries().drain() {
            entry.ending.over.cancel();
        }
    }

    async fn write(&self, host: &Host, head: Head, outcome: Vec<u8>) -> io::Result<u64> {
        let environment = self.environment;
        host.on_disk(move |disk| entry::write(&disk.journal(environment), &head, &outcome)).await
    }

    /// What is kept of an outcome: of a task all of it, where there is room; of what has a key [`MAX_KEPT_OUTCOME`] in any
    /// case.
    async fn kept(&self, host: &Host, head: &Head, last: &Frame) -> io::Result<Option<Vec<u8>>> {
        if !head.is_task {
            return Ok(fit(last, MAX_KEPT_OUTCOME));
        }
        let Some(whole) = outcome_of(last) else { return Ok(None) };
        match self.make_room(host, whole.len() as u64).await {
            Ok(()) => Ok(Some(whole)),
            Err(_) if head.key.is_some() => Ok(fit(last, MAX_KEPT_OUTCOME)),
            Err(full) => Err(full),
        }
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
        self.erase(host, executions).await;
    }

    /// Removes entries from the disk.
    async fn erase(&self, host: &Host, executions: Vec<ExecutionId>) {
        let environment = self.environment;
        let removed = host.on_disk(move |disk| {
            let directory = disk.journal(environment);
            executions.iter().try_for_each(|it| entry::remove(&directory, *it))
        });
        if let Err(error) = removed.await {
            tracing::warn!(environment = environment.log_name(), %error, "old entries stay on disk");
        }
    }

    fn head(&self, execution: ExecutionId) -> Option<Head> {
        self.entries().get(&execution).map(|entry| entry.head)
    }

    fn has_read(&self, execution: ExecutionId) -> bool {
        match &self.unread {
            Unread::Some(executions) => !executions.contains(&execution),
            Unread::Any => false,
        }
    }

    /// A task whose time is now `until` at least, for its client is told of it.
    fn promise(&self, execution: ExecutionId, until: Timestamp) -> Option<Head> {
        let mut entries = self.entries();
        let entry = entries.get_mut(&execution)?;
        // What is not on disk is not promised: it may not even have been taken in.
        if !entry.head.is_task && entry.size == 0 {
            return None;
        }
        let head = &mut entry.head;
        (head.is_task, head.keep_until) = (true, head.keep_until.max(until));
        Some(*head)
    }

    fn set(&self, head: Head, size: u64) {
        let mut entries = self.entries();
        let entry = entries.entry(head.execution).or_insert_with(|| Entry::new(head));
        // Its client may have been told of it, or of a later moment, while this was written.
        let keep_until = head.keep_until.max(entry.head.keep_until);
        let is_task = head.is_task || entry.head.is_task;
        (entry.head, entry.size) = (Head { is_task, keep_until, ..head }, size);
        if head.state.is_terminal() {
            entry.callers.clear();
            entry.ending.over.cancel();
        }
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<ExecutionId, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// One that is not on disk yet.
    fn new(head: Head) -> Self {
        Self { head, size: 0, is_read: false, callers: HashSet::new(), ending: Arc::default() }
    }
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
        let (key, is_task) = (None, true);
        let head = Head { execution, key, is_task, kind, created, updated, keep_until, state };
        journal.set(head, 0);
        let later = NOW.after(Duration::from_secs(1));
        journal.promise(head.execution, later);
        journal.set(Head { state: TaskState::Completed, ..head }, 0);
        assert_eq!(journal.keep_until(), Some(later));
    }
}
