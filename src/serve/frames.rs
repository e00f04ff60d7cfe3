//! What a client's bytes are: HTTP/2 frames, and how much of them is anything but bodies (RFC 9113 §3.4, §4.1).
//!
//! The protocol behind reads them again and judges them; here they are only measured.

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADER: usize = 9;
/// §6.1: the type of frames that carry a body.
const DATA: u8 = 0;

/// Where in the frames of a connection its client is.
#[derive(Debug)]
pub(super) enum Frames {
    /// So much of HTTP/2's preface is here, and nothing else.
    Preface { known: usize },
    /// HTTP/1, which has none.
    Absent,
    /// So much of a frame's header is here.
    Header { bytes: [u8; HEADER], known: usize },
    /// So much of a frame's payload is to come.
    Payload { is_body: bool, left: usize },
}

impl Frames {
    pub(super) fn new() -> Self {
        Self::Preface { known: 0 }
    }

    /// Whether a connection that began with these bytes carries HTTP/2; none: too few are here.
    pub(super) fn are_http2(&self) -> Option<bool> {
        match self {
            Self::Preface { .. } => None,
            Self::Absent => Some(false),
            Self::Header { .. } | Self::Payload { .. } => Some(true),
        }
    }

    /// Follows the client's next bytes, and returns how many of them are in frames but no part of a body.
    pub(super) fn follow(&mut self, mut bytes: &[u8]) -> usize {
        let mut control = 0;
        while !bytes.is_empty() {
            let size = match self {
                Self::Absent => return control,
                Self::Preface { known } => {
                    let expected = &PREFACE[*known..];
                    let size = expected.len().min(bytes.len());
                    let is_preface = bytes[..size] == expected[..size];
                    *known += size;
                    if !is_preface {
                        *self = Self::Absent;
                    } else if size == expected.len() {
                        *self = Self::header();
                    }
                    size
                }
                Self::Header { bytes: header, known } => {
                    let size = (HEADER - *known).min(bytes.len());
                    header[*known..*known + size].copy_from_slice(&bytes[..size]);
                    *known += size;
                    control += size;
                    if *known == HEADER {
                        let [high, middle, low, kind, ..] = header.map(usize::from);
                        let left = high << 16 | middle << 8 | low;
                        *self = Self::Payload { is_body: kind == usize::from(DATA), left };
                    }
                    size
                }
                Self::Payload { is_body, left } => {
                    let size = (*left).min(bytes.len());
                    *left -= size;
                    if !*is_body {
                        control += size;
                    }
                    if *left == 0 {
                        *self = Self::header();
                    }
                    size
                }
            };
            bytes = &bytes[size..];
        }
        control
    }

    fn header() -> Self {
        Self::Header { bytes: [0; HEADER], known: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, length: u8) -> Vec<u8> {
        [&[0, 0, length, kind, 0, 0, 0, 0, 1][..], &vec![7; usize::from(length)]].concat()
    }

    fn check(parts: &[&[u8]], expected: usize) {
        let bytes = parts.concat();
        assert_eq!(Frames::new().follow(&bytes), expected);
        for size in [1, 2, 7, 23, 25] {
            let mut frames = Frames::new();
            let all: usize = bytes.chunks(size).map(|chunk| frames.follow(chunk)).sum();
            assert_eq!(all, expected, "by {size}");
        }
    }

    #[test]
    fn all_but_bodies_counts_however_the_bytes_come() {
        check(&[PREFACE], 0);
        check(&[PREFACE, &frame(4, 0)], 9);
        check(&[PREFACE, &frame(6, 8), &frame(6, 8)], 34);
        check(&[PREFACE, &frame(1, 20), &frame(DATA, 100), &frame(6, 8)], 29 + 9 + 17);
        check(&[PREFACE, &frame(DATA, 0), &frame(DATA, 0)], 18);
    }

    #[test]
    fn http1_has_no_frames() {
        check(&[b"POST /mcp HTTP/1.1\r\n", &[0; 64]], 0);
        check(&[b"PRI * HTTP/1.1\r\n", &[0; 64]], 0);
    }
}
