use std::num::{NonZeroU8, NonZeroU16};
use std::time::Duration;

use super::*;
use crate::desired::policies::Ground;
use crate::desired::speaker::settings;
use crate::node::{NodeAddress, NodeAddresses};
use caracal_api::{BgpConfiguration, BgpConfigurationSpec, NetworkNodeSpec};
use caracal_bgp::bfd::Hops;
use caracal_bgp::{LimitAction, NextHopMode, PathsSent, PrefixLimit, PrefixLimits};
use caracal_linux::object::link::IfName;
use serde_json::json;

fn facts(name: &str, v4: Option<&str>, v6: Option<&str>) -> NodeFacts {
    let device = IfName::new("eth0").unwrap();
    let address = |text: &str| NodeAddress { network: text.parse().unwrap(), device };
    NodeFacts {
        name: name.to_owned(),
        uid: Some("u".into()),
        addresses: NodeAddresses { v4: v4.map(address), v6: v6.map(address) },
        labels: [("rack".to_owned(), "a".to_owned())].into(),
        ..NodeFacts::default()
    }
}

fn node(name: &str, v4: Option<&str>, v6: Option<&str>, rack: &str) -> NetworkNode {
    let spec = NetworkNodeSpec {
        ipv4: v4.map(str::to_owned),
        ipv6: v6.map(str::to_owned),
        as_number: 64512,
        labels: [("rack".to_owned(), rack.to_owned())].into(),
        ..NetworkNodeSpec::default()
    };
    NetworkNode::new(name, spec)
}

fn three_nodes() -> Snapshot<NetworkNode> {
    [
        node("n1", Some("172.30.0.11/24"), Some("fd00:30::11/64"), "a"),
        node("n2", Some("172.30.0.12/24"), Some("fd00:30::12/64"), "a"),
        node("n3", None, Some("fd00:30::13/64"), "b"),
    ]
    .into_iter()
    .collect()
}

fn peer(name: &str, spec: serde_json::Value) -> BgpPeer {
    BgpPeer::new(name, serde_json::from_value(spec).unwrap())
}

struct World {
    facts: NodeFacts,
    nodes: Snapshot<NetworkNode>,
    peers: Snapshot<BgpPeer>,
    filters: Snapshot<BgpFilter>,
    configurations: Snapshot<BgpConfiguration>,
    secrets: Secrets,
    comeback: Comeback,
}

impl World {
    fn of(peers: Vec<BgpPeer>) -> Self {
        Self {
            facts: facts("n1", Some("172.30.0.11/24"), Some("fd00:30::11/64")),
            nodes: three_nodes(),
            peers: peers.into_iter().collect(),
            filters: Snapshot::default(),
            configurations: Snapshot::default(),
            secrets: Secrets::default(),
            comeback: Comeback::FIRST,
        }
    }

    fn without_mesh(mut self) -> Self {
        let spec = BgpConfigurationSpec { node_to_node_mesh_enabled: Some(false), ..Default::default() };
        self.configurations = [BgpConfiguration::new("default", spec)].into_iter().collect();
        self
    }

    fn config(&self) -> (Option<Config>, Vec<Problem>) {
        let policies = Policies::new(&Ground::default());
        config(&Inputs {
            facts: &self.facts,
            settings: &settings(&self.facts.name, &self.configurations),
            nodes: &self.nodes,
            peers: &self.peers,
            filters: &self.filters,
            secrets: &self.secrets,
            comeback: self.comeback,
            policies: &policies,
        })
    }

    fn sessions(&self) -> Vec<String> {
        let (config, problems) = self.config();
        assert_eq!(problems, []);
        let show =
            |p: &PeerConfig| format!("{} {} AS{}", p.name, p.remote, p.remote_as.known(p.local_as).unwrap());
        config.unwrap().peers.values().map(show).collect()
    }
}

