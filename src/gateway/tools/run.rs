//! Running code in an environment.

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::cancel::CancelOnDrop;
use super::environments::{millis, target};
use super::keyed::{self, Ask};
use super::{BecomesTask, Call, Tool, Tools, arguments, outcome, random_id};
use crate::domain::handle::Handle;
use crate::domain::ids::{EnvironmentId, ExecutionId};
use crate::domain::placement::Epoch;
use crate::domain::task::TaskId;
use crate::gateway::failure::{Failure, Fault, ToolError};
use crate::gateway::feed::Feed;
use crate::gateway::reply::Answer;
use crate::gateway::tasks::{Asked, OurTask};
use crate::rpc::client::{Peer, WorkerError};
use crate::rpc::task::{DetachRequest, Task, TaskReply};
use crate::rpc::wire::{Ended, ExecuteRequest, Frame, Job, NotStarted, Otherwise, TaskTerms};

/// How long a call may wait for others of the same environment, beyond its own time.
pub(in crate::gateway) const QUEUE_TIME: Duration = Duration::from_mins(1);
/// How long a worker may take to note that an execution is a task.
const DETACH_DEADLINE: Duration = Duration::from_secs(5);

impl Tools {
    /// `runPythonCodeInRemoteEnvironment`.
    pub(super) async fn run_python(self: &Arc<Self>, call: &Call) -> Result<Answer, Failure> {
        let asked: arguments::RunPython =
            arguments::read(Tool::RunPython.name(), call.arguments.as_ref())?;
        let job = Job::Python { code: asked.python_code };
        self.run(call, &asked.environment_id, job, asked.timeout_seconds).await
    }

    /// `runShellCommandInRemoteEnvironment`.
    pub(super) async fn run_shell(self: &Arc<Self>, call: &Call) -> Result<Answer, Failure> {
        let asked: arguments::RunShell =
            arguments::read(Tool::RunShell.name(), call.arguments.as_ref())?;
        let job = match (asked.shell_command, asked.exec_command_and_args) {
            (Some(command), None) => Job::Shell { command },
            (None, Some(argv)) if !argv.is_empty() => Job::Exec { argv },
            (None, Some(_)) => {
                let text = "execCommandAndArgs is empty: its first item is the program to run.";
                return Err(ToolError::not_begun(text).into());
            }
            (Some(_), Some(_)) | (None, None) => {
                let text = "Give exactly one of shellCommand (a line for sh) and execCommandAndArgs (a program and \
                            its arguments).";
                return Err(ToolError::not_begun(text).into());
            }
        };
        self.run(call, &asked.environment_id, job, asked.timeout_seconds).await
    }

    fn timeout(&self, seconds: Option<u64>) -> Result<Duration, ToolError> {
        let Some(seconds) = seconds else { return Ok(self.policy.default_timeout) };
        let most = self.policy.max_timeout.as_secs();
        if (1..=most).contains(&seconds) {
            return Ok(Duration::from_secs(seconds));
        }
        Err(ToolError::not_begun(format!("timeoutSeconds is {seconds}: give 1 to {most}.")))
    }

    async fn run(
        self: &Arc<Self>,
        call: &Call,
        token: &str,
        job: Job,
        seconds: Option<u64>,
    ) -> Result<Answer, Failure> {
        let answer = self.run_there(call, token, job, seconds).await;
        if call.key.is_some() { answer.map_err(keyed::forgotten) } else { answer }
    }

