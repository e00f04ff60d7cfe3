//! PROXY protocol, versions 1 and 2: what a proxy that passes on bytes says of the connection before the first of them.
//!
//! Sections are those of `proxy-protocol.txt`. Only the two forms that TCP proxies send are taken; addresses of
//! other families are skipped, as are all extensions.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// §2.1: the longest line of version 1, its end included.
const MAX_LINE: usize = 107;
/// What begins every header of version 1, and what every one of version 2.
const LINE: &[u8] = b"PROXY ";
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// §2.2: signature, version and command, family and transport, length.
const FIXED: usize = 16;
/// Addresses and extensions of version 2. Proxies that add what they know of TLS send some hundred bytes.
const MAX_VARIABLE: usize = 4096;

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announced {
    /// That of a client with this address.
    Client(SocketAddr),
    /// The proxy's own, such as a health check, or one that it knows no address of.
    Unnamed,
}

/// A whole header, and how many bytes it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whose connection it is.
    pub announced: Announced,
    /// Where the client's own bytes begin.
    pub length: usize,
}

/// The connection does not begin with a PROXY protocol header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection does not begin with a PROXY protocol header")]
pub struct NoHeader;

/// Reads the header that a connection begins with; `None`: its end is not there yet.
pub fn parse(bytes: &[u8]) -> Result<Option<Header>, NoHeader> {
    if bytes.starts_with(LINE) {
        return line(bytes);
    }
    if bytes.starts_with(&SIGNATURE) {
        return binary(bytes);
    }
    if LINE.starts_with(bytes) || SIGNATURE.starts_with(bytes) { Ok(None) } else { Err(NoHeader) }
}

/// §2.1: `PROXY TCP4 SOURCE DESTINATION PORT PORT`, or `PROXY UNKNOWN` and whatever.
fn line(bytes: &[u8]) -> Result<Option<Header>, NoHeader> {
    let within = &bytes[..bytes.len().min(MAX_LINE)];
    let Some(end) = within.windows(2).position(|pair| pair == b"\r\n") else {
        return if within.len() < MAX_LINE { Ok(None) } else { Err(NoHeader) };
    };
    let text = str::from_utf8(&within[LINE.len()..end]).map_err(|_| NoHeader)?;
    let words: Vec<&str> = text.split(' ').collect();
    let announced = match words[..] {
        ["UNKNOWN", ..] => Announced::Unnamed,
        [family @ ("TCP4" | "TCP6"), source, destination, source_port, destination_port] => {
            let address = |text: &str| {
                let address: IpAddr = text.parse().ok()?;
                (address.is_ipv4() == (family == "TCP4")).then_some(address)
            };
            address(destination).zip(port(destination_port)).ok_or(NoHeader)?;
            Announced::Client(address(source).zip(port(source_port)).ok_or(NoHeader)?.into())
        }
        _ => return Err(NoHeader),
    };
    Ok(Some(Header { announced, length: end + 2 }))
}

/// A port as version 1 writes it: no sign, no zero before it.
fn port(text: &str) -> Option<u16> {
    let plain = text == "0" || !text.starts_with(['0', '+']);
    text.parse().ok().filter(|_| plain)
}

