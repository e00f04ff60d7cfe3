//! One session with an upstream, and what is said in it (2025-11-25 transports, "Session Management").

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, Method as Verb};
use tokio::sync::Mutex;
use tokio_util::task::TaskTracker;

use super::refusal::{asks_for_a_session, is_about_the_session};
use super::stream::SessionStream;
use crate::gateway::upstream::ask::next_number;
use crate::gateway::upstream::config::UpstreamName;
use crate::gateway::upstream::discovery::Known;
use crate::gateway::upstream::exchange::{Exchange, Until};
use crate::gateway::upstream::link::EndpointId;
use crate::gateway::upstream::modern::{Post, plain};
use crate::gateway::upstream::server::{Answered, only_answer};
use crate::gateway::upstream::trouble::Trouble;
use crate::gateway::upstream::wire::Wire;
use crate::mcp::{Json, JsonBuf, LegacyVersion, LogLevel, Object, render_request};
use crate::rpc::client::TraceHeaders;

/// How long what no client waits for may take: the end of a session, a cancellation.
pub(super) const IN_BACKGROUND: Duration = Duration::from_secs(5);

/// What an upstream knows a client by. A secret: whoever has it speaks for that client.
#[derive(Clone)]
pub(super) struct SessionId(HeaderValue);

/// One session. When the last one lets go of it, the upstream is told that it is over.
#[derive(Debug)]
pub(super) struct Session {
    wire: Wire,
    tasks: TaskTracker,
    endpoint: EndpointId,
    id: Option<SessionId>,
    version: LegacyVersion,
    /// What the upstream said of itself.
    pub known: Known,
    level: Mutex<Option<LogLevel>>,
    /// The stream that belongs to no request, while somebody reads it.
    pub(super) stream: Mutex<Weak<SessionStream>>,
    /// The resources that it is subscribed to, and for how many listeners.
    pub(super) subscribed: Mutex<HashMap<String, usize>>,
    lost: AtomicBool,
}

impl SessionId {
    /// 2025-11-25 transports, "Session Management" 1: MUST only contain visible ASCII characters.
    pub(super) fn read(value: &HeaderValue) -> Option<Self> {
        let visible = value.as_bytes().iter().all(|byte| matches!(byte, 0x21..=0x7e));
        let mut value = value.clone();
        value.set_sensitive(true);
        (visible && !value.is_empty()).then_some(Self(value))
    }
}

impl Session {
    /// What a handshake brought about.
    pub(super) fn new(
        (wire, tasks): (Wire, TaskTracker),
        endpoint: EndpointId,
        id: Option<SessionId>,
        version: LegacyVersion,
        known: Known,
    ) -> Self {
        let (level, stream, subscribed, lost) = Default::default();
        Self { wire, tasks, endpoint, id, version, known, level, stream, subscribed, lost }
    }

    /// Whether the upstream keeps anything of it; if not, one is as good as another.
    pub(super) fn is_kept(&self) -> bool {
        self.id.is_some()
    }

    /// Whose upstream it is, for logs.
    pub(super) fn upstream(&self) -> &UpstreamName {
        &self.wire.config.name
    }

    /// How long what is soon done may take at this upstream.
    pub(super) fn patience(&self) -> Duration {
        self.wire.config.timeouts.list
    }

    /// Whether the upstream may still know it.
    pub(super) fn is_alive(&self) -> bool {
        !self.lost.load(Ordering::Acquire)
    }

    /// Nobody is to use it any more: the next one begins another.
    pub(super) fn give_up(&self) {
        self.lost.store(true, Ordering::Release);
    }

    /// Posts a message. [`Trouble::SessionLost`] says that it was certainly not acted on.
    pub(super) async fn post(
        &self,
        body: Vec<u8>,
        trace: &TraceHeaders,
        until: Until,
    ) -> Result<(EndpointId, Exchange), Trouble> {
        let mut headers = self.headers();
        plain(&mut headers, trace);
        let post = Post { headers, body: body.into() };
        if !self.is_kept() {
            let (endpoint, mut exchange) = self.wire.post(post, until).await?;
            // It has begun to keep sessions since the handshake.
            if asks_for_a_session(&mut exchange).await? {
                return Err(self.lose());
            }
            return Ok((endpoint, exchange));
        }
        let sent = self.wire.send_to(self.endpoint, Verb::POST, post, until).await;
        let mut exchange = sent.map_err(|trouble| self.judge(trouble))?;
        if is_about_the_session(&mut exchange).await? {
            return Err(self.lose());
        }
        Ok((self.endpoint, exchange))
    }

