//! What an upstream tells in a session of its own accord: one stream, however many listen to it (2025-11-25 transports,
//! "Listening for Messages from the Server").

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::question::answer_unasked;
use super::session::Session;
use crate::gateway::upstream::exchange::{Exchange, Until};
use crate::gateway::upstream::trouble::Trouble;
use crate::gateway::upstream::watch::{MAX_TOLD, STREAM_LIFE};
use crate::mcp::{JsonBuf, Message};

/// What a listener may be behind.
const BEHIND: usize = 64;
/// The pause before the stream is opened again, at least and at most.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// The stream of one session. It closes when the last one lets go of it.
#[derive(Debug)]
pub(super) struct SessionStream {
    from_now: broadcast::Receiver<Heard>,
    over: CancellationToken,
    _reading: DropGuard,
}

/// What came on it.
#[derive(Clone, Debug)]
pub(super) enum Heard {
    /// A notification.
    Notification(Arc<Notification>),
    /// Its server closed it in order.
    Closed {
        /// How long it asks to be left alone.
        pause: Duration,
    },
}

/// A notification as it was written.
#[derive(Debug)]
pub(super) struct Notification {
    /// Its method.
    pub method: String,
    /// Its params.
    pub params: Option<JsonBuf>,
}

/// One listener's place at the stream.
#[derive(Debug)]
pub(super) struct Listener(broadcast::Receiver<Heard>);

impl Session {
    /// The stream that belongs to no request, opened if it is not.
    pub(super) async fn stream(
        self: &Arc<Self>,
        until: Until,
    ) -> Result<Arc<SessionStream>, Trouble> {
        let mut place = until.bound(self.stream.lock()).await?;
        if let Some(stream) = place.upgrade().filter(|it| !it.over.is_cancelled()) {
            return Ok(stream);
        }
        // Who is done with waiting has not found out that the endpoint is down, so this is no deadline of the request.
        let opening = Box::pin(self.open_stream(Until::within(STREAM_LIFE)));
        // Others want the stream too, and wait for the place.
        let exchange = until.bound(Until::within(self.patience()).bound(opening)).await???;
        if !exchange.is_stream() || !exchange.status().is_success() {
            return Err(Trouble::NotMcp(exchange.status()));
        }
        let (told, from_now) = broadcast::channel(BEHIND);
        let over = CancellationToken::new();
        let stopped = over.clone().cancelled_owned();
        let (session, guard) = (Arc::clone(self), over.clone().drop_guard());
        self.in_background(async move {
            let _over = guard;
            tokio::select! {
                () = session.read(exchange, &told) => {}
                () = stopped => {}
            }
        });
        let reading = over.clone().drop_guard();
        let stream = Arc::new(SessionStream { from_now, over, _reading: reading });
        *place = Arc::downgrade(&stream);
        Ok(stream)
    }

    /// Tells what comes until there is nothing more.
    async fn read(self: &Arc<Self>, mut exchange: Exchange, told: &broadcast::Sender<Heard>) {
        loop {
            match exchange.next().await {
                Ok(Some(Message::Notification { method, params })) => {
                    // Apart: how long a listener is behind is not known.
                    let params = params.map(|it| it.apart());
                    if params.as_ref().is_some_and(|it| it.get().len() > MAX_TOLD) {
                        return;
                    }
                    let heard = Heard::Notification(Arc::new(Notification { method, params }));
                    // Without a listener there is nobody to tell.
                    told.send(heard).ok();
                }
                Ok(Some(Message::Request { id, method, .. })) => {
                    // One at a time: an upstream that asks without end waits for its answers.
                    self.mention(answer_unasked(&id, &method)).await;
                }
                Ok(Some(Message::Response { .. })) => {}
                Ok(None) | Err(Trouble::Deadline(_)) => {
                    let (least, most) = PAUSES;
                    let pause = exchange.retry().unwrap_or(least).clamp(least, most);
                    told.send(Heard::Closed { pause }).ok();
                    return;
                }
                Err(_) => return,
            }
        }
    }
}

impl SessionStream {
    /// A place from which all is heard that comes from now on.
    pub(super) fn listen(&self) -> Listener {
        Listener(self.from_now.resubscribe())
    }
}

impl Listener {
    /// What comes next.
    pub(super) async fn next(&mut self) -> Result<Heard, Trouble> {
        self.0.recv().await.map_err(|error| {
            Trouble::Cut(match error {
                RecvError::Closed => "its stream broke off".to_owned(),
                RecvError::Lagged(missed) => format!("{missed} of its messages were missed"),
            })
        })
    }
}
