//! The methods of tasks: of the extension (SEP-2663) for modern clients, and of 2025-11-25 for legacy ones.
//!
//! Nothing of a task is kept here: its sealed id says where it is, the worker that runs it says how it is. So any
//! replica answers for it.

mod follow;
mod holder;
mod view;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::Response;
use tokio::time::Instant;

pub(super) use holder::{Asked, Known, Question};
pub(super) use view::OurTask;

use super::calls::{asker, trace_headers};
use super::dispatch::{Edge, not_served, refuse};
use super::failure::Failure;
use super::feed;
use super::observe::Observation;
use super::reply::{self, Answer};
use super::tools::{BecomesTask, QUEUE_TIME, Tool};
use crate::domain::ids::Principal;
use crate::domain::task::TaskId;
use crate::mcp::{
    Empty, Envelope, Era, LegacyVersion, RejectionKind, Reply, TASKS_EXTENSION, TaskRequested,
};
use crate::telemetry::Span;

impl Edge {
    /// Whether a call becomes a task. A modern client leaves that to us and says only that it knows tasks (SEP-2663,
    /// "Capability Negotiation"); one of 2025-11-25 asks for it.
    pub(super) fn becomes_task(
        &self,
        envelope: &Envelope,
        tool: Tool,
    ) -> Result<BecomesTask, Failure> {
        if !self.tools.have_tasks() {
            return Ok(BecomesTask::Never);
        }
        let wish = match envelope.era() {
            Era::Modern if !tool.may_be_task() || !knows_tasks(envelope) => BecomesTask::Never,
            Era::Modern if self.tools.policy.task_after.is_zero() => {
                BecomesTask::AtOnce { ttl: None }
            }
            Era::Modern => BecomesTask::After(self.tools.policy.task_after),
            Era::Legacy(_) => match envelope.task_requested()? {
                None => BecomesTask::Never,
                Some(TaskRequested { ttl }) if tool.may_be_task() => BecomesTask::AtOnce { ttl },
                // 2025-11-25 tasks, "Tool-Level Negotiation".
                Some(_) => {
                    let message =
                        format!("{} does not run as a task: call it without", tool.name());
                    return Err(envelope.reject(RejectionKind::MethodNotFound, message).into());
                }
            },
        };
        Ok(wish)
    }

    /// `tasks/get`.
    pub(super) async fn get_task(
        &self,
        envelope: &Envelope,
        caller: &Principal,
        span: &Span,
    ) -> Result<Vec<u8>, Failure> {
        let asked = self.asked_task(envelope, caller, span)?;
        let task = self.look(envelope, &asked, Duration::ZERO).await?;
        Ok(self.tell(envelope, &task))
    }

    /// `tasks/cancel`. Modern clients get an acknowledgement, whatever the task is by then (SEP-2663, "Task
    /// Cancellation"); legacy ones the cancelled task, or an error if it had ended.
    pub(super) async fn cancel_task(
        &self,
        envelope: &Envelope,
        caller: &Principal,
        span: &Span,
    ) -> Result<Vec<u8>, Failure> {
        let asked = self.asked_task(envelope, caller, span)?;
        let known = self.tools.ask_of_task(&asked, Question::Cancel).await;
        match known.map_err(|failure| no_task(envelope, failure))? {
            Known::Gone => Err(forgotten(envelope)),
            Known::Task(_) | Known::HadEnded(_) if envelope.era().is_modern() => {
                Ok(self.acknowledge(envelope))
            }
            Known::Task(task) => Ok(self.tell(envelope, &task)),
            Known::HadEnded(task) => {
                let state = task.detailed(&self.identity, self.tools.clock.now()).state;
                let status = state.status(envelope.era()).as_str();
                let message = format!("the task cannot be cancelled: it is {status} already");
                Err(envelope.reject(RejectionKind::InvalidParams, message).into())
            }
        }
    }

    /// `tasks/update`. Our tasks ask nothing, so every response is one to ignore (SEP-2663, "Task Update Requests").
    pub(super) async fn update_task(
        &self,
        envelope: &Envelope,
        caller: &Principal,
        span: &Span,
    ) -> Result<Vec<u8>, Failure> {
        let asked = self.asked_task(envelope, caller, span)?;
        self.look(envelope, &asked, Duration::ZERO).await?;
        Ok(self.acknowledge(envelope))
    }

