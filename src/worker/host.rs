//! What every environment needs of its worker.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::oneshot;

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
    running: AtomicU32,
}

/// A record could not be written.
#[derive(Debug, thiserror::Error)]
#[error("the record could not be written")]
pub(super) struct Unsaved(#[from] io::Error);

/// Counts one running execution until dropped.
#[derive(Debug)]
pub(super) struct Running<'a>(&'a AtomicU32);

impl Host {
    pub(super) fn new(
        (disk, scheduler): (Arc<Disk>, Arc<dyn DiskScheduler>),
        sandboxes: Sandboxes,
        packages: Packages,
        clock: Clock,
    ) -> Self {
        Self { disk, scheduler, sandboxes, packages, clock, running: AtomicU32::new(0) }
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
        self.running.load(Ordering::Relaxed)
    }

    /// One more execution runs.
    pub(super) fn count_running(&self) -> Running<'_> {
        self.running.fetch_add(1, Ordering::Relaxed);
        Running(&self.running)
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

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