    /// Opens the handle, finds the worker, runs it there: once, and with a key once for all who ask.
    async fn run_there(
        self: &Arc<Self>,
        call: &Call,
        token: &str,
        job: Job,
        seconds: Option<u64>,
    ) -> Result<Answer, Failure> {
        let timeout = self.timeout(seconds)?;
        let handle = self.open(token, &call.caller)?;
        let (environment, owner) = (handle.id(), call.caller.owner_digest());
        let execution = match &call.key {
            Some(key) => ExecutionId::of_key(environment, key.as_str()),
            None => ExecutionId::from_bytes(random_id()),
        };
        let mut route = self.locator.route(&call.caller, environment, &call.trace);
        let mut ask = Ask::new(
            call,
            seconds,
            ExecuteRequest {
                target: target(owner, &handle, Epoch::FIRST),
                execution: execution.to_string(),
                job,
                timeout_ms: millis(timeout),
                stream: call.feed.wants_progress(),
                task: call.becomes_task.at_its_start(),
            },
        );
        loop {
            let (peer, epoch) = route.next().await?;
            ask.under(epoch);
            let (tools, peer, ask) = (self.as_ref(), &peer, &ask);
            let stop = CancelOnDrop { tools, call, peer, environment, owner, ask };
            match self.follow(call, peer, ask, timeout + QUEUE_TIME).await {
                Ok(Conclusion::Ended(ended)) => {
                    stop.disarm();
                    self.environment_changed(owner, environment);
                    return Ok(Answer::Tool(outcome::answer(ask.request().job.kind(), *ended)));
                }
                Ok(Conclusion::Task(task)) => {
                    stop.disarm();
                    let asked = self.asked(call, &handle, execution);
                    let answer = OurTask::new(asked.id.clone(), *task);
                    self.tell_of_its_end(asked);
                    return Ok(Answer::Task(Box::new(answer)));
                }
                Ok(Conclusion::Replayed(task)) => {
                    stop.disarm();
                    return Ok(Answer::Tool(keyed::replayed(*task)));
                }
                // Its client asks again with the key.
                Ok(Conclusion::Unconfirmed) if ask.key().is_some() => {
                    stop.disarm();
                    return Err(Fault::outcome_unknown().repeatable().into());
                }
                // It is stopped: its client would never learn how it ended.
                Ok(Conclusion::Unconfirmed) => return Err(Fault::outcome_unknown().into()),
                Ok(Conclusion::NotStarted(why)) => {
                    stop.disarm();
                    if let NotStarted::Restarted(_) = why {
                        self.environment_changed(owner, environment);
                    }
                    route.not_started(&why)?;
                }
                Err(error) if ask.key().is_some() => {
                    stop.disarm();
                    route.failed(&error).map_err(|failure| keyed::failed(failure, &error))?;
                }
                // Nobody waits for it any more, so it is to stop.
                Err(error @ WorkerError::Deadline(_)) => route.failed(&error)?,
                Err(error) => {
                    stop.disarm();
                    if error.may_have_run() {
                        self.environment_changed(owner, environment);
                    }
                    route.failed(&error)?;
                }
            }
        }
    }

    /// Starts an execution and passes its output on until it ends or is a task.
    async fn follow(
        &self,
        call: &Call,
        peer: &Peer,
        ask: &Ask,
        deadline: Duration,
    ) -> Result<Conclusion, WorkerError> {
        let mut execution = ask.send(&self.client, peer, deadline, &call.trace).await?;
        call.feed.begin();
        if ask.request().task.is_some() {
            // Boxed, here and below: seldom is a call a task.
            match Box::pin(self.detach(call, peer, ask)).await {
                Ok(TaskReply::Task(task)) => return Ok(Conclusion::Task(task)),
                Err(_) => return Ok(Conclusion::Unconfirmed),
                // It was not begun, and says why; or it runs as an ordinary call.
                Ok(_) => {}
            }
        }
        let mut output = Output::new(&call.feed);
        let mut is_long = pin!(call.becomes_task.due());
        let mut was_asked = false;
        loop {
            tokio::select! {
                biased;
                frame = execution.next() => match frame? {
                    Frame::Stdout(bytes) => output.pass_on("stdout", &bytes).await,
                    Frame::Stderr(bytes) => output.pass_on("stderr", &bytes).await,
                    Frame::Ended(ended) => return Ok(Conclusion::Ended(ended)),
                    Frame::NotStarted(why) => return Ok(Conclusion::NotStarted(why)),
                    Frame::Replayed(task) => return Ok(Conclusion::Replayed(task)),
                },
                () = &mut is_long, if !was_asked => {
                    was_asked = true;
                    // What the worker cannot keep goes on as an ordinary call.
                    let kept = Box::pin(self.detach(call, peer, ask)).await;
                    if let Ok(TaskReply::Task(task)) = kept {
                        return Ok(Conclusion::Task(task));
                    }
                }
            }
        }
    }

