//! Executions with an idempotency key: each runs once, however many ask for it.
//!
//! One is in memory from the moment it is taken in, so of two that come at once one runs and the other waits. It is on
//! disk before its code starts, and if it never starts it leaves nothing: its key is free again.

use std::collections::hash_map::Entry as Place;
use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

use super::entry::Head;
use super::room::{MAX_CALLERS, keyed_surplus};
use super::{Entry, Journal, NotEntered};
use crate::domain::ids::{ArgumentsDigest, ExecutionId, Timestamp};
use crate::domain::task::{TaskFailure, TaskState};
use crate::rpc::task::{JobKind, Progress, Task};
use crate::rpc::wire::NotStarted;
use crate::worker::host::Host;

/// A call with a key, as one of those who make it says it is.
#[derive(Clone, Copy, Debug)]
pub(in crate::worker) struct KeyedCall {
    /// The key's digest.
    pub(in crate::worker) execution: ExecutionId,
    pub(in crate::worker) arguments: ArgumentsDigest,
    pub(in crate::worker) kind: JobKind,
    /// Who makes it.
    pub(in crate::worker) caller: ExecutionId,
}

/// What is known of a call with a key.
#[derive(Debug)]
pub(in crate::worker) enum Claimed {
    /// Nothing: it is this caller's to run.
    New,
    /// It goes on, or has ended. Who asks waits for the end.
    Known(Arc<Ending>),
    /// The key names another call.
    Conflict,
    /// As many wait for it as may.
    Crowded,
    /// The disk has an entry of it that does not read.
    Unread,
}

/// Tells of an execution's end.
#[derive(Debug, Default)]
pub(in crate::worker) struct Ending {
    /// Cancelled when it has ended.
    pub(in crate::worker) over: CancellationToken,
    /// Why it did not start, if it has a key and did not: nothing else remembers it.
    pub(in crate::worker) refusal: OnceLock<NotStarted>,
}

impl Journal {
    /// Takes a call in, unless its key is known.
    pub(in crate::worker) fn claim(&self, call: KeyedCall, now: Timestamp) -> Claimed {
        let mut entries = self.entries();
        match entries.entry(call.execution) {
            Place::Occupied(place) => {
                let entry = place.into_mut();
                if entry.head.key.is_none() && entry.head.state.is_terminal() {
                    // A task that did not start gave its key back, and makes room for who uses it now.
                    *entry = Entry::taken_in(call, now);
                    return Claimed::New;
                }
                if entry.head.key != Some(call.arguments) {
                    return Claimed::Conflict;
                }
                if !entry.head.state.is_terminal() {
                    if entry.callers.len() >= MAX_CALLERS {
                        return Claimed::Crowded;
                    }
                    entry.callers.insert(call.caller);
                }
                Claimed::Known(Arc::clone(&entry.ending))
            }
            Place::Vacant(_) if !self.has_read(call.execution) => Claimed::Unread,
            Place::Vacant(place) => {
                place.insert(Entry::taken_in(call, now));
                Claimed::New
            }
        }
    }

    /// Somebody waits for it no more. Whether nobody does now, and it is no task: then it may be stopped.
    pub(in crate::worker) fn leave(&self, execution: ExecutionId, caller: ExecutionId) -> bool {
        let mut entries = self.entries();
        let Some(entry) = entries.get_mut(&execution) else { return true };
        entry.callers.remove(&caller);
        entry.callers.is_empty() && !entry.head.is_task
    }

    /// Whether it is the call that a key names; what has no key is no other one.
    pub(in crate::worker) fn is_call(
        &self,
        execution: ExecutionId,
        arguments: Option<ArgumentsDigest>,
    ) -> bool {
        self.head(execution).is_none_or(|head| arguments.is_none() || head.key == arguments)
    }

    /// Writes down that it starts: on disk when this returns. Only keys that are old enough make room for it.
    pub(in crate::worker) async fn note(
        &self,
        host: &Host,
        execution: ExecutionId,
    ) -> Result<(), NotEntered> {
        let _turn = self.writing.lock().await;
        // It is there already if it is tried again in a new sandbox, or was made a task while it waited.
        let unwritten = self.entries().get(&execution).filter(|it| it.size == 0).map(|it| it.head);
        let Some(head) = unwritten else { return Ok(()) };
        let room = keyed_surplus(&self.entries(), host.now());
        self.forget(host, room.map_err(|wait| NotEntered::KeysFull { wait })?).await;
        let size = self.write(host, head, Vec::new()).await?;
        self.set(head, size);
        Ok(())
    }

    /// It did not start: its key is free, and whoever waits for it is told why. One that is a task stays, for its client
    /// was told of it; false then.
    pub(super) async fn free(&self, host: &Host, execution: ExecutionId, why: &NotStarted) -> bool {
        if !self.withdraw(execution, why) {
            return false;
        }
        // From the disk alone: in memory there may be somebody else by now. A write that failed may have left it too.
        self.erase(host, vec![execution]).await;
        true
    }

    /// A task did not start: its client reads why, and its key is free. Whoever waits for it with the key is told the same.
    pub(super) fn give_back(&self, head: &mut Head, why: &NotStarted) {
        if head.key.take().is_some()
            && let Some(entry) = self.entries().get(&head.execution)
        {
            // Told when it has ended.
            entry.ending.refusal.set(why.clone()).ok();
        }
    }

    /// The same for one that was not even taken in.
    pub(in crate::worker) fn withdraw(&self, execution: ExecutionId, why: &NotStarted) -> bool {
        let mut entries = self.entries();
        let Place::Occupied(place) = entries.entry(execution) else { return false };
        if place.get().head.key.is_none() || place.get().head.is_task {
            return false;
        }
        let entry = place.remove();
        // Only who removes it tells why, so nothing was told before.
        entry.ending.refusal.set(why.clone()).ok();
        entry.ending.over.cancel();
        true
    }

    /// How it is, for somebody who makes the call again; nothing if there is no such call.
    pub(in crate::worker) async fn replay(
        &self,
        host: &Host,
        execution: ExecutionId,
    ) -> Option<Task> {
        let head = self.head(execution)?;
        Some(self.told(host, head).await)
    }
}

impl Entry {
    /// One that is taken in: it goes on, and one caller waits.
    fn taken_in(call: KeyedCall, now: Timestamp) -> Self {
        let KeyedCall { execution, arguments, kind, caller } = call;
        let (key, is_task, state) = (Some(arguments), false, TaskState::Working);
        let (created, updated, keep_until) = (now, now, now);
        let head = Head { execution, key, is_task, kind, created, updated, keep_until, state };
        Self { callers: [caller].into(), ..Self::new(head) }
    }
}

/// What is told of an entry that does not read, or is no more: nobody knows whether its code ran.
pub(in crate::worker) fn unread(kind: JobKind, now: Timestamp) -> Task {
    of_now(kind, now, Progress::Failed { reason: TaskFailure::EntryUnread.as_str().to_owned() })
}

/// What is told of a call that goes on, to who cannot wait for it.
pub(in crate::worker) fn under_way(kind: JobKind, now: Timestamp) -> Task {
    of_now(kind, now, Progress::Working)
}

fn of_now(kind: JobKind, now: Timestamp, progress: Progress) -> Task {
    let now = now.as_millis();
    Task { kind, created_ms: now, updated_ms: now, keep_until_ms: now, progress }
}
