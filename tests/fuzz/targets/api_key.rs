//! What a caller shows: `x-ms-apikey` on the first line, `Authorization` on the second, an empty one is absent; and a
//! key's text, on the rest. Nobody gets in but with one key that is known; a character changed in a key is noticed.

#![no_main]

use std::sync::LazyLock;

use baton::domain::api_key::{ApiKey, ApiKeyDigest};
use baton::domain::ids::{Name, Principal};
use baton::gateway::{ApiKeys, Credentials};
use http::header::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;

static KEY: LazyLock<ApiKey> = LazyLock::new(|| ApiKey::from_random([7; 32]));
static OWN: &str = "a key of the operator's";
static KNOWN: LazyLock<Credentials> = LazyLock::new(|| {
    let name = |text| Name::parse(text).expect("a name");
    let own = ApiKey::parse(OWN).expect("a key");
    let digests = [KEY.digest(), own.digest()];
    let known = digests.map(|it| (it, Principal::verified(name("tenant"), name("subject"))));
    Credentials::ApiKeys(ApiKeys::new(known))
});

fuzz_target!(|data: &[u8]| {
    let mut lines = data.splitn(3, |byte| *byte == b'\n');
    let (Some(platform), Some(bearer), Some(text)) = (lines.next(), lines.next(), lines.next())
    else {
        return;
    };
    show(platform.trim_ascii(), bearer.trim_ascii());

    let Ok(text) = str::from_utf8(text) else { return };
    if let Ok(key) = ApiKey::parse(text) {
        assert_eq!(key.reveal(), text);
        assert!(text.len() <= ApiKey::MAX && HeaderValue::from_str(text).is_ok());
        assert!(!key.is_damaged() || text.starts_with("btk_"));
    }
    if let Ok(digest) = ApiKeyDigest::parse(text) {
        assert_eq!(digest.to_string(), text.to_ascii_lowercase());
    }
    // Its first character stands at the place that its second one says.
    let mut changed: Vec<char> = KEY.reveal().chars().collect();
    let mut characters = text.chars();
    let (Some(other), Some(place)) = (characters.next(), characters.next()) else { return };
    let place = place as usize % changed.len();
    changed[place] = other;
    let changed: String = changed.into_iter().collect();
    if let Ok(key) = ApiKey::parse(&changed) {
        let (whole, foreign) = (changed == KEY.reveal(), place < "btk_".len());
        assert_eq!(key.is_damaged(), !whole && !foreign, "{changed}");
    }
});

fn show(platform: &[u8], bearer: &[u8]) {
    let mut headers = HeaderMap::new();
    for (name, value) in [("x-ms-apikey", platform), ("authorization", bearer)] {
        let Ok(value) = HeaderValue::from_bytes(value) else { return };
        if !value.is_empty() {
            headers.insert(name, value);
        }
    }
    let is_known = |key: &[u8]| key == KEY.reveal().as_bytes() || key == OWN.as_bytes();
    let token = bearer.split_at_checked(7).filter(|(it, _)| it.eq_ignore_ascii_case(b"bearer "));
    let expected = match (platform, bearer, token.map(|(_, token)| token.trim_ascii())) {
        (key, b"", _) => is_known(key),
        (b"", _, Some(token)) => is_known(token),
        (key, _, Some(token)) => key == token && is_known(key),
        _ => false,
    };
    assert_eq!(KNOWN.authenticate(&headers).is_ok(), expected);
}
