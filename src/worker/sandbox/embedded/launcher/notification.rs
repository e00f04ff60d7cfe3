//! System calls that are not made but handed over: the kernel asks the launcher, which no rules hold,
//! and the process that made the call stands still until it is answered. See `seccomp_unotify(2)`.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use super::link::receive_with_fds;
use super::{Fault, Step};

/// Hands these calls of this process and its descendants over to whoever is at the other end.
pub(super) fn hand_over(
    calls: impl Iterator<Item = libc::c_long>,
    launcher: &UnixStream,
) -> Result<(), Fault> {
    let listener = listen(calls).step("handing calls over")?;
    let fds = [listener.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&fds)];
    let parts = [io::IoSlice::new(&[0])];
    sendmsg::<()>(launcher.as_raw_fd(), &parts, &rights, MsgFlags::MSG_NOSIGNAL, None)
        .map(drop)
        .step("handing calls over")
}

/// Answers what is handed over, until nobody is left who could ask.
pub(super) fn serve(init: &UnixStream, perform: impl Fn(&Call<'_>) -> Result<(), Errno>) {
    // Init may have ended before it got so far; then there is nothing to serve.
    let Ok((_, fds)) = receive_with_fds(init, &mut [0]) else { return };
    let Ok([listener]) = <[OwnedFd; 1]>::try_from(fds) else { return };
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
            let done = perform(&call);
            call.answer(done);
        }
    }
}

/// Installs a filter that asks us, and returns where it asks.
fn listen(calls: impl Iterator<Item = libc::c_long>) -> io::Result<OwnedFd> {
    let code = |bits: u32| u16::try_from(bits).expect("BPF opcodes have 16 bits");
    let load = code(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS);
    let equal = code(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K);
    let answer = code(libc::BPF_RET | libc::BPF_K);
    // The call's number is the first word of what a filter sees. Other architectures' numbers are for the
    // filters that each process installs: those end it.
    let mut program = vec![libc::sock_filter { code: load, jt: 0, jf: 0, k: 0 }];
    for call in calls {
        let k = u32::try_from(call).expect("numbers of calls are small");
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

/// A call that waits for its answer.
pub(super) struct Call<'a> {
    listener: &'a OwnedFd,
    asked: libc::seccomp_notif,
}

impl<'a> Call<'a> {
    fn receive(listener: &'a OwnedFd) -> Option<Self> {
        // SAFETY: a notification is plain memory for which zero is a value of every field, as the call wants it.
        let mut asked: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: the call writes a notification that lives through it.
        let done = unsafe {
            libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut asked)
        };
        // Who asked may have been ended since.
        (done == 0).then_some(Self { listener, asked })
    }

    /// Which call it is.
    pub(super) fn number(&self) -> libc::c_long {
        self.asked.data.nr.into()
    }

    /// An argument as wide as registers are.
    pub(super) fn word(&self, index: usize) -> u64 {
        self.asked.data.args[index]
    }

    /// An argument of 32 bits: of the rest the kernel, too, takes no notice.
    pub(super) fn number_at(&self, index: usize) -> u32 {
        u32::try_from(self.word(index) & 0xffff_ffff).expect("32 bits")
    }

    /// What `/proc` has of the thread that made the call.
    pub(super) fn proc(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.asked.pid))
    }

    /// The path at an address.
    pub(super) fn path(&self, address: u64) -> Result<PathBuf, Errno> {
        const LONGEST: usize = 4096;
        let mut bytes = vec![0; LONGEST];
        // As much as is mapped there.
        let read = self.memory()?.read_at(&mut bytes, address).map_err(|_| Errno::EFAULT)?;
        let end = bytes[..read].iter().position(|byte| *byte == 0).ok_or(Errno::ENAMETOOLONG)?;
        bytes.truncate(end);
        Ok(PathBuf::from(std::ffi::OsString::from_vec(bytes)))
    }

    /// Numbers of 64 bits at an address.
    pub(super) fn numbers<const N: usize>(&self, address: u64) -> Result<[i64; N], Errno> {
        let mut numbers = [0; N];
        let memory = self.memory()?;
        for (address, number) in (address..).step_by(size_of::<i64>()).zip(&mut numbers) {
            let mut bytes = [0; size_of::<i64>()];
            memory.read_exact_at(&mut bytes, address).map_err(|_| Errno::EFAULT)?;
            *number = i64::from_ne_bytes(bytes);
        }
        Ok(numbers)
    }

    fn memory(&self) -> Result<File, Errno> {
        File::open(self.proc("mem")).map_err(|_| Errno::EPERM)
    }

    /// Whether it still waits: then all that was seen of its process until now was of that process.
    pub(super) fn waits(&self) -> Result<(), Errno> {
        let (listener, id) = (self.listener.as_raw_fd(), &raw const self.asked.id);
        // SAFETY: the call reads a number that lives through it.
        let done = unsafe { libc::ioctl(listener, libc::SECCOMP_IOCTL_NOTIF_ID_VALID, id) };
        Errno::result(done).map(drop)
    }

    fn answer(&self, done: Result<(), Errno>) {
        let error = done.err().map_or(0, |errno| -(errno as i32));
        let answer = libc::seccomp_notif_resp { id: self.asked.id, val: 0, error, flags: 0 };
        let listener = self.listener.as_raw_fd();
        // SAFETY: the call reads an answer that lives through it. Who asked may have been ended since.
        unsafe { libc::ioctl(listener, libc::SECCOMP_IOCTL_NOTIF_SEND, &raw const answer) };
    }
}
