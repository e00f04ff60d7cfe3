//! The tools that Baton has of its own.

mod answer;
mod arguments;
mod cancel;
mod catalogue;
mod environments;
mod keyed;
mod launch_once;
mod outcome;
mod run;
mod samples;
mod state;
mod tally;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

pub(super) use answer::ToolAnswer;
pub(super) use outcome::answer;
pub(super) use run::QUEUE_TIME;

use super::failure::{Executed, Failure, Fault, ToolError};
use super::feed::Feed;
use super::fleet::Fleet;
use super::listen::Hub;
use super::locate::{self, Locator};
use super::reply::Answer;
use super::seldom::Seldom;
use super::tasks::Followed;
use crate::clock::Clock;
use crate::directory::Directory;
use crate::domain::environment::GoneReason;
use crate::domain::handle::{Handle, HandleError};
use crate::domain::ids::{EnvironmentId, Principal};
use crate::domain::keyring::Keyring;
use crate::mcp::{Era, IdempotencyKey, JsonBuf, LegacyVersion};
use crate::rpc::client::{TraceHeaders, WorkerClient};

/// What environments may do here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnvironmentPolicy {
    /// Without a call for this long, an environment is deleted.
    pub idle_timeout: Duration,
    /// The longest life of an environment, and so of a handle.
    pub max_life: Duration,
    /// Environments of one tenant at once.
    pub max_per_tenant: u32,
    /// How long code may run where nothing is said.
    pub default_timeout: Duration,
    /// How long code may run at most.
    pub max_timeout: Duration,
    /// What runs so long becomes a task, for clients that know tasks.
    pub task_after: Duration,
}

/// One tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tool {
    /// `launchShell`.
    LaunchShell,
    /// `launchPythonEnvironment`, the older name for the same.
    LaunchPythonEnvironment,
    /// `runPythonCodeInRemoteEnvironment`.
    RunPython,
    /// `runShellCommandInRemoteEnvironment`.
    RunShell,
    /// `closeEnvironment`.
    CloseEnvironment,
    /// `listEnvironments`.
    ListEnvironments,
    /// `whoami`, of the published samples.
    Whoami,
    /// `lookup_fact`, of the published samples.
    LookupFact,
    /// `compute_primes`, of the published samples.
    ComputePrimes,
    /// `tally`, of the published samples.
    Tally,
}

impl Tool {
    /// Every tool, in the order in which lists have them.
    pub const ALL: [Self; 10] = [
        Self::LaunchShell,
        Self::LaunchPythonEnvironment,
        Self::RunPython,
        Self::RunShell,
        Self::CloseEnvironment,
        Self::ListEnvironments,
        Self::Whoami,
        Self::LookupFact,
        Self::ComputePrimes,
        Self::Tally,
    ];

    /// The tool whose rate counts: another name for the same thing is no second helping of it.
    pub const fn counted_as(self) -> &'static str {
        match self {
            Self::LaunchPythonEnvironment => Self::LaunchShell.name(),
            tool => tool.name(),
        }
    }

    /// Its name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LaunchShell => "launchShell",
            Self::LaunchPythonEnvironment => "launchPythonEnvironment",
            Self::RunPython => "runPythonCodeInRemoteEnvironment",
            Self::RunShell => "runShellCommandInRemoteEnvironment",
            Self::CloseEnvironment => "closeEnvironment",
            Self::ListEnvironments => "listEnvironments",
            Self::Whoami => "whoami",
            Self::LookupFact => "lookup_fact",
            Self::ComputePrimes => "compute_primes",
            Self::Tally => "tally",
        }
    }

    /// Whether a call of it may become a task.
    pub const fn may_be_task(self) -> bool {
        matches!(self, Self::RunPython | Self::RunShell)
    }

    /// Whether it is one of the published samples.
    pub const fn is_sample(self) -> bool {
        matches!(self, Self::Whoami | Self::LookupFact | Self::ComputePrimes | Self::Tally)
    }
}

/// Which tools there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToolChoice {
    /// Those of environments.
    pub environments: bool,
    /// Those of the published samples.
    pub samples: bool,
}

/// What a tool needs to know of the call.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// Who calls.
    pub caller: Principal,
    /// The arguments, as they came.
    pub arguments: Option<JsonBuf>,
    /// Where progress goes.
    pub feed: Feed,
    /// The trace context to pass on.
    pub trace: TraceHeaders,
    /// Whether it may go on when it was answered.
    pub becomes_task: BecomesTask,
    /// By which its client says that it is a call it made before.
    pub key: Option<IdempotencyKey>,
}

/// When a call becomes a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BecomesTask {
    /// Never: its client would not know what to do with one.
    Never,
    /// When it has run so long.
    After(Duration),
    /// Before it starts, if the worker can keep it.
    AtOnce,
    /// Before it starts, or it is not begun: its client asked for that.
    AsAsked {
        /// For how long its client wants it to be kept.
        ttl: Option<Duration>,
    },
}

/// The tools and what they work with.
#[derive(Debug)]
pub(super) struct Tools {
    /// Which there are.
    pub choice: ToolChoice,
    /// Who is told of changes.
    pub hub: Arc<Hub>,
    /// What environments may do.
    pub policy: EnvironmentPolicy,
    /// When it was said that quotas cannot be checked.
    pub quota_said: Seldom,
    /// The keys that seal handles.
    pub keys: Keyring,
    /// Shared soft state.
    pub directory: Arc<dyn Directory>,
    /// The workers.
    pub fleet: Arc<Fleet>,
    /// Where environments are.
    pub locator: Locator,
    /// Calls workers.
    pub client: WorkerClient,
    /// This replica's id.
    pub replica: String,
    /// The time.
    pub clock: Clock,
    /// What goes on when a call has been answered.
    pub tasks: TaskTracker,
    /// The tasks among it whose end is told of.
    pub followed: Followed,
}

