//! What becomes of an execution whose client leaves.

use std::sync::Arc;
use std::time::Duration;

use super::keyed::Ask;
use super::{Call, Tools};
use crate::directory::Change;
use crate::domain::ids::{EnvironmentId, OwnerDigest};
use crate::rpc::client::Peer;
use crate::rpc::wire::CancelRequest;

/// How long a worker may take to acknowledge a cancel.
const CANCEL_DEADLINE: Duration = Duration::from_secs(5);

/// Tells the worker to stop an execution that nobody waits for any more (cancellation, "Streamable HTTP"), unless it is
/// disarmed. Most are, so it only borrows what it would tell.
pub(super) struct CancelOnDrop<'a> {
    pub(super) tools: &'a Tools,
    pub(super) call: &'a Call,
    pub(super) peer: &'a Peer,
    pub(super) environment: EnvironmentId,
    pub(super) owner: OwnerDigest,
    pub(super) ask: &'a Ask,
}

impl CancelOnDrop<'_> {
    /// The execution is somebody's, or has ended.
    pub(super) fn disarm(self) {
        std::mem::forget(self); // it owns nothing
    }
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        let (environment, owner) = (self.environment, self.owner);
        let request = CancelRequest {
            environment: environment.to_string(),
            execution: self.ask.request().execution.clone(),
            caller: self.ask.key().map(|key| key.caller.clone()),
        };
        let (client, peer) = (self.tools.client.clone(), self.peer.clone());
        let (trace, hub) = (self.call.trace.clone(), Arc::clone(&self.tools.hub));
        self.tools.tasks.spawn(async move {
            if let Err(error) = client.cancel(&peer, &request, CANCEL_DEADLINE, &trace).await {
                tracing::warn!(%error, worker = %peer.worker(), "cancel not delivered");
            }
            hub.spread(Change::Environment { environment, owner });
        });
    }
}
