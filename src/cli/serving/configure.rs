//! From the settings of the command line to the roles' own configurations.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::Stopped;
use crate::cli::banner::{Access, Offer};
use crate::cli::settings::{
    Authentication, ConnectionSettings, EdgeSettings, LogFormat, ProcessSettings, RateSettings,
    SandboxLimits, SandboxSettings, TelemetrySettings,
};
use crate::clock::Clock;
use crate::directory::Directory;
use crate::domain::keyring::{Keyring, SecretKey, WorkerKey};
use crate::gateway::{
    self, ApiKeys, Buffers, Credentials, InFlight, Listens, Method, RateLimit, Rates, Tool,
    ToolChoice, UpstreamSet,
};
use crate::serve::{ConnectionLimits, Drain, DrainTimings};
use crate::telemetry::{AccessLog, Identity, Telemetry, TelemetryError, logs, process_environment};
use crate::worker;
use crate::worker::sandbox::Limits;

/// Any free port of loopback: where the worker within `dev` listens.
const ANYWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// The program itself, which becomes a sandbox's launcher.
const SELF: &str = "/proc/self/exe";

/// What a gateway is given beside its settings.
pub(super) struct Parts {
    pub(super) directory: Arc<dyn Directory>,
    pub(super) keys: Keyring,
    pub(super) worker_roots: Vec<SecretKey>,
    pub(super) advertise: Option<String>,
    pub(super) upstreams: watch::Receiver<UpstreamSet>,
    pub(super) clock: Clock,
}

pub(super) fn gateway(
    edge: &EdgeSettings,
    process: &ProcessSettings,
    logging: &TelemetrySettings,
    parts: Parts,
    telemetry: &Telemetry,
) -> Result<gateway::Config, Stopped> {
    let replica = edge.replica_id.to_string();
    let environments = &edge.environments;
    Ok(gateway::Config {
        listen: process.listen,
        internal_listen: process.internal_listen,
        advertise: parts.advertise,
        directory: parts.directory,
        keys: parts.keys,
        worker_roots: parts.worker_roots,
        credentials: credentials(&edge.authentication),
        allowed_hosts: edge.allowed_hosts.clone(),
        allowed_origins: edge.allowed_origins.clone(),
        cors: edge.cors.clone(),
        trusted_proxies: edge.trusted_proxies.clone(),
        forwarded_header: edge.forwarded_header,
        proxy_protocol: edge.proxy_protocol,
        environments: gateway::EnvironmentPolicy {
            idle_timeout: environments.idle_timeout,
            max_life: environments.max_life,
            max_per_tenant: environments.max_per_tenant,
            default_timeout: environments.timeout,
            max_timeout: environments.max_timeout,
            task_after: environments.task_after,
        },
        tools: ToolChoice { environments: environments.offered, samples: edge.sample_tools },
        upstreams: parts.upstreams,
        rates: rates(edge)?,
        in_flight: InFlight { calls: edge.max_calls, calls_per_tenant: edge.max_calls_per_tenant },
        listens: Listens {
            streams: edge.max_listens,
            streams_per_tenant: edge.max_listens_per_tenant,
        },
        buffers: Buffers {
            bytes: edge.max_buffered_bytes,
            bytes_per_tenant: edge.max_buffered_bytes_per_tenant,
        },
        max_body_bytes: edge.max_body_bytes,
        connection_threads: edge.connection_threads,
        connections: connections(&process.connections),
        data_dir: Some(process.data_dir.clone()),
        tracer: telemetry.tracer(),
        span_counts: telemetry.span_counts(),
        access_log: access_log(edge.access_log, logging, &replica)?,
        clock: parts.clock,
        replica,
    })
}

/// A worker on loopback that knows no gateway yet.
pub(super) fn worker(
    sandbox: &SandboxSettings,
    key: WorkerKey,
    data_dir: &Path,
    telemetry: &Telemetry,
) -> worker::Config {
    worker::Config {
        listen: ANYWHERE,
        internal_listen: ANYWHERE,
        advertise: None,
        gateways: Vec::new(),
        key,
        data_dir: data_dir.to_owned(),
        capacity: sandbox.capacity,
        runtime: sandbox.runtime.as_str().to_owned(),
        launcher: PathBuf::from(SELF),
        python: Some(sandbox.python.clone()),
        python_packages: sandbox.python_packages.clone(),
        max_executions: sandbox.max_executions,
        warm_pool: sandbox.warm_pool,
        limits: limits(&sandbox.limits),
        clock: Clock::system(),
        tracer: telemetry.tracer(),
    }
}

