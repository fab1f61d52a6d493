//! What a lab consists of, as a value.
//!
//! Addresses follow from positions, so that they can be read like names: rack 0 is 172.30.0.0/24 and fd00:30::/64,
//! its gateway (the fabric itself) .1, the control plane .2, node n1 .11, node n2 .12.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};

/// Most nodes in one rack: their addresses and names stay readable.
pub const MOST_NODES: u8 = 100;

/// A lab to be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// Racks, each one Ethernet segment.
    pub racks: Vec<RackPlan>,
    /// Machines that run an agent.
    pub nodes: Vec<NodePlan>,
    /// Ranges for pods.
    pub pools: Vec<PoolPlan>,
    /// Pods made on every node by [`crate::Lab::up`].
    pub pods_per_node: u8,
}

/// One rack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RackPlan {
    /// The name of its bridge.
    pub name: String,
    /// Its number, which makes its addresses.
    pub number: u8,
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
}

impl Topology {
    /// `nodes` nodes in one rack, with one IPv4 and one IPv6 pool.
    pub fn one_rack(nodes: u8, pods_per_node: u8) -> Self {
        Self {
            racks: vec![RackPlan { name: "rack0".into(), number: 0 }],
            nodes: (1..=nodes.min(MOST_NODES))
                .map(|n| NodePlan { name: format!("n{n}"), rack: 0, host: 10 + n })
                .collect(),
            pools: vec![
                PoolPlan { name: "pods-v4".into(), cidr: v4(10, 244, 0, 0, 16), block: 26 },
                PoolPlan {
                    name: "pods-v6".into(),
                    cidr: v6([0xfd00, 0x244, 0, 0, 0, 0, 0, 0], 48),
                    block: 122,
                },
            ],
            pods_per_node,
        }
    }
}

/// The last part of the gateway's addresses in each rack.
pub const GATEWAY: u8 = 1;
/// The last part of the control plane's addresses in its rack.
pub const CONTROL: u8 = 2;

impl RackPlan {
    /// The address of a host in this rack with the rack's prefix length, IPv4 and IPv6.
    pub fn addresses(&self, host: u8) -> [IpNetwork; 2] {
        // Decimal digits are kept in the IPv6 address, so that 172.30.0.11 goes with fd00:30::11.
        let digits = u16::from(host / 100) << 8 | u16::from(host / 10 % 10) << 4 | u16::from(host % 10);
        [
            v4(172, 30, self.number, host, 24),
            v6([0xfd00, 0x30, 0, u16::from(self.number), 0, 0, 0, digits], 64),
        ]
    }

    /// The same without prefix lengths.
    pub fn hosts(&self, host: u8) -> [IpAddr; 2] {
        self.addresses(host).map(|network| network.ip())
    }
}

fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> IpNetwork {
    let address = Ipv4Addr::new(a, b, c, d);
    // The prefix lengths here are constants below 33; a longer one would mean one host.
    IpNetwork::V4(Ipv4Network::new(address, prefix).unwrap_or_else(|_| address.into()))
}

fn v6(parts: [u16; 8], prefix: u8) -> IpNetwork {
    let address = Ipv6Addr::from(parts);
    IpNetwork::V6(Ipv6Network::new(address, prefix).unwrap_or_else(|_| address.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_can_be_read_like_names() {
        let topology = Topology::one_rack(2, 2);
        let rack = &topology.racks[0];
        let first = rack.addresses(topology.nodes[0].host).map(|a| a.to_string());
        assert_eq!(first, ["172.30.0.11/24", "fd00:30::11/64"]);
        assert_eq!(rack.hosts(110).map(|a| a.to_string()), ["172.30.0.110", "fd00:30::110"]);
    }

    #[test]
    fn pools_are_masked_and_hold_many_blocks() {
        for pool in Topology::one_rack(1, 1).pools {
            assert_eq!(pool.cidr.ip(), pool.cidr.network());
            assert!(pool.block >= pool.cidr.prefix() + 8);
        }
    }
}
