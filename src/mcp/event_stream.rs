//! An upstream's event stream, put back into events (HTML Living Standard, "Server-sent events": "Interpreting an
//! event stream").

use std::time::Duration;

use bytes::{Buf, BytesMut};

const BOM: &[u8] = b"\xef\xbb\xbf";

/// One event that has data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its lines, with a line feed between them; not yet known to be UTF-8.
    pub data: Vec<u8>,
    /// Its type: `message` unless it says otherwise.
    pub event: String,
    /// The last id the stream gave, with this event or before it.
    pub id: Option<String>,
}

/// An event is larger than this side takes. The stream cannot be read any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event is larger than {max_event_bytes} bytes")]
pub struct EventTooLarge {
    max_event_bytes: usize,
}

/// Reads events from a stream that may be cut anywhere.
///
/// [`EventReader::feed`] takes a piece, then [`EventReader::event`] gives every event it completed.
#[derive(Debug)]
pub struct EventReader {
    max_event_bytes: usize,
    waiting: BytesMut,
    /// So much of `waiting` is known to hold no line end.
    scanned: usize,
    place: Place,
    event: Fields,
    last_id: Option<String>,
    retry: Option<Duration>,
}

/// What may have to be skipped before the next line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Start,
    AfterCarriageReturn,
    Line,
}

/// What the lines of an unfinished event said.
#[derive(Debug, Default)]
struct Fields {
    data: Option<Vec<u8>>,
    event: String,
    id: Option<String>,
}

impl EventReader {
    /// Refuses an event, comments included, of which more than `max_event_bytes` would have to be kept.
    pub fn new(max_event_bytes: usize) -> Self {
        Self {
            max_event_bytes,
            waiting: BytesMut::new(),
            scanned: 0,
            place: Place::Start,
            event: Fields::default(),
            last_id: None,
            retry: None,
        }
    }

    /// Takes the next piece of the stream.
    pub fn feed(&mut self, piece: &[u8]) {
        self.waiting.extend_from_slice(piece);
    }

    /// The next event of what was fed; `None` until more is fed. An event without data is none: it only moves the id.
    pub fn event(&mut self) -> Result<Option<Event>, EventTooLarge> {
        while let Some(line) = self.line()? {
            if line.is_empty() {
                if let Some(event) = self.dispatch() {
                    return Ok(Some(event));
                }
            } else {
                self.field(&line);
            }
        }
        Ok(None)
    }

    /// The id of the last event that came whole, with data or without: where a broken stream may be resumed
    /// (2025-11-25 transports, "Resumability and Redelivery").
    pub fn last_event_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    /// How long the server asks to be left alone before a reconnection; unbounded, as it came.
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    fn line(&mut self) -> Result<Option<BytesMut>, EventTooLarge> {
        if !self.begin_line() {
            return Ok(None);
        }
        let unscanned = &self.waiting[self.scanned..];
        let end = unscanned.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        let length = end.map_or(self.waiting.len(), |end| self.scanned + end);
        if self.event.len() + length > self.max_event_bytes {
            return Err(EventTooLarge { max_event_bytes: self.max_event_bytes });
        }
        self.scanned = if end.is_some() { 0 } else { length };
        Ok(end.map(|_| {
            let line = self.waiting.split_to(length);
            let is_return = self.waiting.get_u8() == b'\r';
            self.place = if is_return { Place::AfterCarriageReturn } else { Place::Line };
            line
        }))
    }

    /// Skips what belongs to no line; false if it takes more bytes to tell.
    fn begin_line(&mut self) -> bool {
        let skipped: &[u8] = match self.place {
            Place::Start => BOM,
            Place::AfterCarriageReturn => b"\n",
            Place::Line => return true,
        };
        let known = skipped.len().min(self.waiting.len());
        let may_be = self.waiting[..known] == skipped[..known];
        if may_be && known < skipped.len() {
            return false;
        }
        if may_be {
            self.waiting.advance(known);
        }
        self.place = Place::Line;
        true
    }

    fn field(&mut self, line: &[u8]) {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, rest) = line.split_at(colon);
        let value = rest.strip_prefix(b":").unwrap_or(rest);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        let text = || String::from_utf8_lossy(value).into_owned();
        match name {
            b"data" => match &mut self.event.data {
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                none => *none = Some(value.to_vec()),
            },
            b"event" => self.event.event = text(),
            b"id" if !value.contains(&0) => self.event.id = Some(text()),
            b"retry" => self.retry = milliseconds(value).or(self.retry),
            // A comment has no name.
            _ => {}
        }
    }

    fn dispatch(&mut self) -> Option<Event> {
        let Fields { data, mut event, id } = std::mem::take(&mut self.event);
        if let Some(id) = id {
            self.last_id = Some(id).filter(|id| !id.is_empty());
        }
        // A stream that can be resumed begins with an id and empty data (2025-11-25 transports, "Sending Messages to
        // the Server" 6): no message either.
        let data = data.filter(|data| !data.is_empty())?;
        if event.is_empty() {
            "message".clone_into(&mut event);
        }
        Some(Event { data, event, id: self.last_id.clone() })
    }
}

impl Fields {
    fn len(&self) -> usize {
        self.data.as_ref().map_or(0, Vec::len)
            + self.event.len()
            + self.id.as_ref().map_or(0, String::len)
    }
}

