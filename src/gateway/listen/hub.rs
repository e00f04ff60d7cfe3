//! Who listens at this replica, and what they and the other replicas are told.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Listens;
use super::honour::list;
use super::listener::{Interest, Listener};
use super::outbox::{Outbox, Put};
use crate::directory::{Audience, Change, Directory, DirectoryEvent, Events, Heard, List};
use crate::domain::ids::{OwnerDigest, Principal, TenantDigest};
use crate::gateway::failure::{Failure, Fault};
use crate::gateway::upstream;
use crate::serve::Drain;

/// How long changes are gathered before the next event tells them.
const GATHER: Duration = Duration::from_millis(50);
/// How long a directory that did not take an event is left alone, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// When a tenant that listens as much as it may is to come back.
const COME_BACK: Duration = Duration::from_secs(5);

/// Who listens at this replica.
#[derive(Debug)]
pub(in crate::gateway) struct Hub {
    replica: String,
    directory: Arc<dyn Directory>,
    tasks: TaskTracker,
    limits: Listens,
    present: Mutex<Present>,
    outbox: Outbox,
    closed: CancellationToken,
}

/// The listeners that are there, by whose they are.
#[derive(Debug, Default)]
struct Present {
    owners: HashMap<OwnerDigest, Vec<Arc<Listener>>>,
    tenants: HashMap<TenantDigest, usize>,
    streams: usize,
    is_closed: bool,
}

/// Why a client cannot listen here now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotNow {
    /// Its tenant listens as much as it may.
    #[error("this tenant has {0} streams open here, which is as many as it may: close one first")]
    TenantFull(usize),
    /// The replica has as many listeners as it may, or is about to stop; another may have room.
    #[error("this replica takes no more listeners")]
    Closed,
}

impl From<NotNow> for Failure {
    fn from(refused: NotNow) -> Self {
        Self::Fault(match refused {
            NotNow::TenantFull(_) => Fault::rate_limited(refused.to_string(), COME_BACK),
            NotNow::Closed => Fault::overloaded(),
        })
    }
}

impl Hub {
    /// A hub at which nobody listens.
    pub(in crate::gateway) fn new(
        replica: String,
        directory: Arc<dyn Directory>,
        limits: Listens,
        tasks: TaskTracker,
    ) -> Self {
        let (present, outbox, closed) = Default::default();
        Self { replica, directory, tasks, limits, present, outbox, closed }
    }

    /// Tells the listeners of this replica of a change.
    pub(in crate::gateway) fn publish(&self, change: &Change) {
        let present = self.present();
        let owner = match change {
            Change::List { audience: Audience::Owner(owner), .. }
            | Change::Environment { owner, .. } => Some(owner),
            Change::List { audience: Audience::Everybody, .. } | Change::Everything => None,
        };
        match owner {
            Some(owner) => {
                present.owners.get(owner).into_iter().flatten().for_each(|it| it.tell(change));
            }
            None => present.owners.values().flatten().for_each(|it| it.tell(change)),
        }
    }

    /// Tells the listeners of all replicas of a change. It reaches the others soon, if the directory is there.
    pub(in crate::gateway) fn spread(self: &Arc<Self>, change: Change) {
        self.publish(&change);
        if self.outbox.put(change) == Put::First {
            self.tasks.spawn(Arc::clone(self).tell_others());
        }
    }

    /// Tells the listeners of this replica that every list may be another.
    pub(in crate::gateway) fn lists_changed(&self) {
        for list in List::ALL {
            self.publish(&Change::List { list, audience: Audience::Everybody });
        }
    }

