//! The nodes of a cluster: who they are now, asked of themselves.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use redis::Value;
use redis::aio::PubSub;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::super::dial::{Dialer, RedisSettings};
use super::super::link::{Link, PROBE_DEADLINE, PROBE_EVERY};
use super::super::master::Master;
use super::super::slot::{SLOTS, Slot};
use super::super::trouble::{MAX_NODES, Trouble, in_time};
use super::super::url::{Address, Lead, MAX_NAMED, RedisUrl};
use super::slot_map::SlotMap;
use super::view::View;

/// How often the map is asked for where nothing says that it is wrong.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Who serves what in a cluster, and the links to them.
pub(in crate::directory::redis) struct Nodes {
    url: RedisUrl,
    dialer: Arc<Dialer>,
    /// As they were named.
    seeds: Vec<Address>,
    state: watch::Sender<State>,
    links: Mutex<HashMap<Address, Arc<Link>>>,
    /// An answer said, or made likely, that the map is wrong.
    doubt: Notify,
}

#[derive(Clone, Debug)]
enum State {
    /// Nobody has been asked yet.
    Looking,
    Known(Arc<SlotMap>),
    /// Nobody has ever answered.
    Away(Trouble),
}

impl Nodes {
    /// Nodes of which nobody has been asked yet.
    pub(in crate::directory::redis) fn new(settings: &RedisSettings, seeds: &[Address]) -> Self {
        let (url, dialer) = (settings.url.clone(), Arc::new(Dialer::new(settings)));
        let state = watch::Sender::new(State::Looking);
        let (links, doubt) = Default::default();
        Self { url, dialer, seeds: seeds.to_vec(), state, links, doubt }
    }

    /// Who serves a slot; waits for the first map.
    pub(super) async fn owner(&self, slot: Slot, deadline: Instant) -> Result<Address, Trouble> {
        let map = self.map(deadline).await?;
        map.owner(slot).cloned().ok_or_else(|| {
            self.doubt();
            Trouble::NoOwner(slot)
        })
    }

    /// Any of the masters, one that is connected if there is one.
    pub(super) async fn any(&self, deadline: Instant) -> Result<Address, Trouble> {
        let map = self.map(deadline).await?;
        let connected = {
            let links = self.links();
            let is_connected = |it: &&Address| links.get(*it).is_some_and(|it| it.is_connected());
            map.masters().iter().find(is_connected).cloned()
        };
        connected.or_else(|| map.masters().first().cloned()).ok_or(Trouble::NoMaster)
    }

    /// The link to a node.
    pub(super) fn link(&self, node: &Address) -> Result<Arc<Link>, Trouble> {
        let mut links = self.links();
        if let Some(link) = links.get(node) {
            return Ok(Arc::clone(link));
        }
        if links.len() >= MAX_NODES {
            return Err(Trouble::TooManyNodes);
        }
        let url = self.url.of(node.clone());
        let master = Master::new(Lead::Server(node.clone()), url, Arc::clone(&self.dialer));
        let link = Arc::new(Link::begin(Arc::new(master)));
        links.insert(node.clone(), Arc::clone(&link));
        Ok(link)
    }

    /// Says that the map may be wrong.
    pub(super) fn doubt(&self) {
        self.doubt.notify_one();
    }

    /// Notes that a slot has moved.
    pub(super) fn moved(&self, slot: Slot, to: &Address) {
        self.state.send_modify(|state| {
            if let State::Known(map) = state {
                Arc::make_mut(map).moved(slot, to);
            }
        });
        self.doubt();
    }

    /// Waits until nodes were asked once, half a second at most.
    pub(super) async fn asked(&self) {
        let mut changes = self.state.subscribe();
        let asked = changes.wait_for(|state| !matches!(state, State::Looking));
        drop(timeout(PROBE_DEADLINE, asked).await);
    }

    /// Asks for the map, again and again: soon where there is doubt.
    pub(super) async fn keep(self: Arc<Self>) {
        loop {
            let next = Instant::now() + PROBE_EVERY;
            let pause = match self.look().await {
                Ok(view) => {
                    self.take(&view);
                    LOOK_EVERY
                }
                Err(trouble) => {
                    tracing::debug!(redis = %self.url, cause = ?trouble, "no node says who serves what");
                    // What was known is right until somebody says otherwise.
                    self.state.send_if_modified(|state| match state {
                        State::Known(_) => false,
                        State::Looking | State::Away(_) => {
                            *state = State::Away(trouble);
                            true
                        }
                    });
                    PROBE_EVERY
                }
            };
            sleep_until(next).await;
            drop(timeout(pause, self.doubt.notified()).await);
        }
    }

