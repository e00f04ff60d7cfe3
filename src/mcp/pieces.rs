//! JSON on its way out: what is large and stands in a body that came in goes out as that part of it, and is not copied.

use bytes::Bytes;

use super::json::JsonBuf;

/// A value of fewer bytes is copied: that costs less than to send it as a piece of its own.
pub(super) const LARGE: usize = 16 << 10;

/// Text in pieces. They are few: each but the last ends before or behind a large value.
#[derive(Debug, Clone, Default)]
pub struct Pieces(Vec<Bytes>);

impl Pieces {
    /// All its bytes.
    pub fn len(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The text in one piece.
    pub fn concat(&self) -> Vec<u8> {
        self.0.concat()
    }

    /// The same text between two others; what is not large is one piece.
    pub(super) fn between(mut self, before: String, after: &'static str) -> Self {
        if self.len() < LARGE {
            return Self(vec![
                [before.as_bytes(), &self.concat(), after.as_bytes()].concat().into(),
            ]);
        }
        self.0.insert(0, before.into());
        self.0.push(Bytes::from_static(after.as_bytes()));
        self
    }
}

/// One piece.
impl From<Vec<u8>> for Pieces {
    fn from(text: Vec<u8>) -> Self {
        Self(vec![text.into()])
    }
}

impl IntoIterator for Pieces {
    type Item = Bytes;
    type IntoIter = std::vec::IntoIter<Bytes>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// Puts pieces together.
#[derive(Debug)]
pub(super) struct PiecesWriter {
    done: Vec<Bytes>,
    open: String,
}

impl PiecesWriter {
    /// `bytes` are about as many as are copied.
    pub(super) fn new(bytes: usize) -> Self {
        Self { done: Vec::new(), open: String::with_capacity(bytes) }
    }

    /// Where text is written.
    pub(super) fn text(&mut self) -> &mut String {
        &mut self.open
    }

    /// Writes what is held.
    pub(super) fn held(&mut self, json: &JsonBuf) {
        if json.get().len() < LARGE {
            self.open.push_str(json.get());
            return;
        }
        self.done.push(std::mem::take(&mut self.open).into());
        self.done.push(json.bytes());
    }

    pub(super) fn end(mut self) -> Pieces {
        self.done.push(self.open.into());
        Pieces(self.done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_small_goes_out_in_one_piece_and_what_is_large_is_not_copied() {
        let between = |text: &str| {
            let mut writer = PiecesWriter::new(0);
            writer.text().push('[');
            writer.held(&JsonBuf::parse(text).unwrap());
            writer.text().push(']');
            let pieces = writer.end().between("<".to_owned(), ">");
            assert_eq!(pieces.concat(), format!("<[{text}]>").as_bytes());
            pieces.into_iter().count()
        };
        assert_eq!(between("1"), 1);
        assert_eq!(between(&"1".repeat(LARGE)), 5);
    }
}
