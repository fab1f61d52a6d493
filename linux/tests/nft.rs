//! The nftables table against a real kernel, with `nft` as a second opinion and as the other hand.

#![allow(clippy::unwrap_used, reason = "a test whose preparation fails has failed")]

mod sandbox;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use caracal_linux::features;
use caracal_linux::namespace::Namespace;
use caracal_linux::nft::{Chain, ChainKind, Direction, Hook, Match, Nftables, Rule, Ruleset, Set, Verdict};
use caracal_wait::until;
use ipnetwork::IpNetwork;
use sandbox::wants::{PATIENCE, SECOND};
use sandbox::{device, ip, namespace, wire};

fn nft(host: &Namespace, arguments: &str) -> String {
    let (ok, text) = try_nft(host, arguments);
    assert!(ok, "nft {arguments}: {text}");
    text
}

fn try_nft(host: &Namespace, arguments: &str) -> (bool, String) {
    let output = host.run(|| Command::new("nft").args(arguments.split_whitespace()).output()).unwrap();
    let output = output.expect("this test needs `nft` of the Debian package nftables");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

fn has_nftables() -> bool {
    let feature = features::probe().nftables;
    if !feature.is_present() {
        eprintln!("not tested here: {feature}");
    }
    feature.is_present()
}

fn set(name: &str, v4: bool, elements: &[&str]) -> Set {
    let elements = elements.iter().map(|one| one.parse().unwrap()).collect();
    Set { name: name.to_owned(), v4, elements }
}

fn address(v4: bool, of: Direction, within: bool, set: &str) -> Match {
    Match::Address { v4, of, within, set: set.to_owned() }
}

/// Everything of which rules are made, at least once.
fn ruleset() -> Ruleset {
    let masquerade = |v4: bool| {
        let family = if v4 { "4" } else { "6" };
        Rule {
            comment: "natOutgoing".to_owned(),
            matches: vec![
                address(v4, Direction::Source, true, &format!("masquerade-v{family}")),
                address(v4, Direction::Destination, false, &format!("pools-v{family}")),
            ],
            verdict: Verdict::Masquerade,
        }
    };
    let leave_as = |own: &str| {
        let own: IpAddr = own.parse().unwrap();
        let mut rule = masquerade(own.is_ipv4());
        rule.matches.push(Match::ToDevice("eth1".to_owned()));
        Rule { verdict: Verdict::LeaveAs(own), ..rule }
    };
    let guard = vec![
        Rule {
            comment: "VXLAN from nodes only".to_owned(),
            matches: vec![
                address(true, Direction::Source, false, "pools-v4"),
                Match::UdpPort(4789),
                Match::Transport(12, vec![0, 0x10, 0]),
            ],
            verdict: Verdict::Drop,
        },
        Rule {
            comment: "the node's own loopback".to_owned(),
            matches: vec![Match::NotFromDevice("eth".to_owned()), Match::Loopback(Direction::Destination)],
            verdict: Verdict::Drop,
        },
        Rule { comment: String::new(), matches: vec![Match::Protocol(4)], verdict: Verdict::Accept },
    ];
    let raw = vec![Rule {
        comment: String::new(),
        matches: vec![Match::UdpPort(4789), Match::NotFromDevice("cali".to_owned())],
        verdict: Verdict::Untrack,
    }];
    Ruleset {
        table: "caracal".to_owned(),
        sets: vec![
            set("pools-v4", true, &["10.244.0.0/16", "10.245.0.0/16"]),
            set("pools-v6", false, &["fd00:244::/48"]),
            set("masquerade-v4", true, &["10.244.0.0/16"]),
            set("masquerade-v6", false, &["fd00:244::/48"]),
        ],
        chains: vec![
            Chain {
                name: "nat-postrouting".to_owned(),
                kind: ChainKind::Nat,
                hook: Hook::Postrouting,
                priority: 100,
                rules: vec![
                    leave_as("172.28.0.11"),
                    leave_as("fd00:28::11"),
                    masquerade(true),
                    masquerade(false),
                ],
            },
            Chain {
                name: "guard-input".to_owned(),
                kind: ChainKind::Filter,
                hook: Hook::Input,
                priority: -10,
                rules: guard,
            },
            Chain {
                name: "raw-prerouting".to_owned(),
                kind: ChainKind::Filter,
                hook: Hook::Prerouting,
                priority: -300,
                rules: raw,
            },
        ],
    }
}

#[tokio::test]
async fn nft_shows_what_was_wanted_and_other_tables_stay() {
    if !has_nftables() {
        return;
    }
    let host = namespace();
    nft(&host, "add table ip mine");
    nft(&host, "add chain ip mine input { type filter hook input priority 0 ; policy accept ; }");
    let before = nft(&host, "list table ip mine");
    let kernel = Nftables::start(Some(host.clone())).unwrap();
    kernel.want(ruleset()).await.unwrap();
    let shown = nft(&host, "list table inet caracal");
    for part in [
        "type ipv4_addr",
        "10.244.0.0/16, 10.245.0.0/16",
        "fd00:244::/48",
        "type nat hook postrouting priority srcnat; policy accept;",
        "ip saddr @masquerade-v4 ip daddr != @pools-v4 oifname \"eth1\" snat ip to 172.28.0.11 fully-random comment \"natOutgoing\"",
        "ip6 saddr @masquerade-v6 ip6 daddr != @pools-v6 oifname \"eth1\" snat ip6 to fd00:28::11 fully-random comment \"natOutgoing\"",
        "ip saddr @masquerade-v4 ip daddr != @pools-v4 masquerade fully-random comment \"natOutgoing\"",
        "ip6 saddr @masquerade-v6 ip6 daddr != @pools-v6 masquerade fully-random comment \"natOutgoing\"",
        "type filter hook input priority filter - 10; policy accept;",
        "ip saddr != @pools-v4 udp dport 4789 @th,96,24 0x1000 counter packets 0 bytes 0 drop",
        "iifname != \"eth*\" ip daddr 127.0.0.0/8 counter packets 0 bytes 0 drop",
        "meta l4proto ipencap accept",
        "udp dport 4789 iifname != \"cali*\" notrack",
    ] {
        assert!(
            shown.contains(part) || shown.replace("0x1000 ", "4096 ").contains(part),
            "`{part}` is not in {shown}"
        );
    }
    // Wanting it again changes nothing, another ruleset takes its place, and none removes the table.
    kernel.want(ruleset()).await.unwrap();
    assert_eq!(kernel.standing().borrow().commits, 1);
    let mut other = ruleset();
    other.sets[0] = set("pools-v4", true, &["192.0.2.0/24"]);
    kernel.want(other).await.unwrap();
    assert!(nft(&host, "list set inet caracal pools-v4").contains("192.0.2.0/24"));
    kernel.want(Ruleset { table: "caracal".to_owned(), ..Ruleset::default() }).await.unwrap();
    assert!(!nft(&host, "list tables").contains("caracal"));
    assert_eq!(nft(&host, "list table ip mine"), before);
}

#[tokio::test]
async fn a_refused_ruleset_says_what_of_it_and_leaves_the_one_before() {
    if !has_nftables() {
        return;
    }
    let host = namespace();
    let kernel = Nftables::start(Some(host.clone())).unwrap();
    kernel.want(ruleset()).await.unwrap();
    let before = nft(&host, "list ruleset");
    let mut wrong = ruleset();
    wrong.sets.remove(0);
    let refused = kernel.want(wrong).await.unwrap_err();
    assert!(refused.to_string().contains("refused a rule"), "{refused}");
    assert_eq!(nft(&host, "list ruleset"), before, "a transaction is all or nothing");
    assert_eq!(kernel.standing().borrow().refused.as_ref(), Some(&refused));
    kernel.want(ruleset()).await.unwrap();
    assert_eq!(kernel.standing().borrow().refused, None);
}

#[tokio::test]
async fn what_another_hand_does_to_the_table_is_undone_within_a_second_and_a_contest_is_told() {
    if !has_nftables() {
        return;
    }
    let host = namespace();
    let kernel = Nftables::start(Some(host.clone())).unwrap();
    kernel.want(ruleset()).await.unwrap();
    let before = nft(&host, "list ruleset");
    for command in [
        "flush ruleset",
        "delete table inet caracal",
        "flush chain inet caracal nat-postrouting",
        "add element inet caracal pools-v4 { 192.0.2.0/24 }",
    ] {
        nft(&host, command);
        until(command, SECOND, async || nft(&host, "list ruleset") == before).await;
    }
    // What is done to other tables is nobody's business here.
    let standing = kernel.standing();
    // The last one is there before it is told.
    until("all repairs are told", SECOND, async || standing.borrow().repairs == 4).await;
    nft(&host, "add table inet other");
    nft(&host, "delete table inet other");
    // What comes after them is heard after them.
    nft(&host, "add table inet other");
    nft(&host, "add chain inet other forward { type filter hook forward priority 0 ; policy drop ; }");
    until("a chain of others is heard of", SECOND, async || !standing.borrow().forward_drops.is_empty())
        .await;
    assert_eq!(standing.borrow().repairs, 4);

    until("the report", PATIENCE, async || {
        try_nft(&host, "delete table inet caracal");
        standing.borrow().refused.is_some()
    })
    .await;
    let refused = standing.borrow().refused.clone().unwrap();
    assert!(refused.why.starts_with("nft changed it 5 times within 10 s"), "{refused}");
}

#[tokio::test]
async fn chains_of_others_that_drop_what_is_forwarded_are_found() {
    if !has_nftables() {
        return;
    }
    let host = namespace();
    let kernel = Nftables::start(Some(host.clone())).unwrap();
    let standing = kernel.standing();
    nft(&host, "add table ip filter");
    nft(&host, "add chain ip filter FORWARD { type filter hook forward priority 0 ; policy drop ; }");
    let found = || standing.borrow().forward_drops.iter().map(ToString::to_string).collect::<Vec<_>>();
    until("the chain", SECOND, async || found() == ["chain FORWARD of table ip filter"]).await;
    nft(&host, "add chain ip filter FORWARD { policy accept ; }");
    until("its end", SECOND, async || found().is_empty()).await;
}

/// A pod behind a host behind which are two strangers: what they see of the pod. By the device of the one the host is told to
/// take an address that it has on no device.
#[tokio::test]
async fn packets_to_strangers_carry_the_hosts_address_and_those_to_pools_the_pods() {
    if !has_nftables() {
        return;
    }
    let (pod, host, one, other) = (namespace(), namespace(), namespace(), namespace());
    join(&host, "cali1", &pod).await;
    join(&host, "eth1", &one).await;
    join(&host, "eth2", &other).await;
    for (name, inside, host_address, address) in [
        ("cali1", &pod, "10.244.0.254/24", "10.244.0.1/24"),
        ("cali1", &pod, "fd00:244::fe/64", "fd00:244::1/64"),
        ("eth1", &one, "192.0.2.1/24", "192.0.2.2/24"),
        ("eth1", &one, "2001:db8::1/64", "2001:db8::2/64"),
        ("eth1", &one, "10.245.0.1/24", "10.245.0.2/24"),
        ("eth2", &other, "198.51.100.1/24", "198.51.100.2/24"),
        ("eth2", &other, "2001:db8:2::1/64", "2001:db8:2::2/64"),
    ] {
        let nodad = if address.contains(':') { "nodad" } else { "" };
        ip(&host, &format!("addr add {host_address} dev {name} {nodad}"));
        ip(inside, &format!("addr add {address} dev eth0 {nodad}"));
    }
    for (inside, v4, v6) in [
        (&pod, "10.244.0.254", "fd00:244::fe"),
        (&one, "192.0.2.1", "2001:db8::1"),
        (&other, "198.51.100.1", "2001:db8:2::1"),
    ] {
        ip(inside, &format!("route add default via {v4}"));
        ip(inside, &format!("-6 route add default via {v6}"));
    }
    for setting in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        host.run(|| caracal_linux::sysctl::write(setting, "1")).unwrap().unwrap();
    }
    let kernel = Nftables::start(Some(host.clone())).unwrap();
    kernel.want(ruleset()).await.unwrap();
    for (stranger, to, seen) in [
        (&one, "192.0.2.2", "172.28.0.11"),
        (&one, "2001:db8::2", "fd00:28::11"),
        (&other, "198.51.100.2", "198.51.100.1"),
        (&other, "2001:db8:2::2", "2001:db8:2::1"),
        // Inside a pool, though behind the same device.
        (&one, "10.245.0.2", "10.244.0.1"),
    ] {
        assert_eq!(seen_as(&pod, stranger, to), seen.parse::<IpAddr>().unwrap(), "towards {to}");
    }
}

