use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use caracal_api::EncapsulationMode::{self, Always, CrossSubnet, Never};
use caracal_bgp::rib::Source;
use caracal_bgp::speaker::BestPath;
use caracal_linux::object::link::IfName;

use super::super::surroundings::{Ability, PoolRange, Subnet};
use super::super::tunnels::Asked;
use super::*;
use crate::node::NodeAddress;

const POD_V4: &str = "10.244.1.0/26";
const POD_V6: &str = "fd00:244::40/122";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn eth(name: &str) -> IfName {
    IfName::new(name).unwrap()
}

/// One node's view: its subnets, the others, what each of them receives by.
#[derive(Clone)]
struct World {
    around: Surroundings,
    gateways: Gateways,
}

impl World {
    fn new(ipip: EncapsulationMode, vxlan: EncapsulationMode) -> Self {
        let pool = |network: &str, ipip, vxlan| PoolRange { network: network.parse().unwrap(), ipip, vxlan };
        let around = Surroundings {
            subnets: Vec::new(),
            single: Vec::new(),
            nodes: BTreeMap::new(),
            pools: vec![pool("10.244.0.0/16", ipip, vxlan), pool("fd00:244::/48", Never, vxlan)],
            asked: Asked::default(),
            ability: Ability {
                ipip: Ok(ip("172.30.0.11")),
                vxlan_v4: Ok(ip("172.30.0.11")),
                vxlan_v6: Ok(ip("fd00:30::11")),
            },
            uplink_mtu: 1500,
            services: BTreeSet::new(),
        };
        Self { around, gateways: Gateways::new() }
            .subnet("172.30.0.11/24", "eth0")
            .subnet("fd00:30::11/64", "eth0")
            .node("n1", Some("172.30.0.12"), Some("fd00:30::12"))
            .node("n2", Some("172.30.1.12"), Some("fd00:31::12"))
            .node("n3", None, Some("fd00:31::13"))
    }

    fn ipip(mode: EncapsulationMode) -> Self {
        Self::new(mode, Never)
    }

    fn vxlan(mode: EncapsulationMode) -> Self {
        Self::new(Never, mode)
    }

    fn without_subnets(mut self) -> Self {
        self.around.subnets.clear();
        self
    }

    fn subnet(mut self, network: &str, device: &str) -> Self {
        self.around.subnets.push(Subnet { network: network.parse().unwrap(), device: eth(device) });
        self
    }

    /// The node's own address, on no subnet with others.
    fn single(mut self, address: &str, device: &str) -> Self {
        self.around.single.push(NodeAddress { network: address.parse().unwrap(), device: eth(device) });
        self
    }

    fn node(self, name: &str, v4: Option<&str>, v6: Option<&str>) -> Self {
        let all = [TunnelDevice::Ipip, TunnelDevice::VxlanV4, TunnelDevice::VxlanV6];
        self.node_that_receives(name, v4, v6, &all)
    }

    fn node_that_receives(
        mut self,
        name: &str,
        v4: Option<&str>,
        v6: Option<&str>,
        by: &[TunnelDevice],
    ) -> Self {
        let (v4, v6) = (v4.map(ip), v6.map(ip));
        let receives_v4: BTreeSet<TunnelDevice> = by.iter().copied().collect();
        let receives_v6 = receives_v4.clone();
        let name = name.to_owned();
        let remote = Arc::new(Remote { name, v4, v6, receives_v4, receives_v6, ..Remote::default() });
        let own = [remote.v4, remote.v6].into_iter().flatten();
        self.around.nodes.extend(own.map(|ip| (ip, Arc::clone(&remote))));
        self
    }

    /// The node with this address says that its uplinks carry so much.
    fn mtu(mut self, of: &str, mtu: u32) -> Self {
        let known = &self.around.nodes[&ip(of)];
        let said = Arc::new(Remote { mtu: Some(mtu), ..Remote::clone(known) });
        for remote in self.around.nodes.values_mut().filter(|remote| remote.name == said.name) {
            *remote = Arc::clone(&said);
        }
        self
    }

    /// The host's own route towards this address.
    fn gateway(mut self, to: &str, hops: &[(&str, &str)]) -> Self {
        let hops = hops.iter().map(|(via, device)| Hop::via(ip(via), eth(device))).collect();
        self.gateways.insert(ip(to), hops);
        self
    }

