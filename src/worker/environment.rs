//! One environment: who may call it, one execution at a time, and what it remembers of a lost sandbox.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::attachment::Attachment;
use super::host::{Host, Unsaved};
use super::journal::Journal;
use super::record::Record;
use super::sandbox::Sandbox;
use super::sandboxes;
use crate::domain::environment::{EnvironmentState, GoneReason, IllegalTransition, Interruption};
use crate::domain::ids::{EnvironmentId, ExecutionId, OwnerDigest, Timestamp};
use crate::domain::placement::Epoch;
use crate::rpc::wire::{Claim, Listed, NotStarted, Queue};

/// How many calls may wait behind the one that runs.
pub(super) const QUEUE: usize = 8;
/// When a client may try again that found the queue full.
const QUEUE_RETRY: Duration = Duration::from_secs(1);
/// How far the last use on disk may lag behind: a write for each call would say little more.
pub(super) const COARSE: Duration = Duration::from_mins(1);

/// An environment that this worker holds.
#[derive(Debug)]
pub(super) struct Environment {
    id: EnvironmentId,
    life: Mutex<Life>,
    journal: Journal,
    /// Its sandbox; whoever holds the lock has the turn. The lock is fair, so it is the queue as well.
    slot: tokio::sync::Mutex<Slot>,
    /// What is on disk; whoever holds the lock writes.
    written: tokio::sync::Mutex<Option<Written>>,
    /// Cancelled when it ends, or the worker.
    over: CancellationToken,
}

/// The place where its sandbox is, if it has one.
pub(super) type Slot = Option<Box<dyn Sandbox>>;

#[derive(Debug)]
struct Life {
    record: Record,
    calls: Vec<Call>,
    calls_ever: u64,
    /// The task whose outcome tells of the loss that it was interrupted by, and was not read yet.
    told_by: Option<ExecutionId>,
}

#[derive(Debug)]
struct Call {
    number: u64,
    execution: ExecutionId,
    attachment: Arc<Attachment>,
    stop: CancellationToken,
}

#[derive(Clone, Copy, Debug)]
struct Written {
    last_used: Timestamp,
    state: EnvironmentState,
}

/// Which environment a call means, and as whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) environment: EnvironmentId,
    pub(super) owner: OwnerDigest,
    pub(super) generation: u16,
    pub(super) epoch: Epoch,
}

/// A call's place in an environment; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    environment: Arc<Environment>,
    number: u64,
    attachment: Arc<Attachment>,
    /// Cancelled when the call is to stop.
    pub(super) stop: CancellationToken,
}

