//! Tokens that nobody sealed. None opens: neither made-up ones, nor a real one with anything changed.

#![no_main]

use std::sync::LazyLock;

use baton::domain::handle::Handle;
use baton::domain::ids::{EnvironmentId, Name, Principal, Timestamp};
use baton::domain::keyring::{Keyring, SecretKey};
use libfuzzer_sys::fuzz_target;

const NOW: Timestamp = Timestamp::from_millis(1_000_000);

static KEYS: LazyLock<Keyring> = LazyLock::new(|| {
    let keys = [1, 2].map(|byte| SecretKey::from_bytes([byte; 32]));
    Keyring::new("baton", &keys).expect("two keys with two ids")
});
static OWNER: LazyLock<Principal> = LazyLock::new(|| {
    let name = |text| Name::parse(text).expect("a name");
    Principal::verified(name("tenant"), name("subject"))
});
static TOKEN: LazyLock<String> = LazyLock::new(|| {
    let handle = Handle::issue(EnvironmentId::from_bytes([7; 16]), 3, Timestamp::from_millis(2_000_000));
    handle.seal(&OWNER, &KEYS)
});

fn open(token: &str) -> bool {
    Handle::<EnvironmentId>::open(token, &OWNER, &KEYS, NOW).is_ok()
}

fuzz_target!(init: assert!(open(&TOKEN), "a genuine one opens, or nothing is proven"), |data: &[u8]| {
    if let Ok(token) = str::from_utf8(data) {
        assert!(!open(token) || token == *TOKEN);
    }
    // Each byte of input replaces a character where it is one that a token may have.
    let mut token = TOKEN.clone().into_bytes();
    for (character, byte) in token.iter_mut().zip(data) {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
            *character = *byte;
        }
    }
    let token = String::from_utf8(token).expect("ASCII");
    assert!(!open(&token) || token == *TOKEN);
});
