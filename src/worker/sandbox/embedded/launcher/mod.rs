//! The launcher: this binary, executed again, that turns itself into a sandbox step by step.
//!
//! It runs in a process of its own with one thread, so it may fork, change its uid and enter
//! namespaces, none of which a process with threads can do safely. Two processes remain: the
//! *launcher*, outside, which waits, and answers what the kernel hands over to it where there are no
//! namespaces ([`notification`]); and *init*, pid 1 inside, which starts the rest.

#![expect(unsafe_code, reason = "fork, clone flags and raw mounts have no safe form")]

mod attributes;
mod classic;
mod confine;
mod detached;
mod identity;
mod init;
mod jobs;
mod link;
mod mounts;
mod neighbours;
mod notification;
mod process;
mod program;
mod seccomp;
mod starter;
mod tree;

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use nix::sched::CloneFlags;
use nix::unistd::ForkResult;

use super::wire::{Boot, BootFds, Isolation, Report};
use link::Link;

/// A step of the set-up that failed.
#[derive(Debug)]
struct Fault {
    step: String,
    source: io::Error,
}

/// Gives an error the name of the step it ended.
trait Step<T> {
    fn step(self, name: impl Into<String>) -> Result<T, Fault>;
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn step(self, name: impl Into<String>) -> Result<T, Fault> {
        self.map_err(|source| Fault { step: name.into(), source: source.into() })
    }
}

/// Becomes a sandbox, as told over standard input; returns when it has ended.
pub(super) fn run() -> ExitCode {
    let mut link = Link::from_stdin();
    let outcome = link.receive_boot().and_then(|(boot, fds)| launch(&mut link, &boot, fds));
    let Err(fault) = outcome else { return ExitCode::SUCCESS };
    // Nobody may be listening any more: then there is nobody to tell.
    drop(link.report(&Report::Failed {
        step: fault.step,
        errno: fault.source.raw_os_error().unwrap_or(0),
    }));
    ExitCode::FAILURE
}

fn launch(link: &mut Link, boot: &Boot, fds: BootFds<OwnedFd>) -> Result<(), Fault> {
    identity::leave_session(boot.worker_pid)?;
    for procs in &boot.cgroups {
        std::fs::write(procs, "0").step(format!("entering {}", procs.display()))?;
    }
    let mut forest = mounts::Forest::plan(boot);
    if boot.kernel_uid.is_some() && boot.isolation == Isolation::Namespaces {
        // Root can reach the workspace; the uid it becomes cannot, so its mounts are taken first.
        forest.take()?;
    }
    if let Some(uid) = boot.kernel_uid {
        identity::become_uid(uid)?;
    }
    if boot.isolation == Isolation::Namespaces {
        identity::enter_namespaces()?;
    }
    let calls = if boot.shares_uid() {
        Some(UnixStream::pair().step("making a pair of sockets")?)
    } else {
        None
    };
    // SAFETY: this process has one thread, so the child may do whatever the parent could.
    match unsafe { nix::unistd::fork() }.step("fork")? {
        ForkResult::Parent { child } => {
            link.report(&Report::Init { pid: child.as_raw() }).step("report")?;
            drop(fds);
            link.close();
            identity::drop_capabilities()?;
            if let Some((ours, theirs)) = calls {
                drop(theirs);
                attributes::serve(&ours, &boot.workspace);
            }
            identity::wait_for(child);
            Ok(())
        }
        ForkResult::Child => {
            init::begin(boot)?;
            let proc = match boot.isolation {
                Isolation::Namespaces => {
                    forest.take_here()?;
                    Some(forest.plant(&boot.ceilings)?)
                }
                Isolation::Process => None,
            };
            init::serve(link, boot, fds, (proc, calls.map(|(_ours, theirs)| theirs)))
        }
    }
}

/// Everything a sandbox has of its own.
const NAMESPACES: CloneFlags = CloneFlags::CLONE_NEWUSER
    .union(CloneFlags::CLONE_NEWNS)
    .union(CloneFlags::CLONE_NEWPID)
    .union(CloneFlags::CLONE_NEWNET)
    .union(CloneFlags::CLONE_NEWIPC)
    .union(CloneFlags::CLONE_NEWUTS)
    .union(CloneFlags::CLONE_NEWCGROUP);
