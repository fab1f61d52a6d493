//! Tunnels against a real kernel: devices, addresses, forwarding entries and neighbours are made, adopted, repaired and
//! removed, and packets of both families go through a pair of them.

#![allow(clippy::unwrap_used, reason = "a test whose preparation fails has failed")]

mod sandbox;

use caracal_linux::features;
use caracal_linux::kernel::{Kernel, Settings, Unsettled, Wanted};
use caracal_linux::namespace::Namespace;
use caracal_linux::object::address::{AddressKey, Assigned};
use caracal_linux::object::forwarding::{Forwarding, ForwardingKey};
use caracal_linux::object::link::Mac;
use caracal_linux::object::neighbour::{Neighbour, NeighbourKey};
use caracal_linux::object::route::{Hop, Route, RouteKind};
use caracal_linux::object::setting::{Setting, SettingKey, SettingName};
use caracal_linux::object::tunnel::{Tunnel, Vxlan};
use caracal_wait::{until, until_ok};
use sandbox::wants::*;
use sandbox::{device, ip, namespace, try_ip, wire};

const NAME: &str = "vxlan.caracal";
const MAC_A: Mac = Mac([2, 0, 0, 0, 0, 0xa]);
const MAC_B: Mac = Mac([2, 0, 0, 0, 0, 0xb]);

fn vxlan(local: &str, mac: Mac, mtu: u32) -> Wanted {
    let vxlan = Vxlan { vni: 4096, port: 4789, local: local.parse().unwrap(), mac, learning: false };
    Wanted::Tunnel(device(NAME), Some(Tunnel::vxlan(vxlan, mtu)))
}

fn address(network: &str) -> Wanted {
    let key = AddressKey { device: device(NAME), network: network.parse().unwrap() };
    Wanted::Address(key, Some(Assigned::LASTING))
}

fn entry(mac: Mac, to: &str) -> Wanted {
    Wanted::Forwarding(ForwardingKey { device: device(NAME), mac }, Some(Forwarding::to(to.parse().unwrap())))
}

fn resolved(ip: &str, mac: Mac) -> Wanted {
    let key = NeighbourKey { device: device(NAME), address: ip.parse().unwrap() };
    Wanted::Neighbour(key, Some(Neighbour { mac }))
}

fn through(destination: &str, via: &str) -> Wanted {
    let hop = Hop::via(via.parse().unwrap(), device(NAME));
    let hop = if via.contains(':') { hop } else { hop.onlink() };
    route(destination, Route::new(RouteKind::Unicast(vec![hop])))
}

fn reverse_path_filter(name: &str) -> Wanted {
    let key = SettingKey { device: device(name), name: SettingName::ReversePathFilter };
    Wanted::Setting(key, Some(Setting(2)))
}

/// One end, towards the other.
fn end() -> Vec<Wanted> {
    vec![
        vxlan("192.0.2.1", MAC_A, 1450),
        reverse_path_filter(NAME),
        address("10.0.0.1/32"),
        address("fd00:a::1/128"),
        address("fe80::a/64"),
        entry(MAC_B, "192.0.2.2"),
        resolved("192.0.2.2", MAC_B),
        resolved("fe80::b", MAC_B),
        through("10.0.1.0/26", "192.0.2.2"),
        through("fd00:b::/122", "fe80::b"),
    ]
}

/// Everything as [`end`] wants it, as `ip` and `bridge` show it.
fn as_wanted(host: &Namespace) -> Result<(), String> {
    let link = try_ip(host, &format!("-d link show {NAME}")).1;
    let addresses = try_ip(host, &format!("addr show dev {NAME}")).1;
    let neighbours = try_ip(host, &format!("neigh show dev {NAME} nud permanent")).1;
    let entries = bridge(host, &format!("fdb show dev {NAME}"));
    let routes = ours(host);
    let filter = sysctl(host, &format!("net/ipv4/conf/{NAME}/rp_filter"));
    let expected = [
        (&link, "mtu 1450"),
        (&link, "vxlan id 4096 local 192.0.2.1"),
        (&link, "dstport 4789"),
        (&link, "nolearning"),
        (&link, "UP"),
        (&link, "02:00:00:00:00:0a"),
        (&addresses, "inet 10.0.0.1/32"),
        (&addresses, "inet6 fd00:a::1/128"),
        (&addresses, "inet6 fe80::a/64"),
        (&neighbours, "192.0.2.2 lladdr 02:00:00:00:00:0b"),
        (&neighbours, "fe80::b lladdr 02:00:00:00:00:0b"),
        (&entries, "02:00:00:00:00:0b dst 192.0.2.2 self permanent"),
        (&routes, "10.0.1.0/26 via 192.0.2.2 dev vxlan.caracal"),
        (&routes, "fd00:b::/122 via fe80::b dev vxlan.caracal"),
        (&filter, "2"),
    ];
    match expected.iter().find(|(text, part)| !text.contains(part)) {
        None => Ok(()),
        Some((text, part)) => Err(format!("`{part}` is not in: {text}")),
    }
}

