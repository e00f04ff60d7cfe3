//! Values that a JSON Schema allows.

use serde_json::{Map, Value, json};

use super::random::Random;

/// Below this everything optional is left out: schemas refer to themselves.
const DEEP: usize = 6;
/// Texts with something to trip over.
const TEXTS: [&str; 12] = [
    "",
    "a",
    "tools/call",
    "äöü – 中文 – 🦀",
    "\u{0}\u{1f}\u{7f}",
    "\u{202e}right to left",
    "../../etc/passwd",
    "'; DROP TABLE x; --",
    "${jndi:ldap://127.0.0.1/a}",
    "=?base64?YQ==?=",
    "bte_AcYAAwcHBwcHBwcHBwcHBwcHBwcAawFnTgObkaByGcrwfoSu3NFDhfr1RARa",
    "999999999999999999999999999999",
];

/// Makes instances of one document's definitions.
#[derive(Debug)]
pub(super) struct Instances<'a> {
    pub(super) document: &'a Value,
    pub(super) random: &'a mut Random,
}

impl Instances<'_> {
    /// One that `schema` allows, as far as this goes: keywords that MCP's schema does not use are not looked at.
    pub(super) fn of(&mut self, schema: &Value, depth: usize) -> Value {
        if let Some(place) = schema["$ref"].as_str() {
            let pointer = place.strip_prefix('#').expect("a reference within the document");
            let target = self.document.pointer(pointer).expect("what is referred to is there");
            return self.of(target, depth + 1);
        }
        if let Some(value) = schema.get("const") {
            return value.clone();
        }
        if let Some(values) = schema["enum"].as_array() {
            return self.random.one_of(values).clone();
        }
        if let Some(any) = schema["anyOf"].as_array() {
            let schema = self.random.one_of(any);
            return self.of(schema, depth + 1);
        }
        if let Some(all) = schema["allOf"].as_array() {
            let mut merged = Map::new();
            for part in all {
                if let Value::Object(members) = self.of(part, depth + 1) {
                    merged.extend(members);
                }
            }
            return merged.into();
        }
        match &schema["type"] {
            Value::Array(kinds) => {
                let kind = self.random.one_of(kinds).clone();
                self.of_type(&kind, schema, depth)
            }
            kind => self.of_type(kind, schema, depth),
        }
    }

    fn of_type(&mut self, kind: &Value, schema: &Value, depth: usize) -> Value {
        match kind.as_str() {
            Some("object") => self.object(schema, depth),
            Some("array") => {
                let most = if depth > DEEP { 1 } else { 4 };
                let count = self.random.below(most);
                (0..count).map(|_| self.of(&schema["items"], depth + 1)).collect()
            }
            Some("string") => self.text(schema),
            Some("integer") => self.integer(schema),
            Some("number") => match self.random.below(3) {
                0 => self.integer(schema),
                1 => schema.get("minimum").cloned().unwrap_or_else(|| json!(-0.0)),
                _ => schema.get("maximum").cloned().unwrap_or_else(|| json!(1.5e300)),
            },
            Some("boolean") => self.random.once_in(2).into(),
            Some("null") => Value::Null,
            _ => self.anything(depth),
        }
    }

    fn object(&mut self, schema: &Value, depth: usize) -> Value {
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let mut members = Map::new();
        for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
            if required.contains(&name.as_str()) || (depth < DEEP && self.random.once_in(3)) {
                members.insert(name.clone(), self.of(schema, depth + 1));
            }
        }
        let more = &schema["additionalProperties"];
        if *more != json!(false) && depth < DEEP && self.random.once_in(6) {
            let name = (*self.random.one_of(&TEXTS)).to_owned();
            let value =
                if more.is_object() { self.of(more, depth + 1) } else { self.anything(depth) };
            members.entry(name).or_insert(value);
        }
        members.into()
    }

    fn text(&mut self, schema: &Value) -> Value {
        match schema["format"].as_str() {
            Some("uri") => json!("https://example.com/a?b=c#d"),
            Some("uri-template") => json!("baton://{id}"),
            Some("byte") => json!("AAAA"),
            _ => json!(self.random.one_of(&TEXTS)),
        }
    }

    fn integer(&mut self, schema: &Value) -> Value {
        let least = schema["minimum"].as_i64().unwrap_or(-1);
        let most = schema["maximum"].as_i64().unwrap_or((1 << 53) - 1);
        json!(*self.random.one_of(&[least, most, least.midpoint(most), least + 1]))
    }

    fn anything(&mut self, depth: usize) -> Value {
        match self.random.below(if depth > DEEP { 4 } else { 6 }) {
            0 => Value::Null,
            1 => json!(self.random.one_of(&TEXTS)),
            2 => json!(*self.random.one_of(&[0, -1, i64::MAX, i64::MIN])),
            3 => json!(true),
            4 => json!([self.anything(depth + 1)]),
            _ => json!({"a": self.anything(depth + 1), "": self.anything(depth + 1)}),
        }
    }
}
