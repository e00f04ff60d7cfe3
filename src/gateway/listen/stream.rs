//! The body of a listening response: the acknowledgement, then what the listener is told.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::time::Interval;

use super::extra::{ExtraEvent, ExtraEvents};
use super::hub::Listening;
use super::listener;
use crate::directory::List;
use crate::gateway::observe::Observation;
use crate::gateway::reply;
use crate::gateway::upstream::Told;
use crate::mcp::{Identity, JsonBuf, Listed, ListenFilter, Subscription, sse};
use crate::telemetry::Outcome;

/// Why a stream ends that its client did not close, for people.
const STOPPING: &str = "this replica is about to stop: listen again";
const SOURCE_ENDED: &str =
    "notifications may have been missed: listen again, and look again at what you keep";

/// Events for one client, until it leaves or the replica does. Whoever reads the body is woken by the listener.
#[derive(Debug)]
pub(super) struct Stream {
    listening: Listening,
    subscription: Subscription,
    identity: Identity,
    stage: Stage,
    extra: Option<ExtraEvents>,
    keep_alive: Interval,
    observation: Option<Box<Observation>>,
}

#[derive(Debug)]
enum Stage {
    /// Nothing has been sent; this comes first.
    Opening(Vec<u8>),
    Open,
    Ended,
}

impl Stream {
    /// A stream that begins by acknowledging what is honoured.
    pub(super) fn begin(
        listening: Listening,
        subscription: Subscription,
        identity: Identity,
        mut honoured: ListenFilter,
        extra: Option<ExtraEvents>,
    ) -> Self {
        if let Some(extra) = &extra {
            extra.extend(&mut honoured);
        }
        let stage = Stage::Opening(subscription.acknowledged(&honoured));
        let keep_alive = reply::keep_alive();
        Self { listening, subscription, identity, stage, extra, keep_alive, observation: None }
    }

    /// The exchange that it is the response of.
    pub(super) fn watched_by(mut self, observation: Box<Observation>) -> Self {
        self.observation = Some(observation);
        self
    }

    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Option<Vec<u8>>> {
        match std::mem::replace(&mut self.stage, Stage::Open) {
            Stage::Opening(acknowledgement) => {
                return Poll::Ready(Some(sse::event(&acknowledgement)));
            }
            Stage::Open => {}
            Stage::Ended => {
                self.stage = Stage::Ended;
                return Poll::Ready(None);
            }
        }
        if let Poll::Ready(told) = self.listening.listener().poll_told(context) {
            let message = match told {
                listener::Told::ListChanged(list) => self.subscription.list_changed(listed(list)),
                listener::Told::ResourceUpdated(uri) => self.subscription.resource_updated(uri),
                listener::Told::Ended => return Poll::Ready(Some(self.end(STOPPING))),
            };
            return Poll::Ready(Some(sse::event(&message)));
        }
        while let Some(extra) = &mut self.extra
            && let Poll::Ready(event) = extra.events.poll_recv(context)
        {
            let Some(event) = event else { return Poll::Ready(Some(self.end(SOURCE_ENDED))) };
            let message = match event {
                ExtraEvent::Task(task) => Some(self.subscription.task_changed(&task)),
                ExtraEvent::Upstream(Told::Resource(uri)) => {
                    Some(self.subscription.resource_updated(&uri))
                }
                // What is ambiguous is passed over.
                ExtraEvent::Upstream(Told::Notification { method, params }) => {
                    self.subscription.pass_on(&method, params.as_ref().map(JsonBuf::json))
                }
            };
            if let Some(message) = message {
                return Poll::Ready(Some(sse::event(&message)));
            }
        }
        self.keep_alive.poll_tick(context).map(|_| Some(sse::KEEP_ALIVE.to_vec()))
    }

    /// The last two messages: a notification that the subscription is torn down, which MUST be sent (cancellation),
    /// and the response, which SHOULD be (subscriptions, "Graceful Closure").
    fn end(&mut self, reason: &str) -> Vec<u8> {
        self.stage = Stage::Ended;
        let cancelled = sse::event(&self.subscription.cancelled(reason));
        [cancelled, sse::event(&self.subscription.ended(&self.identity))].concat()
    }
}

