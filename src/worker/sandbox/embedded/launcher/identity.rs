//! Who a sandbox is: its session, its uid, its namespaces, and the capabilities it does not have.

use std::fs::OpenOptions;
use std::io::{self, Write};

use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::wait::waitpid;
use nix::unistd::{
    Gid, Pid, Uid, getegid, geteuid, getppid, setgroups, setresgid, setresuid, setsid,
};

use super::{Fault, NAMESPACES, Step};

/// The uid and gid that code inside sees itself as.
const INSIDE_ID: u32 = 1000;

/// Leaves the worker's session, so that a Ctrl-C there is not meant for us, and dies with its thread.
pub(super) fn leave_session(worker_pid: i32) -> Result<(), Fault> {
    // Fails only for a process group leader, which the worker did not make us.
    setsid().ok();
    die_with_parent()?;
    if getppid().as_raw() == worker_pid {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(libc::ESRCH)).step("finding the worker")
    }
}

/// The kernel forgets this at every change of credentials, so it is said again after each.
pub(super) fn die_with_parent() -> Result<(), Fault> {
    prctl::set_pdeathsig(Signal::SIGKILL).step("prctl(PR_SET_PDEATHSIG)")
}

/// Gives up root for a uid that nothing else has.
pub(super) fn become_uid(id: u32) -> Result<(), Fault> {
    let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
    setgroups(&[]).step("setgroups")?;
    setresgid(gid, gid, gid).step("setresgid")?;
    setresuid(uid, uid, uid).step("setresuid")?;
    die_with_parent()?;
    // A changed uid makes us undumpable, and then our own /proc/self/uid_map is root's.
    prctl::set_dumpable(true).step("prctl(PR_SET_DUMPABLE)")
}

/// Enters new namespaces of every kind; the next child is the first process of the pid namespace.
pub(super) fn enter_namespaces() -> Result<(), Fault> {
    let (uid, gid) = (geteuid(), getegid());
    nix::sched::unshare(NAMESPACES).step("unshare")?;
    // user_namespaces(7): an unprivileged gid map needs setgroups denied first.
    match OpenOptions::new().write(true).open("/proc/self/setgroups") {
        Ok(mut setgroups) => setgroups.write_all(b"deny"),
        // gVisor of 2024 has neither the file nor the rule.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
    .step("writing setgroups")?;
    std::fs::write("/proc/self/uid_map", format!("{INSIDE_ID} {uid} 1")).step("writing uid_map")?;
    std::fs::write("/proc/self/gid_map", format!("{INSIDE_ID} {gid} 1")).step("writing gid_map")?;
    die_with_parent()
}

/// Leaves no capability in any set, and no way to gain one.
pub(super) fn drop_capabilities() -> Result<(), Fault> {
    prctl::set_no_new_privs().step("prctl(PR_SET_NO_NEW_PRIVS)")?;
    for capability in 0..=63 {
        // SAFETY: plain numbers. EINVAL says that this kernel has no such capability; EPERM that
        // we never had a right to it, outside a user namespace.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
    }
    // SAFETY: plain numbers; the ambient set is part of what capset empties below, this is a second wall.
    unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
    // capget(2): version 3 takes a header and two records of three words.
    let header: [u32; 2] = [0x2008_0522, 0];
    let none = [0_u32; 6];
    // SAFETY: both pointers are to live arrays of the size that version 3 of the call reads.
    let done = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()).step("capset") }
}

/// Waits until init has ended, and with it everything in its pid namespace.
pub(super) fn wait_for(init: Pid) {
    while waitpid(init, None) == Err(nix::errno::Errno::EINTR) {}
}
