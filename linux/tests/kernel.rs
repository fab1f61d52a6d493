//! The kernel thread against a real kernel: what is wanted is there, what is not ours is left.

#![allow(clippy::unwrap_used, reason = "a test whose preparation fails has failed")]

mod sandbox;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use caracal_linux::kernel::{Kernel, ObjectKey, Settings, Unsettled, Wanted};
use caracal_linux::object::route::{Hop, Route, RouteKey, RouteKind};
use caracal_linux::table::Refusal;
use caracal_wait::until;
use sandbox::wants::*;
use sandbox::{device, ip, namespace, wire};

#[tokio::test]
async fn a_pods_host_side_is_there_when_settled_and_gone_when_withdrawn() {
    let host = namespace();
    let kernel = start(&host);
    wire(&host, "cali1");
    kernel.settle(pod("cali1")).await.unwrap();
    assert!(pod_is_there(&host), "{}", ours(&host));
    assert!(ip(&host, "neigh show nud permanent").contains("proto 67"));
    kernel.settle(pod("cali1").iter().map(without).collect()).await.unwrap();
    assert_eq!(ours(&host), "");
    assert!(!ip(&host, "neigh show nud permanent").contains("cali1"));
    // Withdrawing what is not there is no error: a pod's end may be told twice.
    kernel.settle(pod("cali1").iter().map(without).collect()).await.unwrap();
}

#[tokio::test]
async fn what_is_wanted_on_a_link_that_does_not_exist_is_refused_and_done_when_it_does() {
    let host = namespace();
    let kernel = start(&host);
    let refused = kernel.settle(pod("cali1")).await.unwrap_err();
    let Unsettled::Refused(refused) = refused else { panic!("{refused}") };
    assert_eq!(refused.why, Refusal::LinkMissing(device("cali1")));
    assert_eq!(refused.code(), "RouteLinkMissing");
    assert_eq!(
        refused.to_string(),
        "route 10.0.0.1/32 is not as wanted: device cali1 does not exist; it will be done when the device appears"
    );
    assert_eq!(kernel.refusals().borrow().total, 4);
    wire(&host, "cali1");
    until("the pod's host side", SECOND, async || pod_is_there(&host)).await;
    until("no refusal", SECOND, async || kernel.refusals().borrow().total == 0).await;
}

#[tokio::test]
async fn routes_of_an_earlier_run_are_adopted_and_swept_only_when_released() {
    let host = namespace();
    wire(&host, "cali1");
    for command in [
        "route add 10.0.0.1/32 dev cali1 proto 67",
        "route add 10.0.0.2/32 dev cali1 proto 67",
        "route add 10.0.0.3/32 dev cali1 proto 67",
        "-6 route add blackhole fd00::/122 proto 67",
        "route add 10.9.0.0/16 dev cali1 proto static",
        "route add 10.0.0.4/32 dev cali1 proto 67 table 1000",
    ] {
        ip(&host, command);
    }
    let kernel = start(&host);
    assert_eq!(kernel.routes().await.unwrap().len(), 4);
    kernel.want(vec![direct("10.0.0.1/32", "cali1"), direct("10.0.0.9/32", "cali1")]).await.unwrap();
    assert_eq!(ours(&host).lines().count(), 5, "{}", ours(&host));
    // The one that was right already was left as it is.
    assert_eq!(kernel.status().await.unwrap().changes, 1);
    // A pod that ended since is withdrawn by name, sweep or not.
    kernel.settle(vec![Wanted::Route(key("10.0.0.3/32"), None)]).await.unwrap();
    assert_eq!(ours(&host).lines().count(), 4, "{}", ours(&host));

    kernel.release_sweep().await.unwrap();
    until("the sweep", PATIENCE, async || ours(&host).lines().count() == 2).await;
    let left = ours(&host);
    assert!(left.contains("10.0.0.1 ") && left.contains("10.0.0.9 "), "{left}");
    assert!(ip(&host, "route show proto static").contains("10.9.0.0/16"));
    assert!(ip(&host, "route show table 1000").contains("10.0.0.4"));
}

