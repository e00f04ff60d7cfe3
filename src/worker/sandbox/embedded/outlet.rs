//! A pipe out of a sandbox: read to keep it flowing, kept up to a cap, dropped beyond.

use std::io;
use std::os::fd::OwnedFd;

use tokio::net::unix::pipe::Receiver;

use crate::worker::sandbox::{OutputSink, Stream};

/// What one pipe holds at most: all that can have been written before a call's end was heard.
const PIPE_BYTES: usize = 64 << 10;

/// The reading end of a process's stdout or stderr.
#[derive(Debug)]
pub(super) struct Outlet {
    stream: Stream,
    /// None once every writer has closed its end.
    pipe: Option<Receiver>,
}

/// How much of a stream is still kept in one call.
#[derive(Debug)]
pub(super) struct Room {
    left: usize,
    pub(super) truncated: bool,
}

impl Room {
    pub(super) fn new(bytes: usize) -> Self {
        Self { left: bytes, truncated: false }
    }

    /// The beginning of a stream is kept: it names the first error, and costs nothing to know.
    fn pass(&mut self, stream: Stream, bytes: &[u8], sink: &mut dyn OutputSink) {
        let kept = bytes.len().min(self.left);
        self.left -= kept;
        self.truncated |= kept < bytes.len();
        if kept > 0 {
            sink.write(stream, &bytes[..kept]);
        }
    }
}

impl Outlet {
    /// A pipe: the outlet, and the end to give to a process.
    pub(super) fn open(stream: Stream) -> io::Result<(Self, OwnedFd)> {
        let (reader, writer) = std::io::pipe()?;
        let pipe = Receiver::from_owned_fd(reader.into())?;
        Ok((Self { stream, pipe: Some(pipe) }, writer.into()))
    }

    /// Waits until something can be read, for ever if nothing will; may be given up.
    pub(super) async fn readable(&mut self) {
        let ready = match &self.pipe {
            Some(pipe) => pipe.readable().await,
            None => std::future::pending().await,
        };
        if ready.is_err() {
            self.pipe = None;
        }
    }

    /// Passes on what is there now, at most as much as a pipe holds.
    pub(super) fn drain(
        &mut self,
        room: &mut Room,
        sink: &mut dyn OutputSink,
        buffer: &mut Vec<u8>,
    ) {
        let mut passed = 0;
        buffer.resize(PIPE_BYTES, 0);
        while let Some(pipe) = &self.pipe {
            match pipe.try_read(buffer) {
                Ok(0) => self.pipe = None,
                Ok(read) => {
                    room.pass(self.stream, &buffer[..read], sink);
                    passed += read;
                    if passed >= PIPE_BYTES {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.pipe = None,
            }
        }
    }
}
