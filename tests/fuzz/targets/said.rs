//! What is written again, beside what was read.

use serde_json::Value;

/// Was all that is written said? What was said besides is passed over: a newer version may say more.
pub(crate) fn is_said(written: &Value, said: &Value) -> bool {
    match (written, said) {
        (Value::Object(written), Value::Object(said)) => {
            written.iter().all(|(key, value)| said.get(key).is_some_and(|it| is_said(value, it)))
        }
        _ => written == said,
    }
}