impl futures_util::Stream for Stream {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_event(context).map(|event| event.map(|bytes| Ok(Bytes::from(bytes))))
    }
}

impl Drop for Stream {
    /// A client ends its subscription by leaving (subscriptions, "Cancellation"), so that is no failure.
    fn drop(&mut self) {
        if let Some(observation) = self.observation.take() {
            observation.end(Outcome::Done, http::StatusCode::OK);
        }
    }
}

fn listed(list: List) -> Listed {
    match list {
        List::Tools => Listed::Tools,
        List::Prompts => Listed::Prompts,
        List::Resources => Listed::Resources,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::{FutureExt, StreamExt};
    use tokio::sync::mpsc;
    use tokio::task::JoinSet;
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::clock::Clock;
    use crate::directory::Terms;
    use crate::directory::embedded::Embedded;
    use crate::domain::ids::Principal;
    use crate::gateway::listen::listener::Interest;
    use crate::gateway::listen::{Hub, Listens};
    use crate::mcp::{Envelope, Incoming, RequestId};

    fn stream(extra: Option<ExtraEvents>) -> Stream {
        let directory = Arc::new(Embedded::new(Clock::system(), Terms::default()));
        let limits = Listens { streams: 1, streams_per_tenant: 1 };
        let hub = Hub::new("r".to_owned(), directory, limits, TaskTracker::new());
        let listening = Arc::new(hub).join(&Principal::Anonymous, Interest::default()).unwrap();
        let identity = Identity::new("baton", "1", "r");
        let subscription = Subscription::new(id());
        Stream::begin(listening, subscription, identity, ListenFilter::default(), extra)
    }

    fn id() -> RequestId {
        let body = Bytes::from_static(br#"{"jsonrpc":"2.0","id":"7","method":"ping"}"#);
        let mut headers = http::HeaderMap::new();
        headers.insert("content-type", http::HeaderValue::from_static("application/json"));
        match Envelope::parse(&headers, &body) {
            Ok(Incoming::Request(envelope)) => envelope.id().clone(),
            other => panic!("{other:?}"),
        }
    }

    async fn next(stream: &mut Stream) -> String {
        let Ok(bytes) = stream.next().await.unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_with_nothing_to_tell_says_that_it_lives() {
        let mut stream = stream(None);
        assert!(next(&mut stream).await.contains("notifications/subscriptions/acknowledged"));
        for _ in 0..3 {
            let begun = tokio::time::Instant::now();
            assert_eq!(next(&mut stream).await.as_bytes(), sse::KEEP_ALIVE);
            assert_eq!(begun.elapsed().as_secs(), 15);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_others_tell_is_acknowledged_and_passed_on_under_the_id() {
        let honoured =
            ListenFilter { resources: vec!["a:b".to_owned()], ..ListenFilter::default() };
        let (sender, events) = mpsc::channel(4);
        let mut stream = stream(Some(ExtraEvents::new(honoured, events, JoinSet::new())));
        let params = JsonBuf::parse(r#"{"uri":"a:b","x":1}"#).unwrap();
        let method = "notifications/resources/updated".to_owned();
        let told = Told::Notification { method, params: Some(params) };
        sender.send(ExtraEvent::Upstream(told)).await.unwrap();
        let acknowledged = next(&mut stream).await;
        assert!(acknowledged.contains(r#""resourceSubscriptions":["a:b"]"#), "{acknowledged}");
        let passed_on = next(&mut stream).await;
        let tagged = r#""params":{"uri":"a:b","x":1,"_meta":{"io.modelcontextprotocol/subscriptionId":"7"}}"#;
        assert!(passed_on.contains(tagged), "{passed_on}");
        assert!(stream.next().now_or_never().is_none());
        drop(sender);
        let last = next(&mut stream).await;
        let (cancelled, result) = last.split_once("\n\n").unwrap();
        assert!(cancelled.contains("notifications/cancelled") && result.contains(r#""id":"7""#));
        assert!(stream.next().await.is_none());
    }
}
