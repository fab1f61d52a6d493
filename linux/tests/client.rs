//! The async client against a real kernel, with `ip` as the second opinion.

#![allow(clippy::unwrap_used, reason = "a test whose preparation fails has failed")]

mod sandbox;

use caracal_linux::namespace::Namespace;
use caracal_linux::netlink::client::{Client, LinkChange, Veth, VethEnd};
use caracal_linux::object::link::{IfName, Mac};
use caracal_linux::object::neighbour::{Neighbour, NeighbourKey};
use caracal_linux::object::route::{Hop, Route, RouteFilter, RouteKey, RouteKind};
use sandbox::{device, ip, namespace, wire};

const HOST_MAC: Mac = Mac([0xee; 6]);
const POD_MAC: Mac = Mac([0x02, 0, 0, 0, 0, 0x17]);

fn veth<'a>(name: &str, namespace: &'a Namespace) -> Veth<'a> {
    Veth {
        name: device(name),
        mac: Some(HOST_MAC),
        mtu: Some(1400),
        alias: Some("caracal:test/pod/eth0".to_owned()),
        up: true,
        peer: VethEnd { name: device("eth0"), mac: Some(POD_MAC), mtu: Some(1390), namespace },
    }
}

#[tokio::test]
async fn a_veth_is_born_with_its_peer_in_place_and_everything_set() {
    let (host, pod) = (namespace(), namespace());
    let client = Client::open(Some(&host)).unwrap();
    let link = client.create_veth(&veth("cali1", &pod)).await.unwrap();

    assert_eq!(link.name, device("cali1"));
    assert_eq!(link.mac, Some(HOST_MAC));
    assert_eq!(link.mtu, 1400);
    assert_eq!(link.alias.as_deref(), Some("caracal:test/pod/eth0"));
    assert_eq!(link.kind.as_deref(), Some("veth"));
    assert!(link.up && !link.carrier && link.peer_elsewhere, "{link:?}");
    assert!(ip(&host, "-d link show dev cali1").contains("alias caracal:test/pod/eth0"));

    let inside = Client::open(Some(&pod)).unwrap();
    let peer = inside.link(&device("eth0")).await.unwrap().expect("the peer is in the pod's namespace");
    assert_eq!((peer.mac, peer.mtu, peer.up), (Some(POD_MAC), 1390, false));
    assert_eq!(link.peer_index, Some(peer.index));

    inside
        .change_link(&device("eth0"), &LinkChange { up: Some(true), ..LinkChange::default() })
        .await
        .unwrap();
    assert!(client.link(&device("cali1")).await.unwrap().unwrap().carrier);

    assert!(client.delete_link(&device("cali1")).await.unwrap());
    assert!(!client.delete_link(&device("cali1")).await.unwrap());
    assert_eq!(inside.link(&device("eth0")).await.unwrap(), None);
}

#[tokio::test]
async fn a_veth_whose_name_is_taken_is_refused_and_nothing_is_left_behind() {
    let (host, pod) = (namespace(), namespace());
    let client = Client::open(Some(&host)).unwrap();
    client.create_bridge(&device("cali1")).await.unwrap();
    let error = client.create_veth(&veth("cali1", &pod)).await.unwrap_err();
    assert!(error.already_exists(), "{error}");
    assert!(error.to_string().starts_with("making the veth cali1 with eth0 in the namespace"), "{error}");
    assert_eq!(Client::open(Some(&pod)).unwrap().link(&device("eth0")).await.unwrap(), None);
}

#[tokio::test]
async fn links_are_changed_moved_and_made_ports() {
    let (here, there) = (namespace(), namespace());
    let client = Client::open(Some(&here)).unwrap();
    client.create_bridge(&device("br0")).await.unwrap();
    wire(&here, "d0");
    ip(&here, "link set d0 down");
    let change = LinkChange { master: Some(Some(device("br0"))), mtu: Some(1300), ..LinkChange::default() };
    client.change_link(&device("d0"), &change).await.unwrap();
    let bridge = client.link(&device("br0")).await.unwrap().unwrap();
    let port = client.link(&device("d0")).await.unwrap().unwrap();
    assert_eq!((port.master, port.mtu), (Some(bridge.index), 1300));

    let change = LinkChange { master: Some(None), name: Some(device("d1")), ..LinkChange::default() };
    client.change_link(&device("d0"), &change).await.unwrap();
    assert_eq!(client.link(&device("d1")).await.unwrap().unwrap().master, None);
    let change = LinkChange { namespace: Some(&there), ..LinkChange::default() };
    client.change_link(&device("d1"), &change).await.unwrap();
    assert!(ip(&there, "link show").contains("d1"));
    let names: Vec<IfName> = client.links().await.unwrap().into_iter().map(|link| link.name).collect();
    assert!(names.contains(&IfName::LOOPBACK) && !names.contains(&device("d1")), "{names:?}");
}

