use std::net::IpAddr;
use std::sync::Arc;

use EncapsulationMode::{Always, Never};
use caracal_linux::object::address::Address;
use caracal_linux::object::link::Link;

use super::super::surroundings::{Ability, PoolRange, Remote};
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
        let link = Link { mtu: 1450, ..Link::bare(index, device(name), up) };
        (index, link)
    };
    let all = up.iter().map(|one| (*one, true)).chain(down.iter().map(|one| (*one, false)));
    Underlay { links: (1..).zip(all).map(link).collect(), addresses: Vec::new() }
}

/// The same with an IPv4 address on each device.
fn addressed(links: Underlay) -> Underlay {
    let address = |link: &Link| Address {
        protocol: 67,
        ..Address::lasting(link.name, "10.244.0.1/32".parse().unwrap())
    };
    Underlay { addresses: links.links.values().map(address).collect(), ..links }
}

/// Asked to carry IPv4 or not, with an address or not.
fn stands(carries_v4: bool, addressed: bool) -> Standing {
    Standing { carries_v4, addressed }
}

#[test]
fn an_end_stands_when_its_device_is_up_and_carries_ipv4_where_pools_of_ipv4_ask_for_it() {
    let standing = |around: &Surroundings, links| standing(around, &Ends::new(), &links);
    let mut around = around(VXLAN, &[]);
    assert_eq!(asked(&around), ends(&[VxlanV4]));
    assert_eq!(standing(&around, links(&[], &[])), [].into());
    assert_eq!(standing(&around, links(&[], &[VxlanV4])), [].into());
    assert_eq!(standing(&around, links(&[VxlanV4], &[])), [(VxlanV4, stands(false, false))].into());
    // A device that nobody asks for is not offered: tunl0 is there on many kernels.
    assert_eq!(standing(&around, links(&[VxlanV4, Ipip], &[])), [(VxlanV4, stands(false, false))].into());
    let pool = |network: &str| PoolRange { network: network.parse().unwrap(), ipip: Never, vxlan: Always };
    around.pools = vec![pool("fd00:244::/48")];
    assert_eq!(standing(&around, links(&[VxlanV4], &[])), [(VxlanV4, stands(false, false))].into());
    around.pools = vec![pool("10.244.0.0/16")];
    assert_eq!(standing(&around, links(&[VxlanV4], &[])), [(VxlanV4, stands(true, false))].into());
    let with = addressed(links(&[VxlanV4], &[]));
    assert_eq!(standing(&around, with), [(VxlanV4, stands(true, true))].into());
}

#[test]
fn ipv4_packets_are_taken_in_by_an_end_once_it_has_its_address_or_has_waited_long() {
    let start = Instant::now();
    let mut opening = Opening::default();
    let due = start + ADDRESS_PATIENCE;
    let (bare, ready) = (stands(true, false), stands(true, true));
    assert_eq!(opening.update(start, &[(VxlanV4, bare), (Ipip, ready)].into()), (ends(&[Ipip]), Some(due)));
    let soon = start + ADDRESS_PATIENCE / 2;
    assert_eq!(opening.update(soon, &[(VxlanV4, bare)].into()), (ends(&[]), Some(due)));
    assert_eq!(opening.update(due, &[(VxlanV4, bare)].into()), (ends(&[VxlanV4]), None));
    assert_eq!(opening.update(soon, &[(VxlanV4, ready)].into()), (ends(&[VxlanV4]), None));
    // A device that was away, or loses its address, waits anew.
    opening.update(due, &[].into());
    let again = due + ADDRESS_PATIENCE;
    assert_eq!(opening.update(due, &[(VxlanV4, bare)].into()), (ends(&[]), Some(again)));
}

#[test]
fn an_end_that_has_carried_ipv6_for_long_takes_ipv4_only_with_an_address() {
    let start = Instant::now();
    let mut opening = Opening::default();
    let carries_v6: BTreeMap<_, _> = [(VxlanV4, stands(false, false))].into();
    assert_eq!(receives_v6(&carries_v6), ends(&[VxlanV4]));
    assert_eq!(opening.update(start, &carries_v6), (ends(&[]), None), "others may know of a change first");
    let later = start + ADDRESS_PATIENCE * 100;
    let asked_more = [(VxlanV4, stands(true, false))].into();
    assert_eq!(opening.update(later, &asked_more), (ends(&[]), Some(later + ADDRESS_PATIENCE)));
    assert_eq!(opening.update(later, &[(VxlanV4, stands(true, true))].into()), (ends(&[VxlanV4]), None));
    assert_eq!(receives_v6(&[(Ipip, stands(true, true))].into()), ends(&[]));
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
