//! One client's request under way at an upstream of the legacy era.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use serde_json::json;
use tokio::time::sleep;

use super::question::Question;
use super::session::Session;
use super::sessions::Lease;
use crate::gateway::failure::Executed;
use crate::gateway::upstream::back_channel::Reply;
use crate::gateway::upstream::config::UpstreamName;
use crate::gateway::upstream::exchange::{Exchange, Until};
use crate::gateway::upstream::link::EndpointId;
use crate::gateway::upstream::trouble::Trouble;
use crate::mcp::{
    Json, JsonBuf, Message, Object, RequestId, render_notification, render_raw_error,
    render_response,
};
use crate::rpc::client::TraceHeaders;

/// How often in a row a stream is taken up again that brings nothing new. (One that a server closes on purpose, to be
/// polled, brings something each time.)
const RESUMPTIONS: u32 = 3;
/// The pause before that, where the server names none.
const PAUSE: Duration = Duration::from_secs(1);
/// What it may be at least, and at most, whatever the server names.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// Longest id of an event after which a stream is taken up, in bytes: servers take no longer heads.
const MAX_EVENT_ID: usize = 4 << 10;

/// A request that was sent. Dropped before it is answered, it is cancelled.
#[derive(Debug)]
pub(in crate::gateway::upstream) struct Call {
    lease: Lease,
    endpoint: EndpointId,
    exchange: Exchange,
    until: Until,
    /// Where the stream can be taken up again, if the newest piece of it does not say.
    last_event_id: Option<HeaderValue>,
    barren: u32,
    asked: Vec<Question>,
    cancel: CancelOnDrop,
}

impl Call {
    /// Sends a request. [`Trouble::SessionLost`] says that it was certainly not acted on.
    pub(super) async fn begin(
        lease: Lease,
        number: u64,
        body: Vec<u8>,
        trace: &TraceHeaders,
        until: Until,
    ) -> Result<Self, Trouble> {
        let mut cancel = CancelOnDrop { session: Arc::clone(lease.session()), number, armed: true };
        let (endpoint, exchange) = match lease.post(body, trace, until).await {
            Ok(sent) => sent,
            Err(trouble) => {
                cancel.armed = trouble.executed() != Executed::No;
                return Err(trouble);
            }
        };
        let (last_event_id, barren, asked) = Default::default();
        Ok(Self { lease, endpoint, exchange, until, last_event_id, barren, asked, cancel })
    }

    /// Its id at the upstream, and its progress token.
    pub(super) fn number(&self) -> u64 {
        self.cancel.number
    }

    /// Where it is under way.
    pub(super) fn upstream(&self) -> &UpstreamName {
        self.lease.upstream()
    }

    /// What the answer's head was, or that of the newest piece of it.
    pub(super) fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    /// Gives it time until then.
    pub(super) fn extend(&mut self, until: Until) {
        self.until = until;
        self.exchange.extend(until);
    }

    /// The next message. A stream that broke before the answer is taken up again where it can be.
    pub(super) async fn next(&mut self) -> Result<Message, Trouble> {
        loop {
            let broke = match self.exchange.next().await {
                Ok(Some(message)) => {
                    self.barren = 0;
                    return Ok(message);
                }
                Ok(None) => Trouble::Cut("the stream ended before the answer".to_owned()),
                Err(cut @ Trouble::Cut(_)) => cut,
                Err(trouble) => return Err(trouble),
            };
            self.resume(broke).await?;
        }
    }

    /// It was answered: there is nothing left to cancel.
    pub(super) fn end(mut self) {
        self.cancel.armed = false;
        self.asked.clear();
    }

