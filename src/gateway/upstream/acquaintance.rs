//! What is known of an upstream, and when it is asked again.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::discovery::{self, Known};
use super::exchange::Until;
use super::server::Server;
use super::trouble::Trouble;

/// How long what an upstream said of itself is believed without asking again.
const KNOWN_FOR: Duration = Duration::from_mins(5);
/// The same after it was asked again and did not answer.
const ASK_AGAIN: Duration = Duration::from_secs(30);
/// How long one that never said anything, and does not now either, is not asked again.
const LEFT_ALONE: Duration = Duration::from_secs(1);

/// What an upstream said of itself, if it has. One at a time asks it.
#[derive(Debug, Default)]
pub(super) struct Acquaintance {
    said: RwLock<Said>,
    asking: Mutex<()>,
}

#[derive(Clone, Debug, Default)]
enum Said {
    #[default]
    Nothing,
    /// Nothing, when it was asked last.
    Failed { trouble: Trouble, at: Instant },
    /// This; it stays known when the upstream does not answer later.
    Known(Arc<Known>),
}

/// What came of asking it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Answered,
    Failed,
}

impl Server {
    /// What it said of itself; it is asked if that is unknown. Who asks again is [`Server::stay_known`], so that no
    /// call waits for it.
    pub(in crate::gateway) async fn known(&self) -> Result<Arc<Known>, Trouble> {
        if let Some(ended) = self.acquaintance.ended() {
            return ended;
        }
        let until = Until::within(self.config.timeouts.list);
        let _one = until.bound(self.acquaintance.asking.lock()).await?;
        match self.acquaintance.ended() {
            Some(ended) => ended,
            None => self.discover().await,
        }
    }

    /// What it said of itself, if it has.
    pub(in crate::gateway) fn said(&self) -> Option<Arc<Known>> {
        self.acquaintance.known()
    }

    /// Asks it again from time to time, for as long as it is polled.
    pub(super) async fn stay_known(&self) {
        let mut asked = Asked::Answered;
        loop {
            sleep(if asked == Asked::Answered { KNOWN_FOR } else { ASK_AGAIN }).await;
            if self.said().is_none() {
                continue;
            }
            let _one = self.acquaintance.asking.lock().await;
            asked = match self.discover().await {
                Ok(_) => Asked::Answered,
                // What it said was good a while ago, and its calls will tell for themselves.
                Err(_) => Asked::Failed,
            };
        }
    }

    async fn discover(&self) -> Result<Arc<Known>, Trouble> {
        let discovered = discovery::discover(self).await.map(Arc::new);
        self.acquaintance.learn(&discovered);
        if discovered.is_ok() {
            self.is_another();
        }
        discovered
    }
}

impl Acquaintance {
    /// What asking has come to, if it need not be asked now.
    fn ended(&self) -> Option<Result<Arc<Known>, Trouble>> {
        match &*self.said.read().unwrap_or_else(PoisonError::into_inner) {
            Said::Known(known) => Some(Ok(Arc::clone(known))),
            Said::Failed { trouble, at } if at.elapsed() < LEFT_ALONE => Some(Err(trouble.clone())),
            Said::Failed { .. } | Said::Nothing => None,
        }
    }

    fn known(&self) -> Option<Arc<Known>> {
        match &*self.said.read().unwrap_or_else(PoisonError::into_inner) {
            Said::Known(known) => Some(Arc::clone(known)),
            Said::Failed { .. } | Said::Nothing => None,
        }
    }

    fn learn(&self, discovered: &Result<Arc<Known>, Trouble>) {
        let mut said = self.said.write().unwrap_or_else(PoisonError::into_inner);
        match discovered {
            Ok(known) => *said = Said::Known(Arc::clone(known)),
            Err(_) if matches!(*said, Said::Known(_)) => {}
            Err(trouble) => *said = Said::Failed { trouble: trouble.clone(), at: Instant::now() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::ServerCapabilities;

    #[tokio::test(start_paused = true)]
    async fn one_that_failed_is_left_alone_a_little_and_one_that_is_known_stays_known() {
        let acquaintance = Acquaintance::default();
        assert!(acquaintance.ended().is_none());
        let failed = || Err(Trouble::NotSent("away".to_owned()));
        acquaintance.learn(&failed());
        assert!(matches!(acquaintance.ended(), Some(Err(Trouble::NotSent(_)))));
        tokio::time::advance(LEFT_ALONE).await;
        assert!(acquaintance.ended().is_none());
        acquaintance.learn(&Ok(Arc::new(Known {
            spoken: discovery::Spoken::Modern,
            capabilities: ServerCapabilities::default(),
            instructions: None,
            server_info: None,
        })));
        acquaintance.learn(&failed());
        tokio::time::advance(KNOWN_FOR * 2).await;
        assert!(matches!(acquaintance.ended(), Some(Ok(_))));
    }
}