#[test]
fn the_mesh_is_one_session_per_other_node_over_ipv4_where_both_have_it() {
    let world = World::of(vec![]);
    assert_eq!(world.sessions(), ["n2 172.30.0.12:179 AS64512", "n3 [fd00:30::13]:179 AS64512"]);
    let config = world.config().0.unwrap();
    let n2 = &config.peers[&PeerKey::Address("172.30.0.12".parse().unwrap())];
    assert_eq!(n2.local_address, Some("172.30.0.11".parse().unwrap()));
    assert_eq!(n2.local_next_hops.v6, Some("fd00:30::11".parse().unwrap()));
    assert_eq!(n2.families, Families::dual());
    assert_eq!(config.router_id.address(), Ipv4Addr::new(172, 30, 0, 11));
}

#[test]
fn a_node_that_reflects_is_not_in_the_mesh() {
    let mut world = World::of(vec![]);
    let mut reflector = node("n2", Some("172.30.0.12/24"), None, "a");
    reflector.spec.route_reflector_cluster_id = Some("192.0.2.1".into());
    world.nodes.items.insert("n2".into(), reflector.into());
    assert_eq!(world.sessions(), ["n3 [fd00:30::13]:179 AS64512"]);
    world.facts.cluster_id = Some(Ipv4Addr::new(192, 0, 2, 1));
    assert!(world.sessions().is_empty());
}

#[test]
fn a_peer_by_address_is_held_by_the_nodes_that_its_definition_selects() {
    let tor = |more: serde_json::Value| {
        let mut spec = json!({"peerIP": "172.30.0.1:1179", "asNumber": 65001});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        World::of(vec![peer("tor", spec)]).without_mesh()
    };
    assert_eq!(tor(json!({})).sessions(), ["tor 172.30.0.1:1179 AS65001"]);
    assert_eq!(tor(json!({"nodeSelector": "rack == 'a'"})).sessions().len(), 1);
    assert_eq!(tor(json!({"nodeSelector": "rack == 'b'"})).sessions().len(), 0);
    assert_eq!(tor(json!({"node": "n1"})).sessions().len(), 1);
    assert_eq!(tor(json!({"node": "n2"})).sessions().len(), 0);
    let config =
        tor(json!({"localASNumber": 65100, "holdTime": 9, "nextHopMode": "Self"})).config().0.unwrap();
    let tor = config.peers.values().next().unwrap();
    assert_eq!(
        (tor.local_as, tor.hold_time.seconds(), tor.next_hop),
        (Asn(65100), 9, NextHopMode::SelfAlways)
    );
    assert_eq!(tor.multihop, Some(255));
}

#[test]
fn nodes_chosen_by_label_peer_in_both_directions() {
    let by_rack = peer("across", json!({"nodeSelector": "rack == 'b'", "peerSelector": "rack == 'a'"}));
    let world = World::of(vec![by_rack]).without_mesh();
    assert_eq!(world.sessions(), ["across-n3 [fd00:30::13]:179 AS64512"], "n1 is chosen, n3 holds");
}

#[test]
fn clients_of_a_reflector_are_the_nodes_outside_its_cluster() {
    let clients = peer("clients", json!({"nodeSelector": "rack == 'a'", "peerSelector": "all()"}));
    let mut world = World::of(vec![clients]).without_mesh();
    world.facts.cluster_id = Some(Ipv4Addr::new(192, 0, 2, 1));
    let mut fellow = node("n2", Some("172.30.0.12/24"), None, "a");
    fellow.spec.route_reflector_cluster_id = Some("192.0.2.1".into());
    world.nodes.items.insert("n2".into(), fellow.into());
    let config = world.config().0.unwrap();
    let clients: Vec<_> = config.peers.values().map(|p| (p.name.as_str(), p.reflector_client)).collect();
    assert_eq!(clients, [("clients-n2", false), ("clients-n3", true)]);
}

