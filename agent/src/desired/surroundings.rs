//! What routes depend on besides BGP: this node's subnets, the other nodes, the pools.

use std::collections::BTreeMap;
use std::net::IpAddr;

use caracal_api::block_cidr::masked;
use caracal_api::{EncapsulationMode, IpPool, NetworkNode};
use caracal_linux::object::link::IfName;
use ipnetwork::IpNetwork;
use kube::ResourceExt;

use crate::cluster::Snapshot;
use crate::node::NodeFacts;

/// The surroundings of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// This node's addresses with their subnets, and the devices they are on.
    pub subnets: Vec<Subnet>,
    /// Which node has which address.
    pub nodes: BTreeMap<IpAddr, String>,
    /// How traffic into each pool travels.
    pub pools: Vec<PoolRange>,
}

/// A subnet this node is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// This node's address there, with the prefix length.
    pub network: IpNetwork,
    /// The device.
    pub device: IfName,
}

/// A pool, as far as routes need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolRange {
    /// The range.
    pub network: IpNetwork,
    /// `ipipMode`.
    pub ipip: EncapsulationMode,
    /// `vxlanMode`.
    pub vxlan: EncapsulationMode,
}

impl Surroundings {
    /// Puts together what the owners know.
    pub fn of(facts: &NodeFacts, nodes: &Snapshot<NetworkNode>, pools: &Snapshot<IpPool>) -> Self {
        let subnets =
            facts.addresses.iter().map(|a| Subnet { network: a.network, device: a.device }).collect();
        let nodes = nodes
            .values()
            .flat_map(|node| node.spec.addresses().map(|a| (a.ip(), node.name_any())))
            .collect();
        let pools = pools
            .values()
            .filter_map(|pool| {
                let network = masked(pool.spec.network()?);
                Some(PoolRange { network, ipip: pool.spec.ipip_mode, vxlan: pool.spec.vxlan_mode })
            })
            .collect();
        Self { subnets, nodes, pools }
    }

    /// The subnet that an address is on.
    pub fn subnet_of(&self, address: IpAddr) -> Option<&Subnet> {
        self.subnets.iter().find(|s| s.network.contains(address))
    }

    /// The pool that a prefix lies in.
    pub fn pool_of(&self, prefix: IpNetwork) -> Option<&PoolRange> {
        self.pools.iter().find(|p| p.network.prefix() <= prefix.prefix() && p.network.contains(prefix.ip()))
    }
}
