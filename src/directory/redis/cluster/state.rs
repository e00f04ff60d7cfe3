//! How a cluster is, for the doctor.

use super::super::slot::SLOTS;
use super::super::trouble::Trouble;
use super::super::url::Address;
use super::nodes::Nodes;
use super::slot_map::SlotMap;

/// How a cluster is, as the node sees it that knows best.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterState {
    /// Whether it finds itself among most masters, and all slots served that must be.
    pub is_ok: bool,
    /// How many slots no master serves.
    pub unserved: usize,
    /// Those that serve slots.
    pub masters: Vec<ClusterMaster>,
}

/// One master of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterMaster {
    /// Its host and port.
    pub address: String,
    /// How many replicas it has that are not known to have failed.
    pub replicas: usize,
    node: Address,
}

/// How many slots every cluster has.
pub const CLUSTER_SLOTS: u16 = SLOTS;

impl ClusterState {
    /// The masters, as they are connected to.
    pub(in crate::directory::redis) fn nodes(&self) -> impl Iterator<Item = Address> + '_ {
        self.masters.iter().map(|it| it.node.clone())
    }
}

impl Nodes {
    /// How the cluster is now.
    pub(in crate::directory::redis) async fn state(&self) -> Result<ClusterState, Trouble> {
        let view = self.look().await?;
        let map = SlotMap::of(&view);
        let replicas = |node: &Address| {
            view.ranges.iter().find(|it| it.master == *node).map_or(0, |it| it.replicas)
        };
        let master = |node: &Address| ClusterMaster {
            address: node.to_string(),
            replicas: replicas(node),
            node: node.clone(),
        };
        let masters = map.masters().iter().map(master).collect();
        Ok(ClusterState { is_ok: view.is_ok, unserved: map.unserved(), masters })
    }
}