#[test]
fn a_definition_that_cannot_be_read_is_left_out_and_the_others_go_on() {
    let good = json!({"peerIP": "172.30.0.1", "asNumber": 65001});
    let twice = json!({"peerIP": "172.30.0.1", "asNumber": 65002});
    let bad = json!({"peerIP": "router", "asNumber": 65001});
    let world = World::of(vec![peer("a", good), peer("b", twice), peer("c", bad)]).without_mesh();
    let (config, problems) = world.config();
    let config = config.unwrap();
    assert_eq!(config.peers.len(), 1);
    assert_eq!(config.peers.values().next().unwrap().remote_as, Asn(65001).into());
    assert!(matches!(&problems[..], [Problem::Twice { .. }, Problem::Malformed { .. }]), "{problems:?}");
}

#[test]
fn without_an_address_there_is_no_configuration_and_a_reason() {
    let mut world = World::of(vec![]);
    world.facts = facts("n1", None, None);
    assert_eq!(world.config(), (None, vec![Problem::NoAddress]));
    world.facts = facts("n1", None, Some("fd00:30::11/64"));
    assert!(world.config().0.is_some(), "IPv6 alone is enough");
}

#[test]
fn filters_and_limits_of_a_peer_are_its_own_and_a_missing_filter_is_told() {
    let mut world = World::of(vec![
        peer(
            "tor",
            json!({
                "peerIP": "192.0.2.1", "asNumber": 65001, "filters": ["f"], "numAllowedLocalASNumbers": 2,
                "maxPrefixes": {"ipv4": 100, "action": "Stop"}, "addPaths": {"send": true, "sendMax": 3}
            }),
        ),
        peer("other", json!({"peerIP": "192.0.2.2", "asNumber": 65001})),
    ]);
    let (config, problems) = world.config();
    let [Problem::Filter { why, .. }] = problems.as_slice() else { panic!("{problems:?}") };
    assert!(why.contains("filter f") && why.contains("no such BGPFilter"), "{why}");
    let peers = config.unwrap().peers;
    let of = |address: &str| &peers[&PeerKey::Address(address.parse().unwrap())];
    assert_ne!(of("192.0.2.1").import, of("192.0.2.2").import);
    let stop = PrefixLimit { prefixes: 100, action: LimitAction::Stop };
    assert_eq!(of("192.0.2.1").session.limits, PrefixLimits { ipv4: Some(stop), ipv6: None });
    let session = &of("192.0.2.1").session;
    assert_eq!((session.add_path_send, session.add_path_receive), (of("192.0.2.1").families, Families::NONE));
    assert_eq!(of("192.0.2.1").paths_sent, PathsSent::First(NonZeroU8::new(3).unwrap()));
    assert_eq!((of("192.0.2.1").allow_own_as, of("192.0.2.2").allow_own_as), (2, 0));

    let spec = serde_json::from_value(json!({"exportV4": [{"action": "Reject"}]})).unwrap();
    world.filters = [BgpFilter::new("f", spec)].into_iter().collect();
    let (config, problems) = world.config();
    assert_eq!(problems, []);
    let peers = config.unwrap().peers;
    let of = |address: &str| &peers[&PeerKey::Address(address.parse().unwrap())];
    assert_eq!(of("192.0.2.1").import, of("192.0.2.2").import, "the filter says nothing of imports");
    assert_ne!(of("192.0.2.1").export, of("192.0.2.2").export);
}

#[test]
fn peers_keep_routes_over_a_restart_for_as_long_as_they_are_asked_to() {
    let router = |name: &str, last: u8, time: Option<&str>| {
        peer(name, json!({"peerIP": format!("172.30.0.{last}"), "asNumber": 64601, "maxRestartTime": time}))
    };
    let mut world = World::of(vec![
        router("usual", 1, None),
        router("long", 2, Some("10m")),
        router("none", 3, Some("0s")),
        router("odd", 4, Some("soon")),
    ]);
    let v4: Families = [Family::Ipv4Unicast].into_iter().collect();
    world.comeback = Comeback { restarted: true, forwarding: v4 };
    let spec = BgpConfigurationSpec { node_mesh_max_restart_time: Some("30s".into()), ..Default::default() };
    world.configurations = [BgpConfiguration::new("default", spec)].into_iter().collect();
    let config = world.config().0.unwrap();
    let time = |address: &str| {
        let restart = config.peers[&PeerKey::Address(address.parse().unwrap())].session.graceful_restart?;
        assert_eq!((restart.restarted, restart.forwarding), (true, v4));
        Some(restart.time.as_secs())
    };
    assert_eq!(time("172.30.0.12"), Some(30), "another node");
    let of_routers = [1, 2, 3, 4].map(|last| time(&format!("172.30.0.{last}")));
    assert_eq!(of_routers, [Some(120), Some(600), None, Some(120)]);
}

