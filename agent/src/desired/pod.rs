//! Both ends of one attachment: what the pod's interface and the host's device must be.
//!
//! The pod has its addresses as /32 and /128, and sends everything to a gateway that exists nowhere: 169.254.1.1, and the
//! link-local address of the host's end. Both ends hold permanent neighbour entries for each other, so that no packet waits
//! for ARP or neighbour discovery; the host answers both by proxy all the same, for pods that flush their tables.
//! All host ends have the same Ethernet address: a pod moved to another node keeps its neighbour entry.
//!
//! Not set: `route_localnet`, which would let pods reach what listens on the host's 127.0.0.1.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use caracal_cni::name::Alias;
use caracal_linux::kernel::Wanted;
use caracal_linux::netlink::shape::Shape;
use caracal_linux::object::link::{IfName, Mac};
use caracal_linux::object::neighbour::{Neighbour, NeighbourKey};
use caracal_linux::object::route::{Route, RouteKey};
use caracal_linux::object::setting::{Setting, SettingKey, SettingName};
use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use sha1::{Digest, Sha1};

use crate::attachments::Extras;

/// The Ethernet address of every host end.
pub const HOST_MAC: Mac = Mac([0xee; 6]);
/// Where pods send IPv4 packets.
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// Where pods send IPv6 packets: the link-local address that follows from [`HOST_MAC`].
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0xecee, 0xeeff, 0xfeee, 0xeeee);

/// [`GATEWAY_V6`] as the host's end has it.
const LINK_LOCAL: IpNetwork = v6(GATEWAY_V6, 64);
const EVERYWHERE_V4: IpNetwork = match Ipv4Network::new_checked(Ipv4Addr::UNSPECIFIED, 0) {
    Some(network) => IpNetwork::V4(network),
    None => unreachable!(),
};
const EVERYWHERE_V6: IpNetwork = v6(Ipv6Addr::UNSPECIFIED, 0);

/// Evaluated while compiling only.
const fn v6(address: Ipv6Addr, prefix: u8) -> IpNetwork {
    match Ipv6Network::new_checked(address, prefix) {
        Some(network) => IpNetwork::V6(network),
        None => unreachable!(),
    }
}

/// One setting below `/proc/sys`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sysctl {
    /// The path, as in `net/ipv4/ip_forward`.
    pub path: String,
    /// What it must hold.
    pub value: u32,
    /// A kernel without it is good enough.
    pub optional: bool,
}

/// How much may pass; none is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shapes {
    /// Towards the pod.
    pub towards: Option<Shape>,
    /// From the pod.
    pub from: Option<Shape>,
}

/// What an attachment consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Whose it is.
    pub alias: Alias,
    /// The host's device.
    pub host: IfName,
    /// MTU of both ends in bytes.
    pub mtu: u32,
    /// The Ethernet address of the pod's end.
    pub mac: Mac,
    /// The pod's addresses, at most one of each family where gateways are concerned.
    pub addresses: Vec<IpAddr>,
    /// How much may pass.
    pub shapes: Shapes,
    /// What the pod has beyond its addresses.
    pub extras: Extras,
}

/// One end: a device and what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// The device.
    pub device: IfName,
    /// Its Ethernet address.
    pub mac: Mac,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// How much may leave by it.
    pub shape: Option<Shape>,
    /// Settings, to be written before it goes up.
    pub sysctls: Vec<Sysctl>,
    /// Those of them that are to stay so.
    pub settings: Vec<(SettingKey, Setting)>,
    /// Addresses, added without asking the link for duplicates.
    pub addresses: Vec<IpNetwork>,
    /// Permanent neighbours.
    pub neighbours: Vec<(NeighbourKey, Neighbour)>,
    /// Routes, in an order in which the kernel takes them.
    pub routes: Vec<(RouteKey, Route)>,
}

/// Both ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodNetwork {
    /// Text kept with the host's device.
    pub alias: String,
    /// The host's end. Its settings, routes and neighbours are the kernel thread's to keep.
    pub host: End,
    /// The pod's end.
    pub pod: End,
}

