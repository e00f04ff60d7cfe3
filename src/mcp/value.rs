//! Whole values of JSON text: read, or read over where they were read before.

use std::borrow::Cow;

use super::lex::{Cursor, NotJson, string_length};

/// As many levels as [`Cursor::value`] has bits for.
const MAX_LEVELS: usize = u64::BITS as usize;

impl<'a> Cursor<'a> {
    /// Reads a value of any type that nests no more than so many levels deep.
    pub(super) fn value(&mut self, levels: usize) -> Result<&'a str, NotJson> {
        let mut next = self.peek();
        let from = self.at();
        // Of each level that is open a bit, the innermost lowest: whether it is an object.
        let (mut depth, mut objects) = (0_usize, 0_u64);
        loop {
            match next.ok_or(NotJson)? {
                open @ (b'{' | b'[') => {
                    if depth == levels.min(MAX_LEVELS) {
                        return Err(NotJson);
                    }
                    let is_object = open == b'{';
                    self.skip(1);
                    if self.peek() == Some(if is_object { b'}' } else { b']' }) {
                        self.skip(1);
                    } else {
                        (depth, objects) = (depth + 1, objects << 1 | u64::from(is_object));
                        next = self.opened(is_object)?;
                        continue;
                    }
                }
                b'"' => drop(self.string()?),
                b't' => self.literal("true")?,
                b'f' => self.literal("false")?,
                b'n' => self.literal("null")?,
                _ => drop(self.number()?),
            }
            loop {
                if depth == 0 {
                    return Ok(self.since(from));
                }
                let is_object = objects & 1 == 1;
                match self.peek() {
                    Some(b',') => {
                        self.skip(1);
                        next = self.opened(is_object)?;
                        break;
                    }
                    Some(byte) if byte == if is_object { b'}' } else { b']' } => self.skip(1),
                    _ => return Err(NotJson),
                }
                (depth, objects) = (depth - 1, objects >> 1);
            }
        }
    }

    /// What the next value within an array or object begins with; its key is read.
    fn opened(&mut self, is_object: bool) -> Result<Option<u8>, NotJson> {
        if is_object {
            self.string()?;
            self.expect(b':')?;
        }
        Ok(self.peek())
    }

    /// Reads over a value whose grammar was checked.
    pub(super) fn skip_value(&mut self) -> &'a str {
        self.peek();
        let from = self.at();
        let bytes = self.rest().as_bytes();
        let (mut at, mut depth) = (0, 0_usize);
        while let Some(byte) = bytes.get(at) {
            match byte {
                b'[' | b'{' => depth += 1,
                b']' | b'}' | b',' | b' ' | b'\t' | b'\n' | b'\r' if depth == 0 => break,
                b']' | b'}' => depth -= 1,
                b'"' => at += string_length(&bytes[at + 1..]),
                _ => {}
            }
            at += 1;
        }
        self.skip(at);
        self.since(from)
    }

    /// Reads an object; `value` reads one of its values, and `each` is given it with its key.
    pub(super) fn members(
        &mut self,
        mut value: impl FnMut(&mut Self) -> Result<&'a str, NotJson>,
        mut each: impl FnMut(Cow<'a, str>, &'a str),
    ) -> Result<(), NotJson> {
        self.expect(b'{')?;
        if self.peek() == Some(b'}') {
            self.skip(1);
            return Ok(());
        }
        loop {
            self.peek();
            let from = self.at();
            let quoted = self.string()?;
            let key = if quoted.has_escapes {
                Cow::Owned(serde_json::from_str(self.since(from)).map_err(|_| NotJson)?)
            } else {
                Cow::Borrowed(quoted.text)
            };
            self.expect(b':')?;
            each(key, value(self)?);
            match self.peek() {
                Some(b',') => self.skip(1),
                Some(b'}') => {
                    self.skip(1);
                    return Ok(());
                }
                _ => return Err(NotJson),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_value_nests_as_deep_as_it_may() {
        let nested = |levels: usize| "[{\"a\":".repeat(levels / 2) + "0" + &"}]".repeat(levels / 2);
        assert!(Cursor::new(&nested(64)).value(64).is_ok());
        assert_eq!(Cursor::new(&nested(64)).value(63), Err(NotJson));
        assert_eq!(Cursor::new(&nested(66)).value(usize::MAX), Err(NotJson));
    }

    proptest! {
        #[test]
        fn a_value_is_read_as_another_reader_does(text in "[\\[\\]{}\",:0-2a\\\\ \n]{0,30}|(\\[|\\{\"a\":)[0-1,\"\\[\\]{}:]{0,12}") {
            let mut cursor = Cursor::new(&text);
            let read = cursor.value(64).map(str::to_owned).and_then(|it| cursor.end().map(|()| it));
            let known = serde_json::from_str::<&serde_json::value::RawValue>(&text);
            prop_assert_eq!(read.as_deref().ok(), known.as_ref().ok().map(|it| it.get()), "{}", text);
            if let Ok(known) = known {
                let list = format!(" {text} ,{text}]");
                prop_assert_eq!(Cursor::new(&list).skip_value(), known.get());
            }
        }
    }
}