    fn outcome(&self, prefix: &str, next_hops: &[&str], standing: Option<&Route>) -> Outcome {
        let path = |n: &&str| BestPath { next_hop: Some(ip(n)), peer: None, source: Source::Ibgp };
        let best = BestPaths { paths: next_hops.iter().map(path).collect() };
        let terrain = Terrain { around: &self.around, gateways: &self.gateways, protocol: 67 };
        outcome(prefix.parse().unwrap(), &best, standing, terrain).unwrap()
    }

    fn words(&self, prefix: &str, next_hops: &[&str]) -> String {
        words(&self.outcome(prefix, next_hops, None))
    }

    /// The words by a next hop, for a block of pods.
    fn by(&self, next_hop: &str) -> String {
        self.words(if next_hop.contains(':') { POD_V6 } else { POD_V4 }, &[next_hop])
    }
}

fn words(outcome: &Outcome) -> String {
    let route = match &outcome.route {
        None => "nothing".to_owned(),
        Some(route) => {
            assert_eq!(route.protocol, 67);
            let text = route.to_string();
            text.trim_end_matches(" proto 67").replace(" weight 1", "")
        }
    };
    match &outcome.why {
        None => route,
        Some(why) => format!("{route}: {}", why.code()),
    }
}

fn vtep(end: &str) -> String {
    tunnels::link_local(tunnels::vtep_mac(ip(end))).to_string()
}

#[test]
fn each_mode_in_and_out_of_the_subnet() {
    let table = [
        (World::ipip(Never), "172.30.0.12", "via 172.30.0.12 dev eth0".to_owned()),
        (World::ipip(CrossSubnet), "172.30.0.12", "via 172.30.0.12 dev eth0".to_owned()),
        (World::ipip(Always), "172.30.0.12", "via 172.30.0.12 dev tunl0 onlink".to_owned()),
        (World::ipip(Never), "172.30.1.12", "unreachable: NextHopOffSubnet".to_owned()),
        (World::ipip(CrossSubnet), "172.30.1.12", "via 172.30.1.12 dev tunl0 onlink".to_owned()),
        (World::ipip(Always), "172.30.1.12", "via 172.30.1.12 dev tunl0 onlink".to_owned()),
        (World::vxlan(CrossSubnet), "172.30.0.12", "via 172.30.0.12 dev eth0".to_owned()),
        (World::vxlan(Always), "172.30.0.12", "via 172.30.0.12 dev vxlan.caracal onlink".to_owned()),
        (World::vxlan(CrossSubnet), "172.30.1.12", "via 172.30.1.12 dev vxlan.caracal onlink".to_owned()),
        (World::vxlan(Always), "172.30.1.12", "via 172.30.1.12 dev vxlan.caracal onlink".to_owned()),
        // IPv6: IPIP carries none of it, and VXLAN names the other end's link-local address.
        (World::ipip(Always), "fd00:30::12", "via fd00:30::12 dev eth0".to_owned()),
        (World::vxlan(Never), "fd00:31::12", "unreachable: NextHopOffSubnet".to_owned()),
        (World::vxlan(CrossSubnet), "fd00:30::12", "via fd00:30::12 dev eth0".to_owned()),
        (World::vxlan(Always), "fd00:30::12", format!("via {} dev vxlan.caracal", vtep("172.30.0.12"))),
        (World::vxlan(CrossSubnet), "fd00:31::12", format!("via {} dev vxlan.caracal", vtep("172.30.1.12"))),
        // A node without IPv4 is reached over IPv6.
        (World::vxlan(CrossSubnet), "fd00:31::13", format!("via {} dev vxlan6.caracal", vtep("fd00:31::13"))),
    ];
    for (world, next_hop, expected) in table {
        let pools = &world.around.pools[0];
        let what = format!("ipip {:?}, vxlan {:?}, {next_hop}", pools.ipip, pools.vxlan);
        assert_eq!(world.by(next_hop), expected, "{what}");
    }
    // A node without IPv4 may still have pods with it.
    let expected = format!("via {} dev vxlan6.caracal", vtep("fd00:31::13"));
    assert_eq!(World::vxlan(CrossSubnet).words("10.244.2.0/26", &["fd00:31::13"]), expected);
}

#[test]
fn it_is_the_own_mask_that_decides_whatever_the_others_is() {
    let wide = World::ipip(CrossSubnet).without_subnets().subnet("172.30.0.11/16", "eth0");
    assert_eq!(wide.by("172.30.1.12"), "via 172.30.1.12 dev eth0");
    let narrow = World::ipip(CrossSubnet).without_subnets().subnet("172.30.0.11/29", "eth0");
    assert_eq!(narrow.by("172.30.0.12"), "via 172.30.0.12 dev eth0");
    assert_eq!(
        narrow.node("n9", Some("172.30.0.40"), None).by("172.30.0.40"),
        "via 172.30.0.40 dev tunl0 onlink"
    );
}

