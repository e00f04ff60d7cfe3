//! One JSON object, or a stream of events: decided for each response.
//!
//! A stream is opened only for a client that named `text/event-stream`, when the first notification is due or after
//! [`PATIENCE`], and only when every check that can end in an HTTP error is behind.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, stream};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::failure::{Executed, Failure, Fault, fail, json_response, pass_on, reject};
use super::feed::Events;
use super::observe::{Observation, outcome};
use super::tasks::OurTask;
use super::tools::ToolAnswer;
use super::upstream::Forwarded;
use crate::mcp::{Era, Identity, Pieces, Reply, RequestId, pass_on_response, sse};

/// How long a client that takes a stream waits for JSON.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often a silent stream says that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Who waits for the answer, and in which form they take it.
#[derive(Clone, Debug)]
pub(super) struct Asker {
    /// Their era.
    pub era: Era,
    /// Their request's id.
    pub id: RequestId,
    /// Whether they named `text/event-stream`.
    pub accepts_sse: bool,
}

/// What is answered.
#[derive(Debug)]
pub(super) enum Answer {
    /// What one of Baton's own tools returned.
    Tool(ToolAnswer),
    /// What one of them will return, for which its client asks later.
    Task(Box<OurTask>),
    /// What an upstream answered.
    Forwarded(Forwarded),
}

impl Answer {
    /// Whether it is an error that the model can put right.
    pub(super) fn is_error(&self) -> bool {
        match self {
            Self::Tool(answer) => answer.is_error(),
            Self::Task(_) | Self::Forwarded(Forwarded::Asks(_)) => false,
            Self::Forwarded(Forwarded::Result { is_error, .. }) => *is_error,
        }
    }
}

/// The work of one call.
pub(super) type Work = BoxFuture<'static, Result<Answer, Failure>>;

/// The work of a call; one that panics has failed.
pub(super) fn work(work: impl Future<Output = Result<Answer, Failure>> + Send + 'static) -> Work {
    Box::pin(AssertUnwindSafe(work).catch_unwind().map(|it| it.unwrap_or_else(|_| Err(broken()))))
}

/// Answers when the work is done, or begins a stream. Until then it is done here, for a task of its own costs more than
/// most calls wait; `calls` has those that are streamed.
pub(super) async fn answer(
    asker: Asker,
    identity: Identity,
    work: Work,
    events: Events,
    observation: Box<Observation>,
    calls: &TaskTracker,
) -> Response<Body> {
    let observation = Some(observation);
    let mut streamed = Streamed { asker, identity, work, events, observation, keep_alive: None };
    if !streamed.asker.accepts_sse {
        let result = (&mut streamed.work).await;
        return streamed.whole(result);
    }
    let mut patience = std::pin::pin!(sleep(PATIENCE));
    let first = tokio::select! {
        biased;
        result = &mut streamed.work => return streamed.at_once(result),
        event = streamed.events.next() => Some(event),
        () = &mut patience => None,
    };
    if first.is_none() {
        tokio::select! {
            biased;
            result = &mut streamed.work => return streamed.at_once(result),
            () = streamed.events.begun() => {}
        }
    }
    streamed.work = attended(streamed.work, calls);
    stream_response(Phase::Working(Box::new(streamed.begin()), first))
}

/// Work that goes on while its client reads nothing, so that it ends in its time, and no longer than its client is there
/// (streamable-http, "Cancellation"): a response without flow-control credit is not polled at all.
fn attended(work: Work, calls: &TaskTracker) -> Work {
    let running = AbortOnDropHandle::new(calls.spawn(work));
    Box::pin(async move { running.await.unwrap_or_else(|_| Err(broken())) })
}

struct Streamed {
    asker: Asker,
    identity: Identity,
    work: Work,
    events: Events,
    observation: Option<Box<Observation>>,
    keep_alive: Option<Interval>,
}

impl Streamed {
    fn begin(mut self) -> Self {
        self.keep_alive = Some(keep_alive());
        self
    }

    /// The whole answer, of work that was done before anything of it was sent.
    fn at_once(mut self, result: Result<Answer, Failure>) -> Response<Body> {
        // A failure keeps its status; before a result goes what was told on the way to it.
        match result.is_ok().then(|| self.events.left()).flatten() {
            None => self.whole(result),
            Some(first) => {
                let mut rest = self.rest(result);
                rest.push(sse::event(&first));
                stream_response(Phase::Ending(rest))
            }
        }
    }

    /// The one JSON object.
    fn whole(&mut self, result: Result<Answer, Failure>) -> Response<Body> {
        let ended = outcome(&result);
        let response = match result {
            Ok(answer) => json_response(StatusCode::OK, in_pieces(self.write(answer))),
            Err(Failure::Tool(error)) => {
                json_response(StatusCode::OK, in_pieces(self.write(Answer::Tool((&error).into()))))
            }
            Err(Failure::Rejected(rejection)) => reject(&rejection),
            Err(Failure::Fault(fault)) => fail(&fault, self.asker.era, &self.asker.id),
            Err(Failure::Upstream(error)) => pass_on(&error, self.asker.era, &self.asker.id),
        };
        if let Some(observation) = self.observation.take() {
            observation.end(ended, response.status());
        }
        response
    }

