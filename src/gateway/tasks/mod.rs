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
use http::{Response, StatusCode};
use tokio::time::Instant;

pub(super) use follow::Followed;
pub(super) use holder::{Asked, Known, Question};
pub(super) use view::OurTask;

use super::calls::asker;
use super::dispatch::{Edge, not_served, refuse};
use super::failure::{Failure, json_response};
use super::feed;
use super::limits::{Class, Slot};
use super::observe::Observation;
use super::outgoing::trace_headers;
use super::reply::{self, Answer};
use super::tools::{BecomesTask, QUEUE_TIME, Tool};
use crate::domain::ids::Principal;
use crate::domain::task::TaskId;
use crate::mcp::{
    Empty, Envelope, Era, LegacyVersion, Method, RejectionKind, Reply, ServerCapabilities,
    TASKS_EXTENSION, TaskRequested,
};
use crate::rpc::task::Reader;
use crate::telemetry::{Outcome, Span};

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
            Era::Modern if self.tools.policy.task_after.is_zero() => BecomesTask::AtOnce,
            Era::Modern => BecomesTask::After(self.tools.policy.task_after),
            Era::Legacy(_) => match envelope.task_requested()? {
                None => BecomesTask::Never,
                Some(TaskRequested { ttl }) if tool.may_be_task() => BecomesTask::AsAsked { ttl },
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

    /// Every method of tasks: one of ours is asked after here, an upstream's there.
    pub(super) async fn ask_of_task(
        &self,
        envelope: Arc<Envelope>,
        caller: Principal,
        observation: Box<Observation>,
    ) -> Response<Body> {
        let asked = match self.named_task(&envelope, &caller, observation.span()).await {
            Ok(Some(asked)) => asked,
            Ok(None) => return self.forward(envelope, caller, observation).await,
            Err(failure) => return refuse(&failure, &envelope, *observation),
        };
        let class = Class::of(envelope.method(), None).unwrap_or(Class::Execute);
        let slot = match self.limits.slot(class, asked.caller.tenant_digest()).await {
            Ok(slot) => slot,
            Err(refusal) => return refuse(&refusal.into(), &envelope, *observation),
        };
        let answer = match envelope.method() {
            Method::TaskResult => {
                return self.task_result(envelope, asked, slot, observation).await;
            }
            Method::CancelTask => self.cancel_task(&envelope, &asked).await,
            Method::UpdateTask => self.update_task(&envelope, &asked).await,
            _ => self.get_task(&envelope, &asked).await,
        };
        match answer {
            Ok(message) => {
                observation.end(Outcome::Done, StatusCode::OK);
                json_response(StatusCode::OK, message)
            }
            Err(failure) => refuse(&failure, &envelope, *observation),
        }
    }

    /// `tasks/get`.
    async fn get_task(&self, envelope: &Envelope, asked: &Asked) -> Result<Vec<u8>, Failure> {
        let task = self.look(envelope, asked, Reader::Client).await?;
        Ok(self.tell(envelope, &task))
    }

    /// `tasks/cancel`. Modern clients get an acknowledgement, whatever the task is by then (SEP-2663, "Task
    /// Cancellation"); legacy ones the cancelled task, or an error if it had ended.
    async fn cancel_task(&self, envelope: &Envelope, asked: &Asked) -> Result<Vec<u8>, Failure> {
        let known = self.tools.ask_of_task(asked, Question::Cancel).await;
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
    async fn update_task(&self, envelope: &Envelope, asked: &Asked) -> Result<Vec<u8>, Failure> {
        self.look(envelope, asked, Reader::Listener).await?;
        Ok(self.acknowledge(envelope))
    }

    /// `tasks/result` of 2025-11-25: blocks until the task has ended, as the call would have (tasks, "Result Retrieval").
    async fn task_result(
        &self,
        envelope: Arc<Envelope>,
        asked: Asked,
        slot: Slot,
        observation: Box<Observation>,
    ) -> Response<Body> {
        if let Err(failure) = self.look(&envelope, &asked, Reader::Listener).await {
            return refuse(&failure, &envelope, *observation);
        }
        let client = asker(&envelope);
        let (begun, events) = feed::of_progress(None, client.accepts_sse);
        begun.begin();
        let tools = Arc::clone(&self.tools);
        let until = Instant::now() + tools.policy.max_timeout + QUEUE_TIME;
        let work = reply::work(async move {
            let (_slot, _begun) = (slot, begun);
            let ended = tools.wait_for_end(&asked, until).await;
            let ended = ended.map_err(|failure| no_task(&envelope, failure))?;
            let task = ended.ok_or_else(|| forgotten(&envelope))?;
            Ok(Answer::Tool(task.into_result()?))
        });
        reply::answer(client, self.identity.clone(), work, events, observation, &self.calls).await
    }

    /// Who asks after which task of ours, when they may; nothing if it is an upstream's, which admits it like a call.
    async fn named_task(
        &self,
        envelope: &Envelope,
        caller: &Principal,
        span: &Span,
    ) -> Result<Option<Asked>, Failure> {
        let speaks_tasks = match envelope.era() {
            Era::Modern => true,
            Era::Legacy(version) => version == LegacyVersion::November2025,
        };
        let has_tasks = |can: &ServerCapabilities| can.extension(TASKS_EXTENSION).is_some();
        if !speaks_tasks || !has_tasks(self.standing_where(has_tasks).await.capabilities()) {
            return Err(not_served(envelope).into());
        }
        if envelope.era().is_modern() {
            envelope.require_extension(TASKS_EXTENSION)?;
        }
        let id = envelope.name().unwrap_or_default();
        let opened = TaskId::open(id, caller, &self.keys, self.clock.now());
        let (environment, generation, execution) = match opened {
            Ok(TaskId::Execution { environment, generation, execution }) => {
                (environment, generation, execution)
            }
            Ok(TaskId::Upstream { .. }) => return Ok(None),
            Err(_) => return Err(unknown_task(envelope)),
        };
        let (caller, id, trace) = (caller.clone(), id.to_owned(), trace_headers(span));
        Ok(Some(Asked { caller, id, environment, generation, execution, trace }))
    }

    async fn look(
        &self,
        envelope: &Envelope,
        asked: &Asked,
        reader: Reader,
    ) -> Result<OurTask, Failure> {
        let look = Question::Look { wait: Duration::ZERO, reader };
        let known = self.tools.ask_of_task(asked, look).await;
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
            Err(match error.into_fault() {
                Ok(fault) => fault.into(),
                Err(error) => {
                    let text = error.text().to_owned();
                    envelope.reject(RejectionKind::InvalidParams, text).into()
                }
            })
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

/// The refusal of an id that names no task of the caller.
pub(super) fn unknown_task(envelope: &Envelope) -> Failure {
    let message = "you have no such task: pass the taskId of a task of yours verbatim";
    envelope.reject(RejectionKind::InvalidParams, message).into()
}

fn forgotten(envelope: &Envelope) -> Failure {
    let message = "there is no such task any more: it was kept as long as its ttl said, or its result was read and newer ones took its place";
    envelope.reject(RejectionKind::InvalidParams, message).into()
}
