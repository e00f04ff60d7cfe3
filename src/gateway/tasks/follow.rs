//! Following a task of ours to its end, whichever worker holds it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Asked, Known, OurTask, Question};
use crate::domain::ids::{EnvironmentId, ExecutionId};
use crate::gateway::failure::Failure;
use crate::gateway::tools::{QUEUE_TIME, Tools};
use crate::rpc::task::Reader;

/// How long one question to a worker waits for a task's end, of the many that a long one may take.
const WAIT: Duration = Duration::from_secs(20);
/// The pause before a worker that did not answer is asked again, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// The tasks whose end this replica waits for on its own account: each once, however often its call is repeated.
#[derive(Clone, Debug, Default)]
pub(in crate::gateway) struct Followed(Arc<Mutex<HashSet<(EnvironmentId, ExecutionId)>>>);

/// One of them, for as long as this lives.
struct Following {
    among: Followed,
    task: (EnvironmentId, ExecutionId),
}

impl Followed {
    /// Takes one in, unless it is followed.
    fn begin(&self, asked: &Asked) -> Option<Following> {
        let task = (asked.environment, asked.execution);
        let is_new = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(task);
        is_new.then(|| Following { among: self.clone(), task })
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.among.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.task);
    }
}

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
    ) -> Result<Option<OurTask>, Failure> {
        loop {
            let task = self.look_at_task(asked, WAIT, Reader::Client).await?;
            if Instant::now() >= until || task.as_ref().is_none_or(|it| !it.is_working()) {
                return Ok(task);
            }
        }
    }

    /// The task as it ended; nothing if it is no more, goes on longer than any execution may, or its worker is silent just
    /// then. Its outcome comes over once, at the end.
    pub(in crate::gateway) async fn follow_task(&self, asked: &Asked) -> Option<OurTask> {
        self.follow_to_its_end(asked).await;
        let task = self.look_at_task(asked, Duration::ZERO, Reader::Listener).await.ok()??;
        (!task.is_working()).then_some(task)
    }

    /// Returns when a task has ended or is no more, or goes on longer than any execution may. A worker that does not
    /// answer is asked again.
    async fn follow_to_its_end(&self, asked: &Asked) {
        let until = Instant::now() + self.policy.max_timeout + QUEUE_TIME;
        let (shortest, longest) = PAUSES;
        let mut pause = shortest;
        while Instant::now() < until {
            match self.goes_on(asked, WAIT).await {
                Ok(true) => pause = shortest,
                // What became of the environment became of the task.
                Ok(false) | Err(Failure::Tool(_)) => return,
                Err(_) => {
                    sleep(pause).await;
                    pause = (pause * 2).min(longest);
                }
            }
        }
    }

    /// Tells whoever watches the environment when a task that runs in it has ended. A replica that stops leaves that
    /// untold, as one that is killed does.
    pub(in crate::gateway) fn tell_of_its_end(self: &Arc<Self>, asked: Asked) {
        let Some(following) = self.followed.begin(&asked) else { return };
        let tools = Arc::clone(self);
        self.tasks.spawn(async move {
            let _following = following;
            tokio::select! {
                () = tools.follow_to_its_end(&asked) => {
                    tools.environment_changed(asked.caller.owner_digest(), asked.environment);
                }
                () = tools.hub.closed() => {}
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::Principal;
    use crate::rpc::client::TraceHeaders;

    #[test]
    fn a_task_is_followed_once_at_a_time() {
        let asked = |byte| Asked {
            caller: Principal::Anonymous,
            id: String::new(),
            environment: EnvironmentId::from_bytes([1; 16]),
            generation: 0,
            execution: ExecutionId::from_bytes([byte; 16]),
            trace: TraceHeaders::default(),
        };
        let followed = Followed::default();
        let first = followed.begin(&asked(1));
        assert!(first.is_some() && followed.begin(&asked(1)).is_none());
        assert!(followed.begin(&asked(2)).is_some());
        drop(first);
        assert!(followed.begin(&asked(1)).is_some());
    }
}
