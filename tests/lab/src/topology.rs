//! What a lab consists of, as a value.
//!
//! Everything follows from a few choices: how many racks, what stands in them, how BGP is laid out, how packets cross
//! from rack to rack. Addresses follow from positions, so that they can be read like names:
//!
//! | what | IPv4 | IPv6 |
//! |---|---|---|
//! | rack R | 172.30.R.0/24 | fd00:30:0:R::/64 |
//! | its router, in the rack | 172.30.R.1 | fd00:30:0:R::1 |
//! | the control plane, in rack 0 | 172.30.0.2 | fd00:30::2 |
//! | the lab itself, in rack 0 | 172.30.0.3 | fd00:30::3 |
//! | node nN | 172.30.R.(10+N) | fd00:30:0:R::(10+N) |
//! | the spine between the racks | 172.29.0.0/24 | fd00:29::/64 |
//! | rack R's router, on the spine | 172.29.0.(1+R) | fd00:29::(1+R) |
//! | the outside host, on the spine | 172.29.0.100 | fd00:29::100 |
//!
//! Where nodes have two uplinks (`Design::DualTor`), they are in no rack, but cabled to the routers of both:
//!
//! | what | IPv4 | IPv6 |
//! |---|---|---|
//! | node nN, on `lo` | 172.28.0.(10+N)/32 | fd00:28::(10+N)/128 |
//! | its uplink ethR to rack R's router | 172.31.R.(2N+1)/31 | fd00:31:0:R::(2N+1)/127 |
//! | the router's end of it | 172.31.R.(2N)/31 | fd00:31:0:R::(2N)/127 |
//!
//! Digits are kept in IPv6 addresses: 172.30.0.11 goes with fd00:30::11.

mod choices;
mod draw;
mod file;
mod neighbours;
mod plan;
mod rules;
mod uplinks;

use ipnetwork::IpNetwork;

pub use choices::{Design, Encapsulation, Families, RouterKind, Tunnel};
pub use draw::draw;
pub use file::{FileError, from_toml};
pub use plan::{CONTROL, Cable, GATEWAY, LAB, MachinePlan, OUTSIDE, SPINE, Via};
pub use rules::Unfit;

/// Most nodes in one lab: their addresses and names stay readable.
pub const MOST_NODES: u8 = 100;
/// Most racks.
pub const MOST_RACKS: u8 = 16;
/// AS number of the nodes in a mesh or with reflectors.
pub const NODE_AS: u32 = 64512;
/// AS number of rack 0's router; rack R's is R higher.
pub const ROUTER_AS: u32 = 64601;
/// AS number of n1 where nodes peer with routers; nN's is N - 1 higher.
pub const FIRST_NODE_AS: u32 = 65001;

/// A lab to be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// Racks, each one Ethernet segment behind its router.
    pub racks: Vec<RackPlan>,
    /// Machines that run an agent.
    pub nodes: Vec<NodePlan>,
    /// Ranges for pods.
    pub pools: Vec<PoolPlan>,
    /// Pods made on every node by [`crate::Lab::up`].
    pub pods_per_node: u8,
    /// Who peers with whom.
    pub design: Design,
    /// How packets for pods get from rack to rack.
    pub encapsulation: Encapsulation,
    /// Which addresses there are.
    pub families: Families,
}

/// One rack and its router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RackPlan {
    /// The name of its bridge.
    pub name: String,
    /// Its number, which makes its addresses.
    pub number: u8,
    /// What its router runs.
    pub router: RouterKind,
}

/// One machine in a rack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePlan {
    /// The name of the node, its namespace and its port on the bridge.
    pub name: String,
    /// Index of its rack.
    pub rack: usize,
    /// The last part of its addresses.
    pub host: u8,
    /// Its AS number.
    pub asn: u32,
    /// Whether it reflects routes to the others.
    pub reflects: bool,
}

/// One pool of pod addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolPlan {
    /// The IPPool's name.
    pub name: String,
    /// Its range.
    pub cidr: IpNetwork,
    /// Prefix length of its blocks.
    pub block: u8,
    /// Whether packets to the outside take the node's address.
    pub nat_outgoing: bool,
}

impl Default for Topology {
    /// Two racks of two nodes, two pods each, in a mesh.
    fn default() -> Self {
        Self::racks_of_nodes(2, 4, 2)
    }
}

impl Topology {
    /// `nodes` nodes in one rack, with one IPv4 and one IPv6 pool.
    pub fn one_rack(nodes: u8, pods_per_node: u8) -> Self {
        Self::racks_of_nodes(1, nodes, pods_per_node)
    }

    /// `nodes` nodes spread evenly over `racks` racks, n1 first.
    pub fn racks_of_nodes(racks: u8, nodes: u8, pods_per_node: u8) -> Self {
        let (racks, nodes) = (racks.clamp(1, MOST_RACKS), nodes.min(MOST_NODES));
        let rack_of = |node: u8| usize::from(node) * usize::from(racks) / usize::from(nodes.max(1));
        Self {
            racks: (0..racks).map(RackPlan::numbered).collect(),
            nodes: (0..nodes).map(|node| NodePlan::numbered(node + 1, rack_of(node))).collect(),
            pools: PoolPlan::usual().to_vec(),
            pods_per_node,
            design: Design::Mesh,
            encapsulation: Encapsulation::Auto,
            families: Families::Dual,
        }
    }

