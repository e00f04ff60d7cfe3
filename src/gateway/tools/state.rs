//! What environments are like at the moment, told without using them.

use serde_json::{Value, json};

use super::Tools;
use super::environments::LIST_DEADLINE;
use crate::directory::{Audience, Change, List};
use crate::domain::handle::Handle;
use crate::domain::ids::{EnvironmentId, OwnerDigest, Principal, Timestamp};
use crate::gateway::failure::{Failure, ToolError};
use crate::gateway::locate;
use crate::rpc::client::TraceHeaders;
use crate::rpc::wire::{ListRequest, Listed, NotStarted};

impl Tools {
    /// Which environment a token names, if it is a handle of this caller and good.
    pub(crate) fn named(
        &self,
        token: &str,
        caller: &Principal,
    ) -> Result<EnvironmentId, ToolError> {
        self.open(token, caller).map(|handle| handle.id())
    }

    /// The caller's own environments, oldest first, and whether a worker did not answer. The anonymous have none of
    /// their own.
    pub(crate) async fn own_environments(
        &self,
        caller: &Principal,
        trace: &TraceHeaders,
    ) -> (Vec<Value>, bool) {
        if *caller == Principal::Anonymous {
            return (Vec::new(), false);
        }
        let owner = Some(caller.owner_digest().to_string());
        let (listed, partial) = self.ask_all(caller, owner, trace).await;
        (listed.iter().filter_map(|it| self.describe(caller, it)).collect(), partial)
    }

    /// One environment, as its worker knows it.
    pub(crate) async fn environment(
        &self,
        token: &str,
        caller: &Principal,
        trace: &TraceHeaders,
    ) -> Result<Value, Failure> {
        let handle = self.open(token, caller)?;
        let id = handle.id().to_string();
        let request = ListRequest {
            tenant: caller.tenant_digest().to_string(),
            owner: Some(caller.owner_digest().to_string()),
            environment: Some(id.clone()),
        };
        let mut route = self.locator.route(caller, handle.id(), trace);
        loop {
            let (peer, _) = route.next().await?;
            let asked = self.client.list(&peer, &request, LIST_DEADLINE, trace).await;
            // A worker of the release before lists the others too.
            let this = |listed: &Listed| listed.environment == id;
            let listed = asked.map(|reply| reply.environments.into_iter().find(this));
            match listed {
                Ok(Some(listed)) if listed.generation != handle.generation() => {
                    return Err(locate::unknown_environment().into());
                }
                Ok(Some(listed)) => {
                    let described = self.describe(caller, &listed);
                    return described.ok_or_else(|| locate::unknown_environment().into());
                }
                Ok(None) => {}
                // To ask is safe to repeat, so it is looked for elsewhere like one that is not there.
                Err(error) => tracing::debug!(%error, "an environment's state was not told"),
            }
            route.not_started(&NotStarted::NotMine)?;
        }
    }

    /// Tells whoever listens that an environment was used, or is no more.
    pub(in crate::gateway) fn environment_changed(
        &self,
        owner: OwnerDigest,
        environment: EnvironmentId,
    ) {
        self.hub.spread(Change::Environment { environment, owner });
    }

    /// Tells whoever listens that the caller's environments are others. The anonymous have no list of their own.
    pub(super) fn environments_changed(&self, caller: &Principal) {
        if *caller != Principal::Anonymous {
            let audience = Audience::Owner(caller.owner_digest());
            self.hub.spread(Change::List { list: List::Resources, audience });
        }
    }

    /// What a client is told of an environment.
    pub(super) fn describe(&self, caller: &Principal, listed: &Listed) -> Option<Value> {
        let environment = EnvironmentId::from_hex(&listed.environment)?;
        let moment = |millis| Timestamp::from_millis(millis).to_rfc3339();
        let not_after = Timestamp::from_millis(listed.not_after_ms);
        let handle = Handle::issue(environment, listed.generation, not_after);
        Some(json!({
            "environmentId": handle.seal(caller, &self.keys),
            "state": listed.state,
            "createdAt": moment(listed.created_ms),
            "lastUsedAt": moment(listed.last_used_ms),
            "idleExpiresAt": moment(listed.idle_deadline_ms),
            "expiresAt": moment(listed.not_after_ms),
        }))
    }
}