impl Tools {
    /// The tool of this name, if it is among those chosen.
    pub(super) fn find(&self, name: &str) -> Option<Tool> {
        self.chosen().find(|tool| tool.name() == name)
    }

    /// The names and definitions, in their fixed order, as clients of an era read them.
    pub(super) fn definitions(&self, era: Era) -> Vec<(&'static str, JsonBuf)> {
        let define = |tool: Tool| {
            let definition = catalogue::define(tool, &self.policy);
            // 2025-11-25 tasks, "Tool-Level Negotiation"; no other revision has the word.
            let tells = era == Era::Legacy(LegacyVersion::November2025) && tool.may_be_task();
            let definition = if tells { definition.with_optional_task() } else { definition };
            (tool.name(), definition.render())
        };
        self.chosen().map(define).collect()
    }

    /// Whether there is a tool whose call may become a task.
    pub(super) fn have_tasks(&self) -> bool {
        self.chosen().any(Tool::may_be_task)
    }

    fn chosen(&self) -> impl Iterator<Item = Tool> {
        let ToolChoice { environments, samples } = self.choice;
        let chosen = move |tool: &Tool| if tool.is_sample() { samples } else { environments };
        Tool::ALL.into_iter().filter(chosen)
    }

    /// Calls a tool.
    pub(super) async fn call(self: &Arc<Self>, tool: Tool, call: &Call) -> Result<Answer, Failure> {
        let answer = match tool {
            Tool::RunPython => return self.run_python(call).await,
            Tool::RunShell => return self.run_shell(call).await,
            // Boxed: they are larger than the two above, and called less.
            Tool::LaunchShell | Tool::LaunchPythonEnvironment => {
                Box::pin(self.launch(tool, call)).await
            }
            Tool::CloseEnvironment => Box::pin(self.close(call)).await,
            Tool::ListEnvironments => Box::pin(self.list(call)).await,
            Tool::Whoami => self.whoami(call),
            Tool::LookupFact => lookup_fact(call),
            Tool::ComputePrimes => compute_primes(call).await,
            Tool::Tally => Box::pin(self.tally(call)).await,
        };
        answer.map(Answer::Tool)
    }

    /// Opens the handle that a model passed.
    fn open(&self, token: &str, caller: &Principal) -> Result<Handle<EnvironmentId>, ToolError> {
        Handle::open(token, caller, &self.keys, self.clock.now()).map_err(|error| match error {
            HandleError::Malformed => ToolError::not_begun(format!(
                "{} is not an environmentId. Call launchShell and pass the environmentId it returns verbatim (64 \
                 characters, begins with bte_).",
                quoted(token)
            )),
            HandleError::NotYours => locate::unknown_environment(),
            HandleError::Expired => locate::gone_error(GoneReason::Expired),
        })
    }

    fn whoami(&self, call: &Call) -> Result<ToolAnswer, Failure> {
        let arguments::Nothing {} = arguments::read("whoami", call.arguments.as_ref())?;
        Ok(ToolAnswer::of(json!({
            "instance_id": self.replica,
            "tenant": call.caller.tenant(),
            "subject": call.caller.subject(),
            "served_at": self.clock.now().to_rfc3339(),
        })))
    }
}

fn lookup_fact(call: &Call) -> Result<ToolAnswer, Failure> {
    let asked: arguments::LookupFact =
        arguments::read(Tool::LookupFact.name(), call.arguments.as_ref())?;
    Ok(ToolAnswer::of(samples::lookup_fact(&asked.topic)))
}

/// Counts of primes at once, in this process.
static COUNTING: Semaphore = Semaphore::const_new(8);

async fn compute_primes(call: &Call) -> Result<ToolAnswer, Failure> {
    let asked: arguments::ComputePrimes =
        arguments::read(Tool::ComputePrimes.name(), call.arguments.as_ref())?;
    // A caller that leaves does not stop a thread: without a turn that stays with it, one could fill the process
    // with work that nobody waits for.
    let turn = COUNTING.acquire().await.map_err(|_| Fault::internal(Executed::No))?;
    let counted = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        samples::compute_primes(asked.limit)
    });
    let counted = counted.await;
    counted.map(ToolAnswer::of).map_err(|_| Fault::internal(Executed::Maybe).into())
}

/// A piece of what a model wrote, short and without control characters.
fn quoted(text: &str) -> String {
    format!("\"{}\"", shown(text, 40))
}

/// The beginning of foreign text, at most `longest` bytes of it, without control characters.
pub(super) fn shown(text: &str, longest: usize) -> String {
    let cut = text.floor_char_boundary(longest);
    let more = if cut < text.len() { "…" } else { "" };
    format!("{}{more}", text[..cut].escape_debug())
}

/// Fresh random bytes, for ids.
fn random_id() -> [u8; 16] {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the kernel gives random bytes");
    bytes
}

#[cfg(test)]
fn test_policy() -> EnvironmentPolicy {
    EnvironmentPolicy {
        idle_timeout: Duration::from_mins(5),
        max_life: Duration::from_hours(24),
        max_per_tenant: 100,
        default_timeout: Duration::from_secs(220),
        max_timeout: Duration::from_hours(1),
        task_after: Duration::from_secs(30),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_call<F>(_: impl Fn(&'static Arc<Tools>, Tool, &'static Call) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_call_takes_little_memory() {
        let size = size_of_call(Tools::call);
        assert!(size <= 4096, "it is moved to where it runs: {size} bytes");
    }
}
