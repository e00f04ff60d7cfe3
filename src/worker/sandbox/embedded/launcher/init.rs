//! Init: the first process of a sandbox. It starts the others, reaps them, and ends them when told.
//!
//! Code inside cannot signal it (it is pid 1 there), trace it or read its memory (it is undumpable),
//! so what it reports about other processes is what happened.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill, killpg};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::super::AGENT_PROGRAM;
use super::super::wire::{Boot, BootFds, Counting, Ended, Isolation, Order, Report, Stop, Target};
use super::confine::{confine, keep_signals_inside};
use super::jobs::{Jobs, Refused, Work};
use super::link::Link;
use super::process::{self, Ends};
use super::program::Program;
use super::tree::{sweep, tasks};
use super::{Fault, Step, attributes, identity};

/// When memory runs out, the interpreter is ended before init, and after a job.
const INTERPRETER_OOM: u16 = 500;

/// What the new process does before there are mounts.
pub(super) fn begin(boot: &Boot) -> Result<(), Fault> {
    match boot.isolation {
        Isolation::Namespaces => {
            identity::die_with_parent()?;
            nix::unistd::sethostname("sandbox").step("sethostname")?;
            loopback_up()
        }
        // Without a pid namespace nothing ends our descendants but we: init outlives the launcher,
        // and ends when the worker's socket closes.
        Isolation::Process => {
            prctl::set_pdeathsig(None).step("prctl(PR_SET_PDEATHSIG)")?;
            prctl::set_child_subreaper(true).step("prctl(PR_SET_CHILD_SUBREAPER)")
        }
    }
}

/// Serves orders until the worker has gone, then ends the process and with it the sandbox.
///
/// `proc` is a `/proc` of its own; the stream leads to the launcher, if that is to change attributes of files for it.
pub(super) fn serve(
    link: &mut Link,
    boot: &Boot,
    fds: BootFds<OwnedFd>,
    (proc, launcher): (Option<OwnedFd>, Option<UnixStream>),
) -> Result<(), Fault> {
    prctl::set_dumpable(false).step("prctl(PR_SET_DUMPABLE)")?;
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    mask.thread_block().step("blocking SIGCHLD")?;
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    let children = SignalFd::with_flags(&mask, flags).step("signalfd")?;
    enter_proc(boot, proc)?;
    let _end = EndOfEverything;
    if let Some(launcher) = launcher {
        attributes::hand_over(&launcher)?;
    }
    let jobs = Jobs::new(boot).step("starting the starter")?;
    let interpreter = start_interpreter(boot, &fds)?;
    // The interpreter has its own copies: what is kept here would keep its pipes open after its end.
    drop(fds);
    let mut init = Init {
        link,
        boot,
        interpreter: Some(interpreter),
        jobs,
        leftovers: VecDeque::new(),
        next_count: (boot.ceilings.counted_by == Counting::Init).then(Instant::now),
    };
    while init.turn(&children).step("serving")? {}
    Ok(())
}

/// Ends everything when init leaves [`serve`], whichever way: a worker that was killed is first noticed
/// by a report that cannot be sent, which is an error.
///
/// Made only when signals stay inside, and before there is anybody: until then it would reach all of our uid.
struct EndOfEverything;

impl Drop for EndOfEverything {
    fn drop(&mut self) {
        end_everything();
    }
}

struct Init<'a> {
    link: &'a mut Link,
    boot: &'a Boot,
    interpreter: Option<Pid>,
    jobs: Jobs<'a>,
    /// The process groups of ended jobs, and when what is left of them is ended.
    leftovers: VecDeque<(Instant, Pid)>,
    /// When processes are counted next, if that is for us to do.
    next_count: Option<Instant>,
}

/// How often init counts processes. During a call the worker does, more often; this is for what goes on between.
const COUNT_INTERVAL: Duration = Duration::from_millis(500);

/// How long what an ended job left in its process group has to make a session of its own: a shell
/// is often gone before the daemon that it started has got that far.
const DAEMON_GRACE: Duration = Duration::from_millis(100);

