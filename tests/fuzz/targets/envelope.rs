//! A whole POST: header lines, an empty line, a body. Whatever comes, it is refused or it agrees with itself.

#![no_main]

use baton::mcp::{Envelope, Era, Incoming, Mirror};
use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((headers, body)) = post(data) else { return };
    let Ok(Incoming::Request(envelope)) = Envelope::parse(&headers, &Bytes::copy_from_slice(body))
    else {
        return;
    };
    let mirrors = [Mirror::new("A", &["a"]).unwrap(), Mirror::new("B", &["a", "b"]).unwrap()];
    let mirrored = envelope.check_mirrors(&mirrors).is_ok();

    let body: serde_json::Value = serde_json::from_slice(body).expect("a request is JSON");
    assert_eq!(body["method"], envelope.method().as_str());
    if envelope.era() != Era::Modern {
        return;
    }
    let header = |name: &str| headers.get(name).and_then(|it| it.to_str().ok()).map(str::trim);
    assert_eq!(header("mcp-method"), Some(envelope.method().as_str()));
    assert_eq!(header("mcp-protocol-version"), Some("2026-07-28"));
    if let Some(source) = envelope.method().name_source() {
        let name = envelope.name().expect("such a method has a name");
        assert_eq!(body["params"][source.key()], name);
        let sent = header("mcp-name").expect("and a header for it");
        assert!(sent == name || sent.starts_with("=?base64?"));
    }
    if mirrored {
        let argument = &body["params"]["arguments"]["a"];
        let must = argument.is_string() || argument.is_number() || argument.is_boolean();
        assert!(!must || headers.contains_key("mcp-param-a"));
    }
});

fn post(data: &[u8]) -> Option<(HeaderMap, &[u8])> {
    let end = data.windows(2).position(|it| it == b"\n\n")?;
    let mut headers = HeaderMap::new();
    for line in data[..end].split(|byte| *byte == b'\n') {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        // What stands before and after a value is the HTTP library's.
        headers.append(name, HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?);
    }
    Some((headers, &data[end + 2..]))
}
