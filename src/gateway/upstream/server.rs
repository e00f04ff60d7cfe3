//! One upstream server: its endpoints, what it said of itself, and requests put to it.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::acquaintance::Acquaintance;
use super::ask::{Ask, next_number};
use super::back_channel::BackChannel;
use super::config::Upstream;
use super::discovery::{Known, Spoken};
use super::exchange::{Exchange, Until};
use super::legacy::{Call, Legacy, Suspended, Suspension};
use super::lists::Listings;
use super::modern::{self, Post};
use super::relay::Relay;
use super::translate;
use super::trouble::Trouble;
use super::watch::Changes;
use super::wire::Wire;
use crate::gateway::failure::UpstreamError;
use crate::gateway::feed::Feed;
use crate::mcp::{JsonBuf, Listed, Message, RawError, RequestId};

/// How long an upstream may be silent before the client is given the beginning of a stream: by then it has refused
/// what it refuses.
const SILENCE: Duration = Duration::from_secs(10);

/// One upstream server.
#[derive(Debug)]
pub(in crate::gateway) struct Server {
    /// What its operator said.
    pub config: Arc<Upstream>,
    /// The way to it.
    pub(super) wire: Wire,
    /// What it said of itself.
    pub(super) acquaintance: Acquaintance,
    /// Its lists.
    pub listings: Listings,
    /// Its sessions, where it has any.
    pub(super) legacy: Legacy,
    /// What goes on when a request has been answered.
    pub(super) tasks: TaskTracker,
    /// Where it says that something changed.
    pub(super) changes: Changes,
    version: Arc<AtomicU64>,
    /// It is in force until then.
    pub(super) over: CancellationToken,
}

/// How an upstream answered.
#[derive(Debug)]
pub(in crate::gateway) enum Answered {
    /// A result, as it came.
    Result(JsonBuf),
    /// A JSON-RPC error, as it came.
    Error(UpstreamError),
}

/// What became of a client's request.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It was answered.
    Answered(Answered),
    /// It waits here for what its client is asked for (legacy era).
    Suspended(Suspension),
}

impl Server {
    /// A server that nobody has spoken to yet.
    pub(super) fn new(
        config: Arc<Upstream>,
        (tasks, changes, version): (TaskTracker, Changes, Arc<AtomicU64>),
        asking: (Arc<Suspended>, Arc<BackChannel>),
    ) -> Self {
        Self {
            wire: Wire::new(&config),
            acquaintance: Acquaintance::default(),
            listings: Listings::default(),
            legacy: Legacy::new(asking),
            tasks,
            changes,
            version,
            over: CancellationToken::new(),
            config,
        }
    }

    /// Whether this name or URI may be one of its, as far as is known.
    pub(super) fn may_have(&self, listed: Listed, own: &str) -> bool {
        let lists = |known: Arc<Known>| known.capabilities.lists(listed);
        self.config.filter(listed).admits(own) && self.said().is_none_or(lists)
    }

    /// What it says of itself is perhaps another thing than before.
    pub(super) fn is_another(&self) {
        self.version.fetch_add(1, Ordering::AcqRel);
    }

    /// Puts a client's request to it, or goes on with one that waited, and passes notifications on until the answer.
    pub(super) async fn ask(
        &self,
        ask: &Ask,
        feed: &Feed,
        suspended: Option<Call>,
    ) -> Result<(Outcome, Arc<Known>), Trouble> {
        let known = self.known().await.map_err(Trouble::before_sending)?;
        let outcome = match (suspended, known.spoken) {
            // Boxed: else a call to a modern upstream would carry room for these.
            (Some(call), _) => Box::pin(self.legacy.go_on(self, ask, feed, call)).await?,
            (None, Spoken::Legacy(_)) => Box::pin(self.legacy.ask(self, ask, feed)).await?,
            (None, Spoken::Modern) => Outcome::Answered(self.ask_modern(ask, feed).await?),
        };
        Ok((outcome, known))
    }

    async fn ask_modern(&self, ask: &Ask, feed: &Feed) -> Result<Answered, Trouble> {
        let number = next_number();
        let params = translate::modern_params(ask, number);
        let mirrored = ask.mirrored.iter().cloned();
        let method = ask.envelope.method();
        let post = modern::post(number, method, ask.name.as_deref(), &params, mirrored, &ask.trace);
        let until = Until::within(self.config.timeouts.call);
        let relay = Relay::new(ask, feed, number);
        let work = pin!(async {
            let mut exchange = self.send(post, until).await?;
            if exchange.is_stream() && exchange.status().is_success() {
                feed.begin();
            }
            self.follow(&mut exchange, number, &relay).await
        });
        begin_late(feed, work).await
    }

    /// Reads messages until the answer to request `number`.
    pub(super) async fn follow(
        &self,
        exchange: &mut Exchange,
        number: u64,
        relay: &Relay<'_>,
    ) -> Result<Answered, Trouble> {
        loop {
            match exchange.next().await? {
                None => return Err(Trouble::Cut("the stream ended before the answer".to_owned())),
                Some(Message::Notification { method, params }) => {
                    relay.pass_on(self, &method, params.as_ref().map(JsonBuf::json)).await;
                }
                // streamable-http, "Receiving Messages": the server MUST NOT send requests on it.
                Some(Message::Request { .. }) => {
                    return Err(Trouble::Protocol("a modern server sends no requests"));
                }
                Some(Message::Response { id, outcome }) => {
                    return answer(exchange, id.as_ref(), number, outcome);
                }
            }
        }
    }

    /// Puts a request to it that has one answer and no notifications anybody waits for.
    pub(super) async fn answer(
        &self,
        post: Post,
        number: u64,
        until: Until,
    ) -> Result<Answered, Trouble> {
        let mut exchange = self.send(post, until).await?;
        only_answer(&mut exchange, number).await
    }

    /// Sends a request to one of the endpoints, to another only while nothing of it can have arrived.
    pub(super) async fn send(&self, post: Post, until: Until) -> Result<Exchange, Trouble> {
        let (_, exchange) = self.wire.post(post, until).await?;
        Ok(exchange)
    }
}

/// The answer to request `number`, whatever is said before it.
pub(super) async fn only_answer(exchange: &mut Exchange, number: u64) -> Result<Answered, Trouble> {
    loop {
        match exchange.next().await? {
            None => return Err(Trouble::Cut("the stream ended before the answer".to_owned())),
            Some(Message::Response { id, outcome }) => {
                return answer(exchange, id.as_ref(), number, outcome);
            }
            Some(_) => {}
        }
    }
}

/// The answer to request `number`.
pub(super) fn answer(
    exchange: &Exchange,
    id: Option<&RequestId>,
    number: u64,
    outcome: Result<JsonBuf, RawError>,
) -> Result<Answered, Trouble> {
    match outcome {
        Ok(result) if id == Some(&RequestId::from(number)) => Ok(Answered::Result(result)),
        Ok(_) => Err(Trouble::Protocol("the answer has another id")),
        // An error may be about a request whose id could not be read.
        Err(error) => {
            let head = (exchange.status(), exchange.headers());
            Ok(Answered::Error(UpstreamError::new(head, error)))
        }
    }
}

/// Tells the feed that the work has begun when the upstream has been silent for long.
pub(super) async fn begin_late<T>(feed: &Feed, mut work: Pin<&mut impl Future<Output = T>>) -> T {
    tokio::select! {
        biased;
        done = &mut work => return done,
        () = tokio::time::sleep(SILENCE) => feed.begin(),
    }
    work.await
}