#[test]
fn with_an_address_of_length_32_everyone_is_across_the_subnet() {
    let cloud = |world: World| {
        world
            .without_subnets()
            .subnet("172.30.0.11/32", "eth0")
            .gateway("172.30.0.12", &[("169.254.7.1", "eth0")])
    };
    assert_eq!(cloud(World::ipip(CrossSubnet)).by("172.30.0.12"), "via 172.30.0.12 dev tunl0 onlink");
    assert_eq!(
        cloud(World::vxlan(CrossSubnet)).by("172.30.0.12"),
        "via 172.30.0.12 dev vxlan.caracal onlink"
    );
    // Without a tunnel the host's own way to the next hop is taken.
    assert_eq!(cloud(World::ipip(Never)).by("172.30.0.12"), "via 169.254.7.1 dev eth0");
}

#[test]
fn every_address_of_every_uplink_counts_and_the_smallest_subnet_wins() {
    let world = World::ipip(CrossSubnet)
        .subnet("192.0.2.1/24", "eth0")
        .subnet("10.9.0.1/16", "eth1")
        .subnet("10.9.7.1/24", "bond0.7");
    let table = [
        ("192.0.2.9", "via 192.0.2.9 dev eth0"),
        ("10.9.1.9", "via 10.9.1.9 dev eth1"),
        ("10.9.7.9", "via 10.9.7.9 dev bond0.7"),
    ];
    for (next_hop, expected) in table {
        assert_eq!(world.by(next_hop), expected);
    }
    // Two uplinks, one path by each.
    assert_eq!(
        world.words(POD_V4, &["192.0.2.9", "10.9.7.9"]),
        "via 10.9.7.9 dev bond0.7, via 192.0.2.9 dev eth0"
    );
}

#[test]
fn a_router_on_the_subnet_is_a_next_hop_like_any_but_no_tunnel_leads_to_one() {
    for world in [World::ipip(Never), World::ipip(CrossSubnet), World::vxlan(CrossSubnet)] {
        assert_eq!(world.by("172.30.0.1"), "via 172.30.0.1 dev eth0");
    }
    for world in [World::ipip(Always), World::vxlan(Always)] {
        assert_eq!(world.by("172.30.0.1"), "unreachable: NextHopNotNode");
    }
    assert_eq!(World::ipip(CrossSubnet).by("172.30.1.99"), "unreachable: NextHopNotNode");
}

#[test]
fn a_next_hop_behind_a_gateway_is_reached_by_the_hosts_own_hops() {
    let world = World::ipip(Never).gateway("172.30.1.12", &[("172.30.0.1", "eth0")]);
    assert_eq!(world.by("172.30.1.12"), "via 172.30.0.1 dev eth0");
    let two = World::ipip(Never).gateway("172.30.1.12", &[("172.30.0.1", "eth0"), ("10.9.0.254", "eth1")]);
    assert_eq!(two.by("172.30.1.12"), "via 10.9.0.254 dev eth1, via 172.30.0.1 dev eth0");
    // A tunnel that is asked for is not passed over for it.
    let tunnel = World::ipip(CrossSubnet).gateway("172.30.1.12", &[("172.30.0.1", "eth0")]);
    assert_eq!(tunnel.by("172.30.1.12"), "via 172.30.1.12 dev tunl0 onlink");
    // Outside the pools as well.
    assert_eq!(world.words("192.0.2.0/24", &["172.30.1.12"]), "via 172.30.0.1 dev eth0");
    let best = |next_hop| BestPath { next_hop: Some(ip(next_hop)), peer: None, source: Source::Ibgp };
    let paths = ["172.30.0.12", "172.30.1.12", "198.51.100.1"].map(best);
    let known = [BestPaths { paths: paths.into_iter().collect() }];
    let asked: Vec<String> =
        off_subnet(known.iter(), &world.around).iter().map(ToString::to_string).collect();
    assert_eq!(asked, ["172.30.1.12", "198.51.100.1"]);
}

