//! Gateways and workers in this process, on free ports, over one directory: the real ones, over real HTTP.

#![expect(clippy::unwrap_used, reason = "a test whose cluster does not start has failed")]

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use baton::clock::Clock;
use baton::directory::embedded::Embedded;
use baton::directory::{Directory, Terms};
use baton::domain::api_key::ApiKeyDigest;
use baton::domain::ids::{Name, Principal};
use baton::domain::keyring::{Keyring, SecretKey};
use baton::gateway::{
    ApiKeys, Config, Credentials, EnvironmentPolicy, Gateway, InFlight, Rates, ToolChoice,
};
use baton::serve::{ConnectionLimits, Drain, DrainTimings};
use baton::telemetry::{AccessLog, Telemetry};
use tokio::task::JoinHandle;

use crate::mcp_client::McpClient;

/// Any port of loopback.
pub const ANYWHERE: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
/// A drain that a test does not have to wait for.
pub const AT_ONCE: DrainTimings =
    DrainTimings { not_ready: Duration::ZERO, in_flight: Duration::from_secs(5) };

/// A gateway that serves until it is dropped or stopped.
#[derive(Debug)]
pub struct RunningGateway {
    pub url: String,
    pub internal_url: String,
    drain: Drain,
    task: JoinHandle<usize>,
}

impl RunningGateway {
    #[expect(clippy::disallowed_methods, reason = "the handle below owns the task")]
    pub fn start(config: Config) -> Self {
        let gateway = Gateway::bind(config).unwrap();
        let (url, internal_url) = (gateway.url(), gateway.internal_url().to_owned());
        let drain = Drain::new(AT_ONCE);
        let task = tokio::spawn(gateway.serve(drain.clone()));
        Self { url, internal_url, drain, task }
    }

    /// The way of SIGTERM. Returns how many connections were cut.
    pub async fn stop(self) -> usize {
        self.drain.begin();
        self.task.await.unwrap()
    }

    /// The way of kill -9, as far as a task can go it.
    pub fn kill(&self) {
        self.task.abort();
    }

    pub fn client(&self) -> McpClient {
        McpClient::new(&self.url)
    }

    /// A path of the internal listener.
    pub fn internal(&self, path: &str) -> McpClient {
        McpClient::new(&format!("{}{path}", self.internal_url))
    }
}

/// A gateway's configuration that serves everybody everything, for a test to bend.
pub fn config(directory: Arc<dyn Directory>) -> Config {
    static REPLICA: AtomicU32 = AtomicU32::new(1);
    let clock = Clock::system();
    Config {
        listen: ANYWHERE,
        internal_listen: ANYWHERE,
        advertise: None,
        replica: format!("replica-{}", REPLICA.fetch_add(1, Ordering::Relaxed)),
        directory,
        keys: Keyring::new("baton", &[SecretKey::from_bytes([1; 32])]).unwrap(),
        worker_roots: vec![worker_root()],
        credentials: Credentials::Anonymous,
        allowed_hosts: Vec::new(),
        allowed_origins: Vec::new(),
        environments: EnvironmentPolicy {
            idle_timeout: Duration::from_secs(300),
            max_life: Duration::from_secs(3600),
            max_per_tenant: 100,
            default_timeout: Duration::from_secs(30),
            max_timeout: Duration::from_secs(60),
        },
        tools: ToolChoice { environments: true, samples: true },
        rates: Rates::default(),
        in_flight: InFlight { calls: 512, calls_per_tenant: 512 },
        max_body_bytes: 4 << 20,
        connections: ConnectionLimits::default(),
        data_dir: None,
        tracer: Telemetry::off().tracer(),
        span_counts: Telemetry::off().span_counts(),
        access_log: AccessLog::off(),
        clock,
    }
}

/// The root of every test worker's key.
pub fn worker_root() -> SecretKey {
    SecretKey::from_bytes([2; 32])
}

/// A directory in memory.
pub fn embedded() -> Arc<dyn Directory> {
    Arc::new(Embedded::new(Clock::system(), Terms::default()))
}

/// Credentials by key: each key's tenant and subject are named `TENANT/SUBJECT`.
pub fn keys(keys: &[(&str, &str, &str)]) -> Credentials {
    let name = |text: &str| Name::parse(text).unwrap();
    let known = keys.iter().map(|(key, tenant, subject)| {
        (ApiKeyDigest::of(key.as_bytes()), Principal::verified(name(tenant), name(subject)))
    });
    Credentials::ApiKeys(ApiKeys::new(known))
}

/// A number that is not zero.
pub fn number(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

/// A directory of its own for one test, removed with it.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir =
            std::env::temp_dir().join(format!("baton-it-{}-{count}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}