impl Environment {
    /// The environment of a record. It is over when the worker is.
    pub(super) fn new(
        record: Record,
        journal: Journal,
        worker_over: &CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self {
            id: record.environment,
            journal,
            life: Mutex::new(Life { record, calls: Vec::new(), calls_ever: 0, told_by: None }),
            slot: tokio::sync::Mutex::default(),
            written: tokio::sync::Mutex::default(),
            over: worker_over.child_token(),
        })
    }

    pub(super) fn id(&self) -> EnvironmentId {
        self.id
    }

    pub(super) fn record(&self) -> Record {
        self.life().record.clone()
    }

    pub(super) fn claim(&self) -> Claim {
        self.life().record.claim()
    }

    pub(super) fn state(&self) -> EnvironmentState {
        self.life().record.state
    }

    /// Whether the caller may use it: all else looks as if it did not exist.
    pub(super) fn check(&self, target: &Target) -> Result<(), NotStarted> {
        let record = &self.life().record;
        if target.owner != record.owner || target.generation < record.generation {
            return Err(NotStarted::Foreign);
        }
        if let EnvironmentState::Gone { reason, .. } = record.state {
            return Err(NotStarted::Gone { reason: reason.as_str().to_owned() });
        }
        if target.epoch != record.epoch {
            return Err(NotStarted::WrongEpoch { epoch: record.epoch.0 });
        }
        Ok(())
    }

    /// Takes a call in, behind those that wait. From here on the environment is not idle.
    pub(super) fn admit(
        self: &Arc<Self>,
        target: &Target,
        execution: ExecutionId,
        attachment: Attachment,
        now: Timestamp,
    ) -> Result<Place, NotStarted> {
        self.check(target)?;
        let mut life = self.life();
        if life.calls.len() > QUEUE {
            return Err(busy(Queue::Environment));
        }
        let stop = self.over.child_token();
        life.calls_ever += 1;
        let (number, attachment) = (life.calls_ever, Arc::new(attachment));
        let call =
            Call { number, execution, attachment: Arc::clone(&attachment), stop: stop.clone() };
        life.calls.push(call);
        life.record.last_used = now;
        Ok(Place { environment: Arc::clone(self), number, attachment, stop })
    }

    /// Whose an execution is that runs or waits.
    pub(super) fn attachment(&self, execution: ExecutionId) -> Option<Arc<Attachment>> {
        let life = self.life();
        let call = life.calls.iter().find(|call| call.execution == execution)?;
        Some(Arc::clone(&call.attachment))
    }

    /// Its tasks.
    pub(super) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Somebody wants an execution no more: it stops, unless it has a key and somebody else waits for it.
    pub(super) fn leave(&self, execution: ExecutionId, caller: Option<ExecutionId>) {
        if caller.is_none_or(|caller| self.journal.leave(execution, caller)) {
            self.cancel(execution);
        }
    }

    /// Stops an execution, whether it runs or waits.
    pub(super) fn cancel(&self, execution: ExecutionId) {
        let life = self.life();
        life.calls
            .iter()
            .filter(|call| call.execution == execution)
            .for_each(|it| it.stop.cancel());
    }

    /// Whether it was idle too long, or has lived too long.
    pub(super) fn is_overdue(&self, now: Timestamp) -> bool {
        let life = self.life();
        let is_idle = life.calls.is_empty();
        now >= if is_idle { self.idle_deadline(&life.record) } else { life.record.not_after }
    }

    /// When it ends if nobody calls it. A client that was told until when its task is kept finds it until then.
    fn idle_deadline(&self, record: &Record) -> Timestamp {
        let promised = self.journal.keep_until().unwrap_or_default();
        record.idle_deadline().max(promised).min(record.not_after)
    }

    /// Until when a task is kept that is asked for now: as long as the environment may be idle, and for `ttl` at least.
    /// What other tasks were promised is not this one's: it is on disk as theirs alone.
    pub(super) fn promise(&self, ttl: Duration, now: Timestamp) -> Timestamp {
        let mut life = self.life();
        life.record.last_used = now;
        life.record.idle_deadline().max(now.after(ttl)).min(life.record.not_after)
    }

    /// It ends: calls stop, new ones are refused. False if it had ended before.
    pub(super) fn end(&self, reason: GoneReason, now: Timestamp) -> bool {
        let mut life = self.life();
        let was_live = life.record.state.is_live();
        life.record.state = life.record.state.end(reason, now);
        drop(life);
        self.over.cancel();
        self.journal.close();
        was_live
    }

    /// Whether its worker ends its calls, and it goes on afterwards.
    pub(super) fn is_put_down(&self) -> bool {
        self.over.is_cancelled() && self.state().is_live()
    }

    /// Why a call that was taken in did not start.
    pub(super) fn why_not(&self) -> NotStarted {
        match self.state() {
            EnvironmentState::Gone { reason, .. } => {
                NotStarted::Gone { reason: reason.as_str().to_owned() }
            }
            _ if self.over.is_cancelled() => {
                let why = "the worker of this environment stops; its files are kept, call again";
                NotStarted::NoSandbox { why: why.to_owned() }
            }
            _ => NotStarted::Cancelled,
        }
    }

    /// Takes a step; what is gone takes none.
    pub(super) fn step(
        &self,
        step: impl FnOnce(EnvironmentState) -> Result<EnvironmentState, IllegalTransition>,
    ) -> Result<EnvironmentState, IllegalTransition> {
        let mut life = self.life();
        life.record.state = step(life.record.state)?;
        Ok(life.record.state)
    }

    /// Variables were lost, and nobody was told; the outcome of the task `told_by` tells whoever reads it.
    pub(super) fn lose(&self, told_by: Option<ExecutionId>) {
        let mut life = self.life();
        // What is gone has nothing left to tell.
        if let Ok(state) = life.record.state.interrupt(Interruption::SandboxLost) {
            life.record.state = state;
            let untold = matches!(state, EnvironmentState::Interrupted { .. });
            life.told_by = told_by.filter(|_| untold).or(life.told_by);
        }
    }

    /// The model was told that variables were lost.
    pub(super) fn told(&self) {
        let mut life = self.life();
        life.record.state = life.record.state.told().unwrap_or(life.record.state);
        life.told_by = None;
    }

    /// A task's outcome was read, with all that it tells.
    pub(super) fn outcome_read(&self, execution: ExecutionId) {
        if self.life().told_by == Some(execution) {
            self.told();
        }
    }

    /// It is in use: the idle time begins anew. Returns when it ends if nobody calls.
    pub(super) fn touch(&self, now: Timestamp) -> Timestamp {
        let mut life = self.life();
        life.record.last_used = now;
        self.idle_deadline(&life.record)
    }

    /// Waits for the turn, behind those that came before.
    pub(super) async fn turn(&self) -> tokio::sync::MutexGuard<'_, Slot> {
        self.slot.lock().await
    }

    /// Writes the record for the first time; an environment whose record cannot be written is none.
    pub(super) async fn establish(&self, host: &Host) -> Result<(), Unsaved> {
        let mut written = self.written.lock().await;
        if written.is_some() {
            return Ok(());
        }
        // A failure must be final before the next one tries: nobody may be told of what is about to go.
        self.write(host, &mut written).await.inspect_err(|_| {
            self.end(GoneReason::Lost, host.now());
        })
    }

    /// Writes the record if what is on disk would mislead the next start.
    pub(super) async fn save_if_stale(&self, host: &Host) -> Result<(), Unsaved> {
        let mut written = self.written.lock().await;
        let fresh = |it: &Written| {
            let record = &self.life().record;
            it.state == record.state && record.last_used.since(it.last_used) < COARSE
        };
        if written.as_ref().is_some_and(fresh) {
            Ok(())
        } else {
            self.write(host, &mut written).await
        }
    }

    /// Writes the record.
    pub(super) async fn save(&self, host: &Host) -> Result<(), Unsaved> {
        self.write(host, &mut *self.written.lock().await).await
    }

    async fn write(&self, host: &Host, written: &mut Option<Written>) -> Result<(), Unsaved> {
        let record = self.record();
        let new = Written { last_used: record.last_used, state: record.state };
        host.save(record).await?;
        *written = Some(new);
        Ok(())
    }

    /// Ends its sandbox, after the calls that stop.
    pub(super) async fn put_down(&self) {
        let sandbox = self.slot.lock().await.take();
        if let Some(sandbox) = sandbox {
            sandboxes::destroy(sandbox).await;
        }
    }

    /// What a list says of it.
    pub(super) fn listed(&self) -> Listed {
        let record = &self.life().record;
        Listed {
            environment: record.environment.to_string(),
            generation: record.generation,
            state: record.state.as_str().to_owned(),
            created_ms: record.created.as_millis(),
            last_used_ms: record.last_used.as_millis(),
            idle_deadline_ms: self.idle_deadline(record).as_millis(),
            not_after_ms: record.not_after.as_millis(),
        }
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Others are before this call in a queue, and it cannot wait for all of them.
pub(super) fn busy(queue: Queue) -> NotStarted {
    let retry_after_ms = u64::try_from(QUEUE_RETRY.as_millis()).unwrap_or(u64::MAX);
    NotStarted::QueueFull { retry_after_ms, queue }
}

impl Place {
    pub(super) fn environment(&self) -> &Arc<Environment> {
        &self.environment
    }

    /// Whose the execution is.
    pub(super) fn attachment(&self) -> &Arc<Attachment> {
        &self.attachment
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.environment.life().calls.retain(|call| call.number != self.number);
    }
}
