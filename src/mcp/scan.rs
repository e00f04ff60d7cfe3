//! A body read and taken apart in one pass, and held to [`super::strict`] in the same.

use std::borrow::Cow;

use serde::de::IgnoredAny;

use super::json::Json;
use super::lex::{Cursor, NotJson, Quoted};
use super::strict::{FEW_KEYS, Keys, MAX_DEPTH, MAX_VALUES, NotStrict};

/// Bytes of a number without an exponent that is below any bound of a double.
const SHORT_NUMBER: usize = 300;

/// Reads a text value by value. What breaks the grammar fails at once; what is not strict is noted and read over, for the
/// answer to it needs an id that may stand behind it.
#[derive(Debug)]
pub(super) struct Scan<'a> {
    cursor: Cursor<'a>,
    depth: usize,
    values: usize,
    /// The first keys of each object that is open, the innermost object's last.
    keys: Vec<Cow<'a, str>>,
    fault: Option<NotStrict>,
}

impl<'a> Scan<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let keys = Vec::with_capacity(2 * FEW_KEYS);
        Self { cursor: Cursor::new(text), depth: 0, values: 0, keys, fault: None }
    }

    /// What the next value begins with.
    pub(super) fn peek(&mut self) -> Option<u8> {
        self.cursor.peek()
    }

    /// Reads the next value, whatever it is.
    pub(super) fn value(&mut self) -> Result<Json<'a>, NotJson> {
        let first = self.peek().ok_or(NotJson)?;
        let from = self.cursor.at();
        match first {
            b'{' => return self.object(|scan, _| scan.value().map(drop)),
            b'[' => return self.array(),
            _ => self.count(),
        }
        match first {
            b'"' => drop(self.string()?),
            b't' => self.cursor.literal("true")?,
            b'f' => self.cursor.literal("false")?,
            b'n' => self.cursor.literal("null")?,
            _ => self.number()?,
        }
        Ok(Json::checked(self.cursor.since(from)))
    }

    /// Reads the object that comes next; `each` is given every key, and reads its value.
    pub(super) fn object<E: From<NotJson>>(
        &mut self,
        mut each: impl FnMut(&mut Self, &str) -> Result<(), E>,
    ) -> Result<Json<'a>, E> {
        if let Some(deep) = self.enter(b'{')? {
            return Ok(deep);
        }
        let (from, first) = (self.cursor.at() - 1, self.keys.len());
        let mut keys = Keys::default();
        if self.peek() == Some(b'}') {
            self.cursor.skip(1);
        } else {
            loop {
                let key = self.key()?;
                if !keys.is_new(key.clone(), self.keys[first..].iter()) {
                    self.note(NotStrict::DuplicateKey);
                }
                if self.keys.len() - first < FEW_KEYS {
                    self.keys.push(key.clone());
                }
                self.cursor.expect(b':')?;
                each(self, &key)?;
                if !self.goes_on(b'}')? {
                    break;
                }
            }
        }
        self.keys.truncate(first);
        self.depth -= 1;
        Ok(Json::checked(self.cursor.since(from)))
    }

    /// There is nothing more.
    pub(super) fn end(&mut self) -> Result<(), NotJson> {
        self.cursor.end()
    }

    /// Whether all that was read is strict; if not, the first reason why.
    pub(super) fn verdict(&self) -> Result<(), NotStrict> {
        self.fault.map_or(Ok(()), Err)
    }

    fn array(&mut self) -> Result<Json<'a>, NotJson> {
        if let Some(deep) = self.enter(b'[')? {
            return Ok(deep);
        }
        let from = self.cursor.at() - 1;
        if self.peek() == Some(b']') {
            self.cursor.skip(1);
        } else {
            loop {
                self.value()?;
                if !self.goes_on(b']')? {
                    break;
                }
            }
        }
        self.depth -= 1;
        Ok(Json::checked(self.cursor.since(from)))
    }

    /// Goes one level deeper. What lies below the deepest is not looked into, and returned.
    fn enter(&mut self, bracket: u8) -> Result<Option<Json<'a>>, NotJson> {
        self.count();
        if self.depth == MAX_DEPTH {
            self.note(NotStrict::TooDeep);
            return self.skip().map(Some);
        }
        self.cursor.expect(bracket)?;
        self.depth += 1;
        Ok(None)
    }

    /// Reads over a value of any depth.
    fn skip(&mut self) -> Result<Json<'a>, NotJson> {
        let from = self.cursor.at();
        let values = serde_json::Deserializer::from_str(self.cursor.rest());
        let mut values = values.into_iter::<IgnoredAny>();
        values.next().and_then(Result::ok).ok_or(NotJson)?;
        self.cursor.skip(values.byte_offset());
        Ok(Json::checked(self.cursor.since(from)))
    }

    /// After a member: whether there is another one.
    fn goes_on(&mut self, bracket: u8) -> Result<bool, NotJson> {
        let goes_on = match self.peek() {
            Some(b',') => true,
            Some(byte) if byte == bracket => false,
            _ => return Err(NotJson),
        };
        self.cursor.skip(1);
        Ok(goes_on)
    }

    fn key(&mut self) -> Result<Cow<'a, str>, NotJson> {
        self.peek();
        let from = self.cursor.at();
        let quoted = self.string()?;
        let resolve = |quoted| serde_json::from_str::<String>(quoted).ok();
        let resolved = quoted.has_escapes.then(|| resolve(self.cursor.since(from))).flatten();
        Ok(resolved.map_or(Cow::Borrowed(quoted.text), Cow::Owned))
    }

    fn string(&mut self) -> Result<Quoted<'a>, NotJson> {
        let quoted = self.cursor.string()?;
        if !quoted.is_unicode {
            self.note(NotStrict::Malformed);
        }
        Ok(quoted)
    }

    fn number(&mut self) -> Result<(), NotJson> {
        let text = self.cursor.number()?;
        let is_short = text.len() < SHORT_NUMBER && !text.contains(['e', 'E']);
        if !is_short && serde_json::from_str::<f64>(text).is_err() {
            self.note(NotStrict::Malformed);
        }
        Ok(())
    }

    fn count(&mut self) {
        self.values += 1;
        if self.values > MAX_VALUES {
            self.note(NotStrict::TooManyValues);
        }
    }

    /// The first fault is the one that is told.
    fn note(&mut self, fault: NotStrict) {
        self.fault.get_or_insert(fault);
    }
}