#[tokio::test]
async fn what_ours_differs_in_is_replaced() {
    let host = namespace();
    wire(&host, "cali1");
    wire(&host, "cali2");
    ip(&host, "route add 10.0.0.1/32 dev cali1 proto 67");
    ip(&host, "-6 route add fd00::1/128 dev cali1 proto 67");
    let kernel = start(&host);
    for name in ["cali2", "cali1", "cali2"] {
        kernel.settle(vec![direct("10.0.0.1/32", name), direct("fd00::1/128", name)]).await.unwrap();
        let now = ours(&host);
        assert!(
            now.contains(&format!("10.0.0.1 dev {name}")) && now.contains(&format!("fd00::1 dev {name}")),
            "{now}"
        );
        assert_eq!(now.lines().count(), 2, "{now}");
    }
    // Across kinds, which IPv6 does not take for the same route.
    for wanted in [blackhole("fd00::1/128"), direct("fd00::1/128", "cali1")] {
        kernel.settle(vec![wanted]).await.unwrap();
        assert_eq!(ip(&host, "-6 route show fd00::1/128").lines().count(), 1);
    }
}

#[tokio::test]
async fn a_foreign_route_is_never_touched_but_named_and_taken_up_when_it_goes() {
    let host = namespace();
    wire(&host, "eth0");
    ip(&host, "route add 10.0.0.0/26 dev eth0 proto bird");
    ip(&host, "-6 route add fd00::/122 dev eth0 proto static metric 1024");
    let kernel = start(&host);
    kernel.release_sweep().await.unwrap();
    let refused = kernel.want(vec![blackhole("10.0.0.0/26"), blackhole("fd00::/122")]).await.unwrap();
    let told: Vec<String> =
        refused.iter().map(|refused| format!("{} {}", refused.code(), refused.why)).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].starts_with("RouteConflict") && told[0].contains("made by BIRD (protocol 12)"),
        "{told:?}"
    );
    assert!(told[1].contains("made by hand, as a static route (protocol 4)"), "{told:?}");
    assert_eq!(kernel.conflicts().len(), 2);
    assert!(ip(&host, "route show 10.0.0.0/26").contains("dev eth0 proto bird"));

    // Withdrawing ours leaves theirs.
    kernel.settle(vec![Wanted::Route(key("fd00::/122"), None)]).await.unwrap();
    assert!(ip(&host, "-6 route show fd00::/122").contains("dev eth0 proto static"));

    ip(&host, "route del 10.0.0.0/26 proto bird");
    until("ours", SECOND, async || {
        ip(&host, "route show 10.0.0.0/26").contains("blackhole 10.0.0.0/26 proto 67")
    })
    .await;
    until("no conflict", SECOND, async || kernel.conflicts().is_empty()).await;

    // And if another takes ours over, it is theirs.
    ip(&host, "route replace 10.0.0.0/26 dev eth0 proto bird");
    until("the conflict", SECOND, async || kernel.conflicts().len() == 1).await;
    assert!(ip(&host, "route show 10.0.0.0/26").contains("dev eth0 proto bird"));
}