    /// `tasks/result` of 2025-11-25: blocks until the task has ended, as the call would have (tasks, "Result Retrieval").
    pub(super) async fn task_result(
        &self,
        envelope: Envelope,
        caller: Principal,
        observation: Observation,
    ) -> Response<Body> {
        let admitted = async {
            let asked = self.asked_task(&envelope, &caller, observation.span())?;
            let slot = self.limits.slot(caller.tenant_digest()).await?;
            self.look(&envelope, &asked, Duration::ZERO).await?;
            Ok((asked, slot))
        };
        let (asked, slot) = match admitted.await {
            Ok(admitted) => admitted,
            Err(failure) => return refuse(&failure, &envelope, observation),
        };
        let client = asker(&envelope);
        let (begun, events) = feed::of_progress(None, client.accepts_sse);
        begun.begin();
        let tools = Arc::clone(&self.tools);
        let until = Instant::now() + tools.policy.max_timeout + QUEUE_TIME;
        let work = Box::pin(async move {
            let (_slot, _begun) = (slot, begun);
            let ended = tools.wait_for_end(&asked, until).await;
            let ended = ended.map_err(|failure| no_task(&envelope, failure))?;
            let task = ended.ok_or_else(|| forgotten(&envelope))?;
            Ok(Answer::Tool(task.into_result()?))
        });
        reply::answer(client, self.identity.clone(), work, events, observation).await
    }

    /// Who asks for which task, when they may.
    fn asked_task(
        &self,
        envelope: &Envelope,
        caller: &Principal,
        span: &Span,
    ) -> Result<Asked, Failure> {
        let speaks_tasks = match envelope.era() {
            Era::Modern => true,
            Era::Legacy(version) => version == LegacyVersion::November2025,
        };
        if !speaks_tasks || !self.tools.have_tasks() {
            return Err(not_served(envelope).into());
        }
        if envelope.era().is_modern() {
            envelope.require_extension(TASKS_EXTENSION)?;
        }
        let tenant = caller.tenant_digest();
        self.limits.admit_tenant(tenant)?;
        self.limits.admit_method(tenant, envelope.method())?;
        let id = envelope.name().unwrap_or_default();
        let opened = TaskId::open(id, caller, &self.tools.keys, self.tools.clock.now());
        let Ok(TaskId::Execution { environment, generation, execution }) = opened else {
            let message = "you have no such task: pass the taskId of a task of yours verbatim";
            return Err(envelope.reject(RejectionKind::InvalidParams, message).into());
        };
        let (caller, id, trace) = (caller.clone(), id.to_owned(), trace_headers(span));
        Ok(Asked { caller, id, environment, generation, execution, trace })
    }

    async fn look(
        &self,
        envelope: &Envelope,
        asked: &Asked,
        wait: Duration,
    ) -> Result<OurTask, Failure> {
        let known = self.tools.ask_of_task(asked, Question::Look { wait }).await;
        match known.map_err(|failure| no_task(envelope, failure))? {
            Known::Task(task) | Known::HadEnded(task) => Ok(task),
            Known::Gone => Err(forgotten(envelope)),
        }
    }

    fn tell(&self, envelope: &Envelope, task: &OurTask) -> Vec<u8> {
        let task = task.detailed(&self.identity, self.tools.clock.now());
        Reply::new(envelope.era(), &self.identity, &task).to(envelope.id())
    }

    fn acknowledge(&self, envelope: &Envelope) -> Vec<u8> {
        Reply::new(envelope.era(), &self.identity, &Empty::default()).to(envelope.id())
    }
}

/// A legacy client that asked for a task reads nothing else as an answer: what was not begun is an error to it.
pub(super) fn as_asked(
    envelope: &Envelope,
    becomes_task: BecomesTask,
    result: Result<Answer, Failure>,
) -> Result<Answer, Failure> {
    match result {
        Err(Failure::Tool(error))
            if !envelope.era().is_modern() && becomes_task != BecomesTask::Never =>
        {
            let text = error.text().to_owned();
            Err(envelope.reject(RejectionKind::InvalidParams, text).into())
        }
        result => result,
    }
}

fn knows_tasks(envelope: &Envelope) -> bool {
    envelope.meta().client_capabilities().declares_extension(TASKS_EXTENSION)
}

/// A task's environment that is gone or not the caller's is a task that is not there.
fn no_task(envelope: &Envelope, failure: Failure) -> Failure {
    match failure {
        Failure::Tool(error) => {
            let message = format!("there is no such task any more. {}", error.text());
            envelope.reject(RejectionKind::InvalidParams, message).into()
        }
        other => other,
    }
}

fn forgotten(envelope: &Envelope) -> Failure {
    let message = "there is no such task any more: it was kept as long as its ttl said, or newer ones took its place";
    envelope.reject(RejectionKind::InvalidParams, message).into()
}