#[test]
fn a_session_without_its_password_is_not_opened_by_any_definition() {
    let with_password = |name: &str, key: &str| {
        let password = json!({"secretKeyRef": {"name": "bgp", "key": key}});
        peer(name, json!({"peerIP": "172.30.0.12", "asNumber": 64512, "password": password}))
    };
    let open = |name: &str| peer(name, json!({"peerIP": "172.30.0.12", "asNumber": 64512}));
    let n2 = PeerKey::Address("172.30.0.12".parse().unwrap());
    let mut world = World::of(vec![with_password("a", "n2"), open("b")]);
    let (config, problems) = world.config();
    assert!(!config.unwrap().peers.contains_key(&n2), "neither by the other definition nor by the mesh");
    assert!(problems[0].to_string().contains("has not been read yet"), "{problems:?}");

    let values = [("n2".to_owned(), b"one".to_vec()), ("mesh".to_owned(), b"all".to_vec())].into();
    world.secrets.read = [("bgp".to_owned(), Some(values))].into();
    let mesh = serde_json::from_value(json!({"secretKeyRef": {"name": "bgp", "key": "mesh"}})).unwrap();
    let spec = BgpConfigurationSpec { node_mesh_password: Some(mesh), ..Default::default() };
    world.configurations = [BgpConfiguration::new("default", spec)].into_iter().collect();
    let (config, _) = world.config();
    let of = |config: &Config, address: &str| {
        let peer = &config.peers[&PeerKey::Address(address.parse().unwrap())];
        peer.password.as_ref().map(|password| password.octets().to_vec())
    };
    let config = config.unwrap();
    assert_eq!(of(&config, "172.30.0.12"), Some(b"one".to_vec()));
    assert_eq!(of(&config, "fd00:30::13"), Some(b"all".to_vec()));

    // The Secret goes: all of them close, with words.
    world.secrets.read = [("bgp".to_owned(), None)].into();
    let (config, problems) = world.config();
    assert!(config.unwrap().peers.is_empty());
    let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(said.iter().filter(|words| words.contains("does not exist")).count(), 2, "{said:#?}");
}

/// What a definition gives node n1 as its only peer, or range of peers.
fn only(spec: serde_json::Value) -> PeerConfig {
    let world = World::of(vec![peer("p", spec.clone())]).without_mesh();
    let (config, problems) = world.config();
    assert_eq!(problems, [], "{spec}");
    let config = config.unwrap();
    let of_ranges = config.ranges.into_values().map(|range| range.terms);
    config.peers.into_values().chain(of_ranges).next().unwrap()
}

