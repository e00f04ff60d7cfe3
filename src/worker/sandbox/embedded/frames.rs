//! Length-prefixed frames from inside a sandbox: untrusted, so every length has a cap.

use std::io::{self, ErrorKind};

use tokio::io::{AsyncRead, AsyncReadExt};

/// Reads frames of a little-endian `u32` length and as many bytes.
#[derive(Debug)]
pub(super) struct Frames<R> {
    source: R,
    longest: usize,
    buffer: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    pub(super) fn new(source: R, longest: usize) -> Self {
        Self { source, longest, buffer: Vec::new() }
    }

    /// The next frame; nothing is lost if the wait for it is given up.
    ///
    /// An end of the stream and a length past the cap are errors, after which no frame follows.
    pub(super) async fn next(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(frame) = self.take()? {
                return Ok(frame);
            }
            if self.source.read_buf(&mut self.buffer).await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn take(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some((head, rest)) = self.buffer.split_first_chunk::<4>() else { return Ok(None) };
        let length = usize::try_from(u32::from_le_bytes(*head)).unwrap_or(usize::MAX);
        if length > self.longest {
            return Err(ErrorKind::InvalidData.into());
        }
        let Some(frame) = rest.get(..length) else { return Ok(None) };
        let frame = frame.to_vec();
        self.buffer.drain(..4 + length);
        if self.buffer.is_empty() {
            // One large frame is no reason to keep its room for good.
            self.buffer.shrink_to(4096);
        }
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    async fn read_all(bytes: &[u8], longest: usize) -> (Vec<Vec<u8>>, ErrorKind) {
        let mut frames = Frames::new(bytes, longest);
        let mut read = Vec::new();
        loop {
            match frames.next().await {
                Ok(frame) => read.push(frame),
                Err(error) => return (read, error.kind()),
            }
        }
    }

    #[tokio::test]
    async fn frames_end_with_the_stream() {
        let (frames, end) = read_all(b"\x02\0\0\0hi\0\0\0\0", 2).await;
        assert_eq!(frames, [b"hi".to_vec(), Vec::new()]);
        assert_eq!(end, ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn a_frame_past_the_cap_is_refused_before_it_is_read() {
        let (frames, end) = read_all(b"\x01\0\0\0a\xff\xff\xff\xff", 2).await;
        assert_eq!(frames, [b"a".to_vec()]);
        assert_eq!(end, ErrorKind::InvalidData);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_frames_or_an_end(bytes: Vec<u8>, longest in 0_usize..64) {
            let read = read_all(&bytes, longest).now_or_never();
            let (frames, end) = read.expect("a slice is never waited for");
            proptest::prop_assert!(frames.iter().all(|frame| frame.len() <= longest));
            proptest::prop_assert!(matches!(end, ErrorKind::UnexpectedEof | ErrorKind::InvalidData));
        }
    }
}
