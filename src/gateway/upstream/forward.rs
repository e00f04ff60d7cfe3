//! A client's request answered by an upstream.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;

use super::Upstreams;
use super::ask::Ask;
use super::config::UpstreamName;
use super::discovery::Known;
use super::server::{Answered, Server};
use super::state::State;
use super::translate;
use super::trouble::Trouble;
use crate::domain::ids::Timestamp;
use crate::domain::task::TaskId;
use crate::gateway::failure::{Executed, Failure, Fault};
use crate::gateway::feed::Feed;
use crate::mcp::{NameSource, Object, RejectionKind, ResultType};

/// How long a task of an upstream can be asked about where it names no time.
const TASK_LIFE: Duration = Duration::from_hours(24 * 7);

/// A result for the client that asked, in its era's shape.
#[derive(Debug)]
pub(in crate::gateway) struct Forwarded {
    /// The result object.
    pub result: Box<RawValue>,
    /// Whether a tool says that it failed.
    pub is_error: bool,
}

impl Upstreams {
    /// Puts a request to its upstream, passes notifications on, and shapes the answer.
    pub(in crate::gateway) async fn forward(
        &self,
        server: &Arc<Server>,
        mut ask: Ask,
        feed: &Feed,
    ) -> Result<Forwarded, Failure> {
        self.open_state(server, &mut ask)?;
        let name = &server.config.name;
        let method = ask.envelope.method();
        let (answered, known) =
            server.ask(&ask, feed).await.map_err(|trouble| trouble.into_failure(name, method))?;
        match answered {
            Answered::Error(error) => Err(Failure::Upstream(error)),
            Answered::Result(result) => self.shape(&ask, name, &known, &result),
        }
    }

    /// What the client holds is ours; the upstream gets its own back (mrtr, "Server Requirements" 4: MUST be verified).
    fn open_state(&self, server: &Server, ask: &mut Ask) -> Result<(), Failure> {
        let Some(held) = ask.envelope.text_param("requestState")? else { return Ok(()) };
        let now = self.clock.now();
        let state = State::open(&held, &ask.envelope, &ask.caller, &self.keys, now);
        let own = match state {
            Ok(State::Upstream { upstream, state }) if upstream == server.config.name.as_str() => {
                state
            }
            Ok(State::Suspended { .. } | State::Upstream { .. }) | Err(_) => {
                let message = "requestState does not verify: it is not the state of this request, or it has expired";
                return Err(ask.envelope.reject(RejectionKind::InvalidParams, message).into());
            }
        };
        ask.replacing.push(("requestState", Some(translate::text(&own))));
        Ok(())
    }

    fn shape(
        &self,
        ask: &Ask,
        upstream: &UpstreamName,
        known: &Known,
        result: &RawValue,
    ) -> Result<Forwarded, Failure> {
        let method = ask.envelope.method();
        let wrong = |what| Trouble::Protocol(what).into_failure(upstream, method);
        let mut result = Object::read(result).ok_or_else(|| wrong("a result is an object"))?;
        match ResultType::of(&result) {
            Some(ResultType::InputRequired) if !method.may_ask_for_input() => {
                return Err(wrong("this method may not ask for input"));
            }
            Some(ResultType::InputRequired) if !ask.envelope.era().is_modern() => {
                return Err(needs_modern("asks its client for input"));
            }
            Some(ResultType::InputRequired) => self.seal_state(ask, upstream, &mut result)?,
            Some(ResultType::Task) => self.seal_task(ask, upstream, &mut result)?,
            // A type that is newer than this gateway is for the client to know.
            Some(ResultType::Complete) | None => {
                // tasks/get and its like name the task by its own id; the client knows it by ours.
                if let (Some(ours), true) =
                    (ask.envelope.name(), method.name_source() == Some(NameSource::TaskId))
                    && result.get("taskId").is_some()
                {
                    result.set_text("taskId", ours);
                }
            }
        }
        let is_error = result.get("isError").is_some_and(|it| it.get() == "true");
        let era = ask.envelope.era();
        let result = translate::finish(result, era, method, known, &self.replica);
        Ok(Forwarded { result, is_error })
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

    fn seal_task(
        &self,
        ask: &Ask,
        upstream: &UpstreamName,
        result: &mut Object<'_>,
    ) -> Result<(), Failure> {
        let method = ask.envelope.method();
        let wrong = |what| Trouble::Protocol(what).into_failure(upstream, method);
        let task =
            result.text("taskId").map(Cow::into_owned).ok_or_else(|| wrong("a task has an id"))?;
        let life = result.get("ttlMs").and_then(|it| it.get().parse().ok());
        let life = life.map_or(TASK_LIFE, Duration::from_millis).min(TASK_LIFE);
        let millis = u64::try_from(life.as_millis()).unwrap_or(u64::MAX);
        // A client may ask a while after the time is up, and is to hear of it from the upstream.
        let not_after =
            Timestamp::from_millis(self.clock.now().as_millis() + millis + 60 * 60 * 1000);
        let task = TaskId::Upstream { upstream: upstream.to_string(), task };
        let sealed = task.seal(&ask.caller, not_after, &self.keys);
        result.set_text("taskId", &sealed.ok_or_else(|| wrong("its task's id is too long"))?);
        Ok(())
    }
}

fn needs_modern(what: &str) -> Failure {
    Fault::upstream_unavailable(
        format!("this {what}, which needs a client of revision 2026-07-28"),
        Executed::Maybe,
        None,
    )
    .into()
}
