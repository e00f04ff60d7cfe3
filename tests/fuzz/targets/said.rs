//! What is written again, beside what was read.

use serde_json::Value;

/// Says `written` nothing that `said` does not? What was said besides is passed over: a newer version may say more.
pub(crate) fn is_said(written: &Value, said: &Value) -> bool {
    match (written, said) {
        (_, Value::Null) => true,
        (Value::Object(written), Value::Object(said)) => written
            .iter()
            .all(|(key, value)| said.get(key).is_none_or(|said| is_said(value, said))),
        _ => written == said,
    }
}
