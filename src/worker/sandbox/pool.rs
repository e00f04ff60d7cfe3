//! A pool of finished sandboxes, so that a first call need not wait for one to be made.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{Limits, Runtime, Sandbox, SandboxError, Spec};

/// How long refilling rests after its first failure in a row, and at most.
const FIRST_REST: Duration = Duration::from_millis(500);
const LONGEST_REST: Duration = Duration::from_secs(30);

/// A sandbox nobody has used, and the workspace it stands on, which is now the claimer's to move.
#[derive(Debug)]
pub struct Claimed {
    /// Ready for its first job.
    pub sandbox: Box<dyn Sandbox>,
    /// Its empty workspace.
    pub workspace: PathBuf,
}

/// Keeps a number of finished sandboxes of one kind.
///
/// [`Pool::claim`] never waits; [`Pool::keep_filled`] makes them, in a task that the owner has and ends.
#[derive(Debug)]
pub struct Pool {
    runtime: Arc<dyn Runtime>,
    limits: Limits,
    size: usize,
    directory: PathBuf,
    ready: Mutex<VecDeque<Claimed>>,
    claimed: Notify,
}

impl Pool {
    /// An empty pool, whose workspaces will be in `directory`, an existing one of its own.
    ///
    /// It stays empty where a workspace cannot move under a living sandbox.
    pub fn new(runtime: Arc<dyn Runtime>, limits: Limits, size: usize, directory: PathBuf) -> Self {
        let size = if runtime.capabilities().workspace_may_move { size } else { 0 };
        let (ready, claimed) = (Mutex::default(), Notify::new());
        Self { runtime, limits, size, directory, ready, claimed }
    }

    /// Takes a finished sandbox if there is one; the pool will make another in its place.
    pub fn claim(&self) -> Option<Claimed> {
        let claimed = self.ready().pop_front();
        self.claimed.notify_one();
        claimed
    }

    /// How many are ready now.
    pub fn ready_count(&self) -> usize {
        self.ready().len()
    }

    /// Makes sandboxes one at a time whenever some are missing, until `stop`; then ends them all.
    ///
    /// After a failure it rests, longer each time. Call it once, from a task that somebody waits for.
    pub async fn keep_filled(&self, stop: CancellationToken) {
        let mut rest = FIRST_REST;
        // Dropping an unfinished sandbox ends it.
        while let Some(made) = stop.run_until_cancelled(self.next()).await {
            match made {
                Ok(made) => {
                    rest = FIRST_REST;
                    self.ready().push_back(made);
                }
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "no sandbox for the pool"
                    );
                    stop.run_until_cancelled(tokio::time::sleep(rest)).await;
                    rest = (rest * 2).min(LONGEST_REST);
                }
            }
        }
        let left = std::mem::take(&mut *self.ready());
        for Claimed { sandbox, workspace } in left {
            sandbox.destroy().await;
            drop(Unused { path: workspace });
        }
    }

    /// Waits until one is missing, and makes it.
    async fn next(&self) -> Result<Claimed, SandboxError> {
        while self.ready_count() >= self.size {
            self.claimed.notified().await;
        }
        let workspace = Unused::make(&self.directory)
            .map_err(|source| SandboxError::Workspace { path: self.directory.clone(), source })?;
        let spec = Spec { workspace: workspace.path.clone(), limits: self.limits.clone() };
        let sandbox = self.runtime.create(&spec).await?;
        Ok(Claimed { sandbox, workspace: workspace.keep() })
    }

    fn ready(&self) -> MutexGuard<'_, VecDeque<Claimed>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A workspace of which nothing may come; then it goes again.
struct Unused {
    path: PathBuf,
}

impl Unused {
    fn make(directory: &Path) -> std::io::Result<Self> {
        let random = getrandom::u64().map_err(std::io::Error::other)?;
        let path = directory.join(format!("{random:016x}"));
        std::fs::create_dir(&path)?;
        Ok(Self { path })
    }

    fn keep(mut self) -> PathBuf {
        std::mem::take(&mut self.path)
    }
}

impl Drop for Unused {
    fn drop(&mut self) {
        if self.path.as_os_str().is_empty() {
            return;
        }
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "an unused workspace stays behind");
        }
    }
}
