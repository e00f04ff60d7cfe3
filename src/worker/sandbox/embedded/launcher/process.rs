//! Starting one process inside a sandbox.

use std::ffi::CString;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal};
use nix::unistd::{ForkResult, Pid, execve, fork, setsid};

use super::super::WORKSPACE;
use super::super::wire::{Boot, Ceilings, Counting, Isolation};
use super::confine::confine;

/// A program, its arguments and its environment.
pub(super) struct Command<'a> {
    pub(super) argv: &'a [String],
    pub(super) variables: &'a [(String, String)],
    pub(super) stdout: BorrowedFd<'a>,
    pub(super) stderr: BorrowedFd<'a>,
    /// Descriptors it has beside the standard ones, from [`FIRST_FD`] on.
    pub(super) inherited: &'a [BorrowedFd<'a>],
    /// Out of 1000, how much rather than others this one is ended when memory runs out.
    pub(super) oom_preference: u16,
}

/// Where [`Command::inherited`] begins; [`super::super::AGENT_FDS`] is made to match.
const FIRST_FD: RawFd = 3;

/// What a shell says for a program that is there and cannot be run, and for one that is not there.
const CANNOT_RUN: i32 = 126;
const NOT_FOUND: i32 = 127;

impl Command<'_> {
    /// Starts it as the leader of a session and process group of its own.
    pub(super) fn start(&self, boot: &Boot) -> io::Result<Pid> {
        // SAFETY: init has one thread, so the child may allocate.
        match unsafe { fork() }? {
            ForkResult::Parent { child } => Ok(child),
            ForkResult::Child => {
                let code = match self.prepare(boot) {
                    Ok(()) => self.execute(boot),
                    Err(error) => {
                        complain(&format!("the sandbox cannot start it: {error}"), CANNOT_RUN)
                    }
                };
                // SAFETY: ends the child at once, without running what belongs to init.
                unsafe { libc::_exit(code) }
            }
        }
    }

    fn prepare(&self, boot: &Boot) -> io::Result<()> {
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
        self.tell_preference()?;
        restore_signals()?;
        lower_limits(boot)?;
        match boot.isolation {
            Isolation::Namespaces => std::env::set_current_dir(WORKSPACE),
            Isolation::Process => {
                std::env::set_current_dir(&boot.workspace)?;
                confine(boot, None).map_err(|fault| fault.source)
            }
        }
    }

    /// Says who is to end first when memory runs out. Best effort: where there is no /proc there is no preference either.
    fn tell_preference(&self) -> nix::Result<()> {
        // A process that nobody may look into may not change its score. For this moment the others inside may look, and
        // who is quick takes a hold of our working directory, which is init's /proc: there it may write what its uid may,
        // which is about its own processes, and neither about init nor the host.
        prctl::set_dumpable(true)?;
        let score = OpenOptions::new().write(true).open("self/oom_score_adj");
        drop(score.and_then(|mut it| write!(it, "{}", self.oom_preference)));
        prctl::set_dumpable(false)
    }

    /// Becomes the program; returns the exit code if there is no way to.
    fn execute(&self, boot: &Boot) -> i32 {
        let Some(program) = self.argv.first() else {
            return complain("no program was named", NOT_FOUND);
        };
        let strings = |texts: &mut dyn Iterator<Item = String>| -> Option<Vec<CString>> {
            texts.map(|text| CString::new(text).ok()).collect()
        };
        let variables = boot.environment.iter().chain(self.variables);
        let (Some(argv), Some(environment)) = (
            strings(&mut self.argv.iter().cloned()),
            strings(&mut variables.map(|(name, value)| format!("{name}={value}"))),
        ) else {
            return complain("an argument contains a zero byte", CANNOT_RUN);
        };
        let mut last = Errno::ENOENT;
        for candidate in candidates(program, boot) {
            let Ok(path) = CString::new(candidate) else { continue };
            let Err(errno) = execve(&path, &argv, &environment);
            last = match (errno, last) {
                // As execvp(3) has it: a file without `#!` is the shell's.
                (Errno::ENOEXEC, _) => run_as_script(&path, &argv, &environment),
                // Looking further must not hide that something was there.
                (Errno::ENOENT | Errno::ENOTDIR, last) => last,
                (errno, _) => errno,
            };
        }
        match last {
            Errno::ENOENT => complain(&format!("{program}: not found"), NOT_FOUND),
            errno => complain(&format!("{program}: {}", errno.desc()), CANNOT_RUN),
        }
    }
}

fn candidates(program: &str, boot: &Boot) -> Vec<String> {
    if program.contains('/') {
        return vec![program.to_owned()];
    }
    let path = boot.environment.iter().find(|(name, _)| name == "PATH");
    let directories = path.map_or("", |(_, value)| value.as_str()).split(':');
    directories.map(|directory| format!("{directory}/{program}")).collect()
}

fn run_as_script(path: &CString, argv: &[CString], environment: &[CString]) -> Errno {
    let mut shell = vec![c"sh".to_owned(), path.clone()];
    shell.extend(argv.iter().skip(1).cloned());
    let Err(errno) = execve(c"/bin/sh", &shell, environment);
    errno
}

/// Tells the caller on its stderr, which descriptor 2 is or was meant to be.
fn complain(text: &str, code: i32) -> i32 {
    eprintln!("{text}");
    code
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
    // SAFETY: plain numbers; this child owns its whole descriptor table and is about to exec.
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