#[test]
fn own_packets_come_from_an_address_that_is_on_none_of_the_uplinks() {
    let world = World::vxlan(CrossSubnet).subnet("10.9.0.1/24", "eth1").subnet("fd00:9::1/64", "eth1");
    let world = world.single("172.28.0.11/32", "lo").single("fd00:28::11/128", "lo");
    let both = "via 10.9.0.2 dev eth1, via 172.30.0.1 dev eth0 src 172.28.0.11";
    assert_eq!(world.words(POD_V4, &["172.30.0.1", "10.9.0.2"]), both);
    assert_eq!(world.words(POD_V6, &["fd00:9::2"]), "via fd00:9::2 dev eth1 src fd00:28::11");
    // A tunnel's own address leads answers back through it.
    assert_eq!(world.by("172.30.1.12"), "via 172.30.1.12 dev vxlan.caracal onlink");
    // On the device itself the kernel chooses the address anyway.
    let on_uplink = World::vxlan(CrossSubnet).single("172.30.0.11/32", "eth0");
    assert_eq!(on_uplink.by("172.30.0.12"), "via 172.30.0.12 dev eth0");
}

#[test]
fn a_router_on_a_link_but_on_no_subnet_is_handed_packets_as_they_are_and_a_node_is_not() {
    let alone = World::vxlan(CrossSubnet).without_subnets().subnet("172.30.0.11/32", "eth0");
    assert_eq!(alone.by("172.30.0.1"), "unreachable: NextHopNotNode", "no route leads to it");
    let on_link = alone.gateway("172.30.0.1", &[("172.30.0.1", "eth0")]);
    assert_eq!(on_link.by("172.30.0.1"), "via 172.30.0.1 dev eth0");
    let behind = on_link.gateway("172.30.0.12", &[("172.30.0.1", "eth0")]);
    assert_eq!(behind.by("172.30.0.12"), "via 172.30.0.12 dev vxlan.caracal onlink");
    let beside = behind.gateway("172.30.0.12", &[("172.30.0.12", "eth0")]);
    assert_eq!(beside.by("172.30.0.12"), "via 172.30.0.12 dev vxlan.caracal onlink");
}

#[test]
fn outside_the_pools_nothing_is_encapsulated_and_nothing_stands_in_its_place() {
    assert_eq!(World::ipip(Always).words("192.0.2.0/24", &["172.30.0.1"]), "via 172.30.0.1 dev eth0");
    assert_eq!(World::ipip(Always).words("192.0.2.0/24", &["172.30.9.1"]), "nothing: NextHopOffSubnet");
}

#[test]
fn equal_paths_become_hops_in_one_order_and_unusable_ones_are_left_out() {
    let world = World::ipip(Never);
    let both = "via 172.30.0.1 dev eth0, via 172.30.0.2 dev eth0";
    assert_eq!(world.words("192.0.2.0/24", &["172.30.0.2", "172.30.0.1"]), both);
    assert_eq!(world.words("192.0.2.0/24", &["172.30.0.1", "172.30.0.2"]), both);
    assert_eq!(world.words("192.0.2.0/24", &["172.30.9.1", "172.30.0.2"]), "via 172.30.0.2 dev eth0");
}

#[test]
fn a_tunnel_that_cannot_be_had_says_why() {
    let mut world = World::ipip(Always);
    world.around.ability.ipip = Err("the kernel has no ipip devices".to_owned());
    let outcome = world.outcome(POD_V4, &["172.30.1.12"], None);
    assert_eq!(words(&outcome), "unreachable: NoTunnel");
    assert_eq!(
        outcome.why.unwrap().to_string(),
        "the pool asks for IPIP to 172.30.1.12, which cannot be had: the kernel has no ipip devices"
    );
}

#[test]
fn until_the_other_end_takes_packets_by_the_new_way_the_old_one_stays() {
    use TunnelDevice::{Ipip, VxlanV4};
    let modes = [(Never, Never), (Always, Never), (Never, Always)];
    let world = |modes: (EncapsulationMode, EncapsulationMode), by: &[TunnelDevice]| {
        World::new(modes.0, modes.1)
            .gateway("172.30.1.12", &[("172.30.0.1", "eth0")])
            .node_that_receives("n1", Some("172.30.0.12"), Some("fd00:30::12"), by)
            .node_that_receives("n2", Some("172.30.1.12"), Some("fd00:31::12"), by)
    };
    for (prefix, next_hop) in [(POD_V4, "172.30.0.12"), (POD_V4, "172.30.1.12"), (POD_V6, "fd00:30::12")] {
        for old in modes {
            let before = world(old, &[Ipip, VxlanV4]).outcome(prefix, &[next_hop], None);
            assert_eq!(before.why, None, "{old:?} {next_hop}");
            for new in modes {
                let ready = world(new, &[Ipip, VxlanV4]).outcome(prefix, &[next_hop], before.route.as_ref());
                let waiting = world(new, &[]).outcome(prefix, &[next_hop], before.route.as_ref());
                let what = format!("{old:?} to {new:?} for {prefix} by {next_hop}: {}", words(&waiting));
                assert_eq!(ready.why, None, "{what}");
                if waiting.why.is_some() {
                    assert_eq!(waiting.route, before.route, "{what}");
                    assert!(words(&waiting).ends_with("TunnelNotReady"), "{what}");
                } else {
                    assert_eq!(waiting.route, ready.route, "{what}");
                }
            }
        }
    }
    // What stands but leads elsewhere is no way there, and what never stood cannot stay.
    let elsewhere = Route { protocol: 67, ..Route::via(ip("172.30.0.99"), eth("eth0")) };
    let waiting = world((Never, Always), &[]).outcome(POD_V4, &["172.30.0.12"], Some(&elsewhere));
    assert_eq!(words(&waiting), "unreachable: TunnelNotReady");
    assert_eq!(
        words(&world((Never, Always), &[]).outcome(POD_V4, &["172.30.0.12"], None)),
        "unreachable: TunnelNotReady"
    );
}

