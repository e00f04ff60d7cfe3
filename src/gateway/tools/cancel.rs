//! What becomes of an execution whose client leaves.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::TaskTracker;

use super::keyed::Ask;
use super::{Call, Tools};
use crate::directory::Change;
use crate::domain::ids::EnvironmentId;
use crate::gateway::listen::Hub;
use crate::rpc::client::{Peer, TraceHeaders, WorkerClient};
use crate::rpc::wire::CancelRequest;

/// How long a worker may take to acknowledge a cancel.
const CANCEL_DEADLINE: Duration = Duration::from_secs(5);

/// Tells the worker to stop an execution that nobody waits for any more (cancellation, "Streamable HTTP").
pub(super) struct CancelOnDrop {
    client: WorkerClient,
    tasks: TaskTracker,
    peer: Peer,
    trace: TraceHeaders,
    request: Option<CancelRequest>,
    hub: Arc<Hub>,
    change: Change,
}

impl CancelOnDrop {
    /// It is armed until it is told otherwise.
    pub(super) fn arm(
        tools: &Tools,
        call: &Call,
        peer: &Peer,
        environment: EnvironmentId,
        ask: &Ask,
    ) -> Self {
        let change = Change::Environment { environment, owner: call.caller.owner_digest() };
        let (environment, execution) = (environment.to_string(), ask.request().execution.clone());
        let caller = ask.key().map(|key| key.caller.clone());
        Self {
            client: tools.client.clone(),
            tasks: tools.tasks.clone(),
            peer: peer.clone(),
            trace: call.trace.clone(),
            request: Some(CancelRequest { environment, execution, caller }),
            hub: Arc::clone(&tools.hub),
            change,
        }
    }

    /// The execution is somebody's, or has ended.
    pub(super) fn disarm(mut self) {
        self.request = None;
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        let Some(request) = self.request.take() else { return };
        let (client, peer) = (self.client.clone(), self.peer.clone());
        let trace = std::mem::take(&mut self.trace);
        let (hub, change) = (Arc::clone(&self.hub), self.change);
        self.tasks.spawn(async move {
            if let Err(error) = client.cancel(&peer, &request, CANCEL_DEADLINE, &trace).await {
                tracing::warn!(%error, worker = %peer.worker(), "cancel not delivered");
            }
            hub.spread(change);
        });
    }
}
