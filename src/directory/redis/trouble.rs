//! What the link saw of Redis.

use std::future::Future;
use std::time::Duration;

use redis::{RedisError, RedisResult};
use tokio::time::timeout;

use super::slot::Slot;
use super::url::Address;
use crate::directory::DirectoryError;

/// What the link saw.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("Redis did not answer in time")]
    Late,
    #[error("Redis cannot be used")]
    Failed(#[source] RedisError),
    #[error("Redis closed the connection")]
    Closed,
    #[error("Redis has been away for a while and is not asked")]
    Open(#[source] Box<Trouble>),
    #[error("none of the Sentinels answers")]
    NoSentinel(#[source] Box<Trouble>),
    #[error("no Sentinel that answers knows a master named {0}")]
    NoSuchMaster(Box<str>),
    #[error("the master that Sentinel names, {0}, cannot be used")]
    Master(Address, #[source] Box<Trouble>),
    #[error(
        "it is not the server that takes writes: a failover is under way, or who names it is wrong or behind"
    )]
    NotMaster,
    #[error("connections to Redis break soon after they are made")]
    Unsteady,
    #[error("none of the cluster's nodes answers")]
    NoNode(#[source] Box<Trouble>),
    #[error("no node of the cluster serves any slot")]
    NoMaster,
    #[error("no node of the cluster serves slot {0}")]
    NoOwner(Slot),
    #[error("{1}, which serves slot {0} of the cluster, cannot be used")]
    Owner(Slot, Address, #[source] Box<Trouble>),
    #[error("the cluster names more than {MAX_NODES} nodes")]
    TooManyNodes,
    #[error("{0}")]
    Unreadable(String),
}

/// The most nodes of a cluster that are linked to.
pub(super) const MAX_NODES: usize = 1000;

impl From<Trouble> for DirectoryError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Unreadable(what) => Self::Unreadable { what },
            trouble => Self::Away { source: Some(Box::new(trouble)) },
        }
    }
}

/// Gives a step as long as `limit`.
pub(super) async fn in_time<T>(
    limit: Duration,
    step: impl Future<Output = RedisResult<T>>,
) -> Result<T, Trouble> {
    timeout(limit, step).await.map_err(|_| Trouble::Late)?.map_err(Trouble::Failed)
}