#[tokio::test]
async fn routes_of_every_shape_are_seen_as_they_were_wanted() {
    let host = namespace();
    wire(&host, "eth0");
    wire(&host, "eth1");
    ip(&host, "addr add 192.0.2.1/24 dev eth0");
    ip(&host, "addr add 2001:db8::1/64 dev eth0 nodad");
    let kernel = Kernel::start(Settings { backstop: Duration::from_millis(20), ..settings(&host) }).unwrap();
    let via = |text: &str| Route::via(text.parse().unwrap(), device("eth0"));
    let hop = |text: &str, name: &str| Hop::via(text.parse().unwrap(), device(name));
    let many = |hops: Vec<Hop>| Route::new(RouteKind::Unicast(hops));
    let wanted = vec![
        direct("10.0.0.1/32", "eth0"),
        blackhole("10.1.0.0/26"),
        route("10.2.0.0/26", Route::new(RouteKind::Unreachable)),
        route(
            "10.3.0.0/26",
            Route { mtu: Some(1400), source: Some("192.0.2.1".parse().unwrap()), ..via("192.0.2.9") },
        ),
        route("10.4.0.0/26", many(vec![hop("198.51.100.1", "eth1").onlink()])),
        route(
            "10.5.0.0/26",
            many(vec![hop("192.0.2.9", "eth0"), Hop { weight: 9, ..hop("192.0.2.8", "eth0") }]),
        ),
        route("10.6.0.0/26", via("fe80::9")),
        direct("fd00::1/128", "eth0"),
        blackhole("fd00:1::/122"),
        route("fd00:2::/122", Route::new(RouteKind::Unreachable)),
        route("fd00:3::/122", Route { mtu: Some(1400), ..via("2001:db8::9") }),
        route(
            "fd00:4::/122",
            many(vec![hop("2001:db8::9", "eth0"), hop("2001:db8::8", "eth0"), hop("fe80::1", "eth1")]),
        ),
        route("fd00:5::/122", many(vec![hop("fd00:9::1", "eth1").onlink()])),
        neighbour("eth0", "192.0.2.9"),
        neighbour("eth0", "2001:db8::9"),
    ];
    let count = wanted.len() as u64;
    assert_eq!(kernel.want(wanted.clone()).await.unwrap(), []);
    // Many listings later nothing has been done twice: what is seen compares equal to what is wanted.
    until("ten listings", PATIENCE, async || kernel.status().await.unwrap().resyncs >= 10).await;
    assert_eq!(kernel.status().await.unwrap().changes, count, "{}", ours(&host));
    assert_eq!(kernel.want(wanted.clone()).await.unwrap(), []);
    assert_eq!(kernel.status().await.unwrap().changes, count);

    // A second run finds all as it wants them.
    drop(kernel);
    let again = start(&host);
    assert_eq!(again.want(wanted).await.unwrap(), []);
    assert_eq!(again.status().await.unwrap().changes, 0, "{:?}", again.routes().await);
}

