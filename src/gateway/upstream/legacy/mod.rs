//! An upstream of the legacy era: a handshake, and a session if it wants one.
//!
//! A caller's request is put ([`ask`]) in a [`session`] that begins with a [`handshake`] for what its client
//! [`declared`], one of the [`sessions`] that are kept; it may turn out that the upstream has forgotten it
//! ([`refusal`]). The [`call`] lasts until its answer. Where the upstream asks a [`question`] first, it is
//! [`suspended`] until the client comes back.

mod ask;
mod call;
mod declared;
mod handshake;
mod question;
mod refusal;
mod session;
mod sessions;
mod stream;
mod subscribed;
mod suspended;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::StatusCode;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use super::back_channel::BackChannel;
use super::discovery::Known;
use super::exchange::Until;
use super::server::{Answered, Server};
use super::trouble::Trouble;
use super::watch;
use crate::domain::ids::Principal;
use crate::mcp::{Json, JsonBuf, Method};
pub(super) use call::Call;
use declared::Declared;
use sessions::{Key, Lease, MAX_SESSIONS, Sessions, Whose};
use stream::Heard;
pub(super) use subscribed::Subscribed;
pub(super) use suspended::{CallId, Suspended, Suspension};

/// How often idle sessions are looked for, as a part of how long they may be idle.
const LOOKS_PER_IDLE_TIME: u32 = 4;
/// Listeners who are told of resources. Each keeps a session from making room for another, so some are left for calls.
const MAX_LISTENERS: usize = MAX_SESSIONS / 2;

/// The sessions with one upstream.
#[derive(Debug)]
pub(super) struct Legacy {
    sessions: Sessions,
    /// It gives no session ids: then all callers can do with what one handshake said.
    keeps_none: AtomicBool,
    suspended: Arc<Suspended>,
    back_channel: Arc<BackChannel>,
    listeners: Arc<Semaphore>,
}

impl Legacy {
    /// No sessions yet.
    pub(super) fn new((suspended, back_channel): (Arc<Suspended>, Arc<BackChannel>)) -> Self {
        let (sessions, keeps_none) = Default::default();
        let listeners = Arc::new(Semaphore::new(MAX_LISTENERS));
        Self { sessions, keeps_none, suspended, back_channel, listeners }
    }

    /// Shakes hands and says what the upstream is.
    pub(super) async fn introduce(&self, server: &Server) -> Result<Known, Trouble> {
        let mut lease = self.lease(server, own()).await?;
        if !lease.is_new() {
            // Asked again: does it still know us? If it keeps nothing, only another handshake can tell anything new.
            let until = Until::within(server.config.timeouts.list);
            if lease.is_kept() {
                match lease.request("ping", None, until).await {
                    Ok(_) => return Ok(lease.known.clone()),
                    Err(Trouble::SessionLost) => {}
                    Err(trouble) => return Err(trouble),
                }
            } else {
                lease.give_up();
            }
            drop(lease);
            lease = self.lease(server, own()).await?;
        }
        self.keeps_none.store(!lease.is_kept(), Ordering::Relaxed);
        Ok(lease.known.clone())
    }

    /// One page of a list, as this caller may see it.
    pub(super) async fn list(
        &self,
        server: &Server,
        method: Method,
        params: Json<'_>,
        caller: &Principal,
        until: Until,
    ) -> Result<Answered, Trouble> {
        let mut tries = 0;
        loop {
            tries += 1;
            let lease = self.lease(server, (Whose::asks(server, caller), Declared::all())).await?;
            match lease.request(method.as_str(), Some(params), until).await {
                Err(Trouble::SessionLost) if tries == 1 => {}
                answered => return answered,
            }
        }
    }

    /// Reads what the upstream tells of its own accord, until the stream of it ends (2025-11-25 transports, "Listening
    /// for Messages from the Server").
    pub(super) async fn listen(
        &self,
        server: &Server,
        until: Until,
        opened: impl FnOnce(),
    ) -> Result<watch::Heard, Trouble> {
        let lease = self.lease(server, own()).await?;
        let stream = match lease.session().stream(until).await {
            Ok(stream) => stream,
            Err(Trouble::NotMcp(StatusCode::METHOD_NOT_ALLOWED)) => {
                return Ok(watch::Heard::Nothing);
            }
            Err(trouble) => return Err(trouble),
        };
        opened();
        let mut heard = stream.listen();
        loop {
            match heard.next().await? {
                Heard::Notification(it) => {
                    server.noticed(&it.method, it.params.as_ref().map(JsonBuf::json));
                }
                Heard::Closed { pause } => {
                    sleep(pause).await;
                    return Ok(watch::Heard::All);
                }
            }
        }
    }

    /// Closes sessions that nobody uses, for as long as it is polled.
    pub(super) async fn tidy(&self, idle: Duration) {
        loop {
            sleep((idle / LOOKS_PER_IDLE_TIME).max(Duration::from_millis(50))).await;
            self.sessions.close_idle(idle);
        }
    }

    /// A session of this key. Only one that the upstream keeps nothing of is shared by all.
    async fn lease(&self, server: &Server, key: Key) -> Result<Lease, Trouble> {
        if self.keeps_none.load(Ordering::Relaxed) {
            let shared = Box::pin(self.lease_of(server, own())).await?;
            if !shared.is_kept() {
                return Ok(shared);
            }
            // It was started anew meanwhile, as one that keeps sessions: this one is the gateway's.
            self.keeps_none.store(false, Ordering::Relaxed);
            if key == own() {
                return Ok(shared);
            }
        }
        self.lease_of(server, key).await
    }

    async fn lease_of(&self, server: &Server, key: Key) -> Result<Lease, Trouble> {
        let until = Until::within(server.config.timeouts.list);
        self.sessions.lease(key, (server.wire.clone(), server.tasks.clone()), until).await
    }
}

/// The gateway's own session.
fn own() -> Key {
    (Whose::Everybodys, Declared::all())
}
