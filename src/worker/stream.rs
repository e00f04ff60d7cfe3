//! The streamed answer to an execution: output while it runs, the end, the MAC.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderValue, Response, header};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::keyed::Waiting;
use super::output::Reader;
use super::server::{Body, Call, all_at_once};
use super::supervisor::Answer;
use crate::rpc::frames::{Encoder, FrameError};
use crate::rpc::wire::{Frame, NotStarted};
use crate::telemetry::{OperationInFlight, Outcome, Span};

/// An answer under way. Dropped before its end, it tells the execution that nobody waits any more.
struct Streaming {
    encoder: Encoder,
    /// Nothing where no output is wanted before the end.
    output: Option<Reader>,
    last: oneshot::Receiver<Frame>,
    _waiting: Option<Waiting>,
    exchange: Exchange,
}

/// What measures the call.
struct Exchange {
    span: Span,
    operation: OperationInFlight,
}

/// How long the head of an answer waits for the first of its body: most executions end sooner, and a head that goes
/// first costs a packet, and wakes its gateway for nothing.
const SOON: Duration = Duration::from_millis(20);

/// Answers an execution that was taken in, or not.
pub(super) async fn response(
    call: Call,
    answer: Result<Answer, NotStarted>,
    wants_output: bool,
) -> Response<Body> {
    let encoder = Encoder::new(call.admitted.stream());
    let exchange = Exchange { span: call.span, operation: call.operation };
    let body = match answer {
        Err(why) => {
            let frame = Frame::NotStarted(why);
            exchange.end(&frame);
            all_at_once(encoder.last(&frame).expect("a refusal is short"))
        }
        Ok(Answer { output, last, waiting }) => {
            let output = wants_output.then_some(output);
            let streaming = Streaming { encoder, output, last, _waiting: waiting, exchange };
            let pieces = stream::unfold(Some(streaming), async |streaming| {
                let (piece, rest) = streaming?.next().await;
                Some((piece.map(body::Frame::data), rest))
            });
            let mut pieces = Box::pin(pieces.peekable());
            timeout(SOON, pieces.as_mut().peek()).await.ok();
            StreamBody::new(pieces).boxed_unsync()
        }
    };
    let mut response = Response::new(body);
    let octets = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, octets);
    response
}

impl Streaming {
    /// The next piece, and what comes after it.
    async fn next(mut self) -> (io::Result<Bytes>, Option<Self>) {
        let last = match &mut self.output {
            None => (&mut self.last).await,
            Some(output) => tokio::select! {
                // All output was written before the end was sent, so it goes first.
                biased;
                frame = output.next() => match self.encoder.output(&frame) {
                    Ok(piece) => return (Ok(piece), Some(self)),
                    Err(error) => return (broken(error), None),
                },
                last = &mut self.last => last,
            },
        };
        // Without an end there is none to tell: the stream breaks off, and its reader knows as much as we do.
        let Ok(frame) = last else { return (Err(io::ErrorKind::BrokenPipe.into()), None) };
        let piece = self.encoder.last(&frame).or_else(broken);
        if piece.is_ok() {
            self.exchange.end(&frame);
        }
        (piece, None)
    }
}

fn broken(error: FrameError) -> io::Result<Bytes> {
    tracing::error!(%error, "an answer cannot be written");
    Err(io::Error::other(error))
}

impl Exchange {
    fn end(mut self, last: &Frame) {
        let outcome = match last {
            Frame::NotStarted(_) => {
                self.span.fail("not_started");
                Outcome::ToolError
            }
            Frame::Ended(_) | Frame::Replayed(_) | Frame::Stdout(_) | Frame::Stderr(_) => {
                Outcome::Done
            }
        };
        self.operation.end(outcome);
        self.span.end();
    }
}
