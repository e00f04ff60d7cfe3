//! The starter: a process inside that starts commands in init's place, and quicker.
//!
//! A fork of init copies the page tables of all it has in memory, and its child takes a page fault for each page it
//! touches before its `exec`: half as much time as a shell then takes to begin and end. The starter is forked once, and
//! lends its memory to each command until that has become its program, as `vfork(2)` does. Init may not lend its own:
//! those who share memory are ended together when memory runs out, and a command is the first to be.
//!
//! A command is made init's child, not the starter's, so init hears of its end as of any other's. Code inside can end
//! the starter, or stop it, as it can any command. It cannot look into it, and never could: for the score that says who
//! ends first somebody has to be open to the eyes of others, and that is init, before there are any.

use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicI32, Ordering};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous, munmap};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, recv, send, sendmsg, socketpair,
};
use nix::unistd::{ForkResult, Pid, fork};

use super::super::wire::Boot;
use super::link::receive_with_fds;
use super::process::{Ends, FIRST_FD, OWN_SCORE, refuse, run, set_score};
use super::program::Program;

/// Longest order in bytes: one message, which a socket takes whole or not at all.
const ORDER_BYTES: usize = 64 << 10;

/// What a command has until its `exec`, in bytes.
const STACK_BYTES: usize = 64 << 10;

/// The starter, as init holds it; dropped, it ends.
pub(super) struct Starter {
    pub(super) pid: Pid,
    socket: OwnedFd,
    command: Word,
}

impl Starter {
    /// Forks it, before there is anybody else; commands have its score. None where scores cannot be set.
    pub(super) fn begin(score: u16, boot: &Boot) -> io::Result<Option<Self>> {
        let (kind, flags) = (SockType::SeqPacket, SockFlag::SOCK_CLOEXEC);
        let (socket, theirs) = socketpair(AddressFamily::Unix, kind, None, flags)?;
        let command = Word::new()?;
        let Ok(own) = fs::read_to_string(OWN_SCORE) else { return Ok(None) };
        if set_score(&score.to_string()).is_err() {
            return Ok(None);
        }
        // SAFETY: init has one thread, so the child may allocate.
        let forked = unsafe { fork() };
        if matches!(forked, Ok(ForkResult::Child)) {
            drop(socket);
            // Init has gone, or nobody will be told: then there is nothing to say.
            drop(serve(theirs, &command, boot));
            // SAFETY: ends the child at once, without running what belongs to init.
            unsafe { libc::_exit(0) }
        }
        set_score(own.trim_end())?;
        command.keep()?;
        match forked? {
            ForkResult::Parent { child } => Ok(Some(Self { pid: child, socket, command })),
            ForkResult::Child => unreachable!("it has ended above"),
        }
    }

    /// Ends it; init hears of that as of any other's end.
    pub(super) fn end(&self) {
        kill(self.pid, Signal::SIGKILL).ok();
    }

    /// Asks for a command; after an error it has not been asked.
    pub(super) fn order(
        &mut self,
        argv: &[String],
        variables: &[(String, String)],
        ends: &[OwnedFd; 2],
    ) -> io::Result<()> {
        let order = serde_json::to_vec(&(argv, variables))?;
        if order.len() > ORDER_BYTES {
            return Err(Errno::E2BIG.into());
        }
        self.command.0.store(0, Ordering::Relaxed);
        // Code inside may have stopped it with all others; a command of its own would run, so this one does.
        kill(self.pid, Signal::SIGCONT).ok();
        let ends = ends.each_ref().map(AsRawFd::as_raw_fd);
        let (parts, rights) = ([io::IoSlice::new(&order)], [ControlMessage::ScmRights(&ends)]);
        // Whoever stopped it must not stop init with it.
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        Ok(sendmsg::<()>(self.socket.as_raw_fd(), &parts, &rights, flags, None).map(drop)?)
    }

    /// The process of the last command, from before it runs.
    pub(super) fn command(&self) -> Option<Pid> {
        let pid = self.command.0.load(Ordering::Relaxed);
        (pid != 0).then(|| Pid::from_raw(pid))
    }

    /// Whether it has said that it cannot.
    pub(super) fn has_refused(&self) -> bool {
        recv(self.socket.as_raw_fd(), &mut [0], MsgFlags::MSG_DONTWAIT) == Ok(1)
    }
}