/// The source address with which a connection arrives.
fn seen_as(from: &Namespace, at: &Namespace, to: &str) -> IpAddr {
    let address = SocketAddr::new(to.parse().unwrap(), 0);
    let listener = at.run(|| TcpListener::bind(address)).unwrap().unwrap();
    let address = listener.local_addr().unwrap();
    let mut stream =
        from.run(|| TcpStream::connect_timeout(&address, Duration::from_secs(10))).unwrap().unwrap();
    let (mut taken, peer) = listener.accept().unwrap();
    stream.write_all(b"x").unwrap();
    let mut byte = [0];
    taken.read_exact(&mut byte).unwrap();
    peer.ip()
}

async fn join(a: &Namespace, name: &str, b: &Namespace) {
    use caracal_linux::netlink::client::{Client, Veth, VethEnd};
    let client = Client::open(Some(a)).unwrap();
    let peer = VethEnd { name: device("eth0"), mac: None, mtu: None, namespace: b };
    let veth = Veth { name: device(name), mac: None, mtu: None, alias: None, up: true, peer };
    client.create_veth(&veth).await.unwrap();
    ip(b, "link set eth0 up");
}

#[tokio::test]
async fn ten_thousand_addresses_go_in_at_once() {
    if !has_nftables() {
        return;
    }
    let host = namespace();
    wire(&host, "eth0");
    let kernel = Nftables::start(Some(host.clone())).unwrap();
    let mut many = ruleset();
    many.sets[0].elements =
        (0..10_000_u32).map(|n| IpNetwork::from(IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + n * 2)))).collect();
    kernel.want(many).await.unwrap();
    let shown = nft(&host, "list set inet caracal pools-v4");
    assert_eq!(shown.matches("10.0.").count(), 10_000);
}

