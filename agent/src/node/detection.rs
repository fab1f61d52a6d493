//! How a node's address is found where the kubelet's word is not enough: Calico's methods, by their names.
//!
//! `kubernetes-internal-ip` (default), `first-found`, `interface=REGEX,…`, `skip-interface=REGEX,…`, `cidr=CIDR,…`,
//! `can-reach=ADDRESS`. A host name is not taken for the last: what a node's address is must not depend on a name server.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, UdpSocket};
use std::str::FromStr;

use caracal_bgp_underlay::without_carrier;
use caracal_linux::kernel::Underlay;
use caracal_linux::object::address::Address;
use caracal_linux::object::link::IfName;
use ipnetwork::IpNetwork;
use regex::Regex;

use super::NodeAddress;

/// Devices that never carry a node's address unless they are asked for by name: bridges, tunnels and dummies of container
/// runtimes, other network plugins and kube-proxy, and our own.
const NEVER: [&str; 19] = [
    "docker",
    "cbr",
    "dummy",
    "podman",
    "virbr",
    "lxcbr",
    "veth",
    "lo",
    "br-",
    "cali",
    "tunl",
    "flannel",
    "kube-ipvs",
    "cni",
    "vxlan",
    "wireguard",
    "wg",
    "nodelocaldns",
    "cilium",
];

/// How an address is found.
#[derive(Clone, Debug, Default)]
pub enum Method {
    /// The kubelet's `InternalIP`.
    #[default]
    InternalIp,
    /// The first of the host's own devices.
    FirstFound,
    /// The first of a device with a name like one of these; of the first that matches any.
    Interface(Vec<Regex>),
    /// The first of a device with a name like none of these.
    SkipInterface(Vec<Regex>),
    /// The first inside one of these networks.
    Cidr(Vec<IpNetwork>),
    /// The one that packets to this address leave from.
    CanReach(IpAddr),
}

/// A text that names no method.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no way to find the node's address: {why}; the ways are kubernetes-internal-ip, first-found, \
     interface=REGEX,…, skip-interface=REGEX,…, cidr=CIDR,… and can-reach=ADDRESS"
)]
pub struct BadMethod {
    text: String,
    why: String,
}

impl FromStr for Method {
    type Err = BadMethod;

    fn from_str(text: &str) -> Result<Self, BadMethod> {
        let bad = |why: String| BadMethod { text: text.to_owned(), why };
        let patterns = |list: &str| {
            let one = |pattern: &str| Regex::new(pattern.trim()).map_err(|error| bad(error.to_string()));
            list.split(',').map(one).collect::<Result<Vec<_>, _>>()
        };
        match text.split_once('=') {
            None if text == "kubernetes-internal-ip" => Ok(Self::InternalIp),
            None if text == "first-found" => Ok(Self::FirstFound),
            Some(("interface", list)) => patterns(list).map(Self::Interface),
            Some(("skip-interface", list)) => patterns(list).map(Self::SkipInterface),
            Some(("cidr", list)) => {
                let one = |cidr: &str| {
                    cidr.trim().parse().map_err(|_| bad(format!("`{cidr}` is no network, as in 10.0.0.0/8")))
                };
                list.split(',').map(one).collect::<Result<_, _>>().map(Self::Cidr)
            }
            Some(("can-reach", address)) => address
                .parse()
                .map(Self::CanReach)
                .map_err(|_| bad(format!("`{address}` is no IP address, and names are not looked up"))),
            _ => Err(bad("there is no such method".to_owned())),
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, name: &str, all: &[T]) -> fmt::Result {
            let all: Vec<String> = all.iter().map(ToString::to_string).collect();
            write!(f, "{name}={}", all.join(","))
        }
        match self {
            Self::InternalIp => f.write_str("kubernetes-internal-ip"),
            Self::FirstFound => f.write_str("first-found"),
            Self::Interface(all) => list(f, "interface", all),
            Self::SkipInterface(all) => list(f, "skip-interface", all),
            Self::Cidr(all) => list(f, "cidr", all),
            Self::CanReach(to) => write!(f, "can-reach={to}"),
        }
    }
}

