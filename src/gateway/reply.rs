//! One JSON object, or a stream of events: decided for each response.
//!
//! A stream is opened only for a client that named `text/event-stream`, when the first notification is due or after
//! [`PATIENCE`], and only when every check that can end in an HTTP error is behind.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep};

use super::failure::{Executed, Failure, Fault, fail, json_response, reject};
use super::observe::{Observation, outcome};
use super::tools::ToolAnswer;
use crate::mcp::{Era, Identity, ProgressToken, Reply, RequestId, sse};

/// How long a client that takes a stream waits for JSON.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often a silent stream says that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Notifications that wait for a slow client; then the call's output waits too.
const EVENTS: usize = 64;

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

/// What a call tells while it works.
#[derive(Clone, Debug)]
pub(super) struct Feed {
    begun: Arc<watch::Sender<bool>>,
    progress: Option<Arc<Progress>>,
}

#[derive(Debug)]
struct Progress {
    reporter: Mutex<sse::ProgressReporter>,
    events: mpsc::Sender<Vec<u8>>,
}

/// The other end of a [`Feed`].
#[derive(Debug)]
pub(super) struct Events {
    begun: watch::Receiver<bool>,
    events: Option<mpsc::Receiver<Vec<u8>>>,
}

/// A feed for one call; without a token, or for a client that takes no stream, progress goes nowhere.
pub(super) fn feed(token: Option<&ProgressToken>, accepts_sse: bool) -> (Feed, Events) {
    let (begun, begins) = watch::channel(false);
    let (progress, events) = match token.filter(|_| accepts_sse) {
        None => (None, None),
        Some(token) => {
            let (sender, receiver) = mpsc::channel(EVENTS);
            let reporter = Mutex::new(sse::ProgressReporter::new(token.clone()));
            (Some(Arc::new(Progress { reporter, events: sender })), Some(receiver))
        }
    };
    (Feed { begun: Arc::new(begun), progress }, Events { begun: begins, events })
}

impl Feed {
    /// Says that the work has begun: from now on a failure may travel in a stream.
    pub(super) fn begin(&self) {
        self.begun.send_replace(true);
    }

    /// Whether anybody reads progress.
    pub(super) fn wants_progress(&self) -> bool {
        self.progress.is_some()
    }

    /// Tells of output: how many bytes of it there were so far, the newest, and on which stream.
    pub(super) async fn progress(&self, bytes: u64, text: &str, stream: &'static str) {
        let Some(progress) = &self.progress else { return };
        #[expect(clippy::cast_precision_loss, reason = "output is far shorter than 2^52 bytes")]
        let event = progress.reporter.lock().await.report_output(bytes as f64, text, stream);
        if let Some(event) = event {
            // Nobody reads it any more: then the call is about to be dropped.
            progress.events.send(event).await.ok();
        }
    }
}

/// The work of one call.
pub(super) type Work = BoxFuture<'static, Result<ToolAnswer, Failure>>;

/// Answers when the work is done, or begins a stream.
pub(super) async fn answer(
    asker: Asker,
    identity: Identity,
    work: Work,
    events: Events,
    observation: Observation,
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
        result = &mut streamed.work => return streamed.whole(result),
        event = next_event(&mut streamed.events.events) => Some(event),
        () = &mut patience => None,
    };
    if first.is_none() && !*streamed.events.begun.borrow() {
        let begun = async {
            if streamed.events.begun.wait_for(|begun| *begun).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            result = &mut streamed.work => return streamed.whole(result),
            () = begun => {}
        }
    }
    stream_response(streamed.begin(), first)
}

struct Streamed {
    asker: Asker,
    identity: Identity,
    work: Work,
    events: Events,
    observation: Option<Observation>,
    keep_alive: Option<Interval>,
}

impl Streamed {
    fn begin(mut self) -> Self {
        let mut ticks = interval_at(Instant::now() + KEEP_ALIVE, KEEP_ALIVE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.keep_alive = Some(ticks);
        self
    }

    /// The one JSON object.
    fn whole(&mut self, result: Result<ToolAnswer, Failure>) -> Response<Body> {
        let ended = outcome(&result);
        let response = match result {
            Ok(answer) => json_response(StatusCode::OK, self.write(answer)),
            Err(Failure::Tool(error)) => json_response(StatusCode::OK, self.write((&error).into())),
            Err(Failure::Rejected(rejection)) => reject(&rejection),
            Err(Failure::Fault(fault)) => fail(&fault, self.asker.era, &self.asker.id),
        };
        if let Some(observation) = self.observation.take() {
            observation.end(ended, response.status());
        }
        response
    }

    fn write(&self, answer: ToolAnswer) -> Vec<u8> {
        Reply::new(self.asker.era, &self.identity, &answer.into_result()).to(&self.asker.id)
    }

    /// The last message of the stream; one that a client's limit on events refuses would be a lost result.
    fn last(&mut self, result: Result<ToolAnswer, Failure>) -> Vec<u8> {
        if let Some(observation) = self.observation.take() {
            observation.end(outcome(&result), StatusCode::OK);
        }
        let fit = |answer: ToolAnswer| self.write(answer.fit(sse::MAX_FINAL_EVENT));
        let message = match result {
            Ok(answer) => fit(answer),
            Err(Failure::Tool(error)) => fit((&error).into()),
            Err(Failure::Rejected(rejection)) => rejection.body(),
            Err(Failure::Fault(fault)) => fault.body(Some(&self.asker.id)),
        };
        sse::event(&message)
    }
}

enum Phase {
    Working(Box<Streamed>, Option<Vec<u8>>),
    Ending(Vec<Vec<u8>>),
}

fn stream_response(streamed: Streamed, first: Option<Vec<u8>>) -> Response<Body> {
    let phase = Phase::Working(Box::new(streamed), first);
    let body = stream::unfold(phase, |phase| async move {
        let (bytes, next) = step(phase).await?;
        Some((Ok::<_, Infallible>(Bytes::from(bytes)), next))
    });
    let mut response = Response::new(Body::from_stream(body));
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
        event = next_event(&mut events.events) => sse::event(&event),
        result = work => {
            let mut rest = vec![streamed.last(result)];
            // progress, "Behavior Requirements": notifications stop after completion, so the late ones go first.
            while let Some(Ok(event)) = streamed.events.events.as_mut().map(mpsc::Receiver::try_recv) {
                rest.insert(1, sse::event(&event));
            }
            let bytes = rest.pop()?;
            return Some((bytes, Phase::Ending(rest)));
        }
        () = tick(keep_alive) => sse::KEEP_ALIVE.to_vec(),
    };
    Some((bytes, Phase::Working(streamed, None)))
}

async fn next_event(events: &mut Option<mpsc::Receiver<Vec<u8>>>) -> Vec<u8> {
    if let Some(receiver) = events {
        if let Some(event) = receiver.recv().await {
            return event;
        }
        *events = None;
    }
    std::future::pending().await
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
