//! Requests to clients of the legacy era on the stream of their own call, and the answers that they post.
//!
//! A client posts its answer with nothing but the request's id, to whichever replica. So the id is sealed: it names the
//! replica and the question that waits there, for the client that was asked alone, and cannot be guessed.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::ask::Ask;
use crate::clock::Clock;
use crate::domain::ids::{OwnerDigest, Principal, Timestamp};
use crate::domain::keyring::Keyring;
use crate::domain::sealed::{self, Kind};
use crate::gateway::feed::Feed;
use crate::mcp::{InputRequest, JsonBuf, RawError, RequestId, render_notification, render_request};

/// Questions that wait at the same time on one replica.
const MAX_QUESTIONS: usize = 1024;
/// Those to one client.
const MAX_QUESTIONS_TO_ONE: usize = 64;
/// How long a client may take to answer.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often it is asked for one call.
pub(super) const MAX_ROUNDS: u32 = 16;

/// Names a question that waits.
type QuestionId = [u8; 16];

/// What a client answered: a result, or an error.
pub(in crate::gateway) type Reply = Result<JsonBuf, RawError>;

/// The questions that wait on this replica for what their clients post.
#[derive(Debug)]
pub(in crate::gateway) struct BackChannel {
    replica: String,
    keys: Keyring,
    clock: Clock,
    waiting: Mutex<HashMap<QuestionId, Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    owner: OwnerDigest,
    reply: oneshot::Sender<Reply>,
}

/// Where a question waits.
#[derive(Debug)]
pub(in crate::gateway) struct Asked {
    /// The replica.
    pub replica: String,
    question: QuestionId,
}

/// A question that was put. Dropped, it waits no more.
#[derive(Debug)]
struct Pending<'a> {
    channel: &'a BackChannel,
    question: QuestionId,
    id: RequestId,
    reply: oneshot::Receiver<Reply>,
}

impl BackChannel {
    /// Nobody has been asked yet.
    pub(super) fn new(replica: String, keys: Keyring, clock: Clock) -> Self {
        Self { replica, keys, clock, waiting: Mutex::default() }
    }

    /// Puts these to the client and waits for what it says, as long as it is there. What it left unanswered is not
    /// among the replies.
    pub(super) async fn put<'r>(
        &self,
        ask: &Ask,
        feed: &Feed,
        requests: impl Iterator<Item = (&'r str, &'r InputRequest)>,
        patience: Duration,
    ) -> Vec<(&'r str, Reply)> {
        let questions =
            requests.filter_map(|(key, request)| {
                let question = self.question(&ask.caller)?;
                Some(async move {
                    Some((key, question.put(request, feed, patience.min(PATIENCE)).await?))
                })
            });
        let questions: Vec<_> = questions.collect();
        tokio::select! {
            replies = join_all(questions) => replies.into_iter().flatten().collect(),
            // Its call goes on (2025-11-25 transports, "Sending Messages to the Server" 6), but it cannot be asked.
            () = feed.left() => Vec::new(),
        }
    }

    /// Where the question waits that this client answers under this id.
    pub(in crate::gateway) fn asked(&self, id: &RequestId, caller: &Principal) -> Option<Asked> {
        let text = id.as_text()?;
        let now = self.clock.now();
        let payload = sealed::open(Kind::Question, &text, caller, b"", &self.keys, now).ok()?;
        let (question, replica) = payload.split_first_chunk()?;
        let replica = String::from_utf8(replica.to_vec()).ok()?;
        Some(Asked { replica, question: *question })
    }

    /// Whether it waits here.
    pub(in crate::gateway) fn is_here(&self, asked: &Asked) -> bool {
        asked.replica == self.replica
    }

    /// Brings a question its answer; the first one counts.
    pub(in crate::gateway) fn answer(&self, asked: &Asked, reply: Reply) {
        if let Some(waiting) = self.waiting().remove(&asked.question) {
            // Nobody waits any more: it came a moment too late.
            waiting.reply.send(reply).ok();
        }
    }

    /// A new question; `None` if too many wait.
    fn question(&self, caller: &Principal) -> Option<Pending<'_>> {
        let owner = caller.owner_digest();
        let mut question = [0; 16];
        getrandom::fill(&mut question).expect("the kernel gives random bytes");
        let payload = [&question[..], self.replica.as_bytes()].concat();
        let life = 2 * u64::try_from(PATIENCE.as_millis()).unwrap_or(u64::MAX);
        let not_after = Timestamp::from_millis(self.clock.now().as_millis() + life);
        let id = sealed::seal(Kind::Question, caller, b"", &payload, not_after, &self.keys)?;
        let (sender, reply) = oneshot::channel();
        let mut waiting = self.waiting();
        let to_one = waiting.values().filter(|it| it.owner == owner).count();
        if waiting.len() >= MAX_QUESTIONS || to_one >= MAX_QUESTIONS_TO_ONE {
            return None;
        }
        waiting.insert(question, Waiting { owner, reply: sender });
        Some(Pending { channel: self, question, id: RequestId::text(&id), reply })
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<QuestionId, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pending<'_> {
    /// The answer. A client that took too long is told that nobody waits for it (2025-11-25 cancellation).
    async fn put(
        mut self,
        request: &InputRequest,
        feed: &Feed,
        patience: Duration,
    ) -> Option<Reply> {
        let replied = async {
            let sent = render_request(&self.id, request.method(), request.params());
            feed.pass_on(sent).await;
            (&mut self.reply).await.ok()
        };
        if let Ok(reply) = timeout(patience, replied).await {
            return reply;
        }
        let params = JsonBuf::of(&json!({"requestId": self.id, "reason": "no answer in time"}));
        feed.pass_on(render_notification("notifications/cancelled", Some(params.json()))).await;
        None
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.channel.waiting().remove(&self.question);
    }
}
