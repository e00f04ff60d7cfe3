//! Calls that take their time: Baton's own tools, and whatever upstreams answer. The answer is JSON or a stream.

use std::borrow::Cow;
use std::sync::Arc;

use super::dispatch::{Edge, refuse};
use super::failure::Failure;
use super::feed::{self, Events};
use super::limits::{Class, Slot};
use super::observe::Observation;
use super::outgoing::Outgoing;
use super::reply::{self, Answer, Asker, Work};
use super::resources::{self, missing};
use super::tasks;
use super::tools::{Call, Tool, shown};
use super::upstream::{Ask, Destination};
use crate::domain::ids::Principal;
use crate::mcp::{Envelope, Era, Method, RejectionKind};
use axum::body::Body;
use http::{HeaderName, HeaderValue, Response};

impl Edge {
    /// A tool of Baton's own: may they now, do it.
    pub(super) async fn call_own_tool(
        &self,
        tool: Tool,
        envelope: Arc<Envelope>,
        caller: Principal,
        observation: Box<Observation>,
    ) -> Response<Body> {
        let slot = match self.admit_call(&caller, &envelope, Some(tool)).await {
            Ok(slot) => slot,
            Err(failure) => return refuse(&failure, &envelope, *observation),
        };
        let becomes_task = match self.becomes_task(&envelope, tool) {
            Ok(wish) => wish,
            Err(failure) => return refuse(&failure, &envelope, *observation),
        };
        let asker = asker(&envelope);
        let token = envelope.meta().progress_token();
        let (feed, events) = feed::of_progress(token, asker.accepts_sse);
        let outgoing = Outgoing::to_workers(observation.span(), tool);
        let arguments = envelope.arguments().cloned();
        let trace = outgoing.trace();
        let key = envelope.meta().idempotency_key().cloned();
        let call = Call { caller, arguments, feed, trace, becomes_task, key };
        let tools = Arc::clone(&self.tools);
        let work = async move {
            let result = tools.call(tool, &call).await;
            let result = tasks::as_asked(&envelope, becomes_task, result);
            outgoing.end(&result);
            drop(slot);
            result
        };
        self.follow(asker, reply::work(work), events, observation).await
    }

    /// What an upstream answers: whose is it, may they now, pass it on.
    pub(super) async fn forward(
        &self,
        envelope: Arc<Envelope>,
        caller: Principal,
        observation: Box<Observation>,
    ) -> Response<Body> {
        let slot = match self.admit_call(&caller, &envelope, None).await {
            Ok(slot) => slot,
            Err(failure) => return refuse(&failure, &envelope, *observation),
        };
        let destination = match self.destination(&envelope, &caller).await {
            Ok(destination) => destination,
            Err(failure) => return refuse(&failure, &envelope, *observation),
        };
        let Destination { server, name, replacing, mirrors } = destination;
        let mut mirrored = envelope.mirrored_headers(&mirrors);
        // In `_meta` it goes on as it came. What is done about it is the upstream's promise.
        mirrored.extend(key_header(&envelope));
        let asker = asker(&envelope);
        let (feed, events) = feed::of_notifications(asker.accepts_sse);
        let outgoing =
            self.observer.to_upstream(observation.span(), envelope.method(), &server.config.name);
        let trace = outgoing.trace();
        let ask = Ask { envelope, caller, name, replacing, mirrored, trace };
        let upstreams = Arc::clone(&self.upstreams);
        let work = async move {
            let result = upstreams.forward(&server, ask, &feed).await.map(Answer::Forwarded);
            outgoing.end(&result);
            drop(slot);
            result
        };
        self.follow(asker, reply::work(work), events, observation).await
    }

    async fn destination(
        &self,
        envelope: &Envelope,
        caller: &Principal,
    ) -> Result<Destination, Failure> {
        let found = self.upstreams.destination(envelope, caller).await?;
        let destination = found.ok_or_else(|| unknown(envelope))?;
        envelope.check_mirrors(&destination.mirrors)?;
        Ok(destination)
    }

    fn follow(
        &self,
        asker: Asker,
        work: Work,
        events: Events,
        observation: Box<Observation>,
    ) -> impl Future<Output = Response<Body>> {
        let work: Work = match asker.era {
            Era::Modern => work,
            // There a disconnect is no cancel: the call runs to its end.
            Era::Legacy(_) => {
                let running = self.calls.spawn(work);
                Box::pin(async move { running.await.unwrap_or_else(|_| Err(reply::broken())) })
            }
        };
        reply::answer(asker, self.identity.clone(), work, events, observation, &self.calls)
    }

    /// A place among the calls under way.
    pub(super) async fn admit_call(
        &self,
        caller: &Principal,
        envelope: &Envelope,
        tool: Option<Tool>,
    ) -> Result<Slot, Failure> {
        let class = Class::of(envelope.method(), tool).unwrap_or(Class::Execute);
        Ok(self.limits.slot(class, caller.tenant_digest()).await?)
    }
}

/// Whoever sent this request.
pub(super) fn asker(envelope: &Envelope) -> Asker {
    Asker { era: envelope.era(), id: envelope.id().clone(), accepts_sse: envelope.accepts_sse() }
}

fn key_header(envelope: &Envelope) -> Option<(HeaderName, HeaderValue)> {
    let key = envelope.meta().idempotency_key()?;
    // One that no header can hold came in `_meta`.
    let mut value = HeaderValue::from_str(key.as_str()).ok()?;
    value.set_sensitive(true);
    Some((HeaderName::from_static("idempotency-key"), value))
}

/// What nobody here has (tools, prompts and resources, "Error Handling").
fn unknown(envelope: &Envelope) -> Failure {
    let name = envelope.name().unwrap_or_default();
    let shown = shown(name, 128);
    let what = match envelope.method() {
        Method::CallTool => "Unknown tool",
        Method::GetPrompt => "Unknown prompt",
        Method::GetTask | Method::UpdateTask | Method::CancelTask | Method::TaskResult => {
            return tasks::unknown_task(envelope);
        }
        Method::ReadResource => return missing(envelope, resources::unknown(name)),
        _ => {
            let message = Cow::Borrowed("nothing here has this reference");
            return envelope.reject(RejectionKind::InvalidParams, message).into();
        }
    };
    envelope.reject(RejectionKind::InvalidParams, format!("{what}: {shown}")).into()
}
