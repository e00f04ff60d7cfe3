//! Whether the directory knows all that lives. Before, a quota cannot be checked and nobody can be taken for lost.

use std::time::Duration;

use tokio::time::sleep;

use super::Fleet;
use super::round::Watch;
use crate::directory::DirectoryError;
use crate::domain::ids::{Timestamp, WorkerId};
use crate::domain::placement::NO_NEW_AFTER;

/// Every worker that lives has reported to a replica that has served for so long.
const ALL_HEARD: Duration = Duration::from_secs(3);
/// How soon the directory is looked at again by who waits for it.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

impl Fleet {
    /// Tells the directory which workers live, so that it knows when it has the lists of all.
    ///
    /// A replica that has just started does not know them and leaves this to the others, unless it is the first.
    pub(super) async fn complete(&self) -> Result<(), DirectoryError> {
        let live = self.live();
        let knows_them = self.is_first.get() == Some(&true) || self.begun.elapsed() >= ALL_HEARD;
        if live.is_empty() || !knows_them {
            return Ok(());
        }
        let since = self.directory.complete(&live).await?;
        self.is_complete.store(since.is_some(), std::sync::atomic::Ordering::Relaxed);
        self.watch.lock().await.is_complete_since(since);
        Ok(())
    }

    /// One look for who waits until the directory is complete, and a pause.
    pub(in crate::gateway) async fn wait_for_lists(&self) {
        if let Err(error) = self.complete().await {
            tracing::debug!(%error, "the directory was not looked at");
        }
        sleep(LOOK_AGAIN).await;
    }

    /// Those that were heard lately: who is silent is not waited for.
    fn live(&self) -> Vec<WorkerId> {
        let now = self.clock.now();
        let members = self.members.load();
        let live = members.values().filter(|it| now.since(it.sighting.seen) <= NO_NEW_AFTER);
        live.map(|it| it.sighting.report.worker.clone()).collect()
    }
}

impl Watch {
    /// Takes in since when the directory is complete. After it forgot everything it is watched anew, however soon it was
    /// complete again.
    pub(super) fn is_complete_since(&mut self, since: Option<Timestamp>) {
        if since.is_none() || self.complete_since != since {
            self.since = None;
        }
        self.complete_since = since;
    }
}
