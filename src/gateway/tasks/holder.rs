//! Asking the worker that holds a task.

use std::time::Duration;

use super::OurTask;
use crate::domain::ids::{EnvironmentId, ExecutionId, Principal};
use crate::gateway::failure::{Failure, Fault};
use crate::gateway::tools::Tools;
use crate::rpc::client::{Peer, TraceHeaders, WorkerError};
use crate::rpc::task::{CancelTaskRequest, Reader, TaskReply, TaskRequest};
use crate::rpc::wire::Target;

/// How long a worker may take to answer, beyond the wait that it was asked for.
const ANSWER: Duration = Duration::from_secs(5);

/// Who asks for which task.
#[derive(Clone, Debug)]
pub(in crate::gateway) struct Asked {
    /// Who asks; the task's id was opened for them.
    pub caller: Principal,
    /// What they call it.
    pub id: String,
    /// Its environment.
    pub environment: EnvironmentId,
    /// The generation of the handle it was started with.
    pub generation: u16,
    /// Its execution.
    pub execution: ExecutionId,
    /// The trace context to pass on.
    pub trace: TraceHeaders,
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(in crate::gateway) enum Question {
    /// How it is; the answer may wait so long for its end.
    Look {
        /// At most 20 s; the worker waits no longer.
        wait: Duration,
        /// Whether the task's client reads the answer.
        reader: Reader,
    },
    /// Whether it can be cancelled.
    Cancel,
}

/// What the worker knows of a task.
#[derive(Debug)]
pub(in crate::gateway) enum Known {
    /// It is so.
    Task(OurTask),
    /// It was to be cancelled, but had ended so.
    HadEnded(OurTask),
    /// It is no more.
    Gone,
}

impl Tools {
    /// Asks the worker that holds the task's environment, wherever that is. A [`Failure::Tool`] says what became of the
    /// environment.
    pub(in crate::gateway) async fn ask_of_task(
        &self,
        asked: &Asked,
        question: Question,
    ) -> Result<Known, Failure> {
        let mut route = self.locator.route(&asked.caller, asked.environment, &asked.trace);
        loop {
            let (peer, epoch) = route.next().await?;
            let target = Target {
                environment: asked.environment.to_string(),
                owner: asked.caller.owner_digest().to_string(),
                generation: asked.generation,
                epoch: epoch.0,
            };
            let known = |task| OurTask::new(asked.id.clone(), task);
            match self.put_question(&peer, target, asked, question).await {
                Ok(TaskReply::Task(task)) => return Ok(Known::Task(known(*task))),
                Ok(TaskReply::HadEnded(task)) => return Ok(Known::HadEnded(known(*task))),
                Ok(TaskReply::Unknown | TaskReply::NotKept) => return Ok(Known::Gone),
                Ok(TaskReply::NotHere(why)) => route.not_started(&why)?,
                // Whatever became of the question, it can be asked again.
                Err(error) => route.failed(&error).map_err(|_| silent())?,
            }
        }
    }

    async fn put_question(
        &self,
        peer: &Peer,
        target: Target,
        asked: &Asked,
        question: Question,
    ) -> Result<TaskReply, WorkerError> {
        let execution = asked.execution.to_string();
        match question {
            Question::Look { wait, reader } => {
                let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                let request = TaskRequest { target, execution, wait_ms, reader };
                self.client.task(peer, &request, wait + ANSWER, &asked.trace).await
            }
            Question::Cancel => {
                let request = CancelTaskRequest { target, execution };
                self.client.cancel_task(peer, &request, ANSWER, &asked.trace).await
            }
        }
    }
}

fn silent() -> Failure {
    let message = "the worker that holds this task did not answer: ask again shortly";
    Fault::worker_unreachable(message).into()
}