#[tokio::test]
async fn twenty_thousand_routes_go_in_and_errors_find_their_route() {
    let host = namespace();
    wire(&host, "eth0");
    ip(&host, "addr add 192.0.2.1/24 dev eth0");
    let kernel = start(&host);
    let gateway = |n: u32| if n % 1000 == 7 { "203.0.113.1" } else { "192.0.2.9" };
    let wanted: Vec<Wanted> = (0..20_000_u32)
        .map(|n| {
            let destination = IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + n));
            let route = Route::via(gateway(n).parse().unwrap(), device("eth0"));
            Wanted::Route(RouteKey::main(destination.into()), Some(route))
        })
        .collect();
    let refused = kernel.want(wanted).await.unwrap();
    let expected: Vec<ObjectKey> = (0..20)
        .map(|n| {
            let destination = IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + n * 1000 + 7));
            ObjectKey::Route(RouteKey::main(destination.into()))
        })
        .collect();
    assert_eq!(refused.iter().map(|refused| refused.object).collect::<Vec<_>>(), expected);
    for refused in &refused {
        assert!(refused.why.to_string().contains("Nexthop has invalid gateway"), "{refused}");
    }
    assert_eq!(ip(&host, "route show proto 67").lines().count(), 19_980);
    // What was refused for want of a way to its gateway goes in when there is one.
    ip(&host, "addr add 203.0.113.7/24 dev eth0");
    until("the refused ones", SECOND, async || kernel.refusals().borrow().total == 0).await;
    assert_eq!(ip(&host, "route show proto 67").lines().count(), 20_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn urgent_work_passes_bulk_work() {
    let host = namespace();
    wire(&host, "cali1");
    let kernel = start(&host);
    let wanted: Vec<Wanted> = (0..50_000_u32)
        .map(|n| {
            let destination = IpAddr::V4(Ipv4Addr::from(0x0b00_0000 + n));
            Wanted::Route(RouteKey::main(destination.into()), Some(Route::direct(device("cali1"))))
        })
        .collect();
    let bulk = tokio::spawn({
        let kernel = kernel.clone();
        async move { kernel.want(wanted).await }
    });
    until("the bulk's beginning", PATIENCE, async || kernel.status().await.unwrap().changes > 0).await;
    kernel.settle(pod("cali1")).await.unwrap();
    let done = kernel.status().await.unwrap();
    assert!(pod_is_there(&host));
    assert!(done.changes < 50_000, "the pod waited for all of the bulk");
    assert_eq!(bulk.await.unwrap().unwrap(), []);
}

#[tokio::test]
async fn batches_that_change_nothing_and_come_together_are_all_answered() {
    let host = namespace();
    let kernel = start(&host);
    let wanted = || vec![blackhole("10.0.0.0/26")];
    assert_eq!(kernel.want(wanted()).await.unwrap(), []);
    // The thread may hear of all of them by one wake-up, and no event of the kernel follows that would be another.
    for round in 0..200 {
        let together =
            async { tokio::join!(kernel.want(wanted()), kernel.want(wanted()), kernel.want(wanted())) };
        let answers = tokio::time::timeout(PATIENCE, together).await;
        assert!(answers.is_ok(), "round {round}: a batch was left in the queue");
    }
}

#[tokio::test]
async fn the_underlay_follows_links_and_addresses_without_those_of_pods() {
    let host = namespace();
    wire(&host, "eth0");
    let kernel = start(&host);
    let mut watch = kernel.underlay();
    assert!(watch.borrow().link(&device("eth0")).is_some_and(|link| link.up && link.carrier));
    watch.mark_unchanged();
    ip(&host, "addr add 192.0.2.1/24 dev eth0");
    until("the address", SECOND, async || watch.borrow().is_own("192.0.2.1".parse().unwrap())).await;
    assert!(watch.has_changed().unwrap());
    ip(&host, "link set eth0 mtu 9000");
    until("the MTU", SECOND, async || watch.borrow().link(&device("eth0")).unwrap().mtu == 9000).await;
    ip(&host, "link set eth0p down");
    until("the carrier", SECOND, async || !watch.borrow().link(&device("eth0")).unwrap().carrier).await;
    ip(&host, "addr del 192.0.2.1/24 dev eth0");
    until("the address's end", SECOND, async || !watch.borrow().is_own("192.0.2.1".parse().unwrap())).await;
    ip(&host, "link add cali1 type veth peer name cali2");
    ip(&host, "link del eth0");
    until("the link's end", SECOND, async || watch.borrow().link(&device("eth0")).is_none()).await;
    assert_eq!(watch.borrow().link(&device("cali1")), None);
}

#[tokio::test]
async fn what_cannot_be_kept_is_refused_at_the_door() {
    let host = namespace();
    let kernel = start(&host);
    let other_table = RouteKey { table: 1000, ..key("10.0.0.1/32") };
    let wanted = vec![
        Wanted::Route(other_table, Some(Route::new(RouteKind::Blackhole))),
        route("10.0.0.2/32", Route::new(RouteKind::Unicast(vec![]))),
        blackhole("10.0.0.3/32"),
    ];
    let refused = kernel.want(wanted).await.unwrap();
    assert_eq!(refused.len(), 2);
    assert!(refused.iter().all(|refused| refused.code() == "RouteUnsupported"), "{refused:?}");
    assert!(ours(&host).contains("blackhole 10.0.0.3"));
}

#[tokio::test]
async fn routes_to_pods_may_bear_a_number_that_others_use() {
    let host = namespace();
    wire(&host, "cali1");
    wire(&host, "eth0");
    ip(&host, "addr add 192.0.2.1/24 dev eth0");
    ip(&host, "route add 10.9.0.0/16 via 192.0.2.9");
    let bird = || Settings { protocol: 12, workload_protocol: Some(3), ..settings(&host) };
    let kernel = Kernel::start(bird()).unwrap();
    let block = blackhole("10.0.0.0/26");
    kernel.settle(vec![direct("10.0.0.1/32", "cali1"), direct("10.0.0.2/32", "cali1"), block]).await.unwrap();
    assert_eq!(
        ip(&host, "route show root 10.0.0.0/8").lines().map(str::trim_end).collect::<Vec<_>>(),
        [
            "blackhole 10.0.0.0/26 proto bird",
            "10.0.0.1 dev cali1 scope link",
            "10.0.0.2 dev cali1 scope link",
            "10.9.0.0/16 via 192.0.2.9 dev eth0",
        ]
    );
    ip(&host, "route del 10.0.0.1");
    until("the repair", SECOND, async || ip(&host, "route show 10.0.0.1").contains("cali1")).await;
    kernel.settle(vec![without(&direct("10.0.0.2/32", "cali1"))]).await.unwrap();
    assert_eq!(ip(&host, "route show 10.0.0.2"), "");
    drop(kernel);
    // What an earlier run left is known by device and number together, and what is not ours stays.
    let again = Kernel::start(bird()).unwrap();
    assert_eq!(again.routes().await.unwrap().len(), 2);
    again.release_sweep().await.unwrap();
    until("the sweep", SECOND, async || ip(&host, "route show root 10.0.0.0/24").is_empty()).await;
    assert!(ip(&host, "route show 10.9.0.0/16").contains("via 192.0.2.9"));
}

#[tokio::test]
async fn next_hops_that_are_not_on_the_link_are_found_behind_the_hosts_own_gateways() {
    let host = namespace();
    wire(&host, "eth0");
    wire(&host, "eth1");
    ip(&host, "addr add 192.0.2.1/24 dev eth0");
    ip(&host, "addr add 2001:db8::1/64 dev eth0 nodad");
    ip(&host, "addr add 203.0.113.1/32 dev eth1");
    let kernel = start(&host);
    let gateways = kernel.gateways();
    let all: BTreeSet<IpAddr> =
        ["198.51.100.7", "2001:db8:1::7", "203.0.113.2"].map(|text| text.parse().unwrap()).into();
    kernel.follow_gateways(all).await.unwrap();
    let shown = || {
        let gateways = gateways.borrow().clone();
        let hops = gateways.iter().flat_map(|(to, hops)| hops.iter().map(move |hop| (to, hop)));
        hops.map(|(to, hop)| {
            let onlink = if hop.onlink { " onlink" } else { "" };
            format!("{to} via {} dev {}{onlink}", hop.via.unwrap(), hop.device)
        })
        .collect::<Vec<_>>()
    };
    assert_eq!(shown(), Vec::<String>::new());
    ip(&host, "route add default via 192.0.2.254");
    ip(&host, "-6 route add default via 2001:db8::fe");
    // An address whose neighbours are reached by a route without a subnet.
    ip(&host, "route add 203.0.113.2/32 dev eth1");
    let expected = [
        "198.51.100.7 via 192.0.2.254 dev eth0",
        "203.0.113.2 via 203.0.113.2 dev eth1 onlink",
        "2001:db8:1::7 via 2001:db8::fe dev eth0",
    ];
    until("the gateways", SECOND, async || shown() == expected).await;
    // Routes of ours are no way to a next hop.
    kernel.settle(vec![direct("198.51.100.0/24", "eth1")]).await.unwrap();
    ip(&host, "route replace default via 192.0.2.253");
    until("the end of a next hop", SECOND, async || !shown().iter().any(|one| one.starts_with("198."))).await;
    kernel.settle(vec![without(&direct("198.51.100.0/24", "eth1"))]).await.unwrap();
    ip(&host, "route replace default via 192.0.2.252");
    until("the next gateway", SECOND, async || {
        shown().iter().any(|one| one == "198.51.100.7 via 192.0.2.252 dev eth0")
    })
    .await;
    ip(&host, "link set eth0 down");
    until("the end of the gateways", SECOND, async || shown() == [expected[1]]).await;
}
