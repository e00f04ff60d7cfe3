//! Init's end of the wire to the worker: blocking, since init has nothing else to do.

use std::io::{self, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use serde::de::DeserializeOwned;

use super::super::wire::{self, Boot, BootFds, Order, Report};
use super::{Fault, Step};

/// Descriptors that fit in one message: those of [`Boot`].
const FDS: usize = 4;

/// The socket to the worker.
pub(super) struct Link {
    socket: Option<UnixStream>,
}

impl Link {
    /// The worker starts us with the socket as standard input.
    pub(super) fn from_stdin() -> Self {
        // SAFETY: descriptor 0 is open by the worker's doing, and nothing else here uses it.
        let socket = unsafe { UnixStream::from_raw_fd(0) };
        Self { socket: Some(socket) }
    }

    pub(super) fn receive_boot(&mut self) -> Result<(Boot, BootFds<OwnedFd>), Fault> {
        let (boot, fds) = self.receive().step("reading the order to boot")?;
        let [agent, stdout, stderr, program] = <[OwnedFd; FDS]>::try_from(fds)
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
            .step("receiving descriptors")?;
        Ok((boot, BootFds { agent, stdout, stderr, program }))
    }

    /// The next order, or `None` when the worker has gone.
    pub(super) fn receive_order(&mut self) -> Option<(Order, Vec<OwnedFd>)> {
        self.receive().ok()
    }

    pub(super) fn report(&mut self, report: &Report) -> io::Result<()> {
        self.socket()?.write_all(&wire::encode(report))
    }

    /// Lets go of the socket without a word.
    pub(super) fn close(&mut self) {
        self.socket = None;
    }

    pub(super) fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd)
    }

    fn socket(&mut self) -> io::Result<&mut UnixStream> {
        self.socket.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn receive<T: DeserializeOwned>(&mut self) -> io::Result<(T, Vec<OwnedFd>)> {
        let socket = self.socket()?;
        let mut head = [0_u8; 4];
        let (read, fds) = receive_with_fds(socket, &mut head)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        socket.read_exact(&mut head[read..])?;
        let length = usize::try_from(u32::from_le_bytes(head)).unwrap_or(usize::MAX);
        if length > wire::ORDER_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut body = vec![0; length];
        socket.read_exact(&mut body)?;
        Ok((serde_json::from_slice(&body)?, fds))
    }
}

/// Reads once, and takes what descriptors come along.
pub(super) fn receive_with_fds(
    socket: &impl AsRawFd,
    bytes: &mut [u8],
) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = nix::cmsg_space!([i32; FDS]);
    let mut parts = [IoSliceMut::new(bytes)];
    let message = recvmsg::<()>(
        socket.as_raw_fd(),
        &mut parts,
        Some(&mut space),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )?;
    let mut fds = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(received) = control {
            // SAFETY: the kernel has just made these descriptors for us alone.
            fds.extend(received.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    Ok((message.bytes, fds))
}
