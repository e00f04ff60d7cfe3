//! A request that another replica answers, because what it belongs to waits there.
//!
//! All else can be answered by any replica. A call that an upstream of the legacy era has suspended cannot: its
//! connection is on one of them. The client's retry names that replica in its sealed state, and whoever got the retry
//! hands it over: the message as it came with the headers that MCP needs, and the principal that was verified here
//! ([`letter`]). No credential goes with it. What comes back goes to the client as it comes ([`give`]). Where replicas
//! share an address, the one that is meant is looked for behind it ([`find`]). A request that
//! was taken over ([`take`]) is never handed over again.
//!
//! So it is with the [`answer`] of a client of the legacy era to a question on the stream of its call.

mod answer;
mod find;
mod give;
mod letter;
mod take;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::fleet::Fleet;
use crate::clock::Clock;
use crate::domain::keyring::Keyring;
use crate::rpc::replays::Replays;

/// Where replicas take requests over, on the internal listener.
pub(super) const PATH: &str = "/v1/handover";
/// How long a connection to another replica may take to open.
const CONNECT: Duration = Duration::from_secs(1);
/// How long an unused one is kept, and how many of them.
const POOL_IDLE: Duration = Duration::from_secs(20);
const POOL_IDLE_MAX: usize = 16;
/// Probes that find out that the other machine is gone while a long call is silent: how often, and how many in vain.
const KEEPALIVE: Duration = Duration::from_secs(5);
const KEEPALIVE_LOST: u32 = 3;
/// How long what was sent may stay unacknowledged.
const UNACKNOWLEDGED: Duration = Duration::from_secs(15);

/// Hands requests over, and takes them.
#[derive(Debug)]
pub(super) struct Handover {
    fleet: Arc<Fleet>,
    keys: Keyring,
    clock: Clock,
    replica: String,
    replays: Replays,
    connector: HttpConnector,
    http: Http,
}

type Http = Client<HttpConnector, Full<Bytes>>;

impl Handover {
    /// For the replica of this id.
    pub(super) fn new(fleet: Arc<Fleet>, keys: Keyring, clock: Clock, replica: String) -> Self {
        let connector = connector();
        let http = client(&connector);
        Self { fleet, keys, clock, replica, replays: Replays::default(), connector, http }
    }
}

fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(CONNECT));
    connector.set_nodelay(true);
    connector.set_keepalive(Some(KEEPALIVE));
    connector.set_keepalive_interval(Some(KEEPALIVE));
    connector.set_keepalive_retries(Some(KEEPALIVE_LOST));
    connector.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    connector
}

/// A client with connections of its own.
fn client(connector: &HttpConnector) -> Http {
    Client::builder(TokioExecutor::new())
        .pool_idle_timeout(POOL_IDLE)
        .pool_max_idle_per_host(POOL_IDLE_MAX)
        .pool_timer(TokioTimer::new())
        // It may take a call up, which can be done once.
        .retry_canceled_requests(false)
        .build(connector.clone())
}
