//! Calls that wait on this replica for their client to bring what the upstream asked for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::call::Call;
use crate::domain::ids::{OwnerDigest, Principal};
use crate::gateway::upstream::config::UpstreamName;
use crate::mcp::InputRequired;

/// Calls that wait at the same time on one replica.
const MAX_CALLS: usize = 256;
/// Those of one caller.
const MAX_CALLS_OF_ONE: usize = 16;
/// How long one waits at most.
const MAX_WAIT: Duration = Duration::from_mins(10);

/// Names a call that waits.
pub(in crate::gateway::upstream) type CallId = [u8; 16];

/// The calls that wait.
#[derive(Debug)]
pub(in crate::gateway::upstream) struct Suspended {
    calls: Mutex<HashMap<CallId, Waiting>>,
    tasks: TaskTracker,
}

#[derive(Debug)]
struct Waiting {
    owner: OwnerDigest,
    call: Call,
    _expiry: DropGuard,
}

/// A call that was just put to wait.
#[derive(Debug)]
pub(in crate::gateway::upstream) struct Suspension {
    /// Its name.
    pub call: CallId,
    /// What its client is asked for.
    pub asks: InputRequired,
}

impl Suspended {
    /// None yet.
    pub(in crate::gateway::upstream) fn new(tasks: TaskTracker) -> Arc<Self> {
        Arc::new(Self { calls: Mutex::default(), tasks })
    }

    /// Lets a call wait for this long; it comes back if too many wait, or nothing was asked.
    pub(super) fn park(
        self: &Arc<Self>,
        caller: &Principal,
        call: Call,
        wait: Duration,
    ) -> Result<Suspension, Box<Call>> {
        let (owner, id) = (caller.owner_digest(), random_id());
        let mut calls = self.calls();
        let of_one = calls.values().filter(|it| it.owner == owner).count();
        if calls.len() >= MAX_CALLS || of_one >= MAX_CALLS_OF_ONE {
            return Err(Box::new(call));
        }
        let asks = call.asked().iter().fold(InputRequired::default(), |asks, it| {
            asks.and_asking(&it.key, it.request.clone())
        });
        let expiry = CancellationToken::new();
        let table = Arc::downgrade(self);
        self.tasks.spawn(expiry.clone().run_until_cancelled_owned(async move {
            sleep(wait.min(MAX_WAIT)).await;
            let expired = table.upgrade().and_then(|it| it.calls().remove(&id));
            if expired.is_some() {
                tracing::info!("a call that waited for its client's input was given up");
            }
        }));
        calls.insert(id, Waiting { owner, call, _expiry: expiry.drop_guard() });
        Ok(Suspension { call: id, asks })
    }

    /// Takes a call to this upstream up again, once; `None` if it does not wait here.
    pub(in crate::gateway::upstream) fn take(
        &self,
        id: CallId,
        caller: &Principal,
        upstream: &UpstreamName,
    ) -> Option<Call> {
        let mut calls = self.calls();
        let owner = caller.owner_digest();
        let is_theirs = |it: &Waiting| it.owner == owner && it.call.upstream() == upstream;
        let known = calls.get(&id).is_some_and(is_theirs);
        known.then(|| calls.remove(&id)).flatten().map(|it| it.call)
    }

    fn calls(&self) -> MutexGuard<'_, HashMap<CallId, Waiting>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn random_id() -> CallId {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the kernel gives random bytes");
    bytes
}
