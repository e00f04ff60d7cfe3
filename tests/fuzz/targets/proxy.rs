//! PROXY protocol headers: whatever bytes a connection begins with are read within them, and a header is the same whatever
//! follows it.
#![no_main]

use baton::serve::proxy_protocol::parse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(Some(header)) = parse(bytes) else { return };
    let (own, _rest) = bytes.split_at(header.length);
    assert_eq!(parse(own), Ok(Some(header)));
    assert_eq!(parse(&own[..own.len() - 1]), Ok(None));
});
