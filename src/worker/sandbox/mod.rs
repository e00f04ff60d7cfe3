//! Sandboxes: isolated places that run Python and shell code over one workspace directory.
//!
//! A [`Runtime`] makes them, a [`Sandbox`] runs one [`Job`] at a time, an [`Outcome`] says how it ended.
//! [`probe`] finds the runtime that works on this machine by running a cell in it.

pub mod embedded;
pub mod pool;
mod probe;

use std::fmt::Debug;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

pub use probe::probe;

/// Whether code of this runtime finds its workspace by its path on the host, as a user who is not the worker.
pub fn comes_by_path(runtime: &str) -> bool {
    runtime == embedded::Embedded::CONFINED && nix::unistd::geteuid().is_root()
}

/// Makes sandboxes of one kind and says what that kind can do.
#[async_trait]
pub trait Runtime: Send + Sync + Debug {
    /// What this runtime enforces on this machine; what is not listed is not promised.
    fn capabilities(&self) -> &Capabilities;

    /// Makes a sandbox whose interpreter is ready, within [`CREATE_DEADLINE`].
    async fn create(&self, spec: &Spec) -> Result<Box<dyn Sandbox>, SandboxError>;
}

/// One isolated place with a persistent Python interpreter over a workspace directory.
///
/// Dropping it ends its processes too, but only [`Sandbox::destroy`] waits until they are gone.
#[async_trait]
pub trait Sandbox: Send + Debug {
    /// Runs one job to its end, and never returns before the outcome is known.
    ///
    /// Output arrives in `output` while the job runs. `stop` ends the work within a second.
    /// Dropping the future is no way to stop: it costs the sandbox, which is dead for the next call.
    async fn run(
        &mut self,
        job: Job,
        output: &mut dyn OutputSink,
        stop: CancellationToken,
    ) -> Outcome;

    /// What may be run here next.
    fn condition(&self) -> Condition;

    /// Ends every process in it, also daemonised ones; takes a few seconds at most.
    async fn destroy(self: Box<Self>);
}

/// A sandbox whose interpreter is not ready by then is given up.
pub const CREATE_DEADLINE: Duration = Duration::from_secs(20);

/// What may be run in a sandbox next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Python and shell jobs.
    Ready,
    /// Shell jobs only: the interpreter and its variables are gone, a new sandbox brings a new one.
    InterpreterLost,
    /// Nothing: make a new sandbox over the same workspace.
    Dead,
}

/// What one sandbox is made for.
#[derive(Clone, Debug)]
pub struct Spec {
    /// An existing directory, shown inside as `/workspace`.
    ///
    /// It may be renamed within its file system while the sandbox lives, if
    /// [`Capabilities::workspace_may_move`] says so. Under root it is given to the sandbox's own uid.
    pub workspace: PathBuf,
    /// What the sandbox may use.
    pub limits: Limits,
}

/// What one sandbox may use; everything stated per call starts anew with each job.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Memory of all processes together; also of each one alone.
    pub memory_bytes: u64,
    /// Processor time of one call, all processes together.
    pub cpu_seconds: u64,
    /// Share of one processor in thousandths (2000: two processors), where cgroups are writable.
    pub cpu_millis: Option<u32>,
    /// Processes and threads alive at once.
    pub processes: u64,
    /// Size of the workspace, and of any one file; measured while a call runs, so approximate.
    pub workspace_bytes: u64,
    /// Files and directories in the workspace; measured like its size.
    pub workspace_entries: u64,
    /// Size of `/tmp`.
    pub tmp_bytes: u64,
    /// Size of `/dev/shm`.
    pub shm_bytes: u64,
    /// What is kept of each of stdout, stderr and the execution result of one call: its beginning.
    pub output_bytes: usize,
    /// What is kept of the images of one call, all together.
    pub display_bytes: usize,
    /// File descriptors of each process.
    pub open_files: u64,
    /// The longest [`Job::timeout`]; a longer one is shortened to this.
    pub wall_time: Duration,
    /// How long interrupted code has to end by itself before it is killed.
    pub interrupt_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 1 << 30,
            cpu_seconds: 3600,
            cpu_millis: None,
            processes: 256,
            workspace_bytes: 2 << 30,
            workspace_entries: 100_000,
            tmp_bytes: 256 << 20,
            shm_bytes: 64 << 20,
            output_bytes: 256 << 10,
            display_bytes: 4 << 20,
            open_files: 1024,
            wall_time: Duration::from_hours(1),
            interrupt_grace: Duration::from_secs(2),
        }
    }
}

/// One piece of work.
#[derive(Clone, Debug)]
pub struct Job {
    /// What is run.
    pub kind: JobKind,
    /// Wall time it may take, counted from its start.
    pub timeout: Duration,
    /// Environment variables of this job alone, such as `TRACEPARENT`.
    pub variables: Vec<(String, String)>,
}

/// What a [`Job`] runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobKind {
    /// A cell in the persistent interpreter; the value of a last expression is the execution result.
    Python {
        /// Source text.
        code: String,
    },
    /// `sh -c command` as a new process in `/workspace`.
    ///
    /// What it leaves in the background ends with it, but for daemons (`setsid`): they stay until the
    /// sandbox ends, or a limit or a timeout stops a shell job.
    Shell {
        /// One command line.
        command: String,
    },
    /// A program with its arguments, without a shell, as a new process in `/workspace`.
    Exec {
        /// The program (looked up in `PATH`) and its arguments; not empty.
        argv: Vec<String>,
    },
}

