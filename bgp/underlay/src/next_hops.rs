//! The own address of the other family: what is announced as next hop of IPv6 routes over an IPv4 session, and the
//! other way round.
//!
//! For the session's own family the speaker takes the address the session runs from. For the other family the configuration
//! may say; else it is an address of the device that leads to the peer. Where there is none, routes of that family are not
//! announced to this peer, and the reason is kept with them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use caracal_bgp::{Config, Family, LocalNextHops, PeerConfig, PeerKey, SessionOptions};
use caracal_linux::kernel::Underlay;
use caracal_linux::object::address::Address;
use caracal_linux::object::link::IfName;
use ipnetwork::IpNetwork;

/// The configuration with every own next hop that this machine's addresses give.
#[must_use]
pub fn filled(config: &Config, underlay: &Underlay) -> Config {
    let mut config = config.clone();
    config.peers.iter_mut().for_each(|(key, peer)| fill(*key, peer, underlay));
    for (prefix, range) in &mut config.ranges {
        range.next_hops = of_subnets(prefix, underlay);
    }
    config
}

/// The same for peers that are on one link alone; with others it is known already which address is told.
#[must_use]
pub fn filled_on_links(config: &Config, underlay: &Underlay) -> Config {
    let mut config = config.clone();
    let on_links = config.peers.iter_mut().filter(|(key, _)| key.interface().is_some());
    on_links.for_each(|(key, peer)| fill(*key, peer, underlay));
    config
}

/// The same, and external peers on a subnet of this machine, whose sessions run from whatever address it has there: they are
/// told that address, and the device's in the other family, since they may know no way to any other. Where the device has none
/// of a family, what was to be told stays.
#[must_use]
pub fn filled_near(config: &Config, underlay: &Underlay) -> Config {
    let mut config = filled_on_links(config, underlay);
    for (key, peer) in &mut config.peers {
        let Some(own) = near(*key, peer, underlay).filter(|_| !peer.is_internal()) else { continue };
        let v4 = |ip| if let IpAddr::V4(ip) = ip { Some(ip) } else { None };
        let v6 = |ip| if let IpAddr::V6(ip) = ip { Some(ip) } else { None };
        let (ip, hops) = (own.network.ip(), &mut peer.local_next_hops);
        hops.v4 = v4(ip).or_else(|| first(underlay, &own.device, v4)).or(hops.v4);
        hops.v6 = v6(ip).or_else(|| first(underlay, &own.device, v6)).or(hops.v6);
    }
    config
}

/// The own address on the subnet of a peer that is known by its address, where the session is to run from whatever address
/// there is.
pub fn near<'a>(key: PeerKey, peer: &PeerConfig, underlay: &'a Underlay) -> Option<&'a Address> {
    let any = key.interface().is_none() && peer.local_address.is_none();
    underlay.subnet_of(peer.remote.ip()).filter(|own| any && own.is_sound())
}

