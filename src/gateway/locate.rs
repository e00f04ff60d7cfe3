//! From a handle to the worker that holds its environment.
//!
//! What this replica remembers, else what the directory knows, else what the workers say. A missing entry never
//! means that the environment is gone: only "not mine" from every worker does, and only where this replica can be
//! sure to know every worker.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use quick_cache::sync::Cache;

use super::claims;
use super::failure::{Executed, Failure, Fault, ToolError};
use super::fleet::Fleet;
use crate::directory::{Directory, Placed};
use crate::domain::environment::GoneReason;
use crate::domain::ids::{EnvironmentId, Principal};
use crate::domain::keyring::Keyring;
use crate::domain::placement::{Epoch, Holding, Placement};
use crate::mcp::ErrorCode;
use crate::rpc::client::{Peer, Recovery, TraceHeaders, WorkerClient, WorkerError};
use crate::rpc::wire::{FindReply, FindRequest, NotStarted, Queue};

/// Placements that one replica remembers.
const REMEMBERED: usize = 100_000;
/// How long a worker may take to say whether it holds an environment.
const FIND_DEADLINE: Duration = Duration::from_secs(1);
/// How often one call is sent on before it is given up.
const MAX_STOPS: u32 = 4;

/// Finds environments.
#[derive(Debug)]
pub(super) struct Locator {
    fleet: Arc<Fleet>,
    directory: Arc<dyn Directory>,
    keys: Keyring,
    client: WorkerClient,
    remembered: Cache<EnvironmentId, Placement>,
}

impl Locator {
    /// A locator that remembers nothing yet.
    pub(super) fn new(
        fleet: Arc<Fleet>,
        directory: Arc<dyn Directory>,
        keys: Keyring,
        client: WorkerClient,
    ) -> Self {
        Self { fleet, directory, keys, client, remembered: Cache::new(REMEMBERED) }
    }

    /// Remembers where an environment was placed.
    pub(super) fn remember(&self, environment: EnvironmentId, placement: Placement) {
        self.remembered.insert(environment, placement);
    }

    /// Forgets an environment that is no more.
    pub(super) fn forget(&self, environment: EnvironmentId) {
        self.remembered.remove(&environment);
    }

    /// The stops to make for one call.
    pub(super) fn route<'a>(
        &'a self,
        caller: &'a Principal,
        environment: EnvironmentId,
        trace: &'a TraceHeaders,
    ) -> Route<'a> {
        Route { locator: self, caller, environment, trace, known: Known::Remembered, stops: 0 }
    }

    async fn in_directory(
        &self,
        caller: &Principal,
        environment: EnvironmentId,
    ) -> Option<Placement> {
        match self.directory.locate(caller.tenant_digest(), environment).await {
            Ok(placement) => placement,
            Err(error) => {
                tracing::debug!(%error, ?environment, "not looked up in the directory");
                None
            }
        }
    }

    async fn search(
        &self,
        environment: EnvironmentId,
        trace: &TraceHeaders,
    ) -> Result<Placement, Failure> {
        match self.whereabouts(environment, trace).await? {
            Whereabouts::Held(placement) => Ok(placement),
            Whereabouts::Gone(reason) => Err(gone_error(reason).into()),
            Whereabouts::Nowhere => Err(gone_error(GoneReason::Lost).into()),
        }
    }

    /// Asks every worker.
    pub(super) async fn whereabouts(
        &self,
        environment: EnvironmentId,
        trace: &TraceHeaders,
    ) -> Result<Whereabouts, Failure> {
        let request = FindRequest { environment: environment.to_string() };
        let request = &request;
        self.fleet.refresh().await;
        let peers = self.fleet.peers();
        let answers = join_all(peers.iter().map(|peer| async move {
            (peer, self.client.find(peer, request, FIND_DEADLINE, trace).await)
        }));
        let (mut gone, mut silent) = (None, 0);
        for (peer, answer) in answers.await {
            match answer {
                Ok(FindReply::Held { claim }) => {
                    let proven = claims::proven(&claim, peer.worker(), &self.keys);
                    if let Some(holding) = proven.filter(|it| it.environment == environment) {
                        return Ok(Whereabouts::Held(self.found(holding).await));
                    }
                    tracing::warn!(worker = %peer.worker(), ?environment, "claim without a ticket");
                }
                Ok(FindReply::Gone { reason }) => gone = Some(gone_for(&reason)),
                Ok(FindReply::NotMine) => {}
                Err(error) => {
                    silent += 1;
                    tracing::debug!(%error, worker = %peer.worker(), "did not say what it holds");
                }
            }
        }
        match gone {
            Some(reason) => Ok(Whereabouts::Gone(reason)),
            None if silent == 0 && self.fleet.knows_all().await => Ok(Whereabouts::Nowhere),
            None => Err(Fault::worker_unreachable(
                "a worker that may hold this environment cannot be reached: try again shortly",
            )
            .into()),
        }
    }

    /// Notes what a worker holds, and believes it even where the directory knows better ([`Placed::Stale`]). An
    /// environment is offered to a second worker only when the first one surely did not take it, and never leaves its
    /// worker, so there is one that holds it. Then either the directory is wrong, which must not hide an environment, or
    /// it was closed meanwhile, which its worker says to the call.
    async fn found(&self, holding: Holding) -> Placement {
        match self.directory.place(&holding).await {
            Ok(Placed::Noted) => {}
            Ok(Placed::Stale) => {
                tracing::debug!(environment = ?holding.environment, "held where the directory does not place it");
            }
            Err(error) => tracing::debug!(%error, "a found placement was not noted"),
        }
        self.remember(holding.environment, holding.placement.clone());
        holding.placement
    }
}