#[tokio::test]
async fn addresses_are_added_once_listed_and_removed() {
    let host = namespace();
    let client = Client::open(Some(&host)).unwrap();
    wire(&host, "d0");
    for network in ["10.1.2.3/24", "fd00::3/64", "fe80::ecee:eeff:feee:eeee/64"] {
        let network = network.parse().unwrap();
        client.add_address(&device("d0"), network, true).await.unwrap();
        client.add_address(&device("d0"), network, true).await.unwrap();
        let found: Vec<_> =
            client.addresses().await.unwrap().into_iter().filter(|found| found.network == network).collect();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].permanent && !found[0].tentative && found[0].peer.is_none(), "{found:?}");
    }
    assert!(ip(&host, "addr show dev d0").contains("inet6 fd00::3/64 scope global nodad"));
    assert!(client.delete_address(&device("d0"), "10.1.2.3/24".parse().unwrap()).await.unwrap());
    assert!(!client.delete_address(&device("d0"), "10.1.2.3/24".parse().unwrap()).await.unwrap());
    let error =
        client.add_address(&device("nosuch"), "10.0.0.1/32".parse().unwrap(), false).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
    assert_eq!(
        error.to_string(),
        "adding address 10.0.0.1/32 to device nosuch: there is no device nosuch in this namespace"
    );
}

#[tokio::test]
async fn routes_of_every_shape_come_back_as_they_were_added() {
    let host = namespace();
    let client = Client::open(Some(&host)).unwrap();
    wire(&host, "d0");
    wire(&host, "d1");
    client.add_address(&device("d0"), "192.0.2.1/24".parse().unwrap(), false).await.unwrap();
    client.add_address(&device("d0"), "2001:db8::1/64".parse().unwrap(), true).await.unwrap();
    let hop = |via: &str, name: &str| Hop::via(via.parse().unwrap(), device(name));
    let routes = [
        ("10.0.0.1/32", Route::direct(device("d0"))),
        ("10.0.1.0/26", Route::new(RouteKind::Blackhole)),
        ("10.0.2.0/26", Route::new(RouteKind::Unreachable)),
        ("10.0.3.0/26", Route::via("192.0.2.9".parse().unwrap(), device("d0"))),
        ("10.0.4.0/26", Route::new(RouteKind::Unicast(vec![hop("198.51.100.9", "d1").onlink()]))),
        (
            "10.0.5.0/26",
            Route {
                mtu: Some(1400),
                source: Some("192.0.2.1".parse().unwrap()),
                ..Route::via("192.0.2.9".parse().unwrap(), device("d0"))
            },
        ),
        (
            "10.0.6.0/26",
            Route::new(RouteKind::Unicast(vec![
                hop("192.0.2.9", "d0"),
                Hop { weight: 3, ..hop("198.51.100.9", "d1").onlink() },
            ])),
        ),
        ("10.0.7.0/26", Route::via("fe80::9".parse().unwrap(), device("d0"))),
        ("fd00::1/128", Route::direct(device("d0"))),
        ("fd00:1::/122", Route::new(RouteKind::Blackhole)),
        ("fd00:2::/122", Route::via("2001:db8::9".parse().unwrap(), device("d0"))),
        (
            "fd00:3::/122",
            Route::new(RouteKind::Unicast(vec![hop("2001:db8::9", "d0"), hop("fe80::9", "d1")])),
        ),
        (
            "fd00:4::/122",
            Route {
                mtu: Some(1400),
                ..Route::new(RouteKind::Unicast(vec![hop("fd00:9::9", "d1").onlink()]))
            },
        ),
    ];
    let filter = RouteFilter { protocol: Some(67), ..RouteFilter::default() };
    for (destination, route) in routes {
        let key = RouteKey::main(destination.parse().unwrap());
        let route = Route { protocol: 67, ..route }.normalised(&key);
        client.add_route(&key, &route).await.unwrap();
        assert!(client.add_route(&key, &route).await.unwrap_err().already_exists(), "{key} was added twice");
        client.replace_route(&key, &route).await.unwrap();
        let listed = client.routes(&filter).await.unwrap();
        assert_eq!(listed, [(key, route)], "{}", ip(&host, "route show proto 67"));
        assert!(!client.delete_route(&key, 4).await.unwrap(), "{key} went under another's protocol");
        assert!(client.delete_route(&key, 67).await.unwrap());
        assert!(!client.delete_route(&key, 67).await.unwrap());
    }
}

