//! What the kernel does that one would not expect, each time beside the guard that we have against it.
//!
//! Every test shows the fact first, with `ip` as the hand that knows no guard: should a kernel behave otherwise one day, that is
//! what fails. Then it shows that we are not caught by it, which fails when the guard is removed. The table of all of them is in
//! `docs/datapath.md`.

#![allow(clippy::unwrap_used, reason = "a test whose preparation fails has failed")]

mod sandbox;

use std::io::{BufRead, BufReader};
use std::net::{Ipv6Addr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};

use caracal_linux::features;
use caracal_linux::kernel::Wanted;
use caracal_linux::namespace::Namespace;
use caracal_linux::netlink::client::{Client, Veth, VethEnd};
use caracal_linux::object::address::{AddressKey, Assigned};
use caracal_linux::object::link::Mac;
use caracal_linux::object::route::{Hop, Route, RouteKind};
use caracal_linux::object::setting::{Setting, SettingKey, SettingName};
use caracal_linux::object::tunnel::{Tunnel, Vxlan};
use caracal_wait::until;
use sandbox::wants::*;
use sandbox::{device, ip, namespace, try_ip, wire};

const VXLAN: &str = "vxlan.caracal";

fn write(host: &Namespace, path: &str, value: &str) {
    host.run(|| caracal_linux::sysctl::write(path, value)).unwrap().unwrap();
}

/// A host with one uplink of both families.
fn host() -> Namespace {
    let host = namespace();
    wire(&host, "eth0");
    ip(&host, "addr add 192.0.2.1/24 dev eth0");
    ip(&host, "addr add 2001:db8::1/64 dev eth0 nodad");
    host
}

fn via(destination: &str, gateway: &str) -> Wanted {
    route(destination, Route::via(gateway.parse().unwrap(), device("eth0")))
}

