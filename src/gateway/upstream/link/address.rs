//! Which addresses an upstream may have: public ones, and those that its operator names.
//!
//! A name in a configuration can come to mean an address inside, by mistake or because somebody who owns its zone
//! wants the gateway's view of the network. So what is resolved is checked, and what was checked is connected to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use http::Uri;
use http::uri::Scheme;

use crate::serve::Network;

/// Ports of public addresses: those on which web services are meant to be found.
const PUBLIC_PORTS: [u16; 2] = [443, 8443];

/// IPv4 networks without public addresses (IANA's special-purpose registry), and one of a cloud's own.
const NOT_PUBLIC_V4: [(Ipv4Addr, u32); 17] = [
    (Ipv4Addr::UNSPECIFIED, 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    // Azure's host: it looks public and answers only the machines on it, with what is theirs.
    (Ipv4Addr::new(168, 63, 129, 16), 32),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 31, 196, 0), 24),
    (Ipv4Addr::new(192, 52, 193, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    // Multicast, reserved, broadcast.
    (Ipv4Addr::new(224, 0, 0, 0), 3),
];

/// All that is public in IPv6. What lies outside (loopback, mapped IPv4, NAT64, link-local, unique local,
/// multicast, …) is not.
const PUBLIC_V6: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
/// What is not public within it: Teredo, benchmarks and other protocol assignments, documentation, 6to4.
const NOT_PUBLIC_V6: [(Ipv6Addr, u32); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// Why a connection to an address is not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It lies inside some network, and nobody named that.
    #[error("{0} is not a public address")]
    NotPublic(IpAddr),
    /// A public address, and a port that is for something else.
    #[error("port {0} of a public address is neither 443 nor 8443")]
    Port(u16),
    /// Without TLS anybody on the way reads and writes.
    #[error("http is for addresses in private_networks only")]
    Plain,
}

impl Refused {
    /// What to do.
    pub fn mend(&self) -> &'static str {
        match self {
            Self::NotPublic(_) => "if it is meant, add its network to private_networks",
            Self::Port(_) => "use one of these, or add its network to private_networks",
            Self::Plain => "use https, or add its network to private_networks",
        }
    }
}

/// Holds the connections of one upstream to the addresses that it may have.
#[derive(Clone, Debug)]
pub(super) struct AddressGuard {
    private_networks: Vec<Network>,
}

impl AddressGuard {
    pub(super) fn new(private_networks: &[Network]) -> Self {
        Self { private_networks: private_networks.to_vec() }
    }

    /// Whether a URL of this scheme may lead to this address.
    pub(super) fn check(&self, scheme: Option<&Scheme>, to: SocketAddr) -> Result<(), Refused> {
        if self.private_networks.iter().any(|it| it.contains(to.ip())) {
            return Ok(());
        }
        match to.ip() {
            _ if scheme != Some(&Scheme::HTTPS) => Err(Refused::Plain),
            IpAddr::V4(it) if !is_public_v4(it) => Err(Refused::NotPublic(to.ip())),
            IpAddr::V6(it) if !is_public_v6(it) => Err(Refused::NotPublic(to.ip())),
            _ if !PUBLIC_PORTS.contains(&to.port()) => Err(Refused::Port(to.port())),
            _ => Ok(()),
        }
    }
}

/// Whether a URL can lead anywhere: what can be said of it before its name is resolved.
pub fn may_lead_somewhere(url: &Uri, private_networks: &[Network]) -> Result<(), Refused> {
    let port = port(url);
    match host(url).parse() {
        Ok(address) => {
            AddressGuard::new(private_networks).check(url.scheme(), SocketAddr::new(address, port))
        }
        Err(_) if !private_networks.is_empty() => Ok(()),
        Err(_) if url.scheme() != Some(&Scheme::HTTPS) => Err(Refused::Plain),
        Err(_) if !PUBLIC_PORTS.contains(&port) => Err(Refused::Port(port)),
        Err(_) => Ok(()),
    }
}

/// A URL's host, an IPv6 address without its brackets.
pub(super) fn host(url: &Uri) -> &str {
    url.host().unwrap_or_default().trim_matches(['[', ']'])
}

