//! Lists that workers sent, on their way into the directory.
//!
//! Each is taken by a task of its own: a worker gives up on a report after seconds, and the next one would begin anew.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::Fleet;
use crate::directory::DirectoryError;
use crate::domain::ids::WorkerId;
use crate::domain::placement::{Holding, WorkerReport};

/// How long taking one list may take: with the age that a report may have, less than
/// [`crate::directory::SETTLING_TERM`], after which an old list would release what was placed since.
const TAKING: Duration = Duration::from_secs(20);

/// The workers whose lists are being taken, one each.
#[derive(Debug)]
pub(super) struct Lists {
    taking: Arc<Mutex<HashSet<WorkerId>>>,
    tasks: TaskTracker,
}

/// The turn of one worker's list; ends when dropped.
struct Turn {
    worker: WorkerId,
    taking: Arc<Mutex<HashSet<WorkerId>>>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.taking.lock().expect("no panic under this lock").remove(&self.worker);
    }
}

impl Lists {
    /// No list yet; those that come are taken by these tasks.
    pub(super) fn new(tasks: TaskTracker) -> Self {
        Self { taking: Arc::default(), tasks }
    }

    fn begin(&self, worker: &WorkerId) -> Option<Turn> {
        let free = self.taking.lock().expect("no panic under this lock").insert(worker.clone());
        free.then(|| Turn { worker: worker.clone(), taking: Arc::clone(&self.taking) })
    }

    /// Whether a list of this worker is being taken.
    pub(super) fn is_taking(&self, worker: &WorkerId) -> bool {
        self.taking.lock().expect("no panic under this lock").contains(worker)
    }
}

impl Fleet {
    /// Takes a worker's list, whoever waits for it; a worker's next one waits for another report.
    pub(super) async fn take_list(
        &self,
        report: &WorkerReport,
        holdings: Vec<Holding>,
    ) -> Result<(), DirectoryError> {
        let Some(turn) = self.lists.begin(&report.worker) else { return Ok(()) };
        let (directory, report) = (Arc::clone(&self.directory), report.clone());
        let taking = self.lists.tasks.spawn(async move {
            let _turn = turn;
            timeout(TAKING, directory.reconcile(&report, &holdings)).await
        });
        match taking.await {
            Ok(Ok(taken)) => taken,
            Ok(Err(late)) => Err(DirectoryError::Away { source: Some(Box::new(late)) }),
            Err(error) => Err(DirectoryError::Away { source: Some(Box::new(error)) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_list_of_a_worker_is_taken_at_a_time() {
        let (lists, worker) = (Lists::new(TaskTracker::new()), WorkerId::parse("w1").unwrap());
        let turn = lists.begin(&worker);
        assert!(turn.is_some() && lists.is_taking(&worker));
        assert!(lists.begin(&worker).is_none());
        drop(turn);
        assert!(!lists.is_taking(&worker) && lists.begin(&worker).is_some());
    }
}
