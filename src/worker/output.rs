//! What an execution writes: kept up to the limit, handed on while it runs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use tokio::sync::Notify;

use super::sandbox::{Outcome, OutputSink, Stream};
use crate::rpc::wire::{Ended, Frame, Image};

/// The output of one execution; clones share it. Whoever streams it reads what is kept, so nothing is queued
/// twice and a slow reader holds up nobody.
#[derive(Clone, Debug)]
pub(super) struct Output {
    kept: Arc<Mutex<Kept>>,
    changed: Arc<Notify>,
    limit: usize,
}

#[derive(Debug, Default)]
struct Kept {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    cut: bool,
}

impl Output {
    /// Keeps at most `limit` bytes of each of the two.
    pub(super) fn new(limit: usize) -> Self {
        Self { kept: Arc::default(), changed: Arc::default(), limit }
    }

    /// Reads along.
    pub(super) fn reader(&self) -> Reader {
        Reader { output: self.clone(), stdout: 0, stderr: 0 }
    }

    /// The end of an execution that wrote this.
    pub(super) fn ended(&self, outcome: &Outcome) -> Ended {
        let kept = self.kept();
        let images = outcome.display.iter().map(|image| Image {
            mime_type: image.mime.to_owned(),
            data: STANDARD.encode(&image.bytes),
        });
        Ended {
            stdout: text(&kept.stdout, kept.cut),
            stderr: text(&kept.stderr, kept.cut),
            exit_code: outcome.exit_code,
            execution_result: outcome.execution_result.clone(),
            images: images.collect(),
            truncated: outcome.truncated || kept.cut,
            terminated_by: outcome.terminated_by.map(|limit| limit.name().to_owned()),
            duration_us: u64::try_from(outcome.duration.as_micros()).unwrap_or(u64::MAX),
            ..Ended::default()
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OutputSink for Output {
    fn write(&mut self, stream: Stream, bytes: &[u8]) {
        let mut kept = self.kept();
        let taken = match stream {
            Stream::Stdout => keep(&mut kept.stdout, bytes, self.limit),
            Stream::Stderr => keep(&mut kept.stderr, bytes, self.limit),
        };
        kept.cut |= taken < bytes.len();
        drop(kept);
        if taken > 0 {
            self.changed.notify_one();
        }
    }
}

fn keep(into: &mut Vec<u8>, bytes: &[u8], limit: usize) -> usize {
    let room = limit.saturating_sub(into.len()).min(bytes.len());
    into.extend_from_slice(&bytes[..room]);
    room
}

/// Bytes as text, invalid ones replaced. A character that the limit cut in two is left out.
fn text(bytes: &[u8], cut: bool) -> String {
    let mut bytes = bytes;
    if cut
        && let Err(error) = std::str::from_utf8(bytes)
        && error.error_len().is_none()
    {
        bytes = &bytes[..error.valid_up_to()];
    }
    String::from_utf8_lossy(bytes).into_owned()
}

/// Reads an [`Output`] along while it grows.
#[derive(Debug)]
pub(super) struct Reader {
    output: Output,
    stdout: usize,
    stderr: usize,
}

impl Reader {
    /// The next new bytes, when there are some.
    pub(super) async fn next(&mut self) -> Frame {
        loop {
            if let Some(frame) = self.take() {
                return frame;
            }
            self.output.changed.notified().await;
        }
    }

    /// New bytes, if there are some.
    pub(super) fn take(&mut self) -> Option<Frame> {
        let kept = self.output.kept();
        take(&kept.stdout, &mut self.stdout)
            .map(Frame::Stdout)
            .or_else(|| take(&kept.stderr, &mut self.stderr).map(Frame::Stderr))
    }
}

fn take(kept: &[u8], read: &mut usize) -> Option<Bytes> {
    let new = &kept[*read..];
    *read = kept.len();
    (!new.is_empty()).then(|| Bytes::copy_from_slice(new))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn outcome() -> Outcome {
        Outcome {
            started: true,
            exit_code: 0,
            execution_result: None,
            display: Vec::new(),
            terminated_by: None,
            truncated: false,
            interpreter_lost: false,
            duration: Duration::from_micros(7),
        }
    }

    #[test]
    fn output_is_kept_up_to_the_limit_and_says_when_it_was_cut() {
        let mut output = Output::new(4);
        output.write(Stream::Stdout, b"abcd");
        output.write(Stream::Stderr, b"x");
        assert!(!output.ended(&outcome()).truncated);
        output.write(Stream::Stdout, b"e");
        let ended = output.ended(&outcome());
        assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("abcd", "x"));
        assert!(ended.truncated);
        assert_eq!(ended.duration_us, 7);
    }

    #[test]
    fn invalid_bytes_are_replaced_and_a_cut_character_is_left_out() {
        assert_eq!(text(b"a\xffb", false), "a\u{fffd}b");
        assert_eq!(text(b"a\xe2\x82", false), "a\u{fffd}");
        assert_eq!(text(b"a\xe2\x82", true), "a");
        assert_eq!(text(b"a\xff\xe2\x82\xac", true), "a\u{fffd}€");
    }

    #[tokio::test]
    async fn a_reader_gets_every_byte_once() {
        let mut output = Output::new(100);
        let mut reader = output.reader();
        output.write(Stream::Stdout, b"a");
        output.write(Stream::Stdout, b"b");
        output.write(Stream::Stderr, b"c");
        assert_eq!(reader.next().await, Frame::Stdout(Bytes::from_static(b"ab")));
        assert_eq!(reader.next().await, Frame::Stderr(Bytes::from_static(b"c")));
        assert_eq!(reader.take(), None);
        let late = async { output.write(Stream::Stdout, b"d") };
        let (frame, ()) = tokio::join!(reader.next(), late);
        assert_eq!(frame, Frame::Stdout(Bytes::from_static(b"d")));
    }
}