impl PodNetwork {
    /// What the kernel thread is to keep on the host.
    pub fn wanted(&self) -> Vec<Wanted> {
        let settings = self.host.settings.iter().map(|(key, value)| Wanted::Setting(*key, Some(*value)));
        let neighbours =
            self.host.neighbours.iter().map(|(key, value)| Wanted::Neighbour(*key, Some(*value)));
        let routes = self.host.routes.iter().map(|(key, value)| Wanted::Route(*key, Some(value.clone())));
        settings.chain(neighbours).chain(routes).collect()
    }

    /// The same as not wanted any more.
    pub fn unwanted(&self) -> Vec<Wanted> {
        let routes = self.host.routes.iter().map(|(key, _)| Wanted::Route(*key, None));
        let neighbours = self.host.neighbours.iter().map(|(key, _)| Wanted::Neighbour(*key, None));
        let settings = self.host.settings.iter().map(|(key, _)| Wanted::Setting(*key, None));
        routes.chain(neighbours).chain(settings).collect()
    }
}

/// The Ethernet address of a pod's end where none was asked for. It follows from the attachment, so that a restart knows it
/// without asking the pod.
pub fn pod_mac(alias: &Alias) -> Mac {
    let digest = Sha1::digest(alias.to_string().as_bytes());
    let mut mac = [0; 6];
    mac.copy_from_slice(&digest[..6]);
    // Made up (locally administered), and of one device (not a group).
    mac[0] = (mac[0] & 0xfc) | 0x02;
    Mac(mac)
}

/// Both ends of an attachment.
pub fn pod(facts: &Facts) -> PodNetwork {
    let host_route =
        |address: &IpAddr| (RouteKey::main(IpNetwork::from(*address)), Route::direct(facts.host));
    let neighbour = |device, address, mac| (NeighbourKey { device, address }, Neighbour { mac });
    let has_v6 = facts.addresses.iter().any(IpAddr::is_ipv6);
    let speaks_for_others = facts.extras.sources.iter().any(IpNetwork::is_ipv4);
    let settings = host_settings(facts.host, has_v6, speaks_for_others);
    let host = End {
        device: facts.host,
        mac: HOST_MAC,
        mtu: facts.mtu,
        shape: facts.shapes.towards,
        sysctls: host_sysctls(facts.host, has_v6, &settings),
        settings,
        addresses: if has_v6 { vec![LINK_LOCAL] } else { Vec::new() },
        neighbours: facts
            .addresses
            .iter()
            .map(|address| neighbour(facts.host, *address, facts.mac))
            .collect(),
        // What this host itself sends to a floating address needs a way before it is sent to the pod's own.
        routes: facts.addresses.iter().chain(&facts.extras.floating).map(host_route).collect(),
    };
    let device = facts.alias.interface;
    let pod = End {
        device,
        mac: facts.mac,
        mtu: facts.mtu,
        shape: facts.shapes.from,
        sysctls: pod_sysctls(device, has_v6),
        settings: Vec::new(),
        addresses: facts.addresses.iter().copied().map(IpNetwork::from).collect(),
        neighbours: gateways(facts).map(|gateway| neighbour(device, gateway, HOST_MAC)).collect(),
        routes: gateways(facts).flat_map(|gateway| pod_routes(device, gateway)).collect(),
    };
    PodNetwork { alias: facts.alias.to_string(), host, pod }
}

/// The gateway that serves an address.
pub fn gateway(of: &IpAddr) -> IpAddr {
    if of.is_ipv4() { GATEWAY_V4.into() } else { GATEWAY_V6.into() }
}

fn gateways(facts: &Facts) -> impl Iterator<Item = IpAddr> {
    let has = |v4: bool| facts.addresses.iter().any(|address| address.is_ipv4() == v4);
    let v4 = has(true).then_some(IpAddr::V4(GATEWAY_V4));
    v4.into_iter().chain(has(false).then_some(IpAddr::V6(GATEWAY_V6)))
}