fn at(host: &Namespace, destination: &str) -> Vec<String> {
    let family = if destination.contains(':') { "-6" } else { "-4" };
    let text = ip(host, &format!("{family} route show {destination}"));
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[tokio::test]
async fn only_excl_keeps_a_new_route_from_one_that_is_there() {
    let host = host();
    for ([first, second, third], bird, ours) in [
        (["10.1.0.0/26", "10.1.1.0/26", "10.1.2.0/26"], "192.0.2.5", "192.0.2.9"),
        (["fd00:1::/122", "fd00:2::/122", "fd00:3::/122"], "2001:db8::5", "2001:db8::9"),
    ] {
        let lay = |how: &str, destination: &str, gateway: &str, proto: &str| {
            ip(&host, &format!("route {how} {destination} via {gateway} dev eth0 proto {proto}"));
        };
        // Replacing destroys what is there, whoever made it.
        lay("add", first, bird, "bird");
        lay("replace", first, ours, "67");
        let found = at(&host, first);
        assert!(found.len() == 1 && found[0].contains("proto 67"), "{found:?}");
        // Creating without EXCL puts another beside it, which then carries packets too, or all of them.
        lay("add", second, bird, "bird");
        lay("prepend", second, ours, "67");
        let found = at(&host, second).join(" ");
        assert!(found.contains(ours) && found.contains(bird), "{found}");

        lay("add", third, bird, "bird");
        let before = at(&host, third);
        let kernel = start(&host);
        let refused = kernel.settle(vec![via(third, ours)]).await.unwrap_err().to_string();
        assert!(refused.contains("BIRD"), "{refused}");
        assert_eq!(at(&host, third), before);
    }
}

#[tokio::test]
async fn a_delete_takes_whatever_it_meets_unless_it_names_a_protocol() {
    let host = host();
    let both = || {
        ip(&host, "route add 10.1.0.0/26 via 192.0.2.5 proto bird");
        ip(&host, "route append 10.1.0.0/26 via 192.0.2.9 proto 67");
    };
    both();
    ip(&host, "route del 10.1.0.0/26");
    assert_eq!(
        at(&host, "10.1.0.0/26"),
        ["via 192.0.2.9 dev eth0 proto 67"].map(|one| format!("10.1.0.0/26 {one}"))
    );
    ip(&host, "route del 10.1.0.0/26");

    // Ours is of an earlier run, and nobody wants it any more.
    both();
    let kernel = start(&host);
    kernel.release_sweep().await.unwrap();
    until("the sweep", SECOND, async || ours(&host).is_empty()).await;
    assert_eq!(at(&host, "10.1.0.0/26"), ["10.1.0.0/26 via 192.0.2.5 dev eth0 proto bird"]);
}

#[tokio::test]
async fn a_strict_filter_drops_what_comes_by_another_way_and_all_overrides_a_device_that_has_none() {
    let (a, b) = (namespace(), namespace());
    for (name, net) in [("eth0", "192.0.2"), ("eth1", "198.51.100")] {
        join(&a, &b, name).await;
        ip(&a, &format!("addr add {net}.1/24 dev {name}"));
        ip(&b, &format!("addr add {net}.2/24 dev {name}"));
    }
    for name in ["all", "eth0", "eth1"] {
        write(&a, &format!("net/ipv4/conf/{name}/rp_filter"), "0");
    }
    ip(&a, "addr add 10.9.0.1/32 dev lo");
    // What comes by eth1 is answered by eth0.
    ip(&b, "route add 10.9.0.1/32 via 192.0.2.1 dev eth0");
    let passes = || ping(&a, "10.9.0.1", "198.51.100.2");
    write(&b, "net/ipv4/conf/all/rp_filter", "0");
    for (of_device, of_all, expected) in [("0", "0", true), ("1", "0", false), ("0", "1", false)] {
        write(&b, "net/ipv4/conf/eth1/rp_filter", of_device);
        write(&b, "net/ipv4/conf/all/rp_filter", of_all);
        // The first packet may wait for a neighbour.
        if expected {
            until("a packet without a filter", PATIENCE, async || passes()).await;
        } else {
            assert!(!passes(), "device {of_device}, all {of_all}");
        }
    }
    let kernel = start(&b);
    let key = SettingKey { device: device("eth1"), name: SettingName::ReversePathFilter };
    kernel.settle(vec![Wanted::Setting(key, Some(Setting(2)))]).await.unwrap();
    until("a packet through the loose filter", PATIENCE, async || passes()).await;
    let all = b.run(|| caracal_linux::sysctl::read("net/ipv4/conf/all/rp_filter")).unwrap().unwrap();
    assert_eq!(all, "1", "what holds for all devices is the host's own affair");
}

fn vxlan() -> Wanted {
    let local = "192.0.2.1".parse().unwrap();
    let vxlan = Vxlan { vni: 4096, port: 4789, local, mac: Mac([2, 0, 0, 0, 0, 0xa]), learning: false };
    Wanted::Tunnel(device(VXLAN), Some(Tunnel::vxlan(vxlan, 1450)))
}

fn has_vxlan() -> bool {
    let feature = features::probe().vxlan;
    if !feature.is_present() {
        eprintln!("not tested here: {feature}");
    }
    feature.is_present()
}

#[tokio::test]
async fn a_tunnel_takes_a_node_as_gateway_only_onlink_and_never_an_ipv6_one() {
    if !has_vxlan() {
        return;
    }
    let host = host();
    let kernel = start(&host);
    let own = AddressKey { device: device(VXLAN), network: "fe80::a/64".parse().unwrap() };
    kernel.settle(vec![vxlan(), Wanted::Address(own, Some(Assigned::LASTING))]).await.unwrap();
    let takes = |route: &str| {
        let (taken, _) = try_ip(&host, &format!("route add {route}"));
        if taken {
            ip(&host, &format!("route del {route}"));
        }
        taken
    };
    assert!(!takes("10.7.0.0/26 via 192.0.2.2 dev vxlan.caracal"), "a gateway behind another device");
    assert!(takes("10.7.0.0/26 via 192.0.2.2 dev vxlan.caracal onlink"));
    assert!(!takes("fd00:7::/122 via 2001:db8::2 dev vxlan.caracal"));
    assert!(!takes("fd00:7::/122 via 2001:db8::2 dev vxlan.caracal onlink"), "the underlay has a way to it");

    let hops = [
        ("10.1.0.0/26", Hop::via("192.0.2.2".parse().unwrap(), device(VXLAN)).onlink()),
        ("fd00:1::/122", Hop::via("fe80::b".parse().unwrap(), device(VXLAN))),
    ];
    let wanted = hops.map(|(to, hop)| route(to, Route::new(RouteKind::Unicast(vec![hop]))));
    kernel.settle(wanted.to_vec()).await.unwrap();
    assert_eq!(kernel.refusals().borrow().total, 0);
}

#[tokio::test]
async fn the_kernels_own_ipip_device_takes_no_address_to_send_from() {
    let feature = features::probe().ipip;
    if !feature.is_present() {
        eprintln!("not tested here: {feature}");
        return;
    }
    let host = host();
    ip(&host, "link set tunl0 up");
    assert!(!try_ip(&host, "tunnel change tunl0 local 192.0.2.1").0);
    // So packets come from whatever address leads to the other node: all of a node's addresses are told to the others.
    ip(&host, "addr add 198.51.100.1/24 dev eth0");
    for (node, from) in [("192.0.2.2", "192.0.2.1"), ("198.51.100.2", "198.51.100.1")] {
        let way = ip(&host, &format!("route get {node}"));
        assert!(way.contains(&format!("src {from}")), "{way}");
    }
    let kernel = start(&host);
    kernel.settle(vec![Wanted::Tunnel(device("tunl0"), Some(Tunnel::ipip(1480)))]).await.unwrap();
    assert_eq!(kernel.refusals().borrow().total, 0);
}

/// `ip monitor route`, as lines.
struct Monitor {
    child: Child,
    lines: Receiver<String>,
}

impl Monitor {
    fn start(host: &Namespace) -> Self {
        let listen =
            || Command::new("ip").args(["-4", "-o", "monitor", "route"]).stdout(Stdio::piped()).spawn();
        let mut child = host.run(listen).unwrap().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (tell, lines) = sync_channel(1024);
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        let monitor = Self { child, lines };
        monitor.until_marked(host);
        monitor
    }

    /// All that is heard before a route that is made to be heard.
    fn until_marked(&self, host: &Namespace) -> Vec<String> {
        let began = std::time::Instant::now();
        let mut heard = Vec::new();
        loop {
            assert!(began.elapsed() < PATIENCE * 3, "nothing is heard of a new route");
            ip(host, "route add blackhole 203.0.113.77");
            ip(host, "route del blackhole 203.0.113.77");
            while let Ok(line) = self.lines.recv_timeout(SECOND) {
                if line.contains("Deleted") && line.contains("203.0.113.77") {
                    return heard;
                }
                heard.push(line);
            }
        }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[tokio::test]
async fn ipv4_routes_that_go_with_their_device_or_its_address_go_without_a_word() {
    let host = host();
    wire(&host, "eth1");
    ip(&host, "addr add 198.51.100.1/24 dev eth1");
    ip(&host, "route add 10.9.0.0/26 via 192.0.2.9 proto 67");
    ip(&host, "route add 10.9.1.0/26 dev eth1 proto 67");
    let monitor = Monitor::start(&host);
    ip(&host, "link set eth0 down");
    ip(&host, "addr del 198.51.100.1/24 dev eth1");
    let heard = monitor.until_marked(&host);
    assert_eq!(ours(&host), "", "they are gone");
    assert!(!heard.iter().any(|line| line.contains("10.9.")), "the kernel tells of it now: {heard:?}");
    drop(monitor);

    ip(&host, "link set eth0 up");
    ip(&host, "addr add 198.51.100.1/24 dev eth1");
    let kernel = start(&host);
    kernel.settle(vec![via("10.1.0.0/26", "192.0.2.9"), direct("10.1.1.0/26", "eth1")]).await.unwrap();
    ip(&host, "link set eth0 down");
    ip(&host, "addr del 198.51.100.1/24 dev eth1");
    until("what needs no address", SECOND, async || ours(&host).contains("10.1.1.0/26 dev eth1")).await;
    until("the report", SECOND, async || kernel.refusals().borrow().total == 1).await;
    ip(&host, "link set eth0 up");
    until("the repair", SECOND, async || ours(&host).contains("10.1.0.0/26 via 192.0.2.9")).await;
    assert_eq!(kernel.status().await.unwrap().resyncs, 1, "not by the backstop");
}

#[tokio::test]
async fn global_ipv6_addresses_go_with_a_device_that_goes_down_and_do_not_come_back_with_it() {
    if !has_vxlan() {
        return;
    }
    let host = host();
    ip(&host, "link set eth0 down");
    ip(&host, "link set eth0 up");
    assert!(!ip(&host, "-6 addr show dev eth0").contains("2001:db8::1"));

    let kernel = start(&host);
    let own = ["fd00:a::1/128", "10.0.0.1/32"].map(|network| {
        let key = AddressKey { device: device(VXLAN), network: network.parse().unwrap() };
        Wanted::Address(key, Some(Assigned::LASTING))
    });
    kernel.settle([vec![vxlan()], own.to_vec()].concat()).await.unwrap();
    for _ in 0..7 {
        // Whoever is first brings it up: this hand, or the repair.
        ip(&host, "link set vxlan.caracal down");
        ip(&host, "link set vxlan.caracal up");
        until("the addresses", SECOND, async || {
            let found = ip(&host, "addr show dev vxlan.caracal");
            found.contains("fd00:a::1/128") && found.contains("10.0.0.1/32")
        })
        .await;
    }
    let contests = kernel.conflicts();
    assert!(!contests.iter().any(|one| one.object.to_string().contains("fd00:a::1")), "{contests:?}");
}

fn can_bind(host: &Namespace, address: &str) -> bool {
    let address: Ipv6Addr = address.parse().unwrap();
    host.run(|| UdpSocket::bind((address, 0)).is_ok()).unwrap()
}

#[tokio::test]
async fn an_ipv6_address_is_of_no_use_before_it_is_proven_unless_no_proof_is_asked_for() {
    if !has_vxlan() {
        return;
    }
    let host = host();
    until("a carrier", PATIENCE, async || ip(&host, "link show eth0").contains("LOWER_UP")).await;
    // So that the proof takes long on any machine.
    write(&host, "net/ipv6/conf/eth0/dad_transmits", "30");
    write(&host, "net/ipv6/conf/default/dad_transmits", "30");
    ip(&host, "addr add 2001:db8::7/64 dev eth0");
    assert!(!can_bind(&host, "2001:db8::7"));

    let client = Client::open(Some(&host)).unwrap();
    client.add_address(&device("eth0"), "2001:db8::8/64".parse().unwrap(), true).await.unwrap();
    assert!(can_bind(&host, "2001:db8::8"));
    let kernel = start(&host);
    let key = AddressKey { device: device(VXLAN), network: "fd00:a::1/128".parse().unwrap() };
    kernel.settle(vec![vxlan(), Wanted::Address(key, Some(Assigned::LASTING))]).await.unwrap();
    assert!(can_bind(&host, "fd00:a::1"));
}

fn ping(host: &Namespace, from: &str, to: &str) -> bool {
    let run = || Command::new("ping").args(["-c1", "-W1", "-I", from, to]).output();
    host.run(run)
        .unwrap()
        .expect("this test needs `ping` of the Debian package iputils-ping")
        .status
        .success()
}

/// A wire between two hosts, of the same name on both.
async fn join(a: &Namespace, b: &Namespace, name: &str) {
    let client = Client::open(Some(a)).unwrap();
    let peer = VethEnd { name: device(name), mac: None, mtu: None, namespace: b };
    let veth = Veth { name: device(name), mac: None, mtu: None, alias: None, up: true, peer };
    client.create_veth(&veth).await.unwrap();
    ip(b, &format!("link set {name} up"));
}
