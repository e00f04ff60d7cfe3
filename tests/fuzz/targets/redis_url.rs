//! Where Redis is: as an operator writes it, with a password before the last `@` of our own. What is read is said
//! without the password, and read again it leads to the same place.

#![no_main]

use baton::directory::redis::RedisUrl;
use libfuzzer_sys::fuzz_target;

const PASSWORD: &str = "Pa55w0rdOfOurs";

fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else { return };
    if text.contains(PASSWORD) {
        return;
    }
    check(text);
    if let Some((scheme, rest)) = text.split_once("://") {
        check(&format!("{scheme}://user:{PASSWORD}@{rest}"));
        check(&format!("{scheme}://user:{PASSWORD}{rest}"));
        check(&format!("{text}?sentinel_password={PASSWORD}"));
    }
});

fn check(text: &str) {
    let url = match RedisUrl::parse(text) {
        Ok(url) => url,
        Err(error) => return assert!(!format!("{error} {error:?}").contains(PASSWORD)),
    };
    let shown = url.to_string();
    assert!(!format!("{shown} {url:?}").contains(PASSWORD), "{shown}");
    let again = RedisUrl::parse(&shown).expect("an address that is shown is one");
    assert_eq!(again.to_string(), shown);
    assert_eq!(again.is_encrypted(), url.is_encrypted());
    assert_eq!(again.is_loopback(), url.is_loopback());
    assert_eq!(again.has_replicas(), url.has_replicas());
}
