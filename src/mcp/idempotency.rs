//! The key by which a client says "this is the call I made before".

use std::fmt;
use std::str::FromStr;

use super::json::Json;
use super::rejection::Refusal;

/// The longest idempotency key, in characters.
const MAX_KEY_CHARS: usize = 255;

/// Names one intended effect: the same key means the same call, not another one.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// The key as the client chose it. It may be a secret of the client's: log a digest.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdempotencyKey(..)")
    }
}

impl FromStr for IdempotencyKey {
    type Err = NotAKey;

    fn from_str(key: &str) -> Result<Self, NotAKey> {
        let is_sized = (1..=MAX_KEY_CHARS).contains(&key.chars().take(MAX_KEY_CHARS + 1).count());
        if !is_sized || key.chars().any(char::is_control) {
            return Err(NotAKey);
        }
        Ok(Self(key.to_owned()))
    }
}

/// Not a usable idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an idempotency key has 1 to {MAX_KEY_CHARS} characters, none of them a control character")]
pub struct NotAKey;

/// The key may stand in `_meta`, in the header, or in both if they are equal.
pub(super) fn agree(
    meta: Option<Json<'_>>,
    header: Option<&str>,
) -> Result<Option<IdempotencyKey>, Refusal> {
    let key = |text: &str| {
        text.parse::<IdempotencyKey>().map_err(|fault| Refusal::params(fault.to_string()))
    };
    // What is no string is refused as the empty one is.
    let in_meta = meta.map(|json| key(&json.string().unwrap_or_default())).transpose()?;
    let in_header = header.map(key).transpose()?;
    match (in_meta, in_header) {
        (Some(meta), Some(header)) if meta != header => Err(Refusal::mismatch(
            "Header mismatch: Idempotency-Key does not match dev.baton/idempotencyKey",
        )),
        (meta, header) => Ok(meta.or(header)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::testing::{LIST, list, post};
    use crate::mcp::{ErrorCode, Incoming};

    fn key_of(in_meta: Option<&str>, header: Option<&str>) -> Result<Option<String>, ErrorCode> {
        let mut pairs = LIST.to_vec();
        pairs.extend(header.map(|key| ("idempotency-key", key)));
        let more = in_meta.map_or_else(
            || r#""x":1"#.to_owned(),
            |json| format!(r#""dev.baton/idempotencyKey":{json}"#),
        );
        match post(&pairs, &list(&more)) {
            Ok(Incoming::Request(envelope)) => {
                Ok(envelope.meta().idempotency_key().map(|key| key.as_str().to_owned()))
            }
            Ok(other) => panic!("{other:?}"),
            Err(refused) => Err(refused.code()),
        }
    }

    #[test]
    fn an_idempotency_key_stands_in_either_place() {
        let key = Ok(Some("k-1".to_owned()));
        assert_eq!(key_of(None, None), Ok(None));
        assert_eq!(key_of(Some(r#""k-1""#), None), key);
        assert_eq!(key_of(None, Some("k-1")), key);
        assert_eq!(key_of(None, Some(r#""k-1""#)), key);
        assert_eq!(key_of(Some(r#""k-1""#), Some("k-1")), key);
    }

    #[test]
    fn two_idempotency_keys_are_a_mismatch() {
        assert_eq!(key_of(Some(r#""k-1""#), Some("k-2")), Err(ErrorCode::HeaderMismatch));
    }

    #[test]
    fn an_unusable_idempotency_key_is_refused() {
        let long = format!(r#""{}""#, "ü".repeat(MAX_KEY_CHARS + 1));
        for json in [r#""""#, "1", r#""a\n""#, &long] {
            assert_eq!(key_of(Some(json), None), Err(ErrorCode::InvalidParams), "{json}");
        }
        assert!(key_of(Some(&format!(r#""{}""#, "ü".repeat(MAX_KEY_CHARS))), None).is_ok());
        assert_eq!(key_of(None, Some("")), Err(ErrorCode::InvalidParams));
    }
}
