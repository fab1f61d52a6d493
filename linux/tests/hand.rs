//! A pod's devices made by hand, with `ip` as the second opinion.

#![allow(clippy::unwrap_used, reason = "a test whose preparation fails has failed")]

mod sandbox;

use caracal_linux::namespace::Namespace;
use caracal_linux::netlink::client::{Veth, VethEnd};
use caracal_linux::netlink::hand::{Changes, Hand};
use caracal_linux::netlink::shape::Shape;
use caracal_linux::object::link::{IfName, Mac};
use caracal_linux::object::neighbour::{Neighbour, NeighbourKey};
use caracal_linux::object::route::{Route, RouteKey};
use sandbox::{device, ip, namespace};

const HOST_MAC: Mac = Mac([0xee; 6]);
const POD_MAC: Mac = Mac([0x02, 0, 0, 0, 0, 0x17]);

fn hand(namespace: &Namespace) -> Hand {
    namespace.run(Hand::open).unwrap().unwrap()
}

fn veth<'a>(name: &str, alias: &str, namespace: &'a Namespace) -> Veth<'a> {
    Veth {
        name: device(name),
        mac: Some(HOST_MAC),
        mtu: Some(1400),
        alias: Some(alias.to_owned()),
        up: false,
        peer: VethEnd { name: device("eth0"), mac: Some(POD_MAC), mtu: Some(1390), namespace },
    }
}

#[test]
fn a_pair_is_made_with_its_peer_in_place_and_what_belongs_to_it_in_one_list() {
    let (host, pod) = (namespace(), Namespace::create().unwrap());
    let (mut at_home, mut inside) = (hand(&host), hand(&pod));
    let link = at_home.create_veth(&veth("cali1", "caracal:test/pod/eth0", &pod)).unwrap();
    assert_eq!((link.name, link.mac, link.mtu), (device("cali1"), Some(HOST_MAC), 1400));
    assert_eq!(link.alias.as_deref(), Some("caracal:test/pod/eth0"));
    assert!(link.peer_elsewhere && !link.up, "{link:?}");
    let peer = inside.link(&device("eth0")).unwrap().unwrap();
    assert_eq!((Some(peer.index), peer.mac, peer.mtu), (link.peer_index, Some(POD_MAC), 1390));

    let gateway = "169.254.1.1".parse().unwrap();
    let mut changes = Changes::of(device("eth0"), peer.index);
    changes.shape(Shape { rate: 1_250_000, burst: 128 << 10 });
    changes.up(IfName::LOOPBACK);
    changes.up(device("eth0"));
    changes.address("10.0.0.5/32".parse().unwrap());
    changes.address("2001:db8::5/128".parse().unwrap());
    changes
        .neighbour(&NeighbourKey { device: device("eth0"), address: gateway }, &Neighbour { mac: HOST_MAC });
    let host_of = |text: &str| RouteKey::main(text.parse().unwrap());
    changes.route(&host_of("169.254.1.1/32"), &Route::direct(device("eth0"))).unwrap();
    changes.route(&host_of("0.0.0.0/0"), &Route::via(gateway, device("eth0"))).unwrap();
    inside.perform(changes).unwrap();

    assert!(ip(&pod, "link show lo").contains("LOWER_UP"));
    let addresses = ip(&pod, "addr show dev eth0");
    assert!(addresses.contains("inet 10.0.0.5/32") && addresses.contains("inet6 2001:db8::5/128"));
    assert!(!addresses.contains("tentative"), "{addresses}");
    assert!(ip(&pod, "neigh show").contains("169.254.1.1 dev eth0 lladdr ee:ee:ee:ee:ee:ee PERMANENT"));
    assert!(ip(&pod, "route show").contains("default via 169.254.1.1 dev eth0"));
    let queue = pod.run(|| std::process::Command::new("tc").args(["qdisc", "show", "dev", "eth0"]).output());
    let queue = String::from_utf8(queue.unwrap().unwrap().stdout).unwrap();
    assert!(queue.contains("rate 10Mbit"), "{queue}");
}

#[test]
fn a_name_that_is_taken_on_either_side_is_refused_and_what_has_it_stays_as_it_was() {
    let (host, pod, other) = (namespace(), namespace(), namespace());
    let mut hand = hand(&host);
    hand.create_veth(&veth("cali1", "the first", &pod)).unwrap();
    for (name, place) in [("cali1", &other), ("cali2", &pod)] {
        let refused = hand.create_veth(&veth(name, "the second", place)).unwrap_err();
        assert!(refused.already_exists(), "{refused}");
        assert!(refused.to_string().contains(name), "{refused}");
    }
    assert_eq!(hand.link(&device("cali1")).unwrap().unwrap().alias.as_deref(), Some("the first"));
    assert_eq!(hand.link(&device("cali2")).unwrap(), None);
}

#[test]
fn the_first_refusal_of_a_list_says_what_was_refused() {
    let (host, pod) = (namespace(), namespace());
    let mut hand = hand(&host);
    let link = hand.create_veth(&veth("cali1", "caracal:test/pod/eth0", &pod)).unwrap();
    let mut changes = Changes::of(device("cali1"), link.index);
    changes.up(device("cali1"));
    changes.up(device("no-such-device"));
    changes.address("10.0.0.1/32".parse().unwrap());
    let refused = hand.perform(changes).unwrap_err();
    assert_eq!(refused.errno(), Some(libc::ENODEV), "{refused}");
    assert!(refused.to_string().contains("no-such-device"), "{refused}");
    assert!(hand.link(&device("cali1")).unwrap().unwrap().up);
}
