//! A socket that reports what it hears, and when the other side stops listening.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use crate::net::Stream;
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::activity::Activity;
use super::frames::Frames;
use super::limits::LINGER_BYTES;

/// What is read at once of bytes that nobody wants.
const DISCARD: usize = 8 * 1024;

/// A connection's socket, as hyper sees it.
pub(super) struct Watched {
    socket: Stream,
    /// What was read behind a PROXY protocol header.
    ahead: Bytes,
    activity: Arc<Activity>,
    frames: Frames,
    /// Whether we ended it, and nothing was owed.
    left: bool,
    /// Bytes thrown away since our direction was closed; none: there may be more to say.
    discarded: Option<usize>,
}

impl Watched {
    pub(super) fn new(socket: Stream, ahead: Bytes, activity: Arc<Activity>) -> Self {
        let frames = Frames::new();
        Self { socket, ahead, activity, frames, left: false, discarded: None }
    }

    fn heard(&mut self, bytes: &[u8]) {
        self.left = false;
        self.activity.heard(bytes.len());
        let control = self.frames.follow(bytes);
        if control > 0 {
            self.activity.heard_control(control);
        }
    }

    fn wrote<T>(&self, outcome: Poll<T>) -> Poll<T> {
        self.activity.write_stalled(outcome.is_pending());
        outcome
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let size = self.ahead.len().min(buffer.remaining());
            let bytes = self.ahead.split_to(size);
            buffer.put_slice(&bytes);
            self.heard(&bytes);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut self.socket).poll_read(context, buffer);
        let heard = &buffer.filled()[before..];
        if !heard.is_empty() {
            self.heard(heard);
        } else if outcome.is_pending() && self.activity.may_end(Instant::now()) {
            // To hyper the client has left, which between two requests is a good end. Not if a request has just come.
            self.left = self.socket.is_drained();
            if self.left {
                return Poll::Ready(Ok(()));
            }
        }
        outcome
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.wrote(outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.socket).poll_write_vectored(context, slices);
        self.wrote(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    /// Closes our direction, then reads on until the client closes its own: RFC 9112 §9.6. The accept loop bounds the time.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { socket, activity, left, discarded, .. } = &mut *self;
        let discarded = if let Some(discarded) = discarded {
            discarded
        } else {
            ready!(Pin::new(&mut *socket).poll_shutdown(context))?;
            // There is no answer that a reset could destroy.
            if *left {
                return Poll::Ready(Ok(()));
            }
            activity.closing();
            discarded.insert(0)
        };
        let mut unwanted = [MaybeUninit::uninit(); DISCARD];
        while *discarded < LINGER_BYTES {
            let mut buffer = ReadBuf::uninit(&mut unwanted);
            // An error is an end too: who is gone reads no answer.
            let read = ready!(Pin::new(&mut *socket).poll_read(context, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                break;
            }
            *discarded += buffer.filled().len();
        }
        Poll::Ready(Ok(()))
    }
}
