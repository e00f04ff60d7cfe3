//! Calls with an idempotency key: what a worker is asked, and what a repeat is told.

use std::time::Duration;

use super::{Call, ToolAnswer, outcome, random_id};
use crate::domain::ids::{ArgumentsDigest, ExecutionId};
use crate::domain::placement::Epoch;
use crate::domain::task::TaskFailure;
use crate::gateway::failure::{Executed, Failure, Fault, ToolError};
use crate::gateway::locate;
use crate::rpc::client::{Execution, Peer, TraceHeaders, WorkerClient, WorkerError};
use crate::rpc::keyed::KeyedRequest;
use crate::rpc::task::{Progress, Task};
use crate::rpc::wire::{ExecuteRequest, Refusal};

/// When to ask again for a call that goes on.
const GOES_ON: Duration = Duration::from_secs(1);
/// What may be done about a call that ended before its time.
const NOT_AGAIN: &str =
    "It does not run again under this key: look at what it did, then call with another key.";

/// The same where it was a task, whose end is kept whatever it was.
const NOT_STARTED: &str =
    "That is how the task with this idempotency key ended: call with another key to run it.";

/// What a worker is asked to run.
pub(super) enum Ask {
    /// For this caller alone.
    Plain(ExecuteRequest),
    /// Once for all callers with the same key.
    Keyed(KeyedRequest),
}

impl Ask {
    /// The question for a call. `seconds` is the time that it was given, as it came: a default may differ between replicas.
    pub(super) fn new(call: &Call, seconds: Option<u64>, execute: ExecuteRequest) -> Self {
        if call.key.is_none() {
            return Self::Plain(execute);
        }
        let job = serde_json::to_string(&execute.job).expect("a job is JSON");
        let seconds = seconds.map(|seconds| seconds.to_string()).unwrap_or_default();
        let arguments = ArgumentsDigest::of(&[&job, &seconds]).to_string();
        let caller = ExecutionId::from_bytes(random_id()).to_string();
        Self::Keyed(KeyedRequest { execute, arguments, caller })
    }

    /// What is run.
    pub(super) fn request(&self) -> &ExecuteRequest {
        match self {
            Self::Plain(request) => request,
            Self::Keyed(keyed) => &keyed.execute,
        }
    }

    /// The same with what its key adds, if it has one.
    pub(super) fn key(&self) -> Option<&KeyedRequest> {
        match self {
            Self::Plain(_) => None,
            Self::Keyed(keyed) => Some(keyed),
        }
    }

    /// Asks for it under this epoch.
    pub(super) fn under(&mut self, epoch: Epoch) {
        let (Self::Plain(request) | Self::Keyed(KeyedRequest { execute: request, .. })) = self;
        request.target.epoch = epoch.0;
    }

    /// Asks a worker.
    pub(super) async fn send(
        &self,
        client: &WorkerClient,
        peer: &Peer,
        deadline: Duration,
        trace: &TraceHeaders,
    ) -> Result<Execution, WorkerError> {
        match self {
            Self::Plain(request) => client.execute(peer, request, deadline, trace).await,
            Self::Keyed(keyed) => client.execute_keyed(peer, keyed, deadline, trace).await,
        }
    }
}

/// What the client is told when its worker gave no answer: it may repeat the call.
pub(super) fn failed(failure: Failure, error: &WorkerError) -> Failure {
    match failure {
        // Only a worker of a version without keys finds nothing at the path.
        _ if matches!(error, WorkerError::Refused(Refusal::Malformed)) => {
            Fault::worker_unreachable(
                "nothing was run: the worker that holds this environment knows no idempotency keys until it is upgraded: \
                 try again later, or call without a key",
            )
            .into()
        }
        Failure::Fault(fault) if error.may_have_run() => fault.repeatable().into(),
        other => other,
    }
}

/// What the client of a call with a key is told instead of this: what knew of the key went with its environment.
pub(super) fn forgotten(failure: Failure) -> Failure {
    match failure {
        Failure::Tool(error) if error.is_of_gone() => {
            let advice = "Whether the call with this idempotency key ran there before is not known any more.";
            error.of_repeat(Executed::Maybe, advice).into()
        }
        other => other,
    }
}