/// The tracing of one role. What OpenTelemetry's own variables say of sampling goes before our ratio.
pub(super) fn telemetry(
    service: &'static str,
    instance: &str,
    settings: &TelemetrySettings,
) -> Result<Telemetry, TelemetryError> {
    let identity = Identity { service, instance: instance.to_owned() };
    let ratio = settings.trace_sample_ratio.to_string();
    let environment = |name: &str| match (name, process_environment(name)) {
        ("OTEL_TRACES_SAMPLER", None) => Some("parentbased_traceidratio".to_owned()),
        ("OTEL_TRACES_SAMPLER_ARG", None) => Some(ratio.clone()),
        (_, value) => value,
    };
    Telemetry::start(&identity, settings.otlp_endpoint.as_deref(), &environment)
}

pub(super) fn drain(process: &ProcessSettings, not_ready: Duration) -> Drain {
    Drain::new(DrainTimings { not_ready, in_flight: process.drain })
}

/// Whether callers need a key, for the words of welcome.
pub(super) fn access(authentication: &Authentication) -> Access {
    match authentication {
        Authentication::Anonymous => Access::Open,
        Authentication::ApiKeys(_) => Access::ApiKey,
    }
}

/// What there is to try, for the words of welcome.
pub(super) fn offer(has_environments: bool) -> Offer {
    if has_environments { Offer::Environments } else { Offer::Others }
}

fn credentials(authentication: &Authentication) -> Credentials {
    match authentication {
        Authentication::Anonymous => Credentials::Anonymous,
        Authentication::ApiKeys(grants) => {
            let keys = grants.iter().map(|grant| (grant.digest, grant.principal.clone()));
            Credentials::ApiKeys(ApiKeys::new(keys))
        }
    }
}

fn access_log(wanted: bool, settings: &TelemetrySettings, replica: &str) -> io::Result<AccessLog> {
    if !wanted {
        return Ok(AccessLog::off());
    }
    AccessLog::to_stderr(log_format(settings.log_format), replica)
}

pub(super) fn log_format(format: LogFormat) -> logs::LogFormat {
    match format {
        LogFormat::Text => logs::LogFormat::Text,
        LogFormat::Json => logs::LogFormat::Json,
    }
}

fn rates(edge: &EdgeSettings) -> Result<Rates, Stopped> {
    let RateSettings { tenant, subject, methods, tools } = &edge.rates;
    let method = |(name, limit): &(String, RateLimit)| {
        let unknown = || format!("--method-rate-per-second: there is no method {name}");
        Method::from_wire(name).map(|method| (method, *limit)).ok_or_else(unknown)
    };
    // What upstreams have is not known yet, and may be another thing tomorrow.
    let may_be_theirs = !edge.upstreams.is_empty();
    let tool = |(name, limit): &(String, RateLimit)| {
        let problem = match Tool::ALL.into_iter().find(|tool| tool.name() == name) {
            Some(tool) if tool.counted_as() != name => {
                format!("{name} counts as {}: give that a rate", tool.counted_as())
            }
            None if !may_be_theirs => format!("there is no tool {name}"),
            Some(_) | None => return Ok((name.clone(), *limit)),
        };
        Err(format!("--tool-rate-per-second: {problem}"))
    };
    Ok(Rates {
        tenant: *tenant,
        subject: *subject,
        methods: methods.iter().map(method).collect::<Result<_, _>>()?,
        tools: tools.iter().map(tool).collect::<Result<_, _>>()?,
    })
}

fn connections(settings: &ConnectionSettings) -> ConnectionLimits {
    ConnectionLimits {
        connections: settings.connections,
        connections_per_address: settings.connections_per_address,
        first_byte: settings.first_byte,
        head: settings.head,
        idle: settings.keep_alive,
        write_stall: settings.write_stall,
        age: settings.age,
    }
}

fn limits(settings: &SandboxLimits) -> Limits {
    let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    Limits {
        memory_bytes: settings.memory_bytes,
        cpu_seconds: settings.cpu_seconds,
        cpu_millis: settings.cpu_millis,
        processes: settings.processes,
        workspace_bytes: settings.workspace_bytes,
        workspace_entries: settings.workspace_entries,
        tmp_bytes: settings.tmp_bytes,
        shm_bytes: settings.shm_bytes,
        output_bytes: bytes(settings.output_bytes),
        display_bytes: bytes(settings.display_bytes),
        open_files: settings.open_files,
        wall_time: settings.wall_time,
        ..Limits::default()
    }
}