    /// Opens a stream of what the upstream says, or takes up one that broke after this event ("Listening for Messages
    /// from the Server"; "Resumability and Redelivery").
    pub(super) async fn get(
        &self,
        endpoint: EndpointId,
        last_event_id: Option<&HeaderValue>,
        until: Until,
    ) -> Result<Exchange, Trouble> {
        let mut headers = self.headers();
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        if let Some(id) = last_event_id {
            headers.insert("last-event-id", id.clone());
        }
        let post = Post { headers, body: Bytes::new() };
        let mut exchange = self.wire.send_to(endpoint, Verb::GET, post, until).await?;
        if self.is_kept() && is_about_the_session(&mut exchange).await? {
            return Err(self.lose());
        }
        Ok(exchange)
    }

    /// Opens the stream that belongs to no request. One at a time: each message comes on one of them only (2025-11-25
    /// transports, "Multiple Connections").
    pub(super) async fn open_stream(&self, until: Until) -> Result<Exchange, Trouble> {
        self.get(self.endpoint, None, until).await
    }

    /// Puts a request of the gateway's own and reads its answer.
    pub(super) async fn request(
        &self,
        method: &str,
        params: Option<Json<'_>>,
        until: Until,
    ) -> Result<Answered, Trouble> {
        let number = next_number();
        let body = render_request(&number.into(), method, params);
        let (_, mut exchange) = self.post(body, &TraceHeaders::default(), until).await?;
        only_answer(&mut exchange, number).await
    }

    /// Posts what has no answer: a notification, or a response.
    pub(super) async fn tell(&self, body: Vec<u8>, until: Until) -> Result<(), Trouble> {
        let (_, exchange) = self.post(body, &TraceHeaders::default(), until).await?;
        let status = exchange.status();
        if status.is_success() { Ok(()) } else { Err(Trouble::NotMcp(status)) }
    }

    /// The same, where it makes no difference whether it arrives.
    pub(super) async fn mention(&self, body: Vec<u8>) {
        if let Err(error) = self.tell(body, Until::within(IN_BACKGROUND)).await {
            let upstream = self.upstream();
            tracing::debug!(%upstream, %error, "a message to an upstream was not delivered");
        }
    }

    /// The same, while nobody waits for it.
    pub(super) fn mention_in_background(self: &Arc<Self>, body: Vec<u8>) {
        let session = Arc::clone(self);
        self.in_background(async move { session.mention(body).await });
    }

    /// Does what nobody waits for.
    pub(super) fn in_background(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(work);
    }

    /// Asks for log messages of this level and above, unless they are sent already (2025-11-25 logging, "Setting Log
    /// Level"). A level is never raised again: calls share the session, and what one did not ask for is dropped on its
    /// way.
    pub(super) async fn ask_for_logs(&self, level: LogLevel, until: Until) -> Result<(), Trouble> {
        if !self.known.capabilities.has_logging() {
            return Ok(());
        }
        let mut set = until.bound(self.level.lock()).await?;
        if set.is_some_and(|set| set <= level) {
            return Ok(());
        }
        let mut params = Object::default();
        params.set("level", JsonBuf::of(&level));
        if let Answered::Result(_) =
            self.request("logging/setLevel", Some(params.render().json()), until).await?
        {
            *set = Some(level);
        }
        Ok(())
    }

    /// What every message in it carries ("Session Management" 2; "Protocol Version Header").
    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(8);
        let version = HeaderValue::from_static(self.version.as_str());
        headers.insert("mcp-protocol-version", version);
        if let Some(SessionId(id)) = &self.id {
            headers.insert("mcp-session-id", id.clone());
        }
        headers
    }

    /// An endpoint that cannot be reached takes the sessions that it gave with it, if there are others.
    fn judge(&self, trouble: Trouble) -> Trouble {
        match trouble {
            Trouble::NotSent(_) | Trouble::Broken { .. }
                if self.wire.config.endpoints.len() > 1 =>
            {
                self.lose()
            }
            other => other,
        }
    }

    fn lose(&self) -> Trouble {
        self.give_up();
        Trouble::SessionLost
    }
}

/// "Session Management" 5: a client that no longer needs a session SHOULD end it.
impl Drop for Session {
    fn drop(&mut self) {
        if !self.is_kept() || !self.is_alive() {
            return;
        }
        let post = Post { headers: self.headers(), body: Bytes::new() };
        let (wire, endpoint) = (self.wire.clone(), self.endpoint);
        self.tasks.spawn(async move {
            let until = Until::within(IN_BACKGROUND);
            // It may not let clients do this, and ends them in its own time.
            if let Err(error) = wire.send_to(endpoint, Verb::DELETE, post, until).await {
                tracing::debug!(upstream = %wire.config.name, %error, "a session was not closed");
            }
        });
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_not_shown_in_a_header_either() {
        let id = SessionId::read(&HeaderValue::from_static("s3cret")).unwrap();
        let shown = format!("{id:?} {:?}", id.0);
        assert!(!shown.contains("s3cret"), "{shown}");
    }
}