#[test]
fn a_route_to_a_node_whose_uplinks_carry_less_says_so() {
    let jumbo = |mut world: World| {
        world.around.uplink_mtu = 9000;
        world.mtu("172.30.0.12", 1500).mtu("172.30.1.12", 9000)
    };
    let table = [
        (jumbo(World::ipip(Never)), "via 172.30.0.12 dev eth0 mtu 1500"),
        (jumbo(World::ipip(Always)), "via 172.30.0.12 dev tunl0 onlink mtu 1480"),
        (jumbo(World::vxlan(Always)), "via 172.30.0.12 dev vxlan.caracal onlink mtu 1450"),
        // To a node that carries as much or more, and from one that carries little, the device says it already.
        (World::ipip(Never).mtu("172.30.0.12", 1500), "via 172.30.0.12 dev eth0"),
        (World::ipip(Never).mtu("172.30.0.12", 9000), "via 172.30.0.12 dev eth0"),
    ];
    for (world, expected) in table {
        assert_eq!(world.by("172.30.0.12"), expected);
    }
    let both = jumbo(World::vxlan(Always)).words(POD_V4, &["172.30.0.12", "172.30.1.12"]);
    assert!(both.ends_with("mtu 1450"), "the least of several: {both}");
    assert_eq!(jumbo(World::vxlan(Always)).by("172.30.1.12"), "via 172.30.1.12 dev vxlan.caracal onlink");
    // A router on the subnet says nothing.
    assert_eq!(jumbo(World::ipip(Never)).by("172.30.0.1"), "via 172.30.0.1 dev eth0");
}

#[test]
fn what_others_announce_of_services_is_not_followed() {
    let mut world = World::ipip(Never);
    world.around.services = ["10.96.0.0/16", "203.0.113.9/32"].map(|range| range.parse().unwrap()).into();
    for prefix in ["10.96.0.0/16", "10.96.7.7/32", "203.0.113.9/32"] {
        assert_eq!(world.words(prefix, &["172.30.0.12"]), "nothing", "{prefix}");
    }
    // What merely covers a range is none of it.
    assert_eq!(world.words("10.96.0.0/12", &["172.30.0.12"]), "via 172.30.0.12 dev eth0");
}

#[test]
fn a_next_hop_on_a_link_is_reached_by_the_device_of_its_peer_and_never_by_a_tunnel() {
    let world = World::new(CrossSubnet, CrossSubnet);
    let outcome = |prefix: &str, peer: &str| {
        let path = BestPath { next_hop: Some(ip("fe80::1")), peer: peer.parse().ok(), source: Source::Ebgp };
        let terrain = Terrain { around: &world.around, gateways: &world.gateways, protocol: 67 };
        outcome(prefix.parse().unwrap(), &BestPaths { paths: [path].into_iter().collect() }, None, terrain)
            .unwrap()
    };
    for prefix in [POD_V4, POD_V6, "192.0.2.0/24"] {
        for device in ["eth0", "eth1"] {
            let route = outcome(prefix, &format!("fe80::1%{device}")).route.unwrap();
            assert_eq!(route.hops(), [Hop::via(ip("fe80::1"), eth(device))], "{prefix}");
        }
    }
    let of_nowhere = outcome("192.0.2.0/24", "192.0.2.1");
    assert_eq!(of_nowhere.why.unwrap().code(), "NextHopOffSubnet");
    let best = BestPaths {
        paths: [BestPath { next_hop: Some(ip("fe80::1")), peer: None, source: Source::Ebgp }]
            .into_iter()
            .collect(),
    };
    assert!(off_subnet([best].iter(), &world.around).is_empty(), "no route of the host's leads there");
}
