//! Whose address a request came from: the connection's, or what a proxy we trust says of it.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// The proxies whose `X-Forwarded-For` is believed.
#[derive(Clone, Debug, Default)]
pub(super) struct Proxies(Vec<Network>);

impl Proxies {
    pub(super) fn new(trusted: Vec<Network>) -> Self {
        Self(trusted)
    }

    /// The client's address: going back from the connection through proxies we trust, the first that is none.
    /// What a client writes into the header itself stands further left, and is never reached.
    pub(super) fn client(&self, connection: IpAddr, headers: &HeaderMap) -> IpAddr {
        let values: Vec<&str> =
            headers.get_all(FORWARDED_FOR).iter().filter_map(|it| it.to_str().ok()).collect();
        let mut hops = values.iter().flat_map(|it| it.split(',')).rev().map(str::trim);
        let mut address = connection;
        while self.0.iter().any(|trusted| trusted.contains(address)) {
            match hops.next().and_then(hop) {
                Some(hop) => address = hop,
                None => break,
            }
        }
        address
    }
}

/// The address of one hop. Azure's Application Gateway and App Service write the port behind it.
fn hop(text: &str) -> Option<IpAddr> {
    text.parse().or_else(|_| text.parse().map(|it: SocketAddr| it.ip())).ok()
}

/// The text is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a network is an address, or an address and a prefix such as 10.0.0.0/8")]
pub struct NotANetwork;

/// Some addresses: all that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Reads `ADDRESS` or `ADDRESS/PREFIX`.
    pub fn parse(text: &str) -> Result<Self, NotANetwork> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NotANetwork)?;
        let whole = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(whole), str::parse).map_err(|_| NotANetwork)?;
        if prefix <= whole { Ok(Self { address, prefix }) } else { Err(NotANetwork) }
    }

    /// Whether an address is one of these. An IPv4 address in IPv6 form is the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let bits = |it: IpAddr| match it.to_canonical() {
            IpAddr::V4(it) => (32, u128::from(it.to_bits()) << 96),
            IpAddr::V6(it) => (128, it.to_bits()),
        };
        let ((ours, first), (theirs, second)) = (bits(self.address), bits(address));
        let shift = 128 - u32::from(self.prefix);
        ours == theirs && (first ^ second).checked_shr(shift).unwrap_or(0) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forwarded_address_is_believed_from_trusted_proxies_alone() {
        let proxies = Proxies::new(vec![Network::parse("10.0.0.0/8").unwrap()]);
        let check = |connection: &str, forwarded: &'static [&'static str], client: &str| {
            let mut headers = HeaderMap::new();
            for value in forwarded {
                headers.append(FORWARDED_FOR, http::HeaderValue::from_static(value));
            }
            let found = proxies.client(connection.parse().unwrap(), &headers);
            assert_eq!(found, client.parse::<IpAddr>().unwrap(), "{connection} {forwarded:?}");
        };
        check("192.0.2.1", &["198.51.100.9"], "192.0.2.1");
        check("10.0.0.1", &["198.51.100.9"], "198.51.100.9");
        check("10.0.0.1", &["1.1.1.1, 198.51.100.9", "10.0.0.2"], "198.51.100.9");
        check("10.0.0.1", &["forged, 10.0.0.2"], "10.0.0.2");
        check("10.0.0.1", &[], "10.0.0.1");
    }

    #[test]
    fn a_forwarded_address_may_have_its_port_behind_it() {
        let proxies = Proxies::new(vec![Network::parse("10.0.0.0/8").unwrap()]);
        let check = |forwarded: &'static str, client: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(FORWARDED_FOR, http::HeaderValue::from_static(forwarded));
            let found = proxies.client("10.0.0.1".parse().unwrap(), &headers);
            assert_eq!(found, client.parse::<IpAddr>().unwrap(), "{forwarded}");
        };
        check("198.51.100.9:50123", "198.51.100.9");
        check("198.51.100.9:50123, 10.0.0.2:443", "198.51.100.9");
        check("[2001:db8::9]:50123, 10.0.0.2", "2001:db8::9");
        check("2001:db8::9", "2001:db8::9");
        for none in ["198.51.100.9:", "198.51.100.9:99999", "2001:db8::9:x", "198.51.100.9 :1"] {
            check(none, "10.0.0.1");
        }
    }

    #[test]
    fn a_network_contains_what_begins_with_its_bits() {
        let check = |network, address: &str, expected| {
            let network = Network::parse(network).unwrap();
            assert_eq!(
                network.contains(address.parse().unwrap()),
                expected,
                "{network:?} {address}"
            );
        };
        check("10.0.0.0/8", "10.9.9.9", true);
        check("10.0.0.0/8", "11.0.0.0", false);
        check("10.0.0.0/8", "::ffff:10.1.1.1", true);
        check("10.0.0.1", "10.0.0.1", true);
        check("10.0.0.1", "10.0.0.2", false);
        check("0.0.0.0/0", "9.9.9.9", true);
        check("0.0.0.0/0", "::1", false);
        check("fd00::/8", "fd12::1", true);
        check("::/0", "fe80::1", true);
        for bad in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "a/8", "10.0.0.0/"] {
            assert!(Network::parse(bad).is_err(), "{bad}");
        }
    }
}
