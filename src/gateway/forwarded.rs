//! `Forwarded` (RFC 7239): who asked each proxy on a request's way.
//!
//! It is read from its end, where proxies that we trust write. What a client wrote stands before that, may be anything,
//! and must not change how the end is understood: a quotation mark that it opens, for one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The elements of one header value, the last one first. §4: they are separated by commas outside quoted strings.
pub(super) fn elements_backwards(value: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(value);
    std::iter::from_fn(move || {
        let value = rest?;
        let mut quoted = false;
        let comma = value.bytes().enumerate().rev().find_map(|(at, byte)| {
            match byte {
                b'"' if !is_escaped(value, at) => quoted = !quoted,
                b',' if !quoted => return Some(at),
                _ => {}
            }
            None
        });
        rest = comma.map(|at| &value[..at]);
        Some(comma.map_or(value, |at| &value[at + 1..]))
    })
}

/// The address of whoever asked the proxy that wrote an element; none: the proxy does not know, or does not say.
pub(super) fn asked_by(element: &str) -> Option<IpAddr> {
    let mut nodes = pairs(element).filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then_some(value.trim())
    });
    // §4: each parameter at most once.
    nodes.next().filter(|_| nodes.next().is_none()).and_then(unquoted).and_then(node)
}

/// §4: `;` separates, outside quoted strings.
fn pairs(element: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let mut before = b' ';
    element.split(move |character: char| {
        if character == '"' && before != b'\\' {
            quoted = !quoted;
        }
        before = if character == '\\' && before != b'\\' { b'\\' } else { b' ' };
        character == ';' && !quoted
    })
}

/// A token, or what stands in a quoted string. No address needs a quoted pair, so a value with one is none.
fn unquoted(value: &str) -> Option<&str> {
    let inner = match value.strip_prefix('"') {
        Some(value) => value.strip_suffix('"')?,
        None => value,
    };
    (!inner.contains(['"', '\\'])).then_some(inner)
}

/// §6: an IPv4 address, or an IPv6 address in brackets, with or without a port. `unknown` and `_names` are no addresses.
fn node(text: &str) -> Option<IpAddr> {
    let (address, port): (IpAddr, &str) = if let Some(text) = text.strip_prefix('[') {
        let (address, port) = text.split_once(']')?;
        (address.parse::<Ipv6Addr>().ok()?.into(), port)
    } else {
        let (address, port) = text.split_at(text.find(':').unwrap_or(text.len()));
        (address.parse::<Ipv4Addr>().ok()?.into(), port)
    };
    (port.is_empty() || port.strip_prefix(':').is_some_and(is_port)).then_some(address)
}

/// §6: a number, or a name in its place (§6.3).
fn is_port(text: &str) -> bool {
    let may_name = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    match text.strip_prefix('_') {
        Some(name) => !name.is_empty() && name.bytes().all(may_name),
        None => text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok(),
    }
}

fn is_escaped(value: &str, at: usize) -> bool {
    let before = value.as_bytes()[..at].iter().rev().take_while(|&&byte| byte == b'\\').count();
    before % 2 == 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_element_names_who_asked() {
        let check = |element: &str, expected: Option<&str>| {
            assert_eq!(asked_by(element), expected.map(|it| it.parse().unwrap()), "{element}");
        };
        check("for=192.0.2.43", Some("192.0.2.43"));
        check(" For=\"192.0.2.43:47011\" ; proto=https;by=203.0.113.43", Some("192.0.2.43"));
        check("by=\"a;for=9.9.9.9\";for=192.0.2.43", Some("192.0.2.43"));
        check("for=192.0.2.43:47011", Some("192.0.2.43"));
        check("for=\"192.0.2.43:_port\"", Some("192.0.2.43"));
        check("for=\"[2001:db8:cafe::17]:4711\"", Some("2001:db8:cafe::17"));
        check("for=\"[2001:db8:cafe::17]\"", Some("2001:db8:cafe::17"));
        for none in [
            "",
            "for",
            "for=",
            "for=unknown",
            "for=_hidden",
            "for=\"_gazonk\"",
            "proto=http",
            "for=192.0.2.43;for=9.9.9.9",
            "for=\"192.0.2.43",
            "for=192.0.2.43\"",
            "for=\"192.0.2\\.43\"",
            "for=\"2001:db8::1\"",
            "for=\"[192.0.2.43]\"",
            "for=\"[2001:db8::1\"",
            "for=\"[2001:db8::1]1\"",
            "for=192.0.2.43:",
            "for=192.0.2.43:99999",
            "for=\"192.0.2.43:+80\"",
            "for=\"192.0.2.43:_\"",
            "for=\"192.0.2.43:_:80\"",
            "for=192.0.2.043",
            "xfor=192.0.2.43",
        ] {
            check(none, None);
        }
    }

    #[test]
    fn elements_are_read_from_the_end() {
        let check = |value: &str, expected: &[&str]| {
            assert_eq!(elements_backwards(value).collect::<Vec<_>>(), expected, "{value}");
        };
        check("a", &["a"]);
        check("a,b, c", &[" c", "b", "a"]);
        check("for=\"a,b\", c", &[" c", "for=\"a,b\""]);
        check("x, by=\"a\\\",b\"", &[" by=\"a\\\",b\"", "x"]);
        check("", &[""]);
    }

    proptest! {
        #[test]
        fn what_a_client_wrote_hides_nothing(written in "[ -~]{0,40}", last: std::net::Ipv6Addr) {
            let value = format!("{written}, for=\"[{last}]\"");
            let found = elements_backwards(&value).next().and_then(asked_by);
            prop_assert_eq!(found, Some(IpAddr::V6(last)));
        }

        #[test]
        fn any_text_is_read(text: String) {
            for element in elements_backwards(&text) {
                asked_by(element);
            }
        }
    }
}
