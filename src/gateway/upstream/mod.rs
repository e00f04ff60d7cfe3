//! Other MCP servers behind the gateway.
//!
//! An operator's table ([`config`]) becomes a [`Server`], which is reached over a [`wire`] (a [`link`], and what MCP asks
//! of it) and tells what it is ([`discovery`]; asked first by whoever needs it: [`acquaintance`]). A client's request
//! ([`ask`]) finds its server ([`routing`]) and is [`forward`]ed: written for the upstream's era ([`translate`];
//! [`modern`], [`legacy`]), put to it ([`exchange`]), its notifications [`relay`]ed, its questions put to the client
//! ([`back_channel`]), the result [`shape`]d for it and sealed where clients hold something ([`state`]). Of what servers
//! offer there are [`lists`]; [`watch`] hears of changes, and a listener is [`subscribed`] to what only it asked for. What
//! goes wrong is [`trouble`].

mod acquaintance;
mod ask;
mod back_channel;
mod config;
mod discovery;
mod exchange;
mod forward;
mod legacy;
mod link;
mod lists;
mod modern;
mod relay;
mod routing;
mod server;
mod shape;
mod state;
mod subscribed;
mod translate;
mod trouble;
mod watch;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use tokio::sync::broadcast;
use tokio_util::sync::DropGuard;
use tokio_util::task::TaskTracker;

pub(super) use ask::Ask;
pub(super) use back_channel::BackChannel;
pub use config::{EraChoice, NameFilter, Upstream, UpstreamName, UpstreamTimeouts};
pub(super) use discovery::Known;
pub(super) use forward::Forwarded;
pub use link::{
    AllBroken, Answer, EndpointId, LinkError, Refused, SendError, UpstreamLink, may_lead_somewhere,
};
pub(super) use lists::{Listing, Listings};
pub(super) use routing::Destination;
pub(super) use server::Server;
pub(super) use subscribed::{Over, Subscribed, Told, Wanted};
pub(super) use watch::{Change, Changes};

use crate::clock::Clock;
use crate::domain::keyring::Keyring;
use legacy::Suspended;

/// All upstreams that are configured, in their order. One that a reload does not change keeps its place in memory.
pub type UpstreamSet = Arc<[Arc<Upstream>]>;

/// The upstream servers in force.
#[derive(Debug)]
pub(super) struct Upstreams {
    set: ArcSwap<Vec<Member>>,
    keys: Keyring,
    replica: String,
    clock: Clock,
    tasks: TaskTracker,
    changes: Changes,
    version: Arc<AtomicU64>,
    suspended: Arc<Suspended>,
    back_channel: Arc<BackChannel>,
}

/// A server, and what stops when it is no longer in force.
#[derive(Clone, Debug)]
struct Member {
    server: Arc<Server>,
    _keeper: Arc<DropGuard>,
}

impl Upstreams {
    /// None yet.
    pub(super) fn new(
        keys: Keyring,
        replica: &str,
        clock: Clock,
        tasks: TaskTracker,
        changes: Changes,
    ) -> Self {
        let (replica, version) = (replica.to_owned(), Arc::default());
        let suspended = Suspended::new(tasks.clone());
        let back_channel = BackChannel::new(replica.clone(), keys.clone(), clock.clone());
        let (set, back_channel) = (ArcSwap::default(), Arc::new(back_channel));
        Self { set, keys, replica, clock, tasks, changes, version, suspended, back_channel }
    }

    /// Puts these in force. Servers whose table did not change go on with all they know; calls under way at others
    /// end as they began.
    pub(super) fn apply(&self, configured: &[Arc<Upstream>]) {
        let before = self.set.load();
        let member = |config: &Arc<Upstream>| {
            let same = before.iter().find(|it| it.server.config == *config);
            same.cloned().unwrap_or_else(|| self.begin(config))
        };
        let mut members: Vec<Member> = configured.iter().map(member).collect();
        // A stable sort: of equal priorities, the one configured first.
        members.sort_by_key(|it| std::cmp::Reverse(it.server.config.priority));
        self.set.store(Arc::new(members));
        self.version.fetch_add(1, Ordering::AcqRel);
    }

    /// A number that is another one after every change of the set, or of what one of it said of itself.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// What they say that changed, from now on.
    pub(super) fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    /// Where clients of the legacy era are asked.
    pub(super) fn back_channel(&self) -> &BackChannel {
        &self.back_channel
    }

    /// What each has said of itself, if it has, in order.
    pub(super) fn said(&self) -> Vec<Option<Arc<Known>>> {
        self.set.load().iter().map(|it| it.server.said()).collect()
    }

    /// Asks those that have not said it yet.
    pub(super) async fn ask_all(&self) {
        join_all(self.servers().iter().map(|it| it.known())).await;
    }

    /// The servers, the one whose names win first.
    pub(super) fn servers(&self) -> Vec<Arc<Server>> {
        self.set.load().iter().map(|it| Arc::clone(&it.server)).collect()
    }

    /// How long a call may take at the one that is given the most time.
    pub(super) fn longest_call(&self) -> Duration {
        let set = self.set.load();
        set.iter().map(|it| it.server.config.timeouts.call).max().unwrap_or_default()
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.set.load().is_empty()
    }

    fn begin(&self, config: &Arc<Upstream>) -> Member {
        let around = (self.tasks.clone(), self.changes.clone(), Arc::clone(&self.version));
        let asking = (Arc::clone(&self.suspended), Arc::clone(&self.back_channel));
        let server = Arc::new(Server::new(Arc::clone(config), around, asking));
        let over = server.over.clone();
        self.tasks.spawn(over.clone().run_until_cancelled_owned(watch::keep(Arc::clone(&server))));
        Member { server, _keeper: Arc::new(over.drop_guard()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::keyring::SecretKey;

    #[tokio::test]
    async fn the_longest_call_is_that_of_the_set_in_force() {
        let keys = Keyring::new("baton", &[SecretKey::from_bytes([1; 32])]).unwrap();
        let tasks = TaskTracker::new();
        let upstreams = Upstreams::new(keys, "one", Clock::system(), tasks, Changes::new());
        assert_eq!(upstreams.longest_call(), Duration::ZERO);
        let table = |name: &str, hours: u64| {
            // Not public, so that nobody is asked.
            let endpoint = "https://127.0.0.1:1/mcp".parse().unwrap();
            let mut table = Upstream::new(UpstreamName::parse(name).unwrap(), vec![endpoint]);
            table.timeouts.call = Duration::from_hours(hours);
            Arc::new(table)
        };
        upstreams.apply(&[table("a", 1), table("b", 24), table("c", 2)]);
        assert_eq!(upstreams.longest_call(), Duration::from_hours(24));
        upstreams.apply(&[table("c", 2)]);
        assert_eq!(upstreams.longest_call(), Duration::from_hours(2));
    }
}
