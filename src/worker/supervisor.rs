//! All environments of a worker: takes them in, finds them, ends them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::attachment::Attachment;
use super::cancelled::Cancelled;
use super::environment::{Environment, Place, Target};
use super::execution::{Execution, Order};
use super::expired::Expired;
use super::host::Host;
use super::journal::Journal;
use super::keyed::Waiting;
use super::output::{Output, Reader};
use super::record::Record;
use super::tombstones::{Tombstone, Tombstones, bury};
use crate::domain::environment::{EnvironmentState, GoneReason, Interruption};
use crate::domain::ids::{EnvironmentId, ExecutionId};
use crate::rpc::wire::{Claim, CreateReply, FindReply, Frame, NotStarted};

/// How often the worker looks for environments whose time is over.
const REAP: Duration = Duration::from_secs(1);
/// How long the sandboxes have to end when the worker does.
const STOP: Duration = Duration::from_secs(15);

/// Holds the environments. Whatever it starts ends with [`Supervisor::stop`].
#[derive(Debug)]
pub(super) struct Supervisor {
    pub(super) host: Arc<Host>,
    capacity: u32,
    table: Mutex<Table>,
    cancelled: Mutex<Cancelled>,
    executions: TaskTracker,
    pub(super) tasks: TaskTracker,
    /// Cancelled when executions are to stop.
    over: CancellationToken,
}

#[derive(Debug, Default)]
struct Table {
    live: HashMap<EnvironmentId, Arc<Environment>>,
    gone: Tombstones,
    expired: Expired,
}

/// The answer to an execution as it comes: output while it runs, then the last frame.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) output: Reader,
    pub(super) last: oneshot::Receiver<Frame>,
    /// Says that somebody waits, where it has a key.
    pub(super) waiting: Option<Waiting>,
}

impl Supervisor {
    /// Takes up what an earlier start left on the disk.
    pub(super) fn recover(host: Arc<Host>, capacity: u32, records: Vec<Record>) -> Self {
        let (over, now) = (CancellationToken::new(), host.now());
        let mut table = Table::default();
        for mut record in records {
            if let EnvironmentState::Gone { reason, since } = record.state {
                table
                    .gone
                    .set(record.environment, Tombstone { owner: record.owner, reason, since });
                continue;
            }
            let interrupted = record.state.interrupt(Interruption::WorkerRestarted);
            record.state = interrupted.unwrap_or(record.state);
            // Nobody could call while the worker was away: that time was not idle.
            record.last_used = now;
            let (id, until) = (record.environment, record.idle_deadline());
            let journal = Journal::recover(host.disk(), id, now, until);
            table.live.insert(id, Environment::new(record, journal, &over));
        }
        let (table, executions, tasks) =
            (Mutex::new(table), TaskTracker::new(), TaskTracker::new());
        let cancelled = Mutex::default();
        Self { host, capacity, table, cancelled, executions, tasks, over }
    }

    /// Takes in a new environment: its record is on disk when this returns. Safe to repeat.
    pub(super) async fn create(&self, record: Record) -> CreateReply {
        let environment = match self.reserve(record) {
            Ok(environment) => environment,
            Err(why) => return CreateReply::Refused { why: why.to_owned() },
        };
        if let Err(error) = environment.establish(&self.host).await {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::error!(environment = environment.id().log_name(), %error, cause, "not created");
            self.forget(&environment).await;
        }
        if environment.state().is_live() {
            CreateReply::Created
        } else {
            CreateReply::Refused { why: "its record could not be written".to_owned() }
        }
    }

