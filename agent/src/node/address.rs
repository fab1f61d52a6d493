//! Which addresses a node is reached at, and on which device.
//!
//! The kubelet's `InternalIP` says which, unless a setting says otherwise ([`super::detection`]); the links say with what
//! subnet and where. A family the kubelet does not list is looked for on the device of the other one: single-stack
//! kubelets on dual-stack hosts are common. An address that another node has already is not used: two nodes with one
//! address would take each other's sessions and pods.

use std::net::IpAddr;

use caracal_api::NetworkNode;
use caracal_linux::kernel::Underlay;
use caracal_linux::object::address::Address;
use caracal_linux::object::link::IfName;
use ipnetwork::IpNetwork;
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;

use super::detection::{self, Detection, Method};
use crate::cluster::Snapshot;

/// One address of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NodeAddress {
    /// The address, with the prefix length of its subnet.
    pub network: IpNetwork,
    /// The device it is on.
    pub device: IfName,
}

impl NodeAddress {
    /// Whether it is alone: on no subnet with others.
    pub fn is_single(&self) -> bool {
        self.network.prefix() == IpNetwork::from(self.network.ip()).prefix()
    }
}

/// The addresses used for BGP and as next hops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NodeAddresses {
    /// IPv4.
    pub v4: Option<NodeAddress>,
    /// IPv6.
    pub v6: Option<NodeAddress>,
}

impl NodeAddresses {
    /// The addresses there are, IPv4 first.
    pub fn iter(&self) -> impl Iterator<Item = NodeAddress> {
        [self.v4, self.v6].into_iter().flatten()
    }
}

/// An address of this node that another one has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this node's address {address} is also that of node {by}, which had it first: it is not used; give one of them another, \
     or, if {by} is gone for good, delete the networknode {by}"
)]
pub struct AddressTaken {
    /// The address.
    pub address: IpAddr,
    /// The other node.
    pub by: String,
}

/// Chooses the addresses of a node.
pub fn choose(
    node: &Node,
    links: &Underlay,
    detection: &Detection,
    leaves_from: impl Fn(IpAddr) -> Option<IpAddr>,
) -> NodeAddresses {
    let told = |v4| matches!(detection.of(v4), Method::InternalIp);
    let by_kubelet = internal(node, &links.addresses);
    let of = |v4: bool, kubelet: Option<NodeAddress>| {
        if told(v4) { kubelet } else { detection::detect(detection.of(v4), v4, links, &leaves_from) }
    };
    NodeAddresses { v4: of(true, by_kubelet.v4), v6: of(false, by_kubelet.v6) }
}

/// The addresses as the kubelet has them.
fn internal(node: &Node, links: &[Address]) -> NodeAddresses {
    let internal: Vec<IpAddr> = node
        .status
        .iter()
        .flat_map(|s| s.addresses.iter().flatten())
        .filter(|a| a.type_ == "InternalIP")
        .filter_map(|a| a.address.parse().ok())
        .collect();
    let named = |v4: bool| {
        let mut wanted = internal.iter().filter(|ip| ip.is_ipv4() == v4);
        wanted.find_map(|ip| links.iter().find(|l| l.network.ip() == *ip && !l.tentative)).map(found)
    };
    let (v4, v6) = (named(true), named(false));
    let lacking = |v4: bool| internal.iter().all(|ip| ip.is_ipv4() != v4);
    let beside = |other: Option<NodeAddress>, v4: bool| {
        let device = other.filter(|_| lacking(v4))?.device;
        let lasting = |l: &&Address| l.permanent && l.is_sound();
        links.iter().filter(lasting).find(|l| l.device == device && l.network.is_ipv4() == v4).map(found)
    };
    NodeAddresses { v4: v4.or_else(|| beside(v6, true)), v6: v6.or_else(|| beside(v4, false)) }
}

/// Leaves out the addresses that another node had before this one, and says which those are. Of two nodes the one has it
/// whose `NetworkNode` says so and is older; a node that has told of none yet comes last.
pub fn settle(
    name: &str,
    chosen: NodeAddresses,
    nodes: &Snapshot<NetworkNode>,
) -> (NodeAddresses, Vec<AddressTaken>) {
    let has = |node: &NetworkNode, address: IpAddr| node.spec.addresses().any(|own| own.ip() == address);
    let own = nodes.get(name);
    let age = |node: &NetworkNode| {
        let created = node.metadata.creation_timestamp.as_ref().map(|time| time.0);
        (created.is_none(), created, node.name_any())
    };
    let taken_by = |address: IpAddr| {
        let own = own.filter(|own| has(own, address)).map(|own| age(own));
        let others = nodes.values().filter(|other| other.name_any() != name && has(other, address));
        others
            .filter(|other| own.as_ref().is_none_or(|own| age(other) < *own))
            .map(|other| AddressTaken { address, by: other.name_any() })
            .next()
    };
    let mut taken = Vec::new();
    let mut keep = |address: Option<NodeAddress>| {
        let address = address?;
        match taken_by(address.network.ip()) {
            None => Some(address),
            Some(other) => {
                taken.push(other);
                None
            }
        }
    };
    let kept = NodeAddresses { v4: keep(chosen.v4), v6: keep(chosen.v6) };
    (kept, taken)
}

