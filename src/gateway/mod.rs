//! The HTTP edge: MCP in, worker calls out.
//!
//! A request meets, in this order: the accept loop's deadlines ([`crate::serve`]), [`cors`] (what browsers ask first),
//! [`guard`] (host, origin), [`identity`] (who asks), the body's size, [`crate::mcp`] (headers, `_meta` and body agree), [`limits`],
//! [`dispatch`] (who answers), [`tools`] or [`tasks`], [`locate`] (where the environment is), the worker. [`reply`] decides
//! between JSON and a stream, [`failure`] says what went wrong, [`observe`] and [`outgoing`] tell telemetry.

pub mod benching;
mod calls;
mod claims;
mod config;
mod cors;
mod discover;
mod dispatch;
mod expired;
mod failure;
mod feed;
mod fleet;
mod forwarded;
#[cfg(fuzzing)]
pub mod fuzzing;
mod guard;
mod handover;
mod identity;
mod internal;
mod limits;
mod listen;
mod lists;
mod locate;
mod observe;
mod outgoing;
mod pages;
mod proxies;
mod reply;
mod resources;
mod router;
mod seldom;
mod table;
mod tasks;
mod tools;
mod unasked;
mod upstream;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use http::{HeaderName, Request, Response};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

pub use config::Config;
pub use cors::CorsPolicy;
pub use identity::{ApiKeys, Credentials};
pub use limits::{Buffers, InFlight, RateLimit, Rates};
pub use listen::Listens;
pub use proxies::ForwardedHeader;
pub use tools::{EnvironmentPolicy, Tool, ToolChoice};
pub use upstream::{
    AllBroken, Answer, EndpointId, EraChoice, LinkError, NameFilter, Refused, SendError, Upstream,
    UpstreamLink, UpstreamName, UpstreamSet, UpstreamTimeouts, may_lead_somewhere,
};

pub use crate::domain::rate::Rate;
pub use crate::mcp::Method;
pub use crate::serve::{Network, NotANetwork};

use crate::directory::Replica;
use crate::mcp::Identity;
use crate::net::Net;
use crate::rpc::client::WorkerClient;
use crate::rpc::report::ReportDoor;
use crate::serve::{ConnectionLimits, Drain, Listener, RequestBody, Threads, serve};
use crate::telemetry::{ConnectionReading, Metrics};
use discover::{OwnOffer, Standing};
use dispatch::Edge;
use expired::Expired;
use fleet::Fleet;
use guard::Guard;
use handover::Handover;
use internal::Internal;
use limits::Limits;
use listen::Hub;
use locate::Locator;
use observe::Observer;
use proxies::Proxies;
use seldom::Seldom;
use tools::Tools;
use upstream::{Changes, Upstreams};

/// The MCP endpoint.
pub const MCP_PATH: &str = "/mcp";
/// Which replica answered.
const REPLICA_HEADER: HeaderName = HeaderName::from_static("baton-replica");
/// Connections of workers and probes to the internal listener.
const INTERNAL_CONNECTIONS: usize = 4096;

/// A gateway that has its addresses and does not serve yet.
#[derive(Debug)]
pub struct Gateway {
    clients: Listener,
    internals: Listener,
    internal_url: String,
    net: Net,
    config: Config,
}

impl Gateway {
    /// Takes the addresses.
    pub fn bind(config: Config) -> io::Result<Self> {
        Self::bind_on(Net::system(), config)
    }

    /// Takes the addresses on this network, where the workers are reached too.
    pub fn bind_on(net: Net, config: Config) -> io::Result<Self> {
        let clients = bind(&net, config.listen, "--listen")?;
        let internals = bind(&net, config.internal_listen, "--internal-listen")?;
        let own = || format!("http://{}", internals.local_addr());
        let internal_url = config.advertise.clone().unwrap_or_else(own);
        Ok(Self { clients, internals, internal_url, net, config })
    }

    /// The MCP endpoint.
    pub fn url(&self) -> String {
        format!("http://{}{MCP_PATH}", self.clients.local_addr())
    }

    /// The internal listener.
    pub fn internal_listener(&self) -> String {
        format!("http://{}", self.internals.local_addr())
    }

    /// How workers reach it.
    pub fn internal_url(&self) -> &str {
        &self.internal_url
    }

