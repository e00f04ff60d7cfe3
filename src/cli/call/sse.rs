//! Server-sent events, as a client reads them.

/// Longest event that is taken.
const MAX_EVENT_BYTES: usize = 64 << 20;

/// Puts events together from a stream that is cut anywhere.
#[derive(Debug, Default)]
pub(crate) struct Events {
    rest: Vec<u8>,
    event: Vec<u8>,
}

/// An event was longer than any that a gateway sends.
#[derive(Debug)]
pub(crate) struct TooLong;

impl Events {
    /// Takes the next bytes; gives the data of every event that they complete.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, TooLong> {
        let mut complete = Vec::new();
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.rest.extend_from_slice(line);
            if self.rest.len() + self.event.len() > MAX_EVENT_BYTES {
                return Err(TooLong);
            }
            if line.ends_with(b"\n") {
                let line = std::mem::take(&mut self.rest);
                complete.extend(self.line(line.trim_ascii_end()));
            }
        }
        Ok(complete)
    }

    fn line(&mut self, line: &[u8]) -> Option<Vec<u8>> {
        if line.is_empty() {
            return Some(std::mem::take(&mut self.event)).filter(|data| !data.is_empty());
        }
        // Comments keep the connection; `event`, `id` and `retry` mean nothing here.
        if let Some(data) = line.strip_prefix(b"data:") {
            if !self.event.is_empty() {
                self.event.push(b'\n');
            }
            self.event.extend_from_slice(data.strip_prefix(b" ").unwrap_or(data));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_whole_wherever_the_stream_is_cut() {
        let stream = b": hi\r\n\r\nevent: message\ndata: {\"a\":\ndata: 1}\n\nid: 7\ndata:2\r\n\r\ndata: half\n";
        for size in 1..stream.len() {
            let mut events = Events::default();
            let seen: Vec<Vec<u8>> =
                stream.chunks(size).flat_map(|chunk| events.feed(chunk).unwrap()).collect();
            assert_eq!(seen, [b"{\"a\":\n1}".to_vec(), b"2".to_vec()], "{size}");
        }
    }
}