    /// Passes on what other replicas and upstreams tell, until the listeners of this replica are to go elsewhere.
    pub(in crate::gateway) async fn follow(
        self: Arc<Self>,
        mut events: Events,
        mut upstreams: broadcast::Receiver<upstream::Change>,
        drain: Drain,
    ) {
        let mut closing = std::pin::pin!(drain.closing());
        loop {
            tokio::select! {
                heard = events.next() => match heard {
                    Some(Heard::Event(event)) if event.replica == self.replica => {}
                    Some(Heard::Event(event)) => {
                        event.changes.iter().for_each(|change| self.publish(change));
                    }
                    Some(Heard::Missed) => self.publish(&Change::Everything),
                    None => break closing.await,
                },
                told = upstreams.recv() => match told {
                    Ok(upstream::Change::List { listed, owner }) => {
                        let audience = owner.map_or(Audience::Everybody, Audience::Owner);
                        self.publish(&Change::List { list: list(listed), audience });
                    }
                    Err(RecvError::Lagged(_)) => self.lists_changed(),
                    Err(RecvError::Closed) => break closing.await,
                },
                () = &mut closing => break,
            }
        }
        self.close();
    }

    /// A place among the listeners.
    pub(super) fn join(
        self: &Arc<Self>,
        caller: &Principal,
        interest: Interest,
    ) -> Result<Listening, NotNow> {
        let (tenant, owner) = (caller.tenant_digest(), caller.owner_digest());
        let mut present = self.present();
        if present.is_closed || present.streams >= self.limits.streams {
            return Err(NotNow::Closed);
        }
        let of_tenant = present.tenants.entry(tenant).or_default();
        if *of_tenant >= self.limits.streams_per_tenant {
            return Err(NotNow::TenantFull(*of_tenant));
        }
        *of_tenant += 1;
        present.streams += 1;
        let listener = Arc::new(Listener::new(interest));
        present.owners.entry(owner).or_default().push(Arc::clone(&listener));
        Ok(Listening { hub: Arc::clone(self), listener, tenant, owner })
    }

    /// Tells the other replicas what waits, until nothing does. What the directory did not take is told as
    /// [`Change::Everything`] when it is back, however long that takes: nobody else knows that there is something to
    /// look at. A replica that stops tries each event once more.
    async fn tell_others(self: Arc<Self>) {
        let (mut pause, longest) = PAUSES;
        while let Some(changes) = self.outbox.take() {
            let event = DirectoryEvent { replica: self.replica.clone(), changes };
            let Err(error) = self.directory.publish(&event).await else {
                pause = PAUSES.0;
                tokio::time::sleep(GATHER).await;
                continue;
            };
            tracing::debug!(%error, "other replicas were not told of a change");
            if self.closed.is_cancelled() {
                continue;
            }
            self.outbox.put(Change::Everything);
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(longest),
                () = self.closed.cancelled() => {}
            }
        }
    }

    /// Ends every stream, and begins none any more.
    fn close(&self) {
        let mut present = self.present();
        present.is_closed = true;
        present.owners.values().flatten().for_each(|listener| listener.end());
        self.closed.cancel();
    }

    /// Returns when the listeners of this replica are to go elsewhere.
    pub(in crate::gateway) async fn closed(&self) {
        self.closed.cancelled().await;
    }

    fn present(&self) -> MutexGuard<'_, Present> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A listener's place at the hub; given back when dropped.
#[derive(Debug)]
pub(super) struct Listening {
    hub: Arc<Hub>,
    listener: Arc<Listener>,
    tenant: TenantDigest,
    owner: OwnerDigest,
}

impl Listening {
    /// The listener.
    pub(super) fn listener(&self) -> &Listener {
        &self.listener
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut present = self.hub.present();
        present.streams -= 1;
        if let Some(count) = present.tenants.get_mut(&self.tenant) {
            *count -= 1;
            if *count == 0 {
                present.tenants.remove(&self.tenant);
            }
        }
        if let Some(listeners) = present.owners.get_mut(&self.owner) {
            listeners.retain(|it| !Arc::ptr_eq(it, &self.listener));
            if listeners.is_empty() {
                present.owners.remove(&self.owner);
            }
        }
    }
}
