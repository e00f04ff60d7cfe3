//! Redis Cluster: a map of slots over the links to single servers.
//!
//! The crate has a cluster client. It sends again what may have run unless it is told never to, and then follows no
//! redirection either; it makes connections of its own kind, not ours ([`super::dial`]). So each master has a link with
//! all its rules, and here is decided only which one an operation is sent to. It is sent again only after an answer which
//! proves that nothing was executed, so often at most and all within one deadline.

use std::sync::Arc;
use std::time::Duration;

use redis::{ErrorKind, FromRedisValue, RedisError, ServerErrorKind};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::dial::RedisSettings;
use super::link::OPERATION_DEADLINE;
use super::slot::Slot;
use super::step::{Claim, Step};
use super::trouble::Trouble;
use super::url::Address;

mod nodes;
mod slot_map;
mod state;
mod view;

pub(super) use nodes::Nodes;
pub use state::{CLUSTER_SLOTS, ClusterMaster, ClusterState};
use view::redirected;

/// How many slots somebody serves by the answers of a node, for the fuzz targets.
#[cfg(fuzzing)]
pub(super) fn served_slots(info: &str, slots: &[redis::Value]) -> Option<usize> {
    let asked = Address { host: "asked".into(), port: 6379 };
    let view = view::View::read(&asked, info, slots).ok()?;
    Some(super::slot::SLOTS as usize - slot_map::SlotMap::of(&view).unserved())
}

/// How often one operation is sent on or, where nothing was executed, again.
const MAX_STOPS: u32 = 6;
/// How long until an operation is sent again to where it was refused; then twice as long.
const PAUSE: Duration = Duration::from_millis(20);

/// Links to the masters of a cluster.
#[derive(Debug)]
pub(super) struct Cluster {
    nodes: Arc<Nodes>,
    /// Owns the keeper of the map: it ends with the cluster.
    _keeper: JoinSet<()>,
}

/// Where an operation goes next.
#[derive(Clone, Debug)]
struct Stop {
    node: Address,
    claim: Claim,
}

/// What an answer proves.
#[derive(Debug, PartialEq, Eq)]
enum Proof {
    /// Nothing was executed: another node serves the slot.
    Moved(Slot, Address),
    /// Nothing was executed: another node has this key already.
    Ask(Address),
    /// Nothing was executed; soon it may be.
    NotYet,
    /// Nothing.
    None,
}

impl Cluster {
    /// A cluster that may be down. Returns when nodes were first asked, or half a second of it.
    pub(super) async fn open(settings: &RedisSettings, seeds: &[Address]) -> Self {
        let nodes = Arc::new(Nodes::new(settings, seeds));
        let mut keeper = JoinSet::new();
        keeper.spawn(Arc::clone(&nodes).keep());
        nodes.asked().await;
        Self { nodes, _keeper: keeper }
    }

    /// Its nodes, for who wants to hear what is told on channels.
    pub(super) fn nodes(&self) -> &Arc<Nodes> {
        &self.nodes
    }

    /// Sends one operation to where its keys are, within [`OPERATION_DEADLINE`].
    pub(super) async fn operate<T: FromRedisValue>(&self, step: &Step) -> Result<T, Trouble> {
        let deadline = Instant::now() + OPERATION_DEADLINE;
        let mut next = self.first_stop(step, deadline).await?;
        let (mut stops, mut pause) = (1, PAUSE);
        loop {
            let link = self.nodes.link(&next.node)?;
            let trouble = match link.operate_by(step, next.claim, deadline).await {
                Ok(answer) => return Ok(answer),
                Err(Trouble::Unreadable(what)) => return Err(Trouble::Unreadable(what)),
                Err(trouble) => trouble,
            };
            let proof = if stops < MAX_STOPS { prove(&next.node, &trouble) } else { Proof::None };
            next = match proof {
                Proof::Moved(slot, node) => {
                    self.nodes.moved(slot, &node);
                    Stop { node, claim: Claim::Owner }
                }
                Proof::Ask(node) => Stop { node, claim: Claim::Heir },
                Proof::NotYet if Instant::now() + pause < deadline => {
                    self.nodes.doubt();
                    sleep(pause).await;
                    pause *= 2;
                    self.first_stop(step, deadline).await?
                }
                Proof::NotYet | Proof::None => {
                    self.nodes.doubt();
                    return Err(match step.slot() {
                        Some(slot) => Trouble::Owner(slot, next.node, Box::new(trouble)),
                        None => trouble,
                    });
                }
            };
            stops += 1;
        }
    }

    async fn first_stop(&self, step: &Step, deadline: Instant) -> Result<Stop, Trouble> {
        let node = match step.slot() {
            Some(slot) => self.nodes.owner(slot, deadline).await?,
            None => self.nodes.any(deadline).await?,
        };
        Ok(Stop { node, claim: Claim::Owner })
    }
}

/// What became of an operation that failed.
fn prove(asked: &Address, trouble: &Trouble) -> Proof {
    use ErrorKind::Server;
    use ServerErrorKind::{Ask, BusyLoading, ClusterDown, MasterDown, Moved, ReadOnly, TryAgain};
    let Trouble::Failed(error) = trouble else { return Proof::None };
    match error.kind() {
        Server(Moved) => {
            elsewhere(asked, error).map_or(Proof::None, |(slot, node)| Proof::Moved(slot, node))
        }
        Server(Ask) => elsewhere(asked, error).map_or(Proof::None, |(_, node)| Proof::Ask(node)),
        Server(TryAgain | ClusterDown | BusyLoading | MasterDown | ReadOnly) => Proof::NotYet,
        _ if error.code() == Some("NOREPLICAS") => Proof::NotYet,
        _ => Proof::None,
    }
}

fn elsewhere(asked: &Address, error: &RedisError) -> Option<(Slot, Address)> {
    let (node, slot) = error.redirect_node()?;
    Some((Slot::numbered(slot)?, redirected(asked, node)?))
}