/// How each family's address is found.
#[derive(Clone, Debug, Default)]
pub struct Detection {
    /// IPv4.
    pub v4: Method,
    /// IPv6.
    pub v6: Method,
}

impl Detection {
    /// The method of a family.
    pub fn of(&self, v4: bool) -> &Method {
        if v4 { &self.v4 } else { &self.v6 }
    }
}

/// The address of this family, by any method but the kubelet's. `leaves_from` tells which of the host's addresses packets to
/// another leave from.
pub fn detect(
    method: &Method,
    v4: bool,
    links: &Underlay,
    leaves_from: impl Fn(IpAddr) -> Option<IpAddr>,
) -> Option<NodeAddress> {
    let all = candidates(links, v4);
    let named_like = |patterns: &[Regex], address: &Address| {
        patterns.iter().any(|pattern| pattern.is_match(address.device.as_str()))
    };
    let found = match method {
        Method::InternalIp => None,
        Method::FirstFound => all.into_iter().find(|one| is_uplink(one.device.as_str())),
        Method::Interface(patterns) => patterns
            .iter()
            .find_map(|pattern| all.iter().copied().find(|one| pattern.is_match(one.device.as_str()))),
        Method::SkipInterface(patterns) => {
            all.into_iter().find(|one| is_uplink(one.device.as_str()) && !named_like(patterns, one))
        }
        Method::Cidr(networks) => {
            all.into_iter().find(|one| networks.iter().any(|network| network.contains(one.network.ip())))
        }
        Method::CanReach(to) => {
            let from = leaves_from(*to);
            all.into_iter().find(|one| Some(one.network.ip()) == from)
        }
    };
    found.map(|one| NodeAddress { network: one.network, device: one.device })
}

/// The addresses of this family that a node may have, in the order of the devices, lasting ones of a device first.
fn candidates(links: &Underlay, v4: bool) -> Vec<&Address> {
    let up = links.links.values().filter(|link| link.up && !link.loopback);
    up.flat_map(|link| {
        let mut own: Vec<&Address> = links
            .addresses_of(&link.name)
            .filter(|one| one.network.is_ipv4() == v4 && one.is_sound())
            .collect();
        own.sort_by_key(|one| !one.permanent);
        own
    })
    .collect()
}

/// Whether a device may be one of the host's own ways to the network, by its name.
pub fn is_uplink(name: &str) -> bool {
    !NEVER.iter().any(|prefix| if *prefix == "lo" { name == "lo" } else { name.starts_with(prefix) })
}

/// The addresses of the host's uplinks: packets of other nodes may come to any of them, and next hops may be on any of
/// their subnets.
pub fn underlay(links: &Underlay) -> Vec<NodeAddress> {
    let all = [true, false].into_iter().flat_map(|v4| candidates(links, v4));
    all.filter(|one| is_uplink(one.device.as_str()))
        .map(|one| NodeAddress { network: one.network, device: one.device })
        .collect()
}

/// The uplinks by which nothing is reached, while others do carry. Where none does, routes stay as they are: no other way is
/// better, and a link that is back a moment later has cost nothing.
pub fn dead_uplinks(links: &Underlay) -> BTreeSet<IfName> {
    let uplinks: BTreeSet<IfName> = underlay(links).into_iter().map(|one| one.device).collect();
    let dead = without_carrier(links);
    if uplinks.is_subset(&dead) { BTreeSet::new() } else { uplinks.intersection(&dead).copied().collect() }
}

