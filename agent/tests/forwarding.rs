//! A node becomes a router and keeps the default route that its own router advertises. Needs root.

#![allow(clippy::unwrap_used, reason = "a test whose preparation fails has failed")]

use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::AsRawFd;
use std::process::Command;

use caracal_agent::node::forwarding;
use caracal_linux::kernel::{Kernel, Settings};
use caracal_linux::namespace::Namespace;
use caracal_linux::netlink::client::{Client, Veth, VethEnd};
use caracal_linux::object::link::IfName;
use caracal_linux::sysctl;
use caracal_wait::eventually;
use nix::sys::socket::sockopt::Ipv6Ttl;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn6, sendto, setsockopt, socket,
};

fn ip(namespace: &Namespace, arguments: &str) -> String {
    let run = || Command::new("ip").args(arguments.split(' ')).output();
    let output = namespace.run(run).unwrap().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn read(namespace: &Namespace, device: &str) -> String {
    namespace.run(|| sysctl::read(&format!("net/ipv6/conf/{device}/accept_ra")).unwrap()).unwrap()
}

fn write(namespace: &Namespace, path: &str, value: &str) {
    namespace.run(|| sysctl::write(&format!("net/ipv6/conf/{path}"), value)).unwrap().unwrap();
}

/// A host that heeds router advertisements, as hosts do, and the router it is wired to by `eth0`.
async fn wired() -> (Namespace, Namespace) {
    let (host, router) = (Namespace::create().unwrap(), Namespace::create().unwrap());
    for (path, value) in
        [("all/forwarding", "0"), ("default/accept_ra", "1"), ("default/accept_ra_defrtr", "1")]
    {
        write(&host, path, value);
    }
    wire(&host, &router, "eth0").await;
    (host, router)
}

async fn wire(host: &Namespace, router: &Namespace, name: &str) {
    let name = IfName::new(name).unwrap();
    let peer = VethEnd { name, mac: None, mtu: None, namespace: router };
    let veth = Veth { name, mac: None, mtu: None, alias: None, up: true, peer };
    Client::open(Some(host)).unwrap().create_veth(&veth).await.unwrap();
    ip(router, &format!("link set {name} up"));
}

fn link_local(namespace: &Namespace, device: &str) -> Option<Ipv6Addr> {
    let text = ip(namespace, &format!("-6 -o addr show dev {device} scope link -tentative"));
    let words = text.split_whitespace().skip_while(|word| *word != "inet6").nth(1)?.to_owned();
    words.split('/').next()?.parse().ok()
}

/// Sends one router advertisement (RFC 4861 §4.2) to the host: its router is there for so many seconds.
fn advertise(router: &Namespace, host: &Namespace, device: &str, seconds: u16) {
    let (Some(_), Some(to)) = (link_local(router, device), link_local(host, device)) else { return };
    let index = ip(router, &format!("-o link show {device}")).split(':').next().unwrap().parse().unwrap();
    let mut message = vec![134, 0, 0, 0, 64, 0];
    message.extend(seconds.to_be_bytes());
    message.extend([0; 8]);
    router
        .run(|| {
            let flags = SockFlag::SOCK_CLOEXEC;
            let socket = socket(AddressFamily::Inet6, SockType::Raw, flags, SockProtocol::IcmpV6).unwrap();
            setsockopt(&socket, Ipv6Ttl, &255).unwrap();
            let to = SockaddrIn6::from(SocketAddrV6::new(to, 0, 0, index));
            sendto(socket.as_raw_fd(), &message, &to, MsgFlags::empty()).unwrap();
        })
        .unwrap();
}

fn default_by(host: &Namespace, device: &str) -> bool {
    ip(host, "-6 route show default").lines().any(|line| line.contains(&format!("dev {device} proto ra")))
}

async fn gets_its_default_route(router: &Namespace, host: &Namespace, device: &str) {
    eventually(&format!("a default route by {device}"), || {
        advertise(router, host, device, 1800);
        default_by(host, device)
    })
    .await;
}

#[tokio::test]
async fn a_router_forgets_what_it_was_advertised_unless_it_was_told_to_heed_it_all_the_same() {
    let (host, router) = wired().await;
    gets_its_default_route(&router, &host, "eth0").await;
    write(&host, "all/forwarding", "1");
    eventually("the kernel forgets the route of a router that is one itself", || !default_by(&host, "eth0"))
        .await;

    let (host, router) = wired().await;
    ip(&host, "link add docker0 type bridge");
    gets_its_default_route(&router, &host, "eth0").await;
    let kernel = Kernel::start(Settings { namespace: Some(host.clone()), ..Settings::default() }).unwrap();
    let links = kernel.underlay();
    host.run(|| forwarding::enable(&links.borrow())).unwrap().unwrap();
    let forwards = host.run(|| sysctl::read("net/ipv6/conf/all/forwarding").unwrap()).unwrap();
    assert_eq!(forwards, "1");
    assert!(default_by(&host, "eth0"), "{}", ip(&host, "-6 route show"));
    assert_eq!(read(&host, "docker0"), "1", "containers do not advertise routers to their node");
    // And it goes on being heeded: a router that resigns, and returns.
    eventually("the router has resigned", || {
        advertise(&router, &host, "eth0", 0);
        !default_by(&host, "eth0")
    })
    .await;
    gets_its_default_route(&router, &host, "eth0").await;
}

#[test]
fn uplinks_that_appear_later_are_heeded_too() {
    // The agent's tasks run in the node's namespace: so does this thread.
    let host = Namespace::create().unwrap();
    let inside = host.clone();
    let test = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            write(&inside, "default/accept_ra", "1");
            let kernel = Kernel::start(Settings::default()).unwrap();
            forwarding::enable(&kernel.underlay().borrow()).unwrap();
            let following = tokio::spawn(forwarding::follow(kernel.underlay()));
            let router = Namespace::create().unwrap();
            wire(&inside, &router, "eth1").await;
            eventually("eth1 heeds its router", || read(&inside, "eth1") == "2").await;
            gets_its_default_route(&router, &inside, "eth1").await;
            following.abort();
        });
    };
    host.run(test).unwrap();
}
