//! The warm pool.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use baton::worker::sandbox::pool::Pool;
use baton::worker::sandbox::{Capabilities, Runtime, Sandbox, SandboxError, Spec};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::world::{Inside, World, eventually, limits};

fn pool(world: &World, runtime: Arc<dyn Runtime>, size: usize) -> Arc<Pool> {
    Arc::new(Pool::new(runtime, limits(), size, world.root.directory("pool")))
}

fn fill(pool: &Arc<Pool>, stop: &CancellationToken) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let (pool, stop) = (Arc::clone(pool), stop.clone());
    tasks.spawn(async move { pool.keep_filled(stop).await });
    tasks
}

#[tokio::test]
async fn a_claim_takes_a_finished_sandbox_and_the_pool_makes_another() {
    let world = World::new().await;
    let pool = pool(&world, Arc::clone(&world.runtime), 2);
    assert!(pool.claim().is_none(), "an empty pool does not wait");
    let stop = CancellationToken::new();
    let mut tasks = fill(&pool, &stop);
    eventually("it is full", || pool.ready_count() == 2).await;
    let claimed = pool.claim().unwrap();
    let workspace = world.root.path.join("environment");
    fs::rename(&claimed.workspace, &workspace).unwrap();
    let mut inside = Inside { sandbox: claimed.sandbox, workspace };
    inside.shell("echo mine > file").await.ok();
    assert_eq!(fs::read_to_string(inside.workspace.join("file")).unwrap(), "mine\n");
    eventually("it is full again", || pool.ready_count() == 2).await;
    stop.cancel();
    tasks.join_next().await.unwrap().unwrap();
    assert_eq!(
        (pool.ready_count(), fs::read_dir(world.root.path.join("pool")).unwrap().count()),
        (0, 0)
    );
    inside.is_well().await;
}

/// Fails a number of times, then makes what it is asked for.
#[derive(Debug)]
struct Moody {
    real: Arc<dyn Runtime>,
    failures: AtomicI32,
}

#[async_trait]
impl Runtime for Moody {
    fn capabilities(&self) -> &Capabilities {
        self.real.capabilities()
    }

    async fn create(&self, spec: &Spec) -> Result<Box<dyn Sandbox>, SandboxError> {
        if self.failures.fetch_sub(1, Ordering::Relaxed) > 0 {
            return Err(SandboxError::NotReady { reason: "moody".to_owned() });
        }
        self.real.create(spec).await
    }
}

#[tokio::test]
async fn failures_are_rested_from_and_overcome() {
    let world = World::new().await;
    let moody = Moody { real: Arc::clone(&world.runtime), failures: AtomicI32::new(1) };
    let pool = pool(&world, Arc::new(moody), 1);
    let stop = CancellationToken::new();
    let mut tasks = fill(&pool, &stop);
    let begun = std::time::Instant::now();
    eventually("it is full", || pool.ready_count() == 1).await;
    assert!(begun.elapsed() >= Duration::from_millis(500), "it rested");
    assert_eq!(
        fs::read_dir(world.root.path.join("pool")).unwrap().count(),
        1,
        "one workspace, not two"
    );
    stop.cancel();
    tasks.join_next().await.unwrap().unwrap();
}
