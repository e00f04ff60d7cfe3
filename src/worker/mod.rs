//! The worker: runs environments and is the only authority over them.
//!
//! In reading order: [`run`]; `surroundings` is what it stands on; `server` lets calls in and `stream` answers executions; `supervisor` holds every
//! `environment`, each of which runs one `execution` at a time in what `sandboxes` gives it from [`sandbox`];
//! `record`, `journal` and `disk` are what a restart finds, `tasks` and `keyed` those that outlive their connection; `heartbeat` tells
//! the gateways.

mod attachment;
mod cancelled;
mod disk;
mod environment;
mod execution;
mod expired;
mod files;
#[cfg(fuzzing)]
pub mod fuzzing;
mod heartbeat;
mod host;
mod internal;
mod journal;
mod keyed;
mod lists;
mod output;
mod packages;
mod record;
mod request;
pub mod sandbox;
mod sandboxes;
mod server;
mod stream;
mod supervisor;
mod surroundings;
mod tasks;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod tombstones;
mod walls;

use std::convert::Infallible;
use std::future::ready;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Body;
use tokio::time::sleep;
use tower::service_fn;

use self::disk::Disk;
pub use self::disk::DiskError;
use self::heartbeat::{Fenced, Heart};
use self::host::Host;
use self::internal::Internal;
use self::packages::Packages;
use self::sandbox::{Limits, ProbeError, Settings};
use self::sandboxes::Sandboxes;
use self::server::Server;
use self::supervisor::Supervisor;
pub use self::surroundings::{DiskScheduler, Surroundings};
use crate::clock::Clock;
use crate::domain::ids::Incarnation;
use crate::domain::keyring::WorkerKey;
use crate::net::Net;
use crate::rpc::frames::MAX_PAYLOAD;
use crate::rpc::report::{MAX_CLAIMS, Reporter};
use crate::serve::{ConnectionLimits, Drain, DrainTimings, Listener, RequestBody, serve};
use crate::telemetry::{Metrics, Tracer};

/// How long executions that were stopped at the drain's deadline have to say how they ended.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// The rpc's own drain ends by our hand, after [`LAST_WORDS`], and never by its deadline.
const BY_HAND: DrainTimings =
    DrainTimings { not_ready: Duration::ZERO, in_flight: Duration::from_hours(24) };
/// The internal listener closes last, at once.
const AT_ONCE: DrainTimings =
    DrainTimings { not_ready: Duration::ZERO, in_flight: Duration::from_millis(100) };

/// What one worker is.
#[derive(Clone, Debug)]
pub struct Config {
    /// The rpc's address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The address of `/livez`, `/readyz` and `/metrics`.
    pub internal_listen: SocketAddr,
    /// How gateways reach the rpc; needed where `listen` is a wildcard.
    pub advertise: Option<String>,
    /// Internal addresses of gateways; those name the others.
    pub gateways: Vec<String>,
    /// The key shared with the gateways; also names the worker.
    pub key: WorkerKey,
    /// Where environments live.
    pub data_dir: PathBuf,
    /// How many environments it may hold.
    pub capacity: u32,
    /// How many executions run at once.
    pub max_executions: usize,
    /// How sandboxes are isolated: `auto`, or a runtime by name.
    pub runtime: String,
    /// The program that becomes a sandbox's launcher; `/proc/self/exe` unless a test says otherwise.
    pub launcher: PathBuf,
    /// The interpreter inside.
    pub python: Option<PathBuf>,
    /// A site-packages directory, read-only inside.
    pub python_packages: Option<PathBuf>,
    /// How many sandboxes wait, started, for an environment.
    pub warm_pool: usize,
    /// What one sandbox may use.
    pub limits: Limits,
    /// Tells the time.
    pub clock: Clock,
    /// Starts the spans of the calls it serves.
    pub tracer: Tracer,
}

/// Where a worker listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The rpc, as gateways are told.
    pub rpc: String,
    /// `/livez`, `/readyz`, `/metrics`.
    pub internal: String,
    /// The start of the worker that listens there.
    pub incarnation: Incarnation,
}

/// Why a worker does not run, or not any more.
#[derive(Debug, thiserror::Error)]
pub enum WorkerStop {
    /// Nobody can call a wildcard address.
    #[error("{0} is a wildcard: say with --advertise how gateways reach this worker")]
    NoAddress(SocketAddr),
    /// The list of so many environments would not fit into a report.
    #[error("a worker holds at most {MAX_CLAIMS} environments")]
    TooManyEnvironments,
    /// A result of these sizes would not fit into an answer.
    #[error("the limits on output allow results of more than {MAX_PAYLOAD} bytes")]
    OutputTooLarge,
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The directory cannot be used.
    #[error("the worker's directory cannot be used")]
    Disk(#[from] DiskError),
    /// No sandbox can be made here.
    #[error("no sandbox can be made here")]
    Runtime(#[from] ProbeError),
    /// A newer start of the same worker was heard: two would run the same environments.
    #[error(
        "a newer start of this worker reports to the gateways: is its key, or its directory, in use twice?"
    )]
    Fenced,
}

/// Runs a worker until it has drained. Calls `listening` when it accepts connections.
pub async fn run(
    config: Config,
    drain: Drain,
    listening: impl FnOnce(&Addresses),
) -> Result<(), WorkerStop> {
    run_in(Surroundings::system(), config, drain, listening).await
}

