//! The worker's end of the channel to the agent, whose other end is in the hands of foreign code.

use std::io;

use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::frames::Frames;
use crate::worker::sandbox::{Image, Limits};

/// What names one call on the channel; unknown to code of any earlier call.
type Nonce = [u8; 16];

/// The channel to one agent.
#[derive(Debug)]
pub(super) struct Agent {
    frames: Frames<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    nonce: Nonce,
    unsent: Vec<u8>,
}

/// What the agent says about the running call.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// The interpreter is up.
    Ready,
    Result(String),
    Shown(Image),
    Done {
        exit_code: i32,
        hints: Hints,
    },
    /// Something about another call, or of an unknown kind: foreign code's doing, and of no meaning.
    Noise,
}

/// Why a cell failed, as far as the agent can tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hints(u8);

impl Hints {
    pub(super) fn memory(self) -> bool {
        self.0 & 1 != 0
    }

    pub(super) fn processes(self) -> bool {
        self.0 & 2 != 0
    }

    pub(super) fn disk(self) -> bool {
        self.0 & 4 != 0
    }

    pub(super) fn truncated(self) -> bool {
        self.0 & 8 != 0
    }
}

impl Agent {
    pub(super) fn new(stream: UnixStream, limits: &Limits) -> Self {
        let (reader, writer) = stream.into_split();
        // A character of the result may take four bytes; the agent counts characters.
        let longest = (4 * limits.output_bytes).max(limits.display_bytes) + 64;
        let frames = Frames::new(reader, longest);
        Self { frames, writer, nonce: [0; 16], unsent: Vec::new() }
    }

    /// Begins a call, which [`Agent::converse`] sends and hears about, and about no other.
    pub(super) fn begin(&mut self, code: &str, variables: &[(String, String)]) -> io::Result<()> {
        getrandom::fill(&mut self.nonce).map_err(io::Error::other)?;
        let variables: Vec<u8> = variables
            .iter()
            .filter(|(name, value)| {
                !name.is_empty() && !has_separator(name) && !value.contains('\0')
            })
            .flat_map(|(name, value)| format!("{name}={value}\0").into_bytes())
            .collect();
        let length = |count: usize| u32::try_from(count).map_err(io::Error::other);
        let body = 20 + variables.len() + code.len();
        self.unsent = Vec::with_capacity(4 + body);
        self.unsent.extend_from_slice(&length(body)?.to_le_bytes());
        self.unsent.extend_from_slice(&self.nonce);
        self.unsent.extend_from_slice(&length(variables.len())?.to_le_bytes());
        self.unsent.extend_from_slice(&variables);
        self.unsent.extend_from_slice(code.as_bytes());
        Ok(())
    }

    /// Whether some of the call has yet to be sent; until then none of it can run.
    pub(super) fn unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Waits for the next word; may be given up and taken up again.
    pub(super) async fn hear(&mut self) -> io::Result<Word> {
        let frame = self.frames.next().await?;
        Ok(understand(&frame, &self.nonce).unwrap_or(Word::Noise))
    }

    /// Waits for the next word while what is unsent goes out; `None` when some of that went.
    ///
    /// May be given up and taken up again.
    pub(super) async fn converse(&mut self) -> io::Result<Option<Word>> {
        if self.unsent.is_empty() {
            return self.hear().await.map(Some);
        }
        tokio::select! {
            frame = self.frames.next() => {
                Ok(Some(understand(&frame?, &self.nonce).unwrap_or(Word::Noise)))
            }
            sent = self.writer.write(&self.unsent) => {
                self.unsent.drain(..sent?);
                Ok(None)
            }
        }
    }

    /// Says that nothing more will come, which ends an idle agent.
    pub(super) async fn close(&mut self) {
        // An end that is gone needs no telling.
        drop(self.writer.shutdown().await);
    }
}

fn has_separator(name: &str) -> bool {
    name.contains(['=', '\0'])
}

fn understand(frame: &[u8], expected: &Nonce) -> Option<Word> {
    let (kind, rest) = frame.split_first()?;
    let (nonce, body) = rest.split_first_chunk::<16>()?;
    if *kind == b'R' {
        return Some(Word::Ready);
    }
    if nonce != expected {
        return None;
    }
    match (kind, body) {
        (b'r', text) => Some(Word::Result(String::from_utf8_lossy(text).into_owned())),
        (b'i', [b'p', bytes @ ..]) => {
            Some(Word::Shown(Image { mime: "image/png", bytes: bytes.to_vec() }))
        }
        (b'i', [b'j', bytes @ ..]) => {
            Some(Word::Shown(Image { mime: "image/jpeg", bytes: bytes.to_vec() }))
        }
        (b'D', [code, hints]) => {
            Some(Word::Done { exit_code: i32::from(*code), hints: Hints(*hints) })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINE: Nonce = [7; 16];

    fn frame(kind: u8, nonce: Nonce, body: &[u8]) -> Vec<u8> {
        [&[kind][..], &nonce, body].concat()
    }

    #[test]
    fn a_word_about_another_call_means_nothing() {
        assert_eq!(understand(&frame(b'D', [6; 16], &[0, 0]), &MINE), None);
        let done = Word::Done { exit_code: 3, hints: Hints(1) };
        assert_eq!(understand(&frame(b'D', MINE, &[3, 1]), &MINE), Some(done));
    }

    #[test]
    fn nonsense_is_no_word() {
        for bytes in [&b""[..], b"D", b"Dshort"] {
            assert_eq!(understand(bytes, &MINE), None);
        }
        assert_eq!(understand(&frame(b'D', MINE, &[0, 0, 0]), &MINE), None);
        assert_eq!(understand(&frame(b'i', MINE, b"x.."), &MINE), None);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_word_or_none(bytes: Vec<u8>, body: Vec<u8>) {
            understand(&bytes, &MINE);
            for kind in [b'r', b'i', b'D', b'R'] {
                understand(&frame(kind, MINE, &body), &MINE);
            }
        }
    }
}
