//! Where sandboxes come from: the warm pool, or made anew.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::disk::Disk;
use super::sandbox::{CREATE_DEADLINE, Condition, Limits, Runtime, Sandbox, SandboxError, Spec};
use crate::domain::ids::EnvironmentId;

/// How many sandboxes may be starting at once; more would only make each slower.
const STARTING: usize = 8;
/// After a sandbox was taken, the pool rests: its taker runs a first call now, and starting another sandbox beside
/// it would cost that call more than its own work.
const BREATH: Duration = Duration::from_millis(20);
/// After a start that failed, the pool waits this long, and twice as long after each further one.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest such wait.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long a sandbox may take to end; what is left of it then dies with the worker.
const DESTROY: Duration = Duration::from_secs(10);

/// Makes sandboxes and keeps some ready.
#[derive(Debug)]
pub(super) struct Sandboxes {
    runtime: Arc<dyn Runtime>,
    disk: Arc<Disk>,
    limits: Limits,
    /// How many to keep ready.
    warm: usize,
    spares: Mutex<VecDeque<Spare>>,
    taken: Notify,
    starting: Semaphore,
}

/// A sandbox that waits for an environment, and its workspace.
#[derive(Debug)]
struct Spare {
    sandbox: Box<dyn Sandbox>,
    workspace: PathBuf,
}

/// Why an environment gets no sandbox.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoSandbox {
    #[error("its workspace cannot be made")]
    Workspace(#[from] io::Error),
    #[error("it does not start")]
    Start(#[from] SandboxError),
    #[error("it did not start within {CREATE_DEADLINE:?}")]
    Slow,
}

impl Sandboxes {
    /// Keeps `warm` sandboxes ready where the runtime lets a workspace move.
    pub(super) fn new(
        runtime: Arc<dyn Runtime>,
        disk: Arc<Disk>,
        limits: Limits,
        warm: usize,
    ) -> Self {
        let warm = if runtime.capabilities().workspace_may_move { warm } else { 0 };
        let (spares, taken) = (Mutex::default(), Notify::new());
        Self { runtime, disk, limits, warm, spares, taken, starting: Semaphore::new(STARTING) }
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What to tell a caller whose code ran into a wall of the runtime.
    pub(super) fn advice(&self) -> Option<&'static str> {
        self.runtime.capabilities().advice
    }

    /// A sandbox over the environment's files; a spare one where it has no files yet.
    pub(super) async fn claim(
        &self,
        environment: EnvironmentId,
    ) -> Result<Box<dyn Sandbox>, NoSandbox> {
        let workspace = self.disk.workspace(environment);
        if !workspace.exists() {
            while let Some(spare) = self.take() {
                let usable = spare.sandbox.condition() == Condition::Ready;
                if usable && self.disk.adopt(&spare.workspace, environment).is_ok() {
                    return Ok(spare.sandbox);
                }
                self.discard(spare).await;
            }
            self.disk.make_workspace(environment)?;
        }
        self.create(workspace).await
    }

    /// Refills the pool until `stop`, then empties it.
    pub(super) async fn keep_warm(&self, stop: CancellationToken) {
        // Not stopped in the middle: a sandbox that is being made has an end too.
        let mut pause = Duration::ZERO;
        while !stop.is_cancelled() {
            pause = self.refill(&stop, pause).await;
            let rest = async {
                if pause.is_zero() {
                    self.taken.notified().await;
                }
                sleep(pause.max(BREATH)).await;
            };
            stop.run_until_cancelled(rest).await;
        }
        while let Some(spare) = self.take() {
            self.discard(spare).await;
        }
    }

    /// Fills the pool; if that fails, returns how long to wait before the next try: longer than the last time.
    async fn refill(&self, stop: &CancellationToken, last_pause: Duration) -> Duration {
        while self.spares().len() < self.warm && !stop.is_cancelled() {
            match self.make_spare().await {
                Ok(spare) => self.spares().push_back(spare),
                Err(error) => {
                    let pause = (last_pause * 2).clamp(PAUSE, LONGEST_PAUSE);
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::warn!(%error, cause, "no sandbox for the warm pool");
                    return pause;
                }
            }
        }
        Duration::ZERO
    }

    async fn make_spare(&self) -> Result<Spare, NoSandbox> {
        let workspace = self.disk.make_spare_workspace()?;
        match self.create(workspace.clone()).await {
            Ok(sandbox) => Ok(Spare { sandbox, workspace }),
            Err(error) => {
                self.remove(workspace).await;
                Err(error)
            }
        }
    }

    async fn create(&self, workspace: PathBuf) -> Result<Box<dyn Sandbox>, NoSandbox> {
        let spec = Spec { workspace, limits: self.limits.clone() };
        let start = async {
            let _turn = self.starting.acquire().await;
            self.runtime.create(&spec).await
        };
        // Twice, because others may be starting first.
        Ok(timeout(2 * CREATE_DEADLINE, start).await.map_err(|_| NoSandbox::Slow)??)
    }

    async fn discard(&self, spare: Spare) {
        destroy(spare.sandbox).await;
        self.remove(spare.workspace).await;
    }

    async fn remove(&self, workspace: PathBuf) {
        let disk = Arc::clone(&self.disk);
        let removed = tokio::task::spawn_blocking(move || disk.remove_tree(&workspace)).await;
        if !matches!(removed, Ok(Ok(()))) {
            tracing::warn!("a spare workspace stays until the next start");
        }
    }

    fn take(&self) -> Option<Spare> {
        let spare = self.spares().pop_front();
        self.taken.notify_one();
        spare
    }

    fn spares(&self) -> MutexGuard<'_, VecDeque<Spare>> {
        self.spares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a sandbox and waits until it is gone, within [`DESTROY`].
pub(super) async fn destroy(sandbox: Box<dyn Sandbox>) {
    if timeout(DESTROY, sandbox.destroy()).await.is_err() {
        tracing::error!("a sandbox does not end");
    }
}
