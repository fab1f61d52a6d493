//! What a router's daemon is to do, whatever its kind.

use std::net::{IpAddr, Ipv4Addr};

use ipnetwork::IpNetwork;

use crate::topology::{Design, Families, RackPlan, Topology};

/// The whole task of one daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Speaker {
    /// Its AS number.
    pub asn: u32,
    /// Its router id.
    pub id: Ipv4Addr,
    /// The device in its rack.
    pub rack_device: String,
    /// What it tells of its own: the rack's subnets, and those of nodes' uplinks to it.
    pub originates: Vec<IpNetwork>,
    /// Its sessions.
    pub neighbours: Vec<Neighbour>,
    /// What it accepts from other routers: racks, and pods where nodes tell them to routers.
    pub from_routers: Vec<PrefixRange>,
    /// What it accepts from nodes: pods, and their own addresses where they are on no subnet.
    pub from_nodes: Vec<PrefixRange>,
    /// Which families its sessions carry.
    pub families: Families,
}

/// One session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// This router's address on the same segment.
    pub local: IpAddr,
    /// Its AS number.
    pub asn: u32,
    /// Whether it is a node, not a router.
    pub node: bool,
}

/// Every prefix inside a network that is not longer than this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrefixRange {
    /// The network.
    pub network: IpNetwork,
    /// The greatest prefix length.
    pub longest: u8,
}

impl Speaker {
    /// The task of the router of `rack`.
    pub fn of(topology: &Topology, rack: &RackPlan) -> Self {
        let pods: Vec<PrefixRange> = topology
            .pools
            .iter()
            .filter(|_| topology.design.tells_routers())
            .map(|pool| PrefixRange {
                network: pool.cidr,
                longest: if pool.cidr.is_ipv4() { 32 } else { 128 },
            })
            .collect();
        let racks = topology.racks.iter().flat_map(|other| topology.subnets(other));
        let uplinks = topology.racks.iter().flat_map(|other| topology.uplink_networks(other));
        let racks = racks.chain(uplinks).map(|network| PrefixRange { network, longest: network.prefix() });
        // Where nodes are on no subnet of a router they tell their addresses themselves.
        let nodes = topology.loopback_networks().into_iter();
        let nodes =
            nodes.map(|network| PrefixRange { network, longest: IpNetwork::from(network.ip()).prefix() });
        let from_nodes: Vec<PrefixRange> = pods.into_iter().chain(nodes).collect();
        Self {
            asn: rack.router_as(),
            id: topology.router_id(rack),
            rack_device: rack.name.clone(),
            originates: topology.subnets(rack).into_iter().chain(topology.uplink_networks(rack)).collect(),
            neighbours: neighbours(topology, rack),
            from_routers: racks.chain(from_nodes.iter().copied()).collect(),
            from_nodes,
            families: topology.families,
        }
    }

    /// The ranges a neighbour may tell, of one family.
    pub fn accepted(&self, node: bool, v6: bool) -> impl Iterator<Item = &PrefixRange> {
        let ranges = if node { &self.from_nodes } else { &self.from_routers };
        ranges.iter().filter(move |range| range.network.is_ipv6() == v6)
    }

    /// The families it carries: false for IPv4, true for IPv6.
    pub fn versions(&self) -> &'static [bool] {
        match self.families {
            Families::Dual => &[false, true],
            Families::V4 => &[false],
            Families::V6 => &[true],
        }
    }
}

fn neighbours(topology: &Topology, rack: &RackPlan) -> Vec<Neighbour> {
    // One session carries both families; it is held over IPv4 where there is IPv4.
    let first = |addresses: Vec<IpNetwork>| addresses.first().map(IpNetwork::ip);
    let mut found = Vec::new();
    for other in topology.racks.iter().filter(|other| other.number != rack.number) {
        if let (Some(address), Some(local)) = (first(topology.spine(other)), first(topology.spine(rack))) {
            found.push(Neighbour {
                name: other.router_name(),
                address,
                local,
                asn: other.router_as(),
                node: false,
            });
        }
    }
    if topology.design == Design::Tor {
        for node in topology.nodes.iter().filter(|node| node.rack == usize::from(rack.number)) {
            let address = first(topology.addresses(rack, node.host));
            if let (Some(address), Some(local)) = (address, topology.router_in_rack(rack)) {
                found.push(Neighbour { name: node.name.clone(), address, local, asn: node.asn, node: true });
            }
        }
    }
    if topology.design == Design::DualTor {
        for node in &topology.nodes {
            let address = first(topology.node_on_uplink(node, rack));
            if let (Some(address), Some(local)) = (address, first(topology.router_on_uplink(node, rack))) {
                found.push(Neighbour { name: node.name.clone(), address, local, asn: node.asn, node: true });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routers_peer_with_each_other_and_tell_their_rack() {
        let topology = Topology::racks_of_nodes(3, 3, 1);
        let speaker = Speaker::of(&topology, &topology.racks[1]);
        let names: Vec<&str> = speaker.neighbours.iter().map(|n| n.name.as_str()).collect();
        assert_eq!(names, ["tor0", "tor2"]);
        assert_eq!(speaker.originates.len(), 2);
        assert!(speaker.from_nodes.is_empty());
        assert_eq!(speaker.accepted(false, false).count(), 3);
    }

    #[test]
    fn where_nodes_peer_with_routers_pods_are_accepted_too() {
        let topology = Topology::default().with_design(Design::Tor);
        let speaker = Speaker::of(&topology, &topology.racks[1]);
        let peers: Vec<(&str, u32)> = speaker.neighbours.iter().map(|n| (n.name.as_str(), n.asn)).collect();
        assert_eq!(peers, [("tor0", 64601), ("n3", 65003), ("n4", 65004)]);
        assert_eq!(speaker.accepted(true, true).count(), 1);
        assert_eq!(speaker.accepted(false, true).count(), 3);
    }

    #[test]
    fn where_nodes_have_two_uplinks_both_routers_peer_with_each_by_its_uplink() {
        let topology = Topology::default().with_design(Design::DualTor);
        for rack in &topology.racks {
            let speaker = Speaker::of(&topology, rack);
            let nodes: Vec<&Neighbour> = speaker.neighbours.iter().filter(|one| one.node).collect();
            assert_eq!(nodes.len(), 4);
            assert_eq!(nodes[0].address.to_string(), format!("172.31.{}.3", rack.number));
            assert_eq!(nodes[0].local.to_string(), format!("172.31.{}.2", rack.number));
            let longest: Vec<u8> = speaker.accepted(true, false).map(|range| range.longest).collect();
            assert_eq!(longest, [32, 32], "pods and nodes");
            assert_eq!(speaker.originates.len(), 4);
        }
    }
}