fn found(link: &Address) -> NodeAddress {
    NodeAddress { network: link.network, device: link.device }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use caracal_api::NetworkNodeSpec;
    use caracal_linux::object::link::Link;
    use caracal_linux::object::route::Scope;
    use serde_json::json;

    /// Devices that are up, in the order in which they are named first, with their addresses.
    pub(in crate::node) fn links(addresses: &[(&str, &str)]) -> Underlay {
        let mut links = Underlay::default();
        for (name, network) in addresses {
            let address = link(name, network);
            if links.link(&address.device).is_none() {
                let index = u32::try_from(links.links.len()).unwrap() + 1;
                links.links.insert(index, device(index, name));
            }
            links.addresses.push(address);
        }
        links
    }

    fn device(index: u32, name: &str) -> Link {
        Link { loopback: name == "lo", ..Link::bare(index, IfName::new(name).unwrap(), true) }
    }

    fn link(device: &str, network: &str) -> Address {
        let scope = if network.starts_with("fe80") { Scope::Link } else { Scope::Universe };
        Address { scope, ..Address::lasting(IfName::new(device).unwrap(), network.parse().unwrap()) }
    }

    fn node(addresses: &[&str]) -> Node {
        let list: Vec<_> = addresses.iter().map(|a| json!({"type": "InternalIP", "address": a})).collect();
        serde_json::from_value(json!({"metadata": {"name": "n1"}, "status": {"addresses": list}})).unwrap()
    }

    fn chosen(addresses: &[&str], links: &[Address]) -> String {
        let shown =
            |a: Option<NodeAddress>| a.map_or("-".to_owned(), |a| format!("{} {}", a.network, a.device));
        let found = internal(&node(addresses), links);
        format!("{}, {}", shown(found.v4), shown(found.v6))
    }

    #[test]
    fn internal_addresses_are_looked_up_on_the_links() {
        let links = [
            link("lo", "127.0.0.1/8"),
            link("eth0", "172.30.0.11/24"),
            link("eth0", "fe80::1/64"),
            link("eth0", "fd00:30::11/64"),
            link("eth1", "10.9.0.1/16"),
        ];
        assert_eq!(
            chosen(&["172.30.0.11", "fd00:30::11"], &links),
            "172.30.0.11/24 eth0, fd00:30::11/64 eth0"
        );
        assert_eq!(chosen(&["172.30.0.11"], &links), "172.30.0.11/24 eth0, fd00:30::11/64 eth0");
        assert_eq!(chosen(&["10.9.0.1"], &links), "10.9.0.1/16 eth1, -", "no global IPv6 beside it");
        assert_eq!(chosen(&["192.0.2.1"], &links), "-, -", "an address that no link has is not invented");
        assert_eq!(chosen(&[], &links), "-, -");
    }

    #[test]
    fn a_listed_address_that_is_not_there_yet_is_waited_for() {
        let links = [link("eth0", "172.30.0.11/24"), link("eth0", "fd00:30::99/64")];
        assert_eq!(chosen(&["172.30.0.11", "fd00:30::11"], &links), "172.30.0.11/24 eth0, -");
        let unproven = Address { tentative: true, ..link("eth0", "fd00:30::11/64") };
        let links = [link("eth0", "172.30.0.11/24"), unproven];
        let found = chosen(&["172.30.0.11", "fd00:30::11"], &links);
        assert_eq!(
            found, "172.30.0.11/24 eth0, -",
            "nothing can be bound to it before it is known to be unique"
        );
    }

    #[test]
    fn a_setting_overrides_the_kubelet_for_its_family() {
        let links = links(&[("eth0", "172.30.0.11/24"), ("eth0", "fd00:30::11/64"), ("eth1", "10.9.0.1/16")]);
        let detection = Detection { v4: "interface=eth1".parse().unwrap(), v6: Method::default() };
        let chosen = choose(&node(&["172.30.0.11"]), &links, &detection, |_| None);
        assert_eq!(chosen.v4.unwrap().network.to_string(), "10.9.0.1/16");
        assert_eq!(chosen.v6.unwrap().network.to_string(), "fd00:30::11/64");
    }

    fn other(name: &str, ipv4: &str, second: i64) -> NetworkNode {
        let spec = NetworkNodeSpec { ipv4: Some(ipv4.to_owned()), ..NetworkNodeSpec::default() };
        let mut node = NetworkNode::new(name, spec);
        let time = k8s_openapi::jiff::Timestamp::from_second(second).unwrap();
        node.metadata.creation_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(time));
        node
    }

    #[test]
    fn an_address_that_another_node_had_first_is_not_used() {
        let links = links(&[("eth0", "172.30.0.11/24"), ("eth0", "fd00:30::11/64")]);
        let chosen = internal(&node(&["172.30.0.11", "fd00:30::11"]), &links.addresses);
        let judged = |nodes: Vec<NetworkNode>| {
            let (kept, taken) = settle("n1", chosen, &nodes.into_iter().collect());
            assert!(kept.v6.is_some(), "the other family is not touched");
            assert_eq!(kept.v4.is_none(), !taken.is_empty());
            taken.first().map(ToString::to_string)
        };
        let elsewhere = other("n2", "172.30.0.12/24", 100);
        let rival = |second| other("n3", "172.30.0.11/16", second);
        assert_eq!(judged(vec![]), None);
        assert_eq!(judged(vec![elsewhere.clone(), other("n1", "172.30.0.11/24", 100)]), None);
        let told = judged(vec![elsewhere, rival(100)]).unwrap();
        assert!(told.contains("172.30.0.11 is also that of node n3, which had it first"), "{told}");
        assert!(judged(vec![rival(100), other("n1", "172.30.0.11/24", 200)]).is_some(), "it is the older");
        assert_eq!(judged(vec![rival(200), other("n1", "172.30.0.11/24", 100)]), None, "it is the younger");
        assert!(
            judged(vec![rival(200), other("n1", "172.30.0.99/24", 100)]).is_some(),
            "we had another until now"
        );
    }
}
