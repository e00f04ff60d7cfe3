//! A client's request answered by an upstream.

use std::sync::Arc;
use std::time::Duration;

use super::Upstreams;
use super::ask::Ask;
use super::back_channel::MAX_ROUNDS;
use super::config::UpstreamName;
use super::legacy::{Call, CallId, Suspension};
use super::server::{Answered, Outcome, Server};
use super::state::State;
use super::translate;
use super::trouble::Trouble;
use crate::domain::ids::Principal;
use crate::gateway::failure::{Executed, Failure, Fault};
use crate::gateway::feed::Feed;
use crate::gateway::tools::shown;
use crate::mcp::{Envelope, InputRequired, Object, Pieces, RejectionKind, ResultType};

/// What goes to the client that asked, in its era's shape.
#[derive(Debug)]
pub(in crate::gateway) enum Forwarded {
    /// An upstream's result.
    Result {
        /// The result object.
        result: Pieces,
        /// Whether a tool says that it failed.
        is_error: bool,
    },
    /// The call waits here for this (legacy upstreams).
    Asks(InputRequired),
}

impl Upstreams {
    /// Puts a request to its upstream, passes notifications on, and shapes the answer.
    pub(in crate::gateway) async fn forward(
        &self,
        server: &Arc<Server>,
        mut ask: Ask,
        feed: &Feed,
    ) -> Result<Forwarded, Failure> {
        let suspended = self.open_state(server, &mut ask)?;
        let name = &server.config.name;
        let method = ask.envelope.method();
        let fail = |trouble: Trouble| trouble.into_failure(name, method);
        let (mut outcome, mut known) = server.ask(&ask, feed, suspended).await.map_err(fail)?;
        for _ in 0..MAX_ROUNDS {
            let Some(asks) = asks_legacy(&ask, &outcome) else { break };
            // Boxed: it is seldom, and every call would carry room for it.
            let bringing = self.bring(&mut ask, feed, &asks, server.config.timeouts.call);
            Box::pin(bringing).await?;
            (outcome, known) = server.ask(&ask, feed, None).await.map_err(fail)?;
        }
        match outcome {
            Outcome::Answered(Answered::Error(error)) => Err(Failure::Upstream(error)),
            Outcome::Answered(Answered::Result(result)) => self.shape(&ask, name, &known, &result),
            Outcome::Suspended(suspension) => self.put(&ask, name, suspension),
        }
    }

    /// The other replica on which the call waits that this request belongs to.
    pub(in crate::gateway) fn waits_elsewhere(
        &self,
        envelope: &Envelope,
        caller: &Principal,
    ) -> Option<String> {
        let held = envelope.text_param("requestState").ok()??;
        match State::open(&held, envelope, caller, &self.keys, self.clock.now()) {
            Ok(State::Suspended { replica, .. }) => Some(replica).filter(|it| *it != self.replica),
            Ok(State::Upstream { .. }) | Err(_) => None,
        }
    }

    /// What the client holds is ours; the upstream gets its own back (mrtr, "Server Requirements" 4: MUST be verified).
    /// A call that waited for this request is taken up again.
    fn open_state(&self, server: &Server, ask: &mut Ask) -> Result<Option<Call>, Failure> {
        let Some(held) = ask.envelope.text_param("requestState")? else { return Ok(None) };
        let now = self.clock.now();
        let state = State::open(&held, &ask.envelope, &ask.caller, &self.keys, now);
        match state {
            Ok(State::Upstream { upstream, state }) if upstream == server.config.name.as_str() => {
                ask.replacing.push(("requestState", Some(translate::text(&state))));
                Ok(None)
            }
            Ok(State::Suspended { call, .. }) => self.take_up(server, ask, call).map(Some),
            Ok(State::Upstream { .. }) | Err(_) => {
                let message = "requestState does not verify: it is not the state of this request, or it has expired";
                Err(ask.envelope.reject(RejectionKind::InvalidParams, message).into())
            }
        }
    }

    /// A call that is taken up is no longer there for another request with the same state. One that waits for another
    /// upstream, whose name the request had before a new set was in force, is not its own.
    fn take_up(&self, server: &Server, ask: &Ask, call: CallId) -> Result<Call, Failure> {
        let reject = |message| ask.envelope.reject(RejectionKind::InvalidParams, message);
        if let Some(answers) = ask.envelope.object_param("inputResponses")?
            && answers.iter().any(|(_, answer)| Object::read(answer).is_none())
        {
            return Err(reject("each of params.inputResponses must be an object").into());
        }
        self.suspended.take(call, &ask.caller, &server.config.name).ok_or_else(|| {
            let message = "the call that waited for this input is over: make the call anew, without requestState and \
                           inputResponses";
            reject(message).into()
        })
    }

    /// Asks the client for what the upstream wants to know.
    fn put(
        &self,
        ask: &Ask,
        upstream: &UpstreamName,
        suspension: Suspension,
    ) -> Result<Forwarded, Failure> {
        let Suspension { call, asks } = suspension;
        let state = State::Suspended { replica: self.replica.clone(), call };
        let sealed = state.seal(&ask.envelope, &ask.caller, &self.keys, self.clock.now());
        let sealed = sealed.ok_or_else(|| {
            Trouble::Protocol("its question cannot be sealed")
                .into_failure(upstream, ask.envelope.method())
        })?;
        Ok(Forwarded::Asks(asks.with_state(sealed)))
    }

    /// Has a client of the legacy era answer what a modern upstream asks, for the request that is made anew.
    async fn bring(
        &self,
        ask: &mut Ask,
        feed: &Feed,
        asks: &InputRequired,
        patience: Duration,
    ) -> Result<(), Failure> {
        let client = ask.client();
        let mut answers = Object::default();
        if asks.requests().any(|(_, request)| !request.is_declared(&client)) {
            return Err(needs_modern("asks its client for input"));
        }
        let replies = self.back_channel.put(ask, feed, asks.requests(), patience).await;
        for (key, reply) in replies {
            match reply {
                Ok(result) => answers.set(key, result),
                Err(error) => {
                    return Err(unanswered(&format!("answered: {}", shown(&error.message, 256))));
                }
            }
        }
        if asks.requests().any(|(key, _)| answers.get(key).is_none()) {
            return Err(unanswered("did not answer in time"));
        }
        ask.replacing.retain(|(key, _)| !["inputResponses", "requestState"].contains(key));
        ask.replacing.push(("inputResponses", Some(answers.render())));
        ask.replacing.push(("requestState", asks.state().map(translate::text)));
        Ok(())
    }
}

/// What a modern upstream asks a client of the legacy era that can be asked on its stream.
fn asks_legacy(ask: &Ask, outcome: &Outcome) -> Option<InputRequired> {
    let envelope = &ask.envelope;
    let can_be_asked = !envelope.era().is_modern() && envelope.accepts_sse();
    let Outcome::Answered(Answered::Result(result)) = outcome else { return None };
    if !can_be_asked || !envelope.method().may_ask_for_input() {
        return None;
    }
    let result = Object::read(result)?;
    let asks = ResultType::of(&result) == Some(ResultType::InputRequired);
    asks.then(|| InputRequired::read(&result).ok()).flatten()
}

fn unanswered(what: &str) -> Failure {
    let message = format!("this asked its client for input, which {what}");
    Fault::upstream_unavailable(message, Executed::Maybe, None).into()
}

/// The failure of a request that its client is too old for.
pub(super) fn needs_modern(what: &str) -> Failure {
    Fault::upstream_unavailable(
        format!("this {what}, which needs a client of revision 2026-07-28"),
        Executed::Maybe,
        None,
    )
    .into()
}
