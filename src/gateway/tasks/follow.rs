//! Following a task of ours to its end, whichever worker holds it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Asked, Known, OurTask, Question};
use crate::gateway::failure::Failure;
use crate::gateway::tools::{QUEUE_TIME, Tools};
use crate::rpc::task::Reader;

/// How long one question to a worker waits for a task's end, of the many that a long one may take.
const WAIT: Duration = Duration::from_secs(20);
/// The pause before a worker that did not answer is asked again, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

impl Tools {
    /// How a task is; nothing if it is no more.
    pub(in crate::gateway) async fn look_at_task(
        &self,
        asked: &Asked,
        wait: Duration,
        reader: Reader,
    ) -> Result<Option<OurTask>, Failure> {
        Ok(match self.ask_of_task(asked, Question::Look { wait, reader }).await? {
            Known::Task(task) | Known::HadEnded(task) => Some(task),
            Known::Gone => None,
        })
    }

    /// Asks until a task has ended or the time is up; nothing if it is no more.
    pub(super) async fn wait_for_end(
        &self,
        asked: &Asked,
        until: Instant,
        reader: Reader,
    ) -> Result<Option<OurTask>, Failure> {
        loop {
            let task = self.look_at_task(asked, WAIT, reader).await?;
            if Instant::now() >= until || task.as_ref().is_none_or(|it| !it.is_working()) {
                return Ok(task);
            }
        }
    }

    /// The task as it ended, through all that passes by: a worker that does not answer is asked again. Nothing if it is
    /// no more, or goes on longer than any execution may.
    pub(in crate::gateway) async fn follow_task(&self, asked: &Asked) -> Option<OurTask> {
        let until = Instant::now() + self.policy.max_timeout + QUEUE_TIME;
        let (mut pause, longest) = PAUSES;
        loop {
            match self.wait_for_end(asked, until, Reader::Watcher).await {
                Ok(task) => return task.filter(|it| !it.is_working()),
                // What became of the environment became of the task.
                Err(Failure::Tool(_)) => return None,
                Err(_) if Instant::now() >= until => return None,
                Err(_) => sleep(pause).await,
            }
            pause = (pause * 2).min(longest);
        }
    }

    /// Tells whoever watches the environment when a task that runs in it has ended. A replica that stops leaves that
    /// untold, as one that is killed does.
    pub(in crate::gateway) fn tell_of_its_end(self: &Arc<Self>, asked: Asked) {
        let tools = Arc::clone(self);
        self.tasks.spawn(async move {
            tokio::select! {
                _ = tools.follow_task(&asked) => {
                    tools.environment_changed(&asked.caller, asked.environment);
                }
                () = tools.hub.closed() => {}
            }
        });
    }
}
