//! The `params` of a message: members in their order, each still JSON text.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::raw;
use super::rejection::{Refusal, RejectionKind};

/// No method has more than a dozen params; this bounds what a hostile body can make us hold.
const MAX_PARAMS: usize = 128;

/// Checked members of `params`. An absent `params` and a `null` one are empty.
#[derive(Debug, Clone, Default)]
pub struct Params(Vec<(Box<str>, Box<RawValue>)>);

impl Params {
    pub(super) fn read(params: Option<&RawValue>) -> Result<Self, Refusal> {
        let Some(params) = params else { return Ok(Self::default()) };
        let members =
            raw::members(params).ok_or_else(|| Refusal::params("params must be an object"))?;
        if members.len() > MAX_PARAMS {
            return Err(Refusal::new(RejectionKind::InvalidRequest, "params has too many members"));
        }
        let owned = |(key, value): (Cow<'_, str>, &RawValue)| (key.into(), value.to_owned());
        Ok(Self(members.into_iter().map(owned).collect()))
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
