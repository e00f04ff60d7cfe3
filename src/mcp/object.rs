//! A JSON object taken apart to have a few members rewritten; all others stay as they were written, in their order.

use std::borrow::Cow;

use super::json::{Json, JsonBuf, quote};
use super::lex::{Cursor, NotJson};
use super::pieces::{LARGE, Pieces, PiecesWriter};
use super::strict::{Keys, MAX_DEPTH};

/// No object that is rewritten has more members; this bounds what a hostile one can make us hold.
const MAX_MEMBERS: usize = 4096;

/// The members of an object, none of them twice, each still JSON text. Unlike in [`Params`](super::Params) a `null` is
/// a value like any other.
#[derive(Debug, Clone, Default)]
pub struct Object<'a>(Vec<(Cow<'a, str>, Value<'a>)>);

/// The value of a member: where it was read, or held, because it is another one or large.
#[derive(Debug, Clone)]
enum Value<'a> {
    Read(Json<'a>),
    Held(JsonBuf),
}

impl<'a> Object<'a> {
    /// `None` if it is no object, has a key twice, or has more members than any message needs.
    pub fn read(json: impl Into<Json<'a>>) -> Option<Self> {
        let json = json.into();
        if !json.is_object() {
            return None;
        }
        Self::split(&mut Cursor::new(json.get()), |cursor| Ok(cursor.skip_value()))
    }

    /// The same; what is large is held, so that it is not copied on its way out.
    pub fn holding(json: &'a JsonBuf) -> Option<Self> {
        let mut object = Self::read(json)?;
        for (_, value) in &mut object.0 {
            if let Value::Read(read) = *value
                && read.get().len() >= LARGE
            {
                *value = Value::Held(json.part(read));
            }
        }
        Some(object)
    }

