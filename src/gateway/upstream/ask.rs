//! A client's request on its way to an upstream.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderName, HeaderValue};

use crate::domain::ids::Principal;
use crate::mcp::{ClientCapabilities, Envelope, Era, JsonBuf};
use crate::rpc::client::TraceHeaders;

/// A client's request, and what of it is different for the upstream.
#[derive(Clone, Debug)]
pub(in crate::gateway) struct Ask {
    /// The request.
    pub envelope: Arc<Envelope>,
    /// Who asks. Nothing of their credentials is in here.
    pub caller: Principal,
    /// What it is aimed at, in the upstream's own words: a tool without the prefix, a task's own id.
    pub name: Option<String>,
    /// Params that are others for the upstream; `None` takes one out.
    pub replacing: Vec<(&'static str, Option<JsonBuf>)>,
    /// The headers in which arguments of a tool are repeated.
    pub mirrored: Vec<(HeaderName, HeaderValue)>,
    /// The trace context to pass on.
    pub trace: TraceHeaders,
}

impl Ask {
    /// What its client can be asked for: what it declared, or what one of the legacy era is taken for that takes a
    /// stream on which it can be asked.
    pub(super) fn client(&self) -> ClientCapabilities {
        match self.envelope.era() {
            Era::Modern => self.envelope.meta().client_capabilities().clone(),
            Era::Legacy(version) if self.envelope.accepts_sse() => {
                ClientCapabilities::assumed(version)
            }
            Era::Legacy(_) => ClientCapabilities::default(),
        }
    }

    /// Whether progress can reach the client.
    pub(super) fn wants_progress(&self) -> bool {
        self.envelope.accepts_sse() && self.envelope.meta().progress_token().is_some()
    }
}

/// A number that no other request of this process has: the id of a request to an upstream.
pub(super) fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