    fn reserve(&self, record: Record) -> Result<Arc<Environment>, &'static str> {
        let mut table = self.table();
        if table.gone.get(record.environment).is_some() {
            return Err("the environment is gone");
        }
        if let Some(known) = table.live.get(&record.environment) {
            let same = known.claim() == record.claim();
            return same.then(|| Arc::clone(known)).ok_or("another environment has this id");
        }
        if table.live.len() >= self.capacity as usize {
            return Err("the worker is full");
        }
        if record.not_after <= self.host.now() {
            return Err("the environment's life is over");
        }
        let journal = Journal::empty(record.environment);
        let environment = Environment::new(record, journal, &self.over);
        table.live.insert(environment.id(), Arc::clone(&environment));
        Ok(environment)
    }

    async fn forget(&self, environment: &Environment) {
        self.table().live.remove(&environment.id());
        if let Err(error) = self.host.remove(environment.id()).await {
            tracing::warn!(environment = environment.id().log_name(), %error, "traces stay on disk");
        }
    }

    /// Takes an execution in and runs it when its turn comes. A call that takes in nothing says why.
    pub(super) fn execute(
        self: &Arc<Self>,
        target: &Target,
        order: Order,
        until: tokio::time::Instant,
    ) -> Result<Answer, NotStarted> {
        let environment = self.find_live(target)?;
        let attachment = Attachment::new(&order.job.kind);
        let execution = order.execution;
        let place = environment.admit(target, execution, attachment, self.host.now())?;
        let answer = self.begin(place, order, until);
        self.stop_if_cancelled(&environment, execution, None);
        Ok(answer)
    }

    /// Runs an execution that has its place when its turn comes.
    pub(super) fn begin(&self, place: Place, order: Order, until: tokio::time::Instant) -> Answer {
        let output = Output::new(self.host.sandboxes().limits().output_bytes);
        let reader = output.reader();
        let (answer, last) = oneshot::channel();
        let execution = Execution { host: Arc::clone(&self.host), place, order, until, output };
        self.executions.spawn(execution.run(answer));
        Answer { output: reader, last, waiting: None }
    }

    /// Stops an execution; one that is not there has stopped already. Where it has a key and this is one of its callers,
    /// it stops only if nobody else waits for it.
    pub(super) fn cancel(
        &self,
        environment: EnvironmentId,
        execution: ExecutionId,
        caller: Option<ExecutionId>,
    ) {
        // Remembered first: a call that comes meanwhile finds it, or is found.
        self.cancelled().add(caller.unwrap_or(execution), self.host.now());
        let live = self.table().live.get(&environment).cloned();
        if let Some(environment) = live {
            environment.leave(execution, caller);
        }
    }

    /// Stops a call that was overtaken by its cancel.
    pub(super) fn stop_if_cancelled(
        &self,
        environment: &Environment,
        execution: ExecutionId,
        caller: Option<ExecutionId>,
    ) {
        if self.cancelled().has(caller.unwrap_or(execution), self.host.now()) {
            environment.leave(execution, caller);
        }
    }

    /// Ends an environment; returns when that is on disk. Its sandbox and files go soon after.
    pub(super) async fn close(self: &Arc<Self>, target: &Target) -> Result<(), NotStarted> {
        let environment = self.find_live(target)?;
        environment.check(target)?;
        if let Some(on_disk) = self.end(&environment, GoneReason::Deleted) {
            // Dropped unanswered only if the task panicked, which is logged by itself.
            on_disk.await.ok();
        }
        Ok(())
    }

    /// What the worker knows of an environment.
    pub(super) fn find(self: &Arc<Self>, id: EnvironmentId) -> FindReply {
        let live = self.table().live.get(&id).cloned();
        if let Some(environment) = live.filter(|it| !self.end_if_overdue(it)) {
            return FindReply::Held { claim: environment.claim() };
        }
        match self.table().gone.get(id) {
            Some(tombstone) => FindReply::Gone { reason: tombstone.reason.as_str().to_owned() },
            None => FindReply::NotMine,
        }
    }

    /// Environments whose time was over a moment ago, with their proof: gateways tell whoever watches them.
    pub(super) fn expired(&self) -> Vec<Claim> {
        self.table().expired.lately(self.host.now())
    }

    pub(super) fn capacity(&self) -> u32 {
        self.capacity
    }

    /// How many executions run.
    pub(super) fn running(&self) -> u32 {
        self.host.running()
    }

    /// Keeps the pool filled and ends what is overdue, until the worker stops, or the guard is dropped.
    pub(super) fn start(self: &Arc<Self>) -> DropGuard {
        let (host, over) = (Arc::clone(&self.host), self.over.clone());
        self.tasks.spawn(async move { host.sandboxes().keep_warm(over).await });
        let supervisor = Arc::clone(self);
        self.tasks.spawn(async move {
            let mut tick = interval(REAP);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while supervisor.over.run_until_cancelled(tick.tick()).await.is_some() {
                supervisor.reap().await;
            }
        });
        self.over.clone().drop_guard()
    }

    /// Whether executions are being stopped, so that a new one would only be cancelled.
    pub(super) fn is_stopping(&self) -> bool {
        self.over.is_cancelled()
    }

    /// Returns when no execution is under way; tasks go on when every connection is closed.
    pub(super) async fn settled(&self) {
        self.executions.close();
        self.executions.wait().await;
    }

    /// Stops every execution; each answers with how it ended.
    pub(super) fn stop_executions(&self) {
        self.over.cancel();
    }

    /// Stops every execution, ends every sandbox and writes down when each environment was last used.
    pub(super) async fn stop(&self) {
        self.stop_executions();
        let live = self.live();
        let down = join_all(live.iter().map(async |environment| {
            environment.put_down().await;
            if let Err(error) = environment.save(&self.host).await {
                tracing::error!(environment = environment.id().log_name(), %error, "not written");
            }
        }));
        self.tasks.close();
        let all = async { tokio::join!(down, self.settled(), self.tasks.wait()) };
        if timeout(STOP, all).await.is_err() {
            tracing::error!("some sandboxes did not end within {STOP:?}");
        }
    }

    async fn reap(self: &Arc<Self>) {
        for environment in self.live() {
            if !self.end_if_overdue(&environment) {
                environment.journal().tidy(&self.host).await;
            }
        }
        let now = self.host.now();
        let forgotten = self.table().gone.take_old(now);
        for id in forgotten {
            if let Err(error) = self.host.remove(id).await {
                tracing::warn!(environment = id.log_name(), %error, "traces stay on disk");
            }
        }
    }

    fn end_if_overdue(self: &Arc<Self>, environment: &Arc<Environment>) -> bool {
        let overdue = environment.is_overdue(self.host.now());
        if overdue {
            self.end(environment, GoneReason::Expired);
        }
        overdue
    }

    /// Ends an environment. Returns what tells when that is on disk; nothing if it had ended before.
    fn end(
        self: &Arc<Self>,
        environment: &Arc<Environment>,
        reason: GoneReason,
    ) -> Option<oneshot::Receiver<()>> {
        let now = self.host.now();
        if !environment.end(reason, now) {
            return None;
        }
        let tombstone = Tombstone { owner: environment.record().owner, reason, since: now };
        let mut table = self.table();
        table.live.remove(&environment.id());
        table.gone.set(environment.id(), tombstone);
        // Whoever closes one tells of it.
        if reason == GoneReason::Expired {
            table.expired.add(environment.claim(), now);
        }
        drop(table);
        let (written, on_disk) = oneshot::channel();
        let (environment, host) = (Arc::clone(environment), Arc::clone(&self.host));
        self.tasks.spawn(async move { bury(&host, &environment, written).await });
        Some(on_disk)
    }

    pub(super) fn find_live(
        self: &Arc<Self>,
        target: &Target,
    ) -> Result<Arc<Environment>, NotStarted> {
        let live = self.table().live.get(&target.environment).cloned();
        if let Some(environment) = live.filter(|it| !self.end_if_overdue(it)) {
            return Ok(environment);
        }
        match self.table().gone.get(target.environment) {
            Some(tombstone) if tombstone.owner == target.owner => {
                Err(NotStarted::Gone { reason: tombstone.reason.as_str().to_owned() })
            }
            Some(_) => Err(NotStarted::Foreign),
            None => Err(NotStarted::NotMine),
        }
    }

    /// Those that are not gone.
    pub(super) fn live(&self) -> Vec<Arc<Environment>> {
        self.table().live.values().cloned().collect()
    }

    fn cancelled(&self) -> MutexGuard<'_, Cancelled> {
        self.cancelled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
