//! Gateways and workers in this process, on free ports, over one directory: the real ones, over real HTTP.

#![expect(clippy::unwrap_used, reason = "a test whose cluster does not start has failed")]

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use baton::clock::Clock;
use baton::directory::embedded::Embedded;
use baton::directory::{Directory, DirectoryConfig, Terms, open_with};
use baton::domain::api_key::ApiKeyDigest;
use baton::domain::ids::{Name, Principal, WorkerId};
use baton::domain::keyring::{Keyring, SecretKey, WorkerKey};
use baton::gateway::{
    ApiKeys, Config, Credentials, EnvironmentPolicy, Gateway, InFlight, Rates, ToolChoice,
};
use baton::serve::{ConnectionLimits, Drain, DrainTimings};
use baton::telemetry::{AccessLog, Telemetry};
use baton::worker::sandbox::Limits;
use baton::worker::{self, WorkerStop};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::mcp_client::McpClient;
use crate::redis_server::RedisServer;

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

    /// How many workers it has heard lately.
    pub async fn workers(&self) -> usize {
        let metrics = self.internal("/metrics").send("GET", &[], "").await;
        let text = String::from_utf8(metrics.body.to_vec()).unwrap();
        let line =
            text.lines().find_map(|line| line.strip_prefix("baton_workers{state=\"serving\"} "));
        line.map_or(0, |count| count.parse().unwrap())
    }

    /// A path of the internal listener.
    pub fn internal(&self, path: &str) -> McpClient {
        McpClient::new(&format!("{}{path}", self.internal_url))
    }
}

/// A worker that serves until it is dropped or stopped.
#[derive(Debug)]
pub struct RunningWorker {
    pub id: String,
    drain: Drain,
    task: JoinHandle<Result<(), WorkerStop>>,
}

impl RunningWorker {
    /// Returns when it accepts calls.
    #[expect(clippy::disallowed_methods, reason = "the handle below owns the task")]
    pub async fn start(config: worker::Config) -> Self {
        let (id, drain) = (config.key.worker().to_string(), Drain::new(AT_ONCE));
        let (listens, listening) = oneshot::channel();
        let run = worker::run(config, drain.clone(), |_| drop(listens.send(())));
        let task = tokio::spawn(run);
        if listening.await.is_err() {
            panic!("worker {id} did not start: {:?}", task.await);
        }
        Self { id, drain, task }
    }

    /// The way of SIGTERM.
    pub async fn stop(self) {
        self.drain.begin();
        self.task.await.unwrap().unwrap();
    }

    /// The way of kill -9, as far as a task can go it.
    pub async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.is_err());
    }
}

/// A worker's configuration that reports to these gateways and keeps its environments in `dir`.
pub fn worker_config(id: &str, dir: &Path, gateways: Vec<String>) -> worker::Config {
    worker::Config {
        listen: ANYWHERE,
        internal_listen: ANYWHERE,
        advertise: None,
        gateways,
        key: WorkerKey::derive(&worker_root(), &WorkerId::parse(id).unwrap()),
        data_dir: dir.to_owned(),
        capacity: 50,
        runtime: "auto".to_owned(),
        launcher: env!("CARGO_BIN_EXE_baton").into(),
        python: None,
        python_packages: None,
        warm_pool: 1,
        limits: Limits::default(),
        clock: Clock::system(),
        tracer: Telemetry::off().tracer(),
    }
}

/// Gateways over one directory, and workers that report to them.
#[derive(Debug)]
pub struct Cluster {
    pub gateways: Vec<RunningGateway>,
    pub workers: Vec<RunningWorker>,
    pub redis: Option<RedisServer>,
    pub scratch: Scratch,
}

/// The keys of a cluster's callers: two subjects of one tenant, and one of another.
pub const ALICE: &str = "alice-key";
pub const BOB: &str = "bob-key";
pub const CAROL: &str = "carol-key";

impl Cluster {
    /// Two gateways and two workers over a real Redis.
    pub async fn two_by_two() -> Self {
        Self::start(2, 2, |_| {}).await
    }

    /// So many gateways and workers over a real Redis; `bend` may change each gateway's configuration.
    pub async fn start(gateways: usize, workers: usize, bend: impl Fn(&mut Config)) -> Self {
        let redis = RedisServer::start();
        let scratch = Scratch::new("cluster");
        let mut running = Vec::new();
        for _ in 0..gateways {
            let url = DirectoryConfig::Redis(redis.url());
            let mut config = config(open_with(&url, Clock::system(), terms()).await);
            config.credentials =
                keys(&[(ALICE, "t", "alice"), (BOB, "t", "bob"), (CAROL, "u", "carol")]);
            bend(&mut config);
            running.push(RunningGateway::start(config));
        }
        let mut cluster =
            Self { gateways: running, workers: Vec::new(), redis: Some(redis), scratch };
        for number in 1..=workers {
            let config = cluster.worker_config(&format!("w{number}"));
            cluster.workers.push(RunningWorker::start(config).await);
        }
        cluster.ready(workers).await;
        cluster
    }

    /// The configuration of a worker of this cluster; the same id has the same directory.
    pub fn worker_config(&self, id: &str) -> worker::Config {
        let gateways = self.gateways.iter().map(|it| it.internal_url.clone()).collect();
        worker_config(id, &self.scratch.path().join(id), gateways)
    }

    /// A client of one replica; beyond the last it begins anew.
    pub fn client(&self, replica: usize, key: &str) -> McpClient {
        self.gateways[replica % self.gateways.len()].client().with_key(key)
    }

    /// Waits until every gateway has heard so many workers.
    pub async fn ready(&self, workers: usize) {
        for gateway in &self.gateways {
            eventually(async || gateway.workers().await == workers).await;
        }
    }
}

/// Waits for something that must come true within seconds.
pub async fn eventually(mut is_true: impl AsyncFnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !is_true().await {
        assert!(Instant::now() < until, "it never came true");
        tokio::time::sleep(Duration::from_millis(20)).await;
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
        trusted_proxies: Vec::new(),
        environments: EnvironmentPolicy {
            idle_timeout: Duration::from_mins(5),
            max_life: Duration::from_hours(1),
            max_per_tenant: 100,
            default_timeout: Duration::from_secs(30),
            max_timeout: Duration::from_mins(1),
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

/// A worker's list is believed sooner than in production, so that what ended makes room within a test's patience.
fn terms() -> Terms {
    Terms { settling: Duration::from_secs(1), ..Terms::default() }
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
