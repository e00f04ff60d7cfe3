//! What every environment needs of its worker.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit, oneshot};
use tokio::time::timeout;

use super::disk::Disk;
use super::packages::Packages;
use super::record::Record;
use super::sandboxes::Sandboxes;
use super::surroundings::DiskScheduler;
use crate::clock::Clock;
use crate::domain::ids::{EnvironmentId, Timestamp};

/// The disk, the sandboxes and the time.
#[derive(Debug)]
pub(super) struct Host {
    disk: Arc<Disk>,
    scheduler: Arc<dyn DiskScheduler>,
    sandboxes: Sandboxes,
    packages: Packages,
    clock: Clock,
    max_executions: usize,
    places: Semaphore,
}

/// A record could not be written.
#[derive(Debug, thiserror::Error)]
#[error("the record could not be written")]
pub(super) struct Unsaved(#[from] io::Error);

/// How long an execution whose turn it is waits for others to end, where as many run as may: gateways have queues, and
/// refuse sooner.
const PATIENCE: Duration = Duration::from_millis(250);

/// One running execution, until dropped.
#[derive(Debug)]
pub(super) struct Running<'a>(#[expect(dead_code, reason = "held")] SemaphorePermit<'a>);

impl Host {
    pub(super) fn new(
        (disk, scheduler): (Arc<Disk>, Arc<dyn DiskScheduler>),
        sandboxes: Sandboxes,
        packages: Packages,
        clock: Clock,
        max_executions: usize,
    ) -> Self {
        let places = Semaphore::new(max_executions);
        Self { disk, scheduler, sandboxes, packages, clock, max_executions, places }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn sandboxes(&self) -> &Sandboxes {
        &self.sandboxes
    }

    pub(super) fn packages(&self) -> &Packages {
        &self.packages
    }

    /// How many executions run.
    pub(super) fn running(&self) -> u32 {
        let running = self.max_executions.saturating_sub(self.places.available_permits());
        u32::try_from(running).unwrap_or(u32::MAX)
    }

    /// One more execution runs, in the order in which they ask; nothing if as many run as may and none ends soon.
    pub(super) async fn start_running(&self) -> Option<Running<'_>> {
        timeout(PATIENCE, self.places.acquire()).await.ok()?.ok().map(Running)
    }

    /// Writes a record; it is on disk when this returns.
    pub(super) async fn save(&self, record: Record) -> Result<(), Unsaved> {
        Ok(self.on_disk(move |disk| disk.save(&record)).await?)
    }

    /// Removes an environment's files and tasks; its record stays.
    pub(super) async fn remove_contents(&self, environment: EnvironmentId) -> io::Result<()> {
        self.on_disk(move |disk| disk.remove_contents(environment)).await
    }

    /// Removes every trace of an environment.
    pub(super) async fn remove(&self, environment: EnvironmentId) -> io::Result<()> {
        self.on_disk(move |disk| disk.remove(environment)).await
    }

    /// The disk, for a start that has nothing else to do yet.
    pub(super) fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Works on the disk without holding up others.
    pub(super) async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Disk) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let disk = Arc::clone(&self.disk);
        let (done, result) = oneshot::channel();
        let work = move || {
            // Whoever asked may have left.
            done.send(work(&disk)).ok();
        };
        self.scheduler.run(Box::new(work)).await;
        result.await.map_err(io::Error::other)?
    }
}