    /// Asks nodes how they see the cluster until half of them have answered, and takes the best: one that is cut off
    /// from the others is behind them.
    pub(super) async fn look(&self) -> Result<View, Trouble> {
        let known = self.known();
        let mut asking: FuturesUnordered<_> = known.iter().map(|it| self.ask(it)).collect();
        let (mut best, mut trouble, mut answers) = (None::<View>, None, 0);
        while let Some(answer) = asking.next().await {
            match answer {
                Ok(view) => {
                    answers += 1;
                    best = Some(best.filter(|it| it.rank() >= view.rank()).unwrap_or(view));
                }
                Err(it) => trouble = trouble.or(Some(it)),
            }
            if answers * 2 > known.len() {
                break;
            }
        }
        best.ok_or_else(|| Trouble::NoNode(Box::new(trouble.unwrap_or(Trouble::Closed))))
    }

    /// A connection to hear messages, at any node: each passes on to all what it is told.
    pub(in crate::directory::redis) async fn listen(&self) -> Result<(Address, PubSub), Trouble> {
        let mut trouble = Trouble::Late;
        for node in self.known() {
            let listening = self.dialer.listen(&node, &self.url.login);
            match in_time(PROBE_DEADLINE, listening).await {
                Ok(connection) => return Ok((node, connection)),
                Err(it) => trouble = it,
            }
        }
        Err(Trouble::NoNode(Box::new(trouble)))
    }

    /// Whether a node is no master of the cluster by now: what is told to the others may not reach it.
    pub(in crate::directory::redis) fn has_left(&self, node: &Address) -> bool {
        match &*self.state.borrow() {
            State::Known(map) => !map.masters().contains(node),
            State::Looking | State::Away(_) => false,
        }
    }

    /// As it was named.
    pub(in crate::directory::redis) fn url(&self) -> &RedisUrl {
        &self.url
    }

    /// The masters that are known, else those that were named.
    fn known(&self) -> Vec<Address> {
        let mut known = match &*self.state.borrow() {
            State::Known(map) => map.masters().iter().take(MAX_NAMED).cloned().collect(),
            State::Looking | State::Away(_) => Vec::new(),
        };
        for seed in &self.seeds {
            if !known.contains(seed) {
                known.push(seed.clone());
            }
        }
        known
    }

    /// Asks one node, on a connection that is closed again.
    async fn ask(&self, node: &Address) -> Result<View, Trouble> {
        let asking = async {
            let mut connection = self.dialer.connect(node, &self.url.login).await?;
            let mut questions = redis::pipe();
            questions.cmd("CLUSTER").arg("INFO").cmd("CLUSTER").arg("SLOTS");
            questions.query_async(&mut connection.commands).await
        };
        let (info, slots): (String, Vec<Value>) = in_time(PROBE_DEADLINE, asking).await?;
        View::read(node, &info, &slots)
    }

    fn take(&self, view: &View) {
        let map = SlotMap::of(view);
        let unserved = map.unserved();
        let before = match &*self.state.borrow() {
            State::Known(known) => known.unserved(),
            State::Looking | State::Away(_) => 0,
        };
        if unserved > 0 && unserved != before {
            tracing::warn!(redis = %self.url, unserved, of = SLOTS, "slots without a master: what is there is away");
        } else if unserved == 0 && before > 0 {
            tracing::info!(redis = %self.url, "every slot has a master again");
        }
        self.links().retain(|node, _| map.masters().contains(node));
        self.state.send_replace(State::Known(Arc::new(map)));
    }

    async fn map(&self, deadline: Instant) -> Result<Arc<SlotMap>, Trouble> {
        let mut changes = self.state.subscribe();
        let looked = changes.wait_for(|state| !matches!(state, State::Looking));
        let state = timeout_at(deadline, looked).await.map_err(|_| Trouble::Late)?;
        match &*state.expect("the sender is here") {
            State::Known(map) => Ok(Arc::clone(map)),
            State::Away(trouble) => Err(Trouble::Open(Box::new(trouble.clone()))),
            State::Looking => Err(Trouble::Late),
        }
    }

    fn links(&self) -> MutexGuard<'_, HashMap<Address, Arc<Link>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Nodes({})", self.url)
    }
}