/// What a repeat returns: what the call that was begun before did, and that it is a repeat.
pub(super) fn replayed(task: Task) -> ToolAnswer {
    let answer = match task.progress {
        Progress::Ended { mut ended } => {
            let stopped = match ended.terminated_by.as_deref() {
                Some("cancelled") => Some("The client of this call went away, and it was stopped."),
                Some("workerStopping") => Some("This call was interrupted: its worker stopped."),
                _ => None,
            };
            if let Some(stopped) = stopped {
                ended.hint = Some(format!("{stopped} {NOT_AGAIN}"));
            }
            outcome::answer(task.kind, *ended)
        }
        Progress::NotStarted { why } => match locate::not_begun(&why) {
            Some(error) => ToolAnswer::from(&error.of_repeat(Executed::No, NOT_STARTED)),
            None => interrupted(TaskFailure::OutcomeLost),
        },
        Progress::Failed { reason } => {
            interrupted(TaskFailure::parse(&reason).unwrap_or(TaskFailure::SandboxLost))
        }
        Progress::Cancelled => {
            let error = ToolError::cancelled();
            let text = format!("{} {NOT_AGAIN}", error.text());
            ToolAnswer::from(
                &ToolError::begun(text, Executed::Maybe).with("terminatedBy", "cancelled".into()),
            )
        }
        Progress::Working => {
            let text = "The first call with this idempotency key goes on, and did not end while this one waited. Call \
                        again with the same key to get its result.";
            ToolAnswer::from(&ToolError::begun(text, Executed::Maybe).retry_after(GOES_ON))
        }
        Progress::Over => interrupted(TaskFailure::OutcomeLost),
    };
    answer.replayed()
}

fn interrupted(reason: TaskFailure) -> ToolAnswer {
    let fault = Fault::task_failed(reason);
    let (what, executed) = (fault.message(), fault.executed());
    let error = match reason {
        TaskFailure::WorkerRestarted | TaskFailure::SandboxLost => {
            let text =
                format!("The call with this idempotency key was interrupted: {what}. {NOT_AGAIN}");
            ToolError::begun(text, executed).with("terminatedBy", "interrupted".into())
        }
        TaskFailure::OutcomeLost | TaskFailure::EntryUnread => {
            let text = format!(
                "The result of the call with this idempotency key is lost: {what}. {NOT_AGAIN}"
            );
            ToolError::begun(text, executed)
        }
    };
    ToolAnswer::from(&error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::{Era, Identity, Reply};
    use crate::rpc::task::JobKind;
    use crate::rpc::wire::{Ended, NotStarted};

    fn check(progress: Progress, is_error: bool, executed: &str, words: &str) {
        let (kind, created_ms, updated_ms, keep_until_ms) = (JobKind::Shell, 1, 2, 3);
        let answer = replayed(Task { kind, created_ms, updated_ms, keep_until_ms, progress });
        assert_eq!(answer.is_error(), is_error);
        let (identity, result) = (Identity::new("baton", "1", "r1"), answer.into_result());
        let result = serde_json::to_value(Reply::new(Era::Modern, &identity, &result)).unwrap();
        let structured = &result["structuredContent"];
        assert_eq!(structured["replayed"], true, "{result}");
        assert_eq!(structured["executed"].as_str().unwrap_or_default(), executed, "{result}");
        assert!(result["content"][0]["text"].as_str().unwrap().contains(words), "{result}");
    }

    #[test]
    fn a_repeat_is_told_how_the_call_ended_and_that_it_is_a_repeat() {
        let ended = |by: Option<&str>| {
            let terminated_by = by.map(str::to_owned);
            let ended = Ended { stdout: "out".to_owned(), terminated_by, ..Ended::default() };
            Progress::Ended { ended: Box::new(ended) }
        };
        let failed = |reason: &str| Progress::Failed { reason: reason.to_owned() };
        check(ended(None), false, "", "out");
        check(ended(Some("cancelled")), true, "yes", "another key");
        check(ended(Some("workerStopping")), true, "yes", "interrupted");
        check(ended(Some("wallTime")), true, "yes", "wallTime");
        check(Progress::Cancelled, true, "maybe", "another key");
        check(failed("worker-restarted"), true, "maybe", "interrupted");
        check(failed("sandbox-lost"), true, "maybe", "interrupted");
        check(failed("outcome-lost"), true, "yes", "is lost");
        check(failed("entry-unread"), true, "maybe", "cannot be read");
        check(Progress::Working, true, "maybe", "same key");
        check(Progress::NotStarted { why: NotStarted::Cancelled }, true, "no", "before it began");
    }
}
