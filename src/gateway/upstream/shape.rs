//! What of an upstream's result is different for its client: what it hands back later is sealed.

use std::borrow::Cow;
use std::time::Duration;

use super::Upstreams;
use super::ask::Ask;
use super::config::UpstreamName;
use super::discovery::Known;
use super::forward::{Forwarded, needs_modern};
use super::state::State;
use super::translate;
use super::trouble::Trouble;
use crate::domain::task::TaskId;
use crate::gateway::failure::Failure;
use crate::mcp::{Json, JsonBuf, NameSource, Object, RELATED_TASK, ResultType, related_task};

/// How long a task of an upstream can be asked about. What the upstream says when it is created may grow (SEP-2663, "Task
/// Creation"), and that one is gone is for the upstream to say.
const TASK_LIFE: Duration = Duration::from_hours(24 * 7);

impl Upstreams {
    /// The result in the shape of the client's era.
    pub(super) fn shape(
        &self,
        ask: &Ask,
        upstream: &UpstreamName,
        known: &Known,
        result: &JsonBuf,
    ) -> Result<Forwarded, Failure> {
        let method = ask.envelope.method();
        let wrong = |what| Trouble::Protocol(what).into_failure(upstream, method);
        let mut result = Object::holding(result).ok_or_else(|| wrong("a result is an object"))?;
        match ResultType::of(&result) {
            Some(ResultType::InputRequired) if !method.may_ask_for_input() => {
                return Err(wrong("this method may not ask for input"));
            }
            Some(ResultType::InputRequired) if !ask.envelope.era().is_modern() => {
                return Err(needs_modern("asks its client for input"));
            }
            Some(ResultType::InputRequired) => self.seal_state(ask, upstream, &mut result)?,
            Some(ResultType::Task) if !ask.envelope.era().is_modern() => {
                return Err(needs_modern("answers with a task"));
            }
            Some(ResultType::Task) => {
                let theirs = result.text("taskId").map(Cow::into_owned);
                result.set_text("taskId", &self.seal_task(ask, upstream, theirs)?);
            }
            // basic, "`ResultType`": for a client that cannot see it, the gateway takes it for invalid.
            None if !ask.envelope.era().is_modern() => {
                return Err(needs_modern("answers with a type of result that is not known here"));
            }
            // A type that is newer than this gateway is for the client to know.
            Some(ResultType::Complete) | None => {
                if method.name_source() == Some(NameSource::TaskId) {
                    rename_task(&mut result, ask.envelope.name().unwrap_or_default());
                } else if let Some(mut task) = task_created(ask, &result)? {
                    // 2025-11-25 tasks, "Creating Tasks".
                    let theirs = task.text("taskId").map(Cow::into_owned);
                    task.set_text("taskId", &self.seal_task(ask, upstream, theirs)?);
                    result.set("task", task.render());
                }
            }
        }
        let is_error = result.get("isError").is_some_and(|it| it.get() == "true");
        let era = ask.envelope.era();
        let result = translate::finish(result, era, method, known, &self.replica);
        Ok(Forwarded::Result { result, is_error })
    }

    fn seal_state(
        &self,
        ask: &Ask,
        upstream: &UpstreamName,
        result: &mut Object<'_>,
    ) -> Result<(), Failure> {
        let Some(state) = result.text("requestState").map(Cow::into_owned) else { return Ok(()) };
        let state = State::Upstream { upstream: upstream.to_string(), state };
        let sealed = state.seal(&ask.envelope, &ask.caller, &self.keys, self.clock.now());
        let sealed = sealed.ok_or_else(|| {
            Trouble::Protocol("its requestState is too long")
                .into_failure(upstream, ask.envelope.method())
        })?;
        result.set_text("requestState", &sealed);
        Ok(())
    }

    /// The id by which the client is to know an upstream's task.
    fn seal_task(
        &self,
        ask: &Ask,
        upstream: &UpstreamName,
        theirs: Option<String>,
    ) -> Result<String, Failure> {
        let method = ask.envelope.method();
        let wrong = |what| Trouble::Protocol(what).into_failure(upstream, method);
        let task = theirs.ok_or_else(|| wrong("a task has an id"))?;
        let not_after = self.clock.now().after(TASK_LIFE);
        let task = TaskId::Upstream { upstream: upstream.to_string(), task };
        let sealed = task.seal(&ask.caller, not_after, &self.keys);
        sealed.ok_or_else(|| wrong("its task's id is too long"))
    }
}

/// What `tasks/get` and its like tell is of the task that the client knows by this id.
fn rename_task(result: &mut Object<'_>, ours: &str) {
    if result.get("taskId").is_some() {
        result.set_text("taskId", ours);
    }
    let is_related =
        |meta: Json<'_>| Object::read(meta).is_some_and(|it| it.get(RELATED_TASK).is_some());
    if result.get("_meta").is_some_and(is_related) {
        result.amend("_meta", |meta| meta.set(RELATED_TASK, related_task(ours)));
    }
}

/// The task that a legacy client asked for and got.
fn task_created<'a>(ask: &Ask, result: &'a Object<'_>) -> Result<Option<Object<'a>>, Failure> {
    let has_asked = !ask.envelope.era().is_modern() && ask.envelope.task_requested()?.is_some();
    Ok(result.get("task").filter(|_| has_asked).and_then(Object::read))
}