    /// The same with another BGP design, and what follows from it: AS numbers, who reflects.
    #[must_use]
    pub fn with_design(mut self, design: Design) -> Self {
        self.design = design;
        for (node, asn) in self.nodes.iter_mut().zip(FIRST_NODE_AS..) {
            node.asn = if design.tells_routers() { asn } else { NODE_AS };
            node.reflects = false;
        }
        if let Design::Reflectors(count) = design {
            for index in self.spread_over_racks().into_iter().take(count.into()) {
                self.nodes[index].reflects = true;
            }
        }
        self
    }

    /// The same with some families only; pools of the others go.
    #[must_use]
    pub fn with_families(mut self, families: Families) -> Self {
        self.families = families;
        self.pools.retain(|pool| families.has(&pool.cidr));
        self
    }

    /// The same with routers of one kind.
    #[must_use]
    pub fn with_routers(mut self, kind: RouterKind) -> Self {
        for rack in &mut self.racks {
            rack.router = kind;
        }
        self
    }

    /// How many BGP sessions a node holds.
    pub fn sessions_of(&self, node: &NodePlan) -> usize {
        let others = self.nodes.len().saturating_sub(1);
        match self.design {
            Design::Mesh => others,
            Design::Tor => 1,
            Design::DualTor => self.racks.len(),
            Design::Reflectors(_) if node.reflects => others,
            Design::Reflectors(count) => count.into(),
        }
    }

    /// Indexes of the nodes, taking one of each rack in turn: what few nodes do for all is not lost with one rack.
    fn spread_over_racks(&self) -> Vec<usize> {
        let place = |index: usize| {
            let rack = self.nodes[index].rack;
            (self.nodes[..index].iter().filter(|other| other.rack == rack).count(), rack)
        };
        let mut order: Vec<usize> = (0..self.nodes.len()).collect();
        order.sort_by_key(|index| place(*index));
        order
    }

    /// One line that says what it is.
    pub fn in_short(&self) -> String {
        let count =
            |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
        let kinds: std::collections::BTreeSet<&str> =
            self.racks.iter().map(|rack| rack.router.name()).collect();
        format!(
            "{} in {}, {} each, {}, {}, routers by {}",
            count(self.nodes.len(), "node"),
            count(self.racks.len(), "rack"),
            count(self.pods_per_node.into(), "pod"),
            self.families,
            self.design,
            kinds.into_iter().collect::<Vec<_>>().join(" and "),
        )
    }
}

impl RackPlan {
    /// Rack number `number` with the usual router.
    pub fn numbered(number: u8) -> Self {
        Self { name: format!("rack{number}"), number, router: RouterKind::default() }
    }

    /// Its router's name.
    pub fn router_name(&self) -> String {
        format!("tor{}", self.number)
    }

    /// Its router's AS number.
    pub fn router_as(&self) -> u32 {
        ROUTER_AS + u32::from(self.number)
    }
}

impl NodePlan {
    /// Node number `number`, counted from 1 over all racks.
    pub fn numbered(number: u8, rack: usize) -> Self {
        Self { name: format!("n{number}"), rack, host: 10 + number, asn: NODE_AS, reflects: false }
    }
}

impl PoolPlan {
    /// One of each family, with masquerading to the outside.
    pub fn usual() -> [Self; 2] {
        [
            Self { name: "pods-v4".into(), cidr: plan::v4(10, 244, 0, 0, 16), block: 26, nat_outgoing: true },
            Self {
                name: "pods-v6".into(),
                cidr: plan::v6([0xfd00, 0x244, 0, 0, 0, 0, 0, 0], 48),
                block: 122,
                nat_outgoing: true,
            },
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_fill_racks_evenly_and_in_order() {
        let racks = |racks, nodes| {
            let topology = Topology::racks_of_nodes(racks, nodes, 1);
            topology.nodes.iter().map(|node| node.rack).collect::<Vec<_>>()
        };
        assert_eq!(racks(2, 4), [0, 0, 1, 1]);
        assert_eq!(racks(2, 5), [0, 0, 0, 1, 1]);
        assert_eq!(racks(3, 3), [0, 1, 2]);
        assert_eq!(racks(1, 2), [0, 0]);
    }

    #[test]
    fn reflectors_stand_in_different_racks() {
        let topology = Topology::racks_of_nodes(2, 6, 1).with_design(Design::Reflectors(2));
        let reflect: Vec<&str> =
            topology.nodes.iter().filter(|node| node.reflects).map(|node| node.name.as_str()).collect();
        assert_eq!(reflect, ["n1", "n4"]);
    }

    #[test]
    fn every_node_has_its_own_as_where_it_peers_with_its_router() {
        let topology = Topology::default().with_design(Design::Tor);
        assert_eq!(topology.nodes.iter().map(|n| n.asn).collect::<Vec<_>>(), [65001, 65002, 65003, 65004]);
        let back = topology.with_design(Design::Mesh);
        assert!(back.nodes.iter().all(|node| node.asn == NODE_AS));
    }

    #[test]
    fn pools_are_masked_and_hold_many_blocks() {
        for pool in Topology::one_rack(1, 1).pools {
            assert_eq!(pool.cidr.ip(), pool.cidr.network());
            assert!(pool.block >= pool.cidr.prefix() + 8);
        }
    }

    #[test]
    fn a_single_stack_keeps_the_pools_of_its_family() {
        let topology = Topology::default().with_families(Families::V6);
        assert!(topology.pools.iter().all(|pool| pool.cidr.is_ipv6()) && topology.pools.len() == 1);
    }
}
