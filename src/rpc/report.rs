//! Workers' reports to gateways: the sending and the receiving side.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode};

use super::auth::{Link, claimed_worker};
use super::client::TraceHeaders;
use super::door::{Admitted, Door, Shut};
use super::error::WorkerError;
use super::http1::{Call, Http1};
use super::peer::Keys;
use super::reply;
use super::wire::{HEARTBEAT, Heartbeat, HeartbeatReply, Refusal};
use crate::clock::Clock;
use crate::domain::ids::{Incarnation, WorkerId};
use crate::domain::keyring::WorkerKey;
use crate::net::Net;

/// Longest report.
pub const MAX_REPORT: usize = 8 << 20;
/// How many environments a report's list may have, at up to 400 bytes each.
pub const MAX_CLAIMS: u32 = 20_000;

/// How long a report may take.
const DEADLINE: Duration = Duration::from_secs(2);

/// Sends a worker's reports.
#[derive(Clone, Debug)]
pub struct Reporter {
    http: Http1,
    keys: Arc<Keys>,
    incarnation: Incarnation,
}

impl Reporter {
    /// Reports as the worker that has this key.
    pub fn new(net: &Net, clock: Clock, key: WorkerKey, incarnation: Incarnation) -> Self {
        Self { http: Http1::new(net, clock), keys: Arc::new(Keys::new(key)), incarnation }
    }

    /// Reports to one gateway.
    pub async fn report(
        &self,
        gateway: &str,
        heartbeat: &Heartbeat,
    ) -> Result<HeartbeatReply, WorkerError> {
        let call = Call {
            link: Link::Report,
            url: gateway,
            path: HEARTBEAT,
            keys: &self.keys,
            incarnation: self.incarnation,
            deadline: DEADLINE,
            trace: &TraceHeaders::default(),
        };
        self.http.ask(call, heartbeat).await
    }
}

/// Receives workers' reports at a gateway.
#[derive(Debug)]
pub struct ReportDoor(Door);

/// A report that its worker did send, just now.
#[derive(Debug)]
pub struct Received {
    worker: WorkerId,
    heartbeat: Heartbeat,
    admitted: Admitted,
}

impl ReportDoor {
    /// A door that no report has passed yet.
    pub fn new(clock: Clock) -> Self {
        Self(Door::new(Link::Report, clock))
    }

    /// Checks a report. `keys` gives the keys that a worker may have (one for each root key in rotation). The
    /// error is the answer to send.
    pub fn receive(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        keys: impl FnOnce(&WorkerId) -> Vec<WorkerKey>,
    ) -> Result<Received, Box<Response<Bytes>>> {
        let worker = claimed_worker(headers).ok_or_else(|| Box::new(reply::unsealed()))?;
        let mut outcome = Err(Shut::Unknown);
        for key in keys(&worker) {
            outcome = self.0.admit(&key, &Method::POST, HEARTBEAT, headers, body);
            if !matches!(outcome, Err(Shut::Unknown | Shut::Unproven(_))) {
                break;
            }
        }
        let admitted = outcome.map_err(|shut| Box::new(reply::shut(&shut)))?;
        let malformed = || reply::sealed(&admitted, StatusCode::BAD_REQUEST, &Refusal::Malformed);
        let heartbeat = serde_json::from_slice(body).map_err(|_| Box::new(malformed()))?;
        Ok(Received { worker, heartbeat, admitted })
    }
}

impl Received {
    /// Who reports.
    pub fn worker(&self) -> &WorkerId {
        &self.worker
    }

    /// The key that its MAC was checked with.
    pub fn key(&self) -> &WorkerKey {
        self.admitted.key()
    }

    /// Which start of it.
    pub fn incarnation(&self) -> Incarnation {
        self.admitted.incarnation()
    }

    /// What it says.
    pub fn heartbeat(&self) -> &Heartbeat {
        &self.heartbeat
    }

    /// The sealed answer.
    pub fn answer(&self, reply: &HeartbeatReply) -> Response<Bytes> {
        reply::sealed(&self.admitted, StatusCode::OK, reply)
    }
}
