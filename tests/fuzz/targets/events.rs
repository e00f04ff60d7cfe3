//! An upstream's event stream: a byte that says in which pieces it arrives, then the stream. However it is cut, the
//! same events come out, each within its bound, and they are those of another reader that sees the whole at once.

#![no_main]

use baton::mcp::{Event, EventReader};
use libfuzzer_sys::fuzz_target;

const MAX: usize = 256;

fuzz_target!(|data: &[u8]| {
    let Some((piece, stream)) = data.split_first() else { return };
    let at_once = read(stream.chunks(stream.len().max(1)));
    assert_eq!(at_once, read(stream.chunks(usize::from(*piece).max(1))), "however it is cut");
    let (events, whole) = at_once;
    assert!(
        events.iter().all(|it| !it.data.is_empty() && it.data.len() <= MAX && !it.event.is_empty())
    );
    let data: Vec<_> = events.into_iter().map(|it| it.data).collect();
    let expected = by_lines(stream);
    assert_eq!(data, expected[..data.len()]);
    assert!(!whole || data.len() == expected.len());
});

/// The events, and whether none was too large.
fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Event>, bool) {
    let mut reader = EventReader::new(MAX);
    let mut events = Vec::new();
    for piece in pieces {
        reader.feed(piece);
        loop {
            match reader.event() {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(_) => return (events, false),
            }
        }
    }
    (events, true)
}

/// The data of every event, by the letter of the standard's grammar.
fn by_lines(stream: &[u8]) -> Vec<Vec<u8>> {
    let stream = stream.strip_prefix(b"\xef\xbb\xbf").unwrap_or(stream);
    let mut text = Vec::new();
    for (at, byte) in stream.iter().enumerate() {
        match byte {
            b'\r' => text.push(b'\n'),
            b'\n' if at > 0 && stream[at - 1] == b'\r' => {}
            other => text.push(*other),
        }
    }
    let mut lines: Vec<_> = text.split(|byte| *byte == b'\n').collect();
    lines.pop();
    let (mut events, mut data) = (Vec::new(), Vec::new());
    for line in lines {
        if line.is_empty() {
            let joined = data.join(&b'\n');
            data.clear();
            events.extend(Some(joined).filter(|it: &Vec<u8>| !it.is_empty()));
        } else if line == b"data" {
            data.push(&b""[..]);
        } else if let Some(value) = line.strip_prefix(b"data:") {
            data.push(value.strip_prefix(b" ").unwrap_or(value));
        }
    }
    events
}
