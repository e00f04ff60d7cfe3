//! What a worker stands on: the network, the runtime of its sandboxes, and when work on its disk is done.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use super::sandbox::Runtime;
use crate::net::Net;

/// What a worker stands on: the machine, or a simulation.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Where it listens and reports.
    pub net: Net,
    /// Makes its sandboxes; nothing where the configuration names the runtime, to be probed first.
    pub runtime: Option<Arc<dyn Runtime>>,
    /// Does the work on its disk.
    pub disk: Arc<dyn DiskScheduler>,
}

/// Decides when work on the disk is done. It is done in the end even if nobody waits for it any more.
#[async_trait]
pub trait DiskScheduler: Send + Sync + Debug {
    /// Does a piece of work, which blocks, and returns when it is done.
    async fn run(&self, work: Box<dyn FnOnce() + Send>);
}

impl Surroundings {
    /// The machine's network and disk, and the runtime that the configuration names.
    pub fn system() -> Self {
        Self { net: Net::system(), runtime: None, disk: Arc::new(Threads) }
    }
}

/// Does the work on threads that may block.
#[derive(Debug)]
struct Threads;

#[async_trait]
impl DiskScheduler for Threads {
    async fn run(&self, work: Box<dyn FnOnce() + Send>) {
        if let Err(error) = tokio::task::spawn_blocking(work).await {
            tracing::error!(%error, "work on the disk broke off");
        }
    }
}