    fn write(&self, answer: Answer) -> Pieces {
        let message = match answer {
            Answer::Tool(answer) => {
                Reply::new(self.asker.era, &self.identity, &answer.into_result()).to(&self.asker.id)
            }
            Answer::Task(task) => {
                Reply::new(self.asker.era, &self.identity, &task.created()).to(&self.asker.id)
            }
            Answer::Forwarded(Forwarded::Result { result, .. }) => {
                return pass_on_response(&self.asker.id, result);
            }
            Answer::Forwarded(Forwarded::Asks(asks)) => {
                Reply::new(self.asker.era, &self.identity, &asks).to(&self.asker.id)
            }
        };
        message.into()
    }

    /// What is left to be sent, the last first (progress, "Behavior Requirements": notifications stop after completion, so
    /// the late ones go before it).
    fn rest(&mut self, result: Result<Answer, Failure>) -> Vec<Vec<u8>> {
        let mut rest = vec![self.last(result)];
        while let Some(event) = self.events.left() {
            rest.insert(1, sse::event(&event));
        }
        rest
    }

    /// The last message of the stream; one that a client's limit on events refuses would be a lost result.
    fn last(&mut self, result: Result<Answer, Failure>) -> Vec<u8> {
        if let Some(observation) = self.observation.take() {
            observation.end(outcome(&result), StatusCode::OK);
        }
        // An upstream's result is not ours to cut.
        let fit = |answer: Answer| match answer {
            Answer::Tool(answer) => Answer::Tool(answer.fit(sse::MAX_FINAL_EVENT)),
            Answer::Task(_) | Answer::Forwarded(_) => answer,
        };
        let fit = |answer| self.write(fit(answer)).concat();
        let message = match result {
            Ok(answer) => fit(answer),
            Err(Failure::Tool(error)) => fit(Answer::Tool((&error).into())),
            Err(Failure::Rejected(rejection)) => rejection.body(),
            Err(Failure::Fault(fault)) => fault.body(Some(&self.asker.id)),
            Err(Failure::Upstream(error)) => error.body(self.asker.era, &self.asker.id),
        };
        sse::event(&message)
    }
}

/// A body of these pieces, its length known.
fn in_pieces(pieces: Pieces) -> Body {
    let mut pieces = pieces.into_iter();
    match (pieces.next(), pieces.len()) {
        (only, 0) => only.unwrap_or_default().into(),
        (first, _) => Body::new(InPieces(first.into_iter().chain(pieces).collect())),
    }
}

struct InPieces(VecDeque<Bytes>);

impl hyper::body::Body for InPieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let bytes: usize = self.0.iter().map(Bytes::len).sum();
        SizeHint::with_exact(u64::try_from(bytes).unwrap_or(u64::MAX))
    }
}

enum Phase {
    Working(Box<Streamed>, Option<Vec<u8>>),
    Ending(Vec<Vec<u8>>),
}

fn stream_response(phase: Phase) -> Response<Body> {
    let body = stream::unfold(phase, |phase| async move {
        let (bytes, next) = step(phase).await?;
        Some((Ok::<_, Infallible>(Bytes::from(bytes)), next))
    });
    event_stream(Body::from_stream(body))
}

/// A response whose body is a stream of events.
pub(super) fn event_stream(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // streamable-http, "Receiving Messages": SHOULD be there, so that proxies pass events on at once.
    let buffering = HeaderName::from_static("x-accel-buffering");
    headers.insert(buffering, HeaderValue::from_static("no"));
    response
}

async fn step(phase: Phase) -> Option<(Vec<u8>, Phase)> {
    let (mut streamed, first) = match phase {
        Phase::Working(streamed, first) => (streamed, first),
        Phase::Ending(mut rest) => {
            let bytes = rest.pop()?;
            return Some((bytes, Phase::Ending(rest)));
        }
    };
    if let Some(event) = first {
        return Some((sse::event(&event), Phase::Working(streamed, None)));
    }
    let Streamed { work, events, keep_alive, .. } = &mut *streamed;
    let bytes = tokio::select! {
        biased;
        event = events.next() => sse::event(&event),
        result = work => {
            let mut rest = streamed.rest(result);
            let bytes = rest.pop()?;
            return Some((bytes, Phase::Ending(rest)));
        }
        () = tick(keep_alive) => sse::KEEP_ALIVE.to_vec(),
    };
    Some((bytes, Phase::Working(streamed, None)))
}

/// The moments at which a silent stream says that it lives.
pub(super) fn keep_alive() -> Interval {
    let mut ticks = interval_at(Instant::now() + KEEP_ALIVE, KEEP_ALIVE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

async fn tick(keep_alive: &mut Option<Interval>) {
    match keep_alive {
        Some(ticks) => {
            ticks.tick().await;
        }
        None => std::future::pending().await,
    }
}

/// A fault for work that ended without an answer.
pub(super) fn broken() -> Failure {
    Fault::internal(Executed::Maybe).into()
}
