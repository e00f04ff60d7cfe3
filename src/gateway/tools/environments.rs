//! Creating, closing and listing environments.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::time::Instant;

use super::{Call, Tool, ToolAnswer, Tools, arguments, random_id};
use crate::directory::{DirectoryError, Launch, Reservation};
use crate::domain::handle::Handle;
use crate::domain::ids::{EnvironmentId, OwnerDigest, Principal, Timestamp, WorkerId};
use crate::domain::placement::{Epoch, Holding, Placement, Sighting, choose};
use crate::gateway::claims;
use crate::gateway::failure::{Failure, Fault, ToolError};
use crate::mcp::ErrorCode;
use crate::rpc::client::{Recovery, TraceHeaders};
use crate::rpc::wire::{
    CloseRequest, CreateReply, CreateRequest, Done, ListRequest, Listed, NotStarted, Target,
};

/// How long a worker may take to write a new environment's record.
const CREATE_DEADLINE: Duration = Duration::from_secs(5);
/// How long a worker may take to end an environment.
const CLOSE_DEADLINE: Duration = Duration::from_secs(15);
/// How long a worker may take to name environments; a list does without the slow ones.
pub(super) const LIST_DEADLINE: Duration = Duration::from_secs(1);
/// How soon the directory hears of an environment that ended, as a rule.
const FREED_SOON: Duration = Duration::from_secs(5);
/// How long a new environment waits for the workers' lists before it is refused.
const LISTS_DEADLINE: Duration = Duration::from_millis(900);
/// Workers that are asked to take one new environment.
const MAX_ASKED: usize = 3;

impl Tools {
    /// `launchShell`: with a key the environment that it names, else a new one.
    pub(super) async fn launch(
        self: &Arc<Self>,
        tool: Tool,
        call: &Call,
    ) -> Result<ToolAnswer, Failure> {
        let arguments::Nothing {} = arguments::read(tool.name(), call.arguments.as_ref())?;
        let environment = EnvironmentId::from_bytes(random_id());
        let not_after = self.clock.now().after(self.policy.max_life);
        let new = Launch { environment, not_after };
        match &call.key {
            Some(key) => self.launch_once(call, key, new).await,
            None => self.create(call, new, None).await.map_err(|it| it.failure),
        }
    }

    /// Creates an environment: a place in the quota, a worker that takes it, a handle. After `until` another gateway may
    /// create the same one elsewhere.
    pub(super) async fn create(
        &self,
        call: &Call,
        new: Launch,
        until: Option<Instant>,
    ) -> Result<ToolAnswer, NotCreated> {
        let Launch { environment, not_after } = new;
        self.reserve(call, environment).await?;
        let holding = match self.give_away(call, new, until).await {
            Ok(holding) => holding,
            Err(not_created) => {
                self.release(&call.caller, environment).await;
                return Err(not_created);
            }
        };
        if let Err(error) = self.directory.place(&holding).await {
            // The worker's next heartbeat says so too.
            tracing::warn!(%error, ?environment, "placement not noted");
        }
        self.locator.remember(environment, holding.placement);
        self.environments_changed(&call.caller);
        Ok(self.launched(call, &Handle::issue(environment, 0, not_after)))
    }

    /// What a launch returns.
    pub(super) fn launched(&self, call: &Call, handle: &Handle<EnvironmentId>) -> ToolAnswer {
        ToolAnswer::of(json!({
            "environmentId": handle.seal(&call.caller, &self.keys),
            "expiresAt": handle.not_after().to_rfc3339(),
            "idleTimeoutSeconds": self.policy.idle_timeout.as_secs(),
        }))
    }

    async fn reserve(&self, call: &Call, environment: EnvironmentId) -> Result<(), Failure> {
        let limit = self.policy.max_per_tenant;
        let tenant = call.caller.tenant_digest();
        let deadline = Instant::now() + LISTS_DEADLINE;
        loop {
            match self.directory.reserve(tenant, environment, limit).await {
                Ok(Reservation::Granted) => return Ok(()),
                Ok(Reservation::Full) => return Err(self.quota_error(call).await.into()),
                Err(DirectoryError::Incomplete)
                    if self.candidates(environment).await.is_empty() =>
                {
                    return Err(nobody_takes_it());
                }
                Err(error) => {
                    // As a rule the workers tell it what they have within two seconds.
                    if matches!(error, DirectoryError::Incomplete)
                        && self.fleet.wait_for_lists(deadline).await
                    {
                        continue;
                    }
                    if let Some(before) = self.quota_said.say() {
                        tracing::warn!(%error, before, "quota not checked");
                    }
                    return Err(Fault::directory_away().into());
                }
            }
        }
    }

