//! Modes of files by name, where sandboxes have the worker's uid and Landlock does not look.
//!
//! Code may change the modes of its own files only: the kernel hands each chmod to the launcher, which no
//! rules hold, and which does it if the file is in the workspace. See `seccomp_unotify(2)`.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::sys::stat::Mode;

use super::link::receive_with_fds;
use super::{Fault, Step};

/// Every call that changes the mode of a file by its name.
const CALLS: &[libc::c_long] = &[
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
    libc::SYS_fchmodat,
    FCHMODAT2,
];
/// The same number on every architecture.
const FCHMODAT2: libc::c_long = 452;

/// All that a mode may have: nothing inside has a use for another uid's rights.
const MODE_BITS: u32 = 0o1777;

/// Hands the calls of this process and its descendants over to whoever is at the other end.
pub(super) fn hand_over(launcher: &UnixStream) -> Result<(), Fault> {
    let listener = listen().step("handing chmod over")?;
    let fds = [listener.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&fds)];
    let parts = [io::IoSlice::new(&[0])];
    sendmsg::<()>(launcher.as_raw_fd(), &parts, &rights, MsgFlags::MSG_NOSIGNAL, None)
        .map(drop)
        .step("handing chmod over")
}

/// Does what was handed over, until nobody is left who could ask.
pub(super) fn serve(init: &UnixStream, workspace: &Path) {
    // Init may have ended before it got so far; then there is nothing to serve.
    let Ok((_, fds)) = receive_with_fds(init, &mut [0]) else { return };
    let Ok([listener]) = <[OwnedFd; 1]>::try_from(fds) else { return };
    let Ok(workspace) = workspace.canonicalize() else { return };
    loop {
        let mut events = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        match poll(&mut events, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            Err(_) => return,
            Ok(_) => {}
        }
        let asked = events[0].revents().unwrap_or(PollFlags::empty());
        if !asked.contains(PollFlags::POLLIN) {
            return;
        }
        if let Some(call) = Call::receive(&listener) {
            let done = call.perform(&listener, &workspace);
            call.answer(&listener, done);
        }
    }
}

/// Installs a filter that asks us, and returns where it asks.
fn listen() -> io::Result<OwnedFd> {
    let code = |bits: u32| u16::try_from(bits).expect("BPF opcodes have 16 bits");
    let load = code(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS);
    let equal = code(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K);
    let answer = code(libc::BPF_RET | libc::BPF_K);
    // The call's number is the first word of what a filter sees. Other architectures' numbers are for the
    // filters that each process installs: those end it.
    let mut program = vec![libc::sock_filter { code: load, jt: 0, jf: 0, k: 0 }];
    for call in CALLS {
        let k = u32::try_from(*call).expect("numbers of calls are small");
        program.push(libc::sock_filter { code: equal, jt: 0, jf: 1, k });
        let ask = libc::SECCOMP_RET_USER_NOTIF;
        program.push(libc::sock_filter { code: answer, jt: 0, jf: 0, k: ask });
    }
    program.push(libc::sock_filter { code: answer, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW });
    let length = u16::try_from(program.len()).expect("a short program");
    let program = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
    // SAFETY: seccomp(2) reads a program of the length it is told, alive through the call; the
    // descriptor is new and ours.
    unsafe {
        let listener = libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const program,
        );
        let listener = Errno::result(listener)?;
        Ok(OwnedFd::from_raw_fd(RawFd::try_from(listener).map_err(io::Error::other)?))
    }
}

/// A call that waits for its answer; the process that made it stands still.
struct Call(libc::seccomp_notif);