/// What a guard lets through it lets through while its table is written again, too: whoever looks an address up in a set
/// at that moment must find it there, if it is in the set both before and after.
#[tokio::test]
async fn a_table_that_is_written_again_drops_nothing_of_what_it_lets_through() {
    if !has_nftables() {
        return;
    }
    /// Each is a moment at which a packet may be half way through the guard.
    const TIMES: usize = 100;
    let host = namespace();
    ip(&host, "link set lo up");
    let guarded = |others: &[&str], rules: usize| {
        let known = [&["127.0.0.1/32"], others].concat();
        let guard = |v4| Rule {
            comment: "from nodes only".to_owned(),
            matches: vec![
                address(v4, Direction::Source, false, if v4 { "nodes-v4" } else { "nodes-v6" }),
                Match::Protocol(17),
            ],
            verdict: Verdict::Drop,
        };
        Ruleset {
            table: "caracal".to_owned(),
            sets: vec![set("nodes-v4", true, &known), set("nodes-v6", false, &["::1/128"])],
            chains: vec![Chain {
                name: "guard-input".to_owned(),
                kind: ChainKind::Filter,
                hook: Hook::Input,
                priority: -300,
                rules: [true, false].into_iter().cycle().take(rules).map(guard).collect(),
            }],
        }
    };
    let mut rounds = [
        guarded(&[], 2),
        guarded(&["127.0.0.0/32", "127.0.0.2/32", "192.0.2.7/32"], 2),
        guarded(&["127.0.0.2/32", "192.0.2.9/32"], 4),
    ];
    // A chain that comes and goes.
    let another =
        Chain { name: "guard-output".to_owned(), hook: Hook::Output, ..rounds[1].chains[0].clone() };
    rounds[1].chains.push(another);
    Nftables::start(Some(host.clone())).unwrap().want(rounds[0].clone()).await.unwrap();
    let flows = ["127.0.0.1:0", "[::1]:0"].map(|address| Loop::start(&host, address));
    for _ in 0..TIMES {
        // Of an agent that starts anew the first table is that of its run before; of one that runs, each differs a little.
        let kernel = Nftables::start(Some(host.clone())).unwrap();
        for ruleset in &rounds {
            kernel.want(ruleset.clone()).await.unwrap();
        }
        assert!(flows.iter().all(Loop::runs), "a packet was dropped");
        let repairs = kernel.standing().borrow().repairs;
        assert_eq!(repairs, 0, "the one before has written once more when nobody had it any more");
    }
    for flow in flows {
        assert!(flow.end() > 100, "too few packets to speak of");
    }
}

/// A flow of packets to itself, each sent when the one before has come. It ends with one that does not come.
struct Loop {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<usize>,
}

impl Loop {
    fn start(host: &Namespace, address: &str) -> Self {
        let socket = host.run(|| UdpSocket::bind(address)).unwrap().unwrap();
        let own = socket.local_addr().unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut came = 0;
            while !until.load(Ordering::Relaxed) {
                socket.send_to(b"x", own).unwrap();
                socket.recv_from(&mut [0]).unwrap_or_else(|error| panic!("packet {came} to {own}: {error}"));
                came += 1;
            }
            came
        });
        Self { stop, thread }
    }

    fn runs(&self) -> bool {
        !self.thread.is_finished()
    }

    /// How many came.
    fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}
