//! Cursors, request states and task ids that nobody sealed: a byte for the kind, then the text. None opens: neither
//! made-up ones, nor a real one with anything changed, nor one of another kind.

#![no_main]

use std::sync::LazyLock;

use baton::domain::ids::{Name, Principal, Timestamp};
use baton::domain::keyring::{Keyring, SecretKey};
use baton::domain::sealed::{self, Kind};
use libfuzzer_sys::fuzz_target;

const NOW: Timestamp = Timestamp::from_millis(1_000_000);
const LATER: Timestamp = Timestamp::from_millis(2_000_000);
const KINDS: [Kind; 4] = [Kind::Cursor, Kind::RequestState, Kind::Task, Kind::Question];
const CONTEXT: &[u8] = b"context";
const PAYLOAD: &[u8] = b"a payload of some bytes";

static KEYS: LazyLock<Keyring> = LazyLock::new(|| {
    let keys = [1, 2].map(|byte| SecretKey::from_bytes([byte; 32]));
    Keyring::new("baton", &keys).expect("two keys with two ids")
});
static OWNER: LazyLock<Principal> = LazyLock::new(|| {
    let name = |text| Name::parse(text).expect("a name");
    Principal::verified(name("tenant"), name("subject"))
});
static TEXTS: LazyLock<[String; 4]> = LazyLock::new(|| {
    KINDS.map(|kind| {
        sealed::seal(kind, &OWNER, CONTEXT, PAYLOAD, LATER, &KEYS).expect("it is short")
    })
});

/// What is genuine opens, or nothing is proven.
fn check_genuine() {
    for (kind, text) in KINDS.into_iter().zip(TEXTS.iter()) {
        let opened = sealed::open(kind, text, &OWNER, CONTEXT, &KEYS, NOW);
        assert_eq!(opened.as_deref(), Ok(PAYLOAD));
    }
}

fuzz_target!(init: check_genuine(), |data: &[u8]| {
    let Some((kind, data)) = data.split_first() else { return };
    let own = usize::from(*kind) % KINDS.len();
    let open = |text: &str| sealed::open(KINDS[own], text, &OWNER, CONTEXT, &KEYS, NOW);
    if let Ok(text) = str::from_utf8(data) {
        assert!(open(text).is_err() || text == TEXTS[own]);
        assert!(open(&format!("{}{text}", TEXTS[own])).is_err() || text.is_empty());
    }
    for (of, genuine) in TEXTS.iter().enumerate() {
        // Each byte of input replaces a character where it is one that a text may have.
        let mut text = genuine.replace(KINDS[of].prefix(), KINDS[own].prefix()).into_bytes();
        for (character, byte) in text.iter_mut().zip(data) {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
                *character = *byte;
            }
        }
        let text = String::from_utf8(text).expect("ASCII");
        assert!(open(&text).is_err() || text == TEXTS[own]);
    }
});