fn pod_routes(device: IfName, gateway: IpAddr) -> Vec<(RouteKey, Route)> {
    let default = RouteKey::main(everywhere(gateway));
    let mut routes = vec![(default, Route::via(gateway, device))];
    if gateway.is_ipv4() {
        // Without it the kernel does not take a gateway outside every subnet. The IPv6 one is on the link by its nature.
        routes.insert(0, (RouteKey::main(IpNetwork::from(gateway)), Route::direct(device)));
    }
    routes
}

/// The prefix that holds every address of this one's family.
pub fn everywhere(of: IpAddr) -> IpNetwork {
    if of.is_ipv4() { EVERYWHERE_V4 } else { EVERYWHERE_V6 }
}

/// What must stay so on the host's end, whoever changes the host's settings while the pod lives.
fn host_settings(device: IfName, v6: bool, speaks_for_others: bool) -> Vec<(SettingKey, Setting)> {
    let of = |name, value| (SettingKey { device, name }, Setting(value));
    let mut all = vec![
        of(SettingName::ProxyArp, 1),
        of(SettingName::ForwardingV4, 1),
        // A pod speaks and asks (ARP) with its own addresses only. nftables says the same, of IPv6 too, but not of ARP. What it
        // may say in the name of others comes from where the way back does not lead: then nftables alone says what it may.
        of(SettingName::ReversePathFilter, u32::from(!speaks_for_others)),
    ];
    if v6 {
        all.extend([of(SettingName::ProxyNdp, 1), of(SettingName::ForwardingV6, 1)]);
    }
    all
}

fn host_sysctls(device: IfName, v6: bool, settings: &[(SettingKey, Setting)]) -> Vec<Sysctl> {
    let mut all = vec![
        sysctl(format!("net/ipv4/neigh/{device}/proxy_delay"), 0, false),
        // A pod must not give its node a default route. Set for IPv4 pods too: the device speaks IPv6 all the same.
        sysctl(format!("net/ipv6/conf/{device}/accept_ra"), 0, true),
    ];
    if v6 {
        let of = |name: &str| format!("net/ipv6/conf/{device}/{name}");
        all.extend([sysctl(of("disable_ipv6"), 0, false), sysctl(of("accept_dad"), 0, false)]);
    }
    all.extend(settings.iter().map(|(key, value)| sysctl(key.path(), value.0, false)));
    all
}

fn pod_sysctls(device: IfName, v6: bool) -> Vec<Sysctl> {
    // A new namespace may have inherited forwarding from the host.
    let mut all = vec![sysctl("net/ipv4/ip_forward".to_owned(), 0, false)];
    if v6 {
        all.push(sysctl("net/ipv6/conf/all/forwarding".to_owned(), 0, false));
        let enabled = ["all", "default", "lo", device.as_str()];
        all.extend(enabled.map(|of| sysctl(format!("net/ipv6/conf/{of}/disable_ipv6"), 0, false)));
        all.push(sysctl(format!("net/ipv6/conf/{device}/accept_dad"), 0, false));
    }
    all
}

