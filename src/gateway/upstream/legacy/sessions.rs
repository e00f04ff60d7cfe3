//! The sessions with one upstream: whose they are, how many, and how long they are kept.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::declared::Declared;
use super::handshake::shake_hands;
use super::session::Session;
use crate::domain::ids::{OwnerDigest, Principal};
use crate::gateway::upstream::exchange::Until;
use crate::gateway::upstream::server::Server;
use crate::gateway::upstream::trouble::Trouble;
use crate::gateway::upstream::wire::Wire;

/// Sessions with one upstream, from one replica.
pub(super) const MAX_SESSIONS: usize = 256;

/// Whom a session is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Whose {
    /// The gateway itself, and all callers where the upstream keeps nothing of its sessions.
    Everybodys,
    /// One caller: what the upstream keeps for one is not for another to see.
    Callers(OwnerDigest),
}

impl Whose {
    /// The session that what this caller asks goes in.
    pub(super) fn asks(server: &Server, caller: &Principal) -> Self {
        if server.config.shared { Self::Everybodys } else { Self::Callers(caller.owner_digest()) }
    }
}

/// Which session: its client, and what that declared.
pub(super) type Key = (Whose, Declared);

/// The sessions with one upstream.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<HashMap<Key, Arc<Place>>>);

/// Where one session is, or is being begun: whoever holds the lock shakes hands.
#[derive(Debug)]
struct Place {
    session: Arc<tokio::sync::Mutex<Option<Arc<Session>>>>,
    used: Mutex<Instant>,
}

/// A session in use. It is idle when nobody has one of these.
#[derive(Debug)]
pub(super) struct Lease {
    session: Arc<Session>,
    place: Arc<Place>,
    is_new: bool,
}

impl Sessions {
    /// The session of this key, begun if there is none.
    pub(super) async fn lease(
        &self,
        key: Key,
        (wire, tasks): (Wire, TaskTracker),
        until: Until,
    ) -> Result<Lease, Trouble> {
        let place = self.place(&key)?;
        let mut held = until.bound(Arc::clone(&place.session).lock_owned()).await?;
        if let Some(session) = held.as_ref().filter(|it| it.is_alive()) {
            return Ok(Lease { session: Arc::clone(session), place, is_new: false });
        }
        // A client that leaves meanwhile does not end it: nobody would know the session that came of it.
        let beginning = tasks.clone().spawn(async move {
            let session = Arc::new(shake_hands(wire, tasks, &key.1, until).await?);
            *held = Some(Arc::clone(&session));
            Ok(session)
        });
        let ended = beginning.await;
        let session = ended.unwrap_or(Err(Trouble::Protocol("its handshake broke off")))?;
        Ok(Lease { session, place, is_new: true })
    }

    /// Lets go of sessions that nobody has used for this long.
    pub(super) fn close_idle(&self, after: Duration) {
        let idle = |place: &Arc<Place>| place.is_idle() && place.used().elapsed() >= after;
        self.places().retain(|_, place| !idle(place));
    }

    /// A place for this key; where there is none left, the one that was idle for the longest makes room.
    fn place(&self, key: &Key) -> Result<Arc<Place>, Trouble> {
        let mut places = self.places();
        if let Some(place) = places.get(key) {
            return Ok(Arc::clone(place));
        }
        if places.len() >= MAX_SESSIONS {
            let idle = places.iter().filter(|(_, place)| place.is_idle());
            let longest = idle.min_by_key(|(_, place)| *place.used()).map(|(key, _)| key.clone());
            places.remove(&longest.ok_or(Trouble::SessionsInUse(MAX_SESSIONS))?);
        }
        let place = Arc::new(Place::new());
        places.insert(key.clone(), Arc::clone(&place));
        Ok(place)
    }

    fn places(&self) -> MutexGuard<'_, HashMap<Key, Arc<Place>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    fn new() -> Self {
        Self { session: Arc::default(), used: Mutex::new(Instant::now()) }
    }

    /// Only the table knows of it; only under its lock does that stay so.
    fn is_idle(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) == 1
    }

    fn used(&self) -> MutexGuard<'_, Instant> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// Whether it has just begun.
    pub(super) fn is_new(&self) -> bool {
        self.is_new
    }

    /// The session, for what goes on when the lease is over.
    pub(super) fn session(&self) -> &Arc<Session> {
        &self.session
    }
}

impl Deref for Lease {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        *self.place.used() = Instant::now();
    }
}