impl Init<'_> {
    /// Waits for the next thing and does it; false when the worker has gone.
    fn turn(&mut self, children: &SignalFd) -> io::Result<bool> {
        let Some(link) = self.link.as_fd() else { return Ok(false) };
        let mut fds = vec![
            PollFd::new(children.as_fd(), PollFlags::POLLIN),
            PollFd::new(link, PollFlags::POLLIN),
        ];
        fds.extend(self.jobs.starter().map(|it| PollFd::new(it, PollFlags::POLLIN)));
        match poll(&mut fds, self.until_next()) {
            Err(Errno::EINTR) => return Ok(true),
            other => other?,
        };
        let ready = |fd: usize| {
            let events = fds.get(fd).and_then(PollFd::revents);
            events.is_some_and(|events| !events.is_empty())
        };
        let [child_ended, order_came, starter_spoke] = [0, 1, 2].map(ready);
        self.end_leftovers();
        self.count();
        if starter_spoke {
            self.jobs.hear_starter();
        }
        if child_ended {
            while children.read_signal()?.is_some() {}
            self.reap()?;
        }
        if !order_came {
            return Ok(true);
        }
        match self.link.receive_order() {
            None => Ok(false),
            Some((Order::Run { job, argv, variables }, fds)) => {
                self.run(job, argv, variables, fds).map(|()| true)
            }
            Some((Order::Signal { target, how }, _)) => self.signal(target, how).map(|()| true),
        }
    }

    /// How long nothing is due.
    fn until_next(&self) -> PollTimeout {
        let leftovers = self.leftovers.front().map(|(due, _)| *due);
        let Some(due) = leftovers.into_iter().chain(self.next_count).min() else {
            return PollTimeout::NONE;
        };
        // Rounded up, or the last millisecond would be spent asking.
        let wait = due.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        PollTimeout::try_from(wait).unwrap_or(PollTimeout::ZERO)
    }

    /// Ends everything once there are too many, where the kernel's limit counts other sandboxes' too.
    fn count(&mut self) {
        let now = Instant::now();
        if self.next_count.is_some_and(|due| due <= now) {
            self.next_count = Some(now + COUNT_INTERVAL);
            let most = self.boot.ceilings.processes;
            if tasks(Pid::this().as_raw(), most) > most {
                end_everything();
            }
        }
    }

    fn run(
        &mut self,
        job: u64,
        argv: Vec<String>,
        variables: Vec<(String, String)>,
        fds: Vec<OwnedFd>,
    ) -> io::Result<()> {
        let run = match <[OwnedFd; 2]>::try_from(fds) {
            Ok(ends) => self.jobs.run(job, Work { argv, variables, ends }),
            Err(_) => Err(Refused { job, errno: Errno::EBADF }),
        };
        self.report_refusal(run)
    }

    /// Reports the job, if nobody starts it.
    fn report_refusal(&mut self, started: Result<(), Refused>) -> io::Result<()> {
        started.or_else(|Refused { job, errno }| {
            self.link.report(&Report::JobRefused { job, errno: errno as i32 })
        })
    }

    fn signal(&mut self, target: Target, how: Stop) -> io::Result<()> {
        let pid = match target {
            Target::Interpreter => self.interpreter,
            Target::Job => self.jobs.pid(),
        };
        // What has ended by itself needs no signal, and its report is on the way. What has yet to begin is not told to
        // stop: it is killed when its grace is over.
        match (how, target, pid) {
            (Stop::Interrupt, _, Some(pid)) => _ = killpg(pid, Signal::SIGINT).ok(),
            (Stop::Interrupt, _, None) => {}
            (Stop::Kill, Target::Interpreter, _) => {
                end_everything();
                self.cancel()?;
            }
            (Stop::Kill, Target::Job, pid) => {
                if let Some(pid) = pid {
                    killpg(pid, Signal::SIGKILL).ok();
                }
                let starter = self.jobs.kept();
                let keep: Vec<Pid> = self.interpreter.into_iter().chain(starter).collect();
                let swept = sweep(&keep);
                if !swept {
                    // Faster than we can look: nothing is left but to end it all at once.
                    end_everything();
                }
                if !swept || starter.is_none() {
                    self.cancel()?;
                }
            }
        }
        self.link.report(&Report::Obeyed)
    }

    /// Nobody shall be asked to start a job who has just been ended with all others.
    fn cancel(&mut self) -> io::Result<()> {
        let cancelled = self.jobs.cancel();
        self.report_refusal(cancelled)
    }

    /// Reports each ended child that the worker knows of; orphans are only reaped.
    fn reap(&mut self) -> io::Result<()> {
        loop {
            let (pid, ended) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, Ended::Exited(code)),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, Ended::Signalled(signal as i32)),
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(()),
                Ok(_) | Err(Errno::EINTR) => continue,
                Err(errno) => return Err(errno.into()),
            };
            if self.jobs.is_starter(pid) {
                let lost = self.jobs.lose_starter();
                self.report_refusal(lost)?;
            } else if self.interpreter == Some(pid) {
                self.interpreter = None;
                if self.jobs.is_idle() {
                    end_everything();
                    self.cancel()?;
                }
                self.link.report(&Report::InterpreterEnded { ended })?;
            } else if let Some(job) = self.jobs.take_ended(pid) {
                self.leftovers.push_back((Instant::now() + DAEMON_GRACE, pid));
                self.link.report(&Report::JobEnded { job, ended })?;
            }
        }
    }

    /// What a job left in the background ends with it, unless it has made a session of its own.
    fn end_leftovers(&mut self) {
        while let Some((_, group)) = self.leftovers.pop_front_if(|(due, _)| *due <= Instant::now())
        {
            killpg(group, Signal::SIGKILL).ok();
        }
    }
}

