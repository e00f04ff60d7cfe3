//! Executions with an idempotency key: taken in once, and told to whoever asks for them.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::attachment::Attachment;
use super::environment::{Environment, Target};
use super::execution::Order;
use super::host::Host;
use super::journal::{Claimed, Ending, KeyedCall, under_way, unread};
use super::output::Output;
use super::supervisor::{Answer, Supervisor};
use crate::domain::ids::{ArgumentsDigest, ExecutionId};
use crate::rpc::task::{JobKind, Progress, Task};
use crate::rpc::wire::{Frame, NotStarted};

/// Who asks for an execution with a key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker {
    pub(super) arguments: ArgumentsDigest,
    pub(super) caller: ExecutionId,
}

/// One caller that waits for an execution; dropped with its connection.
#[derive(Debug)]
pub(super) struct Waiting {
    environment: Arc<Environment>,
    execution: ExecutionId,
    caller: ExecutionId,
}

impl Supervisor {
    /// Takes an execution in, unless its key is known: then it waits for that one's end, or has it already.
    pub(super) fn execute_keyed(
        self: &Arc<Self>,
        target: &Target,
        order: Order,
        asker: Asker,
        until: Instant,
    ) -> Result<Answer, NotStarted> {
        let environment = self.find_live(target)?;
        environment.check(target)?;
        let (execution, attachment) = (order.execution, Attachment::keyed(&order.job.kind));
        let (kind, now) = (attachment.kind(), self.host.now());
        let Asker { arguments, caller } = asker;
        let call = KeyedCall { execution, arguments, kind, caller };
        let journal = environment.journal();
        let answer = match journal.claim(call, now) {
            Claimed::New => {
                let place = environment.admit(target, execution, attachment, now);
                let place = place.inspect_err(|why| {
                    journal.withdraw(execution, why);
                })?;
                self.begin(place, order, until)
            }
            Claimed::Known(ending) => {
                let (last, answer) = answer();
                let (host, environment) = (Arc::clone(&self.host), Arc::clone(&environment));
                let told = tell(host, environment, (execution, kind), ending, until, last);
                self.tasks.spawn(told);
                answer
            }
            Claimed::Unread => told_at_once(unread(kind, now)),
            Claimed::Conflict => return Err(NotStarted::KeyConflict),
            // It was begun, whoever waits for it.
            Claimed::Crowded => told_at_once(under_way(kind, now)),
        };
        self.stop_if_cancelled(&environment, execution, Some(caller));
        let waiting = Waiting { environment, execution, caller };
        Ok(Answer { waiting: Some(waiting), ..answer })
    }
}

/// An answer without output of its own, and where its end goes.
fn answer() -> (oneshot::Sender<Frame>, Answer) {
    let (sender, last) = oneshot::channel();
    (sender, Answer { output: Output::new(0).reader(), last, waiting: None })
}

/// An answer that is there already: it waits in the channel until it is read.
fn told_at_once(task: Task) -> Answer {
    let (last, answer) = answer();
    last.send(Frame::Replayed(Box::new(task))).ok();
    answer
}

/// Waits for an execution's end, and tells it as one that began before.
async fn tell(
    host: Arc<Host>,
    environment: Arc<Environment>,
    (execution, kind): (ExecutionId, JobKind),
    ending: Arc<Ending>,
    until: Instant,
    mut last: oneshot::Sender<Frame>,
) {
    tokio::select! {
        () = ending.over.cancelled() => {}
        () = sleep_until(until) => {}
        () = last.closed() => return,
    }
    let journal = environment.journal();
    let frame = match (ending.refusal.get(), journal.replay(&host, execution).await) {
        (Some(why), _) => Frame::NotStarted(why.clone()),
        (None, Some(task)) => Frame::Replayed(Box::new(used_now(&host, &environment, task))),
        // It was known, and is no more: its environment has ended, or it made room for another key. It may have run.
        (None, None) => Frame::Replayed(Box::new(unread(kind, host.now()))),
    };
    let tells_outcome =
        matches!(&frame, Frame::Replayed(task) if task.progress != Progress::Working);
    if last.send(frame).is_ok() && tells_outcome {
        environment.outcome_read(execution);
    }
}

/// To ask again is a use of the environment, as the call was.
fn used_now(host: &Host, environment: &Environment, mut task: Task) -> Task {
    let idle_deadline = environment.touch(host.now());
    if let Progress::Ended { ended } = &mut task.progress {
        ended.idle_deadline_ms = idle_deadline.as_millis();
    }
    task
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.environment.journal().leave(self.execution, self.caller);
    }
}
