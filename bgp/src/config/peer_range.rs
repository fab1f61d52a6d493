//! Peers that are not named one by one: whoever connects from a range of addresses is one.
//!
//! Such a peer is passive, exists from its connection on, and is gone when its session is over and nothing is kept of it.
//! A configured peer of the same address goes before any range, and the longest range before shorter ones.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;

use ipnetwork::IpNetwork;

use super::{LocalNextHops, PeerConfig, PeerOrigin};

/// A range of addresses from which anybody may connect who keeps to its terms.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerRange {
    /// What every peer of the range is like. Its address is of no meaning, its name is that of the range.
    pub terms: PeerConfig,
    /// How many peers may be there at once.
    pub max_peers: NonZeroU16,
    /// The own addresses announced as next hop to peers of each of these networks, in addition to those of the terms.
    pub next_hops: BTreeMap<IpNetwork, LocalNextHops>,
}

impl PeerRange {
    /// How many peers a range has at most, where nothing else is said.
    pub const MAX_PEERS: NonZeroU16 = NonZeroU16::MIN.saturating_add(99);

    /// A range of the usual size.
    pub fn new(terms: PeerConfig) -> Self {
        PeerRange { terms, max_peers: PeerRange::MAX_PEERS, next_hops: BTreeMap::new() }
    }

    /// The peer at an address of the range with this prefix.
    pub fn peer(&self, prefix: IpNetwork, address: IpAddr) -> PeerConfig {
        let mut hops = self.terms.local_next_hops;
        if let Some((_, here)) = longest(&self.next_hops, address) {
            hops = LocalNextHops { v4: hops.v4.or(here.v4), v6: hops.v6.or(here.v6) };
        }
        PeerConfig {
            origin: PeerOrigin::Range(prefix),
            remote: SocketAddr::new(address, self.terms.remote.port()),
            passive: true,
            local_next_hops: hops,
            ..self.terms.clone()
        }
    }
}

/// What the longest of these networks with the address in it has.
pub fn longest<T>(networks: &BTreeMap<IpNetwork, T>, address: IpAddr) -> Option<(IpNetwork, &T)> {
    let around = networks.iter().filter(|(network, _)| network.contains(address));
    around.max_by_key(|(network, _)| network.prefix()).map(|(network, value)| (*network, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Asn;

    fn net(text: &str) -> IpNetwork {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_longest_range_around_an_address_is_its_own() {
        let all = ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.1.1/32", "::/0", "2001:db8::/32"];
        let ranges: BTreeMap<IpNetwork, usize> = all.map(net).into_iter().zip(0..).collect();
        let found = |address: &str| longest(&ranges, ip(address)).map(|(network, _)| network.to_string());
        for (address, wanted) in [
            ("192.0.2.1", "0.0.0.0/0"),
            ("10.2.0.1", "10.0.0.0/8"),
            ("10.1.1.2", "10.1.0.0/16"),
            ("10.1.1.1", "10.1.1.1/32"),
            ("2001:db8::1", "2001:db8::/32"),
            ("2001:db9::1", "::/0"),
        ] {
            assert_eq!(found(address).as_deref(), Some(wanted), "{address}");
        }
        assert_eq!(longest(&BTreeMap::<IpNetwork, ()>::new(), ip("10.0.0.1")), None);
    }

    #[test]
    fn a_peer_of_a_range_has_its_terms_and_the_next_hops_of_its_own_subnet() {
        let terms = PeerConfig {
            name: "racks".to_owned(),
            ..PeerConfig::new(SocketAddr::from(([10, 0, 0, 0], 179)), Asn(1), Asn(2))
        };
        let hops = |text: &str| LocalNextHops { v6: Some(text.parse().unwrap()), ..LocalNextHops::default() };
        let next_hops = BTreeMap::from([
            (net("10.1.0.0/24"), hops("fd00:1::1")),
            (net("10.2.0.0/24"), hops("fd00:2::1")),
        ]);
        let range = PeerRange { next_hops, ..PeerRange::new(terms) };
        assert_eq!(range.max_peers.get(), 100);
        let peer = range.peer(net("10.0.0.0/8"), ip("10.2.0.7"));
        assert_eq!((peer.name.as_str(), peer.passive), ("racks", true));
        assert_eq!(peer.remote, "10.2.0.7:179".parse().unwrap());
        assert_eq!(peer.local_next_hops, hops("fd00:2::1"));
        assert_eq!(peer.origin, PeerOrigin::Range(net("10.0.0.0/8")));
        let elsewhere = range.peer(net("10.0.0.0/8"), ip("10.3.0.7"));
        assert_eq!(elsewhere.local_next_hops, LocalNextHops::default());
    }
}
