//! The worker's end of the wire to a sandbox's init.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use serde::Serialize;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::frames::Frames;
use super::wire::{self, Report};

/// Orders out, reports in.
#[derive(Debug)]
pub(super) struct Control {
    frames: Frames<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

impl Control {
    pub(super) fn new(stream: UnixStream) -> Self {
        let (reader, writer) = stream.into_split();
        Self { frames: Frames::new(reader, wire::REPORT_BYTES), writer }
    }

    /// Sends an order whole, and its descriptors with it.
    ///
    /// Init reads as soon as it is sent to; the caller still sets a deadline.
    pub(super) async fn send(
        &mut self,
        order: &impl Serialize,
        fds: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let frame = wire::encode(order);
        if frame.len() - 4 > wire::ORDER_BYTES {
            return Err(io::Error::from_raw_os_error(libc::E2BIG));
        }
        let raw: Vec<i32> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let attached = if raw.is_empty() { &[][..] } else { &rights[..] };
        let socket: &UnixStream = self.writer.as_ref();
        let sent = socket
            .async_io(Interest::WRITABLE, || {
                let parts = [IoSlice::new(&frame)];
                let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
                Ok(sendmsg::<()>(socket.as_raw_fd(), &parts, attached, flags, None)?)
            })
            .await?;
        self.writer.write_all(&frame[sent..]).await
    }

    /// The next report; may be given up and taken up again.
    ///
    /// Anything that is no report is an error, after which init is not to be believed.
    pub(super) async fn hear(&mut self) -> io::Result<Report> {
        Ok(serde_json::from_slice(&self.frames.next().await?)?)
    }

    /// Says that nothing more will come, which ends init.
    pub(super) async fn close(&mut self) {
        // An end that is gone needs no telling.
        drop(self.writer.shutdown().await);
    }
}
