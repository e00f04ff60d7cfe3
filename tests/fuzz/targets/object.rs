//! A key and a value on two lines, then an object. Set, amended and removed, the one member changes and no other, by
//! another reader's judgement.

#![no_main]

use baton::mcp::{Json, JsonBuf, Object};
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else { return };
    let Some((key, rest)) = text.split_once('\n') else { return };
    let Some((value, object)) = rest.split_once('\n') else { return };
    let Some(held) = JsonBuf::parse(object) else { return };
    let Some(read) = Object::read(&held) else { return };
    // The members' text is untouched.
    for (name, member) in read.iter() {
        assert!(object.contains(member.get()));
        assert_eq!(read.get(name).map(Json::get), Some(member.get()));
    }
    let Ok(before) = serde_json::from_str::<Map<String, Value>>(object) else { return };
    assert_eq!(map(&read), before);

    let mut set = read.clone();
    set.set_text(key, value);
    let mut expected = before.clone();
    expected.insert(key.to_owned(), Value::from(value));
    assert_eq!(map(&set), expected);

    let mut amended = read.clone();
    amended.amend(key, |it| it.set_text(key, value));
    let inner = expected.get_mut(key).expect("it was set");
    // An object with a key twice is no object here, and the other reader takes its last.
    if read.get(key).is_none_or(|it| Object::read(it).is_some() || !it.get().starts_with('{')) {
        *inner = before
            .get(key)
            .filter(|it| it.is_object())
            .cloned()
            .unwrap_or(Value::Object(Map::new()));
        inner[key] = Value::from(value);
        assert_eq!(map(&amended), expected);
    }

    let mut removed = read;
    removed.remove(key);
    expected.remove(key);
    assert_eq!(map(&removed), expected);
});

fn map(object: &Object<'_>) -> Map<String, Value> {
    serde_json::from_str(object.render().get()).expect("what is rendered is an object")
}
