//! The roles, connected: settings become a role's own configuration, and it serves until it has drained.

mod configure;
mod reload;
mod stamps;

use std::fmt::Display;
use std::fs::DirBuilder;
use std::future::Future;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use super::banner::banner;
use super::console::{Console as _, Terminal};
use super::key::made_once;
use super::settings::{
    self, DevSettings, GatewaySettings, Loaded, Problems, Source, Surroundings, System,
    TelemetrySettings, WorkerSettings,
};
use crate::clock::Clock;
use crate::dev;
use crate::directory::{DirectoryConfig, open};
use crate::domain::ids::WorkerId;
use crate::domain::keyring::{Keyring, SecretKey, WorkerKey};
use crate::gateway::{Gateway, UpstreamSet};
use crate::serve::{Drain, drain_on_signal};
use crate::telemetry::logs;
use crate::worker::sandbox::comes_by_path;
use crate::worker::{self, Addresses};
use configure::Parts;
use reload::Reload;

/// How long the last spans have to leave.
const LAST_SPANS: Duration = Duration::from_secs(2);
/// Load balancers, and gateways that choose a worker, stop sending within this time; `dev` has neither.
const NOT_READY: Duration = Duration::from_secs(5);
/// The worker within `dev`.
const DEV_WORKER: &str = "dev";

/// Why a role did not start, or stopped.
type Stopped = Box<dyn std::error::Error + Send + Sync>;

/// `baton gateway`.
pub(super) fn gateway(loaded: Loaded<GatewaySettings>) -> ExitCode {
    let Loaded { settings, source, .. } = loaded;
    let drain = configure::drain(&settings.process, NOT_READY);
    serve("gateway", &settings.telemetry.clone(), &drain.clone(), async move {
        let GatewaySettings { process, edge, telemetry, .. } = &settings;
        make_private(&process.data_dir)?;
        let telemetry = configure::telemetry("baton-gateway", edge.replica_id.as_str(), telemetry)?;
        let upstreams = edge.upstreams.clone();
        let (reload, upstreams) =
            Reload::new(source, upstreams, gateway_upstreams, System::read())?;
        let clock = Clock::system();
        let directory = DirectoryConfig::Redis(settings.redis.clone());
        let parts = Parts {
            directory: open(&directory, clock.clone()).await,
            keys: Keyring::new(edge.audience.as_str(), &settings.signing_keys)?,
            worker_roots: settings.worker_roots.clone(),
            advertise: settings.advertise.clone(),
            clock,
            upstreams,
        };
        let config = configure::gateway(edge, process, &settings.telemetry, parts, &telemetry)?;
        let gateway = Gateway::bind(config)?;
        listening_gateway(&gateway);
        let cut = tokio::select! {
            cut = gateway.serve(drain) => cut,
            never = reload.run() => match never {},
        };
        if cut > 0 {
            tracing::warn!(cut, "connections were cut at the end of the drain");
        }
        telemetry.shutdown(LAST_SPANS).await;
        Ok(())
    })
}

/// `baton worker`.
pub(super) fn worker(settings: WorkerSettings) -> ExitCode {
    let drain = configure::drain(&settings.process, NOT_READY);
    serve("worker", &settings.telemetry.clone(), &drain.clone(), async move {
        let WorkerSettings { process, key, sandbox, .. } = settings;
        let telemetry =
            configure::telemetry("baton-worker", key.worker().as_str(), &settings.telemetry)?;
        let config = worker::Config {
            listen: process.listen,
            internal_listen: process.internal_listen,
            advertise: settings.advertise,
            gateways: settings.gateways,
            ..configure::worker(&sandbox, key, &process.data_dir, &telemetry)
        };
        worker::run(config, drain, listening_worker).await?;
        telemetry.shutdown(LAST_SPANS).await;
        Ok(())
    })
}

