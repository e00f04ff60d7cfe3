//! One request to an upstream, and the messages that answer it.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use tokio::time::{Instant, timeout_at};

use super::trouble::Trouble;
use crate::mcp::{EventReader, Message};
use crate::net::pool::Body;

/// The largest message taken from an upstream, in bytes.
pub(super) const MAX_MESSAGE: usize = 16 << 20;

/// When an exchange has to be over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Until {
    at: Instant,
    after: Duration,
}

impl Until {
    /// From now on, this long.
    pub(super) fn within(after: Duration) -> Self {
        Self { at: Instant::now() + after, after }
    }

    /// The moment.
    pub(super) fn at(self) -> Instant {
        self.at
    }

    /// Whether it is over, as the reason for what was lost.
    pub(super) fn over(self) -> Option<Trouble> {
        (Instant::now() >= self.at).then_some(Trouble::Deadline(self.after))
    }

    /// The work, or [`Trouble::Deadline`].
    pub(super) fn bound<T>(
        self,
        work: impl Future<Output = T>,
    ) -> impl Future<Output = Result<T, Trouble>> {
        // No `async fn`: that would hold the work twice, as what it was given and as what it waits for.
        timeout_at(self.at, work).map(move |it| it.map_err(|_| Trouble::Deadline(self.after)))
    }
}

/// The messages that answer one POST, as they come in. Dropped early, it closes the stream, which is how a modern
/// upstream learns that nobody waits any more (cancellation, "Transport-Specific Cancellation").
#[derive(Debug)]
pub(super) struct Exchange {
    status: StatusCode,
    headers: HeaderMap,
    source: Source,
    until: Until,
}

#[derive(Debug)]
enum Source {
    /// A JSON body, not read yet.
    Whole(Body),
    /// A JSON body that was looked at.
    Seen(Bytes),
    /// An event stream.
    Stream { body: Body, reader: EventReader },
    /// An event stream that ended; the reader knows where it can be taken up again.
    Ended(EventReader),
    /// There is nothing more.
    Over,
}

impl Exchange {
    /// Takes the head of an answer.
    pub(super) fn new(response: Response<Body>, until: Until) -> Self {
        let (mut head, body) = response.into_parts();
        // Whoever has it speaks for the client, so it is not shown.
        if let Some(session) = head.headers.get_mut("mcp-session-id") {
            session.set_sensitive(true);
        }
        let kind = head.headers.get(CONTENT_TYPE).and_then(|it| it.to_str().ok()).unwrap_or("");
        let kind = kind.split(';').next().unwrap_or("").trim();
        let source = if kind.eq_ignore_ascii_case("text/event-stream") {
            let reader = EventReader::new(MAX_MESSAGE);
            Source::Stream { body, reader }
        } else if head.status == StatusCode::ACCEPTED {
            Source::Over
        } else {
            // An error's body may be JSON under any type; what it is shows when it is read.
            Source::Whole(body)
        };
        Self { status: head.status, headers: head.headers, source, until }
    }

    /// The HTTP status.
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// The HTTP headers.
    pub(super) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Whether the answer is a stream, of which notifications may come.
    pub(super) fn is_stream(&self) -> bool {
        matches!(self.source, Source::Stream { .. })
    }

    /// The body of an answer that is no stream, which stays to be read as a message.
    pub(super) async fn look(&mut self) -> Result<Bytes, Trouble> {
        self.until.bound(self.source.look()).await?
    }

    /// Where a stream that broke can be taken up again (2025-11-25 transports, "Resumability and Redelivery").
    pub(super) fn last_event_id(&self) -> Option<&str> {
        self.source.reader()?.last_event_id()
    }

    /// How long its server asks to be left alone before that.
    pub(super) fn retry(&self) -> Option<Duration> {
        self.source.reader()?.retry()
    }

    /// Gives it time until then.
    pub(super) fn extend(&mut self, until: Until) {
        self.until = until;
    }

    /// The next message; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Message>, Trouble> {
        self.until.bound(self.source.next(self.status)).await?
    }
}

impl Source {
    async fn next(&mut self, status: StatusCode) -> Result<Option<Message>, Trouble> {
        match self {
            Self::Over | Self::Ended(_) => Ok(None),
            Self::Whole(_) | Self::Seen(_) => {
                let bytes = self.look().await?;
                *self = Self::Over;
                Message::read(&bytes).map(Some).map_err(|_| Trouble::NotMcp(status))
            }
            Self::Stream { body, reader } => loop {
                let event = reader.event().map_err(|_| Trouble::TooLarge(MAX_MESSAGE))?;
                if let Some(event) = event {
                    let message = Message::read(&event.data.into());
                    return message
                        .map(Some)
                        .map_err(|_| Trouble::Protocol("an event is no message"));
                }
                let Some(bytes) = data(body).await? else {
                    if let Self::Stream { reader, .. } = std::mem::replace(self, Self::Over) {
                        *self = Self::Ended(reader);
                    }
                    return Ok(None);
                };
                reader.feed(&bytes);
            },
        }
    }

    async fn look(&mut self) -> Result<Bytes, Trouble> {
        match self {
            Self::Whole(body) => {
                let bytes = whole(body).await?;
                *self = Self::Seen(bytes.clone());
                Ok(bytes)
            }
            Self::Seen(bytes) => Ok(bytes.clone()),
            Self::Stream { .. } | Self::Ended(_) | Self::Over => Ok(Bytes::new()),
        }
    }

    fn reader(&self) -> Option<&EventReader> {
        match self {
            Self::Stream { reader, .. } | Self::Ended(reader) => Some(reader),
            Self::Whole(_) | Self::Seen(_) | Self::Over => None,
        }
    }
}

async fn whole(body: &mut Body) -> Result<Bytes, Trouble> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let Some(first) = data(body).await? else { return Ok(Bytes::new()) };
    // Most answers come in one piece, which is then not copied.
    let Some(second) = data(body).await? else { return Ok(first) };
    // The pages of what was announced cost nothing until bytes arrive.
    let mut all =
        BytesMut::with_capacity(announced.min(MAX_MESSAGE).max(first.len() + second.len()));
    all.extend_from_slice(&first);
    all.extend_from_slice(&second);
    while let Some(bytes) = data(body).await? {
        if all.len() + bytes.len() > MAX_MESSAGE {
            return Err(Trouble::TooLarge(MAX_MESSAGE));
        }
        all.extend_from_slice(&bytes);
    }
    Ok(all.freeze())
}

async fn data(body: &mut Body) -> Result<Option<Bytes>, Trouble> {
    loop {
        match body.frame().await {
            None => return Ok(None),
            Some(Err(error)) => return Err(Trouble::Cut(error.to_string())),
            Some(Ok(frame)) => {
                if let Ok(bytes) = frame.into_data() {
                    return Ok(Some(bytes));
                }
            }
        }
    }
}
