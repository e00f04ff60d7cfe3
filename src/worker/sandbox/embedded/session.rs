//! A living sandbox as the worker holds it: its channels, its launcher, and what is known of its state.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use tokio::net::UnixStream;
use tokio::process::Child;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::agent::{Agent, Word};
use super::call::{Call, Ending};
use super::cgroup::GroupLease;
use super::control::Control;
use super::outlet::{Outlets, Rooms};
use super::spawner::Spawner;
use super::uids::UidLease;
use super::usage::Gauge;
use super::watch::Watch;
use super::wire::{Boot, BootFds, Report};
use crate::worker::sandbox::{
    CREATE_DEADLINE, Captured, Condition, Job, Limits, Outcome, OutputSink, Sandbox, SandboxError,
};

/// How long the processes of a sandbox may take to be gone once its socket is closed, and killed.
const END_DEADLINE: Duration = Duration::from_secs(3);

/// What a session is made of, before it is one.
pub(super) struct Parts {
    pub(super) boot: Boot,
    pub(super) program: OwnedFd,
    pub(super) limits: Limits,
    pub(super) workspace: OwnedFd,
    pub(super) memory_enforced: bool,
    pub(super) group: GroupLease,
    pub(super) uid: Option<UidLease>,
}

/// One sandbox of this runtime.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) control: Control,
    pub(super) agent: Agent,
    pub(super) outlets: Outlets,
    pub(super) watch: Watch,
    pub(super) limits: Limits,
    pub(super) condition: Condition,
    pub(super) jobs: u64,
    /// A call is under way; found by the next one, it was given up without an end.
    pub(super) in_call: bool,
    launcher: Child,
    group: GroupLease,
    /// Held so that nobody else gets the uid while a process may have it.
    _uid: Option<UidLease>,
    /// Held so that the thread which the launcher counts as its parent stays.
    _spawner: Spawner,
}

impl Session {
    /// Starts a launcher and waits until it has become a sandbox with an interpreter.
    pub(super) async fn begin(
        spawner: &Spawner,
        program: &std::path::Path,
        parts: Parts,
    ) -> Result<Box<Self>, SandboxError> {
        let late = SandboxError::NotReady { reason: "it took too long".to_owned() };
        // Given up, the launcher is dropped, which kills it.
        let begun = timeout(CREATE_DEADLINE, Self::try_begin(spawner, program, parts)).await;
        begun.unwrap_or(Err(late))
    }

    async fn try_begin(
        spawner: &Spawner,
        program: &std::path::Path,
        parts: Parts,
    ) -> Result<Box<Self>, SandboxError> {
        let Parts { boot, program: code, limits, workspace, memory_enforced, group, uid } = parts;
        let spawn = |source| SandboxError::Spawn { source };
        let (control, theirs) = UnixStream::pair().and_then(detach).map_err(spawn)?;
        let (agent, agent_fd) = UnixStream::pair().and_then(detach).map_err(spawn)?;
        let (mut outlets, [stdout_fd, stderr_fd]) = Outlets::open().map_err(spawn)?;
        let launcher = spawner.launch(program, theirs).await.map_err(spawn)?;
        let mut control = Control::new(control);
        let fds: BootFds<OwnedFd> =
            BootFds { agent: agent_fd, stdout: stdout_fd, stderr: stderr_fd, program: code };
        let attached =
            [fds.agent.as_fd(), fds.stdout.as_fd(), fds.stderr.as_fd(), fds.program.as_fd()];
        control.send(&boot, &attached).await.map_err(spawn)?;
        // Ours are copies: the pipes shall end when the sandbox's ends do.
        drop(fds);
        let mut agent = Agent::new(agent, &limits);
        let init = await_init(&mut control).await?;
        if let Err(error) = await_agent(&mut control, &mut agent).await {
            return Err(with_last_words(error, &mut outlets));
        }
        let gauge = Gauge {
            group: group.group().clone(),
            memory_enforced,
            counted_by: boot.ceilings.counted_by,
            init,
            workspace,
            limits: limits.clone(),
        };
        Ok(Box::new(Self {
            control,
            agent,
            outlets,
            watch: Watch::new(Arc::new(gauge)),
            limits,
            condition: Condition::Ready,
            jobs: 0,
            in_call: false,
            launcher,
            group,
            _uid: uid,
            _spawner: spawner.clone(),
        }))
    }
}