/// A URL's port, said or understood.
pub(super) fn port(url: &Uri) -> u16 {
    let usual = if url.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 };
    url.port_u16().unwrap_or(usual)
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let within = |(network, prefix): (Ipv4Addr, u32)| {
        (network.to_bits() ^ address.to_bits()).leading_zeros() >= prefix
    };
    !NOT_PUBLIC_V4.into_iter().any(within)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let within = |(network, prefix): (Ipv6Addr, u32)| {
        (network.to_bits() ^ address.to_bits()).leading_zeros() >= prefix
    };
    within(PUBLIC_V6) && !NOT_PUBLIC_V6.into_iter().any(within)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn guard(networks: &[&str]) -> AddressGuard {
        let networks: Vec<Network> =
            networks.iter().map(|it| Network::parse(it).unwrap()).collect();
        AddressGuard::new(&networks)
    }

    fn https(networks: &[&str], address: &str, port: u16) -> Result<(), Refused> {
        let address = SocketAddr::new(address.parse().unwrap(), port);
        guard(networks).check(Some(&Scheme::HTTPS), address)
    }

    #[test]
    fn what_is_not_public_is_refused_unless_it_is_named() {
        for inside in [
            "0.0.0.0",
            "0.1.2.3",
            "10.1.2.3",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.9.9.9",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:2::1",
            "2001:10::1",
            "2001:20::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "3fff:fff::1",
            "4000::1",
            "5f00::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
        ] {
            let ip: IpAddr = inside.parse().unwrap();
            assert_eq!(https(&[], inside, 443), Err(Refused::NotPublic(ip)), "{inside}");
            assert_eq!(https(&[inside], inside, 443), Ok(()), "{inside}, named");
        }
        for outside in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "168.63.129.15",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2001:200::1",
            "2001:db9::1",
            "2606:4700::1111",
            "2a00:1450::1",
            "3ffe:ffff::1",
        ] {
            assert_eq!(https(&[], outside, 443), Ok(()), "{outside}");
        }
    }

    #[test]
    fn a_public_address_has_two_ports_and_a_named_one_all() {
        assert_eq!(https(&[], "8.8.8.8", 8443), Ok(()));
        for port in [0, 22, 80, 6379, 8080] {
            assert_eq!(https(&[], "8.8.8.8", port), Err(Refused::Port(port)));
            assert_eq!(https(&["10.0.0.0/8"], "10.1.1.1", port), Ok(()));
        }
    }

    #[test]
    fn http_goes_to_named_addresses_only() {
        let http = |networks: &[&str], address: &str| {
            guard(networks).check(Some(&Scheme::HTTP), address.parse().unwrap())
        };
        assert_eq!(http(&[], "8.8.8.8:443"), Err(Refused::Plain));
        assert_eq!(http(&["10.0.0.0/8"], "127.0.0.1:80"), Err(Refused::Plain));
        assert_eq!(http(&["127.0.0.1"], "127.0.0.1:80"), Ok(()));
    }

    #[test]
    fn a_url_that_leads_nowhere_is_known_before_its_name_is_resolved() {
        let inside = Refused::NotPublic(IpAddr::V4(Ipv4Addr::LOCALHOST));
        for (url, networks, expected) in [
            ("https://mcp.example/mcp", &[][..], Ok(())),
            ("https://mcp.example:8443", &[], Ok(())),
            ("https://mcp.example:9", &[], Err(Refused::Port(9))),
            ("https://mcp.example:9", &["10.0.0.0/8"], Ok(())),
            ("http://mcp.example", &[], Err(Refused::Plain)),
            ("http://mcp.example", &["10.0.0.0/8"], Ok(())),
            ("https://127.0.0.1", &["10.0.0.0/8"], Err(inside)),
            ("http://[::1]:8080/mcp", &["::1"], Ok(())),
            ("http://[::1]:8080/mcp", &["10.0.0.0/8"], Err(Refused::Plain)),
        ] {
            let networks: Vec<Network> =
                networks.iter().map(|it| Network::parse(it).unwrap()).collect();
            assert_eq!(may_lead_somewhere(&url.parse().unwrap(), &networks), expected, "{url}");
        }
    }

    proptest! {
        #[test]
        fn no_spelling_of_an_inner_ipv4_address_in_ipv6_is_public(low in any::<u32>()) {
            let v4 = Ipv4Addr::from_bits(low);
            for spelled in [v4.to_ipv6_mapped(), v4.to_ipv6_compatible()] {
                prop_assert!(!is_public_v6(spelled));
            }
            let six_to_four = Ipv6Addr::from_bits(0x2002 << 112 | u128::from(low) << 80);
            let nat64 = Ipv6Addr::from_bits(0x64_ff9b << 96 | u128::from(low));
            prop_assert!(!is_public_v6(six_to_four) && !is_public_v6(nat64));
        }

        #[test]
        fn what_is_called_public_is_public_for_the_standard_library_too(bits in any::<u32>()) {
            let v4 = Ipv4Addr::from_bits(bits);
            let inner = v4.is_private() || v4.is_loopback() || v4.is_link_local()
                || v4.is_multicast() || v4.is_broadcast() || v4.is_documentation()
                || v4.is_unspecified();
            prop_assert!(!(inner && is_public_v4(v4)));
        }
    }
}
