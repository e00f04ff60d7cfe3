//! One execution: waits for its turn, gets a sandbox, runs, and tells how it ended: whoever waits for it, and the journal
//! if it became a task.

use std::future::pending;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::environment::{Environment, Place, Slot, busy};
use super::host::Host;
use super::journal::NotEntered;
use super::output::Output;
use super::request::ttl;
use super::sandbox::{Condition, Job, JobKind, Limit, Outcome, Sandbox};
use super::sandboxes;
use super::tasks::{enter, fail};
use super::walls;
use crate::domain::environment::{EnvironmentState, Interruption};
use crate::domain::ids::ExecutionId;
use crate::rpc::wire::{Ended, Frame, NotStarted, Otherwise, Restarted, TaskTerms};

/// How long an execution goes on when its connection is lost without a cancel: the gateway may have died, and
/// nobody will ask for the result.
const ORPHANED: Duration = Duration::from_secs(5);
/// How much longer than its time a sandbox may take to say how a job ended. A bug of ours if it does.
const OVERRUN: Duration = Duration::from_secs(30);

/// What ended an execution if its worker did, where results name the limit that did.
const WORKER_STOPPING: &str = "workerStopping";
/// What its caller may do about that.
const CALL_AGAIN: &str = "The worker stopped while this ran, as it does for an upgrade. The files are kept, with what the \
                          code had written: look at them, then call again.";

/// An execution that was taken in.
#[derive(Debug)]
pub(super) struct Execution {
    pub(super) host: Arc<Host>,
    pub(super) place: Place,
    pub(super) order: Order,
    /// When nobody waits for it any more.
    pub(super) until: Instant,
    pub(super) output: Output,
}

/// What is to be done.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) execution: ExecutionId,
    pub(super) job: Job,
    /// If it is a task from its start.
    pub(super) task: Option<TaskTerms>,
}

/// What comes of it. What the model must be told counts as told only when somebody took the answer.
enum Verdict {
    NotStarted(NotStarted),
    /// Python after a loss: told instead of run.
    Restarted(Interruption),
    Ended(Box<Ended>),
    /// The sandbox did not say how it ended, so we do not either.
    Unknown,
}

impl Execution {
    /// Runs to the end and answers with the last frame.
    pub(super) async fn run(self, answer: oneshot::Sender<Frame>) {
        let (host, execution) = (Arc::clone(&self.host), self.order.execution);
        let environment = Arc::clone(self.place.environment());
        let attachment = Arc::clone(self.place.attachment());
        // Only a bug of ours panics, but a task must not stay under way for ever.
        if AssertUnwindSafe(self.proceed(answer)).catch_unwind().await.is_err() {
            fail(&host, &environment, execution, &attachment).await;
        }
    }

    async fn proceed(mut self, mut answer: oneshot::Sender<Frame>) {
        let environment = Arc::clone(self.place.environment());
        if let Some(terms) = self.order.task {
            let (execution, attachment) = (self.order.execution, self.place.attachment());
            let entered = enter(&self.host, &environment, execution, attachment, ttl(terms)).await;
            if entered.is_err() && terms.otherwise == Otherwise::Refuse {
                return self.conclude(Verdict::NotStarted(NotStarted::NotKept), answer).await;
            }
        }
        let turn = tokio::select! {
            biased;
            () = self.place.stop.cancelled() => Err(environment.why_not()),
            () = self.abandoned(&mut answer) => return,
            slot = environment.turn() => Ok(slot),
            () = sleep_until(self.until) => Err(busy()),
        };
        let mut slot = match turn {
            Ok(slot) => slot,
            Err(why) => return self.conclude(Verdict::NotStarted(why), answer).await,
        };
        let verdict = self.take_turn(&environment, &mut slot, &mut answer).await;
        let host = Arc::clone(&self.host);
        // The turn ends when the disk knows.
        self.conclude(verdict, answer).await;
        if let Err(error) = environment.save_if_stale(&host).await {
            report_unsaved(&environment, &error);
        }
    }

