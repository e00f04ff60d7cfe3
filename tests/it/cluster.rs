//! Gateways and workers in this process, on free ports, over one directory: the real ones, over real HTTP.

#![expect(clippy::unwrap_used, reason = "a test whose cluster does not start has failed")]

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use baton::clock::Clock;
use baton::directory::embedded::Embedded;
use baton::directory::{Directory, DirectoryConfig, Terms, open_with};
use baton::domain::api_key::ApiKeyDigest;
use baton::domain::ids::{EnvironmentId, Name, Principal, WorkerId};
use baton::domain::keyring::{Keyring, SecretKey, WorkerKey};
use baton::gateway::{
    ApiKeys, Buffers, Config, CorsPolicy, Credentials, EnvironmentPolicy, ForwardedHeader, Gateway,
    InFlight, Listens, Rates, ToolChoice,
};
use baton::serve::{ConnectionLimits, Drain, DrainTimings};
use baton::telemetry::{AccessLog, Telemetry};
use baton::worker::sandbox::Limits;
use baton::worker::{self, WorkerStop};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::fault::Proxy;
use crate::mcp_client::McpClient;
use crate::redis_server::{RedisServer, url_of};

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
    pub fn start(config: Config) -> Self {
        Self::start_with(config, AT_ONCE)
    }

    /// One whose drain takes as long as it is said to.
    #[expect(clippy::disallowed_methods, reason = "the handle below owns the task")]
    pub fn start_with(config: Config, timings: DrainTimings) -> Self {
        let gateway = Gateway::bind(config).unwrap();
        let (url, internal_url) = (gateway.url(), gateway.internal_url().to_owned());
        let drain = Drain::new(timings);
        let task = tokio::spawn(gateway.serve(drain.clone()));
        Self { url, internal_url, drain, task }
    }

    /// The way of SIGTERM. Returns how many connections were cut.
    pub async fn stop(self) -> usize {
        self.begin_drain();
        self.task.await.unwrap()
    }

    /// What SIGTERM does at once.
    pub fn begin_drain(&self) {
        self.drain.begin();
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
        workers_heard(&self.internal_url).await
    }

    /// A path of the internal listener.
    pub fn internal(&self, path: &str) -> McpClient {
        McpClient::new(&format!("{}{path}", self.internal_url))
    }
}

/// A worker that serves until it is dropped or stopped.
#[derive(Debug)]
pub struct RunningWorker {
    drain: Drain,
    task: JoinHandle<Result<(), WorkerStop>>,
}

impl RunningWorker {
    /// Returns when it accepts calls.
    #[expect(clippy::disallowed_methods, reason = "the handle below owns the task")]
    pub async fn start(config: worker::Config) -> Self {
        let (id, drain) = (config.key.worker().to_string(), Drain::new(AT_ONCE));
        let (listens, listening) = oneshot::channel();
        let run = worker::run(config, drain.clone(), |_| {
            listens.send(()).ok();
        });
        let task = tokio::spawn(run);
        let Ok(()) = listening.await else {
            panic!("worker {id} did not start: {:?}", task.await);
        };
        Self { drain, task }
    }

    /// The way of SIGTERM.
    pub async fn stop(self) {
        self.begin_drain();
        self.task.await.unwrap().unwrap();
    }

    /// What SIGTERM does at once.
    pub fn begin_drain(&self) {
        self.drain.begin();
    }
}

/// How many workers the gateway with this internal address has heard lately.
pub async fn workers_heard(internal_url: &str) -> usize {
    let metrics = McpClient::new(&format!("{internal_url}/metrics")).send("GET", &[], "").await;
    let text = String::from_utf8(metrics.body.to_vec()).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("baton_workers{state=\"serving\"} "));
    line.map_or(0, |count| count.parse().unwrap())
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
        max_executions: 256,
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
    pub redis: RedisServer,
    pub scratch: Scratch,
}

/// The principal of [`ALICE`].
pub fn alice() -> Principal {
    Principal::verified(Name::parse("t").unwrap(), Name::parse("alice").unwrap())
}

/// Which environment a handle names: bytes 4 to 20 of it, for whoever looks at a worker's disk.
pub fn environment_id(handle: &str) -> EnvironmentId {
    let bytes = URL_SAFE_NO_PAD.decode(&handle[4..]).unwrap();
    EnvironmentId::from_bytes(bytes[4..20].try_into().unwrap())
}

