//! A client's request, from the session that it is put in to its answer, or to a question on the way.

use std::pin::pin;

use tokio::time::{Duration, Instant, timeout_at};

use super::Legacy;
use super::call::Call;
use super::declared::Declared;
use super::question::Question;
use super::sessions::Whose;
use crate::gateway::feed::Feed;
use crate::gateway::upstream::ask::{Ask, next_number};
use crate::gateway::upstream::back_channel::MAX_ROUNDS;
use crate::gateway::upstream::exchange::Until;
use crate::gateway::upstream::relay::Relay;
use crate::gateway::upstream::server::{Outcome, Server, answer, begin_late};
use crate::gateway::upstream::translate::legacy_params;
use crate::gateway::upstream::trouble::Trouble;
use crate::mcp::{InputRequest, JsonBuf, Message, Object, render_request};

/// What an upstream asks within this time is put to the client at once.
const TOGETHER: Duration = Duration::from_millis(20);
/// What it may ask at once.
const MAX_QUESTIONS: usize = 16;

impl Legacy {
    /// Puts a client's request to it and passes notifications on until the answer, or until it asks for something.
    pub(in crate::gateway::upstream) async fn ask(
        &self,
        server: &Server,
        ask: &Ask,
        feed: &Feed,
    ) -> Result<Outcome, Trouble> {
        let until = Until::within(server.config.timeouts.call);
        let work = pin!(async {
            let call = self.begin(server, ask, until).await?;
            if call.exchange().is_stream() && call.exchange().status().is_success() {
                feed.begin();
            }
            self.follow(server, ask, feed, call).await
        });
        begin_late(feed, work).await
    }

    /// Goes on with a call that waited, with what its client brought.
    pub(in crate::gateway::upstream) async fn go_on(
        &self,
        server: &Server,
        ask: &Ask,
        feed: &Feed,
        mut call: Call,
    ) -> Result<Outcome, Trouble> {
        call.extend(Until::within(server.config.timeouts.call));
        let work = pin!(async {
            let answers = ask.envelope.params().get("inputResponses").and_then(Object::read);
            call.answer(&answers.unwrap_or_default()).await?;
            self.follow(server, ask, feed, call).await
        });
        begin_late(feed, work).await
    }

    /// Sends the request; again, once, in a new session, if the upstream has forgotten the old one: then it was
    /// certainly not acted on.
    async fn begin(&self, server: &Server, ask: &Ask, until: Until) -> Result<Call, Trouble> {
        match self.begin_once(server, ask, until).await {
            Err(Trouble::SessionLost) => self.begin_once(server, ask, until).await,
            begun => begun,
        }
    }

    async fn begin_once(&self, server: &Server, ask: &Ask, until: Until) -> Result<Call, Trouble> {
        let whose = Whose::asks(server, &ask.caller);
        let lease = self.lease(server, (whose, Declared::of(&ask.client()))).await;
        let lease = lease.map_err(Trouble::before_sending)?;
        if let Some(level) = ask.envelope.meta().log_level() {
            let handshake = Until::within(server.config.timeouts.list);
            if let Err(error) = lease.ask_for_logs(level, handshake).await {
                tracing::debug!(upstream = %server.config.name, %error, "no log level was set");
            }
        }
        let number = next_number();
        let params = legacy_params(ask, number);
        let method = ask.envelope.method().as_str();
        let body = render_request(&number.into(), method, Some(params.json()));
        Call::begin(lease, number, body, &ask.trace, until).await
    }

    async fn follow(
        &self,
        server: &Server,
        ask: &Ask,
        feed: &Feed,
        mut call: Call,
    ) -> Result<Outcome, Trouble> {
        let relay = Relay::new(ask, feed, call.number());
        // What its client left unanswered is asked again, at once (mrtr, "Error Handling").
        let mut together = (!call.asked().is_empty()).then(Instant::now);
        let mut rounds = 0;
        loop {
            let next = match together {
                Some(until) if !call.asked().is_empty() => timeout_at(until, call.next()).await,
                _ => Ok(call.next().await),
            };
            let Ok(next) = next else {
                let wait = server.config.timeouts.call;
                // A client of the legacy era is asked on its stream, and what it leaves unanswered not again.
                if !ask.envelope.era().is_modern() {
                    rounds += 1;
                    let asked = call.asked().iter().map(|it| (it.key.as_str(), &it.request));
                    let replies = self.back_channel.put(ask, feed, asked, wait).await;
                    let replies =
                        replies.into_iter().map(|(key, it)| (key.to_owned(), it)).collect();
                    call.extend(Until::within(wait));
                    call.reply(replies).await?;
                    continue;
                }
                match self.suspended.park(&ask.caller, call, wait) {
                    Ok(suspension) => return Ok(Outcome::Suspended(suspension)),
                    Err(turned_away) => call = *turned_away,
                }
                call.refuse_all().await?;
                continue;
            };
            match next? {
                Message::Notification { method, params } => {
                    let params = params.as_ref().map(JsonBuf::json);
                    let cancelled = (method == "notifications/cancelled").then_some(params);
                    let about = cancelled.flatten().and_then(Object::read);
                    if let Some(request) = about.as_ref().and_then(|it| it.get("requestId")) {
                        call.withdraw(request);
                    }
                    relay.pass_on(server, &method, params).await;
                }
                Message::Request { id, method, .. } if method == "ping" => call.pong(&id).await?,
                Message::Request { id, method, params } => {
                    match InputRequest::new(&method, params.as_ref().map(JsonBuf::json))
                        .filter(|it| rounds < MAX_ROUNDS && may_ask(ask, &call, it))
                    {
                        Some(request) => {
                            let key = format!("input-{}", next_number());
                            call.ask(Question { key, id, request });
                            together = Some(Instant::now() + TOGETHER);
                        }
                        None => call.refuse(&id, &method).await?,
                    }
                }
                Message::Response { id, outcome } => {
                    let answered = answer(call.exchange(), id.as_ref(), call.number(), outcome)?;
                    call.end();
                    return Ok(Outcome::Answered(answered));
                }
            }
        }
    }
}

/// Whether the client can be asked this: only by some requests (mrtr, "Supported Requests"), and only for what it can
/// do.
fn may_ask(ask: &Ask, call: &Call, request: &InputRequest) -> bool {
    ask.envelope.method().may_ask_for_input()
        && request.is_declared(&ask.client())
        && call.asked().len() < MAX_QUESTIONS
}
