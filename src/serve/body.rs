//! Bodies: reading one within bounds, and knowing when a response's last byte is gone.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::EXPECT;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, timeout_at};

use super::activity::Exchange;

/// How much of a body that is too large is still read. A connection that closes with bytes unread is reset, which
/// destroys the refusal on its way: a proxy would say that the call may have run.
const DISCARDED_BYTES: u64 = 32 << 20;

/// Why a request body did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// 413: more bytes than allowed, or more announced.
    #[error("the body is larger than {max_bytes} bytes")]
    TooLarge { max_bytes: usize },
    /// 503: whoever counts the bytes has no room for it.
    #[error("there is no room for the body")]
    NoRoom,
    /// 408: not complete within the deadline.
    #[error("the body was not complete within {deadline:?}")]
    Slow { deadline: Duration },
    /// The connection or its framing broke: nobody is left to answer.
    #[error("the body broke off")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Reads a whole body of at most `max_bytes` within `deadline`.
pub async fn read_body<B>(body: B, max_bytes: usize, deadline: Duration) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    read_body_into(|_| true, body, max_bytes, deadline).await
}

/// The same for a body whose bytes are counted: `room` makes room for so many in all, or says that there is none. What was
/// not read then is left to [`discard_body`].
pub async fn read_body_into<B>(
    mut room: impl FnMut(usize) -> bool,
    body: B,
    max_bytes: usize,
    deadline: Duration,
) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut body = std::pin::pin!(body);
    let until = Instant::now() + deadline;
    let read = timeout_at(until, collect(body.as_mut(), max_bytes, &mut room))
        .await
        .map_err(|_| BodyError::Slow { deadline })?;
    if let Err(BodyError::TooLarge { .. }) = read {
        timeout_at(until, discard(body)).await.ok();
    }
    read
}

/// Reads a body to its end and keeps nothing of it, so that an answer that was sent already is not lost. A client that
/// waits to be told whether to send it is told nothing.
pub async fn discard_body<B: Body<Data = Bytes>>(headers: &HeaderMap, body: B, deadline: Duration) {
    let waits = headers.contains_key(EXPECT);
    if !waits {
        tokio::time::timeout(deadline, discard(std::pin::pin!(body))).await.ok();
    }
}

/// Whether a body is announced as too large by a client that waits to be told whether to send it: to read any of it would
/// tell it to.
pub fn need_not_come(headers: &HeaderMap, body: &impl Body, max_bytes: usize) -> bool {
    let max_bytes = u64::try_from(max_bytes).unwrap_or(u64::MAX);
    headers.contains_key(EXPECT) && body.size_hint().lower() > max_bytes
}

async fn collect<B>(
    mut body: Pin<&mut B>,
    max_bytes: usize,
    room: &mut impl FnMut(usize) -> bool,
) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let too_large = || BodyError::TooLarge { max_bytes };
    let announced = usize::try_from(body.size_hint().lower()).map_err(|_| too_large())?;
    if announced > max_bytes {
        return Err(too_large());
    }
    if !room(announced) {
        return Err(BodyError::NoRoom);
    }
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|cause| BodyError::Broken(cause.into()))?.into_data() else {
            continue; // trailers: nothing in MCP reads them
        };
        let in_all = first.len().max(rest.len()) + data.len();
        if in_all > max_bytes {
            return Err(too_large());
        }
        if !room(in_all) {
            return Err(BodyError::NoRoom);
        }
        // Most bodies come in one piece, which is passed on as it is.
        if first.is_empty() {
            first = data;
            continue;
        }
        if rest.is_empty() {
            // The pages of what was announced cost nothing until bytes arrive.
            rest.reserve(announced.max(in_all));
            rest.extend_from_slice(&first);
        }
        rest.extend_from_slice(&data);
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}