fn milliseconds(digits: &[u8]) -> Option<Duration> {
    let is_number = digits.iter().all(u8::is_ascii_digit);
    let number = is_number.then(|| str::from_utf8(digits).ok()?.parse().ok())??;
    Some(Duration::from_millis(number))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX: usize = 64;

    type Read = (Vec<Event>, Result<(), EventTooLarge>);

    fn read(pieces: &[&[u8]]) -> (Read, EventReader) {
        let mut reader = EventReader::new(MAX);
        let mut events = Vec::new();
        for piece in pieces {
            reader.feed(piece);
            loop {
                match reader.event() {
                    Ok(Some(event)) => events.push(event),
                    Ok(None) => break,
                    Err(refused) => return ((events, Err(refused)), reader),
                }
            }
        }
        ((events, Ok(())), reader)
    }

    fn check(stream: &str, data: &[&str]) {
        let ((events, end), _) = read(&[stream.as_bytes()]);
        assert_eq!(end, Ok(()), "{stream:?}");
        let seen: Vec<_> = events.iter().map(|it| str::from_utf8(&it.data).unwrap()).collect();
        assert_eq!(seen, data, "{stream:?}");
    }

    #[test]
    fn an_event_ends_with_an_empty_line() {
        check("data: a\n\ndata:b\r\rdata:  c\r\n\r\ndata: d\n", &["a", "b", " c"]);
        check("\n\ndata: a\n\n\n\n", &["a"]);
    }

    #[test]
    fn lines_of_data_are_joined_by_a_line_feed() {
        check("data: {\ndata\ndata: }\n\n", &["{\n\n}"]);
    }

    #[test]
    fn comments_and_unknown_fields_say_nothing() {
        check(": keep-alive\n\n:\nhello: x\ndatax: y\n Data: z\ndata: a\n\n", &["a"]);
    }

    #[test]
    fn a_byte_order_mark_is_skipped_at_the_start_only() {
        check("\u{feff}data: a\n\n\u{feff}data: b\n\n", &["a"]);
        check("\u{feff}\u{feff}data: a\n\n", &[]);
    }

    #[test]
    fn an_event_has_a_type_and_the_last_id() {
        let ((events, _), reader) = read(&[
            b"id: 1\nevent: ping\ndata: a\n\ndata: b\n\nid: x\0y\ndata: c\n\nid\ndata: d\n\n",
        ]);
        let seen: Vec<_> = events.iter().map(|it| (it.event.as_str(), it.id.as_deref())).collect();
        let one = Some("1");
        assert_eq!(seen, [("ping", one), ("message", one), ("message", one), ("message", None)]);
        assert_eq!(reader.last_event_id(), None);
    }

    // 2025-11-25 transports, "Sending Messages to the Server" 6: an id and an empty data field first.
    #[test]
    fn an_event_without_data_moves_the_id_and_is_no_event() {
        let ((events, _), reader) = read(&[b"id: 1\nretry: 500\ndata:\n\nid: 2\n\nid: 3\n"]);
        assert_eq!(events, []);
        assert_eq!(reader.last_event_id(), Some("2"), "the third did not come whole");
        assert_eq!(reader.retry(), Some(Duration::from_millis(500)));
    }

    #[test]
    fn a_retry_that_is_no_number_is_ignored() {
        let (_, reader) =
            read(&[b"retry: 7\nretry: 1.5\nretry: -1\nretry:\nretry: 99999999999999999999\n"]);
        assert_eq!(reader.retry(), Some(Duration::from_millis(7)));
    }

    #[test]
    fn an_event_has_a_bound() {
        let data = "x".repeat(MAX - 6);
        check(&format!("data: {data}\n\n").repeat(2), &[&data, &data]);
        for stream in [
            "x".repeat(MAX + 1),
            format!("data: {}\n\n", "x".repeat(MAX - 5)),
            format!(": {}", "x".repeat(MAX)),
            "data: 12345678\n".repeat(8),
        ] {
            let ((events, end), mut reader) = read(&[stream.as_bytes()]);
            assert_eq!((events, end.is_err()), (vec![], true), "{stream}");
            reader.feed(b"\n\ndata: a\n\n");
            assert!(reader.event().is_err(), "it stays refused");
        }
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_events(
            lines in proptest::collection::vec(
                "(data|data: |id: |event: |retry: |: |)[a-z0-9:\u{feff} ]{0,12}(\n|\r|\r\n|\n\n|\r\n\r\n)",
                0..24,
            ),
            cuts in proptest::collection::vec(0_usize..200, 0..12),
        ) {
            let stream = lines.concat().into_bytes();
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]]).collect();
            let bytes: Vec<_> = stream.chunks(1).collect();
            let whole = read(&[&stream]).0;
            prop_assert_eq!(&read(&pieces).0, &whole);
            prop_assert_eq!(&read(&bytes).0, &whole);
        }

        #[test]
        fn what_is_framed_reads_back(message in "\\{[^\r\n]{0,12}\\}") {
            let ((events, _), _) = read(&[&crate::mcp::sse::event(message.as_bytes())]);
            prop_assert_eq!(events.len(), 1);
            prop_assert_eq!(&events[0].data, message.as_bytes());
        }
    }
}
