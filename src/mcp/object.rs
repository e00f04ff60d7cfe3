//! A JSON object taken apart to have a few members rewritten; all others stay as they were written, in their order.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::jsonrpc::to_raw;
use super::raw::{self, Text};
use super::strict::Keys;

/// No object that is rewritten has more members; this bounds what a hostile one can make us hold.
const MAX_MEMBERS: usize = 4096;

/// The members of an object, none of them twice, each still JSON text. Unlike in [`Params`](super::Params) a `null` is
/// a value like any other.
#[derive(Debug, Clone, Default)]
pub struct Object<'a>(Vec<(Cow<'a, str>, Cow<'a, RawValue>)>);

impl<'a> Object<'a> {
    /// `None` if it is no object, has a key twice, or has more members than any message needs.
    pub fn read(raw: &'a RawValue) -> Option<Self> {
        // Without an error that nobody reads.
        raw::is_object(raw).then(|| Self::parse(raw.get()))?
    }

    /// The same of text that may not be JSON at all.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let mut text = serde_json::Deserializer::from_str(text);
        let object = text.deserialize_map(Split).ok()?;
        text.end().is_ok().then_some(object)
    }

    /// One member.
    pub fn get(&self, key: &str) -> Option<&RawValue> {
        self.iter().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// The text of a member that is a string.
    pub fn text(&self, key: &str) -> Option<Cow<'_, str>> {
        self.get(key).and_then(raw::string)
    }

    /// All members, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &RawValue)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }

    /// Are there no members?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Gives a member another value where it stands, or adds it at the end.
    pub fn set(&mut self, key: &str, value: Box<RawValue>) {
        let value = Cow::Owned(value);
        match self.0.iter_mut().find(|(name, _)| *name == key) {
            Some((_, old)) => *old = value,
            None => self.0.push((Cow::Owned(key.to_owned()), value)),
        }
    }

    /// The same with a string.
    pub fn set_text(&mut self, key: &str, text: &str) {
        self.set(key, to_raw(&text));
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

    /// About as many bytes as its text has.
    pub(super) fn size(&self) -> usize {
        self.iter().map(|(key, value)| key.len() + value.get().len() + 4).sum::<usize>() + 2
    }

    /// The object's text.
    pub fn render(&self) -> Box<RawValue> {
        to_raw(self)
    }

    pub(super) fn borrowed(members: impl Iterator<Item = (&'a str, &'a RawValue)>) -> Self {
        Self(members.map(|(key, value)| (Cow::Borrowed(key), Cow::Borrowed(value))).collect())
    }
}

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

struct Split;

impl<'de> Visitor<'de> for Split {
    type Value = Object<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
        let mut keys = Keys::default();
        let mut members: Vec<(_, _)> = Vec::with_capacity(8);
        while let Some(Text(key)) = map.next_key()? {
            if members.len() == MAX_MEMBERS {
                return Err(A::Error::custom("too many members"));
            }
            if !keys.is_new(key.clone(), members.iter().map(|(known, _)| known)) {
                return Err(A::Error::custom("the same key twice"));
            }
            members.push((key, Cow::Borrowed(map.next_value()?)));
        }
        Ok(Object(members))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn raw(text: &str) -> &RawValue {
        serde_json::from_str(text).unwrap()
    }

    fn owned(text: &str) -> Box<RawValue> {
        raw(text).to_owned()
    }

    fn rewritten(text: &str, change: impl FnOnce(&mut Object<'_>)) -> String {
        let mut object = Object::read(raw(text)).unwrap();
        change(&mut object);
        object.render().get().to_owned()
    }

    #[test]
    fn what_is_not_rewritten_stays_to_the_letter() {
        let text = r#"{"b":{ "x":1e2, "x2":[1, 2.50] },"a":"\u0061","n":null,"z":123456789012345678901234567890}"#;
        assert_eq!(rewritten(text, |_| {}), text);
        assert_eq!(
            rewritten(text, |it| it.set("a", owned("[ ]"))),
            text.replace(r#""\u0061""#, "[ ]")
        );
    }

    #[test]
    fn a_member_is_replaced_where_it_stands_or_added_at_the_end() {
        assert_eq!(
            rewritten(r#"{"a":1,"b":2}"#, |it| it.set("a", owned("null"))),
            r#"{"a":null,"b":2}"#
        );
        assert_eq!(rewritten(r#"{"\u0061":1}"#, |it| it.set_text("a", "\"")), r#"{"a":"\""}"#);
        assert_eq!(rewritten(r#"{"a":1}"#, |it| it.set("c", owned("{}"))), r#"{"a":1,"c":{}}"#);
        assert_eq!(rewritten(r#"{"a":1,"b":2}"#, |it| it.remove("a")), r#"{"b":2}"#);
    }

    #[test]
    fn an_object_within_is_rewritten_alike() {
        let tag = |it: &mut Object<'_>| it.amend("_meta", |meta| meta.set("id", owned("1")));
        assert_eq!(rewritten(r#"{"_meta":{"a":{ }}}"#, tag), r#"{"_meta":{"a":{ },"id":1}}"#);
        for other in ["{}", r#"{"_meta":null}"#, r#"{"_meta":[1]}"#] {
            assert_eq!(rewritten(other, tag), r#"{"_meta":{"id":1}}"#, "{other}");
        }
    }

    #[test]
    fn a_null_is_a_value() {
        let object = Object::read(raw(r#"{"a":null}"#)).unwrap();
        assert_eq!(object.get("a").map(RawValue::get), Some("null"));
        assert_eq!((object.get("b").is_none(), object.text("a")), (true, None));
    }

    #[test]
    fn what_is_ambiguous_or_no_object_is_refused() {
        for text in ["[]", "1", "null", r#""a""#, r#"{"a":1,"\u0061":2}"#, r#"{"\ud800":1}"#] {
            assert!(Object::read(raw(text)).is_none(), "{text}");
        }
        let members = |count: usize| {
            let members: Vec<_> = (0..count).map(|n| format!("\"k{n}\":0")).collect();
            format!("{{{}}}", members.join(","))
        };
        assert!(Object::read(raw(&members(MAX_MEMBERS))).is_some());
        assert!(Object::read(raw(&members(MAX_MEMBERS + 1))).is_none());
    }

    proptest! {
        #[test]
        fn rewriting_one_member_changes_that_one_only(
            members in proptest::collection::btree_map("[a-c\u{fc}\"]{0,2}", "[a-z\"\\\\]{0,3}", 0..6),
            key in "[a-c\"]{0,2}",
        ) {
            let text = serde_json::to_string(&members).unwrap();
            let mut expected: Value = serde_json::from_str(&text).unwrap();
            expected[&key] = Value::from("new");
            let changed = rewritten(&text, |it| it.set_text(&key, "new"));
            prop_assert_eq!(serde_json::from_str::<Value>(&changed).unwrap(), expected);
        }
    }
}