    /// Asks the worker to keep an execution as a task. Only what it has acknowledged may be told to a client (SEP-2663,
    /// "Task Creation").
    async fn detach(&self, call: &Call, peer: &Peer, ask: &Ask) -> Result<TaskReply, WorkerError> {
        let request = ask.request();
        let request = DetachRequest {
            target: request.target.clone(),
            execution: request.execution.clone(),
            terms: request.task.unwrap_or_default(),
            arguments: ask.key().map(|key| key.arguments.clone()),
        };
        let reply = self.client.detach(peer, &request, DETACH_DEADLINE, &call.trace).await;
        match &reply {
            Ok(TaskReply::Task(_)) => {}
            Ok(reply) => tracing::debug!(?reply, worker = %peer.worker(), "no task was made"),
            Err(error) => tracing::warn!(%error, worker = %peer.worker(), "no task was made"),
        }
        reply
    }

    /// The task that an execution became. Its id is good for as long as the environment may live at most; the worker
    /// forgets the task before that.
    fn asked(&self, call: &Call, handle: &Handle<EnvironmentId>, execution: ExecutionId) -> Asked {
        let (environment, generation) = (handle.id(), handle.generation());
        let id = TaskId::Execution { environment, generation, execution };
        let sealed = id.seal(&call.caller, handle.not_after(), &self.keys);
        let id = sealed.expect("an id of ours is far shorter than what may be sealed");
        let (caller, trace) = (call.caller.clone(), call.trace.clone());
        Asked { caller, id, environment, generation, execution, trace }
    }
}

impl BecomesTask {
    /// What the worker is told before it starts.
    fn at_its_start(self) -> Option<TaskTerms> {
        match self {
            Self::Never | Self::After(_) => None,
            Self::AtOnce => Some(TaskTerms::default()),
            Self::AsAsked { ttl } => {
                Some(TaskTerms { ttl_ms: ttl.map(millis), otherwise: Otherwise::Refuse })
            }
        }
    }

    /// Returns when an execution has run long enough to become a task.
    async fn due(self) {
        match self {
            Self::After(time) => sleep(time).await,
            Self::Never | Self::AtOnce | Self::AsAsked { .. } => pending().await,
        }
    }
}

enum Conclusion {
    Ended(Box<Ended>),
    NotStarted(NotStarted),
    /// A call with the same key was begun before, and is so.
    Replayed(Box<Task>),
    /// It goes on as a task.
    Task(Box<Task>),
    /// It was to be a task, and the worker did not say that it is.
    Unconfirmed,
}

/// Output on its way to the client, cut only between characters.
struct Output<'a> {
    feed: &'a Feed,
    rest: [(&'static str, Vec<u8>); 2],
    bytes: u64,
}

impl<'a> Output<'a> {
    fn new(feed: &'a Feed) -> Self {
        Self { feed, rest: [("stdout", Vec::new()), ("stderr", Vec::new())], bytes: 0 }
    }

    async fn pass_on(&mut self, stream: &'static str, bytes: &[u8]) {
        let Some((_, rest)) = self.rest.iter_mut().find(|(name, _)| *name == stream) else {
            return;
        };
        rest.extend_from_slice(bytes);
        let whole = whole_characters(rest);
        let text = String::from_utf8_lossy(&rest[..whole]).into_owned();
        rest.drain(..whole);
        if text.is_empty() {
            return;
        }
        self.bytes += text.len() as u64;
        self.feed.progress(self.bytes, &text, stream).await;
    }
}

/// How many bytes at the beginning do not end within a character.
fn whole_characters(bytes: &[u8]) -> usize {
    match str::from_utf8(bytes) {
        Ok(_) => bytes.len(),
        // The end of the input came within a character.
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        // What is invalid is replaced; only a character begun at the very end waits.
        Err(_) => {
            let tail = bytes.len().saturating_sub(3);
            let begun = (tail..bytes.len()).rev().find(|at| bytes[*at] >= 0xc0);
            match begun {
                Some(at)
                    if str::from_utf8(&bytes[at..]).is_err_and(|e| e.error_len().is_none()) =>
                {
                    at
                }
                _ => bytes.len(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_cut_between_characters() {
        let check = |bytes: &[u8], whole| assert_eq!(whole_characters(bytes), whole, "{bytes:?}");
        check(b"abc", 3);
        check("aü".as_bytes(), 3);
        check(&"aü".as_bytes()[..2], 1);
        check(&"€".as_bytes()[..2], 0);
        check(b"\xff\xfe", 2);
        check(b"\xffa\xe2\x82", 2);
        check(b"", 0);
    }
}
