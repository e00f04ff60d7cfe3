//! `launchShell` with an idempotency key: the key names one environment.
//!
//! The directory remembers which, from before it is created. To create it again under its id is safe, so a gateway that
//! dies on the way leaves nothing twice. A directory that forgets costs a spare environment, which idles out.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Call, ToolAnswer, Tools};
use crate::directory::{DirectoryError, LAUNCH_CLAIM_TERM, Launch, LaunchClaim, LaunchEnd};
use crate::domain::environment::GoneReason;
use crate::domain::handle::Handle;
use crate::domain::ids::{LaunchKey, Principal};
use crate::gateway::failure::{Executed, Failure, Fault, ToolError};
use crate::gateway::locate::{Whereabouts, gone_error};
use crate::mcp::IdempotencyKey;

/// How long a repeat waits for the first call, and how long between two looks.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_millis(200));

impl Tools {
    /// The environment that a key names: created now, or handed out again.
    pub(super) async fn launch_once(
        self: &Arc<Self>,
        call: &Call,
        key: &IdempotencyKey,
        new: Launch,
    ) -> Result<ToolAnswer, Failure> {
        // Whoever guessed another's key would get that one's environment.
        if call.caller == Principal::Anonymous {
            return Err(ToolError::not_begun(
                "Nothing was created: without an API key nobody is known, so a launch cannot be told to be a repeat. Call \
                 again without an idempotency key.",
            )
            .into());
        }
        let key = LaunchKey::of(&call.caller, key.as_str());
        let (longest, pause) = PATIENCE;
        let until = Instant::now() + longest;
        loop {
            let (tools, call) = (Arc::clone(self), call.clone());
            // To its end though the client leaves: a claim that nobody settles keeps its key from everyone.
            let launch =
                self.tasks.spawn(async move { tools.claim_and_launch(&call, key, new).await });
            match launch.await.unwrap_or_else(|_| Err(Fault::internal(Executed::Maybe).into()))? {
                Some(answer) => return Ok(answer),
                None if Instant::now() < until => sleep(pause).await,
                None => return Err(Fault::launch_under_way().into()),
            }
        }
    }

    /// Launches it, or finds it launched; nothing while somebody else does.
    async fn claim_and_launch(
        &self,
        call: &Call,
        key: LaunchKey,
        new: Launch,
    ) -> Result<Option<ToolAnswer>, Failure> {
        let until = Instant::now() + LAUNCH_CLAIM_TERM;
        let claim = self.directory.claim_launch(call.caller.tenant_digest(), key, new).await;
        let launched = match claim.map_err(|error| away(&error))? {
            LaunchClaim::Yours(launch) if launch == new => {
                self.create_for(call, key, new, until).await
            }
            LaunchClaim::Yours(launch) => self.take_over(call, key, launch, until).await,
            LaunchClaim::Made(launch) => {
                let known = self.locator.whereabouts(launch.environment, &call.trace).await?;
                Ok(self.hand_out_again(call, launch, &known))
            }
            LaunchClaim::Full { wait } => return Err(keys_full(wait).into()),
            LaunchClaim::UnderWay => return Ok(None),
        };
        launched.map(Some)
    }

    async fn create_for(
        &self,
        call: &Call,
        key: LaunchKey,
        new: Launch,
        until: Instant,
    ) -> Result<ToolAnswer, Failure> {
        let created = self.create(call, new, Some(until)).await;
        match &created {
            Ok(_) => self.settle(call, key, new, LaunchEnd::Made).await,
            // The claim runs out by itself, and who comes then looks for it first.
            Err(not_created) if not_created.may_be_there => {}
            Err(_) => self.settle(call, key, new, LaunchEnd::NotMade).await,
        }
        created.map_err(|it| it.failure)
    }

    /// Goes on where somebody stopped, who may have created it or not.
    async fn take_over(
        &self,
        call: &Call,
        key: LaunchKey,
        launch: Launch,
        until: Instant,
    ) -> Result<ToolAnswer, Failure> {
        let known = match self.locator.whereabouts(launch.environment, &call.trace).await {
            Ok(Whereabouts::Nowhere) => return self.create_for(call, key, launch, until).await,
            Ok(known) => known,
            Err(failure) => {
                // Another replica may be able to look. Late the claim may be another's, and runs out by itself.
                if Instant::now() + LAUNCH_CLAIM_TERM / 2 < until {
                    self.settle(call, key, launch, LaunchEnd::Open).await;
                }
                return Err(failure);
            }
        };
        self.settle(call, key, launch, LaunchEnd::Made).await;
        Ok(self.hand_out_again(call, launch, &known))
    }

    fn hand_out_again(&self, call: &Call, launch: Launch, known: &Whereabouts) -> ToolAnswer {
        let gone = match known {
            Whereabouts::Held(_) => {
                let handle = Handle::issue(launch.environment, 0, launch.not_after);
                return self.launched(call, &handle).replayed();
            }
            Whereabouts::Gone(reason) => gone_error(*reason),
            Whereabouts::Nowhere if launch.not_after <= self.clock.now() => {
                gone_error(GoneReason::Expired)
            }
            Whereabouts::Nowhere => gone_error(GoneReason::Lost),
        };
        let gone = gone.of_repeat(Executed::Yes, "Use a new idempotency key for that, or none.");
        ToolAnswer::from(&gone).replayed()
    }

    async fn settle(&self, call: &Call, key: LaunchKey, launch: Launch, how: LaunchEnd) {
        let (tenant, environment) = (call.caller.tenant_digest(), launch.environment);
        if let Err(error) = self.directory.settle_launch(tenant, key, environment, how).await {
            tracing::debug!(%error, ?environment, "not settled; the claim runs out by itself");
        }
    }
}

fn keys_full(wait: Duration) -> ToolError {
    ToolError::not_begun(
        "Nothing was created: your tenant has launched under as many idempotency keys as are remembered, and the oldest must \
         be kept for a while yet. Call again later, or without a key.",
    )
    .retry_after(wait)
}

fn away(error: &DirectoryError) -> Failure {
    tracing::warn!(%error, "an idempotency key was not looked up");
    Fault::directory_away().into()
}
