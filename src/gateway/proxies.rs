//! Whose address a request came from: the connection's, or what a proxy we trust says of it.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName};

use super::forwarded;
use crate::serve::Network;

/// Proxies that one request comes through; what more of them say is not read.
const MAX_HOPS: usize = 32;

/// The header in which proxies say who asked them. A proxy that writes one lets the other pass as the client wrote it, so
/// only one is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardedHeader {
    /// What most proxies write.
    #[default]
    XForwardedFor,
    /// RFC 7239.
    Forwarded,
}

impl ForwardedHeader {
    fn name(self) -> HeaderName {
        match self {
            Self::XForwardedFor => HeaderName::from_static("x-forwarded-for"),
            Self::Forwarded => http::header::FORWARDED,
        }
    }

    /// Who asked each proxy, the last proxy first; none where it does not say.
    fn hops(self, value: &str) -> Vec<Option<IpAddr>> {
        match self {
            Self::XForwardedFor => {
                value.rsplit(',').map(|it| hop(it.trim())).take(MAX_HOPS).collect()
            }
            Self::Forwarded => {
                let elements = forwarded::elements_backwards(value).take(MAX_HOPS);
                elements.map(forwarded::asked_by).collect()
            }
        }
    }
}

/// The proxies that are believed, and where they write.
#[derive(Clone, Debug, Default)]
pub(super) struct Proxies {
    trusted: Vec<Network>,
    header: ForwardedHeader,
}

impl Proxies {
    pub(super) fn new(trusted: Vec<Network>, header: ForwardedHeader) -> Self {
        Self { trusted, header }
    }

    /// The client's address: going back from the connection through proxies we trust, the first that is none.
    /// What a client writes into the header itself stands further left, and is never reached.
    pub(super) fn client(&self, connection: IpAddr, headers: &HeaderMap) -> IpAddr {
        let trusts = |address| self.trusted.iter().any(|trusted| trusted.contains(address));
        let values = headers.get_all(self.header.name()).iter().rev().take(MAX_HOPS);
        // Bytes that are no text spoil the element that they stand in: a client could hide the others by one.
        let hops = values.flat_map(|it| self.header.hops(&String::from_utf8_lossy(it.as_bytes())));
        let mut address = connection;
        for hop in hops.take(MAX_HOPS) {
            match hop {
                Some(hop) if trusts(address) => address = hop,
                _ => break,
            }
        }
        address
    }
}

/// The address of one hop. Azure's Application Gateway and App Service write the port behind it.
fn hop(text: &str) -> Option<IpAddr> {
    text.parse().or_else(|_| text.parse().map(|it: SocketAddr| it.ip())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header: ForwardedHeader, connection: &str, values: &[&str], client: &str) {
        let proxies = Proxies::new(vec![Network::parse("10.0.0.0/8").unwrap()], header);
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header.name(), value.parse().unwrap());
        }
        let found = proxies.client(connection.parse().unwrap(), &headers);
        assert_eq!(found, client.parse::<IpAddr>().unwrap(), "{connection} {values:?}");
    }

    #[test]
    fn a_forwarded_address_is_believed_from_trusted_proxies_alone() {
        let check = |connection: &str, values: &[&str], client: &str| {
            check(ForwardedHeader::XForwardedFor, connection, values, client);
        };
        check("192.0.2.1", &["198.51.100.9"], "192.0.2.1");
        check("10.0.0.1", &["198.51.100.9"], "198.51.100.9");
        check("10.0.0.1", &["1.1.1.1, 198.51.100.9", "10.0.0.2"], "198.51.100.9");
        check("10.0.0.1", &["forged, 10.0.0.2"], "10.0.0.2");
        check("10.0.0.1", &["1.1.1.1, \u{e4}, 10.0.0.2"], "10.0.0.2");
        check("10.0.0.1", &["\u{e4}, 198.51.100.9"], "198.51.100.9");
        check("10.0.0.1", &[], "10.0.0.1");
    }

    #[test]
    fn forwarded_is_believed_from_trusted_proxies_alone() {
        let check = |connection: &str, values: &[&str], client: &str| {
            check(ForwardedHeader::Forwarded, connection, values, client);
        };
        check("192.0.2.1", &["for=198.51.100.9"], "192.0.2.1");
        check("10.0.0.1", &["for=198.51.100.9;proto=https"], "198.51.100.9");
        check("10.0.0.1", &["for=1.1.1.1, for=198.51.100.9", "for=10.0.0.2"], "198.51.100.9");
        check(
            "10.0.0.1",
            &["for=\"1.1.1.1", "for=\"[2001:db8::9]:1\", for=10.0.0.2"],
            "2001:db8::9",
        );
        check("10.0.0.1", &["for=1.1.1.1, for=unknown, for=10.0.0.2"], "10.0.0.2");
        check("10.0.0.1", &["for=1.1.1.1, proto=http"], "10.0.0.1");
    }

    #[test]
    fn the_header_that_the_proxies_do_not_write_is_the_clients() {
        let trusted = vec![Network::parse("10.0.0.0/8").unwrap()];
        let headers = HeaderMap::from_iter([
            (ForwardedHeader::XForwardedFor.name(), "192.0.2.1".parse().unwrap()),
            (ForwardedHeader::Forwarded.name(), "for=192.0.2.2".parse().unwrap()),
        ]);
        for (header, expected) in [
            (ForwardedHeader::XForwardedFor, [192, 0, 2, 1]),
            (ForwardedHeader::Forwarded, [192, 0, 2, 2]),
        ] {
            let found =
                Proxies::new(trusted.clone(), header).client([10, 0, 0, 1].into(), &headers);
            assert_eq!(found, IpAddr::from(expected));
        }
    }

    #[test]
    fn so_many_hops_and_no_more() {
        let hops = vec!["10.0.0.2"; MAX_HOPS - 1].join(", ");
        check(
            ForwardedHeader::XForwardedFor,
            "10.0.0.1",
            &[&format!("192.0.2.1, {hops}")],
            "192.0.2.1",
        );
        check(
            ForwardedHeader::XForwardedFor,
            "10.0.0.1",
            &[&format!("192.0.2.1, 10.0.0.3, {hops}")],
            "10.0.0.3",
        );
    }

    #[test]
    fn a_forwarded_address_may_have_its_port_behind_it() {
        let check = |value: &str, client: &str| {
            check(ForwardedHeader::XForwardedFor, "10.0.0.1", &[value], client);
        };
        check("198.51.100.9:50123", "198.51.100.9");
        check("198.51.100.9:50123, 10.0.0.2:443", "198.51.100.9");
        check("[2001:db8::9]:50123, 10.0.0.2", "2001:db8::9");
        check("2001:db8::9", "2001:db8::9");
        for none in ["198.51.100.9:", "198.51.100.9:99999", "2001:db8::9:x", "198.51.100.9 :1"] {
            check(none, "10.0.0.1");
        }
    }
}
