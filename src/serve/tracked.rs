//! A response's body, which knows when its last byte is gone.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::activity::Exchange;
use super::streams;

/// What goes to an HTTP/2 stream at once: a frame of the size that every peer takes (RFC 9113 §4.2).
const PIECE: usize = 16 * 1024;

/// A response body that holds its exchange open until hyper is done with it, or no body at all.
#[derive(Debug)]
pub(super) struct Tracked<B> {
    body: Option<B>,
    wire: Wire,
    _exchange: Exchange,
}

/// How the body goes out.
#[derive(Debug)]
enum Wire {
    /// hyper fills its buffer, and the socket says whether the client takes it.
    Http1,
    /// hyper would take any amount for one byte of credit, and the exchange would end before the client has it. So it
    /// gets small pieces, and the last byte by itself: that one waits for the credit of all before it.
    Http2 { rest: Bytes },
}

impl<B> Tracked<B> {
    pub(super) fn over_http1(body: Option<B>, exchange: Exchange) -> Self {
        Self { body, wire: Wire::Http1, _exchange: exchange }
    }

    pub(super) fn over_http2(body: Option<B>, exchange: Exchange) -> Self {
        Self { body, wire: Wire::Http2 { rest: Bytes::new() }, _exchange: exchange }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Tracked<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let Self { body: Some(body), wire, .. } = &mut *self else { return Poll::Ready(None) };
        match wire {
            Wire::Http1 => Pin::new(body).poll_frame(context),
            Wire::Http2 { rest } => {
                streams::taken();
                if rest.is_empty() {
                    let frame = match ready!(Pin::new(body).poll_frame(context)) {
                        Some(Ok(frame)) => frame,
                        ended => return Poll::Ready(ended),
                    };
                    match frame.into_data() {
                        Ok(data) => *rest = data,
                        Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                    }
                }
                streams::handed();
                Poll::Ready(Some(Ok(Frame::data(piece_of(rest)))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let held = matches!(&self.wire, Wire::Http2 { rest } if !rest.is_empty());
        !held && self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.body.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint);
        if let Wire::Http2 { rest } = &self.wire {
            let held = u64::try_from(rest.len()).unwrap_or(u64::MAX);
            if let Some(upper) = hint.upper() {
                hint.set_upper(upper.saturating_add(held));
            }
            hint.set_lower(hint.lower().saturating_add(held));
        }
        hint
    }
}

/// The next piece of what is left, which keeps its last byte for a piece of its own.
fn piece_of(rest: &mut Bytes) -> Bytes {
    let size = rest.len().saturating_sub(1).clamp(rest.len().min(1), PIECE);
    rest.split_to(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_becomes_pieces_and_a_last_byte() {
        let check = |length: usize, expected: &[usize]| {
            let mut rest = Bytes::from(vec![0; length]);
            let mut pieces = vec![piece_of(&mut rest).len()];
            while !rest.is_empty() {
                pieces.push(piece_of(&mut rest).len());
            }
            assert_eq!(pieces, expected);
        };
        check(0, &[0]);
        check(1, &[1]);
        check(2, &[1, 1]);
        check(PIECE, &[PIECE - 1, 1]);
        check(PIECE + 1, &[PIECE, 1]);
        check(2 * PIECE + 2, &[PIECE, PIECE, 1, 1]);
    }
}
