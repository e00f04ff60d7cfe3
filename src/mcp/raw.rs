//! Looking into JSON text whose grammar has been checked, without building a tree of it.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::json::Json;

pub(super) fn is_object(raw: &RawValue) -> bool {
    Json::from(raw).is_object()
}

pub(super) fn is_null(raw: &RawValue) -> bool {
    Json::from(raw).is_null()
}

/// The text of a JSON string; `None` for any other type.
pub(super) fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    Json::from(raw).string()
}

/// One member of an object; `None` when it is absent or `raw` is no object.
pub(super) fn member<'a>(raw: &'a RawValue, key: &str) -> Option<&'a RawValue> {
    if !is_object(raw) {
        return None; // without an error that nobody reads
    }
    serde_json::Deserializer::from_str(raw.get()).deserialize_map(Find { key }).ok().flatten()
}

/// Text that is borrowed unless it had escapes.
#[derive(Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

struct Find<'k> {
    key: &'k str,
}

impl<'de> Visitor<'de> for Find<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(Text(key)) = map.next_key()? {
            if key == self.key {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> &RawValue {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_member_is_found_behind_others_and_behind_escapes() {
        let object = raw(r#"{"a": {"b": [1]}, "\u0062": [ 2 ], "c": null}"#);
        assert_eq!(member(object, "b").unwrap().get(), "[ 2 ]");
        assert!(is_null(member(object, "c").unwrap()));
        assert!(member(object, "d").is_none());
    }

    #[test]
    fn only_objects_have_members() {
        for text in ["[1]", "\"a\"", "1", "null", "true"] {
            assert!(member(raw(text), "a").is_none(), "{text}");
        }
    }

    #[test]
    fn only_strings_are_strings() {
        assert_eq!(string(raw(r#""a\n\u00fc""#)).unwrap(), "a\nü");
        for text in ["[\"a\"]", "1", "null", "{\"a\":1}"] {
            assert!(string(raw(text)).is_none(), "{text}");
        }
    }
}