/// What the workers say of an environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Whereabouts {
    /// One holds it.
    Held(Placement),
    /// One held it, and it is no more.
    Gone(GoneReason),
    /// Every worker was asked, and none knows it.
    Nowhere,
}

/// One call's way to the worker that holds its environment.
#[derive(Debug)]
pub(super) struct Route<'a> {
    locator: &'a Locator,
    caller: &'a Principal,
    environment: EnvironmentId,
    trace: &'a TraceHeaders,
    known: Known,
    stops: u32,
}

/// Where the next stop is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Remembered,
    InDirectory,
    ByWorkers,
}

impl Route<'_> {
    /// The next worker to call, and the epoch under which it should hold the environment.
    pub(super) async fn next(&mut self) -> Result<(Peer, Epoch), Failure> {
        self.stops += 1;
        if self.stops > MAX_STOPS {
            return Err(unreachable());
        }
        if self.known == Known::Remembered {
            self.known = Known::InDirectory;
            let remembered = self.locator.remembered.get(&self.environment);
            if let Some(stop) = remembered.and_then(|it| self.stop(&it)) {
                return Ok(stop);
            }
        }
        // Boxed: most calls go where the one before went.
        Box::pin(self.look_up()).await
    }

    async fn look_up(&mut self) -> Result<(Peer, Epoch), Failure> {
        let locator = self.locator;
        if self.known == Known::InDirectory {
            self.known = Known::ByWorkers;
            if let Some(placement) = locator.in_directory(self.caller, self.environment).await {
                if self.stop(&placement).is_none() {
                    locator.fleet.refresh().await;
                }
                if let Some(stop) = self.stop(&placement) {
                    locator.remember(self.environment, placement);
                    return Ok(stop);
                }
            }
        }
        let placement = locator.search(self.environment, self.trace).await?;
        self.stop(&placement).ok_or_else(unreachable)
    }

    /// Takes in that the worker started nothing. Returns what the caller is to be told, if this is the end.
    pub(super) fn not_started(&mut self, why: &NotStarted) -> Result<(), Failure> {
        if let NotStarted::NotMine | NotStarted::WrongEpoch { .. } | NotStarted::Gone { .. } = why {
            self.locator.forget(self.environment);
        }
        if let NotStarted::QueueFull { queue: Queue::Worker, .. } = why {
            return Err(Fault::overloaded().into()); // it passes, and is none of the model's doing
        }
        not_begun(why).map_or(Ok(()), |error| Err(error.into()))
    }

    /// Takes in that the call failed. Returns what the caller is to be told, unless it may be sent again.
    pub(super) fn failed(&mut self, error: &WorkerError) -> Result<(), Failure> {
        tracing::debug!(%error, environment = ?self.environment, "worker call failed");
        match error.recovery() {
            Recovery::Retry | Recovery::Relocate => {
                self.locator.forget(self.environment);
                Ok(())
            }
            Recovery::GiveUp if matches!(error, WorkerError::Deadline(_)) => {
                Err(Fault::deadline().into())
            }
            Recovery::GiveUp if !error.may_have_run() => Err(Fault::internal(Executed::No).into()),
            Recovery::GiveUp => Err(Fault::outcome_unknown().into()),
        }
    }

    fn stop(&self, placement: &Placement) -> Option<(Peer, Epoch)> {
        let peer = self.locator.fleet.peer(&placement.worker)?;
        Some((peer, placement.epoch))
    }
}

