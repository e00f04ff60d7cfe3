//! JSON that means the same to everyone who reads it: no key twice, bounded depth and size.
//!
//! `serde_json` lets the last of two equal keys win and does not look into what it skips. A gateway
//! that reads the first while a worker reads the last is a hole, so the whole body is looked at,
//! once, without building a tree.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use serde_json::value::RawValue;

use super::raw::Text;

/// How deep arrays and objects may nest; the body itself is the first level.
pub const MAX_DEPTH: usize = 64;

/// How many values a body may hold, counting arrays and objects.
pub const MAX_VALUES: usize = 100_000;

/// Objects with more keys than this are compared through a hash set.
const FEW_KEYS: usize = 16;

/// Why a text is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotStrict {
    #[error("the body is not JSON")]
    Malformed,
    #[error("the body has the same key twice in one object")]
    DuplicateKey,
    #[error("the body nests more than {MAX_DEPTH} levels deep")]
    TooDeep,
    #[error("the body holds more than {MAX_VALUES} values")]
    TooManyValues,
}

/// Reads the whole text. Strings must be Unicode (no lone surrogate), numbers must fit a double.
pub(super) fn check(text: &str) -> Result<(), NotStrict> {
    let mut walk = Walk { values: 0, fault: None };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let read = Value { depth: 0, walk: &mut walk }
        .deserialize(&mut deserializer)
        .and_then(|()| deserializer.end());
    read.map_err(|_| walk.fault.unwrap_or(NotStrict::Malformed))
}

/// Does a value nest no deeper than [`MAX_DEPTH`]? The rest of an upstream's text is for its receiver to judge.
pub(super) fn is_shallow(raw: &RawValue) -> bool {
    let mut depth = 0_usize;
    let mut bytes = raw.get().bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth -= 1,
            b'"' => skip_string(&mut bytes),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return false;
        }
    }
    true
}

fn skip_string(bytes: &mut impl Iterator<Item = u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => drop(bytes.next()),
            _ => {}
        }
    }
}

struct Walk {
    values: usize,
    /// Set before a visitor fails on purpose: a `serde` error carries text only.
    fault: Option<NotStrict>,
}

impl Walk {
    fn fail<E: Error>(&mut self, fault: NotStrict) -> E {
        self.fault = Some(fault);
        E::custom(fault)
    }
}

/// One value, at most `depth` levels of which are open around it.
struct Value<'w> {
    depth: usize,
    walk: &'w mut Walk,
}

impl Value<'_> {
    fn child(&mut self) -> Value<'_> {
        Value { depth: self.depth + 1, walk: self.walk }
    }

    fn enter<E: Error>(&mut self) -> Result<(), E> {
        if self.depth >= MAX_DEPTH {
            return Err(self.walk.fail(NotStrict::TooDeep));
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.walk.values += 1;
        if self.walk.values > MAX_VALUES {
            return Err(self.walk.fail(NotStrict::TooManyValues));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        self.enter()?;
        while seq.next_element_seed(self.child())?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        self.enter()?;
        let mut keys = Keys::default();
        while let Some(Text(key)) = map.next_key()? {
            if !keys.insert(key) {
                return Err(self.walk.fail(NotStrict::DuplicateKey));
            }
            map.next_value_seed(self.child())?;
        }
        Ok(())
    }
}

/// The keys of one object so far, compared after their escapes are resolved.
#[derive(Default)]
pub(super) struct Keys<'a> {
    few: Vec<Cow<'a, str>>,
    many: HashSet<Cow<'a, str>>,
}

impl<'a> Keys<'a> {
    /// False when the key was there already.
    pub(super) fn insert(&mut self, key: Cow<'a, str>) -> bool {
        if self.few.len() < FEW_KEYS {
            let is_new = !self.few.contains(&key);
            self.few.push(key);
            return is_new;
        }
        !self.few.contains(&key) && self.many.insert(key)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn accepts(text: &str) {
        assert_eq!(super::check(text), Ok(()), "{text}");
    }

    fn refuses(text: &str, fault: NotStrict) {
        assert_eq!(super::check(text), Err(fault), "{text}");
    }

    #[test]
    fn plain_json_passes() {
        accepts(r#"{"a":[1,-2.5,"x",null,true,{"a":{}}],"b":18446744073709551616}"#);
        accepts("  [ ]\n");
        accepts(r#""\ud83d\ude00""#);
    }

    #[test]
    fn equal_keys_in_different_objects_are_fine() {
        accepts(r#"{"a":{"a":1},"b":{"a":1}}"#);
    }

    #[test]
    fn a_key_twice_is_refused_wherever_it_stands() {
        refuses(r#"{"a":1,"a":1}"#, NotStrict::DuplicateKey);
        refuses(r#"[{"b":{"a":1,"c":2,"a":3}}]"#, NotStrict::DuplicateKey);
        let many: Vec<_> = (0..100).map(|n| format!("\"k{n}\":0,")).collect();
        let many = many.concat();
        refuses(&format!("{{{many}\"k3\":0}}"), NotStrict::DuplicateKey);
        refuses(&format!("{{{many}\"k99\":0}}"), NotStrict::DuplicateKey);
        accepts(&format!("{{{many}\"k100\":0}}"));
    }

    #[test]
    fn an_escaped_key_is_the_same_key() {
        refuses(r#"{"name":1,"n\u0061me":2}"#, NotStrict::DuplicateKey);
    }

    #[test]
    fn depth_is_counted_from_the_body() {
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        accepts(&nested(MAX_DEPTH));
        refuses(&nested(MAX_DEPTH + 1), NotStrict::TooDeep);
        refuses(&"[".repeat(100_000), NotStrict::TooDeep);
        refuses(&"{\"a\":".repeat(100_000), NotStrict::TooDeep);
    }

    #[test]
    fn values_are_counted() {
        let list = |values: usize| format!("[{}0]", "0,".repeat(values - 2));
        accepts(&list(MAX_VALUES));
        refuses(&list(MAX_VALUES + 1), NotStrict::TooManyValues);
    }

    #[test]
    fn what_is_not_json_is_malformed() {
        for text in ["", " ", "{", "{\"a\"}", "[1,]", "nul", "{} {}", "\u{feff}{}", "'a'", "01"] {
            refuses(text, NotStrict::Malformed);
        }
        refuses(r#"{"a":"\ud800"}"#, NotStrict::Malformed);
        refuses("[1e999]", NotStrict::Malformed);
    }

    proptest! {
        #[test]
        fn any_text_is_answered_without_panic(text in ".{0,200}") {
            let read = super::check(&text);
            let known = serde_json::from_str::<serde_json::Value>(&text);
            prop_assert!(read.is_err() || known.is_ok());
        }
    }
}