/// Runs a worker in these surroundings.
pub async fn run_in(
    surroundings: Surroundings,
    config: Config,
    drain: Drain,
    listening: impl FnOnce(&Addresses),
) -> Result<(), WorkerStop> {
    check(&config)?;
    let net = surroundings.net.clone();
    let rpc = bind(&net, config.listen)?;
    let internal = bind(&net, config.internal_listen)?;
    let disk = Disk::open(&config.data_dir)?;
    let disk = if sandbox::comes_by_path(&config.runtime) { disk.let_pass()? } else { disk };
    let incarnation = disk.next_incarnation(config.clock.now())?;
    let supervisor = supervisor(&config, disk, surroundings).await?;
    let _stop_when_dropped = supervisor.start();

    let addresses = Addresses {
        rpc: config.advertise.clone().unwrap_or_else(|| url(&rpc)),
        internal: url(&internal),
        incarnation,
    };
    let metrics = Metrics::new(config.key.worker().as_str(), &[]);
    let server = Arc::new(Server::new(
        (config.key.clone(), incarnation),
        Arc::clone(&supervisor),
        config.clock.clone(),
        drain.clone(),
        (config.tracer.clone(), &metrics),
    ));
    let status =
        Arc::new(Internal::new(metrics, drain.clone(), Arc::clone(&supervisor), rpc.counts()));
    let heart = Heart {
        reporter: Reporter::new(&net, config.clock, config.key, incarnation),
        supervisor: Arc::clone(&supervisor),
        url: addresses.rpc.clone(),
        drain: drain.clone(),
    };
    listening(&addresses);

    let last = Drain::new(AT_ONCE);
    let status =
        serve_with(internal, last.clone(), move |request| ready(Ok(status.answer(&request))));
    let work = async {
        let outcome = tokio::select! {
            () = serve_calls(rpc, server, &supervisor, &drain) => Ok(()),
            Fenced = heart.beat(&config.gateways) => Err(WorkerStop::Fenced),
        };
        supervisor.stop().await;
        last.begin();
        outcome
    };
    tokio::join!(work, status).0
}

/// Accepts calls until the drain closes, then finishes them until its deadline, then stops them.
async fn serve_calls(
    listener: Listener,
    server: Arc<Server>,
    supervisor: &Supervisor,
    drain: &Drain,
) {
    let own = Drain::new(BY_HAND);
    let calls = async {
        serve_with(listener, own.clone(), move |request| Arc::clone(&server).answer(request)).await;
        supervisor.settled().await;
    };
    let end = async {
        drain.closing().await;
        own.begin();
        drain.deadline().await;
        supervisor.stop_executions();
        sleep(LAST_WORDS).await;
    };
    tokio::select! {
        () = calls => {}
        () = end => {}
    }
}

async fn serve_with<F, B>(
    listener: Listener,
    drain: Drain,
    answer: impl Fn(Request<RequestBody>) -> F + Clone + Send + Sync + 'static,
) where
    F: Future<Output = Result<Response<B>, Infallible>> + Send + 'static,
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
    B: Send + Unpin + 'static,
{
    // The few gateways behind one address may have a call open for each environment.
    let connections = ConnectionLimits::default().connections;
    let limits =
        ConnectionLimits { connections_per_address: connections, ..ConnectionLimits::default() };
    serve(listener, service_fn(answer), limits, drain).await;
}

fn check(config: &Config) -> Result<(), WorkerStop> {
    if config.listen.ip().is_unspecified() && config.advertise.is_none() {
        return Err(WorkerStop::NoAddress(config.listen));
    }
    if config.capacity > MAX_CLAIMS {
        return Err(WorkerStop::TooManyEnvironments);
    }
    // In JSON a byte of text takes up to six, an image's four thirds; a frame has room for the rest of it.
    let Limits { output_bytes, display_bytes, .. } = config.limits;
    let text = output_bytes.saturating_mul(3 * 6);
    let images = display_bytes.saturating_add(display_bytes / 2);
    if text.saturating_add(images) > MAX_PAYLOAD - (1 << 20) {
        return Err(WorkerStop::OutputTooLarge);
    }
    Ok(())
}

fn bind(net: &Net, address: SocketAddr) -> Result<Listener, WorkerStop> {
    Listener::bind_on(net, address).map_err(|source| WorkerStop::Listen { address, source })
}

fn url(listener: &Listener) -> String {
    format!("http://{}", listener.local_addr())
}

fn settings(config: &Config, disk: &Disk) -> Settings {
    Settings {
        launcher: config.launcher.clone(),
        python: config.python.clone(),
        python_packages: config.python_packages.clone(),
        scratch: disk.scratch(),
    }
}

async fn supervisor(
    config: &Config,
    disk: Disk,
    surroundings: Surroundings,
) -> Result<Arc<Supervisor>, WorkerStop> {
    let runtime = match surroundings.runtime {
        Some(runtime) => runtime,
        None => sandbox::probe(&config.runtime, &settings(config, &disk)).await?,
    };
    let records = disk.recover()?;
    let can = runtime.capabilities();
    tracing::info!(
        environments = records.len(),
        runtime = can.runtime,
        isolation = can.isolation,
        python = can.python_version,
        "worker starts"
    );
    for note in &can.notes {
        tracing::warn!(runtime = can.runtime, "{note}");
    }
    let disk = Arc::new(disk);
    let sandboxes =
        Sandboxes::new(runtime, Arc::clone(&disk), config.limits.clone(), config.warm_pool);
    let packages = Packages::in_dir(config.python_packages.as_deref());
    let (clock, most) = (config.clock.clone(), config.max_executions);
    let disk = (disk, surroundings.disk);
    let host = Arc::new(Host::new(disk, sandboxes, packages, clock, most));
    Ok(Arc::new(Supervisor::recover(host, config.capacity, records)))
}