fn sysctl(path: String, value: u32, optional: bool) -> Sysctl {
    Sysctl { path, value, optional }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(addresses: &[&str]) -> Facts {
        let interface = IfName::new("eth0").unwrap();
        Facts {
            alias: Alias { network: "net".into(), container: "c1".into(), interface },
            host: IfName::new("cali0123456789a").unwrap(),
            mtu: 1450,
            mac: Mac([2, 0, 0, 0, 0, 1]),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            shapes: Shapes::default(),
            extras: Extras::default(),
        }
    }

    fn lines<K: std::fmt::Display, V>(list: &[(K, V)], value: impl Fn(&V) -> String) -> Vec<String> {
        list.iter().map(|(key, v)| format!("{key} {}", value(v))).collect()
    }

    #[test]
    fn a_dual_stack_pod_has_both_gateways_and_the_host_both_addresses() {
        let network = pod(&facts(&["10.244.0.5", "fd00:244::5"]));
        let mac = |neighbour: &Neighbour| neighbour.mac.to_string();
        assert_eq!(network.alias, "caracal:net/c1/eth0");
        let inside: Vec<String> = network.pod.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(inside, ["10.244.0.5/32", "fd00:244::5/128"]);
        assert_eq!(
            lines(&network.pod.neighbours, mac),
            [
                "169.254.1.1 dev eth0 ee:ee:ee:ee:ee:ee",
                "fe80::ecee:eeff:feee:eeee dev eth0 ee:ee:ee:ee:ee:ee"
            ]
        );
        let device = IfName::new("eth0").unwrap();
        let wanted = [
            ("169.254.1.1/32", Route::direct(device)),
            ("0.0.0.0/0", Route::via(GATEWAY_V4.into(), device)),
            ("::/0", Route::via(GATEWAY_V6.into(), device)),
        ]
        .map(|(destination, route)| (RouteKey::main(destination.parse().unwrap()), route));
        assert_eq!(network.pod.routes, wanted);
        assert_eq!(network.host.addresses, ["fe80::ecee:eeff:feee:eeee/64".parse().unwrap()]);
        let mac_of_pod = lines(&network.host.neighbours, mac);
        assert_eq!(
            mac_of_pod,
            [
                "10.244.0.5 dev cali0123456789a 02:00:00:00:00:01",
                "fd00:244::5 dev cali0123456789a 02:00:00:00:00:01"
            ]
        );
        assert!(network.host.routes.iter().all(|(key, route)| {
            *route == Route::direct(network.host.device) && [32, 128].contains(&key.destination.prefix())
        }));
        assert_eq!(network.host.mac, HOST_MAC);
    }

    #[test]
    fn one_family_brings_nothing_of_the_other() {
        let v4 = pod(&facts(&["10.244.0.5"]));
        assert!(v4.pod.routes.iter().all(|(key, _)| key.destination.is_ipv4()));
        assert!(v4.host.addresses.is_empty() && v4.pod.neighbours.len() == 1);
        let v6 = pod(&facts(&["fd00::5"]));
        assert!(v6.pod.routes.iter().all(|(key, _)| key.destination.is_ipv6()));
        assert!(v6.pod.neighbours.len() == 1 && v6.host.routes.len() == 1);
    }

    #[test]
    fn no_setting_opens_the_loopback_of_the_host() {
        for addresses in [&["10.0.0.1"][..], &["fd00::1"], &["10.0.0.1", "fd00::1"]] {
            let network = pod(&facts(addresses));
            for setting in network.host.sysctls.iter().chain(&network.pod.sysctls) {
                assert!(!setting.path.contains("route_localnet"), "{}", setting.path);
            }
        }
    }

    #[test]
    fn what_is_not_wanted_any_more_is_all_that_was_wanted() {
        let network = pod(&facts(&["10.244.0.5", "fd00:244::5"]));
        let key = |wanted: &Wanted| match wanted {
            Wanted::Route(key, _) => key.to_string(),
            Wanted::Neighbour(key, _) => key.to_string(),
            Wanted::Setting(key, _) => key.to_string(),
            other => panic!("a pod wants no {other:?}"),
        };
        let sorted = |list: Vec<Wanted>| {
            let mut keys: Vec<String> = list.iter().map(key).collect();
            keys.sort();
            keys
        };
        assert_eq!(sorted(network.wanted()).len(), 4 + network.host.settings.len());
        assert_eq!(sorted(network.wanted()), sorted(network.unwanted()));
    }

    #[test]
    fn a_pods_own_mac_is_made_up_of_one_device_and_follows_from_the_attachment() {
        let alias = |container: &str| Alias {
            network: "net".into(),
            container: container.into(),
            interface: IfName::new("eth0").unwrap(),
        };
        for container in ["a", "b", "c", "d", "e"] {
            let mac = pod_mac(&alias(container));
            assert_eq!(mac.0[0] & 0x03, 0x02, "{mac}");
            assert_eq!(mac, pod_mac(&alias(container)));
        }
        assert_ne!(pod_mac(&alias("a")), pod_mac(&alias("b")));
    }
}