async fn until_as_wanted(host: &Namespace, what: &str) {
    until_ok(what, SECOND, async || as_wanted(host)).await;
}

fn bridge(host: &Namespace, arguments: &str) -> String {
    let output = host
        .run(|| std::process::Command::new("bridge").args(arguments.split_whitespace()).output())
        .unwrap()
        .expect("this test needs `bridge` of the Debian package iproute2");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

fn sysctl(host: &Namespace, path: &str) -> String {
    host.run(|| caracal_linux::sysctl::read(path).unwrap_or_default()).unwrap()
}

fn write(host: &Namespace, path: &str, value: &str) {
    host.run(|| caracal_linux::sysctl::write(path, value)).unwrap().unwrap();
}

fn has_vxlan() -> bool {
    let feature = features::probe().vxlan;
    if !feature.is_present() {
        eprintln!("not tested here: {feature}");
    }
    feature.is_present()
}

fn host() -> Namespace {
    let host = namespace();
    wire(&host, "eth0");
    ip(&host, "addr add 192.0.2.1/24 dev eth0");
    host
}

#[tokio::test]
async fn a_tunnel_and_all_on_it_is_made_in_one_batch_and_removed_in_one() {
    if !has_vxlan() {
        return;
    }
    let host = host();
    let kernel = start(&host);
    kernel.settle(end()).await.unwrap();
    assert_eq!(as_wanted(&host), Ok(()));
    assert_eq!(kernel.refusals().borrow().total, 0);
    kernel.settle(end().iter().rev().map(without).collect()).await.unwrap();
    assert!(!try_ip(&host, &format!("link show {NAME}")).0);
    assert_eq!(ours(&host), "");
}

/// The kernel gives a device that comes up the address that follows from its Ethernet address, and tells of it when that is proven.
#[tokio::test]
async fn the_link_local_address_that_the_kernel_was_first_to_give_is_no_refusal() {
    if !has_vxlan() {
        return;
    }
    let host = host();
    let kernel = start(&host);
    let mut refusals = kernel.refusals();
    let told = tokio::spawn(async move {
        let mut told = Vec::new();
        while refusals.changed().await.is_ok() {
            told.extend(refusals.borrow_and_update().first.clone());
        }
        told
    });
    kernel.settle(vec![vxlan("192.0.2.1", MAC_A, 1450), address("fe80::ff:fe00:a/64")]).await.unwrap();
    assert!(try_ip(&host, &format!("addr show dev {NAME}")).1.contains("inet6 fe80::ff:fe00:a/64"));
    drop(kernel);
    assert_eq!(told.await.unwrap(), []);
}

#[tokio::test]
async fn what_another_hand_does_to_a_tunnel_is_undone_within_a_second() {
    if !has_vxlan() {
        return;
    }
    let host = host();
    let kernel = start(&host);
    kernel.settle(end()).await.unwrap();
    kernel.release_sweep().await.unwrap();
    for (what, command) in [
        ("a removed device", "link del vxlan.caracal"),
        ("a device set down", "link set vxlan.caracal down"),
        ("another MTU", "link set vxlan.caracal mtu 1400"),
        ("another Ethernet address", "link set vxlan.caracal address 02:00:00:00:00:ff"),
    ] {
        ip(&host, command);
        until_as_wanted(&host, what).await;
    }
    until("no refusal", SECOND, async || kernel.refusals().borrow().total == 0).await;
    assert_eq!(kernel.status().await.unwrap().resyncs, 1, "events alone must do");
}

#[tokio::test]
async fn what_another_hand_does_to_what_is_on_a_tunnel_is_undone_within_a_second() {
    if !has_vxlan() {
        return;
    }
    let host = host();
    let kernel = start(&host);
    kernel.settle(end()).await.unwrap();
    kernel.release_sweep().await.unwrap();
    for (what, command) in [
        ("a removed address", "addr del 10.0.0.1/32 dev vxlan.caracal"),
        ("a removed IPv6 address", "-6 addr flush dev vxlan.caracal scope global"),
        ("removed neighbours", "neigh flush dev vxlan.caracal nud permanent"),
        ("removed routes", "route flush proto 67"),
        ("a removed device", "link del vxlan.caracal"),
    ] {
        ip(&host, command);
        if what == "a removed device" {
            // Whoever is first: this or the repair. Either way it ends as wanted.
            try_ip(&host, "link add vxlan.caracal type vxlan id 7 dstport 8472 local 192.0.2.1");
        }
        until_as_wanted(&host, what).await;
    }
    bridge(&host, "fdb del 02:00:00:00:00:0b dst 192.0.2.2 dev vxlan.caracal");
    until_as_wanted(&host, "a removed forwarding entry").await;
    bridge(&host, "fdb replace 02:00:00:00:00:0b dst 192.0.2.77 dev vxlan.caracal");
    until_as_wanted(&host, "another destination").await;
    ip(&host, "addr add 10.9.9.9/32 dev vxlan.caracal");
    until("the end of a foreign address", SECOND, async || {
        !ip(&host, "addr show dev vxlan.caracal").contains("10.9.9.9")
    })
    .await;
    until("no refusal", SECOND, async || kernel.refusals().borrow().total == 0).await;
    assert_eq!(kernel.status().await.unwrap().resyncs, 1, "events alone must do");
}

#[tokio::test]
async fn a_change_of_the_own_address_makes_the_device_anew() {
    if !has_vxlan() {
        return;
    }
    let host = host();
    ip(&host, "addr add 192.0.2.9/24 dev eth0");
    let kernel = start(&host);
    kernel.settle(end()).await.unwrap();
    kernel.settle(vec![vxlan("192.0.2.9", MAC_A, 1450)]).await.unwrap();
    until("the new address", SECOND, async || {
        try_ip(&host, &format!("-d link show {NAME}")).1.contains("local 192.0.2.9")
    })
    .await;
    kernel.settle(vec![vxlan("192.0.2.1", MAC_A, 1450)]).await.unwrap();
    until_as_wanted(&host, "all that is on the device").await;
}

#[tokio::test]
async fn a_restart_adopts_a_tunnel_without_touching_it_and_sweeps_what_nobody_wants() {
    if !has_vxlan() {
        return;
    }
    let host = host();
    let first = start(&host);
    first.settle(end()).await.unwrap();
    first.settle(vec![entry(MAC, "192.0.2.3"), address("10.0.0.7/32")]).await.unwrap();
    drop(first);
    let index = ip(&host, &format!("-o link show {NAME}")).split(':').next().unwrap().to_owned();
    let again = start(&host);
    again.settle(end()).await.unwrap();
    assert_eq!(again.status().await.unwrap().changes, 0, "what is right already is left as it is");
    assert!(ip(&host, &format!("addr show dev {NAME}")).contains("10.0.0.7"));
    again.release_sweep().await.unwrap();
    until("the sweep", SECOND, async || {
        !ip(&host, &format!("addr show dev {NAME}")).contains("10.0.0.7")
            && !bridge(&host, &format!("fdb show dev {NAME}")).contains("192.0.2.3")
    })
    .await;
    assert_eq!(as_wanted(&host), Ok(()));
    assert!(ip(&host, &format!("-o link show {NAME}")).starts_with(&format!("{index}:")));
    drop(again);

    // A run that wants no tunnel any more removes it.
    let last = start(&host);
    assert_eq!(as_wanted(&host), Ok(()));
    last.release_sweep().await.unwrap();
    until("the device's end", SECOND, async || !try_ip(&host, &format!("link show {NAME}")).0).await;
}

#[tokio::test]
async fn a_device_of_another_kind_is_left_alone_and_told() {
    if !has_vxlan() {
        return;
    }
    let host = host();
    ip(&host, "link add vxlan.caracal type veth peer name other");
    ip(&host, "link add mine type vxlan id 9 dstport 4790 local 192.0.2.1");
    let kernel = start(&host);
    kernel.release_sweep().await.unwrap();
    let Err(Unsettled::Refused(refused)) = kernel.settle(vec![vxlan("192.0.2.1", MAC_A, 1450)]).await else {
        panic!("taken for ours")
    };
    assert_eq!(refused.code(), "TunnelConflict");
    assert!(refused.to_string().contains("another kind (veth"), "{refused}");
    ip(&host, "link del vxlan.caracal");
    until("the tunnel", SECOND, async || {
        try_ip(&host, &format!("-d link show {NAME}")).1.contains("vxlan id 4096")
    })
    .await;
    assert!(ip(&host, "link show mine").contains("mine"), "another's VXLAN device is not ours to remove");
}

#[tokio::test]
async fn a_setting_is_kept_also_on_a_device_that_comes_back() {
    let host = host();
    let kernel = start(&host);
    write(&host, "net/ipv4/conf/eth0/rp_filter", "1");
    kernel.settle(vec![reverse_path_filter("eth0")]).await.unwrap();
    assert_eq!(sysctl(&host, "net/ipv4/conf/eth0/rp_filter"), "2");
    write(&host, "net/ipv4/conf/eth0/rp_filter", "1");
    until("the setting", SECOND, async || sysctl(&host, "net/ipv4/conf/eth0/rp_filter") == "2").await;
    ip(&host, "link del eth0");
    wire(&host, "eth0");
    until("the setting", SECOND, async || sysctl(&host, "net/ipv4/conf/eth0/rp_filter") == "2").await;
}

#[tokio::test]
async fn packets_of_both_families_pass_between_two_hosts_and_carry_the_tunnels_address() {
    if !has_vxlan() {
        return;
    }
    let (a, b) = (namespace(), namespace());
    join(&a, &b).await;
    ip(&a, "addr add 192.0.2.1/24 dev eth0");
    ip(&b, "addr add 192.0.2.2/24 dev eth0");
    let (first, second) = (start(&a), start(&b));
    let other = vec![
        vxlan("192.0.2.2", MAC_B, 1450),
        address("10.0.1.1/32"),
        address("fd00:b::1/128"),
        entry(MAC_A, "192.0.2.1"),
        resolved("192.0.2.1", MAC_A),
        resolved("fe80::a", MAC_A),
        through("10.0.0.0/26", "192.0.2.1"),
        through("fd00:a::/122", "fe80::a"),
    ];
    first.settle(end()).await.unwrap();
    second.settle(other).await.unwrap();
    for (to, from) in [("10.0.1.1", "10.0.0.1"), ("fd00:b::1", "fd00:a::1")] {
        let chosen = ip(&a, &format!("route get {to}"));
        assert!(chosen.contains(&format!("src {from}")), "{chosen}");
        until(&format!("an answer of {to}"), PATIENCE, async || ping(&a, to)).await;
    }
}

fn has_ipip() -> bool {
    let feature = features::probe().ipip;
    if !feature.is_present() {
        eprintln!("not tested here: {feature}");
    }
    feature.is_present()
}

/// One end of IP in IP, with the protocol number that lists like BIRD's.
fn ipip_end(own: &str, block: &str, other: &str) -> Vec<Wanted> {
    let tunl0 = device("tunl0");
    let own = AddressKey { device: tunl0, network: own.parse().unwrap() };
    let hop = Hop::via(other.parse().unwrap(), tunl0).onlink();
    vec![
        Wanted::Tunnel(tunl0, Some(Tunnel::ipip(1480))),
        reverse_path_filter("tunl0"),
        Wanted::Address(own, Some(Assigned::LASTING)),
        route(block, Route::new(RouteKind::Unicast(vec![hop]))),
    ]
}

#[tokio::test]
async fn ipip_lists_as_it_is_known_from_elsewhere() {
    if !has_ipip() {
        return;
    }
    let host = host();
    let kernel = Kernel::start(Settings { protocol: 12, ..settings(&host) }).unwrap();
    let end = ipip_end("10.0.0.1/32", "10.0.1.0/26", "192.0.2.2");
    kernel.settle(end.clone()).await.unwrap();
    let listed = ip(&host, "route show 10.0.1.0/26");
    assert_eq!(listed.trim_end(), "10.0.1.0/26 via 192.0.2.2 dev tunl0 proto bird onlink");
    let link = ip(&host, "-d link show tunl0");
    assert!(link.contains("mtu 1480") && link.contains("<NOARP,UP,LOWER_UP>"), "{link}");
    assert!(ip(&host, "addr show dev tunl0").contains("inet 10.0.0.1/32"));
    kernel.release_sweep().await.unwrap();
    for command in [
        "link set tunl0 down",
        "link set tunl0 mtu 1300",
        "addr flush dev tunl0",
        "addr add 10.9.9.9/32 dev tunl0",
        "route flush proto bird",
    ] {
        ip(&host, command);
        until(command, SECOND, async || {
            let (link, addresses) = (ip(&host, "link show tunl0"), ip(&host, "addr show dev tunl0"));
            link.contains("mtu 1480")
                && link.contains(",UP")
                && addresses.contains("10.0.0.1/32")
                && !addresses.contains("10.9.9.9")
                && ip(&host, "route show 10.0.1.0/26").contains("dev tunl0 proto bird onlink")
        })
        .await;
    }
    until("no refusal", SECOND, async || kernel.refusals().borrow().total == 0).await;
    // The device is the kernel's: given up, it is down and bare, but there.
    kernel.settle(end.iter().rev().map(without).collect()).await.unwrap();
    let left = ip(&host, "addr show dev tunl0");
    assert!(!left.contains("10.0.0.1") && !left.contains(",UP"), "{left}");
}

#[tokio::test]
async fn a_tunl0_that_nobody_here_asked_for_is_left_alone() {
    if !has_ipip() {
        return;
    }
    let host = host();
    ip(&host, "link set tunl0 up");
    ip(&host, "addr add 10.9.9.9/32 dev tunl0");
    let kernel = start(&host);
    kernel.release_sweep().await.unwrap();
    kernel.settle(vec![reverse_path_filter("eth0")]).await.unwrap();
    let left = ip(&host, "addr show dev tunl0");
    assert!(left.contains("10.9.9.9") && left.contains(",UP"), "{left}");
}

#[tokio::test]
async fn packets_pass_through_ipip_between_two_hosts() {
    if !has_ipip() {
        return;
    }
    let (a, b) = (namespace(), namespace());
    join(&a, &b).await;
    ip(&a, "addr add 192.0.2.1/24 dev eth0");
    ip(&b, "addr add 192.0.2.2/24 dev eth0");
    let (first, second) = (start(&a), start(&b));
    first.settle(ipip_end("10.0.0.1/32", "10.0.1.0/26", "192.0.2.2")).await.unwrap();
    second.settle(ipip_end("10.0.1.1/32", "10.0.0.0/26", "192.0.2.1")).await.unwrap();
    let chosen = ip(&a, "route get 10.0.1.1");
    assert!(chosen.contains("src 10.0.0.1"), "{chosen}");
    until("an answer", PATIENCE, async || ping(&a, "10.0.1.1")).await;
}

fn ping(from: &Namespace, to: &str) -> bool {
    let run = || std::process::Command::new("ping").args(["-c1", "-W1", "-s1400", "-Mdo", to]).output();
    from.run(run)
        .unwrap()
        .expect("this test needs `ping` of the Debian package iputils-ping")
        .status
        .success()
}

/// A wire between two hosts, `eth0` on both.
async fn join(a: &Namespace, b: &Namespace) {
    use caracal_linux::netlink::client::{Client, Veth, VethEnd};
    let client = Client::open(Some(a)).unwrap();
    let end = |namespace| VethEnd { name: device("eth0"), mac: None, mtu: None, namespace };
    let veth = Veth { name: device("eth0"), mac: None, mtu: None, alias: None, up: true, peer: end(b) };
    client.create_veth(&veth).await.unwrap();
    ip(b, "link set eth0 up");
}
