//! What becomes of one prefix in the kernel: a route, or a reason why there is none.

use std::net::IpAddr;

use caracal_bgp::speaker::BestPaths;
use caracal_bgp::{Interface, PeerKey};
use caracal_linux::kernel::Underlay;
use caracal_linux::object::link::IfName;
use caracal_linux::object::route::{Hop, Route, RouteKind};

/// Why a best path is not in the kernel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotInstalled {
    /// It is this router's own announcement: the route there is not BGP's to make.
    #[error("this router announces the prefix itself")]
    Originated,
    /// Packets cannot be handed to the next hop directly.
    #[error(
        "next hop {next_hop} is on no subnet of this router: let the peer announce itself as next hop, or give this \
         router an address there"
    )]
    NextHopOffSubnet {
        /// The next hop.
        next_hop: IpAddr,
    },
    /// Packets would come back at once.
    #[error("next hop {next_hop} is an address of this router itself")]
    NextHopIsOwn {
        /// The next hop.
        next_hop: IpAddr,
    },
}

impl NotInstalled {
    /// The reason as a word, for logs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Originated => "Originated",
            Self::NextHopOffSubnet { .. } => "NextHopOffSubnet",
            Self::NextHopIsOwn { .. } => "NextHopIsOwn",
        }
    }
}

/// The kernel route of a prefix, from its best paths. Several paths of equal cost become one route of several hops;
/// hops that cannot be used are left out while one can.
///
/// # Errors
/// [`NotInstalled`], of the first path, when none can be used.
pub fn route(best: &BestPaths, underlay: &Underlay) -> Result<Route, NotInstalled> {
    let mut hops = Vec::with_capacity(best.paths.len());
    let mut refusal = None;
    for path in &best.paths {
        let Some(next_hop) = path.next_hop else { return Err(NotInstalled::Originated) };
        match hop(next_hop, path.peer, underlay) {
            Ok(hop) => hops.push(hop),
            Err(why) => refusal = refusal.or(Some(why)),
        }
    }
    if hops.is_empty() {
        return Err(refusal.unwrap_or(NotInstalled::Originated));
    }
    hops.sort();
    hops.dedup();
    Ok(Route::new(RouteKind::Unicast(hops)))
}

fn hop(next_hop: IpAddr, peer: Option<PeerKey>, underlay: &Underlay) -> Result<Hop, NotInstalled> {
    // A link-local address says nothing of the link; it is the peer's.
    let of_link =
        |address: &IpAddr| matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
    let peer = peer.filter(|_| of_link(&next_hop));
    if let Some(interface) = peer.and_then(|peer| peer.interface()) {
        return on_link(next_hop, interface, underlay);
    }
    if underlay.is_own(next_hop) {
        return Err(NotInstalled::NextHopIsOwn { next_hop });
    }
    let on_the_way = peer.map_or(next_hop, |peer| peer.address());
    match underlay.subnet_of(on_the_way) {
        Some(own) => Ok(Hop::via(next_hop, own.device)),
        None => Err(NotInstalled::NextHopOffSubnet { next_hop }),
    }
}

/// A link-local next hop on the link of this device. The same address on another device is another one.
fn on_link(next_hop: IpAddr, interface: Interface, underlay: &Underlay) -> Result<Hop, NotInstalled> {
    let device = IfName::new(interface.as_str()).ok().filter(|device| underlay.link(device).is_some());
    let device = device.ok_or(NotInstalled::NextHopOffSubnet { next_hop })?;
    if underlay.addresses_of(&device).any(|address| address.network.ip() == next_hop) {
        return Err(NotInstalled::NextHopIsOwn { next_hop });
    }
    Ok(Hop::via(next_hop, device))
}

#[cfg(test)]
mod tests {
    use caracal_bgp::rib::Source;
    use caracal_bgp::speaker::BestPath;
    use caracal_linux::object::address::Address;
    use caracal_linux::object::link::Link;

    use super::*;

    fn underlay() -> Underlay {
        let address = |(device, network): (&str, &str)| {
            Address::lasting(IfName::new(device).unwrap(), network.parse().unwrap())
        };
        let addresses = [("eth0", "172.29.0.1/24"), ("eth1", "172.30.0.1/24"), ("eth0", "fd00:29::1/64")];
        Underlay { addresses: addresses.map(address).into(), ..Underlay::default() }
    }

    fn best(next_hops: &[Option<&str>]) -> BestPaths {
        let path = |next_hop: &Option<&str>| BestPath {
            next_hop: next_hop.map(|text| text.parse().unwrap()),
            peer: next_hop.map(|_| PeerKey::from("172.29.0.2".parse::<IpAddr>().unwrap())),
            source: Source::Ebgp,
        };
        BestPaths { paths: next_hops.iter().map(path).collect() }
    }

    fn shown(next_hops: &[Option<&str>]) -> String {
        match route(&best(next_hops), &underlay()).map(|route| route.kind) {
            Ok(RouteKind::Unicast(hops)) => {
                let words = hops.iter().map(|hop| format!("{} {}", hop.via.unwrap(), hop.device));
                words.collect::<Vec<_>>().join(", ")
            }
            Ok(other) => format!("{other:?}"),
            Err(why) => why.code().to_owned(),
        }
    }

    #[test]
    fn a_next_hop_on_a_subnet_is_reached_by_its_device() {
        assert_eq!(shown(&[Some("172.30.0.7")]), "172.30.0.7 eth1");
        assert_eq!(shown(&[Some("fd00:29::2")]), "fd00:29::2 eth0");
        assert_eq!(shown(&[Some("fe80::2")]), "fe80::2 eth0", "on the link of the peer");
    }

    #[test]
    fn a_link_local_next_hop_is_on_the_link_of_its_peer_whatever_subnets_there_are() {
        let [eth0, eth1] = [(3, "eth0"), (4, "eth1")]
            .map(|(index, name)| Link::bare(index, IfName::new(name).unwrap(), true));
        let underlay = Underlay { links: [(3, eth0), (4, eth1)].into(), ..underlay() };
        let hop = |peer: &str, next_hop: &str| hop(next_hop.parse().unwrap(), peer.parse().ok(), &underlay);
        for device in ["eth0", "eth1"] {
            let found = hop(&format!("fe80::9%{device}"), "fe80::9").unwrap();
            assert_eq!((found.via, found.device.as_str()), ("fe80::9".parse().ok(), device));
        }
        assert_eq!(hop("fe80::9%eth1", "172.29.0.7").unwrap().device.as_str(), "eth0", "on a subnet");
        let gone = hop("fe80::9%eth2", "fe80::9").unwrap_err();
        assert_eq!(gone.code(), "NextHopOffSubnet");
    }

    #[test]
    fn paths_of_equal_cost_share_one_route_and_useless_ones_are_left_out() {
        let all = [Some("172.30.0.7"), Some("192.0.2.1"), Some("172.29.0.2")];
        assert_eq!(shown(&all), "172.29.0.2 eth0, 172.30.0.7 eth1");
    }

    #[test]
    fn what_cannot_be_installed_says_why() {
        assert_eq!(shown(&[Some("192.0.2.1")]), "NextHopOffSubnet");
        assert_eq!(shown(&[Some("172.29.0.1")]), "NextHopIsOwn");
        assert_eq!(shown(&[None]), "Originated");
    }
}
