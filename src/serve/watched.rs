//! A socket that reports what it hears, and when the other side stops listening.

use std::future::poll_fn;
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

/// What is read at once of a connection that nobody has a buffer for: enough to know which HTTP it is.
const FIRST: usize = 24;

/// A connection's socket, as hyper sees it.
pub(super) struct Watched {
    socket: Stream,
    /// What was read and is to be read again.
    ahead: Bytes,
    activity: Arc<Activity>,
    frames: Frames,
    /// Whether we ended it, and nothing was owed.
    left: bool,
    /// Bytes thrown away since our direction was closed; none: there may be more to say.
    discarded: Option<usize>,
}

impl Watched {
    /// `ahead` is what was read behind a PROXY protocol header.
    pub(super) fn new(socket: Stream, ahead: Bytes, activity: Arc<Activity>) -> Self {
        let (left, discarded) = (false, None);
        let mut it =
            Self { socket, ahead: Bytes::new(), activity, frames: Frames::new(), left, discarded };
        if !ahead.is_empty() {
            it.heard(&ahead);
            it.ahead = ahead;
        }
        it
    }

    /// What the connection is doing.
    pub(super) fn activity(&self) -> Arc<Activity> {
        Arc::clone(&self.activity)
    }

    /// Waits until the client has said which HTTP it speaks; none: it has left before.
    pub(super) async fn is_http2(&mut self) -> Option<bool> {
        loop {
            if let Some(is_http2) = self.frames.are_http2() {
                return Some(is_http2);
            }
            if !self.wait().await {
                return (!self.ahead.is_empty()).then_some(false);
            }
        }
    }

    /// Waits until the client says something, without a buffer for it, or returns false: it has left, or is to leave.
    pub(super) async fn wait(&mut self) -> bool {
        poll_fn(|context| {
            let mut first = [MaybeUninit::uninit(); FIRST];
            let mut first = ReadBuf::uninit(&mut first);
            // An error is an end too.
            let read = ready!(self.poll_socket(context, &mut first));
            self.ahead = [&self.ahead, first.filled()].concat().into();
            Poll::Ready(read.is_ok() && !first.filled().is_empty())
        })
        .await
    }

    /// Bytes that were heard, and are to be read again: a copy, for they may be few of a large buffer.
    pub(super) fn put_back(&mut self, bytes: &[u8]) {
        self.ahead = [bytes, &self.ahead].concat().into();
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

    fn poll_socket(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
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

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return self.poll_socket(context, buffer);
        }
        let size = self.ahead.len().min(buffer.remaining());
        buffer.put_slice(&self.ahead.split_to(size));
        // What follows fits behind it: a reader that gets a few bytes first makes itself a buffer of twice the size. Its
        // end or its error come again.
        if buffer.remaining() > 0 {
            drop(self.poll_socket(context, buffer));
        }
        Poll::Ready(Ok(()))
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