/// Reads what is left, unless it is more than [`DISCARDED_BYTES`].
async fn discard<B: Body<Data = Bytes>>(mut body: Pin<&mut B>) {
    let mut left = DISCARDED_BYTES;
    while body.size_hint().lower() <= left
        && let Some(Ok(frame)) = body.frame().await
    {
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        left = left.saturating_sub(u64::try_from(bytes).unwrap_or(u64::MAX));
        if left == 0 {
            return;
        }
    }
}

/// A response body that holds its exchange open until hyper is done with it, or no body at all.
#[derive(Debug)]
pub(super) struct Tracked<B> {
    pub(super) body: Option<B>,
    pub(super) _exchange: Exchange,
}

impl<B: Body + Unpin> Body for Tracked<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::AtomicU64;
    use std::sync::atomic::Ordering::Relaxed;

    use futures_util::{StreamExt, stream};
    use http_body_util::{Full, StreamBody};

    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    fn pieces(pieces: &'static [&'static str]) -> impl Body<Data = Bytes, Error = Infallible> {
        StreamBody::new(
            stream::iter(pieces).map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes())))),
        )
    }

    #[tokio::test]
    async fn pieces_become_one_body() {
        assert_eq!(read_body(pieces(&["ab", "", "cd", "e"]), 5, SOON).await.unwrap(), "abcde");
        assert_eq!(read_body(pieces(&[]), 5, SOON).await.unwrap(), "");
    }

    #[tokio::test]
    async fn one_byte_too_many_is_too_large_announced_or_not() {
        let announced = read_body(Full::new(Bytes::from_static(b"abcdef")), 5, SOON).await;
        assert!(matches!(announced, Err(BodyError::TooLarge { max_bytes: 5 })));
        let streamed = read_body(pieces(&["abc", "def"]), 5, SOON).await;
        assert!(matches!(streamed, Err(BodyError::TooLarge { max_bytes: 5 })));
    }

    #[tokio::test]
    async fn what_is_too_large_is_read_to_its_end_within_bounds() {
        let mebibyte = Bytes::from(vec![0; 1 << 20]);
        let check = async |mebibytes: u64, read: u64| {
            let taken = AtomicU64::new(0);
            let pieces = stream::iter(0..mebibytes).map(|_| {
                taken.fetch_add(1, Relaxed);
                Ok::<_, Infallible>(Frame::data(mebibyte.clone()))
            });
            let refused = read_body(StreamBody::new(pieces), 5, SOON).await;
            assert!(matches!(refused, Err(BodyError::TooLarge { max_bytes: 5 })));
            assert_eq!(taken.load(Relaxed), read, "of {mebibytes} MiB");
        };
        check(3, 3).await;
        check(1 + (DISCARDED_BYTES >> 20), 1 + (DISCARDED_BYTES >> 20)).await;
        check(1000, 1 + (DISCARDED_BYTES >> 20)).await;
    }

    #[tokio::test]
    async fn room_is_asked_for_before_bytes_are_read_and_as_more_come() {
        let read =
            async |body, room: usize| read_body_into(|bytes| bytes <= room, body, 10, SOON).await;
        let no_room = read(Full::new(Bytes::from_static(b"abcdef")).boxed(), 5).await;
        assert!(matches!(no_room, Err(BodyError::NoRoom)));
        let no_room = read(BodyExt::boxed(pieces(&["abc", "def"])), 5).await;
        assert!(matches!(no_room, Err(BodyError::NoRoom)));
        assert_eq!(read(BodyExt::boxed(pieces(&["abc", "def"])), 6).await.unwrap(), "abcdef");
    }

    #[tokio::test]
    async fn a_body_that_stops_is_slow() {
        let body = StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>());
        let read = read_body(body, 5, Duration::ZERO).await;
        assert!(matches!(read, Err(BodyError::Slow { .. })));
    }

    #[tokio::test]
    async fn a_body_that_breaks_says_why() {
        let cut = Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
        let body =
            StreamBody::new(stream::iter([cut]).map(|piece| piece.map(Frame::<Bytes>::data)));
        assert!(matches!(read_body(body, 5, SOON).await, Err(BodyError::Broken(_))));
    }
}
