//! What the worker and the init process of a sandbox say to each other, over one stream socket.
//!
//! Frames of a length and JSON. Orders may carry file descriptors, attached to their first byte.
//! Init is our code, but it lives in a sandbox: the worker reads its reports as it would a stranger's.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::worker::sandbox::Limits;

/// Longest order: a shell command and its variables; the kernel takes less in one `exec`.
pub(super) const ORDER_BYTES: usize = 8 << 20;
/// Longest report: a step's name and a number or two.
pub(super) const REPORT_BYTES: usize = 4 << 10;

/// File descriptors that come with [`Boot`], in this order.
#[derive(Debug)]
pub(super) struct BootFds<T> {
    /// The agent's end of its channel.
    pub(super) agent: T,
    /// Where the interpreter and what it starts write.
    pub(super) stdout: T,
    pub(super) stderr: T,
    /// The compiled agent, a file.
    pub(super) program: T,
}

/// How much of the kernel a sandbox shares with the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Isolation {
    /// Namespaces of its own, and a system tree of its own.
    Namespaces,
    /// The host's namespaces: Landlock, seccomp and rlimits are all there is.
    Process,
}

/// The first thing the launcher hears: how to become a sandbox.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Boot {
    /// Who must still be our parent.
    pub(super) worker_pid: i32,
    pub(super) isolation: Isolation,
    /// Whether the kernel has a Landlock that suits; see [`super::Landlock`].
    pub(super) landlock: bool,
    /// The uid to become before anything else; only root has a choice.
    pub(super) kernel_uid: Option<u32>,
    /// Whether jobs are started by a process of their own. Not where each confines itself as it starts, and not on gVisor,
    /// where nobody has tried.
    pub(super) starter: bool,
    /// The `cgroup.procs` files to enter.
    pub(super) cgroups: Vec<PathBuf>,
    pub(super) workspace: PathBuf,
    /// Host paths that appear inside, read-only, beside the system tree.
    pub(super) trees: Vec<Tree>,
    pub(super) ceilings: Ceilings,
    /// The interpreter with the arguments that come before the agent's program.
    pub(super) interpreter: Vec<String>,
    /// What the agent is told: directories for `sys.path`.
    pub(super) agent_arguments: Vec<String>,
    /// The whole environment of every process inside.
    pub(super) environment: Vec<(String, String)>,
}

impl Boot {
    /// Whether code inside has the uid of the worker and of other sandboxes, and no namespace between.
    pub(super) fn shares_uid(&self) -> bool {
        self.isolation == Isolation::Process && self.kernel_uid.is_none()
    }
}

/// A directory or file of the host and where it appears inside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tree {
    pub(super) source: PathBuf,
    pub(super) target: PathBuf,
}

/// The limits that the launcher sets itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Ceilings {
    pub(super) data_bytes: u64,
    pub(super) file_bytes: u64,
    pub(super) processes: u64,
    pub(super) counted_by: Counting,
    pub(super) open_files: u64,
    pub(super) tmp_bytes: u64,
    pub(super) shm_bytes: u64,
    /// Memory that no process maps is counted by cgroups only; without them it is refused.
    pub(super) unmapped_memory: bool,
}

/// Who sees to it that there are not too many processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Counting {
    /// The kernel: nobody else has the uid in this namespace.
    Kernel,
    /// Init, and the worker during calls: the kernel would count the worker and other sandboxes too.
    Init,
}

impl Ceilings {
    pub(super) fn new(limits: &Limits, memory_cgroup: bool, counted_by: Counting) -> Self {
        Self {
            data_bytes: limits.memory_bytes,
            file_bytes: limits.workspace_bytes,
            processes: limits.processes,
            counted_by,
            open_files: limits.open_files,
            tmp_bytes: limits.tmp_bytes,
            shm_bytes: limits.shm_bytes,
            unmapped_memory: memory_cgroup,
        }
    }
}

/// What the worker wants of init.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// Start a process; its stdout and stderr come with the order.
    Run {
        job: u64,
        argv: Vec<String>,
        variables: Vec<(String, String)>,
    },
    Signal {
        target: Target,
        how: Stop,
    },
}

/// Whom a signal is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Target {
    Interpreter,
    Job,
}

/// How something is made to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Stop {
    /// SIGINT to its process group.
    Interrupt,
    /// SIGKILL to it and to all that may come from it: everything but init, and for a job but the starter, the
    /// interpreter and its descendants.
    Kill,
}

/// What init tells the worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Report {
    /// A step of the set-up failed; nothing else follows.
    Failed { step: String, errno: i32 },
    /// The pid of init, as the host sees it.
    Init { pid: i32 },
    /// The interpreter is gone.
    InterpreterEnded { ended: Ended },
    /// The process of that job is gone; what it left in its process group is about to be.
    JobEnded { job: u64, ended: Ended },
    /// A signal has been sent, and a kill has left nobody: nothing of the order is still to come.
    Obeyed,
    /// The process of that job could not be made.
    JobRefused { job: u64, errno: i32 },
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Ended {
    Exited(i32),
    Signalled(i32),
}

impl Ended {
    /// The shell's way of putting both in one number.
    pub(super) fn exit_code(self) -> i32 {
        match self {
            Self::Exited(code) => code,
            Self::Signalled(signal) => 128 + signal,
        }
    }
}

/// One frame: its length, little-endian, and its JSON.
pub(super) fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message).expect("our own messages have JSON forms");
    let length = u32::try_from(frame.len() - 4).expect("our own messages are short");
    frame[..4].copy_from_slice(&length.to_le_bytes());
    frame
}