/// `baton dev`.
pub(super) fn dev(loaded: Loaded<DevSettings>) -> ExitCode {
    let Loaded { settings, source, .. } = loaded;
    let drain = configure::drain(&settings.process, Duration::ZERO);
    serve("dev", &settings.telemetry.clone(), &drain.clone(), async move {
        let DevSettings { process, edge, telemetry, sandbox, .. } = &settings;
        let dir = &process.data_dir;
        make_private(dir)?;
        if comes_by_path(sandbox.runtime.as_str()) {
            // What is secret in it has a mode of its own.
            std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o711))
                .map_err(|error| format!("--data-dir {}: {error}", dir.display()))?;
        }
        let signing = given_or_made(&settings.signing_keys, &dir.join("signing.key"))?;
        let roots = given_or_made(&settings.worker_roots, &dir.join("worker-root.key"))?;
        let key = WorkerKey::derive(&roots[0], &WorkerId::parse(DEV_WORKER)?);
        let of_gateway =
            configure::telemetry("baton-gateway", edge.replica_id.as_str(), telemetry)?;
        let of_worker = configure::telemetry("baton-worker", DEV_WORKER, telemetry)?;
        let upstreams = edge.upstreams.clone();
        let (reload, upstreams) = Reload::new(source, upstreams, dev_upstreams, System::read())?;
        let clock = Clock::system();
        let parts = Parts {
            directory: open(&DirectoryConfig::Embedded, clock.clone()).await,
            keys: Keyring::new(edge.audience.as_str(), &signing)?,
            worker_roots: roots,
            advertise: None,
            clock,
            upstreams,
        };
        let gateway =
            Gateway::bind(configure::gateway(edge, process, telemetry, parts, &of_gateway)?)?;
        let worker = worker::Config {
            gateways: vec![gateway.internal_url().to_owned()],
            ..configure::worker(sandbox, key, &dir.join("worker"), &of_worker)
        };
        let program = std::env::args().next().unwrap_or_else(|| "baton".to_owned());
        let access = configure::access(&edge.authentication);
        let offer = configure::offer(edge.environments.offered);
        let welcome = banner(&gateway.url(), access, offer, &program);
        listening_gateway(&gateway);
        let listening = |addresses: &Addresses| {
            listening_worker(addresses);
            Terminal.err(&welcome);
        };
        tokio::select! {
            stopped = Box::pin(dev::run(gateway, worker, drain, listening)) => stopped?,
            never = reload.run() => match never {},
        }
        tokio::join!(of_gateway.shutdown(LAST_SPANS), of_worker.shutdown(LAST_SPANS));
        Ok(())
    })
}

fn gateway_upstreams(
    arguments: &[String],
    around: &dyn Surroundings,
) -> Result<(UpstreamSet, Source), Problems> {
    let loaded = settings::gateway(arguments, around)?;
    Ok((loaded.settings.edge.upstreams, loaded.source))
}

fn dev_upstreams(
    arguments: &[String],
    around: &dyn Surroundings,
) -> Result<(UpstreamSet, Source), Problems> {
    let loaded = settings::dev(arguments, around)?;
    Ok((loaded.settings.edge.upstreams, loaded.source))
}

/// Makes a directory that only this user can look into, if it is not there.
fn make_private(dir: &Path) -> Result<(), Stopped> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|error| format!("--data-dir {}: {error}", dir.display()).into())
}

/// The keys that were given, else the one of this file, which is made if it is not there.
fn given_or_made(given: &[SecretKey], path: &Path) -> Result<Vec<SecretKey>, Stopped> {
    if !given.is_empty() {
        return Ok(given.to_vec());
    }
    let mut random = [0; 32];
    getrandom::fill(&mut random).expect("the system has random bytes");
    let key = made_once(path, random);
    let key = key.map_err(|error| Stopped::from(format!("{}: {error}", path.display())))?;
    Ok(vec![key])
}

/// Runs a role until it has drained; the second signal ends it at once.
fn serve(
    role: &str,
    logging: &TelemetrySettings,
    drain: &Drain,
    work: impl Future<Output = Result<(), Stopped>>,
) -> ExitCode {
    if let Err(error) = logs::install(&logging.log, configure::log_format(logging.log_format)) {
        return stopped(role, &error);
    }
    raise_open_files();
    let outcome = super::roles::runtime().block_on(async {
        tokio::select! {
            outcome = work => outcome,
            signals = drain_on_signal(drain) => match signals {
                Ok(()) => Err("left at the second signal, with work in hand".into()),
                Err(error) => Err(error.into()),
            },
        }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => stopped(role, &*error),
    }
}

/// Says why a role is over, with every cause.
/// Takes as many open files as the system grants: connections, and a dozen for each sandbox. The customary 1024 are
/// for programs that use select(2).
fn raise_open_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit on open files stays as it is");
    }
}

fn stopped(role: &str, error: &(dyn std::error::Error + 'static)) -> ExitCode {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let text: Vec<String> = causes.map(ToString::to_string).collect();
    Terminal.err(&format!("baton {role}: {}\n", text.join(": ")));
    ExitCode::FAILURE
}

fn listening_gateway(gateway: &Gateway) {
    listening("gateway", gateway.url());
    listening("gateway-internal", gateway.internal_listener());
}

fn listening_worker(addresses: &Addresses) {
    listening("worker-rpc", &addresses.rpc);
    listening("worker-internal", &addresses.internal);
}

/// The line that scripts wait for.
fn listening(role: &str, url: impl Display) {
    Terminal.out(&format!("listening role={role} url={url}\n"));
}