/// Where a worker with this data directory keeps the files of the environment that a handle names.
pub fn workspace(data_dir: &Path, handle: &str) -> PathBuf {
    data_dir.join("environments").join(environment_id(handle).to_string()).join("workspace")
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
        let (redis, scratch) = (RedisServer::start(), Scratch::new("cluster"));
        let mut cluster = Self { gateways: Vec::new(), workers: Vec::new(), redis, scratch };
        for _ in 0..gateways {
            let mut config = cluster.gateway_config().await;
            bend(&mut config);
            cluster.gateways.push(RunningGateway::start(config));
        }
        for number in 1..=workers {
            let config = cluster.worker_config(&format!("w{number}"));
            cluster.workers.push(RunningWorker::start(config).await);
        }
        cluster.ready(workers).await;
        cluster
    }

    /// The configuration of one more replica.
    pub async fn gateway_config(&self) -> Config {
        let credentials = keys(&[(ALICE, "t", "alice"), (BOB, "t", "bob"), (CAROL, "u", "carol")]);
        Config { credentials, ..config(self.directory().await) }
    }

    /// The configuration of a worker of this cluster; the same id has the same directory.
    pub fn worker_config(&self, id: &str) -> worker::Config {
        let gateways = self.gateways.iter().map(|it| it.internal_url.clone()).collect();
        worker_config(id, &self.scratch.path().join(id), gateways)
    }

    /// A worker that the gateways reach by a proxy only.
    pub async fn add_worker_behind_proxy(&mut self, id: &str) -> Proxy {
        let listen = free_address();
        let proxy = Proxy::to(listen).await;
        let advertise = Some(format!("http://{}", proxy.address()));
        let config = worker::Config { listen, advertise, ..self.worker_config(id) };
        self.workers.push(RunningWorker::start(config).await);
        proxy
    }

    /// The directory, as one more replica sees it.
    pub async fn directory(&self) -> Arc<dyn Directory> {
        self.directory_at(self.redis.address()).await
    }

    /// The directory by another way, as one more replica sees it.
    pub async fn directory_at(&self, address: SocketAddr) -> Arc<dyn Directory> {
        let redis = DirectoryConfig::Redis(url_of(address));
        open_with(&redis, Clock::system(), terms()).await
    }

    /// Where a worker of this cluster keeps the files of an environment.
    pub fn workspace(&self, worker: &str, handle: &str) -> PathBuf {
        workspace(&self.scratch.path().join(worker), handle)
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
        keys: keyring(&[SIGNING]),
        worker_roots: vec![worker_root()],
        credentials: Credentials::Anonymous,
        allowed_hosts: Vec::new(),
        allowed_origins: Vec::new(),
        cors: CorsPolicy::default(),
        trusted_proxies: Vec::new(),
        forwarded_header: ForwardedHeader::default(),
        proxy_protocol: false,
        environments: EnvironmentPolicy {
            idle_timeout: Duration::from_mins(5),
            max_life: Duration::from_hours(1),
            max_per_tenant: 100,
            default_timeout: Duration::from_secs(30),
            max_timeout: Duration::from_mins(1),
            task_after: Duration::from_secs(30),
        },
        tools: ToolChoice { environments: true, samples: true },
        upstreams: watch::channel(Arc::from([])).1,
        rates: Rates::default(),
        in_flight: InFlight { calls: 512, calls_per_tenant: 512 },
        buffers: Buffers { bytes: 256 << 20, bytes_per_tenant: 64 << 20 },
        listens: Listens { streams: 100, streams_per_tenant: 32 },
        max_body_bytes: 4 << 20,
        connection_threads: 2,
        connections: ConnectionLimits::default(),
        data_dir: None,
        tracer: Telemetry::off().tracer(),
        span_counts: Telemetry::off().span_counts(),
        access_log: AccessLog::off(),
        clock,
    }
}

/// The byte that the key of every test gateway repeats.
pub const SIGNING: u8 = 1;

/// The keyring with these keys, each a byte repeated; the first signs.
pub fn keyring(keys: &[u8]) -> Keyring {
    let keys: Vec<SecretKey> = keys.iter().map(|byte| SecretKey::from_bytes([*byte; 32])).collect();
    Keyring::new("baton", &keys).unwrap()
}

/// An address that nobody listens on; somebody else may take it, but seldom does.
pub fn free_address() -> SocketAddr {
    std::net::TcpListener::bind(ANYWHERE).unwrap().local_addr().unwrap()
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