    async fn take_turn(
        &mut self,
        environment: &Environment,
        slot: &mut Slot,
        answer: &mut oneshot::Sender<Frame>,
    ) -> Verdict {
        loop {
            let state = notice_loss(environment, slot).await;
            let notice = match state {
                EnvironmentState::Interrupted { reason } => Some(reason),
                _ => None,
            };
            if let (Some(reason), JobKind::Python { .. }) = (notice, &self.order.job.kind) {
                return Verdict::Restarted(reason);
            }
            let was_there = slot.is_some();
            let mut sandbox = match self.sandbox(environment, slot).await {
                Ok(sandbox) => sandbox,
                Err(why) => return Verdict::NotStarted(why),
            };
            if self.place.stop.is_cancelled() {
                *slot = Some(sandbox);
                return Verdict::NotStarted(environment.why_not());
            }
            // A key is on disk before its code runs, and that it started with it.
            if let Err(why) = self.note_key(environment).await {
                *slot = Some(sandbox);
                return Verdict::NotStarted(why);
            }
            let whole = sandbox.condition() == Condition::Ready;
            // On disk before anything runs: else the next start would not know that variables were lost.
            if whole && let Err(why) = self.record_start(environment, state).await {
                *slot = Some(sandbox);
                return Verdict::NotStarted(why);
            }
            let Some(outcome) = self.run_job(sandbox.as_mut(), answer).await else {
                sandboxes::destroy(sandbox).await;
                return Verdict::Unknown;
            };
            if outcome.started {
                let lost =
                    whole && (outcome.interpreter_lost || sandbox.condition() != Condition::Ready);
                *slot = Some(sandbox);
                let mut ended = self.output.ended(&outcome);
                let python = matches!(self.order.job.kind, JobKind::Python { .. });
                let mut hint = python.then(|| self.host.packages().hint(&ended.stderr)).flatten();
                if ended.exit_code != 0 && walls::met(&ended.stderr) {
                    hint = hint.or(self.host.sandboxes().advice().map(str::to_owned));
                }
                // A sandbox knows that it was stopped, but not by whom.
                if outcome.terminated_by == Some(Limit::Cancelled) && environment.is_put_down() {
                    ended.terminated_by = Some(WORKER_STOPPING.to_owned());
                    hint = Some(CALL_AGAIN.to_owned());
                }
                return Verdict::Ended(Box::new(Ended {
                    hint,
                    variables_lost: lost,
                    restarted: notice.map(restarted),
                    idle_deadline_ms: environment.touch(self.host.now()).as_millis(),
                    ..ended
                }));
            }
            if self.place.stop.is_cancelled() {
                *slot = Some(sandbox);
                return Verdict::NotStarted(environment.why_not());
            }
            // It was dead and did not say so. One that was there before takes its variables with it; a new one
            // is not tried again.
            sandboxes::destroy(sandbox).await;
            if !was_there {
                put_back(environment, state);
                return Verdict::NotStarted(no_sandbox());
            }
        }
    }

