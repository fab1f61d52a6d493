use std::net::SocketAddr;

use caracal_bgp::config::RemoteAs;
use caracal_bgp::policy::{PrefixMatch, Rule, Then};
use caracal_bgp::{Asn, Families, Interface, RouterId};
use caracal_linux::object::address::Address;

use super::*;
use crate::desired::policies::{Ground, OwnNextHop, Policies};

const OWN_AS: Asn = Asn(65001);

fn network(text: &str) -> IpNetwork {
    text.parse().unwrap()
}

fn device(name: &str) -> IfName {
    IfName::new(name).unwrap()
}

fn addresses(own: &[(&str, &str)]) -> NodeAddresses {
    let of = |v4: bool| {
        let found = own.iter().find(|(network_of, _)| network(network_of).is_ipv4() == v4);
        found.map(|(own, on)| NodeAddress { network: network(own), device: device(on) })
    };
    NodeAddresses { v4: of(true), v6: of(false) }
}

/// Two uplinks to two routers, and one to a network of management.
fn links() -> Underlay {
    let all = [
        ("lo", "172.28.0.11/32"),
        ("lo", "fd00:28::11/128"),
        ("eth0", "172.31.0.3/31"),
        ("eth0", "fd00:31::3/127"),
        ("eth1", "172.31.1.3/31"),
        ("eth1", "fd00:31:0:1::3/127"),
        ("eth2", "10.9.0.5/24"),
    ];
    let addresses = all.iter().map(|(on, own)| Address::lasting(device(on), network(own))).collect();
    Underlay { addresses, ..Underlay::default() }
}

/// A session with a router: of the link's address, unless it is to be the node's.
fn session(to: &str, next_hop: OwnNextHop, filters: &[Rule]) -> (PeerKey, PeerConfig) {
    let told = [network("172.28.0.11/32"), network("fd00:28::11/128")];
    let policies = Policies::new(&Ground { told_addresses: &told, ..Ground::default() });
    let remote = SocketAddr::new(to.parse().unwrap(), 179);
    let peer = PeerConfig {
        families: Families::dual(),
        local_address: (next_hop == OwnNextHop::Node).then(|| "172.28.0.11".parse().unwrap()),
        export: policies.export(next_hop, filters),
        ..PeerConfig::new(remote, OWN_AS, RemoteAs::Exactly(Asn(64601)))
    };
    (PeerKey::Address(remote.ip()), peer)
}

fn config(peers: Vec<(PeerKey, PeerConfig)>) -> Config {
    let id = RouterId::try_from(std::net::Ipv4Addr::new(172, 28, 0, 11)).unwrap();
    Config { peers: peers.into_iter().collect(), ..Config::new(OWN_AS, id) }
}

fn words(departures: impl IntoIterator<Item = Departure>) -> Vec<String> {
    let word = |one: Departure| {
        let by = one.by.map_or("anything".to_owned(), |device| device.to_string());
        format!("{} by {by}", one.address)
    };
    departures.into_iter().map(word).collect()
}

const ON_LO: [(&str, &str); 2] = [("172.28.0.11/32", "lo"), ("fd00:28::11/128", "lo")];

#[test]
fn an_address_on_no_uplink_is_taken_by_the_uplinks_whose_routers_are_told_it() {
    let by_uplink = |to| session(to, OwnNextHop::Uplink, &[]);
    let keeps_back = Rule::new("keeps back", [PrefixMatch::exact(network("172.28.0.11/32"))], Then::Reject);
    let both = config(vec![by_uplink("172.31.0.2"), by_uplink("172.31.1.2")]);
    let of_each_family =
        ["172.28.0.11 by eth0", "172.28.0.11 by eth1", "fd00:28::11 by eth0", "fd00:28::11 by eth1"];
    assert_eq!(words(told(&both, &addresses(&ON_LO), &links())), of_each_family, "and not by eth2");
    let elsewhere: &[(&str, &str)] = &[("172.31.0.3/31", "eth0")];
    assert_eq!(words(told(&both, &addresses(elsewhere), &links())), Vec::<String>::new(), "on an uplink");
    let cloud: &[(&str, &str)] = &[("172.28.0.11/32", "eth0")];
    assert_eq!(words(told(&both, &addresses(cloud), &links())), Vec::<String>::new(), "alone, on an uplink");
    for (one, expected) in [
        (session("172.31.1.2", OwnNextHop::Uplink, &[keeps_back]), vec!["fd00:28::11 by eth1"]),
        (session("172.31.1.2", OwnNextHop::Node, &[]), vec![]),
        (session("198.51.100.1", OwnNextHop::Uplink, &[]), vec![]),
    ] {
        assert_eq!(words(told(&config(vec![one]), &addresses(&ON_LO), &links())), expected);
    }
    let (_, peer) = by_uplink("172.31.0.2");
    let peer = PeerConfig { families: [Family::Ipv6Unicast].into_iter().collect(), ..peer };
    let unnamed = config(vec![(PeerKey::Interface(Interface::new("eth1").unwrap()), peer)]);
    assert_eq!(words(told(&unnamed, &addresses(&ON_LO), &links())), ["fd00:28::11 by eth1"]);
}

#[test]
fn a_setting_says_which_address_is_taken() {
    let addresses = addresses(&ON_LO);
    let peers = vec![session("172.31.0.2", OwnNextHop::Uplink, &[])];
    let told = told(&config(peers), &addresses, &links());
    for (text, expected) in [
        ("auto", vec!["172.28.0.11 by eth0", "fd00:28::11 by eth0"]),
        ("uplink", vec![]),
        ("node", vec!["172.28.0.11 by anything", "fd00:28::11 by anything"]),
        ("198.51.100.7", vec!["198.51.100.7 by anything", "fd00:28::11 by eth0"]),
        ("198.51.100.7,2001:db8::7", vec!["198.51.100.7 by anything", "2001:db8::7 by anything"]),
    ] {
        let choice: OutgoingAddress = text.parse().unwrap();
        assert_eq!(choice.to_string(), text);
        assert_eq!(words(departures(&choice, &addresses, &told)), expected, "{text}");
    }
}

#[test]
fn what_is_no_address_is_refused_with_what_would_be() {
    for text in
        ["", "eth0", "0.0.0.0", "127.0.0.1", "ff02::1", "192.0.2.1,192.0.2.2", "192.0.2.1,", "192.0.2.0/24"]
    {
        let said = text.parse::<OutgoingAddress>().unwrap_err().to_string();
        assert!(said.contains(&format!("`{text}`")) && said.contains("auto, uplink, node"), "{said}");
    }
}