#[tokio::test]
async fn the_route_filter_is_the_kernels() {
    let host = namespace();
    wire(&host, "d0");
    wire(&host, "d1");
    ip(&host, "route add 10.0.0.0/24 dev d0 proto 67");
    ip(&host, "route add 10.0.1.0/24 dev d1 proto 67");
    ip(&host, "route add 10.0.2.0/24 dev d0 proto static");
    ip(&host, "route add 10.0.3.0/24 dev d0 proto 67 table 1000");
    ip(&host, "-6 route add fd00::/64 dev d0 proto 67");
    let client = Client::open(Some(&host)).unwrap();
    let filter = RouteFilter {
        table: Some(254),
        protocol: Some(67),
        device: Some(device("d0")),
        ..RouteFilter::default()
    };
    let found: Vec<String> =
        client.routes(&filter).await.unwrap().into_iter().map(|(key, _)| key.to_string()).collect();
    assert_eq!(found, ["10.0.0.0/24", "fd00::/64"]);
    let filter = RouteFilter { table: Some(4711), ..RouteFilter::default() };
    assert_eq!(client.routes(&filter).await.unwrap(), []);
}

#[tokio::test]
async fn a_refusal_carries_the_kernels_own_words() {
    let host = namespace();
    let client = Client::open(Some(&host)).unwrap();
    wire(&host, "d0");
    let key = RouteKey::main("10.0.0.0/8".parse().unwrap());
    let error =
        client.add_route(&key, &Route::via("192.0.2.1".parse().unwrap(), device("d0"))).await.unwrap_err();
    assert_eq!(error.errno(), Some(libc::ENETUNREACH));
    assert_eq!(
        error.to_string(),
        "adding route 10.0.0.0/8 via 192.0.2.1 dev d0 proto 0: the kernel refused: Nexthop has invalid gateway \
         (ENETUNREACH: Network is unreachable)"
    );
}

#[tokio::test]
async fn permanent_neighbours_are_set_replaced_and_removed() {
    let host = namespace();
    wire(&host, "d0");
    let client = Client::open(Some(&host)).unwrap();
    for address in ["10.0.0.1", "fd00::1"] {
        let key = NeighbourKey { device: device("d0"), address: address.parse().unwrap() };
        for mac in [HOST_MAC, POD_MAC] {
            client.replace_neighbour(&key, &Neighbour { mac }).await.unwrap();
            let listed = client.neighbours().await.unwrap();
            let found = listed.iter().find(|found| found.key == key).unwrap();
            assert_eq!((found.mac, found.permanent), (Some(mac), true));
        }
        assert!(client.delete_neighbour(&key).await.unwrap());
        assert!(!ip(&host, "neigh show nud permanent").contains(address));
    }
}

#[tokio::test]
async fn many_requests_at_once_are_all_answered() {
    let host = namespace();
    wire(&host, "d0");
    let client = Client::open(Some(&host)).unwrap();
    let adds = (0..1000_u32).map(|n| {
        let client = client.clone();
        tokio::spawn(async move {
            let destination = std::net::Ipv4Addr::from(0x0a00_0000 + n);
            let key = RouteKey::main(std::net::IpAddr::V4(destination).into());
            client.add_route(&key, &Route { protocol: 67, ..Route::direct(device("d0")) }).await
        })
    });
    for add in futures::future::join_all(adds).await {
        add.unwrap().unwrap();
    }
    assert_eq!(ip(&host, "route show proto 67").lines().count(), 1000);
}

#[test]
fn what_is_no_namespace_is_refused_in_words() {
    let error = Namespace::open("/dev/null").unwrap_err();
    assert_eq!(
        error.to_string(),
        "/dev/null is no namespace; a file such as /proc/<pid>/ns/net or /run/netns/<name> is wanted"
    );
    let error = Namespace::open("/run/netns/no-such").unwrap_err();
    assert!(error.to_string().starts_with("opening the network namespace /run/netns/no-such: "), "{error}");
}

#[test]
fn work_in_a_namespace_leaves_the_calling_thread_where_it_was() {
    let before = Namespace::current().unwrap().identity().unwrap();
    let namespace = namespace();
    let inside = namespace.run(|| Namespace::current().unwrap().identity().unwrap()).unwrap();
    assert_eq!(inside, namespace.identity().unwrap());
    assert_ne!(inside, before);
    assert_eq!(Namespace::current().unwrap().identity().unwrap(), before);
    let passed =
        Namespace::from_fd(std::os::fd::AsFd::as_fd(&namespace).try_clone_to_owned().unwrap()).unwrap();
    assert_eq!(passed.identity().unwrap(), inside);
}