/// Where output goes while a job runs.
pub trait OutputSink: Send {
    /// Takes the next piece, at once: it must not block.
    ///
    /// Pieces are cut anywhere, also inside a UTF-8 character.
    fn write(&mut self, stream: Stream, bytes: &[u8]);
}

/// Which of the two outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Keeps what a job wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Captured {
    /// Everything written to standard output.
    pub stdout: Vec<u8>,
    /// Everything written to standard error.
    pub stderr: Vec<u8>,
}

impl OutputSink for Captured {
    fn write(&mut self, stream: Stream, bytes: &[u8]) {
        match stream {
            Stream::Stdout => self.stdout.extend_from_slice(bytes),
            Stream::Stderr => self.stderr.extend_from_slice(bytes),
        }
    }
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// False only if no code of the job can have run.
    pub started: bool,
    /// 0 success, 1 an exception, 128 + signal, or what the code itself said.
    pub exit_code: i32,
    /// `repr` of the last expression, unless that was `None`.
    pub execution_result: Option<String>,
    /// Figures and images, in the order they were shown.
    pub display: Vec<Image>,
    /// The limit that ended the job; none if it ended by itself.
    pub terminated_by: Option<Limit>,
    /// Some output, result or image was too long and is incomplete or absent.
    pub truncated: bool,
    /// The interpreter died: its variables are gone, see [`Sandbox::condition`].
    pub interpreter_lost: bool,
    /// Wall time from the start to the end of the job.
    pub duration: Duration,
}

/// An image that a job showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its MIME type, always one of a fixed list.
    pub mime: &'static str,
    /// The file's bytes, as untrusted as all that code in a sandbox makes.
    pub bytes: Vec<u8>,
}

/// What can end a job from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// [`Job::timeout`] passed.
    WallTime,
    /// [`Limits::memory_bytes`] was reached.
    Memory,
    /// [`Limits::cpu_seconds`] was used up.
    Cpu,
    /// [`Limits::processes`] was reached, and the job failed.
    Processes,
    /// [`Limits::workspace_bytes`] or [`Limits::workspace_entries`] was passed.
    Disk,
    /// The caller stopped it.
    Cancelled,
}

impl Limit {
    /// The word for it in results, logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::WallTime => "wallTime",
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Processes => "processes",
            Self::Disk => "disk",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What a runtime is and does on this machine.
#[derive(Clone, Debug)]
pub struct Capabilities {
    /// The name that [`probe`] knows it by.
    pub runtime: &'static str,
    /// `namespaces`, or `process` where sandboxes see the host's kernel namespaces.
    pub isolation: &'static str,
    /// Whether each sandbox has a kernel uid of its own.
    pub own_uid: bool,
    /// Whether a workspace may be renamed under a living sandbox, which the warm pool needs.
    pub workspace_may_move: bool,
    /// Version of the interpreter, such as `3.11.2`.
    pub python_version: String,
    /// Each limit and what enforces it.
    pub enforced: Vec<(Limit, &'static str)>,
    /// What an operator should know, one sentence each.
    pub notes: Vec<String>,
}

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The workspace cannot be used.
    #[error("the workspace {path} cannot be used")]
    Workspace {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The worker could not start the launcher.
    #[error("the sandbox launcher could not be started")]
    Spawn {
        /// What the system said.
        source: std::io::Error,
    },
    /// A step inside the launcher failed.
    #[error("the sandbox could not be set up: {step}")]
    Setup {
        /// Which step, such as `unshare`.
        step: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Nothing came from the sandbox in time, or not what was agreed.
    #[error("the sandbox did not become ready: {reason}")]
    NotReady {
        /// What was missing.
        reason: String,
    },
}

/// What [`probe`] needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The program that becomes the launcher: this very binary, unless a test says otherwise.
    pub launcher: PathBuf,
    /// The interpreter; `None` is `/usr/bin/python3`, else `python3` on `PATH`.
    pub python: Option<PathBuf>,
    /// A site-packages directory, read-only inside and on `sys.path`.
    pub python_packages: Option<PathBuf>,
    /// An existing directory for short-lived files of the worker itself.
    pub scratch: PathBuf,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            launcher: PathBuf::from("/proc/self/exe"),
            python: None,
            python_packages: None,
            scratch: std::env::temp_dir(),
        }
    }
}

/// Why a runtime cannot be used here, and what would mend it.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// There is no such runtime.
    #[error("unknown runtime {name:?}: use auto, embedded or confined")]
    UnknownRuntime {
        /// What was asked for.
        name: String,
    },
    /// There is no usable interpreter.
    #[error("no usable Python at {python}: {reason}; install python3 or name one with --python")]
    Python {
        /// What was tried.
        python: PathBuf,
        /// What went wrong.
        reason: String,
    },
    /// A sandbox could not be made.
    #[error("the {runtime} runtime does not work here; {mend}")]
    Unavailable {
        /// Which one.
        runtime: &'static str,
        /// What an operator can do about it.
        mend: String,
        /// The step that failed.
        source: SandboxError,
    },
    /// A sandbox was made but did not do what it must.
    #[error("the {runtime} runtime started a sandbox, but {reason}")]
    Misbehaves {
        /// Which one.
        runtime: &'static str,
        /// What it did.
        reason: String,
    },
}
