//! The `params` of a message: members in their order, each still JSON text.

use std::borrow::Cow;

use super::json::{Json, JsonBuf, Text};
use super::lex::NotJson;
use super::meta::{UnjudgedMeta, WireMeta};
use super::object::Object;
use super::rejection::{Refusal, RejectionKind};
use super::scan::Scan;

/// No method has more than a dozen params; this bounds what a hostile body can make us hold.
const MAX_PARAMS: usize = 128;

/// `params` as they stand in a body, taken apart while the body is read and not yet judged.
#[derive(Debug, Default)]
pub(super) enum Unjudged<'a> {
    /// Not there, or `null`: old clients send either.
    #[default]
    Absent,
    Members(Vec<(Box<str>, Json<'a>)>, UnjudgedMeta<'a>),
    TooMany,
    NotAnObject,
}

/// Checked members of `params`. An absent `params` and a `null` one are empty.
#[derive(Debug, Clone, Default)]
pub struct Params(Vec<(Box<str>, JsonBuf)>);

impl Params {
    /// One member. A `null` counts as absent: no param of any revision means something by it.
    pub fn get(&self, key: &str) -> Option<Json<'_>> {
        self.held(key).map(JsonBuf::json)
    }

    /// The same, to be held longer than the request.
    pub(super) fn held(&self, key: &str) -> Option<&JsonBuf> {
        let member = self.0.iter().find(|(name, _)| **name == *key);
        member.map(|(_, value)| value).filter(|value| !value.json().is_null())
    }

    /// All members, `_meta` among them, in the order they came.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Json<'_>)> {
        self.0.iter().map(|(key, value)| (&**key, value.json()))
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
        let refuse = || Refusal::params(format!("params.{key} must be a string"));
        let text = |json| Json::string(json).ok_or_else(refuse);
        member.map(text).transpose()
    }

    /// Refuses a member that is there and is no object.
    pub(super) fn expect_object(&self, key: &str) -> Result<(), Refusal> {
        match self.get(key) {
            Some(value) if !value.is_object() => {
                Err(Refusal::params(format!("params.{key} must be an object")))
            }
            _ => Ok(()),
        }
    }
}

impl<'a> Unjudged<'a> {
    /// Reads the value that comes next.
    pub(super) fn read(scan: &mut Scan<'a>) -> Result<Self, NotJson> {
        if scan.peek() != Some(b'{') {
            let is_null = scan.value()?.is_null();
            return Ok(if is_null { Self::Absent } else { Self::NotAnObject });
        }
        let mut members = Vec::with_capacity(4);
        let (mut meta, mut are_too_many) = (UnjudgedMeta::default(), false);
        scan.object(|scan, key| {
            let value = match key {
                "_meta" => meta.read(scan)?,
                _ => scan.value()?,
            };
            are_too_many |= members.len() == MAX_PARAMS;
            if !are_too_many {
                members.push((key.into(), value));
            }
            Ok(())
        })?;
        Ok(if are_too_many { Self::TooMany } else { Self::Members(members, meta) })
    }

    /// The params and their `_meta`, if they are what they have to be; `text` is where they were read.
    pub(super) fn judge(self, text: &Text) -> Result<(Params, WireMeta<'a>), Refusal> {
        match self {
            Self::Absent => Ok((Params::default(), WireMeta::default())),
            Self::Members(members, meta) => {
                let held = |(key, value)| (key, text.part(value));
                Ok((Params(members.into_iter().map(held).collect()), meta.judge()?))
            }
            Self::TooMany => {
                let message = format!("params has more than {MAX_PARAMS} members");
                Err(Refusal::new(RejectionKind::InvalidRequest, message))
            }
            Self::NotAnObject => Err(Refusal::params("params must be an object")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Params, Refusal> {
        let text = Text::of(&json.to_owned().into()).unwrap();
        let read = Unjudged::read(&mut Scan::new(text.get())).unwrap();
        read.judge(&text).map(|(params, _)| params)
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
