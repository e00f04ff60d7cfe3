//! A request's body.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::activity::Exchange;

/// A request's body, as it arrives. Its exchange is not over while somebody may read on, whatever was answered.
#[derive(Debug)]
pub struct RequestBody {
    incoming: Incoming,
    _exchange: Exchange,
}

impl RequestBody {
    pub(super) fn new(incoming: Incoming, exchange: Exchange) -> Self {
        Self { incoming, _exchange: exchange }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.incoming).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