    /// Serves until the drain is over. Returns how many connections were cut at its deadline.
    pub async fn serve(self, drain: Drain) -> usize {
        let Self { clients, internals, internal_url, net, config } = self;
        // Held to the end: calls may outlive their connections.
        let threads = threads(&net, config.connection_threads);
        let clients = clients.on(threads.clone());
        let clients = if config.proxy_protocol {
            clients.behind(config.trusted_proxies.clone())
        } else {
            clients
        };
        let here = Replica { id: config.replica.clone(), url: internal_url };
        let tasks = TaskTracker::new();
        let fleet = Arc::new(Fleet::new(
            Arc::clone(&config.directory),
            config.keys.clone(),
            config.worker_roots.clone(),
            config.clock.clone(),
            here,
            tasks.clone(),
        ));
        let table = config.data_dir.as_deref().map(table::Table::in_dir);
        if let Some(table) = &table {
            fleet.remember(table.read());
        }
        let metrics = Arc::new(metrics(&config, &clients, &fleet));
        let connections = config.connections.clone();
        let configured = config.upstreams.clone();
        let cors = config.cors.clone();
        let directory = Arc::clone(&config.directory);
        let clock = config.clock.clone();
        let edge = Arc::new(edge(config, (&net, clients.local_addr()), &fleet, &metrics, &tasks));
        let (hub, keys) = (Arc::clone(&edge.hub), edge.keys.clone());
        let expired = Expired::new(hub, Arc::clone(&fleet), keys, clock.clone());
        let internal = Arc::new(Internal {
            edge: Arc::clone(&edge),
            fleet: Arc::clone(&fleet),
            expired,
            door: ReportDoor::new(clock),
            metrics: Arc::clone(&metrics),
            drain: drain.clone(),
        });
        // First, so that whoever listens here misses nothing.
        let events = directory.subscribe().await;
        let changes = edge.upstreams.changes();
        tasks.spawn(Arc::clone(&edge.hub).follow(events, changes, drain.clone()));
        let internal_limits = ConnectionLimits {
            connections: INTERNAL_CONNECTIONS,
            connections_per_address: INTERNAL_CONNECTIONS,
            ..ConnectionLimits::default()
        };
        let upstreams = Arc::clone(&edge.upstreams);
        let following = tasks.spawn(follow(upstreams, configured, Arc::clone(&edge.hub)));
        let looking = tasks.spawn(Arc::clone(&fleet).look());
        let keeping =
            tasks.spawn(keep(Arc::clone(&fleet), Arc::clone(&edge), table, drain.clone()));
        let internal =
            serve(internals, app(internal::router(internal)), internal_limits, drain.clone());
        let public = serve(clients, router::service(edge, &cors), connections, drain.clone());
        let (drained, _) = tokio::join!(public, internal);
        keeping.abort();
        looking.abort();
        following.abort();
        tasks.close();
        // Calls whose client left, and cancels on their way to workers.
        tokio::select! {
            () = tasks.wait() => {}
            () = drain.deadline() => {}
        }
        if let Err(error) = fleet.withdraw().await {
            tracing::debug!(%error, "replica not withdrawn; its announcement ends by itself");
        }
        drop(threads);
        drained.cut
    }
}

fn bind(net: &Net, address: SocketAddr, flag: &str) -> io::Result<Listener> {
    Listener::bind_on(net, address).map_err(|error| {
        let text =
            format!("cannot listen on {address}: {error}; choose another address with {flag}");
        io::Error::new(error.kind(), text)
    })
}

/// Where connections of clients live. A made-up network is of one thread.
fn threads(net: &Net, count: usize) -> Threads {
    Threads::begin(if net.is_system() { count } else { 0 }).unwrap_or_else(|error| {
        tracing::warn!(%error, "connections get no threads of their own");
        Threads::default()
    })
}

/// A router as the accept loop takes it.
fn app(
    router: Router,
) -> impl tower::Service<
    Request<RequestBody>,
    Response = Response<Body>,
    Error = std::convert::Infallible,
    Future: Send,
> + Clone
+ Send
+ Sync
+ 'static {
    router.map_request(|request: Request<RequestBody>| request.map(Body::new))
}

