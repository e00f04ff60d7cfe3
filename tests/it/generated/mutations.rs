//! What goes wrong with a message: in its values, its text, its headers.

use serde_json::{Value, json};

use super::random::Random;

/// A request as it is sent.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

/// Changes one value of a message.
pub(super) fn bend(message: &mut Value, random: &mut Random) {
    let mut places = Vec::new();
    collect(message, &mut String::new(), &mut places);
    let place = random.one_of(&places).clone();
    let Some(value) = message.pointer_mut(&place) else { return };
    match random.below(8) {
        0 => *value = Value::Null,
        1 => *value = other_type(value, random),
        2 => *value = json!([value.take()]),
        3 => *value = json!({"a": value.take()}),
        4 => {
            for _ in 0..*random.one_of(&[3, 60, 70, 120]) {
                *value = json!([value.take()]);
            }
        }
        5 => *value = json!("x".repeat(*random.one_of(&[300, 5_000, 200_000]))),
        6 => {
            if let Value::Object(members) = value
                && !members.is_empty()
            {
                let name = members.keys().nth(random.below(members.len())).cloned();
                let taken = name.and_then(|name| members.remove(&name));
                if random.once_in(2) {
                    members.insert("renamed".to_owned(), taken.unwrap_or_default());
                }
            } else {
                *value = json!(-1);
            }
        }
        _ => *value = json!(*random.one_of(&[u64::MAX, 1 << 53, 0, 4_294_967_296])),
    }
}

fn other_type(value: &Value, random: &mut Random) -> Value {
    let others = [json!("text"), json!(7), json!(1.5), json!(false), json!([]), json!({})];
    let kind = |value: &Value| std::mem::discriminant(value);
    let others: Vec<Value> = others.into_iter().filter(|it| kind(it) != kind(value)).collect();
    random.one_of(&others).clone()
}

/// Where each value stands, as JSON pointers; the whole message is one.
fn collect(value: &Value, place: &mut String, places: &mut Vec<String>) {
    places.push(place.clone());
    let length = place.len();
    let mut below = |name: &str, value: &Value, places: &mut Vec<String>| {
        place.push('/');
        place.push_str(&name.replace('~', "~0").replace('/', "~1"));
        collect(value, place, places);
        place.truncate(length);
    };
    match value {
        Value::Object(members) => members.iter().for_each(|(name, it)| below(name, it, places)),
        Value::Array(values) => {
            values.iter().enumerate().for_each(|(n, it)| below(&n.to_string(), it, places));
        }
        _ => {}
    }
}

/// Changes the bytes of a body.
pub(super) fn scratch(body: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(body.len().max(1)).min(body.len());
    let mut insert = |bytes: &[u8]| drop(body.splice(at..at, bytes.iter().copied()));
    match random.below(10) {
        0 => body.truncate(at),
        1 => insert(&[0xff, 0xfe]),
        2 => insert(b"\0"),
        3 => insert(b"\"\\ud800\""),
        4 => insert(b"1e999"),
        5 => body.splice(0..0, *b"\xef\xbb\xbf").for_each(drop),
        6 => body.extend_from_slice(b"{}"),
        7 => *body = [b"[", body.as_slice(), b",", body.as_slice(), b"]"].concat(),
        8 => {
            // The first member once more, with another value: readers disagree about which counts.
            let twice = String::from_utf8_lossy(body).replacen('{', r#"{"method":"ping","#, 1);
            *body = twice.into_bytes();
        }
        _ => {
            if let Some(byte) = body.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
    }
}

/// Changes one header.
pub(super) fn misname(headers: &mut Vec<(String, String)>, random: &mut Random) {
    const VALUES: [&str; 12] = [
        "",
        "text/plain",
        "application/json; charset=utf-16",
        "2025-11-25",
        "1900-01-01",
        "tools/list",
        "=?base64?d2hvYW1p?=",
        "=?base64?!?=",
        "a, b",
        "*/*;q=0",
        "\u{e4}\u{f6}",
        "123456789012345678901234567890",
    ];
    const NAMES: [&str; 10] = [
        "content-type",
        "accept",
        "mcp-protocol-version",
        "mcp-method",
        "mcp-name",
        "mcp-param-a",
        "mcp-session-id",
        "idempotency-key",
        "traceparent",
        "content-encoding",
    ];
    let at = random.below(headers.len().max(1));
    match random.below(6) {
        0 if !headers.is_empty() => drop(headers.remove(at)),
        1 if !headers.is_empty() => headers.push(headers[at].clone()),
        2 if !headers.is_empty() => (*random.one_of(&VALUES)).clone_into(&mut headers[at].1),
        3 if !headers.is_empty() => headers[at].1 = "x".repeat(*random.one_of(&[300, 9_000])),
        4 => headers
            .extend((0..*random.one_of(&[8, 70])).map(|n| (format!("x-{n}"), "1".to_owned()))),
        _ => {
            let (name, value) = (random.one_of(&NAMES), random.one_of(&VALUES));
            headers.push(((*name).to_owned(), (*value).to_owned()));
        }
    }
}