impl Call {
    fn receive(listener: &OwnedFd) -> Option<Self> {
        // SAFETY: a notification is plain memory for which zero is a value of every field, as the call wants it.
        let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: the call writes a notification that lives through it.
        let done = unsafe {
            libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut call)
        };
        // Who asked may have been ended since.
        (done == 0).then_some(Self(call))
    }

    fn perform(&self, listener: &OwnedFd, workspace: &Path) -> Result<(), Errno> {
        let arguments = &self.0.data.args;
        // Arguments are as wide as registers; the kernel, too, takes of each what its type has room for.
        let number = |index: usize| u32::try_from(arguments[index] & 0xffff_ffff).unwrap_or(0);
        let (directory, name, mode, flags) = match libc::c_long::from(self.0.data.nr) {
            FCHMODAT2 => (number(0).cast_signed(), arguments[1], number(2), number(3)),
            libc::SYS_fchmodat => (number(0).cast_signed(), arguments[1], number(2), 0),
            _ => (libc::AT_FDCWD, arguments[0], number(1), 0),
        };
        let follow = match flags.cast_signed() {
            0 => OFlag::empty(),
            libc::AT_SYMLINK_NOFOLLOW => OFlag::O_NOFOLLOW,
            // A file that is open as a path only, which may be anybody's.
            _ => return Err(Errno::EPERM),
        };
        let file = self.open(directory, &self.name(name)?, follow)?;
        // The name was of memory that its process still had.
        self.waits(listener)?;
        let by_number = format!("/proc/self/fd/{}", file.as_raw_fd());
        if !fs::read_link(&by_number).is_ok_and(|path| path.starts_with(workspace)) {
            return Err(Errno::EPERM);
        }
        fs::set_permissions(&by_number, Permissions::from_mode(mode & MODE_BITS))
            .map_err(|error| error.raw_os_error().map_or(Errno::EPERM, Errno::from_raw))
    }

    /// The file as its process would find it, without a look at what it is.
    fn open(&self, directory: i32, name: &Path, follow: OFlag) -> Result<OwnedFd, Errno> {
        let path = OFlag::O_PATH | OFlag::O_CLOEXEC;
        let base = match directory {
            _ if name.is_absolute() => None,
            libc::AT_FDCWD => Some(format!("/proc/{}/cwd", self.0.pid)),
            fd => Some(format!("/proc/{}/fd/{fd}", self.0.pid)),
        };
        // By /proc one would come to our descriptors instead of its own.
        let how = OpenHow::new().flags(path | follow).resolve(ResolveFlag::RESOLVE_NO_MAGICLINKS);
        match base {
            None => openat2(AT_FDCWD, name, how),
            Some(base) => {
                let base = open(base.as_str(), path | OFlag::O_DIRECTORY, Mode::empty())?;
                openat2(base, name, how)
            }
        }
    }

    fn name(&self, address: u64) -> Result<PathBuf, Errno> {
        const LONGEST: usize = 4096;
        let memory = File::open(format!("/proc/{}/mem", self.0.pid)).map_err(|_| Errno::EPERM)?;
        let mut bytes = vec![0; LONGEST];
        // As much as is mapped there.
        let read = memory.read_at(&mut bytes, address).map_err(|_| Errno::EFAULT)?;
        let end = bytes[..read].iter().position(|byte| *byte == 0).ok_or(Errno::ENAMETOOLONG)?;
        bytes.truncate(end);
        Ok(PathBuf::from(std::ffi::OsString::from_vec(bytes)))
    }

    fn waits(&self, listener: &OwnedFd) -> Result<(), Errno> {
        let id: *const u64 = &raw const self.0.id;
        // SAFETY: the call reads a number that lives through it.
        let done =
            unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID, id) };
        Errno::result(done).map(drop)
    }

    fn answer(&self, listener: &OwnedFd, done: Result<(), Errno>) {
        let error = done.err().map_or(0, |errno| -(errno as i32));
        let answer = libc::seccomp_notif_resp { id: self.0.id, val: 0, error, flags: 0 };
        // SAFETY: the call reads an answer that lives through it. Who asked may have been ended since.
        unsafe {
            libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw const answer)
        };
    }
}