    /// The environment's sandbox, or a new one. A Python job needs one whose interpreter is there.
    async fn sandbox(
        &self,
        environment: &Environment,
        slot: &mut Slot,
    ) -> Result<Box<dyn Sandbox>, NotStarted> {
        if let Some(sandbox) = slot.take() {
            let python = matches!(self.order.job.kind, JobKind::Python { .. });
            match sandbox.condition() {
                Condition::Ready => return Ok(sandbox),
                Condition::InterpreterLost if !python => return Ok(sandbox),
                Condition::InterpreterLost | Condition::Dead => sandboxes::destroy(sandbox).await,
            }
        }
        self.host.sandboxes().claim(environment.id()).await.map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::error!(environment = environment.id().log_name(), %error, cause, "no sandbox");
            no_sandbox()
        })
    }

    async fn note_key(&self, environment: &Environment) -> Result<(), NotStarted> {
        if !self.place.attachment().is_keyed() {
            return Ok(());
        }
        let noted = environment.journal().note(&self.host, self.order.execution).await;
        noted.map_err(|error| not_noted(environment, &error))
    }

    async fn record_start(
        &self,
        environment: &Environment,
        before: EnvironmentState,
    ) -> Result<(), NotStarted> {
        environment.step(EnvironmentState::start).map_err(|_| environment.why_not())?;
        environment.save_if_stale(&self.host).await.map_err(|error| {
            report_unsaved(environment, &error);
            put_back(environment, before);
            let why = "the worker's disk takes no records now; try again later";
            NotStarted::NoSandbox { why: why.to_owned() }
        })
    }

    /// Runs the job. Stops it when nobody waits for it.
    async fn run_job(
        &mut self,
        sandbox: &mut dyn Sandbox,
        answer: &mut oneshot::Sender<Frame>,
    ) -> Option<Outcome> {
        let _running = self.host.count_running();
        let mut job = self.order.job.clone();
        job.timeout = job.timeout.min(self.until.saturating_duration_since(Instant::now()));
        let longest = job.timeout + OVERRUN;
        let stop = self.place.stop.clone();
        let attachment = Arc::clone(self.place.attachment());
        let orphaned = async {
            answer.closed().await;
            sleep(ORPHANED).await;
            if attachment.goes_on().await {
                pending::<()>().await;
            }
        };
        let running = async {
            let mut run = pin!(sandbox.run(job, &mut self.output, stop.clone()));
            tokio::select! {
                outcome = run.as_mut() => return outcome,
                () = orphaned => stop.cancel(),
            }
            run.await
        };
        let outcome = timeout(longest, running).await;
        outcome.inspect_err(|_| tracing::error!("a sandbox overran its time")).ok()
    }

    /// Returns when the connection is lost and nobody else wants the execution.
    async fn abandoned(&self, answer: &mut oneshot::Sender<Frame>) {
        answer.closed().await;
        if !self.place.attachment().give_up().await {
            pending::<()>().await;
        }
    }

    /// Tells how it ended, and notes what the model was told.
    async fn conclude(self, verdict: Verdict, answer: oneshot::Sender<Frame>) {
        let (last, lost_variables) = match verdict {
            Verdict::NotStarted(why) => (Some(Frame::NotStarted(why)), false),
            Verdict::Restarted(reason) => {
                (Some(Frame::NotStarted(NotStarted::Restarted(restarted(reason)))), true)
            }
            Verdict::Ended(ended) => {
                let lost = ended.variables_lost;
                (Some(Frame::Ended(ended)), lost)
            }
            Verdict::Unknown => (None, true),
        };
        let Self { host, place, order, .. } = self;
        let (environment, execution) = (Arc::clone(place.environment()), order.execution);
        let is_task = place.attachment().end().await;
        let is_keyed = place.attachment().is_keyed();
        // A key that did not start is free again, and whoever asks next is told what this caller is.
        let ran = !matches!(last, Some(Frame::NotStarted(_)));
        let is_kept = is_task || (is_keyed && ran);
        // Whoever reads the answer finds the place free.
        drop(place);
        if is_kept {
            // What is kept tells when it is read: what runs until then must not find the loss told.
            if lost_variables {
                environment.lose(Some(execution));
            }
        }
        if is_task || is_keyed {
            let until = environment.promise(Duration::ZERO, host.now());
            environment.journal().end(&host, execution, last.as_ref(), until).await;
        }
        let sent = last.is_some_and(|frame| answer.send(frame).is_ok());
        match (lost_variables, is_kept) {
            (true, false) if sent => environment.told(),
            (true, false) => environment.lose(None),
            // Who is told of a task's beginning is not told of its end.
            (true, true) if sent && !is_task => environment.outcome_read(execution),
            (true, true) | (false, _) => {}
        }
    }
}

/// Sees whether the sandbox was lost since the last call.
async fn notice_loss(environment: &Environment, slot: &mut Slot) -> EnvironmentState {
    let condition = slot.as_ref().map_or(Condition::Dead, |sandbox| sandbox.condition());
    if condition == Condition::Dead
        && let Some(sandbox) = slot.take()
    {
        sandboxes::destroy(sandbox).await;
    }
    if condition == Condition::Ready {
        return environment.state();
    }
    let lost = environment.step(|state| state.interrupt(Interruption::SandboxLost));
    lost.unwrap_or_else(|_| environment.state())
}

fn put_back(environment: &Environment, state: EnvironmentState) {
    environment
        .step(|now| match now {
            gone @ EnvironmentState::Gone { .. } => Ok(gone),
            _ => Ok(state),
        })
        .ok();
}

fn restarted(reason: Interruption) -> Restarted {
    Restarted { reason: reason.as_str().to_owned() }
}

fn no_sandbox() -> NotStarted {
    let why = "no sandbox could be started for the environment; its files are kept, try again";
    NotStarted::NoSandbox { why: why.to_owned() }
}

fn not_noted(environment: &Environment, error: &NotEntered) -> NotStarted {
    let name = environment.id().log_name();
    match error {
        NotEntered::KeysFull { wait } => {
            tracing::debug!(environment = name, "one key too many");
            let retry_after_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
            NotStarted::KeysFull { retry_after_ms }
        }
        NotEntered::Full | NotEntered::Unwritten(_) => {
            tracing::error!(environment = name, %error, "a call with a key is refused");
            NotStarted::KeyNotKept
        }
    }
}

fn report_unsaved(environment: &Environment, error: &super::host::Unsaved) {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    tracing::error!(environment = environment.id().log_name(), %error, cause, "disk trouble");
}
