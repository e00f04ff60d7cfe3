//! One process with everything in it: the real gateway, the real worker and the embedded directory, over loopback.
//!
//! Nothing is short-circuited: the worker reports to the gateway and the gateway calls it by the rpc.

use std::future::Future;
use std::time::Duration;

use crate::gateway::Gateway;
use crate::serve::{Drain, DrainTimings};
use crate::worker::{self, Addresses, WorkerStop};

/// The worker has nothing left to do when the gateway is through.
const WORKER_DRAIN: DrainTimings =
    DrainTimings { not_ready: Duration::ZERO, in_flight: Duration::from_secs(2) };

/// Serves until the drain is over: first the gateway's calls end, then the worker. Calls `listening` when the worker
/// accepts calls; the gateway has its addresses before.
pub async fn run(
    gateway: Gateway,
    worker: worker::Config,
    drain: Drain,
    listening: impl FnOnce(&Addresses),
) -> Result<(), WorkerStop> {
    let worker_drain = Drain::new(WORKER_DRAIN);
    let working = worker::run(worker, worker_drain.clone(), listening);
    until_both(gateway.serve(drain), working, &worker_drain).await
}

/// Ends with the worker if that fails; when the gateway has drained, the worker is drained too.
async fn until_both(
    serving: impl Future<Output = usize>,
    working: impl Future<Output = Result<(), WorkerStop>>,
    worker_drain: &Drain,
) -> Result<(), WorkerStop> {
    let mut working = std::pin::pin!(working);
    tokio::select! {
        stopped = &mut working => return stopped,
        _cut = serving => worker_drain.begin(),
    }
    working.await
}
