//! Starting one process inside a sandbox.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal};
use nix::unistd::{ForkResult, Pid, fork, setsid};

use super::super::WORKSPACE;
use super::super::wire::{Boot, Ceilings, Counting, Isolation};
use super::confine::confine;
use super::program::{CANNOT_RUN, Program, complain};

/// What a new process is given of its starter's descriptors.
pub(super) struct Ends<'a> {
    pub(super) stdout: BorrowedFd<'a>,
    pub(super) stderr: BorrowedFd<'a>,
    /// Descriptors it has beside the standard ones, from [`FIRST_FD`] on.
    pub(super) inherited: &'a [BorrowedFd<'a>],
}

/// Where [`Ends::inherited`] begins; the agent's program counts on it.
pub(super) const FIRST_FD: RawFd = 3;

/// Who is to end first when memory runs out, in a `/proc` that is the working directory: the highest, up to 1000.
pub(super) const OWN_SCORE: &str = "self/oom_score_adj";

/// Starts a program as the leader of a session and process group of its own.
///
/// It has this score, if it can be set: not where there is no `/proc`.
pub(super) fn start(
    mut program: Program,
    ends: &Ends<'_>,
    score: u16,
    boot: &Boot,
) -> io::Result<Pid> {
    // SAFETY: init has one thread, so the child may allocate.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let code = match ends.stand_alone() {
                Ok(()) => {
                    // Who is quick may hold our working directory, which is init's /proc: there it may write what its
                    // uid may, which is about its own processes, and neither about init nor the host. Our memory is
                    // gone with the exec.
                    set_score(&score.to_string()).ok();
                    run(&mut program, boot)
                }
                Err(error) => refuse(&error),
            };
            // SAFETY: ends the child at once, without running what belongs to init.
            unsafe { libc::_exit(code) }
        }
    }
}

/// Becomes a program, in a process that stands alone; returns the exit code if there is no way to.
pub(super) fn run(program: &mut Program, boot: &Boot) -> i32 {
    let entered = lower_limits(boot).map_err(io::Error::from).and_then(|()| match boot.isolation {
        Isolation::Namespaces => std::env::set_current_dir(WORKSPACE),
        Isolation::Process => {
            std::env::set_current_dir(&boot.workspace)?;
            confine(boot, None).map_err(|fault| fault.source)
        }
    });
    match entered {
        Ok(()) => program.execute(),
        Err(error) => refuse(&error),
    }
}

/// The exit code of a process that did not become what it was to.
pub(super) fn refuse(error: &io::Error) -> i32 {
    const WHAT: &str = "the sandbox cannot start it: ";
    match error.raw_os_error() {
        Some(errno) => complain(&[WHAT, Errno::from_raw(errno).desc()], CANNOT_RUN),
        // Only one that confines itself has others, and it has its own memory.
        None => complain(&[WHAT, &error.to_string()], CANNOT_RUN),
    }
}

impl Ends<'_> {
    /// Makes this process the leader of a session, with these descriptors alone and every signal as it is by default.
    pub(super) fn stand_alone(&self) -> io::Result<()> {
        setsid()?;
        let null: OwnedFd = std::fs::File::open("/dev/null")?.into();
        // Sources are 3 or more: 0, 1 and 2 are taken since the launcher began.
        replace(null.as_raw_fd(), 0)?;
        replace(self.stdout.as_raw_fd(), 1)?;
        replace(self.stderr.as_raw_fd(), 2)?;
        drop(null);
        // First out of the way: a source may have another one's place.
        let sources: Vec<OwnedFd> =
            self.inherited.iter().copied().map(aside).collect::<io::Result<_>>()?;
        let mut next = FIRST_FD;
        for source in &sources {
            replace(source.as_raw_fd(), next)?;
            next += 1;
        }
        drop(sources);
        close_from(next);
        Ok(restore_signals()?)
    }
}

/// Sets this process's score. For this moment others may look into it: a process that nobody may look into may not
/// change its score.
pub(super) fn set_score(score: &str) -> io::Result<()> {
    prctl::set_dumpable(true)?;
    let file = OpenOptions::new().write(true).open(OWN_SCORE);
    let written = file.and_then(|mut file| file.write_all(score.as_bytes()));
    prctl::set_dumpable(false)?;
    written
}

/// A copy with a number that nothing is moved to.
fn aside(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    const OUT_OF_THE_WAY: RawFd = 64;
    // SAFETY: plain numbers; the new descriptor is ours.
    unsafe {
        let copy = libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, OUT_OF_THE_WAY);
        Errno::result(copy).map(|copy| OwnedFd::from_raw_fd(copy)).map_err(io::Error::from)
    }
}

/// Makes `target` a copy of `source` that survives exec, closing what it was.
fn replace(source: RawFd, target: RawFd) -> io::Result<()> {
    // SAFETY: plain numbers; this child owns its whole descriptor table.
    let done = unsafe { libc::dup2(source, target) };
    Errno::result(done).map(drop).map_err(io::Error::from)
}

fn close_from(first: RawFd) {
    // SAFETY: plain numbers; as above. All descriptors are marked to close at exec in any case.
    // The last number there can be: gVisor refuses larger ones, which other kernels take for it.
    unsafe { libc::syscall(libc::SYS_close_range, first, RawFd::MAX, 0) };
}

fn restore_signals() -> nix::Result<()> {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    for signal in Signal::iterator().filter(|s| !matches!(s, Signal::SIGKILL | Signal::SIGSTOP)) {
        // SAFETY: the default action runs no code of ours.
        unsafe { nix::sys::signal::sigaction(signal, &default) }?;
    }
    nix::sys::signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
}

/// What `RLIMIT_NPROC` is set to, which counts all that have our uid in our user namespace.
fn most_of_uid(ceilings: &Ceilings) -> u64 {
    // For everybody together it can only be a last wall, for the moment before somebody counts.
    const EVERYBODY: u64 = 32;
    match ceilings.counted_by {
        Counting::Kernel => ceilings.processes,
        Counting::Init => ceilings.processes.saturating_mul(EVERYBODY),
    }
}

/// Limits are only ever lowered: a host may lack the right to raise them.
fn lower_limits(boot: &Boot) -> nix::Result<()> {
    let ceilings = &boot.ceilings;
    for (resource, value) in [
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_DATA, ceilings.data_bytes),
        (Resource::RLIMIT_FSIZE, ceilings.file_bytes),
        (Resource::RLIMIT_NOFILE, ceilings.open_files),
        (Resource::RLIMIT_NPROC, most_of_uid(ceilings)),
        (Resource::RLIMIT_MEMLOCK, 64 << 10),
        (Resource::RLIMIT_MSGQUEUE, 0),
        (Resource::RLIMIT_SIGPENDING, ceilings.processes.max(1024)),
    ] {
        let (_, hard) = getrlimit(resource)?;
        let value = value.min(hard);
        match (setrlimit(resource, value, value), resource) {
            // Linux lets everybody lower them. gVisor has neither the limits nor what they limit:
            // no queue can be opened in here, and no more signals are kept than there are kinds.
            (Err(Errno::EPERM), Resource::RLIMIT_MSGQUEUE | Resource::RLIMIT_SIGPENDING) => {}
            (set, _) => set?,
        }
    }
    Ok(())
}
