//! What routes and tunnels depend on besides BGP: this node's subnets, the other nodes, the pools, the kernel's features.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use caracal_api::block_cidr::masked;
use caracal_api::network_node::TunnelDevice;
use caracal_api::{EncapsulationMode, IpPool, NetworkNode};
use caracal_linux::features::{Feature, Features};
use caracal_linux::object::link::IfName;
use ipnetwork::IpNetwork;
use kube::ResourceExt;

use super::tunnels::{self, Asked};
use crate::cluster::Snapshot;
use crate::node::{NodeAddress, NodeAddresses, NodeFacts};

/// The surroundings of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// The addresses of this node's uplinks with their subnets, the node's own first, and the devices they are on.
    pub subnets: Vec<Subnet>,
    /// This node's addresses that are on no subnet with others: on `lo`, or reached by more than one uplink.
    pub single: Vec<NodeAddress>,
    /// Which other node has which address.
    pub nodes: BTreeMap<IpAddr, Arc<Remote>>,
    /// How traffic into each pool travels.
    pub pools: Vec<PoolRange>,
    /// Which tunnels the pools ask for.
    pub asked: Asked,
    /// Which tunnels this node can have.
    pub ability: Ability,
    /// The largest packet that this node's uplinks carry, in bytes.
    pub uplink_mtu: u32,
    /// The announced ranges of Services.
    pub services: BTreeSet<IpNetwork>,
}

/// Another node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remote {
    /// Its name.
    pub name: String,
    /// Its IPv4 address, which its tunnels end at.
    pub v4: Option<IpAddr>,
    /// Its IPv6 address, which its tunnels end at.
    pub v6: Option<IpAddr>,
    /// The tunnels by which it takes IPv4 packets.
    pub receives_v4: BTreeSet<TunnelDevice>,
    /// The tunnels by which it takes IPv6 packets.
    pub receives_v6: BTreeSet<TunnelDevice>,
    /// The tunnels by which it sends, or may.
    pub sends: BTreeSet<TunnelDevice>,
    /// The largest packet that its uplinks carry, in bytes, if it has said so.
    pub mtu: Option<u32>,
}

/// Which tunnels a node can have, with the address that their packets come from; or why not, in words for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ability {
    /// IP in IP.
    pub ipip: Result<IpAddr, String>,
    /// VXLAN over IPv4.
    pub vxlan_v4: Result<IpAddr, String>,
    /// VXLAN over IPv6.
    pub vxlan_v6: Result<IpAddr, String>,
}

impl Default for Ability {
    fn default() -> Self {
        let unknown = || Err("this node's kernel was not asked yet".to_owned());
        Self { ipip: unknown(), vxlan_v4: unknown(), vxlan_v6: unknown() }
    }
}

impl Ability {
    /// What a node with these addresses can have on a kernel with these features.
    pub fn of(addresses: &NodeAddresses, features: &Features) -> Self {
        let on = |feature: &Feature, address: Option<NodeAddress>, family: &str| {
            if let Some(reason) = feature.reason() {
                return Err(reason.to_owned());
            }
            let address = address.map(|address| address.network.ip());
            address.ok_or_else(|| format!("this node has no {family} address"))
        };
        Self {
            ipip: on(&features.ipip, addresses.v4, "IPv4"),
            vxlan_v4: on(&features.vxlan, addresses.v4, "IPv4"),
            vxlan_v6: on(&features.vxlan, addresses.v6, "IPv6"),
        }
    }
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
    pub fn of(
        facts: &NodeFacts,
        nodes: &Snapshot<NetworkNode>,
        pools: &Snapshot<IpPool>,
        features: &Features,
        uplink_mtu: u32,
        services: BTreeSet<IpNetwork>,
    ) -> Self {
        let mut subnets: Vec<Subnet> = Vec::new();
        for address in facts.addresses.iter().chain(facts.underlay.iter().copied()) {
            let subnet = Subnet { network: address.network, device: address.device };
            if !subnets.contains(&subnet) {
                subnets.push(subnet);
            }
        }
        let others = nodes.values().filter(|node| node.name_any() != facts.name);
        let nodes = others
            .flat_map(|node| {
                let own = |text: &Option<String>| text.as_ref()?.parse().ok().map(|a: IpNetwork| a.ip());
                let remote = Arc::new(Remote {
                    name: node.name_any(),
                    v4: own(&node.spec.ipv4),
                    v6: own(&node.spec.ipv6),
                    receives_v4: node.spec.receives_v4.iter().copied().collect(),
                    receives_v6: node.spec.receives_v6.iter().copied().collect(),
                    sends: node.spec.sends.iter().copied().collect(),
                    mtu: node.spec.mtu,
                });
                let underlay = node.spec.underlay.iter().filter_map(|text| text.parse().ok());
                let addresses: Vec<IpNetwork> = node.spec.addresses().chain(underlay).collect();
                addresses.into_iter().map(move |address| (address.ip(), Arc::clone(&remote)))
            })
            .collect();
        let ranges = pools
            .values()
            .filter_map(|pool| {
                let network = masked(pool.spec.network()?);
                Some(PoolRange { network, ipip: pool.spec.ipip_mode, vxlan: pool.spec.vxlan_mode })
            })
            .collect();
        let ability = Ability::of(&facts.addresses, features);
        let single = facts.addresses.iter().filter(NodeAddress::is_single).collect();
        Self {
            subnets,
            single,
            nodes,
            pools: ranges,
            asked: tunnels::asked(pools),
            ability,
            uplink_mtu,
            services,
        }
    }

    /// The other nodes, each once.
    pub fn remotes(&self) -> impl Iterator<Item = &Remote> {
        let mut seen = BTreeSet::new();
        self.nodes.values().map(Arc::as_ref).filter(move |remote| seen.insert(remote.name.as_str()))
    }

    /// The subnet that an address is on: the smallest, as the kernel would choose; of equal ones the first.
    pub fn subnet_of(&self, address: IpAddr) -> Option<&Subnet> {
        let around = self.subnets.iter().filter(|s| s.network.contains(address));
        around.reduce(|best, one| if one.network.prefix() > best.network.prefix() { one } else { best })
    }

    /// Whether a prefix lies in an announced range of Services.
    pub fn is_of_services(&self, prefix: IpNetwork) -> bool {
        let within = |range: &IpNetwork| range.prefix() <= prefix.prefix() && range.contains(prefix.ip());
        self.services.iter().any(within)
    }

    /// The pool that a prefix lies in.
    pub fn pool_of(&self, prefix: IpNetwork) -> Option<&PoolRange> {
        self.pools.iter().find(|p| p.network.prefix() <= prefix.prefix() && p.network.contains(prefix.ip()))
    }
}
