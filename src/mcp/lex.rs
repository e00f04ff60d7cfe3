//! The words of JSON text (RFC 8259), read from the front to the back.

/// The text is not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotJson;

/// How far a text has been read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

/// A string as it was written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quoted<'a> {
    /// What stands between the quotes.
    pub(super) text: &'a str,
    /// Whether that is not yet what is meant.
    pub(super) has_escapes: bool,
    /// Whether every surrogate has its other half.
    pub(super) is_unicode: bool,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Where the next byte stands.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// What has been read since then.
    pub(super) fn since(&self, from: usize) -> &'a str {
        &self.text[from..self.at]
    }

    /// What is still to be read.
    pub(super) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Goes on behind so many bytes.
    pub(super) fn skip(&mut self, bytes: usize) {
        self.at += bytes;
    }

    /// The next byte that is no white space, which stays to be read.
    pub(super) fn peek(&mut self) -> Option<u8> {
        loop {
            match self.byte() {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                byte => return byte,
            }
        }
    }

    /// Reads this byte, and white space before it.
    pub(super) fn expect(&mut self, byte: u8) -> Result<(), NotJson> {
        if self.peek() != Some(byte) {
            return Err(NotJson);
        }
        self.at += 1;
        Ok(())
    }

    /// Reads `true`, `false` or `null`.
    pub(super) fn literal(&mut self, word: &str) -> Result<(), NotJson> {
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return Err(NotJson);
        }
        self.at += word.len();
        Ok(())
    }

    /// Reads a string.
    pub(super) fn string(&mut self) -> Result<Quoted<'a>, NotJson> {
        self.expect(b'"')?;
        let from = self.at;
        let (mut has_escapes, mut is_unicode) = (false, true);
        // Where the second half of a pair of surrogates has to stand.
        let mut open = None;
        loop {
            let rest = &self.text.as_bytes()[self.at..];
            let plain = plain(rest);
            self.at += plain;
            match rest.get(plain) {
                Some(b'"') => break,
                Some(b'\\') => {
                    has_escapes = true;
                    let escape = Escape::read(&rest[plain + 1..])?;
                    let is_second = open == Some(self.at);
                    self.at += escape.length();
                    match escape {
                        Escape::High => {
                            is_unicode &= open.is_none();
                            open = Some(self.at);
                        }
                        Escape::Low if is_second => open = None,
                        Escape::Low => is_unicode = false,
                        Escape::Short | Escape::Unit => {}
                    }
                }
                _ => return Err(NotJson),
            }
        }
        is_unicode &= open.is_none();
        self.at += 1;
        let text = &self.text[from..self.at - 1];
        Ok(Quoted { text, has_escapes, is_unicode })
    }

    /// Reads a number.
    pub(super) fn number(&mut self) -> Result<&'a str, NotJson> {
        let from = self.at;
        if self.byte() == Some(b'-') {
            self.at += 1;
        }
        match self.byte() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.byte() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.byte() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(self.since(from))
    }

    /// There is nothing more.
    pub(super) fn end(&mut self) -> Result<(), NotJson> {
        self.peek().map_or(Ok(()), |_| Err(NotJson))
    }

    /// Reads digits, at least one.
    fn digits(&mut self) -> Result<(), NotJson> {
        let from = self.at;
        while self.byte().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == from { Err(NotJson) } else { Ok(()) }
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }
}

enum Escape {
    /// A letter that stands for a character.
    Short,
    /// `\u` and a character that is no surrogate.
    Unit,
    /// `\u` and the first half of a pair.
    High,
    /// `\u` and the second half.
    Low,
}

impl Escape {
    /// `text` is what follows the backslash.
    fn read(text: &[u8]) -> Result<Self, NotJson> {
        match text.first() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(Self::Short),
            Some(b'u') => {
                let digits = text.get(1..5).ok_or(NotJson)?;
                if !digits.iter().all(u8::is_ascii_hexdigit) {
                    return Err(NotJson);
                }
                Ok(match digits {
                    [b'd' | b'D', b'8' | b'9' | b'a' | b'b' | b'A' | b'B', ..] => Self::High,
                    [b'd' | b'D', b'c'..=b'f' | b'C'..=b'F', ..] => Self::Low,
                    _ => Self::Unit,
                })
            }
            _ => Err(NotJson),
        }
    }

    /// In bytes, with the backslash.
    fn length(&self) -> usize {
        if matches!(self, Self::Short) { 2 } else { 6 }
    }
}

/// How many bytes stand before a quote, a backslash or a control character; eight are looked at at once.
pub(super) fn plain(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const TOPS: u64 = ONES << 7;
    let (words, rest) = bytes.as_chunks::<8>();
    for (place, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        // The top bit of a byte that is below another: exact for the first such byte, which is all that counts.
        let below = |word: u64, bound: u8| word.wrapping_sub(ONES * u64::from(bound)) & !word;
        let equal = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
        let found = (below(word, b' ') | equal(b'"') | equal(b'\\')) & TOPS;
        if found != 0 {
            return place * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let is_other = |byte: &u8| *byte < b' ' || matches!(byte, b'"' | b'\\');
    words.len() * 8 + rest.iter().position(is_other).unwrap_or(rest.len())
}

/// Of a string without its first quote.
pub(super) fn string_length(bytes: &[u8]) -> usize {
    let mut at = plain(bytes);
    while bytes.get(at) == Some(&b'\\') {
        at += 2;
        at += plain(&bytes[at..]);
    }
    at + 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_string_is_read_to_its_end() {
        let quoted = |text| Cursor::new(text).string().map(|it| (it.text, it.has_escapes));
        assert_eq!(quoted(r#" "abc" "#), Ok(("abc", false)));
        assert_eq!(quoted(r#""""#), Ok(("", false)));
        assert!(quoted(r#""a\"\\b\u00fcü, and more than eight bytes""#).unwrap().1);
        for text in ["\"a", "\"a\\", "\"\\x\"", "\"\\u12\"", "\"\\u12g4\"", "\"\n\"", "'a'", ""] {
            assert_eq!(quoted(text), Err(NotJson), "{text}");
        }
    }

    #[test]
    fn a_number_is_read_to_its_end() {
        let number = |text| Cursor::new(text).number();
        for text in ["0", "-0", "10", "1.5", "1e5", "-1.05E-10", "0e+1"] {
            assert_eq!(number(text), Ok(text));
        }
        assert_eq!(number("01"), Ok("0"));
        for text in ["", "-", "+1", ".5", "1.", "1e", "1e+", "-a"] {
            assert_eq!(number(text), Err(NotJson), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_plain_is_found_as_byte_by_byte(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let slowly = bytes.iter().position(|it| *it < b' ' || [b'"', b'\\'].contains(it));
            prop_assert_eq!(plain(&bytes), slowly.unwrap_or(bytes.len()));
        }

        #[test]
        fn surrogates_are_judged_as_another_reader_does(units in proptest::collection::vec(
            prop_oneof!["a", "\\\\n", "\\\\u00[0-9a-f]{2}", "\\\\u[dD][89abAB][0-9a-f]{2}", "\\\\u[dD][c-fC-F][0-9a-f]{2}"],
            0..5,
        )) {
            let text = format!("\"{}\"", units.concat());
            let known = serde_json::from_str::<String>(&text).is_ok();
            prop_assert_eq!(Cursor::new(&text).string().unwrap().is_unicode, known, "{}", text);
        }
    }
}