fn end_everything() {
    // kill(2): -1 is every process that we may signal but ourselves: those of the namespace, or,
    // without one, those that our Landlock rules keep our signals to.
    kill(Pid::from_raw(-1), Signal::SIGKILL).ok();
}

fn start_interpreter(boot: &Boot, fds: &BootFds<OwnedFd>) -> Result<Pid, Fault> {
    let mut argv = boot.interpreter.clone();
    argv.push(AGENT_PROGRAM.to_owned());
    argv.extend(boot.agent_arguments.iter().cloned());
    let ends = Ends {
        stdout: fds.stdout.as_fd(),
        stderr: fds.stderr.as_fd(),
        inherited: &[fds.agent.as_fd(), fds.program.as_fd()],
    };
    let program = Program::new(&argv, &[], boot);
    process::start(program, &ends, INTERPRETER_OOM, boot).step("starting the interpreter")
}

/// Makes a `/proc` init's working directory, which is how it sees who is alive.
fn enter_proc(boot: &Boot, proc: Option<OwnedFd>) -> Result<(), Fault> {
    let Some(proc) = proc else {
        // Each process confines itself as it starts: init must still see the host's /proc.
        std::env::set_current_dir("/proc").step("entering /proc")?;
        return keep_signals_inside();
    };
    nix::unistd::fchdir(&proc).step("entering init's /proc")?;
    confine(boot, Some(proc.as_fd()))
}

fn loopback_up() -> Result<(), Fault> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    use std::os::fd::AsRawFd;

    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
        .step("socket")?;
    // SAFETY: an ifreq is plain memory for which zero is a value of every field.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l'.cast_signed() as libc::c_char;
    request.ifr_name[1] = b'o'.cast_signed() as libc::c_char;
    let up = libc::c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING).expect("two low bits");
    // gVisor's is up from the beginning, and has no call to say so.
    // SAFETY: the call fills an ifreq that lives through it, and its flags are what it fills.
    let is_up = unsafe {
        let done = libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request);
        done == 0 && request.ifr_ifru.ifru_flags & up == up
    };
    if is_up {
        return Ok(());
    }
    request.ifr_ifru.ifru_flags = up;
    // SAFETY: the call reads an ifreq that lives through it.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    Errno::result(done).map(drop).step("bringing lo up")
}