fn fill(key: PeerKey, peer: &mut PeerConfig, underlay: &Underlay) {
    let Some(device) = device_to(key, peer, underlay) else { return };
    let v4 = |ip| if let IpAddr::V4(ip) = ip { Some(ip) } else { None };
    let v6 = |ip| if let IpAddr::V6(ip) = ip { Some(ip) } else { None };
    let hops = &mut peer.local_next_hops;
    match peer.remote.ip() {
        IpAddr::V4(_) if hops.v6.is_none() => hops.v6 = first(underlay, &device, v6),
        IpAddr::V6(_) if hops.v4.is_none() && !by_link_local(key, &peer.session) => {
            hops.v4 = first(underlay, &device, v4);
        }
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    // Beside the link-local address that the session runs from a global one is told (RFC 2545 §3).
    if key.interface().is_some() && hops.v6.is_none() {
        hops.v6 = first(underlay, &device, v6);
    }
}

/// Whether IPv4 routes go by the link-local address: on a link where peers are known by the device alone addresses of others
/// may mean nothing.
fn by_link_local(key: PeerKey, options: &SessionOptions) -> bool {
    matches!(key, PeerKey::Interface(_)) && options.extended_next_hop.contains(Family::Ipv4Unicast)
}

/// The own addresses on each subnet that has to do with a range.
fn of_subnets(range: &IpNetwork, underlay: &Underlay) -> BTreeMap<IpNetwork, LocalNextHops> {
    let meets = |subnet: &IpNetwork| range.contains(subnet.network()) || subnet.contains(range.network());
    let subnets = underlay.addresses.iter().filter_map(|own| {
        let subnet = IpNetwork::new(own.network.network(), own.network.prefix()).ok()?;
        let v4 = |ip| if let IpAddr::V4(ip) = ip { Some(ip) } else { None };
        let v6 = |ip| if let IpAddr::V6(ip) = ip { Some(ip) } else { None };
        // Of the session's own family it is the address that the session runs from.
        let hops = match subnet {
            IpNetwork::V4(_) => LocalNextHops { v4: None, v6: first(underlay, &own.device, v6) },
            IpNetwork::V6(_) => LocalNextHops { v4: first(underlay, &own.device, v4), v6: None },
        };
        (meets(&subnet) && hops != LocalNextHops::default()).then_some((subnet, hops))
    });
    subnets.collect()
}

/// The device with the session's own address, as far as that is known before there is a session.
fn device_to(key: PeerKey, peer: &PeerConfig, underlay: &Underlay) -> Option<IfName> {
    if let Some(interface) = key.interface() {
        return IfName::new(interface.as_str()).ok();
    }
    let own = match peer.local_address {
        Some(own) => underlay.addresses.iter().find(|address| address.network.ip() == own),
        None => underlay.subnet_of(peer.remote.ip()),
    };
    own.map(|address| address.device)
}

fn first<T>(underlay: &Underlay, device: &IfName, family: impl Fn(IpAddr) -> Option<T>) -> Option<T> {
    underlay.addresses_of(device).filter(|address| address.is_sound()).find_map(|a| family(a.network.ip()))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use caracal_bgp::{Asn, Interface, PeerRange, RouterId};
    use caracal_linux::object::route::Scope;

    use super::*;

    fn address(device: &str, network: &str) -> Address {
        let scope = if network.starts_with("fe80") { Scope::Link } else { Scope::Universe };
        Address { scope, ..Address::lasting(IfName::new(device).unwrap(), network.parse().unwrap()) }
    }

    fn underlay() -> Underlay {
        let addresses = [
            ("eth0", "fe80::1/64"),
            ("eth0", "172.29.0.1/24"),
            ("eth0", "fd00:29::1/64"),
            ("eth1", "172.30.0.1/24"),
            ("lo", "10.0.0.1/32"),
            ("lo", "fd00::1/128"),
        ];
        Underlay {
            addresses: addresses.map(|(device, network)| address(device, network)).into(),
            ..Underlay::default()
        }
    }

    fn speaker() -> Config {
        Config::new(Asn(1), RouterId::try_from(Ipv4Addr::new(1, 1, 1, 1)).unwrap())
    }

    fn shown(hops: LocalNextHops) -> String {
        let shown = |ip: Option<IpAddr>| ip.map_or("-".to_owned(), |ip| ip.to_string());
        format!("{} {}", shown(hops.v4.map(IpAddr::V4)), shown(hops.v6.map(IpAddr::V6)))
    }

    /// What the peer is told, which is changed before.
    fn hops_of(key: PeerKey, change: impl FnOnce(&mut PeerConfig)) -> [String; 2] {
        let mut peer = PeerConfig::new(SocketAddr::new(key.address(), 179), Asn(1), Asn(2));
        change(&mut peer);
        let config = Config { peers: [(key, peer)].into(), ..speaker() };
        let of = |config: Config| shown(config.peers[&key].local_next_hops);
        [of(filled(&config, &underlay())), of(filled_on_links(&config, &underlay()))]
    }

    fn hops(peer: &str) -> String {
        hops_of(peer.parse().unwrap(), |_| ()).into_iter().next().unwrap()
    }

    #[test]
    fn the_other_family_has_the_address_of_the_device_to_the_peer() {
        assert_eq!(hops("172.29.0.2"), "- fd00:29::1");
        assert_eq!(hops("fd00:29::2"), "172.29.0.1 -");
        assert_eq!(hops("172.30.0.7"), "- -", "eth1 has no IPv6 address, and none is invented");
        assert_eq!(hops("192.0.2.9"), "- -", "not on a subnet of this machine");
        let from_lo = |peer: &mut PeerConfig| peer.local_address = "10.0.0.1".parse().ok();
        assert_eq!(hops_of("192.0.2.9".parse().unwrap(), from_lo), ["- fd00::1", "- -"]);
    }

    #[test]
    fn peers_of_a_range_have_the_address_of_the_device_to_each_of_them() {
        let hops = |range: &str, peer: &str| {
            let prefix: IpNetwork = range.parse().unwrap();
            let terms = PeerConfig::new(SocketAddr::new(prefix.network(), 179), Asn(1), Asn(2));
            let config = Config { ranges: [(prefix, PeerRange::new(terms))].into(), ..speaker() };
            let config = filled(&config, &underlay());
            shown(config.ranges[&prefix].peer(prefix, peer.parse().unwrap()).local_next_hops)
        };
        assert_eq!(hops("172.16.0.0/12", "172.29.0.7"), "- fd00:29::1", "the range is wider than the subnet");
        assert_eq!(hops("172.29.0.128/25", "172.29.0.129"), "- fd00:29::1", "it is a part of the subnet");
        assert_eq!(hops("172.16.0.0/12", "172.30.0.7"), "- -", "eth1 has no IPv6 address");
        assert_eq!(hops("fd00::/16", "fd00:29::9"), "172.29.0.1 -");
    }

    #[test]
    fn on_one_link_a_global_address_of_the_device_is_told_and_by_interface_no_ipv4_one() {
        assert_eq!(hops("fe80::2%eth0"), "172.29.0.1 fd00:29::1");
        assert_eq!(hops("fe80::2%eth1"), "172.30.0.1 -");
        let eth0 = PeerKey::Interface(Interface::new("eth0").unwrap());
        let by_ipv6 = |peer: &mut PeerConfig| {
            peer.session.extended_next_hop = [Family::Ipv4Unicast].into_iter().collect();
        };
        assert_eq!(hops_of(eth0, by_ipv6), ["- fd00:29::1", "- fd00:29::1"]);
        assert_eq!(hops_of(eth0, |_| ()), ["172.29.0.1 fd00:29::1", "172.29.0.1 fd00:29::1"]);
    }

    #[test]
    fn what_is_configured_is_kept() {
        let told = |peer: &mut PeerConfig| peer.local_next_hops.v6 = "fd00::7".parse().ok();
        assert_eq!(hops_of("172.29.0.2".parse().unwrap(), told), ["- fd00::7", "- fd00::7"]);
    }

    #[test]
    fn a_near_external_peer_is_told_the_addresses_on_its_own_link_where_the_session_runs_from_them() {
        let told = |peer: &str, asn: u32, source: Option<&str>| {
            let key: PeerKey = peer.parse().unwrap();
            let mut config = PeerConfig::new(SocketAddr::new(key.address(), 179), Asn(1), Asn(asn));
            config.local_next_hops =
                LocalNextHops { v4: "10.0.0.1".parse().ok(), v6: "fd00::1".parse().ok() };
            config.local_address = source.map(|source| source.parse().unwrap());
            let config = filled_near(&Config { peers: [(key, config)].into(), ..speaker() }, &underlay());
            shown(config.peers[&key].local_next_hops)
        };
        assert_eq!(told("172.29.0.2", 2, None), "172.29.0.1 fd00:29::1");
        assert_eq!(told("fd00:29::2", 2, None), "172.29.0.1 fd00:29::1");
        assert_eq!(told("172.30.0.7", 2, None), "172.30.0.1 fd00::1", "eth1 has no IPv6 address");
        assert_eq!(told("192.0.2.9", 2, None), "10.0.0.1 fd00::1", "it is on no subnet");
        assert_eq!(told("172.29.0.2", 2, Some("10.0.0.1")), "10.0.0.1 fd00::1", "it has to know the way");
        assert_eq!(told("172.29.0.2", 1, None), "10.0.0.1 fd00::1", "inside the AS next hops are looked up");
    }

    #[test]
    fn a_second_address_of_the_subnet_does_not_keep_a_near_peer_from_being_told_the_first() {
        let mut underlay = underlay();
        underlay.addresses.push(Address { secondary: true, ..address("eth0", "172.29.0.77/24") });
        let key: PeerKey = "172.29.0.2".parse().unwrap();
        let peer = PeerConfig::new(SocketAddr::new(key.address(), 179), Asn(1), Asn(2));
        assert_eq!(near(key, &peer, &underlay).unwrap().network.to_string(), "172.29.0.1/24");
        let config = filled_near(&Config { peers: [(key, peer)].into(), ..speaker() }, &underlay);
        assert_eq!(shown(config.peers[&key].local_next_hops), "172.29.0.1 fd00:29::1");
    }
}
