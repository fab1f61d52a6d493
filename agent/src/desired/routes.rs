//! What becomes of one prefix in the kernel: a route, or a reason why there is none.

use std::net::IpAddr;

use caracal_bgp::speaker::BestPaths;
use caracal_linux::object::route::{Hop, Route, RouteKind, Scope};
use ipnetwork::IpNetwork;

use super::encapsulation::{Tunnel, Way, way};
use super::surroundings::{Ability, Remote, Surroundings};
use super::tunnels;

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
    /// The tunnel the pool asks for cannot be had.
    #[error("the pool asks for {tunnel} to {next_hop}, which cannot be had: {why}")]
    NoTunnel {
        /// Which tunnel.
        tunnel: Tunnel,
        /// The next hop.
        next_hop: IpAddr,
        /// What stands in its way.
        why: String,
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
        Way::Through(tunnel) => {
            let remote =
                surroundings.nodes.get(&next_hop).ok_or(NotInstalled::NextHopNotNode { next_hop })?;
            through(tunnel, prefix, next_hop, remote, &surroundings.ability)
                .map_err(|why| NotInstalled::NoTunnel { tunnel, next_hop, why })
        }
    }
}

/// The hop through a tunnel to a node.
fn through(
    tunnel: Tunnel,
    prefix: IpNetwork,
    next_hop: IpAddr,
    remote: &Remote,
    ability: &Ability,
) -> Result<Hop, String> {
    match tunnel {
        Tunnel::Ipip => {
            ability.ipip.clone()?;
            // Any of the node's addresses will do, and the session's own is the one that is known to be reached.
            let named = Some(next_hop).filter(IpAddr::is_ipv4).or(remote.v4);
            let gateway = named.ok_or_else(|| format!("node {} has no IPv4 address", remote.name))?;
            Ok(Hop::via(gateway, tunnels::device(tunnels::IPIP)).onlink())
        }
        Tunnel::Vxlan => {
            let vtep = tunnels::vtep(ability, remote)?;
            let (gateway, onlink) = vtep.gateway(prefix.is_ipv4());
            let hop = Hop::via(gateway, vtep.device);
            Ok(if onlink { hop.onlink() } else { hop })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::surroundings::{PoolRange, Subnet};
    use super::super::tunnels::Asked;
    use super::*;
    use caracal_api::EncapsulationMode::{self, Always, CrossSubnet, Never};
    use caracal_bgp::rib::Source;
    use caracal_bgp::speaker::BestPath;
    use caracal_linux::object::link::IfName;

    fn surroundings(ipip: EncapsulationMode, vxlan: EncapsulationMode) -> Surroundings {
        let device = IfName::new("eth0").unwrap();
        let pool = |network: &str, ipip, vxlan| PoolRange { network: network.parse().unwrap(), ipip, vxlan };
        Surroundings {
            subnets: vec![
                Subnet { network: "172.30.0.11/24".parse().unwrap(), device },
                Subnet { network: "fd00:30::11/64".parse().unwrap(), device },
            ],
            nodes: [
                remote("n2", Some("172.30.1.12"), Some("fd00:31::12")),
                remote("n3", None, Some("fd00:31::13")),
            ]
            .into_iter()
            .flatten()
            .collect(),
            pools: vec![pool("10.244.0.0/16", ipip, vxlan), pool("fd00:244::/48", Never, vxlan)],
            asked: Asked::default(),
            ability: Ability {
                ipip: Ok("172.30.0.11".parse().unwrap()),
                vxlan_v4: Ok("172.30.0.11".parse().unwrap()),
                vxlan_v6: Ok("fd00:30::11".parse().unwrap()),
            },
        }
    }

    fn remote(name: &str, v4: Option<&str>, v6: Option<&str>) -> Vec<(IpAddr, Arc<Remote>)> {
        let address = |text: Option<&str>| text.map(|text| text.parse::<IpAddr>().unwrap());
        let remote = Arc::new(Remote { name: name.to_owned(), v4: address(v4), v6: address(v6) });
        [remote.v4, remote.v6].into_iter().flatten().map(|ip| (ip, Arc::clone(&remote))).collect()
    }

    fn outcome(prefix: &str, next_hops: &[&str], ipip: EncapsulationMode) -> String {
        outcome_in(prefix, next_hops, &surroundings(ipip, Never))
    }

    fn outcome_in(prefix: &str, next_hops: &[&str], surroundings: &Surroundings) -> String {
        let path =
            |n: &&str| BestPath { next_hop: Some(n.parse().unwrap()), peer: None, source: Source::Ibgp };
        let best = BestPaths { paths: next_hops.iter().map(path).collect() };
        match route(prefix.parse().unwrap(), &best, surroundings, 67) {
            Err(why) => why.code().to_owned(),
            Ok(Route { kind: RouteKind::Unicast(hops), protocol: 67, .. }) => hops
                .iter()
                .map(|h| {
                    let onlink = if h.onlink { " onlink" } else { "" };
                    format!("via {} dev {}{onlink}", h.via.unwrap(), h.device)
                })
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
        assert_eq!(outcome("10.244.1.0/26", &["172.30.0.12"], Always), "NextHopNotNode");
        assert_eq!(outcome("10.244.1.0/26", &["172.30.1.99"], CrossSubnet), "NextHopNotNode");
    }

    #[test]
    fn what_lies_behind_another_subnet_goes_through_a_tunnel() {
        let ipip = "via 172.30.1.12 dev tunl0 onlink";
        assert_eq!(outcome("10.244.1.0/26", &["172.30.1.12"], CrossSubnet), ipip);
        let vxlan = surroundings(Never, CrossSubnet);
        let via = "via 172.30.1.12 dev vxlan.caracal onlink";
        assert_eq!(outcome_in("10.244.1.0/26", &["172.30.1.12"], &vxlan), via);
        let end = tunnels::link_local(tunnels::vtep_mac("172.30.1.12".parse().unwrap()));
        let via = format!("via {end} dev vxlan.caracal");
        assert_eq!(outcome_in("fd00:244::40/122", &["fd00:31::12"], &vxlan), via);
        // A node without IPv4 is reached over IPv6, whichever family its pods have.
        let end = tunnels::link_local(tunnels::vtep_mac("fd00:31::13".parse().unwrap()));
        let via = format!("via {end} dev vxlan6.caracal");
        assert_eq!(outcome_in("fd00:244::80/122", &["fd00:31::13"], &vxlan), via);
        assert_eq!(outcome_in("10.244.2.0/26", &["fd00:31::13"], &vxlan), via);
        // Within the subnet packets go plain.
        assert_eq!(outcome_in("10.244.3.0/26", &["172.30.0.12"], &vxlan), "via 172.30.0.12 dev eth0");
    }

    #[test]
    fn a_tunnel_that_cannot_be_had_says_why() {
        let mut around = surroundings(Always, Never);
        around.ability.ipip = Err("the kernel has no ipip devices".to_owned());
        assert_eq!(outcome_in("10.244.1.0/26", &["172.30.1.12"], &around), "NoTunnel");
        let best = BestPaths {
            paths: [BestPath {
                next_hop: Some("172.30.1.12".parse().unwrap()),
                peer: None,
                source: Source::Ibgp,
            }]
            .into_iter()
            .collect(),
        };
        let why = route("10.244.1.0/26".parse().unwrap(), &best, &around, 67).unwrap_err();
        assert_eq!(
            why.to_string(),
            "the pool asks for IPIP to 172.30.1.12, which cannot be had: the kernel has no ipip devices"
        );
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