    async fn quota_error(&self, call: &Call) -> ToolError {
        let wait = self.next_place(call).await;
        ToolError::not_begun(format!(
            "You have as many environments as you may ({}). Close one with closeEnvironment, or come back in {} \
             seconds: unused ones are deleted.",
            self.policy.max_per_tenant,
            wait.as_secs().max(1),
        ))
        .with_code(ErrorCode::QuotaExceeded)
        .retry_after(wait)
    }

    /// How long until a tenant may have a place again, if it does nothing.
    async fn next_place(&self, call: &Call) -> Duration {
        let (environments, partial) = self.ask_all(&call.caller, None, &call.trace).await;
        let held = u32::try_from(environments.len()).unwrap_or(u32::MAX);
        if !partial && held < self.policy.max_per_tenant {
            return FREED_SOON; // the directory has not heard yet of one that ended
        }
        let soonest = environments.iter().map(|it| it.idle_deadline_ms).min();
        soonest.map_or(self.policy.idle_timeout, |deadline| {
            let left = Timestamp::from_millis(deadline).since(self.clock.now());
            left.max(Duration::from_secs(1))
        })
    }

    /// The workers that may take it, in the order of [`choose`].
    async fn candidates(&self, environment: EnvironmentId) -> Vec<Sighting> {
        let choose = || -> Vec<Sighting> {
            let sightings = self.fleet.expectations();
            choose(environment, &sightings, self.clock.now()).into_iter().cloned().collect()
        };
        let chosen = choose();
        if !chosen.is_empty() {
            return chosen;
        }
        self.fleet.refresh().await;
        choose()
    }

    /// Asks workers, in the order of [`choose`], until one has taken the environment.
    async fn give_away(
        &self,
        call: &Call,
        new: Launch,
        until: Option<Instant>,
    ) -> Result<Holding, NotCreated> {
        let Launch { environment, not_after } = new;
        let chosen = self.candidates(environment).await;
        if chosen.is_empty() {
            return Err(nobody_takes_it().into());
        }
        for sighting in chosen.into_iter().take(MAX_ASKED) {
            // A gateway that was paused meanwhile would give away what is another's by now.
            if until.is_some_and(|until| Instant::now() + CREATE_DEADLINE > until) {
                let failure = Fault::launch_under_way().into();
                return Err(NotCreated { failure, may_be_there: true });
            }
            let worker = &sighting.report.worker;
            let holding = holding(&call.caller, environment, worker, not_after);
            if self.offer(call, &holding).await? {
                return Ok(holding);
            }
        }
        Err(Failure::from(Fault::overloaded()).into())
    }

    /// Offers an environment to a worker; false if it did not take it.
    async fn offer(&self, call: &Call, holding: &Holding) -> Result<bool, NotCreated> {
        let Some(peer) = self.fleet.peer(&holding.placement.worker) else { return Ok(false) };
        let request = CreateRequest {
            claim: claims::seal(holding, &self.keys),
            idle_timeout_ms: millis(self.policy.idle_timeout),
        };
        self.fleet.offers(peer.worker());
        match self.client.create(&peer, &request, CREATE_DEADLINE, &call.trace).await {
            Ok(CreateReply::Created) => Ok(true),
            Ok(CreateReply::Refused { why }) => {
                tracing::info!(worker = %peer.worker(), why, "environment refused");
                Ok(false)
            }
            Err(error) => {
                tracing::warn!(%error, worker = %peer.worker(), "environment not given away");
                match error.recovery() {
                    Recovery::Retry | Recovery::Relocate => Ok(false),
                    // It may hold the environment now. Nobody has a handle to it, so it will idle out.
                    Recovery::GiveUp => {
                        let fault = Fault::worker_unreachable(
                            "the worker did not answer: no environment was handed out, try again",
                        );
                        Err(NotCreated { failure: fault.into(), may_be_there: true })
                    }
                }
            }
        }
    }

    async fn release(&self, caller: &Principal, environment: EnvironmentId) {
        if let Err(error) = self.directory.release(caller.tenant_digest(), environment).await {
            tracing::debug!(%error, ?environment, "not released; the reservation ends by itself");
        }
    }

