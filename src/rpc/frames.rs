//! Frames of a streamed reply: a type byte, the payload's length in four bytes (big-endian), the payload.
//!
//! The last one is the MAC over the request's nonce and all bytes before it.

use bytes::{Buf, Bytes, BytesMut};

use super::auth::{MAC_LEN, StreamMac, WrongMac};
use super::wire::Frame;

/// Longest payload. A worker's output limits keep the last frame within it.
pub const MAX_PAYLOAD: usize = 32 << 20;

const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ENDED: u8 = 3;
const NOT_STARTED: u8 = 4;
const MAC: u8 = 5;
const REPLAYED: u8 = 6;

const HEAD_LEN: usize = 5;
/// Room for the end of an execution that says little, and the MAC.
const USUAL: usize = 512;

/// Why a stream cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// A payload is longer than [`MAX_PAYLOAD`].
    #[error("a frame of {0} bytes is too long")]
    TooLong(usize),
    /// A type that this version does not know, or one out of order.
    #[error("a frame of type {0} is not expected here")]
    Unexpected(u8),
    /// A payload that does not read.
    #[error("a frame's payload does not read")]
    Payload(#[source] serde_json::Error),
    /// The MAC at the end is wrong.
    #[error(transparent)]
    Mac(#[from] WrongMac),
    /// The stream ended without its MAC.
    #[error("the stream ended early")]
    Truncated,
}

/// Writes a stream.
#[derive(Debug)]
pub struct Encoder(StreamMac);

impl Encoder {
    /// A stream that ends in this MAC.
    pub fn new(mac: StreamMac) -> Self {
        Self(mac)
    }

    /// The bytes of one frame of output.
    pub fn output(&mut self, frame: &Frame) -> Result<Bytes, FrameError> {
        let mut bytes = Vec::new();
        self.write(frame, &mut bytes)?;
        Ok(bytes.into())
    }

    /// The bytes of the last frame and the MAC.
    pub fn last(mut self, frame: &Frame) -> Result<Bytes, FrameError> {
        let mut bytes = Vec::with_capacity(USUAL);
        self.write(frame, &mut bytes)?;
        put(&mut bytes, MAC, &self.0.finish())?;
        Ok(bytes.into())
    }

    fn write(&mut self, frame: &Frame, bytes: &mut Vec<u8>) -> Result<(), FrameError> {
        match frame {
            Frame::Stdout(output) => put(bytes, STDOUT, output),
            Frame::Stderr(output) => put(bytes, STDERR, output),
            Frame::Ended(ended) => put_json(bytes, ENDED, ended),
            Frame::NotStarted(why) => put_json(bytes, NOT_STARTED, why),
            Frame::Replayed(task) => put_json(bytes, REPLAYED, task),
        }?;
        self.0.update(bytes);
        Ok(())
    }
}

/// A frame whose payload is written straight behind its head, which tells the length afterwards.
fn put_json(
    bytes: &mut Vec<u8>,
    kind: u8,
    value: &impl serde::Serialize,
) -> Result<(), FrameError> {
    let begin = bytes.len();
    bytes.extend_from_slice(&head(kind, 0)?);
    serde_json::to_writer(&mut *bytes, value).map_err(FrameError::Payload)?;
    let payload = begin + HEAD_LEN;
    let head = head(kind, bytes.len() - payload)?;
    bytes[begin..payload].copy_from_slice(&head);
    Ok(())
}

fn put(bytes: &mut Vec<u8>, kind: u8, payload: &[u8]) -> Result<(), FrameError> {
    bytes.extend_from_slice(&head(kind, payload.len())?);
    bytes.extend_from_slice(payload);
    Ok(())
}

fn head(kind: u8, length: usize) -> Result<[u8; HEAD_LEN], FrameError> {
    let within = u32::try_from(length).ok().filter(|_| length <= MAX_PAYLOAD);
    let [a, b, c, d] = within.ok_or(FrameError::TooLong(length))?.to_be_bytes();
    Ok([kind, a, b, c, d])
}

/// Reads a stream. Holds the last frame back until the MAC has proven it.
#[derive(Debug)]
pub struct Decoder {
    mac: Option<StreamMac>,
    buffer: BytesMut,
    last: Option<Frame>,
}

impl Decoder {
    /// A stream that must end in this MAC.
    pub fn new(mac: StreamMac) -> Self {
        Self { mac: Some(mac), buffer: BytesMut::new(), last: None }
    }

    /// Takes in bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next frame, if its bytes are there.
    pub fn frame(&mut self) -> Result<Option<Frame>, FrameError> {
        while let Some((kind, payload)) = self.take()? {
            match (kind, self.last.take()) {
                (STDOUT, None) => return Ok(Some(Frame::Stdout(payload))),
                (STDERR, None) => return Ok(Some(Frame::Stderr(payload))),
                (ENDED, None) => self.last = Some(Frame::Ended(read(&payload)?)),
                (NOT_STARTED, None) => self.last = Some(Frame::NotStarted(read(&payload)?)),
                (REPLAYED, None) => self.last = Some(Frame::Replayed(read(&payload)?)),
                (MAC, Some(last)) => {
                    let mac = self.mac.take().ok_or(FrameError::Unexpected(MAC))?;
                    mac.check(&payload)?;
                    return Ok(Some(last));
                }
                (other, _) => return Err(FrameError::Unexpected(other)),
            }
        }
        Ok(None)
    }

    fn take(&mut self) -> Result<Option<(u8, Bytes)>, FrameError> {
        let Some(head) = self.buffer.first_chunk::<HEAD_LEN>() else { return Ok(None) };
        let [kind, length @ ..] = *head;
        let length = u32::from_be_bytes(length) as usize;
        if length > MAX_PAYLOAD || (kind == MAC && length != MAC_LEN) {
            return Err(FrameError::TooLong(length));
        }
        if self.buffer.len() < HEAD_LEN + length {
            return Ok(None);
        }
        let mut frame = self.buffer.split_to(HEAD_LEN + length).freeze();
        // Behind the MAC nothing may come.
        let mac = self.mac.as_mut().ok_or(FrameError::Unexpected(kind))?;
        if kind != MAC {
            mac.update(&frame);
        }
        frame.advance(HEAD_LEN);
        Ok(Some((kind, frame)))
    }
}

fn read<T: serde::de::DeserializeOwned>(payload: &[u8]) -> Result<T, FrameError> {
    serde_json::from_slice(payload).map_err(FrameError::Payload)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::ids::WorkerId;
    use crate::domain::keyring::{SecretKey, WorkerKey};
    use crate::rpc::auth::{Link, Outgoing, Sealed};
    use crate::rpc::wire::{Ended, NotStarted};

    fn sealed() -> Sealed {
        let worker = WorkerId::parse("w1").unwrap();
        let key = WorkerKey::derive(&SecretKey::from_bytes([7; 32]), &worker);
        let outgoing = Outgoing {
            link: Link::Call,
            key: &key,
            incarnation: crate::domain::ids::Incarnation(1),
            method: &http::Method::POST,
            path: "/",
            deadline: std::time::Duration::ZERO,
            body: b"",
        };
        let time = crate::domain::ids::Timestamp::from_millis(1);
        outgoing.seal(&mut http::HeaderMap::new(), time)
    }

    fn stream(sealed: &Sealed) -> Vec<u8> {
        let mut encoder = Encoder::new(sealed.stream());
        let mut bytes =
            encoder.output(&Frame::Stdout(Bytes::from_static(b"out"))).unwrap().to_vec();
        let ended = Ended { exit_code: 3, ..Ended::default() };
        bytes.extend(encoder.last(&Frame::Ended(Box::new(ended))).unwrap());
        bytes
    }

    fn decode(sealed: &Sealed, bytes: &[u8], piece: usize) -> Result<Vec<Frame>, FrameError> {
        let mut decoder = Decoder::new(sealed.stream());
        let mut frames = Vec::new();
        for part in bytes.chunks(piece) {
            decoder.feed(part);
            while let Some(frame) = decoder.frame()? {
                frames.push(frame);
            }
        }
        Ok(frames)
    }

    #[test]
    fn a_stream_reads_back_however_it_is_cut() {
        let sealed = sealed();
        let bytes = stream(&sealed);
        for piece in 1..=bytes.len() {
            let frames = decode(&sealed, &bytes, piece).unwrap();
            assert_eq!(frames[0], Frame::Stdout(Bytes::from_static(b"out")));
            assert!(matches!(&frames[1], Frame::Ended(ended) if ended.exit_code == 3));
        }
    }

    #[test]
    fn the_end_is_held_back_until_it_is_proven() {
        let sealed = sealed();
        let bytes = stream(&sealed);
        let without_mac = &bytes[..bytes.len() - 1];
        assert_eq!(decode(&sealed, without_mac, 7).unwrap().len(), 1);
        let mut altered = bytes.clone();
        altered[HEAD_LEN] ^= 1; // the output, which was handed out as it came
        assert!(matches!(decode(&sealed, &altered, 7), Err(FrameError::Mac(_))));
        assert!(matches!(decode(&super::tests::sealed(), &bytes, 7), Err(FrameError::Mac(_))));
    }

    #[test]
    fn frames_come_in_order_and_within_their_limit() {
        let sealed = sealed();
        let why =
            Encoder::new(sealed.stream()).last(&Frame::NotStarted(NotStarted::NotMine)).unwrap();
        let twice = [&why[..], &why[..]].concat();
        assert!(matches!(decode(&sealed, &twice, 9), Err(FrameError::Unexpected(NOT_STARTED))));
        assert!(matches!(decode(&sealed, &[9, 0, 0, 0, 0], 5), Err(FrameError::Unexpected(9))));
        assert!(matches!(decode(&sealed, &[1, 255, 0, 0, 0], 5), Err(FrameError::TooLong(_))));
        assert!(matches!(decode(&sealed, &[5, 0, 0, 0, 31], 5), Err(FrameError::TooLong(31))));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_and_never_end(bytes in any::<Vec<u8>>(), piece in 1usize..9) {
            let frames = decode(&sealed(), &bytes, piece).unwrap_or_default();
            prop_assert!(!frames.iter().any(|it| matches!(it, Frame::Ended(_) | Frame::NotStarted(_))));
        }
    }
}
