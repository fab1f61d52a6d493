//! What becomes of one prefix in the kernel: a route, or a reason why there is none.

use std::net::IpAddr;

use caracal_bgp::speaker::BestPaths;
use caracal_linux::object::route::{Hop, Route, RouteKind, Scope};
use ipnetwork::IpNetwork;

use super::encapsulation::{Tunnel, Way, way};
use super::surroundings::Surroundings;

/// Why a best path is not in the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NotInstalled {
    /// It is this node's own announcement: pods and blackholes have their own routes.
    #[error("this node announces the prefix itself")]
    Originated,
    /// Plain forwarding needs the next hop on a subnet of this node.
    #[error("next hop {next_hop} is on no subnet of this node, and the pool does not allow a tunnel to it")]
    NextHopOffSubnet {
        /// The next hop.
        next_hop: IpAddr,
    },
    /// A tunnel leads only to nodes.
    #[error("next hop {next_hop} belongs to no known node, so no tunnel can lead there")]
    NextHopNotNode {
        /// The next hop.
        next_hop: IpAddr,
    },
    /// The tunnel the pool asks for cannot be made on this node.
    #[error("the pool asks for {tunnel:?} to {next_hop}, and this node has no such tunnel device")]
    NoTunnel {
        /// Which tunnel.
        tunnel: Tunnel,
        /// The next hop.
        next_hop: IpAddr,
    },
}

impl NotInstalled {
    /// The reason as a code, for conditions, JSON and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Originated => "Originated",
            Self::NextHopOffSubnet { .. } => "NextHopOffSubnet",
            Self::NextHopNotNode { .. } => "NextHopNotNode",
            Self::NoTunnel { .. } => "NoTunnel",
        }
    }
}

/// The kernel route of a prefix, from its best paths. Several paths of equal cost become one route of several hops;
/// hops that cannot be used are left out while one can.
///
/// # Errors
/// [`NotInstalled`], of the first path, when none can be used.
pub fn route(
    prefix: IpNetwork,
    best: &BestPaths,
    surroundings: &Surroundings,
    protocol: u8,
) -> Result<Route, NotInstalled> {
    let mut hops = Vec::with_capacity(best.paths.len());
    let mut refusal = None;
    for path in &best.paths {
        let hop = path.next_hop.ok_or(NotInstalled::Originated).and_then(|n| hop(prefix, n, surroundings));
        match hop {
            Ok(hop) => hops.push(hop),
            Err(NotInstalled::Originated) => return Err(NotInstalled::Originated),
            Err(why) => refusal = refusal.or(Some(why)),
        }
    }
    if hops.is_empty() {
        return Err(refusal.unwrap_or(NotInstalled::Originated));
    }
    hops.sort();
    hops.dedup();
    Ok(Route { kind: RouteKind::Unicast(hops), source: None, scope: Scope::Universe, protocol, mtu: None })
}

/// What stands in the kernel in place of a route that cannot be: inside a pool `unreachable`, since the default route
/// would carry pods' packets to where nobody knows them; elsewhere nothing.
pub fn in_place_of(
    prefix: IpNetwork,
    why: &NotInstalled,
    surroundings: &Surroundings,
    protocol: u8,
) -> Option<Route> {
    if *why == NotInstalled::Originated || surroundings.pool_of(prefix).is_none() {
        return None;
    }
    let scope = Scope::Universe;
    Some(Route { kind: RouteKind::Unreachable, source: None, scope, protocol, mtu: None })
}

fn hop(prefix: IpNetwork, next_hop: IpAddr, surroundings: &Surroundings) -> Result<Hop, NotInstalled> {
    match way(prefix, next_hop, surroundings) {
        Way::Plain => match surroundings.subnet_of(next_hop) {
            Some(subnet) => Ok(Hop::via(next_hop, subnet.device)),
            None => Err(NotInstalled::NextHopOffSubnet { next_hop }),
        },
        Way::Through(_) if !surroundings.nodes.contains_key(&next_hop) => {
            Err(NotInstalled::NextHopNotNode { next_hop })
        }
        Way::Through(tunnel) => Err(NotInstalled::NoTunnel { tunnel, next_hop }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::surroundings::{PoolRange, Subnet};
    use super::*;
    use caracal_api::EncapsulationMode::{self, Always, CrossSubnet, Never};
    use caracal_bgp::rib::Source;
    use caracal_bgp::speaker::BestPath;
    use caracal_linux::object::link::IfName;

    fn surroundings(ipip: EncapsulationMode) -> Surroundings {
        let device = IfName::new("eth0").unwrap();
        let pool = |network: &str, ipip, vxlan| PoolRange { network: network.parse().unwrap(), ipip, vxlan };
        Surroundings {
            subnets: vec![
                Subnet { network: "172.30.0.11/24".parse().unwrap(), device },
                Subnet { network: "fd00:30::11/64".parse().unwrap(), device },
            ],
            nodes: [("172.30.1.12".parse().unwrap(), "n2".to_owned())].into(),
            pools: vec![pool("10.244.0.0/16", ipip, Never), pool("fd00:244::/48", Never, Never)],
        }
    }

    fn outcome(prefix: &str, next_hops: &[&str], ipip: EncapsulationMode) -> String {
        let path =
            |n: &&str| BestPath { next_hop: Some(n.parse().unwrap()), peer: None, source: Source::Ibgp };
        let best = BestPaths { paths: next_hops.iter().map(path).collect() };
        match route(prefix.parse().unwrap(), &best, &surroundings(ipip), 67) {
            Err(why) => why.code().to_owned(),
            Ok(Route { kind: RouteKind::Unicast(hops), protocol: 67, .. }) => hops
                .iter()
                .map(|h| format!("via {} dev {}", h.via.unwrap(), h.device))
                .collect::<Vec<_>>()
                .join(" "),
            Ok(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_next_hop_on_the_own_subnet_is_routed_plain() {
        for mode in [Never, CrossSubnet] {
            assert_eq!(outcome("10.244.1.0/26", &["172.30.0.12"], mode), "via 172.30.0.12 dev eth0");
        }
        assert_eq!(outcome("fd00:244::40/122", &["fd00:30::12"], Never), "via fd00:30::12 dev eth0");
    }

    #[test]
    fn what_cannot_be_forwarded_says_why() {
        assert_eq!(outcome("10.244.1.0/26", &["172.30.1.12"], Never), "NextHopOffSubnet");
        assert_eq!(outcome("10.244.1.0/26", &["172.30.1.12"], CrossSubnet), "NoTunnel");
        assert_eq!(outcome("10.244.1.0/26", &["172.30.0.12"], Always), "NextHopNotNode");
        assert_eq!(outcome("10.244.1.0/26", &["172.30.1.99"], CrossSubnet), "NextHopNotNode");
    }

    #[test]
    fn outside_the_pools_nothing_is_encapsulated() {
        assert_eq!(outcome("192.0.2.0/24", &["172.30.0.1"], Always), "via 172.30.0.1 dev eth0");
    }

    #[test]
    fn equal_paths_become_hops_in_one_order_and_unusable_ones_are_left_out() {
        let both = "via 172.30.0.1 dev eth0 via 172.30.0.2 dev eth0";
        assert_eq!(outcome("192.0.2.0/24", &["172.30.0.2", "172.30.0.1"], Never), both);
        assert_eq!(outcome("192.0.2.0/24", &["172.30.0.1", "172.30.0.2"], Never), both);
        assert_eq!(outcome("192.0.2.0/24", &["172.30.9.1", "172.30.0.2"], Never), "via 172.30.0.2 dev eth0");
    }
}
