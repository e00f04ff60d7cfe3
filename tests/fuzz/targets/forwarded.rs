//! A byte that says which header it is and who connects, then values, a line each. Whose address it is depends on no
//! more than what trusted proxies wrote, and where all is written by the letter, another reader finds the same.

#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use baton::gateway::ForwardedHeader;
use baton::gateway::fuzzing::client;
use baton::serve::Network;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;

const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
/// What the last proxy wrote, which trusts nobody before it.
const LAST: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9));

static TRUSTED: LazyLock<Network> =
    LazyLock::new(|| Network::parse("10.0.0.0/8").expect("a network"));

fuzz_target!(|data: &[u8]| {
    let Some((form, text)) = data.split_first() else { return };
    let (header, name, last) = match form & 1 {
        0 => (ForwardedHeader::XForwardedFor, "x-forwarded-for", "2001:db8::9"),
        _ => (ForwardedHeader::Forwarded, "forwarded", "for=\"[2001:db8::9]:1\""),
    };
    let name = HeaderName::from_static(name);
    let mut headers = HeaderMap::new();
    for line in text.split(|byte| *byte == b'\n').take(8) {
        let Ok(value) = HeaderValue::from_bytes(line) else { return };
        headers.append(&name, value);
    }
    let client = |connection, headers: &HeaderMap| client(&TRUSTED, header, connection, headers);
    assert_eq!(client(STRANGER, &headers), STRANGER);

    let found = client(PROXY, &headers);
    if let ForwardedHeader::Forwarded = header
        && let Some(hops) = headers
            .get_all(&name)
            .iter()
            .map(|it| by_letter(it.as_bytes()))
            .collect::<Option<Vec<_>>>()
    {
        assert_eq!(found, walk(hops.into_iter().flatten()));
    }

    // The last proxy adds to the last value, or a value of its own.
    let mut added = headers.clone();
    added.append(&name, HeaderValue::from_static(last));
    assert_eq!(client(PROXY, &added), LAST);
    let values: Vec<_> = headers.get_all(&name).iter().collect();
    let Some((end, before)) = values.split_last() else { return };
    let Ok(written) = end.to_str() else { return };
    let folded = format!("{written}, {last}");
    let mut headers: HeaderMap = before.iter().map(|it| (name.clone(), (*it).clone())).collect();
    headers.append(&name, HeaderValue::from_str(&folded).expect("it was a value"));
    assert_eq!(client(PROXY, &headers), LAST);
});

/// Back from the connection, through those that are trusted.
fn walk(hops: impl DoubleEndedIterator<Item = Option<IpAddr>>) -> IpAddr {
    let mut address = PROXY;
    for hop in hops.rev().take(32) {
        match hop {
            Some(hop) if TRUSTED.contains(address) => address = hop,
            _ => break,
        }
    }
    address
}

/// Every element of RFC 7239's grammar (§4), read from the beginning; none: the value is not of the grammar.
fn by_letter(value: &[u8]) -> Option<Vec<Option<IpAddr>>> {
    let mut rest = value;
    let mut elements = Vec::new();
    loop {
        let (mut node, mut names) = (None, Vec::new());
        rest = rest.trim_ascii_start();
        loop {
            let name = token(&mut rest)?.to_ascii_lowercase();
            rest = rest.strip_prefix(b"=")?;
            let value = if rest.starts_with(b"\"") {
                quoted(&mut rest)?
            } else {
                token(&mut rest)?.to_vec()
            };
            if names.contains(&name) {
                return None;
            }
            node = node.or((name == b"for").then_some(value));
            names.push(name);
            match rest.strip_prefix(b";") {
                Some(more) => rest = more,
                None => break,
            }
        }
        elements.push(node.and_then(address));
        rest = rest.trim_ascii_start();
        match rest.strip_prefix(b",") {
            Some(more) => rest = more,
            None if rest.is_empty() => return Some(elements),
            None => return None,
        }
    }
}

fn token<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let end = rest.iter().position(|byte| !is_token(byte)).unwrap_or(rest.len());
    let (token, behind) = rest.split_at(end);
    *rest = behind;
    (!token.is_empty()).then_some(token)
}

/// A value with a quoted pair is given an invalid byte: no address is written so.
fn quoted(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let (mut text, mut bytes) = (Vec::new(), rest.iter().enumerate().skip(1));
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => {
                *rest = &rest[at + 1..];
                return Some(text);
            }
            b'\\' => {
                bytes.next().filter(|(_, byte)| matches!(byte, b'\t' | b' '..=b'~'))?;
                text.push(0);
            }
            b'\t' | b' '..=b'~' => text.push(*byte),
            _ => return None,
        }
    }
    None
}

/// §6: `nodename [ ":" node-port ]`.
fn address(node: Vec<u8>) -> Option<IpAddr> {
    let text = String::from_utf8(node).ok()?;
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (&*text, None),
    };
    let (digits, letters) = ("0123456789", "abcdefghijklmnopqrstuvwxyz");
    let obfuscated = |port: &str| {
        let name = port.strip_prefix('_').unwrap_or_default().to_ascii_lowercase();
        !name.is_empty() && name.chars().all(|it| format!("._-{digits}{letters}").contains(it))
    };
    // What a number may be is Baton's to say: by the letter any five digits are one.
    let numbered = |port: &str| !port.starts_with('+') && port.parse::<u16>().is_ok();
    if port.is_some_and(|port| !obfuscated(port) && !numbered(port)) {
        return None;
    }
    match name.strip_prefix('[') {
        Some(name) => name.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => name.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}
