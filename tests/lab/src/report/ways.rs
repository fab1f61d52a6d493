//! Whether a node's kernel leads packets to a block in the way that the topology asks for.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::Context;

use super::Block;
use crate::lab::Lab;
use crate::node::Node;
use crate::route::Route;
use crate::topology::{Design, Tunnel};

/// Why `node` cannot reach `block` as it should, in words; nothing when it can.
pub fn lack_of_route(lab: &Lab, node: &Node, block: &Block, routes: &[Route]) -> Option<String> {
    let found = routes.iter().find(|route| route.destination() == Some(block.cidr));
    let Some(route) = found else {
        return Some(format!("{} has no route to {} of {}", node.name(), block.cidr, block.owner));
    };
    if block.owner == node.name() {
        return (route.kind != "blackhole")
            .then(|| format!("{}: {} is not a blackhole", node.name(), route.words()));
    }
    match ways(lab, node, &block.owner, block.cidr.is_ipv6()) {
        Err(error) => Some(format!("{}: {error:#}", block.cidr)),
        Ok(ways) if ways.iter().any(|way| way.is_taken_by(route)) => None,
        Ok(ways) => {
            let ways: Vec<String> = ways.iter().map(Way::in_words).collect();
            let owner = &block.owner;
            Some(format!(
                "{}: {} does not lead to {owner}: expected {}",
                node.name(),
                route.words(),
                ways.join(" or ")
            ))
        }
    }
}

/// How packets may go from one node to another's block.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Way {
    /// Through this gateway, which is on the node's own subnet.
    Plain(IpAddr),
    /// Spread over these gateways.
    Spread(Vec<IpAddr>),
    /// Inside this tunnel.
    Through(Tunnel),
}

impl Way {
    fn is_taken_by(&self, route: &Route) -> bool {
        let (gateway, device) = (route.gateway, route.dev.as_deref());
        route.kind == "unicast"
            && match self {
                Self::Plain(address) => gateway == Some(*address) && device == Some("eth0"),
                Self::Spread(gateways) => {
                    let hops =
                        route.nexthops.iter().filter_map(|hop| hop.get("gateway")?.as_str()?.parse().ok());
                    hops.collect::<BTreeSet<IpAddr>>() == gateways.iter().copied().collect()
                }
                Self::Through(Tunnel::Ipip) => device == Some("tunl0"),
                Self::Through(Tunnel::Vxlan) => device.is_some_and(|name| name.starts_with("vxlan")),
            }
    }

    fn in_words(&self) -> String {
        match self {
            Self::Plain(address) => format!("via {address} dev eth0"),
            Self::Spread(gateways) => format!("by each of {gateways:?}"),
            Self::Through(Tunnel::Ipip) => "dev tunl0".into(),
            Self::Through(Tunnel::Vxlan) => "dev vxlan…".into(),
        }
    }
}

fn ways(lab: &Lab, from: &Node, to: &str, v6: bool) -> anyhow::Result<Vec<Way>> {
    let topology = lab.topology();
    if topology.design == Design::DualTor {
        let node = topology.nodes.iter().find(|node| node.name == from.name());
        let node = node.with_context(|| format!("no node {}", from.name()))?;
        let ends = topology.racks.iter().flat_map(|rack| topology.router_on_uplink(node, rack));
        return Ok(vec![Way::Spread(ends.map(|end| end.ip()).filter(|ip| ip.is_ipv6() == v6).collect())]);
    }
    let rack = |name: &str| topology.nodes.iter().find(|node| node.name == name).map(|node| node.rack);
    let (here, there) = (rack(from.name()), rack(to));
    let lacks = || format!("{to} has no IPv{} address", if v6 { 6 } else { 4 });
    let owner = Way::Plain(lab.node(to)?.machine().address(v6).with_context(lacks)?);
    let router =
        here.and_then(|rack| lab.routers().get(rack)).and_then(|router| router.machine().address(v6));
    Ok(match (topology.design, lab.tunnels().of(v6)) {
        // A router may name the owner itself as next hop to a node of the same rack, or itself.
        (Design::Tor, _) if here == there => [owner].into_iter().chain(router.map(Way::Plain)).collect(),
        (Design::Tor, _) => router.map(Way::Plain).into_iter().collect(),
        (_, Some(tunnel)) if here != there => vec![Way::Through(tunnel)],
        _ => vec![owner],
    })
}
