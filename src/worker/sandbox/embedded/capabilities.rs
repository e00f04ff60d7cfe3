//! What this runtime enforces and lacks on this machine, in words.

use super::cgroup::{Controller, Groups};
use super::python::Interpreter;
use super::uids::Uids;
use super::wire::{Counting, Isolation};
use super::{Landlock, counting};
use crate::worker::sandbox::{Capabilities, Limit};

/// What code without a tree of its own runs into.
const ADVICE: &str = "This environment has no network, not even loopback, and no /workspace, /tmp, /dev/shm or /proc: files \
     belong into the directory that code starts in, which is also $HOME and $TMPDIR.";

/// Says what a runtime of this name, made of these parts, is and does.
pub(super) fn capabilities(
    runtime: &'static str,
    isolation: Isolation,
    landlock: Landlock,
    interpreter: &Interpreter,
    groups: &Groups,
    uids: &Uids,
) -> Capabilities {
    let exact = |controller, with, without| if groups.has(controller) { with } else { without };
    let counting = counting(isolation, uids.own_uid_each(), groups);
    Capabilities {
        runtime,
        isolation: match isolation {
            Isolation::Namespaces => "namespaces",
            Isolation::Process => "process",
        },
        own_uid: uids.own_uid_each(),
        workspace_may_move: isolation == Isolation::Namespaces,
        python_version: interpreter.version.clone(),
        enforced: vec![
            (Limit::WallTime, "the worker's clock"),
            (Limit::Cancelled, "the worker"),
            (
                Limit::Memory,
                exact(Controller::Memory, "memory cgroup, RLIMIT_DATA", "RLIMIT_DATA, watched"),
            ),
            (
                Limit::Processes,
                match counting {
                    Counting::Init => "watched",
                    Counting::Kernel => {
                        exact(Controller::Pids, "RLIMIT_NPROC, pids cgroup", "RLIMIT_NPROC")
                    }
                },
            ),
            (Limit::Cpu, "watched"),
            (Limit::Disk, "RLIMIT_FSIZE, watched"),
        ],
        notes: notes(isolation, landlock, groups.has(Controller::Memory), counting),
        advice: (isolation == Isolation::Process).then_some(ADVICE),
    }
}

fn notes(
    isolation: Isolation,
    landlock: Landlock,
    memory_cgroup: bool,
    counting: Counting,
) -> Vec<String> {
    let mut notes = Vec::new();
    match isolation {
        Isolation::Namespaces if !memory_cgroup => notes.push(
            "Control groups are not writable here: memory of several processes together is watched, \
             not limited, and memory in /tmp and /dev/shm comes on top.",
        ),
        Isolation::Process if !memory_cgroup => notes.push(
            "Control groups are not writable here: memory of several processes together is watched, not limited.",
        ),
        Isolation::Namespaces | Isolation::Process => {}
    }
    if landlock == Landlock::Unsuitable {
        notes.push("The kernel has no suitable Landlock: one wall less.");
    }
    if isolation == Isolation::Process {
        notes.push(
            "Code runs in the host's namespaces, held by Landlock, seccomp and limits alone: it has its workspace and the \
             system's programs, no sockets, no /proc, /tmp or /dev/shm, and sees which processes and files there are.",
        );
    }
    if counting == Counting::Init {
        notes.push(
            "Sandboxes share the worker's uid: processes of one are counted twice a second, more often during a \
             call, and end with all others of their sandbox when they are too many.",
        );
    }
    notes.push(if super::on_gvisor() {
        "The kernel is gVisor's, shared by this worker's sandboxes: it counts processes of all of \
         them together, and memory that several share once for each."
    } else {
        "The kernel is shared with the host: for hostile tenants use a stronger runtime."
    });
    notes.into_iter().map(str::to_owned).collect()
}