/// One field of a definition, and what it says of the session.
#[test]
fn each_field_of_a_definition_says_one_thing_of_its_sessions() {
    type Said = fn(&PeerConfig) -> String;
    let table: [(&str, serde_json::Value, Said, &str, &str); 13] = [
        ("asNumbers", json!([65001, 65002]), |p| p.remote_as.to_string(), "AS 65001", "AS 65001 or 65002"),
        ("asType", json!("External"), |p| p.remote_as.to_string(), "AS 65001", "any other AS than ours"),
        ("asType", json!("Internal"), |p| format!("{:?}", p.multihop), "Some(255)", "None"),
        ("localASNumber", json!(65100), |p| p.local_as.to_string(), "64512", "65100"),
        ("keepaliveTime", json!("1m5s"), |p| format!("{:?}", p.keepalive), "None", "Some(65s)"),
        ("passive", json!(true), |p| p.passive.to_string(), "false", "true"),
        ("device", json!("eth7"), |p| format!("{:?}", p.device), "None", "Some(\"eth7\")"),
        ("multihop", json!(3), |p| format!("{:?}", p.multihop), "Some(255)", "Some(3)"),
        (
            "ttlSecurity",
            json!(2),
            |p| format!("{:?} {:?}", p.ttl_security, p.multihop),
            "None Some(255)",
            "Some(2) None",
        ),
        ("sourceAddress", json!("None"), |p| format!("{:?}", p.local_address), "Some(172.30.0.11)", "None"),
        ("nextHopMode", json!("Keep"), |p| format!("{:?}", p.next_hop), "Auto", "Keep"),
        ("numAllowedLocalASNumbers", json!(1), |p| p.allow_own_as.to_string(), "0", "1"),
        (
            "longLivedStaleTime",
            json!(3600),
            |p| format!("{:?}", p.session.graceful_restart.and_then(|restart| restart.long_lived)),
            "None",
            "Some(3600s)",
        ),
    ];
    for (field, value, said, without, with) in table {
        let plain = json!({"peerIP": "192.0.2.1", "asNumber": 65001});
        assert_eq!(said(&only(plain.clone())), without, "without {field}");
        let mut spec = plain;
        if field.starts_with("as") {
            spec["asNumber"] = json!(0);
        }
        spec[field] = value;
        assert_eq!(said(&only(spec)), with, "with {field}");
    }
}

#[test]
fn whoever_connects_from_a_range_has_the_terms_of_its_definition() {
    let spec = json!({
        "peerRange": "172.30.0.128/25", "maxPeers": 7, "asType": "External", "ttlSecurity": 1, "holdTime": 9,
        "bfd": {"minTx": 50}, "nodeSelector": "rack == 'a'"
    });
    let mut world = World::of(vec![peer("racks", spec)]).without_mesh();
    let (config, problems) = world.config();
    assert_eq!(problems, []);
    let config = config.unwrap();
    assert!(config.peers.is_empty());
    let (prefix, range) = config.ranges.iter().next().unwrap();
    assert_eq!(
        (prefix.to_string().as_str(), range.max_peers),
        ("172.30.0.128/25", NonZeroU16::new(7).unwrap())
    );
    let newcomer = range.peer(*prefix, "172.30.0.200".parse().unwrap());
    assert_eq!((newcomer.name.as_str(), newcomer.hold_time.seconds(), newcomer.passive), ("racks", 9, true));
    assert_eq!((newcomer.local_address, newcomer.ttl_security), (None, NonZeroU8::new(1)));
    assert_eq!(newcomer.local_next_hops, next_hops(&world.facts));
    assert_eq!(newcomer.bfd_hops(), Hops::One);
    assert_eq!(newcomer.bfd.unwrap().timers.min_tx, Duration::from_millis(50));
    world.facts.labels.clear();
    assert!(world.config().0.unwrap().ranges.is_empty(), "it is for other nodes");

    // Without a word on the distance it is this node's subnets that say it.
    for (range, hops) in
        [("172.30.0.0/24", Hops::One), ("172.30.0.0/16", Hops::Many), ("10.0.0.0/8", Hops::Many)]
    {
        let config = only(json!({"peerRange": range, "asNumber": 65001, "bfd": {}}));
        assert_eq!(config.bfd_hops(), hops, "{range}");
    }
}

#[test]
fn a_peer_on_a_link_has_its_address_and_next_hops_from_there() {
    for (spec, key, extended) in [
        (json!({"peerIP": "[fe80::1%eth1]:1179"}), "fe80::1%eth1", false),
        (json!({"interface": "eth1"}), "eth1", true),
    ] {
        let mut spec = spec;
        spec["asType"] = json!("External");
        spec["bfd"] = json!({});
        let world = World::of(vec![peer("cable", spec)]).without_mesh();
        let config = world.config().0.unwrap();
        let (found, config) = config.peers.iter().next().unwrap();
        assert_eq!(found.to_string(), key);
        assert_eq!((config.local_address, config.local_next_hops), (None, LocalNextHops::default()));
        assert_eq!((config.multihop, config.session.extended_next_hop.is_empty()), (None, !extended));
        assert_eq!(config.bfd.unwrap().multihop, None, "the link says how far it is");
    }
}

