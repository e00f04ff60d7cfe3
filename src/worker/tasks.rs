//! Executions as tasks: taken from their connections, looked at, cancelled.

use std::sync::Arc;
use std::time::Duration;

use super::attachment::Attachment;
use super::environment::{Environment, Target};
use super::host::Host;
use super::journal::{Cancelling, Head, NotEntered};
use super::supervisor::Supervisor;
use crate::domain::ids::{ArgumentsDigest, ExecutionId};
use crate::domain::task::TaskState;
use crate::rpc::task::{LONGEST_WAIT_MS, Progress, Reader, TaskReply};
use crate::rpc::wire::NotStarted;

/// Hands an execution over to the journal; what has ended is not entered. It is on disk when this returns.
pub(super) async fn enter(
    host: &Host,
    environment: &Environment,
    execution: ExecutionId,
    attachment: &Attachment,
    ttl: Duration,
) -> Result<(), NotEntered> {
    let (now, state) = (host.now(), TaskState::Working);
    let (kind, keep_until) = (attachment.kind(), environment.promise(ttl, now));
    let (key, is_task) = (None, true);
    let head =
        Head { execution, key, is_task, kind, created: now, updated: now, keep_until, state };
    let entered = attachment.hand_over(environment.journal().begin(host, head)).await;
    let name = environment.id().log_name();
    match &entered {
        Ok(()) => {}
        // Its client's many tasks are nothing for an operator to mend.
        Err(NotEntered::Full | NotEntered::KeysFull { .. }) => {
            tracing::debug!(environment = name, "one task too many");
        }
        Err(NotEntered::Unwritten(error)) => {
            tracing::error!(environment = name, %error, "an execution becomes no task");
        }
    }
    entered
}

/// An execution ended without a word: it becomes no task any more, and if it is one or has a key, it has failed.
pub(super) async fn fail(
    host: &Host,
    environment: &Environment,
    execution: ExecutionId,
    attachment: &Attachment,
) {
    if attachment.end().await || attachment.is_keyed() {
        let until = environment.promise(Duration::ZERO, host.now());
        environment.journal().end(host, execution, None, until).await;
    }
}

impl Supervisor {
    /// Makes a task of an execution: when this returns so, it is on disk, and the connection may go.
    pub(super) async fn detach(
        self: &Arc<Self>,
        target: &Target,
        execution: ExecutionId,
        arguments: Option<ArgumentsDigest>,
        ttl: Duration,
    ) -> TaskReply {
        let environment = match self.usable(target) {
            Ok(environment) => environment,
            Err(why) => return TaskReply::NotHere(why),
        };
        // Another call under the same key is not this caller's to be told of.
        if !environment.journal().is_call(execution, arguments) {
            return TaskReply::Unknown;
        }
        let host = Arc::clone(&self.host);
        // Goes to its end though the call that asked is dropped: else an entry could stay that nobody ends.
        let entered = self.tasks.spawn(async move {
            if let Some(attachment) = environment.attachment(execution)
                && enter(&host, &environment, execution, &attachment, ttl).await.is_err()
            {
                return TaskReply::NotKept;
            }
            // A repeat asks again and changes no terms.
            let keep_until = environment.promise(Duration::ZERO, host.now());
            environment.journal().tell(&host, execution, keep_until, Reader::Client).await
        });
        entered.await.unwrap_or(TaskReply::NotKept)
    }

    /// How a task is; the answer waits until it has ended, or so long.
    pub(super) async fn task(
        self: &Arc<Self>,
        target: &Target,
        execution: ExecutionId,
        wait: Duration,
        reader: Reader,
    ) -> TaskReply {
        let told = async {
            let wait = wait.min(Duration::from_millis(LONGEST_WAIT_MS));
            self.usable(target)?.journal().wait(execution, wait).await;
            // It may be gone by now.
            let environment = self.usable(target)?;
            let keep_until = environment.promise(Duration::ZERO, self.host.now());
            let journal = environment.journal();
            let reply = journal.tell(&self.host, execution, keep_until, reader).await;
            if reader == Reader::Client && tells_outcome(&reply) {
                journal.outcome_read(execution);
                environment.outcome_read(execution);
            }
            Ok(reply)
        };
        told.await.unwrap_or_else(TaskReply::NotHere)
    }

    /// Cancels a task, unless it has ended: that is on disk when this returns, and its execution is about to stop.
    pub(super) async fn cancel_task(
        self: &Arc<Self>,
        target: &Target,
        execution: ExecutionId,
    ) -> TaskReply {
        let environment = match self.usable(target) {
            Ok(environment) => environment,
            Err(why) => return TaskReply::NotHere(why),
        };
        let supervisor = Arc::clone(self);
        // To its end, as above: what is noted as cancelled is stopped.
        let cancelled = self.tasks.spawn(async move {
            let (host, journal) = (&supervisor.host, environment.journal());
            let keep_until = environment.promise(Duration::ZERO, host.now());
            let cancelling = journal.cancel(host, execution).await;
            if cancelling == Cancelling::Cancelled {
                environment.cancel(execution);
            }
            let told = journal.tell(host, execution, keep_until, Reader::Client).await;
            match (cancelling, told) {
                (Cancelling::HadEnded, TaskReply::Task(task)) => TaskReply::HadEnded(task),
                (_, reply) => reply,
            }
        });
        cancelled.await.unwrap_or(TaskReply::Unknown)
    }

    fn usable(self: &Arc<Self>, target: &Target) -> Result<Arc<Environment>, NotStarted> {
        let environment = self.find_live(target)?;
        environment.check(target)?;
        Ok(environment)
    }
}

fn tells_outcome(reply: &TaskReply) -> bool {
    let TaskReply::Task(task) = reply else { return false };
    matches!(task.progress, Progress::Ended { .. } | Progress::NotStarted { .. })
}