/// What is done now and then: announce this replica, learn of others, share the rates anew, keep the table.
async fn keep(fleet: Arc<Fleet>, edge: Arc<Edge>, table: Option<table::Table>, drain: Drain) {
    let mut table = table;
    loop {
        let pause = fleet.round().await;
        edge.limits.share_among(fleet.replica_count());
        edge.limits.tidy();
        if let Some(table) = &mut table {
            table.write(&fleet.sightings()).await;
        }
        tokio::select! {
            () = fleet.rest(pause) => {}
            () = drain.closing() => return,
        }
    }
}

/// Puts every new set of upstreams in force, until there will be none.
async fn follow(
    upstreams: Arc<Upstreams>,
    mut configured: watch::Receiver<UpstreamSet>,
    hub: Arc<Hub>,
) {
    while configured.changed().await.is_ok() {
        let set = Arc::clone(&configured.borrow_and_update());
        upstreams.apply(&set);
        hub.lists_changed();
    }
}

fn metrics(config: &Config, clients: &Listener, fleet: &Arc<Fleet>) -> Metrics {
    let metrics = Metrics::new(&config.replica, observe::KNOWN_CODES);
    let counts = clients.counts();
    metrics.show_connections("gateway", move || ConnectionReading {
        open: counts.open(),
        refused_in_all: counts.refused_in_all(),
        refused_by_address: counts.refused_by_address(),
        refused_unannounced: counts.refused_unannounced(),
        too_slow: counts.too_slow(),
    });
    let states = fleet::STATES.map(|state| (state, metrics.workers(state)));
    let fleet = Arc::clone(fleet);
    metrics.at_rendering(move || {
        for (state, gauge) in &states {
            gauge.set(fleet.count(state).try_into().unwrap_or(i64::MAX));
        }
    });
    metrics.show_spans(config.span_counts.clone());
    metrics.show_access_log(&config.access_log);
    metrics
}

fn edge(
    config: Config,
    (net, listen): (&Net, SocketAddr),
    fleet: &Arc<Fleet>,
    metrics: &Arc<Metrics>,
    tasks: &TaskTracker,
) -> Edge {
    let client = WorkerClient::on(net, config.clock.clone());
    let locator = Locator::new(
        Arc::clone(fleet),
        Arc::clone(&config.directory),
        config.keys.clone(),
        client.clone(),
    );
    let identity = Identity::new("baton", env!("CARGO_PKG_VERSION"), &config.replica);
    let (replica, directory) = (config.replica.clone(), Arc::clone(&config.directory));
    let hub = Arc::new(Hub::new(replica, directory, config.listens, tasks.clone()));
    let upstreams = Arc::new(Upstreams::new(
        config.keys.clone(),
        &config.replica,
        config.clock.clone(),
        tasks.clone(),
        Changes::new(),
    ));
    upstreams.apply(&config.upstreams.borrow());
    let (keys, clock) = (config.keys.clone(), config.clock.clone());
    let handover =
        Handover::new(Arc::clone(fleet), keys.clone(), clock.clone(), config.replica.clone());
    let tools = Tools {
        hub: Arc::clone(&hub),
        choice: config.tools,
        policy: config.environments,
        quota_said: Seldom::default(),
        keys: config.keys,
        directory: config.directory,
        fleet: Arc::clone(fleet),
        locator,
        client,
        replica: config.replica,
        clock: config.clock,
        tasks: tasks.clone(),
        followed: tasks::Followed::default(),
    };
    let own = OwnOffer::of(&tools);
    let directory = Arc::clone(&tools.directory);
    // An address that was announced in PROXY protocol is the client's own: it is no proxy that writes headers.
    let believed = if config.proxy_protocol { Vec::new() } else { config.trusted_proxies };
    Edge {
        guard: Guard::new(listen, &config.allowed_hosts, &config.allowed_origins),
        proxies: Proxies::new(believed, config.forwarded_header),
        max_body_bytes: config.max_body_bytes,
        credentials: config.credentials,
        limits: Limits::new(
            config.rates,
            (config.in_flight, config.buffers),
            fleet.replica_count(),
            directory,
            metrics,
        ),
        observer: Observer::new(config.tracer, config.access_log, metrics, &Tool::ALL),
        standing: ArcSwap::from_pointee(Standing::new(&identity, &own, &[], 0)),
        own,
        upstreams,
        handover,
        keys,
        clock,
        tools: Arc::new(tools),
        hub,
        identity,
        calls: tasks.clone(),
    }
}