#[test]
fn what_the_speaker_would_refuse_costs_its_own_definition_alone() {
    let secret = json!({"secretKeyRef": {"name": "bgp", "key": "racks"}});
    let mut world = World::of(vec![
        peer("both-sides", json!({"peerIP": "192.0.2.1", "asNumbers": [64512, 65001]})),
        peer("good", json!({"peerIP": "192.0.2.2", "asNumber": 65001})),
        peer("never", json!({"peerIP": "192.0.2.3", "asNumber": 65001, "keepaliveTime": "0s"})),
        peer("open", json!({"peerIP": "10.1.0.7", "asNumber": 65001})),
        peer("signed", json!({"peerRange": "10.1.0.0/24", "asNumber": 65001, "password": secret})),
        peer("twice", json!({"peerRange": "10.1.0.0/24", "asNumber": 65001})),
        peer("words", json!({"peerIP": "192.0.2.4", "asNumber": 65001, "tcpAO": {}})),
    ])
    .without_mesh();
    let values = [("racks".to_owned(), b"one".to_vec())].into();
    world.secrets.read = [("bgp".to_owned(), Some(values))].into();
    let (config, problems) = world.config();
    let config = config.unwrap();
    assert!(config.validate().is_ok(), "the speaker takes what is left");
    let names: Vec<_> = config.peers.values().map(|peer| peer.name.as_str()).collect();
    assert_eq!(names, ["open", "good"]);
    assert!(config.ranges.is_empty(), "a peer without a password lies in it");
    let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
    for words in [
        "BGPPeer both-sides is left out: configuring peer 192.0.2.1: our own AS 64512 is listed with others",
        "BGPPeer never is left out: configuring peer 192.0.2.3: keepalive interval is 0ns",
        "BGPPeer signed is left out: configuring peer 10.1.0.7, which has no password: it lies in the range",
        "BGPPeer twice is left out: the session with 10.1.0.0/24 is signed's",
        "BGPPeer words is left out: tcpAO: TCP-AO (RFC 5925) is not offered",
    ] {
        assert!(said.iter().any(|one| one.starts_with(words)), "{words}\n{said:#?}");
    }
    assert_eq!(said.len(), 5, "{said:#?}");
}

#[test]
fn a_range_lets_nobody_in_without_a_password_that_cannot_be_had() {
    let secret = json!({"secretKeyRef": {"name": "bgp", "key": "racks"}});
    let range = |name: &str, network: &str, password: Option<&serde_json::Value>| {
        peer(name, json!({"peerRange": network, "asNumber": 65001, "password": password}))
    };
    let named = peer("named", json!({"peerIP": "10.2.0.7", "asNumber": 65001, "password": secret}));
    let world = World::of(vec![
        range("closed", "10.1.0.0/24", Some(&secret)),
        range("around", "10.1.0.0/16", None),
        range("elsewhere", "10.2.0.0/16", None),
        named,
    ])
    .without_mesh();
    let (config, problems) = world.config();
    let config = config.unwrap();
    let ranges: Vec<String> = config.ranges.keys().map(ToString::to_string).collect();
    assert_eq!(ranges, ["10.2.0.0/16"], "{problems:#?}");
    let named = &config.peers[&PeerKey::Address("10.2.0.7".parse().unwrap())];
    assert!(named.waits.is_some(), "the range around it would let it in without");
}

#[test]
fn nodes_keep_each_others_routes_for_long_where_that_is_said() {
    let mut world = World::of(vec![]);
    let spec = BgpConfigurationSpec { node_mesh_long_lived_stale_time: Some(7200), ..Default::default() };
    world.configurations = [BgpConfiguration::new("default", spec)].into_iter().collect();
    let config = world.config().0.unwrap();
    let times: Vec<_> =
        config.peers.values().map(|peer| peer.session.graceful_restart.unwrap().long_lived).collect();
    assert_eq!(times, [Some(Duration::from_secs(7200)); 2]);
}
