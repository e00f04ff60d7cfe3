//! One JSON value of a message, as text.

use std::borrow::Cow;

use serde_json::value::RawValue;

/// The text of one JSON value, its grammar checked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Json<'a>(&'a str);

impl<'a> Json<'a> {
    /// Whoever calls it has read the text as one value.
    pub(super) fn checked(text: &'a str) -> Self {
        Self(text)
    }

    pub(super) fn get(self) -> &'a str {
        self.0
    }

    pub(super) fn is_object(self) -> bool {
        self.0.starts_with('{')
    }

    pub(super) fn is_null(self) -> bool {
        self.0 == "null"
    }

    /// The text of a string, borrowed unless it has escapes; `None` for any other type, and for half a surrogate.
    pub(super) fn string(self) -> Option<Cow<'a, str>> {
        let text = self.0.strip_prefix('"')?.strip_suffix('"')?;
        if text.contains('\\') {
            return serde_json::from_str(self.0).ok().map(Cow::Owned);
        }
        Some(Cow::Borrowed(text))
    }

    /// A copy, to be put into other JSON.
    pub(super) fn to_raw(self) -> Box<RawValue> {
        RawValue::from_string(self.0.to_owned()).expect("its grammar is checked")
    }
}

impl<'a> From<&'a RawValue> for Json<'a> {
    fn from(raw: &'a RawValue) -> Self {
        Self(raw.get())
    }
}
