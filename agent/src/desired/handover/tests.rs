use std::net::IpAddr;
use std::sync::Arc;

use caracal_linux::object::link::Link;

use super::super::surroundings::{Ability, Remote};
use super::super::tunnels::Asked;
use super::*;
use TunnelDevice::{Ipip, VxlanV4, VxlanV6};

const NOTHING: Asked = Asked { ipip: false, vxlan: false };
const IPIP: Asked = Asked { ipip: true, vxlan: false };
const VXLAN: Asked = Asked { ipip: false, vxlan: true };

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A node with one other node, which says that it sends by these.
fn around(asked: Asked, others_send: &[TunnelDevice]) -> Surroundings {
    let remote = Remote {
        name: "n2".to_owned(),
        v4: Some(ip("172.30.0.12")),
        sends: others_send.iter().copied().collect(),
        ..Remote::default()
    };
    let ability = Ability {
        ipip: Ok(ip("172.30.0.11")),
        vxlan_v4: Ok(ip("172.30.0.11")),
        vxlan_v6: Ok(ip("fd00:30::11")),
    };
    let nodes = [(ip("172.30.0.12"), Arc::new(remote))].into();
    Surroundings { nodes, asked, ability, ..Surroundings::default() }
}

fn ends(ends: &[TunnelDevice]) -> Ends {
    ends.iter().copied().collect()
}

fn links(up: &[TunnelDevice], down: &[TunnelDevice]) -> Underlay {
    let link = |(index, (name, up)): (u32, (TunnelDevice, bool))| {
        let link = Link {
            index,
            name: device(name),
            mac: None,
            mtu: 1450,
            up,
            carrier: up,
            loopback: false,
            alias: None,
            kind: None,
            vxlan: None,
            peer_index: None,
            peer_elsewhere: false,
            master: None,
        };
        (index, link)
    };
    let all = up.iter().map(|one| (*one, true)).chain(down.iter().map(|one| (*one, false)));
    Underlay { links: (1..).zip(all).map(link).collect(), addresses: Vec::new() }
}

#[test]
fn an_end_is_told_only_when_its_device_is_up() {
    let around = around(VXLAN, &[]);
    assert_eq!(asked(&around), ends(&[VxlanV4]));
    assert_eq!(receives(&around, &Ends::new(), &links(&[], &[])), Ends::new());
    assert_eq!(receives(&around, &Ends::new(), &links(&[], &[VxlanV4])), Ends::new());
    assert_eq!(receives(&around, &Ends::new(), &links(&[VxlanV4], &[])), ends(&[VxlanV4]));
    // A device that nobody asks for is not offered: tunl0 is there on many kernels.
    assert_eq!(receives(&around, &Ends::new(), &links(&[VxlanV4, Ipip], &[])), ends(&[VxlanV4]));
}

#[test]
fn an_end_is_needed_while_anyone_sends_by_it() {
    assert_eq!(needed(&around(NOTHING, &[]), &Ends::new()), Ends::new());
    assert_eq!(needed(&around(NOTHING, &[VxlanV4]), &Ends::new()), ends(&[VxlanV4]), "another sends");
    assert_eq!(
        needed(&around(NOTHING, &[]), &ends(&[VxlanV4])),
        ends(&[VxlanV4]),
        "a route of ours leads through"
    );
    assert_eq!(needed(&around(IPIP, &[VxlanV4]), &Ends::new()), ends(&[Ipip, VxlanV4]), "the pools changed");
    let mut poor = around(IPIP, &[Ipip, VxlanV6]);
    poor.ability.ipip = Err("the kernel has no ipip devices".to_owned());
    poor.ability.vxlan_v6 = Err("this node has no IPv6 address".to_owned());
    assert_eq!(needed(&poor, &Ends::new()), Ends::new(), "what this node cannot have is not tried");
}

#[test]
fn a_node_says_that_it_sends_before_it_does_and_until_its_last_route_has_gone() {
    assert_eq!(sends(&around(VXLAN, &[]), &Ends::new()), ends(&[VxlanV4]));
    assert_eq!(sends(&around(NOTHING, &[]), &ends(&[VxlanV4])), ends(&[VxlanV4]));
    assert_eq!(sends(&around(NOTHING, &[VxlanV4]), &Ends::new()), Ends::new());
}

#[test]
fn an_end_stays_for_a_while_after_it_is_needed() {
    let start = Instant::now();
    let mut kept = Kept::default();
    assert_eq!(kept.update(start, ends(&[VxlanV4])), ends(&[VxlanV4]));
    assert_eq!(kept.deadline(), None);
    let later = start + Duration::from_secs(60);
    assert_eq!(kept.update(later, Ends::new()), ends(&[VxlanV4]));
    assert_eq!(kept.deadline(), Some(later + LINGER));
    // News of another kind prolong nothing.
    assert_eq!(kept.update(later + LINGER / 2, ends(&[Ipip])), ends(&[Ipip, VxlanV4]));
    assert_eq!(kept.deadline(), Some(later + LINGER));
    assert_eq!(kept.update(later + LINGER, ends(&[Ipip])), ends(&[Ipip]));
    // Needed again meanwhile, it has a whole while left afterwards.
    kept.update(later + LINGER * 2, Ends::new());
    assert_eq!(kept.update(later + LINGER * 5 / 2, ends(&[Ipip])), ends(&[Ipip]));
    kept.update(later + LINGER * 4, Ends::new());
    assert_eq!(kept.deadline(), Some(later + LINGER * 5));
}

#[test]
fn ends_are_known_by_their_devices() {
    let devices = ["eth0", "vxlan.caracal", "tunl0", "vxlan.caracal"];
    assert_eq!(of_devices(devices.into_iter()), ends(&[Ipip, VxlanV4]));
}