/// §2.2: a fixed part, addresses, extensions.
fn binary(bytes: &[u8]) -> Result<Option<Header>, NoHeader> {
    let Some((fixed, variable)) = bytes.split_first_chunk::<FIXED>() else { return Ok(None) };
    let &[.., command, family, high, low] = fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > MAX_VARIABLE {
        return Err(NoHeader);
    }
    let Some(variable) = variable.get(..length) else { return Ok(None) };
    let announced = match (command, family) {
        // LOCAL, whose family is to be ignored; a family that is not named, or sockets of the proxy's own machine.
        (0x20, _) | (0x21, 0x00 | 0x31) => Announced::Unnamed,
        (0x21, 0x11) => {
            let (addresses, _extensions) = variable.split_first_chunk::<12>().ok_or(NoHeader)?;
            let &[a, b, c, d, _, _, _, _, high, low, _, _] = addresses;
            let port = u16::from_be_bytes([high, low]);
            Announced::Client((Ipv4Addr::new(a, b, c, d), port).into())
        }
        (0x21, 0x21) => {
            let (addresses, _extensions) = variable.split_first_chunk::<36>().ok_or(NoHeader)?;
            let &[high, low, _, _] = addresses.last_chunk::<4>().ok_or(NoHeader)?;
            let source = *addresses.first_chunk::<16>().ok_or(NoHeader)?;
            let port = u16::from_be_bytes([high, low]);
            Announced::Client((Ipv6Addr::from(source), port).into())
        }
        _ => return Err(NoHeader),
    };
    Ok(Some(Header { announced, length: FIXED + length }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn announced(bytes: &[u8]) -> Result<Announced, NoHeader> {
        let header = parse(bytes)?.expect("it is whole");
        assert_eq!(header.length, bytes.len());
        Ok(header.announced)
    }

    fn version_2(command: u8, family: u8, variable: &[u8]) -> Vec<u8> {
        let length = u16::try_from(variable.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, variable].concat()
    }

    fn client(text: &str) -> Announced {
        Announced::Client(text.parse().unwrap())
    }

    #[test]
    fn a_line_names_the_client() {
        let check = |text: &str, expected| {
            assert_eq!(announced(format!("PROXY {text}\r\n").as_bytes()), expected, "{text}");
        };
        check("TCP4 192.0.2.7 198.51.100.1 50123 443", Ok(client("192.0.2.7:50123")));
        check("TCP6 2001:db8::7 2001:db8::1 0 443", Ok(client("[2001:db8::7]:0")));
        check("UNKNOWN", Ok(Announced::Unnamed));
        check("UNKNOWN ffff::1 ffff::2 1 2", Ok(Announced::Unnamed));
        for bad in [
            "",
            "TCP4",
            "TCP4 192.0.2.7 198.51.100.1 50123",
            "TCP4 192.0.2.7 198.51.100.1 50123 443 1",
            "TCP4  192.0.2.7 198.51.100.1 50123 443",
            "TCP4 2001:db8::7 2001:db8::1 1 2",
            "TCP6 192.0.2.7 198.51.100.1 1 2",
            "TCP4 192.0.2.7 198.51.100.1 65536 443",
            "TCP4 192.0.2.7 198.51.100.1 01 443",
            "TCP4 192.0.2.7 198.51.100.1 +1 443",
            "TCP4 192.0.2 198.51.100.1 1 443",
            "UDP4 192.0.2.7 198.51.100.1 1 443",
            "tcp4 192.0.2.7 198.51.100.1 1 443",
        ] {
            check(bad, Err(NoHeader));
        }
    }

    #[test]
    fn a_line_ends_within_107_bytes() {
        let of = |length: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(length - 16));
        assert_eq!(announced(of(107).as_bytes()), Ok(Announced::Unnamed));
        assert_eq!(parse(of(108).as_bytes()), Err(NoHeader));
        assert_eq!(parse(&of(200).as_bytes()[..107]), Err(NoHeader));
    }

    #[test]
    fn version_2_names_the_client_and_its_extensions_are_skipped() {
        let four = [192, 0, 2, 7, 198, 51, 100, 1, 0xc3, 0xcb, 1, 0xbb];
        let six = [&[0x20, 1, 0xd, 0xb8][..], &[0; 28], &[0, 80, 1, 0xbb]].concat();
        let check = |command, family, variable: &[u8], expected| {
            assert_eq!(announced(&version_2(command, family, variable)), expected, "{family:x}");
        };
        check(0x21, 0x11, &four, Ok(client("192.0.2.7:50123")));
        check(0x21, 0x11, &[&four[..], &[4, 0, 2, 0, 0]].concat(), Ok(client("192.0.2.7:50123")));
        check(0x21, 0x21, &six, Ok(client("[2001:db8::]:80")));
        check(0x20, 0x00, &[], Ok(Announced::Unnamed));
        check(0x20, 0x11, &four, Ok(Announced::Unnamed));
        check(0x21, 0x00, &[1, 2, 3], Ok(Announced::Unnamed));
        check(0x21, 0x31, &[0; 216], Ok(Announced::Unnamed));
        check(0x21, 0x11, &four[..11], Err(NoHeader));
        check(0x21, 0x21, &six[..35], Err(NoHeader));
        check(0x21, 0x12, &four, Err(NoHeader)); // UDP
        check(0x22, 0x11, &four, Err(NoHeader)); // no such command
        check(0x11, 0x11, &four, Err(NoHeader)); // no such version
        check(0x20, 0x00, &[0; MAX_VARIABLE], Ok(Announced::Unnamed));
        assert_eq!(parse(&version_2(0x20, 0, &[0; MAX_VARIABLE + 1])), Err(NoHeader));
    }

    #[test]
    fn other_beginnings_are_no_header() {
        for bytes in ["GET / HTTP/1.1", "PRI * HTTP/2.0", "proxy UNKNOWN", "\r\n\r\nGET", "\0"] {
            assert_eq!(parse(bytes.as_bytes()), Err(NoHeader), "{bytes}");
        }
        assert_eq!(parse(b""), Ok(None));
    }

    proptest! {
        #[test]
        fn a_header_is_incomplete_until_its_last_byte_and_ignores_what_follows(
            source: SocketAddr, extensions: Vec<u8>, rest: Vec<u8>,
        ) {
            let (family, mut variable) = match source.ip() {
                IpAddr::V4(ip) => (0x11, [ip.octets(), [9; 4]].concat()),
                IpAddr::V6(ip) => (0x21, [ip.octets(), [9; 16]].concat()),
            };
            variable.extend(source.port().to_be_bytes());
            variable.extend([0, 1]);
            variable.extend(extensions);
            let (word, other) =
                if source.is_ipv4() { ("TCP4", "9.9.9.9") } else { ("TCP6", "9::9") };
            let line = format!("PROXY {word} {} {other} {} 1\r\n", source.ip(), source.port());
            for header in [version_2(0x21, family, &variable), line.into_bytes()] {
                for end in 0..header.len() {
                    prop_assert_eq!(parse(&header[..end]), Ok(None));
                }
                let found = parse(&[&header[..], &rest].concat()).unwrap().unwrap();
                prop_assert_eq!(found.length, header.len());
                let Announced::Client(found) = found.announced else { panic!("it is named") };
                prop_assert_eq!((found.ip(), found.port()), (source.ip(), source.port()));
            }
        }

        #[test]
        fn any_bytes_are_read_within_them(bytes: Vec<u8>) {
            if let Ok(Some(header)) = parse(&bytes) {
                prop_assert!(header.length <= bytes.len() && header.length <= FIXED + MAX_VARIABLE);
            }
        }
    }
}
