//! How many connections each address holds.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The shares of all addresses that hold one. With PROXY protocol a connection learns late whose it is, so the accept
/// loop and the connections share this.
#[derive(Clone, Debug)]
pub(super) struct Shares {
    held: Arc<Held>,
    /// Connections of one address.
    limit: usize,
}

type Held = Mutex<HashMap<IpAddr, usize>>;

impl Shares {
    pub(super) fn new(limit: usize) -> Self {
        Self { held: Arc::default(), limit }
    }

    /// One more connection of this address, unless it has its share.
    pub(super) fn take(&self, address: IpAddr) -> Option<Share> {
        let neighbourhood = neighbourhood(address);
        let mut counts = counts(&self.held);
        let count = counts.get(&neighbourhood).copied().unwrap_or(0);
        (count < self.limit).then(|| {
            counts.insert(neighbourhood, count + 1);
            Share { held: Arc::clone(&self.held), neighbourhood }
        })
    }
}

/// One connection's part of its address's share; given back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    held: Arc<Held>,
    neighbourhood: IpAddr,
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut counts = counts(&self.held);
        if let Some(count) = counts.get_mut(&self.neighbourhood) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.neighbourhood);
            }
        }
    }
}

fn counts(held: &Held) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who counts as one address: an IPv4 address, or the /64 that one IPv6 customer has to himself.
fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_network_is_one_address() {
        let check = |address: &str, expected: &str| {
            assert_eq!(
                neighbourhood(address.parse().unwrap()),
                expected.parse::<IpAddr>().unwrap()
            );
        };
        check("192.0.2.7", "192.0.2.7");
        check("::ffff:192.0.2.7", "192.0.2.7");
        check("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::");
        check("2001:db8:1:2:ffff::1", "2001:db8:1:2::");
    }

    #[test]
    fn a_share_comes_back_and_leaves_nothing_behind() {
        let (shares, address) = (Shares::new(2), "192.0.2.7".parse().unwrap());
        let both = (shares.take(address).unwrap(), shares.take(address).unwrap());
        assert!(shares.take(address).is_none());
        assert!(shares.take("192.0.2.8".parse().unwrap()).is_some());
        drop(both.0);
        assert!(shares.take(address).is_some());
        drop(both.1);
        assert!(counts(&shares.held).is_empty());
    }
}
