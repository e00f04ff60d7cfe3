//! Resources that a session is subscribed to, for as many listeners as share it (2025-11-25 resources, "Subscriptions").

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use tokio::sync::OwnedSemaphorePermit;

use super::Legacy;
use super::declared::Declared;
use super::session::{IN_BACKGROUND, Session};
use super::sessions::{Lease, MAX_SESSIONS, Whose};
use super::stream::{Heard, Listener, Notification, SessionStream};
use crate::gateway::upstream::ask::Ask;
use crate::gateway::upstream::exchange::Until;
use crate::gateway::upstream::server::{Answered, Server};
use crate::gateway::upstream::trouble::Trouble;
use crate::mcp::{JsonBuf, Object};

/// How long an upstream that is well may take to answer; listeners wait for less.
const ANSWER: Duration = Duration::from_secs(10);
/// How many requests of one listener are under way at once.
const AT_ONCE: usize = 8;

/// What one listener is told of. Dropped, it is given back; the upstream is told when nobody else in the session wants
/// it.
#[derive(Debug)]
pub(in crate::gateway::upstream) struct Subscribed {
    heard: Listener,
    held: Held,
    _stream: Arc<SessionStream>,
    _place: OwnedSemaphorePermit,
}

/// Subscriptions that are counted for one listener.
#[derive(Debug)]
struct Held {
    lease: Arc<Lease>,
    uris: Vec<String>,
}

impl Legacy {
    /// Subscribes to resources in a session of whoever asks. What the upstream refuses is not among those of the
    /// answer.
    pub(in crate::gateway::upstream) async fn subscribe(
        &self,
        server: &Server,
        ask: &Ask,
        uris: &[String],
        until: Until,
    ) -> Result<Subscribed, Trouble> {
        match self.subscribe_once(server, ask, uris, until).await {
            Err(Trouble::SessionLost) => self.subscribe_once(server, ask, uris, until).await,
            subscribed => subscribed,
        }
    }

    async fn subscribe_once(
        &self,
        server: &Server,
        ask: &Ask,
        uris: &[String],
        until: Until,
    ) -> Result<Subscribed, Trouble> {
        let full = |_| Trouble::SessionsInUse(MAX_SESSIONS);
        let place = Arc::clone(&self.listeners).try_acquire_owned().map_err(full)?;
        let declared = Declared::of(ask.envelope.meta().client_capabilities());
        let key = (Whose::asks(server, &ask.caller), declared);
        let lease = Arc::new(until.bound(self.lease(server, key)).await??);
        let stream = lease.session().stream(until).await?;
        // Before the first subscription, so that nothing is missed after it.
        let heard = stream.listen();
        let held = Held::begin(lease, uris, until).await?;
        Ok(Subscribed { heard, held, _stream: stream, _place: place })
    }
}

impl Subscribed {
    /// What the upstream took.
    pub(in crate::gateway::upstream) fn uris(&self) -> &[String] {
        &self.held.uris
    }

    /// What the session's stream brings next, for whomever in the session; `None` when its server closed it in order.
    pub(in crate::gateway::upstream) async fn next(
        &mut self,
    ) -> Result<Option<(String, Option<JsonBuf>)>, Trouble> {
        match self.heard.next().await? {
            Heard::Notification(it) => {
                let Notification { method, params } = &*it;
                Ok(Some((method.clone(), params.clone())))
            }
            Heard::Closed { pause } => {
                tokio::time::sleep(pause).await;
                Ok(None)
            }
        }
    }
}

impl Held {
    async fn begin(lease: Arc<Lease>, uris: &[String], until: Until) -> Result<Self, Trouble> {
        let session = Arc::clone(lease.session());
        // Held until the upstream has answered: whoever finds a count finds a subscription.
        let mut counts = until.bound(session.subscribed.lock()).await?;
        let fresh: Vec<_> = uris.iter().filter(|it| !counts.contains_key(*it)).cloned().collect();
        for uri in uris {
            *counts.entry(uri.clone()).or_default() += 1;
        }
        // From here on a client that leaves gives back what was counted for it.
        let mut held = Self { lease, uris: uris.to_vec() };
        let answers = put_all(&session, "resources/subscribe", fresh, until).await;
        for (uri, answer) in answers {
            match answer {
                Ok(Answered::Result(_)) => continue,
                Ok(Answered::Error(_)) => {}
                Err(lost @ Trouble::SessionLost) => return Err(lost),
                Err(error) => {
                    let upstream = session.upstream();
                    tracing::debug!(%upstream, %error, "a resource was not subscribed to");
                }
            }
            // If it was nonetheless, what comes of it is for nobody, and ends with the session.
            counts.remove(&uri);
            held.uris.retain(|it| *it != uri);
        }
        Ok(held)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let (lease, uris) = (Arc::clone(&self.lease), std::mem::take(&mut self.uris));
        if uris.is_empty() || !lease.is_alive() {
            return;
        }
        let session = Arc::clone(lease.session());
        session.clone().in_background(async move {
            let _used_until_then = lease;
            let mut counts = session.subscribed.lock().await;
            let until = Until::within(IN_BACKGROUND);
            let mut over = Vec::new();
            for uri in uris {
                let Some(count) = counts.get_mut(&uri) else { continue };
                *count -= 1;
                if *count == 0 {
                    counts.remove(&uri);
                    over.push(uri);
                }
            }
            for (_, answer) in put_all(&session, "resources/unsubscribe", over, until).await {
                if let Err(error) = answer {
                    let upstream = session.upstream();
                    tracing::debug!(%upstream, %error, "a resource was not unsubscribed from");
                }
            }
        });
    }
}

/// Puts a request for each of these, a few at once.
async fn put_all(
    session: &Arc<Session>,
    method: &'static str,
    uris: Vec<String>,
    until: Until,
) -> Vec<(String, Result<Answered, Trouble>)> {
    let put = |uri: String| {
        let session = Arc::clone(session);
        async move {
            let mut params = Object::default();
            params.set_text("uri", &uri);
            let params = params.render();
            let asking = session.request(method, Some(params.json()), Until::within(ANSWER));
            (uri, until.bound(asking).await.flatten())
        }
    };
    stream::iter(uris.into_iter().map(put)).buffer_unordered(AT_ONCE).collect().await
}
