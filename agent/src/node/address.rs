//! Which addresses a node is reached at, and on which device.
//!
//! The kubelet's `InternalIP` says which; the links say with what subnet and where. A family the kubelet does not
//! list is looked for on the device of the other one: single-stack kubelets on dual-stack hosts are common.

use std::net::IpAddr;

use caracal_linux::object::address::Address;
use caracal_linux::object::link::IfName;
use caracal_linux::object::route::Scope;
use ipnetwork::IpNetwork;
use k8s_openapi::api::core::v1::Node;

/// One address of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NodeAddress {
    /// The address, with the prefix length of its subnet.
    pub network: IpNetwork,
    /// The device it is on.
    pub device: IfName,
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

/// Chooses the addresses of a node.
pub fn choose(node: &Node, links: &[Address]) -> NodeAddresses {
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
        links.iter().find(|l| l.device == device && l.network.is_ipv4() == v4 && usable(l)).map(found)
    };
    NodeAddresses { v4: v4.or_else(|| beside(v6, true)), v6: v6.or_else(|| beside(v4, false)) }
}

fn found(link: &Address) -> NodeAddress {
    NodeAddress { network: link.network, device: link.device }
}

/// Global, lasting and proven: no privacy address, no second one of a subnet, none that may be a duplicate.
fn usable(link: &Address) -> bool {
    link.scope == Scope::Universe && link.permanent && !link.secondary && !link.tentative && !link.deprecated
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn link(device: &str, network: &str) -> Address {
        Address {
            device: IfName::new(device).unwrap(),
            network: network.parse().unwrap(),
            peer: None,
            scope: if network.starts_with("fe80") { Scope::Link } else { Scope::Universe },
            permanent: true,
            tentative: false,
            secondary: false,
            deprecated: false,
            protocol: 0,
        }
    }

    fn node(addresses: &[&str]) -> Node {
        let list: Vec<_> = addresses.iter().map(|a| json!({"type": "InternalIP", "address": a})).collect();
        serde_json::from_value(json!({"metadata": {"name": "n1"}, "status": {"addresses": list}})).unwrap()
    }

    fn chosen(addresses: &[&str], links: &[Address]) -> String {
        let shown =
            |a: Option<NodeAddress>| a.map_or("-".to_owned(), |a| format!("{} {}", a.network, a.device));
        let found = choose(&node(addresses), links);
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
}
