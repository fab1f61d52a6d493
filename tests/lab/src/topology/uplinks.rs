//! Nodes with two uplinks: each is cabled to the routers of two racks, by a segment of its own with nothing else on it, as to
//! routed ports of two top-of-rack switches. When such a segment is cut, both ends lose their carrier.

use ipnetwork::IpNetwork;

use super::plan::{Cable, GATEWAY, MachinePlan, Via, digits, v4, v6};
use super::{Design, NodePlan, RackPlan, Topology};

/// Which end of an uplink.
#[derive(Clone, Copy)]
enum End {
    Router,
    Node,
}

impl Topology {
    /// The addresses of a node.
    pub fn node_addresses(&self, node: &NodePlan) -> Vec<IpNetwork> {
        if self.design == Design::DualTor {
            let host = node.host;
            let v6 = v6([0xfd00, 0x28, 0, 0, 0, 0, 0, digits(host)], 128);
            return self.of_families([v4(172, 28, 0, host, 32), v6]);
        }
        self.racks.get(node.rack).map(|rack| self.addresses(rack, node.host)).unwrap_or_default()
    }

    /// The addresses of a router's end of a node's uplink.
    pub fn router_on_uplink(&self, node: &NodePlan, rack: &RackPlan) -> Vec<IpNetwork> {
        self.on_uplink(node, rack, End::Router)
    }

    /// The addresses of a node's end of its uplink to a router.
    pub fn node_on_uplink(&self, node: &NodePlan, rack: &RackPlan) -> Vec<IpNetwork> {
        self.on_uplink(node, rack, End::Node)
    }

    /// The networks that the uplinks to a router are cut from; none where nodes stand in racks.
    pub fn uplink_networks(&self, rack: &RackPlan) -> Vec<IpNetwork> {
        if self.design != Design::DualTor {
            return Vec::new();
        }
        let number = digits(rack.number);
        self.of_families([v4(172, 31, rack.number, 0, 24), v6([0xfd00, 0x31, 0, number, 0, 0, 0, 0], 64)])
    }

    /// The networks of nodes' own addresses on `lo`; none where nodes stand in racks.
    pub fn loopback_networks(&self) -> Vec<IpNetwork> {
        if self.design != Design::DualTor {
            return Vec::new();
        }
        self.of_families([v4(172, 28, 0, 0, 24), v6([0xfd00, 0x28, 0, 0, 0, 0, 0, 0], 64)])
    }

    /// The ports of a node's uplink to a router, at both ends.
    pub fn uplink_ports(node: &str, rack: u8) -> [String; 2] {
        [format!("{node}-{rack}"), format!("{rack}-{node}")]
    }

    pub(super) fn uplink_segments(&self) -> impl Iterator<Item = String> {
        let nodes = self.nodes.iter().filter(|_| self.design == Design::DualTor);
        nodes.flat_map(|node| self.racks.iter().map(|rack| segment(node, rack)))
    }

    /// A node that is cabled to the routers of all racks, and leaves what it knows no better way for to any of them.
    pub(super) fn with_two_uplinks(&self, node: &NodePlan) -> MachinePlan {
        let cables = self.racks.iter().map(|rack| {
            let [port, _] = Self::uplink_ports(&node.name, rack.number);
            let addresses = self.node_on_uplink(node, rack);
            cable(segment(node, rack), port, format!("eth{}", rack.number), addresses, node.host)
        });
        let gateways = |v6: bool| {
            let ends = self.racks.iter().flat_map(|rack| self.router_on_uplink(node, rack));
            ends.map(|end| end.ip()).filter(|ip| ip.is_ipv6() == v6).collect::<Vec<_>>()
        };
        let routes = [false, true].map(gateways).into_iter().filter(|gateways| !gateways.is_empty());
        MachinePlan {
            name: node.name.clone(),
            loopback: self.node_addresses(node),
            cables: cables.collect(),
            routes: routes.map(|gateways| Via { to: None, gateways }).collect(),
            forwards: false,
        }
    }

    /// The cables from a router to the nodes' uplinks, each by a device that has the node's name.
    pub(super) fn to_nodes(&self, rack: &RackPlan) -> Vec<Cable> {
        let nodes = self.nodes.iter().filter(|_| self.design == Design::DualTor);
        let cables = nodes.map(|node| {
            let [_, port] = Self::uplink_ports(&node.name, rack.number);
            let addresses = self.router_on_uplink(node, rack);
            cable(segment(node, rack), port, node.name.clone(), addresses, GATEWAY)
        });
        cables.collect()
    }

    fn on_uplink(&self, node: &NodePlan, rack: &RackPlan, end: End) -> Vec<IpNetwork> {
        let first = node.host.saturating_sub(10).saturating_mul(2);
        let host = match end {
            End::Router => first,
            End::Node => first + 1,
        };
        let v6 = v6([0xfd00, 0x31, 0, digits(rack.number), 0, 0, 0, digits(host)], 127);
        self.of_families([v4(172, 31, rack.number, host, 31), v6])
    }
}

fn segment(node: &NodePlan, rack: &RackPlan) -> String {
    format!("{}.{}", node.name, rack.number)
}

fn cable(segment: String, port: String, device: String, addresses: Vec<IpNetwork>, host: u8) -> Cable {
    Cable { segment, port, device, addresses, host, mac: None, neighbours: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(addresses: &[IpNetwork]) -> Vec<String> {
        addresses.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_node_has_its_address_on_lo_and_an_end_of_each_uplink() {
        let topology = Topology::default().with_design(Design::DualTor);
        let node = topology.machine(&topology.nodes[3]).unwrap();
        assert_eq!(words(&node.loopback), ["172.28.0.14/32", "fd00:28::14/128"]);
        assert_eq!(words(&node.cables[0].addresses), ["172.31.0.9/31", "fd00:31::9/127"]);
        assert_eq!(words(&node.cables[1].addresses), ["172.31.1.9/31", "fd00:31:0:1::9/127"]);
        assert_eq!(node.cables[1].device, "eth1");
        let gateways: Vec<Vec<String>> =
            node.routes.iter().map(|via| via.gateways.iter().map(ToString::to_string).collect()).collect();
        assert_eq!(gateways, [["172.31.0.8", "172.31.1.8"], ["fd00:31::8", "fd00:31:0:1::8"]]);
        assert_eq!(topology.sessions_of(&topology.nodes[0]), 2);
    }

    #[test]
    fn both_ends_of_an_uplink_are_on_one_segment_that_nothing_else_is_on() {
        let topology = Topology::default().with_design(Design::DualTor);
        let router = topology.router(&topology.racks[1]);
        let node = topology.machine(&topology.nodes[0]).unwrap();
        let end = router.cables.iter().find(|cable| cable.device == "n1").unwrap();
        assert_eq!(end.segment, node.cables[1].segment);
        assert_eq!([node.cables[1].port.clone(), end.port.clone()], Topology::uplink_ports("n1", 1));
        assert_eq!(words(&end.addresses), ["172.31.1.2/31", "fd00:31:0:1::2/127"]);
        assert_eq!(topology.segments().filter(|segment| *segment == end.segment).count(), 1);
    }

    #[test]
    fn a_single_uplink_lab_has_no_such_segments() {
        let topology = Topology::default();
        assert_eq!(topology.segments().count(), 3);
        assert!(topology.router(&topology.racks[0]).cables.len() == 2);
    }
}