impl AsFd for Starter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Starts what it is asked for, until init lets go of it.
fn serve(socket: OwnedFd, command: &Word, boot: &Boot) -> io::Result<()> {
    // Both are closed with init's other descriptors; what stays is a copy.
    let null = std::fs::File::open("/dev/null")?.into_raw_fd();
    let socket = socket.into_raw_fd();
    // SAFETY: both are open until then.
    let (null, socket) = unsafe { (BorrowedFd::borrow_raw(null), BorrowedFd::borrow_raw(socket)) };
    Ends { stdout: null, stderr: null, inherited: &[socket] }.stand_alone()?;
    // Here too from now on, so the kernel need not find memory to write it.
    command.0.store(0, Ordering::Relaxed);
    // SAFETY: it has just been made for us alone.
    let socket = unsafe { OwnedFd::from_raw_fd(FIRST_FD) };
    // A command closes it itself where it can; not every kernel has the call.
    fcntl(&socket, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    let mut room = vec![0; ORDER_BYTES];
    let mut stack = vec![0; STACK_BYTES];
    loop {
        let (length, fds) = receive_with_fds(&socket, &mut room)?;
        let Ok([stdout, stderr]) = <[OwnedFd; 2]>::try_from(fds) else { return Ok(()) };
        let (argv, variables): (Vec<String>, Vec<_>) = serde_json::from_slice(&room[..length])?;
        let mut borrower = Borrower {
            program: Program::new(&argv, &variables, boot),
            ends: Ends { stdout: stdout.as_fd(), stderr: stderr.as_fd(), inherited: &[] },
            boot,
        };
        if borrower.start(&mut stack, command).is_err() {
            send(FIRST_FD, &[0], MsgFlags::MSG_NOSIGNAL)?;
        }
    }
}

/// What a command becomes itself by, in memory that is the starter's. It may be ended at any moment, so it takes no lock
/// and none of the heap.
struct Borrower<'a> {
    program: Program,
    ends: Ends<'a>,
    boot: &'a Boot,
}

impl Borrower<'_> {
    /// Makes the process, and returns when it has become its program, or has ended.
    fn start(&mut self, stack: &mut [u8], pid: &Word) -> nix::Result<()> {
        // Its pid is in the word before it runs, and for init to see: what then happens to us does not matter.
        let flags = libc::CLONE_VM
            | libc::CLONE_VFORK
            | libc::CLONE_PARENT
            | libc::CLONE_PARENT_SETTID
            | libc::SIGCHLD;
        let top = stack.as_mut_ptr_range().end;
        // SAFETY: we stand still until the child has a memory of its own or is gone; until then it has a stack of its
        // own, and what it is given is ours and alive. The ABIs want its end at a multiple of 16.
        let made = unsafe {
            let top = top.sub(top.addr() % 16);
            libc::clone(become_program, top.cast(), flags, (&raw mut *self).cast(), pid.0.as_ptr())
        };
        Errno::result(made).map(drop)
    }
}

extern "C" fn become_program(borrower: *mut libc::c_void) -> libc::c_int {
    // SAFETY: it is what `Borrower::start` gave, which stands still.
    let borrower = unsafe { &mut *borrower.cast::<Borrower<'_>>() };
    match borrower.ends.stand_alone() {
        Ok(()) => run(&mut borrower.program, borrower.boot),
        Err(error) => refuse(&error),
    }
}

/// A number that init and the starter both see.
struct Word(&'static AtomicI32);

impl Word {
    const BYTES: NonZeroUsize = NonZeroUsize::new(size_of::<AtomicI32>()).expect("four");

    fn new() -> nix::Result<Self> {
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: new memory, which becomes an atomic number: zero is a value of it.
        let place: NonNull<AtomicI32> =
            unsafe { mmap_anonymous(None, Self::BYTES, access, MapFlags::MAP_SHARED)?.cast() };
        // SAFETY: it stays until the word is dropped, which alone refers to it.
        Ok(Self(unsafe { place.as_ref() }))
    }

    /// No child that is forked from now on has it: others may look into those.
    fn keep(&self) -> nix::Result<()> {
        let place = NonNull::from(self.0).cast();
        // SAFETY: our own mapping, which stays as it is.
        unsafe { madvise(place, Self::BYTES.get(), MmapAdvise::MADV_DONTFORK) }
    }
}

impl Drop for Word {
    fn drop(&mut self) {
        let place = NonNull::from(self.0).cast();
        // SAFETY: made by `new`, and nothing refers to it any more. It fails for no memory that was mapped.
        unsafe { munmap(place, Self::BYTES.get()) }.ok();
    }
}
