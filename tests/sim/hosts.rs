//! The real gateway and the real worker as hosts of a simulation.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use baton::clock::Clock;
use baton::domain::api_key::ApiKeyDigest;
use baton::domain::ids::{Name, Principal, WorkerId};
use baton::domain::keyring::{Keyring, SecretKey, WorkerKey};
use baton::gateway::{
    self, ApiKeys, Buffers, CorsPolicy, Credentials, EnvironmentPolicy, ForwardedHeader, Gateway,
    InFlight, Listens, Rates, ToolChoice,
};
use baton::serve::{ConnectionLimits, Drain, DrainTimings};
use baton::telemetry::{AccessLog, Telemetry};
use baton::worker::sandbox::Limits;
use baton::worker::{self, Surroundings};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::dice::Dice;
use crate::directory::Link;
use crate::history::History;
use crate::network;
use crate::plant::{BEHIND, Plant, Wrapper};
use crate::sandbox::{Puppets, SlowDisk};

/// Where workers are called.
const RPC: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8090);
/// API key, tenant, subject.
pub const CALLERS: [(&str, &str, &str); 3] =
    [("alice", "t", "alice"), ("bob", "t", "bob"), ("carol", "u", "carol")];

/// One replica, each time it starts.
#[derive(Clone, Debug)]
pub struct GatewayHost {
    pub name: String,
    pub directory: Link,
    pub plant: Plant,
    pub clock: Clock,
}

/// One worker, each time it starts.
#[derive(Clone, Debug)]
pub struct WorkerHost {
    pub name: String,
    pub gateways: Vec<String>,
    pub data_dir: PathBuf,
    pub plant: Plant,
    pub clock: Clock,
    pub history: History,
    pub dice: Dice,
}

/// Whose API key it is.
pub fn principal(tenant: &str, subject: &str) -> Principal {
    let name = |text: &str| Name::parse(text).expect("a plain name");
    Principal::verified(name(tenant), name(subject))
}

/// The key of a worker of this name.
pub fn worker_key(name: &str) -> WorkerKey {
    let id = WorkerId::parse(name).expect("a plain name");
    WorkerKey::derive(&worker_root(), &id)
}

/// What seals handles and tickets.
pub fn signing() -> Keyring {
    Keyring::new("baton", &[SecretKey::from_bytes([1; 32])]).expect("one key")
}

fn worker_root() -> SecretKey {
    SecretKey::from_bytes([2; 32])
}

impl GatewayHost {
    pub async fn run(self) -> turmoil::Result {
        let gateway = Gateway::bind_on(network::net(), self.config())?;
        let drain = Drain::new(DrainTimings::default());
        TaskTracker::new().spawn(gateway.serve(drain)).await?;
        Err("the gateway ended".into())
    }

    fn config(&self) -> gateway::Config {
        let keys = CALLERS.map(|(key, tenant, subject)| {
            let known = match self.plant {
                Plant::OneCaller => principal("t", "alice"),
                _ => principal(tenant, subject),
            };
            (ApiKeyDigest::of(key.as_bytes()), known)
        });
        gateway::Config {
            listen: ([0, 0, 0, 0], 8080).into(),
            internal_listen: ([0, 0, 0, 0], 8081).into(),
            advertise: Some(format!("http://{}:8081", self.name)),
            replica: self.name.clone(),
            directory: Arc::new(self.directory.clone()),
            keys: signing(),
            worker_roots: vec![worker_root()],
            credentials: Credentials::ApiKeys(ApiKeys::new(keys)),
            allowed_hosts: vec!["*".to_owned()],
            allowed_origins: Vec::new(),
            cors: CorsPolicy::default(),
            trusted_proxies: Vec::new(),
            forwarded_header: ForwardedHeader::default(),
            proxy_protocol: false,
            environments: EnvironmentPolicy {
                idle_timeout: Duration::from_mins(10),
                max_life: Duration::from_hours(1),
                max_per_tenant: 20,
                default_timeout: Duration::from_secs(20),
                max_timeout: Duration::from_mins(1),
                task_after: Duration::from_secs(30),
            },
            tools: ToolChoice { environments: true, samples: false },
            upstreams: watch::channel(Arc::from([])).1,
            rates: Rates::default(),
            in_flight: InFlight { calls: 512, calls_per_tenant: 512 },
            listens: Listens { streams: 10, streams_per_tenant: 10 },
            max_body_bytes: 1 << 20,
            connection_threads: 0,
            buffers: Buffers { bytes: 256 << 20, bytes_per_tenant: 64 << 20 },
            connections: ConnectionLimits::default(),
            data_dir: None,
            tracer: Telemetry::off().tracer(),
            span_counts: Telemetry::off().span_counts(),
            access_log: AccessLog::off(),
            clock: self.clock.clone(),
        }
    }
}

impl WorkerHost {
    pub async fn run(self) -> turmoil::Result {
        let surroundings = Surroundings {
            net: network::net(),
            runtime: Some(Puppets::on(&self.name, self.history.clone(), self.dice.clone())),
            disk: Arc::new(SlowDisk(self.dice.clone())),
        };
        let (history, name) = (self.history.clone(), self.name.clone());
        let listening = move |addresses: &worker::Addresses| {
            history.note(format_args!("{name} starts as {:?}", addresses.incarnation));
        };
        let drain = Drain::new(DrainTimings::default());
        let run = worker::run_in(surroundings, self.config(), drain, listening);
        let tasks = TaskTracker::new();
        if self.plant != Plant::Nothing {
            let key = worker_key(&self.name);
            let wrapper = Wrapper::new(self.plant, key, self.clock, self.history, self.dice);
            tasks.spawn(wrapper.run(RPC));
        }
        tasks.spawn(run).await??;
        Err("the worker ended".into())
    }

    fn config(&self) -> worker::Config {
        worker::Config {
            listen: if self.plant == Plant::Nothing { RPC } else { BEHIND },
            internal_listen: ([0, 0, 0, 0], 8091).into(),
            advertise: Some(format!("http://{}:8090", self.name)),
            gateways: self.gateways.clone(),
            key: worker_key(&self.name),
            data_dir: self.data_dir.clone(),
            capacity: 30,
            runtime: "puppets".to_owned(),
            launcher: PathBuf::new(),
            python: None,
            python_packages: None,
            warm_pool: 0,
            limits: Limits::default(),
            max_executions: 256,
            clock: self.clock.clone(),
            tracer: Telemetry::off().tracer(),
        }
    }
}