fn unreachable() -> Failure {
    let message = "the worker that holds this environment cannot be reached: try again shortly";
    Fault::worker_unreachable(message).into()
}

/// What a model is told of a call that was not begun; nothing, where another worker may begin it.
pub(super) fn not_begun(why: &NotStarted) -> Option<ToolError> {
    Some(match why {
        NotStarted::NotMine | NotStarted::WrongEpoch { .. } => return None,
        NotStarted::Gone { reason } => gone_error(gone_for(reason)),
        NotStarted::Foreign => unknown_environment(),
        NotStarted::Restarted(restarted) => restarted_error(&restarted.reason),
        NotStarted::QueueFull { retry_after_ms, queue } => {
            let text = match queue {
                Queue::Environment => {
                    "This environment is busy with other calls of yours: wait for one to end, then call again."
                }
                Queue::Worker => {
                    "Nothing was run: the worker of this environment runs as many calls as it may. Call again."
                }
            };
            ToolError::not_begun(text).retry_after(Duration::from_millis(*retry_after_ms))
        }
        NotStarted::NoSandbox { why } => {
            ToolError::not_begun(format!("No sandbox could be started: {why}"))
                .retry_after(Duration::from_secs(1))
        }
        NotStarted::Cancelled => ToolError::not_begun("The call was cancelled before it began."),
        NotStarted::NotKept => ToolError::not_begun(
            "Nothing was run: this environment can keep no more tasks now. Call without a task, or again later.",
        )
        .retry_after(Duration::from_secs(1)),
        NotStarted::KeyConflict => ToolError::not_begun(
            "Nothing was run: this idempotency key belongs to an earlier call in this environment, of another tool or \
             with other arguments. Repeat that call as it was to get its result, or use a new key for this one.",
        )
        .with_code(ErrorCode::KeyConflict),
        NotStarted::KeysFull { retry_after_ms } => ToolError::not_begun(
            "Nothing was run: this environment keeps as many idempotency keys as it may, and the oldest must be kept for \
             a while yet. Call again later, or without a key.",
        )
        .retry_after(Duration::from_millis(*retry_after_ms)),
        NotStarted::KeyNotKept => ToolError::not_begun(
            "Nothing was run: the worker's disk does not take the idempotency key, so a repeat could run twice. Call \
             again shortly, or without a key.",
        )
        .retry_after(Duration::from_secs(1)),
    })
}

/// The one answer to handles that are foreign, forged or revoked.
pub(super) fn unknown_environment() -> ToolError {
    ToolError::not_begun(
        "You have no such environment. Call launchShell and pass the environmentId it returns verbatim.",
    )
}

fn gone_for(word: &str) -> GoneReason {
    GoneReason::parse(word).unwrap_or(GoneReason::Lost)
}

/// What a model is told of an environment that is no more.
pub(super) fn gone_error(reason: GoneReason) -> ToolError {
    let why = match reason {
        GoneReason::Deleted => "was closed",
        GoneReason::Expired => "was idle too long or reached the end of its life, and was deleted",
        GoneReason::Lost => "was lost together with its worker",
    };
    ToolError::not_begun(format!(
        "This environment {why}, with its files and variables. Call launchShell for a new one."
    ))
    .of_gone(reason)
}

fn restarted_error(reason: &str) -> ToolError {
    ToolError::not_begun(
        "Nothing was run: the Python interpreter of this environment was restarted since your last call. Its files \
         are kept, its variables and imports are gone. Define again what this code needs, then call again.",
    )
    .retry_after(Duration::from_millis(1))
    .with("environment", restarted_notice(reason))
}

/// The notice of a restarted interpreter, as results carry it.
pub(super) fn restarted_notice(reason: &str) -> serde_json::Value {
    let restarted =
        serde_json::json!({"reason": reason, "filesKept": true, "variablesKept": false});
    serde_json::json!({"restarted": restarted})
}