    /// `closeEnvironment`: what is closed already is closed.
    pub(super) async fn close(&self, call: &Call) -> Result<ToolAnswer, Failure> {
        let asked: arguments::Close =
            arguments::read(Tool::CloseEnvironment.name(), call.arguments.as_ref())?;
        let handle = self.open(&asked.environment_id, &call.caller)?;
        let (environment, owner) = (handle.id(), call.caller.owner_digest());
        let mut route = self.locator.route(&call.caller, environment, &call.trace);
        loop {
            let (peer, epoch) = match route.next().await {
                Ok(stop) => stop,
                Err(Failure::Tool(_)) => break, // gone
                Err(failure) => return Err(failure),
            };
            let target = target(owner, &handle, epoch);
            let request = CloseRequest { target };
            match self.client.close(&peer, &request, CLOSE_DEADLINE, &call.trace).await {
                Ok(Done::Done | Done::NotDone(NotStarted::Gone { .. })) => break,
                Ok(Done::NotDone(why)) => route.not_started(&why)?,
                Err(error) => route.failed(&error)?,
            }
        }
        self.locator.forget(environment);
        self.release(&call.caller, environment).await;
        self.environment_changed(owner, environment);
        self.environments_changed(&call.caller);
        Ok(ToolAnswer::of(json!({"closed": true})))
    }

    /// `listEnvironments`: the caller's own, with their handles signed again. The anonymous have none of their own.
    pub(super) async fn list(&self, call: &Call) -> Result<ToolAnswer, Failure> {
        let arguments::Nothing {} =
            arguments::read(Tool::ListEnvironments.name(), call.arguments.as_ref())?;
        if call.caller == Principal::Anonymous {
            let note = "Without an API key nobody owns an environment, so none are listed.";
            return Ok(ToolAnswer::of(json!({"environments": [], "partial": false, "note": note})));
        }
        let (environments, partial) = self.own_environments(&call.caller, &call.trace).await;
        Ok(ToolAnswer::of(json!({"environments": environments, "partial": partial})))
    }

    /// What every worker lists of a tenant or owner, oldest first, and whether one did not answer.
    pub(super) async fn ask_all(
        &self,
        caller: &Principal,
        owner: Option<String>,
        trace: &TraceHeaders,
    ) -> (Vec<Listed>, bool) {
        let tenant = caller.tenant_digest().to_string();
        let request = ListRequest { tenant, owner, environment: None };
        let peers = self.fleet.peers();
        let asked = peers.iter().map(|peer| self.client.list(peer, &request, LIST_DEADLINE, trace));
        // Who knows no worker knows nothing of what they hold.
        let (mut listed, mut partial) = (Vec::new(), peers.is_empty());
        for answer in join_all(asked).await {
            match answer {
                Ok(reply) => listed.extend(reply.environments),
                Err(error) => {
                    partial = true;
                    tracing::debug!(%error, "a worker is missing from a list");
                }
            }
        }
        listed.sort_by(|a, b| (a.created_ms, &a.environment).cmp(&(b.created_ms, &b.environment)));
        (listed, partial)
    }
}

/// Why no environment was created.
pub(super) struct NotCreated {
    pub(super) failure: Failure,
    /// Whether a worker may have it all the same.
    pub(super) may_be_there: bool,
}

impl From<Failure> for NotCreated {
    fn from(failure: Failure) -> Self {
        Self { failure, may_be_there: false }
    }
}

fn nobody_takes_it() -> Failure {
    let message = "no worker takes new environments at the moment: try again shortly";
    Fault::worker_unreachable(message).into()
}

fn holding(
    caller: &Principal,
    environment: EnvironmentId,
    worker: &WorkerId,
    not_after: Timestamp,
) -> Holding {
    Holding {
        environment,
        tenant: caller.tenant_digest(),
        owner: caller.owner_digest(),
        placement: Placement { worker: worker.clone(), epoch: Epoch::FIRST },
        not_after,
    }
}

/// Which environment a call to a worker means, and as whom.
pub(super) fn target(owner: OwnerDigest, handle: &Handle<EnvironmentId>, epoch: Epoch) -> Target {
    Target {
        environment: handle.id().to_string(),
        owner: owner.to_string(),
        generation: handle.generation(),
        epoch: epoch.0,
    }
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
