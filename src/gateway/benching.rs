//! What the benches reach of this folder: whether a caller may ask, and which upstream a request is for.

use std::num::NonZeroU32;
use std::sync::Arc;

use tokio_util::task::TaskTracker;

use super::limits::{Asked, Limits};
use super::observe::KNOWN_CODES;
use super::upstream::{Changes, Upstream, Upstreams};
use super::{Buffers, InFlight, Rates};
use crate::clock::Clock;
use crate::directory::Directory;
use crate::domain::ids::Principal;
use crate::domain::keyring::Keyring;
use crate::mcp::Envelope;
use crate::telemetry::Metrics;

const REPLICA: &str = "bench";

/// The rates of the only replica.
#[derive(Debug)]
pub struct Admission(Limits);

impl Admission {
    /// Nobody has asked yet.
    pub fn new(rates: Rates, directory: Arc<dyn Directory>) -> Self {
        let nothing =
            (InFlight { calls: 0, calls_per_tenant: 0 }, Buffers { bytes: 0, bytes_per_tenant: 0 });
        let metrics = Metrics::new(REPLICA, KNOWN_CODES);
        Self(Limits::new(rates, nothing, NonZeroU32::MIN, directory, &metrics))
    }

    /// Counts a request in each of its rates, unless one is used up.
    pub async fn admits(&self, caller: &Principal, request: &Envelope) -> bool {
        let asked = Asked { method: Some(request.method()), tool: request.name() };
        self.0.admit(caller, asked).await.1.is_ok()
    }
}

/// Which upstream has what.
#[derive(Debug)]
pub struct Routes(Upstreams);

impl Routes {
    /// Upstreams that nobody has asked yet; in a runtime, where they are looked after.
    pub fn new(upstreams: &[Arc<Upstream>], keys: Keyring, clock: Clock) -> Self {
        let routes = Upstreams::new(keys, REPLICA, clock, TaskTracker::new(), Changes::new());
        routes.apply(upstreams);
        Self(routes)
    }

    /// Whether some upstream is asked.
    pub async fn lead_somewhere(&self, request: &Envelope, caller: &Principal) -> bool {
        matches!(self.0.destination(request, caller).await, Ok(Some(_)))
    }
}
