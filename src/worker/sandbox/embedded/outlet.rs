//! A pipe out of a sandbox: read to keep it flowing, kept up to a cap, dropped beyond.

use std::io;
use std::os::fd::OwnedFd;

use tokio::net::unix::pipe::Receiver;

use crate::worker::sandbox::{OutputSink, Stream};

/// What one pipe holds at most: all that can have been written before a call's end was heard.
const PIPE_BYTES: usize = 64 << 10;
/// What is read at once: a call that says little should not pay for clearing more.
const READ_BYTES: usize = 8 << 10;

/// Both outputs of a process.
#[derive(Debug)]
pub(super) struct Outlets {
    stdout: Outlet,
    stderr: Outlet,
}

impl Outlets {
    /// Two pipes: the outlets, and the ends of stdout and stderr to give to a process.
    pub(super) fn open() -> io::Result<(Self, [OwnedFd; 2])> {
        let (stdout, stdout_end) = Outlet::open(Stream::Stdout)?;
        let (stderr, stderr_end) = Outlet::open(Stream::Stderr)?;
        Ok((Self { stdout, stderr }, [stdout_end, stderr_end]))
    }

    /// Waits until one of them can be read, for ever if none will; may be given up.
    pub(super) async fn readable(&mut self) -> Stream {
        tokio::select! {
            () = self.stdout.readable() => Stream::Stdout,
            () = self.stderr.readable() => Stream::Stderr,
        }
    }

    /// Passes on what made one readable, at most as much as a pipe holds.
    pub(super) fn drain(&mut self, stream: Stream, rooms: &mut Rooms, sink: &mut dyn OutputSink) {
        match stream {
            Stream::Stdout => self.stdout.pass(rooms, sink, Receiver::try_read),
            Stream::Stderr => self.stderr.pass(rooms, sink, Receiver::try_read),
        }
    }

    /// Passes on all that was written before now.
    ///
    /// Asks the kernel: the runtime may not have heard yet that there is something to read.
    pub(super) fn drain_rest(&mut self, rooms: &mut Rooms, sink: &mut dyn OutputSink) {
        for outlet in [&mut self.stdout, &mut self.stderr] {
            outlet.pass(rooms, sink, |pipe, buffer| Ok(nix::unistd::read(pipe, buffer)?));
        }
    }
}

/// How much of each output is still kept in one call.
#[derive(Debug)]
pub(super) struct Rooms {
    stdout: usize,
    stderr: usize,
    pub(super) truncated: bool,
    buffer: Vec<u8>,
}

impl Rooms {
    pub(super) fn new(bytes: usize) -> Self {
        Self { stdout: bytes, stderr: bytes, truncated: false, buffer: Vec::new() }
    }

    /// The beginning of a stream is kept: it names the first error, and costs nothing to know.
    fn keep(&mut self, stream: Stream, length: usize) -> usize {
        let left = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        let kept = length.min(*left);
        *left -= kept;
        self.truncated |= kept < length;
        kept
    }
}

/// The reading end of a process's stdout or stderr.
#[derive(Debug)]
struct Outlet {
    stream: Stream,
    /// None once every writer has closed its end.
    pipe: Option<Receiver>,
}

impl Outlet {
    fn open(stream: Stream) -> io::Result<(Self, OwnedFd)> {
        let (reader, writer) = std::io::pipe()?;
        let pipe = Receiver::from_owned_fd(reader.into())?;
        Ok((Self { stream, pipe: Some(pipe) }, writer.into()))
    }

    async fn readable(&self) {
        match &self.pipe {
            // What is wrong with it, reading will tell.
            Some(pipe) => drop(pipe.readable().await),
            None => std::future::pending().await,
        }
    }

    fn pass(
        &mut self,
        rooms: &mut Rooms,
        sink: &mut dyn OutputSink,
        read: impl Fn(&Receiver, &mut [u8]) -> io::Result<usize>,
    ) {
        let mut passed = 0;
        rooms.buffer.resize(READ_BYTES, 0);
        while let Some(pipe) = &self.pipe
            && passed < PIPE_BYTES
        {
            match read(pipe, &mut rooms.buffer) {
                Ok(0) => self.pipe = None,
                Ok(read) => {
                    passed += read;
                    let kept = rooms.keep(self.stream, read);
                    if kept > 0 {
                        sink.write(self.stream, &rooms.buffer[..kept]);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.pipe = None,
            }
        }
    }
}
