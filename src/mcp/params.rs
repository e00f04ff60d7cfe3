//! The `params` of a message: members in their order, each still JSON text.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::object::Object;
use super::raw::{self, Text};
use super::rejection::{Refusal, RejectionKind};

/// No method has more than a dozen params; this bounds what a hostile body can make us hold.
const MAX_PARAMS: usize = 128;

/// `params` as they stand in a body, split while the body is first read and not yet judged.
#[derive(Debug, Default)]
pub(super) enum Unjudged<'a> {
    /// Not there, or `null`: old clients send either.
    #[default]
    Absent,
    Members(Vec<(Cow<'a, str>, &'a RawValue)>),
    TooMany,
    NotAnObject,
}

/// Checked members of `params`. An absent `params` and a `null` one are empty.
#[derive(Debug, Clone, Default)]
pub struct Params(Vec<(Box<str>, Box<RawValue>)>);

impl Params {
    pub(super) fn read(params: Unjudged<'_>) -> Result<Self, Refusal> {
        let owned = |(key, value): (Cow<'_, str>, &RawValue)| (key.into(), value.to_owned());
        match params {
            Unjudged::Absent => Ok(Self::default()),
            Unjudged::Members(members) => Ok(Self(members.into_iter().map(owned).collect())),
            Unjudged::TooMany => {
                let message = format!("params has more than {MAX_PARAMS} members");
                Err(Refusal::new(RejectionKind::InvalidRequest, message))
            }
            Unjudged::NotAnObject => Err(Refusal::params("params must be an object")),
        }
    }

    /// One member. A `null` counts as absent: no param of any revision means something by it.
    pub fn get(&self, key: &str) -> Option<&RawValue> {
        let member = self.iter().find(|(name, _)| *name == key);
        member.map(|(_, value)| value).filter(|value| !raw::is_null(value))
    }

    /// All members, `_meta` among them, in the order they came.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &RawValue)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }

    /// The same members, to be rewritten for an upstream.
    pub fn object(&self) -> Object<'_> {
        Object::borrowed(self.iter())
    }

    /// Are there no members?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A member that has to be a string if it is there.
    pub(super) fn string(&self, key: &str) -> Result<Option<Cow<'_, str>>, Refusal> {
        let member = self.get(key);
        let text = |raw| {
            raw::string(raw)
                .ok_or_else(|| Refusal::params(format!("params.{key} must be a string")))
        };
        member.map(text).transpose()
    }

    /// Refuses a member that is there and is no object.
    pub(super) fn expect_object(&self, key: &str) -> Result<(), Refusal> {
        match self.get(key) {
            Some(value) if !raw::is_object(value) => {
                Err(Refusal::params(format!("params.{key} must be an object")))
            }
            _ => Ok(()),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Unjudged<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Split)
    }
}

struct Split;

impl<'de> Visitor<'de> for Split {
    type Value = Unjudged<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("params")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(Text(key)) = map.next_key()? {
            if members.len() == MAX_PARAMS {
                map.next_value::<IgnoredAny>()?;
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                return Ok(Unjudged::TooMany);
            }
            members.push((key, map.next_value()?));
        }
        Ok(Unjudged::Members(members))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Unjudged::NotAnObject)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Unjudged::Absent)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Unjudged::NotAnObject)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Unjudged::NotAnObject)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Unjudged::NotAnObject)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Unjudged::NotAnObject)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Unjudged::NotAnObject)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Params, Refusal> {
        Params::read(serde_json::from_str(json).unwrap())
    }

    #[test]
    fn members_keep_their_order_and_their_text() {
        let params = read(r#"{"b": [1, 2.50], "\u0061": {"c":null}}"#).unwrap();
        let members: Vec<_> = params.iter().map(|(key, value)| (key, value.get())).collect();
        assert_eq!(members, [("b", "[1, 2.50]"), ("a", r#"{"c":null}"#)]);
    }

    #[test]
    fn null_and_absent_are_the_same() {
        assert!(read("null").unwrap().is_empty());
        assert!(read(r#"{"a":null}"#).unwrap().get("a").is_none());
        assert!(read("{}").unwrap().get("a").is_none());
    }

    #[test]
    fn params_that_are_no_object_are_refused() {
        for json in ["[]", "[[1]]", "1", "-1", "1.5", "true", r#""a""#] {
            assert_eq!(read(json).unwrap_err().kind, RejectionKind::InvalidParams, "{json}");
        }
    }

    #[test]
    fn members_are_counted() {
        let object = |members: usize| {
            let members: Vec<_> = (0..members).map(|n| format!("\"k{n}\":[{n}]")).collect();
            format!("{{{}}}", members.join(","))
        };
        assert!(read(&object(MAX_PARAMS)).is_ok());
        let refused = read(&object(MAX_PARAMS + 5)).unwrap_err();
        assert_eq!(refused.kind, RejectionKind::InvalidRequest);
    }
}
