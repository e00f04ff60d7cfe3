//! JSON that means the same to everyone who reads it: no key twice, bounded depth and size.
//!
//! `serde_json` lets the last of two equal keys win and does not look into what it skips. A gateway that reads the first
//! while a worker reads the last is a hole, so the whole body is looked at, by [`Scan`](super::scan::Scan).

use std::borrow::Cow;
use std::collections::HashSet;

use super::json::Json;
use super::lex::string_length;

/// How deep arrays and objects may nest; the body itself is the first level.
pub const MAX_DEPTH: usize = 64;

/// How many values a body may hold, counting arrays and objects.
pub const MAX_VALUES: usize = 100_000;

/// An object's keys after so many are looked up, not compared with each.
pub(super) const FEW_KEYS: usize = 16;

/// Why a text is refused that is JSON by its grammar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotStrict {
    /// A string is not Unicode (half a surrogate), or a number fits no double.
    #[error("the body is not JSON")]
    Malformed,
    #[error("the body has the same key twice in one object")]
    DuplicateKey,
    #[error("the body nests more than {MAX_DEPTH} levels deep")]
    TooDeep,
    #[error("the body holds more than {MAX_VALUES} values")]
    TooManyValues,
}

/// The keys of one object, told from each other after their escapes are resolved.
#[derive(Debug, Default)]
pub(super) struct Keys<'a>(Option<HashSet<Cow<'a, str>>>);

impl<'a> Keys<'a> {
    /// False when the key was there already. `first` are the first keys there were, of which no more than a few are
    /// looked at.
    pub(super) fn is_new<'k>(
        &mut self,
        key: Cow<'a, str>,
        first: impl ExactSizeIterator<Item = &'k Cow<'a, str>>,
    ) -> bool
    where
        'a: 'k,
    {
        let are_few = first.len() < FEW_KEYS;
        let is_new = !first.take(FEW_KEYS).any(|it| *it == key);
        if are_few { is_new } else { self.0.get_or_insert_default().insert(key) && is_new }
    }
}

/// Does a value nest no deeper than [`MAX_DEPTH`]? The rest of an upstream's text is for its receiver to judge.
pub(super) fn is_shallow(json: Json<'_>) -> bool {
    let bytes = json.get().as_bytes();
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth -= 1,
            b'"' => at += string_length(&bytes[at..]),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::mcp::lex::NotJson;
    use crate::mcp::scan::Scan;

    fn check(text: &str) -> Result<(), NotStrict> {
        let mut scan = Scan::new(text);
        let read = scan.value().and_then(|_| scan.end());
        read.map_err(|NotJson| NotStrict::Malformed).and_then(|()| scan.verdict())
    }

    fn accepts(text: &str) {
        assert_eq!(check(text), Ok(()), "{text}");
    }

    fn refuses(text: &str, fault: NotStrict) {
        assert_eq!(check(text), Err(fault), "{text}");
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
        refuses(&nested(100_000), NotStrict::TooDeep);
        refuses(&format!("[{},0]", nested(MAX_DEPTH)), NotStrict::TooDeep);
        // Below that it is not judged, but it has to end.
        refuses(&"[".repeat(100_000), NotStrict::Malformed);
        refuses(&"{\"a\":".repeat(100_000), NotStrict::Malformed);
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
            let read = check(&text);
            let known = serde_json::from_str::<serde_json::Value>(&text);
            prop_assert!(read.is_err() || known.is_ok());
        }
    }
}