/// The address that packets to another leave from. Nothing is sent for it.
pub fn leaves_from(to: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    // Any port: a datagram socket only asks the routes.
    socket.connect((to, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::address::tests::links;

    fn found(method: &str, v4: bool) -> String {
        let links = links(&[
            ("lo", "127.0.0.1/8"),
            ("docker0", "172.17.0.1/16"),
            ("eth0", "172.30.0.11/24"),
            ("eth0", "fd00:30::11/64"),
            ("eth1", "10.9.0.1/16"),
            ("eth1", "fe80::1/64"),
            ("bond0.7", "10.7.0.1/24"),
        ]);
        let from = |to: IpAddr| to.is_ipv4().then(|| "10.9.0.1".parse().unwrap());
        let found = detect(&method.parse().unwrap(), v4, &links, from);
        found.map_or("-".to_owned(), |one| format!("{} {}", one.network, one.device))
    }

    #[test]
    fn each_method_finds_its_address() {
        for (method, v4, expected) in [
            ("first-found", true, "172.30.0.11/24 eth0"),
            ("first-found", false, "fd00:30::11/64 eth0"),
            ("interface=eth1", true, "10.9.0.1/16 eth1"),
            ("interface=eth1", false, "-"),
            ("interface=nothing,^bond,eth.*", true, "10.7.0.1/24 bond0.7"),
            ("interface=docker.*", true, "172.17.0.1/16 docker0"),
            ("skip-interface=eth0", true, "10.9.0.1/16 eth1"),
            ("skip-interface=eth.*,bond.*", true, "-"),
            ("cidr=10.7.0.0/16,192.0.2.0/24", true, "10.7.0.1/24 bond0.7"),
            ("cidr=fd00::/16", false, "fd00:30::11/64 eth0"),
            ("can-reach=192.0.2.1", true, "10.9.0.1/16 eth1"),
            ("can-reach=2001:db8::1", false, "-"),
        ] {
            assert_eq!(found(method, v4), expected, "{method}");
        }
    }

    #[test]
    fn an_uplink_without_a_carrier_is_dead_while_another_carries() {
        let mut links = links(&[
            ("lo", "172.28.0.11/32"),
            ("eth0", "172.31.0.3/31"),
            ("eth1", "172.31.1.3/31"),
            ("docker0", "172.17.0.1/16"),
        ]);
        let dead = |links: &Underlay| -> Vec<String> {
            dead_uplinks(links).iter().map(ToString::to_string).collect()
        };
        let mut set = |name: &str, carrier: bool| {
            let link = links.links.values_mut().find(|link| link.name.as_str() == name).unwrap();
            link.carrier = carrier;
            dead(&links)
        };
        assert!(set("docker0", false).is_empty(), "it is no uplink");
        assert_eq!(set("eth0", false), ["eth0"]);
        assert!(set("eth1", false).is_empty(), "there is no other");
        assert_eq!(set("eth0", true), ["eth1"]);
    }

    #[test]
    fn a_method_reads_what_it_writes_and_a_bad_one_is_told_with_the_ways() {
        for text in [
            "kubernetes-internal-ip",
            "first-found",
            "interface=eth0,en.*",
            "cidr=10.0.0.0/8",
            "can-reach=::1",
        ] {
            assert_eq!(text.parse::<Method>().unwrap().to_string(), text);
        }
        for (text, why) in [
            ("fist-found", "there is no such method"),
            ("can-reach=example.org", "names are not looked up"),
            ("cidr=10.0.0.0/8,ten", "`ten` is no network"),
            ("interface=[", "unclosed"),
        ] {
            let said = text.parse::<Method>().unwrap_err().to_string();
            assert!(said.contains(why) && said.contains("can-reach=ADDRESS"), "{said}");
        }
    }

    #[test]
    fn what_container_runtimes_and_other_networks_make_is_no_uplink() {
        for name in [
            "docker0",
            "br-0a1b",
            "cali0123",
            "vxlan.caracal",
            "vxlan6.caracal",
            "tunl0",
            "lo",
            "kube-ipvs0",
            "veth7",
        ] {
            assert!(!is_uplink(name), "{name}");
        }
        for name in ["eth0", "enp3s0", "bond0", "eth0.7", "team0", "br0", "longhaul0", "ib0"] {
            assert!(is_uplink(name), "{name}");
        }
    }
}