impl Session {
    /// Takes in what init has said since the last call.
    pub(super) fn notice_deaths(&mut self) {
        // Polled once: what has arrived is taken, what has not is left for the call to hear.
        while let Some(report) = self.control.hear().now_or_never() {
            match report {
                Ok(Report::InterpreterEnded { .. }) => self.condition = Condition::InterpreterLost,
                Ok(Report::JobEnded { .. } | Report::JobRefused { .. }) => {}
                _ => {
                    self.lose();
                    return;
                }
            }
        }
    }

    /// Gives the sandbox up: nothing more can run in it.
    pub(super) fn lose(&mut self) -> Ending {
        self.condition = Condition::Dead;
        // It may have ended already.
        drop(self.launcher.start_kill());
        Ending::Lost
    }
}

#[async_trait]
impl Sandbox for Session {
    async fn run(
        &mut self,
        job: Job,
        output: &mut dyn OutputSink,
        stop: CancellationToken,
    ) -> Outcome {
        Call::begin(self, job, output, stop).finish().await
    }

    fn condition(&self) -> Condition {
        self.condition
    }

    async fn destroy(self: Box<Self>) {
        let Self { mut control, mut agent, mut launcher, mut watch, group, .. } = *self;
        watch.finish().await;
        control.close().await;
        agent.close().await;
        // Init ends when its socket does, the kernel ends the rest, and the launcher waited for that.
        if timeout(END_DEADLINE, launcher.wait()).await.is_err() {
            drop(launcher.start_kill());
            if timeout(END_DEADLINE, launcher.wait()).await.is_err() {
                tracing::warn!(pid = launcher.id(), "a sandbox does not end: the kernel holds it");
            }
        }
        group.remove().await;
    }
}

/// One end for us, and one that blocks, as a process that knows nothing of our runtime expects.
fn detach((ours, theirs): (UnixStream, UnixStream)) -> io::Result<(UnixStream, OwnedFd)> {
    let theirs = theirs.into_std()?;
    theirs.set_nonblocking(false)?;
    Ok((ours, theirs.into()))
}

async fn await_init(control: &mut Control) -> Result<i32, SandboxError> {
    match control.hear().await {
        Ok(Report::Init { pid }) => Ok(pid),
        other => Err(why_not(other)),
    }
}

async fn await_agent(control: &mut Control, agent: &mut Agent) -> Result<(), SandboxError> {
    tokio::select! {
        report = control.hear() => Err(why_not(report)),
        word = agent.hear() => match word {
            Ok(Word::Ready) => Ok(()),
            // It ended before it could say a word: init knows more.
            _ => Err(why_not(control.hear().await)),
        },
    }
}

/// What it wrote before it ended tells more than its code.
fn with_last_words(error: SandboxError, outlets: &mut Outlets) -> SandboxError {
    const LONGEST: usize = 500;
    let mut said = Captured::default();
    outlets.drain_rest(&mut Rooms::new(LONGEST), &mut said);
    match (error, String::from_utf8_lossy(&said.stderr).trim()) {
        (SandboxError::NotReady { reason }, words) if !words.is_empty() => {
            SandboxError::NotReady { reason: format!("{reason}: {}", words.escape_debug()) }
        }
        (error, _) => error,
    }
}

fn why_not(report: io::Result<Report>) -> SandboxError {
    match report {
        Ok(Report::Failed { step, errno }) => {
            SandboxError::Setup { step, source: io::Error::from_raw_os_error(errno) }
        }
        Ok(Report::InterpreterEnded { ended }) => SandboxError::NotReady {
            reason: format!("the interpreter ended at once, with code {}", ended.exit_code()),
        },
        Ok(_) => SandboxError::NotReady { reason: "it does not follow the protocol".to_owned() },
        Err(source) => SandboxError::NotReady { reason: format!("the launcher ended: {source}") },
    }
}