    /// The same of text that may not be JSON at all; `None` too if it nests too deep.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let mut cursor = Cursor::new(text);
        let object = Self::split(&mut cursor, |cursor| cursor.value(MAX_DEPTH - 1))?;
        cursor.end().is_ok().then_some(object)
    }

    fn split(
        cursor: &mut Cursor<'a>,
        value: impl FnMut(&mut Cursor<'a>) -> Result<&'a str, NotJson>,
    ) -> Option<Self> {
        let (mut keys, mut is_fit) = (Keys::default(), true);
        let mut members: Vec<(_, _)> = Vec::with_capacity(8);
        let read = cursor.members(value, |key, value| {
            is_fit &= members.len() < MAX_MEMBERS
                && keys.is_new(key.clone(), members.iter().map(|(known, _)| known));
            if is_fit {
                members.push((key, Value::Read(Json::checked(value))));
            }
        });
        (read.is_ok() && is_fit).then_some(Self(members))
    }

    /// One member.
    pub fn get(&self, key: &str) -> Option<Json<'_>> {
        self.iter().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// The text of a member that is a string.
    pub fn text(&self, key: &str) -> Option<Cow<'_, str>> {
        self.get(key).and_then(Json::string)
    }

    /// All members, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Json<'_>)> {
        self.0.iter().map(|(key, value)| (&**key, value.json()))
    }

    /// Are there no members?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Gives a member another value where it stands, or adds it at the end.
    pub fn set(&mut self, key: &str, value: JsonBuf) {
        let value = Value::Held(value);
        match self.0.iter_mut().find(|(name, _)| *name == key) {
            Some((_, old)) => *old = value,
            None => self.0.push((Cow::Owned(key.to_owned()), value)),
        }
    }

    /// The same with a string.
    pub fn set_text(&mut self, key: &str, text: &str) {
        let mut quoted = String::with_capacity(text.len() + 2);
        quote(text, &mut quoted);
        self.set(key, JsonBuf::rendered(quoted));
    }

    /// Rewrites a member that is itself an object, such as `_meta`. Where there is none, or something else stands, it
    /// begins empty.
    pub fn amend(&mut self, key: &str, change: impl FnOnce(&mut Object<'_>)) {
        let mut member = self.get(key).and_then(Object::read).unwrap_or_default();
        change(&mut member);
        let member = member.render();
        self.set(key, member);
    }

    /// Takes a member out, if it is there.
    pub fn remove(&mut self, key: &str) {
        self.0.retain(|(name, _)| name != key);
    }

    /// The object's text.
    pub fn render(&self) -> JsonBuf {
        let mut text = String::with_capacity(self.size());
        self.write(&mut text);
        JsonBuf::rendered(text)
    }

    /// The same in pieces.
    pub fn pieces(&self) -> Pieces {
        let large = |(_, value): &(_, Json<'_>)| Some(value.get().len()).filter(|it| *it >= LARGE);
        let copied = self.size() - self.iter().filter_map(|it| large(&it)).sum::<usize>();
        let mut pieces = PiecesWriter::new(copied);
        pieces.text().push('{');
        for (place, (key, value)) in self.0.iter().enumerate() {
            if place > 0 {
                pieces.text().push(',');
            }
            quote(key, pieces.text());
            pieces.text().push(':');
            match value {
                Value::Read(json) => pieces.text().push_str(json.get()),
                Value::Held(json) => pieces.held(json),
            }
        }
        pieces.text().push('}');
        pieces.end()
    }

    /// How many bytes its text has, where no key is escaped.
    pub(super) fn size(&self) -> usize {
        let members = self.iter().map(|(key, value)| key.len() + value.get().len() + 4);
        members.sum::<usize>() + if self.is_empty() { 2 } else { 1 }
    }

    pub(super) fn write(&self, into: &mut String) {
        into.push('{');
        for (place, (key, value)) in self.iter().enumerate() {
            if place > 0 {
                into.push(',');
            }
            quote(key, into);
            into.push(':');
            into.push_str(value.get());
        }
        into.push('}');
    }

    pub(super) fn borrowed(members: impl Iterator<Item = (&'a str, Json<'a>)>) -> Self {
        Self(members.map(|(key, value)| (Cow::Borrowed(key), Value::Read(value))).collect())
    }
}

impl Value<'_> {
    fn json(&self) -> Json<'_> {
        match self {
            Self::Read(json) => *json,
            Self::Held(json) => json.json(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value as Tree;

    use super::*;

    fn held(text: &str) -> JsonBuf {
        JsonBuf::parse(text).unwrap()
    }

    fn rewritten(text: &str, change: impl FnOnce(&mut Object<'_>)) -> String {
        let held = held(text);
        let mut object = Object::read(&held).unwrap();
        change(&mut object);
        object.render().get().to_owned()
    }

    #[test]
    fn what_is_not_rewritten_stays_to_the_letter() {
        let text = r#"{"b":{ "x":1e2, "x2":[1, 2.50] },"a":"\u0061","n":null,"z":123456789012345678901234567890}"#;
        assert_eq!(rewritten(text, |_| {}), text);
        assert_eq!(
            rewritten(text, |it| it.set("a", held("[ ]"))),
            text.replace(r#""\u0061""#, "[ ]")
        );
    }

    #[test]
    fn a_member_is_replaced_where_it_stands_or_added_at_the_end() {
        assert_eq!(
            rewritten(r#"{"a":1,"b":2}"#, |it| it.set("a", held("null"))),
            r#"{"a":null,"b":2}"#
        );
        assert_eq!(rewritten(r#"{"\u0061":1}"#, |it| it.set_text("a", "\"")), r#"{"a":"\""}"#);
        assert_eq!(rewritten(r#"{"a":1}"#, |it| it.set("c", held("{}"))), r#"{"a":1,"c":{}}"#);
        assert_eq!(rewritten(r#"{"a":1,"b":2}"#, |it| it.remove("a")), r#"{"b":2}"#);
    }

    #[test]
    fn an_object_within_is_rewritten_alike() {
        let tag = |it: &mut Object<'_>| it.amend("_meta", |meta| meta.set("id", held("1")));
        assert_eq!(rewritten(r#"{"_meta":{"a":{ }}}"#, tag), r#"{"_meta":{"a":{ },"id":1}}"#);
        for other in ["{}", r#"{"_meta":null}"#, r#"{"_meta":[1]}"#] {
            assert_eq!(rewritten(other, tag), r#"{"_meta":{"id":1}}"#, "{other}");
        }
    }

    #[test]
    fn what_is_large_goes_out_as_it_came_in() {
        let large = "x".repeat(LARGE);
        let came = held(&format!(r#"{{"a":"{large}","b":1}}"#));
        let mut object = Object::holding(&came).unwrap();
        object.set_text("b", "2");
        let pieces = object.pieces();
        assert_eq!(pieces.concat(), object.render().get().as_bytes());
        let value = came.get().as_bytes()[5..].as_ptr();
        assert!(pieces.into_iter().any(|it| it.as_ptr() == value));
        let small = held(r#"{"a":{},"b":[]}"#);
        assert_eq!(Object::holding(&small).unwrap().pieces().into_iter().count(), 1);
    }

    #[test]
    fn a_null_is_a_value() {
        let null = held(r#"{"a":null}"#);
        let object = Object::read(&null).unwrap();
        assert_eq!(object.get("a").map(Json::get), Some("null"));
        assert_eq!((object.get("b").is_none(), object.text("a")), (true, None));
    }

    #[test]
    fn what_is_ambiguous_or_no_object_is_refused() {
        for text in ["[]", "1", "null", r#""a""#, r#"{"a":1,"\u0061":2}"#, r#"{"\ud800":1}"#] {
            assert!(Object::read(&held(text)).is_none(), "{text}");
        }
        let members = |count: usize| {
            let members: Vec<_> = (0..count).map(|n| format!("\"k{n}\":0")).collect();
            format!("{{{}}}", members.join(","))
        };
        assert!(Object::read(&held(&members(MAX_MEMBERS))).is_some());
        assert!(Object::read(&held(&members(MAX_MEMBERS + 1))).is_none());
    }

    proptest! {
        #[test]
        fn rewriting_one_member_changes_that_one_only(
            members in proptest::collection::btree_map("[a-c\u{fc}\"]{0,2}", "[a-z\"\\\\]{0,3}", 0..6),
            key in "[a-c\"]{0,2}",
        ) {
            let text = serde_json::to_string(&members).unwrap();
            let mut expected: Tree = serde_json::from_str(&text).unwrap();
            expected[&key] = Tree::from("new");
            let changed = rewritten(&text, |it| it.set_text(&key, "new"));
            prop_assert_eq!(serde_json::from_str::<Tree>(&changed).unwrap(), expected);
        }
    }
}