    /// 2025-11-25 transports, "Resumability and Redelivery": by GET, after the last event that came. The client MUST
    /// respect `retry`.
    async fn resume(&mut self, broke: Trouble) -> Result<(), Trouble> {
        if let Some(id) = self.exchange.last_event_id() {
            // Without its header a GET would open another stream, on which the answer never comes.
            let carried = Some(id).filter(|id| id.len() <= MAX_EVENT_ID);
            self.last_event_id = carried.and_then(|id| HeaderValue::from_str(id).ok());
        }
        if self.last_event_id.is_none() || self.barren >= RESUMPTIONS {
            return Err(broke);
        }
        self.barren += 1;
        let (shortest, longest) = PAUSES;
        let pause = self.exchange.retry().unwrap_or(PAUSE).clamp(shortest, longest);
        self.until.bound(sleep(pause)).await?;
        let after = self.last_event_id.as_ref();
        match self.lease.get(self.endpoint, after, self.until).await {
            Ok(exchange) if exchange.is_stream() && exchange.status().is_success() => {
                self.exchange = exchange;
                Ok(())
            }
            Ok(_) => Err(broke),
            // Then it is tried again, as long as it may be.
            Err(Trouble::NotSent(_) | Trouble::Broken { .. } | Trouble::Cut(_)) => Ok(()),
            Err(trouble) => Err(lost_meanwhile(trouble)),
        }
    }

    /// Notes something to be put to the client.
    pub(super) fn ask(&mut self, question: Question) {
        self.asked.push(question);
    }

    /// What is to be put to the client.
    pub(super) fn asked(&self) -> &[Question] {
        &self.asked
    }

    /// The upstream no longer wants to know (2025-11-25 cancellation).
    pub(super) fn withdraw(&mut self, request: Json<'_>) {
        self.asked.retain(|it| it.id.as_json() != request.get());
    }

    /// Gives the upstream the answers that are there; what is left was not answered.
    pub(super) async fn answer(&mut self, answers: &Object<'_>) -> Result<(), Trouble> {
        while let Some(at) = self.asked.iter().position(|it| answers.get(&it.key).is_some()) {
            let question = self.asked.remove(at);
            let answer = answers.get(&question.key).expect("it was just found");
            self.respond(render_response(&question.id, answer)).await?;
        }
        Ok(())
    }

    /// Gives the upstream what its client replied; to what is left, it had nothing to reply.
    pub(super) async fn reply(&mut self, replies: Vec<(String, Reply)>) -> Result<(), Trouble> {
        for (key, reply) in replies {
            if let Some(at) = self.asked.iter().position(|it| it.key == key) {
                let id = self.asked.remove(at).id;
                self.respond(match reply {
                    Ok(result) => render_response(&id, result.json()),
                    Err(error) => render_raw_error(Some(&id), error.raw.json()),
                })
                .await?;
            }
        }
        self.refuse_all().await
    }

    /// Tells the upstream that its client has nothing to answer this with, so that it ends the call itself.
    pub(super) async fn refuse(&self, id: &RequestId, method: &str) -> Result<(), Trouble> {
        self.respond(super::question::refusal(id, method)).await
    }

    /// The same for all that is to be put to the client.
    pub(super) async fn refuse_all(&mut self) -> Result<(), Trouble> {
        for question in std::mem::take(&mut self.asked) {
            self.refuse(&question.id, question.request.method()).await?;
        }
        Ok(())
    }

    /// Answers `ping` (2025-11-25 ping, "Behavior Requirements").
    pub(super) async fn pong(&self, id: &RequestId) -> Result<(), Trouble> {
        self.respond(super::question::pong(id)).await
    }

    async fn respond(&self, response: Vec<u8>) -> Result<(), Trouble> {
        self.lease.tell(response, self.until).await.map_err(lost_meanwhile)
    }
}

/// A session that is lost while a call is under way takes the call with it: it may have been acted on.
fn lost_meanwhile(trouble: Trouble) -> Trouble {
    match trouble {
        Trouble::SessionLost | Trouble::NotSent(_) | Trouble::Broken { .. } => {
            Trouble::Cut(format!("the call went on without us: {trouble}"))
        }
        other => other,
    }
}

/// Nobody will answer what it still asks.
impl Drop for Call {
    fn drop(&mut self) {
        for question in std::mem::take(&mut self.asked) {
            let refusal = super::question::refusal(&question.id, question.request.method());
            self.lease.session().mention_in_background(refusal);
        }
    }
}

/// Tells the upstream that nobody waits for this request any more (2025-11-25 cancellation): a closed connection means
/// nothing to it.
#[derive(Debug)]
struct CancelOnDrop {
    session: Arc<Session>,
    number: u64,
    armed: bool,
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if self.armed {
            let params = JsonBuf::of(&json!({"requestId": self.number, "reason": "nobody waits"}));
            let body = render_notification("notifications/cancelled", Some(params.json()));
            self.session.mention_in_background(body);
        }
    }
}
