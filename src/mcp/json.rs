//! One JSON value of a message, as text whose grammar was checked: [`Json`] borrows it, [`JsonBuf`] holds it.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use bytestring::ByteString;
use serde::ser::{Serialize, SerializeStruct, Serializer};
use serde_json::value::RawValue;

use super::lex::{Cursor, plain};

/// A body of at most so many bytes is copied: it is a slice of what its connection reads into, which could not be used
/// again for as long as the slice lives.
const SMALL_BODY: usize = 4 << 10;

/// The text of one JSON value, borrowed.
#[derive(Debug, Clone, Copy)]
pub struct Json<'a>(&'a str);

/// The text of one JSON value, held: a part of the body that it came in, which lives as long as any part of it, or a
/// text of its own. Clones share it.
#[derive(Debug, Clone)]
pub struct JsonBuf(ByteString);

impl<'a> Json<'a> {
    /// Whoever calls it has read the text as one value.
    pub(super) fn checked(text: &'a str) -> Self {
        Self(text)
    }

    /// The text.
    pub fn get(self) -> &'a str {
        self.0
    }

    /// A copy.
    pub fn to_buf(self) -> JsonBuf {
        JsonBuf(self.0.into())
    }

    /// The text of a string, borrowed unless it has escapes; `None` for any other type, and for half a surrogate.
    pub fn string(self) -> Option<Cow<'a, str>> {
        let text = self.0.strip_prefix('"')?.strip_suffix('"')?;
        if text.contains('\\') {
            return serde_json::from_str(self.0).ok().map(Cow::Owned);
        }
        Some(Cow::Borrowed(text))
    }

    /// The values of an array; `None` for any other type.
    pub fn items(self) -> Option<Vec<Self>> {
        let items: Vec<&RawValue> = serde_json::from_str(self.0).ok()?;
        Some(items.into_iter().map(|item| Self(item.get())).collect())
    }

    pub(super) fn is_object(self) -> bool {
        self.0.starts_with('{')
    }

    pub(super) fn is_null(self) -> bool {
        self.0 == "null"
    }

    /// One member of an object, the last of this name; `None` when it is absent or this is no object.
    pub(super) fn member(self, key: &str) -> Option<Self> {
        if !self.is_object() {
            return None;
        }
        let mut found = None;
        let seek = |name: Cow<'_, str>, value| {
            if name == key {
                found = Some(value);
            }
        };
        Cursor::new(self.0).members(|cursor| Ok(cursor.skip_value()), seek).ok()?;
        found.map(Self)
    }
}

impl JsonBuf {
    /// Checks a text.
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str::<&RawValue>(text).ok().map(|raw| Self(raw.get().into()))
    }

    /// Whoever calls it knows the text to be one value.
    pub(super) const fn fixed(text: &'static str) -> Self {
        Self(ByteString::from_static(text))
    }

    /// The text of a value whose serialization cannot fail.
    pub fn of(value: &impl Serialize) -> Self {
        let text = serde_json::to_string(value);
        Self::rendered(text.expect("string keys and finite numbers always serialize"))
    }

    /// Whoever calls it has put the text together as one value.
    pub(super) fn rendered(text: String) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn get(&self) -> &str {
        &self.0
    }

    /// The same, borrowed.
    pub fn json(&self) -> Json<'_> {
        Json(&self.0)
    }

    /// The text as bytes, shared.
    pub(super) fn bytes(&self) -> Bytes {
        self.0.as_bytes().clone()
    }

    /// A value that was read in this one.
    pub(super) fn part(&self, json: Json<'_>) -> Self {
        Self(self.0.slice_ref(json.0))
    }

    /// A copy that does not keep the body it came in alive: for what outlives the work on that.
    #[must_use]
    pub fn apart(&self) -> Self {
        self.json().to_buf()
    }
}

/// A body, of which parts are taken without being copied.
#[derive(Debug)]
pub(super) struct Text(ByteString);

impl Text {
    /// `None` if it is not UTF-8.
    pub(super) fn of(body: &Bytes) -> Option<Self> {
        if body.len() <= SMALL_BODY {
            return str::from_utf8(body).ok().map(|text| Self(text.into()));
        }
        ByteString::try_from(body.clone()).ok().map(Self)
    }

    pub(super) fn get(&self) -> &str {
        &self.0
    }

    /// A value that was read in it.
    pub(super) fn part(&self, json: Json<'_>) -> JsonBuf {
        JsonBuf(self.0.slice_ref(json.0))
    }
}

impl<'a> From<&'a JsonBuf> for Json<'a> {
    fn from(json: &'a JsonBuf) -> Self {
        json.json()
    }
}

impl fmt::Display for JsonBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.get())
    }
}

impl Serialize for JsonBuf {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.json().serialize(serializer)
    }
}

/// In the words in which a [`RawValue`] tells its serializer to take it to the letter: to make one of the text would be to
/// check it again.
impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const RAW: &str = "$serde_json::private::RawValue";
        let mut raw = serializer.serialize_struct(RAW, 1)?;
        raw.serialize_field(RAW, self.0)?;
        raw.end()
    }
}

/// Writes text as a JSON string.
pub(super) fn quote(text: &str, into: &mut String) {
    if plain(text.as_bytes()) == text.len() {
        into.extend(["\"", text, "\""]);
    } else {
        into.push_str(&serde_json::to_string(text).expect("text is JSON"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Json<'_> {
        Json(serde_json::from_str::<&RawValue>(text).unwrap().get())
    }

    #[test]
    fn a_member_is_found_behind_others_and_behind_escapes() {
        let object = json(r#"{"a": {"b": [1]}, "\u0062": [ 2 ], "c": null}"#);
        assert_eq!(object.member("b").unwrap().get(), "[ 2 ]");
        assert!(object.member("c").unwrap().is_null());
        assert!(object.member("d").is_none());
    }

    #[test]
    fn only_objects_have_members() {
        for text in ["[1]", "\"a\"", "1", "null", "true"] {
            assert!(json(text).member("a").is_none(), "{text}");
        }
    }

    #[test]
    fn only_strings_are_strings() {
        assert_eq!(json(r#""a\n\u00fc""#).string().unwrap(), "a\nü");
        for text in ["[\"a\"]", "1", "null", "{\"a\":1}"] {
            assert!(json(text).string().is_none(), "{text}");
        }
    }

    #[test]
    fn it_is_written_to_the_letter_wherever_it_stands() {
        let text = r#"{ "a":1e2,"b":[1, 2.50,"\u0061"] }"#;
        let held = json(text).to_buf();
        let outer = JsonBuf::of(&serde_json::json!({"x": 1}));
        assert_eq!(
            serde_json::to_string(&[&held, &outer]).unwrap(),
            format!(r#"[{text},{{"x":1}}]"#)
        );
    }

    #[test]
    fn a_part_of_a_large_body_is_no_copy() {
        let body = |bytes: usize| Bytes::from(format!("[{}]", " ".repeat(bytes)));
        let (small, large) = (body(10), body(SMALL_BODY));
        let is_within = |body: &Bytes| {
            let text = Text::of(body).unwrap();
            let part = text.part(Json(&text.get()[..1]));
            body.as_ptr_range().contains(&part.get().as_ptr())
        };
        assert!(is_within(&large) && !is_within(&small));
        assert!(Text::of(&Bytes::from_static(b"\xff")).is_none());
    }
}
