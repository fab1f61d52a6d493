use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::handover;
use super::super::surroundings::Subnet;
use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn remote(name: &str, v4: Option<&str>, v6: Option<&str>) -> Vec<(IpAddr, Arc<Remote>)> {
    let remote = Remote { name: name.to_owned(), v4: v4.map(ip), v6: v6.map(ip), ..Remote::default() };
    let remote = Arc::new(remote);
    [remote.v4, remote.v6].into_iter().flatten().map(|ip| (ip, Arc::clone(&remote))).collect()
}

fn around(asked: Asked, others: Vec<Vec<(IpAddr, Arc<Remote>)>>) -> Surroundings {
    Surroundings {
        subnets: vec![Subnet {
            network: "172.30.0.11/24".parse().unwrap(),
            device: IfName::new("eth0").unwrap(),
        }],
        single: Vec::new(),
        nodes: others.into_iter().flatten().collect(),
        pools: Vec::new(),
        asked,
        ability: Ability {
            ipip: Ok(ip("172.30.0.11")),
            vxlan_v4: Ok(ip("172.30.0.11")),
            vxlan_v6: Ok(ip("fd00:30::11")),
        },
        uplink_mtu: 1500,
        services: BTreeSet::new(),
    }
}

const BOTH: Asked = Asked { ipip: true, vxlan: true };

/// What is wanted, in words.
fn words(around: &Surroundings, addresses: &[(TunnelAddress, &str)]) -> Vec<String> {
    let addresses = addresses.iter().map(|(which, text)| (*which, ip(text))).collect();
    let said = |wanted: &Wanted| match wanted {
        Wanted::Tunnel(name, Some(tunnel)) => format!("{name}: {tunnel}"),
        Wanted::Address(key, Some(_)) => format!("{key}"),
        Wanted::Forwarding(key, Some(entry)) => format!("{key} to {}", entry.destination),
        Wanted::Neighbour(key, Some(entry)) => format!("{key} is {}", entry.mac),
        Wanted::Setting(key, Some(value)) => format!("{key} = {}", value.0),
        other => panic!("{other:?}"),
    };
    tunnels(around, &handover::asked(around), &addresses, 1500).values().map(said).collect()
}

#[test]
fn without_pools_that_ask_only_the_uplinks_filter_is_loosened() {
    assert_eq!(words(&around(Asked::default(), vec![]), &[]), ["net/ipv4/conf/eth0/rp_filter = 2"]);
}

#[test]
fn of_several_uplinks_the_kernel_leaves_out_those_without_a_carrier() {
    let mut two = around(Asked::default(), vec![]);
    let subnet = |network: &str, device| Subnet {
        network: network.parse().unwrap(),
        device: IfName::new(device).unwrap(),
    };
    two.subnets.push(subnet("10.9.0.1/24", "eth1"));
    two.subnets.push(subnet("fd00:9::1/64", "eth1"));
    two.subnets.push(subnet("172.28.0.11/32", "lo"));
    let said = words(&two, &[]);
    let of = |device: &str| format!("net/ipv4/conf/{device}/ignore_routes_with_linkdown = 1");
    assert!(
        said.contains(&of("eth0")) && said.contains(&of("eth1")) && !said.contains(&of("lo")),
        "{said:?}"
    );
    assert!(!said.iter().any(|line| line.contains("ipv6")), "there is one uplink with IPv6: {said:?}");
}

#[test]
fn ipip_has_a_device_and_an_address() {
    let asked = Asked { ipip: true, vxlan: false };
    assert_eq!(
        words(&around(asked, vec![]), &[(TunnelAddress::Ipip, "10.244.0.1")]),
        [
            "tunl0: ipip mtu 1480",
            "net/ipv4/conf/eth0/rp_filter = 2",
            "net/ipv4/conf/tunl0/rp_filter = 2",
            "10.244.0.1/32 dev tunl0"
        ]
    );
}

#[test]
fn vxlan_knows_every_node_beforehand() {
    let others = vec![remote("n2", Some("172.30.1.12"), Some("fd00:31::12"))];
    let own = [(TunnelAddress::VxlanV4, "10.244.0.1"), (TunnelAddress::VxlanV6, "fd00:244::1")];
    let (here, there) = (vtep_mac(ip("172.30.0.11")), vtep_mac(ip("172.30.1.12")));
    let wanted = words(&around(Asked { ipip: false, vxlan: true }, others), &own);
    assert_eq!(
        wanted,
        [
            "vxlan.caracal: vxlan id 4096 dstport 4789 local 172.30.0.11 mtu 1450".to_owned(),
            "net/ipv4/conf/eth0/rp_filter = 2".to_owned(),
            "net/ipv4/conf/vxlan.caracal/rp_filter = 2".to_owned(),
            "10.244.0.1/32 dev vxlan.caracal".to_owned(),
            "fd00:244::1/128 dev vxlan.caracal".to_owned(),
            format!("{}/64 dev vxlan.caracal", link_local(here)),
            format!("{there} dev vxlan.caracal to 172.30.1.12"),
            format!("172.30.1.12 dev vxlan.caracal is {there}"),
            format!("{} dev vxlan.caracal is {there}", link_local(there)),
        ]
    );
}

#[test]
fn a_second_device_stands_only_where_a_node_has_no_ipv4() {
    let with = vec![remote("n2", Some("172.30.1.12"), None), remote("n3", None, Some("fd00:31::13"))];
    let wanted = words(&around(BOTH, with), &[]);
    assert!(
        wanted.contains(&"vxlan6.caracal: vxlan id 4096 dstport 4789 local fd00:30::11 mtu 1430".to_owned())
    );
    let end = vtep_mac(ip("fd00:31::13"));
    assert!(wanted.contains(&format!("{end} dev vxlan6.caracal to fd00:31::13")));
    assert!(wanted.contains(&format!("{} dev vxlan6.caracal is {end}", link_local(end))));
    assert!(!wanted.iter().any(|one| one.contains(&format!("{end} dev vxlan.caracal"))));

    // A node without IPv4 of its own has only that one.
    let mut alone = around(BOTH, vec![remote("n2", Some("172.30.1.12"), Some("fd00:31::12"))]);
    let none = || Err("this node has no IPv4 address".to_owned());
    (alone.ability.ipip, alone.ability.vxlan_v4) = (none(), none());
    let devices: Vec<String> = words(&alone, &[]).into_iter().filter(|one| one.contains("mtu")).collect();
    assert_eq!(devices, ["vxlan6.caracal: vxlan id 4096 dstport 4789 local fd00:30::11 mtu 1430"]);
}

#[test]
fn a_node_that_cannot_be_reached_says_why() {
    let ability = around(BOTH, vec![]).ability;
    let mute = Remote { name: "n9".to_owned(), ..Remote::default() };
    assert_eq!(vtep(&ability, &mute).unwrap_err(), "node n9 has no address that this node could reach");
    let lacking = Ability { vxlan_v4: Err("no vxlan".into()), vxlan_v6: Err("no vxlan".into()), ..ability };
    let other = Remote { v4: Some(ip("172.30.1.12")), ..mute };
    assert_eq!(vtep(&lacking, &other).unwrap_err(), "no vxlan");
}

#[test]
fn an_ends_addresses_follow_from_each_other() {
    let mac = vtep_mac(ip("172.30.1.12"));
    assert_eq!(mac.0[0], 2, "made up, and of one device");
    assert_ne!(mac, vtep_mac(ip("172.30.1.13")));
    assert_eq!(link_local(Mac([0x02, 0, 0, 0, 0, 0x0b])).to_string(), "fe80::ff:fe00:b");
}
